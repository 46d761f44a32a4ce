import { type Checkpoint, Checkpointer, CheckpointStore } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  age,
  fails,
  farFuture,
  fresh,
  freshThread,
  type Group,
  historyOf,
  type JsonView,
  jsonView,
  listing,
  patient,
  plain,
  putAll,
  range,
  refOf,
  refuses,
  stateAt,
  versionsOf
} from "./suite.ts"

const get: Group = (it) => {
  describe("get", patient, () => {
    it.effect("get without a selector reads the newest version", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const state of range(1, 5)) {
          const saved = yield* view.append({ threadId, state })
          assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId))), plain(saved))
        }
      }))

    it.effect("get reads each version by its number and by its id", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        for (const checkpoint of saved) {
          const { checkpointId, version } = checkpoint
          assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId, { version }))), plain(checkpoint))
          assert.deepStrictEqual(
            plain(Option.getOrThrow(yield* view.get(threadId, { checkpointId }))),
            plain(checkpoint)
          )
        }
      }))

    it.effect("get by a tag reads the newest version that has it", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const [first, second, third] = yield* putAll(view, threadId, ["a", "b", "c"])
        yield* view.setTags(second!.threadId, second!, ["tag", "other"])
        yield* view.setTags(first!.threadId, first!, ["tag"])
        const tagged = () => Effect.map(view.get(threadId, { tag: "tag" }), (found) => Option.getOrThrow(found).state)
        assert.strictEqual(yield* tagged(), "b")
        yield* view.setTags(third!.threadId, third!, ["tag"])
        assert.strictEqual(yield* tagged(), "c")
        yield* view.setTags(third!.threadId, third!, [])
        yield* view.setTags(second!.threadId, second!, ["other"])
        assert.strictEqual(yield* tagged(), "a")
      }))

    it.effect("get by a checkpoint reads it, and get by a version with the id of another one is None", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        for (const checkpoint of saved) {
          assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId, checkpoint))), plain(checkpoint))
          for (const { checkpointId, version } of saved) {
            const found = yield* view.get(threadId, { version: checkpoint.version, checkpointId })
            assert.strictEqual(Option.isSome(found), version === checkpoint.version)
          }
        }
        assert.isTrue(Option.isNone(yield* view.get(threadId, { version: 3, checkpointId: "unknown" })))
        assert.isTrue(Option.isNone(yield* view.get(threadId, { ...refOf(saved[0]!), version: 4 })))
      }))

    it.effect("get refuses a checkpoint of another thread or view", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* jsonView(yield* fresh)
        const saved = yield* view.append({ threadId, state: 1 })
        const elsewhere = yield* view.append({ threadId: yield* fresh, state: 2 })
        yield* other.append({ threadId, state: 3 })
        yield* refuses(view.get(threadId, elsewhere), "selector.threadId")
        yield* refuses(other.get(threadId, saved), "selector.namespace")
        yield* refuses(view.get(threadId, { namespace: other.namespace, tag: "a" }), "selector.namespace")
        assert.strictEqual(
          Option.getOrThrow(yield* view.get(threadId, { threadId, namespace: view.namespace, version: 1 })).state,
          1
        )
      }))

    it.effect("a thread or version that does not exist reads as None, and its listings are empty", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const missing = yield* fresh
        const saved = yield* view.append({ threadId, state: 1 })
        yield* view.setTags(saved.threadId, saved, ["tag"])
        const reads = [
          view.get(missing),
          view.get(missing, { version: 1 }),
          view.get(missing, { checkpointId: saved.checkpointId }),
          view.get(missing, { tag: "tag" }),
          view.getAtTime(missing, farFuture),
          view.get(threadId, { version: 2 }),
          view.get(threadId, { version: 2 ** 31 }),
          view.get(threadId, { version: Number.MAX_SAFE_INTEGER }),
          view.get(threadId, { checkpointId: "tag" }),
          view.get(threadId, { tag: "Tag" }),
          view.get(threadId, { tag: "ta" }),
          view.get(threadId, { tag: "%" }),
          view.get(threadId, { tag: saved.checkpointId })
        ]
        for (const read of reads) assert.isTrue(Option.isNone(yield* read))
        assert.deepStrictEqual(yield* view.listVersions(missing), [])
        assert.deepStrictEqual(yield* historyOf(view, missing), [])
      }))
  })
}

