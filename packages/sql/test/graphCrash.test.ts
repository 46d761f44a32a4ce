import { type Checkpoint, StateGraph } from "@effect-checkpoint/core"
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option, Random, Redacted, Schedule, Stream } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as NodeProcess from "node:process"
import { text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { input, makeTables, outer } from "./fixtures/crashGraph.ts"
import { Database, pgLayer } from "./support.ts"

const program = fileURLToPath(new URL("fixtures/crashWorker.ts", import.meta.url))

const rounds = 2

/** How many processes are killed at most, so that the graph ends on any machine. */
const maxKilled = Number(NodeProcess.env["CHECKPOINT_TEST_EFFORT"]) > 1 ? 20 : 10

interface Worker {
  readonly child: ChildProcess
  /** What it wrote before it ended, or `undefined` if it was killed. */
  readonly ended: Promise<string | undefined>
}

const start = (threadId: string, name: string, interruptId: string | undefined) =>
  Effect.acquireRelease(
    Effect.map(Database, ({ url }): Worker => {
      const child = spawn(
        NodeProcess.execPath,
        [
          program,
          Redacted.value(url),
          threadId,
          String(rounds),
          name,
          ...(interruptId === undefined ? [] : [interruptId])
        ],
        { stdio: ["ignore", "pipe", "inherit"] }
      )
      const said = text(child.stdout!)
      const ended = once(child, "exit").then(([code]) => code === null ? undefined : said)
      return { child, ended }
    }),
    ({ child, ended }) => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Effect.promise(() => ended))
  )

/** Waits until a condition holds. */
const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (holds) => holds, schedule: Schedule.spaced("10 millis") })

/** Starts workers, releases all of them at once, and kills each that is still running after its time. */
const race = Effect.fnUntraced(function*(
  threadId: string,
  workers: ReadonlyArray<{
    readonly name: string
    readonly interruptId: string | undefined
    readonly killAfter: number | undefined
  }>
) {
  const sql = yield* PgClient.PgClient
  const started = yield* sql.withTransaction(Effect.gen(function*() {
    yield* sql`SELECT pg_advisory_xact_lock(1)`
    const started = yield* Effect.forEach(workers, ({ interruptId, name }) => start(threadId, name, interruptId))
    yield* until(Effect.map(
      sql<{ readonly waiting: number }>`
        SELECT count(*)::integer AS waiting FROM pg_locks JOIN pg_database ON pg_database.oid = database
         WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted`,
      ([row]) => row!.waiting === workers.length || started.some(({ child }) => child.exitCode !== null)
    ))
    return started
  }))
  const ends = yield* Effect.forEach(started, ({ child, ended }, index) => {
    const { killAfter } = workers[index]!
    const killed = killAfter === undefined ? Effect.never : Effect.andThen(
      Effect.sleep(killAfter),
      Effect.sync(() => child.kill("SIGKILL"))
    )
    return Effect.raceFirst(Effect.promise(() => ended), Effect.andThen(killed, Effect.promise(() => ended)))
  }, { concurrency: "unbounded" })
  // The server still executes what killed processes sent.
  yield* until(Effect.map(
    sql<{ readonly there: number }>`
      SELECT count(*)::integer AS there FROM pg_stat_activity
       WHERE datname = current_database() AND application_name LIKE ${`${threadId}/%`}`,
    ([row]) => row!.there === 0
  ))
  return ends
}, Effect.scoped)

const Live = Layer.effectDiscard(makeTables).pipe(Layer.provideMerge(pgLayer()), Layer.provideMerge(Database.layer))

