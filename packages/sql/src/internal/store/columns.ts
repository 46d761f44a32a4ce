import type { ParentRef, StoredInfo } from "@effect-checkpoint/core/CheckpointStore"
import { type Fragment, fragment, literal } from "../fragment.ts"

/** A checkpoint without its state, as `info` selects it. */
export interface InfoRow extends ParentColumns {
  readonly thread_id: string
  readonly namespace: string
  readonly version: number
  readonly checkpoint_id: string
  readonly next_nodes: string
  readonly pending_interrupts: string
  readonly metadata: string
  readonly tags: string
  readonly created_at: number
}

/** Selects an `InfoRow`. */
export const info = (alias: string): Fragment =>
  literal(`
    ${alias}.thread_id, ${alias}.namespace, ${alias}.version::float8 AS version, ${alias}.checkpoint_id,
    ${alias}.parent_thread_id, ${alias}.parent_version::float8 AS parent_version, ${alias}.parent_id,
    ${alias}.next_nodes::text AS next_nodes, ${alias}.pending_interrupts::text AS pending_interrupts,
    ${alias}.metadata::text AS metadata, ${alias}.tags::text AS tags, ${millis(`${alias}.created_at`)} AS created_at`)

export const toInfo = (row: InfoRow): StoredInfo => ({
  threadId: row.thread_id,
  namespace: row.namespace,
  version: row.version,
  checkpointId: row.checkpoint_id,
  parent: toParent(row.thread_id, row),
  nextNodes: row.next_nodes,
  pendingInterrupts: row.pending_interrupts,
  metadata: row.metadata,
  tags: row.tags,
  createdAt: row.created_at
})

export interface ParentColumns {
  /** `null`: the thread of the checkpoint itself. */
  readonly parent_thread_id: string | null
  readonly parent_version: number | null
  readonly parent_id: string | null
}

export const toParent = (threadId: string, row: ParentColumns): ParentRef | undefined =>
  row.parent_id === null || row.parent_version === null
    ? undefined
    : { threadId: row.parent_thread_id ?? threadId, version: row.parent_version, checkpointId: row.parent_id }

/**
 * Milliseconds since 1970, computed as numeric: Postgres before 14 extracts a double, and multiplying that is not exact.
 * An infinite time, which something else has written, has no numeric value there.
 */
export const millis = (column: string): string =>
  `(CASE WHEN isfinite(${column}) THEN (extract(epoch FROM ${column})::numeric * 1000::numeric)::float8
              ELSE extract(epoch FROM ${column})::float8 END)`

/**
 * A time from its milliseconds since 1970. What lies outside of what both sides can express is before or after
 * everything.
 */
export const timestamp = (epochMillis: number): Fragment =>
  fragment`(timestamptz 'epoch' + ${
    String(Math.min(Math.max(epochMillis, 0), 8.64e15))
  }::float8 * interval '1 millisecond')`
