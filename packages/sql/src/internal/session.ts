import { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { toStoreError } from "./errors.ts"

/**
 * How statements get a connection, how long they may take, and what their
 * failures mean.
 */
export interface Session {
  /** Runs one statement, within the caller's transaction if there is one. */
  readonly run: <A>(
    operation: string,
    statement: Effect.Effect<A, SqlError | StoreError>
  ) => Effect.Effect<A, StoreError>
  /** Runs several statements as one transaction, a savepoint within the caller's. */
  readonly transaction: <A>(
    operation: string,
    statements: Effect.Effect<A, SqlError | StoreError>
  ) => Effect.Effect<A, StoreError>
  readonly inTransaction: Effect.Effect<boolean>
}

export interface SessionOptions {
  readonly acquireTimeout: Duration.Duration
  readonly statementTimeout: Duration.Duration
}

export const make = (sql: PgClient, options: SessionOptions): Session => {
  const inTransaction = Effect.map(Effect.serviceOption(sql.transactionService), Option.isSome)

  const poolExhausted = (operation: string): StoreError =>
    new StoreError({
      operation,
      reason: "PoolExhausted",
      description: `no connection became free within ${Duration.format(options.acquireTimeout)}; ` +
        "raise the pool size, or look for connections that are held for long",
      isRetryable: true,
      outcome: "NotApplied"
    })

  const timed = <A, E>(operation: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E | StoreError> =>
    Effect.timeoutOrElse(effect, {
      duration: options.statementTimeout,
      orElse: () =>
        Effect.fail(
          new StoreError({
            operation,
            reason: "Timeout",
            description: `no answer within ${Duration.format(options.statementTimeout)}; ` +
              "look for locks that are held for long, or raise statementTimeout",
            isRetryable: true,
            outcome: "Unknown"
          })
        )
    })

  // The pool has no acquire timeout, and a timeout around the whole statement
  // could not tell waiting for a connection (nothing was sent) from waiting for
  // the server (nobody knows). So the connection is leased first.
  const single = <A>(operation: string, statement: Effect.Effect<A, SqlError | StoreError>) =>
    Effect.scoped(Effect.flatMap(
      Effect.timeoutOrElse(sql.reserve, {
        duration: options.acquireTimeout,
        orElse: () => Effect.fail(poolExhausted(operation))
      }),
      (connection) =>
        // A statement runs on the connection of the transaction that it is in; this one is alone in its own.
        timed(operation, Effect.provideService(statement, sql.transactionService, [connection, 0]))
    ))

  const several = <A>(operation: string, statements: Effect.Effect<A, SqlError | StoreError>) =>
    Effect.suspend(() => {
      let begun = false
      const work = sql.withTransaction(Effect.suspend(() => {
        begun = true
        return timed(operation, statements)
      }))
      const patience = Effect.flatMap(
        Effect.sleep(options.acquireTimeout),
        () => begun ? Effect.never : Effect.fail(poolExhausted(operation))
      )
      return Effect.raceFirst(work, patience)
    })

  return {
    inTransaction,
    run: (operation, statement) =>
      Effect.flatMap(inTransaction, (nested) => nested ? statement : single(operation, statement)).pipe(
        settle(operation)
      ),
    transaction: (operation, statements) =>
      Effect.flatMap(
        inTransaction,
        (nested) => nested ? sql.withTransaction(statements) : several(operation, statements)
      ).pipe(settle(operation))
  }
}

/**
 * Every failure as a StoreError. A connection lost within a transaction arrives
 * as a defect, because the rollback cannot be sent either.
 */
const settle =
  (operation: string) => <A>(effect: Effect.Effect<A, SqlError | StoreError>): Effect.Effect<A, StoreError> =>
    Effect.catchCause(effect, (cause) => {
      if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<StoreError>)
      for (const reason of cause.reasons) {
        const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
        if (error instanceof StoreError) return Effect.fail(error)
        if (isSqlError(error)) return Effect.fail(toStoreError(operation, error))
      }
      return Effect.failCause(cause as Cause.Cause<StoreError>)
    })
