import { SchemaIncompatible, SchemaMissing, StoreError, Unknown } from "@effect-checkpoint/core/CheckpointError"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { toStoreError } from "./errors.ts"
import { functions } from "./migrations/functions.ts"
import { tables as createTables } from "./migrations/tables.ts"
import { view } from "./migrations/view.ts"
import type { Session } from "./session.ts"
import type { Tables } from "./tables.ts"

interface Migration {
  readonly id: number
  readonly name: string
  /** For a schema, given as it stands in a statement. */
  readonly statements: (schema: string) => ReadonlyArray<string>
}

/** Number 1 was that of version 0.1, which was never published. Until 0.2 is released, number 2 is edited in place. */
const migrations: ReadonlyArray<Migration> = [
  {
    id: 2,
    name: "create_tables",
    statements: (schema) => [...createTables(schema), ...functions(schema), ...view(schema)]
  }
]

/** The newest migration. Databases beyond it belong to a newer version of the library. */
const newest = 2

// -----------------------------------------------------------------------------
// what a database has
// -----------------------------------------------------------------------------

/** What the tables of a schema are to this version of the library. */
type Status =
  | { readonly _tag: "Current" }
  /** There are none, or they are older. */
  | { readonly _tag: "Missing"; readonly migration: number }
  | { readonly _tag: "Incompatible"; readonly message: string }

const inspect = Effect.fnUntraced(function*(
  sql: PgClient,
  tables: Tables
): Effect.fn.Return<Status, SqlError> {
  const [found] = yield* sql<{ readonly migrations: boolean; readonly writes: boolean; readonly encoding: string }>`
    SELECT current_setting('server_encoding'::text) AS encoding,
           to_regclass(${`${tables.quoted}.checkpoint_migrations`}::text) IS NOT NULL AS migrations,
           to_regclass(${`${tables.quoted}.checkpoint_writes`}::text) IS NOT NULL AS writes`
  if (found?.encoding !== "UTF8") return { _tag: "Incompatible", message: notUnicode(String(found?.encoding)) }
  const applied = found.migrations
    ? yield* sql<{ readonly id: number; readonly name: string }>`
    SELECT migration_id::float8 AS id, name FROM ${tables.migrations} ORDER BY migration_id`
    : []
  const last = applied.at(-1)?.id ?? 0
  if (last === 1 || last === 0 && found.writes) {
    return foreign(tables, `were created by version 0.1, which was never published; ${startAgain(tables)}`)
  }
  if (last > newest) {
    return foreign(
      tables,
      `are at migration ${last}, but this version of the library knows only migration ${newest}; upgrade the library`
    )
  }
  const known = yield* recorded
  if (applied.some(({ id, name }) => known.find((migration) => migration.id === id)?.name !== name)) {
    return foreign(tables, `were created by another development version of the library; ${startAgain(tables)}`)
  }
  return last === newest ? { _tag: "Current" } : { _tag: "Missing", migration: last }
})

const foreign = (tables: Tables, problem: string): Status => ({
  _tag: "Incompatible",
  message: `the checkpoint tables in schema "${tables.schema}" ${problem}`
})

const notUnicode = (encoding: string): string =>
  `the encoding of the database is ${encoding}, which cannot store every text; create another database with ` +
  "ENCODING 'UTF8' TEMPLATE template0"

const startAgain = ({ quoted }: Tables): string =>
  `drop them with all their data (DROP SCHEMA ${quoted} CASCADE), or choose another schema with the option "schema"`

/**
 * The migrations by the names that are recorded, which contain a hash of the statements: tables that other statements
 * created are refused.
 */
const recorded: Effect.Effect<ReadonlyArray<Migration>> = Effect.forEach(
  migrations,
  Effect.fnUntraced(function*(migration) {
    const digest = yield* Digest.Digest
    // The same for every schema.
    const text = migration.statements("\"schema\"").join(";\n")
    const hash = yield* digest.digestHex(Digest.sha256, new TextEncoder().encode(text))
    return { ...migration, name: `${migration.name}_${hash.slice(0, 16)}` }
  })
).pipe(Effect.provide(Digest.layerWebCrypto))

