/**
 * One server for all measurements, and a separate database for each.
 */
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { Effect, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"

/**
 * Durable, as by default. The log has room, so that a checkpoint of the server does not slow down one contestant.
 */
export const settings = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  shared_buffers: "1GB",
  max_wal_size: "8GB",
  checkpoint_timeout: "30min"
}

/** The pool size of every contestant. */
export const poolSize = 32

export interface Database {
  readonly url: Redacted.Redacted
  readonly sql: PgClient.PgClient
}

export const make = Effect.fnUntraced(function*(prefix: string) {
  const server = yield* PostgresServer.PostgresServer
  const url = yield* server.createDatabase({ prefix: `bench_${prefix}` })
  const sql = yield* PgClient.make({ url, maxConnections: poolSize }).pipe(Effect.provide(Reactivity.layer))
  return { url, sql } satisfies Database
})

/** The size of a database schema: tables, indexes and TOAST. */
export const bytesOnDisk = (sql: PgClient.PgClient, schema: string): Effect.Effect<number> =>
  Effect.orDie(Effect.map(
    sql<{ readonly bytes: number }>`
      SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::float8 AS bytes
        FROM pg_class c
       WHERE c.relnamespace = ${schema}::text::regnamespace AND c.relkind = 'r'`,
    ([row]) => row!.bytes
  ))
