import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { SchemaMismatch, StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import { NestedVersion } from "./metadata.ts"

/** The questions of tasks: how they suspend a task, and how the task finds the answer when it runs again. */

/** A kind of interrupt that a graph can raise. */
export interface InterruptKind {
  readonly name: string
  /** The service through which nodes ask. A pause has none. */
  readonly service: Context.Key<unknown, Ask<never, unknown>> | undefined
  readonly request: Codec.Codec<unknown>
  readonly response: Codec.Codec<unknown>
}

export interface Ask<Request, Response> {
  readonly ask: (request: Request) => Effect.Effect<Response>
}

/** The id of the interrupt that `interruptBefore` and `interruptAfter` raise. */
export const pauseInterrupt = "Pause"

/** A question that a task asked. */
export interface Question {
  /** The id of the interrupt. */
  readonly interrupt: string
  readonly node: string
  readonly interruptId: string
  readonly request: Schema.Json
  /** The pending write that will hold the answer. */
  readonly writeKey: string
  /** The version of the nested graph that asked, if one did. */
  readonly nested?: typeof NestedVersion.Type | undefined
}

/** An answer, as it is stored in the pending writes of the step. */
export const Answer = Schema.Struct({
  interruptId: Schema.String,
  interrupt: Schema.String,
  node: Schema.String,
  response: Schema.Json,
  nested: Schema.optionalKey(NestedVersion)
})

export type Answer = typeof Answer.Type

const decodeAnswer = Schema.decodeUnknownOption(Answer)

const answerKey = (node: string, index: number): string => `answer:${node}:${index}`

/** The answers to the questions of the graph that is nested in a node. */
export const nestedAnswers = (node: string, pendingWrites: Schema.JsonObject): ReadonlyArray<Answer> =>
  Object.values(pendingWrites).flatMap((write) => Option.toArray(decodeAnswer(write)))
    .filter((answer) => answer.node === node && answer.nested !== undefined)

/** Completed when a task asks or cannot read an answer. Completing it ends the task from outside. */
export type Suspension = Deferred.Deferred<Question, StateEncodeError | StateDecodeError>

/** Ends the task here, even if it catches every error or is uninterruptible. */
export const suspend = (
  suspension: Suspension,
  question: Effect.Effect<Question, StateEncodeError | StateDecodeError>
): Effect.Effect<never> => Effect.andThen(Deferred.complete(suspension, question), Effect.interruptible(Effect.never))

/** The task that asks. */
export interface TaskLocation {
  readonly threadId: string
  readonly namespace: string
  /** The version at which its step begins, or 0 if none is saved. */
  readonly version: number
  readonly stepId: string
  readonly node: string
}

/**
 * The services through which a task asks. They return the answer if it is among the pending writes of the step, and
 * suspend the task otherwise.
 */
export const interruptServices = (
  kinds: ReadonlyMap<string, InterruptKind>,
  location: TaskLocation,
  pendingWrites: Schema.JsonObject,
  suspension: Suspension
): Context.Context<never> => {
  let asked = 0
  const ask = (kind: InterruptKind) => (request: unknown): Effect.Effect<unknown> =>
    Effect.suspend(() => {
      const index = asked++
      const answer = Option.getOrUndefined(decodeAnswer(pendingWrites[answerKey(location.node, index)]))
      return answer === undefined
        ? suspend(suspension, makeQuestion(kind, location, index, request))
        // The task must not be able to catch this error.
        : Effect.catch(readAnswer(kind, location, answer), (error) => suspend(suspension, Effect.fail(error)))
    })
  return Array.from(kinds.values()).reduce<Context.Context<never>>(
    (context, kind) => kind.service === undefined ? context : Context.add(context, kind.service, { ask: ask(kind) }),
    Context.empty()
  )
}

/** Makes the question number `index` of a task, counted from 0. */
const makeQuestion = (
  kind: InterruptKind,
  { namespace, node, stepId, threadId }: TaskLocation,
  index: number,
  request: unknown
): Effect.Effect<Question, StateEncodeError> =>
  Effect.mapBoth(kind.request.encode(request), {
    onFailure: (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        problem: `the request of "${kind.name}" in node "${node}" does not match its schema: ${cause.message}`,
        cause
      }),
    onSuccess: (request): Question => ({
      interrupt: kind.name,
      node,
      // The id is the same when the task runs again.
      interruptId: `${stepId}/${node}/${index}`,
      request,
      writeKey: answerKey(node, index)
    })
  })

const readAnswer = (
  kind: InterruptKind,
  location: TaskLocation,
  answer: Answer
): Effect.Effect<unknown, StateDecodeError> =>
  answer.interrupt === kind.name
    ? Effect.mapError(kind.response.decode(answer.response), (cause) =>
      unreadable(
        location,
        answer,
        `the answer to "${kind.name}" in node "${location.node}" does not match its schema: ${cause.message}`,
        cause
      ))
    : Effect.fail(unreadable(
      location,
      answer,
      `node "${location.node}" asks "${kind.name}", but its answer was given to "${answer.interrupt}"`
    ))

const unreadable = (
  { namespace, threadId, version }: TaskLocation,
  { response }: Answer,
  message: string,
  cause?: Error
): StateDecodeError =>
  new StateDecodeError({
    threadId,
    namespace,
    version,
    reason: new SchemaMismatch({ message, cause }),
    raw: response
  })
