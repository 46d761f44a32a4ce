import { PruneRunning, StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { literal } from "../../fragment.ts"
import type { Session } from "../../session.ts"
import type { Tables } from "../../tables.ts"
import type { Retrying } from "./retrying.ts"

/** Keeps the lease. Fails with `PruneRunning` if another prune has taken over. */
export type Renewal = Effect.Effect<void, SqlError | StoreError>

/** How long after its last renewal another prune may take over. */
const leaseTime = literal("interval '1 minute'")

/** Takes the lease that every prune needs, until the scope closes. A lease that cannot be released expires. */
export const take = (
  sql: PgClient,
  session: Session,
  { leases }: Tables,
  retrying: Retrying
): Effect.Effect<Renewal, StoreError, Scope.Scope> =>
  Effect.suspend(() => {
    const holder = SecureRandom.uuidV4Unsafe()
    const taking = sql<{ readonly name: string }>`
        INSERT INTO ${leases} AS l (name, holder, expires_at)
        VALUES ('prune', ${holder}, now() + ${leaseTime})
        ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
        WHERE l.expires_at < now() OR l.holder = EXCLUDED.holder
        RETURNING name`
    const renewing = sql<{ readonly name: string }>`
        UPDATE ${leases} SET expires_at = now() + ${leaseTime} WHERE name = 'prune' AND holder = ${holder} RETURNING name`
    const releasing = sql`DELETE FROM ${leases} WHERE name = 'prune' AND holder = ${holder}`
    return Effect.as(
      Effect.acquireRelease(
        orRunning(retrying(session.run("prune", taking))),
        () => Effect.ignore(session.run("prune", releasing))
      ),
      orRunning(renewing)
    )
  })

const orRunning = <E>(statement: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<void, E | StoreError> =>
  Effect.flatMap(statement, ([row]) => row === undefined ? Effect.fail(pruneRunning()) : Effect.void)

const pruneRunning = (): StoreError =>
  new StoreError({
    operation: "prune",
    reason: new PruneRunning({
      message: "another prune is running against this database; try again when it has finished, or a minute after " +
        "its process died"
    }),
    outcome: "NotApplied"
  })
