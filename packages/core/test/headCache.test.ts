import { assert, describe, it } from "@effect/vitest"
import type { Schema } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as HeadCache from "../src/internal/headCache.ts"
import * as Json from "../src/internal/json.ts"

const keyOf = (i: number) => ({ threadId: `thread ${String(i).padStart(3, "0")}`, namespace: "" })

const headOf = (memory: number, version = 1): HeadCache.Head => ({
  version,
  checkpointId: `checkpoint ${version}`,
  writeId: `write ${version}`,
  json: null,
  bytes: 4,
  memory,
  chain: { keyframeVersion: version, keyframeBytes: 4, deltaBytes: 0 }
})

/** A cache in which each of the heads was set once, the first thread first. */
const filled = (maxMemory: number, heads: ReadonlyArray<number>): HeadCache.HeadCache => {
  const cache = HeadCache.make(maxMemory)
  for (const [i, memory] of heads.entries()) cache.set(keyOf(i), headOf(memory))
  return cache
}

/** The threads that a cache knows. */
const known = (cache: HeadCache.HeadCache, threads: number): ReadonlyArray<number> =>
  Array.from({ length: threads }, (_, i) => i).filter((i) => cache.get(keyOf(i)) !== undefined)

describe("HeadCache", () => {
  it("HeadCache evicts the least recently used heads, and no more than it must", () => {
    const cache = filled(100_000, [20_000, 20_000, 20_000, 20_000])
    assert.deepStrictEqual(known(cache, 4), [0, 1, 2, 3])
    cache.get(keyOf(0))
    cache.set(keyOf(4), headOf(30_000))
    assert.deepStrictEqual(known(cache, 5), [0, 2, 3, 4])
    cache.set(keyOf(5), headOf(70_000))
    assert.deepStrictEqual(known(cache, 6), [5])
  })

  it("HeadCache counts a thread that is set again once", () => {
    const cache = filled(30_000, [10_000, 10_000])
    for (let version = 2; version <= 50; version++) cache.set(keyOf(1), headOf(10_000, version))
    assert.strictEqual(cache.get(keyOf(0))?.version, 1)
    assert.strictEqual(cache.get(keyOf(1))?.version, 50)
  })

  it("HeadCache evicts nothing for a head that is too large for it, and forgets the older one of that thread", () => {
    const cache = filled(30_000, [10_000, 10_000])
    cache.set(keyOf(0), headOf(30_000, 2))
    assert.deepStrictEqual(known(cache, 2), [1])
  })

  it("HeadCache keeps a head that is used while others come and go", () => {
    const cache = filled(30_000, [10_000])
    for (let i = 1; i <= 60; i++) {
      cache.set(keyOf(i), headOf(10_000))
      assert.isDefined(cache.get(keyOf(0)), `after ${i} others`)
    }
    assert.isUndefined(cache.get(keyOf(1)))
  })

  it("HeadCache takes a head that is offered only if it knows no newer one", () => {
    const cache = HeadCache.make(10_000)
    cache.offer(keyOf(0), headOf(10, 2))
    cache.offer(keyOf(0), headOf(10, 1))
    assert.strictEqual(cache.get(keyOf(0))?.version, 2)
    cache.offer(keyOf(0), headOf(10, 3))
    assert.strictEqual(cache.get(keyOf(0))?.version, 3)
    cache.set(keyOf(0), headOf(10, 1))
    assert.strictEqual(cache.get(keyOf(0))?.version, 1)
  })

  it("HeadCache keeps threads of the same id in two namespaces apart", () => {
    const cache = HeadCache.make(10_000)
    cache.set({ threadId: "b", namespace: "a" }, headOf(10))
    assert.isUndefined(cache.get({ threadId: "b", namespace: "" }))
    assert.isUndefined(cache.get({ threadId: "", namespace: "ab" }))
  })

  it("HeadCache of no bytes knows only what is attached to a checkpoint", () => {
    const cache = filled(0, [10])
    const checkpoint = {}
    cache.attach(checkpoint, headOf(10, 7))
    assert.isUndefined(cache.get(keyOf(0)))
    assert.strictEqual(cache.of(checkpoint)?.version, 7)
    assert.isUndefined(cache.of({}))
  })

  describe("HeadCache takes no more memory than its limit", () => {
    setFlagsFromString("--expose_gc")
    const collectGarbage: () => void = runInNewContext("gc")
    const used = (): number => {
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    const states: Record<string, (i: number) => Schema.Json> = {
      "small objects": (i) => ({ step: i }),
      "lists of empty objects": () => Array.from({ length: 1000 }, () => ({})),
      "lists of empty lists": () => Array.from({ length: 1000 }, () => []),
      "lists of numbers": (i) => Array.from({ length: 1000 }, (_, n) => n + i),
      "lists of fractions": (i) => [{}, ...Array.from({ length: 1000 }, (_, n) => n + i + 0.5)],
      "lists of short strings": (i) => Array.from({ length: 1000 }, (_, n) => `${i}-${n}`),
      "messages": (i) =>
        Array.from({ length: 100 }, (_, n) => ({ id: `${i}-${n}`, role: "user", text: "x".repeat(500) })),
      "text beyond Latin-1": (i) => `${i} ${"x".repeat(10_000)}\u{1f600}`,
      "objects with many keys": (i) => Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`key ${i} ${n}`, n]))
    }
    /** The memory in use while a cache has had more than fits. It is a function so that the cache is garbage afterwards. */
    const usedWithCache = (limit: number, state: (i: number) => Schema.Json): number => {
      const cache = HeadCache.make(limit)
      let threads = 0
      for (let total = 0; total < 3 * limit; threads++) {
        // As it is when it was read.
        const json: Schema.Json = JSON.parse(JSON.stringify(state(threads)))
        const memory = Json.memoryOf(json)
        const id = crypto.randomUUID()
        cache.set({ threadId: `thread ${threads}`, namespace: "some/namespace" }, {
          ...headOf(memory),
          checkpointId: id,
          writeId: id.toUpperCase(),
          json,
          chain: { keyframeVersion: threads, keyframeBytes: 10, deltaBytes: 0 }
        })
        total += memory + 700
      }
      const memory = used()
      assert.isDefined(cache.get({ threadId: `thread ${threads - 1}`, namespace: "some/namespace" }))
      return memory
    }
    for (const [name, state] of Object.entries(states)) {
      it(`HeadCache of 8 MiB takes less than 9 MiB for ${name}`, () => {
        const taken = (usedWithCache(8 * 2 ** 20, state) - used()) / 2 ** 20
        assert.isBelow(taken, 9)
        // Nor is the estimate so high that the cache would be of little use.
        assert.isAbove(taken, 2.5)
      })
    }
  })
})
