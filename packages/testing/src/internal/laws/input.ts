import { Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  fails,
  fresh,
  freshThread,
  type Group,
  type JsonView,
  jsonView,
  listing,
  patient,
  putAll,
  randomText,
  range,
  refuses,
  stateAt,
  versionsOf,
  writesNothing
} from "./suite.ts"

/** Values that no id, namespace or tag may have. Programs that are not type-checked may pass them. */
const badText: ReadonlyArray<{ readonly name: string; readonly bad: string }> = [
  { name: "1,025 bytes", bad: "a".repeat(1025) },
  { name: "1,025 bytes of two-byte characters", bad: `${"é".repeat(512)}a` },
  { name: "1,028 bytes of four-byte characters", bad: "🎉".repeat(257) },
  { name: "a megabyte", bad: "a".repeat(2 ** 20) },
  { name: "U+0000", bad: "\u0000" },
  { name: "U+0000 within", bad: "a\u0000b" },
  { name: "a lone high surrogate", bad: "a\ud800" },
  { name: "a lone low surrogate", bad: "\udc00a" },
  { name: "null", bad: null as never },
  { name: "a number", bad: 1 as never },
  { name: "a boolean", bad: true as never },
  { name: "an object", bad: {} as never },
  { name: "an array", bad: ["a"] as never },
  { name: "a symbol", bad: Symbol.for("a") as never },
  { name: "a bigint", bad: 1n as never },
  { name: "a function", bad: (() => "a") as never }
]

/** The same for ids that must not be empty. */
const badIds = [{ name: "the empty string", bad: "" }, ...badText]

const badNumbers: ReadonlyArray<number> = [
  -1,
  0.5,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2 ** 53,
  1e308,
  "1" as never,
  null as never,
  1n as never,
  {} as never
]

const later = DateTime.makeUnsafe(0)

/** All operations that take a thread id. */
const onThread = (view: JsonView, threadId: string) => ({
  append: view.append({ threadId, state: 1 }),
  create: view.create({ threadId, state: 1 }),
  put: view.put({ threadId, expectedVersion: 1, state: 1 }),
  update: view.update(threadId, (state) => state),
  updateEffect: view.updateEffect(threadId, Effect.succeed),
  get: view.get(threadId),
  getVersion: view.get(threadId, { version: 1 }),
  getAtTime: view.getAtTime(threadId, later),
  listVersions: view.listVersions(threadId),
  history: Stream.runDrain(view.history(threadId)),
  restore: view.restore(threadId, { version: 1 }),
  fork: view.fork(threadId, { version: 1 }, { threadId: "target" }),
  setTags: view.setTags(threadId, { version: 1 }, []),
  deleteThread: view.deleteThread(threadId)
})

