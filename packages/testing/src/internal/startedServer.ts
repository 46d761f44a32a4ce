import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Redacted from "effect/Redacted"

export type Kind = "url" | "container" | "binaries"

/** A server that runs until the scope in which it was started closes. */
export interface StartedServer {
  readonly kind: Kind
  /** Where it comes from, to be read by people. */
  readonly origin: string
  readonly url: Redacted.Redacted
  /** Where the server is ours to break. */
  readonly process?: ServerProcess | undefined
}

/** The processes of a server, which can be ended and started again on the same data folder and port. */
export interface ServerProcess {
  /** Sends the signal and waits for the end of the server. */
  readonly stop: (signal: "SIGTERM" | "SIGINT" | "SIGQUIT") => Effect.Effect<void>
  /** Kills the server and all its processes, and waits for their end. */
  readonly crash: Effect.Effect<void, StartFailure>
  /** Does nothing while the server runs. */
  readonly start: Effect.Effect<void, StartFailure>
}

/** This kind of server is not to be had on this machine: the next kind is tried. */
export class Unavailable extends Data.TaggedError("Unavailable")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** This kind of server is to be had and did not start: trying another kind would hide it. */
export class StartFailure extends Data.TaggedError("StartFailure")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** What something thrown has to say. */
export const textOf = (cause: unknown): string => Predicate.isError(cause) ? cause.message : String(cause)

/** An optional peer dependency that cannot be loaded. */
export const notLoaded = (name: string) => (cause: unknown): Unavailable =>
  new Unavailable({
    message: Predicate.hasProperty(cause, "code") && String(cause.code).endsWith("MODULE_NOT_FOUND")
      ? `The package ${name} is not installed. Add it to your project: pnpm add -D ${name}.`
      : `The package ${name} cannot be loaded: ${textOf(cause)}`,
    cause
  })
