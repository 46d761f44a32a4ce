import { InvalidInput } from "@effect-checkpoint/core/CheckpointError"
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as ConnectionUrl from "./connectionUrl.ts"
import * as Tls from "./tls.ts"

/** The parameters of a URL that are variables too. `docs/configuration.md` lists them. */
export const variables: Readonly<Record<string, string>> = {
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  dbname: "PGDATABASE",
  application_name: "PGAPPNAME",
  connect_timeout: "PGCONNECT_TIMEOUT",
  options: "PGOPTIONS",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  ssl_min_protocol_version: "PGSSLMINPROTOCOLVERSION",
  pool_max_size: "DATABASE_POOL_MAX_SIZE",
  // Refused.
  channel_binding: "PGCHANNELBINDING",
  gssencmode: "PGGSSENCMODE",
  require_auth: "PGREQUIREAUTH",
  requirepeer: "PGREQUIREPEER",
  sslcrl: "PGSSLCRL",
  sslcrldir: "PGSSLCRLDIR",
  sslnegotiation: "PGSSLNEGOTIATION"
}

/** A variable that is empty is taken for one that is not set. */
const variable = (name: string) =>
  Effect.map(Config.option(Config.Redacted(name)), Option.filter((value) => Redacted.value(value) !== ""))

export interface Environment {
  readonly client: PgPoolConfig
  readonly schema: string | undefined
}

/** Reads the environment. Settings of the client that are given here win. */
export const fromEnv = Effect.fnUntraced(function*(
  given: Omit<PgPoolConfig, "url"> = {}
): Effect.fn.Return<Environment, Config.ConfigError | InvalidInput> {
  const settings = new Map<string, Tls.Setting>()
  for (const [name, field] of Object.entries(variables)) {
    const value = yield* variable(field)
    if (Option.isSome(value)) settings.set(name, { field, value: Redacted.value(value.value) })
  }
  const url = yield* variable("DATABASE_URL")
  if (Option.isSome(url)) yield* addUrl(settings, "DATABASE_URL", url.value)
  else if (
    !settings.has("host") && given.host === undefined && given.path === undefined && given.stream === undefined
  ) {
    return yield* new InvalidInput({
      field: "DATABASE_URL",
      problem: "neither it nor PGHOST is set; set it to postgresql://user:password@host:5432/database"
    })
  }
  const prepare = Option.isSome(yield* variable("DATABASE_PREPARE"))
    ? yield* Config.Boolean("DATABASE_PREPARE")
    : undefined
  const schema = yield* variable("CHECKPOINT_SCHEMA")
  const defaults = { applicationName: "effect-checkpoint", prepare }
  return {
    client: yield* toClient(settings, defaults, given),
    schema: Option.isSome(schema) ? Redacted.value(schema.value) : undefined
  }
})

/** Reads the URL of a client, which the driver would read in its own way. Its other settings win. */
export const fromConfig = Effect.fnUntraced(function*(
  { url, ...given }: PgPoolConfig
): Effect.fn.Return<PgPoolConfig, Config.ConfigError | InvalidInput> {
  yield* checkPoolSize(given.maxConnections)
  if (url === undefined) return given
  const settings = new Map<string, Tls.Setting>()
  yield* addUrl(settings, "client.url", url)
  return yield* toClient(settings, {}, given)
})

/** Where a client connects to, for people. */
export const describe = (client: PgPoolConfig): Effect.Effect<string> =>
  Effect.gen(function*() {
    if (client.path !== undefined) return client.path
    const url = client.url === undefined ? undefined : yield* ConnectionUrl.parse("url", client.url)
    const host = client.host ?? url?.get("host") ?? "localhost"
    const port = client.port ?? url?.get("port") ?? 5432
    const database = client.database ?? url?.get("dbname") ?? client.username ?? url?.get("user")
    return `${host}:${port}${database === undefined ? "" : `/${database}`}`
  }).pipe(Effect.orElseSucceed(() => "its URL"))

const addUrl = (settings: Map<string, Tls.Setting>, field: string, url: Redacted.Redacted) =>
  Effect.map(ConnectionUrl.parse(field, url), (parameters) => {
    for (const [name, value] of parameters) settings.set(name, { field, value })
  })

const toClient = Effect.fnUntraced(function*(
  settings: ReadonlyMap<string, Tls.Setting>,
  defaults: PgPoolConfig,
  given: PgPoolConfig
): Effect.fn.Return<PgPoolConfig, Config.ConfigError | InvalidInput> {
  const setting: Tls.Settings = (name) => settings.get(name)
  const value = (name: string) => setting(name)?.value
  const password = value("password")
  yield* checkPoolSize(given.maxConnections)
  const client: PgPoolConfig = {
    ...defined(defaults),
    ...defined({
      host: yield* oneHost(setting("host")),
      port: yield* integer("port", setting("port"), 1, 65_535),
      username: value("user"),
      password: password === undefined ? undefined : Redacted.make(password),
      database: value("dbname"),
      applicationName: value("application_name"),
      startupOptions: value("options"),
      connectTimeout: yield* connectTimeout(setting("connect_timeout")),
      maxConnections: yield* integer("pool_max_size", setting("pool_max_size"), 1, 10_000)
    }),
    ...defined(given)
  }
  const { host = "localhost", keepAlive, port = 5432, username = yield* accountName } = client
  const isDecided = client.ssl !== undefined || client.stream !== undefined || client.path !== undefined
  const tls = isDecided ? {} : yield* Tls.fromSettings(setting, { host, port, keepAlive })
  return { ...client, ...tls, host, port, username }
})

/** As in libpq, a user who is not named is that of the process. */
const accountName: Effect.Effect<string, Config.ConfigError | InvalidInput> = Effect.gen(function*() {
  const names = [yield* variable("USER"), yield* variable("USERNAME")]
  const name = Option.firstSomeOf(names)
  if (Option.isSome(name)) return Redacted.value(name.value)
  return yield* new InvalidInput({
    field: "user",
    problem: "no user name is set; put one into the URL, as in postgresql://user:password@host/database, or into PGUSER"
  })
})

const oneHost = (setting: Tls.Setting | undefined): Effect.Effect<string | undefined, InvalidInput> =>
  setting?.value.includes(",") === true
    ? Effect.fail(new InvalidInput({ field: setting.field, problem: "several hosts are not supported; name one" }))
    : Effect.succeed(setting?.value)

const connectTimeout = (setting: Tls.Setting | undefined) =>
  Effect.map(
    integer("connect_timeout", setting, -2_147_483_648, 2_147_483_647),
    (seconds) => seconds === undefined ? undefined : seconds <= 0 ? Duration.infinity : Duration.seconds(seconds)
  )

const checkPoolSize = (size: number | undefined) =>
  integer(
    "maxConnections",
    size === undefined ? undefined : { field: "client.maxConnections", value: String(size) },
    1,
    10_000
  )

const integer = Effect.fnUntraced(function*(
  name: string,
  setting: Tls.Setting | undefined,
  min: number,
  max: number
): Effect.fn.Return<number | undefined, InvalidInput> {
  if (setting === undefined) return undefined
  const number = Number(setting.value)
  if (setting.value.trim() !== "" && Number.isInteger(number) && number >= min && number <= max) return number
  return yield* new InvalidInput({
    field: setting.field,
    problem: `${name} must be a whole number from ${min} to ${max}, got "${setting.value}"`
  })
})

/** A setting that is undefined must not take the place of another one. */
const defined = <A extends object>(settings: A): Partial<A> =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as Partial<A>
