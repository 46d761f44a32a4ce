import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Session } from "../../session.ts"

export type Retrying = <A>(part: Effect.Effect<A, StoreError>) => Effect.Effect<A, StoreError>

/**
 * Retries a part of a prune, which finds done what an earlier attempt did. A part that took too long is not retried: it
 * would hold up the rest for as long again.
 */
export const make = (session: Session, schedule: Schedule.Schedule<unknown, StoreError>): Retrying => (part) =>
  Effect.flatMap(session.inTransaction, (inTransaction) =>
    inTransaction ? part : Effect.retry(part, {
      schedule,
      while: (error) => error.isRetryable && error.reason._tag !== "PruneRunning" && error.reason._tag !== "Timeout"
    }))
