import { Checkpointer } from "@effect-checkpoint/core"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Latch, Layer, Schedule, Stream } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import { age, Database, held, inQuickRuns, isThorough, pgLayer, waiting } from "./support.ts"

/*
 * Runs everything in databases whose transactions are repeatable read or serializable by default. There a statement sees
 * what was committed before it began, even if it had to wait since, and may fail for what another one has done.
 */

const asks = (...ids: ReadonlyArray<string>) => ids.map((interruptId) => ({ interruptId, request: null }))

const once = { retry: Schedule.recurs(0) }

for (const level of ["read committed", "repeatable read", "serializable"]) {
  const isolated = Layer.provideMerge(Database.layerWith({ default_transaction_isolation: `'${level}'` }))

  // The laws at the usual level are in laws.test.ts.
  if (level !== "read committed") {
    CheckpointerLaws.laws({
      name: `where transactions are ${level} by default`,
      layer: isolated(pgLayer()),
      age: age(),
      runs: 10,
      ...inQuickRuns("writing", "concurrency", "branching", "steps", "questions", "store")
    })

    // The stricter one is enough for graphs.
    if (isThorough || level === "serializable") {
      StateGraphLaws.laws({
        name: `graphs where transactions are ${level} by default`,
        layer: isolated(pgLayer()),
        runs: 5
      })
    }
  }

  layer(isolated(pgLayer(once)), { excludeTestServices: true })(`isolation that is ${level} by default`, (it) => {
    it.effect(`where transactions are ${level} by default, operations that wait for each other succeed without another attempt`, () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const first = yield* checkpointer.append({ threadId: "t", state: 1 })
        const commit = yield* held(checkpointer.append({ threadId: "t", state: 2 }))
        const waited = yield* waiting(Effect.all([
          checkpointer.append({ threadId: "t", state: 3 }),
          checkpointer.setTags("t", { version: 1 }, ["tag"]),
          Effect.flip(checkpointer.put({ parent: first, state: 3 })),
          checkpointer.update("t", (state) => ({ updated: state }))
        ], { concurrency: "unbounded" }))
        yield* commit
        const [appended, tagged, conflict] = yield* Fiber.join(waited)
        assert.isAbove(appended.version, 2)
        assert.deepStrictEqual(tagged.tags, ["tag"])
        assert.strictEqual(conflict._tag, "VersionConflict")
        assert.strictEqual((yield* checkpointer.listVersions("t")).length, 4)
      }))

    it.effect(`where transactions are ${level} by default, answers that wait for each other succeed, and the last one finds none open`, () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const first = yield* checkpointer.append({
          threadId: "asked",
          state: 1,
          pendingInterrupts: asks("a", "b", "c")
        })
        const commit = yield* held(checkpointer.answer("asked", { a: 1 }))
        const waited = yield* waiting(Effect.all([
          checkpointer.answer("asked", { b: 1 }),
          checkpointer.answer("asked", { c: 1 }),
          checkpointer.ask(first, asks("a", "b"))
        ], { concurrency: "unbounded" }))
        yield* commit
        const [b, c] = yield* Fiber.join(waited)
        assert.sameMembers([b.length, c.length], [0, 1])
        assert.lengthOf(yield* Stream.runCollect(checkpointer.threads({ interrupted: true })), 0)
      }))

    it.effect(`where transactions are ${level} by default, a deletion that waited for pending writes removes them`, () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const start = { threadId: "deleted", checkpointId: "start", state: 1 }
        const first = yield* checkpointer.create(start)
        const commit = yield* held(checkpointer.savePendingWrites(first, { task: "of the old thread" }))
        const deleting = yield* waiting(checkpointer.deleteThread("deleted"))
        yield* commit
        assert.strictEqual(yield* Fiber.join(deleting), 1)
        assert.deepStrictEqual(yield* checkpointer.pendingWrites(yield* checkpointer.create(start)), {})
      }))

    it.effect(`where transactions are ${level} by default, a prune that waited for pending writes removes them`, () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const checkpointer = yield* Checkpointer.Checkpointer
        const first = yield* checkpointer.create({ threadId: "idle", state: 1 })
        yield* age()("2 days")
        const commit = yield* held(checkpointer.savePendingWrites(first, { task: "of the idle thread" }))
        const pruning = yield* waiting(checkpointer.prune({ idleThreads: "1 day" }))
        yield* commit
        yield* Fiber.join(pruning)
        assert.deepStrictEqual(
          yield* sql`SELECT task FROM effect_checkpoint.checkpoint_pending_writes WHERE thread_id = 'idle'`,
          []
        )
      }))
  })
}

