import type { ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
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
  fragment`WITH head AS MATERIALIZED (
        SELECT t.version, t.checkpoint_id, t.floor, t.keyframe_version, t.revision
          FROM ${tables.threads} t
         WHERE ${ofThread("t", key)}
      )`

/** The floor in a statement that begins `withHead`. */
export const floor = "(SELECT floor FROM head)"

/** Whether a version can be read. */
export const isVisible = (alias: string, floor: string): Fragment =>
  literal(`(${alias}.version > ${floor} OR ${alias}.pinned)`)
