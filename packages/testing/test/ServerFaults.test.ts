import * as PostgresServer from "@effect-checkpoint/testing/PostgresServer"
import type * as ServerFaults from "@effect-checkpoint/testing/ServerFaults"
import * as TcpProxy from "@effect-checkpoint/testing/TcpProxy"
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as SqlError from "effect/sql/SqlError"

const applicationName = "the tested program"

const client = (url: Redacted.Redacted) =>
  PgClient.makeClient({ url, applicationName }).pipe(Effect.provide(Reactivity.layer))

const pidOf = (sql: PgClient.PgClient) =>
  Effect.map(sql<{ readonly pid: number }>`SELECT pg_backend_pid() AS pid`, ([row]) => row!.pid)

const databaseOf = (url: Redacted.Redacted) => new URL(Redacted.value(url)).pathname.slice(1)

/** A connection to a new database with a table of one row. */
const withRow = Effect.gen(function*() {
  const server = yield* PostgresServer.PostgresServer
  const url = yield* server.createDatabase()
  const sql = yield* client(url)
  yield* sql`CREATE TABLE kept AS SELECT 1 AS row`
  return { ...server, url, sql, database: databaseOf(url) }
})

const rows = (url: Redacted.Redacted) => Effect.scoped(Effect.flatMap(client(url), (sql) => sql`SELECT * FROM kept`))

layer(PostgresServer.layerOwn(), { excludeTestServices: true })("ServerFaults", (it) => {
  it.effect("terminating a backend ends its connection and no other", () =>
    Effect.gen(function*() {
      const { faults, sql, url } = yield* withRow
      const other = yield* client(url)
      const otherPid = yield* pidOf(other)
      assert.strictEqual(yield* faults.terminate({ pid: yield* pidOf(sql) }), 1)
      assert.instanceOf(yield* Effect.flip(sql`SELECT 1`), SqlError.SqlError)
      assert.strictEqual(yield* pidOf(other), otherPid)
    }))

  it.effect("killing a backend ends all connections, and the server recovers with its data", () =>
    Effect.gen(function*() {
      const { faults, sql, url } = yield* withRow
      const other = yield* client(url)
      assert.strictEqual(yield* faults.kill({ pid: yield* pidOf(sql) }), 1)
      yield* faults.ready
      assert.instanceOf(yield* Effect.flip(sql`SELECT 1`), SqlError.SqlError)
      assert.instanceOf(yield* Effect.flip(other`SELECT 1`), SqlError.SqlError)
      assert.deepStrictEqual(yield* rows(url), [{ row: 1 }])
    }))

  it.effect("backends are found and terminated by application name and database", () =>
    Effect.gen(function*() {
      const { database, faults, sql } = yield* withRow
      const second = yield* withRow
      const pid = yield* pidOf(sql)
      assert.deepStrictEqual(yield* faults.backends({ database, applicationName }), [pid])
      assert.deepStrictEqual(yield* faults.backends({ database }), [pid])
      assert.deepStrictEqual(yield* faults.backends({ database, applicationName: "another" }), [])
      assert.include(yield* faults.backends({ applicationName }), yield* pidOf(second.sql))
      assert.strictEqual(yield* faults.terminate({ database, applicationName: "another" }), 0)
      assert.strictEqual(yield* pidOf(sql), pid)
      assert.strictEqual(yield* faults.terminate({ database }), 1)
      yield* Effect.flip(sql`SELECT 1`)
      yield* pidOf(second.sql)
    }))

  for (const mode of ["Fast", "Immediate"] as const) {
    it.effect(`a server stopped in mode ${mode} is gone, and has its data when it is started again`, () =>
      Effect.gen(function*() {
        const { faults, sql, url } = yield* withRow
        yield* faults.stop(mode)
        assert.instanceOf(yield* Effect.flip(sql`SELECT 1`), SqlError.SqlError)
        const error = yield* Effect.flip(rows(url))
        assert.strictEqual(error.reason._tag, "ConnectionError")
        yield* faults.stop(mode)
        yield* faults.start
        yield* faults.start
        assert.deepStrictEqual(yield* rows(url), [{ row: 1 }])
      }))
  }

  it.effect("a server stopped in mode Smart waits for its clients", () =>
    Effect.gen(function*() {
      const { faults, url } = yield* PostgresServer.PostgresServer
      const stopping = yield* Effect.scoped(Effect.gen(function*() {
        const sql = yield* client(url)
        const fiber = yield* Effect.forkDetach(faults.stop("Smart"))
        // While it stops, it accepts no new clients.
        yield* Effect.repeat(Effect.exit(Effect.scoped(client(url))), { until: Exit.isFailure })
        yield* sql`SELECT 1`
        assert.isUndefined(fiber.pollUnsafe())
        return fiber
      }))
      yield* Fiber.join(stopping)
      yield* faults.start
    }))

  it.effect("a server that crashes keeps what was committed and nothing else", () =>
    Effect.gen(function*() {
      const { faults, sql, url } = yield* withRow
      const began = yield* Latch.make()
      const open = yield* Effect.forkChild(Effect.exit(sql.withTransaction(Effect.gen(function*() {
        yield* sql`INSERT INTO kept VALUES (2)`
        yield* began.open
        yield* sql`SELECT pg_sleep(60)`
      }))))
      yield* began.await
      yield* faults.crash
      assert.strictEqual((yield* Fiber.join(open))._tag, "Failure")
      yield* faults.crash
      yield* faults.start
      assert.deepStrictEqual(yield* rows(url), [{ row: 1 }])
    }))

  it.effect("a server can crash repeatedly", () =>
    Effect.gen(function*() {
      const { faults, url } = yield* withRow
      yield* Effect.repeat(Effect.andThen(faults.crash, faults.start), { times: 2 })
      assert.deepStrictEqual(yield* rows(url), [{ row: 1 }])
    }))
})

