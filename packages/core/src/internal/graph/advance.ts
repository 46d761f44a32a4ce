import * as Effect from "effect/Effect"
import type { InvalidInput } from "../../CheckpointError.ts"
import { checkNodes, type Graph } from "./definition.ts"
import type { Edge, Strategy } from "./model.ts"
import type { Returned } from "./node.ts"
import { type Position, unsaved } from "./position.ts"

/** The position after a step: the step as one change of the state, and what it leads to. */
export const advance = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  strategy: Strategy,
  runId: string,
  { head, meta: { invocation, step }, state: before }: Position<S>,
  outcomes: ReadonlyArray<Returned<U>>
): Effect.fn.Return<Position<S>, InvalidInput> {
  const state = outcomes.reduce(
    (state, { update }) => update === undefined ? state : graph.reduce(state, update),
    before
  )
  const writers = outcomes.map(({ node }) => node)
  const successors = Array.from(new Set(writers.flatMap((node) => successorsOf(graph.edges.get(node) ?? [], state))))
  yield* checkNodes(graph, `edges of ${writers.join(", ")}`, successors)
  const next = pick(strategy, successors)
  return unsaved(runId, head, state, next, {
    name: graph.name,
    step: step + 1,
    source: "step",
    writers,
    ...(invocation === undefined ? {} : { invocation }),
    ...(next.length === 0 && successors.length > 0 ? { branches: successors } : {})
  })
})

const successorsOf = <S>(edge: Edge<S, string>, state: S): ReadonlyArray<string> =>
  typeof edge === "function" ? edge(state) : "when" in edge ? edge.when(state) : edge

const pick = (strategy: Strategy, nodes: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (nodes.length < 2) return nodes
  switch (strategy) {
    case "StopAtNonLinear":
      return []
    case "PickFirst":
      return nodes.slice(0, 1)
    case "PickLast":
      return nodes.slice(-1)
    case "Parallel":
      return nodes
  }
}
