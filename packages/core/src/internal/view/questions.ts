import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { OpenQuestion } from "../../Checkpoint.ts"
import { CheckpointNotFound, InterruptAlreadyResolved } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { QuestionFilter, ReadError, View } from "../../View.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import type { InTurn } from "../threadQueue.ts"
import type { Retry } from "./retry.ts"
import { checkTarget, notFound, stepEnded } from "./step.ts"
import * as Thread from "./thread.ts"

/** The questions of steps: asking and answering them without another version, and what all threads wait for. */
export const make = (
  { fewAtOnce, maxStateBytes, namespace, random, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly fewAtOnce: InTurn
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
    readonly namespace: string
  }
): Pick<View<unknown>, "ask" | "answer" | "openQuestions"> => {
  const about = Thread.annotate(namespace)
  return {
    ask: Effect.fn("Checkpointer.ask")(function*(target, interrupts) {
      const { key, version } = yield* checkTarget(namespace, target)
      const text = yield* Input.interrupts(key, interrupts, "interrupts")
      const outcome = yield* fewAtOnce(key, retry(store.ask(key, version, text)))
      if (outcome._tag === "NotFound") return yield* notFound(target, namespace)
      if (outcome._tag === "StepEnded") return yield* stepEnded(target, namespace, outcome.version)
    }, (effect, target) => about(effect, target.threadId)),
    answer: Effect.fn("Checkpointer.answer")(function*(threadId, answers, options) {
      yield* Thread.checkId(threadId)
      const key = { threadId, namespace }
      const text = yield* Input.answers(key, maxStateBytes, answers)
      const answerId = options?.answerId === undefined
        ? yield* random.uuidV7()
        : yield* Input.id("answerId", options.answerId)
      const outcome = yield* fewAtOnce(key, retry(store.answer(key, text, answerId)))
      switch (outcome._tag) {
        case "NotFound":
          return yield* new CheckpointNotFound({ ...key, selector: undefined })
        case "Resolved":
          return yield* new InterruptAlreadyResolved({
            ...key,
            version: outcome.version,
            interruptId: Json.unescape(outcome.interruptId) as string
          })
        case "Saved":
          return outcome.open.map(Hydrate.toQuestion)
      }
    }, about),
    openQuestions: (filter) => list({ store, retry }, namespace, filter)
  }
}

const questionsPage = 100

/** Lists the questions that the threads of one namespace, or of all, wait for. */
export const list = (
  { retry, store }: { readonly store: CheckpointStore.CheckpointStore["Service"]; readonly retry: Retry },
  namespace: string | undefined,
  filter: QuestionFilter | undefined
): Stream.Stream<OpenQuestion, ReadError> =>
  Stream.unwrap(Effect.gen(function*() {
    if (namespace !== undefined) yield* Input.namespace(namespace)
    const metadata = filter?.metadata === undefined
      ? undefined
      : yield* Input.jsonObject("filter.metadata", filter.metadata)
    return Stream.paginate(undefined as CheckpointStore.QuestionQuery["after"], (after) =>
      Effect.map(
        retry(store.questions({ namespace, metadata, after, limit: questionsPage })),
        (page) =>
          [
            page.map((question) => ({
              ...Hydrate.toQuestion(question),
              threadId: question.threadId,
              namespace: question.namespace,
              version: question.version
            })),
            // A page that is not full is the last one.
            page.length < questionsPage ? Option.none() : Option.fromUndefinedOr(page.at(-1))
          ] as const
      ))
  })).pipe(Stream.withSpan("Checkpointer.openQuestions"))
