/**
 * `Checkpointer` on Postgres: over a `PgClient` that is there, from configuration,
 * or embedded in the process.
 *
 * @since 0.1.0
 */
import * as Checkpointer from "@effect-checkpoint/core/Checkpointer"
import { InvalidInput, type StoreError } from "@effect-checkpoint/core/CheckpointError"
import * as CheckpointStore from "@effect-checkpoint/core/CheckpointStore"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as EmbeddedPostgres from "./EmbeddedPostgres.ts"
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
   * The database schema that the tables are in, `effect_checkpoint` by default. At
   * most 63 bytes, and without a dot. Several can live in one database.
   */
  readonly schema?: string | undefined
  /** How long to wait for a connection of the pool, connecting included. 10 seconds by default. */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * How long a statement may take, once it has a connection. 30 seconds by default.
   * One that takes longer is cancelled; where the server does not answer to that
   * either, it is given up five seconds later.
   * In a transaction of the caller's one that takes longer fails the transaction.
   */
  readonly statementTimeout?: Duration.Input | undefined
}

/**
 * Settings, and what a client that is made from configuration is given beside it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConfigOptions extends Options {
  /** Any further settings of the client. They win over those of the environment. */
  readonly client?: Omit<PgClient.PgPoolConfig, "url"> | undefined
}

/**
 * Settings, and where the embedded database is.
 *
 * @category models
 * @since 0.1.0
 */
export interface EmbeddedOptions extends Options {
  /** The folder to keep the data in. In memory when absent. */
  readonly dataDir?: string | undefined
}

/**
 * What every layer here provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = Checkpointer.Checkpointer | CheckpointStore.CheckpointStore

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * The service over the `PgClient` that is provided. Creates or updates the tables
 * first; any number of processes may start at once.
 *
 * **Details**
 *
 * Within `sql.withTransaction` of the same client the service takes part in the
 * transaction: both are committed or neither is, and nothing is retried.
 *
 * It keeps nothing in a session, so it works behind a pooler in transaction mode.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options | undefined
): Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> =>
  layerStorage(options).pipe(Layer.provide(layerMigrations(options)))

/**
 * The service over tables that are there, for a role that may create none. Fails
 * when they are not of the version that is needed.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStorage = (
  options?: Options | undefined
): Layer.Layer<Services, InvalidInput | StoreError, PgClient.PgClient> =>
  Checkpointer.layerWith(options ?? {}).pipe(Layer.provideMerge(Layer.effect(
    CheckpointStore.CheckpointStore,
    Effect.gen(function*() {
      const { session, sql, tables } = yield* open(options)
      yield* atStart(options, session.run("check", Migrations.check(sql, tables)))
      return Store.make(sql, session, tables, options?.retry ?? Checkpointer.defaultRetry)
    })
  )))

/**
 * Creates or updates the tables. In one transaction, so that it is done whole or
 * not at all.
 *
 * **When to use**
 *
 * Use with a role that owns the schema, where the application's own role may not
 * create tables. `layer` does it by itself.
 *
 * @category migrations
 * @since 0.1.0
 */
export const migrate = Effect.fn("PgCheckpointer.migrate")(function*(
  options?: Options | undefined
): Effect.fn.Return<void, InvalidInput | StoreError, PgClient.PgClient> {
  const { session, sql, tables } = yield* open(options)
  yield* atStart(options, Migrations.run(sql, session, tables))
})

/**
 * `migrate` as a layer.
 *
 * @category migrations
 * @since 0.1.0
 */
export const layerMigrations = (
  options?: Options | undefined
): Layer.Layer<never, InvalidInput | StoreError, PgClient.PgClient> => Layer.effectDiscard(migrate(options))

