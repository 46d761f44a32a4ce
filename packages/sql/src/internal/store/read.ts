import type { CheckpointStore, Selector } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { chain, type ChainRow, toCheckpoint } from "./chain.ts"
import { timestamp } from "./columns.ts"
import { isVisible, ofThread, prunedThrough, withHead } from "./head.ts"

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["read"] => {
  const { checkpoints } = tables
  return (key, selector, count) =>
    session.run(
      "read",
      selector._tag === "Latest" && count === 1
        ? sql<ChainRow>`
      ${withHead(tables, key)}
      ${chain(tables, key, "SELECT keyframe_version FROM head", "SELECT version FROM head")}`
        : sql<ChainRow>`
      ${withHead(tables, key)}, target AS MATERIALIZED (
        SELECT c.version, c.keyframe_version
          FROM ${checkpoints} c
         WHERE ${ofThread("c", key)} AND ${isVisible("c", prunedThrough)} AND ${isSelected("c", selector)}
         ORDER BY c.version DESC
         LIMIT ${String(count)}::integer
      )
      ${chain(tables, key, "SELECT min(keyframe_version) FROM target", "SELECT max(version) FROM target")}`
    ).pipe(Effect.map((rows) => rows.map(toCheckpoint)))
}

const isSelected = (alias: string, selector: Selector): Fragment => {
  const c = literal(alias)
  switch (selector._tag) {
    case "Latest":
      return fragment`${c}.version <= (SELECT version FROM head)`
    case "Version":
      return fragment`${c}.version = ${String(selector.version)}::bigint`
    case "Id":
      return fragment`${c}.checkpoint_id = ${selector.checkpointId}`
    case "Tag":
      return fragment`${c}.pinned AND ${c}.tags @> ${selector.tags}::jsonb`
    case "Time":
      // What lies outside of what both sides can express is before or after everything.
      return fragment`${c}.created_at <= ${timestamp(Math.min(Math.max(selector.epochMillis, 0), 8.64e15))}`
    case "Before":
      return fragment`${c}.version < ${String(selector.version)}::bigint`
  }
}
