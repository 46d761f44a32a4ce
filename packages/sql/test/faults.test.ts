import { Checkpointer, type CheckpointError } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PostgresServer, TcpProxy } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, layer } from "@effect/vitest"
import {
  Array as Arr,
  Clock,
  Context,
  DateTime,
  Effect,
  Fiber,
  Latch,
  Layer,
  Option,
  Random,
  Redacted,
  Result,
  Schedule,
  Schema,
  Stream
} from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmdirSync } from "node:fs"
import { platform, tmpdir, userInfo } from "node:os"
import { join } from "node:path"
import * as History from "./history.ts"
import { clientLayer, Database, inBackground, isThorough, pgLayer, some } from "./support.ts"
import * as Worker from "./worker.ts"

const seed = process.env["CHECKPOINT_TEST_SEED"]

type Outcome = CheckpointError.StoreError["outcome"]

const databaseOf = (url: Redacted.Redacted): string => new URL(Redacted.value(url)).pathname.slice(1)

const anyOf = <A>(all: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, all.length, { halfOpen: true }), (n) => all[n])

// -----------------------------------------------------------------------------
// many faults
// -----------------------------------------------------------------------------

/** Every fault once, one to three seconds apart. A seed decides their order and places. */
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
}, Random.withSeed(`faults ${seed}`))

const manyFaults = Effect.gen(function*() {
  const writers = 16
  const threads = 50
  const least = isThorough ? 5000 : 2500
  const { faults } = yield* PostgresServer.PostgresServer
  const { url } = yield* Database
  const ours = { applicationName: "a program among faults", database: databaseOf(url) }
  const proxy = yield* TcpProxy.fromUrl(url)
  // As slow as a network, since otherwise everything would be over before much can break.
  const latency = proxy.delay("20 millis")

  const toPut = (marker: number) => ({
    threadId: `thread ${marker % threads}`,
    // An id like a generated one, so that changes are stored instead of whole states.
    checkpointId: `00000000-0000-7000-8000-${String(marker).padStart(12, "0")}`,
    state: { marker: String(marker), text: "the same in all versions ".repeat(20) }
  })
  const attemptOf = (put: ReturnType<typeof toPut>, outcome: History.Attempt["outcome"]) =>
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
        // Any other error, or a defect, fails the test.
        const outcome = yield* History.outcomeOf(checkpointer.append(put))
        attempts.push(attemptOf(put, outcome))
      }
    })
    yield* Effect.all(Arr.replicate(writer, writers), { concurrency: "unbounded", discard: true })
    yield* Fiber.join(striking)
    assert.isAtMost((yield* faults.backends(ours)).length, 10)
  }).pipe(
    Effect.provide(pgLayer({ retry: History.impatient, statementTimeout: "500 millis", acquireTimeout: "500 millis" }, {
      url: proxy.url,
      applicationName: ours.applicationName
    })),
    Effect.timeout("90 seconds")
  )

  const left = Effect.map(
    Effect.all([faults.backends(ours), proxy.counts]),
    ([backends, { open }]) => ({ backends: backends.length, open })
  )
  assert.deepStrictEqual(
    yield* Effect.repeat(left, {
      until: ({ backends, open }) => backends === 0 && open === 0,
      // The end of a connection is delayed by the proxy too.
      schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo({ times: 250 }))
    }).pipe(Effect.andThen(left)),
    { backends: 0, open: 0 }
  )

  const count = (outcome: Outcome) => attempts.filter((attempt) => attempt.outcome === outcome).length
  const failed = count("NotApplied") + count("Unknown")
  assert.strictEqual(attempts.length, next)
  assert.isAbove(count("NotApplied"), 0)
  assert.isAbove(count("Unknown"), 0)
  assert.isBelow(failed, attempts.length / 10)

  yield* Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    const stored = History.read(checkpointer, threadIds(threads))
    assert.deepStrictEqual(History.violations(attempts, yield* stored), [])
    // Every put that failed can be repeated, whether it was applied or not.
    const again = yield* Effect.forEach(attempts, (attempt) => {
      if (typeof attempt.outcome === "number") return Effect.succeed(attempt)
      const put = toPut(Number(attempt.marker))
      return Effect.map(checkpointer.append(put), ({ version }) => attemptOf(put, version))
    })
    assert.deepStrictEqual(History.violations(again, yield* stored), [])
  }).pipe(Effect.provide(pgLayer()))
})

