import { stopsAt } from "./advance.ts"
import type { Strategy } from "./model.ts"
import type { Position } from "./position.ts"
import { isPause, pauseInterrupt, type Question } from "./question.ts"

/** The pauses of `interruptBefore` and `interruptAfter`, and those of nested graphs whose strategy stops. */

/** The pause before the next step, unless there was a pause between the two steps already. */
export const pauseBefore = <S>(
  position: Position<S>,
  nodes: ReadonlyArray<string>
): ReadonlyArray<Question> =>
  position.questions.some(isPause)
    ? []
    : pause("before", position, position.nextNodes.find((node) => nodes.includes(node)))

/** The pause after the step that led to this position. */
export const pauseAfter = <S>(
  position: Position<S>,
  nodes: ReadonlyArray<string>
): ReadonlyArray<Question> =>
  pause("after", position, position.metadata.completedNodes.find((node) => nodes.includes(node)))

/**
 * The pause of a nested graph at the nodes where its strategy stops. The caller of the outer graph cannot choose among
 * them, and to end there would lose them.
 */
export const pauseInsteadOfStop = <S>(position: Position<S>, strategy: Strategy): ReadonlyArray<Question> => {
  const { metadata: { completedNodes: [node], outerTask }, nextNodes } = position
  return outerTask !== undefined && stopsAt(strategy, nextNodes) ? pause("after", position, node) : []
}

const pause = <S>(
  when: "before" | "after",
  { metadata: { graph }, stepId }: Position<S>,
  node: string | undefined
): ReadonlyArray<Question> =>
  node === undefined ? [] : [{
    interruptId: `${stepId}/${node}/${when}`,
    request: { pause: when, node },
    about: { graph, kind: pauseInterrupt, node },
    response: undefined
  }]
