import type { AnswerOutcome, CheckpointStore, StoredQuestion, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import { literal } from "../fragment.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { millis } from "./columns.ts"
import { ofThread } from "./head.ts"

/*
 * Whether a thread waits is a column of its head, and what it waits for are rows of another table. A transaction that
 * changes those rows first locks the head, so that its next statement sees everything that was committed before. It also
 * changes the head: another transaction whose snapshot is older, and does not show the rows, then fails.
 */

/** Keeps others from saving, asking and answering until the transaction ends. */
export const lockHead = (sql: PgClient, { threads }: Tables, key: ThreadKey) =>
  sql<{ readonly version: number }>`
          SELECT t.version::float8 AS version FROM ${threads} t WHERE ${ofThread("t", key)} FOR NO KEY UPDATE`

// -----------------------------------------------------------------------------
// asking
// -----------------------------------------------------------------------------

/** The head, if the version exists. */
interface AskedRow {
  readonly version: number
  readonly is_current: boolean
}

export const ask = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["ask"] => {
  const text = askStatement(tables.quoted)
  return (key, { checkpointId, version }, questions) =>
    session.transaction(
      "ask",
      Effect.andThen(
        lockHead(sql, tables, key),
        sql.unsafe<AskedRow>(text, [key.threadId, key.namespace, questions, String(version), checkpointId])
      )
    ).pipe(Effect.map(([row]) =>
      row === undefined
        ? { _tag: "NotFound" }
        : row.is_current
        ? { _tag: "Saved" }
        : { _tag: "StepEnded", version: row.version }
    ))
}

const askStatement = (schema: string): string => `
          WITH found AS MATERIALIZED (
            SELECT t.version, c.step_version = t.step_version AS is_current
              FROM ${schema}.checkpoint_threads t
              JOIN ${schema}.checkpoints c ON c.thread_id = t.thread_id AND c.namespace = t.namespace
             WHERE t.thread_id = $1 AND t.namespace = $2 AND c.thread_id = $1 AND c.namespace = $2
               AND c.version = $4::bigint AND c.checkpoint_id = $5 AND (c.version > t.pruned_through OR c.pinned)
          ), head AS (
            UPDATE ${schema}.checkpoint_threads t
               SET interrupted = t.interrupted OR ${isAsked(schema, "$3::jsonb")},
                   updated_at = ${now}
              FROM found
             WHERE t.thread_id = $1 AND t.namespace = $2 AND found.is_current
            RETURNING t.step_version, t.updated_at
          ), ${insertQuestions(schema, "$3::jsonb")}
          SELECT found.version::float8 AS version, found.is_current FROM found`

/** The time of a change of the head `t`, which is never earlier than that of the change before. */
const now = "GREATEST(t.updated_at, date_trunc('milliseconds'::text, clock_timestamp()))"

/** Whether questions, given as a JSON array, contain one that the step of the head `t` of thread $1, $2 does not have. */
export const isAsked = (schema: string, questions: string): string => `
            EXISTS (
              SELECT FROM jsonb_array_elements(${questions}) AS given (question)
               WHERE NOT EXISTS (
                 SELECT FROM ${schema}.checkpoint_questions q
                  WHERE q.thread_id = $1 AND q.namespace = $2 AND q.step_version = t.step_version
                    AND q.interrupt_id = given.question ->> 'interruptId'::text
               )
            )`

/**
 * Inserts the questions of a JSON array that the step does not have, in a statement that has changed the `head` of thread
 * $1, $2.
 */
export const insertQuestions = (schema: string, questions: string): string =>
  `place AS MATERIALIZED (
          SELECT head.step_version, head.updated_at, COALESCE((
                   SELECT max(q.position)
                     FROM ${schema}.checkpoint_questions q
                    WHERE q.thread_id = $1 AND q.namespace = $2 AND q.step_version = head.step_version
                 ), 0) AS position
            FROM head
        ), asked AS (
          INSERT INTO ${schema}.checkpoint_questions (
            thread_id, namespace, step_version, asked_at, answered_at, position, interrupt_id, answer_id, metadata,
            request, response
          )
          SELECT $1, $2, place.step_version, place.updated_at,
                 CASE WHEN given.question -> 'response'::text IS NOT NULL THEN place.updated_at END,
                 place.position + given.position::integer, given.question ->> 'interruptId'::text,
                 CASE WHEN given.question -> 'response'::text IS NOT NULL THEN '' END,
                 COALESCE(given.question -> 'metadata'::text, '{}'::jsonb), given.question -> 'request'::text,
                 given.question -> 'response'::text
            FROM place, jsonb_array_elements(${questions}) WITH ORDINALITY AS given (question, position)
          ON CONFLICT (thread_id, namespace, step_version, interrupt_id) DO NOTHING
        )`

// -----------------------------------------------------------------------------
// answering
// -----------------------------------------------------------------------------

/** The question that an answer is refused to, or one that is still open. */
interface AnsweredRow extends QuestionRow {
  readonly is_refused: boolean
}

export const answer = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["answer"] => {
  const { questions, threads } = tables
  return (key, answers, answerId) => {
    const save = sql<AnsweredRow>`
          WITH step AS MATERIALIZED (
            SELECT t.step_version FROM ${threads} t WHERE ${ofThread("t", key)}
          ), given AS MATERIALIZED (
            SELECT a.key AS interrupt_id, a.value AS response FROM jsonb_each(${answers}::jsonb) a
          ), refused AS MATERIALIZED (
            SELECT given.interrupt_id
              FROM given
              LEFT JOIN ${questions} q
                ON ${ofThread("q", key)} AND q.step_version = (SELECT step_version FROM step)
               AND q.interrupt_id = given.interrupt_id
             WHERE q.interrupt_id IS NULL OR q.answer_id <> ${answerId}
             ORDER BY given.interrupt_id COLLATE "C"
             LIMIT 1
          ), open AS MATERIALIZED (
            SELECT q.*
              FROM ${questions} q
             WHERE ${ofThread("q", key)} AND q.step_version = (SELECT step_version FROM step)
               AND q.answered_at IS NULL AND NOT EXISTS (SELECT FROM refused)
               AND NOT EXISTS (SELECT FROM given WHERE given.interrupt_id = q.interrupt_id)
          ), head AS (
            UPDATE ${threads} t SET interrupted = EXISTS (SELECT FROM open), updated_at = ${literal(now)}
             WHERE ${ofThread("t", key)} AND NOT EXISTS (SELECT FROM refused)
            RETURNING t.step_version, t.updated_at
          ), answered AS (
            UPDATE ${questions} q
               SET answered_at = head.updated_at, answer_id = ${answerId}, response = given.response
              FROM head, given
             WHERE ${ofThread("q", key)} AND q.step_version = head.step_version
               AND q.interrupt_id = given.interrupt_id AND q.answered_at IS NULL
          )
          SELECT TRUE AS is_refused, refused.interrupt_id, NULL AS request, NULL AS metadata, NULL AS response,
                 NULL AS asked_at, NULL AS answered_at, NULL AS position
            FROM refused
          UNION ALL
          SELECT FALSE, ${question("q")}, q.position FROM open q
           ORDER BY position`
    return session.transaction(
      "answer",
      Effect.gen(function*() {
        const [head] = yield* lockHead(sql, tables, key)
        return head === undefined ? { _tag: "NotFound" } as const : toOutcome(head.version, yield* save)
      })
    )
  }
}

const toOutcome = (version: number, rows: ReadonlyArray<AnsweredRow>): AnswerOutcome => {
  const [first] = rows
  return first?.is_refused === true
    ? { _tag: "Resolved", version, interruptId: first.interrupt_id }
    : { _tag: "Saved", version, open: rows.map(toQuestion) }
}

// -----------------------------------------------------------------------------
// rows
// -----------------------------------------------------------------------------

/** A question as `question` selects it. */
export interface QuestionRow {
  readonly interrupt_id: string
  readonly request: string
  readonly metadata: string
  readonly response: string | null
  readonly asked_at: number
  readonly answered_at: number | null
}

/** Selects a `QuestionRow`. */
export const question = (alias: string) =>
  literal(`
    ${alias}.interrupt_id, ${alias}.request::text AS request, ${alias}.metadata::text AS metadata,
    ${alias}.response::text AS response, ${millis(`${alias}.asked_at`)} AS asked_at,
    ${millis(`${alias}.answered_at`)} AS answered_at`)

export const toQuestion = (row: QuestionRow): StoredQuestion => ({
  interruptId: row.interrupt_id,
  request: row.request,
  metadata: row.metadata,
  askedAt: row.asked_at,
  answer: row.answered_at === null || row.response === null
    ? undefined
    : { response: row.response, answeredAt: row.answered_at }
})
