/**
 * A TCP proxy that breaks connections in the ways that networks do.
 *
 * **Example** (A query whose connection is cut)
 *
 * ```ts
 * import { PostgresServer, TcpProxy } from "@effect-checkpoint/testing"
 * import { PgClient } from "@effect/sql-pg"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* PostgresServer.PostgresServer
 *   const proxy = yield* TcpProxy.fromUrl(yield* server.createDatabase())
 *   const sql = yield* PgClient.make({ url: proxy.url })
 *   yield* sql`SELECT 1`
 *   yield* proxy.cut("Reset")
 *   yield* sql`SELECT 1` // on a new connection
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Url from "effect/http/Url"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { connect, createServer, type Server, type Socket } from "node:net"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * How a connection ends: with a reset (RST), as when a machine or a firewall forgets it, or in order (FIN), as when the
 * process at the other end exits.
 *
 * @category models
 * @since 0.1.0
 */
export type Ending = "Reset" | "End"

/**
 * Which way bytes go.
 *
 * @category models
 * @since 0.1.0
 */
export type Direction = "ToServer" | "ToClient"

/**
 * Where a proxy passes connections on to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  readonly host: string
  readonly port: number
}

/**
 * What a proxy has seen since it was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  /** Connections that were accepted. */
  readonly accepted: number
  /** Connections that are open now. */
  readonly open: number
  /** Bytes that were passed on. */
  readonly toServer: number
  readonly toClient: number
}

/**
 * One connection through a proxy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** 1 for the first connection that the proxy accepted. */
  readonly number: number
  /** Bytes that were passed on in this connection. */
  readonly bytes: Effect.Effect<{ readonly toServer: number; readonly toClient: number }>
  /** Ends both halves, and drops what was not passed on yet. */
  readonly cut: (ending: Ending) => Effect.Effect<void>
  /**
   * Ends one direction for its receiver and drops what still arrives. The other direction continues.
   */
  readonly halfClose: (direction: Direction) => Effect.Effect<void>
}

/**
 * A proxy in front of a server, for as long as its scope.
 *
 * **Details**
 *
 * Its faults last until `restore`, which does not bring back connections that were cut. They work in real time, also
 * under a `TestClock`. Each is in force when its effect has succeeded.
 *
 * @category models
 * @since 0.1.0
 */
export interface TcpProxy {
  /** Where it listens, which is on loopback. */
  readonly host: string
  readonly port: number

  readonly counts: Effect.Effect<Counts>

  /** The connections that are open, oldest first. */
  readonly connections: Effect.Effect<ReadonlyArray<Connection>>

  /** Cuts all open connections and says how many they were. New ones are accepted. */
  readonly cut: (ending: Ending) => Effect.Effect<number>

  /**
   * Cuts the connection by which a number of further bytes, counted over all of them, have been passed in one direction.
   * The bytes up to there are passed on, no more. With 0 it is the next one that has something to pass, such as the reply
   * to a statement that the server has carried out. The effect succeeds when it is armed; it replaces an earlier one.
   */
  readonly cutAfter: (direction: Direction, bytes: number, ending: Ending) => Effect.Effect<void>

  /** Passes nothing any more in either direction. New connections are still accepted. */
  readonly stall: Effect.Effect<void>

  /** Passes everything on by this much later, in the same order. */
  readonly delay: (duration: Duration.Input) => Effect.Effect<void>

  /** Takes no new connections: they are refused, as where no process listens. Those that are open go on. */
  readonly refuse: Effect.Effect<void>

  /** Ends `stall`, `delay`, `refuse` and a `cutAfter` that has not happened. What was stalled is passed on. */
  readonly restore: Effect.Effect<void, TcpProxyError>
}

/**
 * A proxy in front of the server of a URL.
 *
 * @category models
 * @since 0.1.0
 */
export interface UrlProxy extends TcpProxy {
  /** The URL with host and port replaced by those of the proxy. */
  readonly url: Redacted.Redacted
}

/**
 * The proxy cannot listen, or was given a URL that has no host.
 *
 * @category errors
 * @since 0.1.0
 */
