import { Contention, StoreError } from "@effect-checkpoint/core/CheckpointError"
import type {
  CheckpointStore,
  HeadCondition,
  NewCheckpoint,
  SavedVersion
} from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isSqlError } from "effect/sql/SqlError"
import { isDelta } from "../formats.ts"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { millis, type ParentColumns, toParent } from "./columns.ts"
import { insertQuestions, isAsked, lockHead } from "./questions.ts"

interface SavedRow extends ParentColumns {
  readonly version: number
  readonly created_at: number
}

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["put"] => {
  const schema = tables.quoted
  const plain = statements(schema, sameQuestions, () => "")
  const withStepChanges = statements(schema, sameQuestions, (first) => stepChanges(schema, first))
  const withQuestions = statements(
    schema,
    mayBeAsked(schema),
    (first) => stepChanges(schema, first) + questions(schema, first + 2)
  )
  const insert = (checkpoint: NewCheckpoint, condition: HeadCondition) => {
    const forms = hasQuestions(checkpoint) ? withQuestions : changesSteps(checkpoint) ? withStepChanges : plain
    return sql.unsafe<SavedRow>(
      forms[formOf(checkpoint, condition)],
      [...checkpointParameters(checkpoint), ...headParameters(checkpoint, condition), ...stepParameters(checkpoint)]
    )
  }
  return (checkpoint, condition) => {
    // Whether a step waits after it was asked something more depends on what was asked and answered until the head is
    // locked, which a statement that waits for the lock does not see.
    const put = hasQuestions(checkpoint) && checkpoint.step === "Continues"
      ? session.transaction("put", Effect.andThen(lockHead(sql, tables, checkpoint), insert(checkpoint, condition)))
      : session.run("put", insert(checkpoint, condition))
    // Two puts of the same id at the same time both pass the checks, and the second one meets the index. Sent again, it
    // finds the row of the first. On partitions and shards the index has another name, therefore it may be any.
    return Effect.catchIf(
      put,
      isUniqueViolation,
      (error) => Effect.flatMap(session.inTransaction, (nested) => nested ? Effect.fail(sameId(error)) : put)
    ).pipe(
      Effect.map(([row]) => Option.map(Option.fromUndefinedOr(row), (row) => toSaved(checkpoint.threadId, row)))
    )
  }
}

const toSaved = (threadId: string, row: SavedRow): SavedVersion => ({
  version: row.version,
  parent: toParent(threadId, row),
  createdAt: row.created_at
})

const isUniqueViolation = ({ cause }: StoreError): boolean =>
  isSqlError(cause) && cause.reason._tag === "UniqueViolation"

/** In a transaction of the caller's, which cannot be committed any more. */
const sameId = ({ cause }: StoreError): StoreError =>
  new StoreError({
    operation: "put",
    reason: new Contention({
      message: "another transaction put the same checkpoint id at the same moment; run your transaction again",
      cause
    }),
    outcome: "NotApplied"
  })

// -----------------------------------------------------------------------------
// parameters
// -----------------------------------------------------------------------------

/** $1 to $14 of every form. */
const checkpointParameters = (checkpoint: NewCheckpoint): ReadonlyArray<string> => {
  const { parent, payload } = checkpoint
  return [
    /* $1 */ checkpoint.threadId,
    /* $2 */ checkpoint.namespace,
    /* $3 */ checkpoint.checkpointId,
    /* $4 */ String(payload.bytes),
    /* $5 */ String(checkpoint.stateBytes),
    /* $6 */ String(payload.format),
    /* $7 */ checkpoint.nextNodes,
    /* $8 */ checkpoint.pendingInterrupts,
    /* $9 */ checkpoint.metadata,
    /* $10 */ payload.text,
    // The parent, if it is not the head.
    /* $11 */ parent === undefined || parent.threadId === checkpoint.threadId ? "" : parent.threadId,
    /* $12 */ String(parent?.version ?? 0),
    /* $13 */ parent?.checkpointId ?? "",
    /* $14 */ checkpoint.writeId
  ]
}

