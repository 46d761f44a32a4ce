import type { CheckpointError, CheckpointStore } from "@effect-checkpoint/core"
import type { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Session } from "../src/internal/session.ts"
import * as Lease from "../src/internal/store/retention/lease.ts"
import * as Tables from "../src/internal/tables.ts"

const query: CheckpointStore.PruneQuery = {
  namespace: undefined,
  maxVersions: 1,
  maxAge: undefined,
  idleThreads: undefined,
  compact: false,
  dryRun: false
}

type Run = (statement: string) => Effect.Effect<ReadonlyArray<unknown>, CheckpointError.StoreError>

/** Takes the lease from a server whose answers are made here. */
const take = (run: Run) => {
  const sql =
    ((strings: TemplateStringsArray) =>
      Effect.succeed([strings[0]!.trim().split(" ")[0]])) as unknown as PgClient.PgClient
  const session = {
    run: (_: string, statement: Effect.Effect<ReadonlyArray<string>>) =>
      Effect.flatMap(statement, ([verb]) => run(verb!))
  } as unknown as Session
  return Lease.take(query, sql, session, Tables.make("effect_checkpoint"), (part) => part)
}

describe("the lease of a prune", () => {
  it.effect("a prune that waits for a server that does not answer can be interrupted, and gives back what it may have got", () =>
    Effect.gen(function*() {
      const sent: Array<string> = []
      const fiber = yield* Effect.forkChild(Effect.scoped(take((verb) => {
        sent.push(verb)
        return verb === "INSERT" ? Effect.never : Effect.succeed([])
      })))
      yield* TestClock.adjust("1 milli")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(sent, ["INSERT", "DELETE"])
    }))

  it.effect("a prune that ends waits 2 seconds for a server that does not answer, and no longer", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(take((verb) => verb === "DELETE" ? Effect.never : Effect.succeed([{}])), scope)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(closing.pollUnsafe())
    }))
})
