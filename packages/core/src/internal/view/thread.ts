import * as Effect from "effect/Effect"
import { InvalidInput } from "../../CheckpointError.ts"
import type { VersionRef } from "../../View.ts"
import * as Input from "../input.ts"

/** What all operations on a thread of a view do first. */

export const checkId = (threadId: string): Effect.Effect<string, InvalidInput> => Input.id("threadId", threadId)

export const checkNamespace = (
  namespace: string,
  field: string,
  ref: { readonly namespace?: string | undefined }
): Effect.Effect<void, InvalidInput> =>
  ref.namespace === undefined || ref.namespace === namespace ? Effect.void : Effect.fail(
    new InvalidInput({
      field: `${field}.namespace`,
      problem: `it is "${ref.namespace}", but this view is of namespace "${namespace}"`
    })
  )

/** Tells spans and logs which thread an operation is about. */
export const annotate =
  (namespace: string) => <A, E, R>(effect: Effect.Effect<A, E, R>, threadId: string): Effect.Effect<A, E, R> =>
    Effect.annotateCurrentSpan({ "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }).pipe(
      Effect.andThen(effect),
      Effect.annotateLogs({ threadId, namespace })
    )

export const checkRef = Effect.fnUntraced(function*(
  namespace: string,
  field: string,
  ref: VersionRef
): Effect.fn.Return<void, InvalidInput> {
  yield* checkId(ref.threadId)
  yield* checkNamespace(namespace, field, ref)
  yield* Input.wholeNumber(`${field}.version`, ref.version)
})
