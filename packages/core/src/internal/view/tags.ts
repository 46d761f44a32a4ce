import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointNotFound } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import type { InTurn } from "../threadQueue.ts"
import type { Reader } from "./read.ts"
import type { Retry } from "./retry.ts"
import { select } from "./selector.ts"
import * as Thread from "./thread.ts"

export const make = (
  { fewAtOnce, namespace, reader, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly fewAtOnce: InTurn
    readonly namespace: string
    readonly reader: Pick<Reader<unknown>, "required">
  }
): View<unknown>["setTags"] =>
  Effect.fn("Checkpointer.setTags")(function*(threadId, selector, tags) {
    yield* Thread.checkId(threadId)
    const which = yield* select({ threadId, namespace }, selector)
    const text = yield* Input.tags(tags)
    const version = which.selector._tag === "Version"
      ? which.selector.version
      : (yield* reader.required(threadId, which)).info.version
    const key = { threadId, namespace }
    const stored = yield* fewAtOnce(key, retry(store.setTags(key, version, text)))
    return Option.isSome(stored)
      ? yield* Effect.fromResult(Hydrate.toInfo(stored.value))
      : yield* new CheckpointNotFound({ threadId, namespace, selector: which.description })
  }, Thread.annotate(namespace))
