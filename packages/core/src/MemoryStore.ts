/**
 * A store in this process's memory, for unit tests.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  type AnswerOutcome,
  CheckpointStore,
  Format,
  type HeadCondition,
  meets,
  type NewCheckpoint,
  type OpenQuestion,
  type ParentRef,
  type PendingWrite,
  type PendingWritesOutcome,
  type PrunedThread,
  type PruneQuery,
  type QuestionQuery,
  type Refusal,
  type SavedVersion,
  type Selector,
  type StoredCheckpoint,
  type StoredInfo,
  type StoredQuestion,
  type StoredThread,
  type ThreadCursor,
  type ThreadKey,
  type ThreadQuery,
  type VersionId
} from "./CheckpointStore.ts"
import * as Json from "./internal/json.ts"

interface MemoryThread extends ThreadKey {
  readonly createdAt: number
  /** Moves at most once a minute, as it does where threads are listed by an index. */
  activeAt: number
  /** When something was saved, asked or answered. */
  updatedAt: number
  /** Versions up to this one are removed, unless they are pinned. */
  prunedThrough: number
  /** Ascending by version. The newest is always here, and so are the versions that readable ones are changes of. */
  readonly versions: Array<MemoryCheckpoint>
}

interface MemoryCheckpoint extends Omit<NewCheckpoint, "pendingWrites" | "answered" | "step"> {
  readonly version: number
  /** Shared by the versions of a step. */
  readonly step: MemoryStep
  /** The keyframe that its chain of changes begins with. */
  readonly keyframeVersion: number
  readonly createdAt: number
  tags: string
}

interface MemoryStep {
  readonly pendingWrites: Map<string, string>
  /** In the order in which they were asked. */
  readonly questions: Map<string, MemoryQuestion>
}

interface MemoryQuestion extends Omit<StoredQuestion, "answer"> {
  answer: NonNullable<StoredQuestion["answer"]> & { readonly answerId: string } | undefined
}

