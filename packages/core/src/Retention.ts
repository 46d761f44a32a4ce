/**
 * Retention: policies that say which versions to remove, and a layer that applies one on a schedule.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { InvalidInput, type StoreError } from "./CheckpointError.ts"
import { CheckpointStore, type PrunedThread, type PruneQuery } from "./CheckpointStore.ts"
import * as Input from "./internal/input.ts"
import * as Metrics from "./internal/metrics.ts"

/**
 * Which versions to remove. Set at least one of `maxVersions`, `maxAge` and `idleThreads`. A version is removed if any
 * of them applies to it.
 *
 * **Details**
 *
 * Retention never removes a version with a tag, nor the newest version of a thread that is not idle or that waits for an
 * answer. A version that was kept only for its tags is removed when it loses the last one.
 *
 * The clock of the store measures ages. A duration may be from 1 millisecond to 2e14 milliseconds (about 6,300 years).
 * On Postgres, the space of removed versions is reused after autovacuum has processed the table; only `VACUUM FULL`
 * makes the files smaller.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  /** Keep this many of the newest versions of each thread. */
  readonly maxVersions?: number | undefined
  /** Remove versions saved longer ago than this. */
  readonly maxAge?: Duration.Input | undefined
  /**
   * Remove whole threads in which nothing was saved, asked or answered for this long. A thread that has tagged versions
   * keeps these and its newest version. A thread that waits for an answer keeps its newest version.
   */
  readonly idleThreads?: Duration.Input | undefined
  /**
   * Whether to free the bytes of removed versions at once. `false` by default.
   *
   * A version is stored as a change of the one before it, so a version that is kept may need removed ones. By default
   * the removed versions can no longer be read, and their bytes are freed when the next whole state is old enough to be
   * removed too. With `compact`, the versions that are kept and need removed ones are first rewritten as whole states,
   * one at a time; this reads and writes the states of all threads that lose versions. Writers do not wait for it. If a
   * thread cannot be rewritten, because a row is damaged or locked for too long, it is pruned without it, and a warning
   * names the thread.
   */
  readonly compact?: boolean | undefined
  /** Only prune threads of this namespace, which a view has as `namespace`. All namespaces by default. */
  readonly namespace?: string | undefined
}

/**
 * The versions that a prune removed, or would remove with `dryRun`.
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneReport {
  readonly dryRun: boolean
  /** The number of versions, including those of whole threads. */
  readonly versions: number
  /** The number of whole threads. */
  readonly threadsDeleted: number
  /**
   * The bytes of stored JSON that went, before any compression by the database: as many as were saved. What a compaction
   * writes counts neither when it is written nor when it goes.
   */
  readonly bytes: number
  /**
   * How long it took.
   *
   * @since 0.2.0
   */
  readonly duration: Duration.Duration
  /** The threads that lost versions. */
  readonly threads: ReadonlyArray<PrunedThread>
}

/**
 * Applies a policy once. With `dryRun`, reports what would be removed and changes nothing.
 *
 * **Details**
 *
 * The work is done in bounded batches, each of them atomic. If a prune dies, the next one does the rest. A batch that
 * fails for a transient reason other than a timeout is retried. If it is not known whether a failed batch was committed,
 * its versions may be missing from the report. Only one prune with the same policy runs against a database at a time; a
 * second one fails with a `StoreError` whose reason is `PruneRunning`.
 *
 * @category operations
 * @since 0.1.0
 */
export const prune = Effect.fn("Retention.prune")(function*(
  policy: Policy,
  options?: { readonly dryRun?: boolean | undefined } | undefined
): Effect.fn.Return<PruneReport, InvalidInput | StoreError, CheckpointStore> {
  const store = yield* CheckpointStore
  const query = yield* toQuery(policy, options?.dryRun ?? false)
  const threads: Array<PrunedThread> = []
  const [duration, totals] = yield* Effect.timed(run(store, query, (batch) => {
    // One push each: a batch spread into arguments could overflow the stack.
    for (const thread of batch) threads.push(thread)
  }))
  return { dryRun: query.dryRun, ...totals, duration, threads }
})

