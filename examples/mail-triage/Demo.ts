/**
 * The demonstration: has the mails read by workers, one of which is killed at it,
 * and looks at what they have left.
 */
import { Checkpointer } from "@effect-checkpoint/core"
import { Console, Duration, Effect, Layer, Option, Record, Schema } from "effect"
import { ChildProcess } from "effect/process"
import * as Mailbox from "./Mailbox.ts"
import * as Place from "./Place.ts"
import * as Report from "./Report.ts"
import * as Triage from "./Triage.ts"

export interface Options {
  /** How many mails of each folder are read. */
  readonly mails: number
  readonly dataDir: Option.Option<string>
  readonly keep: boolean
  /** The file that a worker is started from. */
  readonly program: string
}

export class DemoError extends Schema.TaggedError<DemoError>()("DemoError", { message: Schema.String }) {}

export const run = Effect.fn("Demo.run")(function*(options: Options) {
  yield* Console.log("mail-triage: the SpamAssassin mail corpus, with a checkpoint in Postgres after each mail")
  const [duration] = yield* Effect.timed(Effect.scoped(show(options)))
  yield* Report.section(`Done in ${Report.seconds(Duration.toMillis(duration))}`)
  yield* Report.line("The program that was killed and went on is examples/mail-triage/Triage.ts.")
  yield* Report.line("Where to look next: README.md, docs/architecture.md.")
})

const show = Effect.fn("Demo.show")(function*(options: Options) {
  const place = yield* Place.acquire(options)
  yield* Report.line(Place.describe(place))

  yield* Report.section("1  The first run is killed half-way")
  const first = yield* worker(options, place, "first")
  yield* Report.line(`The process is gone (${first}).`)
  if (first === success) return yield* new DemoError({ message: "The first run was to be killed, but was not." })

  yield* Report.section("2  The second run goes on from the checkpoints")
  const second = yield* worker(options, place, "second")
  if (second !== success) return yield* new DemoError({ message: `The second run has failed (${second}).` })

  yield* Effect.gen(function*() {
    yield* Report.section("3  Is anything lost, or counted twice?")
    yield* proof
    yield* Report.section("4  Back in time")
    yield* timeTravel("spam-1")
    yield* Report.section("5  Retention")
    yield* retention
  }).pipe(Effect.provide(Mailbox.Mailboxes.layer.pipe(Layer.provideMerge(Place.layer(place)))))
})

// -----------------------------------------------------------------------------
// two runs
// -----------------------------------------------------------------------------

/** This program once more, in a process of its own. Says how it ended. */
const worker = Effect.fn("Demo.worker")(function*(options: Options, place: Place.Place, run: "first" | "second") {
  const mails = run === "first" ? ["--mails", String(options.mails)] : []
  const dataDir = place._tag === "Folder" ? ["--data-dir", place.dataDir] : []
  const handle = yield* ChildProcess.make(process.execPath, [options.program, run, ...mails, ...dataDir], {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit"
  })
  return yield* Effect.match(handle.exitCode, {
    onSuccess: (code) => `exit code ${code}`,
    // The only place that names the signal.
    onFailure: ({ reason }) => /SIG[A-Z]+/.exec(String(reason.cause))?.[0] ?? "killed"
  })
}, Effect.scoped)

const success = "exit code 0"

// -----------------------------------------------------------------------------
// proof
// -----------------------------------------------------------------------------

const proof = Effect.gen(function*() {
  const ends = yield* Triage.heads()
  const verdicts = Mailbox.Verdict.literals
  yield* Report.table([
    ["folder", "mails", "senders", ...verdicts, "version"],
    ...ends.map(({ state, version }) => [
      state.folder,
      String(state.messages.length),
      String(Record.size(state.senders)),
      ...verdicts.map((verdict) => String(state.counts[verdict])),
      String(version)
    ])
  ])
  const expected = yield* uninterrupted(Math.max(...ends.map(({ state }) => state.total)))
  for (const [index, { state, threadId }] of ends.entries()) {
    if (!Mailbox.equivalence(state, expected[index]!)) {
      return yield* new DemoError({ message: `${threadId} is not what an uninterrupted run makes of it.` })
    }
  }
  yield* Report.line(`Proved: all ${ends.length} states equal those of an uninterrupted run, value by value.`)
  if (ends.every(({ state, version }) => version === state.messages.length + 1)) {
    yield* Report.line("Each has one version for its beginning and one for each mail: none was saved twice.")
  }
})

/** What the same program makes of the mails in memory, when nobody kills it. */
const uninterrupted = Effect.fn("Demo.uninterrupted")(
  function*(mails: number) {
    yield* Triage.begin(mails)
    const ends = yield* Triage.resume(yield* Triage.heads({ unfinished: true }), Triage.noHooks)
    return ends.map(({ state }) => state)
  },
  // Not `local`, `Mailboxes.layer` would be the one that is open around it, and its Postgres with it.
  Effect.provide(Mailbox.Mailboxes.layer.pipe(Layer.provide(Checkpointer.layerMemory)), { local: true })
)

// -----------------------------------------------------------------------------
// versions
// -----------------------------------------------------------------------------

const timeTravel = Effect.fn("Demo.timeTravel")(function*(folder: string) {
  const mailboxes = yield* Mailbox.Mailboxes
  const end = yield* Effect.flatMap(mailboxes.get(folder), Effect.fromOption)

  yield* Report.line(`The last 5 versions of ${folder}, listed without reading a state:`)
  const versions = yield* mailboxes.listVersions(folder, { limit: 5 })
  yield* Report.table(versions.map(({ createdAt, metadata, nextNodes, version }) => [
    `  version ${version}`,
    Report.time(createdAt),
    `${metadata["mails"]} mails`,
    `${metadata["senders"]} senders`,
    nextNodes.length === 0 ? "finished" : `next: ${nextNodes.join(", ")}`
  ]))

  const [middle] = yield* mailboxes.listVersions(folder, { before: Math.floor(end.version / 2) + 2, limit: 1 })
  const then = yield* Effect.fromOption(
    middle === undefined ? Option.none() : yield* mailboxes.getAtTime(folder, middle.createdAt)
  )
  const last = then.state.messages.at(-1)
  yield* Report.line(`At ${Report.time(then.createdAt)} it was version ${then.version}: ${describe(then.state)}.`)
  yield* Report.line(`  The last of them was "${shorten(last?.subject ?? "")}" from ${shorten(last?.from ?? "")}.`)

  const earlier = yield* mailboxes.restore(folder, { version: then.version })
  const waiting = yield* Triage.heads({ unfinished: true })
  yield* Report.line(
    `Restored it: version ${earlier.version} is made from version ${then.version}. ` +
      `${waiting.map(({ threadId }) => threadId).join(", ")} would go on at mail ${earlier.state.next}.`
  )
  const back = yield* mailboxes.restore(folder, { version: end.version })
  yield* Report.line(`And back: version ${back.version} is made from version ${end.version}: ${describe(back.state)}.`)
})

const describe = ({ messages, senders, total }: Mailbox.Mailbox): string =>
  `${messages.length} of ${total} mails, ${Record.size(senders)} senders`

const shorten = (text: string): string => text.length <= 32 ? text : `${text.slice(0, 29)}...`

// -----------------------------------------------------------------------------
// retention
// -----------------------------------------------------------------------------

const retention = Effect.gen(function*() {
  const checkpointer = yield* Checkpointer.Checkpointer
  const { namespace } = yield* Mailbox.Mailboxes
  const policy = { maxVersions: 10, namespace }

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
