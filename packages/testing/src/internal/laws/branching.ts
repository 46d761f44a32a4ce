import { type Checkpoint, Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  age,
  fails,
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
  timeless,
  versionsOf,
  writesNothing
} from "./suite.ts"

const parts = {
  nextNodes: ["review", "send"],
  metadata: { user: { id: 7 }, "it's": "\u0000" },
  pendingInterrupts: [{ interruptId: "approve", request: { amount: 5 } }]
}

const partsOf = <A>({ metadata, nextNodes, pendingInterrupts }: A & Record<keyof typeof parts, unknown>) => ({
  nextNodes,
  metadata,
  pendingInterrupts
})

/** Versions "a", "b" and "c", a minute apart, the last one with a tag. */
const threeAtTimes = Effect.fnUntraced(function*(view: JsonView, threadId: string) {
  yield* view.append({ threadId, state: "a" })
  yield* age("1 minute")
  yield* view.append({ threadId, state: "b" })
  yield* age("1 minute")
  yield* view.append({ threadId, state: "c" })
  yield* view.setTags(threadId, { version: 3 }, ["tag"])
  return (yield* historyOf(view, threadId)).toReversed()
})

/** Selects versions 1, 2, 3, 2 and 1 of these, in all ways that there are. */
const selectorsOf = (saved: ReadonlyArray<Checkpoint.CheckpointInfo>): ReadonlyArray<Checkpointer.Selector> => [
  { version: 1 },
  { checkpointId: saved[1]!.checkpointId },
  { tag: "tag" },
  { at: saved[1]!.createdAt },
  saved[0]!
]

/** Selectors that name a version and the id of another one. */
const mismatched = (saved: ReadonlyArray<Checkpoint.CheckpointInfo>): ReadonlyArray<Checkpointer.Selector> => [
  { version: 1, checkpointId: saved[1]!.checkpointId },
  { ...refOf(saved[2]!), version: 2 },
  { version: 3, checkpointId: "unknown" },
  { version: 4, checkpointId: saved[2]!.checkpointId }
]

