/**
 * The process that begins the work, and is killed at it.
 */
import { StateGraph } from "@effect-checkpoint/core"
import { Console, Effect } from "effect"
import { Corpus } from "./Corpus.ts"
import * as Triage from "./Triage.ts"

/**
 * Works on all folders side by side, and says of each mail that it has filed it.
 * Nobody is there to be asked, so a folder that comes to a doubtful mail waits.
 */
export const run = Effect.fn("Worker.run")(function*(mails: number) {
  const { folders } = yield* Corpus
  const threads = yield* StateGraph.view(Triage.triage)
  yield* Effect.forEach(folders(mails), (folder) =>
    Effect.gen(function*() {
      // Of a demonstration that was there before.
      yield* threads.deleteThread(folder.name)
      yield* Triage.work({ threadId: folder.name, input: folder }, Console.log(folder.name))
    }), { concurrency: "unbounded", discard: true })
})
