import { Checkpointer } from "@effect-checkpoint/core"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Redacted, Schedule } from "effect"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import { Database, pgLayer, some } from "./support.ts"

/** Connections on which the server says nothing any more once it has been sent a certain text. */
class Wire {
  stallsAt: string | undefined
  stalled = 0

  readonly stream = (url: URL) => (): Duplex => {
    const socket = Net.connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    const emit = socket.emit.bind(socket)
    const write = socket.write.bind(socket) as (...args: ReadonlyArray<unknown>) => boolean
    let stalled = false
    socket.write = ((chunk: Uint8Array, ...rest: ReadonlyArray<unknown>) => {
      if (this.stallsAt !== undefined && Buffer.from(chunk).includes(this.stallsAt)) {
        stalled = true
        this.stalled++
      }
      return write(chunk, ...rest)
    }) as typeof socket.write
    socket.emit =
      ((event: string, ...args: ReadonlyArray<unknown>) =>
        event === "data" && stalled ? true : emit(event, ...args)) as typeof socket.emit
    return socket
  }
}

const never = { retry: Schedule.recurs(0), statementTimeout: "300 millis" } as const

/** Asks again until there is no row. */
const waitUntilNone = <E, R>(query: Effect.Effect<ReadonlyArray<unknown>, E, R>) =>
  Effect.repeat(query, { until: (rows) => rows.length === 0, schedule: Schedule.spaced("20 millis") })

layer(Database.layer, { excludeTestServices: true })("the time that a statement may take", (it) => {
  it.effect(
    "a server that stalls anywhere in a transaction is a Timeout in time, and its connection is not used again",
    () =>
      Effect.forEach(["BEGIN", "FOR UPDATE", "COMMIT"], (stallsAt) =>
        Effect.gen(function*() {
          const { url } = yield* Database
          const wire = new Wire()
          yield* Effect.gen(function*() {
            const checkpointer = yield* Checkpointer.Checkpointer
            yield* checkpointer.append({ threadId: "t", state: 1 })
            wire.stallsAt = stallsAt
            // The driver gives up such a connection after five seconds.
            const error = yield* Effect.flip(checkpointer.deleteThread("t")).pipe(Effect.timeout("3 seconds"))
            assert.nestedInclude(error, {
              _tag: "StoreError",
              "reason._tag": "Timeout",
              outcome: "Unknown",
              isRetryable: true
            })
            wire.stallsAt = undefined
            assert.strictEqual(wire.stalled, 1)
            // The pool has one connection, so this one is another.
            yield* checkpointer.append({ threadId: "other", state: 1 })
            assert.strictEqual(some(yield* checkpointer.get("other")).state, 1)
          }).pipe(Effect.provide(pgLayer(
            { ...never, schema: `stalled at ${stallsAt}` },
            { stream: wire.stream(new URL(Redacted.value(url))), ssl: false, prepare: false, maxConnections: 1 }
          )))
        }), { concurrency: "unbounded" }),
    20_000
  )

  for (const operation of ["put", "deleteThread"] as const) {
    it.effect(`in a caller's transaction a ${operation} that waits too long ends it, whatever the caller does`, () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        yield* checkpointer.append({ threadId: "t", state: 1 })
        const holding = yield* Latch.make()
        const holder = yield* Effect.forkScoped(sql.withTransaction(Effect.gen(function*() {
          yield* checkpointer.append({ threadId: "t", state: 2 })
          yield* holding.open
          yield* Effect.never
        })))
        yield* holding.await
        // What is observed in the transaction is asserted outside of it, where it cannot be mistaken for its failure.
        const observed: Array<unknown> = []
        const outcome = yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
          yield* checkpointer.append({ threadId: "other", state: 1 })
          const late: Effect.Effect<unknown, unknown> = operation === "put"
            ? checkpointer.append({ threadId: "t", state: 3 })
            : checkpointer.deleteThread("t")
          observed.push(yield* Effect.result(late), yield* Effect.result(checkpointer.get("other")))
        })))
        assert.nestedInclude(observed[0], {
          _tag: "Failure",
          "failure._tag": "StoreError",
          "failure.reason._tag": "Timeout",
          "failure.outcome": "Unknown"
        })
        assert.nestedInclude(observed[1], { _tag: "Failure", "failure.reason._tag": "Rejected" })
        assert.isTrue(Exit.isFailure(outcome))
        yield* waitUntilNone(sql`
          SELECT FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'`)
        yield* Fiber.interrupt(holder)
        assert.strictEqual((yield* checkpointer.get("other"))._tag, "None")
        assert.strictEqual(some(yield* checkpointer.get("t")).version, 1)
        assert.strictEqual((yield* checkpointer.append({ threadId: "t", state: 4 })).version, 2)
        const left = yield* sql`
          SELECT state, query FROM pg_stat_activity
           WHERE datname = current_database() AND backend_type = 'client backend'
             AND pid <> pg_backend_pid() AND state <> 'idle'`
        assert.deepStrictEqual(left, [])
      }).pipe(Effect.scoped, Effect.provide(pgLayer({ ...never, schema: `nested ${operation}` }))))
  }
})
