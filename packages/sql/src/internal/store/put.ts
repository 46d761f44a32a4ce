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
import type { SqlError } from "effect/sql/SqlError"
import type { Session } from "../session.ts"
import type { Tables } from "../tables.ts"
import { isDeltaFormat, millis, type ParentColumns, toParent } from "./columns.ts"

interface SavedRow extends ParentColumns {
  readonly version: number
  readonly created_at: number
}

export const make = (sql: PgClient, session: Session, tables: Tables): CheckpointStore["Service"]["put"] => {
  const plain = statements(tables.quoted, () => "")
  const full = statements(tables.quoted, (first) => besides(tables.quoted, first))
  const insert = (checkpoint: NewCheckpoint, condition: HeadCondition) =>
    sql.unsafe<SavedRow>(
      (isPlain(checkpoint) ? plain : full)[formOf(checkpoint, condition)],
      [...checkpointParameters(checkpoint), ...conditionParameters(condition), ...besidesParameters(checkpoint)]
    )
  return (checkpoint, condition) =>
    session.run(
      "put",
      // The same id put by two at the same time passes both checks; one of them meets the index.
      Effect.catchIf(insert(checkpoint, condition), isIdViolation, (error) =>
        Effect.flatMap(session.inTransaction, (nested) =>
          nested ? Effect.fail(sameId(error)) : Effect.succeed([])))
    ).pipe(
      Effect.map(([row]) =>
        Option.map(Option.fromUndefinedOr(row), (row) =>
          toSaved(checkpoint.threadId, row))
      )
    )
}

const toSaved = (threadId: string, row: SavedRow): SavedVersion => ({
  version: row.version,
  parent: toParent(threadId, row),
  createdAt: row.created_at
})

const isIdViolation = (error: SqlError): boolean =>
  error.reason._tag === "UniqueViolation" && error.reason.constraint === "checkpoints_by_id"

/** In a transaction of the caller's, which is spoiled by it. */
const sameId = (cause: SqlError): StoreError =>
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

type Form = "append" | "create" | "keyframe" | "delta"

const formOf = (checkpoint: NewCheckpoint, condition: HeadCondition): Form => {
  switch (condition._tag) {
    case "Any":
      return "append"
    case "NoThread":
      return "create"
    case "At":
      return isDeltaFormat(checkpoint.payload.format) ? "delta" : "keyframe"
  }
}

/** $1 to $14. */
const checkpointParameters = (checkpoint: NewCheckpoint): ReadonlyArray<string> => {
  const { parent, payload } = checkpoint
  return [
    checkpoint.threadId,
    checkpoint.namespace,
    checkpoint.checkpointId,
    String(payload.bytes),
    String(checkpoint.stateBytes),
    String(payload.format),
    checkpoint.nextNodes,
    checkpoint.pendingInterrupts,
    checkpoint.metadata,
    payload.text,
    // The parent, where it is not the head.
    parent === undefined || parent.threadId === checkpoint.threadId ? "" : parent.threadId,
    String(parent?.version ?? 0),
    parent?.checkpointId ?? "",
    checkpoint.writeId
  ]
}

/** $15 to $17, where a head is expected. */
const conditionParameters = (condition: HeadCondition): ReadonlyArray<string> =>
  condition._tag === "At"
    ? [String(condition.version), condition.checkpointId ?? "", condition.writeId ?? ""]
    : []

const isPlain = (checkpoint: NewCheckpoint): boolean =>
  checkpoint.pendingWrites === "{}" && !checkpoint.resolvesInterrupts && !checkpoint.keepsPendingWrites

/** At the end, where there is any of it. */
const besidesParameters = (checkpoint: NewCheckpoint): ReadonlyArray<string> =>
  isPlain(checkpoint) ? [] : [
    checkpoint.pendingWrites,
    String(checkpoint.resolvesInterrupts),
    String(checkpoint.keepsPendingWrites)
  ]

// -----------------------------------------------------------------------------
// statements
// -----------------------------------------------------------------------------

/** One text for each form, so that each is prepared once. */
const statements = (schema: string, besides: (first: number) => string): Record<Form, string> => ({
  append: insert(
    schema,
    `${firstHead(schema)}
          ON CONFLICT (thread_id, namespace) DO UPDATE SET ${moved(beginsChain)}
           WHERE t.checkpoint_id <> EXCLUDED.checkpoint_id`,
    besides(15)
  ),
  create: insert(
    schema,
    `${firstHead(schema)}
          ON CONFLICT (thread_id, namespace) DO NOTHING`,
    besides(15)
  ),
  keyframe: insert(schema, movedFrom(schema, beginsChain), besides(18)),
  delta: insert(schema, movedFrom(schema, continuesChain), besides(18))
})

