/**
 * `Checkpointer` on Postgres: over a `PgClient` of yours, from the environment or configuration, or embedded in the
 * process.
 *
 * @since 0.1.0
 */
import * as Checkpointer from "@effect-checkpoint/core/Checkpointer"
import { InvalidInput, type StoreError } from "@effect-checkpoint/core/CheckpointError"
import * as CheckpointStore from "@effect-checkpoint/core/CheckpointStore"
import * as PgClient from "@effect/sql-pg/PgClient"
import { defaultMaxMessageSize } from "@effect/sql-pg/PgProtocol"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as EmbeddedPostgres from "./EmbeddedPostgres.ts"
import * as Environment from "./internal/config.ts"
import * as Migrations from "./internal/migrations.ts"
import * as Session from "./internal/session.ts"
import * as Store from "./internal/store.ts"
import * as Tables from "./internal/tables.ts"

/**
 * Settings of the service and of how it uses Postgres.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Checkpointer.Options {
  /**
   * The database schema of the tables, `effect_checkpoint` by default. At most 63 bytes, and without a dot. One database
   * can have several.
   */
  readonly schema?: string | undefined
  /** How long to wait for a connection of the pool, including the time to connect. 10 seconds by default. */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * How long a statement may take after it got a connection, 30 seconds by default. A statement that takes longer is
   * canceled, and given up five seconds later if the server does not react. In a transaction of the caller's, a
   * statement that takes longer fails the transaction. Migrations have no limit.
   */
  readonly statementTimeout?: Duration.Input | undefined
}

/**
 * Settings, and those of a client from the environment.
 *
 * @category models
 * @since 0.2.0
 */
export interface EnvOptions extends Options {
  /** More settings of the client. They win over those of the environment. */
  readonly client?: Omit<PgClient.PgPoolConfig, "url"> | undefined
}

/**
 * Settings, and those of the client, for `layerConfig`.
 *
 * @category models
 * @since 0.2.0
 */
export interface ConfigOptions extends Options {
  readonly client: PgClient.PgPoolConfig
}

/**
 * Settings, and where the embedded database is stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface EmbeddedOptions extends Options, EmbeddedPostgres.Options {}

/**
 * What every layer here provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = Checkpointer.Checkpointer | CheckpointStore.CheckpointStore

// -----------------------------------------------------------------------------
// layers over a client
// -----------------------------------------------------------------------------

/**
 * Provides the service over tables that exist, with settings.
 *
 * @see {@link layerStorage}
 *
 * @category layers
 * @since 0.2.0
 */
export const layerStorageWith = (
  options: Options
): Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> =>
  Layer.suspend(() => over(options, ({ session, sql, tables }) => session.run("check", Migrations.check(sql, tables))))

/**
 * Provides the service over tables that exist. Fails if they do not fit this version of the library.
 *
 * **When to use**
 *
 * Use where the application's role may not create tables. An owner runs {@link migrate} before.
 *
 * @see {@link layerStorageWith} to change the settings
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStorage: Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> = layerStorageWith({})

/**
 * Creates or updates the tables, in one transaction.
 *
 * **When to use**
 *
 * Use with a role that owns the schema, where the application's own role may not create tables. The `layer` does it by
 * itself.
 *
 * **Details**
 *
 * Any number of processes may run it at the same time.
 *
 * @category migrations
 * @since 0.1.0
 */
export const migrate = Effect.fn("PgCheckpointer.migrate")(function*(
  options?: Options | undefined
): Effect.fn.Return<void, InvalidInput | StoreError, PgClient.PgClient> {
  const opened = yield* open(options ?? {})
  yield* atStart(options ?? {}, opened, runMigrations(opened))
})

/**
 * Creates or updates the tables when it is built, with settings.
 *
 * @see {@link migrate}
 *
 * @category migrations
 * @since 0.2.0
 */
export const layerMigrationsWith = (
  options: Options
): Layer.Layer<never, InvalidInput | StoreError, PgClient.PgClient> => Layer.effectDiscard(migrate(options))

/**
 * Creates or updates the tables when it is built.
 *
 * @see {@link migrate}
 *
 * @category migrations
 * @since 0.1.0
 */
export const layerMigrations: Layer.Layer<never, InvalidInput | StoreError, PgClient.PgClient> = layerMigrationsWith({})

