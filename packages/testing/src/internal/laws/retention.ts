import { Checkpointer, type CheckpointStore, Retention } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
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
  randomText,
  range,
  refuses,
  stateAt,
  timeless,
  versionsOf
} from "./suite.ts"

const pendingInterrupt = { interruptId: "i", request: "?" }

/** What a prune reports, without how long it took. */
type Report = Omit<Retention.PruneReport, "duration">

const prune = (policy: Retention.Policy, options?: { readonly dryRun?: boolean | undefined }) =>
  Checkpointer.Checkpointer.use((checkpointer) =>
    Effect.map(checkpointer.prune(policy, options), (report): Report => Struct.omit(report, ["duration"]))
  )

// -----------------------------------------------------------------------------
// a model
// -----------------------------------------------------------------------------

/** A version in the model. Ages are whole hours and policies are between two of them. */
interface ModelVersion {
  readonly version: number
  readonly state: Schema.Json
  readonly interrupted: boolean
  hours: number
  tagged: boolean
  /** Whether only a tag keeps it. */
  condemned: boolean
}

/** By thread, ascending by version. The last one is the newest. */
type Model = Map<string, Array<ModelVersion>>

/** Ages are in hours. */
export interface ModelPolicy {
  readonly maxVersions?: number | undefined
  readonly maxAge?: number | undefined
  readonly idleThreads?: number | undefined
  /** Changes only the bytes that are stored. */
  readonly compact?: boolean | undefined
}

export const olderThan = (version: Pick<ModelVersion, "hours">, hours: number | undefined): boolean =>
  hours !== undefined && version.hours > hours + 0.5

/** Applies a policy as `Retention.Policy` describes it, and returns how many versions it removes of which thread. */
const pruneModel = (model: Model, policy: ModelPolicy): ReadonlyArray<Removed> => {
  const removed: Array<Removed> = []
  for (const [threadId, versions] of Array.from(model)) {
    const head = versions.at(-1)!
    const idle = olderThan(head, policy.idleThreads)
    const deleted = idle && !head.interrupted && !versions.some(({ tagged }) => tagged)
    for (const version of versions) {
      const condemned = version !== head && (idle || olderThan(version, policy.maxAge) ||
        (policy.maxVersions !== undefined && version.version <= head.version - policy.maxVersions))
      version.condemned ||= condemned
    }
    const kept = deleted ? [] : versions.filter((version) => !isGone(version))
    if (kept.length < versions.length) {
      removed.push({ threadId, versions: versions.length - kept.length, deleted })
    }
    if (deleted) model.delete(threadId)
    else model.set(threadId, kept)
  }
  return removed.toSorted(byThread)
}

const isGone = (version: ModelVersion): boolean => version.condemned && !version.tagged

interface Removed {
  readonly threadId: string
  readonly versions: number
  readonly deleted: boolean
}

const byThread = (a: { readonly threadId: string }, b: { readonly threadId: string }): number =>
  a.threadId < b.threadId ? -1 : a.threadId > b.threadId ? 1 : 0

export const policyOf = (policy: ModelPolicy, namespace: string | undefined): Retention.Policy => ({
  namespace,
  maxVersions: policy.maxVersions,
  compact: policy.compact,
  maxAge: policy.maxAge === undefined ? undefined : `${policy.maxAge * 60 + 30} minutes`,
  idleThreads: policy.idleThreads === undefined ? undefined : `${policy.idleThreads * 60 + 30} minutes`
})

/** So long that changes are stored instead of whole states. */
const filler = "a part that stays as it is. ".repeat(10)

/** One operation on the model and the store. */
const Step = Schema.TaggedUnion({
  Put: { thread: Schema.Literals(["a", "b", "c"]), tagged: Schema.Boolean, interrupted: Schema.Boolean },
  Tag: { thread: Schema.Literals(["a", "b", "c"]), index: Schema.Literals([0, 1, 2, 3]) },
  /** All versions of the thread. */
  Untag: { thread: Schema.Literals(["a", "b", "c"]) },
  Age: { hours: Schema.Literals([1, 2]) }
})

type Step = typeof Step.Type