/**
 * Makes a store in the memory of this process.
 *
 * **When to use**
 *
 * Use in unit tests. It obeys the same laws as the other stores. Its times come from `Clock`, so `TestClock` controls
 * them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<CheckpointStore["Service"]> = Effect.sync(() => {
  const threads: Threads = new Map()
  return CheckpointStore.of({
    put: (checkpoint, condition) =>
      Effect.map(Clock.currentTimeMillis, (now) => put(threads, checkpoint, condition, now)),
    explainRefusal: (key, checkpointId) => Effect.sync(() => explainRefusal(threads.get(keyOf(key)), checkpointId)),
    read: (key, selector, count) => Effect.sync(() => read(threads.get(keyOf(key)), selector, count)),
    list: (key, { before, limit }) =>
      Effect.sync(() =>
        visibleOf(threads.get(keyOf(key)))
          .filter((stored) => before === undefined || stored.version < before)
          .toReversed()
          .slice(0, limit)
          .map(toInfo)
      ),
    threads: (query) => Effect.sync(() => listThreads(threads, query)),
    setTags: (key, version, tags) =>
      Effect.sync(() => {
        const stored = visibleOf(threads.get(keyOf(key))).find((stored) => stored.version === version)
        if (stored === undefined) return Option.none()
        stored.tags = tags
        return Option.some(toInfo(stored))
      }),
    savePendingWrites: (key, version, pendingWrites, maxBytes) =>
      Effect.sync(() => savePendingWrites(threads.get(keyOf(key)), version, pendingWrites, maxBytes)),
    readStep: (key, version) =>
      Effect.sync(() => {
        const thread = threads.get(keyOf(key))
        return Option.map(Option.fromUndefinedOr(versionOf(thread, version)), ({ step }) => ({
          ended: thread?.versions.at(-1)?.step !== step,
          pendingWrites: Array.from(step.pendingWrites, ([task, value]): PendingWrite => ({ task, value })),
          questions: Array.from(step.questions.values(), toQuestion)
        }))
      }),
    ask: (key, version, questions) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const outcome = currentStep(threads.get(keyOf(key)), version)
        if (outcome._tag === "Current") ask(outcome.step, questions, touch(outcome.thread, now))
        return outcome._tag === "Current" ? { _tag: "Saved" } : outcome
      }),
    answer: (key, answers, answerId) =>
      Effect.map(Clock.currentTimeMillis, (now) => answer(threads.get(keyOf(key)), answers, answerId, now)),
    questions: (query) => Effect.sync(() => openQuestions(threads, query)),
    deleteThread: (key) =>
      Effect.sync(() => {
        const versions = visibleOf(threads.get(keyOf(key))).length
        threads.delete(keyOf(key))
        return versions
      }),
    prune: (query) => Stream.fromEffect(Effect.map(Clock.currentTimeMillis, (now) => prune(threads, query, now))),
    health: Effect.void,
    inTransaction: Effect.succeed(false)
  })
})

/**
 * Provides a store in memory. It is empty each time the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, make)

type Threads = Map<string, MemoryThread>

// Ids hold no U+0000, so two keys never meet.
const keyOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

const put = (
  threads: Threads,
  checkpoint: NewCheckpoint,
  condition: HeadCondition,
  now: number
): Option.Option<SavedVersion> => {
  const key = keyOf(checkpoint)
  const thread = threads.get(key)
  const head = thread?.versions.at(-1)
  if (!meets(condition, head) || has(thread, checkpoint.checkpointId)) return Option.none()
  const saved = follow(checkpoint, head, now)
  ask(saved.step, checkpoint.answered, saved.createdAt)
  ask(saved.step, checkpoint.pendingInterrupts, saved.createdAt)
  if (thread === undefined) {
    const { createdAt, namespace, threadId } = saved
    threads.set(key, {
      threadId,
      namespace,
      createdAt,
      activeAt: createdAt,
      updatedAt: createdAt,
      prunedThrough: 0,
      versions: [saved]
    })
  } else {
    thread.versions.push(saved)
    thread.updatedAt = saved.createdAt
    if (saved.createdAt >= thread.activeAt + 60_000) thread.activeAt = saved.createdAt
  }
  return Option.some({ version: saved.version, parent: saved.parent, createdAt: saved.createdAt })
}

/** The step of the version after `head`. The pending writes of one that ends are never read again. */
const stepOf = ({ pendingWrites, step }: NewCheckpoint, head: MemoryCheckpoint | undefined): MemoryStep => {
  if (step !== "Continues") head?.step.pendingWrites.clear()
  const own = step === "Continues" && head !== undefined
    ? head.step
    : { pendingWrites: new Map(), questions: new Map() }
  for (const [task, value] of entriesOf(pendingWrites)) own.pendingWrites.set(task, value)
  return own
}

/** A checkpoint as the version after `head`. */
const follow = (checkpoint: NewCheckpoint, head: MemoryCheckpoint | undefined, now: number): MemoryCheckpoint => {
  const version = (head?.version ?? 0) + 1
  const { metadata, payload, pendingInterrupts } = checkpoint
  return {
    ...checkpoint,
    payload: { ...payload, text: Json.inOrder(payload.text) },
    metadata: Json.inOrder(metadata),
    pendingInterrupts: Json.inOrder(pendingInterrupts),
    parent: checkpoint.parent ?? (head === undefined ? undefined : refOf(head)),
    version,
    keyframeVersion: isDelta(checkpoint) && head !== undefined ? head.keyframeVersion : version,
    createdAt: Math.max(now, head?.createdAt ?? now),
    step: stepOf(checkpoint, head),
    tags: "[]"
  }
}

const explainRefusal = (thread: MemoryThread | undefined, checkpointId: string): Refusal => ({
  head: thread?.versions.at(-1),
  idTaken: has(thread, checkpointId)
})

const read = (
  thread: MemoryThread | undefined,
  selector: Selector,
  count: number
): ReadonlyArray<StoredCheckpoint> => {
  if (thread === undefined) return []
  const fitting = thread.versions.filter((stored) => isVisible(thread, stored) && fits(stored, selector)).slice(-count)
  const from = Math.min(...fitting.map((stored) => stored.keyframeVersion))
  const to = fitting.at(-1)?.version ?? 0
  return thread.versions
    .filter((stored) => from <= stored.version && stored.version <= to)
    .map((stored) => toStored(thread, stored))
}

