import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import { blocks, statementsIn } from "./documents.ts"
import { age, clientLayer, Database, inQuickRuns, isThorough, withUser } from "./support.ts"

/*
 * Runs everything, and all SQL of the documents, with roles that have exactly the rights which docs/roles.md grants.
 * Functions are not even executable by everyone here.
 */

type Role = "owner" | "app" | "reader"

/** Roles belong to the server, which other test files share. */
const suffix = uuidV4Unsafe().replaceAll("-", "")
const named = (text: string): string => text.replaceAll(/(?<= TO )(app|reader)$/g, `$1_${suffix}`)

const asRole = (role: Role) =>
  Layer.unwrap(
    Effect.map(Database, ({ url }) => PgClient.layer({ url: withUser(url, `${role}_${suffix}`, "secret word") }))
  )

const roles = Layer.effectDiscard(Effect.gen(function*() {
  const { url } = yield* Database
  const sql = yield* PgClient.PgClient
  const database = sql(new URL(Redacted.value(url)).pathname.slice(1))
  for (const role of ["owner", "app", "reader"]) {
    const name = sql(`${role}_${suffix}`)
    yield* Effect.acquireRelease(
      sql`CREATE ROLE ${name} LOGIN PASSWORD 'secret word'`,
      () => Effect.orDie(Effect.andThen(sql`DROP OWNED BY ${name} CASCADE`, sql`DROP ROLE ${name}`))
    )
  }
  const owner = sql(`owner_${suffix}`)
  yield* sql`GRANT CREATE ON DATABASE ${database} TO ${owner}`
  yield* sql`ALTER SCHEMA public OWNER TO ${owner}`
  yield* sql`ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`
})).pipe(Layer.provide(clientLayer()))

/** Drops what is stored and what was granted. It is run in a test of its own. */
const partitioning = blocks.find(({ text }) => text.includes("PARTITION BY"))!

const statementsFor = (role: Role) =>
  blocks.filter((block) => block.role === role && block !== partitioning).flatMap(({ text }) => statementsIn(text))

const granted = Layer.effectDiscard(Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* PgCheckpointer.migrate()
  for (const statement of statementsFor("owner")) yield* sql.unsafe(named(statement))
  // The table that docs/choosing.md is about.
  yield* sql`CREATE TABLE public.chats (id text, state jsonb, version integer)`
  yield* sql.unsafe(named("GRANT SELECT, UPDATE ON public.chats TO app"))
})).pipe(Layer.provide(asRole("owner")))

/** One database for all tests of the file. */
const shared = ManagedRuntime.make(granted.pipe(Layer.provideMerge(roles), Layer.provideMerge(Database.layer)))
afterAll(() => shared.dispose())

const on = (role: Role) => asRole(role).pipe(Layer.provideMerge(Layer.effectContext(shared.contextEffect)))
const inApp = Layer.provideMerge(PgCheckpointer.layerStorage, on("app"))

CheckpointerLaws.laws({
  name: "with the rights of an application",
  layer: inApp,
  age: age(),
  runs: 10,
  ...inQuickRuns("writing", "reading", "branching", "steps", "questions", "threads", "retention", "store")
})

if (isThorough) {
  StateGraphLaws.laws({ name: "graphs with the rights of an application", layer: inApp, runs: 5 })
}

