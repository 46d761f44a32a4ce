/**
 * Everything that can go wrong, as tagged errors. Each operation's type lists
 * only those that it can fail with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const Thread = {
  threadId: Schema.String,
  namespace: Schema.String
}

const thread = (self: { readonly threadId: string; readonly namespace: string }): string =>
  self.namespace === "" ? `Thread "${self.threadId}"` : `Thread "${self.threadId}" in namespace "${self.namespace}"`

/**
 * An argument was refused before anything was read or written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>("@effect-checkpoint/core/InvalidInput")(
  "InvalidInput",
  {
    /** The argument's name, such as `threadId` or `policy.maxVersions`. */
    field: Schema.String,
    /** What is wrong with it, and what would be right. */
    reason: Schema.String
  }
) {
  override get message(): string {
    return `Invalid ${this.field}: ${this.reason}`
  }
}

/**
 * Somebody else moved the thread's head first; nothing was written. Read the
 * newest checkpoint, apply the change to it and put again, or let `update` do so.
 *
 * @category errors
 * @since 0.1.0
 */
export class VersionConflict extends Schema.TaggedError<VersionConflict>("@effect-checkpoint/core/VersionConflict")(
  "VersionConflict",
  {
    ...Thread,
    /** The version that the writer took for the newest; 0 when it took the thread for new. */
    expected: Schema.Int,
    /** The newest version there is; 0 when the thread does not exist. */
    actual: Schema.Int
  }
) {
  override get message(): string {
    const actual = this.actual === 0 ? "does not exist" : `is at version ${this.actual}`
    const expected = this.expected === 0 ? "to be new" : `to be at version ${this.expected}`
    return `${thread(this)} ${actual}, but was expected ${expected}` +
      (this.expected === this.actual ? " written by somebody else" : "")
  }
}

/**
 * A checkpoint that has to exist does not: it was never written, was pruned, or
 * its thread was deleted.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointNotFound extends Schema.TaggedError<CheckpointNotFound>(
  "@effect-checkpoint/core/CheckpointNotFound"
)("CheckpointNotFound", {
  ...Thread,
  /** What was asked for, such as `version 3` or `the latest version`. */
  selector: Schema.String
}) {
  override get message(): string {
    return `${thread(this)} has no checkpoint for ${this.selector}`
  }
}

/**
 * The given `checkpointId` already names a checkpoint of this thread with other
 * content. Putting the same content again under its id is not an error.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointIdTaken
  extends Schema.TaggedError<CheckpointIdTaken>("@effect-checkpoint/core/CheckpointIdTaken")(
    "CheckpointIdTaken",
    {
      ...Thread,
      checkpointId: Schema.String
    }
  )
{
  override get message(): string {
    return `${thread(this)} already has a checkpoint with id "${this.checkpointId}" and other content`
  }
}

/**
 * The state was refused by its schema, or its encoded form is not JSON. Nothing
 * was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateEncodeError extends Schema.TaggedError<StateEncodeError>("@effect-checkpoint/core/StateEncodeError")(
  "StateEncodeError",
  {
    ...Thread,
    /** What is wrong and where. */
    reason: Schema.String,
    /** The `SchemaError`, where the schema refused it. */
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `${thread(this)}: the state cannot be saved: ${this.reason}`
  }
}

/**
 * A stored state could not be read. Nothing is lost: the stored value is in
 * `raw`, and other versions can still be read.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateDecodeError extends Schema.TaggedError<StateDecodeError>("@effect-checkpoint/core/StateDecodeError")(
  "StateDecodeError",
  {
    ...Thread,
    version: Schema.Int,
    /**
     * `Schema`: the state is not what the schema describes (any more). `Format`:
     * it was written in a form this version of the library does not know.
     * `Damaged`: the stored rows were changed by something else.
     */
    kind: Schema.Literals(["Schema", "Format", "Damaged"]),
    reason: Schema.String,
    /** The stored JSON. */
    raw: Schema.Unknown,
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `${thread(this)}: version ${this.version} cannot be read: ${this.reason}`
  }
}

/**
 * The state is larger than the limit. Nothing was sent. Keep large parts
 * elsewhere and their addresses in the state, or raise `maxStateBytes`.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateTooLarge extends Schema.TaggedError<StateTooLarge>("@effect-checkpoint/core/StateTooLarge")(
  "StateTooLarge",
  {
    ...Thread,
    /** The size of the state as JSON in UTF-8. */
    bytes: Schema.Int,
    limit: Schema.Int
  }
) {
  override get message(): string {
    return `${thread(this)}: the state is ${this.bytes} bytes of JSON, the limit is ${this.limit}`
  }
}