/** $15 of the forms that may move a head, and $16 to $18 of those that move a certain one. */
const headParameters = ({ step }: NewCheckpoint, condition: HeadCondition): ReadonlyArray<string> => [
  ...(condition._tag === "NoThread" ? [] : [String(step === "Continues")]),
  ...(condition._tag === "At" ? [String(condition.version), condition.checkpointId ?? "", condition.writeId ?? ""] : [])
]

const changesSteps = (checkpoint: NewCheckpoint): boolean =>
  checkpoint.pendingWrites !== "{}" || checkpoint.step === "Ends"

const hasQuestions = (checkpoint: NewCheckpoint): boolean =>
  checkpoint.pendingInterrupts !== "[]" || checkpoint.answered !== "[]"

/** The last parameters of a put that changes steps, and of one that asks. */
const stepParameters = (checkpoint: NewCheckpoint): ReadonlyArray<string> => [
  ...(changesSteps(checkpoint) || hasQuestions(checkpoint)
    ? [checkpoint.pendingWrites, String(checkpoint.step === "Ends")]
    : []),
  ...(hasQuestions(checkpoint) ? [checkpoint.answered] : [])
]

// -----------------------------------------------------------------------------
// statements
// -----------------------------------------------------------------------------

type Form = "append" | "create" | "keyframe" | "delta"

const formOf = (checkpoint: NewCheckpoint, condition: HeadCondition): Form => {
  switch (condition._tag) {
    case "Any":
      return "append"
    case "NoThread":
      return "create"
    case "At":
      return isDelta(checkpoint.payload.format) ? "delta" : "keyframe"
  }
}

/** One text for each form, so that each is prepared once. */
const statements = (
  schema: string,
  interrupted: string,
  stepChanges: (first: number) => string
): Record<Form, string> => ({
  append: insert(
    schema,
    `${firstHead(schema)}
          ON CONFLICT (thread_id, namespace) DO UPDATE SET ${changes(beginsChain, interrupted)}
           WHERE t.checkpoint_id <> EXCLUDED.checkpoint_id`,
    stepChanges(16)
  ),
  create: insert(
    schema,
    `${firstHead(schema)}
          ON CONFLICT (thread_id, namespace) DO NOTHING`,
    stepChanges(15)
  ),
  keyframe: insert(schema, movedHead(schema, beginsChain, interrupted), stepChanges(19)),
  delta: insert(schema, movedHead(schema, continuesChain, interrupted), stepChanges(19))
})

/** Moves the head and inserts the checkpoint, in one statement. No row: the condition on the head does not hold. */
const insert = (schema: string, head: string, stepChanges: string): string => `
        WITH head AS (${head}
          RETURNING t.version, t.previous_id, t.updated_at, t.keyframe_version, t.step_version
        )${stepChanges}
        INSERT INTO ${schema}.checkpoints AS c (
          thread_id, namespace, version, keyframe_version, step_version, created_at, payload_bytes, state_bytes, format,
          checkpoint_id, parent_thread_id, parent_version, parent_id, next_nodes, pending_interrupts, metadata, payload
        )
        SELECT $1, $2, head.version, head.keyframe_version, head.step_version, head.updated_at, $4::integer, $5::integer,
               $6::smallint, $3, NULLIF($11::text, ''),
               CASE $13::text WHEN '' THEN NULLIF(head.version - 1, 0) ELSE $12::bigint END,
               COALESCE(NULLIF($13, ''), head.previous_id),
               $7, $8::jsonb, $9::jsonb, $10::jsonb
          FROM head
        RETURNING c.version::float8 AS version, c.parent_thread_id, c.parent_version::float8 AS parent_version,
                  c.parent_id, ${millis("c.created_at")} AS created_at`

const ofThread = (alias: string): string => `${alias}.thread_id = $1 AND ${alias}.namespace = $2`

const idIsFree = (schema: string): string =>
  `NOT EXISTS (
            SELECT FROM ${schema}.checkpoints c WHERE ${ofThread("c")} AND c.checkpoint_id = $3
          )`

