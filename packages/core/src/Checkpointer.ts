/**
 * Durable, versioned, schema-checked state for programs that outlive their
 * process.
 *
 * `Checkpointer` is the service. It saves each state of a thread as a new
 * version, reads any of them back by version, id, tag or time, and branches,
 * restores, lists and removes them. `Checkpointer.Service` makes a typed view of
 * it from a schema, which is what programs mostly use.
 *
 * **Example** (State that survives)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer } from "@effect-checkpoint/core"
 * import { Effect, Schema } from "effect"
 *
 * class Counters extends Checkpointer.Service<Counters>()("app/Counters", {
 *   state: Schema.Struct({ count: Schema.Int })
 * }) {}
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Counters
 *   yield* counters.put({ threadId: "visits", state: { count: 1 } })
 *   const second = yield* counters.update("visits", ({ count }) => ({ count: count + 1 }))
 *   return [second.version, second.state.count]
 * })
 *
 * const result = await Effect.runPromise(program.pipe(
 *   Effect.provide(Counters.layer),
 *   Effect.provide(Checkpointer.layerMemory)
 * ))
 * result // => [2, 2]
 * ```
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo, CheckpointRef, Interrupt, ThreadInfo } from "./Checkpoint.ts"
import {
  CheckpointIdTaken,
  CheckpointNotFound,
  InvalidInput,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  type StoreError,
  VersionConflict
} from "./CheckpointError.ts"
import * as CheckpointStore from "./CheckpointStore.ts"
import * as Delta from "./internal/delta.ts"
import * as Heads from "./internal/heads.ts"
import * as Input from "./internal/input.ts"
import * as Json from "./internal/json.ts"
import * as Metrics from "./internal/metrics.ts"
import * as Record from "./internal/record.ts"
import * as ThreadQueue from "./internal/threadQueue.ts"
import * as Retention from "./Retention.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What a checkpoint is to hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content<S> {
  readonly state: S
  /** What is to run next; none by default. */
  readonly nextNodes?: ReadonlyArray<string> | undefined
  readonly pendingInterrupt?: Interrupt | undefined
  /** Any JSON object of at most 1 MiB; `threads` can filter by it. */
  readonly metadata?: Schema.JsonObject | undefined
  /**
   * An id of your own makes the save idempotent across processes: putting the same
   * content under it again returns the checkpoint that is there. At most 1 KiB of
   * UTF-8. A UUIDv7 by default, chosen before the first attempt, so that retries
   * within one call save once in any case.
   */
  readonly checkpointId?: string | undefined
}

/**
 * A put after whatever version is the newest, or as the first of a new thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface Append<S> extends Content<S> {
  readonly threadId: string
  readonly parent?: undefined
  readonly expectedVersion?: undefined
}

/**
 * A put that succeeds only while the named version is the newest: a checkpoint
 * that was read or put before, or a bare number such as a client sends back. With
 * `expectedVersion: 0` the thread must not exist.
 *
 * @category models
 * @since 0.1.0
 */
export type CompareAndSet<S> =
  & Content<S>
  & (
    | { readonly parent: CheckpointRef; readonly threadId?: undefined; readonly expectedVersion?: undefined }
    | { readonly threadId: string; readonly expectedVersion: number; readonly parent?: undefined }
  )

/**
 * Which version of a thread: by number, by id, or the newest that has a tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  | { readonly version: number; readonly checkpointId?: undefined; readonly tag?: undefined }
  | { readonly checkpointId: string; readonly version?: undefined; readonly tag?: undefined }
  | { readonly tag: string; readonly version?: undefined; readonly checkpointId?: undefined }

/**
 * Names a version: any checkpoint, its info, or just thread id and number.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionRef {
  readonly threadId: string
  readonly version: number
  readonly namespace?: string | undefined
}

/**
 * Which threads to list; all conditions given must hold, and they are about the
 * thread's newest checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadFilter {
  /** The metadata contains this object, as Postgres' `@>` means it. */
  readonly metadata?: Schema.JsonObject | undefined
  /** It has (or has not) a pending interrupt. */
  readonly interrupted?: boolean | undefined
  /** It has (or has not) next nodes. */
  readonly unfinished?: boolean | undefined
}

/**
 * @category errors
 * @since 0.1.0
 */
export type PutError = InvalidInput | StateEncodeError | StateTooLarge | CheckpointIdTaken | StoreError

