import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import { StateTooLarge, ThreadExists } from "../../CheckpointError.ts"
import type { CheckpointStore, HeadCondition, ThreadKey } from "../../CheckpointStore.ts"
import type { CopyError, View } from "../../View.ts"
import { asOwnStep, copied } from "../graph/copied.ts"
import type * as HeadCache from "../headCache.ts"
import type * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import * as Namespace from "../namespace.ts"
import { newIds } from "./compose.ts"
import * as Content from "./content.ts"
import type { Reader } from "./read.ts"
import type { Retry } from "./retry.ts"
import { type HeadMismatch, type Ids, type Save, withState } from "./save.ts"
import { select } from "./selector.ts"
import * as Snapshot from "./snapshot.ts"
import { readStep } from "./step.ts"
import * as Thread from "./thread.ts"
import type { Saving } from "./underway.ts"

/** The operations that save a version again, as the next one of its own thread or as the first of another. */
export const make = <S>(
  { headCache, inTurn, maxStateBytes, namespace, random, reader, retry, save, store }: {
    readonly store: CheckpointStore["Service"]
    readonly retry: Retry
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: Saving
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
    readonly namespace: string
    readonly reader: Pick<Reader<S>, "required" | "decode">
    readonly save: Save
  }
): Pick<View<S>, "restore" | "fork"> => {
  const annotate = Thread.annotate(namespace)

  const copy = Effect.fnUntraced(function*(
    raw: Hydrate.JsonCheckpoint,
    threadId: string,
    condition: HeadCondition,
    options: Parameters<View<S>["restore"]>[2]
  ): Effect.fn.Return<Checkpoint<S>, CopyError | HeadMismatch> {
    const key = { threadId, namespace }
    const ids = yield* newIds(random, key, options?.checkpointId)
    if (raw.stateBytes > maxStateBytes) {
      return yield* new StateTooLarge({ ...key, bytes: raw.stateBytes, limit: maxStateBytes })
    }
    const { state } = yield* reader.decode(raw)
    const metadata = options?.metadata ?? raw.info.metadata
    const given = options?.step?.pendingWrites
    const copy = asOwnStep(
      { ...copied(raw.info, yield* readStep({ store, retry }, raw.info)), metadata },
      stepIdOf(key, ids, options)
    )
    const step = { ...copy, ...given === undefined ? {} : { pendingWrites: given }, change: "Ends" } as const
    // What was stored may be stored again, although the answers of a step are not limited together.
    const maxWrites = given === undefined ? Number.POSITIVE_INFINITY : maxStateBytes
    const content = yield* Content.encode(key, maxWrites, Snapshot.ofRead(raw.json), { ...raw.info, ...copy }, step)
    const parent = { threadId: raw.info.threadId, version: raw.info.version, checkpointId: raw.info.checkpointId }
    const saved = yield* inTurn(key, save({ ...ids, threadId, condition, parent, content, head: undefined }))
    return withState(headCache, saved, state)
  })

  return {
    restore: Effect.fn("Checkpointer.restore")(function*(threadId, selector, options) {
      yield* Thread.checkId(threadId)
      const raw = yield* reader.required(threadId, yield* select({ threadId, namespace }, selector))
      // There is no condition that the newest version could fail to meet.
      return yield* Effect.catchTag(copy(raw, threadId, { _tag: "Any" }, options), "HeadMismatch", Effect.die)
    }, annotate),
    fork: Effect.fn("Checkpointer.fork")(function*(threadId, selector, target) {
      yield* Thread.checkId(threadId)
      const which = yield* select({ threadId, namespace }, selector)
      yield* Input.id("target.threadId", target.threadId)
      const raw = yield* reader.required(threadId, which)
      const { checkpointId } = target
      return yield* copy(raw, target.threadId, { _tag: "NoThread" }, { checkpointId }).pipe(
        Effect.catchTag(
          "HeadMismatch",
          ({ version }) => Effect.fail(new ThreadExists({ threadId: target.threadId, namespace, version }))
        )
      )
    }, annotate)
  }
}

/** The id of the step that begins at a copy. It is the same if the copy is saved again under an id of the caller. */
const stepIdOf = (
  { namespace, threadId }: ThreadKey,
  { checkpointId }: Ids,
  options: { readonly checkpointId?: string | undefined } | undefined
): string =>
  options?.checkpointId === undefined
    ? checkpointId
    : [namespace, ...[threadId, checkpointId].map(Namespace.segment)].join("/")
