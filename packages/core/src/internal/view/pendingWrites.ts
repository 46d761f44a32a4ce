import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type * as Schema from "effect/Schema"
import type { CheckpointInfo, CheckpointRef } from "../../Checkpoint.ts"
import { CheckpointNotFound, type StoreError, VersionConflict } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import * as Json from "../json.ts"
import type { InTurn } from "../threadQueue.ts"
import { encodePendingWrites, pendingWritesTooLarge } from "./content.ts"
import type { Retry } from "./retry.ts"
import * as Thread from "./thread.ts"

const byTask: Order.Order<CheckpointStore.PendingWrite> = Order.mapInput(Order.String, ({ task }) => task)

/** Reads the pending writes of a checkpoint. */
export const read = Effect.fnUntraced(function*(
  { retry, store }: { readonly store: CheckpointStore.CheckpointStore["Service"]; readonly retry: Retry },
  { checkpointId, namespace, threadId, version }: Pick<
    CheckpointInfo,
    "threadId" | "namespace" | "version" | "checkpointId"
  >
): Effect.fn.Return<Schema.JsonObject, CheckpointNotFound | StoreError> {
  const stored = yield* retry(store.readPendingWrites({ threadId, namespace }, { version, checkpointId }))
  if (Option.isNone(stored)) {
    return yield* new CheckpointNotFound({ threadId, namespace, selector: `version ${version}` })
  }
  return Json.unescape(
    Object.fromEntries(stored.value.toSorted(byTask).map(({ task, value }) => [task, Json.parse(value)]))
  ) as Schema.JsonObject
})

export const make = (
  { fewAtOnce, maxStateBytes, namespace, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly fewAtOnce: InTurn
    readonly maxStateBytes: number
    readonly namespace: string
  }
): Pick<View<unknown>, "savePendingWrites" | "pendingWrites"> => {
  const about = Thread.annotate(namespace)

  const checkTarget = Effect.fnUntraced(function*(target: CheckpointRef) {
    const { checkpointId, threadId, version } = target
    yield* Thread.checkRef(namespace, "target", target)
    return { key: { threadId, namespace }, version: { version, checkpointId } }
  })

  const notFound = ({ threadId, version }: CheckpointRef): CheckpointNotFound =>
    new CheckpointNotFound({ threadId, namespace, selector: `version ${version}` })

  return {
    savePendingWrites: Effect.fn("Checkpointer.savePendingWrites")(function*(target, pendingWrites) {
      const { key, version } = yield* checkTarget(target)
      const text = yield* encodePendingWrites(key, maxStateBytes, pendingWrites)
      const outcome = yield* fewAtOnce(key, retry(store.savePendingWrites(key, version, text, maxStateBytes)))
      if (outcome._tag === "NotFound") return yield* notFound(target)
      if (outcome._tag === "StepEnded") {
        return yield* new VersionConflict({ ...key, expected: target.version, actual: outcome.version })
      }
      if (outcome._tag === "TooLarge") {
        return yield* pendingWritesTooLarge(key, pendingWrites, outcome.bytes, maxStateBytes)
      }
    }, (effect, target) => about(effect, target.threadId)),
    pendingWrites: Effect.fn("Checkpointer.pendingWrites")(function*(target) {
      const { key, version } = yield* checkTarget(target)
      return yield* read({ store, retry }, { ...key, ...version })
    }, (effect, target) => about(effect, target.threadId))
  }
}
