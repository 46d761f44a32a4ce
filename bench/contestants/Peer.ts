/**
 * `PostgresSaver` of LangGraph.js, used as its graphs use it: the state is one ordinary channel, which changes in each
 * step. The `putWrites` that a graph also calls for each node is left out.
 */
import { type Checkpoint, emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint"
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres"
import { Effect, Redacted, type Scope } from "effect"
import { createRequire } from "node:module"
import { bytesOnDisk, type Database, poolSize } from "../Database.ts"
import type { Conversation } from "../Mails.ts"
import type { Versioned } from "./Contestant.ts"

/** The driver of the saver, which takes a pool. */
interface Pool {
  readonly on: (
    event: "connect",
    listener: (client: { query: (...input: Array<unknown>) => unknown }) => void
  ) => void
  readonly end: () => Promise<void>
}
const { Pool }: { readonly Pool: new(options: { connectionString: string; max: number }) => Pool } = createRequire(
  import.meta.resolve("@langchain/langgraph-checkpoint-postgres")
)("pg")

const channel = "conversation"

export const make = Effect.fnUntraced(function*(
  { sql, url }: Database
): Effect.fn.Return<Versioned, never, Scope.Scope> {
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => new Pool({ connectionString: Redacted.value(url), max: poolSize })),
    (pool) => Effect.promise(() => pool.end())
  )
  let statements = 0
  pool.on("connect", (client) => {
    const query = client.query
    client.query = function(...input) {
      statements++
      return query.apply(this, input)
    }
  })
  const schema = "langgraph"
  const saver = new PostgresSaver(pool as never, undefined, { schema })
  yield* Effect.promise(() => saver.setup())

  // What a graph knows of each thread.
  const threads = new Map<string, Array<Checkpoint>>()
  const configOf = (threadId: string, checkpoint?: Checkpoint | undefined) => ({
    configurable: {
      thread_id: threadId,
      checkpoint_ns: "",
      ...(checkpoint === undefined ? {} : { checkpoint_id: checkpoint.id })
    }
  })
  const read = (threadId: string, checkpoint?: Checkpoint | undefined) =>
    Effect.map(
      Effect.promise(() => saver.getTuple(configOf(threadId, checkpoint))),
      (tuple) => tuple!.checkpoint.channel_values[channel] as Conversation
    )

  return {
    put: (threadId, state) =>
      Effect.promise(async () => {
        const before = threads.get(threadId) ?? []
        const parent = before.at(-1)
        const versions = { [channel]: saver.getNextVersion(parent?.channel_versions[channel] as number | undefined) }
        const checkpoint: Checkpoint = {
          ...emptyCheckpoint(),
          id: uuid6(before.length),
          channel_values: { [channel]: state },
          channel_versions: versions
        }
        await saver.put(
          configOf(threadId, parent),
          checkpoint,
          { source: "loop", step: before.length, parents: {} },
          versions
        )
        // Without the state, which is not needed any more.
        before.push({ ...checkpoint, channel_values: {} })
        threads.set(threadId, before)
      }),
    get: (threadId) => read(threadId),
    getVersion: (threadId, version) => read(threadId, threads.get(threadId)![version - 1]),
    list: (threadId, limit) =>
      Effect.promise(async () => {
        let count = 0
        for await (const _ of saver.list(configOf(threadId), { limit })) count++
        return count
      }),
    bytesOnDisk: bytesOnDisk(sql, schema),
    statements: (effect) =>
      Effect.suspend(() => {
        const before = statements
        return Effect.map(effect, () => statements - before)
      })
  }
})
