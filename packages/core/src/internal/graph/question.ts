import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { SchemaMismatch, StateDecodeError, StateEncodeError, UnstableRequest } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import * as Json from "../json.ts"
import { NestedVersion } from "./metadata.ts"

/**
 * The questions of tasks: how they suspend a task, and how the task finds the answer when it runs again. A question is
 * identified by its kind and its request, and by its number if a task asks the same several times.
 */

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
  /** How many questions in a row, up to this one, replaced an answered one. */
  readonly replaced?: number | undefined
  /** The version of the nested graph that asked, if one did. */
  readonly nested?: typeof NestedVersion.Type | undefined
}

/** An answer, as it is stored in the pending writes of the step. */
export const Answer = Schema.Struct({
  interruptId: Schema.String,
  interrupt: Schema.String,
  node: Schema.String,
  /** What was asked. */
  request: Schema.Json,
  response: Schema.Json,
  replaced: Schema.optionalKey(Schema.Int),
  nested: Schema.optionalKey(NestedVersion)
})

export type Answer = typeof Answer.Type

const decodeAnswer = Schema.decodeUnknownOption(Answer)

/** How many times in a row a task may ask something else than what was just answered. */
const maxReplaced = 3

/** How many answers may wait for other fibers of a task to ask for them. */
const maxUnused = 100

type AnswerKey = (node: string, index: number) => string

const answerKey: AnswerKey = (node, index) => `answer:${node}:${index}`

/** The key of the answer to a question of the graph that is nested in a node. */
export const nestedAnswerKey: AnswerKey = (node, index) => `nested:${node}:${index}`

/** The key of the answer to a question in a copy whose step has no answers yet. */
export const firstAnswerKey = (key: string): string => key.replace(/\d+$/, "0")

/** Answers of one kind that a node has, in the order in which they were given. */
const answersOf = (key: AnswerKey, node: string, pendingWrites: Schema.JsonObject): ReadonlyArray<Answer> => {
  const answers: Array<Answer> = []
  for (;;) {
    const answer = decodeAnswer(pendingWrites[key(node, answers.length)])
    if (Option.isNone(answer)) return answers
    answers.push(answer.value)
  }
}

/** The answers to the questions of the graph that is nested in a node, in the order in which they were given. */
export const nestedAnswers = (node: string, pendingWrites: Schema.JsonObject): ReadonlyArray<Answer> =>
  answersOf(nestedAnswerKey, node, pendingWrites)

/** An error that ends a task from outside, so that the node cannot catch it. */
export type SuspensionError = StateEncodeError | StateDecodeError | UnstableRequest

/** Completed when a task asks or cannot read an answer. Completing it ends the task from outside. */
export type Suspension = Deferred.Deferred<Question, SuspensionError>

/** Ends the task here, even if it catches every error or is uninterruptible. */
export const suspend = (
  suspension: Suspension,
  question: Effect.Effect<Question, SuspensionError>
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
 * suspend the task otherwise. `fiber` is the one that runs the node.
 */
export const interruptServices = (
  kinds: ReadonlyMap<string, InterruptKind>,
  location: TaskLocation,
  pendingWrites: Schema.JsonObject,
  suspension: Suspension,
  fiber: Fiber.Fiber<unknown, unknown>
): Context.Context<never> => {
  const answers = answersOf(answerKey, location.node, pendingWrites)
  const unused = new Set(answers)
  const ask = (kind: InterruptKind) => (request: unknown): Effect.Effect<unknown> =>
    Effect.withFiber((asking) =>
      Effect.matchEffect(encodeRequest(kind, location, request), {
        onFailure: (error) => suspend(suspension, Effect.fail(error)),
        onSuccess: (request) => {
          const answer = answers.find((answer) =>
            unused.has(answer) && answer.interrupt === kind.name && Json.equals(answer.request, request)
          )
          if (answer === undefined) {
            const last = answers.at(-1)
            // Other fibers may ask in any order, and find their answers later.
            const isReplaced = last !== undefined && unused.has(last) && asking === fiber
            const replaced = isReplaced ? (last.replaced ?? 0) + 1 : Math.max(0, unused.size - maxUnused)
            return suspend(suspension, makeQuestion(kind, location, answers.length, request, replaced))
          }
          unused.delete(answer)
          // The task must not be able to catch this error.
          return Effect.catch(readAnswer(kind, location, answer), (error) => suspend(suspension, Effect.fail(error)))
        }
      })
    )
  return Array.from(kinds.values()).reduce<Context.Context<never>>(
    (context, kind) => kind.service === undefined ? context : Context.add(context, kind.service, { ask: ask(kind) }),
    Context.empty()
  )
}

const encodeRequest = (
  kind: InterruptKind,
  { namespace, node, threadId }: TaskLocation,
  request: unknown
): Effect.Effect<Schema.Json, StateEncodeError> =>
  Effect.mapError(kind.request.encode(request), (cause) =>
    new StateEncodeError({
      threadId,
      namespace,
      problem: `the request of "${kind.name}" in node "${node}" does not match its schema: ${cause.message}`,
      cause
    }))

/** Makes the question of a task that has `answered` answers. */
const makeQuestion = (
  { name }: InterruptKind,
  { namespace, node, stepId, threadId, version }: TaskLocation,
  answered: number,
  request: Schema.Json,
  replaced: number
): Effect.Effect<Question, UnstableRequest> =>
  replaced > maxReplaced
    ? Effect.fail(new UnstableRequest({ threadId, namespace, version, node, kind: name, answers: maxReplaced + 1 }))
    : Effect.succeed({
      interrupt: name,
      node,
      // The answers only grow. Therefore a question that replaces another one has another id.
      interruptId: `${stepId}/${node}/${answered}`,
      request,
      writeKey: answerKey(node, answered),
      replaced
    })

const readAnswer = (
  kind: InterruptKind,
  { namespace, node, threadId, version }: TaskLocation,
  { response }: Answer
): Effect.Effect<unknown, StateDecodeError> =>
  Effect.mapError(kind.response.decode(response), (cause) =>
    new StateDecodeError({
      threadId,
      namespace,
      version,
      reason: new SchemaMismatch({
        message: `the answer to "${kind.name}" in node "${node}" does not match its schema: ${cause.message}`,
        cause
      }),
      raw: response
    }))
