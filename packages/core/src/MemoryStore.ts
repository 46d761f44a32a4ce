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
  Format,
  type HeadCondition,
  meets,
  type NewCheckpoint,
  type ParentRef,
  type PendingWrite,
  type PrunedThread,
  type PruneQuery,
  type Refusal,
  type SavedVersion,
  type Selector,
  type StoredCheckpoint,
  type StoredInfo,
  type StoredThread,
  type ThreadCursor,
  type ThreadKey,
  type VersionId
} from "./CheckpointStore.ts"
import * as Json from "./internal/json.ts"

interface MemoryThread extends ThreadKey {
  readonly createdAt: number
  /** Versions up to this one are removed, unless they are pinned. */
  prunedThrough: number
  /** Ascending by version. The newest is always here, and so are the versions that readable ones are changes of. */
  readonly records: Array<MemoryCheckpoint>
}

interface MemoryCheckpoint extends Omit<NewCheckpoint, "pendingWrites"> {
  readonly version: number
  /** The keyframe that its chain of changes begins with. */
  readonly keyframeVersion: number
  readonly createdAt: number
  readonly pendingWrites: Map<string, string>
  tags: string
  /** Whether its interrupts were resolved. */
  resolved: boolean
}

/**
 * Makes a store in the memory of this process.
 *
 * **When to use**
 *
 * Use in unit tests. It obeys the same laws as the other stores. Its times come from `Clock`, so `TestClock` controls
 * them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<CheckpointStore["Service"]> = Effect.sync(() => {
  const threads = new Map<string, MemoryThread>()

  // Ids hold no U+0000, so two keys never meet.
  const keyOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

  const put = (checkpoint: NewCheckpoint, condition: HeadCondition, now: number): Option.Option<SavedVersion> => {
    const key = keyOf(checkpoint)
    const thread = threads.get(key)
    const head = thread?.records.at(-1)
    if (!meets(condition, head) || has(thread, checkpoint.checkpointId)) return Option.none()
    const { keepsPendingWrites, resolvesInterrupts, threadId, namespace } = checkpoint
    const version = (head?.version ?? 0) + 1
    const saved: MemoryCheckpoint = {
      ...checkpoint,
      parent: checkpoint.parent ?? (head === undefined ? undefined : refOf(head)),
      version,
      keyframeVersion: isDelta(checkpoint) && head !== undefined ? head.keyframeVersion : version,
      createdAt: Math.max(now, head?.createdAt ?? now),
      pendingWrites: new Map([
        ...(keepsPendingWrites ? head?.pendingWrites ?? [] : []),
        ...entriesOf(checkpoint.pendingWrites)
      ]),
      tags: "[]",
      resolved: false
    }
    if (resolvesInterrupts && head !== undefined) head.resolved = true
    if (thread === undefined) {
      threads.set(key, { threadId, namespace, createdAt: saved.createdAt, prunedThrough: 0, records: [saved] })
    } else {
      thread.records.push(saved)
    }
    return Option.some({ version, parent: saved.parent, createdAt: saved.createdAt })
  }

  const explainRefusal = (key: ThreadKey, checkpointId: string): Refusal => {
    const thread = threads.get(keyOf(key))
    return { head: thread?.records.at(-1), idTaken: has(thread, checkpointId) }
  }

  const recordOf = (key: ThreadKey, { checkpointId, version }: VersionId): MemoryCheckpoint | undefined =>
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
      const prunedThrough = Math.max(
        thread.prunedThrough,
        idle ? newestOf(thread) - 1 : 0,
        query.maxVersions === undefined ? 0 : newestOf(thread) - query.maxVersions,
        query.maxAge === undefined ? 0 : firstSince(thread, now - query.maxAge) - 1
      )
      const before = visibleOf(thread)
      const after = before.filter((record) => !deleted && (record.version > prunedThrough || isPinned(record)))
      const isNeeded = (record: MemoryCheckpoint): boolean =>
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
      thread.prunedThrough = prunedThrough
      thread.records.splice(0, thread.records.length, ...kept)
    }
    return pruned
  }

  return CheckpointStore.of({
    put: (checkpoint, condition) => Effect.map(Clock.currentTimeMillis, (now) => put(checkpoint, condition, now)),
    explainRefusal: (key, checkpointId) => Effect.sync(() => explainRefusal(key, checkpointId)),
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
            (query.interrupted === undefined || (thread.head.pendingInterrupts !== "[]") === query.interrupted) &&
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
    savePendingWrites: (key, version, pendingWrites) =>
      Effect.sync(() => {
        const record = recordOf(key, version)
        if (record === undefined) return false
        for (const [task, value] of entriesOf(pendingWrites)) {
          if (!record.pendingWrites.has(task)) record.pendingWrites.set(task, value)
        }
        return true
      }),
    readPendingWrites: (key, version) =>
      Effect.sync(() =>
        Option.map(
          Option.fromUndefinedOr(recordOf(key, version)),
          ({ pendingWrites }) => Array.from(pendingWrites, ([task, value]): PendingWrite => ({ task, value }))
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
 * Provides a store in memory. It is empty each time the layer is built.
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

/** Whether retention keeps a version whatever its age. */
const isPinned = (record: MemoryCheckpoint): boolean =>
  record.tags !== "[]" || (record.pendingInterrupts !== "[]" && !record.resolved)

const entriesOf = (pendingWrites: string): ReadonlyArray<[task: string, value: string]> =>
  Object.entries(Json.parse(pendingWrites) as Schema.JsonObject).map(([task, value]) => [task, JSON.stringify(value)])

const bytesOf = (records: ReadonlyArray<MemoryCheckpoint>): number =>
  records.reduce((sum, record) => sum + record.payload.bytes, 0)

const isDelta = ({ payload: { format } }: NewCheckpoint): boolean =>
  format === Format.delta || format === Format.deltaEscaped

const has = (thread: MemoryThread | undefined, checkpointId: string): boolean =>
  visibleOf(thread).some((record) => record.checkpointId === checkpointId)

const newestOf = (thread: MemoryThread): number => thread.records.at(-1)!.version

const isVisible = (thread: MemoryThread, record: MemoryCheckpoint): boolean =>
  record.version > thread.prunedThrough || isPinned(record)

const visibleOf = (thread: MemoryThread | undefined): ReadonlyArray<MemoryCheckpoint> =>
  thread?.records.filter((record) => isVisible(thread, record)) ?? []

/** The first version that is not older than `since`, or the newest one. */
const firstSince = (thread: MemoryThread, since: number): number =>
  thread.records.find((record) => record.createdAt >= since)?.version ?? newestOf(thread)

const fits = (record: MemoryCheckpoint, selector: Selector): boolean => {
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

const refOf = (record: MemoryCheckpoint): ParentRef => ({
  threadId: record.threadId,
  version: record.version,
  checkpointId: record.checkpointId
})

const toInfo = (record: MemoryCheckpoint): StoredInfo => ({
  threadId: record.threadId,
  namespace: record.namespace,
  version: record.version,
  checkpointId: record.checkpointId,
  parent: record.parent,
  nextNodes: record.nextNodes,
  pendingInterrupts: record.pendingInterrupts,
  metadata: record.metadata,
  tags: record.tags,
  createdAt: record.createdAt
})

const toStored = (thread: MemoryThread, record: MemoryCheckpoint): StoredCheckpoint => ({
  ...toInfo(record),
  payload: record.payload,
  stateBytes: record.stateBytes,
  visible: isVisible(thread, record),
  writeId: record.version === newestOf(thread) ? record.writeId : undefined
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
