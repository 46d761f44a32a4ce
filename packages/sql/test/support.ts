import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Layer, Option, Redacted, Tracer } from "effect"
import type { Scope } from "effect"

/** A fresh database on the server, and clients for it as a test wants them. */
export class Database extends Context.Service<Database, { readonly url: Redacted.Redacted }>()("test/Database") {
  static readonly layerFresh = Layer.effect(
    Database,
    Effect.gen(function*() {
      const server = yield* PostgresServer.PostgresServer
      return { url: yield* server.createDatabase() }
    })
  )

  static readonly layer = Database.layerFresh.pipe(Layer.provideMerge(PostgresServer.layer))

  /** On a server that may be broken. */
  static readonly layerOwn = Database.layerFresh.pipe(Layer.provideMerge(PostgresServer.layerOwn()))
}

export const clientLayer = (config?: Partial<PgClient.PgPoolConfig>) =>
  Layer.unwrap(Effect.map(Database, ({ url }) => PgClient.layer({ url, ...config })))

export const pgLayer = (options?: PgCheckpointer.Options, config?: Partial<PgClient.PgPoolConfig>) =>
  PgCheckpointer.layerWith(options ?? {}).pipe(Layer.provideMerge(clientLayer(config)))

/** The same database as another user, to see what a URL with other credentials gets. */
export const withUser = (url: Redacted.Redacted, user: string, password: string): Redacted.Redacted => {
  const changed = new URL(Redacted.value(url))
  changed.username = user
  changed.password = password
  return Redacted.make(changed.toString())
}

/** The statements that an effect sends, in order. */
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

/** Makes all that is stored older, by moving its times back. */
export const age =
  (schema = "effect_checkpoint") => (duration: Duration.Input): Effect.Effect<void, never, PgClient.PgClient> =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const by = sql`${String(Duration.toMillis(duration))}::float8 * interval '1 millisecond'`
      yield* sql`UPDATE ${sql(`${schema}.checkpoints`)} SET created_at = created_at - ${by}`
      yield* sql`
      UPDATE ${sql(`${schema}.checkpoint_threads`)}
         SET created_at = created_at - ${by}, updated_at = updated_at - ${by},
             active_at = date_trunc('minute', updated_at - ${by})`
    }).pipe(Effect.orDie)

/** Runs an effect that lasts until the scope closes in the background. */
export const inBackground = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.asVoid(Effect.forkScoped(effect))

export const some = <A>(option: Option.Option<A>): A => Option.getOrThrow(option)
