import { Effect, Fiber, Random } from "effect"
import * as Bulk from "../bulk.ts"
import * as Ours from "../contestants/Ours.ts"
import * as Database from "../Database.ts"
import { Mails } from "../Mails.ts"
import { type Effort, median, now, quantile, range } from "../Measure.ts"
import { count, type Measurement, millis, seconds, times } from "../Report.ts"

const efforts = {
  full: { threads: 10_000, versions: 100, rounds: 3, quietMillis: 5000 },
  quick: { threads: 1000, versions: 100, rounds: 1, quietMillis: 1000 }
}

/** The writers during the prune: a light load, so that the effect of the prune is visible. */
const writers = 8
const putsPerSecond = 25

const keep = 20

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { quietMillis, rounds, threads, versions } = efforts[effort]
  const found = yield* Effect.forEach(range(rounds), () => round({ quietMillis, threads, versions }))
  const before = median(found.map(({ before }) => quantile(before, 0.99)))
  const during = median(found.map(({ during }) => quantile(during, 0.99)))
  const all = count(threads * versions)
  return {
    id: "4",
    title: "Prune",
    about:
      `${all} checkpoints of ${
        count(threads)
      } threads are pruned to the newest ${keep} of each. Meanwhile, ${writers} ` +
      `writers put 1 KB on the same threads, ${putsPerSecond} times a second each, from the same process and pool.`,
    tables: [{
      title: `Prune of ${all}, by round`,
      columns: [
        "round",
        "p99 during / before",
        "p99 during",
        "p99 before",
        "median during",
        "median before",
        "rows per second",
        "removed",
        "time"
      ],
      rows: found.map(({ before, during, millis: elapsed, removed }, i) => [
        String(i + 1),
        times(quantile(during, 0.99) / quantile(before, 0.99)),
        millis(quantile(during, 0.99)),
        millis(quantile(before, 0.99)),
        millis(median(during)),
        millis(median(before)),
        count(removed / elapsed * 1000),
        count(removed),
        seconds(elapsed)
      ])
    }],
    targets: [{
      name: "99th percentile of puts during a prune, against before",
      measured: during / before,
      wanted: { atMost: 2 }
    }],
    charts: {}
  } satisfies Measurement
})

const round = Effect.fnUntraced(function*(options: {
  readonly threads: number
  readonly versions: number
  readonly quietMillis: number
}) {
  const mails = yield* Mails
  const states = mails.someOfBytes(1000, 64)
  const database = yield* Database.make("prune")
  const ours = yield* Ours.make(database, { schema: "ours", deltas: true })
  yield* Bulk.fill(database.sql, { schema: "ours", ...options })

  let latencies: Array<number> = []
  const writer = Effect.fnUntraced(function*(writer: number) {
    yield* Effect.sleep(1000 / putsPerSecond / writers * writer)
    for (let step = writer;; step += writers) {
      // Threads of its own, so that it competes with the prune only.
      const thread = 1 + writer + writers * (yield* Random.nextIntBetween(0, options.threads / writers - 1))
      const start = yield* now
      yield* ours.put(Bulk.threadName(thread), states[step % states.length]!)
      const latency = (yield* now) - start
      latencies.push(latency)
      yield* Effect.sleep(Math.max(0, 1000 / putsPerSecond - latency))
    }
  })
  const writing = yield* Effect.forkChild(Effect.forEach(range(writers), writer, { concurrency: "unbounded" }))
  // A warm-up: connections are opened, and code is optimized.
  yield* Effect.sleep("1 second")
  latencies = []
  yield* Effect.sleep(options.quietMillis)
  const before = latencies
  latencies = []
  const start = yield* now
  const report = yield* Effect.orDie(ours.checkpointer.prune({ maxVersions: keep }))
  const millis = (yield* now) - start
  const during = latencies
  yield* Fiber.interrupt(writing)
  return { before, during, millis, removed: report.versions }
}, Effect.scoped)