const listThreads = (threads: Threads, query: ThreadQuery): ReadonlyArray<StoredThread> => {
  const metadata = query.metadata === undefined ? undefined : Json.parse(query.metadata)
  return Array.from(threads.values(), toThread)
    .filter(({ head, namespace }) =>
      (query.namespace === undefined || namespace === query.namespace) &&
      (metadata === undefined || Json.contains(Json.parse(head.metadata), metadata)) &&
      (query.interrupted === undefined || waits(threads.get(keyOf(head))!) === query.interrupted) &&
      (query.unfinished === undefined || (head.nextNodes !== "[]") === query.unfinished)
    )
    .toSorted(latestFirst)
    .filter((thread) => query.after === undefined || latestFirst(query.after, thread) < 0)
    .slice(0, query.limit)
}

const savePendingWrites = (
  thread: MemoryThread | undefined,
  version: VersionId,
  pendingWrites: string,
  maxBytes: number
): PendingWritesOutcome => {
  const outcome = currentStep(thread, version)
  if (outcome._tag !== "Current") return outcome
  const { step } = outcome
  const given = entriesOf(pendingWrites).filter(([task]) => !step.pendingWrites.has(task))
  const all = [...step.pendingWrites, ...given]
  const bytes = all.reduce((sum, [, value]) => sum + Json.storedBytes(value), 0)
  if (given.length > 0 && bytes > maxBytes) return { _tag: "TooLarge", bytes }
  for (const [task, value] of given) step.pendingWrites.set(task, value)
  return { _tag: "Saved" }
}

// -----------------------------------------------------------------------------
// questions
// -----------------------------------------------------------------------------

/** Asks what the step does not have. */
const ask = ({ questions }: MemoryStep, given: string, now: number): void => {
  for (const question of Json.parse(Json.inOrder(given)) as unknown as ReadonlyArray<GivenQuestion>) {
    const { interruptId, metadata = {}, request, response } = question
    if (questions.has(interruptId)) continue
    questions.set(interruptId, {
      interruptId,
      request: JSON.stringify(request),
      metadata: JSON.stringify(metadata),
      askedAt: now,
      answer: response === undefined
        ? undefined
        : { response: JSON.stringify(response), answeredAt: now, answerId: "" }
    })
  }
}

interface GivenQuestion {
  readonly interruptId: string
  readonly request: Schema.Json
  readonly metadata?: Schema.JsonObject
  readonly response?: Schema.Json
}

const answer = (
  thread: MemoryThread | undefined,
  given: string,
  answerId: string,
  now: number
): AnswerOutcome => {
  if (thread === undefined) return { _tag: "NotFound" }
  const { questions } = thread.versions.at(-1)!.step
  const answers = Object.entries(Json.parse(Json.inOrder(given)) as Schema.JsonObject)
  const resolved = answers.map(([interruptId]) => interruptId).toSorted(Json.compareBytes).find((interruptId) => {
    const question = questions.get(interruptId)
    return question === undefined || (question.answer !== undefined && question.answer.answerId !== answerId)
  })
  if (resolved !== undefined) return { _tag: "Resolved", version: newestOf(thread), interruptId: resolved }
  const answeredAt = touch(thread, now)
  for (const [interruptId, response] of answers) {
    const question = questions.get(interruptId)!
    question.answer ??= { response: JSON.stringify(response), answeredAt, answerId }
  }
  const open = Array.from(questions.values()).filter(({ answer }) => answer === undefined)
  return { _tag: "Saved", version: newestOf(thread), open: open.map(toQuestion) }
}

/** Keeps a thread from being idle, and returns the time. */
const touch = (thread: MemoryThread, now: number): number => {
  thread.updatedAt = Math.max(thread.updatedAt, now)
  return thread.updatedAt
}

/** Whether a thread waits for an answer. */
const waits = (thread: MemoryThread): boolean => isOpen(thread.versions.at(-1)!.step)

