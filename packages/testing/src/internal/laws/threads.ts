import { type Checkpoint, Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  age,
  fresh,
  freshThread,
  type Group,
  type JsonView,
  jsonView,
  patient,
  plain,
  putAll,
  range,
  refuses
} from "./suite.ts"

const listed = (view: Pick<JsonView, "threads">, filter?: Checkpointer.ThreadFilter) =>
  Effect.map(Stream.runCollect(view.threads(filter)), (threads) => threads.map((thread) => thread.threadId).toSorted())

const activityOf = (thread: Checkpoint.ThreadInfo): number => DateTime.toEpochMillis(thread.head.createdAt)

/** From the parser, since `__proto__` is not a key in a literal. */
const proto: Schema.JsonObject = JSON.parse(`{ "__proto__": { "a": 1 } }`)

const heads: ReadonlyArray<{ readonly threadId: string; readonly metadata: Schema.JsonObject }> = [
  { threadId: "empty", metadata: {} },
  { threadId: "flat", metadata: { user: "u1", count: 1, ok: true, none: null } },
  { threadId: "other user", metadata: { user: "u2", count: 10, ok: false } },
  { threadId: "nested", metadata: { user: { name: "u1", roles: ["admin", "editor"], address: { city: "x" } } } },
  { threadId: "arrays", metadata: { list: [1, 2, [3, 4], { a: 1, b: 2 }, { a: 2 }], empty: [] } },
  {
    threadId: "odd keys",
    metadata: { "it's": 1, "\"": 2, "'; DROP TABLE x; --": 3, "\u0000": 4, "$": 5, "a.b": 6, "%": 7, "\\": 8, "": 9 }
  },
  {
    threadId: "odd values",
    metadata: { value: "'; DROP TABLE x; --", nul: "\u0000", lone: "\ud800", sub: "\u001a0000" }
  },
  { threadId: "proto", metadata: proto }
]

const filters: ReadonlyArray<{ readonly metadata: Schema.JsonObject; readonly found: ReadonlyArray<string> }> = [
  { metadata: {}, found: heads.map((head) => head.threadId) },
  { metadata: { user: "u1" }, found: ["flat"] },
  { metadata: { user: "u1", count: 1 }, found: ["flat"] },
  { metadata: { user: "u1", count: 2 }, found: [] },
  { metadata: { user: "u" }, found: [] },
  { metadata: { user: "%" }, found: [] },
  { metadata: { count: 10 }, found: ["other user"] },
  { metadata: { count: "1" }, found: [] },
  { metadata: { ok: false }, found: ["other user"] },
  { metadata: { none: null }, found: ["flat"] },
  { metadata: { missing: null }, found: [] },
  { metadata: { user: {} }, found: ["nested"] },
  { metadata: { user: { name: "u1" } }, found: ["nested"] },
  { metadata: { user: { address: { city: "x" } } }, found: ["nested"] },
  { metadata: { user: { address: { city: "y" } } }, found: [] },
  { metadata: { user: { roles: ["editor"] } }, found: ["nested"] },
  { metadata: { user: { roles: ["editor", "admin", "editor"] } }, found: ["nested"] },
  { metadata: { user: { roles: "editor" } }, found: [] },
  { metadata: { user: { roles: [] } }, found: ["nested"] },
  { metadata: { list: [2, 1] }, found: ["arrays"] },
  { metadata: { list: [[4]] }, found: ["arrays"] },
  { metadata: { list: [3] }, found: [] },
  { metadata: { list: [{ b: 2 }] }, found: ["arrays"] },
  { metadata: { list: [{ a: 2, b: 2 }] }, found: [] },
  { metadata: { list: { a: 1 } }, found: [] },
  { metadata: { empty: [] }, found: ["arrays"] },
  { metadata: { empty: {} }, found: [] },
  { metadata: { "it's": 1 }, found: ["odd keys"] },
  { metadata: { "\"": 2 }, found: ["odd keys"] },
  { metadata: { "'; DROP TABLE x; --": 3 }, found: ["odd keys"] },
  { metadata: { "\u0000": 4 }, found: ["odd keys"] },
  { metadata: { "\u0000": 5 }, found: [] },
  { metadata: { "a.b": 6 }, found: ["odd keys"] },
  { metadata: { "%": 7, "\\": 8, "$": 5, "": 9 }, found: ["odd keys"] },
  { metadata: { value: "'; DROP TABLE x; --" }, found: ["odd values"] },
  { metadata: { nul: "\u0000" }, found: ["odd values"] },
  { metadata: { nul: "" }, found: [] },
  { metadata: { lone: "\ud800", sub: "\u001a0000" }, found: ["odd values"] },
  { metadata: { sub: "\u0000" }, found: [] },
  { metadata: proto, found: ["proto"] },
  { metadata: { "constructor": {} }, found: [] },
  { metadata: { toString: {} } as never as Schema.JsonObject, found: [] }
]

