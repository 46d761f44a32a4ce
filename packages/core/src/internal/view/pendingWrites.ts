import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { CheckpointRef } from "../../Checkpoint.ts"
import { CheckpointNotFound } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import { encodeWrites } from "./content.ts"
import type { Retry } from "./retry.ts"
import { describe } from "./selector.ts"
import * as Thread from "./thread.ts"

export const make = (
  { maxStateBytes, namespace, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly maxStateBytes: number
    readonly namespace: string
  }
): Pick<View<unknown>, "saveWrites" | "writes"> => {
  const about = Thread.annotate(namespace)

  const checkTarget = Effect.fnUntraced(function*({ checkpointId, ...target }: CheckpointRef) {
    const { threadId, version } = target
    yield* Thread.checkRef(namespace, "target", target)
    yield* Input.checkpointId({ threadId, namespace }, checkpointId)
    return { key: { threadId, namespace }, version: { version, checkpointId } }
  })

  const notFound = ({ threadId, version }: CheckpointRef): CheckpointNotFound =>
    new CheckpointNotFound({ threadId, namespace, selector: describe({ _tag: "Version", version }) })

  return {
    saveWrites: Effect.fn("Checkpointer.saveWrites")(function*(target, writes) {
      const { key, version } = yield* checkTarget(target)
      const text = yield* encodeWrites(key, maxStateBytes, writes)
      const isThere = yield* retry(store.savePendingWrites(key, version, text))
      if (!isThere) return yield* notFound(target)
    }, (effect, target) => about(effect, target.threadId)),
    writes: Effect.fn("Checkpointer.writes")(function*(target) {
      const { key, version } = yield* checkTarget(target)
      const stored = yield* retry(store.readPendingWrites(key, version))
      if (Option.isNone(stored)) return yield* notFound(target)
      return Json.unescape(
        Object.fromEntries(stored.value.map(({ task, value }) => [task, Json.parse(value)]))
      ) as Schema.JsonObject
    }, (effect, target) => about(effect, target.threadId))
  }
}
