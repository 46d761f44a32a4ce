/**
 * Postgres inside the program: PGlite, in the process, behind the ordinary `PgClient`.
 *
 * Use it for programs that run as one process and should need no server: tests, examples, command line tools, desktop
 * programs. It has one session. Therefore statements wait for each other, and each blocks the thread while it runs. Use a
 * server for a service with several processes, or with load.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { PGlite, PGliteOptions } from "@electric-sql/pglite"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { existsSync } from "node:fs"
import * as NodeFs from "node:fs/promises"
import * as NodePath from "node:path"
import * as DataDirLock from "./internal/dataDirLock.ts"
import * as PgliteStream from "./internal/pgliteStream.ts"

/**
 * Where the data is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * A folder, which is made when there is none, for one program at a time. It is
   * a data folder of Postgres; nothing else should be in it. Without one, all is
   * in memory and gone when the layer closes.
   */
  readonly dataDir?: string | undefined
}

/**
 * The database could not be opened.
 *
 * | reason | what happened |
 * |---|---|
 * | `Missing` | `@electric-sql/pglite`, an optional peer dependency, is not installed |
 * | `Locked` | a process that is running, or another layer of this one, has the folder open |
 * | `Incompatible` | another major version of Postgres made the folder |
 * | `Failed` | the folder cannot be used, or Postgres did not start; see `cause` |
 *
 * @category errors
 * @since 0.1.0
 */
export class EmbeddedPostgresError
  extends Schema.TaggedError<EmbeddedPostgresError>("@effect-checkpoint/sql/EmbeddedPostgresError")(
    "EmbeddedPostgresError",
    {
      reason: Schema.Literals(["Missing", "Locked", "Incompatible", "Failed"]),
      /** The folder, as an absolute path; absent for a database in memory. */
      dataDir: Schema.optional(Schema.String),
      /** What happened, and what to do. */
      message: Schema.String,
      cause: Schema.optional(Schema.Defect())
    }
  )
{}

/**
 * Opens a database in a folder or in memory, and provides it as `PgClient` and `SqlClient`. Use it where you would use
 * `PgClient.layer`. Closing the layer closes the database.
 *
 * **Durability**
 *
 * With a `dataDir`, a commit is on disk, by `fsync`, before it is acknowledged. It survives the end of the process,
 * however it ends, and a power cut if the disk keeps what it reports as written. The folder of a process that was killed
 * opens at once, and Postgres replays its log.
 *
 * **Locking**
 *
 * Two processes in one folder would destroy it. Therefore the folder has a lock file, `effect-checkpoint.lock`, which
 * names the process. The lock of a process that has ended is taken over. Whether it has ended is only known on the same
 * machine and in the same container: do not share a folder between several. Layers are shared by reference: keep the
 * layer of a folder in a constant.
 *
 * **Limits**
 *
 * - There is one connection. A `listen` keeps it, and every other statement waits for it.
 * - A running statement cannot be canceled. `statement_timeout` does nothing, and no timer of the program fires until the
 *   statement has ended.
 * - A streamed result is held in memory as a whole.
 * - Nothing vacuums by itself. Run `VACUUM` now and then in a program that runs for long and deletes much. Postgres makes
 *   its own checkpoints as the log grows.
 * - JSON that is nested deeper than about 5,000 levels overflows the stack of the thread. As a parameter it fails with
 *   SQLSTATE 54001. Parsed from text inside a statement, it crashes Postgres: that statement and all later ones fail with
 *   a `ConnectionError` until the layer is built again.
 *
 * The first start of a folder, and every start in memory, takes some seconds. Later starts of a folder take less than
 * one.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (
  options: Options
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, EmbeddedPostgresError | SqlError> =>
  PgClient.layerFrom(Effect.suspend(() => make(options.dataDir)))

/**
 * Opens a new database in memory, and provides it as `PgClient` and `SqlClient`. It is gone when the layer closes.
 *
 * @see {@link layerWith} for a database in a folder, and for the limits of both
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, EmbeddedPostgresError | SqlError> = layerWith(
  {}
)

const make = Effect.fnUntraced(function*(dataDir: string | undefined) {
  const backend = yield* dataDir === undefined ? openMemory : openFolder(dataDir)
  return yield* PgClient.make({
    stream: backend.stream,
    ssl: false,
    username: "postgres",
    database: "postgres",
    maxConnections: 1,
    idleTimeout: Duration.infinity,
    // The answer is only ever late because the thread is busy.
    connectTimeout: Duration.infinity
  })
})

const openMemory = Effect.suspend(() => open(undefined, () => ({})))

const openFolder = Effect.fnUntraced(function*(path: string) {
  if (path === "") {
    return yield* new EmbeddedPostgresError({
      reason: "Failed",
      message: "dataDir is empty. Name a folder, or leave dataDir out for a database in memory."
    })
  }
  if (/^[a-z]+:\/\//i.test(path)) {
    return yield* new EmbeddedPostgresError({
      reason: "Failed",
      message: `dataDir is "${path}", a URL of PGlite. Name a folder, or leave dataDir out for a database in memory.`
    })
  }
  const dataDir = NodePath.resolve(path)
  yield* attempt(dataDir, () => NodeFs.mkdir(dataDir, { recursive: true, mode: 0o700 }))
  yield* lock(dataDir)

  // PGlite copies a new database in file by file, and takes the half of one for
  // a whole. The marker tells a copy that was cut short; it is made again.
  const version = NodePath.join(dataDir, "PG_VERSION")
  const marker = NodePath.join(dataDir, "effect-checkpoint.creating")
  if (existsSync(marker)) yield* attempt(dataDir, () => NodeFs.rm(version, { force: true }))
  const isNew = !existsSync(version)
  if (!isNew) yield* checkMajor(dataDir, yield* attempt(dataDir, () => NodeFs.readFile(version, "utf8")))
  if (isNew) yield* attempt(dataDir, () => NodeFs.writeFile(marker, ""))
  const backend = yield* open(dataDir, ({ defaultStartParams }) => ({
    dataDir,
    extensions: { fsync: PgliteStream.fsyncExtension },
    // `-F` turns fsync off. Of the ways to sync, only `fsync` is passed on to the file system.
    startParams: [...defaultStartParams.filter((parameter) => parameter !== "-F"), "-c", "wal_sync_method=fsync"]
  }))
  if (isNew) {
    yield* flushFolder(dataDir)
    yield* attempt(dataDir, () => NodeFs.rm(marker))
  }
  return backend
})

/** The major version of Postgres in the PGlite of the peer dependency. */
const major = "18"

