import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { execFile, type ExecFileOptions } from "node:child_process"
import { readdir, readFile } from "node:fs/promises"
import { platform } from "node:os"
import process from "node:process"
import { promisify } from "node:util"
import { StartFailure, textOf } from "./startedServer.ts"

interface Process {
  readonly pid: number
  readonly parent: number
}

/** Runs a program to its end and returns what it wrote to stdout. Fails as well if it cannot be spawned. */
export const execute = (
  file: string,
  args: ReadonlyArray<string>,
  options?: ExecFileOptions
): Effect.Effect<string, StartFailure> =>
  Effect.tryPromise({
    try: (signal) => promisify(execFile)(file, args, { ...options, signal, encoding: "utf8" }),
    catch: (cause) => new StartFailure({ message: textOf(cause), cause })
  }).pipe(Effect.map(({ stdout }) => stdout))

/** The processes that one has started and that still run. */
export const childrenOf = (pid: number): Effect.Effect<ReadonlyArray<number>, StartFailure> =>
  Effect.map(running, (processes) => processes.filter(({ parent }) => parent === pid).map(({ pid }) => pid))

/** Waits for the end of processes that were told to end. */
export const awaitGone = (pids: ReadonlyArray<number>): Effect.Effect<void, StartFailure> =>
  Effect.asVoid(Effect.repeat(running, {
    until: (processes) => !processes.some(({ pid }) => pids.includes(pid)),
    schedule: Schedule.spaced("10 millis")
  }))

/** Does nothing where the process is gone already. */
export const signal = (pid: number, name: NodeJS.Signals): Effect.Effect<void> =>
  Effect.ignore(Effect.try(() => process.kill(pid, name)))

const notListed = (cause: unknown): StartFailure =>
  new StartFailure({ message: `The processes cannot be listed: ${textOf(cause)}`, cause })

const toProcess = (
  pid: string | undefined,
  parent: string | undefined,
  state: string | undefined
): ReadonlyArray<Process> =>
  // One that has ended stays listed until its parent asks, which pid 1 of a container may never do.
  pid === undefined || parent === undefined || state === undefined || state.startsWith("Z")
    ? []
    : [{ pid: Number(pid), parent: Number(parent) }]

const fromProc = Effect.gen(function*() {
  const names = yield* Effect.tryPromise({ try: () => readdir("/proc"), catch: notListed })
  const processes = yield* Effect.forEach(
    names.filter((name) => /^\d+$/.test(name)),
    (name) =>
      Effect.tryPromise(() => readFile(`/proc/${name}/stat`, "utf8")).pipe(
        Effect.map((text) => {
          // The program's name, in brackets, can hold anything.
          const [state, parent] = text.slice(text.lastIndexOf(")") + 2).split(" ")
          return toProcess(name, parent, state)
        }),
        // It has ended since.
        Effect.orElseSucceed(() => [])
      ),
    { concurrency: 16 }
  )
  return processes.flat()
})

// One option each: what follows a "=" is the header, commas and all.
const fromPs = execute("ps", ["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="]).pipe(
  Effect.map((output) =>
    output.split("\n").flatMap((line) => {
      const [pid, parent, state] = line.trim().split(/\s+/)
      return toProcess(pid, parent, state)
    })
  ),
  Effect.mapError(notListed)
)

/** `ps` is not in every image of Linux. */
const running: Effect.Effect<ReadonlyArray<Process>, StartFailure> = Effect.suspend(() =>
  platform() === "linux" ? fromProc : fromPs
)