/** The version that `getAtTime` must find, according to the listing. */
const newestUntil = (infos: ReadonlyArray<{ readonly version: number; readonly createdAt: number }>, millis: number) =>
  infos.find((info) => info.createdAt <= millis)?.version

const agrees = (view: JsonView, threadId: string, millis: number) =>
  Effect.gen(function*() {
    const found = yield* view.getAtTime(threadId, DateTime.makeUnsafe(millis))
    const expected = newestUntil(yield* listing(view, threadId), millis)
    assert.strictEqual(Option.getOrUndefined(found)?.version, expected, `at ${millis}`)
    if (Option.isSome(found)) {
      const read = yield* view.get(threadId, { version: found.value.version })
      assert.deepStrictEqual(plain(found.value), plain(Option.getOrThrow(read)))
    }
  })

const getAtTime: Group = (it) => {
  describe("getAtTime", patient, () => {
    it.effect("getAtTime reads the version that was the newest at a time, to the millisecond", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const state of range(1, 4)) {
          yield* view.append({ threadId, state })
          yield* age("10 seconds")
        }
        const times = (yield* listing(view, threadId)).toReversed().map((info) => info.createdAt)
        const versionAt = (millis: number) =>
          Effect.map(
            view.getAtTime(threadId, DateTime.makeUnsafe(millis)),
            (found) => Option.getOrUndefined(found)?.version
          )
        for (const [i, millis] of times.entries()) {
          assert.strictEqual(yield* versionAt(millis), i + 1)
          assert.strictEqual(yield* versionAt(millis + 1), i + 1)
          assert.strictEqual(yield* versionAt(millis + 5000), i + 1)
          assert.strictEqual(yield* versionAt(millis - 1), i === 0 ? undefined : i)
        }
      }))

    it.effect("getAtTime is None before the first version, and the newest version in the far future", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, ["a", "b"])
        yield* age("1 minute")
        const first = (yield* listing(view, threadId)).at(-1)!
        for (const millis of [first.createdAt - 1, first.createdAt - 1e9, -62_135_596_800_000]) {
          assert.isTrue(Option.isNone(yield* view.getAtTime(threadId, DateTime.makeUnsafe(millis))))
        }
        assert.strictEqual(Option.getOrThrow(yield* view.getAtTime(threadId, farFuture)).state, "b")
      }))

    it.effect("getAtTime reads the newest of several versions of one millisecond", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* Effect.forEach(range(1, 40), (state) => view.append({ threadId, state }), { concurrency: 8 })
        for (const { createdAt } of yield* listing(view, threadId)) {
          for (const offset of [-1, 0, 1]) yield* agrees(view, threadId, createdAt + offset)
        }
      }))

    it.effect("get with { at } reads what getAtTime reads", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        for (const state of range(1, 3)) {
          yield* view.append({ threadId, state })
          yield* age("10 seconds")
        }
        for (const { createdAt } of yield* listing(view, threadId)) {
          for (const offset of [-1, 0, 1]) {
            const at = DateTime.makeUnsafe(createdAt + offset)
            const found = Option.map(yield* view.get(threadId, { at }), plain)
            assert.deepStrictEqual(found, Option.map(yield* view.getAtTime(threadId, at), plain))
          }
        }
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { at: farFuture })).state, 3)
      }))

    it.effect("getAtTime reads the same version for the same time in another zone", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: "a" })
        const zoned = DateTime.setZoneOffset(saved.createdAt, 5 * 3_600_000)
        assert.strictEqual(Option.getOrThrow(yield* view.getAtTime(threadId, zoned)).state, "a")
        const before = DateTime.subtract(zoned, { milliseconds: 1 })
        assert.isTrue(Option.isNone(yield* view.getAtTime(threadId, before)))
      }))
  })
}

/** A thread whose states are its version numbers. Some versions have tags, metadata and so on. */
const longThread = Effect.fnUntraced(function*(length: number) {
  const [view, threadId] = yield* freshThread
  yield* Effect.forEach(range(1, length), (state) =>
    view.append({
      threadId,
      state,
      nextNodes: state % 2 === 0 ? ["a", "b"] : [],
      metadata: { state },
      pendingInterrupts: state % 3 === 0 ? [{ interruptId: `i${state}`, request: state }] : []
    }))
  yield* Effect.forEach(
    [1, 50, 51, 100, length],
    (version) => view.setTags(threadId, { version }, ["a", `v${version}`])
  )
  return [view, threadId] as const
})

