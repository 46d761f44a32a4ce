import { Checkpointer, CheckpointError, CheckpointStore, StateGraph } from "@effect-checkpoint/core"
import type { Vitest } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fresh, type Properties } from "../laws/suite.ts"

export { fails, type Properties, refuses } from "../laws/suite.ts"

/** What the groups of laws about graphs share. */

export type It = Vitest.MethodsNonLive<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore>

/** A group of laws. */
export type Group = (it: It, properties: Properties) => void

/** What nodes fail with. */
export class Boom extends Data.TaggedError("Boom")<{ readonly node: string }> {}

/** A question whose two sides are the same. */
export class Ask extends StateGraph.Interrupt<Ask>()("Ask", { request: Schema.String, response: Schema.String }) {}

/** A question whose sides differ: a time is stored as text. */
export class When extends StateGraph.Interrupt<When>()("When", {
  request: Schema.Struct({ after: Schema.DateTimeUtc }),
  response: Schema.Struct({ at: Schema.DateTimeUtc })
}) {}

/** States that say what happened, in order: each update is a word. */
export const words = {
  state: Schema.Array(Schema.String),
  update: Schema.String,
  reduce: (state: ReadonlyArray<string>, word: string): ReadonlyArray<string> => [...state, word]
}

/** A thread and a namespace of a law's own, and nodes that leave a trace. */
export const setting = Effect.gen(function*() {
  const ran: Array<string> = []
  function says(name: string): () => Effect.Effect<string>
  function says<E, R>(name: string, before: Effect.Effect<unknown, E, R>): () => Effect.Effect<string, E, R>
  function says(name: string, before: Effect.Effect<unknown, unknown, unknown> = Effect.void) {
    return () => Effect.as(Effect.andThen(Effect.sync(() => ran.push(name)), before), name)
  }
  return {
    namespace: yield* fresh,
    threadId: yield* fresh,
    /** The nodes that were run, in the order in which they began. */
    ran,
    /** A node that says its name, after what it has to do. */
    says
  }
})

/** Fails so many times, and then no more. */
export const failing = (node: string, times = 1): Effect.Effect<void, Boom> => {
  let left = times
  return Effect.suspend(() => left-- > 0 ? Effect.fail(new Boom({ node })) : Effect.void)
}

/** What a version says about the graph, in short. */
export interface Step {
  readonly version: number
  readonly state: unknown
  readonly next: ReadonlyArray<string>
  readonly cause: string
  readonly step: number
  readonly completedNodes: ReadonlyArray<string>
  readonly waits: boolean
}

/** All versions of a thread, oldest first. */
export const stepsOf = <S>(
  view: Pick<Checkpointer.View<S>, "history">,
  threadId: string
): Effect.Effect<ReadonlyArray<Step>, Checkpointer.ReadError> =>
  Effect.map(
    Stream.runCollect(view.history(threadId)),
    (versions) =>
      versions.toReversed().map((checkpoint) => {
        const { nextNodes, pendingInterrupts, state, version } = checkpoint
        const { cause, completedNodes, step } = Option.getOrThrow(StateGraph.metadata(checkpoint))
        return { version, state, next: nextNodes, cause, step, completedNodes, waits: pendingInterrupts.length > 0 }
      })
  )

/** The same, of a graph. */
export const historyOf = <S, I, U, N extends string, A, E, R, Q>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  threadId: string
) => Effect.flatMap(StateGraph.view(graph), (view) => stepsOf(view, threadId))

/** What is stored of a thread does not change. */
export const writesNothing = <S, I, U, N extends string, A, E, R, Q>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  threadId: string
) =>
<B, E2, R2>(effect: Effect.Effect<B, E2, R2>) =>
  Effect.gen(function*() {
    const view = yield* Effect.orDie(StateGraph.view(graph))
    const before = yield* Effect.orDie(view.listVersions(threadId))
    const result = yield* effect
    const after = yield* Effect.orDie(view.listVersions(threadId))
    if (JSON.stringify(after) !== JSON.stringify(before)) {
      return yield* Effect.die(new Error(`something was written to "${threadId}"`))
    }
    return result
  })

/** A service of its own over the same store, as another process has it. */
export const elsewhere = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Effect.orDie(Checkpointer.make()),
    (service) => Effect.provideService(effect, Checkpointer.Checkpointer, service)
  )

export const storeError = new CheckpointError.StoreError({
  operation: "put",
  reason: new CheckpointError.Rejected({ message: "a law has taken it away" }),
  outcome: "NotApplied"
})

/** What a law does to a store: an error in place of a write, or nothing. */
export interface Faults {
  readonly put?: (record: CheckpointStore.NewCheckpoint) => CheckpointError.StoreError | undefined
  readonly saveWrites?: () => CheckpointError.StoreError | undefined
  /** Runs after pending writes were saved. */
  readonly savedWrites?: Effect.Effect<unknown>
}

/** Over the same store with faults, as another process has it. */
export const withFaults = (faults: Faults) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const orFail = <B>(
      error: CheckpointError.StoreError | undefined,
      write: Effect.Effect<B, CheckpointError.StoreError>
    ) => error === undefined ? write : Effect.fail(error)
    const faulty = CheckpointStore.CheckpointStore.of({
      ...store,
      put: (record, expected) => Effect.suspend(() => orFail(faults.put?.(record), store.put(record, expected))),
      savePendingWrites: (key, version, writes) =>
        Effect.suspend(() =>
          Effect.tap(
            orFail(faults.saveWrites?.(), store.savePendingWrites(key, version, writes)),
            () => faults.savedWrites ?? Effect.void
          )
        )
    })
    return yield* Effect.provideService(elsewhere(effect), CheckpointStore.CheckpointStore, faulty)
  })

/** Counts what an effect writes: versions, and writes kept beside them. */
export const counting = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const count = { puts: 0, writes: 0 }
    return Effect.as(
      withFaults({
        put: () => {
          count.puts++
          return undefined
        },
        saveWrites: () => {
          count.writes++
          return undefined
        }
      })(effect),
      count
    )
  })
