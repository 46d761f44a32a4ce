import { Checkpointer, CheckpointError, CheckpointStore } from "@effect-checkpoint/core"
import type { CheckpointRef } from "@effect-checkpoint/core/Checkpoint"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import {
  anotherService,
  fails,
  farFuture,
  freshThread,
  type Group,
  historyOf,
  type JsonView,
  jsonView,
  onLiveClock,
  patient,
  plainThread,
  range,
  refOf,
  stateAt,
  versionsOf
} from "./suite.ts"

/*
 * A store may keep only what changed between versions. That must not be visible, except in how little is stored.
 */

const replyLost = new CheckpointError.StoreError({
  operation: "put",
  reason: new CheckpointError.Unavailable({ message: "the reply was lost" }),
  outcome: "Unknown"
})

// -----------------------------------------------------------------------------
// a conversation that changes in all ways, and a model of it
// -----------------------------------------------------------------------------

const Index = Schema.Literals([0, 1, 2, 3, 5, 8, 13, 21])

const Step = Schema.Union([
  Schema.TaggedStruct("Append", { count: Schema.Literals([1, 2, 7, 20]) }),
  Schema.TaggedStruct("Edit", { index: Index }),
  Schema.TaggedStruct("DropFirst", { count: Schema.Literals([1, 2, 5]) }),
  Schema.TaggedStruct("Rewrite", {}),
  Schema.TaggedStruct("Restore", { back: Index }),
  Schema.TaggedStruct("Fork", { back: Index }),
  Schema.TaggedStruct("Tag", { back: Index, tagged: Schema.Boolean }),
  Schema.TaggedStruct("Prune", { keep: Schema.Literals([1, 2, 3, 5, 10, 30]), compact: Schema.Boolean }),
  Schema.TaggedStruct("OtherProcess", {}),
  Schema.TaggedStruct("Delete", { really: Schema.Literals([1, 2, 3, 4, 5, 6, 7, 8]) })
])

type Step = typeof Step.Type

type LawError =
  | Checkpointer.WriteError
  | Checkpointer.ReadError
  | CheckpointError.CheckpointNotFound
  | CheckpointError.VersionConflict
  | CheckpointError.ThreadExists

type Conversation = { readonly title: string; readonly messages: ReadonlyArray<string> }

interface Model {
  /** By version. */
  readonly states: Map<number, Conversation>
  readonly tagged: Set<number>
  prunedThrough: number
  head: number
  /** Makes each message different from all others. */
  counter: number
}

const isVisible = (model: Model, version: number): boolean => version > model.prunedThrough || model.tagged.has(version)

const message = (model: Model): string => `message ${model.counter++} `.repeat(8)

