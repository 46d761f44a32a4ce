import { type Checkpoint, Checkpointer, CheckpointError, CheckpointStore } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { isDeepStrictEqual } from "node:util"
import { type ModelPolicy, olderThan, policyOf } from "./retention.ts"
import {
  age,
  elsewhere,
  fresh,
  type Group,
  historyOf,
  type JsonView,
  jsonView,
  onLiveClock,
  refOf,
  timeless
} from "./suite.ts"

/*
 * Runs random sequences of operations by two services over one store that fails now and then, and compares them with a
 * model that is small enough to be obviously right.
 */

// -----------------------------------------------------------------------------
// the model
// -----------------------------------------------------------------------------

interface Content {
  readonly state: Schema.Json
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupts: ReadonlyArray<Checkpoint.Interrupt>
  readonly metadata: Schema.JsonObject
}

interface Version extends Checkpoint.CheckpointRef {
  /** Known once the version is saved, unless the caller chose it. */
  checkpointId: string
  readonly content: Content
  readonly parent: Version | undefined
  /** Shared by the versions of a step. */
  readonly step: Step
  tags: ReadonlyArray<string>
  /** Ages are whole hours and policies are between two of them. The time that the test takes does not matter. */
  hours: number
}

interface Step {
  pendingWrites: Schema.JsonObject
  questions: ReadonlyArray<Question>
}

interface Question extends Checkpoint.Interrupt {
  /** `undefined` while it is open. */
  response: Schema.Json | undefined
}

interface Thread {
  /** The visible versions, ascending. The last one is the newest. */
  versions: ReadonlyArray<Version>
  prunedThrough: number
  /** How long ago something was saved, asked or answered. */
  hours: number
}

type Model = Map<string, Thread>

type Key = Pick<Checkpoint.CheckpointRef, "threadId" | "namespace">

/** An expected error: its tag and fields. */
class Refusal {
  readonly _tag:
    | "CheckpointIdTaken"
    | "CheckpointNotFound"
    | "InterruptAlreadyResolved"
    | "ThreadExists"
    | "VersionConflict"
  constructor(tag: Refusal["_tag"], fields?: object) {
    this._tag = tag
    Object.assign(this, fields)
  }
}

const nameOf = ({ namespace, threadId }: Key): string => `${namespace}\u0000${threadId}`

const versionsOf = (model: Model, key: Key): ReadonlyArray<Version> => model.get(nameOf(key))?.versions ?? []

const headOf = (model: Model, key: Key): Version | undefined => versionsOf(model, key).at(-1)

const isPinned = (version: Version): boolean => version.tags.length > 0

/** Drops the versions that were pruned and are not pinned. */
const sweep = (thread: Thread): void => {
  thread.versions = thread.versions.filter((version) => version.version > thread.prunedThrough || isPinned(version))
}

interface Write extends Key {
  readonly content: Content
  readonly checkpointId?: string | undefined
  readonly parent?: Version | undefined
  /** Whether the newest version is the one that the writer expects. */
  readonly isHead?: ((head: Version | undefined) => boolean) | undefined
  readonly expected?: number | undefined
  readonly step?: Checkpointer.Step | undefined
}

const save = (model: Model, write: Write): Version | Refusal => {
  const { content, threadId, namespace } = write
  const head = headOf(model, write)
  const named = versionsOf(model, write).find(({ checkpointId }) => checkpointId === write.checkpointId)
  if (named !== undefined) {
    return isDeepStrictEqual(named.content, content) ? named : new Refusal("CheckpointIdTaken")
  }
  const actual = head?.version ?? 0
  if (write.isHead?.(head) === false) {
    return write.expected === 0
      ? new Refusal("ThreadExists", { version: actual })
      : new Refusal("VersionConflict", { expected: write.expected, actual })
  }
  const version: Version = {
    threadId,
    namespace,
    version: actual + 1,
    checkpointId: write.checkpointId ?? "",
    content,
    parent: write.parent ?? head,
    step: write.step?.change === "Continues" && head !== undefined ? head.step : { pendingWrites: {}, questions: [] },
    tags: [],
    hours: 0
  }
  Object.assign(version.step.pendingWrites, write.step?.pendingWrites)
  ask(version.step, [...content.pendingInterrupts, ...write.step?.answered ?? []])
  model.set(nameOf(write), {
    versions: [...versionsOf(model, write), version],
    prunedThrough: model.get(nameOf(write))?.prunedThrough ?? 0,
    hours: 0
  })
  return version
}

/** Asks what the step does not have. */
const ask = (
  step: Step,
  given: ReadonlyArray<Checkpoint.Interrupt & { readonly response?: Schema.Json | undefined }>
): void => {
  for (const { interruptId, request, response } of given) {
    if (step.questions.some((question) => question.interruptId === interruptId)) continue
    step.questions = [...step.questions, { interruptId, request, response }]
  }
}

const openOf = ({ questions }: Step): ReadonlyArray<Checkpoint.Interrupt> =>
  questions.flatMap(({ interruptId, request, response }) => response === undefined ? [{ interruptId, request }] : [])

