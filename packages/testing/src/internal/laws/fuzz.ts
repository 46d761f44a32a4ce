import { Checkpointer, type CheckpointError } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { AnyText, AnyTextJson } from "./states.ts"
import {
  asRead,
  fails,
  fresh,
  freshThread,
  type Group,
  historyOf,
  type JsonView,
  listing,
  patient,
  putAll,
  stateAt,
  versionsOf
} from "./suite.ts"

/* Any input reads back, or is refused with a typed error. */

// -----------------------------------------------------------------------------
// schemas
// -----------------------------------------------------------------------------

const leaves = {
  String: Schema.String,
  NonEmptyString: Schema.NonEmptyString,
  Number: Schema.Number,
  Finite: Schema.Finite,
  Int: Schema.Int,
  Boolean: Schema.Boolean,
  Null: Schema.Null,
  Undefined: Schema.Undefined,
  BigInt: Schema.BigInt,
  Date: Schema.Date,
  DateTimeUtc: Schema.DateTimeUtc,
  Duration: Schema.Duration,
  Uint8Array: Schema.Uint8Array,
  Json: Schema.Json,
  Literals: Schema.Literals(["a", 1, true]),
  Branded: Schema.String.pipe(Schema.brand("Id")),
  NumberFromString: Schema.FiniteFromString,
  Redacted: Schema.Redacted(Schema.String)
}

type Shape =
  | { readonly _tag: "Leaf"; readonly of: keyof typeof leaves }
  | { readonly _tag: "Struct" | "Tuple" | "Union" | "Tagged"; readonly of: ReadonlyArray<Shape> }
  | { readonly _tag: "Optional" | "OptionalKey" | "Array" | "Record" | "NullOr" | "Option" | "Map"; readonly of: Shape }

/** The description of a schema. */
const Shape: Schema.Codec<Shape> = Schema.Union([
  Schema.TaggedStruct("Leaf", { of: Schema.Literals(Object.keys(leaves) as Array<keyof typeof leaves>) }),
  Schema.Struct({
    _tag: Schema.Literals(["Struct", "Tuple", "Union", "Tagged"]),
    of: Schema.Array(Schema.suspend((): Schema.Codec<Shape> => Shape)).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(3)
    )
  }),
  Schema.Struct({
    _tag: Schema.Literals(["Optional", "OptionalKey", "Array", "Record", "NullOr", "Option", "Map"]),
    of: Schema.suspend((): Schema.Codec<Shape> => Shape)
  })
])

type AnySchema = Schema.Codec<unknown, unknown>

const schemaOf = (shape: Shape): AnySchema => {
  switch (shape._tag) {
    case "Leaf":
      return leaves[shape.of] as AnySchema
    case "Struct":
      return Schema.Struct(Object.fromEntries(shape.of.map((part, i) => [`key ${i}`, schemaOf(part)])))
    case "Tuple":
      return Schema.Tuple(shape.of.map(schemaOf))
    case "Union":
      return Schema.Union(shape.of.map(schemaOf))
    case "Tagged":
      return Schema.Union(shape.of.map((part, i) => Schema.TaggedStruct(`tag ${i}`, { value: schemaOf(part) })))
    case "Optional":
      return Schema.Struct({ value: Schema.optional(schemaOf(shape.of)) })
    case "OptionalKey":
      return Schema.Struct({ value: Schema.optionalKey(schemaOf(shape.of)) })
    case "Array":
      return Schema.Array(schemaOf(shape.of))
    case "Record":
      return Schema.Record(Schema.String, schemaOf(shape.of))
    case "NullOr":
      return Schema.NullOr(schemaOf(shape.of))
    case "Option":
      return Schema.Option(schemaOf(shape.of))
    case "Map":
      return Schema.ReadonlyMap(Schema.String, schemaOf(shape.of))
  }
}

/** A schema and some values of it. */
const AnyState = Arbitrary.flatMap(
  Arbitrary.schema(Shape),
  (shape) =>
    Arbitrary.map(
      Arbitrary.array(Arbitrary.schema(schemaOf(shape)), { minLength: 1, maxLength: 4 }),
      (walk) => ({ shape, walk })
    )
)

/** What the schema does without a store: encodes a value, and encodes again what it decodes from JSON. */
const through = (schema: AnySchema) => {
  const codec = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownResult(codec)
  const decode = Schema.decodeUnknownResult(codec)
  return { encode, reencode: (json: Schema.Json) => Result.flatMap(decode(asRead(json)), encode) }
}

// -----------------------------------------------------------------------------
// names, filters and cursors
// -----------------------------------------------------------------------------