const step = Effect.fnUntraced(function*(view: JsonView, model: Model, step: Step) {
  switch (step._tag) {
    case "Age": {
      yield* age(`${step.hours} hours`)
      for (const version of Array.from(model.values()).flat()) version.hours += step.hours
      return
    }
    case "Put": {
      const versions = model.get(step.thread) ?? []
      const version = (versions.at(-1)?.version ?? 0) + 1
      const state = [step.thread, filler, ...range(1, version)]
      const pendingInterrupts = step.interrupted ? [pendingInterrupt] : []
      const saved = yield* view.append({ threadId: step.thread, state, pendingInterrupts })
      assert.strictEqual(saved.version, version, "the next number follows that of the newest version")
      if (step.tagged) yield* view.setTags(saved.threadId, saved, ["tag"])
      const { interrupted, tagged } = step
      model.set(step.thread, [...versions, { version, state, interrupted, tagged, hours: 0, condemned: false }])
      return
    }
    case "Tag": {
      const version = model.get(step.thread)?.[step.index]
      if (version === undefined) return
      version.tagged = true
      yield* view.setTags(step.thread, { version: version.version }, ["tag"])
      return
    }
    case "Untag": {
      const versions = model.get(step.thread) ?? []
      for (const version of versions.filter((version) => version.tagged)) {
        version.tagged = false
        yield* view.setTags(step.thread, { version: version.version }, [])
      }
      if (versions.length > 0) model.set(step.thread, versions.filter((version) => !isGone(version)))
    }
  }
})

/** Checks that every way of reading finds exactly what the model has. */
const agrees = Effect.fnUntraced(function*(view: JsonView, model: Model) {
  const found = yield* Stream.runCollect(view.threads())
  assert.deepStrictEqual(found.map((thread) => thread.threadId).toSorted(), Array.from(model.keys()).toSorted())
  for (const threadId of ["a", "b", "c"]) {
    const versions = model.get(threadId) ?? []
    const history = (yield* historyOf(view, threadId)).toReversed()
    assert.deepStrictEqual(
      history.map(({ pendingInterrupts, state, tags, version }) => ({
        version,
        state,
        tagged: tags.length > 0,
        interrupted: pendingInterrupts.length > 0
      })),
      versions.map(({ interrupted, state, tagged, version }) => ({ version, state, tagged, interrupted }))
    )
    assert.deepStrictEqual(yield* versionsOf(view, threadId), versions.map((version) => version.version).toReversed())
    for (const version of range(1, (versions.at(-1)?.version ?? 0) + 1)) {
      const expected = versions.find((other) => other.version === version)
      const read = Option.getOrUndefined(yield* view.get(threadId, { version }))
      assert.deepStrictEqual(read?.state, expected?.state)
    }
    const tagged = versions.findLast((version) => version.tagged)
    const byTag = Option.getOrUndefined(yield* view.get(threadId, { tag: "tag" }))
    assert.strictEqual(byTag?.version, tagged?.version)
    for (const checkpoint of history) {
      const { createdAt } = checkpoint
      const newest = history.findLast((other) => plain(other).createdAt <= plain(checkpoint).createdAt)!
      const read = Option.getOrThrow(yield* view.getAtTime(threadId, createdAt))
      assert.deepStrictEqual(timeless(read), timeless(newest))
    }
  }
})

/** Prunes the model and the store, the latter first as a dry run, then twice. */
const pruneBoth = Effect.fnUntraced(function*(view: JsonView, model: Model, modelPolicy: ModelPolicy) {
  const policy = policyOf(modelPolicy, view.namespace)
  const before = yield* everything(view)
  const planned = yield* prune(policy, { dryRun: true })
  assert.deepStrictEqual(yield* everything(view), before, "a dry run changes nothing")
  assert.isTrue(planned.dryRun)

  const expected = pruneModel(model, modelPolicy)
  const report = yield* prune(policy)
  assert.deepStrictEqual(
    inOrder(report),
    { ...inOrder(planned), dryRun: false },
    "a dry run reports what a prune removes"
  )
  assert.deepStrictEqual(
    report.threads
      .map(({ deleted, threadId, versions }) => ({ threadId, versions, deleted }))
      // With `compact`, bytes that an earlier prune had to leave may be removed without a version.
      .filter((thread) => modelPolicy.compact !== true || thread.versions > 0)
      .toSorted(byThread),
    expected
  )
  assert.strictEqual(report.versions, expected.reduce((sum, thread) => sum + thread.versions, 0))
  assert.strictEqual(report.threadsDeleted, expected.filter((thread) => thread.deleted).length)
  assert.strictEqual(report.bytes, report.threads.reduce((sum, thread) => sum + thread.bytes, 0))
  yield* agrees(view, model)

  assert.deepStrictEqual(yield* prune(policy), nothing(false), "a prune is idempotent")
  assert.deepStrictEqual(yield* prune(policy, { dryRun: true }), nothing(true))
  yield* agrees(view, model)
})

