import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isVisible, ofThread, prunedThrough, withHead } from "./head.ts"

/** What is of the head is `null` when there is none. */
interface RefusalRow {
  readonly version: number | null
  readonly checkpoint_id: string
  readonly write_id: string
  readonly taken: boolean
}

/**
 * Finds out why a put was refused. A version that was pruned, but whose row other versions need, loses its id to the put
 * that wants it.
 */
export const make = (
  sql: PgClient,
  session: Session,
  tables: Tables
): CheckpointStore["Service"]["explainRefusal"] => {
  const { checkpoints } = tables
  return (key, checkpointId) =>
    session.run(
      "put",
      sql<RefusalRow>`
      ${withHead(tables, key)}, freed AS (
        UPDATE ${checkpoints} c SET checkpoint_id = NULL
         WHERE ${ofThread("c", key)} AND c.checkpoint_id = ${checkpointId} AND NOT ${isVisible("c", prunedThrough)}
        RETURNING c.version
      )
      SELECT head.version::float8 AS version, head.checkpoint_id, head.write_id::text AS write_id,
             EXISTS (
               SELECT FROM ${checkpoints} c
                WHERE ${ofThread("c", key)} AND c.checkpoint_id = ${checkpointId}
             ) AND NOT EXISTS (SELECT FROM freed) AS taken
        FROM (SELECT) AS one LEFT JOIN head ON TRUE`
    ).pipe(Effect.map(([row]) => ({
      head: row!.version === null
        ? undefined
        : { version: row!.version, checkpointId: row!.checkpoint_id, writeId: row!.write_id },
      idTaken: row!.taken
    })))
}