const isOpen = ({ questions }: MemoryStep): boolean =>
  Array.from(questions.values()).some(({ answer }) => answer === undefined)

const openQuestions = (threads: Threads, query: QuestionQuery): ReadonlyArray<OpenQuestion> => {
  const metadata = query.metadata === undefined ? undefined : Json.parse(query.metadata)
  return Array.from(threads.values())
    .filter(({ namespace }) => query.namespace === undefined || namespace === query.namespace)
    .flatMap((thread) => {
      const { namespace, step, threadId, version } = thread.versions.at(-1)!
      return Array.from(
        step.questions.values(),
        (question) => ({ ...toQuestion(question), namespace, threadId, version })
      )
    })
    .filter((question) =>
      question.answer === undefined &&
      (metadata === undefined || Json.contains(Json.parse(question.metadata), metadata))
    )
    .toSorted(oldestFirst)
    .filter((question) => query.after === undefined || oldestFirst(query.after, question) < 0)
    .slice(0, query.limit)
}

const toQuestion = ({ answer, ...question }: MemoryQuestion): StoredQuestion => ({
  ...question,
  answer: answer && { response: answer.response, answeredAt: answer.answeredAt }
})

/** The step of a version, if it is that of the newest version. */
const currentStep = (thread: MemoryThread | undefined, version: VersionId) => {
  const stored = versionOf(thread, version)
  return thread === undefined || stored === undefined
    ? { _tag: "NotFound" } as const
    : stored.step === thread.versions.at(-1)!.step
    ? { _tag: "Current", step: stored.step, thread } as const
    : { _tag: "StepEnded", version: newestOf(thread) } as const
}

// -----------------------------------------------------------------------------
// retention
// -----------------------------------------------------------------------------

const prune = (threads: Threads, query: PruneQuery, now: number): ReadonlyArray<PrunedThread> => {
  const pruned: Array<PrunedThread> = []
  for (const thread of Array.from(threads.values()).toSorted(byKey)) {
    if (query.namespace !== undefined && query.namespace !== thread.namespace) continue
    const { deleted, prunedThrough } = due(thread, query, now)
    const before = visibleOf(thread)
    const after = before.filter((stored) => !deleted && (stored.version > prunedThrough || isPinned(stored)))
    const isNeeded = (stored: MemoryCheckpoint): boolean =>
      after.some((kept) => kept.keyframeVersion <= stored.version && stored.version <= kept.version)
    const kept = thread.versions.filter(isNeeded)
    if (after.length < before.length) {
      pruned.push({
        threadId: thread.threadId,
        namespace: thread.namespace,
        versions: before.length - after.length,
        bytes: bytesOf(thread.versions) - bytesOf(kept),
        deleted
      })
    }
    if (query.dryRun) continue
    if (deleted) threads.delete(keyOf(thread))
    thread.prunedThrough = prunedThrough
    thread.versions.splice(0, thread.versions.length, ...kept)
  }
  return pruned
}

/** Whether a policy removes a thread, and up to which version otherwise. */
const due = (thread: MemoryThread, query: PruneQuery, now: number) => {
  const newest = newestOf(thread)
  const idle = query.idleThreads !== undefined && thread.updatedAt < now - query.idleThreads
  return {
    deleted: idle && !waits(thread) && !thread.versions.some(isPinned),
    prunedThrough: Math.max(
      thread.prunedThrough,
      idle ? newest - 1 : 0,
      query.maxVersions === undefined ? 0 : newest - query.maxVersions,
      query.maxAge === undefined ? 0 : firstSince(thread, now - query.maxAge) - 1
    )
  }
}

// -----------------------------------------------------------------------------
// versions
// -----------------------------------------------------------------------------

const versionOf = (
  thread: MemoryThread | undefined,
  { checkpointId, version }: VersionId
): MemoryCheckpoint | undefined =>
  visibleOf(thread).find((stored) => stored.version === version && stored.checkpointId === checkpointId)

const byBytes: Order.Order<string> = Order.make((a, b) => {
  const order = Json.compareBytes(a, b)
  return order < 0 ? -1 : order > 0 ? 1 : 0
})

