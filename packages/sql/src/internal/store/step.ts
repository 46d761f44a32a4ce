import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isVersion, isVisible, ofThread, prunedThrough, withHead } from "./head.ts"
import { question, type QuestionRow, toQuestion } from "./questions.ts"

/** A pending write, a question, or the step itself, which has neither. */
interface StepRow extends Omit<QuestionRow, "interrupt_id"> {
  readonly ended: boolean
  readonly task: string | null
  readonly value: string
  readonly interrupt_id: string | null
}

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["readStep"] => {
  const { checkpoints, pendingWrites, questions } = tables
  return (key, id) =>
    session.run(
      "readStep",
      sql<StepRow>`
        ${withHead(tables, key)}, step AS MATERIALIZED (
          SELECT c.step_version, c.step_version <> head.step_version AS ended
            FROM head, ${checkpoints} c
           WHERE ${ofThread("c", key)} AND ${isVersion("c", id)} AND ${isVisible("c", prunedThrough)}
        )
        SELECT step.ended, NULL AS task, NULL AS value, NULL AS interrupt_id, NULL AS request, NULL AS metadata,
               NULL AS response, NULL::float8 AS asked_at, NULL::float8 AS answered_at, NULL::integer AS position
          FROM step
        UNION ALL
        SELECT FALSE, w.task, w.value::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL
          FROM ${pendingWrites} w
         WHERE ${ofThread("w", key)} AND w.step_version = (SELECT step_version FROM step WHERE NOT step.ended)
        UNION ALL
        SELECT FALSE, NULL, NULL, ${question("q")}, q.position
          FROM ${questions} q
         WHERE ${ofThread("q", key)} AND q.step_version = (SELECT step_version FROM step)
         ORDER BY position`
    ).pipe(Effect.map((rows) =>
      rows.length === 0 ? Option.none() : Option.some({
        ended: rows.some((row) => row.ended),
        pendingWrites: rows.flatMap(({ task, value }) => task === null ? [] : [{ task, value }]),
        questions: rows.flatMap(({ interrupt_id, ...row }) =>
          interrupt_id === null ? [] : [toQuestion({ ...row, interrupt_id })]
        )
      })
    ))
}
