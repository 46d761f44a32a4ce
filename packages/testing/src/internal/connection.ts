import * as PgClient from "@effect/sql-pg/PgClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import { textOf } from "./startedServer.ts"

/** A server lives in real time, also under a `TestClock`. */
export const inRealTime = Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

/** A connection for each use: none is left over to break when the server is restarted, or to be counted by a test. */
export const withConnection = <A, E>(
  url: Redacted.Redacted,
  use: (sql: PgClient.PgClient) => Effect.Effect<A, E | SqlError>
): Effect.Effect<A, E | SqlError> =>
  PgClient.makeClient({ url, applicationName: "@effect-checkpoint/testing" }).pipe(
    Effect.flatMap(use),
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    inRealTime
  )

/** The server's own words, which a `SqlError` keeps in the cause of its reason. */
export const textOfSql = ({ reason }: SqlError): string =>
  [...new Set([reason.message ?? "", textOf(reason.cause)])].filter((text) => text !== "").join(": ")
