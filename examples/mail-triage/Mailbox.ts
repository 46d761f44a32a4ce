/**
 * The state that is kept: one mailbox a thread, a new version of it for each mail.
 */
import { Checkpointer } from "@effect-checkpoint/core"
import { Option, Schema } from "effect"
import type { Mail } from "./Mail.ts"

export const Verdict = Schema.Literals(["suspicious", "list", "known", "new"])
export type Verdict = typeof Verdict.Type

export interface Message extends Schema.Schema.Type<typeof Message> {}
export const Message = Schema.Struct({
  id: Schema.String,
  date: Schema.OptionFromNullOr(Schema.DateTimeUtc),
  from: Schema.String,
  subject: Schema.String,
  verdict: Verdict
})

export interface Mailbox extends Schema.Schema.Type<typeof Mailbox> {}
export const Mailbox = Schema.Struct({
  folder: Schema.String,
  /** How many mails are to be read. */
  total: Schema.Int,
  /** The next mail to read, 1 being the first. */
  next: Schema.Int,
  counts: Schema.Record(Verdict, Schema.Int),
  /** Mails by the address of their sender. */
  senders: Schema.Record(Schema.String, Schema.Int),
  messages: Schema.Array(Message)
})

export const equivalence = Schema.toEquivalence(Mailbox)

/** The threads: named by folder, each checkpoint a `Mailbox`. */
export class Mailboxes extends Checkpointer.Service<Mailboxes>()("mail-triage/Mailboxes", {
  state: Mailbox,
  namespace: "mail-triage"
}) {}

export const empty = (folder: string, total: number): Mailbox => ({
  folder,
  total,
  next: 1,
  counts: { suspicious: 0, list: 0, known: 0, new: 0 },
  senders: {},
  messages: []
})

/** The work: what the mailbox is after one more mail. */
export const add = (mailbox: Mailbox, id: string, mail: Mail): Mailbox => {
  const { address } = mail.from
  // Not `senders[address]`: addresses are anything, "constructor" too.
  const before = Object.hasOwn(mailbox.senders, address) ? mailbox.senders[address]! : 0
  const verdict = isSuspicious(mail) ? "suspicious" : isList(mail) ? "list" : before > 0 ? "known" : "new"
  return {
    ...mailbox,
    next: mailbox.next + 1,
    counts: { ...mailbox.counts, [verdict]: mailbox.counts[verdict] + 1 },
    senders: { ...mailbox.senders, [address]: before + 1 },
    messages: [...mailbox.messages, { id, date: mail.date, from: address, subject: mail.subject, verdict }]
  }
}

/** What is to run next: nothing when all is read, so that `threads({ unfinished: true })` leaves it out. */
export const nextNodes = (mailbox: Mailbox): ReadonlyArray<string> => mailbox.next > mailbox.total ? [] : ["classify"]

/** Loud, or all markup and no answer to anything. No match for SpamAssassin, but it has a state to keep. */
const isSuspicious = ({ headers, subject }: Mail): boolean =>
  /[!$]|\bfree\b/i.test(subject) ||
  (/\p{Lu}{4}/u.test(subject) && !/\p{Ll}/u.test(subject)) ||
  (/^text\/html/i.test(headers.get("content-type") ?? "") && !headers.has("in-reply-to"))

const isList = ({ headers }: Mail): boolean =>
  headers.has("list-id") || Option.contains(Option.fromUndefinedOr(headers.get("precedence")), "list")
