import { Effect } from "effect"
import * as Bulk from "../bulk.ts"
import * as Ours from "../contestants/Ours.ts"
import * as Database from "../Database.ts"
import { Mails } from "../Mails.ts"
import { type Effort, interleaved, load, median } from "../Measure.ts"
import { count, type Measurement, millis, times } from "../Report.ts"

const efforts = {
  full: { small: 100, large: 50_000, rounds: 7, millis: 800 },
  quick: { small: 100, large: 2000, rounds: 2, millis: 200 }
}

/** Versions of each thread. */
const versions = 100

/** How many of the threads in the table are in use. */
const active = 100

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { large, millis: loadMillis, rounds, small } = efforts[effort]
  const mails = yield* Mails
  const states = mails.someOfBytes(1000, 64)
  const database = yield* Database.make("scale")
  const tables = {
    small: { threads: small, ours: yield* Ours.make(database, { schema: "small", deltas: true }) },
    large: { threads: large, ours: yield* Ours.make(database, { schema: "large", deltas: true }) }
  }
  for (const [schema, { threads }] of Object.entries(tables)) {
    yield* Bulk.fill(database.sql, { schema, threads, versions })
  }

  // Spread over the whole table, one after another.
  const one = ({ threads }: { readonly threads: number }, i: number) =>
    Bulk.threadName(1 + Math.floor((i * 37 % active) * (threads / active)))
  // All threads, none twice before each was chosen once: the step is prime to their number.
  const any = ({ threads }: { readonly threads: number }, i: number) => Bulk.threadName(1 + (i * 7919) % threads)

  const rows: Array<ReadonlyArray<string>> = []
  const ratios: Record<string, number> = {}
  for (const [whom, threadOf] of [[`${active} threads in use`, one], ["any thread", any]] as const) {
    for (const workers of [1, 8]) {
      for (const operation of ["put", "get"] as const) {
        let step = 0
        const measure = (table: typeof tables["small"]) =>
          load({
            workers,
            millis: loadMillis,
            each: () => {
              const threadId = threadOf(table, step++)
              return operation === "put"
                ? table.ours.put(threadId, states[step % states.length]!)
                : table.ours.get(threadId)
            }
          })
        const results = yield* interleaved(rounds, { small: measure(tables.small), large: measure(tables.large) })
        const latency = (loads: typeof results["small"]) => median(loads.map(({ latencies }) => median(latencies)))
        const ratio = latency(results.large) / latency(results.small)
        ratios[`${operation}, ${workers}, ${whom}`] = ratio
        rows.push([
          `${operation}, ${workers === 1 ? "1 worker" : `${workers} workers`}, ${whom}`,
          times(ratio),
          millis(latency(results.small)),
          millis(latency(results.large)),
          count(median(results.small.map(({ perSecond }) => perSecond))),
          count(median(results.large.map(({ perSecond }) => perSecond)))
        ])
      }
    }
  }
  const [few, many] = [count(small * versions), count(large * versions)]
  return {
    id: "5",
    title: "As data grows",
    about:
      `The same puts and gets of 1 KB with ${few} and with ${many} checkpoints in the table, ${versions} of each ` +
      `thread: on ${active} threads that are spread over the table, and on any thread. In the large table, any thread is ` +
      "seldom chosen twice, so its pages come from the file system and are logged whole at their first change.",
    tables: [{
      title: "Median latency",
      columns: ["", "large / small", few, many, `${few}, per second`, `${many}, per second`],
      rows
    }],
    targets: (["put", "get"] as const).flatMap((operation) =>
      [`${active} threads in use`, "any thread"].map((whom) => ({
        name: `${operation} with ${many} checkpoints against ${few}, ${whom}`,
        measured: ratios[`${operation}, 1, ${whom}`]!,
        wanted: { atMost: 1.3 }
      }))
    ),
    charts: {}
  } satisfies Measurement
}, Effect.scoped)
