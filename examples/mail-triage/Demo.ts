/**
 * The demonstration: has the mails read by a worker, kills it, goes on itself, and
 * looks at what is there in the end, what was before, and what might have been.
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
  /** How many mails of each folder are read. */
  readonly mails: number
  /** Nobody is asked. */
  readonly yes: boolean
  readonly dataDir: Option.Option<string>
  readonly keep: boolean
  /** The file that the worker is started from. */
  readonly program: string
}

type Head = Checkpoint.Checkpoint<Mailbox.Mailbox>

export class DemoError extends Schema.TaggedError<DemoError>()("DemoError", { message: Schema.String }) {}

export const run = Effect.fn("Demo.run")(function*(options: Options) {
  yield* Console.log("mail-triage: a graph that files the SpamAssassin mail corpus, each step a checkpoint in Postgres")
  const [duration] = yield* Effect.timed(Effect.scoped(show(options)))
  yield* Report.section(`Done in ${Report.seconds(Duration.toMillis(duration))}`)
  yield* Report.line("The graph that was killed and went on is examples/mail-triage/Triage.ts.")
  yield* Report.line("Where to look next: README.md, docs/architecture.md.")
})

const show = Effect.fn("Demo.show")(function*(options: Options) {
  const place = yield* Place.acquire(options)
  yield* Report.line(Place.describe(place))

  yield* Report.section("1  A worker is killed in the middle of its work")
  yield* crash(options, place)

  yield* Effect.gen(function*() {
    yield* Report.section("2  This process goes on where the worker was")
    yield* goOn(options)
    yield* Report.section("3  Is anything lost, or done twice?")
    const ends = yield* heads
    yield* proof(ends)
    yield* Report.section("4  Back in time")
    yield* backInTime(ends)
    yield* Report.section("5  Retention")
    yield* retention
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

/** This program once more, in a process of its own, and its end: by SIGKILL, at a quarter of the work. */
const crash = Effect.fn("Demo.crash")(function*({ mails, program }: Options, place: Place.Place) {
  const { folders } = yield* Corpus
  const total = Number.sumAll(folders(mails).map(({ mails }) => mails))
  const progress = yield* Report.progress({ done: 0, total })
  const dataDir = place._tag === "Folder" ? ["--data-dir", place.dataDir] : []
  const worker = yield* ChildProcess.make(process.execPath, [program, "work", "--mails", `${mails}`, ...dataDir], {
    stdin: "ignore",
    stderr: "inherit"
  })
  yield* Report.line(`Process ${worker.pid} makes the tables, and begins.`)
  // It says a line for each mail.
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
    // The only place that names the signal.
    onFailure: ({ reason }) => /SIG[A-Z]+/.exec(String(reason.cause))?.[0] ?? "killed"
  })
  if (ended !== "SIGKILL") {
    return yield* new DemoError({ message: `The worker was to be killed, but ended (${ended}).` })
  }
  yield* Report.line(`Process ${worker.pid} is gone (${ended}).`)
}, Effect.scoped)

const goOn = Effect.fn("Demo.goOn")(function*(options: Options) {
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
        : `goes on with ${nextNodes.join(", ")}`
    ])
  )

  const { canPrompt } = yield* TerminalCapabilities.TerminalCapabilities
  const asks = canPrompt && !options.yes
  if (!asks) {
    const why = options.yes ? "Nobody is asked" : "Nobody is at a terminal, so this goes on as with --yes"
    yield* Report.line(`${why}: what is doubtful is held back.`)
  }
  const progress = yield* Report.progress({
    done: Number.sumAll(left.map(({ state }) => state.messages.length)),
    total: Number.sumAll(left.map(({ state }) => state.total))
  })
  const atTerminal = yield* Person.atTerminal
  const judge = asks ? (mailbox: Mailbox.Mailbox) => progress.pause(atTerminal(mailbox)) : Person.holdsBack
  yield* Effect.forEach(left, ({ threadId }) => Triage.finish({ threadId }, judge, progress.advance), {
    concurrency: "unbounded",
    discard: true
  })
  yield* progress.end
})