/**
 * Applies a policy repeatedly while the layer lives: at once, and then on a schedule (every hour by default).
 *
 * **When to use**
 *
 * Use it in every process of an application. Only one of them applies a policy at a time; the others skip the round.
 * Layers with different policies do not wait for each other.
 *
 * **Details**
 *
 * Each round is logged with its policy, at info level if it removed versions and at debug level otherwise. The metric
 * `checkpoint_pruned` counts the removed versions. An error is logged as a warning, and the next round tries again. The
 * layer fails with `InvalidInput` if the policy is invalid.
 *
 * **Example** (Pruning every hour)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer, Retention } from "@effect-checkpoint/core"
 * import { Layer, Schedule } from "effect"
 *
 * const Live = Retention.layer({
 *   maxVersions: 100,
 *   maxAge: "7 days",
 *   schedule: Schedule.spaced("1 hour")
 * }).pipe(Layer.provideMerge(Checkpointer.layerMemory))
 *
 * Layer.isLayer(Live) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Policy & { readonly schedule?: Schedule.Schedule<unknown> | undefined }
): Layer.Layer<never, InvalidInput, CheckpointStore> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const store = yield* CheckpointStore
    const query = yield* toQuery(options, false)
    yield* round(store, query).pipe(
      Effect.repeat(options.schedule ?? Schedule.spaced("1 hour")),
      Effect.interruptible,
      Effect.forkScoped,
      Effect.annotateLogs({ module: "@effect-checkpoint/core/Retention" })
    )
  }))

const round = (store: CheckpointStore["Service"], query: PruneQuery): Effect.Effect<void> => {
  const policy = describe(query)
  return Effect.timed(run(store, query, () => {})).pipe(
    Effect.tap(([duration, totals]) =>
      totals.versions === 0
        ? Effect.logDebug(`Retention found nothing to remove in ${Duration.format(duration)} (${policy})`)
        : Effect.logInfo(
          `Retention removed ${totals.versions} checkpoints (${totals.bytes} bytes), ` +
            `including ${totals.threadsDeleted} whole threads, in ${Duration.format(duration)} (${policy})`
        )
    ),
    Effect.catchIf(
      (error) => error.reason._tag === "PruneRunning",
      () => Effect.logDebug(`Retention skipped this round, because another process runs it (${policy})`)
    ),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.logWarning(`Retention failed and will try again in the next round (${policy})`, cause)
    ),
    // The statements of a poller would fill traces without adding information.
    Effect.withTracerEnabled(false),
    Effect.asVoid
  )
}

/** A policy as its options, such as `maxVersions: 100, maxAge: 7d, namespace: "imports"`. */
const describe = ({ compact, idleThreads, maxAge, maxVersions, namespace }: PruneQuery): string =>
  Object.entries({
    maxVersions,
    maxAge: maxAge === undefined ? undefined : Duration.format(Duration.millis(maxAge)),
    idleThreads: idleThreads === undefined ? undefined : Duration.format(Duration.millis(idleThreads)),
    compact: compact ? true : undefined,
    namespace: namespace === undefined ? undefined : JSON.stringify(namespace)
  }).flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${value}`]).join(", ")

interface Totals {
  readonly versions: number
  readonly threadsDeleted: number
  readonly bytes: number
}

const run = (
  store: CheckpointStore["Service"],
  query: PruneQuery,
  onBatch: (batch: ReadonlyArray<PrunedThread>) => void
): Effect.Effect<Totals, StoreError> =>
  Stream.runFoldEffect(
    store.prune(query),
    (): Totals => ({ versions: 0, threadsDeleted: 0, bytes: 0 }),
    (totals, batch) => {
      onBatch(batch)
      const versions = batch.reduce((sum, thread) => sum + thread.versions, 0)
      return Effect.as(query.dryRun ? Effect.void : Metric.update(Metrics.pruned, versions), {
        versions: totals.versions + versions,
        threadsDeleted: totals.threadsDeleted + batch.reduce((sum, thread) => sum + (thread.deleted ? 1 : 0), 0),
        bytes: totals.bytes + batch.reduce((sum, thread) => sum + thread.bytes, 0)
      })
    }
  )

const toQuery = Effect.fnUntraced(function*(
  policy: Policy,
  dryRun: boolean
): Effect.fn.Return<PruneQuery, InvalidInput> {
  const { idleThreads, maxAge, maxVersions, namespace } = policy
  if (maxVersions === undefined && maxAge === undefined && idleThreads === undefined) {
    return yield* new InvalidInput({
      field: "policy",
      problem: "it removes nothing; set at least one of maxVersions, maxAge and idleThreads"
    })
  }
  if (maxVersions !== undefined) yield* Input.wholeNumber("policy.maxVersions", maxVersions)
  if (namespace !== undefined) yield* Input.namespace(namespace)
  return {
    namespace,
    maxVersions,
    maxAge: maxAge === undefined ? undefined : yield* Input.duration("policy.maxAge", maxAge),
    idleThreads: idleThreads === undefined ? undefined : yield* Input.duration("policy.idleThreads", idleThreads),
    compact: policy.compact ?? false,
    dryRun
  }
})