layer(Live, { excludeTestServices: true })("a graph whose processes are killed", (it) => {
  it.effect(
    "a graph whose processes are killed again and again ends like one that is not, with nothing lost or done twice",
    () =>
      Effect.gen(function*() {
        const threads = yield* StateGraph.view(outer)
        let processes = 0
        let killed = 0
        while (true) {
          const head = Option.getOrUndefined(yield* threads.get("crashed"))
          if (head?.nextNodes.length === 0) break
          const [open] = yield* Stream.runCollect(threads.openQuestions())
          const interruptId = open?.interruptId
          // Several processes answer at the same time.
          const workers = yield* Effect.forEach(Array.from({ length: interruptId === undefined ? 1 : 3 }), () =>
            Effect.map(Random.nextIntBetween(0, 120), (killAfter) => ({
              name: `crashed/${processes++}`,
              interruptId,
              killAfter: killed < maxKilled ? killAfter : undefined
            })))
          const ends = yield* race("crashed", workers)
          const survivors = ends.filter((end) =>
            end !== undefined
          )
          killed += ends.length - survivors.length
          const wentOn = survivors.filter((end) => end === "Interrupted" || end === "Completed")
          assert.isAtMost(wentOn.length, 1)
          // The others learn that they were too late.
          const others = survivors.filter((end) => end !== "Interrupted" && end !== "Completed")
          assert.deepStrictEqual(new Set(others), new Set(others.map(() => "InterruptAlreadyResolved")))
          if (interruptId === undefined) assert.deepStrictEqual(others, [])
        }
        assert.isAtLeast(killed, 5)

        const crashed = Option.getOrThrow(yield* threads.get("crashed"))
        const alone = yield* undisturbed("alone")
        assert.deepStrictEqual(crashed.state.log, alone.state.log)
        assert.deepStrictEqual(stepOf(crashed), stepOf(alone))
        assert.strictEqual(crashed.version, alone.version)

        // A node that ran twice had the same key both times.
        assert.deepStrictEqual(yield* effectsOf("crashed"), yield* effectsOf("alone"))
        assert.isAbove((yield* runsOf("crashed")).length, (yield* effectsOf("crashed")).length)

        for (const thread of ["crashed", "alone"]) {
          const { answers, repeated, saved } = yield* storedOf(thread)
          assert.isAtLeast(saved, 2 * rounds)
          assert.strictEqual(repeated, 0)
          const state = thread === "crashed" ? crashed.state : alone.state
          assert.deepStrictEqual(answers.map(({ by }) => by), state.by)
          assert.isTrue(answers.every(({ different, open }) => different === 1 && open === 0))
          assert.strictEqual(answers.length, 2 * rounds)
        }
      }).pipe(Random.withSeed(`crash ${process.env["CHECKPOINT_TEST_SEED"]}`)),
    300_000
  )
})

/** The metadata of a step without its id. */
const stepOf = (checkpoint: Checkpoint.CheckpointInfo) => {
  const { stepId: _, ...step } = Option.getOrThrow(StateGraph.metadata(checkpoint))
  return step
}

const undisturbed = Effect.fnUntraced(function*(threadId: string) {
  let result = yield* StateGraph.run(outer, { threadId, input: input(rounds) })
  while (result._tag === "Interrupted") {
    const answers = Object.fromEntries(result.interrupts.map(({ interruptId }) => [interruptId, { by: threadId }]))
    result = yield* StateGraph.resume(outer, { threadId, answers })
  }
  return result.checkpoint
})

const effectsOf = (thread: string) =>
  Effect.flatMap(
    PgClient.PgClient,
    (sql) => sql`SELECT namespace, node, step FROM effects WHERE thread = ${thread} ORDER BY namespace, step, node`
  )

const runsOf = (thread: string) =>
  Effect.flatMap(PgClient.PgClient, (sql) => sql`SELECT key FROM runs WHERE thread = ${thread}`)

/**
 * The results of nodes of parallel steps, which a trigger has kept, and the answers. A question of the nested graph and
 * that of the outer one have the same id, and must have the same answer.
 */
const storedOf = Effect.fnUntraced(function*(thread: string) {
  const sql = yield* PgClient.PgClient
  const [writes] = yield* sql<{ readonly saved: number; readonly repeated: number }>`
    WITH results AS (
      SELECT coalesce(c.metadata->'graph'->>'stepId', c.checkpoint_id) || '/' || substr(w.task, length('update:') + 1) AS key,
             min(w.happened) AS happened
        FROM saved w
        JOIN effect_checkpoint.checkpoints c
          ON c.thread_id = w.thread_id AND c.namespace = w.namespace AND c.version = w.step_version
       WHERE w.thread_id = ${thread} AND w.task LIKE 'update:%'
       GROUP BY 1
    )
    SELECT (SELECT count(*) FROM results JOIN effects USING (key))::integer AS saved,
           (SELECT count(*) FROM results JOIN runs USING (key) WHERE runs.happened > results.happened)::integer AS repeated`
  const answers = yield* sql<{ readonly by: string; readonly different: number; readonly open: number }>`
    SELECT min(response->>'by') AS by, count(DISTINCT response)::integer AS different,
           count(*) FILTER (WHERE answered_at IS NULL)::integer AS open
      FROM effect_checkpoint.checkpoint_questions
     WHERE thread_id = ${thread}
     GROUP BY interrupt_id
     ORDER BY min(answered_at)`
  return { ...writes!, answers }
})