type InputError = Checkpointer.WriteError | Checkpointer.ReadError | CheckpointError.CheckpointNotFound

/** Checks that the effect succeeds if all of the texts can be ids, and that it is refused otherwise. */
const acceptedOrRefused = <A, E extends InputError, R>(effect: Effect.Effect<A, E, R>, ids: ReadonlyArray<string>) =>
  Effect.map(Effect.result(effect), (result) => {
    const isFine = ids.every((id) => id !== "" && id.isWellFormed() && !id.includes("\u0000"))
    if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "InvalidInput", String(result.failure))
    assert.strictEqual(Result.isSuccess(result), isFine)
    return Result.getSuccess(result)
  })

/** Whether JSON contains other JSON, as Postgres defines `@>`. */
const contains = (whole: unknown, part: unknown): boolean => {
  if (Array.isArray(part)) {
    return Array.isArray(whole) && part.every((item) => whole.some((other) => contains(other, item)))
  }
  if (typeof part !== "object" || part === null) return whole === part
  return typeof whole === "object" && whole !== null && !Array.isArray(whole) &&
    Object.keys(part).every((key) =>
      Object.hasOwn(whole, key) && contains((whole as Schema.JsonObject)[key], (part as Schema.JsonObject)[key])
    )
}

/** A part of the JSON, chosen by the booleans. */
const partOf = (json: Schema.Json, turns: ReadonlyArray<boolean>, depth = 0): Schema.Json => {
  const isKept = (i: number): boolean => turns[(i + depth) % turns.length] ?? true
  if (Array.isArray(json)) {
    return json.filter((_, i) => isKept(i)).map((item: Schema.Json) => partOf(item, turns, depth + 1)).toReversed()
  }
  if (typeof json !== "object" || json === null) return json
  return Object.fromEntries(
    Object.entries(json).filter((_, i) => isKept(i)).map(([key, item]) => [key, partOf(item, turns, depth + 1)])
  )
}

/** Numbers of all kinds, often near the version numbers of a thread. */
const AnyNumber = Arbitrary.schema(Schema.Union([
  Schema.Number,
  Schema.Int,
  Schema.Literals([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 9999, 10_000, 10_001, 2 ** 31, 2 ** 53 - 1, 2 ** 53, -1, 0.5])
]))

const isWhole = (value: number, most: number): boolean => Number.isInteger(value) && value >= 1 && value <= most

/** Texts that are SQL, or that would be if they were pasted into it. */
const sqlTexts = [
  "'; DROP TABLE checkpoints; --",
  "\"; DROP SCHEMA effect_checkpoint CASCADE; --",
  "' OR '1'='1",
  "\\'; SELECT pg_sleep(60); --",
  "$1",
  "$$; DELETE FROM effect_checkpoint.checkpoints; $$",
  "$function$; DELETE FROM effect_checkpoint.checkpoints; $function$",
  "?",
  ":x",
  "%s%n",
  "/* */ UNION ALL SELECT NULL --",
  "a') RETURNING *; --",
  "{\"a\":1}",
  "[\"a\"]",
  "null",
  "NULL",
  "::jsonb",
  "{a,b}",
  "(1,2)",
  "\\x00",
  "E'\\\\000'"
]

const everythingOf = (view: JsonView, threadId: string) =>
  Effect.all([listing(view, threadId), Effect.map(historyOf(view, threadId), (all) => all.map(({ state }) => state))])

