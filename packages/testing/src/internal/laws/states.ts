import { Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  asRead,
  fails,
  fresh,
  freshThread,
  type Group,
  historyOf,
  patient,
  plainThread,
  putAll,
  randomText,
  range,
  refuses,
  stateAt
} from "./suite.ts"

/** From the parser, since `__proto__` is not a key in a literal. */
const oddKeys: Schema.JsonObject = JSON.parse(`{
  "__proto__": { "__proto__": null, "a": 1 },
  "constructor": { "prototype": 1 },
  "toString": "text", "hasOwnProperty": 0, "toJSON": null, "length": 3, "then": [],
  "": { "": [] }, " ": 1, "0": 2, "-1": 3, "a.b": 4, "a/b": 5, "a~1b": 6, "~0": 7, "$": 8, "'": 9, "\\"": 10, "\\\\": 11,
  "\\u0000": 12, "\\ud800": 13, "\\udc00\\ud800": 14, "\\u001a": 15, "\\u001a0000": 16, "\\\\u0000": 17, "\\u001a001a": 18
}`)

const samples: ReadonlyArray<{ readonly name: string; readonly state: Schema.Json }> = [
  { name: "null", state: null },
  { name: "true", state: true },
  { name: "false", state: false },
  { name: "a number", state: -1.5 },
  { name: "a string", state: "text" },
  { name: "the empty string", state: "" },
  { name: "the empty array", state: [] },
  { name: "the empty object", state: {} },
  { name: "emptiness within emptiness", state: [[], {}, "", null, [[]], [{}], { a: [], b: {}, c: null, d: "" }] },
  {
    name: "numbers at the limits of what a double holds",
    state: [
      0,
      5e-324,
      -5e-324,
      2.2250738585072014e-308,
      1.7976931348623157e308,
      -1.7976931348623157e308,
      0.1 + 0.2,
      1 / 3,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
      1e21,
      1e-7,
      123456789012345680000,
      4.35,
      1e23
    ]
  },
  {
    name: "text of many scripts",
    state: ["ñ", "n\u0303", "漢字", "עברית", "🎉", "👩‍👩‍👧", "\u202e", "\u2028\u2029", "\ufeff", "\uffff"]
  },
  {
    name: "control characters",
    state: range(1, 31).map((code) => String.fromCharCode(code)).join("") + "\u007f\u0080"
  },
  { name: "U+0000", state: ["\u0000", "a\u0000b", "\u0000\u0000", { "\u0000": "\u0000" }] },
  { name: "U+0000 at the root", state: "\u0000" },
  {
    name: "lone surrogates",
    state: ["\ud800", "\udfff", "\udc00\ud800", "a\ud800", "\ud800a", "\ud83c\ud83c\udf89", {
      "\ud800": 1,
      "\udbff": 2
    }]
  },
  {
    name: "text that looks like an escape",
    state: ["\u001a", "\u001a\u001a", "\u001a0000", "\u001a001a", "\u001ad800", "\u001a000", "\u001a\u0000", "\\u0000"]
  },
  { name: "an escape only in a key", state: { "\u001a0000": 1 } },
  { name: "keys that mean something to JavaScript or SQL", state: oddKeys },
  { name: "text that is SQL", state: "'; DROP TABLE checkpoints; -- $1 %s :x ?" },
  { name: "text that is JSON", state: "{\"a\":[1,null]}" },
  { name: "a long string", state: "0123456789".repeat(20_000) },
  { name: "10,000 keys", state: Object.fromEntries(range(0, 9999).map((i) => [`key ${i}`, i])) },
  { name: "10,000 elements", state: range(0, 9999).map((i) => ({ i })) }
]

/** An array in as many levels of arrays or objects. */
const nested = (levels: number, wrap: (inner: Schema.Json) => Schema.Json): Schema.Json => {
  let state: Schema.Json = []
  for (let i = 1; i < levels; i++) state = wrap(state)
  return state
}