const isWaiting = ({ step }: Version): boolean => openOf(step).length > 0

/** What a copy of a version takes along: what its step has done, unless it has ended. */
const copied = (model: Model, source: Version) => {
  const { content, step } = source
  const isCurrent = headOf(model, source)?.step === step
  return {
    content: { ...content, pendingInterrupts: isCurrent ? openOf(step) : content.pendingInterrupts },
    step: {
      pendingWrites: pendingWritesOf(model, source),
      answered: isCurrent
        ? step.questions.flatMap(({ response, ...question }) =>
          response === undefined ? [] : [{ ...question, response }]
        )
        : []
    }
  }
}

/** The pending writes of a version, which has none once its step has ended. */
const pendingWritesOf = (model: Model, { step, ...key }: Version): Schema.JsonObject =>
  headOf(model, key)?.step === step ? step.pendingWrites : {}

/** What belongs to the step of a version. */
const stepOf = (model: Model, version: Version) => ({
  ended: headOf(model, version)?.step !== version.step,
  pendingWrites: pendingWritesOf(model, version),
  questions: version.step.questions.map((question) => ({ ...question }))
})

/** The same of a step that was read. */
const shownStep = ({ ended, pendingWrites, questions }: Checkpointer.StepState) => ({
  ended,
  pendingWrites,
  questions: questions.map(({ answer, interruptId, request }) => ({ interruptId, request, response: answer?.response }))
})

/** Applies a policy, and returns what it removes of each thread. A dry run changes nothing. */
const prune = (model: Model, policy: ModelPolicy, within: string | undefined, dryRun: boolean) =>
  Array.from(model).flatMap(([name, thread]) => {
    const { versions } = thread
    const head = versions.at(-1)!
    const { namespace, threadId } = head
    if (within !== undefined && within !== namespace) return []
    const idle = olderThan(thread, policy.idleThreads)
    const deleted = idle && !isWaiting(head) && !versions.some(isPinned)
    const condemned = versions.filter((version) =>
      version !== head && (idle || olderThan(version, policy.maxAge) ||
        (policy.maxVersions !== undefined && version.version <= head.version - policy.maxVersions))
    )
    const pruned = {
      versions: deleted ? [] : versions,
      prunedThrough: Math.max(thread.prunedThrough, ...condemned.map(({ version }) => version)),
      hours: thread.hours
    }
    sweep(pruned)
    if (!dryRun && deleted) model.delete(name)
    if (!dryRun && !deleted) model.set(name, pruned)
    const gone = versions.length - pruned.versions.length
    return gone === 0 ? [] : [{ threadId, namespace, versions: gone, deleted }]
  })

/** As `assert.deepStrictEqual`, but fast if the values are equal. */
const same = (actual: unknown, expected: unknown): void => {
  if (!isDeepStrictEqual(actual, expected)) assert.deepStrictEqual(actual, expected)
}

/** A version as `timeless` shows it. */
const shown = ({ checkpointId, content, namespace, parent, tags, threadId, version }: Version) => ({
  threadId,
  namespace,
  version,
  checkpointId,
  ...content,
  parent: parent === undefined ? null : refOf(parent),
  tags: tags.toSorted()
})

/** The same without the state. */
const shownInfo = (version: Version) => {
  const { state: _, ...info } = shown(version)
  return info
}

// -----------------------------------------------------------------------------
// the operations
// -----------------------------------------------------------------------------

/** Counts back from the last checkpoint that was returned, which is 0. */
const back = Schema.Literals([0, 1, 2, 3, 5, 8])
const id = Schema.Literals(["", "", "x", "y"])
const by = Schema.Literals(["version", "id", "tag"])
const tasks = Schema.Literals(["", "", "a", "b", "ab"])
const asked = Schema.Literals(["?", "?", "!", "?!", ""])
const index = Schema.Literals([0, 1, 2])
const { Boolean } = Schema
const MaybeBoolean = Schema.optionalKey(Boolean)

const command = <const Tag extends string, const Fields extends Schema.Struct.Fields>(tag: Tag, fields: Fields) =>
  Schema.TaggedStruct(tag, {
    service: Schema.Literals([0, 1]),
    space: Schema.Literals([0, 1, 1, 1]),
    thread: Schema.Literals([0, 0, 0, 0, 1, 2]),
    /** Selects one of `breakdowns`. Half of the numbers select none. */
    breaks: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 39 })),
    ...fields
  })

