import type { CheckpointStore, PendingWritesOutcome } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isVersion, isVisible, ofSameThread, ofThread } from "./head.ts"

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
      sql<SavedRow>`
        WITH found AS (
          SELECT t.version, t.step_version, c.step_version = t.step_version AS is_current
            FROM ${threads} t
            JOIN ${checkpoints} c ON ${ofSameThread("c", "t")}
           WHERE ${ofThread("t", key)} AND ${ofThread("c", key)} AND ${isVersion("c", id)}
             AND ${isVisible("c", "t.pruned_through")}
             FOR KEY SHARE OF t
        ), target AS (
          SELECT found.step_version FROM found WHERE found.is_current
        ), existing AS (
          SELECT w.task, w.bytes
            FROM target
            JOIN ${tables.pendingWrites} w ON ${ofThread("w", key)} AND w.step_version = target.step_version
        ), given AS (
          SELECT target.step_version, w.key AS task, w.value, octet_length(w.value::text) AS bytes
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
          INSERT INTO ${tables.pendingWrites} (thread_id, namespace, step_version, task, value, bytes)
          SELECT ${key.threadId}, ${key.namespace}, given.step_version, given.task, given.value, given.bytes
            FROM given, decision
           WHERE decision.fits
          ON CONFLICT (thread_id, namespace, step_version, task) DO NOTHING
        )
        SELECT found.version::float8 AS version, found.is_current, decision.fits, decision.bytes::float8 AS bytes
          FROM decision LEFT JOIN found ON TRUE`
    ).pipe(Effect.map(([row]) => toOutcome(row!)))
}

/** The columns of the head are `null` if the version does not exist. */
interface SavedRow {
  readonly version: number | null
  readonly is_current: boolean
  readonly fits: boolean
  readonly bytes: number
}

const toOutcome = ({ bytes, fits, is_current, version }: SavedRow): PendingWritesOutcome =>
  version === null
    ? { _tag: "NotFound" }
    : !is_current
    ? { _tag: "StepEnded", version }
    : fits
    ? { _tag: "Saved" }
    : { _tag: "TooLarge", bytes }
