import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointNotFound } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import type { Retry } from "./retry.ts"
import { describe } from "./selector.ts"
import * as Thread from "./thread.ts"

export const make = (
  { namespace, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly namespace: string
  }
): View<unknown>["setTags"] => {
  const about = Thread.annotate(namespace)
  return Effect.fn("Checkpointer.setTags")(function*(target, tags) {
    const { threadId, version } = target
    yield* Thread.checkRef(namespace, "target", target)
    const text = yield* Input.tags(tags)
    const stored = yield* retry(store.setTags({ threadId, namespace }, version, text))
    return Option.isSome(stored)
      ? yield* Effect.fromResult(Hydrate.toInfo(stored.value))
      : yield* new CheckpointNotFound({ threadId, namespace, selector: describe({ _tag: "Version", version }) })
  }, (effect, target) => about(effect, target.threadId))
}
