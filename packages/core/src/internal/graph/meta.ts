import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import { StateDecodeError } from "../../CheckpointError.ts"

/** A version of a graph within, which waits. */
export const Within = Schema.Struct({ version: Schema.Int, checkpointId: Schema.String })

/** What a graph keeps in the metadata of its checkpoints, under `graph`. */
export const Meta = Schema.Struct({
  name: Schema.String,
  /** How many steps the thread has done. */
  step: Schema.Int,
  source: Schema.Literals(["input", "step", "interrupt", "answer", "branch", "edit"]),
  /** Whose updates are new in the state. */
  writers: Schema.Array(Schema.String),
  /** Names the step that is to be run next, and never another one. A branch is named by its checkpoint. */
  base: Schema.optionalKey(Schema.String),
  /** What is asked, by which node, and under which task the answer is kept. */
  asked: Schema.optionalKey(Schema.Struct({
    kind: Schema.String,
    node: Schema.String,
    key: Schema.String,
    within: Schema.optionalKey(Within)
  })),
  /** What the strategy did not go on with. */
  branches: Schema.optionalKey(Schema.Array(Schema.String)),
  /** The step and the node of the graph around it that this run belongs to. */
  invocation: Schema.optionalKey(Schema.String)
})

export type Meta = typeof Meta.Type

const decodeMeta = Schema.decodeUnknownOption(Meta)

export const metaOf = (checkpoint: CheckpointInfo): Option.Option<Meta> => decodeMeta(checkpoint.metadata["graph"])

/** The metadata of a checkpoint: what the caller has for it, or the version before it has, and what the graph keeps. */
export const metadataOf = (
  metadata: Schema.JsonObject | undefined,
  before: CheckpointInfo | undefined,
  meta: Meta
): Schema.JsonObject => ({ ...metadata ?? before?.metadata, graph: meta })

export const damaged = (
  { metadata, namespace, threadId, version }: CheckpointInfo,
  reason: string
): StateDecodeError => new StateDecodeError({ threadId, namespace, version, kind: "Damaged", reason, raw: metadata })

/** Of a checkpoint that some graph has written. */
export const anyMeta = (checkpoint: CheckpointInfo): Effect.Effect<Meta, StateDecodeError> =>
  Option.match(metaOf(checkpoint), {
    onNone: () => Effect.fail(damaged(checkpoint, `it was not written by a graph: its metadata has no "graph"`)),
    onSome: Effect.succeed
  })

/** Of a checkpoint that this graph has written. */
export const ownMeta = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Effect.Effect<Meta, StateDecodeError> =>
  Effect.flatMap(anyMeta(checkpoint), (meta) =>
    meta.name === graph.name
      ? Effect.succeed(meta)
      : Effect.fail(damaged(checkpoint, `it was written by graph "${meta.name}", and this is "${graph.name}"`)))

/** A copy of an earlier version, or of another thread's, begins a step of its own. */
export const baseOf = ({ checkpointId, parent, threadId, version }: CheckpointInfo, meta: Meta): string => {
  const follows = Option.match(parent, {
    onNone: () => true,
    onSome: (parent) => parent.threadId === threadId && parent.version === version - 1
  })
  return follows && meta.base !== undefined ? meta.base : checkpointId
}