const perform = Effect.fnUntraced(
  function*(
    view: JsonView,
    other: JsonView,
    threadId: string,
    model: Model,
    step: Step
  ): Effect.fn.Return<void, LawError, Checkpointer.Checkpointer> {
    const now = model.states.get(model.head) ?? { title: "", messages: [] }
    const put = (state: Conversation, writer: JsonView = view) =>
      Effect.map(writer.append({ threadId, state }), (saved) => {
        model.head++
        assert.strictEqual(saved.version, model.head)
        model.states.set(model.head, state)
      })
    const visible = Array.from(model.states.keys()).filter((version) => isVisible(model, version)).toSorted((a, b) =>
      b - a
    )
    const back = "back" in step ? visible[step.back % Math.max(1, visible.length)] : undefined
    switch (step._tag) {
      case "Append": {
        for (let i = 0; i < step.count; i++) {
          const { messages } = model.states.get(model.head) ?? now
          yield* put({ ...now, messages: [...messages, message(model)] })
        }
        return
      }
      case "Edit":
        return yield* put({
          title: message(model),
          messages: now.messages.map((text, i) => i === step.index ? message(model) : text)
        })
      case "DropFirst":
        return yield* put({ ...now, messages: [...now.messages.slice(step.count), message(model)] })
      case "Rewrite":
        return yield* put({ title: message(model), messages: range(1, 12).map(() => message(model)) })
      case "OtherProcess":
        return yield* put({ ...now, messages: [...now.messages, message(model)] }, other)
      case "Restore": {
        if (back === undefined) return
        yield* view.restore(threadId, { version: back })
        model.states.set(++model.head, model.states.get(back)!)
        return
      }
      case "Fork": {
        if (back === undefined) return
        const target = `${threadId} fork`
        const forked = yield* view.fork(threadId, { version: back }, { threadId: target })
        const grown = { ...model.states.get(back)!, title: message(model) }
        yield* view.put({ parent: forked, state: grown })
        assert.deepStrictEqual(yield* stateAt(view, target, 1), model.states.get(back))
        assert.deepStrictEqual(yield* stateAt(view, target, 2), grown)
        yield* view.deleteThread(target)
        return
      }
      case "Tag": {
        if (back === undefined) return
        yield* view.setTags(threadId, { version: back }, step.tagged ? ["tag"] : [])
        if (step.tagged) model.tagged.add(back)
        else model.tagged.delete(back)
        return
      }
      case "Prune": {
        const policy = { maxVersions: step.keep, compact: step.compact, namespace: view.namespace }
        const checkpointer = yield* Checkpointer.Checkpointer
        const planned = yield* checkpointer.prune(policy, { dryRun: true })
        const done = yield* checkpointer.prune(policy)
        assert.deepStrictEqual({ ...done, dryRun: true, duration: planned.duration }, planned)
        const before = visible.length
        model.prunedThrough = Math.max(model.prunedThrough, model.head - step.keep)
        const after = visible.filter((version) => isVisible(model, version)).length
        assert.strictEqual(done.versions, before - after)
        return
      }
      case "Delete": {
        if (step.really !== 1) return
        assert.strictEqual(yield* view.deleteThread(threadId), visible.length)
        model.states.clear()
        model.tagged.clear()
        model.head = 0
        model.prunedThrough = 0
        return
      }
    }
  }
)

/** Checks that every visible version reads back as it was saved, and that no other version is found. */
const agrees = Effect.fnUntraced(function*(view: JsonView, threadId: string, model: Model) {
  const visible = Array.from(model.states.keys()).filter((version) => isVisible(model, version)).toSorted((a, b) =>
    b - a
  )
  assert.deepStrictEqual(yield* versionsOf(view, threadId), visible)
  const history = yield* historyOf(view, threadId)
  assert.deepStrictEqual(history.map(({ version }) => version), visible)
  for (const checkpoint of history) {
    assert.deepStrictEqual(checkpoint.state, model.states.get(checkpoint.version))
  }
  for (const version of visible) {
    assert.deepStrictEqual(yield* stateAt(view, threadId, version), model.states.get(version))
  }
  for (let version = 1; version <= model.head; version++) {
    if (!isVisible(model, version)) assert.isTrue(Option.isNone(yield* view.get(threadId, { version })))
  }
})

const conversation = (messages: number): Conversation => ({
  title: "a conversation",
  messages: range(1, messages).map((i) => `message ${i} `.repeat(10))
})

/** The bytes of all payloads that a thread has. */
const storedBytes = Effect.fnUntraced(function*(view: JsonView, threadId: string) {
  const store = yield* CheckpointStore.CheckpointStore
  const key = { threadId, namespace: view.namespace }
  const [head] = yield* view.listVersions(threadId, { limit: 1 })
  const records = yield* store.read(key, { _tag: "Latest" }, head!.version)
  return records.reduce((sum, record) => sum + record.payload.bytes, 0)
})

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

