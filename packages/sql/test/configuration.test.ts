import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { TcpProxy } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Exit, Layer, Logger, Redacted, Schedule, Tracer } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect, createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { fromEnv, variables } from "../src/internal/config.ts"
import { Database, statementsOf } from "./support.ts"

const withEnv = (env: Record<string, string>) =>
  Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))

/** What the client is given, without connecting. */
const settingsOf = (env: Record<string, string>, client?: PgCheckpointer.EnvOptions["client"]) =>
  Effect.map(fromEnv(client), ({ client }) => client).pipe(withEnv(env))

it("docs/configuration.md has every parameter and its variable", () => {
  const document = readFileSync(join(import.meta.dirname, "../../../docs/configuration.md"), "utf8")
  for (const [parameter, variable] of Object.entries(variables)) {
    assert.include(document, `\`${parameter}\``)
    assert.include(document, `\`${variable}\``)
  }
})

const url = "postgresql://user:top-secret@db.example:6432/app"

describe("settings of the environment", () => {
  it.effect("the parameters of the URL take precedence over the variables, and these over the defaults", () =>
    Effect.gen(function*() {
      const variables = {
        PGAPPNAME: "variable",
        PGCONNECT_TIMEOUT: "7",
        PGOPTIONS: "-c work_mem=8MB",
        DATABASE_POOL_MAX_SIZE: "3"
      }
      const parameters = "application_name=url&connect_timeout=0&options=-c%20work_mem%3D4MB&pool_max_size=5"
      const picked = ({ applicationName, connectTimeout, maxConnections, startupOptions }: PgClient.PgPoolConfig) => [
        applicationName,
        connectTimeout === undefined ? undefined : Duration.toSeconds(connectTimeout),
        startupOptions,
        maxConnections
      ]
      const read = (env: Record<string, string>) => Effect.map(settingsOf(env), picked)
      assert.deepStrictEqual(yield* read({ DATABASE_URL: `${url}?${parameters}`, ...variables }), [
        "url",
        Infinity,
        "-c work_mem=4MB",
        5
      ])
      assert.deepStrictEqual(yield* read({ DATABASE_URL: url, ...variables }), ["variable", 7, "-c work_mem=8MB", 3])
      assert.deepStrictEqual(yield* read({ DATABASE_URL: url }), ["effect-checkpoint", undefined, undefined, undefined])
    }))

  it.effect("a setting of the client that is undefined cancels none, and one that has a value wins", () =>
    Effect.gen(function*() {
      const env = { DATABASE_URL: `${url}?pool_max_size=5` }
      assert.include(yield* settingsOf(env, { maxConnections: undefined, host: undefined }), {
        maxConnections: 5,
        host: "db.example"
      })
      assert.include(yield* settingsOf(env, { maxConnections: 2, host: "other" }), { maxConnections: 2, host: "other" })
    }))

  it.effect("an empty variable is one that is not set", () =>
    Effect.gen(function*() {
      const env = { DATABASE_URL: "", PGHOST: "one", PGUSER: "user", PGPORT: "", PGSSLMODE: "", DATABASE_PREPARE: "" }
      assert.include(yield* settingsOf(env), { host: "one", port: 5432, username: "user" })
    }))

  const urls: ReadonlyArray<readonly [url: string, expected: Partial<PgClient.PgPoolConfig>, password?: string]> = [
    ["postgres://u:p@h/d", { host: "h", port: 5432, username: "u", database: "d" }, "p"],
    ["postgresql://u:p%40%25@[::1]:1/d", { host: "::1", port: 1, username: "u", database: "d" }, "p@%"],
    ["postgresql://u:p@/d?host=/cloudsql/p:r:i", { host: "/cloudsql/p:r:i", username: "u", database: "d" }, "p"],
    ["postgresql://u@%2Fvar%2Frun/d", { host: "/var/run", username: "u", database: "d" }],
    ["postgresql:///d?user=u&host=h&port=6", { host: "h", port: 6, username: "u", database: "d" }],
    ["postgresql://u:p+q@h?dbname=a%2Fb", { host: "h", username: "u", database: "a/b" }, "p+q"],
    ["postgresql://u:a@b:c@h/d", { host: "h", username: "u", database: "d" }, "a@b:c"]
  ]
  for (const [text, expected, password] of urls) {
    it.effect(`the URL ${text} is read as libpq does`, () =>
      Effect.gen(function*() {
        const settings = yield* settingsOf({ DATABASE_URL: text, PGHOST: "unused", PGSSLMODE: "disable" })
        assert.include(settings, expected)
        assert.strictEqual(
          Redacted.isRedacted(settings.password) ? Redacted.value(settings.password) : undefined,
          password
        )
      }))
  }

  const refused: ReadonlyArray<readonly [env: Record<string, string>, field: string, problem: string]> = [
    [{}, "DATABASE_URL", "neither it nor PGHOST is set"],
    [{ DATABASE_URL: "" }, "DATABASE_URL", "neither it nor PGHOST is set"],
    [{ DATABASE_URL: "postgresql://db.example/app" }, "user", "PGUSER"],
    [{ DATABASE_URL: "postgresql://user:50%off@db.example/app" }, "DATABASE_URL", "%25"],
    [{ DATABASE_URL: "postgresql://user:a/b@db.example/app" }, "DATABASE_URL", "percent-encoded"],
    [{ DATABASE_URL: "postgresql://user:1/2@db.example/app" }, "DATABASE_URL", "percent-encoded"],
    [{ DATABASE_URL: "postgresql://user:1?2secret@db.example/app" }, "DATABASE_URL", "percent-encoded"],
    [{ DATABASE_URL: "postgresql://user@one:1,two:2/app" }, "DATABASE_URL", "several hosts"],
    [{ DATABASE_URL: "postgresql://user@one,two/app" }, "DATABASE_URL", "several hosts"],
    [{ DATABASE_URL: "postgresql://user@one:99999/app" }, "DATABASE_URL", "port"],
    [{ DATABASE_URL: url, PGCONNECT_TIMEOUT: "10s" }, "PGCONNECT_TIMEOUT", "whole number"],
    [{ PGHOST: "one", PGUSER: "user", PGPORT: "many" }, "PGPORT", "whole number"]
  ]
  for (const [env, field, problem] of refused) {
    it.effect(`${JSON.stringify(env)} is InvalidInput that names ${field}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(settingsOf(env))
        assert.nestedInclude(error, { _tag: "InvalidInput", field })
        assert.include(error.message, problem)
      }))
  }

  it.effect("what the driver cannot read of a client that the program made is a final Configuration error", () =>
    Effect.gen(function*() {
      for (const parameters of ["?sslmode=no-verify", "?port=many", "?connect_timeout=soon"]) {
        const client = PgClient.layer({ url: Redacted.make(url + parameters) })
        const error = yield* Effect.flip(
          PgCheckpointer.migrate({ retry: Schedule.recurs(0) }).pipe(Effect.provide(client))
        )
        assert.nestedInclude(error, { "reason._tag": "Configuration", isRetryable: false, outcome: "NotApplied" })
        assert.notInclude(inspect(error), "top-secret")
      }
    }))
})

/** A socket in a folder, as a server has it, in front of one that has none. */
const socketBefore = Effect.fnUntraced(function*(server: URL) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "checkpoint-socket-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )
  yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const listening = createServer((client) => {
        const upstream = connect(Number(server.port), server.hostname)
        client.pipe(upstream).on("error", () => client.destroy())
        upstream.pipe(client).on("error", () => upstream.destroy())
      })
      listening.listen(join(folder, ".s.PGSQL.5432"), () => resume(Effect.succeed(listening)))
    }),
    (listening) => Effect.callback<void>((resume) => void listening.close(() => resume(Effect.void)))
  )
  return folder
})

layer(Database.layer, { excludeTestServices: true })("a server", (it) => {
  const save = Effect.flatMap(
    Checkpointer.Checkpointer,
    (checkpointer) => checkpointer.append({ threadId: "t", state: 1 })
  )

  it.effect("a URL whose host is the folder of a socket connects through it, whatever sslmode is", () =>
    Effect.gen(function*() {
      const server = new URL(Redacted.value((yield* Database).url))
      const folder = yield* socketBefore(server)
      const text = `postgresql://${server.username}:${server.password}@${server.pathname}?host=${folder}`
      for (const parameters of ["", "&sslmode=require"]) {
        const exit = yield* save.pipe(
          Effect.provide(Layer.fresh(PgCheckpointer.layerEnvWith({ retry: Schedule.recurs(0) }))),
          withEnv({ DATABASE_URL: text + parameters }),
          Effect.exit
        )
        assert.isTrue(Exit.isSuccess(exit), inspect(exit))
      }
    }).pipe(Effect.scoped))

  it.effect("the spans of statements name the server, the port and the database of the URL", () =>
    Effect.gen(function*() {
      const { url } = yield* Database
      const { hostname, pathname, port } = new URL(Redacted.value(url))
      const targets = new Set<string>()
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          const { end } = span
          span.end = (time, exit) => {
            const of = (name: string) => String(span.attributes.get(name))
            if (span.kind === "client") {
              targets.add(`${of("server.address")}:${of("server.port")}/${of("db.namespace")}`)
            }
            end.call(span, time, exit)
          }
          return span
        }
      })
      const layers = [
        PgCheckpointer.layerEnv,
        PgCheckpointer.layerConfig({ client: { url: Config.Redacted("DATABASE_URL") } }),
        PgCheckpointer.layer.pipe(
          Layer.provide(PgCheckpointer.layerClient({ url: Config.Redacted("DATABASE_URL") }))
        )
      ]
      for (const live of layers) {
        targets.clear()
        yield* save.pipe(
          Effect.provide(Layer.fresh(live)),
          Effect.withTracer(tracer),
          withEnv({ DATABASE_URL: Redacted.value(url) })
        )
        assert.deepStrictEqual(Array.from(targets), [`${hostname}:${port}${pathname}`])
      }
    }))

  it.effect("a start that has to wait says once for which server, and without the password", () =>
    Effect.gen(function*() {
      const proxy = yield* TcpProxy.fromUrl((yield* Database).url)
      const { host, password, pathname } = new URL(Redacted.value(proxy.url))
      const logs: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void logs.push(`${logLevel} ${inspect(message)}`))
      const start = (retry: Schedule.Schedule<unknown>) =>
        save.pipe(
          Effect.provide(Layer.fresh(PgCheckpointer.layerEnvWith({ retry }))),
          withEnv({ DATABASE_URL: Redacted.value(proxy.url) }),
          Effect.provide(Logger.layer([logger]))
        )
      yield* proxy.refuse
      yield* Effect.flip(start(Schedule.recurs(3)))
      assert.lengthOf(logs, 1)
      assert.include(logs[0], "Info")
      assert.include(logs[0], `Waiting for Postgres at ${host}${pathname}`)
      assert.notInclude(logs[0], password)
      yield* proxy.restore
      yield* start(Schedule.recurs(0))
      assert.lengthOf(logs, 1)
    }).pipe(Effect.scoped))

  it.effect("the tables are checked once when a layer is built over tables that are up to date", () =>
    Effect.gen(function*() {
      const { url } = yield* Database
      const start = Effect.void.pipe(
        Effect.provide(Layer.fresh(PgCheckpointer.layerEnv)),
        withEnv({ DATABASE_URL: Redacted.value(url) })
      )
      yield* start
      const [, statements] = yield* statementsOf(start)
      assert.lengthOf(statements.filter((statement) => statement.includes("checkpoint_migrations")), 1)
      assert.lengthOf(new Set(statements), statements.length)
    }))
})