const nothing = (dryRun: boolean): Report => ({
  dryRun,
  versions: 0,
  threadsDeleted: 0,
  bytes: 0,
  threads: []
})

const inOrder = (report: Report) => ({ ...report, threads: report.threads.toSorted(byThread) })

/** Everything that can be read of a namespace. */
const everything = Effect.fnUntraced(function*(view: JsonView) {
  const threads = yield* Stream.runCollect(view.threads())
  return yield* Effect.forEach(threads, (thread) =>
    Effect.all({
      threadId: Effect.succeed(thread.threadId),
      createdAt: Effect.succeed(DateTime.toEpochMillis(thread.createdAt)),
      history: Effect.map(historyOf(view, thread.threadId), (history) => history.map(plain)),
      listing: listing(view, thread.threadId)
    }))
})

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const put = (
  thread: "a" | "b" | "c",
  options?: { readonly tagged?: boolean; readonly interrupted?: boolean }
): Step => ({
  _tag: "Put",
  thread,
  tagged: options?.tagged ?? false,
  interrupted: options?.interrupted ?? false
})

const later = (hours: 1 | 2): Step => ({ _tag: "Age", hours })

/** Thread "a" is active and has all kinds of versions, "b" is idle with pinned ones, and "c" is idle without. */
const mixed: ReadonlyArray<Step> = [
  put("a"),
  put("a", { tagged: true }),
  put("b", { tagged: true }),
  put("b"),
  put("c"),
  later(2),
  put("a", { interrupted: true }),
  put("a"),
  put("b", { interrupted: true }),
  put("b"),
  put("b"),
  put("c"),
  put("c"),
  later(2),
  put("a"),
  put("a", { tagged: true, interrupted: true }),
  put("a"),
  later(1),
  put("a"),
  put("a")
]

const combinations: ReadonlyArray<{ readonly policy: ModelPolicy }> = [undefined, 1, 3].flatMap((maxVersions) =>
  [undefined, 0, 2].flatMap((maxAge) =>
    [undefined, 0, 2].flatMap((idleThreads) => ({ policy: { maxVersions, maxAge, idleThreads } }))
  )
).slice(1).concat({ policy: { maxVersions: 100, maxAge: 100, idleThreads: 100 } })

const impossible: ReadonlyArray<
  { readonly name: string; readonly policy: Record<string, unknown>; readonly field: string }
> = [
  { name: "an empty one", policy: {}, field: "policy" },
  { name: "only a namespace", policy: { namespace: "a" }, field: "policy" },
  ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "3", null].map((maxVersions) => ({
    name: `maxVersions ${maxVersions}`,
    policy: { maxVersions },
    field: "policy.maxVersions"
  })),
  ...["maxAge", "idleThreads"].flatMap((field) =>
    [
      0,
      -1,
      0.5,
      2e14 + 1,
      3.1e14,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      "0 days",
      "-1 days",
      "soon",
      "",
      "7 dayz",
      null,
      {}
    ].map((
      value
    ) => ({ name: `${field} ${JSON.stringify(value)}`, policy: { [field]: value }, field: `policy.${field}` }))
  )
]

