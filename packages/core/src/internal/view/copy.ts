import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import { StateTooLarge, ThreadExists } from "../../CheckpointError.ts"
import type { CopyError, View } from "../../View.ts"
import type * as HeadCache from "../headCache.ts"
import type * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import { newIds } from "./compose.ts"
import * as Content from "./content.ts"
import type { Reader } from "./read.ts"
import { type HeadMismatch, type Save, withState, type Write } from "./save.ts"
import { select } from "./selector.ts"
import * as Snapshot from "./snapshot.ts"
import * as Thread from "./thread.ts"
import type { Saving } from "./underway.ts"

/** The operations that save a version again, as the next one of its own thread or as the first of another. */
export const make = <S>(
  { headCache, inTurn, maxStateBytes, namespace, random, reader, save }: {
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
    target: Pick<Write, "threadId" | "condition">,
    options: Parameters<View<S>["restore"]>[2]
  ): Effect.fn.Return<Checkpoint<S>, CopyError | HeadMismatch> {
    const key = { threadId: target.threadId, namespace }
    const ids = yield* newIds(random, key, options?.checkpointId)
    if (raw.stateBytes > maxStateBytes) {
      return yield* new StateTooLarge({ ...key, bytes: raw.stateBytes, limit: maxStateBytes })
    }
    const { state } = yield* reader.decode(raw)
    const parts = { ...raw.info, metadata: options?.metadata ?? raw.info.metadata }
    const content = yield* Content.encode(key, maxStateBytes, Snapshot.ofRead(raw.json), parts, options?.step)
    const parent = { threadId: raw.info.threadId, version: raw.info.version, checkpointId: raw.info.checkpointId }
    const saved = yield* inTurn(key, save({ ...target, ...ids, parent, content, head: undefined }))
    return withState(headCache, saved, state)
  })

  return {
    restore: Effect.fn("Checkpointer.restore")(function*(threadId, selector, options) {
      yield* Thread.checkId(threadId)
      const raw = yield* reader.required(threadId, yield* select({ threadId, namespace }, selector))
      return yield* copy(raw, { threadId, condition: { _tag: "Any" } }, options).pipe(
        Effect.catchTag("HeadMismatch", Effect.die)
      )
    }, annotate),
    fork: Effect.fn("Checkpointer.fork")(function*(threadId, selector, target) {
      yield* Thread.checkId(threadId)
      const which = yield* select({ threadId, namespace }, selector)
      yield* Input.id("target.threadId", target.threadId)
      const raw = yield* reader.required(threadId, which)
      const { checkpointId } = target
      return yield* copy(raw, { threadId: target.threadId, condition: { _tag: "NoThread" } }, { checkpointId }).pipe(
        Effect.catchTag(
          "HeadMismatch",
          ({ version }) => Effect.fail(new ThreadExists({ threadId: target.threadId, namespace, version }))
        )
      )
    }, annotate)
  }
}
