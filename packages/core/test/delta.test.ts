import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import * as Delta from "../src/internal/delta.ts"
import * as Json from "../src/internal/json.ts"

const AnyJson = Arbitrary.schema(Schema.Json)

/** Two states that have much in common, as those of one thread have. */
const Related = Arbitrary.map(
  Arbitrary.all({ list: Arbitrary.array(AnyJson, { maxLength: 12 }), from: AnyJson, to: AnyJson, cut: AnyJson }),
  ({ cut, from, list, to }) => {
    const length = JSON.stringify(cut).length
    const at = length % (list.length + 1)
    const lists = [
      [...list.slice(at), to, ...list.slice(0, at % 3)],
      [to, from, ...list.slice(0, at)],
      [...list.slice(0, at), to, ...list.slice(at)]
    ]
    return [
      { list, nested: { from, "~/k": [from] }, only: from },
      { list: lists[length % 3]!, nested: { from: to, "~/k": [from, to] }, "": to }
    ] as readonly [Schema.Json, Schema.Json]
  }
)

const agrees = (before: Schema.Json, after: Schema.Json): void => {
  const original = structuredClone(before)
  const delta = Delta.diff(before, after)
  if (delta === undefined) return
  const patch = Json.decode(delta.text)
  const applied = Result.getOrThrow(Delta.apply(patch, before, Delta.noCopies()))
  assert.isTrue(Json.equals(applied, after))
  assert.deepStrictEqual(before, original, "a patch does not change what it is applied to")
  const [small, large] = [Json.encodeJson(before), Json.encodeJson(after)]
  assert.deepStrictEqual(
    delta.growth,
    { bytes: large.bytes - small.bytes, memory: large.memory - small.memory },
    "the growth is exact"
  )
  const { bytes, text } = Json.encodeJson(patch)
  assert.deepStrictEqual([delta.text, delta.bytes], [text, bytes], "the patch has the bytes that it claims")
}

