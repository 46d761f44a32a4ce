import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { InvalidInput } from "../../CheckpointError.ts"
import * as Input from "../input.ts"
import { checkNodes, type Graph } from "./definition.ts"
import type { RunSettings, Settings, Strategy } from "./model.ts"

/** What decides how a graph runs: the call, the earlier calls of the run, the graph, and the defaults. */

type Defined = Pick<Graph<never, never, never, never>, "name" | "problem" | "settings"> & {
  readonly nodes: ReadonlyMap<string, unknown>
}

/** The settings of a call, with the metadata for its checkpoints. */
export interface CallSettings extends Settings<string> {
  readonly metadata?: Schema.JsonObject | undefined
}

type Overrides = RunSettings["overrides"]

const strategies: ReadonlyArray<Strategy> = ["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"]
const durabilities: ReadonlyArray<RunSettings["durability"]> = ["step", "exit"]

/** Checks a graph and the settings of a call, before anything is read. */
export const checkSettings = Effect.fnUntraced(function*(
  graph: Defined,
  call: Settings<string>
): Effect.fn.Return<void, InvalidInput> {
  if (graph.problem !== undefined) yield* new InvalidInput(graph.problem)
  for (
    const { concurrency, durability, interruptAfter, interruptBefore, maxSteps, strategy } of [graph.settings, call]
  ) {
    if (maxSteps !== undefined) yield* Input.wholeNumber("maxSteps", maxSteps)
    if (concurrency !== undefined && concurrency !== "unbounded") yield* Input.wholeNumber("concurrency", concurrency)
    yield* checkOneOf("strategy", strategies, strategy)
    yield* checkOneOf("durability", durabilities, durability)
    yield* checkNodes(graph, "interruptBefore", interruptBefore ?? [])
    yield* checkNodes(graph, "interruptAfter", interruptAfter ?? [])
  }
})

const checkOneOf = (
  field: string,
  known: ReadonlyArray<string>,
  value: string | undefined
): Effect.Effect<void, InvalidInput> =>
  value === undefined || known.includes(value) ? Effect.void : Effect.fail(
    new InvalidInput({ field, problem: `expected one of ${known.join(", ")}, got ${value}` })
  )

/** Decides the settings of a run. `earlier` is what its earlier calls set. */
export const resolveSettings = (graph: Defined, call: CallSettings, earlier: Overrides = {}): RunSettings => {
  const own: Own = { ...defaults, ...defined(graph.settings) }
  const given = { ...earlier, ...defined(call) }
  const overrides = keys.filter((key) => given[key] !== undefined && isOverride(own, key, given[key]))
  return { ...own, ...given, overrides: Struct.pick(given, overrides), metadata: call.metadata }
}

type Own = Omit<RunSettings, "overrides" | "metadata">

const defaults: Own = {
  strategy: "Parallel",
  maxSteps: 100,
  concurrency: "unbounded",
  durability: "step",
  interruptBefore: [],
  interruptAfter: []
}

const keys = Struct.keys(defaults)

/** Settings without those that are `undefined`. */
const defined = (settings: Settings<string>): Overrides =>
  Struct.pick(settings, keys.filter((key) => settings[key] !== undefined)) as Overrides

/** `maxSteps` is one also if the graph has the same, because it raises that of nested graphs. */
const isOverride = <K extends keyof Own>(own: Own, key: K, value: unknown): boolean =>
  key === "maxSteps" || !Equal.equals(own[key], value)

/**
 * Decides the settings of a nested graph: those of `subgraph`, then its own. Of the run it has the durability, the
 * concurrency if it has none itself, and `maxSteps` if a call set it higher.
 */
export const resolveNested = (graph: Defined, call: Settings<string>, outer: RunSettings): RunSettings => {
  const own = resolveSettings(graph, {
    concurrency: graph.settings.concurrency ?? outer.concurrency,
    ...defined(call),
    durability: outer.durability
  })
  const { maxSteps = 0 } = outer.overrides
  return {
    ...own,
    maxSteps: Math.max(own.maxSteps, maxSteps),
    overrides: Struct.pick(outer.overrides, ["maxSteps"]),
    metadata: outer.metadata
  }
}
