/**
 * PGlite behind a node stream, so that `PgClient` speaks to it as to any server.
 *
 * PGlite is one backend process: one session, one statement at a time, run to
 * its end on this thread. Connections are therefore views of the same session,
 * and the newest one owns it.
 */
import type { Extension, PGlite } from "@electric-sql/pglite"
import { Buffer } from "node:buffer"
import * as NodeFs from "node:fs"
import { Duplex } from "node:stream"
import { setImmediate as nextTurn } from "node:timers/promises"

/** The code of the error with which all statements fail after a crash. */
export const crashCode = "ERR_PGLITE_CRASHED"

/** Opens connections to one PGlite. */
export interface Backend {
  readonly stream: () => Duplex
  /** Why nothing can be run any more. Its files are as after a crash of the process. */
  readonly crash: () => Error | undefined
}

export const make = (db: PGlite): Backend => {
  const backend = new BackendImpl(db)
  return { stream: () => new Connection(backend), crash: () => backend.crash }
}

/**
 * Makes `fsync` reach the disk. Emscripten's file system for node has no `fsync`
 * and reports success without one. It has to be there before the backend starts,
 * which may replay its log first.
 */
export const fsyncExtension: Extension = {
  name: "fsync",
  setup: (_db, options: { readonly preRun?: ReadonlyArray<(module: NodeModule) => void> }) =>
    Promise.resolve({
      emscriptenOpts: {
        ...options,
        preRun: [
          ...(options.preRun ?? []),
          ({ NODEFS }: NodeModule) => {
            NODEFS.stream_ops.fsync = (file) => {
              NODEFS.tryFSOperation(() => NodeFs.fsyncSync(file.nfd))
              return 0
            }
          }
        ]
      }
    })
}

interface NodeModule {
  readonly NODEFS: {
    readonly stream_ops: { fsync?: (file: { readonly nfd: number }) => number }
    /** Turns node's errors into the error numbers that the backend understands. */
    readonly tryFSOperation: (operation: () => void) => void
  }
}

const type = { error: 0x45, query: 0x51, readyForQuery: 0x5a, sync: 0x53 }
const idle = 0x49
const cancelRequest = 80877102

const syncMessage = Buffer.from([type.sync, 0, 0, 0, 4])

const queryMessage = (sql: string): Buffer => {
  const message = Buffer.from(`Q\0\0\0\0${sql}\0`)
  message.writeInt32BE(message.length - 1, 1)
  return message
}

/** The `Sync` ends what an earlier connection may have left unfinished. */
const reset = Buffer.concat([syncMessage, queryMessage("ROLLBACK"), queryMessage("DISCARD ALL")])
const checkpoint = queryMessage("CHECKPOINT")

/** Bytes of requests between checkpoints, each counted with a page for what it may touch besides. */
const checkpointBytes = 64 * 1024 * 1024
const pageBytes = 8192

/** The exit status with which the backend leaves the module to handle an `ERROR`. */
const errorExit = { status: 100 }
const isErrorExit = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "status" in cause && cause.status === errorExit.status

const isStackOverflow = (cause: unknown): boolean => cause instanceof RangeError && cause.message.includes("call stack")

/** What the backend exports, for extensions too. The two stacks are addresses of variables. */
interface PostgresModule {
  _PostgresMainLoopOnce: () => void
  _PostgresMainLongJmp: () => void
  readonly HEAPU8: Uint8Array
  readonly stackSave: () => number
  readonly stackRestore: (stack: number) => void
  readonly stringToUTF8OnStack: (text: string) => number
  readonly _PG_exception_stack: number
  readonly _error_context_stack: number
  readonly _errstart: (level: number, domain: number) => number
  readonly _errcode: (sqlState: number) => number
  readonly _errmsg: (format: number, parameters: number) => number
  readonly _errfinish: (file: number, line: number, functionName: number) => void
}

const errorLevel = 21
/** 54001, `statement_too_complex`, six bits a character. */
const statementTooComplex = 5 | 4 << 6 | 1 << 24

class BackendImpl {
  readonly db: PGlite
  crash: Error | undefined
  private owner: Connection | undefined
  private isIdle = true
  private sinceCheckpoint = 0

  constructor(db: PGlite) {
    this.db = db
    this.guardMainLoop()
  }

  /**
   * PGlite drops every exception that leaves its main loop, other than an
   * `ERROR`, and continues. A value nested too deeply for the stack of this thread
   * would then be lost without an error, or be read again without end. Here an
   * overflow while a parameter is read becomes the `ERROR` that a server reports,
   * and all else a crash.
   */
  private guardMainLoop(): void {
    const module: PostgresModule = this.db.Module as unknown as PostgresModule
    const mainLoopOnce = module._PostgresMainLoopOnce
    const handleError = module._PostgresMainLongJmp
    module._PostgresMainLoopOnce = () => {
      try {
        raiseStackOverflow(module, mainLoopOnce)
      } catch (cause) {
        if (!isErrorExit(cause)) this.crashed(cause)
        throw errorExit
      }
    }
    module._PostgresMainLongJmp = () => {
      if (this.crash !== undefined) throw this.crash
      handleError()
    }
  }

  private crashed(cause: unknown): Error {
    return this.crash ??= Object.assign(
      new Error("PGlite crashed. Build the layer again; a data folder has all that was committed.", { cause }),
      { code: crashCode }
    )
  }

