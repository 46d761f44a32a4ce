import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import * as CheckpointerLaws from "@effect-checkpoint/testing/CheckpointerLaws"
import * as StateGraphLaws from "@effect-checkpoint/testing/StateGraphLaws"
import { assert, it } from "@effect/vitest"
import { DateTime, Effect, Fiber, Layer, Option, Schema } from "effect"
import { TestClock } from "effect/testing"

const effort = Number(process.env["CHECKPOINT_TEST_EFFORT"])
const seed = process.env["CHECKPOINT_TEST_SEED"]

CheckpointerLaws.laws({
  name: "Checkpointer.layerMemory",
  layer: Checkpointer.layerMemory.pipe(Layer.provideMerge(TestClock.layer())),
  age: TestClock.adjust,
  sequences: 500 * effort,
  seed
})

StateGraphLaws.laws({
  name: "graphs in memory",
  layer: Checkpointer.layerMemory.pipe(Layer.provideMerge(TestClock.layer())),
  seed
})

it.effect("a node that sleeps an hour takes no time with TestClock", () =>
  Effect.gen(function*() {
    const graph = StateGraph.make({
      name: "sleeper",
      state: Schema.Struct({ at: Schema.DateTimeUtc }),
      start: "sleep",
      nodes: { sleep: () => Effect.map(Effect.delay(DateTime.now, "1 hour"), (at) => ({ at })) },
      edges: { sleep: [] }
    })
    const fiber = yield* Effect.forkChild(StateGraph.run(graph, { threadId: "a", input: { at: yield* DateTime.now } }))
    yield* TestClock.adjust("1 hour")
    const { checkpoint, state } = yield* Fiber.join(fiber)
    assert.strictEqual(DateTime.toEpochMillis(state.at), 3_600_000)
    assert.strictEqual(DateTime.toEpochMillis(checkpoint.createdAt), 3_600_000)
  }).pipe(Effect.provide(Checkpointer.layerMemory)))

it.effect("createdAt never decreases in memory, even if the clock does", () =>
  Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    yield* TestClock.setTime(1000)
    yield* checkpointer.append({ threadId: "a", state: 1 })
    yield* TestClock.setTime(500)
    const second = yield* checkpointer.append({ threadId: "a", state: 2 })
    assert.strictEqual(DateTime.toEpochMillis(second.createdAt), 1000)
    const then = yield* checkpointer.getAtTime("a", DateTime.makeUnsafe(1000))
    assert.strictEqual(Option.getOrThrow(then).version, 2)
  }).pipe(Effect.provide(Checkpointer.layerMemory)))

it.effect("layerMemory is empty each time it is built", () =>
  Effect.gen(function*() {
    const put = Checkpointer.Checkpointer.use((checkpointer) => checkpointer.append({ threadId: "a", state: 1 }))
    for (let i = 0; i < 2; i++) {
      const saved = yield* put.pipe(Effect.provide(Layer.fresh(Checkpointer.layerMemory)))
      assert.strictEqual(saved.version, 1)
    }
  }))

it.effect("concurrent runs of updateEffect in one process end without any time passing", () =>
  Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    yield* checkpointer.append({ threadId: "a", state: 0 })
    const change = checkpointer.updateEffect("a", (state) => Effect.as(Effect.yieldNow, Number(state) + 1))
    yield* Effect.all([change, change, change], { concurrency: "unbounded" })
    assert.strictEqual(Option.getOrThrow(yield* checkpointer.get("a")).state, 3)
    // Others may save in each of its first runs.
    const outside = yield* Effect.context<never>()
    let conflicts = 0
    yield* checkpointer.updateEffect("a", (state) =>
      Effect.as(
        conflicts++ < 3
          ? Fiber.join(Effect.runForkWith(outside)(checkpointer.append({ threadId: "a", state: 10 * conflicts })))
          : Effect.void,
        Number(state) + 1
      ))
    assert.strictEqual(Option.getOrThrow(yield* checkpointer.get("a")).state, 31)
  }).pipe(Effect.provide(Checkpointer.layerMemory)))
