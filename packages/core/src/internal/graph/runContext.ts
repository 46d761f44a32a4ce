import { uuidV7Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { InvalidInput } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import type { RunEvent, Settings } from "./model.ts"
import { resolveSettings, type RunSettings } from "./settings.ts"
import type { Thread } from "./thread.ts"

/** What stays the same from the first step of a run to its last. */
export interface RunContext<in out S, in out U, out E, out R> extends Thread<S> {
  readonly graph: Graph<S, U, E, R>
  readonly settings: RunSettings
  readonly emit: Emit<S, U>
  /** Begins the ids of the steps that this run reaches, which are needed before they are saved. */
  readonly runId: string
}

/** Gives an event to the caller of `stream`. */
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

/** Names the graph and its thread on the span of an operation. */
export const annotateSpan = (
  { name, namespace }: { readonly name: string; readonly namespace: string },
  threadId: string
): Effect.Effect<void> =>
  Effect.annotateCurrentSpan({
    "graph.name": name,
    "checkpoint.thread_id": threadId,
    "checkpoint.namespace": namespace
  })
