import * as Effect from "effect/Effect"
import type { InvalidInput } from "../../CheckpointError.ts"
import { checkNodes, type Graph } from "./definition.ts"
import type { Edge, RunSettings, Strategy } from "./model.ts"
import { hasStoredWrites, type Position, unsavedPosition } from "./position.ts"
import type { Returned } from "./task.ts"

/** Reduces the updates of a step into the state, and finds the nodes of the next step. */
export const advance = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  { strategy }: RunSettings,
  runId: string,
  position: Position<S>,
  returned: ReadonlyArray<Returned<U>>
): Effect.fn.Return<Position<S>, InvalidInput> {
  const { head, metadata: { outerTask, runSteps = 0, step }, state: before } = position
  const state = returned.reduce(
    (state, { update }) => update === undefined ? state : graph.reduce(state, update),
    before
  )
  const completedNodes = returned.map(({ node }) => node)
  const successors = Array.from(
    new Set(completedNodes.flatMap((node) => successorsOf(graph.edges.get(node) ?? [], state)))
  )
  yield* checkNodes(graph, `edges of ${completedNodes.join(", ")}`, successors)
  const nextNodes = choose(strategy, successors)
  return unsavedPosition(runId, {
    head,
    endsStep: hasStoredWrites(position),
    state,
    nextNodes,
    metadata: {
      graph: graph.name,
      step: step + 1,
      runSteps: runSteps + 1,
      cause: "step",
      completedNodes,
      ...(outerTask === undefined ? {} : { outerTask }),
      // A nested graph pauses instead.
      ...(stopsAt(strategy, successors) && outerTask === undefined ? { stopped: true } : {})
    }
  })
})

const successorsOf = <S>(edge: Edge<S, string>, state: S): ReadonlyArray<string> =>
  typeof edge === "function" ? edge(state) : "when" in edge ? edge.when(state) : edge

/** Whether the run stops at these nodes, so that the caller chooses among them. */
export const stopsAt = (strategy: Strategy, nextNodes: ReadonlyArray<string>): boolean =>
  strategy === "StopAtNonLinear" && nextNodes.length > 1

const choose = (strategy: Strategy, successors: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (successors.length < 2) return successors
  switch (strategy) {
    case "PickFirst":
      return successors.slice(0, 1)
    case "PickLast":
      return successors.slice(-1)
    case "Parallel":
    case "StopAtNonLinear":
      return successors
  }
}
