import { uuidV7Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Graph } from "./definition.ts"
import type { RunEvent, RunSettings } from "./model.ts"
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

export const makeRunContext = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  view: Thread<S>["view"],
  threadId: string,
  settings: RunSettings,
  emit: Emit<S, U>
): Effect.Effect<RunContext<S, U, E, R>> =>
  Effect.sync(() => ({ graph, view, threadId, settings, emit, runId: uuidV7Unsafe() }))

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
