import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { InvalidInput } from "../../CheckpointError.ts"
import type { CheckpointStore, ThreadKey } from "../../CheckpointStore.ts"
import type { InTurn } from "../threadQueue.ts"

/** The runs of `updateEffect` that the current code is a part of. */

interface Thread extends ThreadKey {
  readonly store: CheckpointStore["Service"]
}

/** What is started within an effect, such as a worker, may outlive it. */
interface Run extends Thread {
  isRunning: boolean
}

const Underway = Context.Reference<ReadonlyArray<Run>>("@effect-checkpoint/core/internal/Underway", {
  defaultValue: () => []
})

/** Whether the current code is part of an `updateEffect` of any thread. */
export const isUnderway: Effect.Effect<boolean> = Effect.map(
  Underway,
  (runs) => runs.some(({ isRunning }) => isRunning)
)

/** Marks the effect of an `updateEffect`. */
export const within = (thread: Thread) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Underway, (runs) => {
    const run: Run = { ...thread, isRunning: true }
    return Effect.provideService(effect, Underway, [...runs, run]).pipe(
      Effect.ensuring(Effect.sync(() => run.isRunning = false))
    )
  })

export type Saving = <A, E, R>(key: ThreadKey, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | InvalidInput, R>

/** Lets saves take turns, and refuses one of a thread by the effect that computes its next state. */
export const saving =
  (store: CheckpointStore["Service"], inTurn: InTurn): Saving =>
  <A, E, R>(key: ThreadKey, effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Underway, (runs): Effect.Effect<A, E | InvalidInput, R> => {
      const isOwn = runs.some((run) =>
        run.isRunning && run.store === store && run.threadId === key.threadId && run.namespace === key.namespace
      )
      return isOwn ? Effect.fail(ownThread) : inTurn(key, effect)
    })

const ownThread = new InvalidInput({
  field: "threadId",
  problem:
    "an updateEffect of this thread is running, and this save is part of its effect; return the state that is to " +
    "be saved instead"
})
