import type { StoredCheckpoint, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import { type Fragment, fragment, literal } from "../fragment.ts"
import type { Tables } from "../tables.ts"
import { info, type InfoRow, toInfo } from "./columns.ts"
import { floor, isVisible, ofThread } from "./head.ts"

/** A version with its payload. */
export interface ChainRow extends InfoRow {
  readonly format: number
  readonly state: string
  readonly bytes: number
  readonly state_bytes: number
  readonly visible: boolean
  /** That of the head, on its row. */
  readonly revision: string | null
}

/** Ends a statement that begins `withHead` with a chain, by the queries of the versions that it goes from and to. */
export const chain = (tables: Tables, key: ThreadKey, from: string, to: string): Fragment =>
  fragment`SELECT ${info("c")}, c.format, c.state::text AS state, c.bytes, c.state_bytes,
             ${isVisible("c", floor)} AS visible,
             (
               SELECT revision::text FROM head
                WHERE head.version = c.version AND head.checkpoint_id = c.checkpoint_id
             ) AS revision
        FROM ${tables.checkpoints} c
       WHERE ${ofThread("c", key)} AND c.version BETWEEN ${literal(`(${from}) AND (${to})`)}
       ORDER BY c.version`

export const toCheckpoint = (row: ChainRow): StoredCheckpoint => ({
  ...toInfo(row),
  payload: { format: row.format, text: row.state, bytes: row.bytes },
  stateBytes: row.state_bytes,
  visible: row.visible,
  writeId: row.revision ?? undefined
})