layer(pgLayer(once).pipe(Layer.provideMerge(Database.layer)), { excludeTestServices: true })(
  "isolation of a caller",
  (it) => {
    for (const level of ["REPEATABLE READ", "SERIALIZABLE"]) {
      it.effect(`a caller's transaction that is ${level} and does not see an answer that was saved since it began can neither answer, ask nor save`, () =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const checkpointer = yield* Checkpointer.Checkpointer
          const threadId = `asked ${level}`
          const first = yield* checkpointer.append({ threadId, state: 1, pendingInterrupts: asks("a", "b", "c") })
          const step = { change: "Continues" } as const
          const writes = [
            ["a", checkpointer.answer(threadId, { c: 1 })],
            ["b", checkpointer.ask(first, asks("b"))],
            ["c", checkpointer.put({ parent: first, state: 2, pendingInterrupts: asks("c"), step })]
          ] as const
          for (const [interruptId, write] of writes) {
            const begun = yield* Latch.make()
            const answered = yield* Latch.make()
            const writing = yield* Effect.forkChild(
              sql.withTransaction(Effect.gen(function*() {
                yield* sql`SELECT 1`
                yield* begun.open
                yield* answered.await
                return yield* Effect.asVoid<unknown, unknown, never>(write)
              })).pipe(Effect.provideService(BeginTransaction, `BEGIN ISOLATION LEVEL ${level}`))
            )
            yield* begun.await
            yield* checkpointer.answer(threadId, { [interruptId]: 1 })
            yield* answered.open
            assert.nestedInclude(yield* Effect.result(Fiber.join(writing)), {
              _tag: "Failure",
              "failure.reason._tag": "Contention",
              "failure.outcome": "NotApplied"
            })
          }
          const { questions } = yield* checkpointer.step(first)
          assert.deepStrictEqual(questions.map(({ answer }) => answer?.response), [1, 1, 1])
          assert.lengthOf(yield* Stream.runCollect(checkpointer.threads({ interrupted: true })), 0)
        }))

      it.effect(`a caller's transaction that is ${level} and deletes a thread leaves no pending writes that were saved since it began`, () =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const checkpointer = yield* Checkpointer.Checkpointer
          const first = yield* checkpointer.create({ threadId: level, state: 1 })
          const begun = yield* Latch.make()
          const saved = yield* Latch.make()
          const deleting = yield* Effect.forkChild(
            sql.withTransaction(Effect.gen(function*() {
              // From here on, the transaction does not see what others commit.
              yield* sql`SELECT 1`
              yield* begun.open
              yield* saved.await
              return yield* checkpointer.deleteThread(level)
            })).pipe(Effect.provideService(BeginTransaction, `BEGIN ISOLATION LEVEL ${level}`))
          )
          yield* begun.await
          yield* checkpointer.savePendingWrites(first, { task: 1 })
          yield* saved.open
          assert.nestedInclude(yield* Effect.result(Fiber.join(deleting)), {
            _tag: "Failure",
            "failure.reason._tag": "Contention",
            "failure.outcome": "NotApplied"
          })
          assert.deepStrictEqual(yield* checkpointer.pendingWrites(first), { task: 1 })
          assert.strictEqual(yield* checkpointer.deleteThread(level), 1)
          assert.deepStrictEqual(yield* sql`SELECT FROM effect_checkpoint.checkpoint_pending_writes`, [])
        }))
    }
  }
)
