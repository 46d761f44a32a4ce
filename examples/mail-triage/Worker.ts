/**
 * The process that reads the mails. In the first run it is killed at its work.
 */
import { Effect, Number } from "effect"
import type { Mailbox } from "./Mailbox.ts"
import * as Report from "./Report.ts"
import * as Triage from "./Triage.ts"

/** Begins what is not there yet, and dies when half of the work is saved. */
export const first = Effect.fn("Worker.first")(function*(mails: number) {
  yield* Triage.begin(mails)
  yield* work((left) => Math.floor(left / 2))
})

/** Finishes what it finds. */
export const second = Effect.suspend(() => work((left) => left))

/** Reads on in all folders, until so many of the mails that are left have been saved. */
const work = Effect.fn("Worker.work")(function*(until: (left: number) => number) {
  const heads = yield* Triage.heads({ unfinished: true })
  yield* Effect.forEach(heads, ({ state: { folder, next, total }, version }) =>
    Report.line(
      `${folder.padEnd(12)} ${next === 1 ? "begins" : "goes on"} at mail ${next} of ${total}, version ${version}`
    ), { discard: true })

  const total = Number.sumAll(heads.map(({ state }) => state.total))
  const done = Number.sumAll(heads.map(({ state }) => state.next - 1))
  const last = done + until(total - done)
  const progress = yield* Report.progress({ done, total })
  yield* Triage.resume(heads, {
    beforeSave: (state) =>
      Effect.flatMap(progress.done, (done) => done < last ? Effect.void : Effect.andThen(progress.end, die(state))),
    afterSave: progress.advance
  })
  yield* progress.end
})

/** As a crash: no finalizer runs, no connection is closed, and what this process has not saved is lost. */
const die = Effect.fn("Worker.die")(function*({ folder, next }: Mailbox) {
  yield* Report.line(`${folder}: mail ${next - 1} is read and classified, but not saved. Now comes the crash.`)
  process.kill(process.pid, "SIGKILL")
  return yield* Effect.never
})
