import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { ReadError } from "../../View.ts"
import type { Graph } from "./definition.ts"
import { graphMetadata } from "./metadata.ts"
import type { PendingInterrupt } from "./model.ts"
import { viewOf } from "./thread.ts"

/** The questions that the threads of a graph wait for. */

/** The question that a checkpoint of the graph waits for. */
export const pendingInterruptOf = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Option.Option<PendingInterrupt> =>
  Option.gen(function*() {
    const [pending] = checkpoint.pendingInterrupts
    const { interruptId, request } = yield* Option.fromUndefinedOr(pending)
    const metadata = yield* graphMetadata(checkpoint)
    const question = metadata.graph === graph.name ? metadata.question : undefined
    const { interrupt, node } = yield* Option.fromUndefinedOr(question)
    return { threadId: checkpoint.threadId, interruptId, kind: interrupt, node, request }
  })

/** Streams the questions that the threads of a graph wait for. */
export const list = <S, U, E, R>(
  graph: Graph<S, U, E, R>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    Stream.flatMap(
      view.threads({ interrupted: true }),
      ({ head }) =>
        Option.match(pendingInterruptOf(graph, head), { onNone: () => Stream.empty, onSome: Stream.succeed })
    )))
