import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { ServerFaultError, type ServerFaults, type Target } from "../ServerFaults.ts"
import { inRealTime, textOfSql, withConnection } from "./connection.ts"
import { awaitGone, signal } from "./processes.ts"
import type { ServerProcess, StartedServer, StartFailure } from "./startedServer.ts"

/** The faults of a server that was given or started. */
export const make = (server: StartedServer): ServerFaults => {
  const { origin, process, url } = server

  const failed =
    (operation: ServerFaultError["operation"]) =>
    (error: SqlError | StartFailure | ServerFaultError): ServerFaultError =>
      Predicate.isTagged(error, "ServerFaultError") ? error : new ServerFaultError({
        operation,
        reason: "Failed",
        message: isSqlError(error) ? `The server of ${origin} refused: ${textOfSql(error)}` : error.message,
        cause: error
      })

  const run = <A>(
    operation: ServerFaultError["operation"],
    effect: Effect.Effect<A, SqlError | StartFailure | ServerFaultError>
  ): Effect.Effect<A, ServerFaultError> => Effect.mapError(inRealTime(effect), failed(operation))

  const owned = <A>(
    operation: ServerFaultError["operation"],
    use: (process: ServerProcess) => Effect.Effect<A, SqlError | StartFailure | ServerFaultError>
  ): Effect.Effect<A, ServerFaultError> =>
    process !== undefined ? run(operation, use(process)) : Effect.fail(
      new ServerFaultError({
        operation,
        reason: "NotOwned",
        message: `The server of ${origin} cannot be ended from here, as it is not a process of this one. Take one of ` +
          "PostgresServer.layerOwn."
      })
    )

  const ready = withConnection(url, (sql) => sql`SELECT 1`).pipe(
    Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: "30 seconds" }))),
    Effect.asVoid
  )

  return {
    backends: (target) => run("backends", withConnection(url, (sql) => backends(sql, target))),
    terminate: (target) =>
      run(
        "terminate",
        withConnection(
          url,
          Effect.fnUntraced(function*(sql) {
            const pids = yield* backends(sql, target)
            yield* Effect.forEach(pids, (pid) => sql`SELECT pg_terminate_backend(${String(pid)}::integer)`)
            yield* Effect.repeat(Effect.forEach(pids, (pid) => backends(sql, { pid })), {
              until: (left) => left.flat().length === 0,
              schedule: Schedule.spaced("10 millis")
            })
            return pids.length
          })
        )
      ),
    kill: (target) =>
      owned(
        "kill",
        Effect.fnUntraced(function*() {
          const pids = yield* withConnection(url, (sql) => backends(sql, target))
          yield* Effect.forEach(pids, (pid) => signal(pid, "SIGKILL"), { discard: true })
          yield* awaitGone(pids)
          return pids.length
        })
      ),
    stop: (mode) => owned("stop", (process) => process.stop(signals[mode])),
    crash: owned("crash", (process) => process.crash),
    start: owned("start", (process) => Effect.andThen(process.start, ready)),
    ready: run("ready", ready)
  }
}

const signals = { Smart: "SIGTERM", Fast: "SIGINT", Immediate: "SIGQUIT" } as const

const backends = (
  sql: PgClient.PgClient,
  { applicationName, database, pid }: Target
): Effect.Effect<ReadonlyArray<number>, SqlError> =>
  Effect.map(
    sql<{ readonly pid: number }>`
      SELECT pid
        FROM pg_stat_activity
       WHERE pid <> pg_backend_pid()
         AND ${
      pid !== undefined ? sql`pid = ${String(pid)}::integer` : sql.and([
        "backend_type = 'client backend'",
        ...(applicationName === undefined ? [] : [sql`application_name = ${applicationName}`]),
        ...(database === undefined ? [] : [sql`datname = ${database}`])
      ])
    }
       ORDER BY pid`,
    (rows) => rows.map(({ pid }) => pid)
  )
