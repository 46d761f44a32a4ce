/**
 * PgBouncer in transaction mode before a server, if it is installed.
 */
import { Data, Effect, Redacted, Schedule } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeProcess from "node:process"

class Failed extends Data.TaggedError("Failed")<{ readonly message: string; readonly cause?: unknown }> {}

/** For example `PgBouncer 1.18.0`, or `undefined` if it is not installed. */
export const version: string | undefined = spawnSync("pgbouncer", ["--version"], { encoding: "utf8" }).stdout
  ?.split("\n")[0]

const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

const answers = (port: number) =>
  Effect.callback<void, Failed>((resume) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.once("error", (cause) => resume(Effect.fail(new Failed({ message: "it does not listen", cause }))))
  })

/** Starts a pooler of ten connections to the database, and returns its URL. */
export const before = Effect.fnUntraced(function*(url: Redacted.Redacted) {
  const target = new URL(Redacted.value(url))
  const port = yield* freePort
  const folder = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => mkdtemp(join(tmpdir(), "pgbouncer-")),
      catch: (cause) => new Failed({ message: "there is no folder for its settings", cause })
    }),
    (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
  )
  const quoted = (text: string) => `'${decodeURIComponent(text).replaceAll("'", "''")}'`
  const settings = join(folder, "pgbouncer.ini")
  yield* Effect.promise(() =>
    writeFile(
      settings,
      `[databases]
* = host=${target.hostname} port=${target.port} user=${quoted(target.username)} password=${quoted(target.password)}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
`
    )
  )
  // It refuses to run as root, and its user must be able to read the settings.
  yield* Effect.promise(() => Promise.all([chmod(folder, 0o755), chmod(settings, 0o644)]))
  const asUser = NodeProcess.getuid?.() === 0 ? ["-u", "nobody"] : []
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn("pgbouncer", ["-q", ...asUser, settings], { stdio: ["ignore", "ignore", "pipe"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGTERM")
        child.kill("SIGKILL")
      })
  )
  let errors = ""
  child.stderr.setEncoding("utf8").on("data", (text) => errors += text)
  yield* Effect.retry(answers(port), { schedule: Schedule.spaced("50 millis"), times: 100 }).pipe(
    Effect.mapError(() => new Failed({ message: `PgBouncer has not started: ${errors}` }))
  )
  const pooled = new URL(target)
  pooled.hostname = "127.0.0.1"
  pooled.port = String(port)
  return Redacted.make(pooled.href)
})
