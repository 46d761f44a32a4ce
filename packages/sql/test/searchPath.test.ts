import { Checkpointer } from "@effect-checkpoint/core"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Layer, ManagedRuntime, Schema } from "effect"
import { blocks, statementsIn } from "./documents.ts"
import * as Hostile from "./hostile.ts"
import { age, clientLayer, Database, inQuickRuns, isThorough, pgLayer } from "./support.ts"

/*
 * Runs all operations in a database where another role has created operators and functions. A statement that resolves
 * one outside of `pg_catalog` and the library's schema runs the code of that role with the rights of the application.
 */

/** One database for all tests of the file, since filling it takes seconds. */
const shared = ManagedRuntime.make(Hostile.layer.pipe(Layer.provideMerge(Database.layer)))
afterAll(() => shared.dispose())

const database = Layer.effectContext(shared.contextEffect)
const onDatabase = clientLayer().pipe(Layer.provideMerge(database))
const inSchema = (schema: string) => pgLayer({ schema }).pipe(Layer.provideMerge(database))

CheckpointerLaws.laws({
  name: "with hostile operators and functions",
  layer: inSchema("laws"),
  age: age("laws"),
  runs: 10,
  sequences: 25,
  ...inQuickRuns(
    "changes",
    "writing",
    "reading",
    "branching",
    "steps",
    "questions",
    "threads",
    "retention",
    "store",
    "model"
  )
})

if (isThorough) {
  StateGraphLaws.laws({ name: "graphs with hostile operators and functions", layer: inSchema("graphs"), runs: 5 })
}

const documented = blocks.filter(({ role }) => role === "reader").flatMap(({ text }) => statementsIn(text))

describe("hostile operators and functions", () => {
  it.effect("a database with hostile operators can be compacted, planned with a dry run, and read by SQL", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      const orders = yield* checkpointer.view({ namespace: "orders", state: Schema.Json })
      const state = (version: number) => ({
        total: version,
        lines: Array.from({ length: 30 + version }, (_, i) => `${i} ${"words ".repeat(20)}`)
      })
      const put = (version: number) =>
        orders.append({ threadId: "order-1", state: state(version), nextNodes: ["pay"], metadata: { version } })
      for (let version = 1; version <= 8; version++) yield* put(version)
      yield* orders.setTags("order-1", { version: 3 }, ["kept"])
      yield* age("effect_checkpoint")("36 hours")
      const policy = { maxVersions: 2, maxAge: "1 day", idleThreads: "2 days", compact: true } as const
      const planned = yield* checkpointer.prune(policy, { dryRun: true })
      assert.strictEqual(planned.versions, 6)
      const done = yield* checkpointer.prune(policy)
      assert.deepStrictEqual(done, { ...planned, dryRun: false, duration: done.duration })
      yield* put(9)
      const rows = yield* sql`
        SELECT version::float8 AS version, state FROM effect_checkpoint.checkpoint_states ORDER BY version`
      assert.deepStrictEqual(rows, [3, 8, 9].map((version) => ({ version, state: state(version) })))
      for (const statement of documented) assert.isNotEmpty(yield* sql.unsafe(statement), statement)
      yield* checkpointer.health
    }).pipe(Effect.provide(inSchema("effect_checkpoint"))))

  it.effect("hostile operators and functions are never called by the library", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Hostile.calls, 0)
    }).pipe(Effect.provide(onDatabase)))

  it.effect("hostile operators and functions are called by SQL without exact types", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const expressions = [
        "extract(epoch FROM now())::numeric * 1000",
        "ARRAY['a'] && ARRAY['b']",
        "'[1]'::jsonb -> '0'",
        "pg_advisory_xact_lock(1)"
      ]
      for (const expression of expressions) {
        const error = yield* Effect.flip(sql.unsafe(`SELECT ${expression}`))
        assert.match(String(error.reason.cause), /code of another role/, expression)
      }
      assert.strictEqual(yield* Hostile.calls, expressions.length)
    }).pipe(Effect.provide(onDatabase)))
})