// -----------------------------------------------------------------------------
// many processes
// -----------------------------------------------------------------------------

const toAttempts = Schema.decodeUnknownEffect(Schema.Array(History.Attempt))

/** Runs writers of the same threads in separate processes, and returns what each put returned. */
const writeInProcesses = Effect.fnUntraced(function*<R>(
  url: Redacted.Redacted,
  options: { readonly clocks: ReadonlyArray<number>; readonly threads: number; readonly rounds: number },
  meanwhile: Effect.Effect<void, never, R>
) {
  const { clocks, rounds, threads } = options
  const workers = yield* Effect.forEach(
    clocks,
    (clockHours, n) => Worker.start({ _tag: "Write", name: `writer ${n}`, threads, rounds, clockHours }, url)
  )
  const haveBegun = Effect.forEach(workers, (worker) => Effect.race(worker.hasWritten, worker.end))
  yield* inBackground(Effect.andThen(haveBegun, meanwhile))
  for (const worker of workers) assert.strictEqual(yield* worker.end, "done")
  const attempts = yield* Effect.forEach(workers, (worker) => Effect.flatMap(worker.lines, toAttempts))
  assert.deepStrictEqual(attempts.map(({ length }) => length), clocks.map(() => rounds))
  return attempts.flat()
})

const threadIds = (threads: number) => Arr.makeBy(threads, (n) => `thread ${n}`)

// -----------------------------------------------------------------------------
// operations that are cut short
// -----------------------------------------------------------------------------

const never = Schedule.recurs(0)

/** Runs an effect, and returns how many bytes it sent through a proxy. */
const bytesOf = Effect.fnUntraced(function*<A, E, R>(proxy: TcpProxy.TcpProxy, effect: Effect.Effect<A, E, R>) {
  const before = yield* proxy.counts
  yield* effect
  return (yield* proxy.counts).toServer - before.toServer
})

/** Random points among a number of bytes, the same in each run. */
const pointsOf = (bytes: number, count: number, what: string) =>
  Effect.all(Arr.replicate(Random.nextIntBetween(0, bytes, { halfOpen: true }), count)).pipe(
    Random.withSeed(`${what} ${seed}`)
  )

/** Runs a task in a process and kills that when a number of bytes have passed. Waits until its connections are gone. */
const killedAt = Effect.fnUntraced(function*(task: Worker.Task, proxy: TcpProxy.UrlProxy, bytes: number) {
  const { faults } = yield* PostgresServer.PostgresServer
  const { toServer } = yield* proxy.counts
  const worker = yield* Worker.start(task, proxy.url)
  yield* Effect.repeat(proxy.counts, {
    until: (counts) => counts.toServer >= toServer + bytes,
    schedule: Schedule.spaced("1 millis")
  }).pipe(Effect.raceFirst(worker.end))
  yield* worker.kill
  const end = yield* worker.end
  yield* Effect.repeat(faults.backends({ database: databaseOf(proxy.url), applicationName: "effect-checkpoint" }), {
    until: (left) => left.length === 0,
    schedule: Schedule.spaced("5 millis")
  })
  return end
}, Effect.scoped)

const manyThreads = 30
const manyVersions = 40

const stateOf = (thread: number, version: number) => ({
  marker: `${thread} ${version}`,
  list: Arr.makeBy(version, (n) => `entry ${n} of ${thread}`)
})

const isTagged = (thread: number, version: number) => thread % 3 === 0 && version === 1

/** A database with many versions of known content, some of which are tagged. */
const withVersions = Effect.gen(function*() {
  const server = yield* PostgresServer.PostgresServer
  const url = yield* server.createDatabase()
  yield* Effect.gen(function*() {
    const checkpointer = yield* Checkpointer.Checkpointer
    yield* Effect.forEach(
      Arr.range(0, manyThreads - 1),
      Effect.fnUntraced(function*(thread) {
        for (let version = 1; version <= manyVersions; version++) {
          const saved = yield* checkpointer.append({ threadId: `thread ${thread}`, state: stateOf(thread, version) })
          if (isTagged(thread, version)) yield* checkpointer.setTags(saved.threadId, saved, ["kept"])
        }
      }),
      { concurrency: 8 }
    )
  }).pipe(Effect.provide(pgLayer(undefined, { url })))
  return { url, proxy: yield* TcpProxy.fromUrl(url) }
})

