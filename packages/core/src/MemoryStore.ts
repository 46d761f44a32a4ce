/**
 * A store in this process's memory, for unit tests.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  CheckpointStore,
  type Expected,
  Format,
  type NewRecord,
  type ParentRef,
  type PrunedThread,
  type PruneQuery,
  type PutResult,
  type Selector,
  type StoredInfo,
  type StoredRecord,
  type StoredThread,
  type StoredWrite,
  type ThreadCursor,
  type ThreadKey,
  type VersionId
} from "./CheckpointStore.ts"
import * as Json from "./internal/json.ts"

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
export const make: Effect.Effect<CheckpointStore["Service"]> = Effect.sync(() => {
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
export const layer: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, make)

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
