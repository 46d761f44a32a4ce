import type { StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { CheckpointStore } from "@effect-checkpoint/core/CheckpointStore"
import type { PgClient } from "@effect/sql-pg/PgClient"
import type * as Schedule from "effect/Schedule"
import * as Migrations from "./migrations.ts"
import type { Session } from "./session.ts"
import * as Delete from "./store/delete.ts"
import * as Inbox from "./store/inbox.ts"
import * as List from "./store/list.ts"
import * as PendingWrites from "./store/pendingWrites.ts"
import * as Put from "./store/put.ts"
import * as Questions from "./store/questions.ts"
import * as Read from "./store/read.ts"
import * as Refusal from "./store/refusal.ts"
import * as Prune from "./store/retention/prune.ts"
import * as Step from "./store/step.ts"
import * as Tags from "./store/tags.ts"
import * as Threads from "./store/threads.ts"
import type { Tables } from "./tables.ts"

/*
 * An operation is a module of `store/`: its statements, the types of their rows, and the function that runs them.
 * The rules for all statements but those of the migrations:
 *
 * - Values are bound as text and cast in the statement, so that each statement is prepared once, whatever the values.
 * - JSON is read as text, because the driver's parser is `JSON.parse`, which is not always right (see `Json.parse` of
 *   core).
 * - Operands and arguments are cast to types that `pg_catalog` has the operator or function for, also where Postgres
 *   would convert them by itself (`numeric * integer`). Without an exact match it searches the whole path, where
 *   another role may have defined one, and that role's code would run with the rights of the application.
 *   `test/searchPath.test.ts` calls everything where another role has done so.
 * - Tables are named by `Tables`, with their schema.
 */

export const make = (
  sql: PgClient,
  session: Session,
  tables: Tables,
  retry: Schedule.Schedule<unknown, StoreError>
): CheckpointStore["Service"] => ({
  put: Put.make(sql, session, tables),
  explainRefusal: Refusal.make(sql, session, tables),
  read: Read.make(sql, session, tables),
  list: List.make(sql, session, tables),
  threads: Threads.make(sql, session, tables),
  setTags: Tags.make(sql, session, tables),
  savePendingWrites: PendingWrites.save(sql, session, tables),
  readStep: Step.make(sql, session, tables),
  ask: Questions.ask(sql, session, tables),
  answer: Questions.answer(sql, session, tables),
  questions: Inbox.make(sql, session, tables),
  deleteThread: Delete.make(sql, session, tables),
  prune: Prune.make(sql, session, tables, retry),
  health: session.run("health", Migrations.check(sql, tables)),
  inTransaction: session.inTransaction
})