layer(PostgresServer.layer, { excludeTestServices: true })("ServerFaults of a given server", (it) => {
  it.effect("a given server's backends can be terminated, and every other fault is NotOwned", () =>
    Effect.gen(function*() {
      const { database, faults, sql, url } = yield* withRow
      assert.strictEqual(yield* faults.terminate({ database }), 1)
      yield* Effect.flip(sql`SELECT 1`)
      // As a process sees it that only has the URL.
      const given = yield* Layer.build(Layer.fresh(PostgresServer.layer)).pipe(
        Effect.provide(ConfigProvider.layer(
          ConfigProvider.fromEnv({ env: { CHECKPOINT_TEST_DATABASE_URL: Redacted.value(url) } })
        ))
      )
      const not = Context.get(given, PostgresServer.PostgresServer).faults
      const attempts = {
        stop: not.stop("Fast"),
        kill: not.kill({ database }),
        crash: not.crash,
        start: not.start
      }
      for (const [operation, attempt] of Object.entries(attempts)) {
        const { _tag, operation: of, reason } = yield* Effect.flip<unknown, ServerFaults.ServerFaultError, never>(
          attempt
        )
        assert.deepStrictEqual([_tag, of, reason], ["ServerFaultError", operation, "NotOwned"])
      }
      assert.deepStrictEqual(yield* rows(url), [{ row: 1 }])
    }))
})

layer(PostgresServer.layer, { excludeTestServices: true })("a database behind a proxy", (it) => {
  const behindProxy = Effect.gen(function*() {
    const server = yield* PostgresServer.PostgresServer
    const proxy = yield* TcpProxy.fromUrl(yield* server.createDatabase())
    return { proxy, sql: yield* client(proxy.url), direct: yield* client(server.url) }
  })

  describe("queries", () => {
    for (const ending of ["Reset", "End"] as const) {
      it.effect(`a query fails when its connection is cut (${ending})`, () =>
        Effect.gen(function*() {
          const { proxy, sql } = yield* behindProxy
          yield* sql`SELECT 1`
          const query = yield* Effect.forkChild(Effect.flip(sql`SELECT pg_sleep(60)`))
          const { toServer } = yield* proxy.counts
          yield* Effect.repeat(proxy.counts, { until: (counts) => counts.toServer > toServer })
          assert.strictEqual(yield* proxy.cut(ending), 1)
          assert.strictEqual((yield* Fiber.join(query)).reason._tag, "ConnectionError")
        }))
    }

    it.effect("a query has no answer while its connection is stalled, and has it afterwards", () =>
      Effect.gen(function*() {
        const { direct, proxy, sql } = yield* behindProxy
        yield* proxy.stall
        const query = yield* Effect.forkChild(sql`SELECT 1 AS one`)
        // Other connections have their answers meanwhile.
        yield* Effect.repeat(direct`SELECT 1`, { times: 20 })
        assert.isUndefined(query.pollUnsafe())
        yield* proxy.restore
        assert.deepStrictEqual(yield* Fiber.join(query), [{ one: 1 }])
      }))

    it.effect("a query whose reply is lost is executed", () =>
      Effect.gen(function*() {
        const { proxy, sql } = yield* behindProxy
        yield* sql`CREATE TABLE kept (row int)`
        yield* proxy.cutAfter("ToClient", 0, "Reset")
        // A statement that is not prepared is one message and has one reply.
        const error = yield* Effect.flip(sql`INSERT INTO kept VALUES (1)`.unprepared)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.deepStrictEqual(yield* rows(proxy.url), [{ row: 1 }])
      }))
  })
})