/**
 * @category errors
 * @since 0.1.0
 */
export type ReadError = InvalidInput | StateDecodeError | StoreError

/**
 * The threads of one namespace, their states being `S`.
 *
 * @category models
 * @since 0.1.0
 */
export interface View<S> {
  readonly namespace: string

  /**
   * Saves a state as the thread's next version.
   *
   * **Details**
   *
   * When it succeeds the store has said that it is saved. It is saved exactly
   * once, however often the store operation had to be retried. The state in the
   * returned checkpoint is the value that was given.
   *
   * With `threadId` alone it appends, whatever is the newest version. With
   * `parent` or `expectedVersion` it fails with `VersionConflict` if somebody was
   * faster, and nothing is written.
   *
   * Numbers are kept exactly, except that `-0` reads back as `0`. The nesting may
   * be 1,000 levels deep.
   */
  readonly put: {
    (input: Append<S>): Effect.Effect<Checkpoint<S>, PutError>
    (input: CompareAndSet<S>): Effect.Effect<Checkpoint<S>, PutError | VersionConflict>
  }

  /**
   * Reads the newest state, changes it and saves it, again if somebody else was
   * faster. Next nodes, pending interrupt and metadata stay as they are.
   *
   * **Details**
   *
   * Updates of a thread within one process wait for each other. A conflict with
   * another process is retried up to 20 times; then it is the error.
   */
  readonly update: (
    threadId: string,
    f: (state: S) => S
  ) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict>

  /**
   * Like `update` with an effect, which may be run several times and may itself
   * use the thread.
   */
  readonly updateEffect: <E, R>(
    threadId: string,
    f: (state: S) => Effect.Effect<S, E, R>
  ) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict | E, R>

  /** Reads the newest checkpoint, or the one that is selected. */
  readonly get: (threadId: string, selector?: Selector | undefined) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /** Reads the checkpoint that was the newest at that time, to the millisecond. */
  readonly getAtTime: (threadId: string, time: DateTime.DateTime) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /**
   * Lists versions, newest first, without reading a state: 100 by default, at most
   * 10,000. The next page is `before` the last version of this one.
   */
  readonly listVersions: (threadId: string, options?: {
    readonly limit?: number | undefined
    readonly before?: number | undefined
  }) => Effect.Effect<ReadonlyArray<CheckpointInfo>, ReadError>

  /** All checkpoints with their states, newest first, read in pages as they are pulled. */
  readonly history: (threadId: string, options?: {
    readonly before?: number | undefined
  }) => Stream.Stream<Checkpoint<S>, ReadError>

  /**
   * Saves an earlier version as the newest: its state, next nodes, pending interrupt
   * and metadata, so that a thread which has ended is unfinished again if that version
   * was. The new version's `parent` is the one restored; everything between stays
   * readable.
   */
  readonly restore: (threadId: string, selector: Selector, options?: {
    readonly checkpointId?: string | undefined
  }) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound>

  /**
   * Begins a new thread with the state, next nodes, pending interrupt and metadata
   * of a version of another. From then on the two are independent. Fails with
   * `VersionConflict` if the new thread exists.
   */
  readonly fork: (source: VersionRef, target: {
    readonly threadId: string
    readonly checkpointId?: string | undefined
  }) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict>

  /**
   * Replaces the tags of a version; none removes them. At most 64 of at most 1 KiB
   * of UTF-8 each. Tags are the one thing about a checkpoint that changes.
   */
  readonly setTags: (
    target: VersionRef,
    tags: ReadonlyArray<string>
  ) => Effect.Effect<CheckpointInfo, ReadError | CheckpointNotFound>

  /**
   * Removes a thread with all its versions, tagged ones too, and says how many they
   * were. A checkpoint read before cannot be put upon afterwards.
   */
  readonly deleteThread: (threadId: string) => Effect.Effect<number, InvalidInput | StoreError>

  /**
   * Lists threads, newest activity first, read in pages as they are pulled. A
   * thread that moves while they are being read may be left out.
   */
  readonly threads: (filter?: ThreadFilter | undefined) => Stream.Stream<ThreadInfo, ReadError>
}

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The service, itself the view of the namespace `""` over plain JSON states.
 *
 * @category services
 * @since 0.1.0
 */
