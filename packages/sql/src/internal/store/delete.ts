import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isVisible, ofThread } from "./head.ts"

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["deleteThread"] => {
  const { checkpoints, threads } = tables
  return (key) =>
    session.transaction(
      "deleteThread",
      // Not one statement: the rows of a put that commits while it waits for the head would be invisible to it, and
      // outlive their thread.
      Effect.gen(function*() {
        const [locked] = yield* sql`SELECT FROM ${threads} t WHERE ${ofThread("t", key)} FOR UPDATE`
        if (locked === undefined) return 0
        // The pending writes of a thread are deleted with its head, by their foreign key.
        const [row] = yield* sql<{ readonly versions: number }>`
          WITH t AS (
            DELETE FROM ${threads} t WHERE ${ofThread("t", key)} RETURNING t.pruned_through
          ), c AS (
            DELETE FROM ${checkpoints} c WHERE ${ofThread("c", key)} RETURNING c.version, c.pinned
          )
          SELECT count(*)::float8 AS versions FROM c, t WHERE ${isVisible("c", "t.pruned_through")}`
        return row!.versions
      })
    )
}
