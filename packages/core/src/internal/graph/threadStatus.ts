import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { ReadError, ThreadFilter, View } from "../../View.ts"
import type { Graph } from "./definition.ts"
import { type Failure, failuresOf } from "./failure.ts"
import { checkResumable, openQuestions, outermostMetadata } from "./mismatch.ts"
import type { PendingInterrupt } from "./model.ts"
import { pendingOf } from "./pendingInterrupt.ts"
import { isWaiting } from "./position.ts"
import { ofStep } from "./question.ts"
import { annotateSpan } from "./runContext.ts"
import { viewOf } from "./thread.ts"
import { updateKey } from "./updateKey.ts"

/** Where threads are, without running anything and without reading their states. */

/**
 * Where a thread is.
 *
 * - `Completed`: its last run has ended
 * - `Stopped`: its last step led to several nodes, and the strategy was `StopAtNonLinear`
 * - `Waiting`: everything that is left of its step waits for answers
 * - `Failed`: a node of its step failed, and has not returned since
 * - `Unfinished`: it runs, or the process that ran it is gone; `resume` continues it
 * - `Mismatched`: the graph cannot continue it, for the reason that is given
 *
 * @category models
 * @since 0.2.0
 */
export type Status =
  | StatusOf<"Completed">
  | StatusOf<"Stopped"> & { readonly branches: ReadonlyArray<string> }
  | StatusOf<"Waiting">
  | StatusOf<"Failed">
  | StatusOf<"Unfinished">
  | StatusOf<"Mismatched"> & { readonly problem: string }

interface StatusOf<Tag extends string> {
  readonly _tag: Tag
  /** The newest version. Its `createdAt` is when the thread last moved. */
  readonly checkpoint: CheckpointInfo
  /** How many steps the thread has completed. */
  readonly step: number
  /** The nodes of the step that is under way. */
  readonly nodes: ReadonlyArray<string>
  /** The questions of the step that have no answer. */
  readonly interrupts: ReadonlyArray<PendingInterrupt>
  /** The failures of the step, oldest first: of nodes that have returned since, too. */
  readonly failures: ReadonlyArray<Failure>
}

/** The status of a thread. `None` if the thread does not exist. */
export const one = Effect.fn("StateGraph.status")(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  threadId: string
): Effect.fn.Return<Option.Option<Status>, ReadError, Checkpointer> {
  yield* annotateSpan(graph, threadId)
  const view = yield* viewOf(graph)
  const [head] = yield* view.listVersions(threadId, { limit: 1 })
  return head === undefined ? Option.none() : yield* statusOf(graph, view, head)
})

/** The statuses of threads, the one that was saved last first. */
export const list = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  filter: ThreadFilter | undefined
): Stream.Stream<Status, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    view.threads(filter).pipe(
      Stream.mapEffect(({ head }) => statusOf(graph, view, head), { concurrency: 4 }),
      Stream.flatMap(Option.match({ onNone: () => Stream.empty, onSome: Stream.succeed }))
    )))

/** The status at a newest version. `None` if the thread was deleted since that was read. */
const statusOf = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  view: View<S>,
  checkpoint: CheckpointInfo
): Effect.Effect<Option.Option<Status>, ReadError> =>
  Effect.gen(function*() {
    const { nextNodes } = checkpoint
    const { pendingWrites, questions: stored } = yield* view.step(checkpoint)
    const questions = ofStep(stored)
    const failures = failuresOf(pendingWrites)
    const common = { checkpoint, nodes: nextNodes, interrupts: pendingOf(checkpoint, questions), failures }
    return yield* Effect.gen(function*() {
      const { step, stopped } = yield* outermostMetadata(graph, checkpoint)
      yield* checkResumable(graph, checkpoint, nextNodes, yield* openQuestions(graph, checkpoint, stored))
      const place = { ...common, step }
      if (isWaiting({ nextNodes, pendingWrites, questions })) return { _tag: "Waiting" as const, ...place }
      if (stopped) return { _tag: "Stopped" as const, ...place, branches: nextNodes }
      if (nextNodes.length === 0) return { _tag: "Completed" as const, ...place }
      const hasFailed = failures.some(({ node }) => pendingWrites[updateKey(node)] === undefined)
      return { _tag: hasFailed ? "Failed" as const : "Unfinished" as const, ...place }
    }).pipe(
      Effect.catchTag("GraphMismatch", ({ problem }) =>
        Effect.succeed({ _tag: "Mismatched" as const, ...common, step: 0, problem }))
    )
  }).pipe(
    Effect.asSome,
    Effect.catchTag("CheckpointNotFound", () =>
      Effect.succeedNone)
  )