export class Checkpointer extends Context.Service<
  Checkpointer,
  Omit<View<Schema.Json>, "threads"> & {
    /** As in a view, but of all namespaces unless one is given. */
    readonly threads: (
      filter?: ThreadFilter & { readonly namespace?: string | undefined } | undefined
    ) => Stream.Stream<ThreadInfo, ReadError>

    /**
     * A typed view. `Checkpointer.Service` makes one into a service with a layer.
     */
    readonly view: <S extends Schema.Constraint>(options: ViewOptions<S>) => Effect.Effect<
      View<S["Type"]>,
      InvalidInput,
      S["EncodingServices"] | S["DecodingServices"]
    >

    /** Applies a retention policy once. See `Retention.prune`. */
    readonly prune: (policy: Retention.Policy, options?: {
      readonly dryRun?: boolean | undefined
    }) => Effect.Effect<Retention.PruneReport, InvalidInput | StoreError>

    /** Succeeds when the store answers and has the tables that are needed. */
    readonly health: Effect.Effect<void, StoreError>
  }
>()("@effect-checkpoint/core/Checkpointer") {}

/**
 * @category models
 * @since 0.1.0
 */
export interface ViewOptions<S extends Schema.Constraint> {
  /** The state. It is stored as the JSON that `Schema.toCodecJson` makes of it. */
  readonly state: S
  /** Keeps the threads apart from those of other views; `""` by default. At most 1 KiB of UTF-8. */
  readonly namespace?: string | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The largest state, as JSON in UTF-8. 8 MiB by default. */
  readonly maxStateBytes?: number | undefined
  /**
   * When to try a failed store operation again. Only those are that can do no
   * harm: what was certainly not applied, and what is idempotent. Within a
   * transaction of the caller's nothing is retried. By default ten times,
   * exponentially from 50 ms to 1 s with jitter.
   */
  readonly retry?: Schedule.Schedule<unknown, StoreError> | undefined
  /**
   * How much of the newest states to remember, as bytes of JSON, so that a put
   * without a parent can store just what changed. 32 MiB by default. A put upon a
   * checkpoint that is at hand needs none of it.
   */
  readonly cacheBytes?: number | undefined
}

/**
 * @category constants
 * @since 0.1.0
 */
export const defaultMaxStateBytes: number = 8 * 1024 * 1024

/**
 * @category constants
 * @since 0.1.0
 */
export const defaultCacheBytes: number = 32 * 1024 * 1024

/**
 * What `Options.retry` is by default.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultRetry: Schedule.Schedule<unknown, StoreError> = Schedule.min([
  Schedule.exponential("50 millis"),
  Schedule.spaced("1 second")
]).pipe(Schedule.jittered, Schedule.upTo({ times: 10 }))

/** Conflicts with other processes that `update` puts up with. */
const maxConflicts = 20

/** How many versions `history` asks for at a time. */
const historyVersions = 16

const threadsPage = 100

/**
 * Builds the service over any store.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options?: Options | undefined
): Effect.fn.Return<Checkpointer["Service"], InvalidInput, CheckpointStore.CheckpointStore> {
  const store = yield* CheckpointStore.CheckpointStore
  const maxStateBytes = options?.maxStateBytes ?? defaultMaxStateBytes
  yield* Input.count("maxStateBytes", maxStateBytes)
  const cacheBytes = options?.cacheBytes ?? defaultCacheBytes
  yield* Input.version("cacheBytes", cacheBytes, 0)
  const environment: Environment = {
    store,
    maxStateBytes,
    schedule: (options?.retry ?? defaultRetry).pipe(
      Schedule.tap(({ input }) =>
        Effect.andThen(
          Effect.logDebug(`Trying again, ${input.message}`),
          Metric.update(Metrics.retries[input.outcome], 1)
        )
      )
    ),
    inTurn: ThreadQueue.make(),
    heads: Heads.make(cacheBytes),
    random: SecureRandom.make(SecureRandom.randomBytesUnsafe)
  }
  const plain = makeView(environment, "", plainCodec)

  return Checkpointer.of({
    ...plain,
    threads: (filter) => listThreads(environment, filter?.namespace, filter),
    view: Effect.fnUntraced(function*({ namespace = "", state }) {
      yield* Input.namespace(namespace)
      return makeView(environment, namespace, yield* codecOf(state))
    }),
    prune: Effect.fn("Checkpointer.prune")((policy, options) =>
      Effect.provideService(Retention.prune(policy, options), CheckpointStore.CheckpointStore, store)
    ),
    health: Effect.withSpan(store.health, "Checkpointer.health")
  })
})

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * The service over the store that is provided.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options | undefined
): Layer.Layer<Checkpointer, InvalidInput, CheckpointStore.CheckpointStore> => Layer.effect(Checkpointer, make(options))

/**
 * The service over this process's memory, for unit tests. Each time the layer is
 * built it begins empty. Its times come from `Clock`, so `TestClock` moves them.
 *
 * **Gotchas**
 *
 * A layer is built once for all that is provided within one `Effect.provide`, and a
 * view's `layer` is one value: provided again inside a program that has it already,
 * with this below it, it is the view that is there. `Layer.fresh` makes another one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Checkpointer | CheckpointStore.CheckpointStore> = Layer.effect(
  Checkpointer,
  Effect.orDie(make())
).pipe(Layer.provideMerge(CheckpointStore.layerMemory))

/**
 * The class that `Service` makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string, S extends Schema.Constraint>
  extends Context.ServiceClass<Self, Id, View<S["Type"]>>
{
  /** The view as a layer over `Checkpointer`. */
  readonly layer: Layer.Layer<
    Self,
    InvalidInput,
    Checkpointer | S["EncodingServices"] | S["DecodingServices"]
  >
}

