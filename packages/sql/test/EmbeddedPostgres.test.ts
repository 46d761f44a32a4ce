import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import * as EmbeddedPostgres from "@effect-checkpoint/sql/EmbeddedPostgres"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { PGlite } from "@electric-sql/pglite"
import { Array as Arr, Effect, Exit, Fiber, Layer, type Scope, Stream } from "effect"
import { SqlError } from "effect/sql"
import { spawn } from "node:child_process"
import { once } from "node:events"
import NodeFs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import * as NodeOs from "node:os"
import * as NodePath from "node:path"
import * as NodeProcess from "node:process"
import { fileURLToPath } from "node:url"
import { vi } from "vitest"
import * as DataDirLock from "../src/internal/dataDirLock.ts"
import * as PgliteStream from "../src/internal/pgliteStream.ts"

const sqlState = (error: unknown): unknown => {
  const cause = error instanceof SqlError.SqlError ? error.reason.cause : undefined
  return cause instanceof Error && "code" in cause ? cause.code : undefined
}

const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => NodeFs.mkdtempSync(NodePath.join(NodeOs.tmpdir(), "embedded-postgres-"))),
  (path) => Effect.sync(() => NodeFs.rmSync(path, { recursive: true, force: true }))
)

const opened = <A, E, R>(dataDir: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, EmbeddedPostgres.layerWith({ dataDir }), { local: true })

const failureToOpen = (options: EmbeddedPostgres.Options) =>
  Effect.flip(Effect.scoped(Layer.build(EmbeddedPostgres.layerWith(options))))

const nextTurn = Effect.promise(() => new Promise(setImmediate))

const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth)