export class TcpProxyError extends Schema.TaggedError<TcpProxyError>("@effect-checkpoint/testing/TcpProxyError")(
  "TcpProxyError",
  {
    message: Schema.String,
    cause: Schema.optional(Schema.Defect())
  }
) {}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Listens on a free port of loopback until the scope closes, and passes each connection on to the target.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fn("TcpProxy.make")(function*(
  target: Target
): Effect.fn.Return<TcpProxy, TcpProxyError, Scope.Scope> {
  const links = new Set<Link>()
  const totals = { accepted: 0, toServer: 0, toClient: 0 }
  const gate = yield* Latch.make(true)
  let delay = 0
  let trap: Trap | undefined

  const pass = (link: Link, direction: Direction, chunk: Uint8Array): Effect.Effect<void> =>
    Effect.suspend(() => {
      const caught = trap?.direction === direction && trap.bytes <= chunk.length ? trap : undefined
      if (caught !== undefined) trap = undefined
      else if (trap?.direction === direction) trap.bytes -= chunk.length
      const passed = caught === undefined ? chunk : chunk.subarray(0, caught.bytes)
      totals[counterOf[direction]] += passed.length
      link.bytes[counterOf[direction]] += passed.length
      const written = passed.length === 0 ? Effect.void : write(link.to[direction], passed)
      return caught === undefined ? written : Effect.andThen(written, Effect.sync(() => link.cut(caught.ending)))
    })

  const pump = Effect.fnUntraced(function*(link: Link, direction: Direction) {
    const chunks = yield* Queue.bounded<Chunk>(queuedChunks)
    const clock = yield* Clock.Clock
    const reading = Effect.gen(function*() {
      while (true) {
        const bytes = yield* read(link.from[direction])
        yield* Queue.offer(chunks, { bytes, due: clock.currentTimeMillisUnsafe() + delay })
        if (bytes === undefined) return
      }
    })
    const passing = Effect.gen(function*() {
      while (true) {
        const { bytes, due } = yield* Queue.take(chunks)
        const early = due - clock.currentTimeMillisUnsafe()
        if (early > 0) yield* Effect.sleep(early)
        if (!link.closed.has(direction)) yield* gate.await
        if (bytes === undefined) return link.halfClose(direction)
        // What comes after a half close goes nowhere.
        if (!link.closed.has(direction)) yield* pass(link, direction, bytes)
      }
    })
    yield* Effect.all([reading, passing], { concurrency: 2, discard: true })
  })

  const serve = (link: Link): Effect.Effect<void> =>
    Effect.all([pump(link, "ToServer"), pump(link, "ToClient")], { concurrency: 2, discard: true }).pipe(
      Effect.raceFirst(link.ended),
      Effect.ensuring(Effect.sync(() => links.delete(link)))
    )

  const run = yield* FiberSet.makeRuntime<never>()
  yield* Effect.addFinalizer(() => Effect.sync(() => links.forEach((link) => link.destroy())))
  const accept = (client: Socket): void => {
    const link = makeLink(++totals.accepted, client, connect({ ...target, noDelay: true, allowHalfOpen: true }))
    links.add(link)
    run(inRealTime(serve(link)))
  }
  let listener = yield* listen(0, accept)
  yield* Effect.addFinalizer(() => close(listener))
  const address = listener.address()
  const port = address !== null && typeof address === "object" ? address.port : 0
  const open = () => [...links].filter((link) => !link.isCut())

  return {
    host: loopback,
    port,
    counts: Effect.sync(() => ({ ...totals, open: open().length })),
    connections: Effect.sync(() =>
      open().map((link): Connection => ({
        number: link.number,
        bytes: Effect.sync(() => ({ ...link.bytes })),
        cut: (ending) => Effect.sync(() => link.cut(ending)),
        halfClose: (direction) => Effect.sync(() => link.halfClose(direction))
      }))
    ),
    cut: (ending) =>
      Effect.sync(() => {
        const links = open()
        for (const link of links) link.cut(ending)
        return links.length
      }),
    cutAfter: (direction, bytes, ending) =>
      Effect.sync(() => {
        trap = { direction, bytes, ending }
      }),
    stall: Effect.asVoid(gate.close),
    delay: (duration) =>
      Effect.sync(() => {
        delay = Duration.toMillis(Duration.fromInputUnsafe(duration))
      }),
    refuse: Effect.suspend(() => close(listener)),
    restore: Effect.gen(function*() {
      delay = 0
      trap = undefined
      yield* gate.open
      if (listener.listening) return
      listener = yield* listen(port, accept).pipe(
        // Another connection may use the port for its own end until it closes.
        Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 100 }))),
        Effect.uninterruptible
      )
    }).pipe(inRealTime)
  }
})

