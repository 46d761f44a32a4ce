import { Checkpointer } from "@effect-checkpoint/core"
import type { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Latch, Logger, Result, Schedule } from "effect"
import { Database, pgLayer, some, statementsOf } from "./support.ts"

const text = "something was said. ".repeat(10)

/** Grows by a message at a time, so that all versions but the first are deltas. */
const state = (version: number): ReadonlyArray<string> => Array.from({ length: 30 + version }, (_, i) => `${i} ${text}`)

const grow = (threadId: string, versions: number) =>
  Checkpointer.Checkpointer.use((checkpointer) =>
    Effect.forEach(
      Array.from({ length: versions }, (_, i) => i + 1),
      (version) => checkpointer.append({ threadId, state: [...state(version)] }),
      { discard: true }
    )
  )

const stateOf = (threadId: string, version: number) =>
  Checkpointer.Checkpointer.use((checkpointer) =>
    Effect.map(checkpointer.get(threadId, { version }), (checkpoint) => some(checkpoint).state)
  )

/** Asks again until there is a row. */
const waitFor = <E, R>(query: Effect.Effect<ReadonlyArray<unknown>, E, R>) =>
  Effect.repeat(query, { until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") })

/** Who waits for a lock in this database. */
const blocked = PgClient.PgClient.use((sql) =>
  // A lock on a row has no database, but its waiter has others that do.
  sql`
    SELECT waiting.pid
      FROM pg_locks waiting
      JOIN pg_locks other USING (pid)
      JOIN pg_database d ON d.oid = other.database
     WHERE NOT waiting.granted AND d.datname = current_database()`
)

const warnings = (into: Array<string>) =>
  Logger.layer([Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") into.push(String(message))
  })])

