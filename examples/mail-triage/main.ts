/**
 * Reads thousands of real mails with a checkpoint after each, is killed half-way,
 * goes on, and proves that nothing was lost. `node mail-triage/main.ts --help`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Cause, Effect, Layer, Option, Schema } from "effect"
import { CliConfig, CliError, Command, Flag, GlobalFlag } from "effect/cli"
import { Corpus } from "./Corpus.ts"
import * as Demo from "./Demo.ts"
import { Mailboxes } from "./Mailbox.ts"
import * as Place from "./Place.ts"
import * as Worker from "./Worker.ts"

// The corpus has more, but the comparison is made in memory.
const mails = Flag.Int("mails").pipe(
  Flag.withDescription("How many mails to read of each of the five folders: 1 to 1000, 500 by default"),
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))),
  Flag.withDefault(500)
)
const dataDir = Flag.String("data-dir").pipe(
  Flag.withDescription("A folder for the embedded Postgres, which is kept; a run in it that is unfinished goes on"),
  Flag.withSchema(Schema.NonEmptyString),
  Flag.optional
)
const keep = Flag.Boolean("keep").pipe(
  Flag.withDescription("Keep the checkpoints at the end: the temporary folder, or the schema on the server"),
  Flag.withDefault(false)
)

/** Where a worker finds what the demonstration has given it. */
const storeOf = (dataDir: Option.Option<string>) =>
  Mailboxes.layer.pipe(Layer.provide(Place.layer(Option.match(dataDir, {
    onNone: () => Place.Place.Server(),
    onSome: (dataDir) => Place.Place.Folder({ dataDir })
  }))))

/** What a command needs. Whatever goes wrong in it is one readable line, and exit code 1. */
const prepare = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provide(Corpus.layer),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.fail(new CliError.UserError({ cause: Cause.squash(cause) }))
    )
  )

const first = Command.make(
  "first",
  { mails, dataDir },
  ({ dataDir, mails }) => Worker.first(mails).pipe(Effect.provide(storeOf(dataDir)), prepare)
)

const second = Command.make(
  "second",
  { dataDir },
  ({ dataDir }) => Worker.second.pipe(Effect.provide(storeOf(dataDir)), prepare)
)

const demo = Command.make(
  "mail-triage",
  { mails, dataDir, keep },
  (options) => Demo.run({ ...options, program: import.meta.filename }).pipe(prepare)
)

demo.pipe(
  Command.withDescription(
    "Reads real mails with a checkpoint after each, is killed half-way, goes on, and proves it lost nothing.\n" +
      "  Postgres is embedded in the program; with DATABASE_URL in the environment it is that server."
  ),
  Command.withSubcommands([Command.unlisted(first), Command.unlisted(second)]),
  Command.run({ version: "0.1.0" }),
  Effect.provide([NodeServices.layer, CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })]),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
