import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Formats from "../../formats.ts"
import { type Fragment, fragment, literal } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { ofSameThread } from "../head.ts"
import { needsKeyframe } from "./compact.ts"
import type { Renewal } from "./lease.ts"
import { due, type DueRow, endOfVersions, isUnneeded, type KeyRow, removedVersions, toKey } from "./plan.ts"
import type { Retrying } from "./retrying.ts"

/** A part of what is due of some threads: of each at most `atMost` versions, looking through all that earlier prunes have kept, or not. */
export interface Batch {
  readonly keys: ReadonlyArray<ThreadKey>
  readonly atMost: number
  readonly isThorough: boolean
}

/** Removes a part of what is due. */
export type Apply = (
  query: PruneQuery,
  batch: Batch,
  renewLease: Renewal
) => Effect.Effect<ReadonlyArray<DueRow>, StoreError>

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying): Apply => {
  const lock = (keys: ReadonlyArray<ThreadKey>) =>
    sql<KeyRow>`
          SELECT t.thread_id, t.namespace
            FROM ${tables.threads} t
           WHERE ${isOneOf("t", keys)}
           ORDER BY t.thread_id, t.namespace
             FOR UPDATE`
  return (query, batch, renewLease) =>
    retrying(session.transaction(
      "prune",
      Effect.gen(function*() {
        yield* renewLease
        const locked = yield* lock(batch.keys)
        if (locked.length === 0) return []
        // What is due is decided again under the locks: since it was planned, a thread may have been saved or tagged, or
        // have been deleted and created again.
        return yield* remove(sql, tables, query, isOneOf("t", locked.map(toKey)), batch)
      })
    ))
}

const isOneOf = (alias: string, keys: ReadonlyArray<ThreadKey>): Fragment => {
  const t = literal(alias)
  const threadIds = keys.map((key) => key.threadId)
  const namespaces = keys.map((key) => key.namespace)
  return fragment`(${t}.thread_id, ${t}.namespace) IN (SELECT * FROM unnest(${threadIds}::text[], ${namespaces}::text[]))`
}

const remove = (
  sql: PgClient,
  tables: Tables,
  query: PruneQuery,
  condition: Fragment,
  { atMost, isThorough }: Batch
) => {
  const { checkpoints, pendingWrites, questions, threads } = tables
  const hasDeltas = query.compact && isThorough
    ? fragment`NOT d.deletes_thread AND EXISTS (
                   SELECT FROM ${checkpoints} c
                    WHERE ${ofSameThread("c", "d")} AND ${needsKeyframe("c", literal("d.pruned_through"))}
                 )`
    : literal("FALSE")
  return sql<DueRow>`
          WITH d AS MATERIALIZED (
            ${due(tables, query, condition, { atMost, isCompact: false, isThorough })}
          ), removed AS (
            DELETE FROM ${checkpoints} c USING d
             WHERE ${isUnneeded(tables, "c", "d", false)}
            RETURNING c.thread_id, c.namespace, c.payload_bytes
          ), removed_writes AS (
            DELETE FROM ${pendingWrites} w USING d
             WHERE ${ofSameThread("w", "d")} AND (d.deletes_thread OR w.step_version < d.step_version)
          ), steps AS MATERIALIZED (
            SELECT d.thread_id, d.namespace, ${
    isThorough ? literal("0::bigint") : stepAfter(tables, "d.pruned_before")
  } AS visited_from,
                   ${stepAfter(tables, "d.pruned_through")} AS needed_from
              FROM d
             WHERE NOT d.deletes_thread
          ), removed_questions AS (
            DELETE FROM ${questions} q USING steps
             WHERE ${ofSameThread("q", "steps")} AND q.step_version >= steps.visited_from
               AND q.step_version < steps.needed_from AND NOT EXISTS (
                 SELECT FROM ${checkpoints} c
                  WHERE ${ofSameThread("c", "q")} AND c.pinned AND c.step_version = q.step_version
                    AND c.version >= q.step_version AND c.version < steps.needed_from
               )
          )${query.compact ? shortenedChains(tables) : literal("")}, pruned AS (
            UPDATE ${threads} t
               SET pruned_through = d.pruned_through, keyframe_version = GREATEST(t.keyframe_version, d.needed_from)
              FROM d
             WHERE ${ofSameThread("t", "d")} AND NOT d.deletes_thread
          ), deleted AS (
            DELETE FROM ${threads} t USING d WHERE ${ofSameThread("t", "d")} AND d.deletes_thread
          )
          SELECT d.thread_id, d.namespace, d.deletes_thread, d.pruned_through::float8 AS pruned_through,
                 (d.pruned_through - d.pruned_before)::float8 AS advance, d.has_more,
                 ${hasDeltas} AS needs_keyframes,
                 ${removedVersions(tables, "d")} AS versions,
                 (
                   SELECT COALESCE(sum(r.payload_bytes), 0)::float8 FROM removed r WHERE ${ofSameThread("r", "d")}
                 ) AS bytes
            FROM d
           ORDER BY d.thread_id, d.namespace`
}

/** The step of the version after another one: the first one that a prune through that version leaves. */
const stepAfter = ({ checkpoints }: Tables, version: string): Fragment =>
  fragment`(
                     SELECT c.step_version
                       FROM ${checkpoints} c
                      WHERE ${ofSameThread("c", "d")} AND c.version = ${literal(version)} + 1::bigint
                   )`

/**
 * Where a version was made a keyframe, the deltas after it begin their chain there. A prune with another policy may be
 * making keyframes of them at this moment.
 */
const shortenedChains = ({ checkpoints }: Tables): Fragment =>
  fragment`, shortened_chains AS (
            UPDATE ${checkpoints} c SET keyframe_version = d.needed_from
              FROM d
             WHERE ${ofSameThread("c", "d")} AND NOT d.deletes_thread
               AND c.format IN (${literal(Formats.deltas)})
               AND c.version > d.needed_from AND c.version < COALESCE((
                     SELECT e.version
                       FROM ${checkpoints} e
                      WHERE ${
    ofSameThread("e", "d")
  } AND e.version > d.needed_from AND e.keyframe_version >= d.needed_from
                      ORDER BY e.version
                      LIMIT 1
                   ), ${endOfVersions})
          )`
