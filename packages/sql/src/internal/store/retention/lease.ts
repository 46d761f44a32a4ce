import { PruneRunning, StoreError } from "@effect-checkpoint/core/CheckpointError"
import type { PruneQuery } from "@effect-checkpoint/core/CheckpointStore"
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

/** The time now, and not that at which a transaction of the caller began. */
const now = literal("clock_timestamp()")

/** How long a prune that ends waits for its lease to be given back. */
const releaseTimeout = "2 seconds"

/**
 * Takes the lease that a policy needs, until the scope closes. A lease that cannot be released expires; one that would
 * last longer than any is the work of a wrong clock, and counts as expired.
 *
 * It can be interrupted at any time: whether or not the server has granted the lease by then, it is given back.
 */
export const take = (
  query: PruneQuery,
  sql: PgClient,
  session: Session,
  { leases }: Tables,
  retrying: Retrying
): Effect.Effect<Renewal, StoreError, Scope.Scope> =>
  Effect.suspend(() => {
    const name = leaseName(query)
    const holder = SecureRandom.uuidV4Unsafe()
    const taking = sql<{ readonly name: string }>`
        INSERT INTO ${leases} AS l (name, holder, expires_at)
        VALUES (${name}, ${holder}, ${now} + ${leaseTime})
        ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
        WHERE l.expires_at < ${now} OR l.expires_at > ${now} + ${leaseTime} OR l.holder = EXCLUDED.holder
        RETURNING name`
    const renewing = sql<{ readonly name: string }>`
        UPDATE ${leases} SET expires_at = ${now} + ${leaseTime} WHERE name = ${name} AND holder = ${holder}
        RETURNING name`
    const releasing = sql`DELETE FROM ${leases} WHERE name = ${name} AND holder = ${holder}`
    const release = session.run("prune", releasing).pipe(
      Effect.interruptible,
      Effect.timeout(releaseTimeout),
      Effect.ignore
    )
    return Effect.addFinalizer(() => release).pipe(
      Effect.andThen(orRunning(retrying(session.run("prune", taking)))),
      Effect.as(orRunning(renewing))
    )
  })

/**
 * One lease for each policy: processes with the same policy take turns, and different policies do not wait for each
 * other. Two prunes of one thread are safe: each locks its head, and decides again what is due.
 */
const leaseName = ({ compact, idleThreads, maxAge, maxVersions, namespace }: PruneQuery): string =>
  `prune ${JSON.stringify({ namespace, maxVersions, maxAge, idleThreads, compact })}`

const orRunning = <E>(statement: Effect.Effect<ReadonlyArray<unknown>, E>): Effect.Effect<void, E | StoreError> =>
  Effect.flatMap(statement, ([row]) => row === undefined ? Effect.fail(pruneRunning()) : Effect.void)

const pruneRunning = (): StoreError =>
  new StoreError({
    operation: "prune",
    reason: new PruneRunning({
      message: "another prune with the same policy is running against this database; try again when it has finished, " +
        "or a minute after its process died"
    }),
    outcome: "NotApplied"
  })
