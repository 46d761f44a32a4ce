/**
 * The library, with and without deltas.
 */
import { type Checkpoint, Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Option, type Scope, Stream } from "effect"
import { bytesOnDisk, type Database } from "../Database.ts"
import { Conversation } from "../Mails.ts"
import type { Versioned } from "./Contestant.ts"
import { statementsOf } from "./statements.ts"

/** In the namespace that `bulk.ts` fills. */
class Conversations extends Checkpointer.Service<Conversations>()("bench/Conversations", {
  state: Conversation,
  namespace: ""
}) {}

export interface Ours extends Versioned {
  readonly checkpointer: Checkpointer.Checkpointer["Service"]
  /** Reads all versions with their states, and returns their number. */
  readonly history: (threadId: string) => Effect.Effect<number>
}

/**
 * Puts after the checkpoint that it has put before, as programs do. With `deltas: false`, it forgets that checkpoint, and
 * every put stores a whole state in the same tables.
 */
export const make = Effect.fnUntraced(function*({ sql }: Database, options: {
  readonly schema: string
  readonly deltas: boolean
}): Effect.fn.Return<Ours, never, Scope.Scope> {
  const { schema } = options
  const services = yield* Conversations.layer.pipe(
    Layer.provideMerge(PgCheckpointer.layerWith(options.deltas ? { schema } : { schema, cacheBytes: 0 })),
    Layer.provide(Layer.succeed(PgClient.PgClient, sql)),
    Layer.build,
    Effect.orDie
  )
  const conversations = Context.get(services, Conversations)
  const newest = new Map<string, Checkpoint.Checkpoint<Conversation>>()
  const stateOf = (found: Option.Option<Checkpoint.Checkpoint<Conversation>>) => Option.getOrThrow(found).state
  return {
    checkpointer: Context.get(services, Checkpointer.Checkpointer),
    put: (threadId, state) =>
      Effect.suspend(() => {
        const parent = newest.get(threadId)
        return parent === undefined
          ? conversations.append({ threadId, state })
          : conversations.put({ parent, state })
      }).pipe(
        Effect.map((checkpoint) => {
          if (options.deltas) newest.set(threadId, checkpoint)
        }),
        Effect.orDie
      ),
    get: (threadId) => Effect.orDie(Effect.map(conversations.get(threadId), stateOf)),
    getVersion: (threadId, version) => Effect.orDie(Effect.map(conversations.get(threadId, { version }), stateOf)),
    list: (threadId, limit) =>
      Effect.orDie(Effect.map(conversations.listVersions(threadId, { limit }), ({ length }) => length)),
    history: (threadId) => Effect.orDie(Stream.runCount(conversations.history(threadId))),
    bytesOnDisk: bytesOnDisk(sql, schema),
    statements: statementsOf
  }
})
