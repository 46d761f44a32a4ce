import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery, ThreadKey } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { and, type Fragment, fragment } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import { type DueRow, type KeyRow, type Plan, threadsPerPage, toKey } from "./plan.ts"
import type { Retrying } from "./retrying.ts"

/** Plans a page of threads at a time: a range of the key, of which many or none may have something due. */
export type Pages = (
  query: PruneQuery,
  beforeEachPage: Effect.Effect<void, StoreError>
) => Stream.Stream<ReadonlyArray<DueRow>, StoreError>

export const make = (sql: PgClient, session: Session, tables: Tables, retrying: Retrying, plan: Plan): Pages => {
  const page = Effect.fnUntraced(function*(query: PruneQuery, after: ThreadKey | undefined) {
    const begin = after === undefined
      ? []
      : [fragment`(t.thread_id, t.namespace) > (${after.threadId}, ${after.namespace})`]
    const [last] = yield* retrying(session.run("prune", lastOfPage(sql, tables, and(begin))))
    const end = last === undefined
      ? []
      : [fragment`(t.thread_id, t.namespace) <= (${last.thread_id}, ${last.namespace})`]
    const namespace = query.namespace === undefined ? [] : [fragment`t.namespace = ${query.namespace}`]
    const due = yield* plan(query, and([...begin, ...end, ...namespace]))
    return [[due], Option.map(Option.fromUndefinedOr(last), (row): ThreadKey | undefined => toKey(row))] as const
  })
  return (query, beforeEachPage) =>
    Stream.paginate(undefined as ThreadKey | undefined, (after) => Effect.andThen(beforeEachPage, page(query, after)))
}

/** Finds the last thread of a full page. */
const lastOfPage = (sql: PgClient, { threads }: Tables, begin: Fragment) =>
  sql<KeyRow>`
        SELECT t.thread_id, t.namespace
          FROM ${threads} t
         WHERE ${begin}
         ORDER BY t.thread_id, t.namespace
        OFFSET ${String(threadsPerPage - 1)}::bigint
         LIMIT 1`
