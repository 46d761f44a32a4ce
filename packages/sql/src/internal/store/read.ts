import type { CheckpointStore, Selector, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { chain, type ChainRow, toCheckpoint } from "./chain.ts"
import { timestamp } from "./columns.ts"
import { isVisible, newestVisible, ofThread, prunedThrough, withHead } from "./head.ts"

export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["read"] => (key, selector, count) =>
    session.run(
      "read",
      selector._tag === "Latest" && count === 1
        ? sql<ChainRow>`
      ${withHead(tables, key)}
      ${chain(tables, key, "SELECT keyframe_version FROM head", "SELECT version FROM head")}`
        : sql<ChainRow>`
      ${withHead(tables, key)}, ${target(tables, key, selector, count)}
      ${chain(tables, key, "SELECT min(keyframe_version) FROM target", "SELECT max(version) FROM target")}`
    ).pipe(Effect.map((rows) => rows.map(toCheckpoint)))

/** The versions that a selector names, and where their chains begin. */
const target = (tables: Tables, key: ThreadKey, selector: Selector, count: number): Fragment => {
  const matching = (condition: Fragment) =>
    fragment`target AS MATERIALIZED (
        SELECT c.version, c.keyframe_version
          FROM ${tables.checkpoints} c
         WHERE ${ofThread("c", key)} AND ${isVisible("c", prunedThrough)} AND ${condition}
         ORDER BY c.version DESC
         LIMIT ${literal(String(count))}
      )`
  const newest = (condition: Fragment) =>
    fragment`target AS MATERIALIZED (
        ${newestVisible(tables, key, literal("c.version, c.keyframe_version"), condition, count)}
      )`
  switch (selector._tag) {
    case "Version":
      return matching(fragment`c.version = ${String(selector.version)}::bigint`)
    case "Id":
      return matching(fragment`c.checkpoint_id = ${selector.checkpointId}`)
    case "Tag":
      return matching(fragment`c.pinned AND c.tags @> ${selector.tags}::jsonb`)
    case "Latest":
      return newest(literal("c.version <= (SELECT version FROM head)"))
    case "Before":
      return newest(fragment`c.version < ${String(selector.version)}::bigint`)
    case "Time":
      return fragment`${lastAt(tables, key, selector.epochMillis)}, ${
        newest(literal("c.version <= (SELECT low FROM search WHERE low = high)"))
      }`
  }
}

/**
 * Finds the version that was the newest one at a time. Versions and times rise together, therefore a binary search by
 * version takes 20 steps where an index by time would cost each put. A version that was removed counts as the one before.
 */
const lastAt = ({ checkpoints }: Tables, key: ThreadKey, epochMillis: number): Fragment =>
  fragment`search (low, high) AS (
        SELECT 0::bigint, version FROM head
        UNION ALL
        SELECT CASE WHEN found.is_before THEN found.middle ELSE found.low END,
               CASE WHEN found.is_before THEN found.high ELSE found.middle - 1::bigint END
          FROM (
            SELECT s.low, s.high, s.middle, COALESCE((
                     SELECT c.created_at
                       FROM ${checkpoints} c
                      WHERE ${ofThread("c", key)} AND c.version <= s.middle
                      ORDER BY c.version DESC
                      LIMIT 1
                   ) <= ${timestamp(epochMillis)}, TRUE) AS is_before
              FROM (SELECT low, high, (low + high + 1::bigint) / 2::bigint AS middle FROM search WHERE low < high OFFSET 0) s
            OFFSET 0
          ) found
      )`
