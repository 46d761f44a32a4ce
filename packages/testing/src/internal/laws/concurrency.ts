import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import {
  anotherService,
  fresh,
  freshThread,
  type Group,
  historyOf,
  patient,
  plain,
  range,
  refOf,
  stateAt,
  versionsOf
} from "./suite.ts"

export const concurrency: Group = (it) => {
  describe("concurrency", patient, () => {
    it.effect("320 appends by 32 fibers to one thread are 320 versions, each with the state that its append gave", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const second = yield* anotherService(view.namespace)
        const saved = yield* Effect.forEach(
          range(1, 320),
          (i) => (i % 2 === 0 ? view : second).append({ threadId, state: { i, text: `step ${i}` } }),
          { concurrency: 32 }
        )
        const byVersion = saved.toSorted((a, b) => a.version - b.version)
        assert.deepStrictEqual(byVersion.map((checkpoint) => checkpoint.version), range(1, 320))
        const history = (yield* historyOf(view, threadId)).toReversed()
        assert.deepStrictEqual(history.map(plain), byVersion.map(plain))
        assert.deepStrictEqual(
          history.map((checkpoint) => checkpoint.parent ?? null),
          [null, ...history.slice(0, -1).map(refOf)]
        )
        const times = history.map((checkpoint) => plain(checkpoint).createdAt)
        assert.deepStrictEqual(times, times.toSorted((a, b) => a - b))
      }))

    it.effect("32 fibers that write 400 threads leave in each thread what its writer wrote", () =>
      Effect.gen(function*() {
        const [view, prefix] = yield* freshThread
        const threadIds = range(0, 399).map((i) => `${prefix} ${i}`)
        const lengthOf = (i: number) => 1 + i % 5
        yield* Effect.forEach(threadIds, (threadId, i) =>
          Effect.gen(function*() {
            let head = yield* view.create({ threadId, state: [i] })
            for (const step of range(1, lengthOf(i)).slice(1)) {
              head = yield* view.put({ parent: head, state: [i, step] })
            }
          }), { concurrency: 32 })
        yield* Effect.forEach(threadIds, (threadId, i) =>
          Effect.gen(function*() {
            const states = (yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.state)
            assert.deepStrictEqual(states, [...range(lengthOf(i), 1).slice(0, -1).map((step) => [i, step]), [i]])
          }), { concurrency: 32 })
        assert.strictEqual(yield* Stream.runCount(view.threads()), 400)
        const removed = yield* Effect.forEach(threadIds, view.deleteThread, { concurrency: 32 })
        assert.deepStrictEqual(removed, threadIds.map((_, i) => lengthOf(i)))
      }))

    it.effect("of 32 concurrent puts with one parent exactly one succeeds, and the others conflict", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const second = yield* anotherService(view.namespace)
        const parent = yield* view.append({ threadId, state: 0 })
        const results = yield* Effect.forEach(
          range(1, 32),
          (state) => Effect.result((state % 2 === 0 ? view : second).put({ parent, state })),
          { concurrency: 32 }
        )
        const saved = results.filter(Result.isSuccess)
        assert.lengthOf(saved, 1)
        for (const { failure } of results.filter(Result.isFailure)) {
          assert.strictEqual(failure._tag, "VersionConflict", String(failure))
          if (failure._tag === "VersionConflict") assert.deepStrictEqual([failure.expected, failure.actual], [1, 2])
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
        assert.strictEqual(yield* stateAt(view, threadId, 2), saved[0]!.success.state)
      }))

    it.effect("of 32 concurrent creates of one thread exactly one succeeds", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const second = yield* anotherService(view.namespace)
        const results = yield* Effect.forEach(
          range(1, 32),
          (state) => Effect.result((state % 2 === 0 ? view : second).create({ threadId, state })),
          { concurrency: 32 }
        )
        assert.lengthOf(results.filter(Result.isSuccess), 1)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))

    it.effect("of 8 concurrent forks to one new thread exactly one succeeds", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const source = yield* view.append({ threadId, state: "source" })
        const target = yield* fresh
        const results = yield* Effect.forEach(
          range(1, 8),
          () => Effect.result(view.fork(source.threadId, source, { threadId: target })),
          { concurrency: 8 }
        )
        assert.lengthOf(results.filter(Result.isSuccess), 1)
        for (const { failure } of results.filter(Result.isFailure)) {
          assert.strictEqual(failure._tag, "ThreadExists")
        }
        assert.deepStrictEqual(yield* versionsOf(view, target), [1])
      }))

    it.effect("concurrent readers see whole versions, and never an older one after a newer one", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: { a: 0, b: 0 } })
        const write = Effect.forEach(range(1, 100), (i) => view.append({ threadId, state: { a: i, b: i } }))
        const read = Effect.forEach(range(1, 100), () => Effect.map(view.get(threadId), Option.getOrThrow))
        const [, ...readers] = yield* Effect.all([write, read, read, read], { concurrency: "unbounded" })
        for (const seen of readers) {
          for (const { state, version } of seen) {
            assert.deepStrictEqual(state, { a: version - 1, b: version - 1 })
          }
          const versions = seen.map((checkpoint) => checkpoint.version)
          assert.deepStrictEqual(versions, versions.toSorted((a, b) => a - b))
        }
      }))
  })
}