const wraps: ReadonlyArray<{ readonly name: string; readonly wrap: (inner: Schema.Json) => Schema.Json }> = [
  { name: "arrays", wrap: (inner) => [inner] },
  { name: "objects", wrap: (inner) => ({ a: inner }) }
]

interface Tree extends ReadonlyArray<Tree> {}

const Tree: Schema.Codec<Tree> = Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))

const depthOf = (state: Schema.Json): number => {
  let depth = 0
  let inner: Schema.Json | undefined = state
  while (typeof inner === "object" && inner !== null) {
    depth++
    inner = Object.values(inner)[0]
  }
  return depth
}

/** Strings of any UTF-16 code units, often those that cause trouble. */
export const AnyText = Arbitrary.map(
  Arbitrary.array(
    Arbitrary.schema(
      Schema.Union([
        Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff })),
        Schema.Literals([0, 0x1a, 0x30, 0x5c, 0x22, 0x27, 0xd800, 0xdbff, 0xdc00, 0xdfff])
      ])
    ),
    { maxLength: 12 }
  ),
  (units) => String.fromCharCode(...units)
)

const AnyJson = Arbitrary.schema(Schema.Json)

/** JSON with such strings as keys and values. */
export const AnyTextJson: Arbitrary.Arbitrary<Schema.Json> = Arbitrary.map(
  Arbitrary.all([AnyJson, Arbitrary.array(Arbitrary.all([AnyText, AnyText]), { maxLength: 4 })]),
  ([json, entries]) => ({ json, entries: Object.fromEntries(entries) })
)

/** A change of a list such as an agent's step or a person's correction makes. */
const Edit = Schema.TaggedUnion({
  Append: { value: Schema.Json },
  Insert: { at: Schema.Int, value: Schema.Json },
  Replace: { at: Schema.Int, value: Schema.Json },
  Remove: { at: Schema.Int },
  Reverse: {},
  Clear: {}
})

const edit = (list: ReadonlyArray<Schema.Json>, edit: typeof Edit.Type): ReadonlyArray<Schema.Json> => {
  const indexOf = (at: number): number => list.length === 0 ? 0 : Math.abs(at) % list.length
  switch (edit._tag) {
    case "Append":
      return [...list, edit.value]
    case "Insert":
      return list.toSpliced(indexOf(edit.at), 0, edit.value)
    case "Replace":
      return list.toSpliced(indexOf(edit.at), 1, edit.value)
    case "Remove":
      return list.toSpliced(indexOf(edit.at), 1)
    case "Reverse":
      return list.toReversed()
    case "Clear":
      return []
  }
}

const walkOf = (first: ReadonlyArray<Schema.Json>, edits: ReadonlyArray<typeof Edit.Type>): Array<Schema.Json> => {
  const walk: Array<Schema.Json> = [first]
  let list = first
  for (const step of edits) {
    list = edit(list, step)
    walk.push({ list, steps: walk.length })
  }
  return walk
}

/** Saves the states as versions of one thread, and reads them back in all ways. */
const readsBack = Effect.fnUntraced(function*(walk: ReadonlyArray<Schema.Json>) {
  const [checkpointer, threadId] = yield* plainThread
  const expected = asRead(walk)
  yield* putAll(checkpointer, threadId, walk)
  const history = yield* historyOf(checkpointer, threadId)
  assert.deepStrictEqual(history.toReversed().map((checkpoint) => checkpoint.state), expected)
  for (const [i, state] of expected.entries()) {
    assert.deepStrictEqual(yield* stateAt(checkpointer, threadId, i + 1), state)
  }
  assert.deepStrictEqual(Option.getOrThrow(yield* checkpointer.get(threadId)).state, expected.at(-1))
})

/**
 * Leaves keys in V8's `JSON.parse` (https://github.com/nodejs/node/issues/63785), which then returns them instead of
 * the escaped keys of other objects with the same shape.
 */
