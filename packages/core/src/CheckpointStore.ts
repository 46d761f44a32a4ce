/**
 * The small interface that a backend implements, and the one kept in memory.
 *
 * A store puts encoded records away and finds them again. Schemas, retries,
 * spans, metrics and the checking of input are above it, in `Checkpointer`, so
 * that two stores cannot differ in them. `@effect-checkpoint/testing` has the
 * laws that every store must keep.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { StateDecodeError, StoreError } from "./CheckpointError.ts"
import { Format } from "./internal/format.ts"
import * as Json from "./internal/json.ts"
import * as Record from "./internal/record.ts"

export { Format }

/**
 * Names a thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadKey {
  readonly threadId: string
  readonly namespace: string
}

/**
 * Names a version of a thread, and not another one that took its number later.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionId {
  readonly version: number
  readonly checkpointId: string
}

/**
 * What a writer takes for the newest version: `Any` appends whatever it is;
 * `Version` appends only after it, 0 meaning that the thread does not exist. With
 * a `checkpointId` the head must also have that id, and with a `revision` it must
 * be of that very write: ids that callers choose may come back with other content,
 * after a deletion or a rollback. `Hint` is the same without the wish to know why
 * not: the writer has another record for that case.
 *
 * @category models
 * @since 0.1.0
 */
export type Expected =
  | { readonly _tag: "Any" }
  | {
    readonly _tag: "Version"
    readonly version: number
    readonly checkpointId: string | undefined
    readonly revision: string | undefined
  }
  | { readonly _tag: "Hint"; readonly version: number; readonly revision: string }

/**
 * A checkpoint on its way into a store. JSON parts are text, already in a form
 * that every store can hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewRecord extends ThreadKey {
  readonly checkpointId: string
  /** A UUID drawn for this write, the same in all its attempts, and never chosen by a caller. */
  readonly revision: string
  /** `undefined`: the head that it is put upon, if there is one. */
  readonly parent: ParentRef | undefined
  readonly format: number
  readonly state: string
  /** The UTF-8 bytes of `state`. */
  readonly bytes: number
  /** The bytes of the whole state, whatever the format. */
  readonly stateBytes: number
  /** A JSON array of strings. */
  readonly nextNodes: string
  /** A JSON object, or the text `null`. */
  readonly pendingInterrupt: string
  /** A JSON object. */
  readonly metadata: string
  /** A JSON object of tasks and their values: what has been done of the step that begins here. */
  readonly writes: string
  /** Whether the head that it is put upon is not waited for any more, so that retention may remove it. */
  readonly resolves: boolean
  /** Whether the writes of the head that it is put upon are copied; its own come first. */
  readonly keepsWrites: boolean
}

/**
 * What a checkpoint was made from, in the same namespace.
 *
 * @category models
 * @since 0.1.0
 */
export interface ParentRef {
  readonly threadId: string
  readonly version: number
  readonly checkpointId: string
}

/**
 * A stored checkpoint without its state. JSON parts are text, since parsing them is not the store's to get right.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredInfo extends ThreadKey {
  readonly version: number
  readonly checkpointId: string
  readonly parent: ParentRef | undefined
  /** A JSON array of strings. */
  readonly nextNodes: string
  /** A JSON object, or the text `null`. */
  readonly pendingInterrupt: string
  /** A JSON object. */
  readonly metadata: string
  /** A JSON array of strings. */
  readonly tags: string
  /** Milliseconds since the epoch, by the store's clock. */
  readonly createdAt: number
}

/**
 * A stored checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredRecord extends StoredInfo {
  readonly format: number
  /** JSON text. */
  readonly state: string
  readonly bytes: number
  readonly stateBytes: number
  /** Whether it can be read; otherwise it is here for those after it. */
  readonly visible: boolean
  /** Of the write that it comes from, where it is the newest version. */
  readonly revision: string | undefined
}

/**
 * What a task of the step that begins at a version has already done.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredWrite {
  readonly task: string
  /** JSON text. */
  readonly value: string
}

/**
 * A thread with its newest checkpoint, without the state.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredThread extends ThreadKey {
  readonly createdAt: number
  readonly head: StoredInfo
}

/**
 * What became of a put.
 *
 * @category models
 * @since 0.1.0
 */
