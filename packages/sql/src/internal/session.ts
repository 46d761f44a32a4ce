import { PoolExhausted, StoreError, Timeout } from "@effect-checkpoint/core/CheckpointError"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { isSqlError, SqlError, StatementTimeoutError } from "effect/sql/SqlError"
import { isAftermath, isSerializationFailure, toStoreError } from "./errors.ts"
import * as Metrics from "./metrics.ts"

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
    statements: Effect.Effect<A, SqlError | StoreError>,
    statementTimeout?: Duration.Duration
  ) => Effect.Effect<A, StoreError>
  readonly inTransaction: Effect.Effect<boolean>
}

export interface SessionOptions {
  readonly acquireTimeout: Duration.Duration
  readonly statementTimeout: Duration.Duration
}

export const make = (sql: PgClient, options: SessionOptions): Session => {
  const current = Effect.serviceOption(sql.transactionService)
  return {
    inTransaction: Effect.map(current, Option.isSome),
    run: (operation, statement) =>
      Effect.flatMap(current, (outer) =>
        settle(
          operation,
          Option.isSome(outer)
            ? nested(sql, options, operation, outer.value, statement)
            : Effect.catchIf(
              single(sql, options, operation, statement),
              // Only where the default isolation is another one. The statement was rolled back.
              isSerializationFailure,
              () => several(sql, options, operation, statement)
            )
        )),
    transaction: (operation, statements, statementTimeout = options.statementTimeout) => {
      const limits = { ...options, statementTimeout }
      return Effect.flatMap(current, (outer) =>
        settle(
          operation,
          Option.isSome(outer)
            ? nested(sql, limits, operation, outer.value, sql.withTransaction(statements))
            : several(sql, limits, operation, statements)
        ))
    }
  }
}

type Statements<A> = Effect.Effect<A, SqlError | StoreError>

/** Runs one statement on a connection of its own. */
const single = <A>(sql: PgClient, options: SessionOptions, operation: string, statement: Statements<A>) =>
  Effect.scoped(Effect.flatMap(lease(sql, options, operation), (connection) =>
    // A statement runs on the connection of the transaction that it is in; this one is alone in its own.
    Effect.timeoutOrElse(Effect.provideService(statement, sql.transactionService, [connection, 0]), {
      duration: options.statementTimeout,
      orElse: () => Effect.fail(timedOut(options, operation))
    })))

/**
 * A transaction of ours locks heads first, and its next statement must see what was committed while it waited for them.
 * At the other levels it would see what was there before, whatever the default of the database is.
 */
const beginTransaction = "BEGIN ISOLATION LEVEL READ COMMITTED"

/**
 * Runs a transaction on a connection of its own, in a fiber of its own: the caller gets a timeout in time, and the
 * connection returns to the pool only when nothing runs on it any more.
 */
const several = <A>(sql: PgClient, options: SessionOptions, operation: string, statements: Statements<A>) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const late = yield* Deferred.make<never, StoreError>()
      const onTimeout = Deferred.fail(late, timedOut(options, operation))
      const fiber = yield* Effect.forkDetach(
        Effect.scoped(Effect.flatMap(lease(sql, options, operation), (connection) =>
          // The level above the outermost one: a transaction begins, on this connection.
          sql.withTransaction(statements).pipe(
            Effect.provideService(sql.transactionService, [timed(options, operation, connection, onTimeout), -1]),
            Effect.provideService(BeginTransaction, beginTransaction)
          )))
      )
      return yield* restore(Effect.raceFirst(Fiber.join(fiber), Deferred.await(late))).pipe(
        Effect.onInterrupt(() => Fiber.interrupt(fiber))
      )
    })
  )

/**
 * Runs statements in a transaction of the caller's. A statement that was given up may have been applied, and a savepoint
 * may have undone it. Therefore the transaction is failed: all of it is committed or nothing, whatever the caller does
 * with the error.
 */