/** Inserts the head row of a thread's first version. */
const firstHead = (schema: string): string => `
          INSERT INTO ${schema}.checkpoint_threads AS t (
            thread_id, namespace, version, checkpoint_id, write_id, keyframe_version, step_version, unfinished,
            interrupted, active_at, updated_at, created_at
          )
          SELECT $1::text, $2::text, 1, $3::text, $14::uuid, 1, 1, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]',
                 date_trunc('milliseconds'::text, clock.time), date_trunc('milliseconds'::text, clock.time),
                 date_trunc('milliseconds'::text, clock.time)
            FROM ${clock}
           WHERE ${idIsFree(schema)}`

/** Moves the head row if it is the one that the condition names. */
const movedHead = (schema: string, chain: string, interrupted: string): string => `
          UPDATE ${schema}.checkpoint_threads AS t SET ${changes(chain, interrupted)}
            FROM (
              VALUES ($3::text, $14::uuid, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]')
            ) AS EXCLUDED (checkpoint_id, write_id, unfinished, interrupted)
           WHERE ${ofThread("t")} AND t.version = $16::bigint AND $17::text IN ('', t.checkpoint_id)
             AND COALESCE(t.write_id = NULLIF($18::text, '')::uuid, TRUE) AND ${idIsFree(schema)}`

/** Reads the clock once. */
const clock = "(SELECT clock_timestamp() AS time) clock"

/**
 * What changes when a head moves, the same in all forms: they take new values from EXCLUDED. The time is not that at which
 * the transaction began, nor that at which the statement began to wait for the version before. It is never earlier than
 * that of the version before, even if the server's clock is set back.
 */
const changes = (chain: string, interrupted: string): string => `
            version = t.version + 1,
            checkpoint_id = EXCLUDED.checkpoint_id,
            previous_id = t.checkpoint_id,
            write_id = EXCLUDED.write_id,${chain}
            step_version = CASE WHEN $15::boolean THEN t.step_version ELSE t.version + 1 END,
            unfinished = EXCLUDED.unfinished,
            interrupted = CASE WHEN $15::boolean THEN ${interrupted} ELSE EXCLUDED.interrupted END,
            (active_at, updated_at) = (
              SELECT CASE WHEN clock.time >= t.active_at + interval '1 minute'
                          THEN date_trunc('milliseconds'::text, clock.time) ELSE t.active_at END,
                     GREATEST(t.updated_at, date_trunc('milliseconds'::text, clock.time))
                FROM ${clock}
            )`

/** Whether the thread waits for answers: unchanged, if the step continues without new questions. */
const sameQuestions = "t.interrupted"

/** If it may have got a question, which may be one that it has, and that was answered. */
const mayBeAsked = (schema: string): string => `t.interrupted OR ${isAsked(schema, "$8::jsonb")}`

const beginsChain = `
            keyframe_version = t.version + 1,`
// The chain that the head is in, not the one that the writer read: a compaction may have begun another since.
const continuesChain = ""

/** Saves the questions of the new version, after those ($first) that the step has with their answers. */
const questions = (schema: string, first: number): string =>
  `, ${insertQuestions(schema, `$${first}::jsonb || $8::jsonb`)}`

/** Saves pending writes with the new version ($first), and deletes those of steps that have ended, if there may be any. */
const stepChanges = (schema: string, first: number): string =>
  `, saved_writes AS (
          INSERT INTO ${schema}.checkpoint_pending_writes (thread_id, namespace, step_version, task, value, bytes)
          SELECT $1, $2, head.step_version, w.key, w.value, octet_length(w.value::text)
            FROM head, jsonb_each($${first}::jsonb) w
          ON CONFLICT (thread_id, namespace, step_version, task)
          DO UPDATE SET value = EXCLUDED.value, bytes = EXCLUDED.bytes
        ), ended AS (
          DELETE FROM ${schema}.checkpoint_pending_writes w
            USING head
           WHERE ${ofThread("w")} AND w.step_version < head.step_version AND $${first + 1}::boolean
        )`
