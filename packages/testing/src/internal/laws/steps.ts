import { Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import {
  anotherService,
  asRead,
  fails,
  freshThread,
  type Group,
  jsonView,
  patient,
  randomText,
  range,
  refuses,
  versionsOf
} from "./suite.ts"

const awkward: Schema.JsonObject = {
  "task": { update: [1, -0, null, "\u0000", "\ud800", "\u001a0000"] },
  "__proto__": "own",
  "\u001a0000": "escaped",
  "'; DELETE FROM checkpoint_pending_writes; --": 1e300,
  "🎉": { "k\u0000": {} }
}

/** JSON as text, whatever the order of its keys. */
const textOf = (json: Schema.Json): string =>
  JSON.stringify(
    json,
    (_, value) =>
      Predicate.isObject(value)
        ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1))
        : value
  )

/** Results of tasks, which belong to a step, and which all its versions share. */
export const steps: Group = (it, properties) => {
  describe("pending writes", patient, () => {
    it.effect("pending writes read back, whether they were saved with a checkpoint or after it", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const first = yield* view.append({ threadId, state: 1, step: { pendingWrites: awkward } })
        assert.deepStrictEqual(yield* other.pendingWrites(first), asRead(awkward))
        const second = yield* view.put({ parent: first, state: 2, step: { pendingWrites: { a: 1 } } })
        yield* other.savePendingWrites(second, awkward)
        assert.deepStrictEqual(yield* view.pendingWrites(second), { ...asRead(awkward), a: 1 })
        const third = yield* view.put({ parent: second, state: 3 })
        yield* view.savePendingWrites(third, {})
        assert.deepStrictEqual(yield* view.pendingWrites(third), {})
      }))

    it.effect.prop(
      "pending writes of any JSON read back",
      [Arbitrary.schema(Schema.Json), Arbitrary.schema(Schema.Json)],
      ([one, two]) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const saved = yield* view.append({ threadId, state: null, step: { pendingWrites: { one } } })
          yield* view.savePendingWrites(saved, { two })
          assert.strictEqual(textOf(yield* view.pendingWrites(saved)), textOf({ one, two }))
        }),
      properties
    )

    it.effect("pending writes keep the first value of a task", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1, step: { pendingWrites: { a: "first" } } })
        yield* view.savePendingWrites(saved, { a: "second", b: "first" })
        yield* Effect.forEach(range(1, 16), (i) => view.savePendingWrites(saved, { b: i, c: "same" }), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(yield* view.pendingWrites(saved), { a: "first", b: "first", c: "same" })
      }))

    it.effect("pending writes end with their step: the versions before another one have none, and take none", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        for (const change of ["Begins", "Ends"] as const) {
          const first = yield* view.append({ threadId, state: 1, step: { pendingWrites: { a: 1 } } })
          const second = yield* view.put({ parent: first, state: 2, step: { change, pendingWrites: { b: 1 } } })
          for (const reader of [view, other]) {
            assert.deepStrictEqual(yield* reader.pendingWrites(first), {})
            assert.deepStrictEqual(yield* reader.pendingWrites(second), { b: 1 })
            const conflict = yield* fails(reader.savePendingWrites(first, { a: 2 }), "VersionConflict")
            assert.strictEqual(conflict.expected, first.version)
            assert.strictEqual(conflict.actual, second.version)
          }
          assert.deepStrictEqual(yield* view.pendingWrites(second), { b: 1 })
        }
        // A put that begins a step says nothing about the ones before, and has none of theirs.
        const plain = yield* view.append({ threadId, state: 3 })
        assert.deepStrictEqual(yield* view.pendingWrites(plain), {})
        assert.include(
          yield* refuses(view.put({ parent: plain, state: 4, step: { change: "ends" as never } }), "step.change"),
          "ends"
        )
      }))

    it.effect("pending writes of the newest step are copied by a restore and a fork, and those of a step that has ended are not", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const newest = yield* view.append({
          threadId,
          state: 1,
          nextNodes: ["a", "b"],
          step: { pendingWrites: { a: 1 } }
        })
        yield* view.savePendingWrites(newest, { "\u001a0000": "\u0000" })
        const all = { a: 1, "\u001a0000": "\u0000" }
        const copies = [
          yield* view.fork(threadId, newest, { threadId: `${threadId} 1` }),
          yield* view.restore(threadId, { version: 1 })
        ]
        for (const copy of copies) assert.deepStrictEqual(yield* view.pendingWrites(copy), all)
        assert.deepStrictEqual(yield* view.pendingWrites(newest), {})
        const later = [
          yield* view.fork(threadId, newest, { threadId: `${threadId} 2` }),
          yield* view.restore(threadId, { version: 1 })
        ]
        for (const copy of later) assert.deepStrictEqual(yield* view.pendingWrites(copy), {})
        const [, restored] = later
        const given = yield* view.restore(threadId, restored!, {
          step: { pendingWrites: { e: 1 } },
          metadata: { f: 1 }
        })
        assert.deepStrictEqual(yield* view.pendingWrites(given), { e: 1 })
        assert.deepStrictEqual(given.metadata, { f: 1 })
      }))

    it.effect("the versions of a step share its pending writes: those of puts that continue it, and of updates", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const first = yield* view.create({
          threadId,
          state: 1,
          nextNodes: ["a", "b"],
          step: { pendingWrites: { a: 1, b: 1 } }
        })
        yield* view.savePendingWrites(first, { c: 1 })
        const step = { change: "Continues", pendingWrites: { b: 2 } } as const
        const second = yield* view.put({ threadId, expectedVersion: 1, state: 2, step })
        const third = yield* view.put({ parent: second, state: 3, step: { change: "Continues" } })
        const fourth = yield* view.update(threadId, () => 4)
        const fifth = yield* view.updateEffect(threadId, () => Effect.succeed(5))
        // A result that was on its way when a version was saved is not lost.
        yield* other.savePendingWrites(second, { d: 1 })
        for (const version of [first, second, third, fourth, fifth]) {
          assert.deepStrictEqual(yield* view.pendingWrites(version), { a: 1, b: 2, c: 1, d: 1 })
        }
        const sixth = yield* view.put({ parent: fifth, state: 6, step: { change: "Ends" } })
        for (const version of [first, fifth, sixth]) assert.deepStrictEqual(yield* view.pendingWrites(version), {})
      }))

    it.effect("a thread id, namespace and task of 2,560 bytes together are accepted, and of 2,561 refused", () =>
      Effect.gen(function*() {
        const threadId = randomText(1024)
        const task = randomText(1024)
        // U+001A is stored as five bytes.
        const escaped = `${randomText(1019)}\u001a`
        const largest = yield* jsonView(randomText(512))
        const saved = yield* largest.append({ threadId, state: 1, step: { pendingWrites: { [task]: 1 } } })
        yield* largest.savePendingWrites(saved, { [escaped]: 2 })
        assert.deepStrictEqual(yield* largest.pendingWrites(saved), { [task]: 1, [escaped]: 2 })
        const view = yield* jsonView(randomText(513))
        const other = yield* view.append({ threadId, state: 1 })
        for (const name of [task, escaped]) {
          const pendingWrites = { [name]: 1 }
          for (
            const problem of [
              yield* refuses(view.savePendingWrites(other, pendingWrites), "pendingWrites"),
              yield* refuses(view.append({ threadId, state: 2, step: { pendingWrites } }), "pendingWrites")
            ]
          ) {
            assert.include(problem, "2561")
            assert.include(problem, "2560")
          }
        }
        assert.deepStrictEqual(yield* view.pendingWrites(other), {})
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("pending writes of a version that does not exist are CheckpointNotFound, and invalid ones are refused", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1, step: { pendingWrites: { a: 1 } } })
        for (
          const target of [
            { ...saved, version: 2 },
            { ...saved, checkpointId: "other" },
            { ...saved, threadId: `${threadId} other` }
          ]
        ) {
          yield* fails(view.savePendingWrites(target, { b: 2 }), "CheckpointNotFound")
          yield* fails(view.pendingWrites(target), "CheckpointNotFound")
        }
        yield* refuses(view.savePendingWrites({ ...saved, namespace: "other" }, { b: 2 }), "target.namespace")
        yield* refuses(view.savePendingWrites(saved, [] as never), "pendingWrites")
        yield* refuses(view.savePendingWrites(saved, { "": 1 }), "pendingWrites")
        yield* refuses(view.savePendingWrites(saved, { "a\u0000": 1 }), "pendingWrites")
        yield* refuses(view.savePendingWrites(saved, { a: Number.NaN }), "pendingWrites")
        yield* refuses(
          view.append({ threadId, state: 2, step: { pendingWrites: { a: undefined as never } } }),
          "pendingWrites"
        )
        yield* fails(view.savePendingWrites(saved, { a: "x".repeat(8 * 1024 * 1024) }), "StateTooLarge")
        assert.deepStrictEqual(yield* view.pendingWrites(saved), { a: 1 })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("pending writes of a step count together, also from several services, and too large ones are refused with their tasks", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const service = yield* Effect.orDie(Checkpointer.make({ maxStateBytes: 1000 }))
        const limited = yield* Effect.provideService(jsonView(view.namespace), Checkpointer.Checkpointer, service)
        const other = yield* Effect.orDie(Checkpointer.make({ maxStateBytes: 1000 }))
        const second = yield* Effect.provideService(jsonView(view.namespace), Checkpointer.Checkpointer, other)
        const first = yield* limited.append({ threadId, state: 1, nextNodes: ["a"] })
        yield* limited.savePendingWrites(first, { a: "x".repeat(600) })
        const error = yield* fails(
          second.savePendingWrites(first, { b: "x".repeat(300), c: "x".repeat(300) }),
          "StateTooLarge"
        )
        assert.deepStrictEqual(error.tasks, ["b", "c"])
        assert.strictEqual(error.limit, 1000)
        assert.isAbove(error.bytes, 1200)
        assert.include(error.message, `with "b", "c", the pending writes of the step are ${error.bytes} bytes`)
        // A task that has a result keeps it, and adds nothing.
        yield* limited.savePendingWrites(first, { a: "x".repeat(600) })
        yield* second.savePendingWrites(first, { b: "x".repeat(300) })
        const writes = { a: "x".repeat(600), b: "x".repeat(300) }
        assert.deepStrictEqual(yield* view.pendingWrites(first), writes)
        const kept = yield* limited.put({ parent: first, state: 2, step: { change: "Continues" } })
        assert.deepStrictEqual(yield* view.pendingWrites(kept), writes)
        yield* fails(limited.savePendingWrites(kept, { d: "x".repeat(300) }), "StateTooLarge")
        // Sizes are those of text as Postgres prints it, in every store.
        const spaced = yield* fails(
          limited.savePendingWrites(kept, { d: range(1, 40).map(() => ({ e: 1 })) }),
          "StateTooLarge"
        )
        assert.strictEqual(spaced.bytes, 602 + 302 + 2 + 40 * 8 + 39 * 2)
        yield* view.savePendingWrites(kept, { d: "x".repeat(300) })
      }))

    it.effect("pending writes of a put that conflicts are not saved, and those of one that is repeated are saved once", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.append({ threadId, state: 1 })
        const put = { parent: first, state: 2, checkpointId: "second", step: { pendingWrites: { a: 1 } } }
        const second = yield* view.put(put)
        assert.deepStrictEqual(yield* view.put(put), second)
        yield* fails(view.put({ parent: first, state: 3, step: { pendingWrites: { a: 2 } } }), "VersionConflict")
        assert.deepStrictEqual(yield* view.pendingWrites(second), { a: 1 })
        yield* fails(view.pendingWrites({ ...second, version: 3 }), "CheckpointNotFound")
      }))

    it.effect("pending writes are removed with their checkpoint, by a prune and by deleteThread", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const ids = { threadId, checkpointId: "first", step: { pendingWrites: { a: 1 } } }
        const first = yield* view.create({ ...ids, state: 1 })
        yield* view.deleteThread(threadId)
        yield* fails(view.pendingWrites(first), "CheckpointNotFound")
        // The thread and the checkpoint id exist again, but are new.
        const again = yield* view.append({ threadId, checkpointId: "first", state: 1 })
        assert.deepStrictEqual(yield* view.pendingWrites(again), {})
        const second = yield* view.put({ parent: again, state: 2, nextNodes: ["a"] })
        const third = yield* view.put({
          parent: second,
          state: 3,
          step: { change: "Continues", pendingWrites: { b: 1 } }
        })
        yield* Checkpointer.Checkpointer.use((service) => service.prune({ maxVersions: 1, namespace: view.namespace }))
        // The version that began the step is removed, and the step is not.
        yield* fails(view.pendingWrites(second), "CheckpointNotFound")
        yield* fails(view.savePendingWrites(second, { c: 1 }), "CheckpointNotFound")
        yield* view.savePendingWrites(third, { c: 1 })
        assert.deepStrictEqual(yield* view.pendingWrites(third), { b: 1, c: 1 })
      }))
  })
}
