import { Checkpointer, type CheckpointError } from "@effect-checkpoint/core"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Arbitrary, Cause, DateTime, Effect, Exit, Schedule, Schema, Stream } from "effect"
import { Database, pgLayer } from "./support.ts"

/*
 * Rows that were changed by hand. Reading them is an error that names the thread, and everything else stays readable.
 */

const effort = Number(process.env["CHECKPOINT_TEST_EFFORT"])

/** By column, values that might be written into it by hand. */
const values = {
  payload: [
    `'"gone"'`,
    `'null'`,
    `'7'`,
    `'[]'`,
    `'{}'`,
    `'[null]'`,
    `'[1, "a", [], {}]'`,
    `'[{"op": "remove", "path": ""}]'`,
    `'[{"op": "add", "path": "/x/y/z", "value": 1}]'`,
    `'[{"op": "replace", "path": "/messages/99", "value": 1}]'`,
    `'[{"op": "remove", "path": "/messages/0"}]'`,
    `'[{"op": "move", "from": "/a", "path": "/b"}]'`,
    `'[{"op": "add", "path": 7}]'`,
    `'[{"op": "add", "path": "/__proto__/polluted", "value": 1}]'`,
    `'{"messages": 1}'`
  ],
  format: ["0", "1", "2", "3", "4", "5", "-1", "32767"],
  payload_bytes: ["0", "-1", "2147483647"],
  state_bytes: ["0", "-1", "2147483647"],
  keyframe_version: ["0", "-5", "1", "3", "version", "version + 1", "1000", "9223372036854775807"],
  metadata: [`'[]'`, `'null'`, `'"x"'`, `'{"a": 1}'`],
  next_nodes: [`'[1]'`, `'{}'`, `'null'`, `'["a"]'`],
  tags: [`'{"a": 1}'`, `'[1]'`, `'null'`, `'"a"'`, `'["a"]'`],
  pending_interrupts: [`'7'`, `'{}'`, `'[null]'`, `'[{"interruptId": 1, "request": 1}]'`],
  parent_version: ["NULL", "-1", "0", "77", "9223372036854775807"],
  parent_id: ["NULL", "''", "'other'"],
  parent_thread_id: ["''", "'other'"],
  checkpoint_id: ["NULL", "''", "'other'"],
  created_at: ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31'", "'1970-01-01'"],
  step_version: ["0", "-1", "77", "version + 1"]
} as const

const headValues = {
  version: ["0", "-1", "1", "version - 1", "version + 1", "version + 3000"],
  pruned_through: ["-1", "1", "version", "version + 5"],
  keyframe_version: ["0", "1", "version + 1", "-9223372036854775808"],
  checkpoint_id: ["''", "'other'"],
  previous_id: ["NULL", "'other'"],
  write_id: ["gen_random_uuid()"],
  unfinished: ["NOT unfinished"],
  interrupted: ["NOT interrupted"],
  updated_at: ["'infinity'", "'-infinity'"],
  created_at: ["'infinity'", "'-infinity'"],
  active_at: ["'infinity'", "'-infinity'"]
} as const

const assignments = (of: Record<string, ReadonlyArray<string>>): ReadonlyArray<string> =>
  Object.entries(of).flatMap(([column, values]) => values.map((value) => `${column} = ${value}`))

/** The newest version is stored as a delta, as most are. */
const versions = 8

const Damage = Schema.Union([
  Schema.TaggedStruct("Row", {
    version: Schema.Literals([1, 2, 4, 5, 7, 8]),
    set: Schema.Literals(assignments(values))
  }),
  Schema.TaggedStruct("Row", {
    version: Schema.Literals([1, 2, 4, 5, 7, 8]),
    set: Schema.Literals(assignments(values))
  }),
  Schema.TaggedStruct("Head", { set: Schema.Literals(assignments(headValues)) }),
  Schema.TaggedStruct("Gone", { version: Schema.Literals([1, 2, 4, 5, 7, 8]) }),
  Schema.TaggedStruct("Headless", {})
])

const Chat = Schema.Struct({ messages: Schema.Array(Schema.String) })

const chat = (n: number): typeof Chat.Type => ({
  messages: Array.from({ length: 10 + n }, (_, i) => `message ${i} `.repeat(4))
})

type LawError =
  | Checkpointer.WriteError
  | Checkpointer.ReadError
  | CheckpointError.CheckpointNotFound
  | CheckpointError.InterruptAlreadyResolved
  | CheckpointError.VersionConflict
  | CheckpointError.ThreadExists