/** Checks everything that can be read, and returns how many of the newest versions each thread has. */
const readAll = (checkpointer: Checkpointer.Checkpointer["Service"]) =>
  Effect.forEach(
    Arr.range(0, manyThreads - 1),
    Effect.fnUntraced(function*(thread) {
      const listed = (yield* checkpointer.listVersions(`thread ${thread}`)).map(({ version }) => version)
      const read = yield* Stream.runCollect(checkpointer.history(`thread ${thread}`))
      assert.deepStrictEqual(read.map(({ version }) => version), listed)
      for (const { state, version } of read) assert.deepStrictEqual(state, stateOf(thread, version))
      const newest = listed.filter((version, index) => version === manyVersions - index)
      const pinned = listed.slice(newest.length)
      assert.deepStrictEqual(pinned, isTagged(thread, 1) && newest.length < manyVersions ? [1] : [])
      return newest.length
    }),
    { concurrency: 4 }
  )

/** Checks what must hold after a prune that was cut short with `before` versions, and after the next prune. */
const afterPrune = Effect.fnUntraced(function*(
  policy: { readonly maxVersions: number; readonly compact: boolean },
  before: number
) {
  const checkpointer = yield* Checkpointer.Checkpointer
  const sql = yield* PgClient.PgClient
  for (const left of yield* readAll(checkpointer)) assert.include([before, policy.maxVersions], left)
  // The lease of a process that died lasts a minute.
  const held =
    yield* sql`UPDATE effect_checkpoint.checkpoint_leases SET expires_at = now() + interval '1 minute' RETURNING name`
  if (held.length > 0) {
    assert.nestedInclude(yield* Effect.flip(checkpointer.prune(policy)), {
      "reason._tag": "PruneRunning",
      outcome: "NotApplied"
    })
    yield* sql`UPDATE effect_checkpoint.checkpoint_leases SET expires_at = now() - interval '1 second'`
  }
  yield* checkpointer.prune(policy)
  for (const left of yield* readAll(checkpointer)) assert.strictEqual(left, policy.maxVersions)
  assert.include(yield* checkpointer.prune(policy), { versions: 0, bytes: 0 })
})

// -----------------------------------------------------------------------------
// a server without space
// -----------------------------------------------------------------------------

/** Whether a small disk can be mounted, which needs root and the permission to mount on Linux. */
const canMount = platform() === "linux" && userInfo().uid === 0 && (() => {
  const folder = mkdtempSync(join(tmpdir(), "checkpoint-disk-"))
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).status === 0
  if (mounted) spawnSync("umount", [folder])
  rmdirSync(folder)
  return mounted
})()

const run = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.sync(() => {
    const { status, stderr } = spawnSync(command, args, { encoding: "utf8" })
    assert.strictEqual(status, 0, stderr)
  })

/** A disk of a number of megabytes that belongs to the server's user. */
const smallDisk = Effect.fnUntraced(function*(megabytes: number) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "checkpoint-disk-"))),
    (folder) => Effect.sync(() => rmdirSync(folder))
  )
  yield* Effect.acquireRelease(
    run("mount", "-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder),
    // The server may still have one of its files open.
    () => run("umount", "--lazy", folder)
  )
  yield* run("chown", "postgres:", folder)
  return folder
})

