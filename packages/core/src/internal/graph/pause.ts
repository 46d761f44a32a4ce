import type { Position } from "./position.ts"
import { pause, type Question } from "./question.ts"

/** The pauses that `interruptBefore` and `interruptAfter` make. */

/** The task under which it is kept that somebody went on from a pause. */
const pausedKey = "paused"

/** Before the step that is next, unless somebody has gone on to it from a pause already. */
export const pauseBefore = <S>(
  position: Position<S>,
  nodes: ReadonlyArray<string> | undefined
): Question | undefined => {
  const node = position.done[pausedKey] === undefined
    ? position.next.find((node) => nodes?.includes(node))
    : undefined
  return node === undefined ? undefined : pauseOf("before", position.base, node)
}

/** After the step that has led here. */
export const pauseAfter = <S>(
  position: Position<S>,
  nodes: ReadonlyArray<string> | undefined
): Question | undefined => {
  const node = position.meta.writers.find((node) => nodes?.includes(node))
  return node === undefined ? undefined : pauseOf("after", position.base, node)
}

const pauseOf = (when: "before" | "after", base: string, node: string): Question => ({
  kind: pause,
  node,
  interruptId: `${base}/${node}/${when}`,
  request: { pause: when, node },
  key: pausedKey
})
