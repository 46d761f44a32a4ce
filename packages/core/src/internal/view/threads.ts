import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { ThreadInfo } from "../../Checkpoint.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { ReadError, ThreadFilter } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import type { Retry } from "./retry.ts"

const threadsPage = 100

/** Lists the threads of one namespace, or of all. */
export const list = (
  { retry, store }: { readonly store: CheckpointStore.CheckpointStore["Service"]; readonly retry: Retry },
  namespace: string | undefined,
  filter: ThreadFilter | undefined
): Stream.Stream<ThreadInfo, ReadError> =>
  Stream.unwrap(Effect.gen(function*() {
    if (namespace !== undefined) yield* Input.namespace(namespace)
    const metadata = filter?.metadata === undefined
      ? undefined
      : yield* Input.jsonObject("filter.metadata", filter.metadata)
    return Stream.paginate(undefined as CheckpointStore.ThreadCursor | undefined, (after) =>
      retry(
        store.threads({
          namespace,
          metadata,
          interrupted: filter?.interrupted,
          unfinished: filter?.unfinished,
          after,
          limit: threadsPage
        })
      ).pipe(
        Effect.flatMap((stored) =>
          Effect.map(Effect.fromResult(Result.all(stored.map(Hydrate.toThread))), (page) =>
            [
              page,
              nextPage(
                stored,
                threadsPage,
                ({ head, namespace, threadId }): CheckpointStore.ThreadCursor | undefined => ({
                  threadId,
                  namespace,
                  updatedAt: head.createdAt
                })
              )
            ] as const)
        )
      ))
  })).pipe(Stream.withSpan("Checkpointer.threads"))

/** A page that is not full is the last one. */
const nextPage = <A, B>(page: ReadonlyArray<A>, size: number, cursor: (last: A) => B): Option.Option<B> =>
  page.length < size ? Option.none() : Option.some(cursor(page[page.length - 1]!))
