import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, toInfo } from "./columns.ts"
import { newestVisible, withHead } from "./head.ts"

export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["list"] => (key, { before, limit }) =>
    session.run(
      "list",
      // The limit is written out: a generic plan must know how few rows are wanted.
      sql<InfoRow>`
        ${withHead(tables, key)}
        ${
        newestVisible(
          tables,
          key,
          info("c"),
          before === undefined ? literal("TRUE") : fragment`c.version < ${String(before)}::bigint`,
          limit
        )
      }`
    ).pipe(Effect.map((rows) => rows.map(toInfo)))
