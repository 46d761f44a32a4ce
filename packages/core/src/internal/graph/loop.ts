import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Metrics from "../metrics.ts"
import { advance } from "./advance.ts"
import { checkConflicts } from "./conflict.ts"
import type { RunEvent, RunResult, StepsError } from "./model.ts"
import { pauseAfter, pauseBefore, pauseInsteadOfStop } from "./pause.ts"
import { pendingInterruptOf } from "./pendingInterrupt.ts"
import { type Position, savePosition, saveReached } from "./position.ts"
import type { Question } from "./question.ts"
import { emitAll, emitSaved, type RunContext } from "./runContext.ts"
import { resultAt } from "./status.ts"
import { type Restore, runStep } from "./step.ts"

/** The position that a step led to. */
interface Arrival<S, U> {
  readonly position: Position<S>
  /** The question that the thread waits for there. */
  readonly question: Question | undefined
  /** The events to emit after the next save. */
  readonly events: ReadonlyArray<RunEvent<S, U, string>>
}

/**
 * Runs step after step until no node is left, the thread waits for an answer, the run stops at branches, or its
 * `maxSteps` are used up. The run can be interrupted while nodes run and while events are emitted, and nowhere else.
 */
export const runLoop = <S, U, E, R>(
  run: RunContext<S, U, E, R>,
  from: Position<S>
): Effect.Effect<RunResult<S, string>, E | StepsError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { interruptBefore, maxSteps } = run.settings
      let arrival: Arrival<S, U> = { position: from, question: undefined, events: [] }
      while (hasNextStep(arrival.position, maxSteps)) {
        const question: Question | undefined = arrival.question ?? pauseBefore(arrival.position, interruptBefore)
        if (question !== undefined) return yield* endRun(run, { ...arrival, question }, restore)
        const position: Position<S> = yield* saveProgress(run, arrival, restore)
        arrival = yield* takeStep(run, position, restore)
      }
      return yield* endRun(run, arrival, restore)
    })
  )

const hasNextStep = <S>({ metadata: { runSteps = 0, stopped }, nextNodes }: Position<S>, maxSteps: number): boolean =>
  nextNodes.length > 0 && stopped === undefined && runSteps < maxSteps

/** Saves the position where a run ends, if it is not saved yet. */
const endRun = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { events, position, question }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<RunResult<S, string>, StepsError> {
  const { emit, graph, settings } = run
  if (position._tag === "Saved" && question === undefined) {
    yield* restore(emitAll(emit, events))
    return yield* resultAt(graph, settings.maxSteps, position)
  }
  const saved = yield* saveReached(run, position, question)
  const raised = question === undefined ? Option.none() : pendingInterruptOf(graph, saved.head)
  yield* restore(emitAll(emit, [
    ...events,
    { _tag: "CheckpointSaved", checkpoint: saved.head },
    ...Option.toArray(raised).map((interrupt) => ({ _tag: "InterruptRaised" as const, interrupt }))
  ]))
  return yield* resultAt(graph, settings.maxSteps, saved)
})

/** Saves the position where the next step begins, if `durability` is `"step"`. */
const saveProgress = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { events, position }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<Position<S>, StepsError> {
  const { emit, settings } = run
  if (position._tag === "Saved" || settings.durability === "exit") {
    yield* savingOnFailure(run, position, restore)(restore(emitAll(emit, events)))
    return position
  }
  const saved = yield* savePosition(run, position)
  yield* restore(emitAll(emit, [...events, { _tag: "CheckpointSaved", checkpoint: saved.head }]))
  return saved
})

/** Runs a step. If a task asks, the run stays where it is; otherwise it advances. */
const takeStep = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  position: Position<S>,
  restore: Restore
): Effect.fn.Return<Arrival<S, U>, E | StepsError, R> {
  const { graph, runId, settings } = run
  const guarded = savingOnFailure(run, position, restore)
  const { eventsAfterSave, outcomes } = yield* guarded(runStep(run, position, restore))
  const asking = outcomes.find((outcome) => outcome._tag === "Asked")
  if (asking !== undefined) return { position, question: asking.question, events: eventsAfterSave }
  const returned = outcomes.filter((outcome) => outcome._tag === "Returned")
  yield* guarded(checkConflicts(run, position, returned, restore(emitAll(run.emit, eventsAfterSave))))
  const next = yield* guarded(advance(graph, settings, runId, position, returned))
  yield* Metric.update(Metrics.graphSteps, 1)
  const question = pauseAfter(next, settings.interruptAfter) ?? pauseInsteadOfStop(next, settings.strategy)
  return { position: next, question, events: eventsAfterSave }
})

/** Saves an unsaved position if an effect fails, so that the steps before are not lost. */
const savingOnFailure = <S, U, E, R>(
  run: RunContext<S, U, E, R>,
  position: Position<S>,
  restore: Restore
) =>
<A, E2, R2>(effect: Effect.Effect<A, E2, R2>): Effect.Effect<A, E2 | StepsError, R2> =>
  position._tag === "Saved" ? effect : Effect.onExit(effect, (exit) =>
    Exit.isSuccess(exit)
      ? Effect.void
      : Effect.flatMap(
        saveReached(run, position),
        ({ head }) => Effect.asVoid(Effect.exit(restore(emitSaved(run.emit, head))))
      ))
