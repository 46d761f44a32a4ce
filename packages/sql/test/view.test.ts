import { Checkpointer } from "@effect-checkpoint/core"
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Result, Schema } from "effect"
import * as Delta from "../../core/src/internal/delta.ts"
import { Database, pgLayer, some } from "./support.ts"

/** One change within a version, of the state itself, a list in it, or what is deeper. */
const Change = Schema.TaggedUnion({
  Append: { at: Schema.Literals(["list", "deep"]), values: Schema.Array(Schema.Json) },
  Insert: { at: Schema.Literals(["list", "deep"]), index: Schema.Literals([0, 1, 2, 5]), value: Schema.Json },
  Drop: { at: Schema.Literals(["list", "deep"]), index: Schema.Literals([0, 1, 2, 5]), count: Schema.Literals([1, 2]) },
  Replace: { at: Schema.Literals(["list", "deep"]), index: Schema.Literals([0, 1, 2, 5]), value: Schema.Json },
  Set: {
    at: Schema.Literals(["keys", "state"]),
    key: Schema.Literals(["a", "", "/", "~1", "0", "-"]),
    value: Schema.Json
  },
  Unset: { at: Schema.Literals(["keys", "state"]), key: Schema.Literals(["a", "", "/", "~1", "0", "-"]) }
})

interface Parts {
  readonly state: Record<string, Schema.Json>
  readonly keys: Record<string, Schema.Json>
  readonly list: Array<Schema.Json>
  readonly deep: Array<Schema.Json>
}

const change = (parts: Parts, change: typeof Change.Type): void => {
  switch (change._tag) {
    case "Append":
      parts[change.at].push(...change.values)
      return
    case "Insert":
      parts[change.at].splice(change.index, 0, change.value)
      return
    case "Drop":
      parts[change.at].splice(change.index, change.count)
      return
    case "Replace":
      parts[change.at].splice(change.index, 1, change.value)
      return
    case "Set":
      parts[change.at][change.key] = change.value
      return
    case "Unset":
      delete parts[change.at][change.key]
  }
}

/** Where text cannot be in jsonb the view has it escaped, as it is stored. */
const isEscaped = (state: Schema.Json): boolean => /\\u0000|\\u001a|\\ud[89a-f]/.test(JSON.stringify(state))

/** Puts a version for each list of changes, compares all, and tells how many were stored as deltas. */
const compared = Effect.fnUntraced(function*(versions: ReadonlyArray<ReadonlyArray<typeof Change.Type>>) {
  const checkpointer = yield* Checkpointer.Checkpointer
  const sql = yield* PgClient.PgClient
  yield* checkpointer.deleteThread("t")
  const parts: Parts = { state: {}, keys: {}, list: [], deep: [] }
  const current = (): Schema.Json => ({
    ...parts.state,
    filler: "a part that stays as it is. ".repeat(100),
    keys: parts.keys,
    list: [...parts.list],
    tree: [{ "": parts.deep }]
  })
  yield* checkpointer.append({ threadId: "t", state: current() })
  for (const changes of versions) {
    for (const each of changes) change(parts, each)
    yield* checkpointer.append({ threadId: "t", state: current() })
  }
  const rows = yield* sql<{ readonly version: number; readonly state: Schema.Json }>`
    SELECT version::float8 AS version, state FROM view.checkpoint_states ORDER BY version`
  assert.strictEqual(rows.length, versions.length + 1)
  for (const { state, version } of rows) {
    const read = some(yield* checkpointer.get("t", { version })).state
    if (!isEscaped(read)) assert.deepStrictEqual(state, read)
  }
  const deltas = yield* sql`SELECT FROM view.checkpoints WHERE format IN (3, 4)`
  return deltas.length
})

