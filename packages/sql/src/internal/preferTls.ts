import * as Duration from "effect/Duration"
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import * as Tls from "node:tls"

export interface Target {
  readonly host: string
  readonly port: number
  readonly keepAlive: Duration.Input | undefined
  readonly secureContext: Tls.SecureContext
}

/**
 * Opens connections as `sslmode=prefer` of libpq does: encrypted if the server can, without a look at its certificate,
 * and in plain text otherwise. The driver verifies every certificate that it gets in this mode.
 */
export const make = (target: Target) => (): Duplex => new PreferTls(target)

const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const yes = 0x53
const no = 0x4e
const error = 0x45

class PreferTls extends Duplex {
  private readonly target: Target
  private socket!: Net.Socket
  private isReady = false
  private waiting: (() => void) | undefined

  constructor(target: Target) {
    // A server that ends the connection will not read what is written after.
    super({ allowHalfOpen: false })
    this.target = target
    this.open((socket) => this.negotiate(socket))
  }

  override _read(): void {
    if (this.isReady) this.socket.resume()
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (!this.isReady) {
      this.waiting = () => this._write(chunk, encoding, done)
    } else if (this.socket.write(chunk)) {
      done()
    } else {
      this.socket.once("drain", done)
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.socket.destroy()
    done(error)
  }

  private open(onConnect: (socket: Net.Socket) => void): void {
    const { host, keepAlive, port } = this.target
    const socket = Net.connect({
      host,
      port,
      noDelay: true,
      ...(keepAlive === undefined ? {} : { keepAlive: true, keepAliveInitialDelay: Duration.toMillis(keepAlive) })
    })
    this.use(socket)
    socket.once("connect", () => onConnect(socket))
  }

  private negotiate(socket: Net.Socket): void {
    socket.once("data", (answer) => {
      const [first] = answer
      if (first === yes && answer.length === 1) return this.encrypt(socket)
      if (first === no && answer.length === 1) return this.ready(socket)
      // The driver knows how to read it.
      if (first === error) {
        this.push(answer)
        return this.ready(socket)
      }
      // Text that comes along with an answer was put there by a third party.
      this.destroy(new Error("Invalid answer to SSLRequest"))
    })
    socket.write(sslRequest)
  }

  private encrypt(socket: Net.Socket): void {
    const { host, secureContext } = this.target
    const encrypted = Tls.connect({
      socket,
      host,
      servername: Net.isIP(host) === 0 ? host : "",
      secureContext,
      rejectUnauthorized: false
    })
    encrypted.once("error", () => {
      if (!this.isReady && !this.destroyed) this.open((socket) => this.ready(socket))
    })
    this.use(encrypted)
    encrypted.once("secureConnect", () => this.ready(encrypted))
  }

  /** The stream ends as the socket does that is used last. */
  private use(socket: Net.Socket): void {
    this.socket = socket
    socket.on("error", (error) => {
      if (this.socket === socket) this.destroy(error)
    })
    socket.on("close", () => {
      if (this.socket === socket && !(this.isReady && socket.readableEnded)) this.destroy()
    })
  }

  private ready(socket: Net.Socket): void {
    this.isReady = true
    socket.on("data", (chunk) => {
      if (!this.push(chunk)) socket.pause()
    })
    socket.on("end", () => this.push(null))
    this.waiting?.()
  }
}
