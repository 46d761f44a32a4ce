import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { InvalidInput, StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import type { Definition } from "./definition.ts"
import { type Event, inner, type NodeContext, type Settings } from "./model.ts"
import { Answer, type Asked, type Kind } from "./question.ts"

/** One node of a step, and what is kept of it in the pending writes. */

/** Tells whoever listens to the run. */
export type Tell<S, U> = (event: Event<S, U, string>) => Effect.Effect<unknown>

/** The thread that a graph is run on, and how. */
export interface Running<S, Input, U, E, R> {
  readonly graph: Definition<S, Input, U, E, R>
  readonly threadId: string
  readonly namespace: string
  readonly settings: Settings<string>
  readonly tell: Tell<S, U>
}

/** A step that is to be run. */
export interface Step<S> {
  readonly base: string
  /** Its number in the thread. */
  readonly number: number
  /** The state from before it. */
  readonly state: S
  /** The version that it is run after, 0 if nothing is saved. */
  readonly version: number
}

/** What a node came to. */
export type Outcome<U> = Returned<U> | { readonly _tag: "Asked"; readonly node: string; readonly asked: Asked }

export interface Returned<U> {
  readonly _tag: "Returned"
  readonly node: string
  readonly update: U | undefined
}

/** The task under which it is kept that somebody went on from a pause. */
export const pausedKey = "paused"

export const updateKey = (node: string): string => `update:${node}`

const answerKey = (node: string, index: number): string => `answer:${node}:${index}`

const decodeAnswer = Schema.decodeUnknownOption(Answer)

export const encodeUpdate = <S, Input, U, E, R>(
  { graph, namespace, threadId }: Running<S, Input, U, E, R>,
  { node, update }: Returned<U>
): Effect.Effect<Schema.Json, StateEncodeError> =>
  update === undefined ? Effect.succeed({}) : Effect.mapBoth(graph.update.encode(update), {
    onFailure: (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        reason: `what node "${node}" returned is not an update: ${cause.message}`,
        cause
      }),
    onSuccess: (value) => ({ value })
  })

export const decodeUpdate = <S, Input, U, E, R>(
  { graph, namespace, threadId }: Running<S, Input, U, E, R>,
  { version }: Step<S>,
  node: string,
  write: Schema.Json
): Effect.Effect<Returned<U>, StateDecodeError> =>
  Predicate.hasProperty(write, "value")
    ? Effect.mapBoth(graph.update.decode(write.value as Schema.Json), {
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

/** Runs a node until it returns, fails or asks what is not answered. */
export const runNode = <S, Input, U, E, R>(
  running: Running<S, Input, U, E, R>,
  step: Step<S>,
  node: string,
  done: Schema.JsonObject
): Effect.Effect<Outcome<U>, E | StateEncodeError | StateDecodeError, R> =>
  Effect.suspend(() => {
    const { graph, namespace, tell, threadId } = running
    const suspended: Suspended = Deferred.makeUnsafe()
    const returned = Effect.suspend(() =>
      graph.nodes.get(node)!(step.state, contextOf(running, step, node, done, suspended))
    ).pipe(
      Effect.provideContext(questionsOf(running, step, node, done, suspended)),
      Effect.map((update): Outcome<U> => ({ _tag: "Returned", node, update: update as U | undefined }))
    )
    const asked = Effect.map(Deferred.await(suspended), (asked): Outcome<U> => ({ _tag: "Asked", node, asked }))
    return Effect.andThen(
      tell({ _tag: "NodeStarted", node, step: step.number }),
      Effect.raceFirst(returned, asked)
    ).pipe(
      Effect.withSpan("StateGraph.node", { attributes: { "graph.name": graph.name, "graph.node": node } }),
      Effect.annotateLogs({ threadId, namespace, graph: graph.name, node })
    )
  })

type Suspended = Deferred.Deferred<Asked, StateEncodeError | StateDecodeError>

/** Ends the node here, whatever it catches or protects itself from. */
const suspend = (suspended: Suspended, asked: Effect.Effect<Asked, StateEncodeError | StateDecodeError>) =>
  Effect.andThen(Deferred.complete(suspended, asked), Effect.interruptible(Effect.never))

const contextOf = <S, Input, U, E, R>(
  { graph, namespace, settings, tell, threadId }: Running<S, Input, U, E, R>,
  { base, number }: Step<S>,
  node: string,
  done: Schema.JsonObject,
  suspended: Suspended
): NodeContext => {
  let entered = false
  return {
    graph: graph.name,
    node,
    threadId,
    namespace,
    step: number,
    idempotencyKey: `${base}/${node}`,
    emit: (data) => Effect.asVoid(tell({ _tag: "Emitted", node, step: number, data })),
    [inner]: {
      invocation: `${base}/${node}`,
      answers: Object.values(done).flatMap((value) => Option.toArray(decodeAnswer(value)))
        .filter((answer) => answer.node === node && answer.within !== undefined),
      suspend: (asked) => suspend(suspended, Effect.succeed(asked)),
      nested: (event) => Effect.asVoid(tell({ _tag: "Nested", node, event })),
      settings,
      interrupts: graph.interrupts,
      once: <A, E, R>(graph: Effect.Effect<A, E, R>) =>
        Effect.suspend((): Effect.Effect<A, E | InvalidInput, R> => {
          if (entered) {
            const reason = `node "${node}" runs more than one graph; give each of them a node of its own`
            return Effect.fail(new InvalidInput({ field: "nodes", reason }))
          }
          entered = true
          return Effect.onError(graph, () => Effect.sync(() => entered = false))
        })
    }
  }
}

/** What the node asks through: answers that are there, and an end where there is none. */
const questionsOf = <S, Input, U, E, R>(
  { graph, namespace, threadId }: Running<S, Input, U, E, R>,
  { base, version }: Step<S>,
  node: string,
  done: Schema.JsonObject,
  suspended: Suspended
): Context.Context<never> => {
  let questions = 0

  const unreadable = (given: Answer, cause: Error | undefined): StateDecodeError =>
    new StateDecodeError({
      threadId,
      namespace,
      version,
      kind: "Schema",
      reason: `the answer to ${given.kind} in node "${node}" is not what it asks` +
        (cause === undefined ? "" : `: ${cause.message}`),
      raw: given.response,
      cause
    })

  const askFor = (kind: Kind) => (request: unknown): Effect.Effect<unknown> =>
    Effect.suspend(() => {
      const index = questions++
      const key = answerKey(node, index)
      const given = Option.getOrUndefined(decodeAnswer(done[key]))
      if (given === undefined) {
        const question = Effect.mapBoth(kind.request.encode(request), {
          onFailure: (cause) =>
            new StateEncodeError({
              threadId,
              namespace,
              reason: `the request of ${kind.name} is refused: ${cause.message}`,
              cause
            }),
          onSuccess: (request): Asked => ({
            kind: kind.name,
            // The same for the same question, so that one which is asked again is the same.
            interruptId: `${base}/${node}/${index}`,
            request,
            key
          })
        })
        return suspend(suspended, question)
      }
      // An answer that cannot be read is not the node's to handle.
      return given.kind === kind.name
        ? Effect.catch(
          kind.response.decode(given.response),
          (cause) => suspend(suspended, Effect.fail(unreadable(given, cause)))
        )
        : suspend(suspended, Effect.fail(unreadable(given, undefined)))
    })

  return Array.from(graph.interrupts.values()).reduce<Context.Context<never>>(
    (context, kind) => kind.service === undefined ? context : Context.add(context, kind.service, { ask: askFor(kind) }),
    Context.empty()
  )
}
