/**
 * Files real mails with a graph, is killed at it, goes on, asks about doubtful mails,
 * proves that nothing was lost, and rewinds. `node mail-triage/main.ts --help`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Effect, Option, Schema, Terminal } from "effect"
import { CliConfig, CliError, Command, Flag, GlobalFlag } from "effect/cli"
import { Corpus } from "./Corpus.ts"
import * as Demo from "./Demo.ts"
import * as Place from "./Place.ts"
import * as Worker from "./Worker.ts"

// The corpus has more, but the comparison is made in memory.
const mails = Flag.Int("mails").pipe(
  Flag.withDescription("How many mails to file of each of the five folders: 1 to 1000, 200 by default"),
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))),
  Flag.withDefault(200)
)
const yes = Flag.Boolean("yes").pipe(
  Flag.withDescription("Ask nobody, and hold back what is doubtful; so it is too when nobody is at a terminal"),
  Flag.withDefault(false)
)
const dataDir = Flag.String("data-dir").pipe(
  Flag.withDescription("A folder for the embedded Postgres, which is kept; the next demonstration in it begins anew"),
  Flag.withSchema(Schema.NonEmptyString),
  Flag.optional
)
const keep = Flag.Boolean("keep").pipe(
  Flag.withDescription("Keep the checkpoints at the end: the temporary folder, or the schema on the server"),
  Flag.withDefault(false)
)

/** Where the worker finds what the demonstration has given it. */
const storeOf = (dataDir: Option.Option<string>) =>
  Place.layer(Option.match(dataDir, {
    onNone: () => Place.Place.Server(),
    onSome: (dataDir) => Place.Place.Folder({ dataDir })
  }))

/** What a command needs. Whatever goes wrong in it is one readable line, and exit code 1. */
const prepare = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provide(Corpus.layer),
    Effect.catchIf(Terminal.isQuitError, () => Effect.interrupt),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.fail(new CliError.UserError({ cause: Cause.squash(cause) }))
    )
  )

const work = Command.make(
  "work",
  { mails, dataDir },
  ({ dataDir, mails }) => Worker.run(mails).pipe(Effect.provide(storeOf(dataDir)), prepare)
)

const demo = Command.make(
  "mail-triage",
  { mails, yes, dataDir, keep },
  (options) => Demo.run({ ...options, program: import.meta.filename }).pipe(prepare)
)

demo.pipe(
  Command.withDescription(
    "Files real mails with a graph, is killed at it, goes on, and proves that it lost nothing and did nothing twice.\n" +
      "  It asks about doubtful mails, and shows what would have been with another answer.\n" +
      "  Postgres is embedded in the program; with DATABASE_URL in the environment it is that server."
  ),
  Command.withSubcommands([Command.unlisted(work)]),
  Command.run({ version: "0.1.0" }),
  Effect.provide([NodeServices.layer, CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })]),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