/** Moves the head and inserts the checkpoint, in one statement. No row: the head was not what was expected. */
const insert = (schema: string, head: string, besides: string): string => `
        WITH head AS (${head}
          RETURNING t.version, t.previous_id, t.updated_at, t.keyframe_version
        )${besides}
        INSERT INTO ${schema}.checkpoints AS c (
          thread_id, namespace, version, keyframe_version, created_at, bytes, state_bytes, format, checkpoint_id,
          parent_thread_id, parent_version, parent_id, next_nodes, pending_interrupts, metadata, state
        )
        SELECT $1, $2, head.version, head.keyframe_version, head.updated_at, $4::integer, $5::integer, $6::smallint, $3,
               NULLIF($11::text, ''),
               CASE $13::text WHEN '' THEN NULLIF(head.version - 1, 0) ELSE $12::bigint END,
               COALESCE(NULLIF($13, ''), head.previous_id),
               $7, $8::jsonb, $9::jsonb, $10::jsonb
          FROM head
        RETURNING c.version::float8 AS version, c.parent_thread_id, c.parent_version::float8 AS parent_version,
                  c.parent_id, ${millis("c.created_at")} AS created_at`

const ofThread = (alias: string): string => `${alias}.thread_id = $1 AND ${alias}.namespace = $2`

const notTaken = (schema: string): string =>
  `NOT EXISTS (
            SELECT FROM ${schema}.checkpoints c WHERE ${ofThread("c")} AND c.checkpoint_id = $3
          )`

/** The head row of a thread's first version. */
const firstHead = (schema: string): string => `
          INSERT INTO ${schema}.checkpoint_threads AS t (
            thread_id, namespace, version, checkpoint_id, revision, keyframe_version, unfinished, interrupted,
            active_at, updated_at, created_at
          )
          SELECT $1::text, $2::text, 1, $3::text, $14::uuid, 1, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]',
                 date_trunc('minute'::text, now()), date_trunc('milliseconds'::text, now()),
                 date_trunc('milliseconds'::text, now())
           WHERE ${notTaken(schema)}`

/** Moves the head of a thread from where it is expected. */
const movedFrom = (schema: string, chain: string): string => `
          UPDATE ${schema}.checkpoint_threads AS t SET ${moved(chain)}
            FROM (
              VALUES (
                $3::text, $14::uuid, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]',
                date_trunc('minute'::text, now()), date_trunc('milliseconds'::text, now())
              )
            ) AS EXCLUDED (checkpoint_id, revision, unfinished, interrupted, active_at, updated_at)
           WHERE ${ofThread("t")} AND t.version = $15::bigint AND $16::text IN ('', t.checkpoint_id)
             AND COALESCE(t.revision = NULLIF($17::text, '')::uuid, TRUE) AND ${notTaken(schema)}`

/**
 * What changes when a head moves. All forms take what is new from EXCLUDED. The time is never earlier than that of the
 * version before, whatever the server's clock does.
 */
const moved = (chain: string): string => `
            version = t.version + 1,
            checkpoint_id = EXCLUDED.checkpoint_id,
            previous_id = t.checkpoint_id,
            revision = EXCLUDED.revision,${chain}
            unfinished = EXCLUDED.unfinished,
            interrupted = EXCLUDED.interrupted,
            active_at = GREATEST(t.active_at, EXCLUDED.active_at),
            updated_at = GREATEST(t.updated_at, EXCLUDED.updated_at)`

const beginsChain = `
            keyframe_version = t.version + 1,`
// The chain that the head is in, and not one that the writer believes it to be in: a compaction may have moved it.
const continuesChain = ""

/**
 * With the checkpoint, what has been done of its step ($first), that its head is not waited for any more, and that the
 * pending writes of its head are kept.
 */
const besides = (schema: string, first: number): string =>
  `, written AS (
          INSERT INTO ${schema}.checkpoint_writes (thread_id, namespace, version, task, value)
          SELECT $1, $2, head.version, w.key, w.value FROM head, jsonb_each($${first}::jsonb) w
          UNION ALL
          SELECT $1, $2, head.version, w.task, w.value
            FROM head, ${schema}.checkpoint_writes w
           WHERE $${first + 2}::boolean AND ${ofThread("w")} AND w.version = head.version - 1
             AND NOT $${first}::jsonb ? w.task
        ), resolved AS (
          UPDATE ${schema}.checkpoints c SET resolved = TRUE
            FROM head
           WHERE ${ofThread("c")} AND c.version = head.version - 1 AND c.pending_interrupts <> '[]'
             AND $${first + 1}::boolean
        )`
