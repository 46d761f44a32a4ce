import { type Checkpoint, Checkpointer, CheckpointError } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  age,
  anotherService,
  elsewhere,
  fails,
  farFuture,
  fresh,
  freshThread,
  type Group,
  type JsonView,
  jsonView,
  listing,
  onLiveClock,
  patient,
  plain,
  putAll,
  range,
  refOf,
  refuses,
  stateAt,
  timeless,
  versionsOf,
  writesNothing
} from "./suite.ts"

const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Ids that a careless store confuses with each other or with something else. */
const likeOneAnother: ReadonlyArray<string> = [
  "a",
  "A",
  " a",
  "a ",
  "a\t",
  "a\n",
  "a%",
  "a_",
  "%",
  "_",
  "a\\",
  "a'",
  "a\"",
  "'; DELETE FROM checkpoints; --",
  "\u00e1",
  "a\u0301",
  "null",
  "undefined",
  "0",
  "00",
  "__proto__",
  "constructor",
  "\ufeffa",
  "\u200ba",
  "\u001a0000",
  "🎉"
]

const versions: Group = (it) => {
  describe("versions", patient, () => {
    it.effect("versions are numbered 1, 2, 3 ... in the order of saving", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, range(1, 60))
        assert.deepStrictEqual(saved.map((checkpoint) => checkpoint.version), range(1, 60))
        assert.deepStrictEqual(yield* versionsOf(view, threadId), range(60, 1))
        for (const version of range(1, 60)) {
          assert.strictEqual(yield* stateAt(view, threadId, version), version)
        }
      }))

    it.effect("append returns what get reads", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const saved = yield* view.append({
          threadId,
          state: { a: 1 },
          nextNodes: ["b", "a"],
          pendingInterrupts: [{ interruptId: "i", request: { question: "?" } }],
          metadata: { user: "u" }
        })
        assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId))), plain(saved))
        assert.deepStrictEqual(timeless(saved), {
          threadId,
          namespace: view.namespace,
          version: 2,
          checkpointId: saved.checkpointId,
          parent: saved.parent === undefined ? null : refOf(saved.parent),
          state: { a: 1 },
          nextNodes: ["b", "a"],
          pendingInterrupts: [{ interruptId: "i", request: { question: "?" } }],
          metadata: { user: "u" },
          tags: []
        })
      }))

    it.effect("the parts of a checkpoint that are not given are empty", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const read = plain(Option.getOrThrow(yield* view.get(threadId)))
        assert.deepStrictEqual(read.nextNodes, [])
        assert.deepStrictEqual(read.metadata, {})
        assert.deepStrictEqual(read.tags, [])
        assert.deepStrictEqual(read.pendingInterrupts, [])
        assert.isNull(read.parent)
      }))

    it.effect("next nodes, interrupts, metadata and tags of a version do not carry over to the next one", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.append({
          threadId,
          state: 0,
          nextNodes: ["a"],
          pendingInterrupts: [{ interruptId: "i", request: 1 }],
          metadata: { a: 1 }
        })
        yield* view.setTags(first.threadId, first, ["tag"])
        yield* view.put({ parent: first, state: 0 })
        const read = plain(Option.getOrThrow(yield* view.get(threadId)))
        assert.deepStrictEqual(read.nextNodes, [])
        assert.deepStrictEqual(read.metadata, {})
        assert.deepStrictEqual(read.tags, [])
        assert.deepStrictEqual(read.pendingInterrupts, [])
      }))

    it.effect("createdAt never decreases from one version to the next", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, range(1, 5))
        yield* age("1 second")
        yield* putAll(view, threadId, range(6, 10))
        yield* age("1 milli")
        yield* putAll(view, threadId, range(11, 15))
        const times = (yield* listing(view, threadId)).map((info) => info.createdAt)
        assert.deepStrictEqual(times, times.toSorted((a, b) => b - a))
        assert.isAtLeast(times[9]! - times[10]!, 1000)
      }))

    it.effect("the id of a checkpoint is a new UUIDv7 unless one is given", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, range(1, 20))
        for (const { checkpointId } of saved) assert.match(checkpointId, uuidV7)
        assert.strictEqual(new Set(saved.map((checkpoint) => checkpoint.checkpointId)).size, 20)
        const named = yield* view.append({ threadId, state: 0, checkpointId: "mine" })
        assert.strictEqual(named.checkpointId, "mine")
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId)).checkpointId, "mine")
      }))

    it.effect("the parent of each version is the one before, and the first has none", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, range(1, 5))
        saved.push(yield* view.put({ parent: saved[4]!, state: 6 }))
        saved.push(yield* view.put({ threadId, expectedVersion: 6, state: 7 }))
        saved.push(yield* view.update(threadId, () => 8))
        const parents = (yield* listing(view, threadId)).toReversed().map((info) => info.parent)
        assert.deepStrictEqual(parents, [null, ...saved.slice(0, -1).map(refOf)])
        assert.deepStrictEqual(saved.map((checkpoint) => checkpoint.parent ?? null), parents)
      }))
  })
}

