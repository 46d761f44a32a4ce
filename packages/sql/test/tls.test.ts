import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, Layer, Redacted, Schedule } from "effect"
import { type AddressInfo, createServer, type Server } from "node:net"
import { inspect } from "node:util"
import * as Certificates from "./certificates.ts"

/** A server with TLS for the host `localhost`, and one without. Both are reached at 127.0.0.1 and localhost. */
class Servers extends Context.Service<Servers, {
  readonly encrypting: URL
  readonly plain: URL
  readonly certificates: Certificates.Certificates
}>()("test/Servers") {
  static readonly layer = Layer.effect(
    Servers,
    Effect.gen(function*() {
      const certificates = yield* Certificates.make("localhost", "certified")
      const database = Effect.flatMap(PostgresServer.PostgresServer, (server) => server.createDatabase())
      const plain = yield* database.pipe(Effect.provide(yield* Layer.build(PostgresServer.layerOwn())))
      const encrypting = yield* database.pipe(
        Effect.provide(yield* Layer.build(Layer.fresh(PostgresServer.layerOwn())))
      )
      yield* encrypt(certificates).pipe(Effect.provide(PgClient.layer({ url: encrypting })))
      return {
        certificates,
        plain: new URL(Redacted.value(plain)),
        encrypting: new URL(Redacted.value(encrypting))
      }
    })
  )
}

/** Puts files into the data folder, as the user of the server, and turns TLS on. */
const encrypt = Effect.fnUntraced(function*(certificates: Certificates.Certificates) {
  const sql = yield* PgClient.PgClient
  const write = (name: string, text: string, how = ">") => {
    const encoded = Buffer.from(text).toString("base64")
    return sql.unsafe(`COPY (SELECT '${encoded}') TO PROGRAM 'umask 077; base64 -d ${how} ${name}'`)
  }
  yield* write("server.crt", Certificates.contents(certificates.server.cert))
  yield* write("server.key", Certificates.contents(certificates.server.key))
  yield* write("root.crt", Certificates.contents(certificates.authority))
  yield* write("hba.first", "hostssl all certified all cert\n")
  yield* sql.unsafe(`COPY (SELECT) TO PROGRAM 'cat pg_hba.conf >> hba.first; mv hba.first pg_hba.conf'`)
  yield* sql`CREATE ROLE certified LOGIN SUPERUSER`
  yield* sql`ALTER SYSTEM SET ssl_ca_file = 'root.crt'`
  yield* sql`ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'`
  yield* sql`ALTER SYSTEM SET ssl = on`
  yield* sql`SELECT pg_reload_conf()`
  yield* Effect.repeat(
    sql`SELECT FROM pg_settings WHERE name = 'ssl' AND setting = 'on'`,
    { until: (rows) => rows.length > 0 }
  )
})

/** Starts, saves and reads, and tells whether that was encrypted, or why not. */
const start = (env: Record<string, string>) =>
  Effect.gen(function*() {
    const exit = yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const checkpointer = yield* Checkpointer.Checkpointer
      yield* checkpointer.append({ threadId: "t", state: "x".repeat(1_000_000) })
      yield* checkpointer.get("t")
      const [row] = yield* sql<{ readonly ssl: boolean }>`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`
      return row!.ssl ? "encrypted" : "plain"
    }).pipe(
      Effect.provide(PgCheckpointer.layerEnvWith({ retry: Schedule.recurs(0) })),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env)),
      Effect.result
    )
    if (exit._tag === "Success") return exit.success
    const error = exit.failure
    assert.notInclude(inspect(error, { depth: 20 }), "top-secret")
    if (error._tag !== "StoreError") return error.message
    assert.isFalse(error.isRetryable, error.message)
    return `${error.reason._tag}: ${error.message}`
  })

const on = (server: URL, host: string, parameters: Record<string, string>): string => {
  const url = new URL(server)
  url.hostname = host
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.toString().replaceAll("+", "%20")
}

const expectations: ReadonlyArray<
  readonly [parameters: Record<string, string>, right: string, wrongHost: string, wrongAuthority: string, noTls: string]
