/**
 * Who judges the doubtful mails: a person at the terminal, or somebody in place of one.
 */
import { Effect, Option, Semaphore, type Terminal } from "effect"
import { Prompt } from "effect/cli"
import type { Mailbox, Message, Verdict } from "./Mailbox.ts"
import * as Report from "./Report.ts"

/** Asks at the terminal, one question at a time, until the person has had enough of it. */
export const atTerminal = Effect.map(Semaphore.make(1), (turn) => {
  let others = Option.none<Verdict>()
  const ask = Effect.fn("Person.ask")(function*({ folder, mail }: Mailbox) {
    if (mail !== null) yield* show(mail)
    const { forOthers, verdict } = yield* Prompt.Select({ message: `${folder}: where does it go?`, choices })
    if (forOthers) others = Option.some(verdict)
    return verdict
  })
  return (mailbox: Mailbox): Effect.Effect<Verdict, Terminal.QuitError, Prompt.Environment> =>
    turn.withPermit(Effect.suspend(() => Option.match(others, { onSome: Effect.succeed, onNone: () => ask(mailbox) })))
})

const show = Effect.fnUntraced(function*({ from, points, reasons, subject }: Message) {
  yield* Report.line(`"${Report.shorten(subject, 60)}" from ${Report.shorten(from, 60)}`)
  yield* Report.line(`${points} points: it ${reasons.join(", ")}`)
})

const choices: ReadonlyArray<
  Prompt.SelectChoice<{ readonly verdict: Verdict; readonly forOthers: boolean }>
> = [
  { title: "let it through", value: { verdict: "inbox", forOthers: false } },
  { title: "hold it back", value: { verdict: "spam", forOthers: false } },
  { title: "hold it back, and all others too", value: { verdict: "spam", forOthers: true } }
]

/** Holds back whatever is doubtful. */
export const holdsBack = (): Effect.Effect<Verdict> => Effect.succeed("spam")

/** Says of each mail what a person has said of it in the end, or otherwise holds it back. */
export const asBefore = (ends: ReadonlyArray<Mailbox>) => ({ folder, mail }: Mailbox): Effect.Effect<Verdict> => {
  const judged = ends.find((end) => end.folder === folder)?.messages.find(({ by, id }) =>
    by === "person" && id === mail?.id
  )
  return judged?.verdict === "inbox" ? Effect.succeed("inbox") : holdsBack()
}
