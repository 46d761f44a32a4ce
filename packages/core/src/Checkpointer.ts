/**
 * Durable, versioned, schema-checked state for programs that outlive their process.
 *
 * `Checkpointer` is the service. It saves each state of a thread as a new version. It reads versions by number, id, tag
 * or time, and it forks, restores, lists and removes them. Most programs use a typed view of it, which
 * `Checkpointer.Service` makes from a schema.
 *
 * **Example** (Save and update a state)
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
 *   yield* counters.create({ threadId: "visits", state: { count: 1 } })
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
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { OpenQuestion, ThreadInfo } from "./Checkpoint.ts"
import type { InvalidInput, StoreError } from "./CheckpointError.ts"
import * as CheckpointStore from "./CheckpointStore.ts"
import * as Codec from "./internal/codec.ts"
import * as HeadCache from "./internal/headCache.ts"
import * as Input from "./internal/input.ts"
import * as Metrics from "./internal/metrics.ts"
import * as Namespace from "./internal/namespace.ts"
import * as ThreadQueue from "./internal/threadQueue.ts"
import * as Views from "./internal/view.ts"
import * as Questions from "./internal/view/questions.ts"
import * as Retry from "./internal/view/retry.ts"
import * as Threads from "./internal/view/threads.ts"
import { isUnderway } from "./internal/view/underway.ts"
import * as MemoryStore from "./MemoryStore.ts"
import * as Retention from "./Retention.ts"
import type { QuestionFilter, ReadError, ThreadFilter, View } from "./View.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

export type * from "./View.ts"

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The service. It is itself a view: of the namespace `""`, with states that are plain JSON.
 *
 * @category services
 * @since 0.1.0
 */
export class Checkpointer extends Context.Service<
  Checkpointer,
  Omit<View<Schema.Json>, "threads" | "openQuestions"> & {
    /** Streams the threads of all namespaces, or of one. See `View.threads`. */
    readonly threads: (
      filter?: ThreadFilter & { readonly namespace?: string | undefined } | undefined
    ) => Stream.Stream<ThreadInfo, ReadError>

    /** Streams the questions that the threads of all namespaces, or of one, wait for. See `View.openQuestions`. */
    readonly openQuestions: (
      filter?: QuestionFilter & { readonly namespace?: string | undefined } | undefined
    ) => Stream.Stream<OpenQuestion, ReadError>

    /** Makes a typed view. `Checkpointer.Service` declares one as a service with a layer. */
    readonly view: <S extends Schema.Constraint>(options: ViewOptions<S>) => Effect.Effect<
      View<S["Type"]>,
      InvalidInput,
      S["EncodingServices"] | S["DecodingServices"]
    >

    /** Applies a retention policy once. See `Retention.prune`. */
    readonly prune: (policy: Retention.Policy, options?: {
      readonly dryRun?: boolean | undefined
    }) => Effect.Effect<Retention.PruneReport, InvalidInput | StoreError>

    /** Succeeds if the store answers and has the tables that this version of the library requires. */
    readonly health: Effect.Effect<void, StoreError>
  }
>()("@effect-checkpoint/core/Checkpointer") {}

/**
 * Options of a view.
 *
 * @category models
 * @since 0.1.0
 */
export interface ViewOptions<S extends Schema.Constraint> {
  /** The schema of the states. A state is stored as the JSON that `Schema.toCodecJson` encodes it to. */
  readonly state: S
  /** Keeps the threads apart from those of other views; `""` is that of the plain service. At most 1 KiB of UTF-8. */
  readonly namespace: string
}

/**
 * Options of a service that is a view.
 *
 * @category models
 * @since 0.2.0
 */
export interface ServiceOptions<S extends Schema.Constraint> extends Pick<ViewOptions<S>, "state"> {
  /**
   * Keeps the threads apart from those of other views. By default the id of the service with `%25` for `%` and `%2F`
   * for `/`, so that two services never share threads by accident. It is stored: to keep the threads of a service that
   * was `app/Chats`, pass `app%2FChats`, which is not escaped again.
   */
  readonly namespace?: string | undefined
}

/**
 * Options of the service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The size of the largest state, in bytes of JSON in UTF-8. 8 MiB by default. */
  readonly maxStateBytes?: number | undefined
  /**
   * When to retry a failed operation of the store. Only safe operations are retried: those that were not applied, and
   * those that are idempotent. Nothing is retried within a transaction of the caller. By default ten times, with an
   * exponential delay from 50 ms to 1 s and jitter.
   */
  readonly retry?: Schedule.Schedule<unknown, StoreError> | undefined
  /**
   * How many bytes of memory to use for a cache of the newest states, about. With the newest state of a thread at hand,
   * only what changed is sent and stored. 32 MiB by default. A put after a checkpoint that you hold does not need the cache.
   */
  readonly cacheBytes?: number | undefined
}