const Put = command("Put", {
  more: Schema.Literals([0, 0, 0, 3]),
  change: Schema.Literals(["append", "append", "edit", "drop", "rewrite", "same", "other"]),
  after: Schema.Literals(["anything", "anything", "head", "number", "known", "bare"]),
  back,
  id,
  unfinished: Boolean,
  asks: Boolean,
  step: Schema.Literals(["Begins", "Ends", "Continues", "Continues"]),
  tasks,
  metadata: index
})
const Update = command("Update", { effect: Schema.Literals(["none", "quiet", "disturbed"]) })
const Get = command("Get", { by: Schema.Literals(["latest", "version", "id", "tag"]), back })
const Tag = command("Tag", { back, tags: index })
const Prune = command("Prune", {
  all: Boolean,
  maxVersions: Schema.Literals([1, 1, 2, 3, 100]),
  maxAge: Schema.Literals([0, 1, 100, 100, 100]),
  idleThreads: Schema.Literals([0, 1, 100, 100, 100]),
  compact: Boolean,
  dryRun: Schema.Literals([false, false, true])
})

/** A command that is listed several times is chosen that much more often. */
const Command = Schema.Union([
  Put,
  Put,
  Put,
  Put,
  Put,
  // Repeats a put, maybe by the other service.
  command("Repeat", { back }),
  Update,
  Update,
  command("Restore", { by, back, id, tasks, metadata: Schema.optionalKey(index) }),
  command("Fork", { back, id }),
  Get,
  Get,
  command("Time", { back, before: Boolean }),
  command("List", { back, limit: Schema.Literals([1, 2, 100]) }),
  command("History", { back }),
  Tag,
  Tag,
  command("SavePendingWrites", { back, tasks }),
  command("Ask", { back, asked }),
  command("Answer", { asked, answerId: Schema.Literals(["", "", "x"]) }),
  command("Step", { back }),
  // May create the thread again: with its first put, or with versions up to the old number that resemble the old ones.
  command("Delete", { really: Boolean, recreate: Schema.Literals(["", "same", "like"]) }),
  command("Threads", {
    all: Boolean,
    metadata: Schema.optionalKey(index),
    interrupted: MaybeBoolean,
    unfinished: MaybeBoolean
  }),
  Prune,
  Prune,
  Schema.TaggedStruct("Age", { hours: Schema.Literals([1, 2]) })
])

type Command = typeof Command.Type

/** Three parts, which make short sequences rare and let all of them shrink to nothing. */
const Sequence = Arbitrary.map(
  Arbitrary.all(Array.from({ length: 3 }, () => Arbitrary.array(Arbitrary.schema(Command), { maxLength: 12 }))),
  (parts) => parts.flat()
)

/** Which calls of the store fail: `b` before they are applied, `a` after. A service tries each call twice. */
const breakdowns = ["b", "a", "bb", "ba", "ab", "aa", ".b", ".a", ".bb", "aab", "abb", "..aa"]

const metadatas: ReadonlyArray<Schema.JsonObject> = [{}, { user: 1 }, { user: 1, deep: { list: [1, 2] } }]

const filters: ReadonlyArray<Schema.JsonObject> = [{}, { user: 1 }, { deep: { list: [2] } }]

const tagSets: ReadonlyArray<ReadonlyArray<string>> = [[], ["a"], ["b", "a"]]

const message = (n: number): string => `message ${n} `.repeat(5)

const messages = (n: number): ReadonlyArray<string> => Array.from({ length: 9 }, (_, i) => `${i} ${message(n)}`)

/** The next state of a thread. Its new parts occur nowhere else. */
const changed = (state: Schema.Json, change: typeof Put.Type["change"], n: number): Schema.Json => {
  const before: ReadonlyArray<Schema.Json> = Array.isArray(state) ? state : messages(n)
  switch (change) {
    case "append":
      return [...before, message(n)]
    case "edit":
      return [...before.slice(0, 1), { n, text: `${message(n)}\u0000` }, ...before.slice(2)]
    case "drop":
      return before.slice(1)
    case "rewrite":
      return messages(n)
    case "same":
      return structuredClone(state)
    case "other":
      return { n, before }
  }
}

/** Whether metadata contains one of `filters`. */
const contains = (json: Schema.JsonObject, filter: Schema.JsonObject): boolean =>
  ("user" in filter ? json["user"] === filter["user"] : true) && ("deep" in filter ? "deep" in json : true)

// -----------------------------------------------------------------------------
// the world in which they run
// -----------------------------------------------------------------------------

const unavailable = (operation: string, outcome: "NotApplied" | "Unknown") =>
  new CheckpointError.StoreError({
    operation,
    reason: new CheckpointError.Unavailable({ message: "failed by the test" }),
    outcome
  })

/** Makes calls of the store fail, and knows which of those were applied. */
class Breaker {
  plan: Array<string> = []
  applied = false
  /** The id of the last checkpoint that was sent. */
  checkpointId = ""

  reset(breaks: number): void {
    this.plan = Array.from(breakdowns[breaks - 20] ?? "")
    this.applied = false
  }

  /** `worked` says whether the result means that the call changed something. */
  wrap<A>(
    operation: string,
    call: Effect.Effect<A, CheckpointError.StoreError>,
    worked: (result: A) => boolean = () => false
  ): Effect.Effect<A, CheckpointError.StoreError> {
    return Effect.suspend(() => {
      const fate = this.plan.shift()
      if (fate === "b") return Effect.fail(unavailable(operation, "NotApplied"))
      return Effect.flatMap(call, (result) => {
        this.applied ||= worked(result)
        return fate === "a" ? Effect.fail(unavailable(operation, "Unknown")) : Effect.succeed(result)
      })
    })
  }
}

