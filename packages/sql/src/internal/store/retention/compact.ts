import type { StateDecodeError, StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { StoredCheckpoint, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import * as Keyframe from "@effect-checkpoint/core/Keyframe"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Formats from "../../formats.ts"
import { type Fragment, fragment, literal } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { chain, type ChainRow, toCheckpoint } from "../chain.ts"
import { millis } from "../columns.ts"
import { ofThread, withHead } from "../head.ts"
import type { Renewal } from "./lease.ts"
import type { Retrying } from "./retrying.ts"

/** The deltas that stay of what is pruned, and the first version after it: the rows that they are based on stay, too. */
export const needsKeyframe = (alias: string, prunedThrough: Fragment): Fragment => {
  const c = literal(alias)
  return fragment`${c}.version <= ${prunedThrough} + 1 AND ${isDelta(alias)}
           AND (${c}.version = ${prunedThrough} + 1 OR ${c}.pinned)`
}

/**
 * Makes keyframes of the deltas that need it, one at a time and without a lock on the head: a row means the same before
 * and after, and what other writers do meanwhile is seen when the thread is pruned.
 */
export type Compact = (
  key: ThreadKey,
  prunedThrough: number,
  renewLease: Renewal
) => Effect.Effect<Compaction, StoreError>

/** `Overtaken`: a row had been removed. `Impossible`: the states cannot be folded, or not in time. */
export type Compaction = "Done" | "Overtaken" | "Impossible"

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying): Compact => {
  const rewriteAll = Effect.fnUntraced(function*(
    key: ThreadKey,
    prunedThrough: number,
    renewLease: Renewal
  ): Effect.fn.Return<Compaction, StoreError | StateDecodeError> {
    let last = 0
    while (true) {
      yield* retrying(session.run("prune", renewLease))
      const rows = yield* retrying(session.run("prune", nextDelta(sql, tables, key, last, prunedThrough)))
      const versions = rows.map(toCheckpoint)
      if (!Arr.isReadonlyArrayNonEmpty(versions)) return "Done"
      const delta = Arr.lastNonEmpty(versions)
      const keyframe = yield* Effect.fromResult(Keyframe.make(versions))
      const rewritten = yield* retrying(session.run("prune", rewrite(sql, tables, delta, keyframe)))
      if (rewritten.length === 0) return "Overtaken"
      last = delta.version
    }
  })

  return (key, prunedThrough, renewLease) =>
    Effect.flatMap(
      session.inTransaction,
      (inTransaction) =>
        Effect.catch(rewriteAll(key, prunedThrough, renewLease), (error) =>
          // A failed statement has failed the whole transaction, if it is the caller's.
          error._tag === "StoreError" && (error.reason._tag !== "Timeout" || inTransaction)
            ? Effect.fail(error)
            : Effect.as(warn(key, error), "Impossible"))
    )
}

const warn = (key: ThreadKey, error: StoreError | StateDecodeError) =>
  Effect.logWarning(
    `Retention cannot compact thread ${JSON.stringify(key.threadId)} of namespace ` +
      `${JSON.stringify(key.namespace)} and prunes it without: ${error.message}`
  )

/** Reads the chain of the next delta, which begins no earlier than the keyframe that was written last. */
const nextDelta = (sql: PgClient, tables: Tables, key: ThreadKey, last: number, prunedThrough: number) =>
  sql<ChainRow>`
      ${withHead(tables, key)}, target AS MATERIALIZED (
        SELECT c.version, GREATEST(c.keyframe_version, ${String(last)}::bigint) AS keyframe_version
          FROM ${tables.checkpoints} c
         WHERE ${ofThread("c", key)} AND c.version > ${String(last)}::bigint
           AND ${needsKeyframe("c", fragment`${String(prunedThrough)}::bigint`)}
         ORDER BY c.version
         LIMIT 1
      )
      ${chain(tables, key, "SELECT keyframe_version FROM target", "SELECT version FROM target")}`

/**
 * Compares id and time, too: the thread may have been deleted and created again. `payload_bytes` stay those that were
 * saved. Otherwise prunes would report more bytes removed than were ever saved.
 */
const rewrite = (sql: PgClient, tables: Tables, delta: StoredCheckpoint, keyframe: StoredCheckpoint["payload"]) =>
  sql<{ readonly version: string }>`
      UPDATE ${tables.checkpoints} c
         SET payload = ${keyframe.text}::jsonb, format = ${
    String(keyframe.format)
  }::smallint, keyframe_version = c.version
       WHERE ${ofThread("c", delta)} AND c.version = ${String(delta.version)}::bigint AND ${isDelta("c")}
         AND c.checkpoint_id = ${delta.checkpointId}
         AND ${literal(millis("c.created_at"))} = ${String(delta.createdAt)}::float8
      RETURNING c.version`

const isDelta = (alias: string): Fragment => literal(`${alias}.format IN (${Formats.deltas})`)
