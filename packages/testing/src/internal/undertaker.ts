import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"

/**
 * Runs a shell script, with one argument as `$1`, when this process dies without closing the scope.
 *
 * Another process has to do that: vitest ends 1 ms after Ctrl-C, and its workers are killed. It waits for the end of
 * its standard input, which comes when we are gone, and is out of reach of the terminal's signals. Where there is no
 * `sh` (Windows), nothing is run.
 */
export const whenProcessDies = (script: string, argument: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
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
        undertaker.stdin.destroy()
      })
  ))
