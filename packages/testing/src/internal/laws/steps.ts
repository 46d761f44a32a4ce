import { Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import {
  anotherService,
  asRead,
  fails,
  freshThread,
  type Group,
  patient,
  putAll,
  range,
  refuses,
  versionsOf
} from "./suite.ts"

const awkward: Schema.JsonObject = {
  "task": { update: [1, -0, null, "\u0000", "\ud800", "\u001a0000"] },
  "__proto__": "own",
  "\u001a0000": "escaped",
  "'; DELETE FROM checkpoint_writes; --": 1e300,
  "🎉": { "k\u0000": {} }
}

/** JSON as text that does not depend on the order of keys. */
const textOf = (json: Schema.Json): string =>
  JSON.stringify(
    json,
    (_, value) =>
      Predicate.isObject(value)
        ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1))
        : value
  )

/** What tasks of a step have done, kept beside the checkpoint that the step begins at. */
export const steps: Group = (it, properties) => {
  describe("pending writes", patient, () => {
    it.effect("what is kept with a checkpoint or saved afterwards reads back, whatever it is", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const first = yield* view.put({ threadId, state: 1, writes: awkward })
        const second = yield* view.put({ parent: first, state: 2, writes: { a: 1 } })
        yield* other.saveWrites(second, awkward)
        const third = yield* view.put({ parent: second, state: 3 })
        yield* view.saveWrites(third, {})
        assert.deepStrictEqual(yield* other.writes(first), asRead(awkward))
        assert.deepStrictEqual(yield* view.writes(second), { ...asRead(awkward), a: 1 })
        assert.deepStrictEqual(yield* view.writes(third), {})
      }))

    it.effect.prop(
      "any JSON can be kept of a task of any name",
      [Arbitrary.schema(Schema.Json), Arbitrary.schema(Schema.Json)],
      ([one, two]) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const saved = yield* view.put({ threadId, state: null, writes: { one } })
          yield* view.saveWrites(saved, { two })
          assert.strictEqual(textOf(yield* view.writes(saved)), textOf({ one, two }))
        }),
      properties
    )

    it.effect("the first value of a task stays", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.put({ threadId, state: 1, writes: { a: "first" } })
        yield* view.saveWrites(saved, { a: "second", b: "first" })
        yield* Effect.forEach(range(1, 16), (i) => view.saveWrites(saved, { b: i, c: "same" }), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(yield* view.writes(saved), { a: "first", b: "first", c: "same" })
      }))

    it.effect("they belong to one version, and nothing of them is in another", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.put({ threadId, state: 1, writes: { a: 1 } })
        const branches = [
          yield* view.put({ parent: first, state: 2, nextNodes: ["a"] }),
          yield* view.restore(threadId, { version: 1 }),
          yield* view.fork(first, { threadId: `${threadId} fork` })
        ]
        for (const branch of branches) assert.deepStrictEqual(yield* view.writes(branch), {})
        assert.deepStrictEqual(yield* view.writes(first), { a: 1 })
      }))

    it.effect("they go on with the next version where it says so, and with an update of what is unfinished", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const pendingInterrupt = { interruptId: "?", request: null }
        const first = yield* view.put({ threadId, state: 1, writes: { a: 1, b: 1 }, nextNodes: ["a", "b"] })
        yield* view.saveWrites(first, { c: 1 })
        const second = yield* view.put({
          parent: first,
          state: 2,
          keepsWrites: true,
          writes: { b: 2 },
          pendingInterrupt
        })
        const third = yield* view.update(threadId, () => 3)
        const fourth = yield* view.updateEffect(threadId, () => Effect.succeed(4))
        for (const version of [second, third, fourth]) {
          assert.deepStrictEqual(yield* view.writes(version), { a: 1, b: 2, c: 1 })
        }
        assert.deepStrictEqual(yield* view.writes(first), { a: 1, b: 1, c: 1 })
        yield* view.put({ threadId, state: 5, writes: { d: 1 } })
        assert.deepStrictEqual(yield* view.writes(yield* view.update(threadId, () => 6)), {})
        assert.deepStrictEqual(
          yield* view.writes(yield* view.restore(threadId, { version: 2 }, { writes: { e: 1 }, metadata: { f: 1 } })),
          { e: 1 }
        )
        const [restored] = yield* view.listVersions(threadId)
        assert.deepStrictEqual(restored!.metadata, { f: 1 })
        assert.deepStrictEqual(restored!.pendingInterrupt, Option.some(pendingInterrupt))
        const begun = yield* view.put({ threadId: `${threadId} new`, state: 1, keepsWrites: true, writes: { a: 1 } })
        assert.deepStrictEqual(yield* view.writes(begun), { a: 1 })
      }))

    it.effect("a version that is not there, or not that one, takes none", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.put({ threadId, state: 1, writes: { a: 1 } })
        for (
          const target of [
            { ...saved, version: 2 },
            { ...saved, checkpointId: "other" },
            { ...saved, threadId: `${threadId} other` }
          ]
        ) {
          yield* fails(view.saveWrites(target, { b: 2 }), "CheckpointNotFound")
          yield* fails(view.writes(target), "CheckpointNotFound")
        }
        yield* refuses(view.saveWrites({ ...saved, namespace: "other" }, { b: 2 }), "target.namespace")
        yield* refuses(view.saveWrites(saved, [] as never), "writes")
        yield* refuses(view.saveWrites(saved, { "": 1 }), "writes")
        yield* refuses(view.saveWrites(saved, { "a\u0000": 1 }), "writes")
        yield* refuses(view.saveWrites(saved, { a: Number.NaN }), "writes")
        yield* refuses(view.put({ threadId, state: 2, writes: { a: undefined as never } }), "writes")
        yield* fails(view.saveWrites(saved, { a: "x".repeat(8 * 1024 * 1024) }), "StateTooLarge")
        assert.deepStrictEqual(yield* view.writes(saved), { a: 1 })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("a put that conflicts keeps none, and one that is repeated keeps them once", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.put({ threadId, state: 1 })
        const put = { parent: first, state: 2, checkpointId: "second", writes: { a: 1 } }
        const second = yield* view.put(put)
        assert.deepStrictEqual(yield* view.put(put), second)
        yield* fails(view.put({ parent: first, state: 3, writes: { a: 2 } }), "VersionConflict")
        assert.deepStrictEqual(yield* view.writes(second), { a: 1 })
        yield* fails(view.writes({ ...second, version: 3 }), "CheckpointNotFound")
      }))

    it.effect("they go with their checkpoint, whether that is pruned or its thread is deleted", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const ids = { threadId, checkpointId: "first", writes: { a: 1 } }
        const first = yield* view.put({ ...ids, state: 1 })
        yield* view.deleteThread(threadId)
        yield* fails(view.writes(first), "CheckpointNotFound")
        // The same place and the same name again.
        const again = yield* view.put({ threadId, checkpointId: "first", state: 1 })
        assert.deepStrictEqual(yield* view.writes(again), {})
        yield* view.setTags(again, ["kept"])
        yield* view.saveWrites(again, { b: 1 })
        const [, third] = yield* putAll(view, threadId, [2, 3, 4])
        yield* view.saveWrites(third!, { c: 1 })
        yield* Checkpointer.Checkpointer.use((service) => service.prune({ maxVersions: 1, namespace: view.namespace }))
        yield* fails(view.writes(third!), "CheckpointNotFound")
        yield* fails(view.saveWrites(third!, { d: 1 }), "CheckpointNotFound")
        assert.deepStrictEqual(yield* view.writes(again), { b: 1 })
        assert.isTrue(Option.isSome(yield* view.get(threadId, { version: 1 })))
      }))
  })
}
