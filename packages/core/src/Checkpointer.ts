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
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo, CheckpointRef, Interrupt, ThreadInfo } from "./Checkpoint.ts"
import type {
  CheckpointIdTaken,
  CheckpointNotFound,
  InvalidInput,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  StoreError,
  VersionConflict
} from "./CheckpointError.ts"
import * as CheckpointStore from "./CheckpointStore.ts"
import * as Codec from "./internal/codec.ts"
import * as Heads from "./internal/heads.ts"
import * as Input from "./internal/input.ts"
import * as Metrics from "./internal/metrics.ts"
import * as ThreadQueue from "./internal/threadQueue.ts"
import * as Views from "./internal/view.ts"
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
  /**
   * What tasks of the step that begins at this checkpoint have already done, by the
   * name of the task. See `saveWrites`.
   */
  readonly writes?: Schema.JsonObject | undefined
  /**
   * Whether this goes on from the pending interrupt of the newest version. That
   * version stays as it is, but retention may remove it from then on.
   */
  readonly resolvesInterrupt?: boolean | undefined
  /** Whether the writes of the newest version are kept with this one too: it is still the same step. */
  readonly keepsWrites?: boolean | undefined
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
 * What a put can fail with; a `CompareAndSet` also with `VersionConflict`.
 *
 * @category errors
 * @since 0.1.0
 */
export type PutError = InvalidInput | StateEncodeError | StateTooLarge | CheckpointIdTaken | StoreError

/**
 * What a read can fail with.
 *
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
    (input: Append<S> | CompareAndSet<S>): Effect.Effect<Checkpoint<S>, PutError | VersionConflict>
  }

  /**
   * Reads the newest state, changes it and saves it, again if somebody else was
   * faster. Next nodes, pending interrupt, pending writes and metadata stay as they are.
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

  /**
   * Reads the checkpoint that was the newest at that time, to the millisecond, of
   * those that retention has kept.
   */
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
    /** In place of that of the version. */
    readonly metadata?: Schema.JsonObject | undefined
    readonly writes?: Schema.JsonObject | undefined
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
   * Keeps what tasks of the step that begins at a checkpoint have done, so that they
   * need not be run again when the step is. A task that has a value keeps it. They
   * are removed with their checkpoint, and count against `maxStateBytes` together.
   */
  readonly saveWrites: (
    target: CheckpointRef,
    writes: Schema.JsonObject
  ) => Effect.Effect<void, InvalidInput | StateTooLarge | CheckpointNotFound | StoreError>

  /** What `saveWrites`, or the put itself, has kept with a checkpoint, by task. */
  readonly writes: (
    target: CheckpointRef
  ) => Effect.Effect<Schema.JsonObject, InvalidInput | CheckpointNotFound | StoreError>

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
 * What a view is of.
 *
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
 * Settings of the service.
 *
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
 * What `Options.maxStateBytes` is by default, 8 MiB.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultMaxStateBytes: number = 8 * 1024 * 1024

/**
 * What `Options.cacheBytes` is by default, 32 MiB.
 *
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
  yield* Input.wholeNumber("maxStateBytes", maxStateBytes)
  const cacheBytes = options?.cacheBytes ?? defaultCacheBytes
  yield* Input.wholeNumber("cacheBytes", cacheBytes, 0)
  const environment: Views.Environment = {
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
  const plain = Views.make(environment, "", Codec.plain)

  return Checkpointer.of({
    ...plain,
    threads: (filter) => Views.listThreads(environment, filter?.namespace, filter),
    view: Effect.fnUntraced(function*({ namespace = "", state }) {
      yield* Input.namespace(namespace)
      return Views.make(environment, namespace, yield* Codec.of(state))
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