layer(EmbeddedPostgres.layer, { excludeTestServices: true })("EmbeddedPostgres in memory", (it) => {
  it.effect("a parameter is returned as it was sent", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const rows = yield* sql`
        SELECT ${1} + 1 AS number, ${"it's"}::text AS text, ${true} AS flag, ${null}::text AS missing,
               ${[1, 2]}::int4[] AS numbers`
      assert.deepStrictEqual(rows, [{ number: 2, text: "it's", flag: true, missing: null, numbers: [1, 2] }])
    }))

  it.effect("a statement that runs many times is prepared once", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const answers = yield* Effect.forEach(Arr.range(1, 50), (n) => sql`SELECT ${n} * 2 AS reused_answer`)
      assert.deepStrictEqual(answers.flat(), Arr.range(1, 50).map((n) => ({ reused_answer: n * 2 })))
      const prepared = yield* sql`
        SELECT generic_plans + custom_plans AS runs FROM pg_prepared_statements WHERE statement LIKE '%AS reused_answer'`
      assert.deepStrictEqual(prepared, [{ runs: 50n }])
    }))

  it.effect("a jsonb value is returned equal", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const value = { b: [1, null, { c: "é\"\\\n😀" }], a: 1.5, empty: {} }
      assert.deepStrictEqual(yield* sql`SELECT ${sql.json(value)} AS value`, [{ value }])
    }))

  for (const megabytes of [1, 8]) {
    it.effect(`a jsonb value of ${megabytes} MB is returned equal`, () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const value = Arr.makeBy(megabytes * 1024, (n) => `${n}`.padEnd(1021, "x"))
        yield* sql`CREATE TEMP TABLE large (value jsonb)`
        yield* Effect.ensuring(
          Effect.gen(function*() {
            yield* sql`INSERT INTO large VALUES (${sql.json(value)})`
            const rows = yield* sql<{ value: unknown }>`SELECT value FROM large`
            assert.deepStrictEqual(rows[0]?.value, value)
          }),
          Effect.orDie(sql`DROP TABLE large`)
        )
      }))
  }

  it.effect("a transaction that succeeds is committed, and one that fails leaves nothing", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE transactions (name text)`
      yield* sql.withTransaction(sql`INSERT INTO transactions VALUES ('kept')`)
      const exit = yield* Effect.exit(sql.withTransaction(Effect.andThen(
        sql`INSERT INTO transactions VALUES ('gone')`,
        Effect.fail("no")
      )))
      assert.deepStrictEqual(exit, Exit.fail("no"))
      assert.deepStrictEqual(yield* sql`SELECT * FROM transactions`, [{ name: "kept" }])
    }))

  it.effect("a nested transaction that fails leaves the outer one as it was", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE savepoints (name text PRIMARY KEY)`
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`INSERT INTO savepoints VALUES ('outer')`
        const error = yield* Effect.flip(sql.withTransaction(sql`INSERT INTO savepoints VALUES ('inner'), ('outer')`))
        assert.strictEqual(sqlState(error), "23505")
        yield* sql`INSERT INTO savepoints VALUES ('after')`
      }))
      assert.deepStrictEqual(yield* sql`SELECT * FROM savepoints`, [{ name: "outer" }, { name: "after" }])
    }))

  it.effect("a statement that fails has its SQLSTATE, and the connection still works", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const connection = sql`SELECT pg_backend_pid() AS pid`
      const before = yield* connection
      assert.strictEqual(sqlState(yield* Effect.flip(sql`SELECT 1 / ${0}`)), "22012")
      assert.strictEqual(sqlState(yield* Effect.flip(sql`SELECT * FROM nowhere`)), "42P01")
      assert.strictEqual(sqlState(yield* Effect.flip(sql`SELECT 'x'::jsonb`)), "22P02")
      assert.deepStrictEqual(yield* connection, before)
    }))

  it.effect("JSON too deep for the stack fails with 54001, and only its transaction is rolled back", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE depths (value jsonb)`
      // Each failure once left less of the stack for the next statement.
      yield* Effect.forEach([7_000, 50_000, 1_000_000, 7_000, 6_999, 6_998], (depth) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(sql.withTransaction(Effect.andThen(
            sql`INSERT INTO depths VALUES ('0')`,
            sql`INSERT INTO depths VALUES (${nested(depth)}::jsonb)`
          )))
          assert.strictEqual(sqlState(error), "54001")
        }))
      yield* sql`INSERT INTO depths VALUES (${nested(2_000)}::jsonb)`
      assert.deepStrictEqual(yield* sql`SELECT value::text FROM depths`, [{ value: nested(2_000) }])
    }))

  it.effect("a stream has every row in order, and can be stopped early", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const numbers = sql<{ n: number }>`SELECT n FROM generate_series(1, 20000) AS n`.stream.pipe(
        Stream.map(({ n }) => n)
      )
      assert.deepStrictEqual(yield* Stream.runCollect(numbers), Arr.range(1, 20_000))
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(numbers, 3)), [1, 2, 3])
      assert.deepStrictEqual(yield* sql`SELECT 1 AS one`, [{ one: 1 }])
    }))

  it.effect("concurrent fibers get their own rows", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE counters (n int4)`
      yield* sql`INSERT INTO counters VALUES (0)`
      const answers = yield* Effect.forEach(Arr.range(1, 32), (n) =>
        sql.withTransaction(Effect.gen(function*() {
          yield* sql`UPDATE counters SET n = n + 1`
          yield* Effect.yieldNow
          return yield* sql`SELECT ${n}::int4 AS n`
        })), { concurrency: "unbounded" })
      assert.deepStrictEqual(answers.flat(), Arr.range(1, 32).map((n) => ({ n })))
      assert.deepStrictEqual(yield* sql`SELECT n FROM counters`, [{ n: 32 }])
    }))

  it.effect("an interrupted statement leaves the client usable", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`CREATE TABLE interrupted (n int4)`
      const unfinished = sql.withTransaction(Effect.gen(function*() {
        yield* sql`INSERT INTO interrupted VALUES (1)`
        yield* sql`SELECT count(*) FROM generate_series(1, 200000)`
        return yield* Effect.never
      }))
      for (const turns of Arr.range(0, 8)) {
        const fiber = yield* Effect.forkChild(unfinished, { startImmediately: true })
        yield* Effect.forEach(Arr.range(0, turns), () => nextTurn)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* sql`SELECT count(*) FROM interrupted`, [{ count: 0n }])
      }
    }))

  it.effect("an interrupted statement that was waiting leaves the client usable", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const fibers = yield* Effect.forEach(Arr.range(1, 20), (n) => Effect.forkChild(sql`SELECT ${n}::int4 AS n`))
      yield* Effect.forEach(fibers, (fiber, n) => n % 2 === 0 ? Fiber.interrupt(fiber) : Effect.void, {
        concurrency: "unbounded"
      })
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      for (const [index, exit] of exits.entries()) {
        if (index % 2 === 1) assert.deepStrictEqual(exit, Exit.succeed([{ n: index + 1 }]))
      }
      assert.deepStrictEqual(yield* sql`SELECT 1 AS one`, [{ one: 1 }])
    }))

  it.effect("the event loop runs between statements of one transaction", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      let turns = 0
      const turn = (): void => {
        turns++
        immediate = setImmediate(turn)
      }
      let immediate = setImmediate(turn)
      yield* Effect.ensuring(
        sql.withTransaction(Effect.forEach(Arr.range(1, 200), (n) => sql`SELECT ${n}::int4 AS n`)),
        Effect.sync(() => clearImmediate(immediate))
      )
      assert.isAtLeast(turns, 200)
    }))
})

