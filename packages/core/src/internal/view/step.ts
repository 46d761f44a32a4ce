import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type * as Schema from "effect/Schema"
import type { CheckpointInfo, CheckpointRef } from "../../Checkpoint.ts"
import { CheckpointNotFound, type StoreError, VersionConflict } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { StepState, View } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Json from "../json.ts"
import type { InTurn } from "../threadQueue.ts"
import { encodePendingWrites, pendingWritesTooLarge } from "./content.ts"
import type { Retry } from "./retry.ts"
import * as Thread from "./thread.ts"

const byTask: Order.Order<CheckpointStore.PendingWrite> = Order.mapInput(Order.String, ({ task }) => task)

/** What belongs to the step of a checkpoint. */
export const readStep = Effect.fnUntraced(function*(
  { retry, store }: { readonly store: CheckpointStore.CheckpointStore["Service"]; readonly retry: Retry },
  { checkpointId, namespace, threadId, version }: Pick<
    CheckpointInfo,
    "threadId" | "namespace" | "version" | "checkpointId"
  >
): Effect.fn.Return<StepState, CheckpointNotFound | StoreError> {
  const stored = yield* retry(store.readStep({ threadId, namespace }, { version, checkpointId }))
  if (Option.isNone(stored)) {
    return yield* new CheckpointNotFound({ threadId, namespace, selector: `version ${version}` })
  }
  const { ended, pendingWrites, questions } = stored.value
  return {
    ended,
    pendingWrites: Json.unescape(
      Object.fromEntries(pendingWrites.toSorted(byTask).map(({ task, value }) => [task, Json.parse(value)]))
    ) as Schema.JsonObject,
    questions: questions.map(Hydrate.toQuestion)
  }
})

export const make = (
  { fewAtOnce, maxStateBytes, namespace, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly fewAtOnce: InTurn
    readonly maxStateBytes: number
    readonly namespace: string
  }
): Pick<View<unknown>, "savePendingWrites" | "pendingWrites" | "step"> => {
  const about = Thread.annotate(namespace)

  return {
    savePendingWrites: Effect.fn("Checkpointer.savePendingWrites")(function*(target, pendingWrites) {
      const { key, version } = yield* checkTarget(namespace, target)
      const text = yield* encodePendingWrites(key, maxStateBytes, pendingWrites)
      const outcome = yield* fewAtOnce(key, retry(store.savePendingWrites(key, version, text, maxStateBytes)))
      if (outcome._tag === "NotFound") return yield* notFound(target, namespace)
      if (outcome._tag === "StepEnded") return yield* stepEnded(target, namespace, outcome.version)
      if (outcome._tag === "TooLarge") {
        return yield* pendingWritesTooLarge(key, pendingWrites, outcome.bytes, maxStateBytes)
      }
    }, (effect, target) => about(effect, target.threadId)),
    pendingWrites: Effect.fn("Checkpointer.pendingWrites")(function*(target) {
      const { key, version } = yield* checkTarget(namespace, target)
      return (yield* readStep({ store, retry }, { ...key, ...version })).pendingWrites
    }, (effect, target) => about(effect, target.threadId)),
    step: Effect.fn("Checkpointer.step")(function*(target) {
      const { key, version } = yield* checkTarget(namespace, target)
      return yield* readStep({ store, retry }, { ...key, ...version })
    }, (effect, target) => about(effect, target.threadId))
  }
}

/** The step of a checkpoint has ended. */
export const stepEnded = (
  { threadId, version }: CheckpointRef,
  namespace: string,
  actual: number
): VersionConflict => new VersionConflict({ threadId, namespace, expected: version, actual })

export const notFound = ({ threadId, version }: CheckpointRef, namespace: string): CheckpointNotFound =>
  new CheckpointNotFound({ threadId, namespace, selector: `version ${version}` })

/** Checks a reference to a checkpoint of the view. */
export const checkTarget = Effect.fnUntraced(function*(namespace: string, target: CheckpointRef) {
  const { checkpointId, threadId, version } = target
  yield* Thread.checkRef(namespace, "target", target)
  return { key: { threadId, namespace }, version: { version, checkpointId } }
})