/**
 * Provides the service over the `PgClient` in the context, with settings.
 *
 * @see {@link layer}
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (
  options: Options
): Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> =>
  Layer.suspend(() => over(options, (opened) => Effect.withSpan(runMigrations(opened), "PgCheckpointer.migrate")))

/**
 * Provides the service over the `PgClient` in the context. Creates or updates the tables first; any number of processes
 * may start at the same time.
 *
 * **Details**
 *
 * Within `sql.withTransaction` of the same client, the service takes part in the transaction: both are committed or
 * neither is, and nothing is retried.
 *
 * It keeps nothing in a session. Therefore it works behind a pooler in transaction mode.
 *
 * **Gotchas**
 *
 * Effect builds a layer once per `Effect.provide` and shares it. A program with two clients needs two layers: call
 * `layerWith` for each.
 *
 * @see {@link layerWith} to change the settings
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> = layerWith({})

// -----------------------------------------------------------------------------
// layers with a client
// -----------------------------------------------------------------------------

/**
 * Provides the service and its client from the environment, with settings. They win over the environment.
 *
 * @see {@link layerEnv} for the variables
 *
 * @category layers
 * @since 0.2.0
 */
export const layerEnvWith = (
  options: EnvOptions
): Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  Config.ConfigError | InvalidInput | StoreError | SqlError
> =>
  Layer.unwrap(Effect.map(
    Environment.fromEnv(options.client),
    ({ client, schema }) => withClient({ ...options, schema: options.schema ?? schema }, client)
  ))

/**
 * Provides the service and its client from the environment.
 *
 * **Details**
 *
 * | name | meaning |
 * |---|---|
 * | `DATABASE_URL` | `postgresql://user:password@host:5432/db`, and parameters such as `?sslmode=verify-full` |
 * | `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` | the parts that the URL does not have, or all of it |
 * | `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`, `PGSSLMINPROTOCOLVERSION` | how to encrypt; `prefer` by default |
 * | `PGAPPNAME`, `PGCONNECT_TIMEOUT`, `PGOPTIONS` | as in `libpq` |
 * | `DATABASE_POOL_MAX_SIZE` | the size of the pool, if the URL has no `pool_max_size`; 10 by default |
 * | `DATABASE_PREPARE` | `false` for poolers that keep no prepared statements |
 * | `CHECKPOINT_SCHEMA` | the database schema of the tables |
 *
 * `docs/configuration.md` describes them. A setting of these that cannot be followed is an `InvalidInput` that names it,
 * or a `ConfigError` if `DATABASE_PREPARE` is not a boolean.
 *
 * The URL wins over the other variables. Neither the URL nor the password ever appears in a log, a span or an error.
 *
 * @see {@link layerEnvWith} to change the settings
 * @see {@link layerConfig} for other variables
 *
 * @category layers
 * @since 0.2.0
 */
export const layerEnv: Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  Config.ConfigError | InvalidInput | StoreError | SqlError
> = layerEnvWith({})

/**
 * Provides the service and its client from configuration of your own.
 *
 * **Example** (Name the variables)
 *
 * ```ts import.meta.vitest
 * import { PgCheckpointer } from "@effect-checkpoint/sql"
 * import { Config, Layer } from "effect"
 *
 * const Live = PgCheckpointer.layerConfig({
 *   client: { url: Config.Redacted("ORDERS_DATABASE_URL"), maxConnections: Config.succeed(20) },
 *   schema: Config.String("ORDERS_SCHEMA")
 * })
 * Layer.isLayer(Live) // => true
 * ```
 *
 * @see {@link layerEnv} for the usual variables
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (
  config: Config.Wrap<ConfigOptions>
): Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  Config.ConfigError | InvalidInput | StoreError | SqlError
> =>
  Layer.unwrap(Effect.gen(function*() {
    const { client, ...options } = yield* Config.unwrap(config)
    return withClient(options, yield* Environment.fromConfig(client))
  }))

const withClient = (options: Options, client: PgClient.PgPoolConfig) =>
  Layer.provideMerge(layerWith(options), PgClient.layer(client))

/**
 * Provides a client whose `url` is read as libpq reads it, for the layers that take one.
 *
 * **When to use**
 *
 * Use it instead of `PgClient.layerConfig`, which reads `sslmode` differently, ignores the other settings of TLS, and
 * does not give the server of the URL to spans.
 *
 * @see {@link layerEnv} for the parameters of the URL
 *
 * @category layers
 * @since 0.2.0
 */
export const layerClient = (
  config: Config.Wrap<PgClient.PgPoolConfig>
): Layer.Layer<PgClient.PgClient | SqlClient, Config.ConfigError | InvalidInput | SqlError> =>
  Layer.unwrap(Effect.gen(function*() {
    return PgClient.layer(yield* Environment.fromConfig(yield* Config.unwrap(config)))
  }))

/**
 * Provides the service on PGlite, with settings: a Postgres inside this process, in a folder or in memory.
 *
 * @see {@link layerEmbedded}
 *
 * @category layers
 * @since 0.2.0
 */