export const input: Group = (it) => {
  describe("input", patient, () => {
    it.effect.each(badIds)(
      "a thread id that is $name is refused by every operation, and nothing is written",
      ({ bad }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const source = yield* view.append({ threadId, state: 1 })
          const operations: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string; readonly field?: string }>> =
            Object.values(onThread(view, bad))
          for (const operation of operations) yield* refuses(operation, "threadId")
          yield* refuses(view.put({ parent: { ...source, threadId: bad }, state: 2 }), "threadId")
          yield* refuses(view.fork(source.threadId, source, { threadId: bad }), "target.threadId")
          const found = yield* Stream.runCollect(view.threads())
          assert.deepStrictEqual(found.map((thread) => thread.threadId), [threadId])
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
        })
    )

    it.effect.each(badText)("a namespace that is $name is refused", ({ bad }) =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        yield* refuses(checkpointer.view({ state: Schema.Json, namespace: bad }), "namespace")
        yield* refuses(Stream.runDrain(checkpointer.threads({ namespace: bad })), "namespace")
        const error = yield* fails(checkpointer.prune({ maxVersions: 1, namespace: bad }), "InvalidInput")
        assert.include(error.field, "namespace")
      }))

    it.effect.each(badIds)(
      "a checkpoint id that is $name is refused, and nothing is written",
      ({ bad }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const source = yield* view.append({ threadId, state: 1 })
          const target = yield* fresh
          const operations = [
            view.append({ threadId, state: 2, checkpointId: bad }),
            view.put({ parent: source, state: 2, checkpointId: bad }),
            view.put({ parent: { ...source, checkpointId: bad }, state: 2 }),
            view.get(threadId, { checkpointId: bad }),
            view.restore(threadId, { version: 1 }, { checkpointId: bad }),
            view.restore(threadId, { checkpointId: bad }),
            view.fork(source.threadId, source, { threadId: target, checkpointId: bad })
          ]
          for (const operation of operations) {
            const error = yield* fails(operation as Effect.Effect<unknown, Checkpointer.ReadError>, "InvalidInput")
            assert.include(error.field, "checkpointId", error.message)
          }
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
          assert.deepStrictEqual(yield* versionsOf(view, target), [])
        })
    )

    it.effect.each(badIds)(
      "a tag that is $name is refused, and nothing is written",
      ({ bad }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const saved = yield* view.append({ threadId, state: 1 })
          yield* view.setTags(saved.threadId, saved, ["kept"])
          yield* refuses(view.setTags(saved.threadId, saved, ["fine", bad]), "tags[1]").pipe(
            writesNothing(view, threadId)
          )
          yield* refuses(view.get(threadId, { tag: bad }), "tag")
          yield* refuses(view.restore(threadId, { tag: bad }), "tag").pipe(writesNothing(view, threadId))
        })
    )

    it.effect("tags that are not an array are refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1 })
        yield* view.setTags(saved.threadId, saved, ["kept"])
        for (const bad of ["tag", null, undefined, 1, {}]) {
          yield* refuses(view.setTags(saved.threadId, saved, bad as never), "tags").pipe(writesNothing(view, threadId))
        }
      }))

    it.effect.each(badNumbers)(
      "a version that is %s is refused, and nothing is written",
      (bad) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const saved = yield* view.append({ threadId, state: 1 })
          const target = yield* fresh
          const ref = { ...saved, version: bad }
          yield* refuses(view.put({ threadId, expectedVersion: bad, state: 2 }), "expectedVersion").pipe(
            writesNothing(view, threadId)
          )
          yield* refuses(view.put({ parent: ref, state: 2 }), "parent.version")
          yield* refuses(view.get(threadId, { version: bad }), "version")
          yield* refuses(view.listVersions(threadId, { before: bad }), "before")
          yield* refuses(Stream.runDrain(view.history(threadId, { before: bad })), "before")
          yield* refuses(view.restore(threadId, { version: bad }), "version")
          yield* refuses(view.fork(ref.threadId, ref, { threadId: target }), "version")
          yield* refuses(view.setTags(ref.threadId, ref, ["tag"]), "version").pipe(writesNothing(view, threadId))
          yield* refuses(view.listVersions(threadId, { limit: bad }), "limit")
          assert.deepStrictEqual(yield* versionsOf(view, target), [])
        })
    )

    it.effect("version 0 is refused, and so is a limit below 1 or above 10,000", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1 })
        const ref = { ...saved, version: 0 }
        yield* refuses(view.get(threadId, { version: 0 }), "version")
        yield* refuses(view.put({ parent: ref, state: 2 }), "parent.version")
        const problem = yield* refuses(view.put({ threadId, expectedVersion: 0, state: 2 }), "expectedVersion")
        assert.include(problem, "create")
        yield* refuses(view.setTags(ref.threadId, ref, []), "version")
        yield* refuses(view.fork(ref.threadId, ref, { threadId: yield* fresh }), "version")
        yield* refuses(view.listVersions(threadId, { before: 0 }), "before")
        yield* refuses(view.listVersions(threadId, { limit: 0 }), "limit")
        const reason = yield* refuses(view.listVersions(threadId, { limit: 10_001 }), "limit")
        assert.include(reason, "10000")
        assert.lengthOf(yield* view.listVersions(threadId, { limit: 10_000 }), 1)
      }))

    it.effect("a selector without a version, checkpoint id, tag or time is refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1 })
        const target = yield* fresh
        for (const bad of [{}, { threadId }, { at: "2026-01-01" }, { at: 0 }, null, 1, "1"]) {
          const selector = bad as Checkpointer.Selector
          yield* refuses(view.get(threadId, selector), "selector")
          yield* refuses(view.restore(threadId, selector), "selector").pipe(writesNothing(view, threadId))
          yield* refuses(view.fork(threadId, selector, { threadId: target }), "selector")
          yield* refuses(view.setTags(threadId, selector, ["a"]), "selector").pipe(writesNothing(view, threadId))
        }
        assert.deepStrictEqual(yield* versionsOf(view, target), [])
      }))

    it.effect("ids, namespaces and tags of 1,024 bytes read back, whatever their characters", () =>
      Effect.gen(function*() {
        for (const long of [randomText(1024), "é".repeat(512), "🎉".repeat(256), "'".repeat(1024)]) {
          const view = yield* jsonView(long)
          const threadId = yield* fresh
          yield* view.append({ threadId, state: 1 })
          assert.strictEqual(yield* stateAt(view, threadId, 1), 1)
          yield* view.deleteThread(threadId)
        }
        const [view, threadId] = yield* freshThread
        for (const long of [randomText(1024), "é".repeat(512), "🎉".repeat(256), "'".repeat(1024)]) {
          const saved = yield* view.append({ threadId: long, state: long })
          assert.strictEqual(saved.threadId, long)
          assert.strictEqual(yield* stateAt(view, long, 1), long)
          const named = yield* view.append({ threadId, state: long, checkpointId: long })
          yield* view.setTags(named.threadId, named, [long, "other"])
          assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { checkpointId: long })).state, long)
          assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag: long })).state, long)
        }
        const tags = range(1, 64).map(() => randomText(1024))
        yield* view.setTags(threadId, { version: 1 }, tags)
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag: tags[63]! })).version, 1)
      }))

    it.effect("a thread id, namespace and checkpoint id of 2,560 bytes together are accepted, and of 2,561 refused", () =>
      Effect.gen(function*() {
        const threadId = randomText(1024)
        const checkpointId = randomText(1024)
        const largest = yield* jsonView(randomText(512))
        const saved = yield* largest.append({ threadId, checkpointId, state: 1 })
        assert.strictEqual(Option.getOrThrow(yield* largest.get(threadId, { checkpointId })).state, 1)
        yield* largest.put({ parent: saved, state: 2 })
        assert.deepStrictEqual((yield* listing(largest, threadId)).map((info) => info.parent?.checkpointId), [
          checkpointId,
          undefined
        ])
        for (const bytes of [513, 1024]) {
          const view = yield* jsonView(randomText(bytes))
          const reason = yield* refuses(view.append({ threadId, checkpointId, state: 1 }), "checkpointId")
          assert.include(reason, String(2048 + bytes))
          assert.include(reason, "2560")
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
          yield* view.append({ threadId, state: 1 })
          yield* refuses(view.restore(threadId, { version: 1 }, { checkpointId }), "checkpointId")
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
        }
      }))

    it.effect("metadata that is not a JSON object is refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const metadata of [[], "a", 1, true]) {
          yield* refuses(view.append({ threadId, state: 1, metadata: metadata as never }), "metadata")
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }))

    it.effect("next nodes that are not strings are refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const nextNodes of ["a", [1], ["a", undefined], [null], {}, 1]) {
          yield* refuses(view.append({ threadId, state: 1, nextNodes: nextNodes as never }), "nextNodes")
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }))

    it.effect.each(badIds)(
      "an interrupt id that is $name is refused, and nothing is written",
      ({ bad }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const pendingInterrupt = { interruptId: bad, request: null }
          yield* refuses(
            view.append({ threadId, state: 1, pendingInterrupts: [pendingInterrupt] }),
            "pendingInterrupts[0].interruptId"
          )
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
        })
    )

    it.effect("pending interrupts of which two have one id are refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const pendingInterrupts = ["a", "b", "a"].map((interruptId, request) => ({ interruptId, request }))
        const problem = yield* refuses(
          view.append({ threadId, state: 1, pendingInterrupts }),
          "pendingInterrupts[2].interruptId"
        )
        assert.include(problem, "\"a\"")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }))

    it.effect("pending interrupts that are not an array are refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const bad of [{ interruptId: "a", request: 1 }, "a", 1, null]) {
          yield* refuses(
            view.append({ threadId, state: 1, pendingInterrupts: bad as never }),
            "pendingInterrupts"
          )
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }))

    it.effect("metadata, next nodes and interrupts of more than 1 MiB are refused, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const long = "a".repeat(2 ** 20)
        yield* refuses(view.append({ threadId, state: 1, metadata: { long } }), "metadata")
        yield* refuses(view.append({ threadId, state: 1, nextNodes: [long] }), "nextNodes")
        const pendingInterrupt = { interruptId: "i", request: long }
        yield* refuses(view.append({ threadId, state: 1, pendingInterrupts: [pendingInterrupt] }), "pendingInterrupts")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
        yield* view.append({ threadId, state: 1, metadata: { long: long.slice(0, -100) } })
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId)).metadata["long"], long.slice(0, -100))
      }))

    it.effect("a state over the limit is StateTooLarge with its bytes and the limit, and nothing is written", () =>
      Effect.gen(function*() {
        const service = yield* Checkpointer.make({ maxStateBytes: 1000 })
        const threadId = yield* fresh
        yield* service.append({ threadId, state: "a".repeat(998) })
        yield* service.append({ threadId, state: "é".repeat(499) })
        const tooLarge = [["a".repeat(999), 1001], ["é".repeat(500), 1002], ["🎉".repeat(250), 1002]] as const
        for (const [state, bytes] of tooLarge) {
          const puts = [service.append({ threadId, state }), service.update(threadId, () => state)]
          for (const put of puts) {
            const error = yield* fails(put, "StateTooLarge").pipe(writesNothing(service, threadId))
            assert.deepStrictEqual([error.threadId, error.bytes, error.limit], [threadId, bytes, 1000])
          }
        }
        const checkpointer = yield* Checkpointer.Checkpointer
        yield* checkpointer.append({ threadId, state: "a".repeat(5000) })
        assert.strictEqual(yield* stateAt(service, threadId, 3), "a".repeat(5000))
        yield* fails(service.restore(threadId, { version: 3 }), "StateTooLarge").pipe(writesNothing(service, threadId))
      }))

    it.effect("a maxStateBytes that is not a whole number above 0 is refused", () =>
      Effect.gen(function*() {
        for (const maxStateBytes of [0, ...badNumbers.filter((bad) => typeof bad !== "object")]) {
          yield* refuses(Checkpointer.make({ maxStateBytes }), "maxStateBytes")
        }
      }))

    it.effect("a refused put changes nothing, and its parent can still be put after", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a"])
        yield* fails(view.put({ parent: saved[0]!, state: Number.NaN }), "StateEncodeError")
        yield* refuses(view.put({ parent: saved[0]!, state: 1, checkpointId: "" }), "checkpointId")
        const next = yield* view.put({ parent: saved[0]!, state: "b" })
        assert.strictEqual(next.version, 2)
      }))
  })
}