const restore: Group = (it) => {
  describe("restore", patient, () => {
    it.effect("restore saves an earlier version as the newest, with all of its content, and its parent is that version", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        const old = yield* view.append({ threadId, state: { b: [1] }, ...parts })
        yield* view.setTags(old.threadId, old, ["kept"])
        yield* putAll(view, threadId, ["c", "d"])
        const before = yield* listing(view, threadId)
        const restored = yield* view.restore(threadId, { version: 2 })
        assert.strictEqual(restored.version, 5)
        assert.deepStrictEqual(restored.state, { b: [1] })
        assert.notStrictEqual(restored.checkpointId, old.checkpointId)
        const read = plain(Option.getOrThrow(yield* view.get(threadId)))
        assert.deepStrictEqual(read, plain(restored))
        assert.deepStrictEqual(read.state, { b: [1] })
        assert.deepStrictEqual<unknown>(partsOf(read), parts)
        assert.deepStrictEqual(read.parent, refOf(old))
        assert.deepStrictEqual(read.tags, [])
        assert.deepStrictEqual((yield* listing(view, threadId)).slice(1), before)
        assert.strictEqual(yield* stateAt(view, threadId, 3), "c")
        assert.strictEqual(yield* stateAt(view, threadId, 4), "d")
      }))

    it.effect("restore selects the version by number, id, tag, time or the checkpoint itself", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* threeAtTimes(view, threadId)
        const restored = yield* Effect.forEach(selectorsOf(saved), (selector) => view.restore(threadId, selector))
        assert.deepStrictEqual(restored.map(({ state }) => state), ["a", "b", "c", "b", "a"])
        const states = (yield* historyOf(view, threadId)).map(({ state }) => state)
        assert.deepStrictEqual(states, ["a", "b", "c", "b", "a", "c", "b", "a"])
        const parents = (yield* listing(view, threadId)).slice(0, 5).map((info) => info.parent)
        assert.deepStrictEqual(parents, [1, 2, 3, 2, 1].map((version) => refOf(saved[version - 1]!)))
      }))

    it.effect("restore of a version with the id of another one is CheckpointNotFound, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        for (const selector of mismatched(saved)) {
          const error = yield* fails(view.restore(threadId, selector), "CheckpointNotFound").pipe(
            writesNothing(view, threadId)
          )
          assert.include(error.selector, `version ${selector.version}`)
          assert.include(error.selector, String(selector.checkpointId))
        }
      }))

    it.effect("restore, fork and setTags of a checkpoint whose thread was deleted are CheckpointNotFound, though its number exists again", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const [, second] = yield* putAll(view, threadId, ["a", "b"])
        yield* view.deleteThread(threadId)
        yield* putAll(view, threadId, ["x", "y", "z"])
        yield* fails(view.restore(threadId, second!), "CheckpointNotFound").pipe(writesNothing(view, threadId))
        yield* fails(view.setTags(threadId, second!, ["tag"]), "CheckpointNotFound").pipe(writesNothing(view, threadId))
        const target = yield* fresh
        yield* fails(view.fork(threadId, second!, { threadId: target }), "CheckpointNotFound")
        assert.deepStrictEqual(yield* versionsOf(view, target), [])
      }))

    it.effect("restore refuses a checkpoint of another view or thread, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: "a" })
        const other = yield* jsonView(yield* fresh)
        yield* other.append({ threadId, state: "other" })
        const target = yield* fresh
        yield* view.append({ threadId: target, state: "target" })
        yield* refuses(other.restore(threadId, source), "selector.namespace").pipe(writesNothing(other, threadId))
        yield* refuses(view.restore(target, source), "selector.threadId").pipe(writesNothing(view, target))
      }))

    it.effect("restore can restore the newest version, and a put can follow the version that it saved", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [[1], [1, 2], [1, 2, 3]])
        yield* view.restore(threadId, { version: 3 })
        const restored = yield* view.restore(threadId, { version: 1 })
        yield* view.put({ parent: restored, state: [1, 9] })
        assert.deepStrictEqual((yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.state), [
          [1, 9],
          [1],
          [1, 2, 3],
          [1, 2, 3],
          [1, 2],
          [1]
        ])
      }))

    it.effect("restore saves its version under the checkpoint id that it is given", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        yield* view.restore(threadId, { version: 1 }, { checkpointId: "mine" })
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { checkpointId: "mine" })).version, 2)
      }))

    it.effect("restore of a version that does not exist is CheckpointNotFound, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        const before = DateTime.makeUnsafe("1970-01-01T00:00:00.000Z")
        for (const selector of [{ version: 2 }, { checkpointId: "x" }, { tag: "x" }, { at: before }]) {
          const error = yield* fails(view.restore(threadId, selector), "CheckpointNotFound").pipe(
            writesNothing(view, threadId)
          )
          assert.strictEqual(error.threadId, threadId)
          assert.strictEqual(error.namespace, view.namespace)
          assert.include(error.selector, selector.at === undefined ? String(Object.values(selector)[0]) : "1970-01-01")
        }
        const missing = yield* fresh
        yield* fails(view.restore(missing, { version: 1 }), "CheckpointNotFound")
        assert.isTrue(Option.isNone(yield* view.get(missing)))
      }))
  })
}

