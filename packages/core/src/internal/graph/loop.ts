import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Metrics from "../metrics.ts"
import { advance } from "./advance.ts"
import type { Event, RunError, RunResult } from "./model.ts"
import { pauseAfter, pauseBefore } from "./pause.ts"
import { type Position, save } from "./position.ts"
import type { Question } from "./question.ts"
import { type Running, tellAll, tellSaved } from "./running.ts"
import { pendingOf, resultOf } from "./status.ts"
import { type Restore, runNodes } from "./step.ts"

/** Where a run has come to, what it is to wait for there, and the events that are to be told after the next save. */
interface Arrival<S, U> {
  readonly position: Position<S>
  readonly question: Question | undefined
  readonly untold: ReadonlyArray<Event<S, U, string>>
}

/**
 * Runs step after step, until nothing is left to run, a question is to be waited for, or the steps are used up. Interrupted
 * is a run only while its nodes run and while somebody is told.
 */
export const drive = <S, U, E, R>(
  running: Running<S, U, E, R>,
  from: Position<S>
): Effect.Effect<RunResult<S, string>, E | RunError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { settings } = running
      let arrival: Arrival<S, U> = { position: from, question: undefined, untold: [] }
      for (let steps = 0; steps < settings.maxSteps; steps++) {
        const question: Question | undefined = arrival.question ??
          pauseBefore(arrival.position, settings.interruptBefore)
        if (question !== undefined || arrival.position.next.length === 0) {
          return yield* end(running, { ...arrival, question }, restore)
        }
        const position: Position<S> = yield* goOn(running, arrival, restore)
        arrival = yield* runStep(running, position, restore)
      }
      return yield* end(running, arrival, restore)
    })
  )

/** Saves where a run ends, and tells of it. */
const end = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  { position, question, untold }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<RunResult<S, string>, RunError> {
  const { graph, settings, tell } = running
  const events: Array<Event<S, U, string>> = [...untold]
  const isSaved = position._tag === "Saved" && question === undefined
  const saved = isSaved ? position : yield* save(running, position, question)
  if (!isSaved) events.push({ _tag: "CheckpointSaved", checkpoint: saved.head })
  if (question !== undefined) {
    const raised = Option.toArray(pendingOf(graph, saved.head))
    events.push(...raised.map((interrupt) => ({ _tag: "InterruptRaised" as const, interrupt })))
  }
  yield* restore(tellAll(tell, events))
  return yield* resultOf(graph, settings.maxSteps, saved)
})

/** Saves where a run goes on from, if each step is to be saved, and tells what is untold. */
const goOn = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  { position, untold }: Arrival<S, U>,
  restore: Restore
): Effect.fn.Return<Position<S>, RunError> {
  const { settings: { durability }, tell } = running
  if (position._tag === "Saved" || durability === "exit") {
    yield* guarded(running, position, restore)(restore(tellAll(tell, untold)))
    return position
  }
  const saved = yield* save(running, position)
  yield* restore(tellAll(tell, [...untold, { _tag: "CheckpointSaved", checkpoint: saved.head }]))
  return saved
})

/** Runs a step, and comes to where it leads; or stays, where one of its nodes asks. */
const runStep = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  position: Position<S>,
  restore: Restore
): Effect.fn.Return<Arrival<S, U>, E | RunError, R> {
  const { graph, runId, settings } = running
  const guard = guarded(running, position, restore)
  const { outcomes, untold } = yield* guard(runNodes(running, position, restore))
  const asking = outcomes.find((outcome) => outcome._tag === "Asked")
  if (asking !== undefined) return { position, question: asking.question, untold }
  const returned = outcomes.filter((outcome) => outcome._tag === "Returned")
  const next = yield* guard(advance(graph, settings.strategy, runId, position, returned))
  yield* Metric.update(Metrics.graphSteps, 1)
  return { position: next, question: pauseAfter(next, settings.interruptAfter), untold }
})

/** What may fail: what was done before, and is not saved, is saved then. */
const guarded = <S, U, E, R>(
  running: Running<S, U, E, R>,
  position: Position<S>,
  restore: Restore
) =>
<A, E2, R2>(effect: Effect.Effect<A, E2, R2>): Effect.Effect<A, E2 | RunError, R2> =>
  position._tag === "Saved" ? effect : Effect.onExit(effect, (exit) =>
    Exit.isSuccess(exit)
      ? Effect.void
      : Effect.flatMap(
        save(running, position),
        ({ head }) => Effect.asVoid(Effect.exit(restore(tellSaved(running.tell, head))))
      ))
