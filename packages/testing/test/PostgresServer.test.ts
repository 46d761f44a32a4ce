import * as PostgresServer from "@effect-checkpoint/testing/PostgresServer"
import vitestGlobalSetup from "@effect-checkpoint/testing/vitestGlobalSetup"
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Url from "effect/http/Url"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { existsSync } from "node:fs"
import process from "node:process"
import { inspect } from "node:util"
import { choose } from "../src/internal/choice.ts"
import { dropByTerminating } from "../src/internal/dropDatabase.ts"

const client = (url: Redacted.Redacted) => PgClient.makeClient({ url }).pipe(Effect.provide(Reactivity.layer))

const databaseOf = (url: Redacted.Redacted) => new URL(Redacted.value(url)).pathname.slice(1)

const hasDatabase = Effect.fnUntraced(function*(name: string) {
  const { url } = yield* PostgresServer.PostgresServer
  const sql = yield* client(url)
  const rows = yield* sql`SELECT 1 FROM pg_database WHERE datname = ${name}`
  return rows.length === 1
}, Effect.scoped)

const withEnvironment = (env: Record<string, string>) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

/** The error of building a new layer, not the one that the tests share. */
const errorIn = (env: Record<string, string>, layer = PostgresServer.layer) =>
  Layer.build(Layer.fresh(layer)).pipe(Effect.scoped, Effect.flip, withEnvironment(env))

layer(PostgresServer.layer)("PostgresServer", (it) => {
  it.effect("a server answers, and has the version that it claims", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.PostgresServer
      const sql = yield* client(server.url)
      const [row] = yield* sql<{ readonly version: string }>`SELECT version()`
      assert.include(row?.version, `PostgreSQL ${server.version}`)
    }))

  it.effect("a server that we started is durable", () =>
    Effect.gen(function*() {
      const { kind, url } = yield* PostgresServer.PostgresServer
      if (kind === "url") return
      const sql = yield* client(url)
      const settings = yield* sql`
        SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit,
               current_setting('full_page_writes') AS pages`
      assert.deepStrictEqual(settings, [{ fsync: "on", commit: "on", pages: "on" }])
    }))

  it.effect("databases of one server do not see each other", () =>
    Effect.gen(function*() {
      const make = Layer.build(Layer.fresh(PostgresServer.layerDatabase))
      const [first, second] = yield* Effect.all([make, make].map(Effect.map(Context.get(SqlClient.SqlClient))))
      assert(first !== undefined && second !== undefined)
      yield* first`CREATE TABLE secret (id int)`
      assert.deepStrictEqual(yield* first`SELECT to_regclass('secret') IS NOT NULL AS seen`, [{ seen: true }])
      assert.deepStrictEqual(yield* second`SELECT to_regclass('secret') IS NOT NULL AS seen`, [{ seen: false }])
    }))

  it.effect("createDatabase can run many times at once", () =>
    Effect.gen(function*() {
      const { createDatabase } = yield* PostgresServer.PostgresServer
      const urls = yield* Effect.all(Array.from({ length: 8 }, () => createDatabase()), { concurrency: "unbounded" })
      assert.strictEqual(new Set(urls.map(databaseOf)).size, 8)
    }))

  it.effect("a database is dropped when its scope closes, even with an open connection", () =>
    Effect.gen(function*() {
      const { createDatabase } = yield* PostgresServer.PostgresServer
      const scope = yield* Scope.make()
      const url = yield* Scope.provide(createDatabase({ prefix: "left_open" }), scope)
      const sql = yield* client(url)
      yield* sql`SELECT 1`
      assert.match(databaseOf(url), /^left_open_[0-9a-f]{32}$/)
      assert.isTrue(yield* hasDatabase(databaseOf(url)))

      yield* Scope.close(scope, Exit.void)

      assert.isFalse(yield* hasDatabase(databaseOf(url)))
      yield* Effect.flip(sql`SELECT 1`)
    }))

  it.effect("a database with an open connection can be dropped without WITH (FORCE)", () =>
    Effect.gen(function*() {
      const { createDatabase, url } = yield* PostgresServer.PostgresServer
      const database = yield* createDatabase()
      const sql = yield* client(database)
      yield* sql`SELECT 1`
      yield* dropByTerminating(yield* client(url), databaseOf(database))
      assert.isFalse(yield* hasDatabase(databaseOf(database)))
    }))

  it.effect("createDatabase refuses a prefix that does not fit into a name", () =>
    Effect.gen(function*() {
      const { createDatabase } = yield* PostgresServer.PostgresServer
      for (const prefix of ["", "Upper", "a-b", "a".repeat(31)]) {
        const error = yield* Effect.flip(createDatabase({ prefix }))
        assert.strictEqual(error.operation, "createDatabase")
        assert.include(error.message, `"${prefix}"`)
      }
    }))

  it.effect("no error, log or layer of a server shows its password", () =>
    Effect.gen(function*() {
      const { url } = yield* PostgresServer.PostgresServer
      const password = "a-password-nobody-must-see"
      const wrong = Url.setPassword(new URL(Redacted.value(url)), password).href
      const logged: Array<unknown> = []
      const logger = Logger.make((options) => {
        logged.push(options.message)
      })
      const kept = yield* Effect.all([
        errorIn({ CHECKPOINT_TEST_DATABASE_URL: wrong }),
        errorIn({ CHECKPOINT_TEST_DATABASE_URL: `postgres://postgres:${password}@127.0.0.1:1/postgres` }),
        errorIn({ CHECKPOINT_TEST_DATABASE_URL: `postgres//postgres:${password}@nowhere` }),
        errorIn({ CHECKPOINT_TEST_DATABASE_URL: `http://postgres:${password}@127.0.0.1` }),
        errorIn({ CHECKPOINT_TEST_DATABASE_URL: wrong, CHECKPOINT_TEST_POSTGRES: "nothing" }),
        Layer.build(PostgresServer.layerDatabase).pipe(
          Effect.scoped,
          Effect.provide(Layer.fresh(PostgresServer.layer)),
          withEnvironment({ CHECKPOINT_TEST_DATABASE_URL: Redacted.value(url) })
        )
      ]).pipe(Effect.provide(Logger.layer([logger])))
      const text = inspect([kept, logged], { depth: 20, showHidden: true }) + JSON.stringify(kept.slice(0, 5))
      assert.isAbove(logged.length, 0)
      assert.notInclude(text, password)
      assert.notInclude(text, new URL(Redacted.value(url)).password)
    }))
})

