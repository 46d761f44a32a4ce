import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CheckpointInfo, Interrupt, Question } from "../../Checkpoint.ts"
import { GraphMismatch } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import { graphMetadata, type Metadata } from "./metadata.ts"
import { type InterruptKind, ofStored, type Question as Asked } from "./question.ts"

/** Whether a graph can continue from a checkpoint. */

type Named = Pick<Graph<never, never, never, never>, "name">

const mismatch = (
  { name }: Named,
  { namespace, threadId, version }: CheckpointInfo,
  problem: string
): Effect.Effect<never, GraphMismatch> =>
  Effect.fail(new GraphMismatch({ threadId, namespace, version, graph: name, problem }))

/** Reads the metadata of a checkpoint, which any graph must have saved. */
export const anyMetadata = (graph: Named, checkpoint: CheckpointInfo): Effect.Effect<Metadata, GraphMismatch> =>
  Option.match(graphMetadata(checkpoint), {
    onNone: () =>
      mismatch(
        graph,
        checkpoint,
        "no graph saved it, because its metadata has no valid \"graph\"; run the graph on another thread"
      ),
    onSome: Effect.succeed
  })

/** Reads the metadata of a checkpoint, which this graph must have saved. */
export const ownMetadata = (graph: Named, checkpoint: CheckpointInfo): Effect.Effect<Metadata, GraphMismatch> =>
  Effect.flatMap(
    anyMetadata(graph, checkpoint),
    (metadata) =>
      metadata.graph === graph.name ? Effect.succeed(metadata) : mismatch(
        graph,
        checkpoint,
        `it was saved by graph "${metadata.graph}"; use that graph, or give this one its name if you renamed it`
      )
  )

/** Reads the metadata of a checkpoint, which this graph must have saved, and not as a nested graph. */
export const outermostMetadata = (graph: Named, checkpoint: CheckpointInfo): Effect.Effect<Metadata, GraphMismatch> =>
  Effect.flatMap(
    ownMetadata(graph, checkpoint),
    (metadata) =>
      metadata.outerTask === undefined ? Effect.succeed(metadata) : mismatch(
        graph,
        checkpoint,
        "it was saved in a node of another graph; run that one, or give this graph another namespace"
      )
  )

/** Reads the metadata of a checkpoint, which a graph must have saved in a node of another one. */
export const nestedMetadata = (graph: Named, checkpoint: CheckpointInfo): Effect.Effect<Metadata, GraphMismatch> =>
  Effect.flatMap(
    anyMetadata(graph, checkpoint),
    (metadata) =>
      metadata.outerTask !== undefined ? Effect.succeed(metadata) : mismatch(
        graph,
        checkpoint,
        `graph "${metadata.graph}" saved it, and not in a node of this one; give that graph another namespace`
      )
  )

/** The open ones among stored questions of a checkpoint, each of which this graph must have asked. */
export const openQuestions = (
  graph: Named,
  checkpoint: CheckpointInfo,
  stored: ReadonlyArray<Interrupt & Partial<Pick<Question, "answer">>>
): Effect.Effect<ReadonlyArray<Asked>, GraphMismatch> =>
  Effect.forEach(
    stored.filter(({ answer }) => answer === undefined),
    (question) =>
      Option.match(Option.filter(ofStored(question), ({ about }) => about.graph === graph.name), {
        onNone: () =>
          mismatch(
            graph,
            checkpoint,
            "no graph raised its pending interrupt; pass the nodes to continue with as next, which drops the interrupt"
          ),
        onSome: Effect.succeed
      })
  )

/** The kind of a question, which the graph must declare. */
export const requireKind = (
  graph: Named & { readonly interrupts: ReadonlyMap<string, InterruptKind> },
  checkpoint: CheckpointInfo,
  { about: { kind } }: Asked
): Effect.Effect<InterruptKind, GraphMismatch> => {
  const declared = graph.interrupts.get(kind)
  return declared === undefined
    ? mismatch(
      graph,
      checkpoint,
      `it waits for an answer to "${kind}", which the graph does not declare; add it to interrupts, or pass the ` +
        "nodes to continue with as next, which drops the question"
    )
    : Effect.succeed(declared)
}

/** Fails if the graph did not save a checkpoint, does not have one of the nodes, or cannot take an answer. */
export const checkResumable = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  head: CheckpointInfo,
  nodes: ReadonlyArray<string>,
  open: ReadonlyArray<Asked>
): Effect.fn.Return<void, GraphMismatch> {
  yield* ownMetadata(graph, head)
  const missing = nodes.find((node) => !graph.nodes.has(node))
  if (missing !== undefined) {
    yield* mismatch(
      graph,
      head,
      `it continues with node "${missing}", which the graph does not have; add the node, or pass others as next`
    )
  }
  yield* Effect.forEach(open, (question) => requireKind(graph, head, question), { discard: true })
})
