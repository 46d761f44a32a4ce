import type { CheckpointStore, OpenQuestion, QuestionQuery } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { and, type Fragment, fragment, literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { timestamp } from "./columns.ts"
import { ofSameThread } from "./head.ts"
import { question, type QuestionRow, toQuestion } from "./questions.ts"

interface OpenRow extends QuestionRow {
  readonly thread_id: string
  readonly namespace: string
  readonly version: number
}

/**
 * Reads the index of open questions in order, up to the limit, which is written out: a generic plan must know how few rows
 * are wanted. The heads are looked up one by one: the planner expects a join to leave hardly any rows, and would read all
 * questions.
 */
export const make =
  (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["questions"] => (query) =>
    session.run(
      "questions",
      sql<OpenRow>`
        SELECT q.thread_id, q.namespace, head.version::float8 AS version, ${question("q")}
          FROM ${tables.questions} q
         CROSS JOIN LATERAL (
           SELECT t.version
             FROM ${tables.threads} t
            WHERE ${ofSameThread("t", "q")} AND t.step_version = q.step_version
            LIMIT 1
         ) head
         WHERE q.answered_at IS NULL AND ${and(conditions(query))}
         ORDER BY q.asked_at, q.namespace, q.thread_id, q.interrupt_id
         LIMIT ${literal(String(query.limit))}`
    ).pipe(Effect.map((rows) => rows.map(toOpenQuestion)))

const conditions = ({ after, metadata, namespace }: QuestionQuery): ReadonlyArray<Fragment> => [
  ...(namespace === undefined ? [] : [fragment`q.namespace = ${namespace}`]),
  ...(metadata === undefined ? [] : [fragment`q.metadata @> ${metadata}::jsonb`]),
  ...(after === undefined ? [] : [
    fragment`(q.asked_at, q.namespace, q.thread_id, q.interrupt_id)
               > (${timestamp(after.askedAt)}, ${after.namespace}, ${after.threadId}, ${after.interruptId})`
  ])
]

const toOpenQuestion = (row: OpenRow): OpenQuestion => ({
  ...toQuestion(row),
  threadId: row.thread_id,
  namespace: row.namespace,
  version: row.version
})
