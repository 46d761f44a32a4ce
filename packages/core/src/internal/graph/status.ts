import * as Effect from "effect/Effect"
import { StepLimitExceeded } from "../../CheckpointError.ts"
import type { RunResult } from "./model.ts"
import { pendingOf } from "./pendingInterrupt.ts"
import type { SavedPosition } from "./position.ts"

/** How a run ended. */

/** The result of a run that waits for answers. */
export const interruptedResult = <S>({ head, questions, state }: SavedPosition<S>): RunResult<S, string> => ({
  _tag: "Interrupted",
  state,
  checkpoint: head,
  interrupts: pendingOf(head, questions)
})

/** The result of a run that ended at a position where it does not wait. */
export const resultAt = <S>(
  maxSteps: number,
  { head, metadata: { stopped }, nextNodes, state }: SavedPosition<S>
): Effect.Effect<RunResult<S, string>, StepLimitExceeded> => {
  if (nextNodes.length === 0) return Effect.succeed({ _tag: "Completed", state, checkpoint: head })
  if (stopped) return Effect.succeed({ _tag: "Stopped", state, checkpoint: head, branches: nextNodes })
  const { namespace, threadId, version } = head
  return Effect.fail(new StepLimitExceeded({ threadId, namespace, maxSteps, version, nextNodes }))
}