const fork: Group = (it) => {
  describe("fork", patient, () => {
    it.effect("a fork is version 1 of a new thread, with all of the content, and its parent is the source", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        const source = yield* view.append({ threadId, state: { b: 1 }, ...parts })
        yield* view.setTags(source.threadId, source, ["kept"])
        yield* view.append({ threadId, state: "c" })
        const target = yield* fresh
        const forked = yield* view.fork(source.threadId, source, { threadId: target }).pipe(
          writesNothing(view, threadId)
        )
        assert.deepStrictEqual(timeless(forked), {
          threadId: target,
          namespace: view.namespace,
          version: 1,
          checkpointId: forked.checkpointId,
          parent: refOf(source),
          state: { b: 1 },
          tags: [],
          ...parts
        })
        assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(target))), plain(forked))
        assert.deepStrictEqual(yield* versionsOf(view, target), [1])
      }))

    it.effect("fork selects the version by number, id, tag, time or the checkpoint itself", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* threeAtTimes(view, threadId)
        for (const [i, selector] of selectorsOf(saved).entries()) {
          const source = saved[[0, 1, 2, 1, 0][i]!]!
          const forked = yield* view.fork(threadId, selector, { threadId: yield* fresh })
          assert.strictEqual(forked.state, source.state)
          assert.deepStrictEqual(forked.parent, refOf(source))
        }
      }))

    it.effect("fork of a version with the id of another one is CheckpointNotFound, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        const target = yield* fresh
        for (const selector of mismatched(saved)) {
          yield* fails(view.fork(threadId, selector, { threadId: target }), "CheckpointNotFound")
        }
        assert.deepStrictEqual(yield* versionsOf(view, target), [])
      }))

    it.effect("a fork and its source are independent: each reads back what was written to it", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, [["a"], ["a", "b"], ["a", "b", "c"]])
        const target = yield* fresh
        const forked = yield* view.fork(saved[1]!.threadId, saved[1]!, { threadId: target })
        const inFork = yield* view.put({ parent: forked, state: ["a", "b", "fork"] })
        const inSource = yield* view.put({ parent: saved[2]!, state: ["a", "b", "c", "source"] })
        yield* view.update(target, (state) => [...state as Array<string>, "again"])
        yield* view.setTags(inFork.threadId, inFork, ["fork"])
        const states = (id: string) =>
          Effect.map(historyOf(view, id), (history) => history.map((checkpoint) => checkpoint.state))
        assert.deepStrictEqual(yield* states(target), [["a", "b", "fork", "again"], ["a", "b", "fork"], ["a", "b"]])
        assert.deepStrictEqual(yield* states(threadId), [
          ["a", "b", "c", "source"],
          ["a", "b", "c"],
          ["a", "b"],
          ["a"]
        ])
        assert.isTrue(Option.isNone(yield* view.get(threadId, { tag: "fork" })))
        assert.strictEqual(inSource.version, 4)
        assert.strictEqual(yield* view.deleteThread(threadId), 4)
        assert.deepStrictEqual(yield* states(target), [["a", "b", "fork", "again"], ["a", "b", "fork"], ["a", "b"]])
        assert.deepStrictEqual(
          (yield* listing(view, target)).at(-1)!.parent,
          refOf(saved[1]!),
          "the parent is still named, though it was deleted"
        )
        yield* view.append({ threadId, state: "again" })
        assert.deepStrictEqual((yield* states(target)).length, 3)
      }))

    it.effect("deleting a fork leaves its source as it is", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: "a" })
        const target = yield* fresh
        yield* view.fork(source.threadId, source, { threadId: target })
        assert.strictEqual(yield* view.deleteThread(target), 1)
        assert.strictEqual(yield* stateAt(view, threadId, 1), "a")
        yield* view.fork(source.threadId, source, { threadId: target })
        assert.strictEqual(yield* stateAt(view, target, 1), "a")
      }))

    it.effect("two forks of one checkpoint are independent", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: { path: [] } })
        const [left, right] = [yield* fresh, yield* fresh]
        const [a, b] = [
          yield* view.fork(source.threadId, source, { threadId: left }),
          yield* view.fork(source.threadId, source, { threadId: right })
        ]
        yield* view.put({ parent: a, state: { path: ["left"] } })
        yield* view.put({ parent: b, state: { path: ["right"] } })
        assert.deepStrictEqual(yield* stateAt(view, left, 2), { path: ["left"] })
        assert.deepStrictEqual(yield* stateAt(view, right, 2), { path: ["right"] })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("a fork can be forked, and is saved under the checkpoint id that it is given", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, ["a", "b"])
        const [second, third] = [yield* fresh, yield* fresh]
        yield* view.fork(threadId, { version: 1 }, { threadId: second })
        const forked = yield* view.fork(second, { version: 1 }, { threadId: third, checkpointId: "mine" })
        assert.strictEqual(forked.state, "a")
        assert.strictEqual(forked.checkpointId, "mine")
        assert.strictEqual(forked.parent!.threadId, second)
      }))

    it.effect("fork to a thread that exists is ThreadExists, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: "a" })
        const target = yield* fresh
        yield* putAll(view, target, ["x", "y"])
        const error = yield* fails(view.fork(source.threadId, source, { threadId: target }), "ThreadExists").pipe(
          writesNothing(view, target)
        )
        assert.deepStrictEqual([error.threadId, error.namespace, error.version], [target, view.namespace, 2])
        yield* fails(view.fork(source.threadId, source, { threadId }), "ThreadExists").pipe(
          writesNothing(view, threadId)
        )
      }))

    it.effect("fork of a version that does not exist is CheckpointNotFound, and writes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: "a" })
        const target = yield* fresh
        for (const source of [{ threadId, version: 2 }, { threadId: yield* fresh, version: 1 }]) {
          const error = yield* fails(view.fork(source.threadId, source, { threadId: target }), "CheckpointNotFound")
          assert.strictEqual(error.threadId, source.threadId)
        }
        assert.isTrue(Option.isNone(yield* view.get(target)))
      }))

    it.effect("fork and setTags refuse a checkpoint of another view or thread", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: "a" })
        const other = yield* jsonView(yield* fresh)
        yield* other.append({ threadId, state: "other" })
        const target = yield* fresh
        yield* refuses(other.fork(source.threadId, source, { threadId: target }), "selector.namespace")
        yield* refuses(other.setTags(source.threadId, source, ["tag"]), "selector.namespace")
        yield* refuses(view.fork(yield* fresh, source, { threadId: target }), "selector.threadId")
        assert.isTrue(Option.isNone(yield* other.get(target)))
        assert.isTrue(Option.isNone(yield* other.get(threadId, { tag: "tag" })))
      }))
  })
}

