import type {
  CheckpointStore,
  PendingWrite,
  PendingWritesOutcome,
  VersionId
} from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isVisible, ofSameThread, ofThread, prunedThrough, withHead } from "./head.ts"

export const save = (
  sql: PgClient,
  session: Session,
  tables: Tables
): CheckpointStore["Service"]["savePendingWrites"] => {
  const { checkpoints, threads } = tables
  return (key, id, given, maxBytes) =>
    session.run(
      "savePendingWrites",
      // The lock on the key of the head keeps the thread from being deleted at the same time. Puts do not wait for it.
      sql<{ readonly present: boolean; readonly fits: boolean; readonly bytes: number }>`
        WITH target AS (
          SELECT c.version
            FROM ${threads} t
            JOIN ${checkpoints} c ON ${ofSameThread("c", "t")}
           WHERE ${ofThread("t", key)} AND ${ofThread("c", key)} AND ${isVersion("c", id)}
             AND ${isVisible("c", "t.pruned_through")}
             FOR KEY SHARE OF t
        ), existing AS (
          SELECT w.task, w.bytes
            FROM target
            JOIN ${tables.pendingWrites} w ON ${ofThread("w", key)} AND w.version = target.version
        ), given AS (
          SELECT target.version, w.key AS task, w.value, octet_length(w.value::text) AS bytes
            FROM target, jsonb_each(${given}::jsonb) w
           WHERE NOT EXISTS (SELECT FROM existing WHERE existing.task = w.key)
        ), size AS (
          SELECT COALESCE((SELECT sum(bytes) FROM existing), 0::bigint)
                   + COALESCE((SELECT sum(bytes) FROM given), 0::bigint) AS bytes
        ), decision AS (
          SELECT size.bytes, size.bytes <= ${
        String(maxBytes)
      }::bigint OR NOT EXISTS (SELECT FROM given) AS fits FROM size
        ), written AS (
          INSERT INTO ${tables.pendingWrites} (thread_id, namespace, version, task, value, bytes)
          SELECT ${key.threadId}, ${key.namespace}, given.version, given.task, given.value, given.bytes
            FROM given, decision
           WHERE decision.fits
          ON CONFLICT (thread_id, namespace, version, task) DO NOTHING
        )
        SELECT EXISTS (SELECT FROM target) AS present, decision.fits, decision.bytes::float8 AS bytes FROM decision`
    ).pipe(Effect.map(([row]) => toOutcome(row!)))
}

const toOutcome = (
  { bytes, fits, present }: { readonly present: boolean; readonly fits: boolean; readonly bytes: number }
): PendingWritesOutcome => !present ? { _tag: "NotFound" } : fits ? { _tag: "Saved" } : { _tag: "TooLarge", bytes }

/** A version that has no pending writes is a row without one. */
interface PendingWriteRow {
  readonly task: string | null
  readonly value: string | null
}

export const read = (
  sql: PgClient,
  session: Session,
  tables: Tables
): CheckpointStore["Service"]["readPendingWrites"] => {
  const { checkpoints } = tables
  return (key, id) =>
    session.run(
      "readPendingWrites",
      sql<PendingWriteRow>`
        ${withHead(tables, key)}
        SELECT w.task, w.value::text AS value
          FROM ${checkpoints} c
          LEFT JOIN ${tables.pendingWrites} w ON ${ofSameThread("w", "c")} AND w.version = c.version
         WHERE ${ofThread("c", key)} AND ${isVersion("c", id)} AND ${isVisible("c", prunedThrough)}`
    ).pipe(Effect.map((rows) => rows.length === 0 ? Option.none() : Option.some(rows.flatMap(toPendingWrites))))
}

const toPendingWrites = ({ task, value }: PendingWriteRow): ReadonlyArray<PendingWrite> =>
  task === null || value === null ? [] : [{ task, value }]

const isVersion = (alias: string, { checkpointId, version }: VersionId): Fragment =>
  fragment`${literal(alias)}.version = ${String(version)}::bigint AND ${literal(alias)}.checkpoint_id = ${checkpointId}`