  /** Runs whole messages that end in `Sync` or `Query`, or a startup packet. */
  run(connection: Connection, request: Buffer, isStartup: boolean): Promise<Buffer> {
    // A statement blocks the thread. Without a turn of the event loop before
    // each, a busy program would have no timers and no input.
    return this.db.runExclusive(() => nextTurn().then(() => this.runNow(connection, request, isStartup)))
  }

  private runNow(connection: Connection, request: Buffer, isStartup: boolean): Promise<Buffer> {
    if (connection.destroyed) return Promise.resolve(Buffer.alloc(0))
    if (this.crash !== undefined) return Promise.reject(this.crash)
    if (isStartup) {
      const previous = this.owner
      this.owner = connection
      if (previous === undefined) return this.execute(request)
      previous.destroy()
      return this.execute(reset).then((reply) => {
        if (messages(reply).some((message) => message[0] === type.error)) {
          throw this.crashed(new Error("The session of the connection before could not be reset"))
        }
        return this.execute(request)
      })
    }
    this.sinceCheckpoint += request.length + pageBytes
    // A backend without a server around it never checkpoints by itself, and its
    // log would grow until it is closed. One that fails is tried again later.
    if (this.isIdle && this.sinceCheckpoint >= checkpointBytes) {
      this.sinceCheckpoint = 0
      return this.execute(checkpoint).then(() => this.execute(request))
    }
    return this.execute(request)
  }

  private execute(request: Buffer): Promise<Buffer> {
    const chunks: Array<Uint8Array> = []
    // The bytes are the backend's own memory, and are overwritten by the next.
    return this.db.execProtocolRawStream(request, { onRawData: (bytes) => void chunks.push(bytes.slice()) }).then(
      () => {
        const reply = Buffer.concat(chunks)
        const ready = messages(reply).findLast((message) => message[0] === type.readyForQuery)
        if (ready === undefined) throw this.crashed(new Error("PGlite did not answer"))
        this.isIdle = ready[5] === idle
        return reply
      },
      (cause) => {
        throw this.crashed(cause)
      }
    )
  }
}

const messages = (reply: Buffer): ReadonlyArray<Buffer> => {
  const found: Array<Buffer> = []
  for (let offset = 0; offset < reply.length;) {
    const end = offset + 1 + reply.readInt32BE(offset + 1)
    found.push(reply.subarray(offset, end))
    offset = end
  }
  return found
}

const readPointer = (module: PostgresModule, address: number): number =>
  new DataView(module.HEAPU8.buffer).getUint32(address, true)

const writePointer = (module: PostgresModule, address: number, value: number): void =>
  new DataView(module.HEAPU8.buffer).setUint32(address, value, true)

/** An overflow leaves the module as an `ERROR` of the backend's own would. */
const raiseStackOverflow = (module: PostgresModule, run: () => void): void => {
  const stack = module.stackSave()
  const handler = readPointer(module, module._PG_exception_stack)
  try {
    run()
  } catch (cause) {
    // Inside a block that wanted to clean up after errors, and now has not.
    const isUnclean = readPointer(module, module._PG_exception_stack) !== handler
    if (!isStackOverflow(cause) || isUnclean) throw cause
    module.stackRestore(stack)
    writePointer(module, module._error_context_stack, 0)
    module._errstart(errorLevel, 0)
    module._errcode(statementTooComplex)
    module._errmsg(module.stringToUTF8OnStack("stack depth limit exceeded"), 0)
    module._errfinish(0, 0, 0)
  }
}

class Connection extends Duplex {
  private readonly backend: BackendImpl
  private unread: Buffer = Buffer.alloc(0)
  private isStarted = false

  constructor(backend: BackendImpl) {
    super()
    this.backend = backend
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.unread = this.unread.length === 0 ? chunk : Buffer.concat([this.unread, chunk])
    this.drain().then(() => done(), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    done()
    this.destroy()
  }

  private drain(): Promise<void> {
    const isStartup = !this.isStarted
    const request = isStartup ? this.takeStartup() : this.takeMessages()
    if (request === undefined) return Promise.resolve()
    return this.backend.run(this, request, isStartup).then((reply) => {
      if (!this.destroyed) this.push(reply)
      return this.drain()
    })
  }

  /** The first packet has no type. A `CancelRequest` closes: there is nothing that could hear it. */
  private takeStartup(): Buffer | undefined {
    if (this.unread.length < 8) return undefined
    const length = this.unread.readInt32BE(0)
    if (this.unread.length < length) return undefined
    if (this.unread.readInt32BE(4) === cancelRequest) {
      this.destroy()
      return undefined
    }
    this.isStarted = true
    return this.cut(length)
  }

  /** Whole messages up to the last that asks for an answer. `Terminate` does not, so it is never run. */
  private takeMessages(): Buffer | undefined {
    let end = 0
    for (let offset = 0; offset + 5 <= this.unread.length;) {
      const next = offset + 1 + this.unread.readInt32BE(offset + 1)
      if (next > this.unread.length) break
      if (this.unread[offset] === type.sync || this.unread[offset] === type.query) end = next
      offset = next
    }
    return end === 0 ? undefined : this.cut(end)
  }

  private cut(length: number): Buffer {
    const taken = this.unread.subarray(0, length)
    this.unread = this.unread.subarray(length)
    return taken
  }
}