/** The store behind an unreliable connection. It uses its own clock, and retries use the real one. */
const breaking = (
  store: CheckpointStore.CheckpointStore["Service"],
  breaker: Breaker,
  clock: Clock.Clock
): CheckpointStore.CheckpointStore["Service"] => {
  const onItsClock = Effect.provideService(Clock.Clock, clock)
  return {
    ...store,
    put: (checkpoint, condition) => {
      breaker.checkpointId = checkpoint.checkpointId
      return breaker.wrap("put", onItsClock(store.put(checkpoint, condition)), Option.isSome)
    },
    explainRefusal: (key, checkpointId) => breaker.wrap("explainRefusal", store.explainRefusal(key, checkpointId)),
    read: (key, selector, count) => breaker.wrap("read", store.read(key, selector, count)),
    list: (key, options) => breaker.wrap("list", store.list(key, options)),
    threads: (query) => breaker.wrap("threads", store.threads(query)),
    setTags: (key, version, tags) => breaker.wrap("setTags", store.setTags(key, version, tags), Option.isSome),
    savePendingWrites: (key, version, pendingWrites, maxBytes) =>
      breaker.wrap(
        "savePendingWrites",
        store.savePendingWrites(key, version, pendingWrites, maxBytes),
        ({ _tag }) => _tag === "Saved"
      ),
    readStep: (key, version) => breaker.wrap("readStep", store.readStep(key, version)),
    ask: (key, version, questions) =>
      breaker.wrap("ask", onItsClock(store.ask(key, version, questions)), ({ _tag }) => _tag === "Saved"),
    answer: (key, answers, answerId) =>
      breaker.wrap("answer", onItsClock(store.answer(key, answers, answerId)), ({ _tag }) => _tag === "Saved"),
    questions: (query) => breaker.wrap("questions", store.questions(query)),
    deleteThread: (key) => breaker.wrap("deleteThread", store.deleteThread(key), (versions) => versions > 0),
    prune: (query) =>
      Stream.fromIterableEffect(
        breaker.wrap("prune", onItsClock(Stream.runCollect(store.prune(query))), () => !query.dryRun)
      )
  }
}

/** A reference that was returned by an operation. */
interface Known {
  readonly ref: Checkpoint.CheckpointRef
  /** The service that got it while it was the newest, and therefore knows which write it comes from. */
  readonly holder: { readonly service: number; readonly version: Version } | undefined
}

interface Prepared {
  readonly put: (view: JsonView) => Effect.Effect<Checkpoint.Checkpoint<Schema.Json>, LawError>
  readonly parent: Known | undefined
  readonly write: Write
}

/** One of two namespaces: the service's own, and that of a view. */
interface Space {
  readonly namespace: string
  /** One of each service. */
  readonly views: ReadonlyArray<JsonView>
  /** A view of a service whose store never fails, and which caches nothing. */
  readonly reader: JsonView
  /** All references that were returned so far, the last one last. */
  readonly known: Array<Known>
  readonly puts: Array<Prepared>
}

interface World {
  readonly model: Model
  readonly breaker: Breaker
  readonly services: ReadonlyArray<Checkpointer.Checkpointer["Service"]>
  readonly spaces: ReadonlyArray<Space>
  readonly threadIds: ReadonlyArray<string>
  /** Makes each state different from all others. */
  counter: number
}

const makeWorld = Effect.gen(function*() {
  const store = yield* CheckpointStore.CheckpointStore
  const breaker = new Breaker()
  const service = (options: Checkpointer.Options, over: CheckpointStore.CheckpointStore["Service"]) =>
    Effect.provideService(Effect.orDie(Checkpointer.make(options)), CheckpointStore.CheckpointStore, over)
  const viewOf = (service: Checkpointer.Checkpointer["Service"], namespace: string) =>
    namespace === ""
      ? Effect.succeed<JsonView>({
        ...service,
        threads: (filter) => service.threads({ namespace, ...filter }),
        openQuestions: (filter) => service.openQuestions({ namespace, ...filter })
      })
      : Effect.provideService(jsonView(namespace), Checkpointer.Checkpointer, service)
  const clock = yield* Clock.Clock
  const broken = breaking(store, breaker, clock)
  const services = [
    yield* service({ retry: Schedule.recurs(1) }, broken),
    yield* service({ retry: Schedule.recurs(1) }, broken)
  ]
  const reading = yield* service({ cacheBytes: 0 }, breaking(store, new Breaker(), clock))
  const spaces = yield* Effect.forEach(
    ["", yield* fresh],
    (namespace) =>
      Effect.gen(function*(): Effect.fn.Return<Space> {
        const views = yield* Effect.forEach(services, (service) => viewOf(service, namespace))
        return { namespace, views, reader: yield* viewOf(reading, namespace), known: [], puts: [] }
      })
  )
  const name = yield* fresh
  const threadIds = ["a", "b", "c"].map((letter) => `${name} ${letter}`)
  yield* Effect.addFinalizer(() =>
    Effect.forEach(spaces, ({ reader }) => Effect.forEach(threadIds, reader.deleteThread)).pipe(Effect.ignore)
  )
  return { model: new Map(), breaker, services, spaces, threadIds, counter: 0 } satisfies World
})

