import * as Effect from "effect/Effect"
import * as Struct from "effect/Struct"
import { WriteConflict } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import type { StepsError } from "./model.ts"
import type { Position } from "./position.ts"
import type { Returned } from "./task.ts"
import type { Thread } from "./thread.ts"

/** Two tasks of a step that write the same field, for which the graph has no reducer. */

interface Conflict {
  /** `undefined` is the whole state. */
  readonly field: string | undefined
  readonly nodes: ReadonlyArray<string>
}

/**
 * Fails if two tasks of a step write the same field. All updates of the step are stored then, so that no task runs again
 * once the graph has a reducer.
 */
export const checkConflicts = <S, U, E, R>(
  { graph, threadId, view }: Thread<S> & { readonly graph: Graph<S, U, E, R> },
  position: Position<S>,
  returned: ReadonlyArray<Returned<U>>,
  /** Runs after the last update of the step was stored. */
  onStored: Effect.Effect<unknown>
): Effect.Effect<void, StepsError> => {
  const conflict = findConflict(graph, returned)
  if (conflict === undefined) return Effect.void
  const { namespace } = view
  // A position that no version holds yet is saved as the next version when this fails.
  if (position._tag === "Unsaved") {
    return Effect.fail(
      new WriteConflict({ threadId, namespace, version: (position.head?.version ?? 0) + 1, ...conflict })
    )
  }
  const { head, pendingWrites, unstored } = position
  const last = Struct.pick(pendingWrites, Array.from(unstored))
  const store = Effect.andThen(view.savePendingWrites(head, last), Effect.exit(onStored))
  return Effect.onExit(
    Effect.fail(new WriteConflict({ threadId, namespace, version: head.version, ...conflict })),
    () => unstored.size === 0 ? Effect.void : store
  )
}

const findConflict = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  returned: ReadonlyArray<Returned<U>>
): Conflict | undefined => {
  if (returned.length < 2) return undefined
  const writers = new Map<string | undefined, Array<string>>()
  for (const { node, update } of returned) {
    for (const field of update === undefined ? [] : graph.replaced(update)) {
      const nodes = writers.get(field)
      if (nodes === undefined) writers.set(field, [node])
      else nodes.push(node)
    }
  }
  const conflict = Array.from(writers).find(([, nodes]) => nodes.length > 1)
  return conflict === undefined ? undefined : { field: conflict[0], nodes: conflict[1] }
}
