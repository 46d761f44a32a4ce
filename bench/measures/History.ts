import { Effect } from "effect"
import * as Ours from "../contestants/Ours.ts"
import * as Peer from "../contestants/Peer.ts"
import * as Database from "../Database.ts"
import { append, type Conversation, Mails, messageBytes } from "../Mails.ts"
import { type Effort, interleaved, medians, timed } from "../Measure.ts"
import { count, type Measurement, millis, times } from "../Report.ts"

const efforts = {
  full: { lengths: [10, 100, 1000], rounds: 3 },
  quick: { lengths: [10, 100], rounds: 1 }
}

const threadId = "has a history"

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { lengths, rounds } = efforts[effort]
  const mails = yield* Mails
  const database = yield* Database.make("history")
  const ours = yield* Ours.make(database, { schema: "ours", deltas: true })
  const peer = yield* Peer.make(database)

  const found: Array<Readonly<Record<"listVersions" | "history" | "list", number>> & { readonly length: number }> = []
  let state: Conversation = { messages: [], approved: false }
  let length = 0
  for (const next of lengths) {
    for (; length < next; length++) {
      state = append(state, mails.message(length, messageBytes))
      yield* ours.put(threadId, state)
      yield* peer.put(threadId, state)
    }
    const results = yield* interleaved(length < 1000 ? rounds : 1, {
      listVersions: timed(expecting(length, ours.list(threadId, length))),
      history: timed(expecting(length, ours.history(threadId))),
      list: timed(expecting(length, peer.list(threadId, length)))
    })
    found.push({ length, ...medians(results, (result) => result) })
  }

  const last = found.at(-1)!
  return {
    id: "3",
    title: "History",
    about: `All versions of a thread that grew by a message of ${messageBytes} B a step. The peer's \`list\` always ` +
      "loads every state. `listVersions` loads none, and `history` loads all of them.",
    tables: [{
      title: "List of all versions",
      columns: ["versions", "peer / listVersions", "peer / history", "listVersions", "history", "peer's list"],
      rows: found.map(({ history, length, list, listVersions }) => [
        count(length),
        times(list / listVersions),
        times(list / history),
        millis(listVersions),
        millis(history),
        millis(list)
      ])
    }],
    targets: [{
      name: `list of ${count(last.length)} checkpoints, peer's time / ours`,
      measured: last.list / last.listVersions,
      wanted: { atLeast: 100 }
    }],
    charts: {
      history: {
        title: "Time to list the versions of a thread",
        x: { label: "versions", format: count },
        y: { format: millis },
        series: [
          {
            name: "effect-checkpoint",
            points: found.map(({ length, listVersions }) => [length, listVersions] as const)
          },
          {
            name: "effect-checkpoint, with states",
            points: found.map(({ history, length }) => [length, history] as const)
          },
          {
            name: "LangGraph, ordinary channel",
            points: found.map(({ length, list }) => [length, list] as const)
          }
        ]
      }
    }
  } satisfies Measurement
}, Effect.scoped)

const expecting = (expected: number, found: Effect.Effect<number>): Effect.Effect<void> =>
  Effect.flatMap(
    found,
    (found) => found === expected ? Effect.void : Effect.die(`expected ${expected} versions, found ${found}`)
  )