/** A view with threads of all kinds, each named for its kind. */
const kinds = Effect.gen(function*() {
  const [view] = yield* freshThread
  const pendingInterrupt = { interruptId: "i", request: null }
  yield* view.append({ threadId: "done", state: 1, metadata: { user: "a" } })
  yield* view.append({ threadId: "waiting", state: 1, pendingInterrupts: [pendingInterrupt], metadata: { user: "a" } })
  yield* view.append({ threadId: "running", state: 1, nextNodes: ["x"], metadata: { user: "b" } })
  yield* view.append({
    threadId: "waiting, running",
    state: 1,
    nextNodes: ["x"],
    pendingInterrupts: [pendingInterrupt]
  })
  yield* view.append({
    threadId: "was",
    state: 1,
    nextNodes: ["x"],
    pendingInterrupts: [pendingInterrupt],
    metadata: { user: "a" }
  })
  yield* view.append({ threadId: "was", state: 2 })
  return view
})

const kindFilters: ReadonlyArray<
  { readonly filter: Checkpointer.ThreadFilter; readonly found: ReadonlyArray<string> }
> = [
  { filter: {}, found: ["done", "waiting", "running", "waiting, running", "was"] },
  { filter: { interrupted: true }, found: ["waiting", "waiting, running"] },
  { filter: { interrupted: false }, found: ["done", "running", "was"] },
  { filter: { unfinished: true }, found: ["running", "waiting, running"] },
  { filter: { unfinished: false }, found: ["done", "waiting", "was"] },
  { filter: { interrupted: true, unfinished: true }, found: ["waiting, running"] },
  { filter: { interrupted: true, unfinished: false }, found: ["waiting"] },
  { filter: { interrupted: false, unfinished: true }, found: ["running"] },
  { filter: { interrupted: false, unfinished: false }, found: ["done", "was"] },
  { filter: { metadata: { user: "a" }, interrupted: true }, found: ["waiting"] },
  { filter: { metadata: { user: "b" }, unfinished: true, interrupted: false }, found: ["running"] },
  { filter: { metadata: { user: "b" }, interrupted: true }, found: [] },
  {
    filter: { metadata: undefined, interrupted: undefined, unfinished: undefined },
    found: [
      "done",
      "waiting",
      "running",
      "waiting, running",
      "was"
    ]
  }
]

