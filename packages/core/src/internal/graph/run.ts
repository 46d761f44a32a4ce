import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import { ThreadUnfinished } from "../../CheckpointError.ts"
import type { Definition } from "./definition.ts"
import { drive } from "./loop.ts"
import { ownMeta } from "./meta.ts"
import type { RunError, RunOptions, RunResult } from "./model.ts"
import { unsaved } from "./position.ts"
import { annotate, make, type Running, type Tell } from "./running.ts"
import { viewOf } from "./thread.ts"

/** Runs a graph on a thread that is new or has ended. */
export const run = Effect.fn("StateGraph.run")(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  options: RunOptions<Input, string>,
  tell: Tell<S, U>
): Effect.fn.Return<RunResult<S, string>, E | RunError | ThreadUnfinished, R | Checkpointer> {
  const { input, threadId } = options
  yield* annotate(graph, threadId)
  const view = yield* viewOf(graph)
  const running = yield* make(graph, view, threadId, options, tell)
  const head = Option.getOrUndefined(yield* view.get(threadId))
  const done = head === undefined ? 0 : (yield* ownMeta(graph, head)).step
  if (head !== undefined && isUnfinished(head)) return yield* unfinished(head)
  return yield* begin(running, head, done, graph.begin(input, head?.state))
})

const isUnfinished = (head: Checkpoint<unknown>): boolean =>
  head.nextNodes.length > 0 || Option.isSome(head.pendingInterrupt)

const unfinished = ({ namespace, nextNodes, pendingInterrupt, threadId, version }: Checkpoint<unknown>) =>
  new ThreadUnfinished({
    threadId,
    namespace,
    version,
    nextNodes,
    interruptId: Option.getOrUndefined(pendingInterrupt)?.interruptId
  })

/** Begins anew, after what is there. */
export const begin = <S, U, E, R>(
  running: Running<S, U, E, R>,
  head: Checkpoint<S> | undefined,
  done: number,
  state: S,
  invocation?: string | undefined
): Effect.Effect<RunResult<S, string>, E | RunError, R> => {
  const { graph, runId } = running
  return drive(
    running,
    unsaved(runId, head, state, [graph.start], {
      name: graph.name,
      step: done,
      source: "input",
      writers: [],
      ...(invocation === undefined ? {} : { invocation })
    })
  )
}
