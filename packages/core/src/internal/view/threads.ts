import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { ThreadInfo } from "../../Checkpoint.ts"
import type { CheckpointStore, StoredThread, ThreadCursor } from "../../CheckpointStore.ts"
import type { ReadError, ThreadFilter } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import type { Retry } from "./retry.ts"

const threadsPage = 100

/** Lists the threads of one namespace, or of all. */
export const list = (
  { retry, store }: { readonly store: CheckpointStore["Service"]; readonly retry: Retry },
  namespace: string | undefined,
  filter: ThreadFilter | undefined
): Stream.Stream<ThreadInfo, ReadError> =>
  Stream.unwrap(Effect.gen(function*() {
    if (namespace !== undefined) yield* Input.namespace(namespace)
    const metadata = filter?.metadata === undefined
      ? undefined
      : yield* Input.jsonObject("filter.metadata", filter.metadata)
    return Stream.paginate(undefined as ThreadCursor | undefined, (after) =>
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
          Effect.map(
            Effect.fromResult(Result.all(stored.toSorted(newestFirst).map(Hydrate.toThread))),
            (page) => [page, nextPage(stored)] as const
          )
        )
      ))
  })).pipe(Stream.withSpan("Checkpointer.threads"))

/** A page that is not full is the last one. */
const nextPage = (page: ReadonlyArray<StoredThread>): Option.Option<ThreadCursor | undefined> =>
  page.length < threadsPage ? Option.none() : Option.fromUndefinedOr(page.at(-1))

/** Within a page. Stores list threads by a time that is up to a minute earlier. */
const newestFirst: Order.Order<StoredThread> = Order.combineAll([
  Order.mapInput(Order.flip(Order.Number), (thread) => thread.head.createdAt),
  Order.mapInput(Order.String, (thread) => thread.namespace),
  Order.mapInput(Order.String, (thread) => thread.threadId)
])
