import { Checkpointer } from "@effect-checkpoint/core"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { DateTime, Effect, Fiber } from "effect"
import { Database, held, pgLayer, waiting } from "./support.ts"

/** The time of the server, in milliseconds, which is that of a version if it was saved now. */
const serverTime = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const [row] = yield* sql<{ readonly time: number }>`
    SELECT floor(extract(epoch FROM clock_timestamp())::numeric * 1000)::float8 AS time`
  return row!.time
})

const timeOf = ({ createdAt }: { readonly createdAt: DateTime.Utc }) => DateTime.toEpochMillis(createdAt)

// A server answers in real time.
layer(Database.layer, { excludeTestServices: true })("times of versions", (it) => {
  it.effect("a version that is saved late in a transaction has the time of its put, not that of the transaction", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "old", state: 1 })
      yield* sql.withTransaction(Effect.gen(function*() {
        const [begun] = yield* sql<{ readonly time: number }>`
          SELECT floor(extract(epoch FROM now())::numeric * 1000)::float8 AS time`
        const later = yield* Effect.repeat(serverTime, { until: (time) => time > begun!.time })
        for (const threadId of ["new", "old"]) {
          assert.isAtLeast(timeOf(yield* checkpointer.append({ threadId, state: 2 })), later)
        }
      }))
    }).pipe(Effect.provide(pgLayer({ schema: "late" }))))

  it.effect("a version that had to wait for the one before has a time after its wait", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: 1 })
      const commit = yield* held(checkpointer.append({ threadId: "t", state: 2 }))
      const putting = yield* waiting(checkpointer.append({ threadId: "t", state: 3 }))
      const before = yield* serverTime
      const later = yield* Effect.repeat(serverTime, { until: (time) => time > before })
      yield* commit
      const saved = yield* Fiber.join(putting)
      assert.strictEqual(saved.version, 3)
      assert.isAtLeast(timeOf(saved), later)
    }).pipe(Effect.scoped, Effect.provide(pgLayer({ schema: "waited" }))))

  it.effect("a version is never older than the one before, and a thread is listed by the time of its newest version", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: 1 })
      // As if the clock of the server had been set back by a day.
      yield* sql`
        UPDATE ahead.checkpoint_threads
           SET updated_at = updated_at + interval '1 day', active_at = date_trunc('minute', updated_at + interval '1 day')`
      const [ahead] = yield* sql<{ readonly time: number }>`
        SELECT (extract(epoch FROM updated_at)::numeric * 1000)::float8 AS time FROM ahead.checkpoint_threads`
      const saved = yield* checkpointer.append({ threadId: "t", state: 2 })
      assert.strictEqual(timeOf(saved), ahead!.time)
      yield* checkpointer.append({ threadId: "other", state: 1 })
      const times = yield* sql`
        SELECT active_at <= updated_at AND updated_at < active_at + interval '1 minute' AS consistent FROM ahead.checkpoint_threads`
      assert.deepStrictEqual(times, [{ consistent: true }, { consistent: true }])
    }).pipe(Effect.provide(pgLayer({ schema: "ahead" }))))
})
