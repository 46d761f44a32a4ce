/**
 * Scores how much a mail looks like spam, from its headers. It is less accurate than SpamAssassin, but each point has a
 * reason that a person can check.
 */
import type { Mail } from "./Mail.ts"

export interface Score {
  readonly points: number
  /** The reasons for the points. */
  readonly reasons: ReadonlyArray<string>
}

/** A mail with at least this many points is spam. */
export const spam = 4

/** A mail with this many points may be spam or a newsletter. */
export const doubtful = 3

export const of = (mail: Mail): Score => {
  const applied = rules.filter(({ applies }) => applies(mail))
  return {
    points: applied.reduce((sum, { points }) => sum + points, 0),
    reasons: applied.map(({ points, reason }) => `${reason} (${points > 0 ? "+" : ""}${points})`)
  }
}

interface Rule {
  readonly points: number
  readonly reason: string
  readonly applies: (mail: Mail) => boolean
}

const promises = new RegExp(
  String.raw`\b(free|guarante\w*|credits?|debts?|money|cash|loans?|mortgage|rates?|insurance|income|earn|offers?` +
    String.raw`|sav(e|ings?)|discounts?|cheap|weight|viagra|sex\w*|girls?|adult|win|winner|won|invest\w*|opportunity` +
    String.raw`|urgent|confidential|adv)\b`,
  "i"
)

const rules: ReadonlyArray<Rule> = [
  { points: 4, reason: "makes a promise in its subject", applies: ({ subject }) => promises.test(subject) },
  { points: 2, reason: "has a $, % or ! in its subject", applies: ({ subject }) => /[$%!]/.test(subject) },
  {
    points: 2,
    reason: "has a subject in capitals",
    applies: ({ subject }) => /\p{Lu}{4}/u.test(subject) && !/\p{Ll}/u.test(subject)
  },
  {
    points: 2,
    reason: "has a numbered subject",
    applies: ({ subject }) => /\d{4,}\]?\)?$|\s[a-z]{5,}\d+$/i.test(subject)
  },
  {
    points: 3,
    reason: "is HTML only",
    applies: ({ headers }) => /^text\/html/i.test(headers.get("content-type") ?? "")
  },
  { points: 1, reason: "names no sender", applies: ({ from }) => from.name === from.address },
  { points: 2, reason: "has digits in its address", applies: ({ from }) => /\d/.test(from.address) },
  { points: 1, reason: "is marked urgent", applies: ({ headers }) => /^[12]/.test(headers.get("x-priority") ?? "") },
  { points: 1, reason: "has no recipients", applies: ({ headers }) => /^$|undisclosed/i.test(headers.get("to") ?? "") },
  {
    points: -4,
    reason: "is from a mailing list",
    applies: ({ headers }) => headers.has("list-id") || /list/i.test(headers.get("precedence") ?? "")
  },
  {
    points: -5,
    reason: "answers a mail",
    applies: ({ headers }) => headers.has("in-reply-to") || headers.has("references")
  }
]
