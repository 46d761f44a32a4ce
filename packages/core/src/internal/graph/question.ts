import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Checkpoint from "../../Checkpoint.ts"
import { SchemaMismatch, StateDecodeError, StateEncodeError, UnstableRequest } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import * as Json from "../json.ts"

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

// -----------------------------------------------------------------------------
// questions
// -----------------------------------------------------------------------------

/** A question of a step. */
export interface Question {
  readonly interruptId: string
  readonly request: Schema.Json
  readonly about: About
  /** `undefined` while the thread waits for the answer. */
  readonly response: Schema.Json | undefined
}

/**
 * What a graph stores in the metadata of a question.
 *
 * @category models
 * @since 0.2.0
 */
export interface About {
  /** The name of the graph. */
  readonly graph: string
  /** The id of the class that `Interrupt` made, or `"Pause"`. */
  readonly kind: string
  /** The node that asked. */
  readonly node: string
  /** How many questions in a row, up to this one, replaced one whose answer the node did not use. */
  readonly replaced?: number
  /** The question of the nested graph, if one asked, and the version at which that graph waited. */
  readonly nested?: {
    readonly threadId: string
    readonly version: number
    readonly checkpointId: string
    readonly interruptId: string
    readonly about: About
  }
}

/** The schema of what a graph stores in the metadata of a question. */
export const About: Schema.Codec<About> = Schema.Struct({
  graph: Schema.String,
  kind: Schema.String,
  node: Schema.String,
  replaced: Schema.optionalKey(Schema.Int),
  nested: Schema.optionalKey(Schema.Struct({
    threadId: Schema.String,
    version: Schema.Int,
    checkpointId: Schema.String,
    interruptId: Schema.String,
    about: Schema.suspend((): Schema.Codec<About> => About)
  }))
})

const decodeAbout = Schema.decodeUnknownOption(About)

/** A question that a graph has stored. */
export const ofStored = (
  { interruptId, metadata, request }: Checkpoint.Interrupt,
  answer?: Checkpoint.Answer | undefined
): Option.Option<Question> =>
  Option.map(decodeAbout(metadata), (about) => ({ interruptId, request, about, response: answer?.response }))

/** The questions of a step that a graph has stored. */
export const ofStep = (questions: ReadonlyArray<Checkpoint.Question>): ReadonlyArray<Question> =>
  questions.flatMap((question) => Option.toArray(ofStored(question, question.answer)))

/** A question as it is stored. (What is said about it is copied because the compiler does not take it as JSON.) */
export const toStored = ({ about, interruptId, request }: Question): Checkpoint.Interrupt => ({
  interruptId,
  request,
  metadata: aboutJson(about)
})

const aboutJson = ({ nested, ...about }: About): Schema.JsonObject => ({
  ...about,
  ...nested === undefined ? {} : { nested: { ...nested, about: aboutJson(nested.about) } }
})

export const isOpen = ({ response }: Question): boolean => response === undefined

/** Whether it is a pause of the graph itself, and not of one that is nested in a node. */
export const isPause = ({ about: { kind, nested } }: Question): boolean =>
  kind === pauseInterrupt && nested === undefined

/**
 * Whether a task waits for an answer. A nested graph that asked several questions does not, if one of them has an answer:
 * it continues with the task that asked.
 */
export const waits = (questions: ReadonlyArray<Question>, node: string): boolean => {
  const own = questions.filter((question) => question.about.node === node && !isPause(question))
  const nested = own.filter(({ about }) => about.nested !== undefined)
  return own.some(isOpen) && (nested.every(isOpen) || !nested.some(isOpen))
}

// -----------------------------------------------------------------------------
// asking
// -----------------------------------------------------------------------------

/** How many times in a row a task may ask something else than what was just answered. */
const maxReplaced = 3

/** How many answers may wait for other fibers of a task to ask for them. */
const maxUnused = 100

/** An error that ends a task from outside, so that the node cannot catch it. */
export type SuspensionError = StateEncodeError | StateDecodeError | UnstableRequest

/** Completed when a task asks or cannot read an answer. Completing it ends the task from outside. */
export type Suspension = Deferred.Deferred<ReadonlyArray<Question>, SuspensionError>

/** Ends the task here, even if it catches every error or is uninterruptible. */
export const suspend = (
  suspension: Suspension,
  questions: Effect.Effect<ReadonlyArray<Question>, SuspensionError>
): Effect.Effect<never> => Effect.andThen(Deferred.complete(suspension, questions), Effect.interruptible(Effect.never))

/** The task that asks. */
export interface TaskLocation {
  readonly graph: string
  readonly threadId: string
  readonly namespace: string
  /** The version at which its step begins, or 0 if none is saved. */
  readonly version: number
  readonly stepId: string
  readonly node: string
}

/**
 * The services through which a task asks. They return the answer if the step has it, and suspend the task otherwise.
 * `fiber` is the one that runs the node.
 */
export const interruptServices = (
  kinds: ReadonlyMap<string, InterruptKind>,
  location: TaskLocation,
  questions: ReadonlyArray<Question>,
  suspension: Suspension,
  fiber: Fiber.Fiber<unknown, unknown>
): Context.Context<never> => {
  const asked = questions.filter(({ about }) =>
    about.node === location.node && about.kind !== pauseInterrupt && about.nested === undefined
  )
  const unused = new Set(asked)
  const ask = (kind: InterruptKind) => (request: unknown): Effect.Effect<unknown> =>
    Effect.withFiber((asking) =>
      Effect.matchEffect(encodeRequest(kind, location, request), {
        onFailure: (error) => suspend(suspension, Effect.fail(error)),
        onSuccess: (request) => {
          const question = asked.find((question) =>
            unused.has(question) && question.about.kind === kind.name && Json.equals(question.request, request)
          )
          if (question === undefined) {
            const last = asked.at(-1)
            // Other fibers may ask in any order, and find their answers later.
            const isReplaced = last !== undefined && unused.has(last) && asking === fiber
            const replaced = isReplaced ? (last.about.replaced ?? 0) + 1 : Math.max(0, unused.size - maxUnused)
            return suspend(suspension, makeQuestion(kind, location, asked.length, request, replaced))
          }
          if (question.response === undefined) return suspend(suspension, Effect.succeed([question]))
          unused.delete(question)
          // The task must not be able to catch this error.
          return Effect.catch(
            readAnswer(kind, location, question.response),
            (error) => suspend(suspension, Effect.fail(error))
          )
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

/** Makes the question of a task that has asked `asked` others. */
const makeQuestion = (
  { name }: InterruptKind,
  { graph, namespace, node, stepId, threadId, version }: TaskLocation,
  asked: number,
  request: Schema.Json,
  replaced: number
): Effect.Effect<ReadonlyArray<Question>, UnstableRequest> =>
  replaced > maxReplaced
    ? Effect.fail(new UnstableRequest({ threadId, namespace, version, node, kind: name, answers: maxReplaced + 1 }))
    : Effect.succeed([{
      // Questions are only added. Therefore one that replaces another has another id.
      interruptId: `${stepId}/${node}/${asked}`,
      request,
      about: { graph, kind: name, node, ...replaced === 0 ? {} : { replaced } },
      response: undefined
    }])

const readAnswer = (
  kind: InterruptKind,
  { namespace, node, threadId, version }: TaskLocation,
  response: Schema.Json
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
