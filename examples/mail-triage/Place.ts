/**
 * Where the checkpoints are stored: in a Postgres embedded in the process, or on a server.
 */
import { Checkpointer } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { Config, Data, Effect, FileSystem, Option } from "effect"
import { CliError } from "effect/cli"
import { SqlClient } from "effect/sql"

export type Place = Data.TaggedEnum<{
  Folder: { readonly dataDir: string }
  /** The server that `DATABASE_URL` names. */
  Server: {}
}>
export const Place = Data.taggedEnum<Place>()

/** The schema of the tables. Nothing else is in it. */
export const schema = "mail_triage_demo"

export const layer = Place.$match({
  Folder: ({ dataDir }) => PgCheckpointer.layerEmbeddedWith({ dataDir, schema }),
  Server: () => PgCheckpointer.layerEnvWith({ schema })
})

export const describe = Place.$match({
  Folder: ({ dataDir }) => `Postgres is embedded in the process. Its files are in ${dataDir}`,
  Server: () => `Postgres is the server that DATABASE_URL names. The tables are in schema ${schema}`
})

/** Chooses the place. What this run creates is removed with the scope, except with `--keep`. */
export const acquire = Effect.fn("Place.acquire")(function*(options: {
  readonly dataDir: Option.Option<string>
  readonly keep: boolean
}) {
  const url = yield* Config.option(Config.Redacted("DATABASE_URL"))
  if (Option.isSome(url)) {
    if (Option.isSome(options.dataDir)) {
      return yield* new CliError.UserError({
        cause: "--data-dir is for the embedded Postgres, but DATABASE_URL names a server. Set only one of them."
      })
    }
    const server = Place.Server()
    yield* Effect.acquireRelease(
      Effect.provide(Checkpointer.Checkpointer.use(({ health }) => health), layer(server)),
      () => options.keep ? Effect.void : Effect.ignore(Effect.provide(dropSchema, layer(server)))
    )
    return server
  }
  if (Option.isSome(options.dataDir)) return Place.Folder({ dataDir: options.dataDir.value })
  const files = yield* FileSystem.FileSystem
  const folder = { prefix: "mail-triage-" }
  return Place.Folder({
    dataDir: yield* options.keep ? files.makeTempDirectory(folder) : files.makeTempDirectoryScoped(folder)
  })
})

const dropSchema = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`DROP SCHEMA ${sql(schema)} CASCADE`
})

export interface Sizes {
  /** How many versions can be read. */
  readonly versions: number
  /** Bytes of JSON that are stored for their states, before Postgres compresses them. */
  readonly json: number
  /** Bytes of JSON if each state were stored whole. */
  readonly whole: number
  /** Bytes of the tables and their indexes on disk. */
  readonly disk: number
}

export const sizes = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<Sizes>`
    SELECT (SELECT count(*) FROM ${sql(`${schema}.checkpoint_states`)})::float8 AS versions,
           coalesce(sum(payload_bytes), 0)::float8                              AS json,
           coalesce(sum(state_bytes), 0)::float8                                AS whole,
           (pg_total_relation_size(${`${schema}.checkpoints`}::regclass) +
            pg_total_relation_size(${`${schema}.checkpoint_threads`}::regclass))::float8 AS disk
      FROM ${sql(`${schema}.checkpoints`)}`
  return row!
})

/** Frees the space of removed rows for new ones, or with `full` returns it to the disk. */
export const vacuum = Effect.fn("Place.vacuum")(function*(how: "plain" | "full") {
  const sql = yield* SqlClient.SqlClient
  yield* how === "full"
    ? sql`VACUUM (FULL) ${sql(`${schema}.checkpoints`)}`
    : sql`VACUUM ${sql(`${schema}.checkpoints`)}`
})
