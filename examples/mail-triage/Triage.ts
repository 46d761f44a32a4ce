/**
 * The program itself, a graph: each mail of a folder is classified, a person is asked
 * where that leaves a doubt, and it is filed. A checkpoint is saved after each step.
 */
import { StateGraph } from "@effect-checkpoint/core"
import { Effect, Result, Stream } from "effect"
import { Corpus, type Folder } from "./Corpus.ts"
import * as Mail from "./Mail.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Score from "./Score.ts"

/** What a person is asked: where does this mail go? */
export class Review extends StateGraph.Interrupt<Review>()("mail-triage/Review", {
  request: Mailbox.Message,
  response: Mailbox.Verdict
}) {}

export const triage = StateGraph.make({
  name: "mail-triage",
  state: Mailbox.Mailbox,
  interrupts: [Review],
  begin: ({ mails, name }: Folder) => Mailbox.empty(name, mails),
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
  // A person is asked about a sender once. Not `senders[domain]` alone: domains are anything, "constructor" too.
  const domain = Mailbox.domainOf(address)
  return Object.hasOwn(senders, domain)
    ? { ...message, verdict: senders[domain]!, by: "sender" }
    : { ...message, verdict: "doubtful", by: "points" }
}

// -----------------------------------------------------------------------------
// running it
// -----------------------------------------------------------------------------

/** A folder is one run, of two or three steps for each mail. */
const maxSteps = 10_000

/** A thread of the folder's name, from its beginning or from where it is. */
export type From =
  | { readonly threadId: string; readonly input: Folder }
  | { readonly threadId: string; readonly version?: number; readonly response?: Mailbox.Verdict }

/**
 * Works on a folder until it is done or a person is to be asked. It is `StateGraph.run`, or of a thread that is there
 * `StateGraph.resume`, as a stream of what happens.
 */
export const work = Effect.fn("Triage.work")(function*(from: From, onFiled: Effect.Effect<void> = Effect.void) {
  const result = yield* StateGraph.stream(triage, { ...from, maxSteps }).pipe(
    Stream.tap((event) => event._tag === "NodeFinished" && event.node === "file" ? onFiled : Effect.void),
    Stream.filterMap((event) => event._tag === "Ended" ? Result.succeed(event.result) : Result.failVoid),
    Stream.runHead
  )
  return yield* Effect.fromOption(result)
})

/** Works on a folder until it is done, and has somebody judge the doubtful mails. */
export const finish = Effect.fn("Triage.finish")(function*<E, R>(
  from: From,
  judge: (mailbox: Mailbox.Mailbox) => Effect.Effect<Mailbox.Verdict, E, R>,
  onFiled?: Effect.Effect<void>
) {
  const { threadId } = from
  let result = yield* work(from, onFiled)
  while (result._tag === "Interrupted") {
    const response = yield* judge(result.state)
    result = yield* work({ threadId, response }, onFiled)
  }
  return result.checkpoint
})
