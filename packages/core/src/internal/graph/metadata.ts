import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CheckpointInfo } from "../../Checkpoint.ts"

/** A version of a nested graph. */
export const NestedVersion = Schema.Struct({ version: Schema.Int, checkpointId: Schema.String })

/**
 * What a graph keeps in the metadata of its checkpoints, under `graph`.
 *
 * **Gotchas**
 *
 * A version that was made by an operation of a view, such as `update`, `restore` or `fork`,
 * has the metadata of the version that it was made from.
 *
 * @see {@link metadata} to read it from a checkpoint
 * @category models
 * @since 0.2.0
 */
export interface Metadata {
  /** The name of the graph. */
  readonly graph: string
  /** How many steps the thread has completed. */
  readonly step: number
  /**
   * Why the version was made.
   *
   * - `input`: a run began
   * - `step`: a step was completed
   * - `interrupt`: the thread waits for an answer, and nothing else has changed
   * - `answer`: `resume` answered
   * - `edit`: `resume` changed the state or the next nodes
   * - `branch`: `resume` copied an earlier version to continue from it
   */
  readonly cause: "input" | "step" | "interrupt" | "answer" | "edit" | "branch"
  /** The nodes of the step, if the version was made because a step was completed. Empty otherwise. */
  readonly completedNodes: ReadonlyArray<string>
  /**
   * The id of the step that begins at this version. Idempotency keys and interrupt ids begin with it. Without it, or in
   * a copy of another version, the step has the id of the checkpoint.
   */
  readonly stepId?: string
  /** The question that the thread waits for, whatever the cause. */
  readonly question?: {
    /** The id of its `Interrupt`, or `"Pause"`. */
    readonly interrupt: string
    /** The node that asks. */
    readonly node: string
    /** The key of the pending write that will hold the answer. */
    readonly writeKey: string
    /** The version of the nested graph that waits, if it is a nested graph that asks. */
    readonly nested?: { readonly version: number; readonly checkpointId: string }
  }
  /** The nodes that the step led to, if the strategy continued with none of them. */
  readonly notTaken?: ReadonlyArray<string>
  /** The task of the outer graph that the run belongs to, named by the idempotency key of its node. */
  readonly outerTask?: string
}

/**
 * The schema of what a graph keeps in the metadata of its checkpoints, under `graph`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Metadata: Schema.Codec<Metadata> = Schema.Struct({
  graph: Schema.String,
  step: Schema.Int,
  cause: Schema.Literals(["input", "step", "interrupt", "answer", "edit", "branch"]),
  completedNodes: Schema.Array(Schema.String),
  stepId: Schema.optionalKey(Schema.String),
  question: Schema.optionalKey(Schema.Struct({
    interrupt: Schema.String,
    node: Schema.String,
    writeKey: Schema.String,
    nested: Schema.optionalKey(NestedVersion)
  })),
  notTaken: Schema.optionalKey(Schema.Array(Schema.String)),
  outerTask: Schema.optionalKey(Schema.String)
})

const decodeMetadata = Schema.decodeUnknownOption(Metadata)

/** What a graph has kept in the metadata of a checkpoint. */
export const graphMetadata = (checkpoint: CheckpointInfo): Option.Option<Metadata> =>
  decodeMetadata(checkpoint.metadata["graph"])

/**
 * The metadata of a new version: the caller's part, by default that of the version before, and the graph's. (To the
 * compiler, an interface is not a `JsonObject`, and a copy of one is.)
 */
export const withMetadata = (
  callerMetadata: Schema.JsonObject | undefined,
  before: CheckpointInfo | undefined,
  metadata: Metadata
): Schema.JsonObject => ({ ...callerMetadata ?? before?.metadata, graph: { ...metadata } })

/** The id of the step that begins at a checkpoint. A copy, made by a restore or a fork, begins a step of its own. */
export const stepIdOf = ({ checkpointId, parent, threadId, version }: CheckpointInfo, metadata: Metadata): string => {
  const isCopy = parent !== undefined && (parent.threadId !== threadId || parent.version !== version - 1)
  return isCopy || metadata.stepId === undefined ? checkpointId : metadata.stepId
}
