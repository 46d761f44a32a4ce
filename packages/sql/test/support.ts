import { PgCheckpointer } from "@effect-checkpoint/sql"
import { type CheckpointerLaws, PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Fiber, Latch, Layer, Option, Redacted, Schedule, Tracer } from "effect"
import type { Scope } from "effect"

/** Whether everything is tested in all surroundings, though none of them makes a difference to graphs, for example. */
export const isThorough = Number(process.env["CHECKPOINT_TEST_EFFORT"]) > 1

/** Parts of the laws that surroundings can make a difference to. With more effort, they are all tested. */
export const inQuickRuns = (
  ...subjects: ReadonlyArray<CheckpointerLaws.Subject>
): { readonly subjects?: ReadonlyArray<CheckpointerLaws.Subject> } => isThorough ? {} : { subjects }

/** A new database on the server. */
export class Database extends Context.Service<Database, { readonly url: Redacted.Redacted }>()("test/Database") {
  static readonly layerFresh = Layer.effect(
    Database,
    Effect.gen(function*() {
      const server = yield* PostgresServer.PostgresServer
      return { url: yield* server.createDatabase() }
    })
  )

  static readonly layer = Database.layerFresh.pipe(Layer.provideMerge(PostgresServer.layer))

  /** With settings that every connection begins with, as SQL has them. */
  static readonly layerWith = (settings: Readonly<Record<string, string>>) =>
    Layer.effectDiscard(Effect.gen(function*() {
      const { url } = yield* Database
      const sql = yield* PgClient.PgClient
      const database = new URL(Redacted.value(url)).pathname.slice(1)
      for (const [name, value] of Object.entries(settings)) {
        yield* sql.unsafe(`ALTER DATABASE "${database}" SET ${name} = ${value}`)
      }
    })).pipe(Layer.provide(clientLayer()), Layer.provideMerge(Database.layer))

  /** On a server of its own, which a test may break. */
  static readonly layerOwn = Database.layerFresh.pipe(Layer.provideMerge(PostgresServer.layerOwn()))
}

export const clientLayer = (config?: Partial<PgClient.PgPoolConfig>) =>
  Layer.unwrap(Effect.map(Database, ({ url }) => PgClient.layer({ url, ...config })))

export const pgLayer = (options?: PgCheckpointer.Options, config?: Partial<PgClient.PgPoolConfig>) =>
  PgCheckpointer.layerWith(options ?? {}).pipe(Layer.provideMerge(clientLayer(config)))

/** The same URL with other credentials. */
export const withUser = (url: Redacted.Redacted, user: string, password: string): Redacted.Redacted => {
  const changed = new URL(Redacted.value(url))
  changed.username = user
  changed.password = password
  return Redacted.make(changed.toString())
}

/** Runs an effect, and returns the statements that it sends in order. */
export const statementsOf = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<readonly [A, ReadonlyArray<string>], E, R> =>
  Effect.suspend(() => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        if (options.kind === "client") spans.push(span)
        return span
      }
    })
    return Effect.map(
      Effect.withTracer(effect, tracer),
      (result) => [result, spans.map((span) => String(span.attributes.get("db.query.text")))] as const
    )
  })

/** Makes everything that is stored older, by moving its times back. */
export const age =
  (schema = "effect_checkpoint") => (duration: Duration.Input): Effect.Effect<void, never, PgClient.PgClient> =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const by = sql`${String(Duration.toMillis(duration))}::float8 * interval '1 millisecond'`
      yield* sql`UPDATE ${sql(`${schema}.checkpoints`)} SET created_at = created_at - ${by}`
      yield* sql`
        UPDATE ${
        sql(`${schema}.checkpoint_questions`)
      } SET asked_at = asked_at - ${by}, answered_at = answered_at - ${by}`
      yield* sql`
      UPDATE ${sql(`${schema}.checkpoint_threads`)}
         SET created_at = created_at - ${by}, updated_at = updated_at - ${by}, active_at = active_at - ${by}`
    }).pipe(Effect.orDie)

/** Runs an effect in the background until the scope closes. */
export const inBackground = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.asVoid(Effect.forkScoped(effect))

/** Runs an effect in a transaction that stays open, and returns the effect that commits it. */
export const held = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const sql = yield* PgClient.PgClient
  const done = yield* Latch.make()
  const released = yield* Latch.make()
  const fiber = yield* Effect.forkScoped(
    sql.withTransaction(Effect.tap(effect, () => Effect.andThen(done.open, released.await)))
  )
  yield* Effect.raceFirst(done.await, Fiber.join(fiber))
  return Effect.andThen(released.open, Fiber.join(fiber))
})

/** Starts an effect, and returns when a transaction keeps it waiting. It is a failure if it ends instead. */
export const waiting = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const sql = yield* PgClient.PgClient
  const fiber = yield* Effect.forkScoped(effect)
  const isBlocked = sql`
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
  yield* Effect.raceFirst(
    Effect.repeat(isBlocked, { until: (rows) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
    Effect.flatMap(Fiber.await(fiber), (exit) => Effect.die(`it did not wait: ${exit._tag}`))
  )
  return fiber
})

export const some = <A>(option: Option.Option<A>): A => Option.getOrThrow(option)