describe("PostgresServer of binaries", () => {
  it.effect("a server of binaries has the settings that were given, and leaves neither a process nor a folder behind", () =>
    Effect.gen(function*() {
      const own = PostgresServer.layerWith({ settings: { max_connections: "17" } })
      const left = yield* Effect.gen(function*() {
        const { kind, url } = yield* PostgresServer.PostgresServer
        assert.strictEqual(kind, "binaries")
        const sql = yield* client(url)
        const [row] = yield* sql<{ readonly folder: string; readonly connections: string; readonly encoding: string }>`
          SELECT current_setting('data_directory') AS folder, current_setting('max_connections') AS connections,
                 current_setting('server_encoding') AS encoding`
        assert(row !== undefined)
        assert.strictEqual(row.connections, "17")
        assert.strictEqual(row.encoding, "UTF8")
        assert.isTrue(existsSync(row.folder))
        return { url, folder: row.folder }
      }).pipe(Effect.scoped, Effect.provide(own))
      assert.isFalse(existsSync(left.folder))
      const error = yield* client(left.url).pipe(Effect.scoped, Effect.flip)
      assert.strictEqual(error.reason._tag, "ConnectionError")
    }).pipe(withEnvironment({ CHECKPOINT_TEST_POSTGRES: "binaries" })))

  it.effect("a server of binaries that does not start says why", () =>
    Effect.gen(function*() {
      const error = yield* errorIn(
        { CHECKPOINT_TEST_POSTGRES: "binaries" },
        PostgresServer.layerWith({ settings: { no_such_setting: "on" } })
      )
      assert.strictEqual(error.operation, "start")
      assert.include(error.message, "no_such_setting")
    }))
})

