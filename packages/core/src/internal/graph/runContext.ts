import { uuidV7Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { InvalidInput } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import type { RunEvent, Settings } from "./model.ts"
import { resolveSettings, type RunSettings } from "./settings.ts"
import type { Thread } from "./thread.ts"

/** What does not change during a run. */
export interface RunContext<in out S, in out U, out E, out R> extends Thread<S> {
  readonly graph: Graph<S, U, E, R>
  readonly settings: RunSettings
  readonly emit: Emit<S, U>
  /** The prefix of the ids of the steps of this run. Nodes need the id of a step before it is saved. */
  readonly runId: string
}

/** Emits an event to the consumer of `stream`. */
export type Emit<S, U> = (event: RunEvent<S, U, string>) => Effect.Effect<unknown>

export const makeRunContext = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  view: Thread<S>["view"],
  threadId: string,
  options: Settings<string>,
  emit: Emit<S, U>
): Effect.fn.Return<RunContext<S, U, E, R>, InvalidInput> {
  const settings = yield* resolveSettings(graph, options)
  return { graph, view, threadId, callerMetadata: settings.metadata, settings, emit, runId: uuidV7Unsafe() }
})

export const emitAll = <S, U>(emit: Emit<S, U>, events: ReadonlyArray<RunEvent<S, U, string>>): Effect.Effect<void> =>
  Effect.forEach(events, emit, { discard: true })

export const emitSaved = <S, U>(emit: Emit<S, U>, checkpoint: Checkpoint<S>): Effect.Effect<Checkpoint<S>> =>
  Effect.as(emit({ _tag: "CheckpointSaved", checkpoint }), checkpoint)

/** Adds the names of the graph and the thread to the span of an operation. */
export const annotateSpan = (
  { name, namespace }: { readonly name: string; readonly namespace: string },
  threadId: string
): Effect.Effect<void> =>
  Effect.annotateCurrentSpan({
    "graph.name": name,
    "checkpoint.thread_id": threadId,
    "checkpoint.namespace": namespace
  })
