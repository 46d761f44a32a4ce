import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Checkpoint } from "../../Checkpoint.ts"
import { Checkpointer, type ReadError, type Selector, type View } from "../../Checkpointer.ts"
import { CheckpointNotFound, type InvalidInput } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"

/** The thread that a graph is run on. */
export interface Thread<in out S> {
  readonly view: View<S>
  readonly threadId: string
  /** What the caller has for the metadata of its versions; that of the version before by default. */
  readonly metadata: Schema.JsonObject | undefined
}

/** The threads of a graph. */
export const viewOf = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  namespace = graph.namespace
): Effect.Effect<View<S>, InvalidInput, Checkpointer> =>
  Checkpointer.use((checkpointer) => checkpointer.view({ state: graph.state, namespace }))

/** The newest version of a thread, or the one that is selected. */
export const read = Effect.fnUntraced(function*<S>(
  { threadId, view }: Thread<S>,
  selector: Selector | undefined
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