const checkMajor = (dataDir: string, text: string): Effect.Effect<void, EmbeddedPostgresError> =>
  text.trim() === major ? Effect.void : Effect.fail(
    new EmbeddedPostgresError({
      reason: "Incompatible",
      dataDir,
      message: `The data folder ${dataDir} is of Postgres ${text.trim()}, and this PGlite is Postgres ${major}. ` +
        "Open it with the PGlite that made it, copy its data with pg_dump, or choose another folder."
    })
  )

const open = Effect.fnUntraced(function*(
  dataDir: string | undefined,
  options: (pglite: typeof PGlite) => PGliteOptions
) {
  const { PGlite } = yield* Effect.tryPromise({
    try: () => import("@electric-sql/pglite"),
    catch: (cause) =>
      new EmbeddedPostgresError({
        reason: "Missing",
        dataDir,
        message: "The embedded Postgres is not installed. Add it to the program: pnpm add @electric-sql/pglite@~0.5.16",
        cause
      })
  })
  return yield* Effect.acquireRelease(
    attempt(dataDir, () => PGlite.create(options(PGlite))).pipe(
      Effect.map((db) => ({ db, ...PgliteStream.make(db) }))
    ),
    // What has crashed cannot shut down; its files are as a killed process leaves them.
    ({ crash, db }) => crash() === undefined ? Effect.promise(() => db.close()) : Effect.void
  )
})

const lock = (dataDir: string) =>
  DataDirLock.acquire(NodePath.join(dataDir, lockName)).pipe(
    Effect.catchTags({
      Held: ({ pid }) =>
        Effect.fail(
          new EmbeddedPostgresError({
            reason: "Locked",
            dataDir,
            message: `Process ${pid} has the data folder ${dataDir} open. Stop it, or choose another folder. ` +
              `If it is this process, share one layer. If it is no such program, delete ${lockName} in the folder.`
          })
        ),
      LockFailed: ({ cause }) => Effect.fail(failed(dataDir, cause))
    })
  )

const lockName = "effect-checkpoint.lock"

/** Syncs the copy of a new database, which was not written through the backend. */
const flushFolder = Effect.fnUntraced(function*(dataDir: string) {
  const entries = yield* attempt(dataDir, () => NodeFs.readdir(dataDir, { recursive: true, withFileTypes: true }))
  yield* Effect.forEach(entries, (entry) => {
    const path = NodePath.join(entry.parentPath, entry.name)
    // Not every system lets a folder be opened, and those keep its entries by themselves.
    return entry.isDirectory() ? Effect.ignore(flush(dataDir, path, "r")) : flush(dataDir, path, "r+")
  }, { concurrency: 16, discard: true })
  yield* Effect.ignore(flush(dataDir, dataDir, "r"))
})

const flush = (dataDir: string, path: string, flags: "r" | "r+") =>
  Effect.scoped(Effect.flatMap(
    Effect.acquireRelease(
      attempt(dataDir, () => NodeFs.open(path, flags)),
      (file) => Effect.promise(() => file.close())
    ),
    (file) => attempt(dataDir, () => file.sync())
  ))

const attempt = <A>(dataDir: string | undefined, operation: () => Promise<A>) =>
  Effect.tryPromise({ try: operation, catch: (cause) => failed(dataDir, cause) })

const failed = (dataDir: string | undefined, cause: unknown): EmbeddedPostgresError => {
  const where = dataDir === undefined ? "in memory" : `in the data folder ${dataDir}`
  const why = Predicate.isError(cause) ? `: ${cause.message}` : ""
  return new EmbeddedPostgresError({
    reason: "Failed",
    dataDir,
    message: `Postgres could not be opened ${where}${why}. ` +
      (dataDir === undefined ? "See the cause." : "See the cause, and whether the folder may be written to."),
    cause
  })
}
