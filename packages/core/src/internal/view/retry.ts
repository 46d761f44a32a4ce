import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import { StoreError } from "../../CheckpointError.ts"
import type { ViewMetrics } from "../metrics.ts"

/** Tries a store operation again after a failure that allows it. */
export type Retry = <A>(
  operation: Effect.Effect<A, StoreError>,
  repeatable?: "idempotent" | "once"
) => Effect.Effect<A, StoreError>

/** Retries what can do no harm, as the schedule says. */
export const make = (
  { inTransaction, metrics, report, schedule }: {
    readonly schedule: Schedule.Schedule<unknown, StoreError>
    readonly inTransaction: Effect.Effect<boolean>
    readonly report: Report
    readonly metrics: Pick<ViewMetrics, "retries" | "failures">
  }
): Retry => {
  const reported = Schedule.tap(
    schedule,
    ({ input }) => Effect.andThen(report(input), Metric.update(metrics.retries[input.outcome], 1))
  )
  const fail = (error: StoreError) => Effect.andThen(Metric.update(metrics.failures(error), 1), Effect.fail(error))
  return (operation, repeatable = "idempotent") => {
    const mayRepeat = (error: StoreError): boolean =>
      error.isRetryable && (repeatable === "idempotent" || error.outcome === "NotApplied")
    // Nearly all succeed at once: the schedule, which is dearer than the rest, is for those that do not.
    return Effect.catch(operation, (error) =>
      Effect.flatMap(inTransaction, (inTransaction) => {
        if (inTransaction || !mayRepeat(error)) return fail(error)
        let isFirst = true
        const repeated = Effect.suspend(() => {
          if (!isFirst) return operation
          isFirst = false
          return Effect.fail(error)
        })
        const retried = inDoubt((attempt) => Effect.retry(attempt(repeated), { schedule: reported, while: mayRepeat }))
        return Effect.catch(retried, fail)
      }))
  }
}

/** Logs that an operation is retried. */
export type Report = (error: StoreError) => Effect.Effect<void>

const warningInterval = Duration.toMillis("10 seconds")

/** A warning now and then. In an outage, every operation in progress is retried ten times. */
export const makeReport = (): Report => {
  let warnedAt = -Infinity
  let others = 0
  return (error) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const text = `Retrying after: ${error.message}`
      if (now - warnedAt < warningInterval) {
        others++
        return Effect.logDebug(text)
      }
      const more = others === 0 ? "" : ` (${others} more retries since the last warning)`
      warnedAt = now
      others = 0
      return Effect.logWarning(`${text}${more}`)
    })
}

export type Attempt = <A>(operation: Effect.Effect<A, StoreError>) => Effect.Effect<A, StoreError>

/** When one attempt may have been applied, the failure of a later one does not say that nothing was. */
export const inDoubt = <A, E, R>(operation: (attempt: Attempt) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
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