const names: Group = (it) => {
  describe("names", patient, () => {
    it.effect("threads with one id in two namespaces are independent", () =>
      Effect.gen(function*() {
        const a = yield* jsonView(yield* fresh)
        const b = yield* jsonView(yield* fresh)
        const threadId = yield* fresh
        const first = yield* a.append({ threadId, state: "a1", checkpointId: "same" })
        assert.isTrue(Option.isNone(yield* b.get(threadId)))
        const other = yield* b.append({ threadId, state: "b1", checkpointId: "same" })
        assert.strictEqual(other.version, 1)
        yield* a.put({ parent: first, state: "a2" })
        yield* a.setTags(first.threadId, first, ["tag"])
        assert.deepStrictEqual(yield* versionsOf(a, threadId), [2, 1])
        assert.deepStrictEqual(yield* versionsOf(b, threadId), [1])
        assert.isTrue(Option.isNone(yield* b.get(threadId, { tag: "tag" })))
        assert.isTrue(Option.isNone(yield* b.get(threadId, { version: 2 })))
        assert.strictEqual(Option.getOrThrow(yield* b.get(threadId, { checkpointId: "same" })).state, "b1")
        assert.strictEqual(yield* a.deleteThread(threadId), 2)
        assert.isTrue(Option.isNone(yield* a.get(threadId)))
        assert.strictEqual(yield* stateAt(b, threadId, 1), "b1")
      }))

    it.effect("the service is the view of the namespace \"\"", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const view = yield* jsonView("")
        const threadId = yield* fresh
        assert.strictEqual(checkpointer.namespace, "")
        yield* checkpointer.append({ threadId, state: 1 })
        yield* view.update(threadId, () => 2)
        assert.strictEqual(yield* stateAt(checkpointer, threadId, 2), 2)
      }))

    it.effect("thread ids that resemble each other name different threads, and read back unchanged", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        yield* Effect.forEach(likeOneAnother, (threadId) => view.append({ threadId, state: threadId }))
        for (const threadId of likeOneAnother) {
          const read = Option.getOrThrow(yield* view.get(threadId))
          assert.strictEqual(read.state, threadId)
          assert.strictEqual(read.threadId, threadId)
          assert.strictEqual(read.version, 1)
        }
      }))

    it.effect("namespaces, checkpoint ids and tags that resemble each other are different", () =>
      Effect.gen(function*() {
        const prefix = yield* fresh
        for (const name of likeOneAnother) {
          const view = yield* jsonView(`${prefix}${name}`)
          const saved = yield* view.append({ threadId: "t", state: name, checkpointId: name })
          assert.strictEqual(saved.version, 1)
        }
        const [view, threadId] = yield* freshThread
        for (const name of likeOneAnother) {
          yield* view.append({ threadId, state: name, checkpointId: name })
          yield* view.setTags(threadId, { checkpointId: name }, [name])
        }
        for (const name of likeOneAnother) {
          assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { checkpointId: name })).state, name)
          assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag: name })).state, name)
        }
      }))

    it.effect("a namespace and a thread id are not joined into one name", () =>
      Effect.gen(function*() {
        const name = yield* fresh
        const split = [["a:", "b"], ["a", ":b"], ["a:b", "c"], ["a", "b:c"], ["a/b", "c"], ["a", "b/c"]] as const
        for (const [namespace, threadId] of split) {
          const view = yield* jsonView(name + namespace)
          const saved = yield* view.append({ threadId, state: namespace + threadId })
          assert.strictEqual(saved.version, 1)
        }
      }))
  })
}

