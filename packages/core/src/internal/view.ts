import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { CheckpointStore } from "../CheckpointStore.ts"
import type { View } from "../View.ts"
import type * as Codec from "./codec.ts"
import type * as HeadCache from "./headCache.ts"
import type { ViewMetrics } from "./metrics.ts"
import type { InTurn } from "./threadQueue.ts"
import * as Compose from "./view/compose.ts"
import * as Copy from "./view/copy.ts"
import * as Put from "./view/put.ts"
import * as Questions from "./view/questions.ts"
import * as Read from "./view/read.ts"
import type { Retry } from "./view/retry.ts"
import * as Save from "./view/save.ts"
import * as Step from "./view/step.ts"
import * as Tags from "./view/tags.ts"
import * as Thread from "./view/thread.ts"
import * as Threads from "./view/threads.ts"
import { saving } from "./view/underway.ts"
import * as Update from "./view/update.ts"

/** A view of what all views of one service share. Its operations are in the folder `view`, one module each. */
export const make = <S>(
  shared: {
    readonly store: CheckpointStore["Service"]
    readonly retry: Retry
    readonly metrics: ViewMetrics
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: InTurn
    /** Lets runs of `updateEffect` that met a conflict take turns. */
    readonly updateInTurn: InTurn
    readonly fewAtOnce: InTurn
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
  },
  namespace: string,
  codec: Codec.Codec<S>
): View<S> => {
  const { inTurn, retry, store } = shared
  const reader = Read.makeReader({ store, retry, namespace, codec })
  const reading = { ...shared, namespace, reader }
  const save = Save.make(reading)
  const writing = {
    ...reading,
    inTurn: saving(store, inTurn),
    save,
    compose: Compose.make({ ...shared, codec }),
    makeIds: Compose.makeIds(shared.random)
  }
  return {
    namespace,
    ...Put.make(writing),
    ...Update.make(writing),
    ...Read.make(reading),
    ...Copy.make(writing),
    setTags: Tags.make(reading),
    ...Step.make(reading),
    ...Questions.make(reading),
    deleteThread: Effect.fn("Checkpointer.deleteThread")(function*(threadId) {
      yield* Thread.checkId(threadId)
      const key = { threadId, namespace }
      return yield* inTurn(key, retry(store.deleteThread(key), "once"))
    }, Thread.annotate(namespace)),
    threads: (filter) => Threads.list({ store, retry }, namespace, filter)
  }
}