const tags: Group = (it) => {
  describe("tags", patient, () => {
    it.effect("setTags sets, replaces and removes tags, and every way of reading returns them", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        const second = saved[1]!
        for (const tags of [["x"], ["y", "x"], ["it's", "\"", "%", "\u001a0000", "🎉"], ["z"], []]) {
          const info = yield* view.setTags(second.threadId, second, tags)
          assert.deepStrictEqual(info.tags.toSorted(), tags.toSorted())
          const { state: _, ...expected } = { ...plain(second), tags: tags.toSorted() }
          assert.deepStrictEqual<unknown>(plain(info), expected)
          assert.deepStrictEqual<unknown>((yield* listing(view, threadId))[1], expected)
          assert.deepStrictEqual(plain((yield* historyOf(view, threadId))[1]!).tags, tags.toSorted())
          assert.deepStrictEqual(
            plain(Option.getOrThrow(yield* view.get(threadId, { version: 2 }))).tags,
            tags.toSorted()
          )
          for (const tag of tags) {
            assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag })).version, 2)
          }
          for (const tag of ["x", "y", "z"].filter((tag) => !tags.includes(tag))) {
            assert.isTrue(Option.isNone(yield* view.get(threadId, { tag })))
          }
        }
        assert.deepStrictEqual((yield* listing(view, threadId)).map((info) => info.tags), [[], [], []])
      }))

    it.effect("setTags selects the version by number, id, tag, time or the checkpoint itself", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* threeAtTimes(view, threadId)
        for (const [i, selector] of selectorsOf(saved).entries()) {
          const info = yield* view.setTags(threadId, selector, ["tag", `${i}`])
          assert.strictEqual(info.version, [1, 2, 3, 2, 1][i])
          assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag: `${i}` })).version, info.version)
        }
        assert.deepStrictEqual((yield* listing(view, threadId)).map(({ tags }) => tags), [
          ["2", "tag"],
          ["3", "tag"],
          ["4", "tag"]
        ])
      }))

    it.effect("setTags of a version with the id of another one is CheckpointNotFound, and changes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        for (const selector of mismatched(saved)) {
          yield* fails(view.setTags(threadId, selector, ["tag"]), "CheckpointNotFound").pipe(
            writesNothing(view, threadId)
          )
        }
      }))

    it.effect("threads shows the tags of each newest version", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1 })
        yield* view.setTags(threadId, { version: 1 }, ["b", "a"])
        const [thread] = yield* Stream.runCollect(view.threads())
        assert.deepStrictEqual(thread!.head.tags.toSorted(), ["a", "b"])
      }))

    it.effect("setTags drops repeated tags and refuses more than 64", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1 })
        const info = yield* view.setTags(saved.threadId, saved, ["a", "b", "a", "a", "b"])
        assert.deepStrictEqual(info.tags.toSorted(), ["a", "b"])
        const many = range(1, 64).map((i) => `tag ${i}`)
        assert.lengthOf((yield* view.setTags(saved.threadId, saved, [...many, ...many])).tags, 64)
        yield* refuses(view.setTags(saved.threadId, saved, [...many, "one more"]), "tags").pipe(
          writesNothing(view, threadId)
        )
      }))

    it.effect("setTags changes nothing of a version but its tags", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: { a: 1 }, ...parts })
        yield* age("1 minute")
        const [before] = yield* listing(view, threadId)
        yield* view.setTags(saved.threadId, saved, ["tag"])
        assert.deepStrictEqual((yield* listing(view, threadId))[0], { ...before!, tags: ["tag"] })
        assert.deepStrictEqual(yield* stateAt(view, threadId, 1), { a: 1 })
      }))

    it.effect("setTags of a version that does not exist is CheckpointNotFound", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1 })
        for (const target of [{ threadId, version: 2 }, { threadId: yield* fresh, version: 1 }]) {
          const error = yield* fails(view.setTags(target.threadId, target, ["tag"]), "CheckpointNotFound")
          assert.strictEqual(error.threadId, target.threadId)
        }
        assert.isTrue(Option.isNone(yield* view.get(threadId, { tag: "tag" })))
      }))
  })
}

