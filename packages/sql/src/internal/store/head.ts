import type { ThreadKey, VersionId } from "@effect-checkpoint/core/CheckpointStore"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Tables } from "../tables.ts"

/** The rows of a thread. */
export const ofThread = (alias: string, key: ThreadKey): Fragment =>
  fragment`${literal(alias)}.thread_id = ${key.threadId} AND ${literal(alias)}.namespace = ${key.namespace}`

/** The rows of the same thread. */
export const ofSameThread = (alias: string, other: string): Fragment =>
  literal(`${alias}.thread_id = ${other}.thread_id AND ${alias}.namespace = ${other}.namespace`)

/**
 * Begins a statement with the head row of a thread, which is looked up first and used as values. As a join, a table
 * without statistics may be read from the wrong end: all versions of a thread, to find which the head is.
 */
export const withHead = (tables: Tables, key: ThreadKey): Fragment =>
  fragment`WITH RECURSIVE head AS MATERIALIZED (
        SELECT t.version, t.checkpoint_id, t.pruned_through, t.keyframe_version, t.step_version, t.write_id
          FROM ${tables.threads} t
         WHERE ${ofThread("t", key)}
      )`

/** The version of the head up to which others were pruned, in a statement that begins with `withHead`. */
export const prunedThrough = "(SELECT pruned_through FROM head)"

export const isVersion = (alias: string, { checkpointId, version }: VersionId): Fragment =>
  fragment`${literal(alias)}.version = ${String(version)}::bigint AND ${literal(alias)}.checkpoint_id = ${checkpointId}`

/** Whether a version can be read. */
export const isVisible = (alias: string, prunedThrough: string): Fragment =>
  literal(`(${alias}.version > ${prunedThrough} OR ${alias}.pinned)`)

/**
 * Selects the newest versions that can be read and that a condition on `c` selects, newest first, in a statement that
 * begins with `withHead`: those above the pruned ones, and of these the pinned ones. Each half is a range of an index,
 * which is read in order up to the limit. No generic plan reads what an OR selects in order.
 */
export const newestVisible = (
  tables: Tables,
  key: ThreadKey,
  columns: Fragment,
  condition: Fragment,
  limit: number
): Fragment => {
  const inRange = (range: string): Fragment =>
    fragment`(
          SELECT ${columns}
            FROM ${tables.checkpoints} c
           WHERE ${ofThread("c", key)} AND ${literal(range)} AND ${condition}
           ORDER BY c.version DESC
           LIMIT ${literal(String(limit))}
        )`
  return fragment`${inRange(`c.version > ${prunedThrough}`)}
        UNION ALL
        ${inRange(`c.version <= ${prunedThrough} AND c.pinned`)}
        ORDER BY version DESC
        LIMIT ${literal(String(limit))}`
}
