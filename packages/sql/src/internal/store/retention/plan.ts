import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import type * as Effect from "effect/Effect"
import { type Fragment, fragment, literal, or } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { ofSameThread } from "../head.ts"
import type { Retrying } from "./retrying.ts"

export interface DueRow extends KeyRow {
  /** Whether the thread goes whole. */
  readonly whole: boolean
  /** The version that the floor rises to, and by how much. */
  readonly floor: number
  readonly raise: number
  /** Whether more is due than one transaction may remove. */
  readonly more: boolean
  /** Whether something stays only because a version that is kept is not a keyframe. */
  readonly entangled: boolean
  readonly versions: number
  readonly bytes: number
}

export interface KeyRow {
  readonly thread_id: string
  readonly namespace: string
}

export const toKey = (row: KeyRow): ThreadKey => ({ threadId: row.thread_id, namespace: row.namespace })

/** Versions of one thread that a prune removes in one transaction. */
export const pruneVersions = 1000

/** What is due of some threads, without a lock, and of a dry run what would go. */
export type Plan = (query: PruneQuery, which: Fragment) => Effect.Effect<ReadonlyArray<DueRow>, StoreError>

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying): Plan => {
  const { checkpoints } = tables
  return (query, which) => {
    const step = query.dryRun ? Number.MAX_SAFE_INTEGER : pruneVersions
    const counted = query.dryRun
      ? fragment`(SELECT count(*)::float8 FROM ${checkpoints} c WHERE ${lost}) AS versions,
             (
               SELECT COALESCE(sum(c.bytes), 0)::float8
                 FROM ${checkpoints} c
                WHERE ${unneeded(tables, query.compact)}
             ) AS bytes`
      : literal("0::float8 AS versions, 0::float8 AS bytes")
    const leftOver = query.compact
      ? fragment`EXISTS (SELECT FROM ${checkpoints} c WHERE ${unneeded(tables, true)})`
      : literal("FALSE")
    return retrying(session.run(
      "prune",
      sql<DueRow>`
      WITH d AS MATERIALIZED (
        ${due(tables, query, which, step, query.compact)}
      )
      SELECT d.thread_id, d.namespace, d.whole, d.floor::float8 AS floor, (d.floor - d.before)::float8 AS raise, d.more,
             FALSE AS entangled,
             ${counted}
        FROM d
       WHERE d.floor > d.before OR d.whole OR ${leftOver}
       ORDER BY d.thread_id, d.namespace`
    ))
  }
}

/**
 * What is due of some threads: how far the floor rises, at most by `step`, and
 * whether they go whole. Versions above the floor have no gaps, so that the
 * newest n are found by arithmetic on the head row; those that are too old are
 * the first ones above it. `boundary` is the first row that the first version
 * that stays needs: itself, once it is compact.
 *
 * What is looked up for a thread is looked up once, and for it alone: OFFSET keeps
 * the planner from writing a subquery out wherever its result is used, LIMIT and
 * MATERIALIZED from gathering it for all threads.
 */
export const due = (
  { checkpoints, threads }: Tables,
  query: PruneQuery,
  which: Fragment,
  step: number,
  isCompact: boolean
): Fragment => {
  const steps = fragment`${String(step)}::bigint`
  const byCount = query.maxVersions === undefined
    ? literal("0")
    : fragment`t.version - ${String(query.maxVersions)}::bigint`
  const byAge = query.maxAge === undefined ? literal("0") : fragment`COALESCE((
             SELECT c.version
               FROM ${checkpoints} c
              WHERE ${ofSameThread("c", "t")}
                AND c.version > t.floor AND c.version <= t.floor + ${steps}
                AND c.created_at >= ${ago(query.maxAge)}
              ORDER BY c.version
              LIMIT 1
           ), t.floor + ${steps} + 2) - 1`
  const idle = query.idleThreads === undefined ? literal("FALSE") : fragment`t.updated_at < ${ago(query.idleThreads)}`
  const candidates = [
    ...(query.maxVersions === undefined ? [] : [fragment`${byCount} > t.floor`]),
    ...(query.maxAge === undefined ? [] : [fragment`t.version - 1 > t.floor AND t.created_at < ${ago(query.maxAge)}`]),
    ...(query.idleThreads === undefined ? [] : [idle]),
    // Something may be left of an earlier prune.
    ...(query.compact ? [literal("t.floor > 0")] : [])
  ]
  return fragment`
      SELECT bounded.*, CASE WHEN ${literal(isCompact ? "NOT bounded.more" : "FALSE")} THEN bounded.floor + 1 ELSE (
               SELECT c.keyframe_version
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", "bounded")} AND c.version = bounded.floor + 1
             ) END AS boundary
        FROM (
      SELECT wanted.thread_id, wanted.namespace, wanted.before,
             LEAST(wanted.floor, wanted.before + ${steps}) AS floor,
             wanted.floor > wanted.before + ${steps} AS more,
             wanted.floor <= wanted.before + ${steps} AND wanted.idle AND (
               SELECT c.version
                 FROM ${checkpoints} c
                WHERE ${ofSameThread("c", "wanted")} AND c.pinned
                ORDER BY c.version
                LIMIT 1
             ) IS NULL AS whole
        FROM (
          SELECT t.thread_id, t.namespace, t.floor AS before, ${idle} AS idle,
                 LEAST(
                   t.version - 1,
                   GREATEST(t.floor, ${byCount}, ${byAge}, CASE WHEN ${idle} THEN t.version - 1 ELSE 0 END)
                 ) AS floor
            FROM ${threads} t
           WHERE (${or(candidates)}) AND ${which}
          OFFSET 0
        ) wanted
        ) bounded`
}

const ago = (millis: number): Fragment => fragment`now() - ${String(millis)}::float8 * interval '1 millisecond'`

/** Above every version. */
export const end = literal("9223372036854775807")

/** The versions `c` that can no longer be read, by `d` of `due`. Ranges on the key, so that what stays is not visited. */
export const lost = fragment`${ofSameThread("c", "d")}
               AND c.version > d.before AND c.version <= CASE WHEN d.whole THEN ${end} ELSE d.floor END
               AND (d.whole OR NOT c.pinned)`

/**
 * The rows `c` that nothing needs any more, by `d` of `due`: those before the boundary, but for what
 * pinned ones need, which is themselves only once they are compact.
 */
export const unneeded = ({ checkpoints }: Tables, isCompact: boolean): Fragment =>
  fragment`${ofSameThread("c", "d")}
               AND c.version < CASE WHEN d.whole THEN ${end} ELSE d.boundary END
               AND (d.whole OR NOT c.pinned AND (${literal(isCompact ? "NOT d.more" : "FALSE")} OR NOT EXISTS (
                 SELECT FROM (
                   SELECT c.version, c.keyframe_version
                     FROM ${checkpoints} c
                    WHERE ${ofSameThread("c", "d")} AND c.version <= d.floor AND c.pinned
                 ) kept
                  WHERE kept.version > c.version AND kept.keyframe_version <= c.version
               )))`