const deleteThread: Group = (it) => {
  describe("deleteThread", patient, () => {
    it.effect("deleteThread removes all versions, tagged and interrupted ones too, and returns their number", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, ["a", "b", "c"])
        yield* view.append({ threadId, state: "d", pendingInterrupts: parts.pendingInterrupts })
        yield* view.setTags(saved[0]!.threadId, saved[0]!, ["tag"])
        assert.strictEqual(yield* view.deleteThread(threadId), 4)
        assert.isTrue(Option.isNone(yield* view.get(threadId)))
        assert.isTrue(Option.isNone(yield* view.get(threadId, { tag: "tag" })))
        for (const { checkpointId, createdAt, version } of saved) {
          assert.isTrue(Option.isNone(yield* view.get(threadId, { version })))
          assert.isTrue(Option.isNone(yield* view.get(threadId, { checkpointId })))
          assert.isTrue(Option.isNone(yield* view.getAtTime(threadId, createdAt)))
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
        assert.deepStrictEqual(yield* historyOf(view, threadId), [])
        assert.deepStrictEqual(yield* Stream.runCollect(view.threads()), [])
        yield* fails(view.setTags(saved[0]!.threadId, saved[0]!, ["tag"]), "CheckpointNotFound")
        yield* fails(view.update(threadId, (state) => state), "CheckpointNotFound")
        yield* fails(view.restore(threadId, { version: 1 }), "CheckpointNotFound")
        yield* fails(view.fork(saved[0]!.threadId, saved[0]!, { threadId: yield* fresh }), "CheckpointNotFound")
      }))

    it.effect("a thread that is created again after deleteThread begins at version 1, with nothing of the old one", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const old = yield* putAll(view, threadId, ["a", "b", "c"])
        yield* view.setTags(old[1]!.threadId, old[1]!, ["tag"])
        yield* view.deleteThread(threadId)
        yield* age("1 minute")
        const again = yield* view.append({ threadId, state: "again" })
        assert.strictEqual(again.version, 1)
        assert.isTrue(again.parent === undefined)
        assert.isTrue(Option.isNone(yield* view.get(threadId, { checkpointId: old[0]!.checkpointId })))
        yield* view.append({ threadId, state: "more" })
        assert.isTrue(Option.isNone(yield* view.get(threadId, { tag: "tag" })))
        assert.deepStrictEqual((yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.state), [
          "more",
          "again"
        ])
        const [thread] = yield* Stream.runCollect(view.threads())
        assert.deepStrictEqual(plain(thread!.head), (yield* listing(view, threadId))[0]!)
        assert.strictEqual(plain({ ...thread!.head, ...thread! }).createdAt, plain(again).createdAt)
      }))

    it.effect("deleteThread of a thread that does not exist returns 0, and so does a second one", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        assert.strictEqual(yield* view.deleteThread(threadId), 0)
        yield* view.append({ threadId, state: "a" })
        assert.strictEqual(yield* view.deleteThread(threadId), 1)
        assert.strictEqual(yield* view.deleteThread(threadId), 0)
      }))

    it.effect("deleteThread leaves other threads as they are", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const others = [`${threadId} `, `${threadId}2`, threadId.slice(0, -1), `${threadId}%`, "%"]
        yield* putAll(view, threadId, ["a", "b"])
        yield* Effect.forEach(others, (other) => putAll(view, other, [other, "b"]))
        yield* (yield* Checkpointer.Checkpointer).append({ threadId, state: "of another namespace" })
        yield* view.deleteThread(threadId)
        for (const other of others) {
          assert.deepStrictEqual((yield* historyOf(view, other)).map((checkpoint) => checkpoint.state), ["b", other])
        }
        assert.strictEqual(yield* stateAt(yield* Checkpointer.Checkpointer, threadId, 1), "of another namespace")
      }))
  })
}

export const branching: Group = (it, properties) => {
  for (const group of [restore, fork, tags, deleteThread]) group(it, properties)
}
