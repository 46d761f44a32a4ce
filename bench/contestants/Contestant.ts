import type { Effect } from "effect"
import type { Conversation } from "../Mails.ts"

/** What every one of them can do, and all that is asked of them. Whatever fails ends the run. */
export interface Contestant {
  /** Saves a state as what follows the newest one of the thread. */
  readonly put: (threadId: string, state: Conversation) => Effect.Effect<void>
  /** Reads the newest state. */
  readonly get: (threadId: string) => Effect.Effect<Conversation>
  readonly bytesOnDisk: Effect.Effect<number>
  /** How many statements an effect sends. */
  readonly statements: (effect: Effect.Effect<void>) => Effect.Effect<number>
}

/** One that keeps what was before. */
export interface Versioned extends Contestant {
  /** Reads an earlier state; 1 is the first. */
  readonly getVersion: (threadId: string, version: number) => Effect.Effect<Conversation>
  /** Lists the newest versions, and says how many they were. */
  readonly list: (threadId: string, limit: number) => Effect.Effect<number>
}