/**
 * Declares a service that is a view over states of one schema.
 *
 * **Example** (A typed view)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer } from "@effect-checkpoint/core"
 * import { Layer, Schema } from "effect"
 *
 * class Conversations extends Checkpointer.Service<Conversations>()("app/Conversations", {
 *   state: Schema.Struct({ messages: Schema.Array(Schema.String), approved: Schema.Boolean }),
 *   namespace: "conversations"
 * }) {}
 *
 * const Test = Conversations.layer.pipe(Layer.provide(Checkpointer.layerMemory))
 * Layer.isLayer(Test) // => true
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Service = <Self>() =>
<const Id extends string, S extends Schema.Constraint>(
  id: Id,
  options: ViewOptions<S>
): ServiceClass<Self, Id, S> => {
  const Base = Context.Service<Self, View<S["Type"]>>()(id)
  return Object.assign(Base, {
    layer: Layer.effect(Base, Checkpointer.use((checkpointer) => checkpointer.view(options)))
  }) as ServiceClass<Self, Id, S>
}

// -----------------------------------------------------------------------------
// implementation
// -----------------------------------------------------------------------------

/** What all views of one service share. */
interface Environment {
  readonly store: CheckpointStore.CheckpointStore["Service"]
  readonly maxStateBytes: number
  readonly schedule: Schedule.Schedule<unknown, StoreError>
  readonly inTurn: ReturnType<typeof ThreadQueue.make>
  readonly heads: Heads.Heads
  readonly random: SecureRandom.SecureRandom["Service"]
}

/** Between a state and its JSON. */
interface Codec<S> {
  readonly encode: (state: S) => Effect.Effect<Schema.Json, Schema.SchemaError | RangeError>
  readonly decode: (json: Schema.Json) => Effect.Effect<S, Schema.SchemaError | RangeError>
}

/** Whether it really is JSON is checked on the way to its text, for every codec. */
const plainCodec: Codec<Schema.Json> = { encode: Effect.succeed, decode: Effect.succeed }

const codecOf = Effect.fnUntraced(function*<S extends Schema.Constraint>(
  schema: S
): Effect.fn.Return<Codec<S["Type"]>, never, S["EncodingServices"] | S["DecodingServices"]> {
  const services = yield* Effect.context<S["EncodingServices"] | S["DecodingServices"]>()
  const codec = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownEffect(codec)
  const decode = Schema.decodeUnknownEffect(codec)
  // A state nested deeper than the stack is its owner's mistake, and not a reason to die.
  const guarded = <A>(effect: Effect.Effect<A, Schema.SchemaError, S["EncodingServices"] | S["DecodingServices"]>) =>
    Effect.catchDefect(
      Effect.provideContext(effect, services),
      (defect) => defect instanceof RangeError ? Effect.fail(defect) : Effect.die(defect)
    )
  return {
    encode: (state) => guarded(encode(state)),
    decode: (json) => guarded(decode(json))
  }
})

