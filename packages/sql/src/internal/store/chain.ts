import type { StoredCheckpoint, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import { isDelta } from "../formats.ts"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, toInfo } from "./columns.ts"
import { isVisible, ofThread, prunedThrough } from "./head.ts"

/** A version with its payload. */
export interface ChainRow extends InfoRow {
  readonly format: number
  readonly payload: string
  readonly payload_bytes: number
  readonly state_bytes: number
  readonly visible: boolean
  /** Of the newest version only. */
  readonly write_id: string | null
}

/** Ends a statement that begins with `withHead`. Selects a chain, by the queries of its first and its last version. */
export const chain = (tables: Tables, key: ThreadKey, from: string, to: string): Fragment =>
  fragment`SELECT ${info("c")}, c.format, c.payload::text AS payload, c.payload_bytes, c.state_bytes,
             ${isVisible("c", prunedThrough)} AS visible,
             (
               SELECT write_id::text FROM head
                WHERE head.version = c.version AND head.checkpoint_id = c.checkpoint_id
             ) AS write_id
        FROM ${tables.checkpoints} c
       WHERE ${ofThread("c", key)} AND c.version BETWEEN ${literal(`(${from}) AND (${to})`)}
       ORDER BY c.version`

export const toCheckpoint = (row: ChainRow): StoredCheckpoint => ({
  ...toInfo(row),
  // A compaction leaves the bytes of a payload as they were saved; those of a whole state are the state's.
  payload: { format: row.format, text: row.payload, bytes: isDelta(row.format) ? row.payload_bytes : row.state_bytes },
  stateBytes: row.state_bytes,
  visible: row.visible,
  writeId: row.write_id ?? undefined
})