type LawError =
  | Checkpointer.WriteError
  | Checkpointer.ReadError
  | CheckpointError.CheckpointNotFound
  | CheckpointError.InterruptAlreadyResolved
  | CheckpointError.VersionConflict
  | CheckpointError.ThreadExists

/**
 * Runs an operation and compares its result with the model's answer. If the store failed, the model changes only if the
 * operation was applied, which the error must not deny.
 */
const does = Effect.fnUntraced(function*<A, B>(
  { breaker }: World,
  { namespace, threadId }: Key,
  operation: Effect.Effect<A, LawError>,
  answer: () => B | Refusal,
  agrees: (result: A, answer: B) => void
): Effect.fn.Return<void> {
  const broken = breaker.plan.filter((fate) => fate !== ".").length
  const result = yield* onLiveClock(Effect.result(operation))
  if (Result.isFailure(result) && result.failure._tag === "StoreError") {
    const { operation, outcome, reason } = result.failure
    assert.strictEqual(reason.message, "failed by the test")
    assert.isTrue(
      broken > 1 || operation === "prune" || operation === "deleteThread",
      "an operation survives one failure"
    )
    assert.isFalse(
      breaker.applied && outcome === "NotApplied",
      "an operation that was applied is not reported as not applied"
    )
    if (!breaker.applied) return
  }
  const expected = answer()
  if (expected instanceof Refusal) {
    assert.isTrue(Result.isFailure(result), `not refused with ${expected._tag}`)
    const error = Result.getOrThrow(Result.flip(result))
    assert.include(error as object, { ...expected, threadId, namespace }, String(error))
    return
  }
  const saved = expected as Partial<Version> | undefined
  if (saved?.checkpointId === "") saved.checkpointId = breaker.checkpointId
  if (Result.isSuccess(result)) agrees(result.success, expected)
  else assert.strictEqual(result.failure._tag, "StoreError", String(result.failure))
})

