import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer, ReadError } from "../../Checkpointer.ts"
import { type StateDecodeError, StepLimitExceeded } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import { damaged, metaOf } from "./meta.ts"
import type { PendingInterrupt, RunResult } from "./model.ts"
import type { Saved } from "./position.ts"
import { viewOf } from "./thread.ts"

/** How a thread of a graph is doing: what it waits for, or how its run ended. */

/** What a checkpoint of the graph waits for. */
export const pendingOf = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Option.Option<PendingInterrupt> =>
  Option.gen(function*() {
    const { interruptId, request } = yield* checkpoint.pendingInterrupt
    const { asked, name } = yield* metaOf(checkpoint)
    const { kind, node } = yield* Option.fromUndefinedOr(name === graph.name ? asked : undefined)
    return { threadId: checkpoint.threadId, interruptId, kind, node, request }
  })

/** What a checkpoint waits for that has a pending interrupt. */
export const pendingIn = (
  graph: { readonly name: string },
  head: CheckpointInfo
): Effect.Effect<PendingInterrupt, StateDecodeError> =>
  Effect.mapError(
    Effect.fromOption(pendingOf(graph, head)),
    () => damaged(head, "its pending interrupt was not raised by a graph")
  )

export const waiting = <S>(
  graph: { readonly name: string },
  head: Checkpoint<S>
): Effect.Effect<RunResult<S, string>, StateDecodeError> =>
  Effect.map(pendingIn(graph, head), (interrupt) => ({
    _tag: "Interrupted",
    state: head.state,
    checkpoint: head,
    interrupt
  }))

/** How a run ends that goes no further. */
export const resultOf = <S>(
  graph: { readonly name: string },
  maxSteps: number,
  { head, meta: { branches }, next, state }: Saved<S>
): Effect.Effect<RunResult<S, string>, StateDecodeError | StepLimitExceeded> => {
  if (Option.isSome(head.pendingInterrupt)) return waiting(graph, head)
  if (next.length > 0) {
    const { namespace, threadId, version } = head
    return Effect.fail(new StepLimitExceeded({ threadId, namespace, maxSteps, version, nextNodes: next }))
  }
  return Effect.succeed(
    branches === undefined
      ? { _tag: "Completed", state, checkpoint: head }
      : { _tag: "Stopped", state, checkpoint: head, branches }
  )
}

/** What the threads of a graph wait for. */
export const interrupts = <S, U, E, R>(
  graph: Graph<S, U, E, R>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    Stream.flatMap(
      view.threads({ interrupted: true }),
      ({ head }) => Option.match(pendingOf(graph, head), { onNone: () => Stream.empty, onSome: Stream.succeed })
    )))
