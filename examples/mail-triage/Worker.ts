/**
 * The process that begins the work and is killed.
 */
import { StateGraph } from "@effect-checkpoint/core"
import { Console, Effect } from "effect"
import { Corpus } from "./Corpus.ts"
import * as Triage from "./Triage.ts"

/**
 * Files the mails of all folders at the same time, and prints a line for each mail. It does not answer questions: a
 * folder waits at its first doubtful mail.
 */
export const run = Effect.fn("Worker.run")(function*(mails: number) {
  const { folders } = yield* Corpus
  const threads = yield* StateGraph.view(Triage.triage)
  yield* Effect.forEach(folders(mails), (folder) =>
    Effect.gen(function*() {
      // An earlier demo may have left the thread.
      yield* threads.deleteThread(folder.name)
      yield* Triage.work({ threadId: folder.name, input: folder }, Console.log(folder.name))
    }), { concurrency: "unbounded", discard: true })
})
