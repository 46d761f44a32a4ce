import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { CheckpointIdTaken, Contention, StoreError, Unknown } from "../../CheckpointError.ts"
import {
  type CheckpointStore,
  type HeadCondition,
  meets,
  type ParentRef,
  type SavedVersion,
  type ThreadKey
} from "../../CheckpointStore.ts"
import type * as HeadCache from "../headCache.ts"
import type { ViewMetrics } from "../metrics.ts"
import * as Content from "./content.ts"
import { headOf, type Reader, remember } from "./read.ts"
import { type Attempt, inDoubt, type Retry } from "./retry.ts"
import * as Snapshot from "./snapshot.ts"

/** What identifies a write: the id of its checkpoint, which callers may choose, and one that they may not. */
export interface Ids {
  readonly checkpointId: string
  readonly writeId: string
}

/** A version that is to be saved. */
export interface Write extends Ids {
  readonly threadId: string
  readonly condition: HeadCondition
  readonly parent?: ParentRef | undefined
  readonly content: Content.Encoded
  /** The newest version as the writer has read it. Otherwise the cache is consulted. */
  readonly head: HeadCache.Head | undefined
}

/** A version that was saved, and what the next one can be compared with. */
export interface Saved {
  readonly info: CheckpointInfo
  readonly head: HeadCache.Head | undefined
}

/** The newest version does not meet the condition of a write. */
export class HeadMismatch extends Data.TaggedError("HeadMismatch")<{
  /** The newest version; 0 if the thread does not exist. */
  readonly version: number
}> {}

export type Save = (write: Write) => Effect.Effect<Saved, HeadMismatch | CheckpointIdTaken | StoreError>

/** How often a put is sent again because what was in its way has gone. */
const maxAttempts = 3

/** Saves a version once, however often it is sent: as a change where that is possible, and whole otherwise. */
export const make = (
  { headCache, metrics, namespace, reader, retry, store }: {
    readonly store: CheckpointStore["Service"]
    readonly retry: Retry
    readonly metrics: ViewMetrics
    readonly headCache: HeadCache.HeadCache
    readonly namespace: string
    readonly reader: Pick<Reader<unknown>, "raw">
  }
): Save => {
  const send = Effect.fnUntraced(function*(
    { checkpointId, content, parent, threadId, writeId }: Write,
    condition: HeadCondition,
    state: Snapshot.StoredState,
    attempt: Attempt
  ): Effect.fn.Return<Saved | undefined, StoreError> {
    const checkpoint = { threadId, namespace, checkpointId, writeId, parent, ...state.stored, ...content.stored }
    const version = yield* retry(attempt(store.put(checkpoint, condition)))
    if (Option.isNone(version)) return undefined
    yield* Metric.update(metrics.puts[state.form], 1)
    yield* Metric.update(metrics.bytesWritten, state.stored.payload.bytes)
    const info = yield* infoOf({ threadId, namespace }, checkpointId, content, version.value)
    const head: HeadCache.Head = {
      version: info.version,
      checkpointId,
      writeId,
      json: content.state.json,
      bytes: state.stored.stateBytes,
      memory: state.memory,
      chain: state.chain(info.version)
    }
    headCache.set(info, head)
    return { info, head }
  })

  /** Sends what changed, if that is worth it, and the whole state if the change could not be applied. */
  const sendOnce = Effect.fnUntraced(function*(
    write: Write,
    attempt: Attempt
  ): Effect.fn.Return<Saved | undefined, StoreError> {
    const { condition, content, threadId } = write
    const head = headFor(headCache, { threadId, namespace }, condition, write.head)
    if (write.head === undefined && condition._tag !== "NoThread") {
      yield* Metric.update(metrics.headCacheLookups[head === undefined ? "miss" : "hit"], 1)
    }
    const change = head === undefined ? undefined : Snapshot.toDelta(content.state, head)
    if (head !== undefined && change !== undefined) {
      const saved = yield* send(write, { ...head, _tag: "At" }, change, attempt)
      // A condition that names the write of the head is no better met by the whole state.
      const isDecided = condition._tag === "At" && condition.writeId !== undefined
      if (saved !== undefined || isDecided) return saved
    }
    return yield* send(write, condition, Snapshot.toKeyframe(content.state), attempt)
  })

  /** The checkpoint with the id of a write, if it has the same content: an earlier attempt was applied. */
  const existing = Effect.fnUntraced(function*(
    { checkpointId, content, threadId }: Write
  ): Effect.fn.Return<Saved, CheckpointIdTaken | StoreError> {
    const raw = yield* reader.raw(threadId, { _tag: "Id", checkpointId }).pipe(
      // What cannot be read is not the same.
      Effect.catchTag("StateDecodeError", () => Effect.undefined),
      Effect.mapError((error) => new StoreError({ ...error, outcome: "Unknown" }))
    )
    return raw !== undefined && Content.isSame(content, raw)
      ? { info: remember(headCache, raw, raw.info), head: headOf(raw) }
      : yield* new CheckpointIdTaken({ threadId, namespace, checkpointId })
  })

  return (write) =>
    inDoubt(Effect.fnUntraced(function*(attempt) {
      const { checkpointId, condition, threadId } = write
      for (let attempts = 0; attempts < maxAttempts; attempts++) {
        const saved = yield* sendOnce(write, attempt)
        if (saved !== undefined) return saved
        const refusal = yield* retry(store.explainRefusal({ threadId, namespace }, checkpointId))
        if (refusal.idTaken) return yield* existing(write)
        // What was in the way a moment ago has gone.
        if (meets(condition, refusal.head)) continue
        yield* Metric.update(metrics.conflicts, 1)
        return yield* new HeadMismatch({ version: refusal.head?.version ?? 0 })
      }
      return yield* contention
    })).pipe(Effect.trackDuration(metrics.writeDuration))
}

const contention = new StoreError({
  operation: "put",
  reason: new Contention({ message: "the thread was created and deleted at the same moment; try again" }),
  outcome: "NotApplied"
})

const infoOf = Effect.fnUntraced(function*(
  { namespace, threadId }: ThreadKey,
  checkpointId: string,
  { metadata, nextNodes, pendingInterrupts }: Content.Encoded,
  { createdAt, parent, version }: SavedVersion
): Effect.fn.Return<CheckpointInfo, StoreError> {
  const time = DateTime.make(createdAt)
  if (Option.isNone(time)) {
    const message = `something else changed the time of thread "${threadId}" to one that is invalid`
    return yield* new StoreError({ operation: "put", reason: new Unknown({ message }), outcome: "Unknown" })
  }
  return {
    threadId,
    namespace,
    version,
    checkpointId,
    parent: parent && { ...parent, namespace },
    nextNodes,
    pendingInterrupts,
    metadata,
    tags: [],
    createdAt: time.value
  }
})

/** The checkpoint that was saved, with the state that its caller gave. */
export const withState = <S>(headCache: HeadCache.HeadCache, { head, info }: Saved, state: S): Checkpoint<S> => {
  const checkpoint = { ...info, state }
  if (head !== undefined) headCache.attach(checkpoint, head)
  return checkpoint
}

/** The newest version, if it is known and may meet the condition. */
export const headFor = (
  headCache: HeadCache.HeadCache,
  key: ThreadKey,
  condition: HeadCondition,
  given: HeadCache.Head | undefined
): HeadCache.Head | undefined => {
  const head = given ?? headCache.get(key)
  return head !== undefined && meets(condition, head) ? head : undefined
}
