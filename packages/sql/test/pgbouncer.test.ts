import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws } from "@effect-checkpoint/testing"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PgBouncer from "./pgbouncer.ts"
import { age, Database, inQuickRuns } from "./support.ts"

if (PgBouncer.version === undefined) {
  describe("behind PgBouncer in transaction mode", () => {
    it.skip("the laws hold behind PgBouncer (pgbouncer is not installed)", () => {})
  })
} else {
  const pooled = Layer.unwrap(Effect.gen(function*() {
    const { url } = yield* Database
    return PgClient.layer({ url: yield* PgBouncer.before(url), prepare: false, maxConnections: 20 })
  }))
  CheckpointerLaws.laws({
    name: `behind ${PgBouncer.version} in transaction mode`,
    layer: PgCheckpointer.layer.pipe(Layer.provideMerge(pooled), Layer.provide(Database.layer)),
    age: age(),
    runs: 10,
    ...inQuickRuns(
      "writing",
      "concurrency",
      "reading",
      "branching",
      "steps",
      "questions",
      "threads",
      "retention",
      "store"
    )
  })
}
