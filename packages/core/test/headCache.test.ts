import { assert, describe, it } from "@effect/vitest"
import * as HeadCache from "../src/internal/headCache.ts"

const keyOf = (i: number) => ({ threadId: `thread ${i}`, namespace: "" })

const headOf = (bytes: number, version = 1): HeadCache.Head => ({
  version,
  checkpointId: `checkpoint ${version}`,
  writeId: `write ${version}`,
  json: null,
  bytes,
  chain: { keyframeVersion: version, keyframeBytes: bytes, deltaBytes: 0 }
})

/** A cache in which each of the heads was set once, the first thread first. */
const filled = (maxBytes: number, bytes: ReadonlyArray<number>): HeadCache.HeadCache => {
  const cache = HeadCache.make(maxBytes)
  for (const [i, size] of bytes.entries()) cache.set(keyOf(i), headOf(size))
  return cache
}

/** The threads that such a cache knows. Each is looked up in a cache of its own, since a lookup changes what stays. */
const known = (maxBytes: number, bytes: ReadonlyArray<number>): ReadonlyArray<number> =>
  Array.from(bytes.keys()).filter((i) => filled(maxBytes, bytes).get(keyOf(i)) !== undefined)

describe("HeadCache", () => {
  it("HeadCache never keeps more than its limit and one head, however many threads there are", () => {
    for (let threads = 1; threads <= 60; threads++) {
      const bytes = known(100, Array(threads).fill(10)).length * 10
      assert.isAtMost(bytes, 110, `${threads} threads`)
    }
  })

  it("HeadCache keeps the newest heads up to half of its limit, and all as long as they are no more than that", () => {
    assert.deepStrictEqual(known(100, [10, 10, 10, 10, 10]), [0, 1, 2, 3, 4])
    for (let threads = 6; threads <= 60; threads++) {
      const kept = known(100, Array(threads).fill(10))
      assert.includeMembers([...kept], Array.from({ length: 5 }, (_, i) => threads - 1 - i), `${threads} threads`)
    }
  })

  it("HeadCache counts a thread that is set again once", () => {
    const cache = filled(100, [10, 10])
    for (let version = 2; version <= 50; version++) cache.set(keyOf(1), headOf(10, version))
    assert.strictEqual(cache.get(keyOf(0))?.version, 1)
    assert.strictEqual(cache.get(keyOf(1))?.version, 50)
  })

  it("HeadCache does not keep a head of more than half of its limit, nor the older one of that thread", () => {
    const cache = filled(100, [10, 50])
    assert.isDefined(cache.get(keyOf(1)))
    cache.set(keyOf(0), headOf(51, 2))
    assert.isUndefined(cache.get(keyOf(0)))
  })

  it("HeadCache keeps a head that is used while others come and go", () => {
    const cache = filled(100, [10])
    for (let i = 1; i <= 60; i++) {
      cache.set(keyOf(i), headOf(10))
      assert.isDefined(cache.get(keyOf(0)), `after ${i} others`)
    }
    assert.isUndefined(cache.get(keyOf(1)))
  })

  it("HeadCache takes a head that is offered only if it knows no newer one", () => {
    const cache = HeadCache.make(100)
    cache.offer(keyOf(0), headOf(10, 2))
    cache.offer(keyOf(0), headOf(10, 1))
    assert.strictEqual(cache.get(keyOf(0))?.version, 2)
    cache.offer(keyOf(0), headOf(10, 3))
    assert.strictEqual(cache.get(keyOf(0))?.version, 3)
    cache.set(keyOf(0), headOf(10, 1))
    assert.strictEqual(cache.get(keyOf(0))?.version, 1)
  })

  it("HeadCache keeps threads of the same id in two namespaces apart", () => {
    const cache = HeadCache.make(100)
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
})
