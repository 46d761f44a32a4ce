import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import { type GraphMismatch, InterruptAlreadyResolved, InvalidInput, InvalidResponse } from "../../CheckpointError.ts"
import type { Graph } from "./definition.ts"
import { openQuestions, outermostMetadata, requireKind } from "./mismatch.ts"
import type { AnswerError, AnswerOptions, Answers, PendingInterrupt } from "./model.ts"
import { pendingOf } from "./pendingInterrupt.ts"
import { type InterruptKind, ofStep, type Question } from "./question.ts"
import { annotateSpan } from "./runContext.ts"
import { readVersion, viewOf } from "./thread.ts"

/** Answers to the questions of a thread. */

/** Saves answers without running anything, and returns what the thread still waits for. */
export const answer = Effect.fn("StateGraph.answer")(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  { answerId, answers, threadId }: AnswerOptions<unknown>
): Effect.fn.Return<ReadonlyArray<PendingInterrupt>, AnswerError, Checkpointer> {
  yield* annotateSpan(graph, threadId)
  const view = yield* viewOf(graph)
  const head = yield* readVersion({ view, threadId })
  yield* outermostMetadata(graph, head)
  const { questions } = yield* view.step(head)
  // What is answered already is sent too: with the same answer id, that is not an error.
  const asked = yield* openQuestions(graph, head, questions.map(Struct.omit(["answer"])))
  const encoded = yield* encodeAnswers(graph, head, asked, answers)
  return pendingOf(head, ofStep(yield* view.answer(threadId, encoded, { answerId })))
})

/** Encodes responses to questions, all of which must be among these. */
export const encodeAnswers = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  head: CheckpointInfo,
  questions: ReadonlyArray<Question>,
  answers: Answers<unknown>
): Effect.fn.Return<Schema.JsonObject, InterruptAlreadyResolved | GraphMismatch | InvalidResponse | InvalidInput> {
  if (typeof answers !== "object" || answers === null) {
    return yield* new InvalidInput({ field: "answers", problem: "expected an object of responses by interrupt id" })
  }
  const encoded = yield* Effect.forEach(Object.entries(answers), ([interruptId, response]) =>
    Effect.gen(function*() {
      const question = questions.find((question) => question.interruptId === interruptId)
      if (question === undefined) return yield* alreadyResolved(head, interruptId)
      const kind = yield* requireKind(graph, head, question)
      return [interruptId, yield* encodeResponse(kind, head, interruptId, response)] as const
    }))
  return Object.fromEntries(encoded)
})

const encodeResponse = (
  kind: InterruptKind,
  { namespace, threadId }: Pick<Checkpoint<unknown>, "threadId" | "namespace">,
  interruptId: string,
  response: unknown
): Effect.Effect<Schema.Json, InvalidResponse> =>
  Effect.mapError(
    kind.response.encode(response),
    (cause) => new InvalidResponse({ threadId, namespace, interruptId, kind: kind.name, problem: cause.message, cause })
  )

export const alreadyResolved = (
  { namespace, threadId, version }: CheckpointInfo,
  interruptId: string
): InterruptAlreadyResolved => new InterruptAlreadyResolved({ threadId, namespace, version, interruptId })