// Servers answer in real time.
layer(Database.layer, { excludeTestServices: true })("retention on Postgres", (it) => {
  const inSchema = (schema: string, options?: PgCheckpointer.Options) => pgLayer({ ...options, schema })

  it.effect("a prune removes the questions of steps that cannot be read any more, also of those that were tagged, and in batches", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      const asked = Effect.map(
        sql<{ readonly step: number }>`
          SELECT step_version::float8 AS step FROM questions.checkpoint_questions ORDER BY step_version`,
        (rows) => rows.map(({ step }) => step)
      )
      const append = (state: number) =>
        checkpointer.append({ threadId: "t", state, pendingInterrupts: [{ interruptId: "i", request: state }] })
      // More than one transaction removes.
      for (let version = 1; version <= 1050; version++) yield* append(version)
      yield* checkpointer.update("t", () => "another version of the step")
      yield* checkpointer.setTags("t", { version: 7 }, ["kept"])
      yield* checkpointer.prune({ maxVersions: 1 })
      assert.deepStrictEqual(yield* asked, [7, 1050])
      yield* append(1052)
      yield* checkpointer.setTags("t", { version: 7 }, [])
      assert.deepStrictEqual(yield* asked, [7, 1050, 1052])
      yield* checkpointer.prune({ maxVersions: 1 })
      assert.deepStrictEqual(yield* asked, [1052])
    }).pipe(Effect.provide(inSchema("questions"))))

  it.effect("a thread can be put upon while its states are folded and rewritten", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* grow("t", 8)
      yield* checkpointer.setTags("t", { version: 3 }, ["kept"])
      const holding = yield* Latch.make()
      const release = yield* Latch.make()
      // Whoever rewrites version 3 has to wait, whatever it has locked by then.
      const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT FROM folding.checkpoints WHERE version = 3 FOR UPDATE`
        yield* holding.open
        yield* release.await
      })))
      yield* holding.await
      const pruning = yield* Effect.forkChild(statementsOf(checkpointer.prune({ maxVersions: 2, compact: true })))
      yield* waitFor(blocked)
      const saved = yield* checkpointer.append({ threadId: "t", state: [...state(9)] })
      assert.strictEqual(saved.version, 9)
      yield* release.open
      yield* Fiber.join(holder)
      const [report, statements] = yield* Fiber.join(pruning)
      assert.strictEqual(report.versions, 5)
      for (const statement of statements) assert.notInclude(statement, "checkpoint_fold(")
      for (const version of [3, 7, 8, 9]) assert.deepStrictEqual(yield* stateOf("t", version), state(version))
      const rows = yield* sql`
        SELECT version::float8 AS version, format, keyframe_version::float8 AS keyframe
          FROM folding.checkpoints ORDER BY version`
      assert.deepStrictEqual(rows, [
        { version: 3, format: 1, keyframe: 3 },
        { version: 7, format: 1, keyframe: 7 },
        { version: 8, format: 3, keyframe: 7 },
        { version: 9, format: 3, keyframe: 7 }
      ])
      const [head] = yield* sql`SELECT keyframe_version::float8 AS keyframe FROM folding.checkpoint_threads`
      assert.deepStrictEqual(head, { keyframe: 7 })
    }).pipe(Effect.provide(inSchema("folding", { statementTimeout: "5 seconds" }))))

  it.effect("what is tagged while a thread is compacted stays readable, and nothing more than it needs stays with it", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* grow("t", 8)
      yield* checkpointer.setTags("t", { version: 6 }, ["kept"])
      const holding = yield* Latch.make()
      const release = yield* Latch.make()
      const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT FROM tagging.checkpoints WHERE version = 6 FOR UPDATE`
        yield* holding.open
        yield* release.await
      })))
      yield* holding.await
      const pruning = yield* Effect.forkChild(checkpointer.prune({ maxVersions: 2, compact: true }))
      yield* waitFor(blocked)
      // The fold has gone past it already.
      yield* checkpointer.setTags("t", { version: 4 }, ["late"])
      yield* release.open
      yield* Fiber.join(holder)
      yield* Fiber.join(pruning)
      for (const version of [4, 6, 7, 8]) assert.deepStrictEqual(yield* stateOf("t", version), state(version))
      const rows = yield* sql`SELECT version::float8 AS version FROM tagging.checkpoints ORDER BY version`
      assert.deepStrictEqual(rows.map((row) => row.version), [4, 6, 7, 8])
    }).pipe(Effect.provide(inSchema("tagging"))))

  it.effect("a thread that cannot be compacted is pruned without, and the others are compacted", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      const threads = ["before", "damaged", "locked", "unknown", "within"]
      for (const threadId of threads) yield* grow(threadId, 6)
      yield* sql`UPDATE uneven.checkpoints SET payload = '[{"op": "add"}]' WHERE thread_id = 'damaged' AND version = 2`
      yield* sql`UPDATE uneven.checkpoints SET format = 77 WHERE thread_id = 'unknown' AND version = 2`
      const holding = yield* Latch.make()
      const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`SELECT FROM uneven.checkpoints WHERE thread_id = 'locked' AND version = 5 FOR UPDATE`
        yield* holding.open
        yield* Effect.never
      })))
      yield* holding.await
      const logged: Array<string> = []
      const report = yield* checkpointer.prune({ maxVersions: 2, compact: true }).pipe(
        Effect.provide(warnings(logged))
      )
      yield* Fiber.interrupt(holder)
      assert.deepStrictEqual(
        report.threads.map(({ threadId, versions }) => ({ threadId, versions })),
        threads.map((threadId) => ({ threadId, versions: 4 }))
      )
      const rows = yield* sql<{ readonly thread_id: string; readonly rows: number }>`
        SELECT thread_id, count(*)::float8 AS rows FROM uneven.checkpoints GROUP BY thread_id ORDER BY thread_id`
      assert.deepStrictEqual(rows.map(({ rows }) => rows), [2, 6, 6, 6, 2])
      assert.deepStrictEqual(yield* stateOf("locked", 5), state(5))
      assert.strictEqual(logged.length, 3)
      for (const [i, threadId] of ["damaged", "locked", "unknown"].entries()) assert.include(logged[i], `"${threadId}"`)
      // The lock is gone, so what is left of it goes now.
      assert.deepStrictEqual(
        (yield* checkpointer.prune({ maxVersions: 2, compact: true }).pipe(Effect.provide(warnings([])))).threads.map((
          { threadId, versions }
        ) => ({ threadId, versions })),
        [{ threadId: "locked", versions: 0 }]
      )
      for (const version of [5, 6]) assert.deepStrictEqual(yield* stateOf("locked", version), state(version))
    }).pipe(Effect.provide(inSchema("uneven", { statementTimeout: "300 millis" }))))

  it.effect("a prune removes the rows that earlier ones kept for a tag, when it is gone", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* grow("t", 30)
      yield* checkpointer.setTags("t", { version: 6 }, ["kept"])
      yield* checkpointer.setTags("t", { version: 9 }, ["kept"])
      yield* checkpointer.prune({ maxVersions: 10, compact: true })
      yield* checkpointer.setTags("t", { version: 6 }, [])
      yield* checkpointer.setTags("t", { version: 9 }, [])
      yield* checkpointer.prune({ maxVersions: 5 })
      const left = yield* sql`SELECT version::float8 AS version FROM kept.checkpoints ORDER BY version`
      assert.deepStrictEqual(left.map((row) => row.version), Array.from({ length: 10 }, (_, i) => 21 + i))
    }).pipe(Effect.provide(inSchema("kept"))))

  it.effect("prunes with different policies at the same time leave exactly what all of them keep", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const threads = ["a", "b", "c"]
      for (const threadId of threads) {
        yield* grow(threadId, 30)
        for (const version of [4, 11, 12, 25]) yield* checkpointer.setTags(threadId, { version }, ["kept"])
      }
      const policies = [
        { maxVersions: 20, compact: true },
        { maxVersions: 10 },
        { maxVersions: 5, compact: true },
        { maxVersions: 5, namespace: "", compact: true },
        { maxVersions: 8, namespace: "" }
      ]
      const reports = yield* Effect.forEach(policies, (policy) => checkpointer.prune(policy), {
        concurrency: "unbounded"
      })
      assert.strictEqual(reports.reduce((sum, report) => sum + report.versions, 0), threads.length * (25 - 4))
      for (const threadId of threads) {
        const left = [30, 29, 28, 27, 26, 25, 12, 11, 4]
        assert.deepStrictEqual((yield* checkpointer.listVersions(threadId)).map((info) => info.version), left)
        for (const version of left) assert.deepStrictEqual(yield* stateOf(threadId, version), state(version))
      }
    }).pipe(Effect.provide(inSchema("together"))))

  it.effect("a compacted state is what it was, whatever in it jsonb cannot hold", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      const escapes = ["\u0000", "\ud800", "\u001a", "\u001a0000", "\\u0000"]
      // Of each thread the first, the third or no version has what must be escaped.
      for (const at of [0, 1, 3]) {
        for (const version of [1, 2, 3, 4]) {
          const odd = at > 0 && version >= at ? Object.fromEntries(escapes.map((key) => [key, escapes])) : {}
          yield* checkpointer.append({ threadId: `from ${at}`, state: { messages: [...state(version)], odd } })
        }
      }
      yield* checkpointer.prune({ maxVersions: 1, compact: true })
      const rows = yield* sql`
        SELECT thread_id, format, octet_length(payload::text) >= state_bytes AS exact FROM escaping.checkpoints ORDER BY thread_id`
      assert.deepStrictEqual(rows, [
        { thread_id: "from 0", format: 1, exact: true },
        { thread_id: "from 1", format: 2, exact: true },
        { thread_id: "from 3", format: 2, exact: true }
      ])
      const odd = Object.fromEntries(escapes.map((key) => [key, escapes]))
      for (const at of [0, 1, 3]) {
        assert.deepStrictEqual(yield* stateOf(`from ${at}`, 4), {
          messages: state(4),
          odd: at === 0 ? {} : odd
        } as never)
      }
    }).pipe(Effect.provide(inSchema("escaping"))))

  it.effect("a thread that was begun anew while its lock was waited for is left to the next prune", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* grow("t", 4)
      const holding = yield* Latch.make()
      const anew = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* checkpointer.deleteThread("t")
        yield* grow("t", 3)
        yield* holding.open
        yield* waitFor(blocked)
      })))
      yield* holding.await
      assert.strictEqual((yield* checkpointer.prune({ maxVersions: 1 })).versions, 0)
      yield* Fiber.join(anew)
      assert.strictEqual((yield* checkpointer.listVersions("t")).length, 3)
      assert.strictEqual((yield* checkpointer.prune({ maxVersions: 1 })).versions, 2)
    }).pipe(Effect.provide(inSchema("anew"))))

  it.effect("threads of which nothing is due cost few statements, and the lease is renewed on the way", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      yield* grow("t", 1)
      yield* sql`
        INSERT INTO idle.checkpoint_threads
        SELECT (jsonb_populate_record(t, jsonb_build_object('thread_id', 'thread ' || i))).*
          FROM idle.checkpoint_threads t, generate_series(1, 2500) i`
      const policies = [{ maxVersions: 5 }, { maxAge: "1 day" }, { maxVersions: 5, compact: true }] as const
      for (const policy of policies) {
        const [, planning] = yield* statementsOf(checkpointer.prune(policy, { dryRun: true }))
        assert.strictEqual(planning.length, 3 * 2)
        const [report, statements] = yield* statementsOf(checkpointer.prune(policy))
        assert.strictEqual(report.versions, 0)
        const onLease = statements.filter((statement) => statement.includes("checkpoint_leases"))
        // Taken, renewed with each page and given back.
        assert.strictEqual(onLease.length, 1 + 3 + 1)
        assert.strictEqual(statements.length, onLease.length + planning.length)
      }
    }).pipe(Effect.provide(inSchema("idle"))))

  it.effect("a prune that loses its connection goes on, and one that was taken over ends", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const sql = yield* PgClient.PgClient
      for (const threadId of ["a", "b"]) yield* grow(threadId, 4)
      /** Prunes while somebody holds a row, and does something before they let go of it. */
      const pruneAround = <E, E2, R>(lock: Effect.Effect<unknown, E>, between: Effect.Effect<unknown, E2, R>) =>
        Effect.gen(function*() {
          const holding = yield* Latch.make()
          const release = yield* Latch.make()
          const holder = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
            yield* lock
            yield* holding.open
            yield* release.await
          })))
          yield* holding.await
          const pruning = yield* Effect.forkChild(Effect.result(checkpointer.prune({ maxVersions: 1, compact: true })))
          yield* waitFor(blocked)
          yield* between
          yield* release.open
          yield* Fiber.join(holder)
          return yield* Fiber.join(pruning)
        })
      const lost = yield* pruneAround(
        sql`SELECT FROM interrupted.checkpoint_threads WHERE thread_id = 'b' FOR UPDATE`,
        Effect.flatMap(blocked, ([row]) => sql`SELECT pg_terminate_backend(${String(row!.pid)}::integer)`)
      )
      assert.deepStrictEqual(Result.getOrThrow(lost).threads.map(({ versions }) => versions), [3, 3])

      for (const threadId of ["b", "c"]) yield* grow(threadId, 4)
      const takenOver = yield* pruneAround(
        sql`SELECT FROM interrupted.checkpoints WHERE thread_id = 'b' AND version = 8 FOR UPDATE`,
        sql`UPDATE interrupted.checkpoint_leases SET holder = 'another'`
      )
      assert.nestedInclude(yield* Effect.flip(Effect.fromResult(takenOver)), { "reason._tag": "PruneRunning" })
      assert.strictEqual((yield* checkpointer.listVersions("c")).length, 4)
    }).pipe(Effect.provide(inSchema("interrupted"))))
})