const perform = Effect.fnUntraced(function*(world: World, command: Command) {
  const { breaker, model } = world
  world.counter++
  if (command._tag === "Age") {
    yield* age(`${command.hours} hours`)
    for (const thread of model.values()) {
      for (const aged of [thread, ...thread.versions]) aged.hours += command.hours
    }
    return
  }
  const { known, namespace, puts, reader, views } = world.spaces[command.space]!
  const view = views[command.service]!
  const threadId = world.threadIds[command.thread]!
  const key = { threadId, namespace }
  const versions = versionsOf(model, key)
  const head = versions.at(-1)
  const isOwn = (key: Key): boolean => world.threadIds.includes(key.threadId)
  const nth = <A>(list: ReadonlyArray<A>): A | undefined =>
    "back" in command ? list[list.length - 1 - command.back] : undefined
  const checkpointId = "id" in command && command.id !== "" ? command.id : undefined
  const values = "tasks" in command
    ? Object.fromEntries(Array.from(command.tasks, (task) => [task, world.counter]))
    : {}
  /** A reference to this thread, or to another one if there is none. */
  const held = nth(known.filter(({ ref }) => ref.threadId === threadId)) ?? nth(known)
  const target = held?.ref ?? { ...key, version: 1, checkpointId: "x" }
  const byNumber = versionsOf(model, target).find(({ version }) => version === target.version)
  const byReference = byNumber?.checkpointId === target.checkpointId ? byNumber : undefined
  const selected = (by: "version" | "id" | "tag"): readonly [Checkpointer.Selector, Version | undefined] =>
    by === "version"
      ? [{ version: target.version }, versions.find(({ version }) => version === target.version)]
      : by === "id"
      ? [{ checkpointId: target.checkpointId }, versions.find((other) => other.checkpointId === target.checkpointId)]
      : [{ tag: "a" }, versions.findLast(({ tags }) => tags.includes("a"))]

  const learn = (ref: Checkpoint.CheckpointInfo, version: Version, service: number = command.service): void => {
    known.push({ ref, holder: headOf(model, version) === version ? { service, version } : undefined })
  }
  const saves = (checkpoint: Checkpoint.Checkpoint<Schema.Json>, version: Version, service?: number): void => {
    same(timeless(checkpoint), shown(version))
    learn(checkpoint, version, service)
  }
  const finds = (found: Option.Option<Checkpoint.Checkpoint<Schema.Json>>, version: Version | undefined): void => {
    same(Option.getOrUndefined(Option.map(found, timeless)), version && shown(version))
    if (Option.isSome(found)) learn(found.value, version!)
  }
  const lists = (found: ReadonlyArray<Checkpoint.CheckpointInfo>, expected: ReadonlyArray<Version>): void => {
    same(found.map(timeless), expected.map(shownInfo))
    for (const ref of found) known.push({ ref, holder: undefined })
  }
  const put = ({ parent, put, write }: Prepared, service: number = command.service) => {
    const { holder, ref } = parent ?? {}
    const isHead = ref === undefined
      ? write.isHead
      : holder?.service === service
      ? (head: Version | undefined) => head === holder.version
      : (head: Version | undefined) => head?.version === ref.version && head.checkpointId === ref.checkpointId
    return does(
      world,
      write,
      put(views[service]!),
      () => save(model, { ...write, isHead }),
      (saved, version) => saves(saved, version, service)
    )
  }
  breaker.reset(command.breaks)

  switch (command._tag) {
    case "Put": {
      const parent = command.after === "head"
        ? known.findLast(({ ref }) => ref.threadId === threadId && ref.version === head?.version)
        : command.after === "known"
        ? held
        : command.after === "bare" && held !== undefined
        ? { ref: refOf(held.ref), holder: undefined }
        : undefined
      const content: Content = {
        state: changed(headOf(model, parent?.ref ?? key)?.content.state ?? null, command.change, world.counter),
        nextNodes: command.unfinished ? ["a", "b"] : [],
        pendingInterrupts: command.asks ? [{ interruptId: "?", request: world.counter }] : [],
        metadata: metadatas[command.metadata]!
      }
      const given = { ...content, checkpointId }
      const step = {
        pendingWrites: values,
        change: command.step
      }
      const first = { pendingWrites: values }
      const number = Math.max(0, (head?.version ?? 0) - command.back)
      const prepare = (): Prepared => {
        if (parent !== undefined) {
          const { threadId, version } = parent.ref
          return {
            put: (view) => view.put({ ...given, step, parent: parent.ref }),
            parent,
            write: { content, checkpointId, step, namespace, threadId, expected: version }
          }
        }
        const isHead = (head: Version | undefined) => (head?.version ?? 0) === number
        if (command.after !== "number") {
          return {
            put: (view) => view.append({ ...given, threadId, step: first }),
            parent,
            write: { content, checkpointId, step: first, ...key }
          }
        }
        return number === 0
          ? {
            put: (view) => view.create({ ...given, threadId, step: first }),
            parent,
            write: { content, checkpointId, step: first, ...key, expected: 0, isHead }
          }
          : {
            put: (view) => view.put({ ...given, threadId, expectedVersion: number, step }),
            parent,
            write: { content, checkpointId, step, ...key, expected: number, isHead }
          }
      }
      const prepared = prepare()
      puts.push(prepared)
      return yield* put(prepared)
    }
    case "Repeat": {
      const prepared = nth(puts)
      return prepared && (yield* put(prepared))
    }
    case "Update": {
      const change = (state: Schema.Json): Schema.Json => {
        same(state, headOf(model, key)?.content.state)
        return changed(state, "append", world.counter)
      }
      const outside = yield* elsewhere
      /** Saves another version before the update does, once. */
      let isQuiet = command.effect !== "disturbed"
      const disturb = Effect.suspend(() => {
        if (isQuiet) return Effect.void
        isQuiet = true
        const content = { state: changed(null, "edit", world.counter), nextNodes: [], metadata: {} }
        return Effect.map(outside(reader.append({ threadId, ...content })), ({ checkpointId }) => {
          save(model, { ...key, checkpointId, content: { ...content, pendingInterrupts: [] } })
        })
      })
      const operation = command.effect === "none"
        ? view.update(threadId, change)
        : view.updateEffect(threadId, (state) => Effect.tap(Effect.sync(() => change(state)), disturb))
      return yield* does(world, key, operation, () => {
        const head = headOf(model, key)
        if (head === undefined) return new Refusal("CheckpointNotFound")
        return save(model, {
          ...key,
          content: {
            ...head.content,
            state: changed(head.content.state, "append", world.counter),
            pendingInterrupts: head.content.pendingInterrupts.length === 0 ? [] : openOf(head.step)
          },
          step: { change: "Continues" }
        })
      }, saves)
    }
    case "Restore": {
      const [selector, source] = selected(command.by)
      const options = {
        checkpointId,
        metadata: command.metadata === undefined ? undefined : metadatas[command.metadata],
        step: command.tasks === "" ? undefined : { pendingWrites: values }
      }
      return yield* does(world, key, view.restore(threadId, selector, options), () => {
        if (source === undefined) return new Refusal("CheckpointNotFound")
        const { content, step } = copied(model, source)
        return save(model, {
          ...key,
          ...options,
          content: { ...content, metadata: options.metadata ?? content.metadata },
          parent: source,
          step: { ...step, ...options.step }
        })
      }, saves)
    }
    case "Fork": {
      const fork = view.fork(target.threadId, target, { threadId, checkpointId })
      return yield* does(world, byReference === undefined ? target : key, fork, () =>
        byReference === undefined
          ? new Refusal("CheckpointNotFound")
          : save(model, {
            ...key,
            ...copied(model, byReference),
            checkpointId,
            parent: byReference,
            expected: 0,
            isHead: (head) => head === undefined
          }), saves)
    }
    case "Get": {
      if (command.by === "latest") return yield* does(world, key, view.get(threadId), () => head, finds)
      const [selector, version] = selected(command.by)
      return yield* does(world, key, view.get(threadId, selector), () => version, finds)
    }
    case "Time": {
      const infos = yield* Effect.orDie(reader.listVersions(threadId))
      const at = nth(infos.toReversed())?.createdAt ?? DateTime.makeUnsafe(0)
      const time = command.before ? DateTime.subtract(at, { milliseconds: 1 }) : at
      const newest = infos.find(({ createdAt }) => DateTime.isLessThanOrEqualTo(createdAt, time))?.version
      const version = versions.find((other) => other.version === newest)
      return yield* does(world, key, view.getAtTime(threadId, time), () => version, finds)
    }
    case "List": {
      const { limit } = command
      const before = nth(versions)?.version
      const below = versions.filter(({ version }) => before === undefined || version < before).toReversed()
      return yield* does(world, key, view.listVersions(threadId, { before, limit }), () => below.slice(0, limit), lists)
    }
    case "History": {
      const before = nth(versions)?.version
      const below = versions.filter(({ version }) => before === undefined || version < before).toReversed()
      const history = Stream.runCollect(view.history(threadId, { before }))
      return yield* does(world, key, history, () => below, (found, expected) => {
        same(found.map(timeless), expected.map(shown))
        found.forEach((checkpoint, i) => learn(checkpoint, expected[i]!))
      })
    }
    case "Tag": {
      const tags = tagSets[command.tags]!
      return yield* does(world, target, view.setTags(target.threadId, target, tags), () => {
        if (byReference === undefined) return new Refusal("CheckpointNotFound")
        byReference.tags = tags
        sweep(model.get(nameOf(byReference))!)
        return byReference
      }, (info, version) => same(timeless(info), shownInfo(version)))
    }
    case "SavePendingWrites":
      return yield* does(world, target, view.savePendingWrites(target, values), () => {
        if (byReference === undefined) return new Refusal("CheckpointNotFound")
        const { step, version } = byReference
        const head = headOf(model, byReference)!
        if (step !== head.step) return new Refusal("VersionConflict", { expected: version, actual: head.version })
        step.pendingWrites = { ...values, ...step.pendingWrites }
        return undefined
      }, () => {})
    case "Ask": {
      const questions = Array.from(command.asked, (interruptId) => ({ interruptId, request: world.counter }))
      return yield* does(world, target, view.ask(target, questions), () => {
        if (byReference === undefined) return new Refusal("CheckpointNotFound")
        const { step, version } = byReference
        const head = headOf(model, byReference)!
        if (step !== head.step) return new Refusal("VersionConflict", { expected: version, actual: head.version })
        ask(step, questions)
        model.get(nameOf(byReference))!.hours = 0
        return undefined
      }, () => {})
    }
    case "Answer": {
      const answers = Object.fromEntries(Array.from(command.asked, (interruptId) => [interruptId, world.counter]))
      const operation = view.answer(
        threadId,
        answers,
        command.answerId === "" ? undefined : { answerId: `${world.counter}` }
      )
      return yield* does(world, key, operation, () => {
        if (head === undefined) return new Refusal("CheckpointNotFound")
        const open = openOf(head.step).map(({ interruptId }) => interruptId)
        const resolved = Object.keys(answers).toSorted().find((interruptId) => !open.includes(interruptId))
        if (resolved !== undefined) {
          return new Refusal("InterruptAlreadyResolved", { version: head.version, interruptId: resolved })
        }
        for (const question of head.step.questions) question.response ??= answers[question.interruptId]
        model.get(nameOf(key))!.hours = 0
        return openOf(head.step)
      }, (found, expected) => same(found.map(({ interruptId, request }) => ({ interruptId, request })), expected))
    }
    case "Step":
      return yield* does(
        world,
        target,
        view.step(target),
        () => byReference === undefined ? new Refusal("CheckpointNotFound") : stepOf(model, byReference),
        (found, expected) => same(shownStep(found), expected)
      )
    case "Delete": {
      if (!command.really) return
      yield* does(world, key, view.deleteThread(threadId), () => {
        model.delete(nameOf(key))
        return versions.length
      }, (count, expected) => assert.strictEqual(count, expected))
      breaker.reset(0)
      const begun = puts.findLast(({ write }) => write.threadId === threadId && write.expected === undefined)
      if (command.recreate === "same" && begun !== undefined) return yield* put(begun)
      if (command.recreate === "like" && head !== undefined) {
        let { content } = head
        for (let i = 0; i <= head.version; i++) {
          content = { ...content, state: changed(content.state, "append", -i) }
          const input = { ...content, threadId }
          // The other service, which may take the newest version for the one that it knows, saves the last one.
          const service = i === head.version ? 1 - command.service : command.service
          yield* put({ put: (view) => view.append(input), parent: undefined, write: { ...key, content } }, service)
        }
      }
      return
    }
    case "Threads": {
      const { all, interrupted, unfinished } = command
      const metadata = command.metadata === undefined ? undefined : filters[command.metadata]
      const threads = all
        ? world.services[command.service]!.threads({ metadata, interrupted, unfinished })
        : view.threads({ metadata, interrupted, unfinished })
      const expected = Array.from(model.values(), ({ versions }) => versions.at(-1)!).filter((head) =>
        (all || head.namespace === namespace) &&
        (metadata === undefined || contains(head.content.metadata, metadata)) &&
        (interrupted === undefined || isWaiting(head) === interrupted) &&
        (unfinished === undefined || (head.content.nextNodes.length > 0) === unfinished)
      )
      return yield* does(world, key, Stream.runCollect(threads), () => expected, (found, expected) => {
        const heads = found.map((thread) => thread.head).filter(isOwn)
        same(heads, heads.toSorted(newestFirst))
        assert.sameDeepMembers(heads.map(timeless), expected.map(shownInfo))
        for (const ref of heads) if (ref.namespace === namespace) known.push({ ref, holder: undefined })
      })
    }
    case "Prune": {
      const { compact, dryRun, idleThreads, maxAge, maxVersions } = command
      const policy = { maxVersions, maxAge, idleThreads }
      const within = command.all ? undefined : namespace
      const report = world.services[command.service]!.prune({ ...policyOf(policy, within), compact }, { dryRun })
      return yield* does(world, key, report, () => prune(model, policy, within, dryRun), (report, expected) => {
        const removed = report.threads.filter((thread) => isOwn(thread) && thread.versions > 0)
        assert.sameDeepMembers(
          removed.map(({ deleted, namespace, threadId, versions }) => ({ threadId, namespace, versions, deleted })),
          expected
        )
      })
    }
  }
})

