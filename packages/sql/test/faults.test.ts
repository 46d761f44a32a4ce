import { Checkpointer, type CheckpointError } from "@effect-checkpoint/core"
import { PostgresServer, TcpProxy } from "@effect-checkpoint/testing"
import { assert, layer } from "@effect/vitest"
import { Array as Arr, Context, Effect, Fiber, Random, Redacted, Schedule } from "effect"
import * as History from "./history.ts"
import { Database, pgLayer } from "./support.ts"

type Outcome = CheckpointError.StoreError["outcome"]

const databaseOf = (url: Redacted.Redacted): string => new URL(Redacted.value(url)).pathname.slice(1)

const anyOf = <A>(all: ReadonlyArray<A>) => Effect.map(Random.nextIntBetween(0, all.length), (n) => all[n])

// -----------------------------------------------------------------------------
// many faults
// -----------------------------------------------------------------------------

/** Every fault once, in an order and at points that a seed decides, one to three seconds apart. */
const strike = Effect.fnUntraced(function*(
  proxy: TcpProxy.TcpProxy,
  target: { readonly database: string; readonly applicationName: string },
  afterRestore: Effect.Effect<void>
) {
  const { faults } = yield* PostgresServer.PostgresServer
  const bytes = Random.nextIntBetween(1, 400)
  const aConnection = Effect.flatMap(proxy.connections, anyOf)
  const aBackend = Effect.map(Effect.flatMap(faults.backends(target), anyOf), (pid = 0) => ({ pid }))
  const outage = Random.nextIntBetween(500, 1500).pipe(
    Effect.flatMap((millis) => Effect.sleep(millis)),
    Effect.andThen(proxy.restore),
    Effect.andThen(afterRestore)
  )
  const kinds = {
    cutAll: proxy.cut("Reset"),
    endAll: proxy.cut("End"),
    cutOne: Effect.flatMap(aConnection, (one) => one?.cut("Reset") ?? Effect.void),
    closeHalf: Effect.flatMap(aConnection, (one) => one?.halfClose("ToServer") ?? Effect.void),
    loseReply: proxy.cutAfter("ToClient", 0, "Reset"),
    cutReply: Effect.flatMap(bytes, (bytes) => proxy.cutAfter("ToClient", bytes, "End")),
    cutRequest: Effect.flatMap(bytes, (bytes) => proxy.cutAfter("ToServer", bytes, "Reset")),
    stall: Effect.andThen(proxy.stall, outage),
    refuse: Effect.all([proxy.refuse, proxy.cut("Reset"), outage]),
    terminate: Effect.flatMap(aBackend, faults.terminate),
    kill: Effect.flatMap(aBackend, faults.kill),
    restart: Effect.andThen(faults.stop("Fast"), faults.start),
    crash: Effect.andThen(faults.crash, faults.start)
  }
  for (const kind of yield* Random.shuffle(Object.values(kinds))) {
    yield* Effect.sleep(yield* Random.nextIntBetween(1000, 3000))
    yield* kind
  }
}, Random.withSeed("faults"))

/** What the attempts of one put before the last one came to. */
const EarlierOutcomes = Context.Reference<Array<Outcome>>("test/EarlierOutcomes", { defaultValue: () => [] })

/** Patient enough for most puts to survive the faults, and for some to fail. */
const impatient = Schedule.exponential("20 millis").pipe(
  Schedule.upTo({ times: 3 }),
  Schedule.setInputType<CheckpointError.StoreError>(),
  Schedule.tap(({ input }) => Effect.map(EarlierOutcomes, (outcomes) => void outcomes.push(input.outcome)))
)

const manyFaults = Effect.gen(function*() {
  const writers = 16
  const threads = 50
  const least = 5000
  const { faults } = yield* PostgresServer.PostgresServer
  const { url } = yield* Database
  const ours = { applicationName: "a program among faults", database: databaseOf(url) }
  const proxy = yield* TcpProxy.fromUrl(url)
  // A round trip of a network, without which all would be over before much can break.
  const latency = proxy.delay("20 millis")

  const toPut = (marker: number) => ({
    threadId: `thread ${marker % threads}`,
    checkpointId: `checkpoint ${marker}`,
    state: { marker: String(marker), text: `${marker}`.repeat(50) }
  })
  const told = (put: ReturnType<typeof toPut>, outcome: History.Attempt["outcome"]) =>
    new History.Attempt({ ...put, marker: put.state.marker, outcome })
  const attempts: Array<History.Attempt> = []
  let next = 0

  yield* Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    yield* latency
    const striking = yield* Effect.forkChild(strike(proxy, ours, latency))
    const writer = Effect.gen(function*() {
      while (next < least || striking.pollUnsafe() === undefined) {
        const put = toPut(next++)
        const earlier: Array<Outcome> = []
        const outcome = yield* checkpointer.put(put).pipe(
          Effect.map(({ version }) => version),
          // Any other error, or a defect, fails the test.
          Effect.catchTag(
            "StoreError",
            (error) => Effect.succeed(earlier.find((it) => it === "Unknown") ?? error.outcome)
          ),
          Effect.provideService(EarlierOutcomes, earlier)
        )
        attempts.push(told(put, outcome))
      }
    })
    yield* Effect.all(Arr.replicate(writer, writers), { concurrency: "unbounded", discard: true })
    yield* Fiber.join(striking)
    assert.isAtMost((yield* faults.backends(ours)).length, 10)
  }).pipe(
    Effect.provide(pgLayer({ retry: impatient, statementTimeout: "500 millis", acquireTimeout: "500 millis" }, {
      url: proxy.url,
      applicationName: ours.applicationName
    })),
    Effect.timeout("90 seconds")
  )

  const left = yield* Effect.repeat(faults.backends(ours), {
    until: (left) => left.length === 0,
    schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo({ times: 100 }))
  })
  assert.deepStrictEqual(left, [])
  assert.strictEqual((yield* proxy.counts).open, 0)

  const count = (outcome: Outcome) => attempts.filter((attempt) => attempt.outcome === outcome).length
  const failed = count("NotApplied") + count("Unknown")
  assert.strictEqual(attempts.length, next)
  assert.isAbove(count("NotApplied"), 0)
  assert.isAbove(count("Unknown"), 0)
  assert.isBelow(failed, attempts.length / 10)

  yield* Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    const stored = History.read(checkpointer, Arr.makeBy(threads, (n) => `thread ${n}`))
    assert.deepStrictEqual(History.violations(attempts, yield* stored), [])
    // What failed can be put again, whatever became of it.
    const again = yield* Effect.forEach(attempts, (attempt) => {
      if (typeof attempt.outcome === "number") return Effect.succeed(attempt)
      const put = toPut(Number(attempt.marker))
      return Effect.map(checkpointer.put(put), ({ version }) => told(put, version))
    })
    assert.deepStrictEqual(History.violations(again, yield* stored), [])
  }).pipe(Effect.provide(pgLayer()))
})

// Servers answer in real time.
layer(Database.layerOwn, { excludeTestServices: true })("faults", (it) => {
  it.effect(
    "what was acknowledged is stored once, and what was not applied is not, whatever breaks",
    () => manyFaults,
    {
      timeout: 120_000
    }
  )
})
