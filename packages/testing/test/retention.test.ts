import { Checkpointer, CheckpointError, CheckpointStore, Retention } from "@effect-checkpoint/core"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Logger, Metric, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"

const put = (...states: ReadonlyArray<number>) =>
  Checkpointer.Checkpointer.use((checkpointer) =>
    Effect.forEach(states, (state) => checkpointer.append({ threadId: "a", state }), { discard: true })
  )

const versions = Checkpointer.Checkpointer.use((checkpointer) =>
  Effect.map(checkpointer.listVersions("a"), (infos) => infos.map((info) => info.version))
)

/** Builds the layer into the test's scope and lets its fiber run for a while. */
const start = (options: Parameters<typeof Retention.layer>[0]) =>
  Effect.andThen(Layer.build(Retention.layer(options)), TestClock.adjust("1 milli"))

const unavailable = new CheckpointError.StoreError({
  operation: "prune",
  reason: new CheckpointError.Unavailable({ message: "failed by the test" }),
  outcome: "NotApplied"
})

/** Replaces the prune of the store. */
const pruning = <E, R>(
  effect: Effect.Effect<void, E, R | CheckpointStore.CheckpointStore>,
  prune: (store: CheckpointStore.CheckpointStore["Service"]) => CheckpointStore.CheckpointStore["Service"]["prune"]
) =>
  CheckpointStore.CheckpointStore.use((store) =>
    Effect.provideService(effect, CheckpointStore.CheckpointStore, { ...store, prune: prune(store) })
  )

const quiet = Logger.layer([])

const prunedTotal = Effect.map(Metric.snapshot, (snapshots) => {
  const found = snapshots.find((snapshot) => snapshot.id === "checkpoint_pruned")
  return found?.type === "Counter" ? Number(found.state.count) : 0
})