layer(pgLayer({ schema: "view" }).pipe(Layer.provideMerge(Database.layer)), { excludeTestServices: true })(
  "the view of the database",
  (it) => {
    it.effect.prop(
      "has each version as the service reads it, whatever has changed",
      [Arbitrary.array(Arbitrary.array(Arbitrary.schema(Change), { minLength: 1, maxLength: 12 }), {
        minLength: 1,
        maxLength: 8
      })],
      ([versions]) => compared(versions),
      { arbitrary: { runs: 60, seed: `view ${process.env["CHECKPOINT_TEST_SEED"]}` } }
    )

    it.effect("has what was changed in several places of one delta", () =>
      Effect.gen(function*() {
        const at = ["list", "deep"] as const
        const keys = ["a", "", "/", "~1", "0", "-"] as const
        const versions: ReadonlyArray<ReadonlyArray<typeof Change.Type>> = [
          at.map((at) => ({ _tag: "Append", at, values: [1, [2], { three: 3 }, [], "five", null] })),
          keys.flatMap((
            key
          ) => [{ _tag: "Set", at: "keys", key, value: [key] }, { _tag: "Set", at: "state", key, value: key }]),
          [
            { _tag: "Append", at: "list", values: ["a", "b"] },
            ...keys.map((key) => ({ _tag: "Set", at: "keys", key, value: { [key]: 1 } }) as const),
            { _tag: "Append", at: "deep", values: ["c", "d"] },
            { _tag: "Unset", at: "keys", key: "a" },
            { _tag: "Set", at: "keys", key: "/", value: null },
            { _tag: "Unset", at: "state", key: "0" }
          ],
          at.flatMap((at) => [
            { _tag: "Replace", at, index: 0, value: "first" },
            { _tag: "Drop", at, index: 2, count: 2 },
            { _tag: "Insert", at, index: 1, value: "second" },
            { _tag: "Append", at, values: ["last", "of all"] }
          ])
        ]
        assert.strictEqual(yield* compared(versions), versions.length)
      }))

    it.effect.prop(
      "applies any patch of add, remove and replace as the service does",
      [Arbitrary.array(
        Arbitrary.schema(Schema.Struct({
          op: Schema.Literals(["add", "replace", "remove"]),
          path: Schema.Literals(["", "/list", "/list", "/list", "/keys", "/keys", "/tree/0", "/tree/0/"]),
          key: Schema.Literals(["0", "1", "2", "3", "4", "a", "~0", "~1", ""]),
          value: Schema.Literals([1, 2, 3])
        })),
        { minLength: 1, maxLength: 24 }
      )],
      ([operations]) =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const before = { list: [0, 1, 2], keys: { a: 0, "": 1 }, tree: [[3, 4], { "": [5] }] }
          // Those that do not fit where they come are left out.
          const patch: Array<Schema.Json> = []
          let after: Schema.Json = before
          for (const { key, op, path, value } of operations) {
            const operation = { op, path: `${path}/${key}`, ...(op === "remove" ? {} : { value }) }
            const applied = Delta.apply([operation], after, Delta.noCopies())
            if (Result.isFailure(applied)) continue
            patch.push(operation)
            after = applied.success
          }
          const [row] = yield* sql<{ readonly state: Schema.Json }>`
          SELECT view.checkpoint_apply(${JSON.stringify(before)}::jsonb, 3::smallint, ${
            JSON.stringify(patch)
          }::jsonb) AS state`
          assert.deepStrictEqual(row!.state, after, JSON.stringify(patch))
        }),
      { arbitrary: { runs: 300, seed: `patch ${process.env["CHECKPOINT_TEST_SEED"]}` } }
    )

    it.effect("works after the schema was renamed", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const states = [1, 2, 3].map((count) => ({ count, filler: "a part that stays as it is. ".repeat(100) }))
        for (const state of states) yield* checkpointer.append({ threadId: "t", state })
        assert.lengthOf(yield* sql`SELECT FROM before.checkpoints WHERE format = 3`, 2)
        yield* sql`ALTER SCHEMA before RENAME TO after`
        const rows = yield* sql`SELECT state FROM after.checkpoint_states ORDER BY version`
        assert.deepStrictEqual(rows.map((row) => row.state), states)
      }).pipe(Effect.provide(pgLayer({ schema: "before" }))))

    it.effect("has a state that is a list", () =>
      Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const sql = yield* PgClient.PgClient
        const filler = "a part that stays as it is. ".repeat(100)
        const states = [
          [filler],
          [filler, 1, [2], null],
          [filler, 0, [2, 3], "four", "five"],
          [filler, {}, 6]
        ]
        for (const state of states) yield* checkpointer.append({ threadId: "t", state })
        const rows = yield* sql`SELECT state FROM list.checkpoint_states ORDER BY version`
        assert.deepStrictEqual(rows.map((row) => row.state), states)
        const deltas = yield* sql`SELECT FROM list.checkpoints WHERE format = 3`
        assert.strictEqual(deltas.length, 3)
      }).pipe(Effect.provide(pgLayer({ schema: "list" }))))
  }
)
