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
 *   yield* counters.append({ threadId: "visits", state: { count: 1 } })
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
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { ThreadInfo } from "./Checkpoint.ts"
import type { InvalidInput, StoreError } from "./CheckpointError.ts"
import * as CheckpointStore from "./CheckpointStore.ts"
import * as Codec from "./internal/codec.ts"
import * as HeadCache from "./internal/headCache.ts"
import * as Input from "./internal/input.ts"
import * as Metrics from "./internal/metrics.ts"
import * as Namespace from "./internal/namespace.ts"
import * as ThreadQueue from "./internal/threadQueue.ts"
import * as Views from "./internal/view.ts"
import * as Retry from "./internal/view/retry.ts"
import * as Threads from "./internal/view/threads.ts"
import * as MemoryStore from "./MemoryStore.ts"
import * as Retention from "./Retention.ts"
import type { ReadError, ThreadFilter, View } from "./View.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

export type * from "./View.ts"

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
   * Keeps the threads apart from those of other views. By default the id of the service, so that two services never
   * share threads by accident. It is stored: if you rename the service, pass its old id here to keep its threads.
   */
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
  const schedule = (options?.retry ?? defaultRetry).pipe(
    Schedule.tap(({ input }) =>
      Effect.andThen(
        Effect.logDebug(`Trying again, ${input.message}`),
        Metric.update(Metrics.retries[input.outcome], 1)
      )
    )
  )
  const shared = {
    store,
    retry: Retry.make(schedule, store.inTransaction),
    headCache: HeadCache.make(cacheBytes),
    inTurn: ThreadQueue.make(store.inTransaction),
    random: SecureRandom.make(SecureRandom.randomBytesUnsafe),
    maxStateBytes
  }
  const plain = Views.make(shared, "", Codec.plain)

  return Checkpointer.of({
    ...plain,
    threads: (filter) => Threads.list(shared, filter?.namespace, filter),
    view: Effect.fnUntraced(function*({ namespace, state }) {
      yield* Input.namespace(namespace)
      return Views.make(shared, namespace, yield* Codec.of(state))
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
).pipe(Layer.provideMerge(MemoryStore.layer))

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
  { namespace = Namespace.segment(id), state }: ServiceOptions<S>
): ServiceClass<Self, Id, S> => {
  const Base = Context.Service<Self, View<S["Type"]>>()(id)
  return Object.assign(Base, {
    layer: Layer.effect(Base, Checkpointer.use((checkpointer) => checkpointer.view({ state, namespace })))
  }) as ServiceClass<Self, Id, S>
}