const poisonParser: Effect.Effect<void> = Effect.sync(() => {
  for (const first of ["!", "x", "a", "task"]) {
    for (const second of ["\\\\", "\\n", "\\u001a0000", "\\\""]) JSON.parse(`{"${first}":{},"${second}":0}`)
  }
})

/** A state of values that JSON cannot express directly. */
const Rich = Schema.Struct({
  at: Schema.DateTimeUtc,
  amount: Schema.BigInt,
  bytes: Schema.Uint8Array,
  note: Schema.Option(Schema.String),
  ratio: Schema.Number,
  nickname: Schema.optionalKey(Schema.String),
  step: Schema.TaggedUnion({
    Waiting: { since: Schema.DateTimeUtc, for: Schema.Option(Schema.BigInt) },
    Done: { results: Schema.Array(Schema.Finite) }
  })
})

const sameRich = Schema.toEquivalence(Rich)

const richSamples: ReadonlyArray<typeof Rich.Type> = [
  {
    at: DateTime.makeUnsafe(1_700_000_000_123),
    amount: 2n ** 200n,
    bytes: Uint8Array.from([0, 255, 26, 128]),
    note: Option.some("\u0000"),
    ratio: Number.NaN,
    nickname: "",
    step: { _tag: "Waiting", since: DateTime.makeUnsafe(0), for: Option.none() }
  },
  {
    at: DateTime.makeUnsafe(-1),
    amount: -1n,
    bytes: new Uint8Array(),
    note: Option.none(),
    ratio: Number.NEGATIVE_INFINITY,
    step: { _tag: "Done", results: [0.1, 5e-324] }
  }
]

class Money {
  readonly cents = 1
}

const cyclic: { self?: unknown } = {}
cyclic.self = cyclic

/** Values that are not JSON. */
const notJson: ReadonlyArray<{ readonly name: string; readonly value: unknown }> = [
  { name: "NaN", value: Number.NaN },
  { name: "Infinity", value: Number.POSITIVE_INFINITY },
  { name: "-Infinity", value: Number.NEGATIVE_INFINITY },
  { name: "undefined", value: undefined },
  { name: "a Date", value: DateTime.toDateUtc(DateTime.makeUnsafe(0)) },
  { name: "a DateTime", value: DateTime.makeUnsafe(0) },
  { name: "a Map", value: new Map([["a", 1]]) },
  { name: "a Set", value: new Set([1]) },
  { name: "a bigint", value: 1n },
  { name: "a function", value: () => 1 },
  { name: "a symbol", value: Symbol.for("a") },
  { name: "a symbol as a key", value: { a: 1, [Symbol.for("a")]: 1 } },
  { name: "a class instance", value: new Money() },
  { name: "a subclass of Array", value: new (class extends Array {})() },
  { name: "an error", value: new Error("no") },
  { name: "a regular expression", value: /a/ },
  { name: "bytes", value: Uint8Array.from([1]) },
  { name: "a boxed string", value: Object("a") },
  { name: "an Option", value: Option.some(1) },
  { name: "an effect", value: Effect.void }
]