describe("PgliteStream", () => {
  const backend = Effect.acquireRelease(
    Effect.promise(() => PGlite.create()),
    (db) => Effect.promise(() => db.close())
  ).pipe(Effect.map(PgliteStream.make))

  it.effect("PgliteStream takes requests in any pieces, and resets the session for a new connection", () =>
    Effect.gen(function*() {
      const { stream } = yield* backend
      const inPieces = () => {
        const duplex = stream()
        const write = duplex.write.bind(duplex)
        return Object.assign(duplex, {
          write: (chunk: Uint8Array) => {
            for (let offset = 0; offset < chunk.length; offset += 3) write(chunk.subarray(offset, offset + 3))
            return true
          }
        })
      }
      const connect = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.provide(
          effect,
          PgClient.layer({ stream: inPieces, ssl: false, maxConnections: 1, username: "postgres" }),
          { local: true }
        )

      yield* connect(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        assert.deepStrictEqual(yield* sql`SELECT ${"in pieces"}::text AS text`, [{ text: "in pieces" }])
        yield* sql`CREATE TEMP TABLE of_session (n int4)`
        yield* sql`SET statement_timeout = 12345`
        yield* sql`CREATE TABLE of_transaction (n int4)`
        yield* sql`BEGIN`
        yield* sql`INSERT INTO of_transaction VALUES (1)`
      }))
      yield* connect(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        assert.deepStrictEqual(
          yield* sql`
            SELECT to_regclass('of_session') AS session, current_setting('statement_timeout') AS setting,
                   (SELECT count(*) FROM pg_prepared_statements) AS prepared,
                   (SELECT count(*) FROM of_transaction) AS rows`,
          // The statement itself is prepared.
          [{ session: null, setting: "0", prepared: 1n, rows: 0n }]
        )
      }))
    }))

  it.effect("the write-ahead log does not grow with what a session writes", () =>
    Effect.gen(function*() {
      const { stream } = yield* backend
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql`CREATE TABLE log (value jsonb)`
        const before = yield* sql`SELECT redo_lsn::text FROM pg_control_checkpoint()`
        const value = "x".repeat(4 * 1024 * 1024)
        yield* Effect.forEach(Arr.range(1, 20), () => sql`INSERT INTO log VALUES (${sql.json(value)})`)
        assert.notDeepEqual(yield* sql`SELECT redo_lsn::text FROM pg_control_checkpoint()`, before)
      }).pipe(Effect.provide(PgClient.layer({ stream, ssl: false, maxConnections: 1, username: "postgres" })))
    }))
})

