/**
 * Everything that can go wrong, as tagged errors. The type of each operation lists only the errors it can fail with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

export * from "./StoreError.ts"

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
    /** The name of the argument, such as `threadId` or `policy.maxVersions`. */
    field: Schema.String,
    /** What is wrong with it, and what would be right. */
    problem: Schema.String
  }
) {
  override get message(): string {
    return `Invalid ${this.field}: ${this.problem}`
  }
}

/**
 * The newest version of the thread is not the one that the writer expected. Nothing was written. Read the newest
 * checkpoint, apply the change to it and put again, or use `update`, which does this for you.
 *
 * @category errors
 * @since 0.1.0
 */
export class VersionConflict extends Schema.TaggedError<VersionConflict>("@effect-checkpoint/core/VersionConflict")(
  "VersionConflict",
  {
    ...Thread,
    /** The version that the writer expected to be the newest; 0 if it expected a new thread. */
    expected: Schema.Int,
    /** The newest version; 0 if the thread does not exist. */
    actual: Schema.Int
  }
) {
  override get message(): string {
    if (this.expected === 0) {
      return `${thread(this)} already exists, at version ${this.actual}, but was expected to be new`
    }
    if (this.actual === 0) return `${thread(this)} does not exist; version ${this.expected} was expected`
    return this.actual === this.expected
      ? `${thread(this)} has a version ${this.actual}, but not the one that was expected: the thread was deleted ` +
        "and created again, or restored from a backup; read it again"
      : `${thread(this)} is at version ${this.actual}, but version ${this.expected} was expected; read it again`
  }
}

/**
 * A thread that was to be created exists. Nothing was written.
 *
 * @category errors
 * @since 0.2.0
 */
export class ThreadExists extends Schema.TaggedError<ThreadExists>("@effect-checkpoint/core/ThreadExists")(
  "ThreadExists",
  {
    ...Thread,
    /** The newest version of the thread. */
    version: Schema.Int
  }
) {
  override get message(): string {
    return `${thread(this)} already exists, at version ${this.version}; choose another id, or add a version with ` +
      "append or put"
  }
}

/**
 * A checkpoint that must exist does not: it was never written, retention removed it, or its thread was deleted.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointNotFound extends Schema.TaggedError<CheckpointNotFound>(
  "@effect-checkpoint/core/CheckpointNotFound"
)("CheckpointNotFound", {
  ...Thread,
  /** Which checkpoint of the thread was requested, such as `version 3`; undefined for the newest one. */
  selector: Schema.UndefinedOr(Schema.String)
}) {
  override get message(): string {
    return this.selector === undefined
      ? `${thread(this)} does not exist`
      : `${thread(this)} has no checkpoint with ${this.selector}: it was never saved, or it was removed`
  }
}

/**
 * The `checkpointId` that was given belongs to a checkpoint of the thread with different content. Putting the same
 * content again under its id succeeds.
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
    return `${thread(this)} already has a checkpoint with the id "${this.checkpointId}" and different content`
  }
}

/**
 * The schema refused the state, or its encoded form is not JSON. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateEncodeError extends Schema.TaggedError<StateEncodeError>("@effect-checkpoint/core/StateEncodeError")(
  "StateEncodeError",
  {
    ...Thread,
    /** What is wrong, and where. */
    problem: Schema.String,
    /** The `SchemaError`, if the schema refused the state. */
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `${thread(this)}: the state cannot be saved: ${this.problem}`
  }
}

const decodeFields = {
  /** What is wrong, and where. */
  message: Schema.String,
  cause: Schema.optional(Schema.Defect())
}

/**
 * The stored state does not match the schema, or no longer does.
 *
 * @category reasons
 * @since 0.2.0
 */
export class SchemaMismatch
  extends Schema.TaggedError<SchemaMismatch>("@effect-checkpoint/core/StateDecodeError/SchemaMismatch")(
    "SchemaMismatch",
    decodeFields
  )
{}

/**
 * The state was written in a format that this version of the library does not know.
 *
 * @category reasons
 * @since 0.2.0
 */
