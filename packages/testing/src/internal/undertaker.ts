import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"

/**
 * Runs a shell script, with one argument as `$1`, when this process dies without closing the scope.
 *
 * Another process has to do that: vitest ends 1 ms after Ctrl-C, and its workers are killed. It waits for the end of
 * its standard input, which comes when we are gone, and is out of reach of the terminal's signals. Where it cannot be
 * spawned, as on Windows, which has no `sh`, nothing is run.
 */
export const whenProcessDies = (script: string, argument: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try(() => {
      const undertaker = spawn("sh", ["-c", `while read -r _; do :; done\n${script}`, "sh", argument], {
        detached: true,
        stdio: ["pipe", "ignore", "ignore"]
      })
      undertaker.on("error", () => {})
      undertaker.unref()
      return undertaker
    }),
    (undertaker) =>
      Effect.sync(() => {
        undertaker.kill("SIGKILL")
        // Missing where there are too many open files.
        undertaker.stdin?.destroy()
      })
  ).pipe(Effect.ignore)
