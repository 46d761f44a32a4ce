/**
 * Throwing state away when it is old: policies, and the fiber that applies one
 * on a schedule.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
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
 * What is to be removed. At least one of `maxVersions`, `maxAge` and
 * `idleThreads` must be given; a version goes when any of them says so.
 *
 * **Details**
 *
 * Never removed are the newest version of a thread that is not idle, versions
 * with a tag, and versions with a pending interrupt. A version that was kept for
 * its tags only is removed when it loses the last one.
 *
 * Ages are measured by the store's clock, and may be from a millisecond to 2e14 of
 * them (about 6,300 years). On Postgres the space of what is removed is used again
 * once the table has been vacuumed, which autovacuum does; the files become smaller
 * by `VACUUM FULL` only.
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
   * Remove whole threads whose newest version was saved longer ago than this. A
   * thread that holds a tagged or interrupted version is not removed: it keeps
   * that and its newest version.
   */
  readonly idleThreads?: Duration.Input | undefined
  /**
   * Whether the bytes of what is removed must go at once. What changed between
   * versions is stored, so a version that is kept may need some before it. By
   * default these can no longer be read, and their bytes go when the next whole
   * state has been kept for as long, which is at most about one more state of each
   * thread. With `compact` the first version that is kept and those that are kept
   * before it are first rewritten whole, one at a time, which costs as much as the
   * states of the threads visited. Writers do not wait for it. A thread for which
   * that fails, because a row of it is damaged or locked for too long, is pruned
   * without it, and a warning names the thread.
   */
  readonly compact?: boolean | undefined
  /** Only threads of this namespace. All of them when absent. */
  readonly namespace?: string | undefined
}

/**
 * What a prune removed, or with `dryRun` would remove.
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneReport {
  readonly dryRun: boolean
  /** How many versions went, whole threads included. */
  readonly versions: number
  /** How many whole threads went. */
  readonly threadsDeleted: number
  /** Bytes of stored JSON that went with them, before any compression by the database. */
  readonly bytes: number
  /** Every thread that lost something. */
  readonly threads: ReadonlyArray<PrunedThread>
}

/**
 * Applies a policy once.
 *
 * **Details**
 *
 * It works in bounded batches, each atomic, so that a prune which dies half-way
 * has done a part of its work and the next one does the rest. A batch that fails
 * for a passing reason is tried again, as the store is told to; what went in one
 * whose outcome nobody knows is then missing in the report. Only one prune runs
 * against a database at a time; a second one fails with a `StoreError` whose
 * reason is `PruneRunning`. With `dryRun` nothing is changed.
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
  const totals = yield* run(store, query, (batch) => {
    // One push each: a batch spread into arguments could overflow the stack.
    for (const thread of batch) threads.push(thread)
  })
  return { dryRun: query.dryRun, ...totals, threads }
})

/**
 * Applies a policy again and again for as long as the layer lives: at once, and
 * then as the schedule says (every hour by default).
 *
 * **When to use**
 *
 * Use it in every process of an application: of those that wake up at the same
 * time one prunes, the others skip the round.
 *
 * **Details**
 *
 * What went is logged at debug level, or info when something did, and counted in
 * the metric `checkpoint_pruned`. An error is logged as a warning and the next
 * round tries again. An impossible policy fails the layer.
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

const round = (store: CheckpointStore["Service"], query: PruneQuery): Effect.Effect<void> =>
  run(store, query, () => {}).pipe(
    Effect.tap((totals) =>
      totals.versions === 0
        ? Effect.logDebug("Retention found nothing to remove")
        : Effect.logInfo(
          `Retention removed ${totals.versions} checkpoints (${totals.bytes} bytes), ` +
            `${totals.threadsDeleted} whole threads among them`
        )
    ),
    Effect.catchIf(
      (error) => error.reason._tag === "PruneRunning",
      () => Effect.logDebug("Retention skips this round: another prune is running")
    ),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.logWarning("Retention failed, the next round tries again", cause)
    ),
    // A poller's statements would fill traces without telling anything.
    Effect.withTracerEnabled(false),
    Effect.asVoid
  )

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
      problem: "it removes nothing; give at least one of maxVersions, maxAge and idleThreads"
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