export class UnknownFormat
  extends Schema.TaggedError<UnknownFormat>("@effect-checkpoint/core/StateDecodeError/UnknownFormat")(
    "UnknownFormat",
    decodeFields
  )
{}

/**
 * Something other than this library changed the stored rows.
 *
 * @category reasons
 * @since 0.2.0
 */
export class Damaged extends Schema.TaggedError<Damaged>("@effect-checkpoint/core/StateDecodeError/Damaged")(
  "Damaged",
  decodeFields
) {}

/**
 * Why a stored state cannot be read.
 *
 * @category models
 * @since 0.2.0
 */
export const StateDecodeErrorReason = Schema.Union([SchemaMismatch, UnknownFormat, Damaged])

/**
 * One of the reasons.
 *
 * @category models
 * @since 0.2.0
 */
export type StateDecodeErrorReason = typeof StateDecodeErrorReason.Type

/**
 * A stored state cannot be read. Nothing is lost: `raw` has the stored value, and other versions can still be read.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateDecodeError extends Schema.TaggedError<StateDecodeError>("@effect-checkpoint/core/StateDecodeError")(
  "StateDecodeError",
  {
    ...Thread,
    version: Schema.Int,
    reason: StateDecodeErrorReason,
    /** The stored JSON. */
    raw: Schema.Unknown
  }
) {
  override readonly cause: unknown = this.reason.cause

  override get message(): string {
    return `${thread(this)}: version ${this.version} cannot be read: ${this.reason.message}`
  }
}

/**
 * The state, or the pending writes of a step together, are larger than the limit. Nothing was written. Keep large values
 * elsewhere and their addresses in the state, or raise `maxStateBytes`.
 *
 * @category errors
 * @since 0.1.0
 */
export class StateTooLarge extends Schema.TaggedError<StateTooLarge>("@effect-checkpoint/core/StateTooLarge")(
  "StateTooLarge",
  {
    ...Thread,
    /** The size as JSON in UTF-8. */
    bytes: Schema.Int,
    limit: Schema.Int,
    /** The tasks whose pending writes are too large together with the others of the step, if the state is not. */
    tasks: Schema.optional(Schema.Array(Schema.String)),
    /** The question whose answer is too large. */
    interruptId: Schema.optional(Schema.String)
  }
) {
  override get message(): string {
    const what = this.interruptId !== undefined ? `the answer to "${this.interruptId}" is` : this.tasks === undefined ?
      "the state is" :
      `with ${this.tasks.map((task) => `"${task}"`).join(", ")}, the pending writes of the step are`
    return `${thread(this)}: ${what} ${this.bytes} bytes of JSON, the limit is ${this.limit}; keep large values ` +
      "elsewhere and their addresses in the state, or raise maxStateBytes"
  }
}

/**
 * A run used up its `maxSteps`. Its work is saved. `resume` with a higher `maxSteps` continues it. If a nested graph did,
 * `namespace`, `version` and `nextNodes` are those of the nested graph, and you resume the outer one.
 *
 * @category errors
 * @since 0.1.0
 */
