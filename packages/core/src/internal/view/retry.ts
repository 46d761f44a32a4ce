import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import { StoreError } from "../../CheckpointError.ts"

/** Tries a store operation again after a failure that allows it. */
export type Retry = <A>(
  operation: Effect.Effect<A, StoreError>,
  repeatable?: "idempotent" | "once"
) => Effect.Effect<A, StoreError>

/** Retries what can do no harm, as the schedule says. */
export const make =
  (schedule: Schedule.Schedule<unknown, StoreError>, inTransaction: Effect.Effect<boolean>): Retry =>
  (operation, repeatable = "idempotent") => {
    const mayRepeat = (error: StoreError): boolean =>
      error.isRetryable && (repeatable === "idempotent" || error.outcome === "NotApplied")
    // Nearly all succeed at once: the schedule, which is dearer than the rest, is for those that do not.
    return Effect.catchIf(operation, mayRepeat, (error) =>
      Effect.flatMap(inTransaction, (inTransaction) => {
        if (inTransaction) return Effect.fail(error)
        let isFirst = true
        const repeated = Effect.suspend(() => {
          if (!isFirst) return operation
          isFirst = false
          return Effect.fail(error)
        })
        return inDoubt((attempt) => Effect.retry(attempt(repeated), { schedule, while: mayRepeat }))
      }))
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