export const threads: Group = (it) => {
  describe("threads", patient, () => {
    it.effect("threads are listed by their last save, newest first", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        for (const threadId of ["a", "b", "c", "d"]) {
          yield* view.append({ threadId, state: 1 })
          yield* age("1 second")
        }
        const order = Effect.map(Stream.runCollect(view.threads()), (found) => found.map((thread) => thread.threadId))
        assert.deepStrictEqual(yield* order, ["d", "c", "b", "a"])
        yield* view.append({ threadId: "b", state: 2 })
        yield* age("1 second")
        assert.deepStrictEqual(yield* order, ["b", "d", "c", "a"])
        yield* view.update("a", () => 2)
        yield* age("1 second")
        assert.deepStrictEqual(yield* order, ["a", "b", "d", "c"])
        yield* view.setTags("c", { version: 1 }, ["tag"])
        assert.deepStrictEqual(yield* order, ["a", "b", "d", "c"])
      }))

    it.effect("a listed thread shows when it was created and what its newest checkpoint is", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [1, 2])
        yield* age("1 minute")
        yield* view.append({
          threadId,
          state: 3,
          nextNodes: ["x"],
          metadata: { a: 1 },
          pendingInterrupts: [{ interruptId: "i", request: { b: 2 } }]
        })
        const [head, , first] = yield* view.listVersions(threadId)
        const [thread] = yield* Stream.runCollect(view.threads())
        assert.strictEqual(thread!.threadId, threadId)
        assert.strictEqual(thread!.namespace, view.namespace)
        assert.deepStrictEqual(plain(thread!.head), plain(head!))
        assert.strictEqual(DateTime.toEpochMillis(thread!.createdAt), DateTime.toEpochMillis(first!.createdAt))
        assert.notProperty(thread!.head, "state")
      }))

    it.effect("a filter by metadata finds the threads whose metadata contains it, and is never SQL", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        for (const { metadata, threadId } of heads) yield* view.append({ threadId, state: 1, metadata })
        for (const { found, metadata } of filters) {
          assert.deepStrictEqual(yield* listed(view, { metadata }), found.toSorted(), JSON.stringify(metadata))
        }
      }))

    it.effect("a filter of threads looks only at the newest checkpoint", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1, metadata: { step: 1 } })
        yield* view.append({ threadId, state: 2, metadata: { step: 2 } })
        assert.deepStrictEqual(yield* listed(view, { metadata: { step: 1 } }), [])
        assert.deepStrictEqual(yield* listed(view, { metadata: { step: 2 } }), [threadId])
      }))

    it.effect.each(kindFilters)(
      "threads are filtered by whether they are interrupted or unfinished: $filter",
      ({ filter, found }) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* listed(yield* kinds, filter), found.toSorted())
        })
    )

    it.effect("250 threads saved at few moments are each listed exactly once, in order", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        const ids = range(0, 249).map((i) => `thread ${i}`)
        for (const i of range(0, 4)) {
          yield* Effect.forEach(
            ids.filter((_, index) => index % 5 === i),
            (threadId) => view.append({ threadId, state: 1, metadata: { even: i % 2 === 0 } }),
            { concurrency: 8 }
          )
          yield* age("1 second")
        }
        const found = yield* Stream.runCollect(view.threads())
        assert.deepStrictEqual(found.map((thread) => thread.threadId).toSorted(), ids.toSorted())
        const sorted = found.toSorted((a, b) => activityOf(b) - activityOf(a) || (a.threadId < b.threadId ? -1 : 1))
        assert.deepStrictEqual(found.map((thread) => thread.threadId), sorted.map((thread) => thread.threadId))
        assert.lengthOf(yield* listed(view, { metadata: { even: true } }), 150)
        const some = yield* view.threads().pipe(Stream.take(120), Stream.runCollect)
        assert.deepStrictEqual(
          some.map((thread) => thread.threadId),
          found.slice(0, 120).map((thread) => thread.threadId)
        )
        yield* Effect.forEach(ids, view.deleteThread)
        assert.deepStrictEqual(yield* listed(view), [])
      }))

    it.effect("250 threads that are saved twice within a minute are each listed exactly once", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        const ids = range(100, 349).map((i) => `thread ${i}`)
        for (const order of [ids, ids.toReversed()]) {
          yield* Effect.forEach(order, (threadId) => view.append({ threadId, state: 1 }), { concurrency: 8 })
          yield* age("1 second")
        }
        assert.deepStrictEqual(yield* listed(view), ids)
        const found = yield* Stream.runCollect(view.threads())
        assert.deepStrictEqual(found.map(({ head }) => head.version), ids.map(() => 2))
        for (const [i, thread] of found.entries()) {
          for (const later of found.slice(i + 1)) assert.isBelow(activityOf(later) - activityOf(thread), 60_000)
        }
      }))

    it.effect("100 threads, which are exactly one page, are each listed exactly once", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        const ids = range(100, 199).map((i) => `thread ${i}`)
        yield* Effect.forEach(ids, (threadId) => view.append({ threadId, state: 1 }))
        assert.deepStrictEqual(yield* listed(view), ids)
      }))

    it.effect("a view lists the threads of its namespace, and the service those of the given one or of all", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const [a, b] = [yield* jsonView(yield* fresh), yield* jsonView(yield* fresh)]
        const threadId = yield* fresh
        const metadata = { threadId }
        yield* a.append({ threadId, state: 1, metadata })
        yield* b.append({ threadId, state: 1, metadata })
        yield* checkpointer.append({ threadId, state: 1, metadata })
        const namespaces = (threads: Stream.Stream<Checkpoint.ThreadInfo, Checkpointer.ReadError>) =>
          Effect.map(Stream.runCollect(threads), (found) => found.map((thread) => thread.namespace).toSorted())
        assert.deepStrictEqual(yield* namespaces(a.threads()), [a.namespace])
        assert.deepStrictEqual(yield* namespaces(b.threads({ metadata })), [b.namespace])
        const all = ["", a.namespace, b.namespace].toSorted()
        assert.deepStrictEqual(yield* namespaces(checkpointer.threads({ metadata })), all)
        assert.deepStrictEqual(yield* namespaces(checkpointer.threads({ metadata, namespace: "" })), [""])
        const given = checkpointer.threads({ metadata, namespace: a.namespace })
        assert.deepStrictEqual(yield* namespaces(given), [a.namespace])
        const everything = yield* namespaces(checkpointer.threads())
        for (const namespace of all) assert.include(everything, namespace)
      }))

    it.effect("a filter by metadata that is not a JSON object is refused", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        for (const metadata of [[], "a", 1, null, { a: undefined }, { a: Number.NaN }, { a: 1n }]) {
          yield* refuses(Stream.runDrain(view.threads({ metadata: metadata as never })), "filter.metadata")
        }
      }))
  })
}
