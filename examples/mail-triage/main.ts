/**
 * The command line of the demo: `node mail-triage/main.ts --help`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Effect, Option, Schema, Terminal } from "effect"
import { CliConfig, CliError, Command, Flag, GlobalFlag } from "effect/cli"
import { Corpus } from "./Corpus.ts"
import * as Demo from "./Demo.ts"
import * as Place from "./Place.ts"
import * as Worker from "./Worker.ts"

// The corpus has more mails, but the comparison runs in memory.
const mails = Flag.Int("mails").pipe(
  Flag.withDescription("How many mails of each of the five folders to file: 1 to 1000, 200 by default"),
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))),
  Flag.withDefault(200)
)
const yes = Flag.Boolean("yes").pipe(
  Flag.withDescription("Hold back doubtful mails without asking, as it does without a terminal"),
  Flag.withDefault(false)
)
const dataDir = Flag.String("data-dir").pipe(
  Flag.withDescription("A folder for the embedded Postgres. It is kept, and the next demo in it starts over"),
  Flag.withSchema(Schema.NonEmptyString),
  Flag.optional
)
const keep = Flag.Boolean("keep").pipe(
  Flag.withDescription("Keep the checkpoints: the temporary folder, or the schema on the server"),
  Flag.withDefault(false)
)

/** The store that the demo chose for the worker. */
const storeOf = (dataDir: Option.Option<string>) =>
  Place.layer(Option.match(dataDir, {
    onNone: () => Place.Place.Server(),
    onSome: (dataDir) => Place.Place.Folder({ dataDir })
  }))

/** Provides what a command needs. Any failure is printed as one line, with exit code 1. */
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
    "Files real mails with a graph, kills the worker, resumes its work, and checks that nothing is lost or done twice.\n" +
      "  It asks about doubtful mails, and shows the result of another answer.\n" +
      "  Postgres is embedded in the program. Set DATABASE_URL to use a server instead."
  ),
  Command.withSubcommands([Command.unlisted(work)]),
  Command.run({ version: "0.1.0" }),
  Effect.provide([NodeServices.layer, CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })]),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
