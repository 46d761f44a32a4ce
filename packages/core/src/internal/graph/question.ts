import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import { Within } from "./meta.ts"

/** What nodes ask, and what is answered. */

/** A kind of question. */
export interface Kind {
  /** What nodes ask through; a pause has none. */
  readonly service: Context.Key<unknown, Ask<never, unknown>> | undefined
  readonly name: string
  readonly request: Codec.Codec<unknown>
  readonly response: Codec.Codec<unknown>
}

export interface Ask<Request, Response> {
  readonly ask: (request: Request) => Effect.Effect<Response>
}

/** The name of what `interruptBefore` and `interruptAfter` ask. */
export const pause = "Pause"

/** A question that a run is to wait for. */
export interface Question {
  readonly kind: string
  readonly node: string
  readonly interruptId: string
  readonly request: Schema.Json
  /** The task under which the answer is kept. */
  readonly key: string
  /** Where a graph within asks. */
  readonly within?: typeof Within.Type | undefined
}

/** What was answered, as it is kept in the pending writes of the step. */
export const Answer = Schema.Struct({
  interruptId: Schema.String,
  kind: Schema.String,
  node: Schema.String,
  response: Schema.Json,
  within: Schema.optionalKey(Within)
})

export type Answer = typeof Answer.Type

const decodeAnswer = Schema.decodeUnknownOption(Answer)

const answerKey = (node: string, index: number): string => `answer:${node}:${index}`

/** What was answered of the questions of a graph within a node. */
export const answersWithin = (node: string, done: Schema.JsonObject): ReadonlyArray<Answer> =>
  Object.values(done).flatMap((value) => Option.toArray(decodeAnswer(value)))
    .filter((answer) => answer.node === node && answer.within !== undefined)

/** By which a node ends that asks, or that cannot read an answer. */
export type Suspended = Deferred.Deferred<Question, StateEncodeError | StateDecodeError>

/** Ends the node here, whatever it catches or protects itself from. */
export const suspend = (
  suspended: Suspended,
  asked: Effect.Effect<Question, StateEncodeError | StateDecodeError>
): Effect.Effect<never> => Effect.andThen(Deferred.complete(suspended, asked), Effect.interruptible(Effect.never))

/** Where a node asks. */
export interface Place {
  readonly threadId: string
  readonly namespace: string
  /** The version that the step is run after. */
  readonly version: number
  readonly base: string
  readonly node: string
}

/** What a node asks through: answers that are there, and an end where there is none. */
export const servicesOf = (
  kinds: ReadonlyMap<string, Kind>,
  place: Place,
  done: Schema.JsonObject,
  suspended: Suspended
): Context.Context<never> => {
  let questions = 0
  const askFor = (kind: Kind) => (request: unknown): Effect.Effect<unknown> =>
    Effect.suspend(() => {
      const index = questions++
      const given = Option.getOrUndefined(decodeAnswer(done[answerKey(place.node, index)]))
      return given === undefined
        ? suspend(suspended, raise(kind, place, index, request))
        // An answer that cannot be read is not the node's to handle.
        : Effect.catch(readAnswer(kind, place, given), (error) => suspend(suspended, Effect.fail(error)))
    })
  return Array.from(kinds.values()).reduce<Context.Context<never>>(
    (context, kind) => kind.service === undefined ? context : Context.add(context, kind.service, { ask: askFor(kind) }),
    Context.empty()
  )
}

/** A question that is to be asked, the first of a node having the index 0. */
const raise = (
  kind: Kind,
  { base, namespace, node, threadId }: Place,
  index: number,
  request: unknown
): Effect.Effect<Question, StateEncodeError> =>
  Effect.mapBoth(kind.request.encode(request), {
    onFailure: (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        reason: `the request of ${kind.name} is refused: ${cause.message}`,
        cause
      }),
    onSuccess: (request): Question => ({
      kind: kind.name,
      node,
      // The same for the same question, so that one which is asked again is the same.
      interruptId: `${base}/${node}/${index}`,
      request,
      key: answerKey(node, index)
    })
  })

const readAnswer = (kind: Kind, place: Place, given: Answer): Effect.Effect<unknown, StateDecodeError> =>
  given.kind === kind.name
    ? Effect.mapError(kind.response.decode(given.response), (cause) => unreadable(place, given, cause))
    : Effect.fail(unreadable(place, given, undefined))

const unreadable = (
  { namespace, node, threadId, version }: Place,
  given: Answer,
  cause: Error | undefined
): StateDecodeError =>
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
