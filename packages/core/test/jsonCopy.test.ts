import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import { runInNewContext } from "node:vm"
import * as Json from "../src/internal/json.ts"

const AnyJson = Arbitrary.schema(Schema.Json)

const runs = { arbitrary: { runs: 500, seed: process.env["CHECKPOINT_TEST_SEED"] } }

/** All objects and arrays in a value. */
const containers = (value: unknown): ReadonlyArray<object> =>
  typeof value !== "object" || value === null ? [] : [value, ...Object.values(value).flatMap(containers)]

const copied = (value: unknown, before?: Schema.Json) => Result.getOrThrow(Json.copy(value, before))

describe("Json.copy", () => {
  it.prop("Json.copy of JSON is equal to it, and shares nothing with it", [AnyJson, AnyJson], ([value, before]) => {
    const original = structuredClone(value)
    const copy = copied(value, before)
    assert.isTrue(Json.equals(copy, original))
    const theirs = new Set(containers(value))
    assert.isFalse(containers(copy).some((container) => theirs.has(container)))
  }, runs)

  it.prop("Json.copy shares what is equal to the state that was there before", [AnyJson], ([before]) => {
    const ours = new Set(containers(before))
    const isShared = (value: Schema.Json) => containers(value).every((container) => ours.has(container))
    assert.isTrue(isShared(copied(structuredClone(before), before)))
    const { list } = copied({ list: [structuredClone(before), { new: 1 }] }, { list: [before] }) as {
      readonly list: readonly [Schema.Json, Schema.Json]
    }
    assert.isTrue(isShared(list[0]))
    assert.deepStrictEqual(list[1], { new: 1 })
  }, runs)

  it("Json.copy reads each property once", () => {
    const reads = new Map<PropertyKey, number>()
    const counting = (target: object): object =>
      new Proxy(target, {
        get: (target, key, receiver) => {
          reads.set(key, (reads.get(key) ?? 0) + 1)
          const value: unknown = Reflect.get(target, key, receiver)
          return typeof value === "object" && value !== null ? counting(value) : value
        }
      })
    copied(counting({ a: { b: [1, { c: 2 }] } }), { a: { b: [1, { c: 3 }], d: 1 } })
    for (const key of ["a", "b", "c", "0", "1", "length"]) assert.strictEqual(reads.get(key), 1, key)
  })

  it("Json.copy refuses what is not JSON with its place, even if it resembles what was there", () => {
    const before = { a: {}, b: 1 }
    const places: ReadonlyArray<readonly [unknown, RegExp]> = [
      [Number.NaN, /NaN is not a JSON number at \$\["a"\]/],
      [undefined, /undefined is not JSON at \$\["a"\]/],
      [new Date(), /an instance of Date is not JSON at \$\["a"\]/],
      [new Map(), /an instance of Map is not JSON/],
      [Object.create({ inherited: 1 }), /an instance of Object is not JSON/],
      [1n, /a bigint is not JSON/],
      [() => 1, /a function is not JSON/],
      [Symbol("s"), /a symbol is not JSON/],
      [{ [Symbol("s")]: 1 }, /the key Symbol\(s\) is not JSON at \$\["a"\]/],
      [{ toJSON: () => 1 }, /a function is not JSON at \$\["a"\]\["toJSON"\]/],
      [Array(2), /undefined is not JSON at \$\["a"\]\[0\]/],
      [
        {
          get x(): number {
            throw new Error("no")
          }
        },
        /it cannot be read \(no\) at \$\["a"\]\["x"\]/
      ]
    ]
    for (const [value, problem] of places) {
      for (const known of [undefined, before]) {
        assert.match(Result.getOrThrow(Result.flip(Json.copy({ a: value, b: 1 }, known))), problem)
      }
    }
  })

  it("Json.copy refuses more than 1,000 levels, circular values among them", () => {
    const nest = (levels: number): Schema.Json => levels === 0 ? 0 : [nest(levels - 1)]
    assert.isTrue(Result.isSuccess(Json.copy(nest(1000))))
    assert.isTrue(Result.isFailure(Json.copy(nest(1001))))
    const circular: { self?: unknown } = {}
    circular.self = circular
    assert.match(Result.getOrThrow(Result.flip(Json.copy(circular))), /more than 1000 levels of nesting/)
  })

  it("Json.copy takes an array for its elements, whatever methods it has", () => {
    const array = Object.assign([1, 2], { toJSON: () => "other" })
    assert.strictEqual(Json.encodeJson(copied({ array })).text, "{\"array\":[1,2]}")
  })

  it("Json.copy takes plain objects of another realm and without a prototype, and -0 as 0", () => {
    const foreign: unknown = runInNewContext("({ a: [1] })")
    assert.deepStrictEqual(copied(foreign), { a: [1] })
    assert.deepStrictEqual(copied(Object.assign(Object.create(null), { a: -0 })), { a: 0 })
  })
})

describe("Json.inOrder", () => {
  it("Json.inOrder sorts keys by their length in UTF-8, and those of one length by code points", () => {
    const keys = ["", "z", "é", "aa", "€", "zzz", "\u{1f600}", "\uffff\uff01", "ab", "A"]
    const text = Json.inOrder(JSON.stringify({ list: [Object.fromEntries(keys.map((key) => [key, 1]))] }))
    const sorted = ["", "A", "z", "aa", "ab", "é", "zzz", "€", "\u{1f600}", "\uffff\uff01"]
    assert.strictEqual(text, JSON.stringify({ list: [Object.fromEntries(sorted.map((key) => [key, 1]))] }))
  })
})