> = [
  [{ sslmode: "disable" }, "plain", "plain", "plain", "plain"],
  [{ sslmode: "prefer" }, "encrypted", "encrypted", "encrypted", "plain"],
  [{}, "encrypted", "encrypted", "encrypted", "plain"],
  [{ sslmode: "require" }, "encrypted", "encrypted", "encrypted", "Configuration"],
  [{ sslmode: "require", sslrootcert: "" }, "encrypted", "encrypted", "Configuration", "Configuration"],
  [{ sslmode: "verify-ca", sslrootcert: "" }, "encrypted", "encrypted", "Configuration", "Configuration"],
  [{ sslmode: "verify-full", sslrootcert: "" }, "encrypted", "Configuration", "Configuration", "Configuration"],
  [{ sslmode: "verify-full" }, "Configuration", "Configuration", "Configuration", "Configuration"],
  [{ sslrootcert: "system" }, "Configuration", "Configuration", "Configuration", "Configuration"]
]

if (!Certificates.isInstalled) {
  it.skip("TLS is not tested, because the program openssl is not installed", () => {})
}

describe.runIf(Certificates.isInstalled)("TLS", () => {
  layer(Servers.layer, { excludeTestServices: true })("of a server", (it) => {
    for (const [parameters, right, wrongHost, wrongAuthority, noTls] of expectations) {
      const name = Object.entries(parameters).map(([key, value]) => `${key}=${value || "file"}`).join("&")
      it.effect(`${name || "no sslmode"} connects as in libpq, or fails for good, in a URL and in variables`, () =>
        Effect.gen(function*() {
          const { certificates, encrypting, plain } = yield* Servers
          const cases = [
            [encrypting, "localhost", certificates.authority, right],
            [encrypting, "127.0.0.1", certificates.authority, wrongHost],
            [encrypting, "localhost", certificates.otherAuthority, wrongAuthority],
            [plain, "localhost", certificates.authority, noTls]
          ] as const
          for (const [server, host, file, expected] of cases) {
            const given = Object.entries(parameters).map(([key, value]) => [key, value || file] as const)
            const asVariables = given.map(([key, value]) => [`PG${key.toUpperCase()}`, value])
            const byUrl = yield* start({ DATABASE_URL: on(server, host, Object.fromEntries(given)) })
            const byVariables = yield* start({ DATABASE_URL: on(server, host, {}), ...Object.fromEntries(asVariables) })
            assert.strictEqual(byUrl.split(":")[0], expected, `${host}, ${file}: ${byUrl}`)
            assert.strictEqual(byVariables.split(":")[0], expected, `${host}, ${file}: ${byVariables}`)
          }
        }))
    }

    it.effect("a certificate of the client is presented, and is needed together with its key", () =>
      Effect.gen(function*() {
        const { certificates: { client }, encrypting } = yield* Servers
        const url = new URL(encrypting)
        url.username = "certified"
        url.password = ""
        const parameters = { sslmode: "require", sslcert: client.cert, sslkey: client.key }
        assert.strictEqual(yield* start({ DATABASE_URL: on(url, "localhost", parameters) }), "encrypted")
        const variables = { PGSSLMODE: "require", PGSSLCERT: client.cert, PGSSLKEY: client.key }
        assert.strictEqual(yield* start({ DATABASE_URL: url.toString(), ...variables }), "encrypted")
        assert.include(yield* start({ DATABASE_URL: on(url, "localhost", { sslmode: "require" }) }), "Authentication")
        const { PGSSLKEY: _, ...incomplete } = variables
        assert.include(yield* start({ DATABASE_URL: url.toString(), ...incomplete }), "Invalid PGSSLCERT")
      }))

    it.effect("a handshake without a common protocol is final, and sslmode=prefer then connects in plain text", () =>
      Effect.gen(function*() {
        const { encrypting } = yield* Servers
        const url = (sslmode: string) => on(encrypting, "localhost", { sslmode, ssl_min_protocol_version: "TLSv1.3" })
        assert.include(yield* start({ DATABASE_URL: url("require") }), "Configuration")
        assert.strictEqual(yield* start({ DATABASE_URL: url("prefer") }), "plain")
      }))
  })
})

