import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { CheckpointInfo } from "../../Checkpoint.ts"

/**
 * What a graph stores in the metadata of each of its checkpoints, under the key `graph`.
 *
 * **Gotchas**
 *
 * A version that an operation of a view made, such as `update`, `restore` or `fork`, has the metadata of the version
 * that it was made from, except for the `stepId` of a copy.
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
  /** How many of them belong to the run. `maxSteps` limits it. */
  readonly runSteps?: number
  /**
   * Why the version was made.
   *
   * - `input`: a run began
   * - `step`: a step was completed
   * - `interrupt`: the thread waits for an answer, and nothing else has changed
   * - `edit`: `resume` changed the state or the next nodes, or continued a run that had stopped
   * - `branch`: `resume` copied an earlier version to continue from it
   */
  readonly cause: "input" | "step" | "interrupt" | "edit" | "branch"
  /** The nodes of the completed step, if the cause is `step`. Otherwise empty. */
  readonly completedNodes: ReadonlyArray<string>
  /**
   * The id of the step that begins at this version. Idempotency keys and interrupt ids begin with it. A copy of another
   * version, made by `restore` or `fork`, has an id of its own. If it is missing, the checkpoint id is the id of the step.
   */
  readonly stepId?: string
  /** Whether the run stopped here, because the step led to several nodes: the next nodes are its `branches`. */
  readonly stopped?: true
  /** What the calls of the run set otherwise than the graph. `resume` uses it. */
  readonly settings?: {
    readonly strategy?: "StopAtNonLinear" | "PickFirst" | "PickLast" | "Parallel"
    readonly maxSteps?: number
    readonly concurrency?: number | "unbounded"
    readonly durability?: "step" | "exit"
    readonly interruptBefore?: ReadonlyArray<string>
    readonly interruptAfter?: ReadonlyArray<string>
  }
  /** The idempotency key of the node of the outer graph, if the graph is nested. */
  readonly outerTask?: string
}

/**
 * The schema of what a graph stores in the metadata of each of its checkpoints, under the key `graph`.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Metadata: Schema.Codec<Metadata> = Schema.Struct({
  graph: Schema.String,
  step: Schema.Int,
  runSteps: Schema.optionalKey(Schema.Int),
  cause: Schema.Literals(["input", "step", "interrupt", "edit", "branch"]),
  completedNodes: Schema.Array(Schema.String),
  stepId: Schema.optionalKey(Schema.String),
  stopped: Schema.optionalKey(Schema.Literal(true)),
  settings: Schema.optionalKey(Schema.Struct({
    strategy: Schema.optionalKey(Schema.Literals(["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"])),
    maxSteps: Schema.optionalKey(Schema.Int),
    concurrency: Schema.optionalKey(Schema.Union([Schema.Int, Schema.Literal("unbounded")])),
    durability: Schema.optionalKey(Schema.Literals(["step", "exit"])),
    interruptBefore: Schema.optionalKey(Schema.Array(Schema.String)),
    interruptAfter: Schema.optionalKey(Schema.Array(Schema.String))
  })),
  outerTask: Schema.optionalKey(Schema.String)
})

const decodeMetadata = Schema.decodeUnknownOption(Metadata)

/** Reads what a graph stored in the metadata of a checkpoint. */
export const graphMetadata = (checkpoint: Pick<CheckpointInfo, "metadata">): Option.Option<Metadata> =>
  decodeMetadata(checkpoint.metadata["graph"])

/**
 * The metadata of a new version: that of the caller, by default that of the version before, and that of the graph with
 * the settings of the run. (It is copied because the compiler does not take an interface as a `JsonObject`.)
 */
export const withMetadata = (
  { metadata, overrides }: {
    readonly metadata: Schema.JsonObject | undefined
    readonly overrides: NonNullable<Metadata["settings"]>
  },
  before: CheckpointInfo | undefined,
  graph: Metadata
): Schema.JsonObject => ({
  ...metadata ?? before?.metadata,
  graph: {
    ...Struct.omit(graph, ["settings"]),
    ...(Struct.keys(overrides).length === 0 ? {} : { settings: overrides })
  }
})

/** The id of the step that begins at a checkpoint. */
export const stepIdOf = ({ checkpointId }: CheckpointInfo, { stepId = checkpointId }: Metadata): string => stepId
