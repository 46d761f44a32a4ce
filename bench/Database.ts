/**
 * One server for all measurements, and a database of its own for each.
 */
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { Effect, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"

/**
 * Durable, as it comes; and with room, so that the checkpoints of the server do not hit whoever is just running.
 */
export const settings = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  shared_buffers: "1GB",
  max_wal_size: "8GB",
  checkpoint_timeout: "30min"
}

/** The most connections of every contestant. */
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

/** Tables, indexes and what is stored out of line, of a database schema. */
export const bytesOnDisk = (sql: PgClient.PgClient, schema: string): Effect.Effect<number> =>
  Effect.orDie(Effect.map(
    sql<{ readonly bytes: number }>`
      SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::float8 AS bytes
        FROM pg_class c
       WHERE c.relnamespace = ${schema}::text::regnamespace AND c.relkind = 'r'`,
    ([row]) => row!.bytes
  ))
