/**
 * Failures of the backend, with a class for each reason, which `Effect.catchReason` can tell apart.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

const fields = {
  /** What happened, and what to do about it. */
  message: Schema.String,
  /** What the driver reported. */
  cause: Schema.optional(Schema.Defect())
}

/**
 * The database cannot be reached, or the connection was lost.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Unavailable extends Schema.TaggedError<Unavailable>("@effect-checkpoint/core/StoreError/Unavailable")(
  "Unavailable",
  fields
) {
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * The server refused the user name or the password.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Authentication
  extends Schema.TaggedError<Authentication>("@effect-checkpoint/core/StoreError/Authentication")(
    "Authentication",
    fields
  )
{
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * No connection can be made with these settings: the certificate of the server is not trusted, it does not offer TLS, or
 * the URL of the client is malformed.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Configuration
  extends Schema.TaggedError<Configuration>("@effect-checkpoint/core/StoreError/Configuration")("Configuration", fields)
{
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * The role lacks a privilege.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Permission extends Schema.TaggedError<Permission>("@effect-checkpoint/core/StoreError/Permission")(
  "Permission",
  fields
) {
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * No connection became free within the acquire timeout. Nothing was sent.
 *
 * @category reasons
 * @since 0.2.0
 */
export class PoolExhausted
  extends Schema.TaggedError<PoolExhausted>("@effect-checkpoint/core/StoreError/PoolExhausted")("PoolExhausted", fields)
{
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * The statement did not finish within its timeout, or was canceled.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Timeout extends Schema.TaggedError<Timeout>("@effect-checkpoint/core/StoreError/Timeout")(
  "Timeout",
  fields
) {
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * A deadlock, a serialization failure or a lock timeout.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Contention extends Schema.TaggedError<Contention>("@effect-checkpoint/core/StoreError/Contention")(
  "Contention",
  fields
) {
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * The server is out of connections, memory or disk space.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Overloaded extends Schema.TaggedError<Overloaded>("@effect-checkpoint/core/StoreError/Overloaded")(
  "Overloaded",
  fields
) {
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * The tables do not exist, or are older than this version of the library requires.
 *
 * @category reasons
 * @since 0.2.0
 */
export class SchemaMissing
  extends Schema.TaggedError<SchemaMissing>("@effect-checkpoint/core/StoreError/SchemaMissing")("SchemaMissing", fields)
{
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * The tables belong to another version of the library: a newer one, or one whose tables cannot be migrated.
 *
 * @category reasons
 * @since 0.2.0
 */
export class SchemaIncompatible
  extends Schema.TaggedError<SchemaIncompatible>("@effect-checkpoint/core/StoreError/SchemaIncompatible")(
    "SchemaIncompatible",
    fields
  )
{
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * Another prune is running against this database.
 *
 * @category reasons
 * @since 0.2.0
 */
export class PruneRunning extends Schema.TaggedError<PruneRunning>("@effect-checkpoint/core/StoreError/PruneRunning")(
  "PruneRunning",
  fields
) {
  /** The same call may succeed later without any change. */
  readonly isRetryable = true
}

/**
 * The server refused the statement itself.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Rejected extends Schema.TaggedError<Rejected>("@effect-checkpoint/core/StoreError/Rejected")(
  "Rejected",
  fields
) {
  /** The same call fails again until something is changed. */
  readonly isRetryable = false
}

/**
 * A failure that none of the other reasons describes.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Unknown extends Schema.TaggedError<Unknown>("@effect-checkpoint/core/StoreError/Unknown")(
  "Unknown",
  fields
) {
  /** The same call is not expected to succeed later. */
  readonly isRetryable = false
}

/**
 * Why the backend failed.
 *
 * @category models
 * @since 0.2.0
 */
export const StoreErrorReason = Schema.Union([
  Unavailable,
  Authentication,
  Configuration,
  Permission,
  PoolExhausted,
  Timeout,
  Contention,
  Overloaded,
  SchemaMissing,
  SchemaIncompatible,
  PruneRunning,
  Rejected,
  Unknown
])

/**
 * One of the reasons.
 *
 * @category models
 * @since 0.2.0
 */
export type StoreErrorReason = typeof StoreErrorReason.Type

/**
 * The backend failed, after the retries that its retry policy allows.
 *
 * **Example** (Handle one reason)
 *
 * ```ts import.meta.vitest
 * import { CheckpointError } from "@effect-checkpoint/core"
 * import { Effect } from "effect"
 *
 * const failed: Effect.Effect<string, CheckpointError.StoreError> = Effect.fail(
 *   new CheckpointError.StoreError({
 *     operation: "prune",
 *     reason: new CheckpointError.PruneRunning({ message: "another prune is running" }),
 *     outcome: "NotApplied"
 *   })
 * )
 *
 * const handled = Effect.catchReason(failed, "StoreError", "PruneRunning", () => Effect.succeed("next time"))
 *
 * await Effect.runPromise(handled) // => "next time"
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Schema.TaggedError<StoreError>("@effect-checkpoint/core/StoreError")("StoreError", {
  /** The operation that failed, such as `put`. */
  operation: Schema.String,
  reason: StoreErrorReason,
  /**
   * `NotApplied`: nothing was written. `Unknown`: a write may have been applied, as when the connection is lost during
   * a commit, in any of the attempts. Saving again under the same `checkpointId` is safe in both cases.
   */
  outcome: Schema.Literals(["NotApplied", "Unknown"])
}) {
  override readonly cause: unknown = this.reason.cause

  override get message(): string {
    return `${this.operation} failed: ${this.reason.message}`
  }

  /** Whether the same call may succeed later without any change. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}
