/**
 * Answers the questions of the graph: a person at the terminal, or a rule.
 */
import { Effect, Option, type Terminal } from "effect"
import { Prompt } from "effect/cli"
import type { Mailbox, Message, Verdict } from "./Mailbox.ts"
import * as Report from "./Report.ts"
import type { Judge } from "./Triage.ts"

/** Asks at the terminal, until the person chooses to hold back all other mails. */
export const atTerminal = (): Judge<Terminal.QuitError, Prompt.Environment> => {
  let others = Option.none<Verdict>()
  const ask = Effect.fn("Person.ask")(function*(folder: string, mail: Message) {
    yield* show(mail)
    const { forOthers, verdict } = yield* Prompt.Select({ message: `${folder}: where should it go?`, choices })
    if (forOthers) others = Option.some(verdict)
    return verdict
  })
  return (folder, mail) =>
    Effect.suspend(() => Option.match(others, { onSome: Effect.succeed, onNone: () => ask(folder, mail) }))
}

const show = Effect.fnUntraced(function*({ from, points, reasons, subject }: Message) {
  yield* Report.line(`"${Report.shorten(subject, 60)}" from ${Report.shorten(from, 60)}`)
  yield* Report.line(`${points} points, because it ${reasons.join(", ")}`)
})

const choices: ReadonlyArray<
  Prompt.SelectChoice<{ readonly verdict: Verdict; readonly forOthers: boolean }>
> = [
  { title: "let it through", value: { verdict: "inbox", forOthers: false } },
  { title: "hold it back", value: { verdict: "spam", forOthers: false } },
  { title: "hold it back, and all others too", value: { verdict: "spam", forOthers: true } }
]

/** Holds back every doubtful mail. */
export const holdsBack: Judge = () => Effect.succeed("spam")

/** Gives the answers that a person gave in an earlier run. Holds back the other mails. */
export const asBefore = (ends: ReadonlyArray<Mailbox>): Judge => (folder, mail) => {
  const judged = ends.find((end) => end.folder === folder)?.messages.find(({ by, id }) =>
    by === "person" && id === mail.id
  )
  return Effect.succeed(judged?.verdict === "inbox" ? "inbox" : "spam")
}
