import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import { type GraphMismatch, StepLimitExceeded } from "../../CheckpointError.ts"
import type { ReadError } from "../../View.ts"
import type { Graph } from "./definition.ts"
import { graphMetadata, mismatch } from "./metadata.ts"
import type { PendingInterrupt, RunResult } from "./model.ts"
import type { SavedPosition } from "./position.ts"
import { viewOf } from "./thread.ts"

/** What the threads of a graph wait for, and how a run ended. */

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

/** The same, of a checkpoint that has a pending interrupt, which must be one of the graph. */
export const requirePendingInterrupt = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Effect.Effect<PendingInterrupt, GraphMismatch> =>
  Effect.mapError(
    Effect.fromOption(pendingInterruptOf(graph, checkpoint)),
    () => mismatch(graph, checkpoint, "no graph has raised its pending interrupt")
  )

/** The result of a run that ended at a checkpoint with a pending interrupt. */
export const interruptedResult = <S>(
  graph: { readonly name: string },
  checkpoint: Checkpoint<S>
): Effect.Effect<RunResult<S, string>, GraphMismatch> =>
  Effect.map(requirePendingInterrupt(graph, checkpoint), (interrupt) => ({
    _tag: "Interrupted",
    state: checkpoint.state,
    checkpoint,
    interrupt
  }))

/** The result of a run that ended at a position. */
export const resultAt = <S>(
  graph: { readonly name: string },
  maxSteps: number,
  { head, metadata: { notTaken }, nextNodes, state }: SavedPosition<S>
): Effect.Effect<RunResult<S, string>, GraphMismatch | StepLimitExceeded> => {
  if (head.pendingInterrupts.length > 0) return interruptedResult(graph, head)
  if (nextNodes.length > 0) {
    const { namespace, threadId, version } = head
    return Effect.fail(new StepLimitExceeded({ threadId, namespace, maxSteps, version, nextNodes }))
  }
  return Effect.succeed(
    notTaken === undefined
      ? { _tag: "Completed", state, checkpoint: head }
      : { _tag: "Stopped", state, checkpoint: head, branches: notTaken }
  )
}

/** Lists the questions that the threads of a graph wait for. */
export const interrupts = <S, U, E, R>(
  graph: Graph<S, U, E, R>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    Stream.flatMap(
      view.threads({ interrupted: true }),
      ({ head }) =>
        Option.match(pendingInterruptOf(graph, head), { onNone: () => Stream.empty, onSome: Stream.succeed })
    )))
