import * as Arr from "effect/Array"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo, CheckpointRef, Interrupt, ThreadInfo } from "../Checkpoint.ts"
import {
  CheckpointIdTaken,
  CheckpointNotFound,
  InvalidInput,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  StoreError,
  VersionConflict
} from "../CheckpointError.ts"
import * as CheckpointStore from "../CheckpointStore.ts"
import type {
  Append,
  CompareAndSet,
  Content,
  PutError,
  ReadError,
  Selector,
  ThreadFilter,
  VersionRef,
  View
} from "../View.ts"
import type * as Codec from "./codec.ts"
import * as Delta from "./delta.ts"
import type * as Heads from "./heads.ts"
import * as Input from "./input.ts"
import * as Json from "./json.ts"
import * as Metrics from "./metrics.ts"
import * as Record from "./record.ts"
import type * as ThreadQueue from "./threadQueue.ts"

/** How views do what they promise, over any store. */

/** Conflicts with other processes that `update` puts up with. */
const maxConflicts = 20

/** How many versions `history` asks for at a time. */
const historyVersions = 16

const threadsPage = 100

/** What all views of one service share. */
export interface Environment {
  readonly store: CheckpointStore.CheckpointStore["Service"]
  readonly maxStateBytes: number
  readonly schedule: Schedule.Schedule<unknown, StoreError>
  readonly inTurn: ReturnType<typeof ThreadQueue.make>
  readonly heads: Heads.Heads
  readonly random: SecureRandom.SecureRandom["Service"]
}

/** A state as JSON that is ours, whatever becomes of what it was made from. */
interface Snapshot {
  readonly json: Schema.Json
  /** What changed since a head that was at hand. */
  readonly change: { readonly head: Heads.Head; readonly delta: Delta.Delta } | undefined
  /** The whole, where it had to be written out. */
  readonly whole: Json.Encoded | undefined
}

/** A checkpoint's content: the parts as they are stored, and those that are shown as they were given. */
interface Encoded {
  readonly state: Snapshot
  readonly stored: Pick<
    CheckpointStore.NewRecord,
    "nextNodes" | "pendingInterrupt" | "metadata" | "writes" | "resolves" | "keepsWrites"
  >
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupt: Option.Option<Interrupt>
  readonly metadata: Schema.JsonObject
}

/** How a write is known: by its checkpoint's id, and by what nobody chooses. */
interface Ids {
  readonly checkpointId: string
  readonly revision: string
}

interface Write extends Ids {
  readonly threadId: string
  readonly expected: CheckpointStore.Expected
  readonly parent?: CheckpointStore.ParentRef | undefined
  readonly content: Encoded
  /** The checkpoint that is taken for the newest, where its state is at hand. */
  readonly head: Heads.Head | undefined
}

/** How a state is stored, and what the next one can be compared with once it is. */
interface StoredState {
  readonly record: Pick<CheckpointStore.NewRecord, "format" | "state" | "bytes" | "stateBytes">
  readonly chain: (version: number) => Delta.Chain
}