/** All pages of a listing. Each begins before the last version of the previous one. */
const pages = (
  view: JsonView,
  threadId: string,
  limit: number
): Effect.Effect<Array<ReadonlyArray<Checkpoint.CheckpointInfo>>, Checkpointer.ReadError> =>
  Effect.gen(function*() {
    const read: Array<ReadonlyArray<Checkpoint.CheckpointInfo>> = []
    let before: number | undefined
    do {
      const page = yield* view.listVersions(threadId, { limit, before })
      read.push(page)
      before = page.at(-1)?.version
    } while (before !== undefined)
    return read
  })

const listings: Group = (it) => {
  describe("listVersions and history", patient, () => {
    it.effect("listVersions lists the newest versions first, 100 unless a limit is given, and only those below `before`", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* longThread(250)
        const list = (options?: { readonly limit?: number; readonly before?: number }) =>
          Effect.map(view.listVersions(threadId, options), (infos) => infos.map((info) => info.version))
        assert.deepStrictEqual(yield* list(), range(250, 151))
        assert.deepStrictEqual(yield* list({ limit: 1 }), [250])
        assert.deepStrictEqual(yield* list({ limit: 3 }), [250, 249, 248])
        assert.deepStrictEqual(yield* list({ limit: 10_000 }), range(250, 1))
        assert.deepStrictEqual(yield* list({ before: 101 }), range(100, 1))
        assert.deepStrictEqual(yield* list({ before: 101, limit: 2 }), [100, 99])
        assert.deepStrictEqual(yield* list({ before: 2 }), [1])
        assert.deepStrictEqual(yield* list({ before: 1 }), [])
        assert.deepStrictEqual(yield* list({ before: Number.MAX_SAFE_INTEGER, limit: 1 }), [250])
      }))

    it.effect.each([1, 7, 50, 100, 249, 250, 251])(
      "listVersions in pages of %i lists each of 250 versions exactly once",
      (limit) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* longThread(250)
          const read = yield* pages(view, threadId, limit)
          assert.deepStrictEqual(read.flat().map((info) => info.version), range(250, 1))
          for (const page of read.slice(0, -2)) assert.lengthOf(page, limit)
        })
    )

    it.effect("listVersions shows each version as get reads it, without its state", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* longThread(110)
        for (const info of yield* view.listVersions(threadId, { limit: 200 })) {
          const read = Option.getOrThrow(yield* view.get(threadId, { version: info.version }))
          const { state, ...rest } = plain(read)
          assert.strictEqual(state, info.version)
          assert.deepStrictEqual<unknown>(plain(info), rest)
          assert.notProperty(info, "state")
        }
      }))

    it.effect("history streams the versions that listVersions lists, with their states and in the same order", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* longThread(110)
        const history = yield* historyOf(view, threadId)
        assert.deepStrictEqual(history.map((checkpoint) => checkpoint.state), range(110, 1))
        const infos = history.map((checkpoint) => {
          const { state: _, ...rest } = plain(checkpoint)
          return rest
        })
        assert.deepStrictEqual<unknown>(infos, yield* listing(view, threadId))
        for (const before of [1, 2, 16, 17, 18, 110, 111, 1000]) {
          const states = yield* view.history(threadId, { before }).pipe(
            Stream.map((checkpoint) => checkpoint.state),
            Stream.runCollect
          )
          assert.deepStrictEqual(states, range(110, 1).filter((version) => version < before))
        }
      }))

    it.effect("history that is stopped early reads no further", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* longThread(110)
        const store = yield* CheckpointStore.CheckpointStore
        let reads = 0
        const counting = CheckpointStore.CheckpointStore.of({
          ...store,
          read: (key, selector, count) =>
            Effect.suspend(() => {
              reads += count
              return store.read(key, selector, count)
            })
        })
        const service = yield* Effect.provideService(
          Effect.orDie(Checkpointer.make()),
          CheckpointStore.CheckpointStore,
          counting
        )
        const counted = yield* Effect.provideService(jsonView(view.namespace), Checkpointer.Checkpointer, service)
        for (const count of [1, 3, 20]) {
          reads = 0
          const taken = yield* counted.history(threadId).pipe(Stream.take(count), Stream.runCollect)
          assert.deepStrictEqual(taken.map((checkpoint) => checkpoint.state), range(110, 111 - count))
          assert.isBelow(reads, 110)
        }
      }))

    it.effect("history does not show versions that are saved while it is read", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* longThread(110)
        const read = yield* view.history(threadId).pipe(
          Stream.tap((checkpoint) => checkpoint.version > 105 ? view.append({ threadId, state: 0 }) : Effect.void),
          Stream.map((checkpoint) => checkpoint.version),
          Stream.runCollect
        )
        assert.deepStrictEqual(read, range(110, 1))
      }))
  })
}

