/**
 * Separate processes that work on a database.
 */
import { Clock, Effect, Redacted, Schema } from "effect"
import { spawn } from "node:child_process"
import * as NodeProcess from "node:process"
import { fileURLToPath } from "node:url"

export const Task = Schema.Union([
  /** Puts repeatedly after what it has read, on threads that others write too. */
  Schema.TaggedStruct("Write", {
    name: Schema.String,
    threads: Schema.Int,
    rounds: Schema.Int,
    /** By how many hours the clock of the process is ahead. */
    clockHours: Schema.Int
  }),
  Schema.TaggedStruct("Prune", { policy: Schema.Struct({ maxVersions: Schema.Int, compact: Schema.Boolean }) }),
  Schema.TaggedStruct("Fork", {
    source: Schema.Struct({ threadId: Schema.String, version: Schema.Int }),
    threadId: Schema.String
  }),
  Schema.TaggedStruct("Migrate", { schema: Schema.String })
])
export type Task = typeof Task.Type

/** A clock that is a number of hours ahead. */
export const shifted = (hours: number): Clock.Clock => {
  const real = Clock.Clock.defaultValue()
  const millis = () => real.currentTimeMillisUnsafe() + hours * 3_600_000
  const nanos = () => real.currentTimeNanosUnsafe() + BigInt(hours) * 3_600_000_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: real.monotonicTimeNanos,
    sleep: (duration) => real.sleep(duration)
  }
}

/** Starts a process with a task. It is killed when the scope closes. */
export const start = Effect.fnUntraced(function*(task: Task, url: Redacted.Redacted) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        NodeProcess.execPath,
        [fileURLToPath(new URL("fixtures/worker.ts", import.meta.url)), JSON.stringify(task)],
        { env: { ...NodeProcess.env, DATABASE_URL: Redacted.value(url) }, stdio: ["ignore", "pipe", "pipe"] }
      )
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let output = ""
  let errors = ""
  let end: string | undefined
  child.stdout.setEncoding("utf8").on("data", (text) => output += text)
  child.stderr.setEncoding("utf8").on("data", (text) => errors += text)
  child.once("close", (code, signal) => end = signal ?? (code === 0 ? "done" : errors))
  return {
    kill: Effect.sync(() => child.kill("SIGKILL")),
    /** How it ended: `done`, the signal that killed it, or what it wrote about its failure. */
    end: Effect.callback<string>((resume) => {
      if (end !== undefined) return resume(Effect.succeed(end))
      child.once("close", () => resume(Effect.succeed(end ?? "")))
    }),
    hasEnded: Effect.sync(() => end !== undefined),
    /** Succeeds when it has written something. */
    hasWritten: Effect.callback<void>((resume) => {
      if (output !== "") return resume(Effect.void)
      child.stdout.once("data", () => resume(Effect.void))
    }),
    /** The lines that it wrote. */
    lines: Effect.sync(() => output.trimEnd().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line)))
  }
})
