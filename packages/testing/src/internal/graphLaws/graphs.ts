import { StateGraph } from "@effect-checkpoint/core"
import * as Effect from "effect/Effect"
import { Ask, type setting, words } from "./suite.ts"

/** Graphs that several laws run. Their states are lists of words, and their nodes can ask `Ask`. */

interface Names {
  /** `"law"` by default. */
  readonly name?: string
  readonly namespace?: string
}

interface Nodes {
  readonly [name: string]: (
    state: ReadonlyArray<string>,
    context: StateGraph.NodeContext
  ) => Effect.Effect<string | void, unknown, unknown>
}

const namesOf = <N extends Nodes>(nodes: N): ReadonlyArray<keyof N & string> => Object.keys(nodes)

/** The edges of nodes, from the indices of their next nodes. */
const edgesOf = <N extends Nodes>(nodes: N, next: (index: number) => ReadonlyArray<keyof N & string>) => {
  const edges: { [K in keyof N]?: ReadonlyArray<keyof N & string> } = {}
  namesOf(nodes).forEach((name, index) => edges[name] = next(index))
  return edges as { readonly [K in keyof N]: ReadonlyArray<keyof N & string> }
}

/** A graph that runs its nodes one after the other. */
export const chain = <const N extends Nodes>(
  { name = "law", namespace }: Names,
  nodes: N,
  settings: StateGraph.Settings<NoInfer<keyof N & string>> = {}
) => {
  const names = namesOf(nodes)
  return StateGraph.make({
    ...words,
    ...settings,
    name,
    namespace,
    interrupts: [Ask],
    start: names[0]!,
    nodes,
    edges: edgesOf(nodes, (index) => names.slice(index + 1, index + 2))
  })
}

/** A graph whose first node, `go`, leads to all others at once. */
export const fanOut = <const N extends Nodes>(
  { name = "law", namespace, says }: Names & Pick<Effect.Success<typeof setting>, "says">,
  nodes: N,
  settings: StateGraph.Settings<NoInfer<keyof N & string> | "go"> = {}
) => {
  const all = { go: says("go"), ...nodes }
  return StateGraph.make({
    ...words,
    ...settings,
    name,
    namespace,
    interrupts: [Ask],
    start: "go",
    nodes: all,
    edges: edgesOf(all, (index) => index === 0 ? namesOf(nodes) : [])
  })
}

/** A graph of two nodes that take turns until the state has `length` words. */
export const takingTurns = (
  { namespace, says }: Effect.Success<typeof setting>,
  length: number,
  settings: StateGraph.Settings<"a" | "b"> = {}
) =>
  StateGraph.make({
    ...words,
    ...settings,
    name: "law",
    namespace,
    interrupts: [Ask],
    start: "a",
    nodes: { a: says("a"), b: says("b") },
    edges: { a: ["b"], b: (state) => state.length < length ? ["a"] : [] }
  })

/** A graph that asks one question between two nodes. */
export const approval = (here: Effect.Success<typeof setting>) =>
  chain(here, { a: here.says("a"), ask: here.says("ask", StateGraph.interrupt(Ask, "well?")), b: here.says("b") })

/** Asks two questions, one after the other. */
export const askTwice: Effect.Effect<string, never, Ask> = Effect.gen(function*() {
  const first = yield* StateGraph.interrupt(Ask, "first?")
  return `${first} ${yield* StateGraph.interrupt(Ask, "second?")}`
})