const Count = Schema.Struct({ count: Schema.Int })

const unreadable: Group = (it) => {
  describe("states that cannot be decoded", patient, () => {
    const oneOdd = Effect.gen(function*() {
      const [raw, threadId] = yield* freshThread
      yield* putAll<Schema.Json, Checkpointer.WriteError, never>(raw, threadId, [{ count: 1 }, { count: "two" }])
      yield* raw.append({ threadId, state: { count: 3 } })
      const view = yield* (yield* Checkpointer.Checkpointer).view({ state: Count, namespace: raw.namespace })
      return { raw, view, threadId }
    })

    it.effect("a state that does not fit the schema is a StateDecodeError with the stored value, and other versions can be read", () =>
      Effect.gen(function*() {
        const { raw, threadId, view } = yield* oneOdd
        const error = yield* fails(view.get(threadId, { version: 2 }), "StateDecodeError")
        assert.strictEqual(error.reason._tag, "SchemaMismatch")
        assert.strictEqual(error.version, 2)
        assert.strictEqual(error.threadId, threadId)
        assert.strictEqual(error.namespace, view.namespace)
        assert.deepStrictEqual(error.raw, { count: "two" })
        assert.include(error.reason.message, "count")
        assert.deepStrictEqual(yield* stateAt(view, threadId, 1), { count: 1 })
        assert.deepStrictEqual(yield* stateAt(view, threadId, 3), { count: 3 })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2, 1])
        assert.deepStrictEqual(yield* stateAt(raw, threadId, 2), { count: "two" })
        yield* fails(Stream.runDrain(view.history(threadId)), "StateDecodeError")
        assert.deepStrictEqual(
          (yield* Stream.runCollect(view.history(threadId, { before: 2 }))).map((checkpoint) => checkpoint.version),
          [1]
        )
      }))

    it.effect("what a program does to the stored value in a StateDecodeError changes no later version", () =>
      Effect.gen(function*() {
        const [first, threadId] = yield* freshThread
        yield* first.append({ threadId, state: { list: range(1, 100) } })
        // A service that knows the state from reading it only.
        const service = yield* Effect.orDie(Checkpointer.make())
        const counts = yield* service.view({ state: Count, namespace: first.namespace })
        const raw = yield* service.view({ state: Schema.Json, namespace: first.namespace })
        const error = yield* fails(counts.get(threadId), "StateDecodeError")
        const stored = error.raw as { readonly list: Array<number> }
        stored.list.push(101)
        yield* raw.append({ threadId, state: { list: range(1, 102) } })
        assert.deepStrictEqual(yield* stateAt(first, threadId, 2), { list: range(1, 102) })
      }))

    it.effect("update, restore and fork fail if the version that they read cannot be decoded, and write nothing", () =>
      Effect.gen(function*() {
        const { raw, threadId, view } = yield* oneOdd
        yield* raw.append({ threadId, state: "not a count" })
        yield* fails(view.get(threadId), "StateDecodeError")
        yield* fails(view.update(threadId, () => ({ count: 0 })), "StateDecodeError")
        yield* fails(view.updateEffect(threadId, () => Effect.succeed({ count: 0 })), "StateDecodeError")
        yield* fails(view.restore(threadId, { version: 2 }), "StateDecodeError")
        const target = yield* fresh
        yield* fails(view.fork(threadId, { version: 2 }, { threadId: target }), "StateDecodeError")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [4, 3, 2, 1])
        assert.deepStrictEqual(yield* versionsOf(view, target), [])
        yield* view.restore(threadId, { version: 3 })
        assert.deepStrictEqual((yield* view.update(threadId, ({ count }) => ({ count: count + 1 }))).state, {
          count: 4
        })
      }))

    it.effect("a state in an unknown format is a StateDecodeError, and other versions can be read", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const store = yield* CheckpointStore.CheckpointStore
        yield* view.append({ threadId, state: "before" })
        yield* store.put({
          threadId,
          namespace: view.namespace,
          checkpointId: "from the future",
          writeId: "019cb5a0-0000-7000-8000-000000000000",
          parent: undefined,
          payload: { format: 9999, text: `{"compressed":"x"}`, bytes: 18 },
          stateBytes: 18,
          nextNodes: "[]",
          pendingInterrupts: "[]",
          answered: "[]",
          metadata: `{"a":1}`,
          pendingWrites: "{}",
          step: "Begins"
        }, { _tag: "Any" })
        yield* view.append({ threadId, state: "after" })
        for (const selector of [{ version: 2 }, { checkpointId: "from the future" }]) {
          const error = yield* fails(view.get(threadId, selector), "StateDecodeError")
          assert.strictEqual(error.reason._tag, "UnknownFormat")
          assert.strictEqual(error.version, 2)
          assert.deepStrictEqual(error.raw, { compressed: "x" })
          assert.include(error.reason.message, "9999")
        }
        assert.strictEqual(yield* stateAt(view, threadId, 1), "before")
        assert.strictEqual(yield* stateAt(view, threadId, 3), "after")
        const [, listed] = yield* view.listVersions(threadId)
        assert.deepStrictEqual(listed!.metadata, { a: 1 })
        const [thread] = yield* Stream.runCollect(view.threads())
        assert.strictEqual(thread!.head.version, 3)
        yield* fails(
          view.append({ threadId, state: { compressed: "x" }, checkpointId: "from the future", metadata: { a: 1 } }),
          "CheckpointIdTaken"
        )
      }))
  })
}