describe("CHECKPOINT_TEST_POSTGRES", () => {
  it.effect("an error about a forced kind of server names it and says what to do", () =>
    Effect.gen(function*() {
      const url = yield* errorIn({ CHECKPOINT_TEST_POSTGRES: "url" })
      assert.instanceOf(url, PostgresServer.PostgresServerError)
      assert.strictEqual(url.operation, "choose")
      assert.include(url.message, "CHECKPOINT_TEST_POSTGRES=url")
      assert.include(url.message, "Set CHECKPOINT_TEST_DATABASE_URL")

      // No registry listens there, and nothing is requested from the network.
      const image = "127.0.0.1:1/postgres:none"
      const container = yield* errorIn({
        CHECKPOINT_TEST_POSTGRES: "container",
        CHECKPOINT_TEST_POSTGRES_IMAGE: image
      })
      assert.instanceOf(container, PostgresServer.PostgresServerError)
      assert.strictEqual(container.operation, "start")
      assert.include(container.message, "CHECKPOINT_TEST_POSTGRES=container")
      assert.match(container.message, /Docker|docker pull/)

      const unknown = yield* errorIn({ CHECKPOINT_TEST_POSTGRES: "sqlite" })
      assert.strictEqual(unknown.operation, "choose")
      assert.include(unknown.message, "CHECKPOINT_TEST_POSTGRES")
    }))
})

describe("choose", () => {
  const url = { kind: "url" } as const
  const shared = { kind: "binaries" } as const
  const chosen = (asked: Parameters<typeof choose>[0]) => Result.getOrUndefined(choose(asked))

  it("choose prefers the URL to a container, and that to binaries", () => {
    assert.deepStrictEqual(chosen({ forced: undefined, given: url, withSettings: false }), [url])
    assert.deepStrictEqual(chosen({ forced: undefined, given: undefined, withSettings: false }), [
      "container",
      "binaries"
    ])
  })

  it("choose takes only the kind that is forced", () => {
    assert.deepStrictEqual(chosen({ forced: "container", given: url, withSettings: false }), ["container"])
    assert.deepStrictEqual(chosen({ forced: "binaries", given: undefined, withSettings: false }), ["binaries"])
    assert.deepStrictEqual(chosen({ forced: "url", given: url, withSettings: false }), [url])
    assert.isUndefined(chosen({ forced: "url", given: undefined, withSettings: false }))
  })

  it("choose takes the server of the global setup if it is of the forced kind", () => {
    assert.deepStrictEqual(chosen({ forced: "binaries", given: shared, withSettings: false }), [shared])
    assert.deepStrictEqual(chosen({ forced: "container", given: shared, withSettings: false }), ["container"])
  })

  it("choose never takes a given server if there are settings", () => {
    assert.deepStrictEqual(chosen({ forced: undefined, given: url, withSettings: true }), ["container", "binaries"])
    assert.deepStrictEqual(chosen({ forced: "binaries", given: shared, withSettings: true }), ["binaries"])
    assert.isUndefined(chosen({ forced: "url", given: url, withSettings: true }))
  })
})

describe("vitestGlobalSetup", () => {
  it("the global setup names its server and the kind of that in the environment until it ends", async () => {
    const read = () => [process.env.CHECKPOINT_TEST_DATABASE_URL, process.env.CHECKPOINT_TEST_DATABASE_KIND]
    const before = read()
    const stop = await vitestGlobalSetup()
    const server = await Effect.runPromise(Effect.provide(
      PostgresServer.PostgresServer,
      // The default provider has an older copy of the environment.
      Layer.provide(Layer.fresh(PostgresServer.layer), ConfigProvider.layer(ConfigProvider.fromEnv()))
    ))
    const during = read()
    await stop()
    assert.deepStrictEqual(during, [Redacted.value(server.url), server.kind])
    assert.deepStrictEqual(read(), before)
  })
})
