import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { createSecureContext } from "node:tls"
import * as PreferTls from "../src/internal/preferTls.ts"

/** A server that answers each connection in a way of its own. */
const serverOf = (answer: (socket: Socket) => void) =>
  Effect.acquireRelease(
    Effect.callback<AddressInfo & { readonly close: () => void }>((resume) => {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        answer(socket)
      })
      server.listen(0, "127.0.0.1", () => {
        const close = () => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
        resume(Effect.succeed({ ...server.address() as AddressInfo, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

/** What a stream has read when it closes. */
const closed = (port: number) =>
  Effect.callback<string>((resume) => {
    const target = { host: "127.0.0.1", port, keepAlive: undefined, secureContext: createSecureContext() }
    const stream = PreferTls.make(target)()
    let text = ""
    stream.on("data", (chunk) => text += String(chunk))
    stream.on("error", () => {})
    stream.on("close", () => resume(Effect.succeed(text)))
    stream.write("startup")
    return Effect.sync(() => stream.destroy())
  })

const onRequest = (answer: (socket: Socket) => void) => (socket: Socket) => socket.once("data", () => answer(socket))

describe("a connection with sslmode=prefer", () => {
  const endings: Record<string, readonly [answer: (socket: Socket) => void, read: string]> = {
    "as soon as it is there": [(socket) => socket.end(), ""],
    "when it is asked for encryption": [onRequest((socket) => socket.end()), ""],
    "after it refused to encrypt": [onRequest((socket) => socket.end("N")), ""],
    // The next attempt is without encryption, and gets the same answer to what it says first.
    "after it agreed to encrypt": [onRequest((socket) => socket.end("S")), "S"],
    "while it is idle": [
      onRequest((socket) => {
        socket.write("N")
        socket.once("data", () => socket.end("ready"))
      }),
      "ready"
    ]
  }
  for (const [when, [answer, read]] of Object.entries(endings)) {
    it.live(`a connection with sslmode=prefer closes if the server ends it ${when}`, () =>
      Effect.gen(function*() {
        const { port } = yield* serverOf(answer)
        assert.strictEqual(yield* closed(port), read)
      }).pipe(Effect.scoped), 10_000)
  }
})