describe("Retention.layer", () => {
  it.effect("Retention.layer prunes at once and then on its schedule", () =>
    Effect.gen(function*() {
      yield* put(1, 2, 3)
      yield* start({ maxVersions: 1, schedule: Schedule.spaced("1 hour") })
      assert.deepStrictEqual(yield* versions, [3])
      yield* put(4, 5)
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual(yield* versions, [5, 4, 3])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* versions, [5])
      yield* put(6, 7)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* versions, [7])
    }).pipe(Effect.provide([Checkpointer.layerMemory, quiet])))

  it.effect("Retention.layer without a schedule prunes every hour", () =>
    Effect.gen(function*() {
      yield* start({ maxAge: "30 minutes" })
      yield* put(1, 2)
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual(yield* versions, [2, 1])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* versions, [2])
    }).pipe(Effect.provide([Checkpointer.layerMemory, quiet])))

  it.effect("Retention.layer stops pruning when its schedule ends", () =>
    Effect.gen(function*() {
      yield* start({ maxVersions: 1, schedule: Schedule.recurs(1) })
      yield* put(1, 2)
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* versions, [2, 1])
    }).pipe(Effect.provide([Checkpointer.layerMemory, quiet])))

  it.effect("Retention.layer survives a prune that fails, dies or runs elsewhere, and logs a warning", () =>
    Effect.gen(function*() {
      yield* put(1, 2, 3)
      const warnings: Array<string> = []
      const logger = Logger.make(({ cause, logLevel, message }) => {
        if (logLevel === "Warn") warnings.push(`${message} ${Cause.pretty(cause)}`)
      })
      let round = 0
      const failing = pruning(
        start({ maxVersions: 1, schedule: Schedule.spaced("1 minute") }),
        (store) => (query) =>
          Stream.suspend(() => {
            switch (++round) {
              case 1:
                return Stream.fail(unavailable)
              case 2:
                return Stream.die(new Error("a defect of the store"))
              case 3:
                return Stream.fail(
                  new CheckpointError.StoreError({
                    ...unavailable,
                    reason: new CheckpointError.PruneRunning({ message: "another prune" })
                  })
                )
              case 4:
                throw new Error("thrown by the store")
              default:
                return store.prune(query)
            }
          })
      )
      yield* Effect.gen(function*() {
        yield* failing
        yield* TestClock.adjust("3 minutes")
        assert.strictEqual(round, 4)
        assert.deepStrictEqual(yield* versions, [3, 2, 1])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* versions, [3])
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.lengthOf(warnings, 3)
      assert.include(warnings[0], "failed by the test")
      assert.include(warnings[1], "a defect of the store")
      assert.include(warnings[2], "thrown by the store")
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("the log of Retention.layer names the policy, the namespace and how long a round took", () =>
    Effect.gen(function*() {
      yield* put(1, 2, 3)
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => {
        logged.push(String(message))
      })
      const policy = { maxVersions: 2, maxAge: "7 days", namespace: "", compact: true } as const
      yield* pruning(
        Effect.andThen(start(policy), TestClock.adjust("3 seconds")),
        (store) => (query) =>
          Stream.fromEffect(Effect.sleep("3 seconds")).pipe(Stream.flatMap(() => store.prune(query)))
      ).pipe(Effect.provide(Logger.layer([logger])))
      assert.lengthOf(logged, 1)
      assert.match(
        logged[0]!,
        /^Retention removed 1 checkpoints \(\d+ bytes\), .* in 3s \(maxVersions: 2, maxAge: 7d, compact: true, namespace: ""\)$/
      )
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("a prune reports how long it took", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        pruning(
          Effect.flatMap(Retention.prune({ maxVersions: 1 }), ({ duration }) =>
            Effect.sync(() => assert.strictEqual(Duration.toMillis(duration), 3000))),
          (store) => (query) =>
            Stream.fromEffect(Effect.sleep("3 seconds")).pipe(Stream.flatMap(() =>
              store.prune(query)
            ))
        )
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide([Checkpointer.layerMemory, quiet])))

  it.effect("Retention.layer ends with its scope, in the middle of a prune and between two", () =>
    Effect.gen(function*() {
      yield* put(1, 2)
      let begun = 0
      let interrupted = 0
      const hanging = pruning(start({ maxVersions: 1 }), () => () =>
        Stream.fromEffect(
          Effect.andThen(Effect.sync(() => begun++), Effect.never).pipe(
            Effect.onInterrupt(() => Effect.sync(() => interrupted++))
          )
        ))
      const middle = yield* Scope.make()
      yield* Scope.provide(hanging, middle)
      assert.deepStrictEqual([begun, interrupted], [1, 0])
      yield* Scope.close(middle, Exit.void)
      assert.deepStrictEqual([begun, interrupted], [1, 1])

      const between = yield* Scope.make()
      yield* Scope.provide(start({ maxVersions: 1 }), between)
      assert.deepStrictEqual(yield* versions, [2])
      yield* Scope.close(between, Exit.void)
      yield* put(3, 4)
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* versions, [4, 3, 2])
    }).pipe(Effect.provide([Checkpointer.layerMemory, quiet])))

  it.effect("metrics count what a prune removes, and not what a dry run reports", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* put(1, 2, 3, 4)
      yield* checkpointer.prune({ maxVersions: 1 }, { dryRun: true })
      assert.strictEqual(yield* prunedTotal, 0)
      yield* start({ maxVersions: 1 })
      assert.strictEqual(yield* prunedTotal, 3)
      yield* put(5, 6)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* prunedTotal, 5)
      yield* put(7)
      yield* checkpointer.prune({ maxVersions: 1 })
      assert.strictEqual(yield* prunedTotal, 6)
    }).pipe(
      Effect.provide([Checkpointer.layerMemory, quiet]),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  it.effect("Retention.layer fails with InvalidInput if the policy is impossible", () =>
    Effect.gen(function*() {
      for (const policy of [{}, { maxVersions: 0 }, { maxAge: "-1 days" as const }, { idleThreads: 0 }]) {
        const error = yield* Effect.flip(Layer.build(Retention.layer(policy)))
        assert.strictEqual(error._tag, "InvalidInput")
      }
    }).pipe(Effect.provide(Checkpointer.layerMemory)))
})
