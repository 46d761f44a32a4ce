import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import { GraphMismatch } from "../../CheckpointError.ts"

/** A version of a nested graph. */
export const NestedVersion = Schema.Struct({ version: Schema.Int, checkpointId: Schema.String })

/** What a graph keeps in the metadata of its checkpoints, under `graph`. */
export const Metadata = Schema.Struct({
  /** The name of the graph that has written the checkpoint. */
  graph: Schema.String,
  /** How many steps the thread has completed. */
  step: Schema.Int,
  /** Why the version was made. */
  cause: Schema.Literals(["input", "step", "interrupt", "answer", "branch", "edit"]),
  /** The nodes whose updates are new in the state. */
  completedNodes: Schema.Array(Schema.String),
  /** The id of the next step. A branch has none: its next step has the id of its checkpoint. */
  stepId: Schema.optionalKey(Schema.String),
  /** The question that the thread waits for, and the pending write that will hold the answer. */
  question: Schema.optionalKey(Schema.Struct({
    interrupt: Schema.String,
    node: Schema.String,
    writeKey: Schema.String,
    nested: Schema.optionalKey(NestedVersion)
  })),
  /** The nodes that the strategy did not continue with. */
  notTaken: Schema.optionalKey(Schema.Array(Schema.String)),
  /** The task of the outer graph that this run belongs to. */
  outerTask: Schema.optionalKey(Schema.String)
})

export type Metadata = typeof Metadata.Type

const decodeMetadata = Schema.decodeUnknownOption(Metadata)

/** What a graph has kept in the metadata of a checkpoint. */
export const graphMetadata = (checkpoint: CheckpointInfo): Option.Option<Metadata> =>
  decodeMetadata(checkpoint.metadata["graph"])

/** The metadata of a new version: the caller's part, by default that of the version before, and the graph's. */
export const withMetadata = (
  callerMetadata: Schema.JsonObject | undefined,
  before: CheckpointInfo | undefined,
  metadata: Metadata
): Schema.JsonObject => ({ ...callerMetadata ?? before?.metadata, graph: metadata })

/** A checkpoint that the graph cannot continue from. */
export const mismatch = (
  graph: { readonly name: string },
  { namespace, threadId, version }: CheckpointInfo,
  problem: string
): GraphMismatch => new GraphMismatch({ threadId, namespace, version, graph: graph.name, problem })

/** Reads the metadata of a checkpoint that was saved by any graph. */
export const anyMetadata = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Effect.Effect<Metadata, GraphMismatch> =>
  Option.match(graphMetadata(checkpoint), {
    onNone: () => Effect.fail(mismatch(graph, checkpoint, `no graph has saved it: its metadata has no valid "graph"`)),
    onSome: Effect.succeed
  })

/** Reads the metadata of a checkpoint that was saved by this graph. */
export const ownMetadata = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Effect.Effect<Metadata, GraphMismatch> =>
  Effect.flatMap(anyMetadata(graph, checkpoint), (metadata) =>
    metadata.graph === graph.name
      ? Effect.succeed(metadata)
      : Effect.fail(mismatch(graph, checkpoint, `it was saved by graph "${metadata.graph}"`)))

/** The id of the step that begins at a checkpoint. A copy, made by a restore or a fork, begins a step of its own. */
export const stepIdOf = ({ checkpointId, parent, threadId, version }: CheckpointInfo, metadata: Metadata): string => {
  const isCopy = parent !== undefined && (parent.threadId !== threadId || parent.version !== version - 1)
  return isCopy || metadata.stepId === undefined ? checkpointId : metadata.stepId
}
