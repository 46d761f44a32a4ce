import type { Effect } from "effect"
import type { Conversation } from "../Mails.ts"

/** What the benchmark needs of a contestant. A failure ends the run. */
export interface Contestant {
  /** Saves a state after the newest one of the thread. */
  readonly put: (threadId: string, state: Conversation) => Effect.Effect<void>
  /** Reads the newest state. */
  readonly get: (threadId: string) => Effect.Effect<Conversation>
  readonly bytesOnDisk: Effect.Effect<number>
  /** Counts the statements that an effect sends. */
  readonly statements: (effect: Effect.Effect<void>) => Effect.Effect<number>
}

/** A contestant that keeps earlier states. */
export interface Versioned extends Contestant {
  /** Reads an earlier state; 1 is the first. */
  readonly getVersion: (threadId: string, version: number) => Effect.Effect<Conversation>
  /** Lists the newest versions, and returns their number. */
  readonly list: (threadId: string, limit: number) => Effect.Effect<number>
}
