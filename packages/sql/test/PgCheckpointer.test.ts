import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, layer } from "@effect/vitest"
import {
  Arbitrary,
  Config,
  ConfigProvider,
  DateTime,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Logger,
  Redacted,
  Schedule,
  Schema,
  Scope,
  Stream
} from "effect"
import { inspect } from "node:util"
import { age, clientLayer, Database, pgLayer, some, statementsOf, withUser } from "./support.ts"

const neverAgain = Schedule.recurs(0)

/** The generic plan of a statement. */
const explain = Effect.fnUntraced(function*(statement: string) {
  const sql = yield* PgClient.PgClient
  const connection = yield* sql.reserve
  const run = (text: string) => connection.executeUnprepared(text, [], undefined)
  yield* run("SET plan_cache_mode = force_generic_plan")
  yield* run(`PREPARE explained AS ${statement}`)
  const parameters = new Set(statement.match(/\$\d+/g)).size
  const values = parameters === 0 ? "" : `(${Array(parameters).fill("NULL").join(", ")})`
  const rows = yield* run(`EXPLAIN EXECUTE explained${values}`)
  yield* run("DEALLOCATE explained")
  yield* run("RESET plan_cache_mode")
  return rows.map((row) => String(Object.values(row)[0])).join("\n")
}, Effect.scoped)