export type PutResult =
  | {
    readonly _tag: "Saved"
    readonly version: number
    readonly parent: ParentRef | undefined
    readonly createdAt: number
  }
  | { readonly _tag: "Conflict"; readonly actual: number }
  /** The thread has a checkpoint with this id. */
  | { readonly _tag: "Taken" }
  /** The head is not what the hint said, or the id is taken. */
  | { readonly _tag: "Moved" }

/**
 * Which versions to read: the newest that fits. `Before` leaves out its own version.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  | { readonly _tag: "Latest" }
  | { readonly _tag: "Version"; readonly version: number }
  | { readonly _tag: "Id"; readonly checkpointId: string }
  /** A JSON array of the tag, as `setTags` is given it. */
  | { readonly _tag: "Tag"; readonly tags: string }
  | { readonly _tag: "Time"; readonly epochMillis: number }
  | { readonly _tag: "Before"; readonly version: number }

/**
 * Where a page of threads ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadCursor extends ThreadKey {
  /** The last activity of the thread that the last page ended with. */
  readonly updatedAt: number
}

/**
 * Which threads to list; all that is given must hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadQuery {
  readonly namespace: string | undefined
  /** A JSON object that the head's metadata must contain, as Postgres' `@>` means it. */
  readonly metadata: string | undefined
  readonly interrupted: boolean | undefined
  readonly unfinished: boolean | undefined
  readonly after: ThreadCursor | undefined
  readonly limit: number
}

/**
 * A retention policy with its durations in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneQuery {
  readonly namespace: string | undefined
  readonly maxVersions: number | undefined
  readonly maxAge: number | undefined
  readonly idleThreads: number | undefined
  /** Whether the bytes of what is removed must go at once. */
  readonly compact: boolean
  readonly dryRun: boolean
}

/**
 * What a prune removed of a thread, or would remove.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrunedThread extends ThreadKey {
  /** How many of its versions went. */
  readonly versions: number
  /** The bytes of stored JSON that went with them. */
  readonly bytes: number
  /** Whether the whole thread went. */
  readonly deleted: boolean
}

/**
 * What a backend implements.
 *
 * **Details**
 *
 * Every operation is atomic. A version that was pruned is not found by any of
 * them from that moment.
 *
 * @category services
 * @since 0.1.0
 */