/** Fails unless the tables are those that this version of the library works with. */
export const check = (sql: PgClient, tables: Tables): Effect.Effect<void, SqlError | StoreError> =>
  Effect.flatMap(
    usable(sql, tables),
    (status) => status._tag === "Missing" ? Effect.fail(missing(tables, status.migration)) : Effect.void
  )

/** Fails if the migrations cannot help. */
const usable = (
  sql: PgClient,
  tables: Tables
): Effect.Effect<Exclude<Status, { readonly _tag: "Incompatible" }>, SqlError | StoreError> =>
  Effect.flatMap(
    inspect(sql, tables),
    (status) => status._tag === "Incompatible" ? Effect.fail(incompatible(status.message)) : Effect.succeed(status)
  )

// -----------------------------------------------------------------------------
// running them
// -----------------------------------------------------------------------------

/**
 * Brings the tables up to date. Any number of processes may do it at once: they wait for each other, and all but the
 * first find nothing left to do.
 */
export const run = Effect.fnUntraced(function*(
  sql: PgClient,
  session: Session,
  tables: Tables
): Effect.fn.Return<void, StoreError> {
  // A role that may create nothing can start on a database that is up to date.
  if (yield* session.run("migrate", isCurrent(sql, tables))) return
  const nested = yield* session.inTransaction
  yield* session.transaction(
    "migrate",
    Effect.gen(function*() {
      // Where tables are large, a statement may take hours. It would be canceled, and begin again.
      if (!nested) yield* sql`SET LOCAL statement_timeout = 0`
      // CREATE ... IF NOT EXISTS fails when two processes do it at the same time, therefore they take turns. The lock is
      // released at the end of the transaction.
      const lock = `effect-checkpoint migrations of ${tables.schema}`
      yield* sql`SELECT pg_advisory_xact_lock(hashtext(${lock}::text)::bigint)`
      if (yield* isCurrent(sql, tables)) return
      const [schema] = yield* sql`SELECT FROM pg_catalog.pg_namespace WHERE nspname = ${tables.schema}`
      if (schema === undefined) yield* sql`CREATE SCHEMA ${sql(tables.schema)}`
      yield* migrate({ loader: loader(sql, tables), table: tables.migrationsTable }).pipe(
        Effect.provideService(SqlClient.SqlClient, sql),
        Effect.catchTag("MigrationError", (error) => Effect.fail(fromMigrationError(error)))
      )
    }),
    Duration.infinity
  )
})

const isCurrent = (sql: PgClient, tables: Tables): Effect.Effect<boolean, SqlError | StoreError> =>
  Effect.map(usable(sql, tables), (status) => status._tag === "Current")

/** Without the dump of the schema, which would need child processes and files. */
const migrate = Migrator.make({})

const loader = (sql: PgClient, tables: Tables): Migrator.Loader =>
  Effect.map(recorded, (migrations) =>
    migrations.map(({ id, name, statements }): Migrator.ResolvedMigration => [
      id,
      name,
      Effect.succeed(Effect.forEach(statements(tables.quoted), (text) => sql.unsafe(text), { discard: true }))
    ]))

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

const missing = (tables: Tables, migration: number): StoreError =>
  new StoreError({
    operation: "check",
    reason: new SchemaMissing({
      message: migration === 0
        ? `schema "${tables.schema}" has no checkpoint tables; run the migrations, or check the schema's name`
        : `schema "${tables.schema}" is at migration ${migration} of ${newest}; run the migrations`
    }),
    outcome: "NotApplied"
  })

const incompatible = (message: string): StoreError =>
  new StoreError({ operation: "check", reason: new SchemaIncompatible({ message }), outcome: "NotApplied" })

/** The migrator's message about a failed statement is in its cause. */
const fromMigrationError = (error: Migrator.MigrationError): StoreError =>
  isSqlError(error.cause) ? toStoreError("migrate", error.cause) : new StoreError({
    operation: "migrate",
    reason: new Unknown({ message: error.message, cause: error }),
    outcome: "NotApplied"
  })