/** A checkpoint's content: its state as JSON that is yet to be checked, and the rest as it is and as it is stored. */
interface Encoded {
  readonly json: Schema.Json
  readonly stored: Pick<CheckpointStore.NewRecord, "nextNodes" | "pendingInterrupt" | "metadata">
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupt: Option.Option<Interrupt>
  readonly metadata: Schema.JsonObject
}

interface Write {
  readonly threadId: string
  readonly checkpointId: string
  readonly expected: CheckpointStore.Expected
  readonly parent?: CheckpointStore.ParentRef | undefined
  readonly content: Encoded
  /** The checkpoint that is taken for the newest, where its state is at hand. */
  readonly head: Heads.Head | undefined
}

/** How a state is stored, and what the next one can be compared with once it is. */
interface StoredState {
  readonly record: Pick<CheckpointStore.NewRecord, "format" | "state" | "bytes" | "stateBytes">
  readonly toHead: (version: number, checkpointId: string) => Heads.Head
}

const makeView = <S>(environment: Environment, namespace: string, codec: Codec<S>): View<S> => {
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

  const encodeContent = Effect.fnUntraced(function*(
    json: Schema.Json,
    parts: Pick<Encoded, "nextNodes" | "pendingInterrupt" | "metadata">
  ): Effect.fn.Return<Encoded, InvalidInput> {
    const stored = {
      nextNodes: yield* Input.nodes(parts.nextNodes),
      pendingInterrupt: yield* Input.interrupt(parts.pendingInterrupt),
      metadata: yield* Input.jsonObject("metadata", parts.metadata)
    }
    const { metadata, nextNodes, pendingInterrupt } = parts
    return { json, stored, nextNodes, pendingInterrupt, metadata }
  })

  const checkSize = (threadId: string, bytes: number): Result.Result<void, StateTooLarge> =>
    bytes > maxStateBytes
      ? Result.fail(new StateTooLarge({ threadId, namespace, bytes, limit: maxStateBytes }))
      : Result.void

  /** What changed since `head`, where that is worth storing. */
  const toDelta = (
    threadId: string,
    json: Schema.Json,
    head: Heads.Head
  ): Result.Result<StoredState | undefined, StateTooLarge> => {
    const delta = Delta.diff(head.json, json)
    if (delta === undefined) return Result.succeed(undefined)
    const { bytes, escaped, text } = delta.encoded
    const stateBytes = head.bytes + delta.growth
    return Result.map(
      checkSize(threadId, stateBytes),
      () =>
        !Delta.continues(head.chain, head.version, bytes, stateBytes) ? undefined : {
          record: {
            format: escaped ? CheckpointStore.Format.deltaEscaped : CheckpointStore.Format.delta,
            state: text,
            bytes,
            stateBytes
          },
          toHead: (version, checkpointId) => ({
            version,
            checkpointId,
            json: Result.getOrThrow(Delta.apply(delta.patch, head.json, new WeakSet())),
            bytes: stateBytes,
            chain: { ...head.chain, deltaBytes: head.chain.deltaBytes + bytes }
          })
        }
    )
  }

  const toKeyframe = (
    threadId: string,
    json: Schema.Json
  ): Result.Result<StoredState, StateEncodeError | StateTooLarge> => {
    const encoded = Json.encode(json)
    if (Result.isFailure(encoded)) {
      return Result.fail(new StateEncodeError({ threadId, namespace, reason: encoded.failure }))
    }
    const { bytes, escaped, text } = encoded.success
    // What the caller holds may be changed before the next put. A copy is what that one is compared with.
    const copy = Json.clone(json)
    return Result.map(checkSize(threadId, bytes), () => ({
      record: {
        format: escaped ? CheckpointStore.Format.keyframeEscaped : CheckpointStore.Format.keyframe,
        state: text,
        bytes,
        stateBytes: bytes
      },
      toHead: (version, checkpointId) => ({
        version,
        checkpointId,
        json: copy,
        bytes,
        chain: { keyframeVersion: version, keyframeBytes: bytes, deltaBytes: 0 }
      })
    }))
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

  const readRaw = (
    threadId: string,
    selector: CheckpointStore.Selector
  ): Effect.Effect<Record.RawCheckpoint | undefined, StateDecodeError | StoreError> =>
    Effect.flatMap(
      retrying(environment, store.read(keyOf(threadId), selector, 1)),
      (records) => Effect.map(Effect.fromResult(Record.fold(records, "last")), ([raw]) => raw)
    )

  const headOf = ({ bytes, chain, info, state }: Record.RawCheckpoint): Heads.Head => ({
    version: info.version,
    checkpointId: info.checkpointId,
    json: state,
    bytes,
    chain
  })

  const readOne = (
    threadId: string,
    selector: CheckpointStore.Selector
  ): Effect.Effect<Option.Option<Checkpoint<S>>, StateDecodeError | StoreError> =>
    Effect.flatMap(readRaw(threadId, selector), (raw) => {
      if (raw === undefined) return Effect.succeedNone
      if (selector._tag !== "Latest") return Effect.asSome(decode(raw))
      const head = headOf(raw)
      return Effect.map(decode(raw), (checkpoint) => {
        heads.offer(keyOf(threadId), head)
        heads.attach(checkpoint, head)
        return Option.some(checkpoint)
      })
    }).pipe(Effect.trackDuration(Metrics.readDuration))

  const readRequired = (
    threadId: string,
    selector: CheckpointStore.Selector
  ): Effect.Effect<Record.RawCheckpoint, StateDecodeError | StoreError | CheckpointNotFound> =>
    Effect.flatMap(readRaw(threadId, selector), (raw) =>
      raw === undefined
        ? Effect.fail(new CheckpointNotFound({ threadId, namespace, selector: describe(selector) }))
        : Effect.succeed(raw))

  // ---- writing

  const newId = (threadId: string, given: string | undefined): Effect.Effect<string, InvalidInput> =>
    given === undefined ? random.uuidV7() : Effect.as(Input.checkpointId(keyOf(threadId), given), given)

  /** One attempt to save, as a change of `head` or whole. */
  const save = (
    { checkpointId, content, parent, threadId }: Write,
    expected: CheckpointStore.Expected,
    state: StoredState
  ): Effect.Effect<CheckpointStore.PutResult, StoreError> =>
    retrying(
      environment,
      store.put({ ...keyOf(threadId), checkpointId, parent, ...state.record, ...content.stored }, expected)
    )

  const write = Effect.fnUntraced(function*(
    input: Write
  ): Effect.fn.Return<
    CheckpointInfo,
    VersionConflict | CheckpointIdTaken | StateEncodeError | StateTooLarge | StoreError
  > {
    const { checkpointId, content, expected, threadId } = input
    const key = keyOf(threadId)
    const head = input.head ?? heads.get(key)
    let state = head === undefined || !mayFollow(head, expected)
      ? undefined
      : yield* Effect.fromResult(toDelta(threadId, content.json, head))
    let result: CheckpointStore.PutResult | undefined
    if (head !== undefined && state !== undefined) {
      // Who asked for no certain parent is not told that the one we took for it was not the newest.
      const isAsked = expected._tag === "Version" && expected.checkpointId !== undefined
      const { checkpointId, version } = head
      result = yield* save(input, isAsked ? expected : { _tag: "Hint", version, checkpointId }, state)
    }
    if (result === undefined || result._tag === "Moved" || state === undefined) {
      state = yield* Effect.fromResult(toKeyframe(threadId, content.json))
      result = yield* save(input, expected, state)
    }
    switch (result._tag) {
      case "Saved": {
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
          createdAt: DateTime.makeUnsafe(result.createdAt)
        }
        const saved = state.toHead(result.version, checkpointId)
        heads.set(key, saved)
        heads.attach(info, saved)
        return info
      }
      case "Taken": {
        // An earlier attempt of this put, or of one with the same id, was applied. What cannot be read is not the same.
        const saved = yield* Effect.catchTag(
          readRaw(threadId, { _tag: "Id", checkpointId }),
          "StateDecodeError",
          () => Effect.undefined
        )
        return saved !== undefined && isSame(content, saved)
          ? saved.info
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
      yield* Input.version("parent.version", version)
      yield* Input.checkpointId(keyOf(threadId), checkpointId)
      return [threadId, { _tag: "Version", version, checkpointId }]
    }
    yield* checkThread(input.threadId)
    if (input.expectedVersion === undefined) return [input.threadId, { _tag: "Any" }]
    yield* Input.version("expectedVersion", input.expectedVersion, 0)
    return [input.threadId, { _tag: "Version", version: input.expectedVersion, checkpointId: undefined }]
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
    const checkpointId = yield* newId(threadId, input.checkpointId)
    const json = yield* encodeState(threadId, input.state)
    const content = yield* encodeContent(json, {
      nextNodes: input.nextNodes ?? [],
      pendingInterrupt: Option.fromNullishOr(input.pendingInterrupt),
      metadata: input.metadata ?? {}
    })
    const head = input.parent === undefined ? undefined : heads.of(input.parent)
    const info = yield* queued(threadId, write({ threadId, checkpointId, expected, content, head }))
    return withState(info, input.state)
  }, (effect, input) => about(effect, input.parent === undefined ? input.threadId : input.parent.threadId))

  /** One attempt: the head, changed by `f`, put upon the head that was read. */
  const attempt = Effect.fnUntraced(function*<E, R>(
    threadId: string,
    checkpointId: string,
    f: (state: S) => Effect.Effect<S, E, R>
  ) {
    const raw = yield* readRequired(threadId, { _tag: "Latest" })
    const state = yield* Effect.flatMap(decode(raw), (head) => f(head.state))
    const json = yield* encodeState(threadId, state)
    const content = yield* encodeContent(json, raw.info)
    const head = headOf(raw)
    const expected = { _tag: "Version", version: head.version, checkpointId: head.checkpointId } as const
    return Effect.map(
      write({ threadId, checkpointId, expected, content, head }),
      (info) => withState(info, state)
    )
  })

  const update = Effect.fn("Checkpointer.update")(function*(threadId: string, f: (state: S) => S) {
    yield* checkThread(threadId)
    const checkpointId = yield* newId(threadId, undefined)
    return yield* queued(
      threadId,
      attempt(threadId, checkpointId, (state) => Effect.sync(() => f(state))).pipe(
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
    const checkpointId = yield* newId(threadId, undefined)
    return yield* attempt(threadId, checkpointId, (state) => Effect.mapError(f(state), (error) => new Foreign(error)))
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
    given: string | undefined
  ): Effect.fn.Return<Checkpoint<S>, PutError | StateDecodeError | VersionConflict> {
    const { threadId } = target
    const checkpointId = yield* newId(threadId, given)
    const { state } = yield* decode(raw)
    const content = yield* encodeContent(raw.state, raw.info)
    const parent = { threadId: raw.info.threadId, version: raw.info.version, checkpointId: raw.info.checkpointId }
    const info = yield* queued(threadId, write({ ...target, checkpointId, parent, content, head: undefined }))
    return withState(info, state)
  })

  const restore = Effect.fn("Checkpointer.restore")(function*(
    threadId: string,
    selector: Selector,
    options?: { readonly checkpointId?: string | undefined } | undefined
  ) {
    yield* checkThread(threadId)
    const raw = yield* readRequired(threadId, yield* selectorOf(selector))
    return yield* copy(raw, { threadId, expected: { _tag: "Any" } }, options?.checkpointId).pipe(
      Effect.catchTag("VersionConflict", Effect.die)
    )
  }, about)

  const checkRef = Effect.fnUntraced(function*(field: string, ref: VersionRef) {
    yield* checkThread(ref.threadId)
    yield* sameNamespace(field, ref)
    yield* Input.version(`${field}.version`, ref.version)
  })

  const fork = Effect.fn("Checkpointer.fork")(function*(
    source: VersionRef,
    target: { readonly threadId: string; readonly checkpointId?: string | undefined }
  ) {
    yield* checkRef("source", source)
    yield* Input.id("target.threadId", target.threadId)
    const raw = yield* readRequired(source.threadId, { _tag: "Version", version: source.version })
    const expected = { _tag: "Version", version: 0, checkpointId: undefined } as const
    return yield* copy(raw, { threadId: target.threadId, expected }, target.checkpointId)
  }, (effect, source) => about(effect, source.threadId))

  const setTags = Effect.fn("Checkpointer.setTags")(function*(target: VersionRef, tags: ReadonlyArray<string>) {
    const { threadId, version } = target
    yield* checkRef("target", target)
    const text = yield* Input.tags(tags)
    const stored = yield* retrying(environment, store.setTags(keyOf(threadId), version, text))
    return Option.isSome(stored)
      ? yield* Effect.fromResult(Record.toInfo(stored.value))
      : yield* new CheckpointNotFound({
        ...keyOf(threadId),
        selector: describe({ _tag: "Version", version })
      })
  }, (effect, target) => about(effect, target.threadId))

  /** At least the newest versions below one, and all that are stored in the chains of those. */
  const historyPage = (threadId: string, before: number | undefined) =>
    retrying(
      environment,
      store.read(
        keyOf(threadId),
        before === undefined ? { _tag: "Latest" } : { _tag: "Before", version: before },
        historyVersions
      )
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
      if (before !== undefined) yield* Input.version("before", before)
      const stored = yield* retrying(environment, store.list(keyOf(threadId), { before, limit }))
      return yield* Effect.fromResult(Result.all(stored.map(Record.toInfo)))
    }, about),
    history: (threadId, options) =>
      Stream.unwrap(Effect.as(
        Effect.andThen(
          checkThread(threadId),
          options?.before === undefined ? Effect.void : Input.version("before", options.before)
        ),
        Stream.paginate(options?.before, (before) => historyPage(threadId, before)).pipe(
          Stream.mapEffect(decode)
        )
      )).pipe(Stream.withSpan("Checkpointer.history", {
        attributes: { "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }
      })),
    restore,
    fork,
    setTags,
    deleteThread: Effect.fn("Checkpointer.deleteThread")(function*(threadId) {
      yield* checkThread(threadId)
      return yield* queued(threadId, retrying(environment, store.deleteThread(keyOf(threadId)), "once"))
    }, about),
    threads: (filter) => listThreads(environment, namespace, filter)
  }
}

/** Whether what is put may turn out to follow this checkpoint. */
const mayFollow = (head: Heads.Head, expected: CheckpointStore.Expected): boolean =>
  isDrawn(head.checkpointId) && (expected._tag === "Any" || (
    expected.version === head.version &&
    (expected.checkpointId === undefined || expected.checkpointId === head.checkpointId)
  ))

/**
 * An id that callers choose may come back with other content, after a deletion or a
 * rollback, and so does not prove that the head is what is remembered under it.
 */
const isDrawn = (checkpointId: string): boolean => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/.test(checkpointId)

/** Retries what can do no harm, as the schedule says. */
const retrying = <A>(
  { schedule, store }: Environment,
  operation: Effect.Effect<A, StoreError>,
  repeatable: "idempotent" | "once" = "idempotent"
): Effect.Effect<A, StoreError> =>
  Effect.flatMap(store.inTransaction, (inTransaction) =>
    inTransaction ? operation : Effect.retry(operation, {
      schedule,
      while: (error) => error.isRetryable && (repeatable === "idempotent" || error.outcome === "NotApplied")
    }))

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

const listThreads = (
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

const selectorOf = Effect.fnUntraced(function*(
  selector: Selector
): Effect.fn.Return<CheckpointStore.Selector, InvalidInput> {
  if (selector.version !== undefined) {
    yield* Input.version("version", selector.version)
    return { _tag: "Version", version: selector.version }
  }
  if (selector.checkpointId !== undefined) {
    return { _tag: "Id", checkpointId: yield* Input.id("checkpointId", selector.checkpointId) }
  }
  return { _tag: "Tag", tags: yield* Input.json("tag", [yield* Input.id("tag", selector.tag)]) }
})

const describe = (selector: CheckpointStore.Selector): string => {
  switch (selector._tag) {
    case "Latest":
      return "its latest version"
    case "Version":
      return `version ${selector.version}`
    case "Id":
      return `id "${selector.checkpointId}"`
    case "Tag":
      return `tag ${selector.tags.slice(1, -1)}`
    case "Time":
      return `time ${DateTime.formatIso(DateTime.makeUnsafe(selector.epochMillis))}`
    case "Before":
      return `versions before ${selector.version}`
  }
}

/** Whether a saved checkpoint is what was to be saved. Tags do not count: they may change afterwards. */
const isSame = (content: Encoded, saved: Record.RawCheckpoint): boolean =>
  Json.equals(content.json, saved.state) &&
  Json.equals(content.nextNodes, saved.info.nextNodes) &&
  Json.equals(content.metadata, saved.info.metadata) &&
  Json.equals(Option.getOrNull(content.pendingInterrupt), Option.getOrNull(saved.info.pendingInterrupt))