const newestFirst = (a: Checkpoint.CheckpointInfo, b: Checkpoint.CheckpointInfo): number =>
  DateTime.Order(b.createdAt, a.createdAt) || (nameOf(a) < nameOf(b) ? -1 : 1)

const isRead: ReadonlySet<Command["_tag"]> = new Set(["Get", "Time", "List", "History", "Step", "Threads"])

/** Checks that every way of reading finds what the model has. */
const agree = Effect.fnUntraced(function*({ model, spaces, threadIds }: World, touched: ReadonlyArray<Key>) {
  for (const { namespace, reader } of spaces) {
    if (!touched.some((key) => key.namespace === namespace)) continue
    const threads = yield* Stream.runCollect(reader.threads())
    for (const threadId of threadIds) {
      const head = threads.find((thread) => thread.threadId === threadId)?.head
      const expected = headOf(model, { threadId, namespace })
      same(head && timeless(head), expected && shownInfo(expected))
    }
    const open = yield* Stream.runCollect(reader.openQuestions())
    for (const threadId of threadIds) {
      const expected = headOf(model, { threadId, namespace })
      assert.sameDeepMembers(
        open.filter((question) => question.threadId === threadId)
          .map(({ interruptId, request, version }) => ({ interruptId, request, version })),
        expected === undefined ? [] : openOf(expected.step).map((each) => ({ ...each, version: expected.version }))
      )
    }
  }
  for (const key of touched) {
    const { reader } = spaces.find(({ namespace }) => namespace === key.namespace)!
    const versions = versionsOf(model, key).toReversed()
    const history = yield* historyOf(reader, key.threadId)
    same(history.map(timeless), versions.map(shown))
    same((yield* reader.listVersions(key.threadId)).map(timeless), versions.map(shownInfo))
    for (const version of versions) same(shownStep(yield* reader.step(version)), stepOf(model, version))
  }
})

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

export const model: Group = (it, { arbitrary, sequences }) => {
  describe("sequences of operations", { timeout: 60_000 + sequences * 200 }, () => {
    it.effect.prop(
      "any sequence of operations on a store that fails now and then gives what a model of it gives",
      [Sequence],
      ([commands]) =>
        Effect.gen(function*() {
          const world = yield* makeWorld
          const all = world.spaces.flatMap(({ namespace }) =>
            world.threadIds.map((threadId) => ({ threadId, namespace }))
          )
          for (const command of commands) {
            yield* Effect.repeat(perform(world, command), { times: command._tag === "Put" ? command.more : 0 })
            if (command._tag === "Prune") yield* agree(world, all)
            else if (command._tag !== "Age" && !isRead.has(command._tag)) {
              const { namespace } = world.spaces[command.space]!
              yield* agree(world, [{ threadId: world.threadIds[command.thread]!, namespace }])
            }
          }
          yield* agree(world, all)
        }),
      { arbitrary: { ...arbitrary, runs: sequences, size: 100, maxShrinks: 1000 } }
    )
  })
}
