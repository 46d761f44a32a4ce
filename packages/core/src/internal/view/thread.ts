import * as Effect from "effect/Effect"
import type { CheckpointRef } from "../../Checkpoint.ts"
import { InvalidInput } from "../../CheckpointError.ts"
import * as Input from "../input.ts"

/** What all operations on a thread of a view do first. */

export const checkId = (threadId: string): Effect.Effect<string, InvalidInput> => Input.id("threadId", threadId)

export const checkRef = Effect.fnUntraced(function*(
  namespace: string,
  field: string,
  ref: CheckpointRef
): Effect.fn.Return<void, InvalidInput> {
  yield* checkId(ref.threadId)
  if (ref.namespace !== undefined && ref.namespace !== namespace) {
    return yield* new InvalidInput({
      field: `${field}.namespace`,
      problem: `it is "${ref.namespace}", but this view is of namespace "${namespace}"`
    })
  }
  yield* Input.wholeNumber(`${field}.version`, ref.version)
  yield* Input.checkpointId({ threadId: ref.threadId, namespace }, ref.checkpointId)
})

/** Tells spans and logs which thread an operation is about. */
export const annotate =
  (namespace: string) => <A, E, R>(effect: Effect.Effect<A, E, R>, threadId: string): Effect.Effect<A, E, R> =>
    Effect.annotateCurrentSpan({ "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }).pipe(
      Effect.andThen(effect),
      Effect.annotateLogs({ threadId, namespace })
    )