const nested = <A>(
  sql: PgClient,
  options: SessionOptions,
  operation: string,
  [connection, level]: readonly [Connection, number],
  statements: Statements<A>
) =>
  Effect.suspend(() => {
    let isLate = false
    const onTimeout = Effect.sync(() => {
      isLate = true
    })
    return Effect.onError(
      Effect.provideService(
        statements,
        sql.transactionService,
        [timed(options, operation, connection, onTimeout), level]
      ),
      () => isLate ? Effect.ignore(connection.executeUnprepared(failTransaction, [], undefined)) : Effect.void
    )
  })

/**
 * Takes a connection before anything is sent. The pool has no acquire timeout, and a timeout around the whole statement
 * could not tell waiting for a connection (nothing was sent) from waiting for the server (the outcome is unknown).
 */
const lease = (sql: PgClient, options: SessionOptions, operation: string) =>
  Effect.timeoutOrElse(sql.reserve, {
    duration: options.acquireTimeout,
    orElse: () => Effect.fail(poolExhausted(options, operation))
  }).pipe(Effect.trackDuration(Metrics.acquireDuration))

/**
 * A connection on which every statement has its timeout, those that begin and end a transaction included. A statement
 * that is given up is canceled, and the driver closes a connection on which that has no effect. Statements after one that
 * failed are refused without its reason, and fail with its error instead.
 */
const timed = (
  options: SessionOptions,
  operation: string,
  connection: Connection,
  onTimeout: Effect.Effect<unknown>
): Connection => {
  const late = new SqlError({
    reason: new StatementTimeoutError({ cause: timedOut(options, operation), message: "no answer in time", operation })
  })
  let failure: SqlError | undefined
  const within = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.raceFirst(
      statement,
      Effect.flatMap(Effect.sleep(options.statementTimeout), () => Effect.andThen(onTimeout, Effect.fail(late)))
    ).pipe(Effect.mapError((error) => {
      if (failure === undefined || !isAftermath(error)) failure = error
      return failure
    }))
  return {
    execute: (...parameters) => within(connection.execute(...parameters)),
    executeRaw: (...parameters) => within(connection.executeRaw(...parameters)),
    executeStream: (...parameters) => connection.executeStream(...parameters),
    executeValues: (...parameters) => within(connection.executeValues(...parameters)),
    executeValuesUnprepared: (...parameters) => within(connection.executeValuesUnprepared(...parameters)),
    executeUnprepared: (...parameters) => within(connection.executeUnprepared(...parameters))
  }
}

const poolExhausted = (options: SessionOptions, operation: string): StoreError =>
  new StoreError({
    operation,
    reason: new PoolExhausted({
      message: `no connection became free within ${Duration.format(options.acquireTimeout)}; ` +
        "raise the pool size, or look for connections that are held for long"
    }),
    outcome: "NotApplied"
  })

const timedOut = (options: SessionOptions, operation: string): StoreError =>
  new StoreError({
    operation,
    reason: new Timeout({
      message: `no answer within ${Duration.format(options.statementTimeout)}; ` +
        "look for locks that are held for long, or raise statementTimeout"
    }),
    outcome: "Unknown"
  })

const failTransaction = "DO 'BEGIN RAISE EXCEPTION ''a statement of this transaction took too long''; END'"

/**
 * Every failure as a StoreError. A connection lost within a transaction arrives
 * as a defect, because the rollback cannot be sent either.
 */
const settle = <A>(operation: string, effect: Effect.Effect<A, SqlError | StoreError>): Effect.Effect<A, StoreError> =>
  Effect.catchCause(effect, (cause) => {
    if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<StoreError>)
    for (const reason of cause.reasons) {
      const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
      if (error instanceof StoreError) return Effect.fail(error)
      if (isSqlError(error)) {
        const { cause } = error.reason
        return Effect.fail(cause instanceof StoreError ? cause : toStoreError(operation, error))
      }
    }
    return Effect.failCause(cause as Cause.Cause<StoreError>)
  })
