import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Checkpoint } from "../../Checkpoint.ts"
import { Checkpointer, type ReadError, type Selector, type View } from "../../Checkpointer.ts"
import { CheckpointNotFound, type InvalidInput } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"

/** The thread that a graph runs on. */
export interface Thread<in out S> {
  readonly view: View<S>
  readonly threadId: string
  /** The caller's part of the metadata of new versions. Without it, a version keeps that of the one before. */
  readonly callerMetadata: Schema.JsonObject | undefined
}

/** The threads of a graph as a view. */
export const viewOf = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  namespace = graph.namespace
): Effect.Effect<View<S>, InvalidInput, Checkpointer> =>
  Checkpointer.use((checkpointer) => checkpointer.view({ state: graph.state, namespace }))

/** Reads the newest version of a thread, or the selected one. */
export const readVersion = Effect.fnUntraced(function*<S>(
  { threadId, view }: Thread<S>,
  selector?: Selector | undefined
): Effect.fn.Return<Checkpoint<S>, ReadError | CheckpointNotFound> {
  const found = yield* view.get(threadId, selector)
  if (Option.isSome(found)) return found.value
  const name = selector === undefined
    ? "its latest version"
    : selector.version === undefined
    ? `id "${selector.checkpointId}"`
    : `version ${selector.version}`
  return yield* new CheckpointNotFound({ threadId, namespace: view.namespace, selector: name })
})