/**
 * The service and its client from configuration.
 *
 * **Details**
 *
 * | name | meaning |
 * |---|---|
 * | `DATABASE_URL` | `postgresql://user:password@host:5432/db`, with `?pool_max_size=20` if you like |
 * | `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` | what the URL does not say, or all of it |
 * | `DATABASE_POOL_MAX_SIZE` | the most connections, where the URL does not say; 10 by default |
 * | `DATABASE_PREPARE` | `false` for poolers that keep no prepared statements |
 * | `CHECKPOINT_SCHEMA` | the database schema of the tables |
 *
 * Options given in code win over the URL, which wins over the rest. Neither the
 * URL nor the password ever appears in a log, a span or an error.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options?: ConfigOptions | undefined
): Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  Config.ConfigError | InvalidInput | StoreError | SqlError
> =>
  Layer.unwrap(Effect.gen(function*() {
    const settings = yield* Settings
    const client = yield* toClientConfig(settings, options?.client)
    const schema = options?.schema ?? Option.getOrUndefined(settings.schema)
    return layer({ ...options, schema }).pipe(Layer.provideMerge(PgClient.layer(client)))
  }))

/**
 * The service on PGlite: a real Postgres inside this process, in a folder or in
 * memory. It needs `@electric-sql/pglite` to be installed.
 *
 * **When to use**
 *
 * Use for programs that run on one machine, for demos, and for tests that want
 * Postgres without a server. It has one connection.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEmbedded = (
  options?: EmbeddedOptions | undefined
): Layer.Layer<
  Services | PgClient.PgClient | SqlClient,
  InvalidInput | StoreError | SqlError | EmbeddedPostgres.EmbeddedPostgresError
> => layer(options).pipe(Layer.provideMerge(EmbeddedPostgres.layer({ dataDir: options?.dataDir })))

// -----------------------------------------------------------------------------
// implementation
// -----------------------------------------------------------------------------

const defaultMaxMessageSize = 16 * 1024 * 1024

const open = Effect.fnUntraced(function*(options: Options | undefined) {
  // Names given to a client for its own tables must not change ours.
  const sql = (yield* PgClient.PgClient).withoutTransforms()
  const schema = options?.schema ?? "effect_checkpoint"
  yield* checkSchema(schema)
  // What is written can be read again: a message holds the state as Postgres prints it, with a space after each comma
  // and colon, which at worst makes three bytes of two, and up to four parts of 1 MiB that are not the state.
  const maxMessageSize = sql.config.maxMessageSize ?? defaultMaxMessageSize
  const most = Math.floor((maxMessageSize - 4 * 1024 * 1024) / 1.5)
  const maxStateBytes = options?.maxStateBytes ?? Checkpointer.defaultMaxStateBytes
  if (maxStateBytes > most) {
    return yield* new InvalidInput({
      field: "maxStateBytes",
      problem: `states of ${maxStateBytes} bytes could not be read again through a client whose maxMessageSize is ` +
        `${maxMessageSize}; at most ${Math.max(most, 0)} can, or raise both`
    })
  }
  const session = Session.make(sql, {
    acquireTimeout: yield* timeout("acquireTimeout", options?.acquireTimeout ?? "10 seconds"),
    statementTimeout: yield* timeout("statementTimeout", options?.statementTimeout ?? "30 seconds")
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

/** A server that is just coming up is waited for, as one is that goes away later. */
const atStart = <A>(options: Options | undefined, effect: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
  Effect.retry(effect, { schedule: options?.retry ?? Checkpointer.defaultRetry, while: (error) => error.isRetryable })

const Settings = Config.all({
  url: Config.option(Config.Redacted("DATABASE_URL")),
  host: Config.option(Config.String("PGHOST")),
  port: Config.option(Config.Port("PGPORT")),
  username: Config.option(Config.String("PGUSER")),
  password: Config.option(Config.Redacted("PGPASSWORD")),
  database: Config.option(Config.String("PGDATABASE")),
  maxConnections: Config.option(Config.String("DATABASE_POOL_MAX_SIZE")),
  prepare: Config.option(Config.Boolean("DATABASE_PREPARE")),
  schema: Config.option(Config.String("CHECKPOINT_SCHEMA"))
})

const toClientConfig = Effect.fnUntraced(function*(
  settings: Config.Success<typeof Settings>,
  client: ConfigOptions["client"]
): Effect.fn.Return<PgClient.PgPoolConfig, InvalidInput> {
  const target = Option.isSome(settings.url) ? yield* parseUrl(settings.url.value) : undefined
  const poolSize = target?.poolSize !== undefined
    ? yield* poolMaxSize("DATABASE_URL", target.poolSize)
    : Option.isSome(settings.maxConnections)
    ? yield* poolMaxSize("DATABASE_POOL_MAX_SIZE", settings.maxConnections.value)
    : undefined
  if (client?.maxConnections !== undefined) yield* poolMaxSize("client.maxConnections", String(client.maxConnections))
  return {
    ...(target === undefined ? {} : { url: target.url }),
    // Explicit settings win over the URL in the driver, so they are given only where the URL is silent.
    ...(target?.names("host") === true ? {} : { host: Option.getOrUndefined(settings.host) }),
    ...(target?.names("port") === true ? {} : { port: Option.getOrUndefined(settings.port) }),
    ...(target?.names("user") === true ? {} : { username: Option.getOrUndefined(settings.username) }),
    ...(target?.names("password") === true ? {} : { password: Option.getOrUndefined(settings.password) }),
    ...(target?.names("dbname") === true ? {} : { database: Option.getOrUndefined(settings.database) }),
    maxConnections: poolSize,
    prepare: Option.getOrUndefined(settings.prepare),
    applicationName: "effect-checkpoint",
    ...client
  }
})

const parseUrl = Effect.fnUntraced(function*(redacted: Redacted.Redacted) {
  // The error of `new URL` carries the URL, so it is replaced and not wrapped.
  const url = yield* Effect.try({
    try: () => new URL(Redacted.value(redacted)),
    catch: () =>
      new InvalidInput({
        field: "DATABASE_URL",
        problem: "it is not a URL; expected postgresql://user:password@host:5432/database"
      })
  })
  if (url.protocol !== "postgresql:" && url.protocol !== "postgres:") {
    return yield* new InvalidInput({
      field: "DATABASE_URL",
      problem: `expected it to begin with postgresql://, got ${url.protocol}//`
    })
  }
  const poolSize = url.searchParams.get("pool_max_size") ?? undefined
  // Postgres would take it for a setting of the session.
  url.searchParams.delete("pool_max_size")
  const parts: Record<string, string> = {
    host: url.hostname,
    port: url.port,
    user: url.username,
    password: url.password,
    dbname: url.pathname.replace(/^\//, "")
  }
  return {
    url: Redacted.make(url.toString()),
    poolSize,
    names: (part: string) => parts[part] !== "" || url.searchParams.has(part)
  }
})

const poolMaxSize = (field: string, text: string): Effect.Effect<number, InvalidInput> => {
  const size = Number(text)
  return text.trim() !== "" && Number.isInteger(size) && size >= 1 && size <= 10_000 ?
    Effect.succeed(size) :
    Effect.fail(
      new InvalidInput({ field, problem: `the pool's size must be a whole number from 1 to 10000, got "${text}"` })
    )
}
