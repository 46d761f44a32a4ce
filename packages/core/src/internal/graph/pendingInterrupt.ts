import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CheckpointRef } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { ReadError } from "../../View.ts"
import type { Graph } from "./definition.ts"
import type { InterruptFilter, OpenInterrupt, PendingInterrupt } from "./model.ts"
import { isOpen, ofStored, type Question } from "./question.ts"
import { viewOf } from "./thread.ts"

/** The questions that the threads of a graph wait for, as they are shown. */

export const toPending = (
  { threadId }: Pick<CheckpointRef, "threadId">,
  { about: { kind, node }, interruptId, request }: Question
): PendingInterrupt => ({ threadId, interruptId, kind, node, request })

/** Those that have no answer. */
export const pendingOf = (
  thread: Pick<CheckpointRef, "threadId">,
  questions: ReadonlyArray<Question>
): ReadonlyArray<PendingInterrupt> => questions.filter(isOpen).map((question) => toPending(thread, question))

/** Streams the questions that the threads of a graph wait for. */
export const list = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  filter: InterruptFilter | undefined
): Stream.Stream<OpenInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    view.openQuestions({
      metadata: { graph: graph.name, ...filter?.kind === undefined ? {} : { kind: filter.kind } }
    }).pipe(
      Stream.flatMap((open) =>
        Option.match(ofStored(open), {
          onNone: () => Stream.empty,
          onSome: (question) =>
            Stream.succeed({ ...toPending(open, question), askedAt: open.askedAt, version: open.version })
        })
      )
    )))
