import { StoreError, type StoreErrorReason } from "@effect-checkpoint/core/CheckpointError"
import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

interface Verdict {
  readonly reason: StoreErrorReason
  readonly isRetryable: boolean
  readonly outcome: "NotApplied" | "Unknown"
  readonly advice: string
}

/**
 * What a failed statement tells, by its SQLSTATE.
 *
 * `SqlError.isRetryable` does not decide this: it takes errors whose outcome is
 * unknown for harmless, and passing ones such as "too many connections" for
 * final. Three classes matter: rolled back for certain and passing; final; and
 * those after which nobody knows whether the statement was committed.
 */
export const toStoreError = (operation: string, error: SqlError): StoreError => {
  const { cause, operation: phase } = error.reason
  const code = Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : undefined
  const verdict = isSqlState(code) ? bySqlState(code) : byTag(error.reason._tag, phase)
  const text = Predicate.hasProperty(cause, "message") && Predicate.isString(cause.message) && cause.message !== ""
    ? cause.message
    : error.message
  return new StoreError({
    operation,
    reason: verdict.reason,
    description: `${text}${isSqlState(code) ? ` (SQLSTATE ${code})` : ""}; ${verdict.advice}`,
    isRetryable: verdict.isRetryable,
    outcome: verdict.outcome,
    // Node's error for a malformed URL carries the whole URL, password included.
    ...(code === "ERR_INVALID_URL" ? {} : { cause: error })
  })
}

const isSqlState = (code: string | undefined): code is string => code !== undefined && /^[0-9A-Z]{5}$/.test(code)

const retryable = (reason: StoreErrorReason, advice: string): Verdict => ({
  reason,
  isRetryable: true,
  outcome: "NotApplied",
  advice
})

const final = (reason: StoreErrorReason, advice: string): Verdict => ({
  reason,
  isRetryable: false,
  outcome: "NotApplied",
  advice
})

const unknown = (reason: StoreErrorReason, advice: string): Verdict => ({
  reason,
  isRetryable: true,
  outcome: "Unknown",
  advice
})

const bySqlState = (code: string): Verdict => {
  switch (code) {
    case "57P03":
      return retryable("Unavailable", "the server is starting up or shutting down, try again later")
    case "25006":
      return retryable("Unavailable", "this server takes no writes, connect to the primary")
    case "55P03":
      return retryable("Contention", "something else held a lock for too long, try again")
    case "53100":
      return retryable("Overloaded", "the server's disk is full, make room")
    case "53300":
      return retryable("Overloaded", "the server has no connection left, use smaller pools or raise max_connections")
    case "57014":
      return unknown("Timeout", "the statement was cancelled, by a timeout or by somebody")
    case "57P01":
    case "57P02":
    case "57P04":
    case "57P05":
    case "25P03":
    case "25P04":
      return unknown("Unavailable", "the server ended the connection")
    case "40003":
      return unknown("Unknown", "the server does not know whether the statement was completed")
    case "42P01":
    case "42703":
    case "42883":
    case "3F000":
      return final(
        "SchemaMissing",
        "run the migrations with a role that may create tables, and check the schema's name"
      )
    case "42501":
      return final("Permission", "grant the role what it needs, docs/roles.md lists it")
    case "3D000":
      return final("Rejected", "create the database or correct its name")
    case "54001":
      return final("Rejected", "the state is nested deeper than the server's max_stack_depth allows")
  }
  switch (code.slice(0, 2)) {
    case "08":
      return unknown("Unavailable", "the connection was lost")
    case "28":
      return final("Authentication", "check the user name, the password and pg_hba.conf")
    case "40":
      return retryable("Contention", "other transactions were in the way, try again")
    case "53":
      return retryable("Overloaded", "the server is out of a resource, try again later")
  }
  return final("Rejected", "this is not expected to pass by itself")
}

const byTag = (tag: SqlError["reason"]["_tag"], phase: string | undefined): Verdict => {
  if (tag === "AuthenticationError") {
    return final("Authentication", "check the user name and the password")
  }
  if (tag === "ConnectionError") {
    return phase === "connect"
      ? retryable("Unavailable", "check that the server runs and can be reached from here")
      : unknown("Unavailable", "the connection was lost")
  }
  return { reason: "Unknown", isRetryable: false, outcome: "Unknown", advice: "the client could not handle it" }
}
