import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { type Fragment, fragment, literal } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { ofSameThread } from "../head.ts"
import { entangled } from "./compact.ts"
import type { Renewal } from "./lease.ts"
import { due, type DueRow, end, type KeyRow, lost, unneeded } from "./plan.ts"
import type { Retrying } from "./retrying.ts"

/** Removes what is due of some threads, and raises their floors at most by `step`. */
export type Apply = (
  query: PruneQuery,
  keys: ReadonlyArray<ThreadKey>,
  step: number,
  renewLease: Renewal
) => Effect.Effect<ReadonlyArray<DueRow>, StoreError>

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying): Apply => {
  const lock = (keys: ReadonlyArray<ThreadKey>) =>
    sql<KeyRow>`
          SELECT t.thread_id, t.namespace
            FROM ${tables.threads} t
           WHERE ${among("t", keys.map((key) => key.threadId), keys.map((key) => key.namespace))}
           ORDER BY t.thread_id, t.namespace
             FOR UPDATE`
  return (query, keys, step, renewLease) =>
    retrying(session.transaction(
      "prune",
      Effect.gen(function*() {
        yield* renewLease
        const locked = yield* lock(keys)
        if (locked.length === 0) return []
        // Decides again under the locks: what was planned may have been put upon or tagged since, or be another thread
        // of the same name.
        const which = among("t", locked.map((row) => row.thread_id), locked.map((row) => row.namespace))
        return yield* remove(sql, tables, query, which, step)
      })
    ))
}

const among = (alias: string, threadIds: ReadonlyArray<string>, namespaces: ReadonlyArray<string>): Fragment => {
  const t = literal(alias)
  return fragment`(${t}.thread_id, ${t}.namespace) IN (SELECT * FROM unnest(${threadIds}::text[], ${namespaces}::text[]))`
}

const remove = (sql: PgClient, tables: Tables, query: PruneQuery, which: Fragment, step: number) => {
  const { checkpoints, threads, writes } = tables
  const isEntangled = query.compact
    ? fragment`NOT d.whole AND EXISTS (
                   SELECT FROM ${checkpoints} c
                    WHERE ${ofSameThread("c", "d")} AND ${entangled("c", literal("d.floor"))}
                 )`
    : literal("FALSE")
  return sql<DueRow>`
          WITH d AS MATERIALIZED (
            ${due(tables, query, which, step, false)}
          ), removed AS (
            DELETE FROM ${checkpoints} c USING d
             WHERE ${unneeded(tables, false)}
            RETURNING c.thread_id, c.namespace, c.bytes
          ), forgotten AS (
            DELETE FROM ${writes} w USING d
             WHERE ${ofSameThread("w", "d")} AND (d.whole OR w.version <= d.floor AND NOT EXISTS (
               SELECT FROM ${checkpoints} c WHERE ${ofSameThread("c", "d")} AND c.version = w.version AND c.pinned
             ))
          )${query.compact ? shortened(tables) : literal("")}, raised AS (
            UPDATE ${threads} t SET floor = d.floor, keyframe_version = GREATEST(t.keyframe_version, d.boundary)
              FROM d
             WHERE ${ofSameThread("t", "d")} AND NOT d.whole
          ), ended AS (
            DELETE FROM ${threads} t USING d WHERE ${ofSameThread("t", "d")} AND d.whole
          )
          SELECT d.thread_id, d.namespace, d.whole, d.floor::float8 AS floor, (d.floor - d.before)::float8 AS raise, d.more,
                 ${isEntangled} AS entangled,
                 (SELECT count(*)::float8 FROM ${checkpoints} c WHERE ${lost}) AS versions,
                 (SELECT COALESCE(sum(r.bytes), 0)::float8 FROM removed r WHERE ${ofSameThread("r", "d")}) AS bytes
            FROM d
           ORDER BY d.thread_id, d.namespace`
}

/** The rest of the chain of a version that has been made a keyframe begins there. */
const shortened = ({ checkpoints }: Tables): Fragment =>
  fragment`, shortened AS (
            UPDATE ${checkpoints} c SET keyframe_version = d.boundary
              FROM d
             WHERE ${ofSameThread("c", "d")} AND NOT d.whole AND c.version > d.boundary AND c.version < COALESCE((
                     SELECT e.version
                       FROM ${checkpoints} e
                      WHERE ${ofSameThread("e", "d")} AND e.version > d.boundary AND e.keyframe_version >= d.boundary
                      ORDER BY e.version
                      LIMIT 1
                   ), ${end})
          )`