/** Repeats a query until it has a row. */
const waitFor = <E, R>(query: Effect.Effect<ReadonlyArray<unknown>, E, R>) =>
  Effect.repeat(query, { until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") })

class Counters extends Checkpointer.Service<Counters>()("test/Counters", {
  state: Schema.Struct({ count: Schema.Int }),
  namespace: "counters"
}) {}

class Chats extends Checkpointer.Service<Chats>()("test/Chats", { state: Schema.Array(Schema.String) }) {}

// A server answers in real time.
layer(Database.layer, { excludeTestServices: true })("PgCheckpointer", (it) => {
  const inSchema = (schema: string, options?: PgCheckpointer.Options, config?: Partial<PgClient.PgPoolConfig>) =>
    Counters.layer.pipe(Layer.provideMerge(pgLayer({ ...options, schema }, config)))

  describe("statements", () => {
    it.effect("each put, get and listing is one statement, and a listing reads no state", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const [first, put] = yield* statementsOf(counters.append({ threadId: "one", state: { count: 1 } }))
        const [second, append] = yield* statementsOf(counters.append({ threadId: "one", state: { count: 2 } }))
        const [, compareAndSet] = yield* statementsOf(counters.put({ parent: second, state: { count: 3 } }))
        const [, create] = yield* statementsOf(
          counters.create({ threadId: "new", state: { count: 1 } })
        )
        const [, latest] = yield* statementsOf(counters.get("one"))
        const [, byVersion] = yield* statementsOf(counters.get("one", { version: 1 }))
        const [, byTime] = yield* statementsOf(counters.getAtTime("one", first.createdAt))
        const [versions, list] = yield* statementsOf(counters.listVersions("one"))
        const [threads, listThreads] = yield* statementsOf(Stream.runCollect(counters.threads()))
        for (const statements of [put, append, compareAndSet, create, latest, byVersion, byTime, list, listThreads]) {
          assert.strictEqual(statements.length, 1, statements.join("\n"))
        }
        assert.strictEqual(put[0], append[0], "one prepared statement serves every append")
        assert.strictEqual(versions.length, 3)
        assert.strictEqual(threads.length, 2)
        for (const [statement] of [list, listThreads]) {
          assert.notMatch(statement!, /\bstate\b/)
        }
      }).pipe(Effect.provide(inSchema("statements"))))

    it.effect("a step of a graph is one statement, and a parallel step as many as it has nodes", () =>
      Effect.gen(function*() {
        const graph = StateGraph.make({
          name: "steps",
          state: Schema.Struct({ n: Schema.Int }),
          start: "count",
          nodes: {
            count: ({ n }) => Effect.succeed({ n: n + 1 }),
            a: () => Effect.void,
            b: () => Effect.void,
            c: () => Effect.void
          },
          edges: { count: ({ n }) => n < 10 ? ["count"] : ["a", "b", "c"], a: [], b: [], c: [] }
        })
        const input = { n: 0 }
        const [, statements] = yield* statementsOf(
          StateGraph.run(graph, { threadId: "t", input })
        )
        // Reading the thread, beginning it, ten steps, and one step of three nodes.
        assert.strictEqual(statements.length, 1 + 1 + 10 + 3, statements.join("\n"))
        const [, resumed] = yield* statementsOf(StateGraph.resume(graph, { threadId: "t" }))
        assert.strictEqual(resumed.length, 1)
      }).pipe(Effect.provide(inSchema("steps"))))

    it.effect("reads use the keys in a database without statistics", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        yield* counters.append({ threadId: "t", state: { count: 1 } })
        const reads = [
          counters.get("t"),
          counters.get("t", { version: 1 }),
          counters.getAtTime("t", yield* DateTime.now),
          counters.listVersions("t"),
          Stream.runDrain(counters.history("t"))
        ]
        for (const read of reads) {
          const [, [statement]] = yield* statementsOf<unknown, unknown, never>(read)
          const plan = yield* explain(statement!)
          assert.include(plan, "checkpoint_threads_pkey", plan)
          assert.include(plan, "checkpoints_pkey", plan)
          assert.notInclude(plan, "Join Filter", plan)
        }
      }).pipe(Effect.provide(inSchema("unknown"))))

    it.effect("frequent reads scan no table, and open threads are read from an index of their own", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const counters = yield* Counters
        const base = yield* Checkpointer.Checkpointer
        // 20,000 threads of one version, and one of 20,000.
        yield* sql`
          INSERT INTO plans.checkpoint_threads (
            thread_id, namespace, version, checkpoint_id, write_id, keyframe_version, step_version, unfinished, interrupted,
            active_at, updated_at, created_at
          )
          SELECT 'thread ' || i, 'counters', CASE WHEN i = 1 THEN 20000 ELSE 1 END, 'id ' || i, md5(i::text)::uuid, 1, 1, i % 1000 = 0,
                 i % 2000 = 0, date_trunc('minute', now() - i * interval '1 second'), now() - i * interval '1 second',
                 now() - interval '1 day'
            FROM generate_series(1, 20000) i`
        yield* sql`
          INSERT INTO plans.checkpoints (
            thread_id, namespace, version, keyframe_version, step_version, created_at, payload_bytes, state_bytes, format, checkpoint_id, next_nodes,
            metadata, tags, payload
          )
          SELECT 'thread ' || i, 'counters', v, v, v, now() - interval '1 day' + v * interval '1 second', 11, 11, 1,
                 'id ' || CASE WHEN v = 1 THEN '' ELSE v || ' of ' END || i, '[]', '{}',
                 CASE WHEN v = 100 THEN '["tagged"]'::jsonb ELSE '[]' END, '{"count": 1}'
            FROM generate_series(1, 20000) i, LATERAL generate_series(1, CASE WHEN i = 1 THEN 20000 ELSE 1 END) v`
        yield* sql`ANALYZE plans.checkpoint_threads`
        yield* sql`ANALYZE plans.checkpoints`

        const middle = some(yield* counters.get("thread 1", { version: 10_000 }))
        const page = { limit: 50 }
        const reads: Record<string, Effect.Effect<unknown, unknown>> = {
          latest: counters.get("thread 1"),
          version: counters.get("thread 1", { version: 77 }),
          id: counters.get("thread 1", { checkpointId: "id 77 of 1" }),
          tag: counters.get("thread 1", { tag: "tagged" }),
          time: counters.getAtTime("thread 1", middle.createdAt),
          list: counters.listVersions("thread 1", page),
          listBefore: counters.listVersions("thread 1", { ...page, before: 10_000 }),
          history: Stream.runDrain(Stream.take(counters.history("thread 1"), 1)),
          threads: Stream.runDrain(Stream.take(counters.threads(), 150)),
          allThreads: Stream.runDrain(Stream.take(base.threads(), 150)),
          interrupted: Stream.runDrain(counters.threads({ interrupted: true })),
          unfinished: Stream.runDrain(counters.threads({ unfinished: true })),
          prune: base.prune({ maxVersions: 100_000, maxAge: "30 days", idleThreads: "30 days" }, { dryRun: true }),
          compact: base.prune({ maxVersions: 100_000, compact: true, namespace: "counters" }, { dryRun: true }),
          put: counters.append({ threadId: "thread 2", state: { count: 2 } }),
          compareAndSet: counters.put({ parent: some(yield* counters.get("thread 2")), state: { count: 3 } })
        }
        // Postgres 12 has no incremental sort.
        const [server] = yield* sql`SELECT current_setting('server_version_num')::integer >= 130000 AS sorts`
        if (server!.sorts !== true) {
          for (const name of ["threads", "allThreads", "interrupted", "unfinished"]) delete reads[name]
        }
        for (const [name, read] of Object.entries(reads)) {
          const [, statements] = yield* statementsOf(read.pipe(Effect.catch(() => Effect.void)))
          assert.isAbove(statements.length, 0, name)
          for (const statement of statements) {
            const plan = yield* explain(statement)
            assert.notInclude(plan, "Seq Scan", `${name}: ${plan}`)
            if (name === "interrupted" || name === "unfinished") {
              assert.include(plan, "checkpoint_threads_open", `${name}: ${plan}`)
            }
          }
        }
        const [sizes] = yield* sql<{ readonly open: number; readonly all: number }>`
          SELECT pg_relation_size('plans.checkpoint_threads_open')::float8 AS open,
                 pg_relation_size('plans.checkpoint_threads_by_activity')::float8 AS all`
        assert.isBelow(sizes!.open, sizes!.all / 4)
      }).pipe(Effect.provide(inSchema("plans"))))
  })

  describe("transactions", () => {
    it.effect("a version that was rolled back is not taken for the newest, though its number and id exist again", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const checkpointer = yield* Checkpointer.Checkpointer
        const other = yield* Checkpointer.make()
        const list = (name: string, length: number) =>
          Array.from({ length }, (_, i) => `${name} ${i} ${"x".repeat(50)}`)
        yield* checkpointer.append({ threadId: "t", state: list("zero", 100) })
        const second = { threadId: "t", checkpointId: "second" }
        yield* sql.withTransaction(
          Effect.andThen(checkpointer.append({ ...second, state: list("undone", 100) }), Effect.fail("changed my mind"))
        ).pipe(Effect.flip)
        yield* other.append({ ...second, state: list("done", 100) })
        yield* checkpointer.append({ threadId: "t", state: list("undone", 101) })
        assert.deepStrictEqual(some(yield* other.get("t")).state, list("undone", 101))
        assert.deepStrictEqual(some(yield* other.get("t", { version: 2 })).state, list("done", 100))
      }).pipe(Effect.provide(inSchema("rolledback"))))

    it.effect("a checkpoint id that two transactions save at once is one checkpoint, and Contention in the other transaction", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const checkpointer = yield* Checkpointer.Checkpointer
        const put = (checkpointId: string) => checkpointer.append({ threadId: "t", checkpointId, state: checkpointId })
        // A transaction reads the view once and caches it.
        const isWaiting = Effect.andThen(
          sql`SELECT pg_stat_clear_snapshot()`,
          sql`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
        )
        const isPut = yield* Latch.make()
        const second = yield* Effect.forkChild(
          Effect.andThen(isPut.await, Effect.flip(sql.withTransaction(put("one"))))
        )
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* put("one")
          yield* put("two")
          yield* isPut.open
          yield* Effect.repeat(isWaiting, { until: (rows) => rows.length > 0 })
        }))
        assert.nestedInclude(yield* Fiber.join(second), {
          _tag: "StoreError",
          "reason._tag": "Contention",
          isRetryable: true
        })
        assert.deepStrictEqual((yield* put("one")).version, 1)
        assert.strictEqual((yield* checkpointer.listVersions("t")).length, 2)
      }).pipe(Effect.provide(inSchema("sameid"))))

    it.effect("a put in a caller's transaction is committed or rolled back with it", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const counters = yield* Counters
        yield* sql`CREATE TABLE transactions.orders (id text)`
        const both = (id: string, outcome: Effect.Effect<void, string>) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`INSERT INTO transactions.orders VALUES (${id})`
            yield* counters.append({ threadId: id, state: { count: 1 } })
            yield* counters.update(id, ({ count }) => ({ count: count + 1 }))
            yield* outcome
          }))
        yield* both("kept", Effect.void)
        assert.strictEqual(yield* Effect.flip(both("undone", Effect.fail("changed my mind"))), "changed my mind")
        const orders = yield* sql<{ readonly id: string }>`SELECT id FROM transactions.orders`
        assert.deepStrictEqual(orders.map(({ id }) => id), ["kept"])
        assert.strictEqual(some(yield* counters.get("kept")).state.count, 2)
        assert.strictEqual((yield* counters.get("undone"))._tag, "None")
      }).pipe(Effect.provide(inSchema("transactions"))))

    it.effect("a conflict or a repeated id does not fail the caller's transaction", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const counters = yield* Counters
        const first = yield* counters.append({ threadId: "t", checkpointId: "first", state: { count: 1 } })
        yield* counters.put({ parent: first, state: { count: 2 } })
        yield* sql.withTransaction(Effect.gen(function*() {
          const conflict = yield* Effect.flip(counters.put({ parent: first, state: { count: 3 } }))
          assert.strictEqual(conflict._tag, "VersionConflict")
          const same = yield* counters.append({ threadId: "t", checkpointId: "first", state: { count: 1 } })
          assert.strictEqual(same.version, 1)
          const taken = yield* Effect.flip(
            counters.append({ threadId: "t", checkpointId: "first", state: { count: 9 } })
          )
          assert.strictEqual(taken._tag, "CheckpointIdTaken")
          yield* counters.append({ threadId: "t", state: { count: 3 } })
        }))
        assert.strictEqual(some(yield* counters.get("t")).state.count, 3)
      }).pipe(Effect.provide(inSchema("transaction_conflicts"))))

    it.effect("a put in a transaction does not wait for one outside that waits for the transaction", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const counters = yield* Counters
        yield* counters.append({ threadId: "t", state: { count: 0 } })
        const holding = yield* Latch.make()
        const inside = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
          yield* counters.append({ threadId: "t", state: { count: 1 } })
          yield* holding.open
          // Wait until the other one is in the database and waits for the head row.
          yield* waitFor(sql`SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))`)
          yield* counters.append({ threadId: "t", state: { count: 2 } })
        })))
        yield* holding.await
        const outside = yield* counters.append({ threadId: "t", state: { count: 3 } })
        yield* Fiber.join(inside)
        assert.strictEqual(outside.version, 4)
      }).pipe(Effect.provide(inSchema("transaction_queue"))))

    it.effect("deleteThread waits for a put in a transaction, and leaves nothing behind", () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const counters = yield* Counters
        yield* counters.append({ threadId: "t", state: { count: 1 } })
        const holding = yield* Latch.make()
        const put = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
          yield* counters.append({ threadId: "t", state: { count: 2 } })
          yield* holding.open
          yield* waitFor(sql`SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))`)
        })))
        yield* holding.await
        assert.strictEqual(yield* counters.deleteThread("t"), 2)
        yield* Fiber.join(put)
        const rows = yield* sql`SELECT FROM deletion.checkpoints`
        assert.strictEqual(rows.length, 0)
        assert.strictEqual((yield* counters.append({ threadId: "t", state: { count: 3 } })).version, 1)
      }).pipe(Effect.provide(inSchema("deletion"))))
  })

  describe("migrations", () => {
    it.effect("16 services that start at once on an empty database all start", () =>
      Effect.gen(function*() {
        const instances = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, i) => i),
          (i) =>
            Effect.gen(function*() {
              const counters = yield* Counters
              return yield* counters.append({ threadId: `instance ${i}`, state: { count: i } })
            }).pipe(Effect.provide(Layer.fresh(inSchema("sixteen", {}, { maxConnections: 2 })))),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(instances.map(({ version }) => version), Array(16).fill(1))
      }))

    it.effect("every layer refuses a database that a newer version of the library migrated", () =>
      Effect.gen(function*() {
        yield* PgCheckpointer.migrate({ schema: "newer" })
        const sql = yield* PgClient.PgClient
        yield* sql`INSERT INTO newer.checkpoint_migrations (migration_id, name) VALUES (9999, 'from_the_future')`
        for (const build of [PgCheckpointer.layerWith, PgCheckpointer.layerStorageWith]) {
          const error = yield* Effect.flip(Effect.scoped(Layer.build(build({ schema: "newer" }))))
          assert.strictEqual(error._tag, "StoreError")
          assert.nestedInclude(error, { "reason._tag": "SchemaIncompatible", isRetryable: false })
          assert.match(error.message, /newer.*9999.*upgrade/)
        }
      }).pipe(Effect.provide(clientLayer())))

    it.effect("layerStorage without tables fails with SchemaMissing, which asks for the migrations", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(PgCheckpointer.layerStorageWith({ schema: "nothing_here" })))
        )
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "SchemaMissing" })
        assert.match(error.message, /nothing_here.*migrations/)
      }).pipe(Effect.provide(clientLayer())))

    it.effect("health fails with SchemaMissing if the tables are gone", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        yield* checkpointer.health
        yield* sql`DROP SCHEMA health CASCADE`
        assert.strictEqual((yield* Effect.flip(checkpointer.health)).reason._tag, "SchemaMissing")
      }).pipe(Effect.provide(inSchema("health"))))

    it.effect("a role that may create nothing can use tables that another role owns", () =>
      Effect.gen(function*() {
        const { url } = yield* Database
        const sql = yield* PgClient.PgClient
        yield* PgCheckpointer.migrate({ schema: "owned" })
        yield* sql`CREATE ROLE least_privileged LOGIN PASSWORD 'secret word'`
        yield* sql`GRANT USAGE ON SCHEMA owned TO least_privileged`
        yield* sql`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA owned TO least_privileged`
        const asRole = PgClient.layer({ url: withUser(url, "least_privileged", "secret word") })
        yield* Effect.gen(function*() {
          const counters = yield* Counters
          const checkpointer = yield* Checkpointer.Checkpointer
          const first = yield* counters.append({ threadId: "t", state: { count: 1 } })
          yield* counters.put({ parent: first, state: { count: 2 } })
          yield* counters.setTags(first.threadId, first, ["kept"])
          yield* checkpointer.prune({ maxVersions: 1 })
          yield* checkpointer.health
          assert.strictEqual(yield* counters.deleteThread("t"), 2)
        }).pipe(
          Effect.provide(Counters.layer),
          Effect.provide(PgCheckpointer.layerStorageWith({ schema: "owned" })),
          Effect.provide(asRole)
        )
        // Starting with migrations succeeds if there are none to run, and is a typed error otherwise.
        yield* Effect.scoped(Layer.build(PgCheckpointer.layerWith({ schema: "owned" }))).pipe(Effect.provide(asRole))
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(PgCheckpointer.layerWith({ schema: "not_owned" }))).pipe(Effect.provide(asRole))
        )
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "Permission", outcome: "NotApplied" })
        yield* sql`DROP OWNED BY least_privileged`
        yield* sql`DROP ROLE least_privileged`
      }).pipe(Effect.provide(clientLayer())))

    it.effect("a schema may have any name that Postgres can quote", () =>
      Effect.forEach(
        [
          "Mixed Case",
          "quo\"te",
          "'; DROP SCHEMA public; --",
          "ünïcode",
          "select",
          "$1 ? %s :x \\",
          "$function$; DROP SCHEMA public CASCADE; --",
          "$$ $body$ \" $quoted$ $",
          "a\" CASCADE; --"
        ],
        (schema) =>
          Effect.gen(function*() {
            const counters = yield* Counters
            const checkpointer = yield* Checkpointer.Checkpointer
            const sql = yield* PgClient.PgClient
            const first = yield* counters.append({
              threadId: "t",
              state: { count: 1 },
              step: { pendingWrites: { a: 1 } }
            })
            yield* counters.update("t", ({ count }) => ({ count: count + 1 }))
            assert.deepStrictEqual(yield* counters.pendingWrites(first), { a: 1 })
            yield* counters.setTags(first.threadId, first, ["kept"])
            yield* counters.fork(first.threadId, first, { threadId: "fork" })
            yield* counters.restore("t", { tag: "kept" })
            yield* checkpointer.prune({ maxVersions: 1, compact: true })
            assert.deepStrictEqual((yield* counters.listVersions("t")).map(({ version }) => version), [3, 1])
            const rows = yield* sql`
              SELECT state FROM ${sql.literal(`"${schema.replaceAll("\"", "\"\"")}"`)}.checkpoint_states`
            assert.sameDeepMembers([...rows], [1, 1, 1].map((count) => ({ state: { count } })))
            assert.strictEqual(yield* counters.deleteThread("t"), 2)
            yield* checkpointer.health
            const [found] = yield* sql`SELECT FROM pg_namespace WHERE nspname = ${schema}`
            assert.isDefined(found)
          }).pipe(Effect.provide(Layer.fresh(inSchema(schema))))
      ))

    it.effect("an impossible schema name, timeout or state size is refused before anything is sent", () =>
      Effect.gen(function*() {
        const refused = (options: PgCheckpointer.Options) =>
          Effect.map(Effect.flip(Effect.scoped(Layer.build(PgCheckpointer.layerWith(options)))), (error) => {
            assert.strictEqual(error._tag, "InvalidInput")
            return error._tag === "InvalidInput" ? error.field : ""
          })
        for (const schema of ["", "a.b", "nul\u0000", "\ud800", "x".repeat(64)]) {
          assert.strictEqual(yield* refused({ schema }), "schema")
        }
        assert.strictEqual(yield* refused({ acquireTimeout: 0 }), "acquireTimeout")
        assert.strictEqual(yield* refused({ statementTimeout: -1 }), "statementTimeout")
        assert.strictEqual(yield* refused({ maxStateBytes: 12 * 1024 * 1024 }), "maxStateBytes")
        assert.strictEqual(yield* refused({ maxStateBytes: 0.5 }), "maxStateBytes")
      }).pipe(Effect.provide(clientLayer())))
  })

  describe("limits", () => {
    it.effect(
      "the largest state that can be saved can be read, even if Postgres prints it longer",
      () =>
        Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          // As text, jsonb has a space after each comma, and 301 digits for the number below.
          const dense = Array.from({ length: 4 * 1024 * 1024 - 1 }, () => 1)
          yield* checkpointer.append({ threadId: "dense", state: dense })
          assert.deepStrictEqual(some(yield* checkpointer.get("dense")).state, dense)
          const big = Array.from({ length: 27_000 }, () => 1e300)
          yield* checkpointer.append({ threadId: "big", state: big })
          assert.deepStrictEqual(some(yield* checkpointer.get("big")).state, big)
          const tooBig = yield* Effect.flip(
            checkpointer.append({ threadId: "too big", state: Array.from({ length: 28_000 }, () => 1e300) })
          )
          assert.strictEqual(tooBig._tag, "StateTooLarge")
          assert.strictEqual((yield* checkpointer.get("too big"))._tag, "None")
        }).pipe(Effect.provide(pgLayer({ schema: "limits" }))),
      60_000
    )

    it.effect("a state with characters that jsonb cannot hold stays readable in SQL otherwise", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const state = { plain: "text", "k\u0000": "\ud800", sub: "\u001a" }
        yield* checkpointer.append({ threadId: "t", state, nextNodes: ["next"], metadata: { "m\u0000": 1 } })
        assert.deepStrictEqual(some(yield* checkpointer.get("t")).state, state)
        const rows = yield* sql`
          SELECT thread_id, version::float8 AS version, state ->> 'plain' AS plain, next_nodes FROM states.checkpoint_states`
        assert.deepStrictEqual(rows, [{ thread_id: "t", version: 1, plain: "text", next_nodes: ["next"] }])
      }).pipe(Effect.provide(pgLayer({ schema: "states" }))))

    it.effect("a damaged row is a StateDecodeError, and other versions can be read", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const sql = yield* PgClient.PgClient
        const damage = [
          [sql`payload = '"gone"'`, "SchemaMismatch"],
          [sql`format = 77`, "UnknownFormat"],
          [sql`next_nodes = '[1]'`, "Damaged"],
          [sql`next_nodes = '{}'`, "Damaged"],
          [sql`metadata = '[]'`, "Damaged"],
          [sql`pending_interrupts = '7'`, "Damaged"],
          [sql`tags = '{"a": 1}'`, "Damaged"],
          [sql`checkpoint_id = NULL`, "Damaged"],
          [sql`created_at = 'infinity'`, "Damaged"]
        ] as const
        for (const [change, kind] of damage) {
          yield* sql`DELETE FROM damaged.checkpoints`
          yield* sql`DELETE FROM damaged.checkpoint_threads`
          yield* counters.append({ threadId: "t", state: { count: 1 } })
          const { version } = yield* counters.append({ threadId: "t", state: { count: 2 } })
          yield* sql`UPDATE damaged.checkpoints SET ${change} WHERE version = ${version}`
          const error = yield* Effect.flip(counters.get("t", { version }))
          assert.nestedInclude(error, { _tag: "StateDecodeError", "reason._tag": kind, version })
          assert.strictEqual(some(yield* counters.get("t", { version: 1 })).state.count, 1)
        }
      }).pipe(Effect.provide(inSchema("damaged"))))

    it.effect("an infinite time of a thread is an error of the listing or of the put", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const sql = yield* PgClient.PgClient
        yield* counters.append({ threadId: "timeless", state: { count: 1 } })
        yield* sql`UPDATE timeless.checkpoint_threads SET created_at = '-infinity'`
        const error = yield* Effect.flip(Stream.runDrain(counters.threads()))
        assert.nestedInclude(error, {
          _tag: "StateDecodeError",
          "reason._tag": "Damaged",
          threadId: "timeless",
          version: 1
        })
        yield* sql`UPDATE timeless.checkpoint_threads SET updated_at = 'infinity'`
        const put = yield* Effect.flip(counters.append({ threadId: "timeless", state: { count: 2 } }))
        assert.nestedInclude(put, {
          _tag: "StoreError",
          "reason._tag": "Unknown",
          outcome: "Unknown",
          isRetryable: false
        })
      }).pipe(Effect.provide(inSchema("timeless"))))

    it.effect("a version is not taken for the newest one if the row of that is gone or the head row names another", () =>
      Effect.gen(function*() {
        const chats = yield* Chats
        const sql = yield* PgClient.PgClient
        const messages = (n: number) => Array.from({ length: 50 + n }, (_, i) => `message ${i}`)
        for (const n of [1, 2, 3]) yield* chats.append({ threadId: "t", state: messages(n) })
        const gone = { _tag: "StateDecodeError", "reason._tag": "Damaged", threadId: "t", version: 2 } as const
        for (
          const damage of [
            sql`DELETE FROM headless.checkpoints WHERE version = 3`,
            sql`UPDATE headless.checkpoint_threads SET version = 2`
          ]
        ) {
          yield* damage
          assert.nestedInclude(yield* Effect.flip(chats.get("t")), gone)
          assert.nestedInclude(yield* Effect.flip(chats.update("t", (all) => [...all, "another"])), gone)
          assert.nestedInclude(yield* Effect.flip(Stream.runDrain(chats.history("t"))), gone)
        }
        assert.deepStrictEqual(some(yield* chats.get("t", { version: 2 })).state, messages(2))
      }).pipe(Effect.provide(Chats.layer), Effect.provide(pgLayer({ schema: "headless" }))))
  })

  describe("deltas", () => {
    it.effect("a put sends and stores only what changed", () =>
      Effect.gen(function*() {
        const chats = yield* Chats
        const sql = yield* PgClient.PgClient
        const message = "real text, more or less. ".repeat(10)
        const first = yield* chats.append({ threadId: "t", state: Array(200).fill(message) })
        const second = yield* chats.put({ parent: first, state: Array(201).fill(message) })
        yield* chats.append({ threadId: "t", state: Array(202).fill(message) })
        yield* chats.update("t", (messages) => [...messages, message])
        // A version of another process is not cached, but its parent is.
        yield* chats.put({ parent: { ...second, version: 4, checkpointId: "unknown" }, state: [] }).pipe(Effect.flip)
        const rows = yield* sql`
          SELECT format, payload_bytes < 400 AS small, state_bytes > 50000 AS large, keyframe_version::float8 AS keyframe
            FROM deltas.checkpoints ORDER BY version`
        assert.deepStrictEqual(rows, [
          { format: 1, small: false, large: true, keyframe: 1 },
          ...[2, 3, 4].map(() => ({ format: 3, small: true, large: true, keyframe: 1 }))
        ])
        const [head] = yield* sql`
          SELECT keyframe_version::float8 AS keyframe FROM deltas.checkpoint_threads`
        assert.deepStrictEqual(head, { keyframe: 1 })
      }).pipe(Effect.provide(Chats.layer), Effect.provide(pgLayer({ schema: "deltas" }))))

    it.effect.prop(
      "the view checkpoint_states has the state of each version as the service reads it",
      [Arbitrary.array(Arbitrary.all([Arbitrary.schema(Schema.Json), Arbitrary.schema(Schema.String)]), {
        minLength: 2,
        maxLength: 12
      })],
      ([parts]) =>
        Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          const sql = yield* PgClient.PgClient
          yield* checkpointer.deleteThread("t")
          const filler = "filler ".repeat(100)
          const keys = ["", "/", "~", "a/b~c", "0", "-", "__proto__"]
          for (const i of parts.keys()) {
            const state = {
              filler,
              list: parts.slice(i % 3, i + 1).map(([json]) => json),
              ...Object.fromEntries(
                parts.slice(0, i + 1).map(([json, text], k) => [keys[k % 7]! + text, [json, k - i]])
              )
            }
            yield* checkpointer.append({ threadId: "t", state })
          }
          const rows = yield* sql<{ readonly version: number; readonly state: Schema.Json }>`
            SELECT version::float8 AS version, state FROM "in SQL".checkpoint_states ORDER BY version`
          assert.strictEqual(rows.length, parts.length)
          for (const { state, version } of rows) {
            // Text that jsonb cannot hold is escaped in the view, as it is stored.
            const read = some(yield* checkpointer.get("t", { version })).state
            if (!/\\u0000|\\u001a|\\ud[89a-f]/.test(JSON.stringify(read))) assert.deepStrictEqual(state, read)
          }
        }).pipe(Effect.provide(pgLayer({ schema: "in SQL" }))),
      { arbitrary: { runs: 40, seed: `view ${process.env["CHECKPOINT_TEST_SEED"]}` } }
    )

    it.effect(
      "a prune that dies halfway leaves every version that is kept, and the next one finishes",
      () =>
        Effect.gen(function*() {
          const chats = yield* Chats
          const checkpointer = yield* Checkpointer.Checkpointer
          const sql = yield* PgClient.PgClient
          const text = "something was said. ".repeat(10)
          const threads = Array.from({ length: 120 }, (_, i) => `thread ${i}`)
          const state = (n: number) => Array.from({ length: 20 + n }, (_, i) => `${i} ${text}`)
          yield* Effect.forEach(
            threads,
            (threadId) => Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], (n) => chats.append({ threadId, state: state(n) })),
            { concurrency: 8 }
          )
          yield* chats.setTags("thread 3", { version: 2 }, ["kept"])
          const kept = Effect.forEach(threads, (threadId) =>
            Effect.gen(function*() {
              for (const n of [6, 7, 8]) {
                assert.deepStrictEqual(some(yield* chats.get(threadId, { version: n })).state, state(n))
              }
            }), { concurrency: 8 })
          const policy = { maxVersions: 3, compact: true }
          for (const death of ["interrupted", "connection killed"] as const) {
            const pruning = yield* Effect.forkChild(Effect.exit(checkpointer.prune(policy)))
            yield* waitFor(sql`SELECT FROM dying.checkpoint_leases`)
            if (death === "interrupted") yield* Fiber.interrupt(pruning)
            else {
              yield* sql`
              SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE pid <> pg_backend_pid() AND datname = current_database()`
              yield* Fiber.join(pruning)
            }
            yield* kept
            yield* sql`DELETE FROM dying.checkpoint_leases`
          }
          yield* checkpointer.prune(policy)
          yield* kept
          assert.deepStrictEqual(some(yield* chats.get("thread 3", { version: 2 })).state, state(2))
          const [rows] = yield* sql`SELECT count(*)::float8 AS rows FROM dying.checkpoints`
          assert.deepStrictEqual(rows, { rows: 120 * 3 + 1 })
          // The next version still continues its chain.
          const next = yield* chats.append({ threadId: "thread 3", state: state(9) })
          assert.deepStrictEqual(some(yield* chats.get("thread 3", { version: 9 })).state, state(9))
          assert.strictEqual(next.version, 9)
        }).pipe(Effect.provide(Chats.layer), Effect.provide(pgLayer({ schema: "dying" }))),
      60_000
    )

    it.effect("the bytes of pruned versions are removed when their chain ends, or at once with compact", () =>
      Effect.gen(function*() {
        const chats = yield* Chats
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const text = "something was said. ".repeat(10)
        const state = (n: number) => Array.from({ length: 30 + n }, (_, i) => `${i} ${text}`)
        const rows = Effect.map(
          sql<{ readonly rows: number }>`SELECT count(*)::float8 AS rows FROM following.checkpoints`,
          ([row]) => row!.rows
        )
        for (let n = 1; n <= 12; n++) yield* chats.append({ threadId: "t", state: state(n) })
        assert.strictEqual((yield* checkpointer.prune({ maxVersions: 2 })).versions, 10)
        assert.isAbove(yield* rows, 2)
        for (let n = 13; n <= 60; n++) {
          yield* chats.append({ threadId: "t", state: state(n) })
          yield* checkpointer.prune({ maxVersions: 2 })
        }
        const whole = JSON.stringify(state(60)).length
        const [{ bytes } = { bytes: 0 }] = yield* sql<{ readonly bytes: number }>`
          SELECT sum(payload_bytes)::float8 AS bytes FROM following.checkpoints`
        assert.isBelow(bytes, 3 * whole)
        yield* chats.append({ threadId: "t", state: state(61) })
        yield* checkpointer.prune({ maxVersions: 2 })
        assert.isAbove(yield* rows, 2)
        // A compacting prune removes the bytes that earlier ones left, even if no version is due.
        const planned = yield* checkpointer.prune({ maxVersions: 2, compact: true }, { dryRun: true })
        const done = yield* checkpointer.prune({ maxVersions: 2, compact: true })
        assert.deepStrictEqual({ ...done, dryRun: true, duration: planned.duration }, planned)
        assert.strictEqual(done.versions, 0)
        assert.isAbove(done.bytes, 0)
        assert.strictEqual(yield* rows, 2)
        assert.deepStrictEqual(some(yield* chats.get("t", { version: 60 })).state, state(60))
        assert.deepStrictEqual(some(yield* chats.get("t")).state, state(61))
      }).pipe(Effect.provide(Chats.layer), Effect.provide(pgLayer({ schema: "following" }))))
  })

  describe("poolers", () => {
    it.effect("every statement can have its own connection and be unprepared, since nothing is kept in a session", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const checkpointer = yield* Checkpointer.Checkpointer
        const first = yield* counters.append({ threadId: "t", state: { count: 1 } })
        yield* counters.put({ parent: first, state: { count: 2 } })
        yield* counters.update("t", ({ count }) => ({ count: count + 1 }))
        assert.strictEqual((yield* Stream.runCollect(counters.history("t"))).length, 3)
        assert.strictEqual((yield* checkpointer.prune({ maxVersions: 1 })).versions, 2)
        assert.strictEqual((yield* Stream.runCollect(counters.threads())).length, 1)
        assert.strictEqual(yield* counters.deleteThread("t"), 1)
      }).pipe(Effect.provide(inSchema("pooler", {}, { prepare: false, connectionTTL: 0 }))))

    it.effect("name transforms of the client do not change our tables", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        yield* counters.append({ threadId: "t", state: { count: 1 }, metadata: { snake_case: 1, camelCase: 2 } })
        const { metadata } = some(yield* counters.get("t"))
        assert.deepStrictEqual(metadata, { snake_case: 1, camelCase: 2 })
      }).pipe(Effect.provide(inSchema("Transformed", {}, {
        transformQueryNames: (name) => name.toLowerCase(),
        transformResultNames: (name) => name.toUpperCase(),
        transformJson: true
      }))))
  })

  describe("failures", () => {
    const never = { retry: neverAgain }

    it.effect("an unreachable server, a wrong password, a missing role and a missing database have errors that name them", () =>
      Effect.gen(function*() {
        const { url } = yield* Database
        const elsewhere = new URL(Redacted.value(url))
        elsewhere.port = "1"
        const otherDatabase = new URL(Redacted.value(url))
        otherDatabase.pathname = "/no_such_database"
        const cases = [
          [Redacted.make(elsewhere.toString()), "Unavailable", "server runs"],
          [withUser(url, "no_such_role", "top-secret-1"), "Authentication", "user name"],
          [withUser(url, "postgres", "top-secret-1"), "Authentication", "password"],
          [Redacted.make(otherDatabase.toString()), "Rejected", "create the database"]
        ] as const
        for (const [target, reason, advice] of cases) {
          const error = yield* Effect.flip(
            Effect.scoped(
              Layer.build(PgCheckpointer.layerWith(never).pipe(Layer.provide(PgClient.layer({ url: target }))))
            )
          )
          assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": reason, outcome: "NotApplied" })
          assert.include(error.message, advice)
        }
      }))

    it.effect("an operation on a full pool is PoolExhausted, and nothing is sent", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const holding = yield* Latch.make()
        const holder = yield* Effect.forkChild(sql.withTransaction(Effect.andThen(holding.open, Effect.never)))
        yield* holding.await
        for (
          const operation of [
            counters.append({ threadId: "t", state: { count: 1 } }),
            counters.get("t"),
            counters.deleteThread("t"),
            checkpointer.prune({ maxVersions: 1 })
          ]
        ) {
          const error = yield* Effect.flip<unknown, unknown, never>(operation)
          assert.nestedInclude(error, {
            _tag: "StoreError",
            "reason._tag": "PoolExhausted",
            outcome: "NotApplied",
            isRetryable: true
          })
        }
        yield* Fiber.interrupt(holder)
        assert.strictEqual((yield* counters.get("t"))._tag, "None")
      }).pipe(Effect.provide(inSchema("full", { ...never, acquireTimeout: "200 millis" }, { maxConnections: 1 }))))

    it.effect("a statement that waits too long is a Timeout with an unknown outcome, and the client stays usable", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const sql = yield* PgClient.PgClient
        yield* counters.append({ threadId: "t", state: { count: 1 } })
        const holding = yield* Latch.make()
        const holder = yield* Effect.forkChild(sql.withTransaction(
          Effect.andThen(
            counters.append({ threadId: "t", state: { count: 2 } }),
            Effect.andThen(holding.open, Effect.never)
          )
        ))
        yield* holding.await
        const error = yield* Effect.flip(counters.append({ threadId: "t", state: { count: 3 } }))
        assert.nestedInclude(error, {
          _tag: "StoreError",
          "reason._tag": "Timeout",
          outcome: "Unknown",
          isRetryable: true
        })
        yield* Fiber.interrupt(holder)
        assert.strictEqual((yield* counters.append({ threadId: "t", state: { count: 4 } })).version, 2)
      }).pipe(Effect.provide(inSchema("slow", { ...never, statementTimeout: "300 millis" }))))

    it.effect("only one prune with the same policy runs at a time, and the lease of one that died expires", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        yield* sql`INSERT INTO leased.checkpoint_leases 
          VALUES ('prune {"maxVersions":1,"compact":false}', 'another process', now() + interval '1 minute')`
        const error = yield* Effect.flip(checkpointer.prune({ maxVersions: 1 }))
        assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "PruneRunning" })
        yield* checkpointer.prune({ maxVersions: 1 }, { dryRun: true })
        for (
          const other of [{ maxVersions: 2 }, { maxVersions: 1, namespace: "a" }, { maxVersions: 1, compact: true }]
        ) {
          yield* checkpointer.prune(other)
        }
        yield* sql`UPDATE leased.checkpoint_leases SET expires_at = now() - interval '1 second'`
        yield* checkpointer.prune({ maxVersions: 1 })
        assert.strictEqual((yield* sql`SELECT FROM leased.checkpoint_leases`).length, 0)
      }).pipe(Effect.provide(inSchema("leased", never))))

    it.effect("a lease of a prune that would end later than any lease can, by a clock that was wrong, is taken over", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        yield* sql`
          INSERT INTO skewed.checkpoint_leases
          VALUES ('prune {"maxVersions":1,"compact":false}', 'another process', now() + interval '1 hour')`
        assert.strictEqual((yield* checkpointer.prune({ maxVersions: 1 })).versions, 0)
        assert.strictEqual((yield* sql`SELECT FROM skewed.checkpoint_leases`).length, 0)
      }).pipe(Effect.provide(inSchema("skewed", never))))

    it.effect("a prune larger than its batches removes exactly what is due", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        yield* sql`
          INSERT INTO batches.checkpoint_threads (
            thread_id, namespace, version, checkpoint_id, write_id, keyframe_version, step_version, unfinished, interrupted,
            active_at, updated_at, created_at
          )
          SELECT 'thread ' || i, '', CASE WHEN i = 7 THEN 3500 ELSE 5 END, 'x', md5(i::text)::uuid, 1, 1, FALSE, FALSE, now(), now(),
                 now() - interval '2 days'
            FROM generate_series(1, 250) i`
        yield* sql`
          INSERT INTO batches.checkpoints (
            thread_id, namespace, version, keyframe_version, step_version, created_at, payload_bytes, state_bytes, format, checkpoint_id, next_nodes,
            metadata, payload
          )
          SELECT t.thread_id, '', v, v, v, now() - CASE WHEN v <= t.version - 3 THEN interval '1 day' ELSE '0' END, 2, 2, 1,
                 v::text, '[]', '{}', '{}'
            FROM batches.checkpoint_threads t, LATERAL generate_series(1, t.version) v`
        for (const [policy, each, long] of [[{ maxAge: "12 hours" }, 2, 3497], [{ maxVersions: 1 }, 2, 2]] as const) {
          const planned = yield* checkpointer.prune(policy, { dryRun: true })
          const done = yield* checkpointer.prune(policy)
          assert.deepStrictEqual({ ...planned, dryRun: false, duration: done.duration }, done)
          assert.strictEqual(done.threads.length, 250)
          assert.strictEqual(done.versions, 249 * each + long)
          assert.strictEqual(done.bytes, 2 * done.versions)
          assert.strictEqual((yield* checkpointer.prune(policy)).versions, 0)
        }
        const [left] = yield* sql`SELECT count(*)::float8 AS rows FROM batches.checkpoints`
        assert.deepStrictEqual(left, { rows: 250 })
        yield* age("batches")("3 days")
        const idle = yield* checkpointer.prune({ idleThreads: "2 days" })
        assert.include(idle, { versions: 250, threadsDeleted: 250 })
        assert.strictEqual((yield* sql`SELECT FROM batches.checkpoint_threads`).length, 0)
      }).pipe(Effect.provide(inSchema("batches"))))
  })

  describe("configuration", () => {
    const build = (env: Record<string, string>, options?: PgCheckpointer.EnvOptions) =>
      Effect.scoped(Effect.gen(function*() {
        const scope = yield* Scope.Scope
        return yield* Layer.buildWithScope(
          PgCheckpointer.layerEnvWith({ retry: neverAgain, ...options }),
          scope
        ).pipe(
          Effect.flatMap((context) =>
            Effect.provideContext(
              Effect.all({
                client: PgClient.PgClient,
                saved: Effect.flatMap(
                  Checkpointer.Checkpointer,
                  (checkpointer) => checkpointer.append({ threadId: "t", state: 1 })
                )
              }),
              context
            )
          ),
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
        )
      }))

    it.effect("DATABASE_URL is enough, and its pool_max_size is used and removed", () =>
      Effect.gen(function*() {
        const url = Redacted.value((yield* Database).url)
        const { client } = yield* build({ DATABASE_URL: `${url}?pool_max_size=7`, CHECKPOINT_SCHEMA: "from_config" })
        assert.strictEqual((client.config as PgClient.PgPoolConfig).maxConnections, 7)
        // Postgres would take it for a setting of the session.
        assert.isUndefined(client.config.url)
        const other = yield* build({ DATABASE_URL: url, DATABASE_POOL_MAX_SIZE: "3", CHECKPOINT_SCHEMA: "from_config" })
        assert.strictEqual((other.client.config as PgClient.PgPoolConfig).maxConnections, 3)
        assert.strictEqual(other.saved.version, 2)
      }))

    it.effect("the variables of libpq are enough, and DATABASE_URL takes precedence over them", () =>
      Effect.gen(function*() {
        const url = new URL(Redacted.value((yield* Database).url))
        const settings = {
          PGHOST: url.hostname,
          PGPORT: url.port,
          PGUSER: decodeURIComponent(url.username),
          PGPASSWORD: decodeURIComponent(url.password),
          PGDATABASE: url.pathname.slice(1)
        }
        yield* build(settings, { schema: "libpq" })
        yield* build({ ...settings, PGHOST: "unreachable.invalid", PGPORT: "1", DATABASE_URL: url.toString() }, {
          schema: "libpq"
        })
        const { password } = url
        url.password = ""
        yield* build({ DATABASE_URL: url.toString(), PGPASSWORD: decodeURIComponent(password) }, { schema: "libpq" })
      }))

    it.effect("layerConfig reads variables that the program names, and errors name the one that is missing or wrong", () =>
      Effect.gen(function*() {
        const { url } = yield* Database
        const live = PgCheckpointer.layerConfig({
          client: { url: Config.Redacted("ORDERS_URL"), maxConnections: Config.Int("ORDERS_POOL") },
          schema: Config.String("ORDERS_SCHEMA"),
          retry: Config.succeed(neverAgain)
        })
        const start = (env: Record<string, string>) =>
          Effect.gen(function*() {
            const checkpointer = yield* Checkpointer.Checkpointer
            const sql = yield* PgClient.PgClient
            yield* checkpointer.append({ threadId: "t", state: 1 })
            const rows = yield* sql`SELECT FROM orders.checkpoint_threads`
            return { rows: rows.length, pool: (sql.config as PgClient.PgPoolConfig).maxConnections }
          }).pipe(
            Effect.provide(Layer.fresh(live)),
            Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
          )
        const env = { ORDERS_URL: Redacted.value(url), ORDERS_POOL: "3", ORDERS_SCHEMA: "orders" }
        assert.deepStrictEqual(yield* start(env), { rows: 1, pool: 3 })
        const { ORDERS_SCHEMA: _, ...incomplete } = env
        const missing = yield* Effect.flip(start(incomplete))
        assert.strictEqual(missing._tag, "ConfigError")
        assert.include(missing.message, "ORDERS_SCHEMA")
        const wrong = yield* Effect.flip(start({ ...env, ORDERS_POOL: "0" }))
        assert.nestedInclude(wrong, { _tag: "InvalidInput", field: "client.maxConnections" })
      }))

    it.effect("an error about a setting does not show its value", () =>
      Effect.gen(function*() {
        const url = "postgresql://user:top-secret@127.0.0.1:5432/db"
        const logs: Array<string> = []
        const logger = Logger.make(({ cause, message }) => {
          logs.push(inspect(message), inspect(cause))
        })
        const cases = [
          [{ DATABASE_URL: `${url}?pool_max_size=0` }, "InvalidInput"],
          [{ DATABASE_URL: `${url}?pool_max_size=many` }, "InvalidInput"],
          [{ DATABASE_URL: url, DATABASE_POOL_MAX_SIZE: "1.5" }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user:top-secret@[bad" }, "InvalidInput"],
          [{ DATABASE_URL: "mysql://user:top-secret@127.0.0.1/db" }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user:top-secret@127.0.0.1:1/db" }, "StoreError"],
          [{ PGHOST: "127.0.0.1", PGPORT: "99999999", PGPASSWORD: "top-secret" }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user:top-secret%@127.0.0.1/db" }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user:top-secret/@127.0.0.1/db" }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user:top-secret@one,two/db" }, "InvalidInput"],
          [{ DATABASE_URL: `${url}?sslmode=no-verify` }, "InvalidInput"],
          [{ DATABASE_URL: `${url}?sslmode=verify-full&sslrootcert=/none&sslpassword=top-secret` }, "InvalidInput"],
          [{ DATABASE_URL: `${url}?connect_timeout=soon` }, "InvalidInput"],
          [{ DATABASE_URL: "postgresql://user@127.0.0.1:1/db", PGPASSWORD: "top-secret" }, "StoreError"]
        ] as const
        for (const [env, tag] of cases) {
          const [exit, statements] = yield* statementsOf(Effect.exit(build(env)))
          assert.isTrue(Exit.isFailure(exit))
          const error = yield* Effect.flip(exit)
          assert.strictEqual(error._tag, tag, error.message)
          yield* Effect.logError("build failed", error, exit).pipe(Effect.provide(Logger.layer([logger])))
          for (
            const text of [
              error.message,
              String(error),
              JSON.stringify(error),
              JSON.stringify(exit),
              inspect(error),
              inspect(exit),
              ...statements,
              ...logs
            ]
          ) {
            assert.notInclude(text, "top-secret")
          }
        }
        assert.isAbove(logs.length, 0)
      }))
  })
})
