/**
 * The state that is kept: one mailbox a thread.
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
  /** What the verdict is from: the points, what a person has said of the sender before, or of this mail. */
  by: Schema.Literals(["points", "sender", "person"])
})

export interface Mailbox extends Schema.Schema.Type<typeof Mailbox> {}
export const Mailbox = Schema.Struct({
  folder: Schema.String,
  /** How many mails are to be filed. */
  total: Schema.Int,
  /** The mail that is being judged. */
  mail: Schema.NullOr(Message),
  /** What a person has said of a doubtful mail, by the domain that it came from. */
  senders: Schema.Record(Schema.String, Verdict),
  /** The mails that are filed, in order. */
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
