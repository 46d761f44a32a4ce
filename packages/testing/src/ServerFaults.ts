/**
 * What can happen to a server: backends that are killed, a shutdown, a crash, and the start afterwards. They are the
 * `faults` of a `PostgresServer`; ending the whole server needs one of `PostgresServer.layerOwn`.
 *
 * **Example** (A server that crashes)
 *
 * ```ts
 * import { PostgresServer } from "@effect-checkpoint/testing"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { faults } = yield* PostgresServer.PostgresServer
 *   yield* faults.terminate({ applicationName: "the program that is tested" })
 *   yield* faults.crash
 *   yield* faults.start // recovers, on the same folder and port
 * }).pipe(Effect.provide(PostgresServer.layerOwn()))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * Which backends: one by its process id, or the client connections of a program, a database, or both.
 *
 * @category models
 * @since 0.1.0
 */
export type Target =
  | { readonly pid: number; readonly applicationName?: undefined; readonly database?: undefined }
  | { readonly applicationName: string; readonly database?: string | undefined; readonly pid?: undefined }
  | { readonly database: string; readonly applicationName?: string | undefined; readonly pid?: undefined }

/**
 * How a server is stopped: `Smart` waits until all clients have gone, `Fast` ends their transactions, `Immediate` ends
 * at once, and recovers at the next start.
 *
 * @category models
 * @since 0.1.0
 */
export type StopMode = "Smart" | "Fast" | "Immediate"

/**
 * The faults of one server. Each has happened when its effect succeeds.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerFaults {
  /** The process ids of backends. */
  readonly backends: (target: Target) => Effect.Effect<ReadonlyArray<number>, ServerFaultError>

  /**
   * Ends backends by `pg_terminate_backend`, waits until they are gone, and says how many they were. Works on every
   * server, with a role that may do so.
   */
  readonly terminate: (target: Target) => Effect.Effect<number, ServerFaultError>

  /**
   * Ends backends by SIGKILL, waits until they are gone, and says how many they were. The server then ends all others
   * and recovers by itself, since the dead ones may have left a mess in its memory: see `ready`.
   */
  readonly kill: (target: Target) => Effect.Effect<number, ServerFaultError>

  /** Stops the server and waits for its end. One that is stopped stays so. */
  readonly stop: (mode: StopMode) => Effect.Effect<void, ServerFaultError>

  /** Ends the server and all its processes by SIGKILL, and waits for their end. */
  readonly crash: Effect.Effect<void, ServerFaultError>

  /** Starts the server again, on the same data folder and port, and waits until it answers. */
  readonly start: Effect.Effect<void, ServerFaultError>

  /** Waits until the server answers, for 30 seconds at most. */
  readonly ready: Effect.Effect<void, ServerFaultError>
}

/**
 * A fault that did not happen.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerFaultError
  extends Schema.TaggedError<ServerFaultError>("@effect-checkpoint/testing/ServerFaultError")(
    "ServerFaultError",
    {
      operation: Schema.Literals(["backends", "terminate", "kill", "stop", "crash", "start", "ready"]),
      /**
       * `NotOwned`: the server is given by a URL, shared or in a container, and so its processes are not ours to signal.
       * `Failed`: the message says why.
       */
      reason: Schema.Literals(["NotOwned", "Failed"]),
      message: Schema.String,
      cause: Schema.optional(Schema.Defect())
    }
  )
{}
