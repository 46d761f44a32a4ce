import { Effect } from "effect"
import type { Contestant } from "../contestants/Contestant.ts"
import * as Floor from "../contestants/Floor.ts"
import * as Ours from "../contestants/Ours.ts"
import * as Peer from "../contestants/Peer.ts"
import * as Database from "../Database.ts"
import { append, type Conversation, Mails, messageBytes } from "../Mails.ts"
import { type Effort, interleaved, load, medians, range, timed, walBytes } from "../Measure.ts"
import { bytes, count, type Measurement, type Table, type Target, times } from "../Report.ts"

const efforts = {
  full: { sizes: [1, 10, 100], writers: [1, 8, 32], rounds: 5, putMillis: 500, getMillis: 250, appends: 200 },
  quick: { sizes: [1, 10], writers: [1, 8], rounds: 2, putMillis: 150, getMillis: 100, appends: 20 }
}

type Name = "floor" | "snapshots" | "ours" | "peer"

interface Puts {
  readonly perSecond: number
  readonly walBytes: number
}

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { appends, getMillis, putMillis, rounds, sizes, writers } = efforts[effort]
  const mails = yield* Mails
  const database = yield* Database.make("put_get")
  const contestants: Readonly<Record<Name, Contestant>> = {
    floor: yield* Floor.make(database),
    snapshots: yield* Ours.make(database, { schema: "snapshots", deltas: false }),
    ours: yield* Ours.make(database, { schema: "ours", deltas: true }),
    peer: yield* Peer.make(database)
  }
  const forAll = <A>(measure: (contestant: Contestant) => Effect.Effect<A>) =>
    interleaved(rounds, {
      floor: measure(contestants.floor),
      snapshots: measure(contestants.snapshots),
      ours: measure(contestants.ours),
      peer: measure(contestants.peer)
    })

  const puts: Array<ReadonlyArray<string>> = []
  const gets: Array<ReadonlyArray<string>> = []
  const wal: Array<ReadonlyArray<string>> = []
  const added: Array<ReadonlyArray<string>> = []
  const targets: Array<Target> = []
  const walRow = (what: string, results: Readonly<Record<Name, ReadonlyArray<Puts>>>) => {
    const each = medians(results, ({ walBytes }) => walBytes)
    wal.push([
      what,
      times(each.ours / each.floor),
      times(each.peer / each.ours),
      ...names.map((name) => bytes(each[name]))
    ])
  }

  for (const size of sizes) {
    const states = mails.someOfBytes(size * 1000, 64)
    const stateOf = (writer: number, step: number) => states[(writer * 7 + step) % states.length]!

    for (const workers of writers) {
      const threadOf = (worker: number) => `${size} KB, ${workers} writers, ${worker}`
      const results = yield* forAll((contestant) =>
        Effect.map(
          walBytes(
            database.sql,
            load({
              workers,
              millis: putMillis,
              each: (worker, step) => contestant.put(threadOf(worker), stateOf(worker, step))
            })
          ).pipe(Effect.orDie),
          ([load, walBytes]): Puts => ({ perSecond: load.perSecond, walBytes: walBytes / load.latencies.length })
        )
      )
      const rate = medians(results, ({ perSecond }) => perSecond)
      puts.push(ratesRow(`${size} KB, ${workers}`, rate))
      if (workers === 1) walRow(`${size} KB, whole`, results)
      if (size === 1) {
        targets.push(
          {
            name: `put of 1 KB by ${writersText(workers)}, against the floor`,
            measured: rate.ours / rate.floor,
            wanted: { atLeast: 0.8 }
          },
          {
            name: `put of 1 KB by ${writersText(workers)}, against the peer`,
            measured: rate.ours / rate.peer,
            wanted: { atLeast: 3 }
          }
        )
      }
      const read = yield* forAll((contestant) =>
        load({ workers, millis: getMillis, each: (worker) => contestant.get(threadOf(worker)) })
      )
      gets.push(ratesRow(`${size} KB, ${workers}`, medians(read, ({ perSecond }) => perSecond)))
    }

    // The second put of each thread has one more message.
    for (const workers of writers) {
      const each = Math.ceil(appends / Math.sqrt(workers))
      let round = 0
      const results = yield* forAll((contestant) =>
        Effect.gen(function*() {
          const name = `${size} KB and a message, ${workers} writers, ${round++}`
          const forEachThread = (put: (threadId: string, state: Conversation, i: number) => Effect.Effect<void>) =>
            Effect.forEach(range(workers), (worker) =>
              Effect.forEach(range(each), (i) =>
                put(`${name}, ${worker}, ${i}`, stateOf(worker, i), i), { discard: true }), {
              concurrency: "unbounded",
              discard: true
            })
          const messages = range(each).map((i) =>
            mails.message(i, messageBytes)
          )
          yield* forEachThread(contestant.put)
          const second = forEachThread((threadId, state, i) =>
            contestant.put(threadId, append(state, messages[i]!))
          )
          const [elapsed, grown] = yield* Effect.orDie(walBytes(database.sql, timed(second)))
          const puts = each * workers
          return { perSecond: puts / elapsed * 1000, walBytes: grown / puts } satisfies Puts
        })
      )
      const rate = medians(results, ({ perSecond }) => perSecond)
      added.push(ratesRow(`${size} KB, ${workers}`, rate))
      if (workers === 1) walRow(`${size} KB and a message`, results)
      targets.push({
        name: `put of ${size} KB and a message by ${writersText(workers)}, against the peer`,
        measured: rate.ours / rate.peer,
        wanted: { atLeast: 3 }
      })
    }
  }

  const state = mails.ofBytes(1000, 0)
  const statements = yield* Effect.forEach(names, (name) =>
    Effect.gen(function*() {
      const contestant = contestants[name]
      yield* contestant.put("statements", state)
      const put = yield* contestant.statements(contestant.put("statements", { ...state, approved: true }))
      const get = yield* contestant.statements(Effect.asVoid(contestant.get("statements")))
      return [name, String(put), String(get)]
    }))

  const rates = ["ours / floor", "ours / peer", "ours / snapshots", ...names]
  const tables: ReadonlyArray<Table> = [
    {
      title: "Puts per second of a state that is new as a whole, each writer on its own thread",
      columns: ["size, writers", ...rates],
      rows: puts
    },
    {
      title: "Puts per second of a state with one more message of 500 B, each writer on its own thread",
      columns: ["size, writers", ...rates],
      rows: added
    },
    { title: "Gets of the newest version per second", columns: ["size, readers", ...rates], rows: gets },
    {
      title: "Write-ahead log per put, one writer",
      columns: ["put", "ours / floor", "peer / ours", ...names],
      rows: wal
    },
    { title: "Statements", columns: ["", "per put", "per get"], rows: statements }
  ]
  return {
    id: "1",
    title: "Put and get",
    about:
      "A state that is new as a whole is stored whole, and deltas do not help: the figures show the cost of a version " +
      "and its head, compared with a bare INSERT of the same text. Of a state with one more message, ours stores that " +
      "message, and the others store the whole state again.",
    tables,
    targets,
    charts: {}
  } satisfies Measurement
}, Effect.scoped)

const names: ReadonlyArray<Name> = ["floor", "snapshots", "ours", "peer"]

const writersText = (writers: number): string => writers === 1 ? "1 writer" : `${writers} writers`

const ratesRow = (what: string, rate: Readonly<Record<Name, number>>): ReadonlyArray<string> => [
  what,
  times(rate.ours / rate.floor),
  times(rate.ours / rate.peer),
  times(rate.ours / rate.snapshots),
  ...names.map((name) => count(rate[name]))
]
