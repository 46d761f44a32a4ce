import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { CheckpointStore, PrunedThread, PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { ofThread } from "../head.ts"
import * as Apply from "./apply.ts"
import * as Compact from "./compact.ts"
import * as Lease from "./lease.ts"
import * as Pages from "./pages.ts"
import * as Plan from "./plan.ts"
import type { DueRow } from "./plan.ts"
import * as Retrying from "./retrying.ts"

/** Threads that a prune locks in one transaction: few, so that puts rarely wait for it. */
const threadsPerTransaction = 20

/** How often a thread is compacted, if other writers get in the way. */
const maxCompactions = 3

export const make = (
  sql: PgClient,
  session: Session,
  tables: Tables,
  schedule: Schedule.Schedule<unknown, StoreError>
): CheckpointStore["Service"]["prune"] => {
  const retrying = Retrying.make(session, schedule)
  const plan = Plan.make(sql, session, tables, retrying)
  const apply = Apply.make(sql, session, tables, retrying)
  const compact = Compact.make(sql, session, tables, retrying)
  const pages = Pages.make(sql, session, tables, retrying, plan)

  /** Removes all that is due of a few threads. */
  const pruneFew = Effect.fnUntraced(function*(
    query: PruneQuery,
    keys: ReadonlyArray<ThreadKey>,
    renewLease: Lease.Renewal
  ) {
    const pruned: Array<DueRow> = []
    let left = keys
    while (left.length > 0) {
      const isThorough = left === keys
      const done = yield* apply(query, { keys: left, atMost: Plan.versionsPerTransaction, isThorough }, renewLease)
      pruned.push(...done)
      left = done.filter((row) => row.has_more).map(Plan.toKey)
    }
    return pruned
  })

  /** Removes all that is due of one thread, after its states have been folded without a lock. */
  const pruneCompact = Effect.fnUntraced(function*(query: PruneQuery, key: ThreadKey, renewLease: Lease.Renewal) {
    const pruned: Array<DueRow> = []
    let attempts = 0
    while (true) {
      const [row] = yield* plan(query, ofThread("t", key))
      if (row === undefined) return pruned
      if (!row.deletes_thread && !row.has_more && attempts < maxCompactions) {
        attempts++
        const compaction = yield* compact(key, row.pruned_through, renewLease)
        if (compaction === "Overtaken") continue
        if (compaction === "Impossible") attempts = maxCompactions
      }
      // No further than to the new keyframe, even if more is due by now.
      const atMost = row.has_more ? Plan.versionsPerTransaction : row.advance
      const done = yield* apply(
        query,
        { keys: [key], atMost, isThorough: pruned.length === 0 || !row.has_more },
        renewLease
      )
      pruned.push(...done)
      if (!row.has_more && (attempts === maxCompactions || !done.some((row) => row.needs_keyframes))) return pruned
    }
  })

  return (query) => {
    if (query.dryRun) return Stream.map(pages(query, Effect.void), (due) => toPruned(query, due))
    return Stream.unwrap(Effect.map(Lease.take(query, sql, session, tables, retrying), (renewLease) =>
      // If nothing is due, no transaction renews the lease.
      pages(query, retrying(session.run("prune", renewLease))).pipe(
        Stream.flatMap((due) =>
          Stream.fromIterable(Arr.chunksOf(due.map(Plan.toKey), query.compact ? 1 : threadsPerTransaction))
        ),
        Stream.mapEffect((keys) =>
          query.compact ? pruneCompact(query, keys[0], renewLease) : pruneFew(query, keys, renewLease)
        ),
        Stream.map((done) => toPruned(query, done))
      )))
  }
}

/** Sums what was removed of each thread. */
const toPruned = (query: PruneQuery, rows: ReadonlyArray<DueRow>): ReadonlyArray<PrunedThread> => {
  const pruned = new Map<string, PrunedThread>()
  for (const row of rows) {
    const name = `${row.namespace}\u0000${row.thread_id}`
    const before = pruned.get(name)
    const versions = (before?.versions ?? 0) + row.versions
    const bytes = (before?.bytes ?? 0) + row.bytes
    // Bytes without a version are those that an earlier prune has left. Only a compaction reports them.
    if (versions === 0 && !(query.compact && bytes > 0)) continue
    pruned.set(name, { ...Plan.toKey(row), versions, bytes, deleted: row.deletes_thread })
  }
  return Array.from(pruned.values())
}
