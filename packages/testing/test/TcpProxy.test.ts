import * as TcpProxy from "@effect-checkpoint/testing/TcpProxy"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { connect, createServer, type Socket } from "node:net"

/** The events of a socket in order: the text that arrives, `end`, and `close` or the code of an error. */
const follow = Effect.fnUntraced(function*(socket: Socket) {
  const events = yield* Queue.unbounded<string>()
  let code = "close"
  socket.setEncoding("utf8")
    .on("data", (text: string) => Queue.offerUnsafe(events, text))
    .on("end", () => Queue.offerUnsafe(events, "end"))
    .on("error", (error: Error & { readonly code?: string }) => {
      code = error.code ?? error.message
    })
    .on("close", () => Queue.offerUnsafe(events, code))
  return {
    next: Queue.take(events),
    isQuiet: Effect.map(Queue.size(events), (size) => size === 0),
    write: (text: string) => Effect.sync(() => void socket.write(text)),
    end: Effect.sync(() => void socket.end())
  }
})

type End = Effect.Success<ReturnType<typeof follow>>

/** A server that gives its end of each connection, and a proxy before it. */
const make = Effect.gen(function*() {
  const ends = yield* Queue.unbounded<End>()
  const server = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        Queue.offerUnsafe(ends, Effect.runSync(follow(socket)))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  )
  const address = server.address()
  assert(address !== null && typeof address === "object")
  const proxy = yield* TcpProxy.make({ host: "127.0.0.1", port: address.port })
  const open: Effect.Effect<End, never, Scope.Scope> = Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true })),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    follow
  )
  /** Both ends of a new connection, after a greeting in both directions. */
  const pair = Effect.gen(function*() {
    const client = yield* open
    yield* client.write("hello")
    const end = yield* Queue.take(ends)
    assert.strictEqual(yield* end.next, "hello")
    yield* end.write("welcome")
    assert.strictEqual(yield* client.next, "welcome")
    return { client, server: end }
  })
  return { proxy, open, pair, server, accepted: Queue.take(ends) }
})

