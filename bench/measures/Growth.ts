import { Effect } from "effect"
import type { Versioned } from "../contestants/Contestant.ts"
import * as Floor from "../contestants/Floor.ts"
import * as Ours from "../contestants/Ours.ts"
import * as Peer from "../contestants/Peer.ts"
import * as Database from "../Database.ts"
import { append, type Conversation, Mails, messageBytes, sizeOf } from "../Mails.ts"
import { type Effort, interleaved, median, medians, now, timed } from "../Measure.ts"
import { bytes, count, type Measurement, millis, seconds, type Target, times } from "../Report.ts"

const efforts = {
  full: { marks: [100, 1000, 3000], rounds: 31 },
  quick: { marks: [60, 200], rounds: 31 }
}

/**
 * How many steps a contestant makes in a turn: enough to have its own data in the caches of the CPU and its own garbage
 * to collect. The last ones before a mark are the late ones.
 */
const turn = 20

const threadId = "grows"

type Name = "snapshots" | "ours" | "peer"

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { marks, rounds } = efforts[effort]
  const mails = yield* Mails
  const database = yield* Database.make("growth")
  const floor = yield* Floor.make(database)
  const contestants: Readonly<Record<Name, Versioned>> = {
    snapshots: yield* Ours.make(database, { schema: "snapshots", deltas: false }),
    ours: yield* Ours.make(database, { schema: "ours", deltas: true }),
    peer: yield* Peer.make(database)
  }
  const latencies: Record<Name, Array<number>> = { snapshots: [], ours: [], peer: [] }
  const found: Array<Found> = []

  let state: Conversation = { messages: [], approved: false }
  for (let step = turn; step <= marks.at(-1)!; step += turn) {
    const states: Array<Conversation> = []
    while (states.length < turn) {
      state = append(state, mails.message(state.messages.length, messageBytes))
      states.push(state)
    }
    for (const name of names) {
      for (const next of states) {
        const before = yield* now
        yield* contestants[name].put(threadId, next)
        latencies[name].push((yield* now) - before)
      }
    }
    if (marks.includes(step)) {
      const row = `row ${step}`
      const floorPut = yield* Effect.forEach([1, 2, 3, 4, 5], () => timed(floor.put(row, state)))
      const old = Math.ceil(step / 2)
      const reads = yield* interleaved(rounds, {
        floor: timed(floor.get(row)),
        snapshots: timed(contestants.snapshots.get(threadId)),
        ours: timed(contestants.ours.get(threadId)),
        peer: timed(contestants.peer.get(threadId))
      })
      const oldReads = yield* interleaved(rounds, {
        snapshots: timed(contestants.snapshots.getVersion(threadId, old)),
        ours: timed(contestants.ours.getVersion(threadId, old)),
        peer: timed(contestants.peer.getVersion(threadId, old))
      })
      found.push({
        step,
        stateBytes: sizeOf(state),
        onDisk: yield* Effect.all({
          snapshots: contestants.snapshots.bytesOnDisk,
          ours: contestants.ours.bytesOnDisk,
          peer: contestants.peer.bytesOnDisk
        }),
        latePut: {
          floor: median(floorPut),
          ...forEach((name) => median(latencies[name].slice(-turn)))
        },
        latest: medians(reads, (read) => read),
        old: medians(oldReads, (read) => read),
        total: forEach((name) => latencies[name].reduce((sum, latency) => sum + latency, 0))
      })
    }
  }

  const last = found.at(-1)!
  const steps = count(last.step)
  const targets: ReadonlyArray<Target> = [
    {
      name: `bytes on disk at ${steps} steps, peer / ours`,
      measured: last.onDisk.peer / last.onDisk.ours,
      wanted: { atLeast: 100 }
    },
    {
      name: `late put at ${steps} steps, peer's time / ours`,
      measured: last.latePut.peer / last.latePut.ours,
      wanted: { atLeast: 10 }
    },
    ...found.map(({ latest, step }): Target => ({
      name: `read of the newest version at ${count(step)} steps, against one full row`,
      measured: latest.ours / latest.floor,
      wanted: { atMost: 2 }
    }))
  ]
  const table = (
    title: string,
    of: (found: Found) => Readonly<Record<Name, number>>,
    format: (value: number) => string
  ) => ({
    title,
    columns: ["steps", "peer / ours", "snapshots / ours", ...names],
    rows: found.map((one) => {
      const values = of(one)
      return [
        count(one.step),
        times(values.peer / values.ours),
        times(values.snapshots / values.ours),
        ...names.map((name) => format(values[name]))
      ]
    })
  })
  const withFloor = (
    title: string,
    of: (found: Found) => Readonly<Record<Name | "floor", number>>
  ) => {
    const { columns, rows } = table(title, of, millis)
    return {
      title,
      columns: [columns[0]!, "ours / full row", ...columns.slice(1), "full row"],
      rows: rows.map((row, i) => {
        const { floor, ours } = of(found[i]!)
        return [row[0]!, times(ours / floor), ...row.slice(1), millis(floor)]
      })
    }
  }
  const chart = (
    title: string,
    of: (found: Found) => Readonly<Record<Name, number>>,
    format: (value: number) => string
  ) => ({
    title,
    x: { label: "steps", format: count },
    y: { format },
    series: [
      ["ours", "effect-checkpoint"],
      ["snapshots", "full snapshots"],
      ["peer", "LangGraph, ordinary channel"]
    ].map(([name, label]) => ({
      name: label!,
      points: found.map((one) => [one.step, of(one)[name as Name]] as const)
    }))
  })
  return {
    id: "2",
    title: "Growth",
    about:
      `A thread that grows by a message of ${messageBytes} B a step, to ${
        bytes(last.stateBytes)
      } of JSON. The contestants take turns of ${turn} steps. The time of a late put is the median of the last ${turn}. ` +
      "The old version is the one in the middle. A full row is one row of the floor with the same state.",
    tables: [
      table("Bytes on disk", ({ onDisk }) => onDisk, bytes),
      withFloor("Late put", ({ latePut }) => latePut),
      withFloor("Read of the newest version", ({ latest }) => latest),
      table("Read of an old version", ({ old }) => old, millis),
      table("All puts", ({ total }) => total, seconds)
    ],
    targets,
    charts: {
      "growth-bytes": chart("Bytes on disk of a thread that grows by 500 B a step", ({ onDisk }) => onDisk, bytes),
      "growth-put": chart("Time of a put to a thread that grows by 500 B a step", ({ latePut }) => latePut, millis)
    }
  } satisfies Measurement
}, Effect.scoped)

interface Found {
  readonly step: number
  readonly stateBytes: number
  readonly onDisk: Readonly<Record<Name, number>>
  readonly latePut: Readonly<Record<Name | "floor", number>>
  readonly latest: Readonly<Record<Name | "floor", number>>
  readonly old: Readonly<Record<Name, number>>
  readonly total: Readonly<Record<Name, number>>
}

const names: ReadonlyArray<Name> = ["snapshots", "ours", "peer"]

const forEach = (of: (name: Name) => number): Readonly<Record<Name, number>> => ({
  snapshots: of("snapshots"),
  ours: of("ours"),
  peer: of("peer")
})
