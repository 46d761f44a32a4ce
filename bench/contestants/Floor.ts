/**
 * The minimum: one prepared INSERT of the same JSON text, with the same driver, into a table with a key, and one SELECT
 * of a whole row by its key.
 */
import { Effect } from "effect"
import { bytesOnDisk, type Database } from "../Database.ts"
import type { Conversation } from "../Mails.ts"
import type { Contestant } from "./Contestant.ts"
import { statementsOf } from "./statements.ts"

export const make = Effect.fnUntraced(function*({ sql }: Database): Effect.fn.Return<Contestant> {
  yield* Effect.orDie(sql`CREATE SCHEMA floor`)
  yield* Effect.orDie(sql`CREATE TABLE floor.states (id text COLLATE "C" PRIMARY KEY, state jsonb NOT NULL)`)
  const newest = new Map<string, number>()
  return {
    put: (threadId, state) =>
      Effect.suspend(() => {
        const version = (newest.get(threadId) ?? 0) + 1
        newest.set(threadId, version)
        // Text, as the store of the library binds it.
        return Effect.orDie(Effect.asVoid(sql.unsafe("INSERT INTO floor.states (id, state) VALUES ($1, $2::jsonb)", [
          `${threadId} ${version}`,
          JSON.stringify(state)
        ])))
      }),
    get: (threadId) =>
      Effect.suspend(() =>
        sql.unsafe<{ readonly state: Conversation }>("SELECT state FROM floor.states WHERE id = $1", [
          `${threadId} ${newest.get(threadId)}`
        ])
      ).pipe(Effect.map(([row]) => row!.state), Effect.orDie),
    bytesOnDisk: bytesOnDisk(sql, "floor"),
    statements: statementsOf
  }
})
