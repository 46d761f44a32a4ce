import { Checkpointer } from "@effect-checkpoint/core"
import { TcpProxy } from "@effect-checkpoint/testing"
import { assert, layer } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Database, pgLayer } from "./support.ts"

layer(Database.layer, { excludeTestServices: true })("lost replies", (it) => {
  it.effect("a put whose reply is lost is Unknown, though the second attempt finds no server", () =>
    Effect.gen(function*() {
      const proxy = yield* TcpProxy.fromUrl((yield* Database).url)
      const error = yield* Effect.gen(function*() {
        const checkpointer = yield* Checkpointer.Checkpointer
        yield* checkpointer.append({ threadId: "t", checkpointId: "first", state: 1 })
        yield* proxy.refuse // for new connections
        yield* proxy.cutAfter("ToClient", 0, "Reset")
        return yield* Effect.flip(checkpointer.append({ threadId: "t", checkpointId: "lost", state: 2 }))
      }).pipe(Effect.provide(pgLayer({ retry: Schedule.recurs(1) }, { url: proxy.url, maxConnections: 1 })))
      const stored = yield* Checkpointer.Checkpointer.use((checkpointer) => checkpointer.listVersions("t")).pipe(
        Effect.provide(pgLayer())
      )
      assert.deepStrictEqual(stored.map(({ checkpointId }) => checkpointId), ["lost", "first"])
      assert.include(error, { _tag: "StoreError", outcome: "Unknown" })
    }))
})