describe("Delta", () => {
  it.prop(
    "Delta.apply of what Delta.diff makes leads from any state to any other",
    [AnyJson, AnyJson],
    ([before, after]) => agrees(before, after),
    {
      arbitrary: { runs: 500, seed: process.env["CHECKPOINT_TEST_SEED"] }
    }
  )

  it.prop(
    "Delta.apply of what Delta.diff makes leads from any state to a similar one",
    [Related],
    ([[before, after]]) => agrees(before, after),
    {
      arbitrary: { runs: 500, seed: process.env["CHECKPOINT_TEST_SEED"] }
    }
  )

  it("Delta.diff describes the usual changes of a list with one operation for each", () => {
    const list = Array.from({ length: 100 }, (_, i) => ({ id: i, text: `message ${i}` }))
    const patch = (after: Schema.Json) => {
      const delta = Delta.diff({ list }, after)
      return delta === undefined ? undefined : Json.decode(delta.text)
    }
    const added = { id: 100, text: "new" }
    assert.deepStrictEqual(patch({ list }), [])
    assert.deepStrictEqual(patch({ list: [...list, added] }), [{ op: "add", path: "/list/100", value: added }])
    assert.deepStrictEqual(patch({ list: [...list.slice(2), added] }), [
      { op: "remove", path: "/list/0" },
      { op: "remove", path: "/list/0" },
      { op: "add", path: "/list/98", value: added }
    ])
    assert.deepStrictEqual(patch({ list: [added, ...list.slice(0, 99)] }), [
      { op: "add", path: "/list/0", value: added },
      { op: "remove", path: "/list/100" }
    ])
    assert.deepStrictEqual(patch({ list: list.map((item) => item.id === 50 ? { ...item, text: "edited" } : item) }), [
      { op: "replace", path: "/list/50/text", value: "edited" }
    ])
    assert.deepStrictEqual(patch({ list: list.toSpliced(50, 1) }), [{ op: "remove", path: "/list/50" }])
    assert.deepStrictEqual(patch({ list: list.toSpliced(50, 0, added) }), [
      { op: "add", path: "/list/50", value: added }
    ])
    assert.deepStrictEqual(patch({ list, more: 1 }), [{ op: "add", path: "/more", value: 1 }])
    assert.deepStrictEqual(patch({}), [{ op: "remove", path: "/list" }])
    assert.deepStrictEqual(patch([]), [{ op: "replace", path: "", value: [] }])
  })

  it("Delta.diff makes nothing of more than 1,000 operations", () => {
    const numbers = Array.from({ length: 3000 }, (_, i) => i)
    assert.isDefined(Delta.diff(numbers, numbers.map((n) => n < 1000 ? n + 0.5 : n)))
    assert.isUndefined(Delta.diff(numbers, numbers.map((n) => n <= 1000 ? n + 0.5 : n)))
  })

  it("Delta.continues is false for a delta of more than half of the state", () => {
    const chain = { keyframeVersion: 1, keyframeBytes: 10_000, deltaBytes: 0 }
    assert.isTrue(Delta.continues(chain, 1, 5000, 10_000))
    assert.isFalse(Delta.continues(chain, 1, 5001, 10_000))
    // The same for a state so small that nothing else would end its chain.
    const small = { keyframeVersion: 1, keyframeBytes: 20, deltaBytes: 0 }
    assert.isTrue(Delta.continues(small, 1, 10, 20))
    assert.isFalse(Delta.continues(small, 1, 11, 20))
  })

  it("Delta.continues is false once the deltas, with 200 bytes a row, are as large as the state or 4 KiB", () => {
    const chain = (deltaBytes: number) => ({ keyframeVersion: 1, keyframeBytes: 3000, deltaBytes })
    // Two rows are read: the one before, and this one.
    assert.isTrue(Delta.continues(chain(9499), 2, 100, 10_000))
    assert.isFalse(Delta.continues(chain(9500), 2, 100, 10_000))
    assert.isTrue(Delta.continues(chain(9299), 3, 100, 10_000))
    assert.isFalse(Delta.continues(chain(9300), 3, 100, 10_000))
    assert.isTrue(Delta.continues(chain(3595), 2, 100, 1000))
    assert.isFalse(Delta.continues(chain(3596), 2, 100, 1000))
  })

  it("Delta.continues is false once the deltas and the keyframe are as large as two states", () => {
    const chain = (keyframeBytes: number) => ({ keyframeVersion: 1, keyframeBytes, deltaBytes: 2000 })
    assert.isTrue(Delta.continues(chain(17_699), 1, 100, 10_000))
    assert.isFalse(Delta.continues(chain(17_700), 1, 100, 10_000))
  })

  it("Delta.apply refuses a patch that does not fit, and changes nothing", () => {
    const state = { list: [1, 2], text: "x" }
    for (
      const patch of [
        {},
        "x",
        [null],
        [{ op: "move", path: "/list/0", from: "/text" }],
        [{ op: "add", path: "/list/4", value: 1 }],
        [{ op: "replace", path: "/list/2", value: 1 }],
        [{ op: "remove", path: "/list/-1" }],
        [{ op: "remove", path: "/list/00" }],
        [{ op: "replace", path: "/nothing", value: 1 }],
        [{ op: "add", path: "/nothing/x", value: 1 }],
        [{ op: "add", path: "/text/x", value: 1 }],
        [{ op: "add", path: "/toString/x", value: 1 }],
        [{ op: "add", path: "list", value: 1 }],
        [{ op: "add", path: "/x" }],
        [{ op: "remove", path: "" }]
      ] as ReadonlyArray<Schema.Json>
    ) {
      assert.isTrue(Result.isFailure(Delta.apply(patch, state, Delta.noCopies())), JSON.stringify(patch))
      assert.deepStrictEqual(state, { list: [1, 2], text: "x" })
    }
  })
})