// -----------------------------------------------------------------------------
// proof
// -----------------------------------------------------------------------------

const proof = Effect.fn("Demo.proof")(function*(ends: ReadonlyArray<Head>) {
  yield* Report.table([
    ["folder", "mails", "inbox", "spam", "asked", "by the answers", "version"],
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
      return yield* new DemoError({ message: `${threadId} is not what an uninterrupted run makes of it.` })
    }
  }
  yield* Report.line(`Proved: all ${ends.length} states equal those of an uninterrupted run in memory, value by value,`)
  yield* Report.line("and so do their versions: no step is missing, and none was saved twice.")
})

/** What the same graph makes of the mails in memory, with the same answers, when nobody kills it. */
const uninterrupted = (ends: ReadonlyArray<Mailbox.Mailbox>) =>
  Effect.forEach(
    ends,
    ({ folder, total }) =>
      Triage.finish({ threadId: folder, input: { name: folder, mails: total } }, Person.asBefore(ends))
  ).pipe(
    Effect.provide(Checkpointer.layerMemory)
  )

// -----------------------------------------------------------------------------
// versions
// -----------------------------------------------------------------------------

const backInTime = Effect.fn("Demo.backInTime")(function*(ends: ReadonlyArray<Head>) {
  const threads = yield* StateGraph.view(Triage.triage)
  const question = mostTelling(ends)
  if (question === undefined) {
    return yield* Report.line("No mail was doubtful, so there is nothing that could have been decided otherwise.")
  }
  const { end, mail } = question
  const { threadId } = end
  const asked = yield* threads.history(threadId).pipe(
    Stream.filter(({ pendingInterrupts, state }) => pendingInterrupts.length > 0 && state.mail?.id === mail.id),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption)
  )

  yield* Report.line(`5 of the ${end.version} versions of ${threadId}, listed without reading a state:`)
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
    } it was version ${then.version}: ${then.state.messages.length} mails were filed, ` +
      `and a person was asked about`
  )
  yield* Report.line(`  "${Report.shorten(mail.subject, 60)}" from ${Mailbox.domainOf(mail.from)}.`)

  // The rewind: the question is there again, and is answered otherwise.
  const otherwise = mail.verdict === "spam" ? "inbox" : "spam"
  const whatIf = yield* Triage.finish(
    { threadId, version: asked.version, response: otherwise },
    Person.asBefore(ends.map(({ state }) => state))
  )
  yield* Report.line(`It was ${said[mail.verdict]}. What if it had been ${said[otherwise]}?`)
  yield* Report.table([
    ["", "inbox", "spam", "version"],
    ...Object.entries({ "  as it was": end, "  what if": whatIf }).map(([name, { state, version }]) => [
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
      `With the mail, ${Report.number(others)} later ones of its sender have gone the other way.`
  )
  const back = yield* threads.restore(threadId, { version: end.version })
  yield* Report.line(`And back: version ${back.version} is a copy of version ${end.version}. All of them can be read.`)
})

const said = { inbox: "let through", spam: "held back", doubtful: "left open" }

/** Of the mails that a person has judged, held back ones first, the one whose answer has decided about the most others. */
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

const retention = Effect.gen(function*() {
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
    `Only what changed is stored: ${Report.number(before.versions)} versions in ${
      Report.megabytes(before.json)
    } of JSON, ` +
      `where`
  )
  yield* Report.line(
    `their whole states are ${
      Report.megabytes(before.whole)
    }. To keep the last ${policy.maxVersions} of each folder, a dry run`
  )
  yield* Report.line(
    `would remove ${Report.number(planned.versions)} versions. ` +
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
  yield* Report.line("The last 10 are stored as changes of earlier ones, which stay for as long. A prune leaves free")
  yield* Report.line("space in the tables, VACUUM lets new versions use it, and VACUUM FULL gives it back to the disk,")
  yield* Report.line("but locks the table: mostly not worth it.")
})
