import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import type * as Redacted from "effect/Redacted"

export type Kind = "url" | "container" | "binaries"

/** A server that runs until the scope in which it was started closes. */
export interface StartedServer {
  readonly kind: Kind
  /** Where it comes from, to be read by people. */
  readonly origin: string
  readonly url: Redacted.Redacted
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
