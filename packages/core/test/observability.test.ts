import { Checkpointer, CheckpointError, CheckpointStore, MemoryStore, StateGraph } from "@effect-checkpoint/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, References, Schedule, Schema, Tracer } from "effect"
import { TestClock } from "effect/testing"

const unavailable = (outcome: "NotApplied" | "Unknown") =>
  new CheckpointError.StoreError({
    operation: "test",
    reason: new CheckpointError.Unavailable({ message: "made to fail" }),
    outcome
  })

/** A store whose operations fail before they run, as long as there are errors left. */
const failing = (errors: Array<CheckpointError.StoreError | undefined>, after: "before" | "after" = "before") =>
  Layer.effect(
    CheckpointStore.CheckpointStore,
    Effect.map(MemoryStore.make, (store) => {
      const disturbed = <A>(effect: Effect.Effect<A, CheckpointError.StoreError>) =>
        Effect.suspend(() => {
          const error = errors.shift()
          if (error === undefined) return effect
          return after === "before" ? Effect.fail(error) : Effect.andThen(effect, Effect.fail(error))
        })
      return CheckpointStore.CheckpointStore.of({
        ...store,
        put: (record, expected) => disturbed(store.put(record, expected)),
        read: (key, selector, count) => disturbed(store.read(key, selector, count)),
        deleteThread: (key) => disturbed(store.deleteThread(key))
      })
    })
  )

const retry = Schedule.recurs(3)

const over = (store: Layer.Layer<CheckpointStore.CheckpointStore>) =>
  Checkpointer.layerWith({ retry }).pipe(Layer.provideMerge(store))

const counted = Effect.map(Metric.snapshot, (snapshots) =>
  Object.fromEntries(
    snapshots.flatMap(({ attributes, id, state }) => {
      const name = [id, ...Object.entries(attributes ?? {}).map(([key, value]) => `${key}=${value}`).toSorted()].join(
        " "
      )
      return "count" in state ? [[name, Number(state.count)]] : []
    })
  ))

const withMetrics = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

describe("metrics", () => {
  it.effect("metrics count what was saved, refused, retried, read and pruned", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: "12345678" })
      yield* checkpointer.put({ parent: first, state: "12345678" })
      yield* Effect.flip(checkpointer.put({ parent: first, state: "12345678" }))
      yield* checkpointer.get("t")
      yield* checkpointer.prune({ maxVersions: 1 }, { dryRun: true })
      yield* checkpointer.prune({ maxVersions: 1 })
      const metrics = yield* counted
      assert.deepStrictEqual(metrics, {
        // The second state equals the first one, and is stored as a change of nothing: [].
        "checkpoint_puts namespace= stored=delta": 1,
        "checkpoint_puts namespace= stored=keyframe": 1,
        "checkpoint_bytes_written namespace=": 12,
        "checkpoint_conflicts namespace=": 1,
        "checkpoint_head_cache_lookups namespace= result=miss": 1,
        "checkpoint_retries namespace= outcome=NotApplied": 1,
        "checkpoint_retries namespace= outcome=Unknown": 1,
        "checkpoint_pruned": 1,
        // Two saves, and the one that was refused.
        "checkpoint_write_duration namespace= time_unit=milliseconds": 3,
        "checkpoint_read_duration namespace= time_unit=milliseconds": 1
      })
    }).pipe(
      Effect.provide(over(failing([unavailable("NotApplied"), unavailable("Unknown")]))),
      withMetrics
    ))

  it.effect("a failure is counted once, after its retries, by operation and reason", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* Effect.flip(checkpointer.get("t"))
      yield* checkpointer.get("t")
      const metrics = yield* counted
      assert.include(metrics, {
        "checkpoint_retries namespace= outcome=NotApplied": 3,
        "checkpoint_failures namespace= operation=test reason=Unavailable": 1
      })
    }).pipe(
      Effect.provide(over(failing(Array.from({ length: 4 }, () => unavailable("NotApplied"))))),
      withMetrics
    ))

  it.effect("metrics name the first segment of a namespace, and at most 100 namespaces", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const save = Effect.fnUntraced(function*(namespace: string) {
        const view = yield* checkpointer.view({ state: Schema.Int, namespace })
        yield* view.create({ threadId: "t", state: 1 })
      })
      yield* save("orders")
      yield* save("orders/refund/task 1")
      for (let tenant = 0; tenant < 200; tenant++) yield* save(`tenant ${tenant}`)
      const puts = Object.entries(yield* counted).filter(([name]) => name.startsWith("checkpoint_puts"))
      assert.include(Object.fromEntries(puts), {
        "checkpoint_puts namespace=orders stored=keyframe": 2,
        "checkpoint_puts namespace=tenant 1 stored=keyframe": 1
      })
      // And those beyond in one.
      assert.isAtMost(puts.length, 101)
      assert.strictEqual(puts.reduce((sum, [, count]) => sum + count, 0), 202)
    }).pipe(Effect.provide(Checkpointer.layerMemory), withMetrics))
})

