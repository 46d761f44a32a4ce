import { uuidV7Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { InvalidInput } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import type { Event, Settings } from "./model.ts"
import { check, type RunSettings } from "./settings.ts"
import type { Thread } from "./thread.ts"

/** Tells whoever listens to the run. */
export type Tell<S, U> = (event: Event<S, U, string>) => Effect.Effect<unknown>

/** A graph that is run on a thread: what stays the same from its first step to its last. */
export interface Running<in out S, in out U, out E, out R> extends Thread<S> {
  readonly graph: Graph<S, U, E, R>
  readonly settings: RunSettings
  readonly tell: Tell<S, U>
  /** Names the steps that this run comes to, also while they are not saved. */
  readonly runId: string
}

export const make = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  view: Thread<S>["view"],
  threadId: string,
  options: Settings<string>,
  tell: Tell<S, U>
): Effect.fn.Return<Running<S, U, E, R>, InvalidInput> {
  const settings = yield* check(graph, options)
  return { graph, view, threadId, metadata: settings.metadata, settings, tell, runId: uuidV7Unsafe() }
})

export const tellAll = <S, U>(tell: Tell<S, U>, events: ReadonlyArray<Event<S, U, string>>): Effect.Effect<void> =>
  Effect.forEach(events, tell, { discard: true })

export const tellSaved = <S, U>(tell: Tell<S, U>, checkpoint: Checkpoint<S>): Effect.Effect<Checkpoint<S>> =>
  Effect.as(tell({ _tag: "CheckpointSaved", checkpoint }), checkpoint)

export const annotate = (
  graph: { readonly name: string; readonly namespace: string },
  threadId: string
): Effect.Effect<void> =>
  Effect.annotateCurrentSpan({
    "graph.name": graph.name,
    "checkpoint.thread_id": threadId,
    "checkpoint.namespace": graph.namespace
  })
