import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import type * as Effect from "effect/Effect"
import { type Fragment, fragment, literal, or } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { ofSameThread } from "../head.ts"
import type { Retrying } from "./retrying.ts"

export interface KeyRow {
  readonly thread_id: string
  readonly namespace: string
}

export const toKey = (row: KeyRow): ThreadKey => ({ threadId: row.thread_id, namespace: row.namespace })

/** What is due of a thread, or what was removed of it. */
export interface DueRow extends KeyRow {
  /** Whether the whole thread is deleted. */
  readonly deletes_thread: boolean
  /** The version that the thread is pruned through, and how many versions further than before that is. */
  readonly pruned_through: number
  readonly advance: number
  /** Whether more is due than one transaction may remove. */
  readonly has_more: boolean
  /** Whether rows stay only because a delta that stays depends on them. */
  readonly needs_keyframes: boolean
  readonly versions: number
  readonly bytes: number
}

/** Threads that a prune plans at a time. */
export const threadsPerPage = 1000

/** Versions of one thread that a prune removes in one transaction. */
export const versionsPerTransaction = 1000

/** Finds what is due of the threads `t` that a condition selects, without a lock. A dry run also counts it. */
export type Plan = (query: PruneQuery, condition: Fragment) => Effect.Effect<ReadonlyArray<DueRow>, StoreError>

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying): Plan => {
  const { checkpoints } = tables
  return (query, condition) => {
    const atMost = query.dryRun ? Number.MAX_SAFE_INTEGER : versionsPerTransaction
    const counts = query.dryRun
      ? fragment`${removedVersions(tables, "d")} AS versions,
             (
               SELECT COALESCE(sum(c.payload_bytes), 0)::float8
                 FROM ${checkpoints} c
                WHERE ${isUnneeded(tables, "c", "d", query.compact)}
             ) AS bytes`
      : literal("0::float8 AS versions, 0::float8 AS bytes")
    const hasUnneeded = query.compact
      ? fragment`EXISTS (SELECT FROM ${checkpoints} c WHERE ${isUnneeded(tables, "c", "d", true)})`
      : literal("FALSE")
    return retrying(session.run(
      "prune",
      sql<DueRow>`
      WITH d AS MATERIALIZED (
        ${due(tables, query, condition, { atMost, isCompact: query.compact, isThorough: true })}
      )
      SELECT d.thread_id, d.namespace, d.deletes_thread, d.pruned_through::float8 AS pruned_through,
             (d.pruned_through - d.pruned_before)::float8 AS advance, d.has_more,
             FALSE AS needs_keyframes,
             ${counts}
        FROM d
       WHERE d.pruned_through > d.pruned_before OR d.deletes_thread OR ${hasUnneeded}
       ORDER BY d.thread_id, d.namespace`
    ))
  }
}

/**
 * Selects what is due of threads: the version that each is pruned through, at most `atMost` versions further than
 * before, and whether the whole thread is deleted. The versions that were not pruned have no gaps. Therefore the newest
 * n are found by arithmetic on the head row, and those that are too old are the first ones. `needed_from` is the first
 * row that the first remaining version needs: itself, once the thread is compact. `visited_from` is the first row that
 * may have become unneeded. A thorough batch also looks through what earlier ones have kept for tags.
 *
 * What is looked up for a thread is looked up once, and for it alone: OFFSET keeps the planner from repeating a subquery
 * wherever its result is used, LIMIT and MATERIALIZED from gathering it for all threads. A LIMIT also tells the planner
 * how many threads there are at most; it takes a range of keys for a ninth of the table.
 */
