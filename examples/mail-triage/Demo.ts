/**
 * The demo: a worker files mails and is killed, this process resumes its work and checks the result, and then it goes
 * back in time and prunes.
 */
import { type Checkpoint, Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { Array, Console, Duration, Effect, Number, type Option, Schema, Stream } from "effect"
import { TerminalCapabilities } from "effect/cli"
import { ChildProcess } from "effect/process"
import { Corpus } from "./Corpus.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Person from "./Person.ts"
import * as Place from "./Place.ts"
import * as Report from "./Report.ts"
import * as Triage from "./Triage.ts"

export interface Options {
  /** How many mails of each folder to file. */
  readonly mails: number
  /** Whether to hold back doubtful mails without asking. */
  readonly yes: boolean
  readonly dataDir: Option.Option<string>
  readonly keep: boolean
  /** The file to start the worker from. */
  readonly program: string
}

type Head = Checkpoint.Checkpoint<Mailbox.Mailbox>

export class DemoError extends Schema.TaggedError<DemoError>()("DemoError", { message: Schema.String }) {}

export const run = Effect.fn("Demo.run")(function*(options: Options) {
  yield* Console.log(
    "mail-triage: a graph files the SpamAssassin mail corpus, and saves each step as a checkpoint in Postgres"
  )
  const [duration] = yield* Effect.timed(Effect.scoped(show(options)))
  yield* Report.section(`Done in ${Report.seconds(Duration.toMillis(duration))}`)
  yield* Report.line("The graph is in examples/mail-triage/Triage.ts.")
  yield* Report.line("Next, read README.md and docs/state-graph.md.")
})

const show = Effect.fn("Demo.show")(function*(options: Options) {
  const place = yield* Place.acquire(options)
  yield* Report.line(Place.describe(place))

  yield* Report.section("1  Kill a worker in the middle of its work")
  yield* killWorker(options, place)

  yield* Effect.gen(function*() {
    yield* Report.section("2  Resume its work in this process")
    yield* resumeWork(options)
    yield* Report.section("3  Check that nothing was lost or done twice")
    const ends = yield* heads
    yield* compare(ends)
    yield* Report.section("4  Go back in time")
    yield* backInTime(ends)
    yield* Report.section("5  Prune old versions")
    yield* prune
  }).pipe(Effect.provide(Place.layer(place)))
})

/** The newest checkpoints of the folders, in order. */
const heads = Effect.gen(function*() {
  const { folders } = yield* Corpus
  const threads = yield* StateGraph.view(Triage.triage)
  return Array.getSomes(yield* Effect.forEach(folders(1), ({ name }) => threads.get(name)))
})

// -----------------------------------------------------------------------------
// two processes
// -----------------------------------------------------------------------------

/** Starts this program as a worker in another process, and kills it with SIGKILL after a quarter of the work. */
const killWorker = Effect.fn("Demo.killWorker")(function*({ mails, program }: Options, place: Place.Place) {
  const { folders } = yield* Corpus
  const total = Number.sumAll(folders(mails).map(({ mails }) => mails))
  const progress = yield* Report.progress({ done: 0, total })
  const dataDir = place._tag === "Folder" ? ["--data-dir", place.dataDir] : []
  const worker = yield* ChildProcess.make(process.execPath, [program, "work", "--mails", `${mails}`, ...dataDir], {
    stdin: "ignore",
    stderr: "inherit"
  })
  yield* Report.line(`Process ${worker.pid} creates the tables and begins.`)
  // The worker prints a line for each mail.
  yield* worker.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.take(Math.ceil(total / 4)),
    Stream.runForEach(() => progress.advance)
  )
  yield* progress.end
  yield* worker.kill({ killSignal: "SIGKILL" })
  const ended = yield* Effect.match(worker.exitCode, {
    onSuccess: (code) => `exit code ${code}`,
    // The signal is named only in this text.
    onFailure: ({ reason }) => /SIG[A-Z]+/.exec(String(reason.cause))?.[0] ?? "killed"
  })
  if (ended !== "SIGKILL") {
    return yield* new DemoError({ message: `The worker ended before it was killed (${ended}); try more --mails.` })
  }
  yield* Report.line(`Process ${worker.pid} was killed (${ended}).`)
}, Effect.scoped)

