import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import { VersionConflict } from "../../CheckpointError.ts"
import * as Json from "../json.ts"
import * as Metrics from "../metrics.ts"
import { advance } from "./advance.ts"
import { checkConflicts } from "./conflict.ts"
import { withMetadata } from "./metadata.ts"
import type { RunEvent, RunResult, StepsError } from "./model.ts"
import { pauseAfter, pauseBefore, pauseInsteadOfStop } from "./pause.ts"
import { toPending } from "./pendingInterrupt.ts"
import {
  isWaiting,
  type Position,
  type SavedPosition,
  savedPosition,
  savePosition,
  saveProgress,
  saveReached
} from "./position.ts"
import { isOpen, type Question } from "./question.ts"
import { emitAll, emitSaved, type RunContext } from "./runContext.ts"
import { interruptedResult, resultAt } from "./status.ts"
import { type Restore, runStep } from "./step.ts"

/** The position that a step led to. */
interface Arrival<S, U> {
  readonly position: Position<S>
  /** The questions that are asked there. */
  readonly asked: ReadonlyArray<Question>
  /** Whether the step has to wait for answers. */
  readonly waits: boolean
  /** The events to emit after the next save. */
  readonly events: ReadonlyArray<RunEvent<S, U, string>>
}

const arrivalAt = <S, U>(position: Position<S>): Arrival<S, U> => ({
  position,
  asked: [],
  waits: isWaiting(position),
  events: []
})

/**
 * Runs step after step until no node is left, the thread waits for answers, the run stops at branches, or its `maxSteps`
 * are used up. The run can be interrupted while nodes run and while events are emitted, and nowhere else.
 */
export const runLoop = <S, U, E, R>(
  run: RunContext<S, U, E, R>,
  from: Position<S>
): Effect.Effect<RunResult<S, string>, E | StepsError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { maxSteps } = run.settings
      let arrival: Arrival<S, U> = arrivalAt(from)
      while (true) {
        arrival = pausing(run, arrival)
        if (arrival.waits) {
          const known: ReadonlyArray<Question> = [...arrival.position.questions, ...arrival.asked]
          const stored: SavedPosition<S> = yield* wait(run, arrival, restore)
          if (!isAnswered(known, stored)) return interruptedResult(stored)
          // The answers arrived while the step ran, so that this run has to continue with them.
          arrival = arrivalAt(stored)
          continue
        }
        if (!hasNextStep(arrival.position, maxSteps)) break
        const position: Position<S> = yield* saveArrival(run, arrival, restore)
        arrival = yield* takeStep(run, position, restore)
      }
      return yield* endRun(run, arrival, restore)
    })
  )

const hasNextStep = <S>({ metadata: { runSteps = 0, stopped }, nextNodes }: Position<S>, maxSteps: number): boolean =>
  nextNodes.length > 0 && stopped === undefined && runSteps < maxSteps

/** Asks for the pause before the next step, if there is one. */
const pausing = <S, U, E, R>({ settings }: RunContext<S, U, E, R>, arrival: Arrival<S, U>): Arrival<S, U> => {
  if (arrival.waits || !hasNextStep(arrival.position, settings.maxSteps)) return arrival
  const asked = pauseBefore(arrival.position, settings.interruptBefore)
  return asked.length === 0 ? arrival : { ...arrival, asked, waits: true }
}

/**
 * Saves the questions that the thread waits for. The first time that a step waits, it makes a version; the step stays
 * where it is, therefore later questions do not, unless this call has set something that the versions do not have yet.
 * Returns what is stored then: others may have asked and answered too.
 */
