import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, toInfo } from "./columns.ts"
import { isVisible, ofSameThread, ofThread } from "./head.ts"

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["setTags"] => {
  const { checkpoints, threads } = tables
  return (key, version, tags) =>
    session.run(
      "setTags",
      // The lock on the head keeps a prune from deciding about the version at the same time.
      sql<InfoRow>`
        WITH target AS (
          SELECT c.version
            FROM ${threads} t
            JOIN ${checkpoints} c ON ${ofSameThread("c", "t")}
           WHERE ${ofThread("t", key)} AND ${ofThread("c", key)} AND c.version = ${String(version)}::bigint
             AND ${isVisible("c", "t.pruned_through")}
             FOR SHARE OF t
        )
        UPDATE ${checkpoints} c SET tags = ${tags}::jsonb
          FROM target
         WHERE ${ofThread("c", key)} AND c.version = target.version
        RETURNING ${info("c")}`
    ).pipe(Effect.map(([row]) => Option.map(Option.fromUndefinedOr(row), toInfo)))
}
