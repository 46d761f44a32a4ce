import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { blocks } from "./documents.ts"
import { age, clientLayer, Database, held, inQuickRuns, isThorough, waiting } from "./support.ts"

/* Runs everything on tables that are partitioned as docs/tables.md does it. Their indexes have other names. */

const partitioned = Layer.effectDiscard(Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* PgCheckpointer.migrate()
  const [block] = blocks.filter(({ text }) => text.includes("PARTITION BY"))
  yield* sql.unsafe(block!.text)
}))

const onPartitions = (options: PgCheckpointer.Options) =>
  PgCheckpointer.layerWith(options).pipe(
    Layer.provide(partitioned),
    Layer.provideMerge(clientLayer()),
    Layer.provide(Database.layer)
  )

CheckpointerLaws.laws({
  name: "on partitions",
  layer: onPartitions({}),
  age: age(),
  runs: 10,
  sequences: 50,
  ...inQuickRuns("writing", "reading", "branching", "steps", "questions", "threads", "retention", "store")
})

if (isThorough) {
  StateGraphLaws.laws({ name: "graphs on partitions", layer: onPartitions({}), runs: 5 })
}

layer(onPartitions({ retry: Schedule.recurs(0) }), { excludeTestServices: true })("partitions", (it) => {
  it.effect("partitions refuse the repeat of a put that waited for the first, by an index of their own, and the repeat returns the checkpoint", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const put = checkpointer.append({ threadId: "t", checkpointId: "one", state: 1 })
      const commit = yield* held(Effect.andThen(put, checkpointer.append({ threadId: "t", state: 2 })))
      const repeating = yield* waiting(put)
      yield* commit
      assert.strictEqual((yield* Fiber.join(repeating)).version, 1)
      assert.strictEqual((yield* checkpointer.listVersions("t")).length, 2)
    }))

  it.effect("partitions hold all rows, and the primary keys begin with the thread id", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const rows = yield* sql<{ readonly name: string; readonly partitions: number; readonly key: string }>`
        SELECT c.relname AS name, (SELECT count(*)::float8 FROM pg_inherits WHERE inhparent = c.oid) AS partitions,
               (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p') AS key
          FROM pg_class c
         WHERE c.relkind = 'p' AND c.relnamespace = 'effect_checkpoint'::regnamespace
         ORDER BY 1`
      assert.deepStrictEqual(rows.map(({ name }) => name), [
        "checkpoint_pending_writes",
        "checkpoint_questions",
        "checkpoint_threads",
        "checkpoints"
      ])
      for (const { key, partitions } of rows) {
        assert.strictEqual(partitions, 8)
        assert.match(key, /^PRIMARY KEY \(thread_id, namespace/)
      }
    }))
})