describe("retries", () => {
  it.effect("a put whose reply is lost is saved once and succeeds", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const saved = yield* checkpointer.append({ threadId: "t", state: 1 })
      assert.strictEqual(saved.version, 1)
      assert.strictEqual((yield* checkpointer.listVersions("t")).length, 1)
      const parent = yield* checkpointer.put({ parent: saved, state: 2 })
      assert.strictEqual(parent.version, 2)
    }).pipe(Effect.provide(over(failing([unavailable("Unknown"), unavailable("Unknown")], "after")))))

  it.effect("an error is not NotApplied if an earlier attempt may have been applied", () => {
    const errors: Array<CheckpointError.StoreError | undefined> = []
    const list = Array.from({ length: 50 }, (_, i) => `message ${i}`)
    return Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      errors.push(unavailable("Unknown"), ...Array.from({ length: 3 }, () => unavailable("NotApplied")))
      const whole = yield* Effect.flip(checkpointer.append({ threadId: "t", state: list }))
      assert.nestedInclude(whole, { _tag: "StoreError", outcome: "Unknown", "reason.message": "made to fail" })
      // A change. The second attempt finds another newest version, and sends the whole state.
      yield* checkpointer.get("t")
      errors.push(unavailable("Unknown"), undefined, ...Array.from({ length: 4 }, () => unavailable("NotApplied")))
      const changed = yield* Effect.flip(checkpointer.append({ threadId: "t", state: [...list, "another"] }))
      assert.include(changed, { _tag: "StoreError", outcome: "Unknown" })
      assert.lengthOf(yield* checkpointer.listVersions("t"), 2)
      // What was saved is looked up, which fails.
      errors.push(unavailable("Unknown"), undefined, ...Array.from({ length: 4 }, () => unavailable("NotApplied")))
      const sought = yield* Effect.flip(checkpointer.append({ threadId: "u", state: list }))
      assert.include(sought, { _tag: "StoreError", outcome: "Unknown" })
      assert.lengthOf(yield* checkpointer.listVersions("u"), 1)
      assert.lengthOf(errors, 0)
    }).pipe(Effect.provide(over(failing(errors, "after"))))
  })

  it.effect("a deletion is retried if it was not applied, and not if its outcome is unknown", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const error = yield* Effect.flip(checkpointer.deleteThread("t"))
      assert.include(error, { _tag: "StoreError", outcome: "Unknown" })
      assert.strictEqual(yield* checkpointer.deleteThread("t"), 0)
    }).pipe(Effect.provide(over(failing([unavailable("Unknown"), unavailable("NotApplied")])))))

  it.effect("a final error is not retried, and any other until the schedule ends", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const final = yield* Effect.flip(checkpointer.get("t"))
      assert.nestedInclude(final, { "reason._tag": "Rejected" })
      const spent = yield* Effect.flip(checkpointer.get("t"))
      assert.nestedInclude(spent, { "reason._tag": "Unavailable" })
      assert.strictEqual((yield* checkpointer.get("t"))._tag, "None")
    }).pipe(Effect.provide(over(failing([
      new CheckpointError.StoreError({
        operation: "read",
        reason: new CheckpointError.Rejected({ message: "made to fail" }),
        outcome: "NotApplied"
      }),
      ...Array.from({ length: 4 }, () => unavailable("NotApplied"))
    ])))))

  it.effect("retries are logged as a warning once in ten seconds, with the number of those in between", () => {
    const warnings: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Warn") warnings.push(String(message))
    })
    return Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      // Each fails after three retries.
      for (let i = 0; i < 10; i++) yield* Effect.flip(checkpointer.get("t"))
      assert.deepStrictEqual(warnings, ["Retrying after: test failed: made to fail"])
      yield* TestClock.adjust("10 seconds")
      yield* Effect.flip(checkpointer.get("t"))
      assert.deepStrictEqual(warnings.slice(1), [
        "Retrying after: test failed: made to fail (29 more retries since the last warning)"
      ])
    }).pipe(
      Effect.provide(over(failing(Array.from({ length: 44 }, () => unavailable("NotApplied"))))),
      Effect.provide(Logger.layer([logger]))
    )
  })

  it.effect("nothing is retried in a caller's transaction", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* Effect.flip(checkpointer.append({ threadId: "t", state: 1 }))
      assert.strictEqual((yield* checkpointer.append({ threadId: "t", state: 1 })).version, 1)
    }).pipe(Effect.provide(
      Checkpointer.layerWith({ retry }).pipe(Layer.provideMerge(
        Layer.effect(
          CheckpointStore.CheckpointStore,
          Effect.map(
            CheckpointStore.CheckpointStore,
            (store) => CheckpointStore.CheckpointStore.of({ ...store, inTransaction: Effect.succeed(true) })
          )
        ).pipe(Layer.provide(failing([unavailable("NotApplied")])))
      ))
    )))
})