it.effect("a server that refuses to talk before TLS is reported with its own words", () =>
  Effect.gen(function*() {
    const refusal = Buffer.from("E\0\0\0\0SFATAL\0C57P03\0Mthe database system is starting up\0\0")
    refusal.writeInt32BE(refusal.length - 1, 1)
    const server = yield* Effect.acquireRelease(
      Effect.callback<Server>((resume) => {
        const listening = createServer((socket) =>
          void socket.on("error", () => {}).once("data", () => socket.end(refusal))
        )
        listening.listen(0, "127.0.0.1", () => resume(Effect.succeed(listening)))
      }),
      (listening) => Effect.callback<void>((resume) => void listening.close(() => resume(Effect.void)))
    )
    const { port } = server.address() as AddressInfo
    const url = Config.succeed(Redacted.make(`postgresql://user@127.0.0.1:${port}/db`))
    const error = yield* PgCheckpointer.migrate({ retry: Schedule.recurs(0) }).pipe(
      Effect.provide(PgCheckpointer.layerClient({ url })),
      Effect.flip
    )
    assert.nestedInclude(error, { "reason._tag": "Unavailable", outcome: "NotApplied" })
    assert.include(error.message, "the database system is starting up (SQLSTATE 57P03)")
  }).pipe(Effect.scoped))

describe("settings of TLS that cannot be followed", () => {
  const url = "postgresql://user:top-secret@127.0.0.1:1/db"
  const cases: ReadonlyArray<readonly [env: Record<string, string>, ...message: ReadonlyArray<string>]> = [
    [{ PGSSLMODE: "allow" }, "PGSSLMODE", "sslmode=allow", "prefer"],
    [{ DATABASE_URL: `${url}?sslmode=no-verify` }, "DATABASE_URL", "sslmode=no-verify", "require"],
    [{ PGSSLMODE: "required" }, "PGSSLMODE", "\"required\"", "verify-full"],
    [{ PGSSLMODE: "verify-ca" }, "PGSSLMODE", "sslrootcert"],
    [{ PGSSLROOTCERT: "/no/such/file" }, "PGSSLROOTCERT", "verify-full"],
    [{ PGSSLMODE: "verify-ca", PGSSLROOTCERT: "system" }, "PGSSLMODE", "sslrootcert=system", "verify-full"],
    [{ PGSSLMODE: "require", PGSSLROOTCERT: "/no/such/file" }, "PGSSLROOTCERT", "/no/such/file"],
    [{ PGSSLMODE: "require", PGSSLROOTCERT: import.meta.filename }, "PGSSLROOTCERT", "PEM"],
    [{ PGSSLMODE: "require", PGSSLKEY: "/no/such/file" }, "PGSSLKEY", "sslcert"],
    [{ PGSSLMODE: "require", PGSSLMINPROTOCOLVERSION: "SSLv3" }, "PGSSLMINPROTOCOLVERSION", "TLSv1.2"],
    [{ DATABASE_URL: `${url}?channel_binding=require` }, "DATABASE_URL", "channel_binding=require"],
    [{ PGREQUIREAUTH: "scram-sha-256" }, "PGREQUIREAUTH", "require_auth=scram-sha-256"]
  ]
  for (const [env, ...expected] of cases) {
    const [given] = Object.entries(env).map(([name, value]) => `${name}=${value.replace(/^.*\?/, "")}`)
    it.effect(
      `${
        Object.entries(env).length > 1 ? Object.keys(env).join(" and ") : given
      } is InvalidInput that names the setting and what to do`.replace(import.meta.dirname, ""),
      () =>
        Effect.gen(function*() {
          const message = yield* start({ DATABASE_URL: url, ...env })
          for (const text of ["Invalid", ...expected]) assert.include(message, text)
        })
    )
  }
})
