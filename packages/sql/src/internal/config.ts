import { InvalidInput } from "@effect-checkpoint/core/CheckpointError"
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

/** The settings of the environment. A new one is added here, to `toClient`, and to the table of `layerEnv`. */
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

export interface Environment {
  readonly client: PgPoolConfig
  readonly schema: string | undefined
}

/** Reads the environment. Settings of the client that are given here win. */
export const fromEnv = Effect.fnUntraced(function*(
  client: Omit<PgPoolConfig, "url"> | undefined
): Effect.fn.Return<Environment, Config.ConfigError | InvalidInput> {
  const settings = yield* Settings
  return {
    client: yield* toClient(settings, client),
    schema: Option.getOrUndefined(settings.schema)
  }
})

/** Checks settings of the client that the driver does not check. */
export const checkClient = (client: PgPoolConfig | undefined): Effect.Effect<void, InvalidInput> =>
  client?.maxConnections === undefined
    ? Effect.void
    : Effect.asVoid(poolMaxSize("client.maxConnections", String(client.maxConnections)))

const toClient = Effect.fnUntraced(function*(
  settings: Config.Success<typeof Settings>,
  client: Omit<PgPoolConfig, "url"> | undefined
): Effect.fn.Return<PgPoolConfig, InvalidInput> {
  const target = Option.isSome(settings.url) ? yield* parseUrl(settings.url.value) : undefined
  const poolSize = target?.poolSize !== undefined
    ? yield* poolMaxSize("DATABASE_URL", target.poolSize)
    : Option.isSome(settings.maxConnections)
    ? yield* poolMaxSize("DATABASE_POOL_MAX_SIZE", settings.maxConnections.value)
    : undefined
  yield* checkClient(client)
  return {
    ...(target === undefined ? {} : { url: target.url }),
    // Explicit settings win over the URL in the driver, therefore they are given only where the URL has none.
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
  // The error of `new URL` contains the URL, therefore it is replaced and not wrapped.
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
