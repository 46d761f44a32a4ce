import * as Effect from "effect/Effect"
import type { RunEvent, StepsError } from "./model.ts"
import { makeOnce } from "./once.ts"
import type { Position } from "./position.ts"
import { isOpen, waits } from "./question.ts"
import { recording } from "./recording.ts"
import {
  type Asked,
  decodeUpdate,
  encodeUpdate,
  type Returned,
  runTask,
  type Step,
  type TaskOutcome,
  type TaskRun
} from "./task.ts"
import { updateKey } from "./updateKey.ts"

/** Runs the tasks of a step, and stores the updates of those that finish before the step does. */

export interface StepOutcome<S, U> {
  /** How the tasks ended, in the order of the nodes. */
  readonly outcomes: ReadonlyArray<TaskOutcome<U>>
  /** Events to emit after the next save, which stores what they report. */
  readonly eventsAfterSave: ReadonlyArray<RunEvent<S, U, string>>
}

/** Makes a part of an uninterruptible effect interruptible. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Once every task has returned or asked, the step is complete, and an interruption does not undo it. */
export const runStep = <S, U, E, R>(
  run: TaskRun<S, U, E, R>,
  position: Position<S>,
  restore: Restore
): Effect.Effect<StepOutcome<S, U>, E | StepsError, R> => {
  const { head, metadata, nextNodes, questions, state, stepId } = position
  const once = makeOnce(run, position)
  const step: Step<S> = {
    id: stepId,
    number: metadata.step + 1,
    state,
    version: head?.version ?? 0,
    questions,
    once
  }
  return nextNodes.length === 1
    ? Effect.map(recording(run, position, nextNodes[0]!)(restore(runTask(run, step, nextNodes[0]!))), (outcome) => ({
      outcomes: [outcome],
      eventsAfterSave: outcome._tag === "Returned" ? [nodeFinished(step, outcome)] : []
    }))
    : runTasks(run, position, step, restore)
}

const nodeFinished = <S, U>({ number }: Step<S>, { node, update }: Returned<U>): RunEvent<S, U, string> => ({
  _tag: "NodeFinished",
  node,
  step: number,
  update
})

/** Runs the tasks of a step, except those that returned when it ran before, and those that wait for an answer. */
const runTasks = Effect.fnUntraced(function*<S, U, E, R>(
  run: TaskRun<S, U, E, R>,
  position: Position<S>,
  step: Step<S>,
  restore: Restore
): Effect.fn.Return<StepOutcome<S, U>, E | StepsError, R> {
  const { emit, graph, settings: { concurrency }, threadId, view } = run
  const { nextNodes, pendingWrites, questions } = position
  const location = { threadId, namespace: view.namespace, version: step.version }
  const outcomes = new Map<string, TaskOutcome<U>>()
  const eventsAfterSave: Array<RunEvent<S, U, string>> = []
  const asked = (node: string): Asked => ({
    _tag: "Asked",
    node,
    questions: questions.filter((question) => question.about.node === node && isOpen(question))
  })
  let unfinished = nextNodes.filter((node) =>
    pendingWrites[updateKey(node)] === undefined && !waits(questions, node)
  ).length

  // Stores an update at once, so that the task does not run again if another one fails.
  const keepUpdate = Effect.fnUntraced(function*(outcome: Returned<U>, restore: Restore) {
    const key = updateKey(outcome.node)
    const write = yield* encodeUpdate(graph.update, location, outcome)
    const isLast = unfinished === 0
    if (position._tag === "Saved" && !isLast) yield* view.savePendingWrites(position.head, { [key]: write })
    else position.unstored.add(key)
    pendingWrites[key] = write
    outcomes.set(outcome.node, outcome)
    // The version that completes the step holds the update of the last task.
    if (position._tag === "Saved" && isLast) eventsAfterSave.push(nodeFinished(step, outcome))
    else yield* restore(emit(nodeFinished(step, outcome)))
  })

  const runOne = (node: string) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(recording(run, position, node)(restore(runTask(run, step, node))), (outcome) => {
        unfinished--
        return outcome._tag === "Returned"
          ? keepUpdate(outcome, restore)
          : Effect.sync(() => void outcomes.set(node, outcome))
      })
    )

  const runOrRead = (node: string): Effect.Effect<void, E | StepsError, R> => {
    const write = pendingWrites[updateKey(node)]
    if (write === undefined && waits(questions, node)) return Effect.sync(() => void outcomes.set(node, asked(node)))
    return write === undefined
      ? runOne(node)
      : Effect.map(
        decodeUpdate(graph.update, { ...location, node }, write),
        (outcome) => void outcomes.set(node, outcome)
      )
  }

  yield* Effect.forEach(nextNodes, runOrRead, { concurrency, discard: true }).pipe(
    restore,
    Effect.catchCause((cause) => outcomes.size === nextNodes.length ? Effect.void : Effect.failCause(cause))
  )
  return { outcomes: nextNodes.map((node) => outcomes.get(node)!), eventsAfterSave }
})
