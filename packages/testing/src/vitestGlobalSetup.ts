/**
 * One Postgres server for all test files of a vitest run.
 *
 * Name it in vitest's configuration: `globalSetup: ["@effect-checkpoint/testing/vitestGlobalSetup"]`. It takes or
 * starts the server that `PostgresServer.layer` would, says which one on stdout, and stops it when the run is over.
 * Every `PostgresServer.layer` in the test files then gives this server.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import process from "node:process"
import { names } from "./internal/environment.ts"
import { layer, PostgresServer } from "./PostgresServer.ts"

/**
 * Starts the server, and returns what stops it.
 *
 * @category vitest
 * @since 0.1.0
 */
export default (): Promise<() => Promise<void>> => Effect.runPromise(setup)

const setup = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const server = yield* Layer.buildWithScope(layer, scope).pipe(
    Effect.map(Context.get(PostgresServer)),
    Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
  )
  // Vitest's workers inherit the environment, and nothing else that a `PostgresServer.layer` would look at.
  const before = [names.url, names.kind].map((name) => [name, process.env[name]] as const)
  process.env[names.url] = Redacted.value(server.url)
  process.env[names.kind] = server.kind
  const restore = Effect.sync(() => {
    for (const [name, value] of before) {
      if (value === undefined) {
        delete process.env[name]
      } else {
        process.env[name] = value
      }
    }
  })
  return () => Effect.runPromise(Effect.andThen(restore, Scope.close(scope, Exit.void)))
}).pipe(Effect.provide(Logger.layer([Logger.withConsoleLog(Logger.make(({ message }) => [message].flat().join(" ")))])))
