import * as CheckpointError from "@effect-checkpoint/core/CheckpointError"
import * as Predicate from "effect/Predicate"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as PgliteStream from "./pgliteStream.ts"

/**
 * What a failed statement tells, by its SQLSTATE. To classify another one, add it to `bySqlState`.
 *
 * `SqlError.isRetryable` does not decide this: it takes errors whose outcome is unknown for harmless, and passing ones
 * such as "too many connections" for final. Three classes matter: rolled back for certain and transient; final; and
 * those after which it is unknown whether the statement was committed.
 */
export const toStoreError = (operation: string, error: SqlError): CheckpointError.StoreError => {
  const { cause } = error.reason
  const code = codeOf(error)
  const verdict = isSqlState(code) ? bySqlState(code) : byTag(error.reason, code)
  const text = Predicate.hasProperty(cause, "message") && Predicate.isString(cause.message) && cause.message !== ""
    ? cause.message
    : error.message
  return new CheckpointError.StoreError({
    operation,
    reason: new verdict.reason({
      message: `${text}${isSqlState(code) ? ` (SQLSTATE ${code})` : ""}; ${verdict.advice}`,
      // Node's error for a malformed URL carries the whole URL, password included.
      ...(code === "ERR_INVALID_URL" ? {} : { cause: error })
    }),
    outcome: verdict.outcome
  })
}

const codeOf = ({ reason: { cause } }: SqlError): string | undefined =>
  Predicate.hasProperty(cause, "code") && Predicate.isString(cause.code) ? cause.code : undefined

/** Whether a statement was refused only because an earlier one of its transaction had failed. */
export const isAftermath = (error: SqlError): boolean => codeOf(error) === "25P02"

/** Whether a statement was rolled back because its transaction is isolated more strictly than READ COMMITTED. */
export const isSerializationFailure = (error: unknown): boolean => isSqlError(error) && codeOf(error) === "40001"

interface Verdict {
  readonly reason: new(
    fields: { readonly message: string; readonly cause?: unknown }
  ) => CheckpointError.StoreErrorReason
  readonly outcome: "NotApplied" | "Unknown"
  readonly advice: string
}

const isSqlState = (code: string | undefined): code is string => code !== undefined && /^[0-9A-Z]{5}$/.test(code)

/** The statement was rolled back. */
const notApplied = (reason: Verdict["reason"], advice: string): Verdict => ({ reason, outcome: "NotApplied", advice })

/** The statement may have been committed. */
const unknown = (reason: Verdict["reason"], advice: string): Verdict => ({ reason, outcome: "Unknown", advice })

const bySqlState = (code: string): Verdict => {
  switch (code) {
    case "57P03":
      return notApplied(CheckpointError.Unavailable, "the server is starting up or shutting down, try again later")
    case "25006":
      return notApplied(
        CheckpointError.Unavailable,
        "this server takes no writes, connect to the primary, or see who turned on default_transaction_read_only"
      )
    case "55P03":
      return notApplied(CheckpointError.Contention, "something else held a lock for too long, try again")
    case "53100":
      return notApplied(CheckpointError.Overloaded, "the server's disk is full, make room")
    case "53300":
      return notApplied(
        CheckpointError.Overloaded,
        "the server has no connection left, use smaller pools or raise max_connections"
      )
    case "57014":
      return unknown(CheckpointError.Timeout, "the statement was canceled by a timeout, a user or a shutdown")
    case "57P01":
    case "57P02":
    case "57P04":
    case "57P05":
    case "25P03":
    case "25P04":
      return unknown(CheckpointError.Unavailable, "the server ended the connection")
    case "40003":
      return unknown(CheckpointError.Unavailable, "the server does not know whether the statement was completed")
    case "42P01":
    case "42703":
    case "42883":
    case "3F000":
      return notApplied(
        CheckpointError.SchemaMissing,
        "run the migrations with a role that may create tables, and check the schema's name"
      )
    case "42501":
      return notApplied(CheckpointError.Permission, "grant the role what it needs, docs/roles.md lists it")
    case "26000":
    case "42P05":
      return notApplied(
        CheckpointError.Rejected,
        "a pooler between here and the server does not keep prepared statements, turn them off: DATABASE_PREPARE=false, " +
          "or prepare: false in the settings of the client"
      )
    case "3D000":
      return notApplied(CheckpointError.Rejected, "create the database or correct its name")
    case "54001":
      return notApplied(CheckpointError.Rejected, "the state is nested deeper than the server's max_stack_depth allows")
  }
  switch (code.slice(0, 2)) {
    case "08":
      return unknown(CheckpointError.Unavailable, "the connection was lost")
    case "28":
      return notApplied(
        CheckpointError.Authentication,
        "check the user name, the password, pg_hba.conf, and whether the server wants sslmode=require"
      )
    case "40":
      return notApplied(CheckpointError.Contention, "other transactions were in the way, try again")
    case "53":
      return notApplied(CheckpointError.Overloaded, "the server is out of a resource, try again later")
  }
  return notApplied(CheckpointError.Rejected, "this is not expected to pass by itself")
}

const byTag = ({ _tag, cause, message, operation }: SqlError["reason"], code: string | undefined): Verdict => {
  if (_tag === "AuthenticationError") {
    return notApplied(CheckpointError.Authentication, "check the user name and the password")
  }
  if (code === PgliteStream.crashCode) {
    return unknown(CheckpointError.Unknown, "nothing can be saved or read before that")
  }
  if (_tag !== "ConnectionError") return unknown(CheckpointError.Unknown, "the client could not handle it")
  if (operation !== "connect") return unknown(CheckpointError.Unavailable, "the connection was lost")
  if (isCertificateProblem(code)) {
    return notApplied(
      CheckpointError.Configuration,
      "check sslmode and sslrootcert, and that the certificate of the server is valid for this host"
    )
  }
  if (message === "PgConnection: Server refused TLS") {
    return notApplied(CheckpointError.Configuration, "turn on TLS at the server, or choose another sslmode")
  }
  // The driver has no code for settings that it cannot read. It says the same twice.
  const isMalformed = code === "ERR_INVALID_URL" ||
    (Predicate.isError(cause) && message === `PgConnection: ${cause.message}`)
  return isMalformed
    ? notApplied(CheckpointError.Configuration, "correct the settings of the client")
    : notApplied(CheckpointError.Unavailable, "check that the server runs and can be reached from here")
}

/** The codes of Node for a certificate that is refused, and of OpenSSL for parties that have no protocol in common. */
const isCertificateProblem = (code: string | undefined): boolean =>
  code !== undefined && /CERT|^ERR_(TLS|SSL)_|^(INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED)$/.test(code)