export const fuzz: Group = (it, properties) => {
  describe("arbitrary input", patient, () => {
    it.effect.prop(
      "any state of any schema reads back as its schema decodes it, or fails with a typed error",
      [AnyState],
      ([{ shape, walk }]) =>
        Effect.gen(function*() {
          const schema = schemaOf(shape)
          const { encode, reencode } = through(schema)
          const threadId = yield* fresh
          const [raw, other] = yield* freshThread
          const view = yield* (yield* Checkpointer.Checkpointer).view({ state: schema, namespace: raw.namespace })
          const encoded = walk.map((state) => encode(state))
          const saved = encoded.flatMap((json) => Result.isSuccess(json) ? [json.success as Schema.Json] : [])
          for (const [i, state] of walk.entries()) {
            if (Result.isSuccess(encoded[i]!)) yield* view.append({ threadId, state })
            else {
              const error = yield* fails(view.append({ threadId, state }), "StateEncodeError")
              assert.deepStrictEqual([error.threadId, error.namespace], [threadId, raw.namespace])
            }
          }
          yield* raw.append({ threadId: other, state: "a neighbour" })
          for (const [i, json] of saved.entries()) {
            const version = i + 1
            assert.deepStrictEqual(yield* stateAt(raw, threadId, version), asRead(json))
            const expected = reencode(json)
            if (Result.isFailure(expected)) {
              const error = yield* fails(view.get(threadId, { version }), "StateDecodeError")
              assert.nestedInclude(error, {
                threadId,
                namespace: raw.namespace,
                version,
                "reason._tag": "SchemaMismatch"
              })
            } else {
              const state = yield* stateAt(view, threadId, version)
              assert.deepStrictEqual(encode(state), expected)
            }
          }
          assert.strictEqual(yield* stateAt(raw, other, 1), "a neighbour")
        }),
      properties
    )

    it.effect.prop(
      "a state read through another schema is what that decodes, or a StateDecodeError that names the version",
      [AnyState, Arbitrary.schema(Shape)],
      ([{ shape, walk }, otherShape]) =>
        Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          const [raw, threadId] = yield* freshThread
          const saved = walk.map((state) => through(schemaOf(shape)).encode(state)).flatMap((json) =>
            Result.isSuccess(json) ? [json.success as Schema.Json] : []
          )
          yield* putAll(raw, threadId, saved)
          const schema = schemaOf(otherShape)
          const other = yield* checkpointer.view({ state: schema, namespace: raw.namespace })
          const decode = Schema.decodeUnknownResult(Schema.toCodecJson(schema))
          for (const [i, json] of saved.entries()) {
            const read = yield* Effect.result(stateAt(other, threadId, i + 1))
            assert.strictEqual(Result.isSuccess(read), Result.isSuccess(decode(asRead(json))))
            if (Result.isFailure(read)) {
              assert.nestedInclude(read.failure, {
                _tag: "StateDecodeError",
                "reason._tag": "SchemaMismatch",
                threadId,
                version: i + 1
              })
              assert.deepStrictEqual((read.failure as CheckpointError.StateDecodeError).raw, asRead(json))
            }
          }
          assert.lengthOf(yield* versionsOf(other, threadId), saved.length)
        }),
      properties
    )

    it.effect.prop(
      "any text works as a thread id, checkpoint id, tag, task and interrupt id, or is refused",
      [AnyText, AnyText, AnyText, AnyText, AnyText],
      ([thread, checkpointId, tag, task, interruptId]) =>
        Effect.gen(function*() {
          const [view, other] = yield* freshThread
          yield* view.append({ threadId: other, state: "a neighbour" })
          const before = yield* everythingOf(view, other)
          const threadId = `${thread} of ${other}`
          const pendingInterrupt = { interruptId, request: thread }
          const put = view.append({
            threadId,
            checkpointId,
            pendingInterrupts: [pendingInterrupt],
            state: thread,
            step: { pendingWrites: { [task]: tag } }
          })
          const saved = Option.getOrUndefined(
            yield* acceptedOrRefused(put, [threadId, checkpointId, task, interruptId])
          ) ?? Option.getOrUndefined(yield* acceptedOrRefused(view.append({ threadId, state: thread }), [threadId]))
          if (saved !== undefined) {
            yield* acceptedOrRefused(view.setTags(saved.threadId, saved, [tag]), [tag])
            const byTag = yield* acceptedOrRefused(view.get(threadId, { tag }), [tag])
            if (Option.isSome(byTag)) assert.strictEqual(Option.getOrThrow(byTag.value).state, thread)
            const byId = yield* view.get(threadId, { checkpointId: saved.checkpointId })
            assert.strictEqual(Option.getOrThrow(byId).state, thread)
            yield* acceptedOrRefused(
              Effect.catchTag(view.savePendingWrites(saved, { [task]: "late" }), "VersionConflict", Effect.die),
              [task]
            )
            const writes = yield* view.pendingWrites(saved)
            if (saved.checkpointId === checkpointId) assert.deepStrictEqual(writes, { [task]: tag })
            assert.strictEqual(yield* view.deleteThread(threadId), 1)
          }
          assert.deepStrictEqual(yield* everythingOf(view, other), before)
        }),
      properties
    )

    it.effect.prop(
      "a filter by any metadata finds the threads whose metadata contains it",
      [
        Arbitrary.array(AnyTextJson, { minLength: 1, maxLength: 4 }),
        Arbitrary.array(Arbitrary.schema(Schema.Boolean), { maxLength: 6 })
      ],
      ([values, turns]) =>
        Effect.gen(function*() {
          const [view] = yield* freshThread
          const all = asRead(values).map((value, i): readonly [string, Schema.JsonObject] => [`${i}`, { value }])
          for (const [threadId, metadata] of all) yield* view.append({ threadId, state: 0, metadata })
          const filters = [...all, ...all.map(([id, json]) => [id, partOf(json, turns) as Schema.JsonObject] as const)]
          for (const [threadId, metadata] of filters) {
            const found = (yield* Stream.runCollect(view.threads({ metadata }))).map((thread) => thread.threadId)
            assert.include(found, threadId)
            assert.sameMembers(found, all.filter(([, whole]) => contains(whole, metadata)).map(([id]) => id))
          }
        }),
      properties
    )

    it.effect.prop(
      "any number as a version, limit or time selects the right versions, or is refused",
      [AnyNumber, AnyNumber],
      ([before, limit]) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          yield* putAll(view, threadId, [1, 2, 3, 4, 5])
          const isVersion = isWhole(before, Number.MAX_SAFE_INTEGER)
          const below = [5, 4, 3, 2, 1].filter((version) => version < before)
          const list = yield* Effect.result(view.listVersions(threadId, { before, limit }))
          if (isVersion && isWhole(limit, 10_000)) {
            assert.deepStrictEqual(Result.getOrThrow(list).map(({ version }) => version), below.slice(0, limit))
          } else assert.strictEqual(Result.getOrThrow(Result.flip(list))._tag, "InvalidInput")
          const history = yield* Effect.result(Stream.runCollect(view.history(threadId, { before })))
          if (isVersion) assert.deepStrictEqual(Result.getOrThrow(history).map(({ state }) => state), below)
          else assert.strictEqual(Result.getOrThrow(Result.flip(history))._tag, "InvalidInput")
          const read = yield* Effect.result(view.get(threadId, { version: limit }))
          if (isWhole(limit, Number.MAX_SAFE_INTEGER)) {
            assert.strictEqual(Option.isSome(Result.getOrThrow(read)), limit <= 5)
          } else assert.strictEqual(Result.getOrThrow(Result.flip(read))._tag, "InvalidInput")
          const time = DateTime.make(before)
          if (Option.isSome(time)) {
            const then = yield* view.getAtTime(threadId, time.value)
            if (before <= -1) assert.isTrue(Option.isNone(then))
          }
        }),
      properties
    )

    it.effect("SQL in any argument is only text", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const [bystander, other] = yield* freshThread
        yield* bystander.append({ threadId: other, state: "a neighbour", metadata: { kept: true } })
        const before = yield* everythingOf(bystander, other)
        for (const text of sqlTexts) {
          const namespace = `${text} ${yield* fresh}`
          const view = yield* checkpointer.view({ state: Schema.Json, namespace })
          const content = {
            state: { [text]: text },
            metadata: { [text]: [text] },
            nextNodes: [text],
            pendingInterrupts: [{ interruptId: text, request: text }],
            step: { pendingWrites: { [text]: text } }
          }
          const saved = yield* view.append({ threadId: text, checkpointId: text, ...content })
          const tagged = yield* view.setTags(saved.threadId, saved, [text])
          assert.deepStrictEqual(tagged.tags, [text])
          yield* view.savePendingWrites(saved, { [`${text}2`]: text })
          assert.deepStrictEqual(yield* view.pendingWrites(saved), { [text]: text, [`${text}2`]: text })
          for (const selector of [{ checkpointId: text }, { tag: text }, { version: 1 }]) {
            const read = Option.getOrThrow(yield* view.get(text, selector))
            assert.deepStrictEqual(read, { ...saved, tags: [text] })
          }
          yield* view.update(text, (state) => [state, text])
          yield* view.restore(text, { tag: text }, { checkpointId: `${text}2`, metadata: { [text]: text } })
          yield* view.fork(saved.threadId, saved, { threadId: `${text}2`, checkpointId: text })
          const filtered = yield* Stream.runCollect(view.threads({ metadata: { [text]: text } }))
          assert.deepStrictEqual(filtered.map((thread) => thread.threadId), [text])
          yield* putAll(view, text, [text, text])
          const report = yield* checkpointer.prune({ maxVersions: 1, compact: true, namespace })
          assert.strictEqual(report.versions, 3)
          assert.include(report.threads[0], { threadId: text, namespace, deleted: false })
          assert.deepStrictEqual(yield* versionsOf(view, text), [5, 1])
          assert.strictEqual(yield* view.deleteThread(text), 2)
          assert.strictEqual(yield* view.deleteThread(`${text}2`), 1)
        }
        assert.deepStrictEqual(yield* everythingOf(bystander, other), before)
      }))
  })
}