export const changes: Group = (it, properties) => {
  describe("deltas", patient, () => {
    it.effect.prop(
      "every version that is kept reads back as it was saved, whatever happens to its thread",
      [Arbitrary.array(Arbitrary.schema(Step), { minLength: 3, maxLength: 14 })],
      ([steps]) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          const other = yield* anotherService(view.namespace)
          const model: Model = { states: new Map(), tagged: new Set(), prunedThrough: 0, head: 0, counter: 0 }
          for (const step of steps) yield* perform(view, other, threadId, model, step)
          yield* agrees(view, threadId, model)
        }),
      properties
    )

    it.effect("a thread that grows by one message at a time stores a small multiple of its messages, not their square", () =>
      Effect.gen(function*() {
        const final = conversation(400)
        const bytes = JSON.stringify(final).length
        for (const way of ["parent", "append", "update", "expectedVersion"] as const) {
          const [view, threadId] = yield* freshThread
          let last: CheckpointRef = yield* view.append({ threadId, state: conversation(1) })
          for (const count of range(2, 400)) {
            const state = conversation(count)
            last = way === "parent"
              ? yield* view.put({ parent: last, state })
              : way === "append"
              ? yield* view.append({ threadId, state })
              : way === "update"
              ? yield* view.update(threadId, () => state)
              : yield* view.put({ threadId, expectedVersion: last.version, state })
          }
          assert.deepStrictEqual(yield* stateAt(view, threadId, 400), final)
          assert.isBelow(yield* storedBytes(view, threadId), 8 * bytes, way)
        }
      }))

    it.effect("reading a version reads at most about twice its state, whether states grew, shrank or only changed", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const store = yield* CheckpointStore.CheckpointStore
        const sizes = [
          ...range(1, 500),
          ...range(500, 400),
          ...range(400, 3).filter((i) => i % 7 === 0),
          1,
          ...range(1, 60)
        ]
        for (const [i, count] of sizes.entries()) {
          yield* view.append({ threadId, state: { ...conversation(count), title: `${i}` } })
        }
        for (const version of range(1, sizes.length).filter((version) => version % 5 === 0)) {
          const chain = yield* store.read({ threadId, namespace: view.namespace }, { _tag: "Version", version }, 1)
          const read = chain.reduce((sum, record) => sum + record.payload.bytes, 0)
          assert.isBelow(read, 2 * Math.max(4096, chain.at(-1)!.stateBytes), `version ${version}`)
          assert.isBelow(chain.length * 200, Math.max(4096, chain.at(-1)!.stateBytes) + 400, `version ${version}`)
        }
      }))

    it.effect("a state that its owner mutates is saved as it is then, and changes no version that was saved before", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const state = { messages: conversation(50).messages.slice(), more: { deep: [1, 2, 3] } }
        const first = yield* view.append({ threadId, state })
        const before = structuredClone(state)
        state.messages.push("another")
        state.more.deep.length = 1
        const second = yield* view.put({ parent: first, state })
        const after = structuredClone(state)
        state.messages[0] = "changed"
        yield* view.append({ threadId, state })
        assert.deepStrictEqual(yield* stateAt(view, threadId, 1), before)
        assert.deepStrictEqual(yield* stateAt(view, threadId, 2), after)
        assert.deepStrictEqual(yield* stateAt(view, threadId, 3), state)
        // A state that was read belongs to its reader too.
        const read = Option.getOrThrow(yield* view.get(threadId))
        const mutable = read.state as { messages: Array<string> }
        mutable.messages.pop()
        const popped = structuredClone(mutable)
        yield* view.put({ parent: read, state: mutable })
        for (const checkpoint of yield* historyOf(view, threadId)) {
          ;(checkpoint.state as { messages: Array<string> }).messages.length = 0
        }
        assert.deepStrictEqual(yield* stateAt(view, threadId, 4), popped)
        assert.strictEqual(second.version, 2)
      }))

    it.effect("a service with an empty or a stale cache saves states that read back as they were saved", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const forgetful = yield* Effect.provideService(
          jsonView(view.namespace),
          Checkpointer.Checkpointer,
          yield* Checkpointer.make({ cacheBytes: 0 })
        )
        const other = yield* anotherService(view.namespace)
        const writers = [view, other, forgetful, view, other, forgetful, other, view]
        for (const [i, writer] of writers.entries()) yield* writer.append({ threadId, state: conversation(100 + i) })
        for (const i of writers.keys()) {
          assert.deepStrictEqual(yield* stateAt(view, threadId, i + 1), conversation(100 + i))
        }
        // A thread that is deleted and created again has the same version numbers, but is another thread.
        yield* other.deleteThread(threadId)
        for (const i of writers.keys()) yield* other.append({ threadId, state: conversation(200 + i) })
        yield* view.append({ threadId, state: conversation(150) })
        yield* view.append({ threadId, state: conversation(151) })
        assert.deepStrictEqual(yield* stateAt(other, threadId, 8), conversation(207))
        assert.deepStrictEqual(yield* stateAt(other, threadId, 9), conversation(150))
        assert.deepStrictEqual(yield* stateAt(other, threadId, 10), conversation(151))
      }))

    it.effect("a put whose parent was read before its thread was deleted conflicts, though its number and id exist again", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const start = { threadId, checkpointId: "start" }
        const saved = yield* view.create({ ...start, state: conversation(60) })
        const read = [
          saved,
          Option.getOrThrow(yield* view.get(threadId)),
          Option.getOrThrow(yield* view.get(threadId, { version: 1 })),
          Option.getOrThrow(yield* view.getAtTime(threadId, farFuture)),
          ...(yield* historyOf(view, threadId))
        ]
        for (const writer of [view, other]) {
          yield* writer.deleteThread(threadId)
          yield* writer.create({ ...start, state: { other: conversation(61) } })
          for (const parent of read) {
            yield* fails(view.put({ parent, state: conversation(62) }), "VersionConflict")
          }
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
          assert.deepStrictEqual(yield* stateAt(other, threadId, 1), { other: conversation(61) })
        }
      }))

    it.effect("a put whose parent is a bare reference follows the version with its number and id, whichever write made that", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const start = { threadId, checkpointId: "start" }
        const first = yield* view.create({ ...start, state: conversation(60) })
        yield* other.deleteThread(threadId)
        // The view still caches the deleted one, which has the same number and id.
        yield* other.create({ ...start, state: { other: conversation(60) } })
        const next = yield* view.put({ parent: refOf(first), state: conversation(61) })
        assert.strictEqual(next.version, 2)
        assert.deepStrictEqual(yield* stateAt(other, threadId, 1), { other: conversation(60) })
        assert.deepStrictEqual(yield* stateAt(other, threadId, 2), conversation(61))
      }))

    it.effect("a cached state of a deleted thread is not taken for the newest one, though its number and id exist again", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        for (const checkpointId of ["start", "019cb5a0-7000-7000-8000-000000000000"]) {
          yield* view.append({ threadId, checkpointId, state: conversation(60) })
          yield* other.deleteThread(threadId)
          yield* other.append({ threadId, checkpointId, state: { other: conversation(60) } })
          const states = [conversation(61), conversation(62), conversation(63)]
          yield* view.append({ threadId, state: states[0]! })
          yield* view.put({ threadId, expectedVersion: 2, state: states[1]! })
          yield* view.update(threadId, () => states[2]!)
          for (const [i, state] of states.entries()) {
            assert.deepStrictEqual(yield* stateAt(other, threadId, i + 2), state)
          }
          yield* view.deleteThread(threadId)
        }
      }))

    it.effect("append saves the state as it was when it was called, though its owner mutates it before a retry", () =>
      Effect.gen(function*() {
        const [base, threadId] = yield* freshThread
        const store = yield* CheckpointStore.CheckpointStore
        const state = structuredClone(conversation(60)) as unknown as { messages: Array<string> }
        // The reply to each first attempt is lost, and the caller mutates its state before the second.
        const seen = new Set<string>()
        const losing = CheckpointStore.CheckpointStore.of({
          ...store,
          put: (record, expected) =>
            Effect.flatMap(store.put(record, expected), (result) => {
              state.messages.push("of the future")
              if (seen.has(record.checkpointId)) return Effect.succeed(result)
              seen.add(record.checkpointId)
              return Effect.fail(replyLost)
            })
        })
        const service = yield* Effect.provideService(
          Checkpointer.make({ retry: Schedule.recurs(1) }),
          CheckpointStore.CheckpointStore,
          losing
        )
        const view = yield* Effect.provideService(jsonView(base.namespace), Checkpointer.Checkpointer, service)
        const other = yield* anotherService(base.namespace)
        const expected: Array<Schema.Json> = []
        for (const i of range(1, 6)) {
          // Sometimes the cached state is not the newest one, and the state is sent twice.
          if (i % 3 === 0) {
            yield* other.append({ threadId, state: "in between" })
            expected.push("in between")
          }
          const now = structuredClone(state)
          expected.push(now)
          const saved = yield* view.append({ threadId, state })
          assert.strictEqual(saved.version, expected.length)
        }
        for (const [i, state] of expected.entries()) {
          assert.deepStrictEqual(yield* stateAt(other, threadId, i + 1), state)
        }
      }).pipe(onLiveClock))

    it.effect("a put that is repeated under its id returns its checkpoint, whether that was stored whole or as a change", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const other = yield* anotherService(view.namespace)
        const first = yield* view.append({ threadId, state: conversation(60) })
        const put = { parent: first, checkpointId: "once", state: conversation(61) }
        const saved = yield* view.put(put)
        for (const writer of [view, other]) {
          assert.deepStrictEqual(yield* writer.put(put), saved)
          assert.strictEqual(
            (yield* writer.append({ threadId, checkpointId: "once", state: conversation(61) })).version,
            2
          )
          yield* fails(writer.put({ ...put, state: conversation(62) }), "CheckpointIdTaken")
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      }))

    it.effect("a state over the limit is StateTooLarge with its exact size, whether it is saved whole or as a change", () =>
      Effect.gen(function*() {
        const [base, threadId] = yield* freshThread
        const limited = yield* Checkpointer.make({ maxStateBytes: 4000 })
        const view = yield* Effect.provideService(jsonView(base.namespace), Checkpointer.Checkpointer, limited)
        const state = (text: string) => ({ list: ["x".repeat(3000), text], "k\u0000": 1e300 })
        const first = yield* view.append({ threadId, state: state("") })
        const wholly = yield* fails(
          view.append({ threadId: `${threadId} whole`, state: state("y".repeat(1000)) }),
          "StateTooLarge"
        )
        const grown = yield* fails(view.put({ parent: first, state: state("y".repeat(1000)) }), "StateTooLarge")
        assert.strictEqual(grown.bytes, wholly.bytes)
        const exact = 4000 - (wholly.bytes - 1000)
        assert.strictEqual((yield* view.put({ parent: first, state: state("y".repeat(exact)) })).version, 2)
        yield* fails(view.append({ threadId, state: state("y".repeat(exact + 1)) }), "StateTooLarge")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      }))

    it.effect("a change to what JSON cannot hold is a StateEncodeError that names the place", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* plainThread
        const whole = { ...conversation(60), extra: [1, { deep: 1 as unknown }] }
        const first = yield* view.append({ threadId, state: whole as Schema.Json })
        for (const bad of [Number.NaN, undefined, 1n, new Map(), () => 1]) {
          const state = { ...whole, extra: [1, { deep: bad }] } as Schema.Json
          const error = yield* fails(view.put({ parent: first, state }), "StateEncodeError")
          assert.include(error.problem, "$[\"extra\"][1][\"deep\"]")
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
      }))
  })
}