const views: Group = (it) => {
  describe("views", patient, () => {
    class Counters extends Checkpointer.Service<Counters>()("laws/Counters", { state: Count, namespace: "laws" }) {}

    class Plain extends Checkpointer.Service<Plain>()("laws/Plain", { state: Count }) {}

    class Escaped extends Checkpointer.Service<Escaped>()("laws%2FPlain", { state: Count }) {}

    it.effect("Checkpointer.Service provides its view as a layer", () =>
      Effect.gen(function*() {
        const counters = yield* Counters
        const threadId = yield* fresh
        assert.strictEqual(counters.namespace, "laws")
        yield* counters.append({ threadId, state: { count: 1 } })
        const next = yield* counters.update(threadId, ({ count }) => ({ count: count + 1 }))
        assert.deepStrictEqual(next.state, { count: 2 })
        assert.strictEqual(next.namespace, "laws")
        assert.deepStrictEqual(yield* stateAt(yield* jsonView("laws"), threadId, 2), { count: 2 })
        yield* fails(counters.append({ threadId, state: { count: 0.5 } }), "StateEncodeError")
      }).pipe(Effect.provide(Counters.layer)))

    it.effect("the namespace of a service is its id with slashes escaped, unless one is given", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const view = yield* Plain
        const threadId = yield* fresh
        yield* view.append({ threadId, state: { count: 1 } })
        assert.isTrue(Option.isNone(yield* checkpointer.get(threadId)))
        const named = yield* checkpointer.view({ state: Schema.Json, namespace: view.namespace })
        assert.deepStrictEqual(yield* stateAt(named, threadId, 1), { count: 1 })
        assert.strictEqual(view.namespace, Plain.key.replaceAll("/", "%2F"))
        yield* view.deleteThread(threadId)
      }).pipe(Effect.provide(Plain.layer)))

    it.effect("services whose ids are alike once slashes are escaped have namespaces of their own", () =>
      Effect.gen(function*() {
        const views = [yield* Plain, yield* Escaped]
        const threadId = yield* fresh
        yield* Effect.forEach(views, (view, count) => view.append({ threadId, state: { count } }))
        for (const [count, view] of views.entries()) {
          assert.notInclude(view.namespace, "/")
          assert.deepStrictEqual(yield* stateAt(view, threadId, 1), { count })
          assert.strictEqual(yield* view.deleteThread(threadId), 1)
        }
      }).pipe(Effect.provide([Plain.layer, Escaped.layer])))

    it.effect("health succeeds if the store works", () =>
      Checkpointer.Checkpointer.use((checkpointer) => checkpointer.health))
  })
}

export const reading: Group = (it, properties) => {
  for (const group of [get, getAtTime, listings, unreadable, views]) group(it, properties)
}