const conflicts: Group = (it) => {
  describe("conflicts", patient, () => {
    const three = Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      return { view, threadId, saved: yield* putAll(view, threadId, [1, 2, 3]) }
    })

    const conflict = (
      view: JsonView,
      threadId: string,
      input: Checkpointer.Put<Schema.Json>,
      versions: { readonly expected: number; readonly actual: number }
    ) =>
      Effect.gen(function*() {
        const error = yield* fails(view.put(input), "VersionConflict").pipe(writesNothing(view, threadId))
        assert.strictEqual(error.threadId, threadId)
        assert.strictEqual(error.namespace, view.namespace)
        assert.deepStrictEqual({ expected: error.expected, actual: error.actual }, versions)
      })

    it.effect("a put whose parent is not the newest version conflicts and writes nothing", () =>
      Effect.gen(function*() {
        const { saved, threadId, view } = yield* three
        yield* conflict(view, threadId, { parent: saved[0]!, state: 4 }, { expected: 1, actual: 3 })
        yield* conflict(view, threadId, { parent: saved[1]!, state: 4 }, { expected: 2, actual: 3 })
        const next = yield* view.put({ parent: saved[2]!, state: 4 })
        assert.strictEqual(next.version, 4)
      }))

    it.effect("a put whose parent has the newest version's number but another id conflicts and writes nothing", () =>
      Effect.gen(function*() {
        const { saved, threadId, view } = yield* three
        const forged = { ...refOf(saved[2]!), checkpointId: saved[1]!.checkpointId }
        yield* conflict(view, threadId, { parent: forged, state: 4 }, { expected: 3, actual: 3 })
      }))

    it.effect("a put after a version that is too low or too high conflicts and writes nothing", () =>
      Effect.gen(function*() {
        const { threadId, view } = yield* three
        for (const expectedVersion of [1, 2, 4, 5, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
          const versions = { expected: expectedVersion, actual: 3 }
          yield* conflict(view, threadId, { threadId, expectedVersion, state: 4 }, versions)
        }
        assert.strictEqual((yield* view.put({ threadId, expectedVersion: 3, state: 4 })).version, 4)
      }))

    it.effect("a create of a thread that exists is ThreadExists, and writes nothing", () =>
      Effect.gen(function*() {
        const { threadId, view } = yield* three
        const error = yield* fails(view.create({ threadId, state: 4 }), "ThreadExists").pipe(
          writesNothing(view, threadId)
        )
        assert.deepStrictEqual([error.threadId, error.namespace, error.version], [threadId, view.namespace, 3])
      }))

    it.effect("an append after a create is version 2, and a create after an append is ThreadExists", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const created = yield* view.create({ threadId, state: "created" })
        assert.deepStrictEqual([created.version, created.parent], [1, undefined])
        const appended = yield* view.append({ threadId, state: "appended" })
        assert.strictEqual(appended.version, 2)
        assert.deepStrictEqual(appended.parent, refOf(created))
        assert.deepStrictEqual(yield* stateAt(view, threadId, 2), "appended")
        const other = yield* fresh
        yield* view.append({ threadId: other, state: "appended" })
        yield* fails(view.create({ threadId: other, state: "created" }), "ThreadExists").pipe(
          writesNothing(view, other)
        )
      }))

    it.effect("a create after deleteThread is version 1 again", () =>
      Effect.gen(function*() {
        const { threadId, view } = yield* three
        yield* view.deleteThread(threadId)
        assert.strictEqual((yield* view.create({ threadId, state: "again" })).version, 1)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("a put after a version of a thread that does not exist conflicts and writes nothing", () =>
      Effect.gen(function*() {
        const { saved, view } = yield* three
        const threadId = yield* fresh
        yield* conflict(view, threadId, { threadId, expectedVersion: 1, state: 1 }, { expected: 1, actual: 0 })
        const parent = { ...refOf(saved[0]!), threadId }
        yield* conflict(view, threadId, { parent, state: 1 }, { expected: 1, actual: 0 })
        assert.isTrue(Option.isNone(yield* view.get(threadId)))
        assert.strictEqual((yield* view.create({ threadId, state: 1 })).version, 1)
      }))

    it.effect("a put whose parent's thread was deleted conflicts", () =>
      Effect.gen(function*() {
        const { saved, threadId, view } = yield* three
        yield* view.deleteThread(threadId)
        yield* conflict(view, threadId, { parent: saved[2]!, state: 4 }, { expected: 3, actual: 0 })
      }))

    it.effect("a put whose parent's thread was deleted and created again conflicts, though the number is the same", () =>
      Effect.gen(function*() {
        const { saved, threadId, view } = yield* three
        yield* view.deleteThread(threadId)
        yield* putAll(view, threadId, [1, 2, 3])
        yield* conflict(view, threadId, { parent: saved[2]!, state: 4 }, { expected: 3, actual: 3 })
      }))

    it.effect("a put takes a listed checkpoint as its parent, and conflicts once that is not the newest one", () =>
      Effect.gen(function*() {
        const { threadId, view } = yield* three
        const [head] = yield* view.listVersions(threadId)
        assert.strictEqual((yield* view.put({ parent: head!, state: 4 })).version, 4)
        yield* conflict(view, threadId, { parent: head!, state: 5 }, { expected: 3, actual: 4 })
      }))

    it.effect("a put follows the newest version however it was read, and conflicts once that is not the newest one", () =>
      Effect.gen(function*() {
        const { threadId, view } = yield* three
        // The first caches what it saved, the second only what it read.
        for (const reader of [view, yield* anotherService(view.namespace)]) {
          const first = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
            Effect.map(Stream.runHead(stream), Option.getOrThrow)
          const reads: Record<string, Effect.Effect<Checkpoint.CheckpointInfo, Checkpointer.ReadError>> = {
            get: Effect.map(reader.get(threadId), Option.getOrThrow),
            "get by tag": Effect.map(reader.get(threadId, { tag: "newest" }), Option.getOrThrow),
            "get by time": Effect.map(reader.get(threadId, { at: farFuture }), Option.getOrThrow),
            getAtTime: Effect.map(reader.getAtTime(threadId, farFuture), Option.getOrThrow),
            history: first(reader.history(threadId)),
            listVersions: Effect.map(reader.listVersions(threadId, { limit: 1 }), ([info]) => info!),
            threads: Effect.map(first(reader.threads()), (thread) => thread.head)
          }
          for (const [name, read] of Object.entries(reads)) {
            const { version } = Option.getOrThrow(yield* view.get(threadId))
            yield* view.setTags(threadId, { version }, ["newest"])
            const parent = yield* read
            assert.strictEqual(parent.version, version, name)
            const next = yield* reader.put({ parent, state: { after: name } })
            assert.strictEqual(next.version, version + 1, name)
            assert.deepStrictEqual(next.parent, refOf(parent), name)
            assert.deepStrictEqual(yield* stateAt(view, threadId, version + 1), { after: name })
            yield* conflict(view, threadId, { parent, state: 0 }, { expected: version, actual: version + 1 })
          }
        }
      }))

    it.effect("a put refuses a parent of another namespace", () =>
      Effect.gen(function*() {
        const { saved, threadId, view } = yield* three
        const other = yield* jsonView(yield* fresh)
        const error = yield* fails(other.put({ parent: saved[2]!, state: 4 }), "InvalidInput")
        assert.strictEqual(error.field, "parent.namespace")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2, 1])
        assert.deepStrictEqual(yield* versionsOf(other, threadId), [])
      }))
  })
}

