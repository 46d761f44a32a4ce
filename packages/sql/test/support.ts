import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Layer, Option, Redacted, Tracer } from "effect"
import type { Scope } from "effect"

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
      UPDATE ${sql(`${schema}.checkpoint_threads`)}
         SET created_at = created_at - ${by}, updated_at = updated_at - ${by}, active_at = active_at - ${by}`
    }).pipe(Effect.orDie)

/** Runs an effect in the background until the scope closes. */
export const inBackground = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.asVoid(Effect.forkScoped(effect))

export const some = <A>(option: Option.Option<A>): A => Option.getOrThrow(option)
