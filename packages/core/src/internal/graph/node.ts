import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import { InvalidInput, StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import { type Inner, inner, type NodeContext } from "./model.ts"
import { answersWithin, type Place, type Question, servicesOf, suspend, type Suspended } from "./question.ts"
import type { Running } from "./running.ts"

/** One node of a step, and what is kept of it in the pending writes. */

/** A step that is to be run. */
export interface Step<S> {
  readonly base: string
  /** Its number in the thread. */
  readonly number: number
  /** The state from before it. */
  readonly state: S
  /** The version that it is run after, 0 if nothing is saved. */
  readonly version: number
  /** Its pending writes. */
  readonly done: Schema.JsonObject
}

/** What a node came to. */
export type Outcome<U> = Returned<U> | Asked

export interface Returned<U> {
  readonly _tag: "Returned"
  readonly node: string
  readonly update: U | undefined
}

export interface Asked {
  readonly _tag: "Asked"
  readonly node: string
  readonly question: Question
}

/** Runs a node until it returns, fails or asks what is not answered. */
export const runNode = <S, U, E, R>(
  running: Pick<Running<S, U, E, R>, "graph" | "settings" | "tell" | "threadId" | "view">,
  step: Step<S>,
  node: string
): Effect.Effect<Outcome<U>, E | StateEncodeError | StateDecodeError, R> =>
  Effect.suspend(() => {
    const { graph, tell, threadId, view: { namespace } } = running
    const { base, done, number, state, version } = step
    const suspended: Suspended = Deferred.makeUnsafe()
    const place: Place = { threadId, namespace, version, base, node }
    const context: NodeContext = {
      graph: graph.name,
      node,
      threadId,
      namespace,
      step: number,
      idempotencyKey: `${base}/${node}`,
      emit: (data) => Effect.asVoid(tell({ _tag: "Emitted", node, step: number, data })),
      [inner]: innerOf(running, step, node, suspended)
    }
    const returned = Effect.suspend(() => graph.nodes.get(node)!(state, context)).pipe(
      Effect.provideContext(servicesOf(graph.interrupts, place, done, suspended)),
      Effect.map((update): Outcome<U> => ({ _tag: "Returned", node, update: update as U | undefined }))
    )
    const asked = Effect.map(
      Deferred.await(suspended),
      (question): Outcome<U> => ({ _tag: "Asked", node, question })
    )
    return Effect.andThen(
      tell({ _tag: "NodeStarted", node, step: number }),
      Effect.raceFirst(returned, asked)
    ).pipe(
      Effect.withSpan("StateGraph.node", { attributes: { "graph.name": graph.name, "graph.node": node } }),
      Effect.annotateLogs({ threadId, namespace, graph: graph.name, node })
    )
  })

/** What a graph within the node has to know. */
const innerOf = <S, U, E, R>(
  { graph, settings, tell }: Pick<Running<S, U, E, R>, "graph" | "settings" | "tell">,
  { base, done }: Step<S>,
  node: string,
  suspended: Suspended
): Inner => ({
  invocation: `${base}/${node}`,
  answers: answersWithin(node, done),
  suspend: (question) => suspend(suspended, Effect.succeed(question)),
  nested: (event) => Effect.asVoid(tell({ _tag: "Nested", node, event })),
  settings,
  interrupts: graph.interrupts,
  once: oneGraph(node)
})

/** Lets one graph within a node through, again if it failed. */
const oneGraph = (node: string): Inner["once"] => {
  let entered = false
  return <A, E, R>(graph: Effect.Effect<A, E, R>) =>
    Effect.suspend((): Effect.Effect<A, E | InvalidInput, R> => {
      if (entered) {
        const reason = `node "${node}" runs more than one graph; give each of them a node of its own`
        return Effect.fail(new InvalidInput({ field: "nodes", reason }))
      }
      entered = true
      return Effect.onError(graph, () => Effect.sync(() => entered = false))
    })
}

export const updateKey = (node: string): string => `update:${node}`

/** What a node has returned, as it is kept in the pending writes. */
export const encodeUpdate = <U>(
  codec: Codec.Codec<U>,
  { namespace, threadId }: { readonly namespace: string; readonly threadId: string },
  { node, update }: Returned<U>
): Effect.Effect<Schema.Json, StateEncodeError> =>
  update === undefined ? Effect.succeed({}) : Effect.mapBoth(codec.encode(update), {
    onFailure: (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        reason: `what node "${node}" returned is not an update: ${cause.message}`,
        cause
      }),
    onSuccess: (value) => ({ value })
  })

/** And back. */
export const decodeUpdate = <U>(
  codec: Codec.Codec<U>,
  { namespace, node, threadId, version }: Omit<Place, "base">,
  write: Schema.Json
): Effect.Effect<Returned<U>, StateDecodeError> =>
  Predicate.hasProperty(write, "value")
    ? Effect.mapBoth(codec.decode(write.value as Schema.Json), {
      onFailure: (cause) =>
        new StateDecodeError({
          threadId,
          namespace,
          version,
          kind: "Schema",
          reason: `what node "${node}" had returned is not an update any more: ${cause.message}`,
          raw: write,
          cause
        }),
      onSuccess: (update) => ({ _tag: "Returned", node, update })
    })
    : Effect.succeed({ _tag: "Returned", node, update: undefined })