export const layerEmbeddedWith = (
  options: EmbeddedOptions
): Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  InvalidInput | StoreError | SqlError | EmbeddedPostgres.EmbeddedPostgresError
> => Layer.provideMerge(layerWith(options), EmbeddedPostgres.layerWith(options))

/**
 * Provides the service on PGlite: a Postgres inside this process, in memory. It needs `@electric-sql/pglite` to be
 * installed.
 *
 * **When to use**
 *
 * Use for programs that run on one machine, for demos, and for tests that want Postgres without a server. It has one
 * connection.
 *
 * @see {@link layerEmbeddedWith} to keep the data in a folder
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEmbedded: Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  InvalidInput | StoreError | SqlError | EmbeddedPostgres.EmbeddedPostgresError
> = layerEmbeddedWith({})

// -----------------------------------------------------------------------------
// implementation
// -----------------------------------------------------------------------------

/** Provides the service over tables that are prepared first. */
const over = (
  options: Options,
  prepare: (opened: Opened) => Effect.Effect<void, StoreError>
): Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> =>
  Checkpointer.layerWith(options).pipe(Layer.provideMerge(Layer.effect(
    CheckpointStore.CheckpointStore,
    Effect.gen(function*() {
      const opened = yield* open(options)
      yield* atStart(options, opened, prepare(opened))
      return Store.make(opened.sql, opened.session, opened.tables, options.retry ?? Checkpointer.defaultRetry)
    })
  )))

interface Opened {
  readonly sql: PgClient.PgClient
  readonly session: Session.Session
  readonly tables: Tables.Tables
}

const runMigrations = ({ session, sql, tables }: Opened) => Migrations.run(sql, session, tables)

const open = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Opened, InvalidInput, PgClient.PgClient> {
  // Names given to a client for its own tables must not change ours.
  const sql = (yield* PgClient.PgClient).withoutTransforms()
  const schema = options.schema ?? "effect_checkpoint"
  yield* checkSchema(schema)
  // Everything that is written must be readable: a message holds the state as Postgres prints it, with a space after each
  // comma and colon, which at worst makes three bytes of two, and the four parts besides it.
  const maxMessageSize = sql.config.maxMessageSize ?? defaultMaxMessageSize
  const most = Math.floor((maxMessageSize - 4 * CheckpointStore.maxPartBytes) / 1.5)
  const maxStateBytes = options.maxStateBytes ?? Checkpointer.defaultMaxStateBytes
  if (maxStateBytes > most) {
    return yield* new InvalidInput({
      field: "maxStateBytes",
      problem: `states of ${maxStateBytes} bytes could not be read again through a client whose maxMessageSize is ` +
        `${maxMessageSize}; at most ${Math.max(most, 0)} can, or raise both`
    })
  }
  const session = Session.make(sql, {
    acquireTimeout: yield* timeout("acquireTimeout", options.acquireTimeout ?? "10 seconds"),
    statementTimeout: yield* timeout("statementTimeout", options.statementTimeout ?? "30 seconds")
  })
  return { sql, session, tables: Tables.make(schema) }
})

const checkSchema = (name: string): Effect.Effect<void, InvalidInput> => {
  const reason = name === ""
    ? "it is empty"
    : new TextEncoder().encode(name).length > 63
    ? "it is longer than 63 bytes"
    : name.includes(".") || name.includes("\u0000") || !name.isWellFormed()
    ? "it holds a dot, U+0000 or a lone surrogate"
    : undefined
  return reason === undefined ? Effect.void : Effect.fail(new InvalidInput({ field: "schema", problem: reason }))
}

const timeout = (field: string, input: Duration.Input): Effect.Effect<Duration.Duration, InvalidInput> => {
  const duration = Option.filter(Duration.fromInput(input), (duration) => Duration.toMillis(duration) > 0)
  return Option.isSome(duration) ? Effect.succeed(duration.value) : Effect.fail(
    new InvalidInput({ field, problem: `expected a duration above zero, got ${String(input)}` })
  )
}

/** Waits for a server that is not up yet, as operations do later, and says so once. */
const atStart = Effect.fnUntraced(function*(
  options: Options,
  { sql }: Opened,
  effect: Effect.Effect<void, StoreError>
): Effect.fn.Return<void, StoreError> {
  const server = yield* Environment.describe(sql.config)
  let isFirst = true
  const tell = (error: StoreError) =>
    Effect.suspend(() => {
      if (!isFirst || !error.isRetryable) return Effect.void
      isFirst = false
      return Effect.logInfo(`Waiting for Postgres at ${server}: ${error.message}`)
    })
  const attempt: Effect.Effect<void, StoreError> = Effect.tapError(effect, tell)
  yield* Effect.retry(attempt, {
    schedule: options.retry ?? Checkpointer.defaultRetry,
    while: (error) => error.isRetryable
  })
})