/**
 * `make` for the server of a URL.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromUrl = Effect.fn("TcpProxy.fromUrl")(function*(
  url: Redacted.Redacted
): Effect.fn.Return<UrlProxy, TcpProxyError, Scope.Scope> {
  const address = yield* Effect.mapError(
    Effect.fromResult(Url.fromString(Redacted.value(url))),
    // Without its cause, which has the URL.
    () => new TcpProxyError({ message: "It is not a URL such as postgres://user:password@host:port/database." })
  )
  if (address.hostname === "") return yield* new TcpProxyError({ message: "The URL has no host to pass on to." })
  const proxy = yield* make({
    // Brackets are for an address of IPv6 in a URL.
    host: address.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: address.port === "" ? 5432 : Number(address.port)
  })
  const through = Url.setPort(Url.setHostname(address, proxy.host), proxy.port)
  return { ...proxy, url: Redacted.make(through.href) }
})

// -----------------------------------------------------------------------------
// implementation
// -----------------------------------------------------------------------------

const loopback = "127.0.0.1"

/** Chunks that wait for their time in one direction, before the sender has to wait. */
const queuedChunks = 64

// Networks live in real time, also under a `TestClock`.
const inRealTime = Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

const counterOf = { ToServer: "toServer", ToClient: "toClient" } as const

interface Trap {
  readonly direction: Direction
  readonly ending: Ending
  bytes: number
}

interface Chunk {
  /** Absent where the sender has ended. */
  readonly bytes: Uint8Array | undefined
  readonly due: number
}

/** The two halves of a connection. */
interface Link {
  readonly number: number
  readonly from: Readonly<Record<Direction, Socket>>
  readonly to: Readonly<Record<Direction, Socket>>
  readonly bytes: { toServer: number; toClient: number }
  /** Directions in which the receiver was told that no more will come. */
  readonly closed: ReadonlySet<Direction>
  readonly isCut: () => boolean
  /** Succeeds when one half is gone, and the other with it. */
  readonly ended: Effect.Effect<void>
  readonly cut: (ending: Ending) => void
  readonly halfClose: (direction: Direction) => void
  readonly destroy: () => void
}

const makeLink = (number: number, client: Socket, server: Socket): Link => {
  const to = { ToServer: server, ToClient: client }
  const closed = new Set<Direction>()
  const over = Latch.makeUnsafe(false)
  let isCut = false
  for (const [one, other] of [[client, server], [server, client]] as const) {
    // What there is to know of an error is in the end that it brings.
    one.on("error", () => {})
    one.once("close", (failed) => {
      over.openUnsafe()
      if (failed) other.resetAndDestroy()
      else other.destroySoon()
    })
  }
  const halfClose = (direction: Direction): void => {
    if (closed.has(direction)) return
    closed.add(direction)
    to[direction].end()
  }
  return {
    number,
    from: { ToServer: client, ToClient: server },
    to,
    bytes: { toServer: 0, toClient: 0 },
    closed,
    isCut: () => isCut,
    ended: over.await,
    cut: (ending) => {
      isCut = true
      if (ending === "Reset") {
        client.resetAndDestroy()
        server.resetAndDestroy()
      } else {
        // Not destroyed: a socket that is closed with something unread sends a reset. What still comes is dropped.
        halfClose("ToServer")
        halfClose("ToClient")
      }
    },
    halfClose,
    destroy: () => {
      client.destroy()
      server.destroy()
    }
  }
}

/** The next bytes that arrive; none when the sender has ended. */
const read = (socket: Socket): Effect.Effect<Uint8Array | undefined> =>
  Effect.callback((resume) => {
    const settle = (bytes: Uint8Array | undefined): void => {
      stop()
      resume(Effect.succeed(bytes))
    }
    const onReadable = (): void => {
      const bytes: Uint8Array | null = socket.read()
      if (bytes !== null) settle(bytes)
    }
    const onEnd = (): void => settle(undefined)
    const stop = (): void => {
      socket.off("readable", onReadable).off("end", onEnd)
    }
    socket.on("readable", onReadable).on("end", onEnd)
    if (socket.readableEnded) onEnd()
    else onReadable()
    return Effect.sync(stop)
  })

/** Succeeds when the receiver can take more, or is gone. */
const write = (socket: Socket, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    socket.write(bytes, () => resume(Effect.void))
  })

const listen = (port: number, accept: (socket: Socket) => void): Effect.Effect<Server, TcpProxyError> =>
  Effect.callback((resume) => {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, accept)
    server.once("error", (cause) => {
      resume(Effect.fail(
        new TcpProxyError({
          message: `The proxy cannot listen on ${port === 0 ? "a free port" : `port ${port}`}: ${cause.message}`,
          cause
        })
      ))
    })
    server.listen(port, loopback, () => resume(Effect.succeed(server)))
  })

/** Connections that are open stay so, and are not waited for. */
const close = (server: Server): Effect.Effect<void> =>
  Effect.sync(() => {
    server.close()
  })