describe("EmbeddedPostgres in a folder", () => {
  const create = Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    yield* sql`CREATE TABLE kept (name text)`
    yield* sql`INSERT INTO kept VALUES ('kept')`
  })
  const kept = Effect.flatMap(PgClient.PgClient, (sql) => sql`SELECT * FROM kept`)
  const lockOf = (dataDir: string): string => NodePath.join(dataDir, "effect-checkpoint.lock")
  const owned = (names: ReadonlyArray<string>) => names.filter((name) => name.startsWith("effect-checkpoint"))

  it.effect("a folder has what was written when it is opened again, and no files of ours", () =>
    Effect.gen(function*() {
      const dataDir = NodePath.join(yield* temporaryFolder, "made", "on demand")
      yield* opened(dataDir, create)
      assert.deepStrictEqual(owned(NodeFs.readdirSync(dataDir)), [])
      assert.isFalse(NodeFs.existsSync(NodePath.join(dataDir, "postmaster.pid")))
      assert.deepStrictEqual(yield* opened(dataDir, kept), [{ name: "kept" }])
    }))

  it.effect("a commit in a folder is synced to disk before it is acknowledged", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      const { fsyncSync } = NodeFs
      let syncs = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          NodeFs.fsyncSync = (file) => {
            syncs++
            fsyncSync(file)
          }
          syncBuiltinESMExports()
        }),
        () =>
          Effect.sync(() => {
            NodeFs.fsyncSync = fsyncSync
            syncBuiltinESMExports()
          })
      )
      yield* opened(
        dataDir,
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          yield* create
          for (const name of ["one", "two", "three"]) {
            const before = syncs
            yield* sql`INSERT INTO kept VALUES (${name})`
            assert.isAbove(syncs, before)
          }
        })
      )
    }))

  it.effect("a folder that is open cannot be opened a second time, and the error names the process", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      yield* opened(
        dataDir,
        Effect.gen(function*() {
          yield* create
          const error = yield* failureToOpen({ dataDir: `${dataDir}/../${NodePath.basename(dataDir)}` })
          assert.instanceOf(error, EmbeddedPostgres.EmbeddedPostgresError)
          assert.strictEqual(error.reason, "Locked")
          assert.strictEqual(error.dataDir, dataDir)
          assert.include(error.message, `Process ${NodeProcess.pid} `)
          assert.deepStrictEqual(yield* kept, [{ name: "kept" }])
        })
      )
      assert.deepStrictEqual(yield* opened(dataDir, kept), [{ name: "kept" }])
    }))

  it.effect("a folder whose process was killed has everything that was committed, and opens at once", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(
            NodeProcess.execPath,
            [fileURLToPath(new URL("fixtures/embeddedWriter.ts", import.meta.url)), dataDir],
            {
              stdio: ["ignore", "pipe", "inherit"]
            }
          )
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const exited = once(child, "exit")
      yield* Effect.promise(() => Promise.race([once(child.stdout, "data"), exited]))
      const locked = yield* failureToOpen({ dataDir })
      assert.include(locked.message, `Process ${child.pid} `)
      child.kill("SIGKILL")
      assert.deepStrictEqual(yield* Effect.promise(() => exited), [null, "SIGKILL"])
      assert.isTrue(NodeFs.existsSync(lockOf(dataDir)))
      assert.deepStrictEqual(
        yield* opened(dataDir, Effect.flatMap(PgClient.PgClient, (sql) => sql`SELECT * FROM written`)),
        [{ name: "committed" }]
      )
    }))

  it.effect("a folder whose creation was cut short is created again", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      yield* opened(dataDir, Effect.void)
      for (const name of ["base", "global", "pg_wal"]) {
        NodeFs.rmSync(NodePath.join(dataDir, name), { recursive: true })
      }
      NodeFs.writeFileSync(NodePath.join(dataDir, "effect-checkpoint.creating"), "")
      yield* opened(dataDir, create)
      assert.deepStrictEqual(yield* opened(dataDir, kept), [{ name: "kept" }])
    }))

  it.effect("statements fail at once when Postgres crashes, and a folder keeps what was committed", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      yield* opened(
        dataDir,
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          yield* create
          // The error occurs while a row is made, where the backend must clean up and cannot.
          const crash = sql`SELECT value::jsonb FROM (SELECT ${nested(50_000)}::text AS value OFFSET 0) AS rows`
          const statements = [crash, sql`SELECT 1`, sql`SELECT 1`]
          for (const statement of statements) {
            const error = yield* Effect.flip(statement)
            assert.strictEqual(error.reason._tag, "ConnectionError")
            assert.include(String(error.reason.cause), "PGlite crashed")
          }
        })
      )
      assert.deepStrictEqual(yield* opened(dataDir, kept), [{ name: "kept" }])
    }))

  it.effect("a folder that cannot be used is an error that names it", () =>
    Effect.gen(function*() {
      const file = NodePath.join(yield* temporaryFolder, "file")
      NodeFs.writeFileSync(file, "")
      const error = yield* failureToOpen({ dataDir: NodePath.join(file, "folder") })
      assert.strictEqual(error._tag === "EmbeddedPostgresError" ? error.reason : error._tag, "Failed")
      assert.include(error.message, NodePath.join(file, "folder"))
      const empty = yield* failureToOpen({ dataDir: "" })
      assert.include(empty.message, "dataDir is empty")
    }))

  it.effect("a dataDir that is a URL of PGlite is an error, and no folder is made", () =>
    Effect.gen(function*() {
      for (const dataDir of ["memory://", "file://data", "idb://data"]) {
        const error = yield* failureToOpen({ dataDir })
        assert.include(error.message, "leave dataDir out for a database in memory")
        assert.isFalse(NodeFs.existsSync(NodePath.resolve(dataDir)))
      }
    }))

  it.effect("a folder of another major version of Postgres is Incompatible, and is left as it is", () =>
    Effect.gen(function*() {
      const dataDir = yield* temporaryFolder
      yield* opened(dataDir, create)
      const version = NodePath.join(dataDir, "PG_VERSION")
      const current = NodeFs.readFileSync(version, "utf8")
      NodeFs.writeFileSync(version, "16\n")
      const error = yield* failureToOpen({ dataDir })
      assert.deepInclude(error, { _tag: "EmbeddedPostgresError", reason: "Incompatible", dataDir })
      assert.include(error.message, `is of Postgres 16, and this PGlite is Postgres ${current.trim()}`)
      NodeFs.writeFileSync(version, current)
      assert.deepStrictEqual(yield* opened(dataDir, kept), [{ name: "kept" }])
    }))

  it.effect("an operation on a PGlite that crashed fails for good", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* Effect.flip(sql`SELECT value::jsonb FROM (SELECT ${nested(50_000)}::text AS value OFFSET 0) AS rows`)
      for (const operation of [checkpointer.get("t"), checkpointer.append({ threadId: "t", state: 1 })]) {
        const error = yield* Effect.flip<unknown, unknown, never>(operation)
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "Unknown", isRetryable: false })
        assert.include(String(error), "Build the layer again")
      }
    }).pipe(Effect.provide(PgCheckpointer.layerEmbedded)))

  it.effect("opening a folder without PGlite fails with how to install it", () =>
    Effect.gen(function*() {
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          vi.doMock("@electric-sql/pglite", () => {
            throw new Error("Cannot find package")
          })
        ),
        () => Effect.sync(() => vi.doUnmock("@electric-sql/pglite"))
      )
      const dataDir = yield* temporaryFolder
      const error = yield* failureToOpen({ dataDir })
      assert.strictEqual(error._tag === "EmbeddedPostgresError" ? error.reason : error._tag, "Missing")
      assert.include(error.message, "pnpm add @electric-sql/pglite")
      assert.isFalse(NodeFs.existsSync(lockOf(dataDir)))
    }))
})