export const due = (
  { checkpoints, threads }: Tables,
  query: PruneQuery,
  condition: Fragment,
  { atMost, isCompact, isThorough }: {
    readonly atMost: number
    readonly isCompact: boolean
    readonly isThorough: boolean
  }
): Fragment => {
  const limit = fragment`${String(atMost)}::bigint`
  const byCount = query.maxVersions === undefined
    ? literal("0")
    : fragment`t.version - ${String(query.maxVersions)}::bigint`
  const byAge = query.maxAge === undefined ? literal("0") : fragment`COALESCE((
             SELECT c.version
               FROM ${checkpoints} c
              WHERE ${ofSameThread("c", "t")}
                AND c.version > t.pruned_through AND c.version <= t.pruned_through + ${limit}
                AND c.created_at >= ${ago(query.maxAge)}
              ORDER BY c.version
              LIMIT 1
           ), t.pruned_through + ${limit} + 2) - 1`
  const isIdle = query.idleThreads === undefined ? literal("FALSE") : fragment`t.updated_at < ${ago(query.idleThreads)}`
  const candidates = [
    ...(query.maxVersions === undefined ? [] : [fragment`${byCount} > t.pruned_through`]),
    ...(query.maxAge === undefined
      ? []
      : [fragment`t.version - 1 > t.pruned_through AND t.created_at < ${ago(query.maxAge)}`]),
    ...(query.idleThreads === undefined ? [] : [isIdle]),
    // An earlier prune may have left something.
    ...(query.compact ? [literal("t.pruned_through > 0")] : [])
  ]
  return fragment`
      SELECT bounded.*,
             ${
    isThorough ? literal("0::bigint") : fragment`(
               SELECT c.keyframe_version
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", "bounded")} AND c.version = bounded.pruned_before + 1
             )`
  } AS visited_from,
             CASE WHEN ${literal(isCompact ? "NOT bounded.has_more" : "FALSE")} THEN bounded.pruned_through + 1 ELSE (
               SELECT c.keyframe_version
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", "bounded")} AND c.version = bounded.pruned_through + 1
             ) END AS needed_from
        FROM (
      SELECT wanted.thread_id, wanted.namespace, wanted.pruned_before, wanted.step_version,
             LEAST(wanted.pruned_through, wanted.pruned_before + ${limit}) AS pruned_through,
             wanted.pruned_through > wanted.pruned_before + ${limit} AS has_more,
             wanted.pruned_through <= wanted.pruned_before + ${limit} AND wanted.is_idle AND NOT wanted.interrupted AND (
               SELECT c.version
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", "wanted")} AND c.pinned
                ORDER BY c.version
                LIMIT 1
             ) IS NULL AS deletes_thread
        FROM (
          SELECT t.thread_id, t.namespace, t.pruned_through AS pruned_before, t.step_version, t.interrupted,
                 ${isIdle} AS is_idle,
                 LEAST(
                   t.version - 1,
                   GREATEST(t.pruned_through, ${byCount}, ${byAge}, CASE WHEN ${isIdle} THEN t.version - 1 ELSE 0 END)
                 ) AS pruned_through
            FROM (
              SELECT *
                FROM ${threads} t
               WHERE ${condition}
               ORDER BY t.thread_id, t.namespace
               LIMIT ${literal(String(threadsPerPage))}
            ) t
           WHERE ${or(candidates)}
          OFFSET 0
        ) wanted
        ) bounded`
}

const ago = (millis: number): Fragment => fragment`now() - ${String(millis)}::float8 * interval '1 millisecond'`

/** Above every version. */
export const endOfVersions = literal("9223372036854775807")

/**
 * How many versions can no longer be read, by a row of `due`. They have no gaps, therefore only the pinned ones, which
 * stay, are counted. A thread that is deleted has none, and loses its newest version, too.
 */
export const removedVersions = ({ checkpoints }: Tables, due: string): Fragment => {
  const d = literal(due)
  return fragment`(${d}.pruned_through - ${d}.pruned_before + CASE WHEN ${d}.deletes_thread THEN 1 ELSE 0 END - (
               SELECT count(*)
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", due)} AND c.pinned
                  AND c.version > ${d}.pruned_before AND c.version <= ${d}.pruned_through
             ))::float8`
}

/**
 * The rows that nothing needs any more, by a row of `due`: those before `needed_from`, except what pinned versions
 * need. That is only the pinned version itself, once the thread is compact. Otherwise it is the rest of its chain, too:
 * the next pinned version of a row tells whether one needs it, since later ones begin no earlier, or have it as a whole
 * state in between.
 */
export const isUnneeded = ({ checkpoints }: Tables, checkpoint: string, due: string, isCompact: boolean): Fragment => {
  const [c, d] = [literal(checkpoint), literal(due)]
  return fragment`${ofSameThread(checkpoint, due)} AND ${c}.version >= ${d}.visited_from
               AND ${c}.version < CASE WHEN ${d}.deletes_thread THEN ${endOfVersions} ELSE ${d}.needed_from END
               AND (${d}.deletes_thread OR NOT ${c}.pinned AND (
                 ${isCompact ? fragment`NOT ${d}.has_more` : literal("FALSE")} OR ${c}.version < COALESCE((
                 SELECT p.keyframe_version
                   FROM ${checkpoints} p
                  WHERE ${ofSameThread("p", due)} AND p.pinned
                    AND p.version > ${c}.version AND p.version <= ${d}.pruned_through
                  ORDER BY p.version
                  LIMIT 1
               ), ${endOfVersions})))`
}