const resumeWork = Effect.fn("Demo.resumeWork")(function*(options: Options) {
  const left = yield* heads
  yield* Report.table(
    left.map(({ nextNodes, pendingInterrupts, state: { folder, mail, messages, total }, version }) => [
      folder,
      `version ${version}`,
      `${messages.length} of ${total} mails`,
      pendingInterrupts.length > 0
        ? `waits for a person: "${Report.shorten(mail?.subject ?? "", 32)}"`
        : nextNodes.length === 0
        ? "done"
        : `continues with ${nextNodes.join(", ")}`
    ])
  )

  const { canPrompt } = yield* TerminalCapabilities.TerminalCapabilities
  const asks = canPrompt && !options.yes
  if (asks) {
    yield* Report.line(
      "Whenever all folders are done or wait, it asks about the doubtful mails of all of them at once."
    )
  } else {
    const why = options.yes ? "With --yes" : "Without a terminal, as with --yes,"
    yield* Report.line(`${why} doubtful mails are held back without asking.`)
  }
  const progress = yield* Report.progress({
    done: Number.sumAll(left.map(({ state }) => state.messages.length)),
    total: Number.sumAll(left.map(({ state }) => state.total))
  })
  const folders = left.map(({ threadId }) => threadId)
  yield* asks
    ? Triage.finishAll(folders, Person.atTerminal(), progress.advance, progress.pause)
    : Triage.finishAll(folders, Person.holdsBack, progress.advance)
  yield* progress.end
})

// -----------------------------------------------------------------------------
// comparison
// -----------------------------------------------------------------------------

const compare = Effect.fn("Demo.compare")(function*(ends: ReadonlyArray<Head>) {
  yield* Report.table([
    ["folder", "mails", "inbox", "spam", "asked", "by sender", "version"],
    ...ends.map(({ state, version }) => [
      state.folder,
      String(state.messages.length),
      String(Mailbox.count(state, { verdict: "inbox" })),
      String(Mailbox.count(state, { verdict: "spam" })),
      String(Mailbox.count(state, { by: "person" })),
      String(Mailbox.count(state, { by: "sender" })),
      String(version)
    ])
  ])
  const expected = yield* uninterrupted(ends.map(({ state }) => state))
  for (const [index, { state, threadId, version }] of ends.entries()) {
    const other = expected[index]!
    if (!Mailbox.equivalence(state, other.state) || version !== other.version) {
      return yield* new DemoError({ message: `The state of ${threadId} differs from that of an uninterrupted run.` })
    }
  }
  yield* Report.line(
    `Checked: all ${ends.length} states equal those of an uninterrupted run in memory, value by value.`
  )
  yield* Report.line("The version numbers are equal too: no step is missing, and none was saved twice.")
})

/** Runs the same graph on the same mails in memory, with the same answers and without a crash. */
const uninterrupted = (ends: ReadonlyArray<Mailbox.Mailbox>) =>
  Effect.forEach(
    ends,
    ({ folder, total }) =>
      Triage.finish({ threadId: folder, input: { name: folder, mails: total } }, Person.asBefore(ends))
  ).pipe(
    Effect.provide(Checkpointer.layerMemory)
  )

// -----------------------------------------------------------------------------
// time travel
// -----------------------------------------------------------------------------

