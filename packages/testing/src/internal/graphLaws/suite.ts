import { Checkpointer, CheckpointError, CheckpointStore, StateGraph } from "@effect-checkpoint/core"
import type { Vitest } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fresh, type Properties } from "../laws/suite.ts"

export { fails, type Properties, refuses } from "../laws/suite.ts"

/** Helpers of the laws of graphs. */

export type It = Vitest.MethodsNonLive<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore>

/** A group of laws. */
export type Group = (it: It, properties: Properties) => void

/** The error of nodes. */
export class Boom extends Data.TaggedError("Boom")<{ readonly node: string }> {}

/** A question whose request and response are encoded as they are. */
export class Ask extends StateGraph.Interrupt<Ask>()("Ask", { request: Schema.String, response: Schema.String }) {}

/** A question whose request and response are encoded as other types. */
export class When extends StateGraph.Interrupt<When>()("When", {
  request: Schema.Struct({ after: Schema.DateTimeUtc }),
  response: Schema.Struct({ at: Schema.DateTimeUtc })
}) {}

/** A state that records what happened: a list of words, to which each update adds one. */
export const words = {
  state: Schema.Array(Schema.String),
  update: Schema.String,
  reduce: (state: ReadonlyArray<string>, word: string): ReadonlyArray<string> => [...state, word]
}

/** A thread and a namespace for one law, and nodes that record their runs. */
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
    /** The nodes that ran, in the order in which they began. */
    ran,
    /** A node that runs `before` and then returns its name. */
    says
  }
})

/** Fails the given number of times, and then succeeds. */
export const failing = (node: string, times = 1): Effect.Effect<void, Boom> => {
  let left = times
  return Effect.suspend(() => left-- > 0 ? Effect.fail(new Boom({ node })) : Effect.void)
}

/** A short form of a version of a graph. */
export interface Step {
  readonly version: number
  readonly state: unknown
  readonly next: ReadonlyArray<string>
  readonly cause: string
  readonly step: number
  readonly completedNodes: ReadonlyArray<string>
  readonly waits: boolean
}

/** All versions of a thread of a view, oldest first. */
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

/** All versions of a thread of a graph, oldest first. */
export const historyOf = <S, I, U, N extends string, A, E, R, Q>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  threadId: string
) => Effect.flatMap(StateGraph.view(graph), (view) => stepsOf(view, threadId))

/** Dies if an effect changes the versions of a thread. */
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
      return yield* Effect.die(new Error(`the versions of "${threadId}" changed`))
    }
    return result
  })

/** One answer to all open questions of a thread. */
export const answersOf = <S, I, U, N extends string, A, E, R, Q, B>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  threadId: string,
  response: B
) =>
  Effect.gen(function*() {
    const view = yield* StateGraph.view(graph)
    const { questions } = yield* view.step(Option.getOrThrow(yield* view.get(threadId)))
    return Object.fromEntries(
      questions.filter(({ answer }) => answer === undefined).map(({ interruptId }) => [interruptId, response])
    )
  })

/** Resumes with the answer to a question: that with the id, by default the first one that is open. */
export const reply = <S, I, U, N extends string, A, E, R, Q>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  { interruptId, response, ...options }:
    & Omit<StateGraph.ResumeOptions<NoInfer<U>, NoInfer<N>, NoInfer<A>>, "answers">
    & {
      readonly response: NoInfer<A>
      readonly interruptId?: string | undefined
    }
) =>
  Effect.gen(function*() {
    const { checkpointId, threadId, version } = options
    const view = yield* StateGraph.view(graph)
    const selector = version !== undefined ? { version } : checkpointId !== undefined ? { checkpointId } : undefined
    const target = Option.getOrThrow(yield* view.get(threadId, selector))
    const { ended, questions } = yield* view.step(target)
    const [first] = ended ? target.pendingInterrupts : questions.filter(({ answer }) => answer === undefined)
    const answers = { [interruptId ?? first?.interruptId ?? "no question"]: response }
    return yield* StateGraph.resume(graph, { ...options, answers })
  })

/** Runs an effect with another service over the same store, as in another process. */
export const elsewhere = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Effect.orDie(Checkpointer.make()),
    (service) => Effect.provideService(effect, Checkpointer.Checkpointer, service)
  )

export const storeError = new CheckpointError.StoreError({
  operation: "put",
  reason: new CheckpointError.Rejected({ message: "a fault of the law" }),
  outcome: "NotApplied"
})

/** The faults of a store: an error instead of a write. */
export interface Faults {
  readonly put?: (record: CheckpointStore.NewCheckpoint) => CheckpointError.StoreError | undefined
  readonly saveWrites?: () => CheckpointError.StoreError | undefined
  /** Runs before pending writes are saved. */
  readonly savingWrites?: Effect.Effect<unknown>
  /** Called before questions or answers are saved without a version. */
  readonly saveQuestions?: () => CheckpointError.StoreError | undefined
  /** Runs after pending writes were saved. */
  readonly savedWrites?: Effect.Effect<unknown>
}

/** Runs an effect with another service over the same store with faults. */
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
      savePendingWrites: (key, version, writes, maxBytes) =>
        Effect.andThen(
          faults.savingWrites ?? Effect.void,
          Effect.suspend(() =>
            Effect.tap(
              orFail(faults.saveWrites?.(), store.savePendingWrites(key, version, writes, maxBytes)),
              () => faults.savedWrites ?? Effect.void
            )
          )
        ),
      ask: (key, version, questions) =>
        Effect.suspend(() => orFail(faults.saveQuestions?.(), store.ask(key, version, questions))),
      answer: (key, answers, answerId) =>
        Effect.suspend(() => orFail(faults.saveQuestions?.(), store.answer(key, answers, answerId)))
    })
    return yield* Effect.provideService(elsewhere(effect), CheckpointStore.CheckpointStore, faulty)
  })

/** Counts what an effect writes: versions and pending writes. */
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
