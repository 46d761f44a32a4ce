import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Scheduler } from "effect"
import { vi } from "vitest"
import * as ThreadQueue from "../src/internal/threadQueue.ts"

const outside = Effect.succeed(false)

const keyOf = (threadId: string) => ({ threadId, namespace: "" })

/** A queue, and the map in which it keeps the threads that are in use. */
const observed = Effect.acquireUseRelease(
  Effect.sync(() => {
    const maps: Array<ReadonlyMap<unknown, unknown>> = []
    class ObservedMap<K, V> extends Map<K, V> {
      constructor() {
        super()
        maps.push(this)
      }
    }
    vi.stubGlobal("Map", ObservedMap)
    return maps
  }),
  (maps) =>
    Effect.sync(() => {
      const inTurn = ThreadQueue.make(outside)
      assert.lengthOf(maps, 1)
      return { inTurn, threads: maps[0]! }
    }),
  () => Effect.sync(() => vi.unstubAllGlobals())
)

/** Lets every other fiber run until it waits. */
const settle = Effect.forEach(Array(20), () => Effect.yieldNow, { discard: true })

describe("ThreadQueue", () => {
  it.effect("ThreadQueue runs effects on one thread one at a time, in order of arrival", () =>
    Effect.gen(function*() {
      const inTurn = ThreadQueue.make(outside)
      const order: Array<string> = []
      yield* Effect.forEach([1, 2, 3], (i) =>
        inTurn(
          keyOf("t"),
          Effect.gen(function*() {
            order.push(`begin ${i}`)
            yield* settle
            order.push(`end ${i}`)
          })
        ), { concurrency: "unbounded" })
      assert.deepStrictEqual(order, ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"])
    }))

  it.effect("ThreadQueue of a width runs as many effects on one thread at a time, and starts them in order of arrival", () =>
    Effect.gen(function*() {
      const inTurn = ThreadQueue.make(outside, 2)
      const order: Array<string> = []
      yield* Effect.forEach([1, 2, 3], (i) =>
        inTurn(
          keyOf("t"),
          Effect.gen(function*() {
            order.push(`begin ${i}`)
            yield* settle
            order.push(`end ${i}`)
          })
        ), { concurrency: "unbounded" })
      assert.deepStrictEqual(order, ["begin 1", "begin 2", "end 1", "end 2", "begin 3", "end 3"])
    }))

  it.effect("ThreadQueue lets an effect on one thread run while one on another thread waits", () =>
    Effect.gen(function*() {
      const inTurn = ThreadQueue.make(outside)
      const holding = yield* Latch.make()
      const holder = yield* Effect.forkChild(inTurn(keyOf("a"), holding.await))
      yield* settle
      assert.strictEqual(yield* inTurn(keyOf("b"), Effect.succeed(1)), 1)
      assert.strictEqual(yield* inTurn({ threadId: "a", namespace: "other" }, Effect.succeed(2)), 2)
      yield* holding.open
      yield* Fiber.join(holder)
    }))

  it.effect("ThreadQueue lets an effect in a transaction run without waiting", () =>
    Effect.gen(function*() {
      let isInTransaction = false
      const inTurn = ThreadQueue.make(Effect.sync(() => isInTransaction))
      const holding = yield* Latch.make()
      const holder = yield* Effect.forkChild(inTurn(keyOf("t"), holding.await))
      yield* settle
      isInTransaction = true
      assert.strictEqual(yield* inTurn(keyOf("t"), Effect.succeed(1)), 1)
      yield* holding.open
      yield* Fiber.join(holder)
    }))

  it.effect("ThreadQueue forgets a thread when the last effect on it has ended, in whatever way", () =>
    Effect.gen(function*() {
      const { inTurn, threads } = yield* observed
      for (const effect of [Effect.void, Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        yield* Effect.exit(inTurn(keyOf("t"), effect))
        assert.strictEqual(threads.size, 0)
      }
      yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) => inTurn(keyOf(`thread ${i % 100}`), Effect.yieldNow),
        { concurrency: 50 }
      )
      assert.strictEqual(threads.size, 0)
    }))

  it.effect("ThreadQueue forgets a thread whose waiting effects are interrupted, once its holder has ended", () =>
    Effect.gen(function*() {
      const { inTurn, threads } = yield* observed
      const holding = yield* Latch.make()
      const holder = yield* Effect.forkChild(inTurn(keyOf("t"), holding.await))
      yield* settle
      const waiting = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(inTurn(keyOf("t"), Effect.void)))
      yield* settle
      assert.strictEqual(threads.size, 1)
      yield* Fiber.interruptAll(waiting)
      assert.strictEqual(threads.size, 1)
      yield* holding.open
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(holder)))
      assert.strictEqual(threads.size, 0)
    }))

  it.effect("ThreadQueue forgets a thread whose effect is interrupted at any moment", () =>
    Effect.gen(function*() {
      const { inTurn, threads } = yield* observed
      for (const maxOps of [2, 3, 4, 5, 7]) {
        for (let turns = 0; turns < 40; turns++) {
          // It yields after so many operations, therefore it can be interrupted between any two of them.
          const fiber = yield* Effect.forkChild(
            Effect.provideService(inTurn(keyOf("t"), Effect.never), Scheduler.MaxOpsBeforeYield, maxOps)
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(threads.size, 0, `after ${turns} turns of ${maxOps} operations`)
        }
      }
    }))
})
