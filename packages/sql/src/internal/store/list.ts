import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, toInfo } from "./columns.ts"
import { isVisible, ofThread, prunedThrough, withHead } from "./head.ts"

export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["list"] => (key, { before, limit }) =>
    session.run(
      "list",
      sql<InfoRow>`
        ${withHead(tables, key)}
        SELECT ${info("c")}
          FROM ${tables.checkpoints} c
         WHERE ${ofThread("c", key)} AND ${isVisible("c", prunedThrough)}
           AND ${before === undefined ? literal("TRUE") : fragment`c.version < ${String(before)}::bigint`}
         ORDER BY c.version DESC
         LIMIT ${String(limit)}::integer`
    ).pipe(Effect.map((rows) => rows.map(toInfo)))