export const states: Group = (it, properties) => {
  describe("states", patient, () => {
    it.effect.each(samples)("a saved state reads back: $name", ({ state }) =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const saved = yield* checkpointer.append({ threadId, state })
        assert.strictEqual(saved.state, state)
        assert.deepStrictEqual(yield* stateAt(checkpointer, threadId, 1), state)
      }))

    it.effect.each(samples)("a saved state reads back through a view: $name", ({ state }) =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state })
        assert.deepStrictEqual(yield* stateAt(view, threadId, 1), state)
      }))

    it.effect("a thread whose state changes from each kind to each other kind reads all of them back", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const small = samples.map((sample) => sample.state).filter((state) => JSON.stringify(state).length < 10_000)
        const walk = small.flatMap((from) => small.flatMap((to) => [from, to]))
        yield* putAll(checkpointer, threadId, walk)
        const read = yield* historyOf(checkpointer, threadId)
        assert.deepStrictEqual(read.map((checkpoint) => checkpoint.state), walk.toReversed())
      }))

    it.effect("the JSON of a thread reads back with its own keys, whatever the process parsed before", () =>
      Effect.gen(function*() {
        const escaped = ["\\", "\n", "\"", "\u001a", "\u001a0000", "a\\b"]
        const values: ReadonlyArray<Schema.JsonObject> = ["!", "x", "a", "task"].flatMap((first) =>
          escaped.map((key) => ({ [first]: {}, [key]: 0 }))
        )
        const [view] = yield* freshThread
        for (const value of values) {
          const threadId = yield* fresh
          yield* poisonParser
          const saved = yield* view.append({
            threadId,
            state: value,
            metadata: value,
            pendingInterrupts: [{ interruptId: "i", request: value }],
            step: { pendingWrites: value }
          })
          yield* poisonParser
          const read = Option.getOrThrow(yield* view.get(threadId))
          assert.deepStrictEqual(
            [
              read.state,
              read.metadata,
              read.pendingInterrupts[0]!.request,
              yield* view.pendingWrites(saved)
            ],
            [value, value, value, value]
          )
          assert.deepStrictEqual((yield* view.update(threadId, (state) => ({ state }))).state, { state: value })
          assert.deepStrictEqual(yield* stateAt(view, threadId, 2), { state: value })
          const found = yield* Stream.runCollect(view.threads({ metadata: value }))
          assert.deepStrictEqual(found.map((thread) => thread.threadId), [threadId])
        }
      }))

    it.effect("a state of -0 reads back as 0", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        yield* checkpointer.append({ threadId, state: -0 })
        assert.isTrue(Object.is(yield* stateAt(checkpointer, threadId, 1), 0))
      }))

    it.effect.each(wraps)(
      "a state of 1,000 levels of $name reads back, and one of 1,001 is a StateEncodeError",
      ({ wrap }) =>
        Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          const [view, threadId] = yield* freshThread
          for (const it of [checkpointer, view]) {
            yield* it.append({ threadId, state: nested(1000, wrap) })
            assert.strictEqual(depthOf(yield* stateAt(it, threadId, 1)), 1000)
            for (const levels of [1001, 5_000, 100_000]) {
              yield* fails(it.append({ threadId, state: nested(levels, wrap) }), "StateEncodeError")
            }
            assert.lengthOf(yield* it.listVersions(threadId), 1)
          }
        })
    )

    it.effect("a state nested deeper than its schema can follow is a StateEncodeError, not a defect", () =>
      Effect.gen(function*() {
        const view = yield* (yield* Checkpointer.Checkpointer).view({ state: Tree, namespace: yield* fresh })
        const threadId = yield* fresh
        const tree = (levels: number) => nested(levels, (inner) => [inner]) as Tree
        yield* fails(view.append({ threadId, state: tree(100_000) }), "StateEncodeError")
        assert.deepStrictEqual(yield* view.listVersions(threadId), [])
        yield* view.append({ threadId, state: tree(100) })
        assert.strictEqual(depthOf((yield* stateAt(view, threadId, 1)) as Schema.Json), 100)
      }))

    it.effect.prop(
      "any JSON state reads back, version after version",
      [Arbitrary.array(AnyJson, { minLength: 1, maxLength: 6 })],
      ([walk]) => readsBack(walk),
      properties
    )

    it.effect.prop(
      "states with strings and keys of any code units read back, version after version",
      [Arbitrary.array(AnyTextJson, { minLength: 1, maxLength: 6 })],
      ([walk]) => readsBack(walk),
      properties
    )

    it.effect.prop(
      "a state that is a list edited step by step reads back as it was after each step",
      [Arbitrary.array(AnyJson, { maxLength: 40 }), Arbitrary.array(Arbitrary.schema(Edit), { maxLength: 12 })],
      ([first, edits]) => readsBack(walkOf(first, edits)),
      properties
    )

    it.effect("a state that is a list growing by one element 600 times reads back as it was each time", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const messages = range(1, 600).map((i) => ({ i, text: `message ${i} `.repeat(8) }))
        yield* Effect.forEach(messages, (_, i) => checkpointer.append({ threadId, state: messages.slice(0, i + 1) }))
        for (const version of [1, 2, 3, 50, 51, 256, 257, 511, 512, 513, 514, 599, 600]) {
          assert.deepStrictEqual(yield* stateAt(checkpointer, threadId, version), messages.slice(0, version))
        }
        const lengths = yield* checkpointer.history(threadId).pipe(
          Stream.map((checkpoint) => (checkpoint.state as ReadonlyArray<Schema.Json>).length),
          Stream.runCollect
        )
        assert.deepStrictEqual(lengths, range(600, 1))
      }))

    it.effect("a state that was read belongs to its reader, who can mutate it without changing what is stored", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const state = { list: [1, 2] }
        const put = yield* checkpointer.append({ threadId, state })
        state.list.push(3)
        const read = yield* stateAt(checkpointer, threadId, 1)
        assert.deepStrictEqual(read, { list: [1, 2] })
        ;(read as typeof state).list.push(4)
        assert.deepStrictEqual(yield* stateAt(checkpointer, threadId, 1), { list: [1, 2] })
        yield* checkpointer.put({ parent: put, state: { list: [1, 2, 3] } })
        assert.deepStrictEqual(yield* stateAt(checkpointer, threadId, 2), { list: [1, 2, 3] })
      }))

    it.effect.each(richSamples)(
      "a state of dates, bigints, bytes, options and unions reads back through its schema: sample %#",
      (state) =>
        Effect.gen(function*() {
          const view = yield* (yield* Checkpointer.Checkpointer).view({ state: Rich, namespace: yield* fresh })
          const threadId = yield* fresh
          yield* view.append({ threadId, state })
          assert.isTrue(sameRich(yield* stateAt(view, threadId, 1), state))
        })
    )

    it.effect.prop(
      "any state of a schema reads back equal through it, version after version",
      [Arbitrary.array(Arbitrary.schema(Rich), { minLength: 1, maxLength: 3 })],
      ([walk]) =>
        Effect.gen(function*() {
          const view = yield* (yield* Checkpointer.Checkpointer).view({ state: Rich, namespace: yield* fresh })
          const threadId = yield* fresh
          yield* putAll(view, threadId, walk)
          const read = (yield* historyOf(view, threadId)).toReversed()
          assert.strictEqual(read.length, walk.length)
          walk.forEach((state, i) => assert.isTrue(sameRich(read[i]!.state, state)))
        }),
      properties
    )

    it.effect("a state decoded by a transformation reads back equal", () =>
      Effect.gen(function*() {
        const view = yield* (yield* Checkpointer.Checkpointer).view({
          state: Schema.Struct({ count: Schema.FiniteFromString, at: Schema.DateTimeUtcFromMillis }),
          namespace: yield* fresh
        })
        const threadId = yield* fresh
        yield* view.append({ threadId, state: { count: 1.5, at: DateTime.makeUnsafe(5) } })
        const next = yield* view.update(threadId, ({ at, count }) => ({ count: count + 1, at }))
        assert.strictEqual(next.state.count, 2.5)
        const read = yield* stateAt(view, threadId, 2)
        assert.strictEqual(read.count, 2.5)
        assert.strictEqual(DateTime.toEpochMillis(read.at), 5)
      }))

    it.effect("a state that its schema refuses is a StateEncodeError, and nothing is written", () =>
      Effect.gen(function*() {
        const state = Schema.Struct({ count: Schema.Int })
        const view = yield* (yield* Checkpointer.Checkpointer).view({ state, namespace: yield* fresh })
        const threadId = yield* fresh
        const error = yield* fails(view.append({ threadId, state: { count: 1.5 } }), "StateEncodeError")
        assert.strictEqual(error.threadId, threadId)
        assert.strictEqual(error.namespace, view.namespace)
        assert.include(error.problem, "count")
        assert.isDefined(error.cause)
        assert.deepStrictEqual(yield* view.listVersions(threadId), [])
      }))

    it.effect.each(notJson)(
      "a state with $name is a StateEncodeError that names the place, and nothing is written",
      ({ value }) =>
        Effect.gen(function*() {
          const [checkpointer, threadId] = yield* plainThread
          yield* checkpointer.append({ threadId, state: 1 })
          const inside = yield* fails(
            checkpointer.append({ threadId, state: { a: [0, value] } as never as Schema.Json }),
            "StateEncodeError"
          )
          assert.include(inside.problem, `$["a"][1]`)
          assert.strictEqual(inside.threadId, threadId)
          const root = yield* fails(checkpointer.append({ threadId, state: value as never }), "StateEncodeError")
          assert.match(root.problem, /\$$/)
          yield* fails(checkpointer.update(threadId, () => ({ value }) as never), "StateEncodeError")
          assert.lengthOf(yield* checkpointer.listVersions(threadId), 1)
        })
    )

    it.effect("a state whose properties change each time they are read is saved as it was read once", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        let reads = 0
        const changing = () => {
          const list = {
            item: {
              get n() {
                return { reads: reads++ }
              }
            }
          }
          return Object.defineProperty({}, "list", { enumerable: true, get: () => (reads++ % 2 === 0 ? [list] : list) })
        }
        for (let version = 1; version <= 4; version++) {
          const saved = yield* checkpointer.append({
            threadId,
            state: changing() as never,
            metadata: changing() as never
          })
          assert.strictEqual(saved.version, version)
        }
        assert.strictEqual((yield* checkpointer.update(threadId, changing as never)).version, 5)
        const read = yield* historyOf(checkpointer, threadId)
        assert.lengthOf(read, 5)
        yield* Effect.forEach(
          read,
          ({ state, version }) =>
            Effect.map(
              checkpointer.get(threadId, { version }),
              (found) => assert.deepStrictEqual(Option.getOrThrow(found).state, state)
            )
        )
      }))

    it.effect("a state with a method of its own on an array is saved as its elements, and so is the next one", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const list = (length: number) =>
          Object.assign(range(1, length), { toJSON: () => "other" }) as never as Schema.Json
        for (const length of [20, 21, 3]) yield* checkpointer.append({ threadId, state: { list: list(length) } })
        const read = yield* historyOf(checkpointer, threadId)
        assert.deepStrictEqual(
          read.map(({ state }) => state),
          [3, 21, 20].map((length) => ({ list: range(1, length) }))
        )
      }))

    it.effect("a state with a property that cannot be read is a StateEncodeError, and nothing is written", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const thrower = () => {
          throw new Error("no access")
        }
        const state = { list: [Object.defineProperty({}, "secret", { enumerable: true, get: thrower })] } as never
        const error = yield* fails(checkpointer.append({ threadId, state }), "StateEncodeError")
        assert.include(error.problem, "no access")
        assert.include(error.problem, `$["list"][0]["secret"]`)
        yield* refuses(checkpointer.append({ threadId, state: 1, metadata: state }), "metadata")
        assert.deepStrictEqual(yield* checkpointer.listVersions(threadId), [])
      }))

    it.effect("keys read back in one order: by their length in UTF-8, then by their bytes", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const sorted = [
          "",
          "A",
          "z",
          "aa",
          "ab",
          "\u00e9",
          "zzz",
          "\u20ac",
          "\u{1f600}",
          "\u0000",
          "long key",
          "other key"
        ]
        const object = (keys: ReadonlyArray<string>): Schema.JsonObject =>
          Object.fromEntries(keys.map((key) => [key, key]))
        const keysOf = (value: Schema.Json) => Object.keys(value as object)
        const unsorted = sorted.toReversed()
        const saved = yield* view.append({
          threadId,
          state: { nested: [object(unsorted)] },
          metadata: { nested: object(unsorted) },
          pendingInterrupts: [{ interruptId: "i", request: object(unsorted) }],
          step: { pendingWrites: { b: 1, a: object(unsorted), aa: 2 } }
        })
        const read = Option.getOrThrow(yield* view.get(threadId))
        const { nested: [state] } = read.state as { readonly nested: readonly [Schema.Json] }
        const writes = yield* view.pendingWrites(saved)
        for (const value of [state, read.metadata["nested"]!, read.pendingInterrupts[0]!.request, writes["a"]!]) {
          assert.deepStrictEqual(keysOf(value), sorted)
        }
        assert.deepStrictEqual(keysOf(writes), ["a", "aa", "b"])
        // Keys that come one by one, in changes of the state before, end up at the same places.
        const growing = yield* fresh
        const filler = randomText(2000)
        for (let count = 1; count <= unsorted.length; count++) {
          yield* view.append({ threadId: growing, state: { filler, keys: object(unsorted.slice(0, count)) } })
          yield* view.update(growing, (state) => ({ ...state as object, count }))
        }
        for (const { state } of yield* historyOf(view, growing)) {
          const { keys } = state as { readonly keys: Schema.JsonObject }
          assert.deepStrictEqual(keysOf(keys), sorted.filter((key) => Object.hasOwn(keys, key)))
        }
      }))

    it.effect("a state with a cycle, or with a hole in an array, is a StateEncodeError", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        yield* fails(checkpointer.append({ threadId, state: cyclic as never }), "StateEncodeError")
        const hole = yield* fails(checkpointer.append({ threadId, state: Array(2) as never }), "StateEncodeError")
        assert.include(hole.problem, "$[0]")
        assert.deepStrictEqual(yield* checkpointer.listVersions(threadId), [])
      }))
  })

  describe("metadata, interrupts and next nodes", patient, () => {
    it.effect.each(samples.filter((sample) => JSON.stringify(sample.state).length < 1_000_000))(
      "metadata and an interrupt's request read back: $name",
      ({ state }) =>
        Effect.gen(function*() {
          const [checkpointer, threadId] = yield* plainThread
          const pendingInterrupt = { interruptId: "approve", request: state }
          yield* checkpointer.append({
            threadId,
            state: 0,
            metadata: { value: state },
            pendingInterrupts: [pendingInterrupt]
          })
          const read = Option.getOrThrow(yield* checkpointer.get(threadId))
          assert.deepStrictEqual(read.metadata, { value: state })
          assert.deepStrictEqual(read.pendingInterrupts[0]!, pendingInterrupt)
          const [listed] = yield* checkpointer.listVersions(threadId)
          assert.deepStrictEqual(listed!.metadata, read.metadata)
          assert.deepStrictEqual(listed!.pendingInterrupts, read.pendingInterrupts)
        })
    )

    it.effect("several pending interrupts read back in their order, also in every copy of their version", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const pendingInterrupts = ["b", "a", "\u001a", "c"].map((interruptId, i) => ({ interruptId, request: { i } }))
        const saved = yield* view.append({ threadId, state: 0, pendingInterrupts })
        const copies = [
          saved,
          yield* view.update(threadId, () => 1),
          yield* view.restore(threadId, { version: 1 }),
          yield* view.fork(threadId, { version: 1 }, { threadId: yield* fresh })
        ]
        for (const copy of copies) {
          assert.deepStrictEqual(copy.pendingInterrupts, pendingInterrupts)
          const read = Option.getOrThrow(yield* view.get(copy.threadId, copy))
          assert.deepStrictEqual(read.pendingInterrupts, pendingInterrupts)
          const [listed] = yield* view.listVersions(copy.threadId, { before: copy.version + 1, limit: 1 })
          assert.deepStrictEqual(listed!.pendingInterrupts, pendingInterrupts)
        }
        const threads = yield* Stream.runCollect(view.threads({ interrupted: true }))
        assert.deepStrictEqual(threads.map(({ head }) => head.pendingInterrupts), [
          pendingInterrupts,
          pendingInterrupts
        ])
      }))

    it.effect("metadata with keys that mean something to JavaScript reads back", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        yield* checkpointer.append({ threadId, state: 0, metadata: oddKeys })
        assert.deepStrictEqual(Option.getOrThrow(yield* checkpointer.get(threadId)).metadata, oddKeys)
      }))

    it.effect("metadata and requests 1,000 levels deep read back, and 1,001 are refused", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const deep = (levels: number) => nested(levels, (inner) => [inner])
        const request = (levels: number) => ({ interruptId: "i", request: deep(levels - 1) })
        yield* checkpointer.append({
          threadId,
          state: 0,
          metadata: { deep: deep(999) },
          pendingInterrupts: [request(1000)]
        })
        const read = Option.getOrThrow(yield* checkpointer.get(threadId))
        assert.strictEqual(depthOf(read.metadata), 1000)
        assert.strictEqual(depthOf(read.pendingInterrupts[0]!.request), 999)
        yield* refuses(checkpointer.append({ threadId, state: 0, metadata: { deep: deep(1000) } }), "metadata")
        yield* refuses(
          checkpointer.append({ threadId, state: 0, pendingInterrupts: [request(1001)] }),
          "pendingInterrupts"
        )
        assert.lengthOf(yield* checkpointer.listVersions(threadId), 1)
      }))

    it.effect.prop(
      "any metadata, request and next nodes read back",
      [AnyTextJson, AnyText, Arbitrary.array(AnyText)],
      ([json, text, nextNodes]) =>
        Effect.gen(function*() {
          const [checkpointer, threadId] = yield* plainThread
          const metadata = Object.fromEntries([["json", json], [text, text]])
          const pendingInterrupt = { interruptId: "approve", request: json }
          yield* checkpointer.append({ threadId, state: 0, metadata, pendingInterrupts: [pendingInterrupt], nextNodes })
          const read = Option.getOrThrow(yield* checkpointer.get(threadId))
          assert.deepStrictEqual(read.metadata, asRead(metadata))
          assert.deepStrictEqual(read.pendingInterrupts[0]!, asRead(pendingInterrupt))
          assert.deepStrictEqual(read.nextNodes, nextNodes)
        }),
      properties
    )

    it.effect("next nodes read back in their order, with repetitions", () =>
      Effect.gen(function*() {
        const [checkpointer, threadId] = yield* plainThread
        const nextNodes = ["b", "a", "b", "", "\u0000", "\ud800", "\u001a0000", "c'"]
        yield* checkpointer.append({ threadId, state: 0, nextNodes })
        assert.deepStrictEqual(Option.getOrThrow(yield* checkpointer.get(threadId)).nextNodes, nextNodes)
      }))

    it.effect.each(notJson)(
      "$name in metadata or a request is refused, and nothing is written",
      ({ value }) =>
        Effect.gen(function*() {
          const [checkpointer, threadId] = yield* plainThread
          const bad = { a: [0, value] } as never as Schema.JsonObject
          const reason = yield* refuses(checkpointer.append({ threadId, state: 0, metadata: bad }), "metadata")
          assert.include(reason, `["a"][1]`)
          yield* refuses(
            checkpointer.append({ threadId, state: 0, pendingInterrupts: [{ interruptId: "i", request: bad }] }),
            "pendingInterrupts"
          )
          assert.deepStrictEqual(yield* checkpointer.listVersions(threadId), [])
        })
    )
  })
}
