import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import { type GraphMismatch, StepLimitExceeded } from "../../CheckpointError.ts"
import { requirePendingInterrupt } from "./mismatch.ts"
import type { RunResult } from "./model.ts"
import type { SavedPosition } from "./position.ts"

/** How a run ended. */

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
  { head, metadata: { stopped }, nextNodes, state }: SavedPosition<S>
): Effect.Effect<RunResult<S, string>, GraphMismatch | StepLimitExceeded> => {
  if (head.pendingInterrupts.length > 0) return interruptedResult(graph, head)
  if (nextNodes.length === 0) return Effect.succeed({ _tag: "Completed", state, checkpoint: head })
  if (stopped) return Effect.succeed({ _tag: "Stopped", state, checkpoint: head, branches: nextNodes })
  const { namespace, threadId, version } = head
  return Effect.fail(new StepLimitExceeded({ threadId, namespace, maxSteps, version, nextNodes }))
}
