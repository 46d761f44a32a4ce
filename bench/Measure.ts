/**
 * Clocks, rounds and medians.
 */
import type { PgClient } from "@effect/sql-pg"
import { Clock, Effect, Record } from "effect"

/** Everything, or what takes under two minutes. */
export type Effort = "full" | "quick"

/** Milliseconds, with fractions. */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/** Returns how many milliseconds an effect took. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function*() {
    const start = yield* now
    yield* effect
    return (yield* now) - start
  })

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/**
 * Runs the contestants in turn, round by round, so that other work of the machine affects all of them. The first round is
 * a warm-up, and its results are discarded.
 */
export const interleaved = Effect.fnUntraced(function*<K extends string, A, E, R>(
  rounds: number,
  contestants: Record.ReadonlyRecord<K, Effect.Effect<A, E, R>>
): Effect.fn.Return<Record.ReadonlyRecord<K, ReadonlyArray<A>>, E, R> {
  const names = Record.keys(contestants)
  const results = Record.map(contestants, (): Array<A> => [])
  for (let round = 0; round <= rounds; round++) {
    for (const name of names) {
      const result = yield* contestants[name]
      if (round > 0) results[name].push(result)
    }
  }
  return results
})

/** Computes the median of the rounds of each contestant. */
export const medians = <K extends string, A>(
  results: Record.ReadonlyRecord<K, ReadonlyArray<A>>,
  of: (result: A) => number
): Record.ReadonlyRecord<K, number> => Record.map(results, (rounds) => median(rounds.map(of)))

export interface Load {
  readonly perSecond: number
  /** The latency of each operation, in milliseconds. */
  readonly latencies: ReadonlyArray<number>
}

/** Runs workers, each one operation at a time, until the time is up. */
export const load = Effect.fnUntraced(function*<E, R>(options: {
  readonly workers: number
  readonly millis: number
  readonly each: (worker: number, step: number) => Effect.Effect<unknown, E, R>
}): Effect.fn.Return<Load, E, R> {
  const latencies: Array<number> = []
  const start = yield* now
  const worker = Effect.fnUntraced(function*(worker: number) {
    let before = start
    for (let step = 0; before - start < options.millis; step++) {
      yield* options.each(worker, step)
      const after = yield* now
      latencies.push(after - before)
      before = after
    }
  })
  yield* Effect.forEach(range(options.workers), worker, { concurrency: "unbounded", discard: true })
  return { perSecond: latencies.length / ((yield* now) - start) * 1000, latencies }
})

export const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

/** Returns by how many bytes the write-ahead log of the server grew during an effect. */
export const walBytes = Effect.fnUntraced(function*<A, E, R>(sql: PgClient.PgClient, effect: Effect.Effect<A, E, R>) {
  const [before] = yield* sql<{ readonly lsn: string }>`SELECT pg_current_wal_insert_lsn()::text AS lsn`
  const result = yield* effect
  const [after] = yield* sql<{ readonly bytes: number }>`
    SELECT (pg_current_wal_insert_lsn() - ${before!.lsn}::pg_lsn)::float8 AS bytes`
  return [result, after!.bytes] as const
})
