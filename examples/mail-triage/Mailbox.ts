/**
 * The state of the graph: each thread has one mailbox.
 */
import { Schema } from "effect"

export const Verdict = Schema.Literals(["inbox", "spam"])
export type Verdict = typeof Verdict.Type

export interface Message extends Schema.Schema.Type<typeof Message> {}
export const Message = Schema.Struct({
  id: Schema.String,
  date: Schema.OptionFromNullOr(Schema.DateTimeUtc),
  from: Schema.String,
  subject: Schema.String,
  points: Schema.Int,
  reasons: Schema.Array(Schema.String),
  verdict: Schema.Literals([...Verdict.literals, "doubtful"]),
  /** What decided: the points, an earlier answer about the sender, or an answer about this mail. */
  by: Schema.Literals(["points", "sender", "person"])
})

export interface Mailbox extends Schema.Schema.Type<typeof Mailbox> {}
export const Mailbox = Schema.Struct({
  folder: Schema.String,
  /** How many mails to file. */
  total: Schema.Int,
  /** The mail that is being classified. */
  mail: Schema.NullOr(Message),
  /** The answers about doubtful mails, by the domain of the sender. */
  senders: Schema.Record(Schema.String, Verdict),
  /** The filed mails, in order. */
  messages: Schema.Array(Message)
})

export const equivalence = Schema.toEquivalence(Mailbox)

export const empty = (folder: string, total: number): Mailbox => ({
  folder,
  total,
  mail: null,
  senders: {},
  messages: []
})

export const domainOf = (address: string): string => address.slice(address.lastIndexOf("@") + 1)

export const count = ({ messages }: Mailbox, part: Partial<Pick<Message, "verdict" | "by">>): number =>
  messages.filter(({ by, verdict }) => by === (part.by ?? by) && verdict === (part.verdict ?? verdict)).length