export class StepLimitExceeded extends Schema.TaggedError<StepLimitExceeded>(
  "@effect-checkpoint/core/StepLimitExceeded"
)("StepLimitExceeded", {
  ...Thread,
  maxSteps: Schema.Int,
  /** The newest version, from which `resume` continues. */
  version: Schema.Int,
  /** The nodes that would have run next. */
  nextNodes: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${thread(this)}: the run has used up its maxSteps, ${this.maxSteps}, before ` +
      `${this.nextNodes.map((node) => `"${node}"`).join(", ")}; its work is saved: pass a higher maxSteps to resume`
  }
}

/**
 * `run` was called for a thread whose previous run has not completed: it failed, waits for an answer or stopped at
 * branches. Nothing was written. `resume` continues that run, and ends it if `next` is empty.
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
    /** The interrupts that the run waits for. */
    interruptIds: Schema.Array(Schema.String),
    /** Whether the run stopped at branches, which are the `nextNodes`. */
    stopped: Schema.Boolean
  }
) {
  override get message(): string {
    const list = (names: ReadonlyArray<string>) => names.map((name) => `"${name}"`).join(", ")
    const where = this.interruptIds.length > 0
      ? ` and waits for an answer to ${list(this.interruptIds)}`
      : this.stopped
      ? ` and stopped at the branches ${list(this.nextNodes)}`
      : ""
    return `${
      thread(this)
    } has an unfinished run at version ${this.version}${where}; resume it, or end it by resuming ` +
      "it with an empty next"
  }
}

/**
 * A graph cannot continue a thread, because the thread was saved by another graph or by another version of this one: the
 * name of the graph, a node or an interrupt differs, or the metadata is not that of a graph. Nothing was written to the
 * thread.
 *
 * @category errors
 * @since 0.2.0
 */
export class GraphMismatch extends Schema.TaggedError<GraphMismatch>("@effect-checkpoint/core/GraphMismatch")(
  "GraphMismatch",
  {
    ...Thread,
    version: Schema.Int,
    /** The name of the graph that was to continue. */
    graph: Schema.String,
    /** What does not match, and what to do. */
    problem: Schema.String
  }
) {
  override get message(): string {
    return `${thread(this)} does not match graph "${this.graph}" at version ${this.version}: ${this.problem}`
  }
}

/**
 * The interrupt that was to be answered is not pending: another answer was first, or the thread never asked. Nothing
 * was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InterruptAlreadyResolved extends Schema.TaggedError<InterruptAlreadyResolved>(
  "@effect-checkpoint/core/InterruptAlreadyResolved"
)("InterruptAlreadyResolved", {
  ...Thread,
  /** The interrupt that was to be answered, if the caller named one. */
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
 * A node asks something else each time it runs, so no answer fits its question: its request is not the same for the same
 * state, for example because it comes from a model or contains the time. The answers are kept. `NodeContext.once` keeps
 * such a request, so that the node asks the same again.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnstableRequest extends Schema.TaggedError<UnstableRequest>("@effect-checkpoint/core/UnstableRequest")(
  "UnstableRequest",
  {
    ...Thread,
    version: Schema.Int,
    node: Schema.String,
    /** The id of the class that `Interrupt` made. */
    kind: Schema.String,
    /** How many answers in a row were given to questions that the node did not ask again. */
    answers: Schema.Int
  }
) {
  override get message(): string {
    return `${
      thread(this)
    } cannot continue at version ${this.version}: node "${this.node}" asked something else after ` +
      `each of the last ${this.answers} answers to "${this.kind}"; make the request within context.once, or in a node ` +
      `before it and keep it in the state, then resume with next: ["${this.node}"]`
  }
}

/**
 * Two nodes of one step wrote the same field, and the graph has no reducer for it. The step is not completed, and the
 * updates of its nodes are saved: once the graph says what to do, `resume` completes it and runs no node again.
 *
 * @category errors
 * @since 0.2.0
 */
export class WriteConflict extends Schema.TaggedError<WriteConflict>("@effect-checkpoint/core/WriteConflict")(
  "WriteConflict",
  {
    ...Thread,
    /** The version at which the step begins. */
    version: Schema.Int,
    /** The field, or `undefined` if the state is not a struct, whose updates replace all of it. */
    field: Schema.UndefinedOr(Schema.String),
    /** The nodes that wrote it, in the order of the edges. */
    nodes: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    const nodes = this.nodes.map((node) => `"${node}"`).join(" and ")
    const [what, reducer] = this.field === undefined
      ? ["replaced the whole state", "a reduce"]
      : [`wrote the field "${this.field}"`, "a reducer for it"]
    return `${thread(this)} cannot continue at version ${this.version}: nodes ${nodes} of one step ${what}; give the ` +
      `graph ${reducer}, or conflicts: "last", then resume it, which runs none of them again`
  }
}

/**
 * A response does not match the schema of its interrupt. The interrupt is still pending, and nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidResponse extends Schema.TaggedError<InvalidResponse>("@effect-checkpoint/core/InvalidResponse")(
  "InvalidResponse",
  {
    ...Thread,
    interruptId: Schema.String,
    /** The name of the interrupt that it answers. */
    kind: Schema.String,
    problem: Schema.String,
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `${thread(this)}: ${this.kind} does not accept the response: ${this.problem}`
  }
}