describe("spans and logs", () => {
  it.effect("every public operation has a span that names its thread", () =>
    Effect.gen(function*() {
      const spans = new Map<string, Tracer.NativeSpan>()
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.set(span.name, span)
          return span
        }
      })
      const checkpointer = yield* Checkpointer.Checkpointer
      const state: Schema.Json = 1
      yield* Effect.gen(function*() {
        const first = yield* checkpointer.append({ threadId: "t", state })
        yield* checkpointer.put({ parent: first, state })
        yield* checkpointer.create({ threadId: "u", state })
        yield* checkpointer.update("t", () => state)
        yield* checkpointer.updateEffect("t", () => Effect.succeed(state))
        yield* checkpointer.get("t")
        yield* checkpointer.getAtTime("t", first.createdAt)
        yield* checkpointer.listVersions("t")
        yield* checkpointer.restore("t", { version: 1 })
        yield* checkpointer.fork(first.threadId, first, { threadId: "fork" })
        yield* checkpointer.setTags(first.threadId, first, ["a"])
        yield* checkpointer.deleteThread("t")
        yield* checkpointer.prune({ maxVersions: 1 })
        yield* checkpointer.health
      }).pipe(Effect.withTracer(tracer))
      for (
        const operation of [
          "append",
          "create",
          "put",
          "update",
          "updateEffect",
          "get",
          "getAtTime",
          "listVersions",
          "restore",
          "fork",
          "setTags",
          "deleteThread"
        ]
      ) {
        const span = spans.get(`Checkpointer.${operation}`)
        assert.strictEqual(span?.attributes.get("checkpoint.thread_id"), operation === "create" ? "u" : "t", operation)
      }
      assert.isTrue(spans.has("Checkpointer.prune"))
      assert.isTrue(spans.has("Checkpointer.health"))
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("logs of an operation are annotated with its thread", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const annotations: Array<Readonly<Record<string, unknown>>> = []
      const logger = Logger.make(({ fiber }) => {
        annotations.push(fiber.getRef(References.CurrentLogAnnotations))
      })
      yield* checkpointer.append({ threadId: "t", state: 1 })
      yield* checkpointer.updateEffect("t", () => Effect.as(Effect.logInfo("thinking"), 2)).pipe(
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepInclude(annotations[0], { threadId: "t", namespace: "" })
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("a run of a graph and its nodes have spans and annotated logs, and its steps are counted", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          if (span.name.startsWith("StateGraph")) spans.push(span)
          return span
        }
      })
      const annotations: Array<Readonly<Record<string, unknown>>> = []
      const logger = Logger.make(({ fiber }) => {
        annotations.push(fiber.getRef(References.CurrentLogAnnotations))
      })
      const graph = StateGraph.make({
        name: "counter",
        state: Schema.Struct({ n: Schema.Int }),
        start: "count",
        nodes: { count: ({ n }) => Effect.as(Effect.logInfo("counting"), { n: n + 1 }) },
        edges: { count: ({ n }) => n < 2 ? ["count"] : [] }
      })
      yield* StateGraph.run(graph, { threadId: "t", input: { n: 0 } }).pipe(
        Effect.withTracer(tracer),
        Effect.provide(Logger.layer([logger]))
      )
      yield* StateGraph.resume(graph, { threadId: "t" }).pipe(Effect.withTracer(tracer))
      assert.deepStrictEqual(
        spans.map(({ attributes, name }) => [name, attributes.get("graph.name"), attributes.get("graph.node")]),
        [
          ["StateGraph.run", "counter", undefined],
          ["StateGraph.node", "counter", "count"],
          ["StateGraph.node", "counter", "count"],
          ["StateGraph.resume", "counter", undefined]
        ]
      )
      assert.strictEqual(spans[0]?.attributes.get("checkpoint.thread_id"), "t")
      assert.deepInclude(annotations[1], { threadId: "t", namespace: "counter", graph: "counter", node: "count" })
      assert.include(yield* counted, { "checkpoint_graph_steps": 2 })
    }).pipe(Effect.provide(Checkpointer.layerMemory), withMetrics))
})
