import type { CheckpointStore, StoredThread, ThreadCursor, ThreadQuery } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { and, type Fragment, fragment, joined, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, millis, timestamp, toInfo } from "./columns.ts"
import { ofSameThread } from "./head.ts"

interface ThreadRow extends InfoRow {
  readonly thread_created_at: number
  readonly active_at: number
}

export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["threads"] => (query) =>
    session.run(
      "threads",
      sql<ThreadRow>`
        SELECT ${info("c")}, ${literal(millis("t.created_at"))} AS thread_created_at,
               ${literal(millis("t.active_at"))} AS active_at
          FROM (${heads(tables, query)}) t
          JOIN ${tables.checkpoints} c ON ${ofSameThread("c", "t")} AND c.version = t.version
         ORDER BY t.active_at DESC, t.namespace, t.thread_id`
    ).pipe(Effect.map((rows) => rows.map(toThread)))

/**
 * Selects the heads of a page, before their checkpoints are looked up. Each part is a range of an index, which is read in
 * order up to the limit. The limit is written out: a generic plan must know how few rows are wanted.
 */
const heads = ({ checkpoints, threads }: Tables, query: ThreadQuery): Fragment => {
  const limit = literal(String(query.limit))
  const newest = query.metadata === undefined
    ? literal("")
    : fragment`JOIN ${checkpoints} c ON ${ofSameThread("c", "t")} AND c.version = t.version
                AND c.metadata @> ${query.metadata}::jsonb`
  const parts = ranges("t", query.after).map((range) =>
    fragment`(
            SELECT t.thread_id, t.namespace, t.version, t.active_at, t.created_at
              FROM ${threads} t ${newest}
             WHERE ${and([...range, ...conditions("t", query)])}
             ORDER BY t.active_at DESC, t.namespace, t.thread_id
             LIMIT ${limit}
          )`
  )
  return fragment`SELECT * FROM (${joined(" UNION ALL ", parts)}) AS parts
           ORDER BY active_at DESC, namespace, thread_id
           LIMIT ${limit}`
}

/** What is left after a page: the rest of its last moment, and all before. */
const ranges = (heads: string, after: ThreadCursor | undefined): ReadonlyArray<ReadonlyArray<Fragment>> => {
  if (after === undefined) return [[]]
  const t = literal(heads)
  const time = timestamp(after.activeAt)
  return [
    [fragment`${t}.active_at = ${time} AND (${t}.namespace, ${t}.thread_id) > (${after.namespace}, ${after.threadId})`],
    [fragment`${t}.active_at < ${time}`]
  ]
}

/** One for each filter of the heads. */
const conditions = (heads: string, query: ThreadQuery): ReadonlyArray<Fragment> => {
  const t = literal(heads)
  const { interrupted, namespace, unfinished } = query
  const conditions: Array<Fragment> = []
  if (namespace !== undefined) conditions.push(fragment`${t}.namespace = ${namespace}`)
  if (interrupted !== undefined) {
    conditions.push(interrupted ? fragment`${t}.interrupted` : fragment`NOT ${t}.interrupted`)
  }
  if (unfinished !== undefined) conditions.push(unfinished ? fragment`${t}.unfinished` : fragment`NOT ${t}.unfinished`)
  return conditions
}

const toThread = (row: ThreadRow): StoredThread => ({
  threadId: row.thread_id,
  namespace: row.namespace,
  createdAt: row.thread_created_at,
  activeAt: row.active_at,
  head: toInfo(row)
})