const exactlyOnce: Group = (it) => {
  describe("exactly once", patient, () => {
    const content = {
      checkpointId: "step 1",
      state: { a: 1, b: [0, { c: null }] },
      nextNodes: ["x", "y"],
      metadata: { user: "u", tags: ["t"] },
      pendingInterrupts: [{ interruptId: "i", request: { amount: 0 } }]
    }

    it.effect("an append that is repeated under its id returns the checkpoint that exists, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.append({ threadId, ...content })
        const again = yield* view.append({ threadId, ...content }).pipe(writesNothing(view, threadId))
        assert.deepStrictEqual(plain(again), plain(first))
      }))

    it.effect("an append is a repetition whatever the order of its keys and the sign of its zeros", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, ...content })
        const again = yield* view.append({
          threadId,
          ...content,
          state: { b: [-0, { c: null }], a: 1 },
          metadata: { tags: ["t"], user: "u" },
          pendingInterrupts: [{ request: { amount: -0 }, interruptId: "i" }]
        }).pipe(writesNothing(view, threadId))
        assert.strictEqual(again.version, 1)
      }))

    it.effect("a put that is repeated returns its checkpoint though its parent is stale, newer versions exist and tags were set", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const root = yield* view.append({ threadId, state: 0 })
        const first = yield* view.put({ parent: root, ...content })
        yield* putAll(view, threadId, [1, 2, 3])
        yield* view.setTags(first.threadId, first, ["kept"])
        const inputs: ReadonlyArray<Checkpointer.Put<Schema.Json>> = [
          { parent: root, ...content },
          { threadId, expectedVersion: 1, ...content }
        ]
        for (const again of inputs) {
          const saved = yield* view.put(again).pipe(writesNothing(view, threadId))
          assert.deepStrictEqual(refOf(saved), refOf(first))
        }
        for (const again of [view.append({ threadId, ...content }), view.create({ threadId, ...content })]) {
          assert.deepStrictEqual(refOf(yield* again.pipe(writesNothing(view, threadId))), refOf(first))
        }
      }))

    it.effect("a create that is repeated under its id returns the checkpoint that it made, though the thread exists", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const created = yield* view.create({ threadId, ...content })
        for (const writer of [view, yield* anotherService(view.namespace)]) {
          const again = yield* writer.create({ threadId, ...content }).pipe(writesNothing(view, threadId))
          assert.deepStrictEqual(plain(again), plain(created))
          yield* fails(writer.create({ threadId, ...content, state: 1 }), "CheckpointIdTaken").pipe(
            writesNothing(view, threadId)
          )
          yield* fails(writer.create({ threadId, ...content, checkpointId: "another" }), "ThreadExists").pipe(
            writesNothing(view, threadId)
          )
        }
      }))

    const others: ReadonlyArray<{ readonly name: string; readonly other: Partial<Checkpointer.Content<Schema.Json>> }> =
      [
        { name: "state", other: { state: { a: 1, b: [0, { c: 0 }] } } },
        { name: "a state with one key less", other: { state: { a: 1 } } },
        { name: "next nodes", other: { nextNodes: ["y", "x"] } },
        { name: "no next nodes", other: { nextNodes: undefined } },
        { name: "metadata", other: { metadata: { user: "v", tags: ["t"] } } },
        { name: "no metadata", other: { metadata: undefined } },
        { name: "interrupt", other: { pendingInterrupts: [{ interruptId: "i", request: { amount: 1 } }] } },
        { name: "interrupt id", other: { pendingInterrupts: [{ interruptId: "j", request: { amount: 0 } }] } },
        { name: "no interrupt", other: { pendingInterrupts: undefined } }
      ]

    it.effect.each(others)(
      "other content under an id that exists is CheckpointIdTaken, and nothing is written: $name",
      ({ other }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const first = yield* view.append({ threadId, ...content })
          const puts = [
            view.append({ threadId, ...content, ...other }),
            view.put({ parent: first, ...content, ...other }),
            view.put({ threadId, expectedVersion: 7, ...content, ...other })
          ]
          for (const put of puts) {
            const error = yield* fails(put, "CheckpointIdTaken").pipe(writesNothing(view, threadId))
            assert.strictEqual(error.checkpointId, "step 1")
            assert.strictEqual(error.threadId, threadId)
            assert.strictEqual(error.namespace, view.namespace)
          }
          assert.deepStrictEqual(yield* stateAt(view, threadId, 1), content.state)
        })
    )

    it.effect("a restore or fork that is repeated under its id returns the checkpoint that exists", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, [1, 2])
        const restored = yield* view.restore(threadId, { version: 1 }, { checkpointId: "restored" })
        const again = yield* view.restore(threadId, { version: 1 }, { checkpointId: "restored" })
        assert.deepStrictEqual(plain(again), plain(restored))
        yield* fails(view.restore(threadId, { version: 2 }, { checkpointId: "restored" }), "CheckpointIdTaken")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2, 1])
        const target = { threadId: yield* fresh, checkpointId: "forked" }
        const forked = yield* view.fork(saved[0]!.threadId, saved[0]!, target)
        assert.deepStrictEqual(plain(yield* view.fork(saved[0]!.threadId, saved[0]!, target)), plain(forked))
        yield* fails(view.fork(saved[1]!.threadId, saved[1]!, target), "CheckpointIdTaken")
        assert.deepStrictEqual(yield* versionsOf(view, target.threadId), [1])
      }))

    it.effect("a checkpoint id can be used again in another thread or namespace, or once its thread was deleted", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, ...content })
        const thread = yield* view.append({ ...content, threadId: yield* fresh, state: 2 })
        assert.strictEqual(thread.version, 1)
        const other = yield* (yield* jsonView(yield* fresh)).append({ ...content, threadId, state: 3 })
        assert.strictEqual(other.version, 1)
        assert.deepStrictEqual(yield* stateAt(view, threadId, 1), content.state)
        yield* view.deleteThread(threadId)
        yield* view.append({ ...content, threadId, state: 4 })
        assert.strictEqual(yield* stateAt(view, threadId, 1), 4)
      }))

    it.effect("32 concurrent appends of one id save one checkpoint, which all of them return", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const second = yield* anotherService(view.namespace)
        const saved = yield* Effect.forEach(
          range(1, 32),
          (i) => (i % 2 === 0 ? view : second).append({ threadId, ...content }),
          { concurrency: 32 }
        )
        assert.deepStrictEqual(new Set(saved.map((checkpoint) => checkpoint.version)), new Set([2]))
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      }))

    it.effect("of 32 concurrent appends of one id with different contents one is saved, and the others are CheckpointIdTaken", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const results = yield* Effect.forEach(
          range(1, 32),
          (state) => Effect.result(view.append({ threadId, checkpointId: "same", state })),
          { concurrency: 32 }
        )
        const saved = results.filter(Result.isSuccess)
        assert.lengthOf(saved, 1)
        for (const { failure } of results.filter(Result.isFailure)) {
          assert.strictEqual(failure._tag, "CheckpointIdTaken")
        }
        assert.strictEqual(yield* stateAt(view, threadId, 1), saved[0]!.success.state)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))
  })
}

