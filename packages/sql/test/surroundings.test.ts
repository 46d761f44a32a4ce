import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { age, clientLayer, Database, inQuickRuns, isThorough, pgLayer, some } from "./support.ts"

/* Runs everything in a database whose settings change how values are read and written, and how statements are planned. */

/** As SQL has them. The search path is in searchPath.test.ts, the isolation in isolation.test.ts. */
const unusual = {
  // How values are written and read.
  DateStyle: "'SQL, DMY'",
  IntervalStyle: "sql_standard",
  TimeZone: "'Pacific/Chatham'",
  bytea_output: "escape",
  extra_float_digits: "-15",
  client_encoding: "LATIN1",
  standard_conforming_strings: "off",
  backslash_quote: "off",
  array_nulls: "off",
  transform_null_equals: "on",
  quote_all_identifiers: "on",
  xmlbinary: "hex",
  // Where names are looked up, and what a role may see.
  search_path: "''",
  row_security: "off",
  // How long things may take, and what is said about them.
  statement_timeout: "'20s'",
  lock_timeout: "'20s'",
  idle_in_transaction_session_timeout: "'20s'",
  client_min_messages: "debug1",
  // How statements are planned and committed.
  plan_cache_mode: "force_generic_plan",
  enable_seqscan: "off",
  enable_nestloop: "off",
  join_collapse_limit: "1",
  from_collapse_limit: "1",
  work_mem: "'64kB'",
  default_transaction_deferrable: "on",
  synchronous_commit: "off"
}

const unusualDatabase = Layer.provideMerge(Database.layerWith(unusual))

CheckpointerLaws.laws({
  name: "with unusual settings",
  layer: unusualDatabase(pgLayer()),
  age: age(),
  runs: 10,
  ...inQuickRuns("states", "changes", "reading", "steps", "threads", "retention", "fuzz")
})

if (isThorough) {
  StateGraphLaws.laws({ name: "graphs with unusual settings", layer: unusualDatabase(pgLayer()), runs: 5 })
}

describe("unusual settings", () => {
  it.live("unusual settings are those of every connection, except for the encoding of the client", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const rows = yield* sql<{ readonly name: string; readonly source: string }>`
        SELECT name, source FROM pg_catalog.pg_settings WHERE name = ANY(${Object.keys(unusual)}::text[])`
      assert.lengthOf(rows, Object.keys(unusual).length)
      for (const { name, source } of rows) {
        assert.strictEqual(source, name === "client_encoding" ? "client" : "database", name)
      }
    }).pipe(Effect.provide(unusualDatabase(clientLayer()))))

  it.live("a database that is read-only by default is read, and refuses writes as Unavailable", () =>
    Effect.gen(function*() {
      yield* Checkpointer.Checkpointer.use((checkpointer) => checkpointer.create({ threadId: "t", state: 1 })).pipe(
        Effect.provide(pgLayer())
      )
      const readOnly = { startupParameters: { default_transaction_read_only: "on" } }
      yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        assert.strictEqual(some(yield* checkpointer.get("t")).state, 1)
        yield* checkpointer.health
        for (const write of [checkpointer.append({ threadId: "t", state: 2 }), checkpointer.deleteThread("t")]) {
          const error = yield* Effect.flip<unknown, unknown, never>(write)
          assert.nestedInclude(error, {
            _tag: "StoreError",
            "reason._tag": "Unavailable",
            outcome: "NotApplied",
            isRetryable: true
          })
          assert.include(String(error), "default_transaction_read_only")
        }
      }).pipe(Effect.provide(
        PgCheckpointer.layerStorageWith({ retry: Schedule.recurs(0) }).pipe(Layer.provide(clientLayer(readOnly)))
      ))
    }).pipe(Effect.provide(Database.layer)))
})