// A server answers in real time.
layer(Database.layerOwn, { excludeTestServices: true })("faults", (it) => {
  it.effect(
    "every put that was acknowledged is stored once, and none that was not applied, whatever breaks",
    () => manyFaults,
    {
      timeout: 120_000
    }
  )

  it.effect(
    "successful puts of several processes after what each has read are one chain, each made from its parent",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.PostgresServer
        const url = yield* server.createDatabase()
        const proxy = yield* TcpProxy.fromUrl(url)
        const cuts = Random.nextIntBetween(20, 200).pipe(
          Effect.flatMap((millis) => Effect.sleep(millis)),
          Effect.andThen(proxy.cut("Reset")),
          Effect.forever,
          Random.withSeed(`processes ${seed}`)
        )
        const attempts = yield* writeInProcesses(proxy.url, {
          clocks: [0, 0, 0, 0],
          threads: 3,
          rounds: isThorough ? 200 : 100
        }, cuts)
        yield* Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          const stored = yield* History.read(checkpointer, threadIds(3))
          assert.deepStrictEqual(History.violations(attempts, stored), [])
          assert.isBelow(stored.length, attempts.length, "some puts conflicted")
          assert.isAbove(attempts.filter(({ outcome }) => outcome === "Unknown").length, 0, "some replies were lost")
        }).pipe(Effect.provide(pgLayer(undefined, { url })))
      }),
    { timeout: 240_000 }
  )

  it.effect("clocks of processes that are hours apart affect neither the order of versions nor their times", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.PostgresServer
      const url = yield* server.createDatabase()
      yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const serverTime = Effect.map(
          sql<{ readonly now: number }>`SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now`,
          ([row]) => row!.now
        )
        const before = yield* serverTime
        const options = { clocks: [-7, 0, 26], threads: 1, rounds: 30 }
        const attempts = yield* writeInProcesses(url, options, Effect.void)
        const after = yield* serverTime
        assert.deepStrictEqual(History.violations(attempts, yield* History.read(checkpointer, threadIds(1))), [])
        const versions = (yield* checkpointer.listVersions("thread 0")).toReversed()
        const times = versions.map(({ createdAt }) => DateTime.toEpochMillis(createdAt))
        assert.deepStrictEqual(times, times.toSorted((one, other) => one - other))
        assert.isAtLeast(times[0]!, before)
        assert.isAtMost(times.at(-1)!, after)
        // Ids contain the time of their process.
        const drawn = attempts.map(({ checkpointId }) => parseInt(checkpointId.replace("-", "").slice(0, 12), 16))
        assert.isAbove(Math.max(...drawn) - Math.min(...drawn), 32 * 3_600_000, "the clocks were hours apart")
        const prune = checkpointer.prune({ maxAge: "1 hour" })
        assert.strictEqual((yield* Effect.provideService(prune, Clock.Clock, Worker.shifted(26))).versions, 0)
      }).pipe(Effect.provide(pgLayer(undefined, { url })))
    }))

  describe("operations that are cut short", () => {
    it.effect("a prune whose connection is cut removes no version that is kept, and the next one finishes", () =>
      Effect.gen(function*() {
        const { proxy, url } = yield* withVersions
        const direct = yield* Layer.build(pgLayer(undefined, { url }))
        const checkpointer = yield* Layer.build(pgLayer({ retry: never }, { url: proxy.url })).pipe(
          Effect.map(Context.get(Checkpointer.Checkpointer))
        )
        yield* checkpointer.health
        const bytes = yield* bytesOf(proxy, checkpointer.prune({ maxVersions: manyVersions - 2, compact: true }))
        let before = manyVersions - 2
        let failed = 0
        for (const [n, point] of (yield* pointsOf(bytes, 12, "prune")).entries()) {
          const policy = { maxVersions: before - 3, compact: n % 2 === 0 }
          yield* proxy.cutAfter("ToServer", point, n % 3 === 0 ? "End" : "Reset")
          const result = yield* Effect.result(checkpointer.prune(policy))
          if (Result.isFailure(result)) {
            assert.nestedInclude(result.failure, {
              _tag: "StoreError",
              "reason._tag": "Unavailable",
              operation: "prune"
            })
            failed++
          }
          // The cut may still be pending: prepared statements are shorter than those that were counted.
          yield* proxy.restore
          yield* Effect.provide(afterPrune(policy, before), direct)
          before = policy.maxVersions
        }
        assert.isAbove(failed, 3)
      }))

    it.effect("a prune whose process is killed removes no version that is kept, and the next one finishes", () =>
      Effect.gen(function*() {
        const { proxy, url } = yield* withVersions
        const direct = yield* Layer.build(pgLayer(undefined, { url }))
        yield* proxy.delay("2 millis")
        const first = { maxVersions: manyVersions - 2, compact: true }
        const whole = yield* bytesOf(proxy, killedAt({ _tag: "Prune", policy: first }, proxy, Infinity))
        let before = manyVersions - 2
        const ends: Array<string> = []
        for (const point of yield* pointsOf(whole * 0.7, 4, "killed prune")) {
          const policy = { maxVersions: before - 3, compact: true }
          ends.push(yield* killedAt({ _tag: "Prune", policy }, proxy, whole * 0.25 + point))
          yield* Effect.provide(afterPrune(policy, before), direct)
          before = policy.maxVersions
        }
        assert.include(ends, "SIGKILL")
      }))

    /** Checks that all tables exist and work, or none, and that the next migration succeeds. */
    const afterMigration = Effect.fnUntraced(function*(schema: string) {
      const sql = yield* PgClient.PgClient
      const [found] = yield* sql`SELECT FROM pg_namespace WHERE nspname = ${schema}`
      const put = Checkpointer.Checkpointer.use((checkpointer) => checkpointer.append({ threadId: "t", state: 1 }))
      const storage = PgCheckpointer.layerStorageWith({ schema, retry: never })
      const version = yield* put.pipe(
        Effect.map(({ version }) => version),
        Effect.provide(storage),
        Effect.catchTag("StoreError", (error) => Effect.succeed(error.reason._tag))
      )
      assert.strictEqual(version, found === undefined ? "SchemaMissing" : 1)
      const again = yield* Effect.provide(put, PgCheckpointer.layerWith({ schema }))
      assert.strictEqual(again.version, found === undefined ? 1 : 2)
      return found !== undefined
    })

    it.effect("a migration whose connection is cut is applied whole or not at all, and the next one succeeds", () =>
      Effect.gen(function*() {
        const { url } = yield* Database
        const proxy = yield* TcpProxy.fromUrl(url)
        const direct = yield* Layer.build(clientLayer())
        const client = yield* Layer.build(clientLayer({ url: proxy.url, maxConnections: 1 }))
        const migrate = (schema: string) => Effect.provide(PgCheckpointer.migrate({ schema, retry: never }), client)
        yield* migrate("warm")
        const bytes = yield* bytesOf(proxy, migrate("uncut"))
        const points = [...yield* pointsOf(bytes, 12, "migration"), bytes - 1]
        for (const [n, point] of points.entries()) {
          yield* proxy.cutAfter("ToServer", point, n % 3 === 0 ? "End" : "Reset")
          const error = yield* Effect.flip(migrate(`cut_${n}`))
          assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "Unavailable", operation: "migrate" })
          const happened = yield* Effect.provide(afterMigration(`cut_${n}`), direct)
          assert.isFalse(happened && error._tag === "StoreError" && error.outcome === "NotApplied")
        }
        // The reply to the commit is the last one. It is counted on a connection that has prepared its statements.
        yield* migrate("warmer")
        const { toClient } = yield* proxy.counts
        yield* migrate("counted")
        yield* proxy.cutAfter("ToClient", (yield* proxy.counts).toClient - toClient - 1, "Reset")
        assert.nestedInclude(yield* Effect.flip(migrate("unheard")), {
          "reason._tag": "Unavailable",
          outcome: "Unknown"
        })
        assert.isTrue(yield* Effect.provide(afterMigration("unheard"), direct))
      }))

    it.effect("a migration whose process is killed is applied whole or not at all, and the next one succeeds", () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.PostgresServer
        const url = yield* server.createDatabase()
        const proxy = yield* TcpProxy.fromUrl(url)
        const direct = yield* Layer.build(clientLayer({ url }))
        yield* proxy.delay("2 millis")
        const whole = yield* bytesOf(proxy, killedAt({ _tag: "Migrate", schema: "uncut" }, proxy, Infinity))
        const ends: Array<string> = []
        for (const [n, point] of (yield* pointsOf(whole * 0.9, 4, "killed migration")).entries()) {
          ends.push(yield* killedAt({ _tag: "Migrate", schema: `killed_${n}` }, proxy, whole * 0.1 + point))
          yield* Effect.provide(afterMigration(`killed_${n}`), direct)
        }
        assert.include(ends, "SIGKILL")
      }))

    const source = { threadId: "thread 1", version: 20 }

    /** Checks that the thread is whole or does not exist. */
    const afterFork = Effect.fnUntraced(function*(threadId: string) {
      const checkpointer = yield* Checkpointer.Checkpointer
      const head = Option.getOrUndefined(yield* checkpointer.get(threadId))
      if (head === undefined) {
        assert.deepStrictEqual(yield* checkpointer.listVersions(threadId), [])
        yield* checkpointer.fork(source.threadId, source, { threadId })
        return false
      }
      assert.include(head.parent!, source)
      assert.deepStrictEqual([head.version, head.state], [1, stateOf(1, source.version)])
      assert.strictEqual((yield* checkpointer.put({ parent: head, state: 2 })).version, 2)
      return true
    })

    it.effect("a fork whose connection is cut creates a whole thread or none", () =>
      Effect.gen(function*() {
        const { proxy, url } = yield* withVersions
        const direct = yield* Layer.build(pgLayer(undefined, { url }))
        const checkpointer = yield* Layer.build(pgLayer({ retry: never }, { url: proxy.url, maxConnections: 1 })).pipe(
          Effect.map(Context.get(Checkpointer.Checkpointer))
        )
        const fork = (threadId: string) => checkpointer.fork(source.threadId, source, { threadId })
        yield* fork("warm")
        const bytes = yield* bytesOf(proxy, fork("uncut"))
        const { toClient } = yield* proxy.counts
        yield* fork("counted")
        const reply = (yield* proxy.counts).toClient - toClient - 1
        const points = yield* pointsOf(bytes, 12, "fork")
        const cuts = [...points.map((point) => ["ToServer", point] as const), ["ToClient", reply] as const]
        const found: Array<boolean> = []
        for (const [n, [direction, point]] of cuts.entries()) {
          yield* proxy.cutAfter(direction, point, n % 3 === 0 ? "End" : "Reset")
          const error = yield* Effect.flip(fork(`cut ${n}`))
          assert.nestedInclude(error, { _tag: "StoreError", "reason._tag": "Unavailable" })
          found.push(yield* Effect.provide(afterFork(`cut ${n}`), direct))
          assert.isFalse(found[n] === true && error._tag === "StoreError" && error.outcome === "NotApplied")
          // Prepare the statement on the next connection, since the one that was measured was prepared.
          yield* fork(`warm ${n}`)
        }
        assert.deepStrictEqual([found.includes(false), found.at(-1)], [true, true])
      }))

    it.effect("a fork whose process is killed creates a whole thread or none", () =>
      Effect.gen(function*() {
        const { proxy, url } = yield* withVersions
        const direct = yield* Layer.build(pgLayer(undefined, { url }))
        yield* proxy.delay("5 millis")
        const whole = yield* bytesOf(proxy, killedAt({ _tag: "Fork", source, threadId: "uncut" }, proxy, Infinity))
        const ends: Array<string> = []
        for (const [n, point] of (yield* pointsOf(whole * 0.6, 4, "killed fork")).entries()) {
          ends.push(yield* killedAt({ _tag: "Fork", source, threadId: `killed ${n}` }, proxy, whole * 0.4 + point))
          yield* Effect.provide(afterFork(`killed ${n}`), direct)
        }
        assert.include(ends, "SIGKILL")
      }))
  })

  it.effect("an exhausted pool is PoolExhausted in time, and works again when connections are free", () =>
    Effect.gen(function*() {
      const { url } = yield* Database
      const proxy = yield* TcpProxy.fromUrl(url)
      yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const put = (n: number) => checkpointer.append({ threadId: `pool ${n}`, state: n })
        yield* Effect.forEach([0, 1], put)
        // Both connections must exist before the proxy stalls.
        const sql = yield* PgClient.PgClient
        yield* Effect.scoped(Effect.all([sql.reserve, sql.reserve]))
        yield* proxy.stall
        const waiting = yield* Effect.forEach([0, 1], (n) => Effect.forkChild(put(n), { startImmediately: true }))
        const errors = yield* Effect.forEach([2, 3, 4], (n) => Effect.flip(put(n)), { concurrency: "unbounded" })
        for (const error of errors) {
          assert.nestedInclude(error, {
            _tag: "StoreError",
            "reason._tag": "PoolExhausted",
            outcome: "NotApplied",
            isRetryable: true
          })
        }
        assert.deepStrictEqual(waiting.map((fiber) => fiber.pollUnsafe()), [undefined, undefined])
        yield* proxy.restore
        assert.deepStrictEqual((yield* Effect.forEach(waiting, Fiber.join)).map(({ version }) => version), [2, 2])
        const after = yield* Effect.forEach([2, 3, 4], put, { concurrency: "unbounded" })
        assert.deepStrictEqual(after.map(({ version }) => version), [1, 1, 1])
      }).pipe(
        Effect.ensuring(Effect.ignore(proxy.restore)),
        Effect.provide(pgLayer({ schema: "pool", retry: never, acquireTimeout: "500 millis" }, {
          url: proxy.url,
          maxConnections: 2
        }))
      )
    }))

  it.effect("a transaction left open with a thread's head row is a Timeout for writers of that thread, and affects no others", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const put = (checkpointId: string) => checkpointer.append({ threadId: "held", checkpointId, state: checkpointId })
      yield* put("before")
      const locked = yield* Latch.make()
      const holder = yield* PgClient.PgClient.use((sql) =>
        sql.withTransaction(Effect.andThen(
          sql`SELECT FROM held.checkpoint_threads WHERE thread_id = 'held' FOR UPDATE`,
          Effect.andThen(locked.open, Effect.never)
        ))
      ).pipe(Effect.provide(Layer.fresh(clientLayer())), Effect.forkChild)
      yield* locked.await
      const error = yield* Effect.flip(put("during"))
      assert.nestedInclude(error, {
        _tag: "StoreError",
        "reason._tag": "Timeout",
        outcome: "Unknown",
        isRetryable: true
      })
      // Other threads and readers do not wait.
      assert.strictEqual((yield* checkpointer.append({ threadId: "free", state: 1 })).version, 1)
      assert.strictEqual(some(yield* checkpointer.get("held")).checkpointId, "before")
      yield* Fiber.interrupt(holder)
      // It may have been applied once the lock was gone.
      assert.strictEqual((yield* put("during")).version, 2)
      assert.strictEqual((yield* put("after")).version, 3)
      const versions = yield* checkpointer.listVersions("held")
      assert.deepStrictEqual(versions.map(({ checkpointId }) => checkpointId), ["after", "during", "before"])
    }).pipe(Effect.provide(pgLayer({ schema: "held", retry: never, statementTimeout: "300 millis" }))))

  it.effect.skipIf(!canMount)(
    `a full disk is Overloaded and loses nothing${canMount ? "" : " (needs root and mount)"}`,
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.PostgresServer
        const folder = yield* smallDisk(32)
        const admin = yield* Layer.build(clientLayer({ url: server.url, maxConnections: 1 })).pipe(
          Effect.map(Context.get(PgClient.PgClient))
        )
        yield* admin`CREATE TABLESPACE small LOCATION ${admin.literal(`'${folder}'`)}`
        yield* admin`CREATE DATABASE small TABLESPACE small`
        yield* Effect.addFinalizer(() =>
          Effect.orDie(Effect.andThen(admin`DROP DATABASE small WITH (FORCE)`, admin`DROP TABLESPACE small`))
        )
        const url = new URL(Redacted.value(server.url))
        url.pathname = "/small"

        yield* Effect.gen(function*() {
          const checkpointer = yield* Checkpointer.Checkpointer
          const sql = yield* PgClient.PgClient
          yield* sql`CREATE TABLE other (text text)`
          yield* sql`ALTER TABLE other ALTER text SET STORAGE EXTERNAL`
          yield* sql`INSERT INTO other SELECT repeat('x', 1000000) FROM generate_series(1, 8)`

          const attempts: Array<History.Attempt> = []
          const put = Effect.fnUntraced(function*(n: number) {
            const noise = Array.from({ length: 10_000 }, () => Random.next)
            const text = (yield* Effect.all(noise)).map((x) => x.toString(36)).join("")
            const state = { marker: String(n), text }
            const result = yield* Effect.result(
              checkpointer.append({ threadId: "thread", checkpointId: `id ${n}`, state })
            )
            const outcome = Result.isSuccess(result) ? result.success.version : "NotApplied"
            attempts.push(
              new History.Attempt({ threadId: "thread", checkpointId: `id ${n}`, marker: String(n), outcome })
            )
            return result
          }, Random.withSeed(`noise ${seed}`))
          const check = Effect.map(History.read(checkpointer, ["thread"]), (stored) => {
            assert.deepStrictEqual(History.violations(attempts, stored), [])
          })

          let n = 0
          const full = yield* Effect.repeat(Effect.suspend(() => put(n++)), { until: Result.isFailure, times: 500 })
          assert(Result.isFailure(full))
          assert.nestedInclude(full.failure, {
            _tag: "StoreError",
            "reason._tag": "Overloaded",
            outcome: "NotApplied",
            isRetryable: true
          })
          assert.isAbove(n, 1)
          yield* check
          yield* sql`DROP TABLE other`
          assert.isTrue(Result.isSuccess(yield* put(n++)))
          yield* check
        }).pipe(Effect.provide(pgLayer({ retry: never, cacheBytes: 0 }, { url: Redacted.make(url.href) })))
      })
  )
})