const increment = (state: Schema.Json): Schema.Json => (state as number) + 1

const updates: Group = (it) => {
  describe("update", patient, () => {
    it.effect("an update saves what its function makes of the newest state as the next version", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, [1, 2, 10])
        const next = yield* view.update(threadId, increment)
        assert.strictEqual(next.state, 11)
        assert.strictEqual(next.version, 4)
        assert.deepStrictEqual(next.parent!, refOf(saved[2]!))
        assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId))), plain(next))
        const effectful = yield* view.updateEffect(threadId, (state) => Effect.succeed(increment(state)))
        assert.strictEqual(effectful.state, 12)
        assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId))), plain(effectful))
      }))

    it.effect("32 concurrent updates of a counter all count", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const updated = yield* Effect.forEach(range(1, 32), () => view.update(threadId, increment), { concurrency: 32 })
        assert.deepStrictEqual(
          updated.map((checkpoint) => checkpoint.state as number).toSorted(ascending),
          range(1, 32)
        )
        assert.strictEqual(yield* stateAt(view, threadId, 33), 32)
      }))

    it.effect("concurrent updates by two services over one store all count", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const second = yield* anotherService(view.namespace)
        yield* view.append({ threadId, state: 0 })
        yield* Effect.forEach(range(1, 32), (i) => (i % 2 === 0 ? view : second).update(threadId, increment), {
          concurrency: 32
        })
        assert.strictEqual(yield* stateAt(view, threadId, 33), 32)
      }).pipe(onLiveClock))

    it.effect("an update keeps next nodes, metadata and pending interrupts, and copies no tags", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const parts = {
          nextNodes: ["b", "a"],
          metadata: { user: { id: 1 } },
          pendingInterrupts: [{ interruptId: "i", request: { question: "\u0000" } }]
        }
        yield* view.append({ threadId, state: 0, ...parts })
        yield* view.setTags(threadId, { version: 1 }, ["tag"])
        for (const change of [view.update(threadId, increment), view.updateEffect(threadId, Effect.succeed)]) {
          const next = yield* change
          const { metadata, nextNodes, pendingInterrupts, tags } = plain(Option.getOrThrow(yield* view.get(threadId)))
          assert.deepStrictEqual<unknown>({ metadata, nextNodes, pendingInterrupts }, parts)
          assert.deepStrictEqual(tags, [])
          assert.strictEqual(next.version, Option.getOrThrow(yield* view.get(threadId)).version)
        }
      }))

    it.effect("an update of a missing thread is CheckpointNotFound, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const untouched = { called: false }
        const error = yield* fails(
          view.update(threadId, () => {
            untouched.called = true
            return 1
          }),
          "CheckpointNotFound"
        )
        assert.strictEqual(error.threadId, threadId)
        yield* fails(view.updateEffect(threadId, Effect.succeed), "CheckpointNotFound")
        assert.isFalse(untouched.called)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }))

    it.effect("an update fails with the error of its function, unchanged and without a retry, even if it is a VersionConflict", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const errors = [
          new CheckpointError.VersionConflict({ threadId: "other", namespace: "", expected: 7, actual: 8 }),
          new CheckpointError.StoreError({
            operation: "put",
            reason: new CheckpointError.Unavailable({ message: "the caller's own" }),
            outcome: "NotApplied"
          }),
          new Error("own")
        ]
        for (const own of errors) {
          let calls = 0
          const change = view.updateEffect(threadId, () =>
            Effect.suspend(() => {
              calls++
              return Effect.fail(own)
            }))
          assert.strictEqual(yield* Effect.flip(change).pipe(writesNothing(view, threadId)), own)
          assert.strictEqual(calls, 1)
        }
      }))

    it.effect("an update dies with the defect of its function, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const defect = new Error("own")
        const thrower = (): Schema.Json => {
          throw defect
        }
        const exits = [
          yield* Effect.exit(view.update(threadId, thrower)),
          yield* Effect.exit(view.updateEffect(threadId, () => Effect.die(defect)))
        ]
        for (const exit of exits) assert.strictEqual(Result.getOrThrow(Exit.findDefect(exit)), defect)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
        yield* view.update(threadId, increment)
      }))

    it.effect("updateEffect runs again on the newest state if another version was saved meanwhile", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        const outside = yield* elsewhere
        const seen: Array<Schema.Json> = []
        const next = yield* view.updateEffect(threadId, (state) =>
          Effect.gen(function*() {
            seen.push(state)
            if (seen.length < 3) yield* outside(view.append({ threadId, state: `moved ${seen.length}` }))
            return `${state}, changed`
          }))
        assert.deepStrictEqual(seen, ["a", "moved 1", "moved 2"])
        assert.strictEqual(next.version, 4)
        assert.strictEqual(yield* stateAt(view, threadId, 4), "moved 2, changed")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [4, 3, 2, 1])
      }).pipe(onLiveClock))

    it.effect("updateEffect is CheckpointNotFound if its thread is deleted meanwhile", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1 })
        const change = view.updateEffect(threadId, (state) => Effect.as(view.deleteThread(threadId), state))
        const error = yield* Effect.flip(change)
        assert.strictEqual(error._tag, "CheckpointNotFound")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
      }).pipe(onLiveClock))

    it.effect("8 concurrent runs of updateEffect on a counter all count", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        yield* Effect.forEach(
          range(1, 8),
          () => view.updateEffect(threadId, (state) => Effect.as(Effect.yieldNow, increment(state))),
          { concurrency: 8 }
        )
        assert.strictEqual(yield* stateAt(view, threadId, 9), 8)
      }).pipe(onLiveClock))

    it.effect("100 concurrent runs of updateEffect run its effect at most three times each, and all count", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        let runs = 0
        const change = view.updateEffect(threadId, (state) =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => {
              runs++
              return increment(state)
            })
          ))
        yield* Effect.forEach(range(1, 100), () => change, { concurrency: "unbounded" })
        assert.strictEqual(yield* stateAt(view, threadId, 101), 100)
        assert.isAtMost(runs, 300)
      }).pipe(onLiveClock))

    it.effect("an effect of updateEffect that saves its own thread is refused at once, and nothing is written", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const second = yield* anotherService(view.namespace)
        const parent = yield* view.append({ threadId, state: 0 })
        const other = yield* fresh
        yield* view.append({ threadId: other, state: 0 })
        let runs = 0
        const saves: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
          view.append({ threadId, state: 1 }),
          second.append({ threadId, state: 1 }),
          view.create({ threadId, state: 1 }),
          view.put({ parent, state: 1 }),
          view.update(threadId, increment),
          view.updateEffect(threadId, Effect.succeed),
          view.restore(threadId, { version: 1 }),
          view.fork(other, { version: 1 }, { threadId }),
          view.updateEffect(other, (state) => Effect.as(view.append({ threadId, state: 1 }), state))
        ]
        for (const save of saves) {
          const change = view.updateEffect(threadId, (state) => Effect.suspend(() => (runs++, Effect.as(save, state))))
          yield* refuses(change, "threadId").pipe(writesNothing(view, threadId))
        }
        assert.strictEqual(runs, saves.length)
        // Reads, and threads of the same name elsewhere, are not in the way.
        const namesake = yield* jsonView(yield* fresh)
        yield* view.updateEffect(
          threadId,
          (state) =>
            Effect.all([view.get(threadId), namesake.append({ threadId, state: 1 })]).pipe(Effect.as(increment(state)))
        )
        assert.strictEqual(yield* stateAt(view, threadId, 2), 1)
        yield* namesake.deleteThread(threadId)
      }))

    it.effect("what the effect of an updateEffect starts can save the thread once the effect has ended", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        const gate = yield* Latch.make()
        const later = Effect.andThen(gate.await, view.append({ threadId, state: "later" }))
        const started: Array<Fiber.Fiber<unknown, unknown>> = []
        yield* view.updateEffect(threadId, (state) =>
          Effect.map(Effect.forkDetach(later), (fiber) => {
            started.push(fiber)
            return increment(state)
          }))
        yield* gate.open
        yield* Effect.forEach(started, Fiber.join)
        assert.strictEqual(yield* stateAt(view, threadId, 3), "later")
      }))

    it.effect("two runs of updateEffect that met a conflict and update each other's threads both end, and all count", () =>
      Effect.gen(function*() {
        const [view, a] = yield* freshThread
        const b = yield* fresh
        yield* Effect.forEach([a, b], (threadId) => view.append({ threadId, state: 0 }))
        const outside = yield* elsewhere
        const conflict = (threadId: string) => outside(view.update(threadId, increment))
        const gates = { [a]: yield* Latch.make(), [b]: yield* Latch.make() }
        const cross = (own: string, other: string) => {
          let runs = 0
          let innerRuns = 0
          const inner = view.updateEffect(
            other,
            (state) => Effect.as(innerRuns++ === 0 ? conflict(other) : Effect.void, increment(state))
          )
          return view.updateEffect(own, (state) =>
            Effect.gen(function*() {
              if (runs++ === 0) {
                yield* conflict(own)
              } else {
                // From here on, both hold what they took after their conflict.
                yield* gates[own]!.open
                yield* gates[other]!.await
                if (innerRuns === 0) yield* inner
              }
              return increment(state)
            }))
        }
        yield* Effect.all([cross(a, b), cross(b, a)], { concurrency: 2 })
        // Of each: one from outside, the own one, and from the other side one from outside and the inner one.
        for (const threadId of [a, b]) assert.strictEqual(yield* stateAt(view, threadId, 5), 4)
      }).pipe(onLiveClock))

    it.effect("an update is saved at its own time, not at that of its parent", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 0 })
        yield* age("1 hour")
        const next = yield* view.update(threadId, increment)
        const [head, first] = yield* view.listVersions(threadId)
        assert.strictEqual(DateTime.toEpochMillis(head!.createdAt), DateTime.toEpochMillis(next.createdAt))
        assert.isAtLeast(DateTime.toEpochMillis(head!.createdAt) - DateTime.toEpochMillis(first!.createdAt), 3_600_000)
      }))
  })
}

const ascending = (a: number, b: number): number => a - b

export const writing: Group = (it, properties) => {
  for (const group of [versions, names, conflicts, exactlyOnce, updates]) group(it, properties)
}
