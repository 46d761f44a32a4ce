import { type Checkpoint, Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schedule, type Scope, Stream } from "effect"
import { clientLayer, Database, held, pgLayer, some, waiting } from "./support.ts"

/** Provides the service. Background fibers end before its connections are closed. */
const within =
  (options: PgCheckpointer.Options) =>
  <A, E>(effect: Effect.Effect<A, E, Checkpointer.Checkpointer | PgClient.PgClient | Scope.Scope>) =>
    Effect.provide(Effect.scoped(effect), pgLayer(options))

const asks = (...ids: ReadonlyArray<string>) => ids.map((interruptId) => ({ interruptId, request: null }))

const answersOf = (version: Checkpoint.CheckpointRef) =>
  Checkpointer.Checkpointer.use((checkpointer) => checkpointer.step(version)).pipe(
    Effect.map(({ questions }) =>
      Object.fromEntries(questions.map(({ answer, interruptId }) => [interruptId, answer?.response]))
    )
  )

const waitingThreads = Checkpointer.Checkpointer.use((checkpointer) =>
  Stream.runCount(checkpointer.threads({ interrupted: true }))
)

const list = (length: number) => Array.from({ length }, (_, i) => `${i} ${"x".repeat(50)}`)

// A server answers in real time.
layer(Database.layer, { excludeTestServices: true })("locks of a thread", (it) => {
  it.effect("setTags waits for a prune, and does not bring back a version that it removed", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      // Version 1 stays as a row, since version 2 is stored as a change of it.
      yield* checkpointer.append({ threadId: "t", state: list(100) })
      yield* checkpointer.append({ threadId: "t", state: list(101) })
      const commit = yield* held(checkpointer.prune({ maxVersions: 1 }))
      const tagging = yield* waiting(Effect.flip(checkpointer.setTags("t", { version: 1 }, ["tag"])))
      const report = yield* commit
      assert.deepStrictEqual(report.threads.map((thread) => thread.versions), [1])
      assert.strictEqual((yield* Fiber.join(tagging))._tag, "CheckpointNotFound")
      assert.strictEqual((yield* checkpointer.get("t", { version: 1 }))._tag, "None")
      assert.strictEqual((yield* checkpointer.get("t", { tag: "tag" }))._tag, "None")
    }).pipe(within({ schema: "tag_prune" })))

  it.effect("setTags keeps a prune waiting, and the prune leaves the version that it tagged", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: 1 })
      yield* checkpointer.append({ threadId: "t", state: 2 })
      const commit = yield* held(checkpointer.setTags("t", { version: 1 }, ["tag"]))
      const pruning = yield* waiting(checkpointer.prune({ maxVersions: 1 }))
      yield* commit
      assert.deepStrictEqual((yield* Fiber.join(pruning)).threads, [])
      assert.strictEqual(some(yield* checkpointer.get("t", { tag: "tag" })).state, 1)
    }).pipe(within({ schema: "prune_tag" })))

  it.effect("savePendingWrites waits for a deletion, and leaves nothing to a later thread of the same id", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const start = { threadId: "t", checkpointId: "start", state: 1 }
      const first = yield* checkpointer.create(start)
      const commit = yield* held(checkpointer.deleteThread("t"))
      const saving = yield* waiting(Effect.flip(checkpointer.savePendingWrites(first, { task: "of the old thread" })))
      assert.strictEqual(yield* commit, 1)
      assert.strictEqual((yield* Fiber.join(saving))._tag, "CheckpointNotFound")
      assert.deepStrictEqual(yield* checkpointer.pendingWrites(yield* checkpointer.create(start)), {})
    }).pipe(within({ schema: "save_delete" })))

  it.effect("savePendingWrites keeps a deletion waiting, which then removes what it saved", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const start = { threadId: "t", checkpointId: "start", state: 1 }
      const first = yield* checkpointer.create(start)
      const commit = yield* held(checkpointer.savePendingWrites(first, { task: "of the old thread" }))
      const deleting = yield* waiting(checkpointer.deleteThread("t"))
      yield* commit
      assert.strictEqual(yield* Fiber.join(deleting), 1)
      assert.deepStrictEqual(yield* checkpointer.pendingWrites(yield* checkpointer.create(start)), {})
    }).pipe(within({ schema: "delete_save" })))

  it.effect("savePendingWrites does not wait for a put in an open transaction, nor does the put wait for it", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1 })
      const step = { change: "Continues" } as const
      const commitPut = yield* held(checkpointer.put({ parent: first, state: 2, step }))
      const commitSave = yield* held(checkpointer.savePendingWrites(first, { task: 1 }))
      const second = yield* commitPut
      const third = yield* checkpointer.put({ parent: second, state: 3, step })
      yield* commitSave
      assert.deepStrictEqual(yield* checkpointer.pendingWrites(third), { task: 1 })
    }).pipe(within({ schema: "save_put", statementTimeout: "5 seconds", retry: Schedule.recurs(0) })))

  it.effect("savePendingWrites for a step that ends at this moment leaves nothing to the next step, and what is left goes with that", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const stored = sql`SELECT task FROM put_save.checkpoint_pending_writes`
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1 })
      const commit = yield* held(checkpointer.savePendingWrites(first, { task: 1 }))
      const second = yield* checkpointer.put({ parent: first, state: 2, step: { change: "Ends" } })
      yield* commit
      for (const version of [first, second]) assert.deepStrictEqual(yield* checkpointer.pendingWrites(version), {})
      assert.deepStrictEqual(yield* stored, [{ task: "task" }])
      yield* checkpointer.put({ parent: second, state: 3, step: { change: "Ends" } })
      assert.deepStrictEqual(yield* stored, [])
    }).pipe(within({ schema: "put_save" })))

  it.effect("an answer waits for another one to the same question, and is refused when that is committed", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1, pendingInterrupts: asks("a", "b") })
      const commit = yield* held(checkpointer.answer("t", { a: "first" }))
      const answering = yield* waiting(Effect.flip(checkpointer.answer("t", { a: "second", b: "second" })))
      yield* commit
      assert.include(yield* Fiber.join(answering), { _tag: "InterruptAlreadyResolved", interruptId: "a" })
      assert.deepStrictEqual(yield* answersOf(first), { a: "first", b: undefined })
      assert.strictEqual(yield* waitingThreads, 1)
    }).pipe(within({ schema: "answer_answer" })))

  it.effect("an answer that waits for the answer to another question finds it answered, and the thread waits no longer", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: 1, pendingInterrupts: asks("a", "b") })
      const commit = yield* held(checkpointer.answer("t", { a: 1 }))
      const answering = yield* waiting(checkpointer.answer("t", { b: 2 }))
      assert.lengthOf(yield* commit, 1)
      assert.deepStrictEqual(yield* Fiber.join(answering), [])
      assert.strictEqual(yield* waitingThreads, 0)
    }).pipe(within({ schema: "answer_other" })))

  it.effect("an answer and a question that wait for a put that ends the step are refused", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1, pendingInterrupts: asks("a") })
      const commit = yield* held(checkpointer.put({ parent: first, state: 2, step: { change: "Ends" } }))
      const answering = yield* waiting(Effect.flip(checkpointer.answer("t", { a: 1 })))
      const asking = yield* waiting(Effect.flip(checkpointer.ask(first, asks("b"))))
      yield* commit
      assert.include(yield* Fiber.join(answering), { _tag: "InterruptAlreadyResolved", version: 2 })
      assert.include(yield* Fiber.join(asking), { _tag: "VersionConflict", actual: 2 })
      assert.deepStrictEqual(yield* answersOf(first), { a: undefined })
      assert.strictEqual(yield* waitingThreads, 0)
    }).pipe(within({ schema: "answer_put" })))

  it.effect("a put that ends the step waits for a question and an answer, and begins a step without them", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1, pendingInterrupts: asks("a") })
      const commit = yield* held(Effect.andThen(
        checkpointer.answer("t", { a: 1 }),
        checkpointer.ask(first, asks("b"))
      ))
      const putting = yield* waiting(checkpointer.put({ parent: first, state: 2, step: { change: "Ends" } }))
      yield* commit
      assert.deepStrictEqual(yield* answersOf(yield* Fiber.join(putting)), {})
      assert.deepStrictEqual(yield* answersOf(first), { a: 1, b: undefined })
      assert.strictEqual(yield* waitingThreads, 0)
    }).pipe(within({ schema: "put_answer" })))

  it.effect("a put that continues a step does not ask again what was asked and answered while it waited for the lock", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1 })
      const commit = yield* held(Effect.andThen(
        checkpointer.ask(first, asks("a")),
        checkpointer.answer("t", { a: 1 })
      ))
      const putting = yield* waiting(
        checkpointer.put({ parent: first, state: 2, pendingInterrupts: asks("a"), step: { change: "Continues" } })
      )
      yield* commit
      assert.deepStrictEqual(yield* answersOf(yield* Fiber.join(putting)), { a: 1 })
      assert.strictEqual(yield* waitingThreads, 0)
    }).pipe(within({ schema: "put_ask" })))

  it.effect("a question that waits, meanwhile it is asked and answered by another transaction, is not asked again", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 1 })
      const commit = yield* held(Effect.andThen(
        checkpointer.ask(first, asks("a")),
        checkpointer.answer("t", { a: 1 })
      ))
      const asking = yield* waiting(checkpointer.ask(first, asks("a")))
      yield* commit
      yield* Fiber.join(asking)
      assert.strictEqual(yield* waitingThreads, 0)
    }).pipe(within({ schema: "ask_ask" })))

  it.effect("an answer and a question that wait for a deletion find no thread, and leave nothing to a later one of the same id", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const start = { threadId: "t", checkpointId: "start", state: 1 }
      const first = yield* checkpointer.create({ ...start, pendingInterrupts: asks("a") })
      const commit = yield* held(checkpointer.deleteThread("t"))
      const answering = yield* waiting(Effect.flip(checkpointer.answer("t", { a: 1 })))
      const asking = yield* waiting(Effect.flip(checkpointer.ask(first, asks("b"))))
      yield* commit
      assert.strictEqual((yield* Fiber.join(answering))._tag, "CheckpointNotFound")
      assert.strictEqual((yield* Fiber.join(asking))._tag, "CheckpointNotFound")
      assert.deepStrictEqual(yield* answersOf(yield* checkpointer.create(start)), {})
    }).pipe(within({ schema: "answer_delete" })))

  it.effect("a deletion waits for an answer and a question, and removes them", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.create({ threadId: "t", state: 1, pendingInterrupts: asks("a") })
      const commit = yield* held(Effect.andThen(
        checkpointer.answer("t", { a: 1 }),
        checkpointer.ask(first, asks("b"))
      ))
      const deleting = yield* waiting(checkpointer.deleteThread("t"))
      yield* commit
      assert.strictEqual(yield* Fiber.join(deleting), 1)
      assert.deepStrictEqual(yield* sql`SELECT FROM delete_answer.checkpoint_questions`, [])
    }).pipe(within({ schema: "delete_answer" })))

  it.effect("setTags and savePendingWrites of one locked thread leave connections of the pool for other threads", () =>
    Effect.gen(function*() {
      const observer = yield* PgClient.PgClient
      const [read, writes] = yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        yield* checkpointer.create({ threadId: "other", state: "other" })
        const first = yield* checkpointer.create({ threadId: "t", state: 1 })
        return [
          checkpointer.get("other"),
          [checkpointer.setTags("t", { version: 1 }, ["tag"]), checkpointer.savePendingWrites(first, { task: 1 })]
        ] as const
      })
      for (const write of writes) {
        const commit = yield* held(observer`SELECT FROM full_pool.checkpoint_threads WHERE thread_id = 't' FOR UPDATE`)
        const blocked = observer`
          SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
        const writing = yield* Effect.forkScoped(
          Effect.all(Array.from({ length: 20 }, () => Effect.exit<unknown, unknown, never>(write)), {
            concurrency: "unbounded"
          })
        )
        yield* Effect.repeat(blocked, { until: (rows) => rows.length >= 4, schedule: Schedule.spaced("5 millis") })
        assert.strictEqual(some(yield* read).state, "other")
        yield* commit
        yield* Fiber.join(writing)
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(
        PgCheckpointer.layerWith({
          schema: "full_pool",
          acquireTimeout: "1 second",
          retry: Schedule.recurs(0)
        }).pipe(Layer.provide(Layer.fresh(clientLayer({ maxConnections: 5 }))))
      ),
      Effect.provide(clientLayer())
    ))

  it.effect("a put of an id that another transaction is saving waits, and returns the checkpoint that was saved", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      const put = checkpointer.append({ threadId: "t", checkpointId: "one", state: 1 })
      const commit = yield* held(Effect.andThen(put, checkpointer.append({ threadId: "t", state: 2 })))
      const repeating = yield* waiting(put)
      yield* commit
      assert.strictEqual((yield* Fiber.join(repeating)).version, 1)
      assert.deepStrictEqual(
        yield* sql`SELECT version::float8 AS version FROM same_id.checkpoints ORDER BY version`,
        [{ version: 1 }, { version: 2 }]
      )
    }).pipe(within({ schema: "same_id", retry: Schedule.recurs(0) })))

  it.effect("a caller's transaction in which a deletion took too long cannot be committed, though it handles the error", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: 1 })
      yield* held(checkpointer.append({ threadId: "t", state: 2 }))
      let tag: string | undefined
      // The savepoint of the deletion is rolled back, which alone would make the transaction usable again.
      const outcome = yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
        yield* checkpointer.append({ threadId: "other", state: 1 })
        const error = yield* Effect.flip(checkpointer.deleteThread("t"))
        if (error._tag === "StoreError") tag = error.reason._tag
      })))
      assert.strictEqual(tag, "Timeout")
      assert.isTrue(Exit.isFailure(outcome))
      assert.strictEqual((yield* checkpointer.get("other"))._tag, "None")
    }).pipe(within({ schema: "late", statementTimeout: "1 second", retry: Schedule.recurs(0) })))
})
