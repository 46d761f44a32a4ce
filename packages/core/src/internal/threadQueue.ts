import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { ThreadKey } from "../CheckpointStore.ts"

export type InTurn = <A, E, R>(key: ThreadKey, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Runs one effect per thread at a time, or as many as `width`, in order of arrival. Writers of a thread in this process
 * wait here, and not each on a database connection for the same row lock.
 *
 * Within a transaction an effect does not wait: the one before it may be waiting for a row lock of that transaction.
 */
export const make = (inTransaction: Effect.Effect<boolean>, width = 1): InTurn => {
  const entries = new Map<string, { readonly semaphore: Semaphore.Semaphore; users: number }>()

  const inTurn: InTurn = (key, effect) =>
    // Not interruptible between counting a user and making sure that it is no longer counted.
    Effect.uninterruptibleMask((restore) => {
      const name = `${key.namespace}\u0000${key.threadId}`
      let entry = entries.get(name)
      if (entry === undefined) {
        entry = { semaphore: Semaphore.makeUnsafe(width), users: 0 }
        entries.set(name, entry)
      }
      const { semaphore } = entry
      entry.users++
      return Effect.ensuring(
        restore(semaphore.withPermit(effect)),
        Effect.sync(() => {
          if (--entry.users === 0) entries.delete(name)
        })
      )
    })

  return (key, effect) => Effect.flatMap(inTransaction, (inTransaction) => inTransaction ? effect : inTurn(key, effect))
}
