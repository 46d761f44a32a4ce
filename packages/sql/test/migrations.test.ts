import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Redacted, Schedule } from "effect"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import { TestClock } from "effect/testing"
import { clientLayer, Database, held, pgLayer, waiting, withUser } from "./support.ts"

/** The errors of all ways to start with a schema. */
const refusals = Effect.fnUntraced(function*(schema: string) {
  const starts = {
    layer: Effect.scoped(Layer.build(PgCheckpointer.layerWith({ schema }))),
    layerStorage: Effect.scoped(Layer.build(PgCheckpointer.layerStorageWith({ schema }))),
    migrate: PgCheckpointer.migrate({ schema })
  }
  return yield* Effect.forEach(Object.values(starts), (start) => Effect.flip(start))
})

const tablesOf = (schema: string) =>
  PgClient.PgClient.use((sql) =>
    sql`SELECT relname FROM pg_class WHERE relnamespace = ${schema}::text::regnamespace AND relkind = 'r'`
  )

layer(Database.layer, { excludeTestServices: true })("migrations", (it) => {
  it.effect("migrations refuse a schema of version 0.1, in every way to start, and say what to do", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE SCHEMA first`
      yield* sql`CREATE TABLE first.checkpoint_migrations (migration_id integer PRIMARY KEY, name text NOT NULL)`
      yield* sql`INSERT INTO first.checkpoint_migrations VALUES (1, 'create_tables')`
      yield* sql`CREATE SCHEMA unrecorded`
      yield* sql`CREATE TABLE unrecorded.checkpoint_writes (thread_id text)`
      for (const schema of ["first", "unrecorded"]) {
        const before = yield* tablesOf(schema)
        for (const error of yield* refusals(schema)) {
          assert.nestedInclude(error, {
            _tag: "StoreError",
            "reason._tag": "SchemaIncompatible",
            outcome: "NotApplied",
            isRetryable: false
          })
          assert.include(error.message, "created by version 0.1, which was never published")
          assert.include(error.message, `DROP SCHEMA "${schema}" CASCADE`)
          assert.include(error.message, "option \"schema\"")
        }
        assert.deepStrictEqual(yield* tablesOf(schema), before)
      }
    }).pipe(Effect.provide(clientLayer())))

  it.effect("migrations refuse tables of another development version, in every way to start and in health", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* checkpointer.health
      yield* sql`UPDATE development.checkpoint_migrations SET name = 'create_tables_0123456789abcdef'`
      for (const error of [...(yield* refusals("development")), yield* Effect.flip(checkpointer.health)]) {
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "SchemaIncompatible", isRetryable: false })
        assert.include(error.message, "created by another development version")
        assert.include(error.message, `DROP SCHEMA "development" CASCADE`)
      }
    }).pipe(Effect.provide(pgLayer({ schema: "development" }))))

  it.effect("migrations are recorded under the same names in every schema", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const names = yield* Effect.forEach(["one", "$function$ \"two\""], (schema) =>
        Effect.andThen(
          PgCheckpointer.migrate({ schema }),
          sql`SELECT migration_id, name FROM ${sql(`${schema}.checkpoint_migrations`)} ORDER BY migration_id`
        ))
      assert.deepStrictEqual(names[0], names[1])
      assert.match(String(names[0]![0]!["name"]), /^create_tables_[0-9a-f]{16}$/)
    }).pipe(Effect.provide(clientLayer())))

  it.effect("migrations let 8 services start at once if transactions are repeatable read by default", () =>
    Effect.gen(function*() {
      const isolated = { startupParameters: { default_transaction_isolation: "repeatable read" }, maxConnections: 2 }
      const versions = yield* Effect.forEach(
        Array.from({ length: 8 }, (_, i) => `thread ${i}`),
        (threadId) =>
          Checkpointer.Checkpointer.use((checkpointer) => checkpointer.create({ threadId, state: 1 })).pipe(
            Effect.provide(Layer.fresh(pgLayer({ schema: "isolated", retry: Schedule.recurs(0) }, isolated)))
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(versions.map(({ version }) => version), Array(8).fill(1))
    }))

  it.effect("migrations have no limit of time, neither that of other statements nor that of the server", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE public.seen (statement_timeout text)`
      yield* sql`
        CREATE FUNCTION public.see() RETURNS event_trigger LANGUAGE plpgsql
          AS 'BEGIN INSERT INTO public.seen VALUES (current_setting(''statement_timeout'')); END'`
      yield* sql`CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.see()`
      const lock = "effect-checkpoint migrations of unlimited"
      const commit = yield* held(sql`SELECT pg_advisory_xact_lock(hashtext(${lock}::text)::bigint)`)
      const clock = yield* TestClock.make()
      const migrating = yield* waiting(
        PgCheckpointer.migrate({ schema: "unlimited", statementTimeout: "1 second", retry: Schedule.recurs(0) }).pipe(
          Effect.provideService(PgClient.PgClient, sql),
          Effect.provideService(Clock.Clock, clock)
        )
      )
      yield* clock.adjust("1 day")
      yield* commit
      yield* Fiber.join(migrating)
      assert.deepStrictEqual(yield* sql`SELECT statement_timeout FROM public.seen`, [{ statement_timeout: "0" }])
      yield* sql`DROP EVENT TRIGGER see`
    }).pipe(Effect.provide(clientLayer({ startupParameters: { statement_timeout: "60s" } }))))

  it.effect("migrations refuse a database that is not UTF8, in every way to start, and say how to create one", () =>
    Effect.gen(function*() {
      const { url } = yield* Database
      const sql = yield* PgClient.PgClient
      const name = `latin_${uuidV4Unsafe()}`
      yield* Effect.acquireRelease(
        sql`CREATE DATABASE ${sql(name)} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
        () => Effect.orDie(sql`DROP DATABASE ${sql(name)}`)
      )
      const latin = new URL(Redacted.value(url))
      latin.pathname = `/${name}`
      const errors = yield* Effect.provide(refusals("latin"), PgClient.layer({ url: Redacted.make(latin.toString()) }))
      assert.lengthOf(errors, 3)
      for (const error of errors) {
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "SchemaIncompatible", isRetryable: false })
        assert.include(error.message, "the encoding of the database is LATIN1")
        assert.include(error.message, "ENCODING 'UTF8' TEMPLATE template0")
      }
    }).pipe(Effect.scoped, Effect.provide(clientLayer())))

  it.effect("migrations that fail report the statement that failed first", () =>
    Effect.gen(function*() {
      const { url } = yield* Database
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE SCHEMA foreign_to`
      yield* sql`CREATE ROLE may_create_nothing LOGIN PASSWORD 'secret word'`
      yield* sql`GRANT USAGE ON SCHEMA foreign_to TO may_create_nothing`
      const error = yield* Effect.flip(PgCheckpointer.migrate({ schema: "foreign_to" })).pipe(
        Effect.provide(PgClient.layer({ url: withUser(url, "may_create_nothing", "secret word") }))
      )
      assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "Permission", outcome: "NotApplied" })
      yield* sql`DROP OWNED BY may_create_nothing`
      yield* sql`DROP ROLE may_create_nothing`
    }).pipe(Effect.provide(clientLayer())))
})