layer(Database.layer, { excludeTestServices: true })("damaged rows", (it) => {
  it.effect.prop(
    "damaged rows are errors that name their thread and version, and leave all other rows readable",
    [Arbitrary.array(Arbitrary.schema(Damage), { minLength: 1, maxLength: 3 })],
    ([damages]) =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const checkpointer = yield* Checkpointer.Checkpointer
        yield* sql`TRUNCATE damage.checkpoint_threads, damage.checkpoints, damage.checkpoint_pending_writes, damage.checkpoint_questions`
        const options = { state: Chat, namespace: "damaged" }
        const writing = yield* checkpointer.view(options)
        const others = yield* checkpointer.view({ ...options, namespace: "others" })
        for (let n = 1; n <= versions; n++) {
          for (const view of [writing, others]) {
            for (const threadId of ["t", "neighbour"]) {
              yield* view.append({
                threadId,
                checkpointId: `id ${n}`,
                state: chat(n),
                metadata: { n },
                nextNodes: ["next"]
              })
            }
          }
        }
        // A service without anything in its cache.
        const service = yield* Checkpointer.make({ retry: Schedule.recurs(0) })
        const view = yield* service.view(options)
        const intact = (namespace: string, threadId: string) =>
          Effect.map(
            Effect.flatMap(
              service.view({ ...options, namespace }),
              (view) => Stream.runCollect(view.history(threadId))
            ),
            (history) => history.map(({ metadata, state, version }) => ({ version, state, metadata }))
          )
        const before = yield* intact("others", "t")
        assert.lengthOf(before, versions)

        for (const damage of damages) {
          switch (damage._tag) {
            case "Row":
              yield* Effect.ignore(sql`
                UPDATE damage.checkpoints SET ${sql.literal(damage.set)}
                 WHERE thread_id = 't' AND namespace = 'damaged' AND version = ${damage.version}`)
              break
            case "Head":
              yield* sql`
                UPDATE damage.checkpoint_threads SET ${sql.literal(damage.set)}
                 WHERE thread_id = 't' AND namespace = 'damaged'`
              break
            case "Gone":
              yield* sql`
                DELETE FROM damage.checkpoints
                 WHERE thread_id = 't' AND namespace = 'damaged' AND version = ${damage.version}`
              break
            case "Headless":
              yield* sql`DELETE FROM damage.checkpoint_threads WHERE thread_id = 't' AND namespace = 'damaged'`
          }
        }

        const ref = { threadId: "t", namespace: "damaged", version: versions, checkpointId: `id ${versions}` }
        const policy = { maxVersions: 2, namespace: "damaged" }
        const numbers = Array.from({ length: versions }, (_, i) => i + 1)
        const operations: Record<string, Effect.Effect<unknown, LawError>> = {
          get: view.get("t"),
          ...Object.fromEntries(numbers.flatMap((version) => [
            [`get ${version}`, view.get("t", { version })],
            [`get id ${version}`, view.get("t", { checkpointId: `id ${version}` })]
          ])),
          time: view.getAtTime("t", yield* DateTime.now),
          tag: view.get("t", { tag: "a" }),
          list: view.listVersions("t"),
          history: Stream.runCollect(view.history("t")),
          "history below": Stream.runCollect(view.history("t", { before: 5 })),
          threads: Stream.runCollect(view.threads()),
          "threads by metadata": Stream.runCollect(view.threads({ metadata: { n: versions } })),
          writes: view.pendingWrites(ref),
          saveWrites: view.savePendingWrites(ref, { a: 1 }),
          ask: view.ask(ref, [{ interruptId: "i", request: 1 }]),
          answer: view.answer("t", { i: 1 }),
          "ask again": view.ask(ref, [{ interruptId: "j", request: 1 }]),
          step: view.step(ref),
          questions: Stream.runCollect(view.openQuestions()),
          setTags: view.setTags("t", { version: 4 }, ["b"]),
          fork: view.fork("t", { version: 5 }, { threadId: "fork" }),
          again: view.append({ threadId: "t", checkpointId: "id 5", state: chat(5), metadata: { n: 5 } }),
          "put parent": view.put({ parent: ref, state: chat(9) }),
          update: view.updateEffect("t", Effect.succeed),
          restore: view.restore("t", { version: 2 }),
          put: view.append({ threadId: "t", state: chat(10) }),
          "dry run": service.prune({ ...policy, compact: true }, { dryRun: true }),
          prune: service.prune(policy),
          compact: service.prune({ ...policy, maxVersions: 1, compact: true }),
          delete: view.deleteThread("t")
        }
        for (const [name, operation] of Object.entries(operations)) {
          const exit = yield* Effect.exit(Effect.timeoutOrElse(operation, {
            duration: "5 seconds",
            orElse: () => Effect.die(new Error("it hangs"))
          }))
          if (Exit.isSuccess(exit)) continue
          const found = Cause.findErrorOption(exit.cause)
          assert.isTrue(found._tag === "Some", `${name}: ${Cause.pretty(exit.cause)}`)
          const error = (found as { readonly value: LawError }).value
          if (error._tag === "StateDecodeError") {
            assert.include(error, { threadId: "t", namespace: "damaged" })
            assert.isTrue(Number.isSafeInteger(error.version), name)
          } else if (error._tag === "StoreError") {
            // Refusals of the server, such as a row that exists or a patch that does not fit, and a put after a version
            // with an infinite time.
            assert.include(["Rejected", "Unknown"], error.reason._tag, name)
            assert.isFalse(error.isRetryable, name)
          } else assert.notStrictEqual(error._tag, "InvalidInput", `${name}: ${error.message}`)
        }
        assert.deepStrictEqual(yield* intact("others", "t"), before)
        assert.deepStrictEqual(yield* intact("others", "neighbour"), before)
        assert.deepStrictEqual((yield* intact("damaged", "neighbour"))[0], before[0])
      }).pipe(Effect.provide(pgLayer({ schema: "damage" }))),
    {
      arbitrary: { runs: 60 * effort, seed: `damage ${process.env["CHECKPOINT_TEST_SEED"]}`, maxShrinks: 200 },
      timeout: 60_000 * (1 + effort)
    }
  )
})