describe("SQL of the documents", () => {
  const as = (role: Role) => <A, E>(effect: Effect.Effect<A, E, PgClient.PgClient>) => Effect.provide(effect, on(role))

  it("SQL of the documents names the role that it is written for", () => {
    assert.isAbove(blocks.length, 6)
    for (const { name, role } of blocks) assert.include(["owner", "app", "reader"], role, name)
  })

  it.live("SQL of the documents can be run by the role that it is written for, and finds what the application saved", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        const orders = yield* checkpointer.view({ namespace: "orders", state: Schema.Json })
        const lines = Array.from({ length: 30 }, (_, i) => `${i} ${"words ".repeat(20)}`)
        for (let total = 1; total <= 5; total++) {
          yield* orders.append({ threadId: "order-1", state: { total, lines }, nextNodes: ["pay"] })
        }
      }).pipe(Effect.provide(inApp))
      const deltas = yield* PgClient.PgClient.use((sql) =>
        sql`SELECT FROM effect_checkpoint.checkpoints WHERE namespace = 'orders' AND format = 3`
      ).pipe(as("owner"))
      assert.lengthOf(deltas, 4)
      for (const statement of statementsFor("reader")) {
        const rows = yield* PgClient.PgClient.use((sql) => sql.unsafe(statement)).pipe(as("reader"))
        assert.isNotEmpty(rows, statement)
      }
      for (const statement of statementsFor("app")) {
        yield* PgClient.PgClient.use((sql) => sql.unsafe(`PREPARE documented AS ${statement}`)).pipe(as("app"))
      }
    }))

  it.live("SQL of the documents lets the owner partition the tables", () =>
    PgClient.PgClient.use((sql) =>
      Effect.gen(function*() {
        yield* sql.unsafe(partitioning.text)
        const rows = yield* sql`
          SELECT relname FROM pg_class
           WHERE relkind = 'p' AND relnamespace = 'effect_checkpoint'::regnamespace`
        assert.lengthOf(rows, 4)
        return yield* Effect.fail("rolled back")
      }).pipe(sql.withTransaction, Effect.flip)
    ).pipe(
      as("owner"),
      Effect.map((error) => assert.strictEqual(error, "rolled back"))
    ))

  it.live("a role that reads states with SQL can read nothing else and change nothing", () =>
    PgClient.PgClient.use((sql) =>
      Effect.gen(function*() {
        for (
          const statement of [
            "SELECT FROM effect_checkpoint.checkpoint_pending_writes",
            "SELECT FROM effect_checkpoint.checkpoint_questions",
            "UPDATE effect_checkpoint.checkpoints SET payload = '{}'",
            "DELETE FROM effect_checkpoint.checkpoint_threads",
            "CREATE TABLE effect_checkpoint.mine ()"
          ]
        ) {
          assert.match(String((yield* Effect.flip(sql.unsafe(statement))).reason.cause), /permission denied/, statement)
        }
      })
    ).pipe(as("reader")))

  it.live("an application cannot create tables or change the list of migrations", () =>
    PgClient.PgClient.use((sql) =>
      Effect.gen(function*() {
        for (
          const statement of [
            "INSERT INTO effect_checkpoint.checkpoint_migrations (migration_id, name) VALUES (99, '')",
            "CREATE TABLE effect_checkpoint.mine ()"
          ]
        ) {
          assert.match(String((yield* Effect.flip(sql.unsafe(statement))).reason.cause), /permission denied/, statement)
        }
      })
    ).pipe(as("app")))

  it.live("row-level security restricts what a reader sees in the view, since Postgres 15", () =>
    Effect.gen(function*() {
      const save = Checkpointer.Checkpointer.use((checkpointer) =>
        Effect.forEach(["mine", "theirs"], (threadId) => checkpointer.create({ threadId, state: threadId }))
      )
      yield* Effect.provide(save, inApp)
      const enforce = PgClient.PgClient.use((sql) =>
        Effect.forEach(["checkpoints", "checkpoint_threads"], (table) =>
          Effect.gen(function*() {
            yield* sql`ALTER TABLE ${sql(`effect_checkpoint.${table}`)} ENABLE ROW LEVEL SECURITY`
            yield* sql`CREATE POLICY mine ON ${sql(`effect_checkpoint.${table}`)} USING (thread_id = 'mine')`
          }))
      )
      yield* as("owner")(enforce)
      const read = PgClient.PgClient.use((sql) =>
        Effect.all([
          sql`SELECT DISTINCT thread_id FROM effect_checkpoint.checkpoint_states`,
          sql`SELECT current_setting('server_version_num')::integer >= 150000 AS restricted`
        ])
      )
      const [rows, [server]] = yield* as("reader")(read)
      if (server!.restricted === true) assert.deepStrictEqual(rows, [{ thread_id: "mine" }])
      else assert.isAbove(rows.length, 1)
    }))
})
