import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"

/** Drops a database even if there are connections to it, which needs Postgres 13. */
export const dropByForce = (sql: PgClient, name: string): Effect.Effect<unknown, SqlError> =>
  sql`DROP DATABASE IF EXISTS ${sql(name)} WITH (FORCE)`

/** The same for older servers. */
export const dropByTerminating = Effect.fnUntraced(function*(
  sql: PgClient,
  name: string
): Effect.fn.Return<void, SqlError> {
  // Or a pool would connect again in between.
  yield* sql`ALTER DATABASE ${sql(name)} WITH ALLOW_CONNECTIONS false`
  yield* sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`
  yield* sql`DROP DATABASE ${sql(name)}`
})
