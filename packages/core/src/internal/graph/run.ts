import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import { ThreadUnfinished } from "../../CheckpointError.ts"
import type { View } from "../../View.ts"
import type { Definition } from "./definition.ts"
import { runLoop } from "./loop.ts"
import { outermostMetadata } from "./mismatch.ts"
import type { RunError, RunOptions, RunResult, StepsError } from "./model.ts"
import { unsavedPosition } from "./position.ts"
import { annotateSpan, type Emit, makeRunContext, type RunContext } from "./runContext.ts"
import { checkSettings, resolveSettings } from "./settings.ts"
import { viewOf } from "./thread.ts"

/** Runs a graph on a thread that is new, or whose last run has ended. */
export const run = Effect.fn("StateGraph.run")(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  options: RunOptions<Input, string>,
  emit: Emit<S, U>
): Effect.fn.Return<RunResult<S, string>, E | RunError, R | Checkpointer> {
  const { input, threadId } = options
  yield* annotateSpan(graph, threadId)
  yield* checkSettings(graph, options)
  const view = yield* viewOf(graph)
  const run = yield* makeRunContext(graph, view, threadId, resolveSettings(graph, options), emit)
  const head = Option.getOrUndefined(yield* view.get(threadId))
  const metadata = head === undefined ? undefined : yield* outermostMetadata(graph, head)
  if (head !== undefined) yield* checkEnded(view, head, metadata?.stopped ?? false)
  return yield* beginRun(run, head, metadata?.step ?? 0, graph.begin(input, head?.state))
})

/** Fails if the last run of a thread has not ended. */
const checkEnded = Effect.fnUntraced(function*<S>(
  view: View<S>,
  head: Checkpoint<S>,
  stopped: boolean
): Effect.fn.Return<void, ThreadUnfinished | StepsError> {
  const { namespace, nextNodes, pendingInterrupts, threadId, version } = head
  if (nextNodes.length === 0 && pendingInterrupts.length === 0) return
  const { questions } = yield* view.step(head)
  const interruptIds = questions.flatMap(({ answer, interruptId }) => answer === undefined ? [interruptId] : [])
  if (nextNodes.length === 0 && interruptIds.length === 0) return
  yield* new ThreadUnfinished({ threadId, namespace, version, nextNodes, interruptIds, stopped })
})

/** Runs a graph from its start, after the versions that the thread already has. */
export const beginRun = <S, U, E, R>(
  run: RunContext<S, U, E, R>,
  head: Checkpoint<S> | undefined,
  completedSteps: number,
  state: S,
  outerTask?: string | undefined
): Effect.Effect<RunResult<S, string>, E | StepsError, R> => {
  const { graph, runId } = run
  const position = unsavedPosition(runId, {
    head,
    // A nested graph that runs from its start leaves what it did for an earlier visit behind.
    endsStep: head !== undefined && outerTask !== undefined,
    state,
    nextNodes: [graph.start],
    metadata: {
      graph: graph.name,
      step: completedSteps,
      runSteps: 0,
      cause: "input",
      completedNodes: [],
      ...(outerTask === undefined ? {} : { outerTask })
    }
  })
  return runLoop(run, position)
}
