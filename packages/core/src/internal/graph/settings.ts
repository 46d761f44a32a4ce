import * as Effect from "effect/Effect"
import { InvalidInput } from "../../CheckpointError.ts"
import * as Input from "../input.ts"
import { checkNodes } from "./definition.ts"
import type { Settings, Strategy } from "./model.ts"

/** Settings with their defaults. */
export interface RunSettings extends Settings<string> {
  readonly strategy: Strategy
  readonly maxSteps: number
  readonly durability: "step" | "exit"
}

const strategies: ReadonlyArray<Strategy> = ["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"]

/** Checks the settings of a call, and adds the defaults. */
export const resolveSettings = Effect.fnUntraced(function*(
  graph: {
    readonly name: string
    readonly nodes: ReadonlyMap<string, unknown>
    readonly problem: string | undefined
  },
  settings: Settings<string>
): Effect.fn.Return<RunSettings, InvalidInput> {
  const { concurrency, durability = "step", interruptAfter = [], interruptBefore = [], metadata } = settings
  const { maxSteps = 100, strategy = "StopAtNonLinear" } = settings
  if (graph.problem !== undefined) yield* new InvalidInput({ field: "interrupts", problem: graph.problem })
  yield* Input.wholeNumber("maxSteps", maxSteps)
  if (concurrency !== undefined) yield* Input.wholeNumber("concurrency", concurrency)
  if (!strategies.includes(strategy)) {
    yield* new InvalidInput({ field: "strategy", problem: `expected one of ${strategies.join(", ")}, got ${strategy}` })
  }
  yield* checkNodes(graph, "interruptBefore", interruptBefore)
  yield* checkNodes(graph, "interruptAfter", interruptAfter)
  return { concurrency, durability, interruptAfter, interruptBefore, maxSteps, metadata, strategy }
})