describe("TcpProxy", () => {
  it.live("a proxy passes bytes in both directions, and counts connections and bytes", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      assert.deepStrictEqual(yield* proxy.counts, { accepted: 0, open: 0, toServer: 0, toClient: 0 })
      const first = yield* pair
      yield* pair
      yield* first.client.write("again")
      assert.strictEqual(yield* first.server.next, "again")
      assert.deepStrictEqual(yield* proxy.counts, { accepted: 2, open: 2, toServer: 15, toClient: 14 })
      const [one, two] = yield* proxy.connections
      assert.deepStrictEqual([one?.number, two?.number], [1, 2])
      assert.deepStrictEqual(yield* one!.bytes, { toServer: 10, toClient: 7 })
    }))

  it.live("a proxy passes many bytes unchanged to a slow receiver", () =>
    Effect.gen(function*() {
      const { pair } = yield* make
      const { client, server } = yield* pair
      const text = Array.from({ length: 100_000 }, (_, n) => `${n}`.padStart(100)).join("")
      yield* client.write(text)
      yield* client.end
      let arrived = ""
      for (let part = yield* server.next; part !== "end"; part = yield* server.next) arrived += part
      assert.isTrue(arrived === text)
    }))

  it.live("a proxy ends one direction when its sender ends it, and still passes the other one", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* client.end
      assert.strictEqual(yield* server.next, "end")
      yield* server.write("last words")
      yield* server.end
      assert.strictEqual(yield* client.next, "last words")
      assert.strictEqual(yield* client.next, "end")
      assert.strictEqual(yield* client.next, "close")
      assert.strictEqual(yield* server.next, "close")
      assert.strictEqual((yield* proxy.counts).open, 0)
    }))

  it.live("a proxy resets a connection whose server does not listen", () =>
    Effect.gen(function*() {
      const { open, server } = yield* make
      yield* Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      const client = yield* open
      assert.strictEqual(yield* client.next, "ECONNRESET")
    }))

  it.live("a proxy closes its connections with its scope", () =>
    Effect.gen(function*() {
      const outer = yield* Scope.Scope
      const { client, server } = yield* Effect.scoped(Effect.gen(function*() {
        const { pair } = yield* make
        return yield* Scope.provide(pair, outer)
      }))
      assert.strictEqual(yield* client.next, "end")
      assert.strictEqual(yield* server.next, "end")
    }))

  for (const [ending, seen] of [["Reset", "ECONNRESET"], ["End", "end"]] as const) {
    it.live(`a proxy cuts all connections, which both ends see as ${seen}, and passes new ones`, () =>
      Effect.gen(function*() {
        const { pair, proxy } = yield* make
        const pairs = [yield* pair, yield* pair]
        assert.strictEqual(yield* proxy.cut(ending), 2)
        assert.strictEqual((yield* proxy.counts).open, 0)
        for (const { client, server } of pairs) {
          assert.strictEqual(yield* client.next, seen)
          assert.strictEqual(yield* server.next, seen)
        }
        yield* pair
        assert.strictEqual((yield* proxy.counts).open, 1)
      }))
  }

  it.live("a proxy cuts one connection and leaves the others", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      const cut = yield* pair
      const kept = yield* pair
      yield* (yield* proxy.connections)[0]!.cut("Reset")
      assert.strictEqual(yield* cut.server.next, "ECONNRESET")
      yield* kept.client.write("still here")
      assert.strictEqual(yield* kept.server.next, "still here")
      assert.deepStrictEqual((yield* proxy.connections).map(({ number }) => number), [2])
    }))

  it.live("a proxy cuts after a number of bytes in one direction, and passes exactly those", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* proxy.cutAfter("ToServer", 5, "End")
      yield* server.write("the other direction does not count")
      assert.strictEqual(yield* client.next, "the other direction does not count")
      yield* client.write("abc")
      assert.strictEqual(yield* server.next, "abc")
      yield* client.write("defgh")
      assert.strictEqual(yield* server.next, "de")
      assert.strictEqual(yield* server.next, "end")
      assert.strictEqual(yield* client.next, "end")
      yield* pair
    }))

  it.live("a proxy cuts before the reply to a request that arrived", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* proxy.cutAfter("ToClient", 0, "Reset")
      yield* client.write("do it")
      assert.strictEqual(yield* server.next, "do it")
      yield* server.write("done")
      assert.strictEqual(yield* client.next, "ECONNRESET")
    }))

  for (const direction of ["ToServer", "ToClient"] as const) {
    it.live(`a proxy closes the direction ${direction} and leaves the other one`, () =>
      Effect.gen(function*() {
        const { pair, proxy } = yield* make
        const { client, server } = yield* pair
        const [receiver, sender] = direction === "ToServer" ? [server, client] : [client, server]
        yield* (yield* proxy.connections)[0]!.halfClose(direction)
        assert.strictEqual(yield* receiver.next, "end")
        yield* sender.write("into the void")
        yield* receiver.write("back")
        assert.strictEqual(yield* sender.next, "back")
        assert.isTrue(yield* receiver.isQuiet)
      }))
  }

  it.live("a stalled proxy accepts connections and passes nothing until it is restored", () =>
    Effect.gen(function*() {
      const { accepted, open, pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* proxy.stall
      yield* client.write("to the server")
      yield* server.write("to the client")
      const late = yield* open
      yield* late.write("new")
      const end = yield* accepted
      assert.deepStrictEqual(yield* proxy.counts, { accepted: 2, open: 2, toServer: 5, toClient: 7 })
      assert.isTrue((yield* client.isQuiet) && (yield* server.isQuiet) && (yield* end.isQuiet))
      yield* proxy.restore
      assert.strictEqual(yield* client.next, "to the client")
      assert.strictEqual(yield* server.next, "to the server")
      assert.strictEqual(yield* end.next, "new")
    }))

  it.live("a proxy delays all bytes by a duration, in order", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* proxy.delay("100 millis")
      const [elapsed, arrived] = yield* Effect.timed(Effect.gen(function*() {
        yield* client.write("first")
        return yield* server.next
      }))
      assert.strictEqual(arrived, "first")
      assert.isAtLeast(Duration.toMillis(elapsed), 95)
      yield* client.write("second")
      // What is sent later without a delay does not overtake.
      yield* Effect.repeat(Effect.promise(() => new Promise(setImmediate)), { times: 10 })
      yield* proxy.restore
      yield* client.write("third")
      let rest = yield* server.next
      while (rest !== "secondthird") rest += yield* server.next
    }))

  it.live("a proxy that refuses new connections leaves open ones until it is restored", () =>
    Effect.gen(function*() {
      const { open, pair, proxy } = yield* make
      const { client, server } = yield* pair
      yield* proxy.refuse
      const refused = yield* open
      assert.strictEqual(yield* refused.next, "ECONNREFUSED")
      yield* client.write("still here")
      assert.strictEqual(yield* server.next, "still here")
      yield* proxy.restore
      yield* pair
      assert.strictEqual((yield* proxy.counts).accepted, 2)
    }))

  it.effect("a proxy delays in real time also with TestClock", () =>
    Effect.gen(function*() {
      const { pair, proxy } = yield* make
      yield* TestClock.setTime(0)
      yield* proxy.delay("20 millis")
      const fiber = yield* Effect.forkChild(pair)
      yield* Fiber.join(fiber)
    }))
})

describe("TcpProxy.fromUrl", () => {
  it.effect("a proxy of a URL has that URL with its own host and port", () =>
    Effect.gen(function*() {
      const url = Redacted.make("postgres://me:a%20secret@db.example:6543/data?application_name=x")
      const proxy = yield* TcpProxy.fromUrl(url)
      assert.strictEqual(
        Redacted.value(proxy.url),
        `postgres://me:a%20secret@127.0.0.1:${proxy.port}/data?application_name=x`
      )
    }))

  it.effect("a proxy of an invalid URL fails without showing the URL", () =>
    Effect.gen(function*() {
      for (const url of ["postgres//me:secret@host", "postgres:secret"]) {
        const error = yield* Effect.flip(TcpProxy.fromUrl(Redacted.make(url)))
        assert.strictEqual(error._tag, "TcpProxyError")
        assert.notInclude(JSON.stringify(error) + error.message, "secret")
      }
    }))
})
