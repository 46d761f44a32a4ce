import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { Mails } from "./Mails.ts"

/**
 * The names of the threads that `fill` creates, from 1. They are in no order, as UUIDs are: neighbors in an index are not
 * neighbors in the table.
 */
export const threadName = (thread: number): string => createHash("md5").update(String(thread)).digest("hex")

/** Inserts keyframes of a small state into the tables: `threads` threads of `versions` versions each. */
export const fill = Effect.fnUntraced(function*(sql: PgClient.PgClient, options: {
  readonly schema: string
  readonly threads: number
  readonly versions: number
}) {
  const mails = yield* Mails
  const state = JSON.stringify(mails.ofBytes(100, 0))
  const [versions, threads] = [String(options.versions), String(options.threads)]
  const table = (name: string) => sql(`${options.schema}.${name}`)
  yield* sql`
    INSERT INTO ${table("checkpoint_threads")} (
      thread_id, namespace, version, checkpoint_id, write_id, keyframe_version, unfinished, interrupted, active_at, updated_at, created_at
    )
    SELECT md5(i::text), '', ${versions}::bigint, i || ' ' || ${versions}, md5(i::text)::uuid,
           ${versions}::bigint, FALSE, FALSE, now(), now(), now() - interval '1 day'
      FROM generate_series(1, ${threads}::integer) i`
  yield* sql`
    INSERT INTO ${table("checkpoints")} (
      thread_id, namespace, version, keyframe_version, created_at, payload_bytes, state_bytes, format, checkpoint_id,
      next_nodes, metadata, payload
    )
    SELECT md5(i::text), '', v, v, now() - interval '1 hour', ${String(state.length)}::integer,
           ${String(state.length)}::integer, 1, i || ' ' || v, '[]', '{}', ${state}::jsonb
      FROM generate_series(1, ${threads}::integer) i, generate_series(1, ${versions}::integer) v`
  yield* sql`VACUUM (ANALYZE) ${table("checkpoint_threads")}`
  yield* sql`VACUUM (ANALYZE) ${table("checkpoints")}`
  yield* sql`CHECKPOINT`
}, Effect.orDie)
