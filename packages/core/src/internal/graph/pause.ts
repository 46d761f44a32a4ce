import { stopsAt } from "./advance.ts"
import type { Strategy } from "./model.ts"
import type { Position } from "./position.ts"
import { pauseInterrupt, type Question } from "./question.ts"

/** The pauses of `interruptBefore` and `interruptAfter`, and those of nested graphs whose strategy stops. */

/** The key of the pending write that holds the answer to a pause of the step. */
const pauseAnswerKey = "paused"

/** The pause before the next step, unless a pause between the two steps was answered already. */
export const pauseBefore = <S>(
  { nextNodes, pendingWrites, stepId }: Position<S>,
  nodes: ReadonlyArray<string>
): Question | undefined => {
  if (pendingWrites[pauseAnswerKey] !== undefined) return undefined
  const node = nextNodes.find((node) => nodes.includes(node))
  return node === undefined ? undefined : pause("before", stepId, node)
}

/** The pause after the step that led to this position. */
export const pauseAfter = <S>(
  { metadata, stepId }: Position<S>,
  nodes: ReadonlyArray<string>
): Question | undefined => {
  const node = metadata.completedNodes.find((node) => nodes.includes(node))
  return node === undefined ? undefined : pause("after", stepId, node)
}

/**
 * The pause of a nested graph at the nodes where its strategy stops. The caller of the outer graph cannot choose among
 * them, and to end there would lose them.
 */
export const pauseInsteadOfStop = <S>(
  { metadata: { completedNodes: [node], outerTask }, nextNodes, stepId }: Position<S>,
  strategy: Strategy
): Question | undefined =>
  outerTask !== undefined && node !== undefined && stopsAt(strategy, nextNodes)
    ? pause("after", stepId, node)
    : undefined

const pause = (when: "before" | "after", stepId: string, node: string): Question => ({
  interrupt: pauseInterrupt,
  node,
  interruptId: `${stepId}/${node}/${when}`,
  request: { pause: when, node },
  writeKey: pauseAnswerKey
})