const backInTime = Effect.fn("Demo.backInTime")(function*(ends: ReadonlyArray<Head>) {
  const threads = yield* StateGraph.view(Triage.triage)
  const question = mostTelling(ends)
  if (question === undefined) {
    return yield* Report.line("No mail was doubtful, and there is no answer to change. Try more --mails.")
  }
  const { end, mail } = question
  const { threadId } = end
  const asked = yield* threads.history(threadId).pipe(
    Stream.filter(({ pendingInterrupts, state }) => pendingInterrupts.length > 0 && state.mail?.id === mail.id),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption)
  )

  yield* Report.line(`5 of the ${end.version} versions of ${threadId}, listed without reading their states:`)
  const versions = yield* threads.listVersions(threadId, { before: asked.version + 4, limit: 5 })
  yield* Report.table(versions.map(({ createdAt, nextNodes, pendingInterrupts, version }) => [
    `  version ${version}`,
    Report.time(createdAt),
    nextNodes.length === 0 ? "done" : `next: ${nextNodes.join(", ")}`,
    pendingInterrupts.length > 0 ? "waits for a person" : ""
  ]))
  const then = yield* Effect.flatMap(threads.getAtTime(threadId, asked.createdAt), Effect.fromOption)
  yield* Report.line(
    `At ${
      Report.time(asked.createdAt)
    } the newest was version ${then.version}: ${then.state.messages.length} mails were filed, ` +
      `and the graph asked about`
  )
  yield* Report.line(`  "${Report.shorten(mail.subject, 60)}" from ${Mailbox.domainOf(mail.from)}.`)

  // A branch from the version that asked, with another answer.
  const otherwise = mail.verdict === "spam" ? "inbox" : "spam"
  const whatIf = yield* Triage.finish(
    { threadId, version: asked.version, answers: Triage.answersTo(asked.pendingInterrupts, otherwise) },
    Person.asBefore(ends.map(({ state }) => state))
  )
  yield* Report.line(`The mail was ${said[mail.verdict]}. What if it had been ${said[otherwise]}?`)
  yield* Report.table([
    ["", "inbox", "spam", "version"],
    ...Object.entries({ "  before": end, "  what if": whatIf }).map(([name, { state, version }]) => [
      name,
      String(Mailbox.count(state, { verdict: "inbox" })),
      String(Mailbox.count(state, { verdict: "spam" })),
      String(version)
    ])
  ])
  const others = Mailbox.count(whatIf.state, { verdict: otherwise }) -
    Mailbox.count(end.state, { verdict: otherwise }) - 1
  yield* Report.line(
    `The branch began at version ${asked.version}. ` +
      `${Report.number(others)} later mails of the same sender went the other way too.`
  )
  const back = yield* threads.restore(threadId, { version: end.version })
  yield* Report.line(
    `Restored: version ${back.version} is a copy of version ${end.version}. All versions can still be read.`
  )
})

const said = { inbox: "let through", spam: "held back", doubtful: "left open" }

/** Finds the mail whose answer decided about the most other mails. Mails that a person held back come first. */
const mostTelling = (ends: ReadonlyArray<Head>) =>
  ends.flatMap((end) => {
    const { messages } = end.state
    return messages.filter(({ by }) => by === "person").map((mail) => ({
      end,
      mail,
      others: messages.filter(({ by, from }) =>
        by === "sender" && Mailbox.domainOf(from) === Mailbox.domainOf(mail.from)
      ).length
    }))
  }).toSorted((a, b) =>
    globalThis.Number(b.mail.verdict === "spam") - globalThis.Number(a.mail.verdict === "spam") || b.others - a.others
  )[0]

// -----------------------------------------------------------------------------
// retention
// -----------------------------------------------------------------------------

const prune = Effect.gen(function*() {
  const checkpointer = yield* Checkpointer.Checkpointer
  const policy = { maxVersions: 10, namespace: Triage.triage.namespace }

  const before = yield* Place.sizes
  const planned = yield* checkpointer.prune(policy, { dryRun: true })
  const afterDryRun = yield* Place.sizes
  const [duration, pruned] = yield* Effect.timed(checkpointer.prune(policy))
  const afterPrune = yield* Place.sizes
  yield* Place.vacuum("plain")
  const afterVacuum = yield* Place.sizes
  yield* Place.vacuum("full")
  const afterFull = yield* Place.sizes

  yield* Report.line(
    `Only changes are stored: ${Report.number(before.versions)} versions take ${
      Report.megabytes(before.json)
    } of JSON instead of ${Report.megabytes(before.whole)}.`
  )
  yield* Report.line(
    `To keep the last ${policy.maxVersions} versions of each folder, a dry run counts ` +
      `${Report.number(planned.versions)} versions to remove.`
  )
  yield* Report.line(
    `The prune removed ${Report.number(pruned.versions)} in ${Report.seconds(Duration.toMillis(duration))}.`
  )
  const row = (title: string, { disk, json, versions }: Place.Sizes) => [
    title,
    Report.number(versions),
    Report.megabytes(json),
    Report.megabytes(disk)
  ]
  yield* Report.table([
    ["", "versions", "JSON", "tables on disk"],
    row("before", before),
    row("after the dry run", afterDryRun),
    row("after the prune", afterPrune),
    row("after VACUUM", afterVacuum),
    row("after VACUUM FULL", afterFull)
  ])
  yield* Report.line("The last 10 versions are stored as changes to earlier versions, whose rows are kept for them.")
  yield* Report.line(
    "A prune frees space in the tables, and VACUUM lets new versions use it. VACUUM FULL returns it to the"
  )
  yield* Report.line("disk, but locks the table, and is rarely worth it.")
})
