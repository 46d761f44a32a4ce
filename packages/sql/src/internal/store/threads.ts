import type { CheckpointStore, StoredThread, ThreadQuery } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { and, type Fragment, fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, millis, timestamp, toInfo } from "./columns.ts"
import { ofSameThread } from "./head.ts"

interface ThreadRow extends InfoRow {
  readonly thread_created_at: number
}

export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["threads"] => (query) =>
    session.run(
      "threads",
      // The index has the first time, and the second one sorts within a minute (before Postgres 13 all is sorted). The
      // limit is written out: a generic plan must know how few rows are wanted.
      sql<ThreadRow>`
        SELECT ${info("c")}, ${literal(millis("t.created_at"))} AS thread_created_at
          FROM ${tables.threads} t
          JOIN ${tables.checkpoints} c ON ${ofSameThread("c", "t")} AND c.version = t.version
         WHERE ${and(conditions("t", "c", query))}
         ORDER BY t.active_at DESC, t.updated_at DESC, t.namespace, t.thread_id
         LIMIT ${literal(String(query.limit))}`
    ).pipe(Effect.map((rows) => rows.map(toThread)))

/** One for each filter, on the heads and their newest checkpoints. */
const conditions = (heads: string, checkpoints: string, query: ThreadQuery): ReadonlyArray<Fragment> => {
  const t = literal(heads)
  const c = literal(checkpoints)
  const { after, interrupted, metadata, namespace, unfinished } = query
  const conditions: Array<Fragment> = []
  if (namespace !== undefined) conditions.push(fragment`${t}.namespace = ${namespace}`)
  if (interrupted !== undefined) {
    conditions.push(interrupted ? fragment`${t}.interrupted` : fragment`NOT ${t}.interrupted`)
  }
  if (unfinished !== undefined) conditions.push(unfinished ? fragment`${t}.unfinished` : fragment`NOT ${t}.unfinished`)
  if (interrupted === true || unfinished === true) {
    // Implied by what is above, and what the planner must see to use the partial index.
    conditions.push(fragment`(${t}.unfinished OR ${t}.interrupted)`)
  }
  if (metadata !== undefined) conditions.push(fragment`${c}.metadata @> ${metadata}::jsonb`)
  if (after !== undefined) {
    const time = timestamp(after.updatedAt)
    conditions.push(fragment`
        ${t}.active_at <= date_trunc('minute'::text, ${time})
        AND (${t}.updated_at < ${time}
             OR (${t}.updated_at = ${time} AND (${t}.namespace, ${t}.thread_id) > (${after.namespace}, ${after.threadId})))`)
  }
  return conditions
}

const toThread = (row: ThreadRow): StoredThread => ({
  threadId: row.thread_id,
  namespace: row.namespace,
  createdAt: row.thread_created_at,
  head: toInfo(row)
})