export const make = <S>(environment: Environment, namespace: string, codec: Codec.Codec<S>): View<S> => {
  const { heads, inTurn, maxStateBytes, random, store } = environment

  const keyOf = (threadId: string): CheckpointStore.ThreadKey => ({ threadId, namespace })

  const checkThread = (threadId: string): Effect.Effect<string, InvalidInput> => Input.id("threadId", threadId)

  /** Tells spans and logs which thread an operation is about. */
  const about = <A, E, R>(effect: Effect.Effect<A, E, R>, threadId: string): Effect.Effect<A, E, R> =>
    Effect.annotateCurrentSpan({ "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }).pipe(
      Effect.andThen(effect),
      Effect.annotateLogs({ threadId, namespace })
    )

  // In a transaction a writer must not wait for one who may be waiting for that transaction's row lock.
  const queued = <A, E, R>(threadId: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(
      store.inTransaction,
      (inTransaction) => inTransaction ? effect : inTurn(keyOf(threadId), effect)
    )

  // ---- encoding

  const tooLarge = (threadId: string, bytes: number): StateTooLarge =>
    new StateTooLarge({ threadId, namespace, bytes, limit: maxStateBytes })

  /**
   * The state as it is now. What the caller holds may be changed while this waits for its turn or for the store, so it
   * is not looked at again.
   */
  const snapshot = (
    threadId: string,
    json: Schema.Json,
    head: Heads.Head | undefined
  ): Result.Result<Snapshot, StateEncodeError | StateTooLarge> => {
    const delta = head === undefined ? undefined : Delta.diff(head.json, json)
    if (head !== undefined && delta !== undefined) {
      const bytes = head.bytes + delta.growth
      return bytes > maxStateBytes ? Result.fail(tooLarge(threadId, bytes)) : Result.succeed({
        json: Result.getOrThrow(Delta.apply(delta.patch, head.json, new WeakSet())),
        change: { head, delta },
        whole: undefined
      })
    }
    const encoded = Json.encode(json)
    if (Result.isFailure(encoded)) {
      return Result.fail(new StateEncodeError({ threadId, namespace, reason: encoded.failure }))
    }
    const whole = encoded.success
    return whole.bytes > maxStateBytes
      ? Result.fail(tooLarge(threadId, whole.bytes))
      : Result.succeed({ json: Json.clone(json), change: undefined, whole })
  }

  const encodeWrites = Effect.fnUntraced(function*(
    threadId: string,
    writes: Schema.JsonObject
  ): Effect.fn.Return<string, InvalidInput | StateTooLarge> {
    const { bytes, text } = yield* Input.writes(writes)
    return bytes > maxStateBytes ? yield* Effect.fail(tooLarge(threadId, bytes)) : text
  })

  const encodeContent = Effect.fnUntraced(function*(
    threadId: string,
    state: Snapshot,
    content: Pick<Encoded, "nextNodes" | "pendingInterrupt" | "metadata">,
    besides?: Pick<Content<unknown>, "writes" | "resolvesInterrupt" | "keepsWrites">
  ): Effect.fn.Return<Encoded, InvalidInput | StateTooLarge> {
    const { metadata, nextNodes, pendingInterrupt } = content
    const stored = {
      nextNodes: yield* Input.nodes(nextNodes),
      pendingInterrupt: yield* Input.interrupt(pendingInterrupt),
      metadata: yield* Input.jsonObject("metadata", metadata),
      writes: besides?.writes === undefined ? "{}" : yield* encodeWrites(threadId, besides.writes),
      resolves: besides?.resolvesInterrupt ?? false,
      keepsWrites: besides?.keepsWrites ?? false
    }
    return { state, stored, nextNodes, pendingInterrupt, metadata }
  })

  /** What changed since `head`, where that is worth storing. */
  const toDelta = (state: Snapshot, head: Heads.Head): StoredState | undefined => {
    const delta = state.change?.head === head ? state.change.delta : Delta.diff(head.json, state.json)
    if (delta === undefined) return undefined
    const { bytes, escaped, text } = delta.encoded
    const stateBytes = head.bytes + delta.growth
    if (!Delta.continues(head.chain, head.version, bytes, stateBytes)) return undefined
    return {
      record: {
        format: escaped ? CheckpointStore.Format.deltaEscaped : CheckpointStore.Format.delta,
        state: text,
        bytes,
        stateBytes
      },
      chain: () => ({ ...head.chain, deltaBytes: head.chain.deltaBytes + bytes })
    }
  }

  const toKeyframe = (state: Snapshot): StoredState => {
    const { bytes, escaped, text } = state.whole ?? Json.encodeUnsafe(state.json)
    return {
      record: {
        format: escaped ? CheckpointStore.Format.keyframeEscaped : CheckpointStore.Format.keyframe,
        state: text,
        bytes,
        stateBytes: bytes
      },
      chain: (keyframeVersion) => ({ keyframeVersion, keyframeBytes: bytes, deltaBytes: 0 })
    }
  }

  const encodeState = (threadId: string, state: S): Effect.Effect<Schema.Json, StateEncodeError> =>
    Effect.mapError(
      codec.encode(state),
      (cause) => new StateEncodeError({ threadId, namespace, reason: cause.message, cause })
    )

  const decode = (raw: Record.RawCheckpoint): Effect.Effect<Checkpoint<S>, StateDecodeError> =>
    // A copy: the original is what the next state is compared with, and is shared by the versions of a history.
    Effect.mapBoth(codec.decode(Json.clone(raw.state)), {
      onFailure: (cause) =>
        new StateDecodeError({
          threadId: raw.info.threadId,
          namespace,
          version: raw.info.version,
          kind: "Schema",
          reason: cause.message,
          raw: raw.state,
          cause
        }),
      onSuccess: (state) => ({ ...raw.info, state })
    })

  // ---- reading

  const readRecords = (threadId: string, selector: CheckpointStore.Selector, count: number) =>
    Effect.tap(
      retrying(environment, store.read(keyOf(threadId), selector, count)),
      (records) => selector._tag === "Latest" ? Effect.fromResult(Record.hasNewest(records)) : Effect.void
    )

  const readRaw = (
    threadId: string,
    selector: CheckpointStore.Selector
  ): Effect.Effect<Record.RawCheckpoint | undefined, StateDecodeError | StoreError> =>
    Effect.flatMap(
      readRecords(threadId, selector, 1),
      (records) => Effect.map(Effect.fromResult(Record.fold(records, "last")), ([raw]) => raw)
    )

  /** The newest version of a thread, to compare the next one with. */
  const headOf = (raw: Record.RawCheckpoint): Heads.Head | undefined =>
    raw.revision === undefined ? undefined : {
      version: raw.info.version,
      checkpointId: raw.info.checkpointId,
      revision: raw.revision,
      json: raw.state,
      bytes: raw.bytes,
      chain: raw.chain
    }

  /** Remembers what was read as the newest, for whoever puts upon it. */
  const remember = <A extends CheckpointInfo>(raw: Record.RawCheckpoint, checkpoint: A): A => {
    const head = headOf(raw)
    if (head !== undefined) {
      heads.offer(keyOf(checkpoint.threadId), head)
      heads.attach(checkpoint, head)
    }
    return checkpoint
  }

  const present = (raw: Record.RawCheckpoint): Effect.Effect<Checkpoint<S>, StateDecodeError> =>
    Effect.map(decode(raw), (checkpoint) => remember(raw, checkpoint))

  const readOne = (
    threadId: string,
    selector: CheckpointStore.Selector
  ): Effect.Effect<Option.Option<Checkpoint<S>>, StateDecodeError | StoreError> =>
    Effect.flatMap(
      readRaw(threadId, selector),
      (raw) => raw === undefined ? Effect.succeedNone : Effect.asSome(present(raw))
    ).pipe(Effect.trackDuration(Metrics.readDuration))

  const readRequired = (
    threadId: string,
    selector: Named
  ): Effect.Effect<Record.RawCheckpoint, StateDecodeError | StoreError | CheckpointNotFound> =>
    Effect.flatMap(readRaw(threadId, selector), (raw) =>
      raw === undefined
        ? Effect.fail(new CheckpointNotFound({ threadId, namespace, selector: describe(selector) }))
        : Effect.succeed(raw))

  // ---- writing

  const newIds = Effect.fnUntraced(function*(
    threadId: string,
    given: string | undefined
  ): Effect.fn.Return<Ids, InvalidInput> {
    if (given !== undefined) yield* Input.checkpointId(keyOf(threadId), given)
    const revision = yield* random.uuidV7()
    return { checkpointId: given ?? revision, revision }
  })

  /** What may turn out to be the newest version. */
  const headFor = (threadId: string, expected: CheckpointStore.Expected, attached: Heads.Head | undefined) => {
    const head = attached ?? heads.get(keyOf(threadId))
    return head !== undefined && mayFollow(head, expected) ? head : undefined
  }

  /** Saves it as a change or whole. */
  const save = (
    { checkpointId, content, parent, revision, threadId }: Write,
    expected: CheckpointStore.Expected,
    state: StoredState,
    attempt: Attempt
  ): Effect.Effect<CheckpointStore.PutResult, StoreError> =>
    retrying(
      environment,
      attempt(
        store.put({ ...keyOf(threadId), checkpointId, revision, parent, ...state.record, ...content.stored }, expected)
      )
    )

  const write = (input: Write) => inDoubt((attempt) => writeBy(attempt, input))

  const writeBy = Effect.fnUntraced(function*(
    attempt: Attempt,
    input: Write
  ): Effect.fn.Return<CheckpointInfo, VersionConflict | CheckpointIdTaken | StoreError> {
    const { checkpointId, content, expected, revision, threadId } = input
    const key = keyOf(threadId)
    const head = headFor(threadId, expected, input.head)
    let state = head === undefined ? undefined : toDelta(content.state, head)
    let result: CheckpointStore.PutResult = { _tag: "Moved" }
    if (head !== undefined && state !== undefined) {
      // Who named no certain write is not told that the one we took for it was not the newest.
      const isCertain = expected._tag === "Version" && expected.revision !== undefined
      result = yield* save(
        input,
        isCertain ? expected : { _tag: "Hint", version: head.version, revision: head.revision },
        state,
        attempt
      )
    }
    if (result._tag === "Moved" || state === undefined) {
      state = toKeyframe(content.state)
      result = yield* save(input, expected, state, attempt)
    }
    switch (result._tag) {
      case "Saved": {
        const createdAt = DateTime.make(result.createdAt)
        if (Option.isNone(createdAt)) return yield* timeless(threadId)
        yield* Metric.update(Metrics.puts, 1)
        yield* Metric.update(Metrics.bytesWritten, state.record.bytes)
        const info: CheckpointInfo = {
          ...key,
          version: result.version,
          checkpointId,
          parent: Option.map(Option.fromUndefinedOr(result.parent), (ref) => ({ ...ref, namespace })),
          nextNodes: content.nextNodes,
          pendingInterrupt: content.pendingInterrupt,
          metadata: content.metadata,
          tags: [],
          createdAt: createdAt.value
        }
        const saved: Heads.Head = {
          version: result.version,
          checkpointId,
          revision,
          json: content.state.json,
          bytes: state.record.stateBytes,
          chain: state.chain(result.version)
        }
        heads.set(key, saved)
        heads.attach(info, saved)
        return info
      }
      case "Taken": {
        // An earlier attempt of this put, or of one with the same id, was applied. What cannot be read is not the same.
        const saved = yield* readRaw(threadId, { _tag: "Id", checkpointId }).pipe(
          Effect.catchTag("StateDecodeError", () => Effect.undefined),
          Effect.mapError((error) => new StoreError({ ...error, outcome: "Unknown" }))
        )
        return saved !== undefined && isSame(content, saved)
          ? remember(saved, saved.info)
          : yield* new CheckpointIdTaken({ ...key, checkpointId })
      }
      case "Conflict":
      case "Moved": {
        const actual = result._tag === "Conflict" ? result.actual : 0
        yield* Metric.update(Metrics.conflicts, 1)
        return yield* new VersionConflict({
          ...key,
          expected: expected._tag === "Any" ? actual : expected.version,
          actual
        })
      }
    }
  })

  /** The checkpoint that was saved, with the state that its caller gave. */
  const withState = (info: CheckpointInfo, state: S): Checkpoint<S> => {
    const checkpoint = { ...info, state }
    const head = heads.of(info)
    if (head !== undefined) heads.attach(checkpoint, head)
    return checkpoint
  }

  const targetOf = Effect.fnUntraced(function*(
    input: Append<S> | CompareAndSet<S>
  ): Effect.fn.Return<readonly [threadId: string, expected: CheckpointStore.Expected], InvalidInput> {
    if (input.parent !== undefined) {
      const { checkpointId, threadId, version } = input.parent
      yield* checkThread(threadId)
      yield* sameNamespace("parent", input.parent)
      yield* Input.wholeNumber("parent.version", version)
      yield* Input.checkpointId(keyOf(threadId), checkpointId)
      return [threadId, { _tag: "Version", version, checkpointId, revision: heads.of(input.parent)?.revision }]
    }
    yield* checkThread(input.threadId)
    if (input.expectedVersion === undefined) return [input.threadId, { _tag: "Any" }]
    yield* Input.wholeNumber("expectedVersion", input.expectedVersion, 0)
    return [input.threadId, atVersion(input.expectedVersion)]
  })

  const sameNamespace = (field: string, ref: { readonly namespace?: string | undefined }) =>
    ref.namespace === undefined || ref.namespace === namespace ? Effect.void : Effect.fail(
      new InvalidInput({
        field: `${field}.namespace`,
        reason: `it is "${ref.namespace}", but this view is of namespace "${namespace}"`
      })
    )

  const put = Effect.fn("Checkpointer.put")(function*(
    input: Append<S> | CompareAndSet<S>
  ): Effect.fn.Return<Checkpoint<S>, PutError | VersionConflict> {
    const [threadId, expected] = yield* targetOf(input)
    const ids = yield* newIds(threadId, input.checkpointId)
    const json = yield* encodeState(threadId, input.state)
    const head = input.parent === undefined ? undefined : heads.of(input.parent)
    const state = yield* Effect.fromResult(snapshot(threadId, json, headFor(threadId, expected, head)))
    const content = yield* encodeContent(threadId, state, {
      nextNodes: input.nextNodes ?? [],
      pendingInterrupt: Option.fromNullishOr(input.pendingInterrupt),
      metadata: input.metadata ?? {}
    }, input)
    const info = yield* queued(threadId, write({ threadId, ...ids, expected, content, head }))
    return withState(info, input.state)
  }, (effect, input) => about(effect, input.parent === undefined ? input.threadId : input.parent.threadId))

  /** One attempt: the head, changed by `f`, put upon the head that was read. */
  const attempt = Effect.fnUntraced(function*<E, R>(
    threadId: string,
    ids: Ids,
    f: (state: S) => Effect.Effect<S, E, R>
  ) {
    const raw = yield* readRequired(threadId, { _tag: "Latest" })
    const state = yield* Effect.flatMap(decode(raw), (head) => f(head.state))
    const json = yield* encodeState(threadId, state)
    const head = headOf(raw)
    const snapped = yield* Effect.fromResult(snapshot(threadId, json, head))
    // What is under way goes on with the newest version: an interrupt does not keep the one before.
    const resolvesInterrupt = Option.isSome(raw.info.pendingInterrupt)
    const keepsWrites = resolvesInterrupt || raw.info.nextNodes.length > 0
    const content = yield* encodeContent(threadId, snapped, raw.info, { resolvesInterrupt, keepsWrites })
    const { checkpointId, version } = raw.info
    const expected = { _tag: "Version", version, checkpointId, revision: raw.revision } as const
    return Effect.map(
      write({ threadId, ...ids, expected, content, head }),
      (info) => withState(info, state)
    )
  })

  const update = Effect.fn("Checkpointer.update")(function*(threadId: string, f: (state: S) => S) {
    yield* checkThread(threadId)
    const ids = yield* newIds(threadId, undefined)
    return yield* queued(
      threadId,
      attempt(threadId, ids, (state) => Effect.sync(() => f(state))).pipe(
        Effect.flatten,
        Effect.retry({ schedule: conflictSchedule, while: isConflict })
      )
    )
  }, about)

  const updateEffect = Effect.fn("Checkpointer.updateEffect")(function*<E, R>(
    threadId: string,
    f: (state: S) => Effect.Effect<S, E, R>
  ) {
    yield* checkThread(threadId)
    const ids = yield* newIds(threadId, undefined)
    return yield* attempt(threadId, ids, (state) => Effect.mapError(f(state), (error) => new Foreign(error)))
      .pipe(
        Effect.flatMap((write) => queued(threadId, write)),
        Effect.retry({ schedule: conflictSchedule, while: isConflict }),
        Effect.mapError((error) => error instanceof Foreign ? error.error as E : error)
      )
  }, about)

  /** Saves what was read as the next version of a thread, its own or another. */
  const copy = Effect.fnUntraced(function*(
    raw: Record.RawCheckpoint,
    target: Pick<Write, "threadId" | "expected">,
    options: Parameters<View<S>["restore"]>[2]
  ): Effect.fn.Return<Checkpoint<S>, PutError | StateDecodeError | VersionConflict> {
    const { threadId } = target
    const ids = yield* newIds(threadId, options?.checkpointId)
    if (raw.bytes > maxStateBytes) return yield* Effect.fail(tooLarge(threadId, raw.bytes))
    const { state } = yield* decode(raw)
    // What was read is ours already.
    const snapped: Snapshot = { json: raw.state, change: undefined, whole: undefined }
    const parts = { ...raw.info, metadata: options?.metadata ?? raw.info.metadata }
    const content = yield* encodeContent(threadId, snapped, parts, { writes: options?.writes })
    const parent = { threadId: raw.info.threadId, version: raw.info.version, checkpointId: raw.info.checkpointId }
    const info = yield* queued(threadId, write({ ...target, ...ids, parent, content, head: undefined }))
    return withState(info, state)
  })

  const restore = Effect.fn("Checkpointer.restore")(function*(
    threadId: string,
    selector: Selector,
    options?: Parameters<View<S>["restore"]>[2]
  ) {
    yield* checkThread(threadId)
    const raw = yield* readRequired(threadId, yield* selectorOf(selector))
    return yield* copy(raw, { threadId, expected: { _tag: "Any" } }, options).pipe(
      Effect.catchTag("VersionConflict", Effect.die)
    )
  }, about)

  const checkRef = Effect.fnUntraced(function*(field: string, ref: VersionRef) {
    yield* checkThread(ref.threadId)
    yield* sameNamespace(field, ref)
    yield* Input.wholeNumber(`${field}.version`, ref.version)
  })

  const fork = Effect.fn("Checkpointer.fork")(function*(
    source: VersionRef,
    target: { readonly threadId: string; readonly checkpointId?: string | undefined }
  ) {
    yield* checkRef("source", source)
    yield* Input.id("target.threadId", target.threadId)
    const raw = yield* readRequired(source.threadId, { _tag: "Version", version: source.version })
    return yield* copy(raw, { threadId: target.threadId, expected: atVersion(0) }, {
      checkpointId: target.checkpointId
    })
  }, (effect, source) => about(effect, source.threadId))

  const setTags = Effect.fn("Checkpointer.setTags")(function*(target: VersionRef, tags: ReadonlyArray<string>) {
    const { threadId, version } = target
    yield* checkRef("target", target)
    const text = yield* Input.tags(tags)
    const stored = yield* retrying(environment, store.setTags(keyOf(threadId), version, text))
    return Option.isSome(stored)
      ? yield* Effect.fromResult(Record.toInfo(stored.value))
      : yield* noVersion(target)
  }, (effect, target) => about(effect, target.threadId))

  const checkpointOf = Effect.fnUntraced(function*(target: CheckpointRef) {
    yield* checkRef("target", target)
    yield* Input.checkpointId(keyOf(target.threadId), target.checkpointId)
    return { version: target.version, checkpointId: target.checkpointId }
  })

  const noVersion = ({ threadId, version }: VersionRef): CheckpointNotFound =>
    new CheckpointNotFound({ ...keyOf(threadId), selector: describe({ _tag: "Version", version }) })

  const saveWrites = Effect.fn("Checkpointer.saveWrites")(function*(target: CheckpointRef, writes: Schema.JsonObject) {
    const version = yield* checkpointOf(target)
    const text = yield* encodeWrites(target.threadId, writes)
    const isThere = yield* retrying(environment, store.saveWrites(keyOf(target.threadId), version, text))
    if (!isThere) return yield* noVersion(target)
  }, (effect, target) => about(effect, target.threadId))

  const writes = Effect.fn("Checkpointer.writes")(function*(target: CheckpointRef) {
    const version = yield* checkpointOf(target)
    const stored = yield* retrying(environment, store.readWrites(keyOf(target.threadId), version))
    if (Option.isNone(stored)) return yield* noVersion(target)
    return Json.unescape(
      Object.fromEntries(stored.value.map(({ task, value }) => [task, Json.parse(value)]))
    ) as Schema.JsonObject
  }, (effect, target) => about(effect, target.threadId))

  /** At least the newest versions below one, and all that are stored in the chains of those. */
  const historyPage = (threadId: string, before: number | undefined) =>
    readRecords(
      threadId,
      before === undefined ? { _tag: "Latest" } : { _tag: "Before", version: before },
      historyVersions
    ).pipe(
      Effect.flatMap((records) => Effect.fromResult(Record.fold(records, "all"))),
      Effect.map((raws) => [raws.toReversed(), Option.map(Arr.head(raws), ({ info }) => info.version)] as const)
    )

  return {
    namespace,
    put: put as View<S>["put"],
    update,
    updateEffect,
    get: Effect.fn("Checkpointer.get")(function*(threadId, selector) {
      yield* checkThread(threadId)
      return yield* readOne(threadId, selector === undefined ? { _tag: "Latest" } : yield* selectorOf(selector))
    }, about),
    getAtTime: Effect.fn("Checkpointer.getAtTime")(function*(threadId, time) {
      yield* checkThread(threadId)
      return yield* readOne(threadId, { _tag: "Time", epochMillis: DateTime.toEpochMillis(time) })
    }, about),
    listVersions: Effect.fn("Checkpointer.listVersions")(function*(threadId, options) {
      const { before, limit = 100 } = options ?? {}
      yield* checkThread(threadId)
      yield* Input.limit(limit)
      if (before !== undefined) yield* Input.wholeNumber("before", before)
      const stored = yield* retrying(environment, store.list(keyOf(threadId), { before, limit }))
      return yield* Effect.fromResult(Result.all(stored.map(Record.toInfo)))
    }, about),
    history: (threadId, options) =>
      Stream.unwrap(Effect.as(
        Effect.andThen(
          checkThread(threadId),
          options?.before === undefined ? Effect.void : Input.wholeNumber("before", options.before)
        ),
        Stream.paginate(options?.before, (before) => historyPage(threadId, before)).pipe(
          Stream.mapEffect(present)
        )
      )).pipe(Stream.withSpan("Checkpointer.history", {
        attributes: { "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }
      })),
    restore,
    fork,
    setTags,
    saveWrites,
    writes,
    deleteThread: Effect.fn("Checkpointer.deleteThread")(function*(threadId) {
      yield* checkThread(threadId)
      return yield* queued(threadId, retrying(environment, store.deleteThread(keyOf(threadId)), "once"))
    }, about),
    threads: (filter) => listThreads(environment, namespace, filter)
  }
}

/** Whether what is put may turn out to follow this checkpoint. */
const mayFollow = (head: Heads.Head, expected: CheckpointStore.Expected): boolean =>
  expected._tag === "Any" || (
    expected.version === head.version && (
      expected._tag === "Hint" ||
      (expected.checkpointId ?? head.checkpointId) === head.checkpointId
    ) && (expected.revision ?? head.revision) === head.revision
  )

/** Expects a number only. */
const atVersion = (version: number): CheckpointStore.Expected => ({
  _tag: "Version",
  version,
  checkpointId: undefined,
  revision: undefined
})

/** Retries what can do no harm, as the schedule says. */
const retrying = <A>(
  { schedule, store }: Environment,
  operation: Effect.Effect<A, StoreError>,
  repeatable: "idempotent" | "once" = "idempotent"
): Effect.Effect<A, StoreError> => {
  const mayRepeat = (error: StoreError): boolean =>
    error.isRetryable && (repeatable === "idempotent" || error.outcome === "NotApplied")
  // Nearly all succeed at once: the schedule, which is dearer than the rest, is for those that do not.
  return Effect.catchIf(operation, mayRepeat, (error) =>
    Effect.flatMap(store.inTransaction, (inTransaction) => {
      if (inTransaction) return Effect.fail(error)
      let isFirst = true
      const again = Effect.suspend(() => {
        if (!isFirst) return operation
        isFirst = false
        return Effect.fail(error)
      })
      return inDoubt((attempt) => Effect.retry(attempt(again), { schedule, while: mayRepeat }))
    }))
}

type Attempt = <A>(operation: Effect.Effect<A, StoreError>) => Effect.Effect<A, StoreError>

/** When one attempt may have been applied, the failure of a later one does not say that nothing was. */
const inDoubt = <A, E, R>(operation: (attempt: Attempt) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let isUnknown = false
    const attempt: Attempt = Effect.tapError((error) =>
      Effect.sync(() => {
        isUnknown ||= error.outcome === "Unknown"
      })
    )
    return Effect.mapError(
      operation(attempt),
      (error) =>
        isUnknown && error instanceof StoreError && error.outcome === "NotApplied"
          ? new StoreError({ ...error, outcome: "Unknown" }) as E & StoreError
          : error
    )
  })

const timeless = (threadId: string): StoreError =>
  new StoreError({
    operation: "put",
    reason: "Unknown",
    description: `the time of thread "${threadId}" was changed by something else, and is none`,
    isRetryable: false,
    outcome: "Unknown"
  })

const conflictSchedule = Schedule.exponential("2 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.upTo({ times: maxConflicts })
)

const isConflict = (error: unknown): boolean => error instanceof VersionConflict

/** Keeps an error of the caller's own apart from ours, whatever it looks like. */
class Foreign {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

export const listThreads = (
  environment: Environment,
  namespace: string | undefined,
  filter: ThreadFilter | undefined
): Stream.Stream<ThreadInfo, ReadError> =>
  Stream.unwrap(Effect.gen(function*() {
    if (namespace !== undefined) yield* Input.namespace(namespace)
    const metadata = filter?.metadata === undefined
      ? undefined
      : yield* Input.jsonObject("filter.metadata", filter.metadata)
    return Stream.paginate(undefined as CheckpointStore.ThreadCursor | undefined, (after) =>
      retrying(
        environment,
        environment.store.threads({
          namespace,
          metadata,
          interrupted: filter?.interrupted,
          unfinished: filter?.unfinished,
          after,
          limit: threadsPage
        })
      ).pipe(
        Effect.flatMap((stored) =>
          Effect.map(Effect.fromResult(Result.all(stored.map(Record.toThread))), (page) =>
            [
              page,
              nextPage(
                stored,
                threadsPage,
                ({ head, namespace, threadId }): CheckpointStore.ThreadCursor | undefined => ({
                  threadId,
                  namespace,
                  updatedAt: head.createdAt
                })
              )
            ] as const)
        )
      ))
  })).pipe(Stream.withSpan("Checkpointer.threads"))

/** A page that is not full is the last one. */
const nextPage = <A, B>(page: ReadonlyArray<A>, size: number, cursor: (last: A) => B): Option.Option<B> =>
  page.length < size ? Option.none() : Option.some(cursor(page[page.length - 1]!))

/** A selector that callers can give, and the newest. */
type Named = Exclude<CheckpointStore.Selector, { readonly _tag: "Time" | "Before" }>

const selectorOf = Effect.fnUntraced(function*(selector: Selector): Effect.fn.Return<Named, InvalidInput> {
  if (!Predicate.isObject(selector)) {
    return yield* new InvalidInput({
      field: "selector",
      reason: "expected an object with version, checkpointId or tag"
    })
  }
  if (selector.version !== undefined) {
    yield* Input.wholeNumber("version", selector.version)
    return { _tag: "Version", version: selector.version }
  }
  if (selector.checkpointId !== undefined) {
    return { _tag: "Id", checkpointId: yield* Input.id("checkpointId", selector.checkpointId) }
  }
  return { _tag: "Tag", tags: yield* Input.json("tag", [yield* Input.id("tag", selector.tag)]) }
})

const describe = (selector: Named): string => {
  switch (selector._tag) {
    case "Latest":
      return "its latest version"
    case "Version":
      return `version ${selector.version}`
    case "Id":
      return `id "${selector.checkpointId}"`
    case "Tag":
      return `tag ${selector.tags.slice(1, -1)}`
  }
}

/** Whether a saved checkpoint is what was to be saved. Tags do not count: they may change afterwards. */
const isSame = ({ state, stored }: Encoded, { info, state: saved }: Record.RawCheckpoint): boolean =>
  Json.equals(state.json, saved) &&
  Json.equals(given(stored.nextNodes), info.nextNodes) &&
  Json.equals(given(stored.metadata), info.metadata) &&
  Json.equals(given(stored.pendingInterrupt), Option.getOrNull(info.pendingInterrupt))

const given = (text: string): Schema.Json => Json.decode(text)