const byKey: Order.Order<ThreadKey> = Order.combine(
  Order.mapInput(byBytes, (key: ThreadKey) => key.namespace),
  Order.mapInput(byBytes, (key: ThreadKey) => key.threadId)
)

const latestFirst: Order.Order<ThreadCursor> = Order.combine(
  Order.mapInput(Order.flip(Order.Number), (cursor: ThreadCursor) => cursor.activeAt),
  byKey
)

type QuestionCursor = NonNullable<QuestionQuery["after"]>

const oldestFirst: Order.Order<QuestionCursor> = Order.combineAll([
  Order.mapInput(Order.Number, (cursor: QuestionCursor) => cursor.askedAt),
  byKey,
  Order.mapInput(byBytes, (cursor: QuestionCursor) => cursor.interruptId)
])

/** Whether retention keeps a version whatever its age. */
const isPinned = (stored: MemoryCheckpoint): boolean => stored.tags !== "[]"

const entriesOf = (pendingWrites: string): ReadonlyArray<[task: string, value: string]> =>
  Object.entries(Json.parse(Json.inOrder(pendingWrites)) as Schema.JsonObject)
    .map(([task, value]) => [task, JSON.stringify(value)])

const bytesOf = (versions: ReadonlyArray<MemoryCheckpoint>): number =>
  versions.reduce((sum, stored) => sum + stored.payload.bytes, 0)

const isDelta = ({ payload: { format } }: Pick<NewCheckpoint, "payload">): boolean =>
  format === Format.delta || format === Format.deltaEscaped

const has = (thread: MemoryThread | undefined, checkpointId: string): boolean =>
  visibleOf(thread).some((stored) => stored.checkpointId === checkpointId)

const newestOf = (thread: MemoryThread): number => thread.versions.at(-1)!.version

const isVisible = (thread: MemoryThread, stored: MemoryCheckpoint): boolean =>
  stored.version > thread.prunedThrough || isPinned(stored)

const visibleOf = (thread: MemoryThread | undefined): ReadonlyArray<MemoryCheckpoint> =>
  thread?.versions.filter((stored) => isVisible(thread, stored)) ?? []

/** The first version that is not older than `since`, or the newest one. */
const firstSince = (thread: MemoryThread, since: number): number =>
  thread.versions.find((stored) => stored.createdAt >= since)?.version ?? newestOf(thread)

const fits = (stored: MemoryCheckpoint, selector: Selector): boolean => {
  switch (selector._tag) {
    case "Latest":
      return true
    case "Version":
      return stored.version === selector.version
    case "Id":
      return stored.checkpointId === selector.checkpointId
    case "Tag":
      return Json.contains(Json.parse(stored.tags), Json.parse(selector.tags))
    case "Time":
      return stored.createdAt <= selector.epochMillis
    case "Before":
      return stored.version < selector.version
  }
}

const refOf = (stored: MemoryCheckpoint): ParentRef => ({
  threadId: stored.threadId,
  version: stored.version,
  checkpointId: stored.checkpointId
})

const toInfo = (stored: MemoryCheckpoint): StoredInfo => ({
  threadId: stored.threadId,
  namespace: stored.namespace,
  version: stored.version,
  checkpointId: stored.checkpointId,
  parent: stored.parent,
  nextNodes: stored.nextNodes,
  pendingInterrupts: stored.pendingInterrupts,
  metadata: stored.metadata,
  tags: stored.tags,
  createdAt: stored.createdAt
})

const toStored = (thread: MemoryThread, stored: MemoryCheckpoint): StoredCheckpoint => ({
  ...toInfo(stored),
  payload: stored.payload,
  stateBytes: stored.stateBytes,
  visible: isVisible(thread, stored),
  writeId: stored.version === newestOf(thread) ? stored.writeId : undefined
})

const toThread = (thread: MemoryThread): StoredThread => ({
  threadId: thread.threadId,
  namespace: thread.namespace,
  createdAt: thread.createdAt,
  activeAt: thread.activeAt,
  head: toInfo(thread.versions.at(-1)!)
})