export class CheckpointStore extends Context.Service<CheckpointStore, {
  /** Saves the record as the thread's newest version. Idempotent by checkpoint id. */
  readonly put: (record: NewRecord, expected: Expected) => Effect.Effect<PutResult, StoreError>
  /**
   * The newest `count` versions that the selector fits, oldest first, and before
   * and between them what is needed to fold them: the first one is a keyframe.
   */
  readonly read: (
    key: ThreadKey,
    selector: Selector,
    count: number
  ) => Effect.Effect<ReadonlyArray<StoredRecord>, StoreError>
  /** Versions below `before`, newest first, without reading a state. */
  readonly list: (
    key: ThreadKey,
    options: { readonly before: number | undefined; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<StoredInfo>, StoreError>
  /** Threads, newest activity first, then by namespace and id, without reading a state. */
  readonly threads: (query: ThreadQuery) => Effect.Effect<ReadonlyArray<StoredThread>, StoreError>
  /** Replaces the tags (a JSON array of strings) of one version. `None`: there is no such version. */
  readonly setTags: (
    key: ThreadKey,
    version: number,
    tags: string
  ) => Effect.Effect<Option.Option<StoredInfo>, StoreError>
  /**
   * Keeps what tasks of the step that begins at a version have done; a task that has something keeps it. False: there is
   * no such version.
   */
  readonly saveWrites: (key: ThreadKey, version: VersionId, writes: string) => Effect.Effect<boolean, StoreError>
  /** What was kept with a version or saved since, by task. `None`: there is no such version. */
  readonly readWrites: (
    key: ThreadKey,
    version: VersionId
  ) => Effect.Effect<Option.Option<ReadonlyArray<StoredWrite>>, StoreError>
  /** Removes a thread and says how many versions it had. Not idempotent: never retried blindly. */
  readonly deleteThread: (key: ThreadKey) => Effect.Effect<number, StoreError>
  /** Applies a policy in bounded batches, one element each. Only one runs at a time against one database. */
  readonly prune: (query: PruneQuery) => Stream.Stream<ReadonlyArray<PrunedThread>, StoreError>
  /** Succeeds when the backend answers and its tables are of the version that is needed. */
  readonly health: Effect.Effect<void, StoreError>
  /** Whether the calling fiber is inside a transaction of its own, so that nothing may be retried or queued. */
  readonly inTransaction: Effect.Effect<boolean>
}>()("@effect-checkpoint/core/CheckpointStore") {}

/**
 * What a record is written with when it is made a keyframe.
 *
 * @category compaction
 * @since 0.1.0
 */
export interface Keyframe {
  readonly format: number
  /** The whole state as JSON text, in a form that every store can hold. */
  readonly state: string
  /** The UTF-8 bytes of `state`. */
  readonly bytes: number
}

/**
 * The last of some records of one thread as a keyframe, so that it needs none of
 * those before it. They are consecutive and the first is a keyframe, as
 * `CheckpointStore.read` gives them.
 *
 * **When to use**
 *
 * Use in a store that removes what versions which stay are stored upon.
 *
 * **Details**
 *
 * Fails when one of the records is damaged, or in a format that this version of
 * the library does not know.
 *
 * @category compaction
 * @since 0.1.0
 */
export const toKeyframe = (
  records: Arr.NonEmptyReadonlyArray<StoredRecord>
): Result.Result<Keyframe, StateDecodeError> => Record.keyframe(records)

interface MemoryThread extends ThreadKey {
  readonly createdAt: number
  version: number
  /** Versions up to here are gone, unless they are pinned. */
  floor: number
  /** Ascending by version; the newest is always there, and so is all that those which can be read are stored upon. */
  readonly records: Array<MemoryRecord>
}

interface MemoryRecord extends Omit<NewRecord, "writes"> {
  readonly version: number
  /** Where the chain begins that leads to it. */
  readonly keyframeVersion: number
  readonly createdAt: number
  readonly writes: Map<string, string>
  tags: string
  /** Whether its interrupt was resolved. */
  resolved: boolean
}

/**
 * A store in this process's memory, which is gone with it.
 *
 * **When to use**
 *
 * Use in unit tests. It keeps the same laws as the others. Its times come from
 * `Clock`, so `TestClock` moves them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMemory: Effect.Effect<CheckpointStore["Service"]> = Effect.sync(() => {
  const threads = new Map<string, MemoryThread>()

  // Ids hold no U+0000, so two keys never meet.
  const keyOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

  const put = (record: NewRecord, expected: Expected, now: number): PutResult => {
    const key = keyOf(record)
    const thread = threads.get(key)
    const head = thread?.records.at(-1)
    if (visibleOf(thread).some((stored) => stored.checkpointId === record.checkpointId)) {
      return { _tag: "Taken" }
    }
    const actual = thread?.version ?? 0
    if (
      expected._tag !== "Any" &&
      (expected.version !== actual ||
        (expected.revision !== undefined && expected.revision !== head?.revision) ||
        (expected._tag === "Version" && expected.checkpointId !== undefined &&
          expected.checkpointId !== head?.checkpointId))
    ) {
      return expected._tag === "Hint" ? { _tag: "Moved" } : { _tag: "Conflict", actual }
    }
    const saved: MemoryRecord = {
      ...record,
      parent: record.parent ?? (head === undefined ? undefined : refOf(head)),
      version: actual + 1,
      keyframeVersion: isDelta(record) && head !== undefined ? head.keyframeVersion : actual + 1,
      createdAt: Math.max(now, head?.createdAt ?? now),
      writes: new Map([...(record.keepsWrites ? head?.writes ?? [] : []), ...entriesOf(record.writes)]),
      tags: "[]",
      resolved: false
    }
    if (record.resolves && head !== undefined) head.resolved = true
    if (thread === undefined) {
      threads.set(key, {
        threadId: record.threadId,
        namespace: record.namespace,
        createdAt: saved.createdAt,
        version: 1,
        floor: 0,
        records: [saved]
      })
    } else {
      thread.version = saved.version
      thread.records.push(saved)
    }
    return { _tag: "Saved", version: saved.version, parent: saved.parent, createdAt: saved.createdAt }
  }

  const recordOf = (key: ThreadKey, { checkpointId, version }: VersionId): MemoryRecord | undefined =>
    visibleOf(threads.get(keyOf(key))).find((stored) =>
      stored.version === version && stored.checkpointId === checkpointId
    )

  const prune = (query: PruneQuery, now: number): ReadonlyArray<PrunedThread> => {
    const pruned: Array<PrunedThread> = []
    for (const thread of Array.from(threads.values()).toSorted(byKey)) {
      if (query.namespace !== undefined && query.namespace !== thread.namespace) continue
      const head = thread.records.at(-1)!
      const idle = query.idleThreads !== undefined && head.createdAt < now - query.idleThreads
      const deleted = idle && !thread.records.some(isPinned)
      const floor = Math.max(
        thread.floor,
        idle ? thread.version - 1 : 0,
        query.maxVersions === undefined ? 0 : thread.version - query.maxVersions,
        query.maxAge === undefined ? 0 : firstSince(thread, now - query.maxAge) - 1
      )
      const before = visibleOf(thread)
      const after = before.filter((record) => !deleted && (record.version > floor || isPinned(record)))
      const isNeeded = (record: MemoryRecord): boolean =>
        after.some((kept) => kept.keyframeVersion <= record.version && record.version <= kept.version)
      const kept = thread.records.filter(isNeeded)
      if (after.length < before.length) {
        pruned.push({
          threadId: thread.threadId,
          namespace: thread.namespace,
          versions: before.length - after.length,
          bytes: bytesOf(thread.records) - bytesOf(kept),
          deleted
        })
      }
      if (query.dryRun) continue
      if (deleted) threads.delete(keyOf(thread))
      thread.floor = floor
      thread.records.splice(0, thread.records.length, ...kept)
    }
    return pruned
  }

  return CheckpointStore.of({
    put: (record, expected) => Effect.map(Clock.currentTimeMillis, (now) => put(record, expected, now)),
    read: (key, selector, count) =>
      Effect.sync(() => {
        const thread = threads.get(keyOf(key))
        const fitting = (thread?.records ?? [])
          .filter((record) => isVisible(thread!, record) && fits(record, selector))
          .slice(-count)
        const from = Math.min(...fitting.map((record) => record.keyframeVersion))
        const to = fitting.at(-1)?.version ?? 0
        return (thread?.records ?? [])
          .filter((record) => from <= record.version && record.version <= to)
          .map((record) => toStored(thread!, record))
      }),
    list: (key, { before, limit }) =>
      Effect.sync(() =>
        visibleOf(threads.get(keyOf(key)))
          .filter((record) => before === undefined || record.version < before)
          .toReversed()
          .slice(0, limit)
          .map(toInfo)
      ),
    threads: (query) =>
      Effect.sync(() => {
        const metadata = query.metadata === undefined ? undefined : Json.parse(query.metadata)
        return Array.from(threads.values(), toThread)
          .filter((thread) =>
            (query.namespace === undefined || thread.namespace === query.namespace) &&
            (metadata === undefined || Json.contains(Json.parse(thread.head.metadata), metadata)) &&
            (query.interrupted === undefined || (thread.head.pendingInterrupt !== "null") === query.interrupted) &&
            (query.unfinished === undefined ||
              (thread.head.nextNodes !== "[]") === query.unfinished)
          )
          .toSorted((a, b) => newestFirst(cursorOf(a), cursorOf(b)))
          .filter((thread) => query.after === undefined || newestFirst(query.after, cursorOf(thread)) < 0)
          .slice(0, query.limit)
      }),
    setTags: (key, version, tags) =>
      Effect.sync(() => {
        const thread = threads.get(keyOf(key))
        const record = visibleOf(thread).find((stored) => stored.version === version)
        if (record === undefined) return Option.none()
        record.tags = tags
        return Option.some(toInfo(record))
      }),
    saveWrites: (key, version, writes) =>
      Effect.sync(() => {
        const record = recordOf(key, version)
        if (record === undefined) return false
        for (const [task, value] of entriesOf(writes)) {
          if (!record.writes.has(task)) record.writes.set(task, value)
        }
        return true
      }),
    readWrites: (key, version) =>
      Effect.sync(() =>
        Option.map(
          Option.fromUndefinedOr(recordOf(key, version)),
          ({ writes }) => Array.from(writes, ([task, value]): StoredWrite => ({ task, value }))
        )
      ),
    deleteThread: (key) =>
      Effect.sync(() => {
        const versions = visibleOf(threads.get(keyOf(key))).length
        threads.delete(keyOf(key))
        return versions
      }),
    prune: (query) => Stream.fromEffect(Effect.map(Clock.currentTimeMillis, (now) => prune(query, now))),
    health: Effect.void,
    inTransaction: Effect.succeed(false)
  })
})

/**
 * A store in memory, empty each time the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, makeMemory)

const byKey: Order.Order<ThreadKey> = Order.combine(
  Order.mapInput(Order.String, (key: ThreadKey) => key.namespace),
  Order.mapInput(Order.String, (key: ThreadKey) => key.threadId)
)

const newestFirst: Order.Order<ThreadCursor> = Order.combine(
  Order.mapInput(Order.flip(Order.Number), (cursor: ThreadCursor) => cursor.updatedAt),
  byKey
)

/** Retention leaves these alone. */
const isPinned = (record: MemoryRecord): boolean =>
  record.tags !== "[]" || (record.pendingInterrupt !== "null" && !record.resolved)

const entriesOf = (writes: string): ReadonlyArray<[task: string, value: string]> =>
  Object.entries(Json.parse(writes) as Schema.JsonObject).map(([task, value]) => [task, JSON.stringify(value)])

const bytesOf = (records: ReadonlyArray<{ readonly bytes: number }>): number =>
  records.reduce((sum, record) => sum + record.bytes, 0)

const isDelta = (record: Pick<NewRecord, "format">): boolean =>
  record.format === Format.delta || record.format === Format.deltaEscaped

const isVisible = (thread: MemoryThread, record: MemoryRecord): boolean =>
  record.version > thread.floor || isPinned(record)

const visibleOf = (thread: MemoryThread | undefined): ReadonlyArray<MemoryRecord> =>
  thread?.records.filter((record) => isVisible(thread, record)) ?? []

/** The first version that is not older than `since`; the head counts as one. */
const firstSince = (thread: MemoryThread, since: number): number =>
  thread.records.find((record) => record.createdAt >= since)?.version ?? thread.version

const fits = (record: MemoryRecord, selector: Selector): boolean => {
  switch (selector._tag) {
    case "Latest":
      return true
    case "Version":
      return record.version === selector.version
    case "Id":
      return record.checkpointId === selector.checkpointId
    case "Tag":
      return Json.contains(Json.parse(record.tags), Json.parse(selector.tags))
    case "Time":
      return record.createdAt <= selector.epochMillis
    case "Before":
      return record.version < selector.version
  }
}

const refOf = (record: MemoryRecord): ParentRef => ({
  threadId: record.threadId,
  version: record.version,
  checkpointId: record.checkpointId
})

const toInfo = (record: MemoryRecord): StoredInfo => ({
  threadId: record.threadId,
  namespace: record.namespace,
  version: record.version,
  checkpointId: record.checkpointId,
  parent: record.parent,
  nextNodes: record.nextNodes,
  pendingInterrupt: record.pendingInterrupt,
  metadata: record.metadata,
  tags: record.tags,
  createdAt: record.createdAt
})

const toStored = (thread: MemoryThread, record: MemoryRecord): StoredRecord => ({
  ...toInfo(record),
  format: record.format,
  state: record.state,
  bytes: record.bytes,
  stateBytes: record.stateBytes,
  visible: isVisible(thread, record),
  revision: record.version === thread.version ? record.revision : undefined
})

const toThread = (thread: MemoryThread): StoredThread => ({
  threadId: thread.threadId,
  namespace: thread.namespace,
  createdAt: thread.createdAt,
  head: toInfo(thread.records.at(-1)!)
})

const cursorOf = (thread: StoredThread): ThreadCursor => ({
  threadId: thread.threadId,
  namespace: thread.namespace,
  updatedAt: thread.head.createdAt
})