/**
 * The default of `Options.maxStateBytes`: 8 MiB.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultMaxStateBytes: number = 8 * 1024 * 1024

/**
 * The default of `Options.cacheBytes`: 32 MiB.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultCacheBytes: number = 32 * 1024 * 1024

/**
 * The default of `Options.retry`.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultRetry: Schedule.Schedule<unknown, StoreError> = Schedule.min([
  Schedule.exponential("50 millis"),
  Schedule.spaced("1 second")
]).pipe(Schedule.jittered, Schedule.upTo({ times: 10 }))

/**
 * Makes the service over any store.
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
  const retrying = {
    schedule: options?.retry ?? defaultRetry,
    inTransaction: store.inTransaction,
    report: Retry.makeReport()
  }
  const shared = {
    store,
    // Tags and pending writes do not wait for puts, and those of one thread leave connections for others.
    fewAtOnce: ThreadQueue.make(store.inTransaction, 4),
    headCache: HeadCache.make(cacheBytes),
    inTurn: ThreadQueue.make(store.inTransaction),
    updateInTurn: ThreadQueue.make(Effect.zipWith(store.inTransaction, isUnderway, (a, b) => a || b)),
    random: SecureRandom.make(SecureRandom.randomBytesUnsafe),
    maxStateBytes
  }
  const metricsOf = Metrics.makeOf()
  const sharedOf = (namespace: string) => {
    const metrics = metricsOf(namespace)
    return { ...shared, metrics, retry: Retry.make({ ...retrying, metrics }) }
  }
  const sharedByAll = sharedOf("")
  const plain = Views.make(sharedByAll, "", Codec.plain)

  return Checkpointer.of({
    ...plain,
    threads: (filter) => Threads.list(sharedByAll, filter?.namespace, filter),
    openQuestions: (filter) => Questions.list(sharedByAll, filter?.namespace, filter),
    view: Effect.fnUntraced(function*({ namespace, state }) {
      yield* Input.namespace(namespace)
      return Views.make(sharedOf(namespace), namespace, yield* Codec.of(state))
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
 * Provides the service over the store in the context, with its settings.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (
  options: Options
): Layer.Layer<Checkpointer, InvalidInput, CheckpointStore.CheckpointStore> => Layer.effect(Checkpointer, make(options))

/**
 * Provides the service over the store in the context.
 *
 * @see {@link layerWith} to change its settings
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Checkpointer, InvalidInput, CheckpointStore.CheckpointStore> = layerWith({})

/**
 * Provides the service in the memory of this process, for unit tests. It is empty each time the layer is built. Its
 * times come from `Clock`, so `TestClock` controls them.
 *
 * **Gotchas**
 *
 * Effect builds a layer once per `Effect.provide` and shares it. If a program provides the `layer` of a view that it
 * already has, it gets the same view, with the same threads. Use `Layer.fresh` for a new one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Checkpointer | CheckpointStore.CheckpointStore> = Layer.effect(
  Checkpointer,
  Effect.orDie(make())
).pipe(Layer.provideMerge(MemoryStore.layer))

/**
 * The class that `Service` returns.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string, S extends Schema.Constraint>
  extends Context.ServiceClass<Self, Id, View<S["Type"]>>
{
  /** Provides the view over `Checkpointer`. */
  readonly layer: Layer.Layer<
    Self,
    InvalidInput,
    Checkpointer | S["EncodingServices"] | S["DecodingServices"]
  >
}

/**
 * Declares a service that is a view with states of one schema.
 *
 * **Details**
 *
 * Its threads are in a namespace of their own, by default the escaped id of the service: `app%2FConversations` for
 * `app/Conversations`. The namespace is stored: if you rename the service, pass its old one to keep its threads.
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
  { namespace = Namespace.segment(id), state }: ServiceOptions<S>
): ServiceClass<Self, Id, S> => {
  const Base = Context.Service<Self, View<S["Type"]>>()(id)
  return Object.assign(Base, {
    layer: Layer.effect(Base, Checkpointer.use((checkpointer) => checkpointer.view({ state, namespace })))
  }) as ServiceClass<Self, Id, S>
}