const wait = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { asked, events, position }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<SavedPosition<S>, StepsError> {
  const waiting = { ...position, questions: [...position.questions, ...asked] }
  const hasVersion = waiting._tag === "Saved" && hasSettings(run, waiting) &&
    (waiting.head.pendingInterrupts.length > 0 || asked.length === 0)
  const saved = hasVersion ? waiting : yield* saveReached(run, waiting)
  if (hasVersion) yield* saveProgress(run, waiting, asked)
  const stored = yield* storedPosition(run, saved)
  const ids = new Set(asked.map(({ interruptId }) => interruptId))
  const raised = stored.questions.filter(({ interruptId }) => ids.has(interruptId))
  yield* restore(emitAll(run.emit, [
    ...events,
    ...hasVersion ? [] : [{ _tag: "CheckpointSaved" as const, checkpoint: saved.head }],
    ...raised.map((question) => ({ _tag: "InterruptRaised" as const, interrupt: toPending(saved.head, question) }))
  ]))
  return stored
})

/** Whether the newest version has what this call has set. */
const hasSettings = <S, U, E, R>(
  { settings }: RunContext<S, U, E, R>,
  { head, metadata }: SavedPosition<S>
): boolean => Json.equals(withMetadata(settings, head, metadata), head.metadata)

/** A position with what belongs to its step now. */
const storedPosition = Effect.fnUntraced(function*<S, U, E, R>(
  { view }: RunContext<S, U, E, R>,
  { head, metadata }: SavedPosition<S>
): Effect.fn.Return<SavedPosition<S>, StepsError> {
  const step = yield* view.step(head)
  if (!step.ended) return savedPosition(head, metadata, step)
  const { namespace, threadId, version } = head
  const [newest] = yield* view.listVersions(threadId, { limit: 1 })
  return yield* new VersionConflict({ threadId, namespace, expected: version, actual: newest?.version ?? 0 })
})

/** Whether questions have answers that a position did not know of. */
const isAnswered = <S>(before: ReadonlyArray<Question>, { questions }: SavedPosition<S>): boolean =>
  questions.some(({ interruptId, response }) =>
    response !== undefined && before.some((known) => known.interruptId === interruptId && isOpen(known))
  )

/** Saves the position where a run ends, if it is not saved yet. */
const endRun = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { events, position }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<RunResult<S, string>, StepsError> {
  const { emit, settings } = run
  const saved = position._tag === "Saved" ? position : yield* saveReached(run, position)
  yield* restore(emitAll(emit, [
    ...events,
    ...position._tag === "Saved" ? [] : [{ _tag: "CheckpointSaved" as const, checkpoint: saved.head }]
  ]))
  return yield* resultAt(settings.maxSteps, saved)
})

/** Saves the position where the next step begins, if `durability` is `"step"`. */
const saveArrival = Effect.fnUntraced(function*<S, U, E, R>(
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

/** Runs a step. If tasks ask, the run stays where it is; otherwise it advances. */
const takeStep = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  position: Position<S>,
  restore: Restore
): Effect.fn.Return<Arrival<S, U>, E | StepsError, R> {
  const { graph, runId, settings } = run
  const guarded = savingOnFailure(run, position, restore)
  const { eventsAfterSave, outcomes } = yield* guarded(runStep(run, position, restore))
  const asking = outcomes.filter((outcome) => outcome._tag === "Asked")
  if (asking.length > 0) {
    const known = new Set(position.questions.map(({ interruptId }) => interruptId))
    const asked = asking.flatMap(({ questions }) => questions).filter(({ interruptId }) => !known.has(interruptId))
    return { position, asked, waits: true, events: eventsAfterSave }
  }
  const returned = outcomes.filter((outcome) => outcome._tag === "Returned")
  yield* guarded(checkConflicts(run, position, returned, restore(emitAll(run.emit, eventsAfterSave))))
  const next = yield* guarded(advance(graph, settings, runId, position, returned))
  yield* Metric.update(Metrics.graphSteps, 1)
  const after = pauseAfter(next, settings.interruptAfter)
  const asked = after.length > 0 ? after : pauseInsteadOfStop(next, settings.strategy)
  return { position: next, asked, waits: asked.length > 0, events: eventsAfterSave }
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