describe("DataDirLock", () => {
  const path = Effect.map(temporaryFolder, (folder) => NodePath.join(folder, "lock"))
  const read = (path: string): Record<string, unknown> => JSON.parse(NodeFs.readFileSync(path, "utf8"))
  const stale = {
    "of a process that is gone": { pid: 2 ** 22 + 1, started: "another boot 1" },
    "of an earlier process with this one's id": { pid: NodeProcess.pid, started: "another boot 1" },
    "that is not whole": ""
  }

  for (const [which, content] of Object.entries(stale)) {
    it.effect.skipIf(NodeProcess.platform !== "linux")(
      `of many that find a lock ${which}, one takes it over and the others learn who has it`,
      () =>
        Effect.gen(function*() {
          const lock = yield* path
          // A late one may have read the old lock, and must not remove the new one.
          for (const lateness of Arr.range(0, 20)) {
            NodeFs.writeFileSync(lock, content === "" ? "" : JSON.stringify(content))
            yield* Effect.scoped(Effect.gen(function*() {
              const outcomes = yield* Effect.forEach(Arr.range(1, 12), (n) =>
                Effect.andThen(
                  Effect.forEach(Arr.range(0, n % 4 * lateness), () => nextTurn),
                  Effect.result(DataDirLock.acquire(lock))
                ), { concurrency: "unbounded" })
              const refused = outcomes.flatMap((outcome) => outcome._tag === "Failure" ? [outcome.failure] : [])
              assert.lengthOf(refused, 11)
              for (const error of refused) assert.deepStrictEqual(error, new DataDirLock.Held({ pid: NodeProcess.pid }))
              assert.strictEqual(read(lock).pid, NodeProcess.pid)
              assert.deepStrictEqual(NodeFs.readdirSync(NodePath.dirname(lock)), ["lock"])
            }))
          }
        })
    )
  }

  it.effect("of many that find no lock one gets it, and another one when it is released", () =>
    Effect.gen(function*() {
      const lock = yield* path
      const winners = yield* Effect.scoped(
        Effect.forEach(Arr.range(1, 20), () => Effect.exit(DataDirLock.acquire(lock)), { concurrency: "unbounded" })
      )
      assert.lengthOf(winners.filter(Exit.isSuccess), 1)
      assert.isFalse(NodeFs.existsSync(lock))
      yield* Effect.scoped(DataDirLock.acquire(lock))
    }))

  it.effect("a lock is taken over even if the last takeover was cut short", () =>
    Effect.gen(function*() {
      const lock = yield* path
      const gone = JSON.stringify({ pid: 2 ** 22 + 1 })
      NodeFs.writeFileSync(lock, gone)
      NodeFs.writeFileSync(`${lock}.takeover`, gone)
      yield* DataDirLock.acquire(lock)
      assert.strictEqual(read(lock).pid, NodeProcess.pid)
    }))
})
