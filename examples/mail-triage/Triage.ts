/**
 * The program itself: reads each folder from where its last checkpoint left it,
 * and saves one after each mail.
 */
import type { Checkpoint, Checkpointer } from "@effect-checkpoint/core"
import { Array, Effect, Stream } from "effect"
import { Corpus } from "./Corpus.ts"
import * as Mail from "./Mail.ts"
import * as Mailbox from "./Mailbox.ts"

/** The newest checkpoints of the folders, by name. */
export const heads = Effect.fn("Triage.heads")(function*(filter?: Checkpointer.ThreadFilter) {
  const mailboxes = yield* Mailbox.Mailboxes
  const threads = yield* Stream.runCollect(mailboxes.threads(filter))
  const heads = yield* Effect.forEach(threads, ({ threadId }) => mailboxes.get(threadId))
  return Array.getSomes(heads).toSorted((a, b) => a.threadId < b.threadId ? -1 : 1)
})

/**
 * Begins a thread for each folder that has none, at most so many mails of it to be
 * read. A run that is finished makes way for the new one.
 */
export const begin = Effect.fn("Triage.begin")(function*(mails: number) {
  const { folders } = yield* Corpus
  const mailboxes = yield* Mailbox.Mailboxes
  if ((yield* heads({ unfinished: true })).length === 0) {
    yield* Effect.forEach(folders, ({ name }) => mailboxes.deleteThread(name), { discard: true })
  }
  yield* Effect.forEach(folders, (folder) => {
    const state = Mailbox.empty(folder.name, Math.min(mails, folder.mails))
    return mailboxes.put({ threadId: folder.name, expectedVersion: 0, ...content(state) }).pipe(
      Effect.catchTag("VersionConflict", () => Effect.void)
    )
  }, { discard: true })
})

export interface Hooks<E = never, R = never> {
  /** Runs when the work for a mail is done and its checkpoint is not saved yet. */
  readonly beforeSave: (mailbox: Mailbox.Mailbox) => Effect.Effect<void, E, R>
  readonly afterSave: Effect.Effect<void>
}

export const noHooks: Hooks = { beforeSave: () => Effect.void, afterSave: Effect.void }

/** Reads the rest of a folder. Fails with `VersionConflict` if somebody else is reading it too. */
export const finish = Effect.fn("Triage.finish")(function*<E, R>(
  from: Checkpoint.Checkpoint<Mailbox.Mailbox>,
  { afterSave, beforeSave }: Hooks<E, R>
) {
  const corpus = yield* Corpus
  const mailboxes = yield* Mailbox.Mailboxes
  const { folder, next, total } = from.state
  return yield* corpus.mails(folder, next).pipe(
    Stream.take(total - next + 1),
    Stream.runFoldEffect(() => from, (parent, { id, text }) =>
      Effect.gen(function*() {
        const state = Mailbox.add(parent.state, id, Mail.parse(text))
        yield* beforeSave(state)
        const saved = yield* mailboxes.put({ parent, ...content(state) })
        yield* afterSave
        return saved
      }))
  )
})

/** Reads the rest of several folders, side by side. */
export const resume = Effect.fn("Triage.resume")(function*<E, R>(
  heads: ReadonlyArray<Checkpoint.Checkpoint<Mailbox.Mailbox>>,
  hooks: Hooks<E, R>
) {
  return yield* Effect.forEach(heads, (head) => finish(head, hooks), { concurrency: "unbounded" })
})

/** What a checkpoint holds. Listings show the metadata without reading the state. */
const content = (state: Mailbox.Mailbox) => ({
  state,
  nextNodes: Mailbox.nextNodes(state),
  metadata: { mails: state.next - 1, senders: Object.keys(state.senders).length }
})
