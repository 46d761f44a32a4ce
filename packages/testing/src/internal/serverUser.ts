import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import process from "node:process"
import { execute } from "./processes.ts"
import { StartFailure } from "./startedServer.ts"

/** A user of the operating system. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/**
 * The user that a server of ours must run as; `undefined` for our own.
 *
 * Postgres refuses to run as root. For root this is the user `postgres`, who is created if there is none.
 */
export const serverUser: Effect.Effect<ServerUser | undefined, StartFailure> = Effect.suspend(() =>
  process.getuid?.() === 0 ? found : Effect.undefined
)

const name = "postgres"

const lookUp = Effect.all({
  name: Effect.succeed(name),
  uid: Effect.map(execute("id", ["-u", name]), Number),
  gid: Effect.map(execute("id", ["-g", name]), Number)
})

const create = Effect.andThen(execute("groupadd", ["-f", name]), execute("useradd", ["-g", name, name]))

const found = lookUp.pipe(
  Effect.catch(() => Effect.andThen(create, lookUp)),
  // Another process may be creating it.
  Effect.retry({ times: 2, schedule: Schedule.spaced("200 millis") }),
  Effect.mapError(({ cause, message }) =>
    new StartFailure({
      message: "Postgres refuses to run as root, and the user postgres, which it would run as, cannot be created: " +
        `${message.trim()}. Create that user, or run the tests as a user other than root.`,
      cause
    })
  )
)