export const retention: Group = (it, properties) => {
  describe("retention", patient, () => {
    it.effect("a prune by maxVersions keeps the newest versions and removes the older ones", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, range(1, 10))
        const report = yield* prune({ maxVersions: 3, namespace: view.namespace })
        assert.deepStrictEqual({ ...report, bytes: 0, threads: [] }, { ...nothing(false), versions: 7 })
        assert.deepStrictEqual(
          report.threads.map((thread) => ({ ...thread, bytes: 0 })),
          [{ threadId, namespace: view.namespace, versions: 7, bytes: 0, deleted: false }]
        )
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [10, 9, 8])
        assert.deepStrictEqual((yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.state), [10, 9, 8])
        assert.strictEqual((yield* view.put({ parent: saved[9]!, state: 11 })).version, 11)
      }))

    it.effect("no operation finds a version that a prune removed", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const first = yield* view.append({ threadId, state: 1, checkpointId: "first" })
        yield* age("1 hour")
        yield* putAll(view, threadId, [2, 3])
        const { createdAt } = (yield* view.listVersions(threadId)).at(-1)!
        yield* prune({ maxVersions: 2, namespace: view.namespace })
        const reads = [
          view.get(threadId, { version: 1 }),
          view.get(threadId, { checkpointId: "first" }),
          view.getAtTime(threadId, createdAt)
        ]
        for (const read of reads) assert.isTrue(Option.isNone(yield* read))
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2])
        assert.deepStrictEqual(yield* view.listVersions(threadId, { before: 2 }), [])
        assert.deepStrictEqual((yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.version), [3, 2])
        assert.deepStrictEqual(yield* Stream.runCollect(view.history(threadId, { before: 2 })), [])
        yield* fails(view.restore(threadId, { version: 1 }), "CheckpointNotFound")
        yield* fails(view.restore(threadId, { checkpointId: "first" }), "CheckpointNotFound")
        yield* fails(view.fork(first.threadId, first, { threadId: yield* fresh }), "CheckpointNotFound")
        yield* fails(view.setTags(first.threadId, first, ["tag"]), "CheckpointNotFound")
        assert.strictEqual(yield* view.deleteThread(threadId), 2)
      }))

    it.effect("a prune by maxAge keeps the newest version, however old it is", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* putAll(view, threadId, [1, 2, 3])
        yield* age("4000 days")
        yield* prune({ maxAge: "1 milli", maxVersions: 1, namespace: view.namespace })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3])
        assert.strictEqual((yield* view.put({ parent: saved[2]!, state: 4 })).version, 4)
      }))

    it.effect("a prune leaves tagged versions readable exactly as before", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const growing = (version: number) => range(1, version).map((i) => `message ${i}`)
        for (const version of range(1, 40)) {
          const pendingInterrupts = version % 13 === 0 ? [pendingInterrupt] : []
          const state = growing(version)
          yield* view.append({
            threadId,
            state,
            pendingInterrupts,
            metadata: { version },
            nextNodes: ["x"]
          })
          if (version % 10 === 0) yield* age("1 minute")
        }
        yield* view.setTags(threadId, { version: 1 }, ["a"])
        yield* view.setTags(threadId, { version: 20 }, ["a", "b"])
        const kept = [40, 39, 38, 20, 1]
        const before = (yield* historyOf(view, threadId)).map(plain)
        yield* prune({ maxVersions: 3, namespace: view.namespace })
        const expected = before.filter((checkpoint) => kept.includes(checkpoint.version))
        assert.deepStrictEqual((yield* historyOf(view, threadId)).map(plain), expected)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), kept)
        for (const checkpoint of expected) {
          const { createdAt, version } = checkpoint
          assert.deepStrictEqual(plain(Option.getOrThrow(yield* view.get(threadId, { version }))), checkpoint)
          const atTime = yield* view.getAtTime(threadId, DateTime.makeUnsafe(createdAt))
          const newest = expected.find((other) => other.createdAt <= createdAt)!
          assert.deepStrictEqual(plain(Option.getOrThrow(atTime)), newest)
        }
        assert.strictEqual(Option.getOrThrow(yield* view.get(threadId, { tag: "a" })).version, 20)
        const forked = yield* view.fork(threadId, { version: 20 }, { threadId: yield* fresh })
        assert.deepStrictEqual(forked.state, growing(20))
        const restored = yield* view.restore(threadId, { version: 1 })
        assert.deepStrictEqual(yield* stateAt(view, threadId, restored.version), growing(1))
      }))

    it.effect("the id of a removed version can be used again, though later versions may still need its row", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const text = randomText(2000)
        const state = (i: number) => ({ text, i })
        for (const i of range(1, 4)) yield* view.append({ threadId, checkpointId: `id ${i}`, state: state(i) })
        yield* prune({ maxVersions: 1, namespace: view.namespace })
        const head = Option.getOrThrow(yield* view.get(threadId))
        for (
          const [i, input] of [
            { threadId, checkpointId: "id 1", state: state(1) },
            { threadId, checkpointId: "id 3", state: "other content" }
          ].entries()
        ) {
          const saved = yield* view.append(input)
          assert.strictEqual(saved.version, 5 + i)
          const read = Option.getOrThrow(yield* view.get(threadId, { checkpointId: input.checkpointId }))
          assert.deepStrictEqual(read.state, input.state)
          assert.deepStrictEqual(yield* view.append(input), saved)
          yield* fails(view.put({ parent: head, checkpointId: "id 2", state: state(1) }), "VersionConflict")
        }
        assert.deepStrictEqual(yield* stateAt(view, threadId, 4), state(4))
      }))

    it.effect("a prune keeps the newest version, whatever it waits for, and removes earlier ones that waited", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* view.append({ threadId, state: 1, pendingInterrupts: [pendingInterrupt] })
        yield* view.append({ threadId, state: 2 })
        const third = yield* view.append({ threadId, state: 3, pendingInterrupts: [pendingInterrupt] })
        yield* prune({ maxVersions: 1, namespace: view.namespace })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3])
        assert.deepStrictEqual(Option.getOrThrow(yield* view.get(threadId)).pendingInterrupts, third.pendingInterrupts)
      }))

    it.effect("a version that a prune kept for its tags disappears with the last one", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const [tagged] = yield* putAll(view, threadId, [1, 2])
        yield* putAll(view, threadId, [3, 4, 5])
        yield* view.setTags(tagged!.threadId, tagged!, ["a", "b"])
        yield* view.setTags(threadId, { version: 3 }, ["a"])
        yield* prune({ maxVersions: 1, namespace: view.namespace })
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [5, 3, 1])
        yield* view.setTags(tagged!.threadId, tagged!, ["b"])
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [5, 3, 1])
        assert.deepStrictEqual((yield* view.setTags(tagged!.threadId, tagged!, [])).tags, [])
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [5, 3])
        assert.isTrue(Option.isNone(yield* view.get(threadId, { version: 1 })))
        yield* fails(view.setTags(tagged!.threadId, tagged!, ["a"]), "CheckpointNotFound")
        yield* view.setTags(threadId, { version: 3 }, [])
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [5])
        assert.deepStrictEqual(yield* prune({ maxVersions: 1, namespace: view.namespace }), nothing(false))
      }))

    it.effect("a version that a prune kept for its tags disappears with the last one, though the prune removed nothing else", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const [tagged] = yield* putAll(view, threadId, [1, 2])
        yield* view.setTags(tagged!.threadId, tagged!, ["a"])
        assert.deepStrictEqual(yield* prune({ maxVersions: 1, namespace: view.namespace }), nothing(false))
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
        yield* view.setTags(tagged!.threadId, tagged!, [])
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2])
      }))

    it.effect("a prune removes a version whose tags were removed before", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const [tagged] = yield* putAll(view, threadId, [1, 2])
        yield* view.setTags(tagged!.threadId, tagged!, ["a"])
        yield* view.setTags(tagged!.threadId, tagged!, [])
        const report = yield* prune({ maxVersions: 1, namespace: view.namespace })
        assert.strictEqual(report.versions, 1)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2])
      }))

    it.effect("a prune removes idle threads whole, unless they have a tagged version or wait for an answer", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        yield* putAll(view, "idle", [1, 2, 3])
        yield* putAll(view, "tagged", [1, 2, 3, 4])
        yield* view.setTags("tagged", { version: 2 }, ["a"])
        yield* putAll(view, "interrupted", [1, 2])
        yield* view.append({ threadId: "interrupted", state: 3, pendingInterrupts: [pendingInterrupt] })
        yield* view.append({ threadId: "answered", state: 1, pendingInterrupts: [pendingInterrupt] })
        yield* view.append({ threadId: "answered", state: 2 })
        yield* view.append({ threadId: "living", state: 1 })
        yield* age("2 hours")
        yield* view.append({ threadId: "living", state: 2 })
        const report = yield* prune({ idleThreads: "1 hour", namespace: view.namespace })
        assert.deepStrictEqual(
          report.threads.map(({ deleted, threadId, versions }) => ({ threadId, versions, deleted })).toSorted(byThread),
          [
            { threadId: "answered", versions: 2, deleted: true },
            { threadId: "idle", versions: 3, deleted: true },
            { threadId: "interrupted", versions: 2, deleted: false },
            { threadId: "tagged", versions: 2, deleted: false }
          ]
        )
        assert.strictEqual(report.versions, 9)
        assert.strictEqual(report.threadsDeleted, 2)
        assert.deepStrictEqual(yield* versionsOf(view, "idle"), [])
        assert.deepStrictEqual(yield* versionsOf(view, "tagged"), [4, 2])
        assert.deepStrictEqual(yield* versionsOf(view, "interrupted"), [3])
        assert.deepStrictEqual(yield* versionsOf(view, "living"), [2, 1])
        assert.strictEqual((yield* view.append({ threadId: "idle", state: "again" })).version, 1)
        assert.strictEqual((yield* view.append({ threadId: "tagged", state: "on" })).version, 5)
      }))

    it.effect("a prune takes a thread for idle if no version was saved, though it was read or tagged", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = yield* view.append({ threadId, state: 1 })
        yield* age("2 hours")
        yield* view.get(threadId)
        yield* view.setTags(saved.threadId, saved, ["a"])
        yield* view.setTags(saved.threadId, saved, [])
        const report = yield* prune({ idleThreads: "1 hour", namespace: view.namespace })
        assert.strictEqual(report.threadsDeleted, 1)
      }))

    it.effect("a prune of one namespace leaves other namespaces as they are", () =>
      Effect.gen(function*() {
        const [a, b] = [yield* jsonView(yield* fresh), yield* jsonView(yield* fresh)]
        const plainView = yield* Checkpointer.Checkpointer
        const threadId = yield* fresh
        for (const view of [a, b, plainView]) yield* putAll(view, threadId, [1, 2, 3])
        yield* age("2 hours")
        const report = yield* prune({ maxVersions: 1, idleThreads: "1 hour", namespace: a.namespace })
        assert.deepStrictEqual(report.threads.map((thread) => thread.namespace), [a.namespace])
        assert.deepStrictEqual(yield* versionsOf(a, threadId), [])
        assert.deepStrictEqual(yield* versionsOf(b, threadId), [3, 2, 1])
        assert.deepStrictEqual(yield* versionsOf(plainView, threadId), [3, 2, 1])
        yield* prune({ maxVersions: 2, namespace: "" })
        assert.deepStrictEqual(yield* versionsOf(b, threadId), [3, 2, 1])
        assert.deepStrictEqual(yield* versionsOf(plainView, threadId), [3, 2])
      }))

    it.effect("a prune without a namespace prunes all of them", () =>
      Effect.gen(function*() {
        const [a, b] = [yield* jsonView(yield* fresh), yield* jsonView(yield* fresh)]
        const plainView = yield* Checkpointer.Checkpointer
        const threadId = yield* fresh
        const views = [a, b, plainView]
        for (const view of views) yield* putAll(view, threadId, [1, 2, 3])
        const ours = (report: Report): ReadonlyArray<CheckpointStore.PrunedThread> =>
          report.threads.filter((thread) => thread.threadId === threadId)
        const planned = yield* prune({ maxVersions: 2 }, { dryRun: true })
        const report = yield* prune({ maxVersions: 2 })
        assert.deepStrictEqual(
          ours(report).map((thread) => thread.namespace).toSorted(),
          views.map((view) => view.namespace).toSorted()
        )
        assert.sameDeepMembers([...ours(report)], [...ours(planned)])
        for (const view of views) assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2])
      }))

    it.effect("a prune of many threads reports exactly those of which it removed something", () =>
      Effect.gen(function*() {
        const [view] = yield* freshThread
        const ids = range(100, 349).map((i) => `thread ${i}`)
        yield* Effect.forEach(
          ids,
          (threadId, i) => putAll(view, threadId, range(1, 1 + i % 3)),
          { concurrency: 8, discard: true }
        )
        const policy = { maxVersions: 2, namespace: view.namespace }
        const planned = yield* prune(policy, { dryRun: true })
        const report = yield* prune(policy)
        const losers = ids.filter((_, i) => i % 3 === 2)
        assert.deepStrictEqual(report.threads.map((thread) => thread.threadId).toSorted(), losers)
        assert.strictEqual(report.versions, losers.length)
        assert.deepStrictEqual(inOrder(report), { ...inOrder(planned), dryRun: false })
        assert.deepStrictEqual(yield* prune(policy), nothing(false))
        assert.strictEqual(yield* Stream.runCount(view.threads()), 250)
        yield* age("2 hours")
        const all = yield* prune({ idleThreads: "1 hour", namespace: view.namespace })
        assert.strictEqual(all.threadsDeleted, 250)
        assert.strictEqual(yield* Stream.runCount(view.threads()), 0)
      }))

    it.effect("prunes report as many bytes removed as were saved, and never more, also if they compact", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const saved = Effect.map(Metric.snapshot, (metrics) => {
          const found = metrics.find((metric) => metric.id === "checkpoint_bytes_written")
          return found?.type === "Counter" ? Number(found.state.count) : 0
        })
        let removed = 0
        const pruneMore = (policy: Retention.Policy) =>
          Effect.gen(function*() {
            removed += (yield* prune({ ...policy, namespace: view.namespace })).bytes
            assert.isAtMost(removed, yield* saved)
          })
        for (const round of [1, 2, 3]) {
          yield* putAll(view, threadId, range(1, 8).map((version) => [filler, filler, filler, round, version]))
          yield* view.setTags(threadId, { version: round * 8 - 3 }, ["kept"])
          yield* pruneMore({ maxVersions: 2, compact: true })
        }
        for (const round of [1, 2, 3]) yield* view.setTags(threadId, { version: round * 8 - 3 }, [])
        yield* pruneMore({ maxVersions: 1, compact: true })
        yield* age("2 hours")
        yield* pruneMore({ idleThreads: "1 hour" })
        assert.strictEqual(removed, yield* saved)
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

    it.effect("a prune removes exactly what is due of a thread that has many tagged versions and is pruned repeatedly", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const states = range(1, 40).map((version) => [filler, filler, version])
        yield* putAll(view, threadId, states)
        const tagged = range(1, 40).filter((version) => version % 7 === 3)
        for (const version of tagged) yield* view.setTags(threadId, { version }, ["kept"])
        for (const [keep, untagged] of [[30, 3], [20, 10], [5, 17]] as const) {
          yield* prune({ maxVersions: keep, namespace: view.namespace })
          yield* view.setTags(threadId, { version: untagged }, [])
          yield* prune({ maxVersions: keep - 2, namespace: view.namespace })
          const left = range(40, 1).filter((version) =>
            version > 42 - keep || (tagged.includes(version) && version > untagged)
          )
          assert.deepStrictEqual(yield* versionsOf(view, threadId), left)
          for (const version of left) {
            assert.deepStrictEqual(
              Option.getOrThrow(yield* view.get(threadId, { version })).state,
              states[version - 1]
            )
          }
        }
      }))

    it.effect("a prune of a namespace without threads removes nothing", () =>
      Effect.gen(function*() {
        const policy = { maxVersions: 1, maxAge: "1 milli", namespace: yield* fresh } as const
        assert.deepStrictEqual(yield* prune(policy), nothing(false))
        assert.deepStrictEqual(yield* prune(policy, { dryRun: true }), nothing(true))
      }))

    it.effect("a policy accepts ages as durations in any form", () =>
      Effect.gen(function*() {
        for (const maxAge of ["1 hour", 3_600_000, { hours: 1 }, [3600, 0], 3_600_000_000_000n] as const) {
          const [view, threadId] = yield* freshThread
          yield* view.append({ threadId, state: 1 })
          yield* age("65 minutes")
          yield* view.append({ threadId, state: 2 })
          yield* age("55 minutes")
          yield* view.append({ threadId, state: 3 })
          yield* prune({ maxAge, namespace: view.namespace })
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [3, 2], String(maxAge))
        }
      }))

    it.effect("a policy accepts ages of up to 2e14 milliseconds, and nothing is that old", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [1, 2])
        for (const dryRun of [true, false]) {
          const policy = { maxAge: 2e14, idleThreads: 2e14, namespace: view.namespace }
          assert.deepStrictEqual(yield* prune(policy, { dryRun }), nothing(dryRun))
        }
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      }))

    it.effect("Retention.prune needs only a store, and does what Checkpointer.prune does", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [1, 2, 3])
        const report = yield* Retention.prune({ maxVersions: 1, namespace: view.namespace })
        assert.strictEqual(report.versions, 2)
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [3])
      }))

    it.effect("appends during prunes lose no version that the policy keeps", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [[1]])
        const write = Effect.forEach(range(2, 100), (version) => view.append({ threadId, state: range(1, version) }))
        const prunes = Effect.forEach(range(1, 10), () =>
          Effect.andThen(Effect.yieldNow, prune({ maxVersions: 5, namespace: view.namespace })))
        const [saved, reports] = yield* Effect.all([write, prunes], { concurrency: 2 })
        assert.deepStrictEqual(
          saved.map((checkpoint) =>
            checkpoint.version
          ),
          range(2, 100)
        )
        const last = yield* prune({ maxVersions: 5, namespace: view.namespace })
        assert.strictEqual([...reports, last].reduce((sum, report) => sum + report.versions, 0), 95)
        assert.deepStrictEqual(
          (yield* historyOf(view, threadId)).map((checkpoint) => checkpoint.state),
          range(100, 96).map((version) => range(1, version))
        )
      }))

    it.effect.each(combinations)(
      "a prune leaves what the description of its policy says: %j",
      ({ policy }) =>
        Effect.gen(function*() {
          const [view] = yield* freshThread
          const model: Model = new Map()
          for (const each of mixed) yield* step(view, model, each)
          yield* agrees(view, model)
          yield* pruneBoth(view, model, policy)
          for (const each of [put("a"), put("b"), put("c")]) yield* step(view, model, each)
          yield* agrees(view, model)
          yield* pruneBoth(view, model, { ...policy, compact: true })
          yield* step(view, model, put("a"))
          yield* agrees(view, model)
        })
    )

    it.effect.prop(
      "any prunes of any history leave what the descriptions of their policies say",
      [Arbitrary.array(
        Arbitrary.all({
          steps: Arbitrary.array(Arbitrary.schema(Step), { maxLength: 20 }),
          compact: Arbitrary.schema(Schema.Boolean),
          policy: Arbitrary.filter(
            Arbitrary.schema(Schema.Struct({
              maxVersions: Schema.optionalKey(Schema.Literals([1, 2, 3, 5])),
              maxAge: Schema.optionalKey(Schema.Literals([0, 1, 2, 4])),
              idleThreads: Schema.optionalKey(Schema.Literals([0, 1, 3]))
            })),
            (policy) => Object.keys(policy).length > 0
          )
        }),
        { minLength: 1, maxLength: 3 }
      )],
      ([rounds]) =>
        Effect.gen(function*() {
          const [view] = yield* freshThread
          const model: Model = new Map()
          for (const { compact, policy, steps } of rounds) {
            for (const each of steps) yield* step(view, model, each)
            yield* pruneBoth(view, model, { ...policy, compact })
          }
        }),
      properties
    )

    it.effect.each(impossible)(
      "a prune refuses an impossible policy and removes nothing: $name",
      ({ field, policy }) =>
        Effect.gen(function*() {
          const [view, threadId] = yield* freshThread
          yield* putAll(view, threadId, [1, 2])
          yield* age("1 hour")
          for (const dryRun of [true, false]) {
            yield* refuses(prune(policy as Retention.Policy, { dryRun }), field)
            yield* refuses(prune({ ...policy as Retention.Policy, maxVersions: policy.maxVersions as number }), field)
          }
          assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
        })
    )

    it.effect("a prune refuses a policy of which one part is impossible, and removes nothing", () =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        yield* putAll(view, threadId, [1, 2])
        const { namespace } = view
        yield* refuses(prune({ namespace, maxVersions: 1, maxAge: 0 }), "policy.maxAge")
        yield* refuses(prune({ namespace, maxVersions: 0, maxAge: "1 day" }), "policy.maxVersions")
        yield* refuses(prune({ namespace, maxVersions: 1, idleThreads: -1 }), "policy.idleThreads")
        assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      }))
  })
}