/**
 * Why the backend failed.
 *
 * - `Unavailable`: it cannot be reached, or the connection was lost
 * - `Authentication`: user or password refused
 * - `Permission`: the role may not do this
 * - `PoolExhausted`: no connection became free within the acquire timeout
 * - `Timeout`: the statement did not end within its timeout
 * - `Contention`: deadlock, serialization failure or lock timeout
 * - `Overloaded`: out of connections, memory or disk
 * - `SchemaMissing`: the tables are not there, or are older than this version of the library needs
 * - `SchemaTooNew`: the tables were migrated by a newer version of the library
 * - `PruneRunning`: another prune runs against this database
 * - `Rejected`: the statement itself was refused
 * - `Unknown`: none of these
 *
 * @category models
 * @since 0.1.0
 */
export const StoreErrorReason = Schema.Literals([
  "Unavailable",
  "Authentication",
  "Permission",
  "PoolExhausted",
  "Timeout",
  "Contention",
  "Overloaded",
  "SchemaMissing",
  "SchemaTooNew",
  "PruneRunning",
  "Rejected",
  "Unknown"
])

/**
 * One of the reasons.
 *
 * @category models
 * @since 0.1.0
 */
export type StoreErrorReason = typeof StoreErrorReason.Type

/**
 * The backend failed, after the retries that its retry policy allows.
 *
 * **Details**
 *
 * `outcome` says what is known: `NotApplied` means that nothing was written,
 * `Unknown` that a write may or may not have been applied, as when the
 * connection was lost while a commit was under way, at any of the attempts.
 * Putting again under the same `checkpointId` is safe in both cases.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Schema.TaggedError<StoreError>("@effect-checkpoint/core/StoreError")("StoreError", {
  /** What was being done, such as `put`. */
  operation: Schema.String,
  reason: StoreErrorReason,
  /** What happened, and what to do about it. */
  description: Schema.String,
  /** Whether the same call may succeed later without anything being changed. */
  isRetryable: Schema.Boolean,
  outcome: Schema.Literals(["NotApplied", "Unknown"]),
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `${this.operation} failed: ${this.description}`
  }
}

/**
 * A run used up its `maxSteps`. What it has done is saved: `resume` goes on from
 * there.
 *
 * @category errors
 * @since 0.1.0
 */
export class StepLimitExceeded extends Schema.TaggedError<StepLimitExceeded>(
  "@effect-checkpoint/core/StepLimitExceeded"
)("StepLimitExceeded", {
  ...Thread,
  maxSteps: Schema.Int,
  /** The newest version, which `resume` goes on from. */
  version: Schema.Int,
  /** What would have been run next. */
  nextNodes: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${thread(this)} has not ended within ${this.maxSteps} steps; resume it, or raise maxSteps`
  }
}

/**
 * A run was to begin on a thread on which one is under way. Nothing was written.
 * `resume` continues it, or answers what it waits for.
 *
 * @category errors
 * @since 0.1.0
 */
export class ThreadUnfinished extends Schema.TaggedError<ThreadUnfinished>("@effect-checkpoint/core/ThreadUnfinished")(
  "ThreadUnfinished",
  {
    ...Thread,
    version: Schema.Int,
    nextNodes: Schema.Array(Schema.String),
    /** What it waits for, if it does. */
    interruptId: Schema.UndefinedOr(Schema.String)
  }
) {
  override get message(): string {
    const waits = this.interruptId === undefined ? "" : `, and waits for an answer to "${this.interruptId}"`
    return `${thread(this)} is unfinished at version ${this.version}${waits}; resume it`
  }
}

/**
 * What was to be answered is not waited for: somebody else was faster, or the
 * thread has not asked. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InterruptAlreadyResolved extends Schema.TaggedError<InterruptAlreadyResolved>(
  "@effect-checkpoint/core/InterruptAlreadyResolved"
)("InterruptAlreadyResolved", {
  ...Thread,
  /** The interrupt that was to be answered, where it was named. */
  interruptId: Schema.UndefinedOr(Schema.String),
  /** The newest version. */
  version: Schema.Int
}) {
  override get message(): string {
    const what = this.interruptId === undefined ? "an answer" : `an answer to "${this.interruptId}"`
    return `${thread(this)} does not wait for ${what} at version ${this.version}`
  }
}

/**
 * A response is not what the interrupt's schema describes. The interrupt is still
 * open, and nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidResponse extends Schema.TaggedError<InvalidResponse>("@effect-checkpoint/core/InvalidResponse")(
  "InvalidResponse",
  {
    ...Thread,
    interruptId: Schema.String,
    /** The name of the interrupt that it was to answer. */
    kind: Schema.String,
    reason: Schema.String,
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `${thread(this)}: the response to ${this.kind} is refused: ${this.reason}`
  }
}
