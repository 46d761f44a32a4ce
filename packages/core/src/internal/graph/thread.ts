import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { Checkpointer } from "../../Checkpointer.ts"
import { CheckpointNotFound, type InvalidInput } from "../../CheckpointError.ts"
import type { ReadError, View } from "../../View.ts"
import type { Graph } from "./definition.ts"
import type { RunSettings } from "./model.ts"

/** The thread that a graph runs on. */
export interface Thread<in out S> {
  readonly view: View<S>
  readonly threadId: string
  /** What each version stores of the settings. */
  readonly settings: Pick<RunSettings, "metadata" | "overrides">
}

/** The threads of a graph as a view. */
export const viewOf = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  namespace = graph.namespace
): Effect.Effect<View<S>, InvalidInput, Checkpointer> =>
  Checkpointer.use((checkpointer) => checkpointer.view({ state: graph.state, namespace }))

/** What belongs to the step of a version. Nothing does where nothing is left to run or to answer. */
export const readStep = <S>(
  { view }: Pick<Thread<S>, "view">,
  checkpoint: CheckpointInfo
): ReturnType<View<S>["step"]> =>
  checkpoint.nextNodes.length === 0 && checkpoint.pendingInterrupts.length === 0
    ? Effect.succeed({ ended: false, pendingWrites: {}, questions: [] })
    : view.step(checkpoint)

/** How `resume` selects a version of a thread. */
export type VersionSelector = { readonly version: number } | { readonly checkpointId: string }

/** Reads the newest version of a thread, or the selected one. */
export const readVersion = Effect.fnUntraced(function*<S>(
  { threadId, view }: Pick<Thread<S>, "threadId" | "view">,
  selector?: VersionSelector | undefined
): Effect.fn.Return<Checkpoint<S>, ReadError | CheckpointNotFound> {
  const found = yield* view.get(threadId, selector)
  if (Option.isSome(found)) return found.value
  const name = selector === undefined
    ? undefined
    : "version" in selector
    ? `version ${selector.version}`
    : `the id "${selector.checkpointId}"`
  return yield* new CheckpointNotFound({ threadId, namespace: view.namespace, selector: name })
})
