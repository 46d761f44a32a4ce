/**
 * The graph: it classifies each mail of a folder, asks a person if the mail is doubtful, and files it. A checkpoint is
 * saved after each step.
 */
import { StateGraph } from "@effect-checkpoint/core"
import { Effect, identity, Result, Schema, Stream } from "effect"
import { Corpus, type Folder } from "./Corpus.ts"
import * as Mail from "./Mail.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Score from "./Score.ts"

/** The question for a person: where should this mail go? */
export class Review extends StateGraph.Interrupt<Review>()("mail-triage/Review", {
  request: Mailbox.Message,
  response: Mailbox.Verdict
}) {}

export const triage = StateGraph.make({
  name: "mail-triage",
  state: Mailbox.Mailbox,
  interrupts: [Review],
  begin: ({ mails, name }: Folder) => Mailbox.empty(name, mails),
  // One run files a whole folder, with two or three steps for each mail.
  maxSteps: 10_000,
  start: "classify",
  nodes: {
    classify: Effect.fn("classify")(function*(mailbox) {
      const corpus = yield* Corpus
      const { id, text } = yield* corpus.mail(mailbox.folder, mailbox.messages.length + 1)
      return { mail: classify(mailbox, id, Mail.parse(text)) }
    }),
    review: Effect.fn("review")(function*({ mail, senders }) {
      if (mail === null) return
      const verdict = yield* StateGraph.interrupt(Review, mail)
      return {
        mail: { ...mail, verdict, by: "person" as const },
        senders: { ...senders, [Mailbox.domainOf(mail.from)]: verdict }
      }
    }),
    file: ({ mail, messages }) => Effect.succeed(mail === null ? {} : { mail: null, messages: [...messages, mail] })
  },
  edges: {
    classify: { to: ["review", "file"], when: ({ mail }) => mail?.verdict === "doubtful" ? ["review"] : ["file"] },
    review: ["file"],
    file: {
      to: ["classify"],
      mayEnd: true,
      when: ({ messages, total }) => messages.length < total ? ["classify"] : []
    }
  }
})

const classify = ({ senders }: Mailbox.Mailbox, id: string, mail: Mail.Mail): Mailbox.Message => {
  const { points, reasons } = Score.of(mail)
  const { address } = mail.from
  const message = { id, date: mail.date, from: address, subject: mail.subject, points, reasons }
  if (points >= Score.spam) return { ...message, verdict: "spam", by: "points" }
  if (points < Score.doubtful) return { ...message, verdict: "inbox", by: "points" }
  // A person is asked once about each sender. `senders[domain]` alone is wrong for a domain such as "constructor".
  const domain = Mailbox.domainOf(address)
  return Object.hasOwn(senders, domain)
    ? { ...message, verdict: senders[domain]!, by: "sender" }
    : { ...message, verdict: "doubtful", by: "points" }
}

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

/** The thread of a folder, and how to begin or resume it. */
export type From =
  | { readonly threadId: string; readonly input: Folder }
  | { readonly threadId: string; readonly version?: number; readonly answers?: Answers }

/** Verdicts by interrupt id. */
export type Answers = StateGraph.Answers<Mailbox.Verdict>

/** Gives the same verdict on all of these questions. */
export const answersTo = (
  questions: ReadonlyArray<{ readonly interruptId: string }>,
  verdict: Mailbox.Verdict
): Answers => Object.fromEntries(questions.map(({ interruptId }) => [interruptId, verdict]))

/** Decides where a doubtful mail of a folder should go. */
export type Judge<E = never, R = never> = (
  folder: string,
  mail: Mailbox.Message
) => Effect.Effect<Mailbox.Verdict, E, R>

/** Shows a question to `judge`, and returns the verdict. */
const judged = Effect.fn("Triage.judged")(function*<E, R>(
  { request, threadId }: StateGraph.PendingInterrupt,
  judge: Judge<E, R>
) {
  return yield* judge(threadId, yield* decodeMail(request))
})

const decodeMail = Schema.decodeUnknownEffect(Schema.toCodecJson(Review.request))

/** Runs or resumes the graph on a folder until it is done or asks a person. */
export const work = Effect.fn("Triage.work")(function*(from: From, onFiled: Effect.Effect<void> = Effect.void) {
  const result = yield* StateGraph.stream(triage, from).pipe(
    Stream.tap((event) => event._tag === "NodeFinished" && event.node === "file" ? onFiled : Effect.void),
    Stream.filterMap((event) => event._tag === "Ended" ? Result.succeed(event.result) : Result.failVoid),
    Stream.runHead
  )
  return yield* Effect.fromOption(result)
})

/** Runs or resumes the graph on a folder until it is done. `judge` answers its questions. */
export const finish = Effect.fn("Triage.finish")(function*<E, R>(
  from: From,
  judge: Judge<E, R>,
  onFiled?: Effect.Effect<void>
) {
  const { threadId } = from
  let result = yield* work(from, onFiled)
  while (result._tag === "Interrupted") {
    const answers: Record<string, Mailbox.Verdict> = {}
    for (const question of result.interrupts) answers[question.interruptId] = yield* judged(question, judge)
    result = yield* work({ threadId, answers }, onFiled)
  }
  return result.checkpoint
})

/**
 * Resumes the graph on all folders until they are done or wait. Then `judge` answers what all of them ask, the oldest
 * question first, and they continue. `whileAsking` surrounds the questions.
 */
export const finishAll = Effect.fn("Triage.finishAll")(function*<E, R>(
  folders: ReadonlyArray<string>,
  judge: Judge<E, R>,
  onFiled?: Effect.Effect<void>,
  whileAsking: <A, E, R>(asking: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = identity
) {
  while (true) {
    yield* Effect.forEach(folders, (threadId) => work({ threadId }, onFiled), {
      concurrency: "unbounded",
      discard: true
    })
    const questions = yield* Stream.runCollect(StateGraph.interrupts(triage))
    if (questions.length === 0) return
    yield* whileAsking(Effect.forEach(questions, (question) =>
      Effect.flatMap(judged(question, judge), (verdict) => {
        const { interruptId, threadId } = question
        return StateGraph.answer(triage, { threadId, answers: { [interruptId]: verdict } })
      }), { discard: true }))
  }
})
