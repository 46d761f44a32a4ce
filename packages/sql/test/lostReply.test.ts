import { Checkpointer } from "@effect-checkpoint/core"
import type { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import { Database, pgLayer } from "./support.ts"

/**
 * Connections that break before the reply to a put, which the server executes.
 */
class Wire {
  loseReplies = 0

  readonly stream = (url: URL) => (): Duplex => {
    const socket = Net.connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    const emit = socket.emit.bind(socket)
    let armed = false
    const write = socket.write.bind(socket) as (...args: ReadonlyArray<unknown>) => boolean
    // A packet may contain more than the message that executes the put.
    socket.write = ((chunk: Uint8Array, ...rest: ReadonlyArray<unknown>) => {
      armed ||= this.loseReplies > 0 && Buffer.from(chunk).includes("lost-")
      return write(chunk, ...rest)
    }) as typeof socket.write
    socket.emit = ((event: string, ...args: ReadonlyArray<unknown>) => {
      if (event === "data" && armed) {
        armed = false
        this.loseReplies--
        socket.destroy(new Error("the connection broke before the reply"))
        return true
      }
      return emit(event, ...args)
    }) as typeof socket.emit
    return socket
  }
}

layer(Database.layer, { excludeTestServices: true })("lost replies", (it) => {
  const wire = new Wire()

  const withWire = <A, E>(effect: Effect.Effect<A, E, Checkpointer.Checkpointer | PgClient.PgClient>) =>
    Effect.flatMap(Database, ({ url }) => {
      const target = new URL(Redacted.value(url))
      return Effect.provide(
        effect,
        pgLayer({ schema: "lost" }, { url, stream: wire.stream(target), ssl: false })
      )
    })

  it.effect("a put whose reply is lost succeeds and is saved once", () =>
    withWire(Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const first = yield* checkpointer.append({ threadId: "t", state: 0 })
      wire.loseReplies = 1
      const appended = yield* checkpointer.append({ threadId: "t", state: "lost-append" })
      wire.loseReplies = 1
      const advanced = yield* checkpointer.put({ parent: appended, state: "lost-compare-and-set" })
      wire.loseReplies = 2
      const created = yield* checkpointer.create({ threadId: "new", state: "lost-twice" })
      assert.strictEqual(wire.loseReplies, 0)
      assert.deepStrictEqual([first.version, appended.version, advanced.version, created.version], [1, 2, 3, 1])
      assert.strictEqual(advanced.parent?.checkpointId, appended.checkpointId)
      const versions = yield* checkpointer.listVersions("t")
      assert.deepStrictEqual(versions.map(({ checkpointId }) => checkpointId), [
        advanced.checkpointId,
        appended.checkpointId,
        first.checkpointId
      ])
      assert.strictEqual((yield* checkpointer.listVersions("new")).length, 1)
    })))
})
