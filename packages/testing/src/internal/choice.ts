import type * as Arr from "effect/Array"
import * as Result from "effect/Result"
import { names } from "./environment.ts"
import type { Kind } from "./startedServer.ts"

/**
 * The servers to try, in this order, or why there is none to try.
 *
 * A given server counts as the kind that it is: while `vitestGlobalSetup` shares a server of binaries, tests that force
 * binaries use that one.
 */
export const choose = <Given extends { readonly kind: Kind }>(asked: {
  /** The kind that `CHECKPOINT_TEST_POSTGRES` forces. */
  readonly forced: Kind | undefined
  /** The server at `CHECKPOINT_TEST_DATABASE_URL`, where there is one. */
  readonly given: Given | undefined
  /** Whether the server must run with settings of the caller. */
  readonly withSettings: boolean
}): Result.Result<Arr.NonEmptyReadonlyArray<Given | "container" | "binaries">, string> => {
  const { forced, given, withSettings } = asked
  if (given !== undefined && !withSettings && (forced === undefined || forced === given.kind)) {
    return Result.succeed([given])
  }
  if (forced !== "url") {
    return Result.succeed(forced === undefined ? ["container", "binaries"] : [forced])
  }
  return Result.fail(
    withSettings
      ? `${names.forced}=url asks for a server by URL, and such a server cannot be started with settings. Force no ` +
        "kind, or container or binaries, for tests with settings."
      : `${names.forced}=url asks for a server by URL. Set ${names.url} to the URL of a role that may create ` +
        "databases: postgres://user:password@host:port/database."
  )
}
