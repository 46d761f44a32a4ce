import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { Checkpoint } from "../../Checkpoint.ts"
import { VersionConflict } from "../../CheckpointError.ts"
import type { StepState } from "../../View.ts"
import { type Metadata, stepIdOf, withMetadata } from "./metadata.ts"
import type { StepsError } from "./model.ts"
import { isOpen, isPause, ofStep, type Question, toStored, waits } from "./question.ts"
import type { Thread } from "./thread.ts"
import { updateKey } from "./updateKey.ts"

/*
 * Where a run is. The newest checkpoint of a thread holds it: the state, the nodes of the next step, and the rest in
 * the metadata. The results of tasks of that step and their questions belong to the step, whichever of its versions is
 * the newest.
 */

export type Position<S> = SavedPosition<S> | UnsavedPosition<S>

interface Place<S> {
  readonly state: S
  /** The nodes of the next step. */
  readonly nextNodes: ReadonlyArray<string>
  readonly metadata: Metadata
  /** The id of the next step. */
  readonly stepId: string
  /** The pending writes of the next step. Its tasks add to them. */
  readonly pendingWrites: Record<string, Schema.Json>
  /** The keys of those that are not stored. */
  readonly unstored: Set<string>
  /** The questions of the next step. */
  readonly questions: ReadonlyArray<Question>
}

/** A position that the newest version of the thread holds. */
export interface SavedPosition<S> extends Place<S> {
  readonly _tag: "Saved"
  readonly head: Checkpoint<S>
}

/** A position that no version holds yet. */
export interface UnsavedPosition<S> extends Place<S> {
  readonly _tag: "Unsaved"
  /** The newest version of the thread, or `undefined` if it has none. */
  readonly head: Checkpoint<S> | undefined
  /** Whether the step of the newest version may have results that are stored. */
  readonly endsStep: boolean
}

/** A new position, at which a step with a new id begins. */
export const unsavedPosition = <S>(
  runId: string,
  { endsStep, head, metadata, nextNodes, state }: Pick<
    UnsavedPosition<S>,
    "head" | "endsStep" | "state" | "nextNodes" | "metadata"
  >
): UnsavedPosition<S> => ({
  _tag: "Unsaved",
  head,
  endsStep,
  state,
  nextNodes,
  metadata,
  stepId: `${runId}/${metadata.step}`,
  pendingWrites: {},
  unstored: new Set(),
  questions: []
})

/** The position that a checkpoint holds. */
export const savedPosition = <S>(
  head: Checkpoint<S>,
  metadata: Metadata,
  { pendingWrites, questions }: Pick<StepState, "pendingWrites" | "questions">
): SavedPosition<S> => ({
  _tag: "Saved",
  head,
  state: head.state,
  nextNodes: head.nextNodes,
  metadata,
  stepId: stepIdOf(head, metadata),
  pendingWrites: { ...pendingWrites },
  unstored: new Set(),
  questions: ofStep(questions)
})

/** Whether nothing can run before an answer: a pause, or a question of every task that has not returned. */
export const isWaiting = (
  { nextNodes, pendingWrites, questions }: Pick<Place<unknown>, "nextNodes" | "questions"> & {
    readonly pendingWrites: Schema.JsonObject
  }
): boolean =>
  questions.some((question) => isPause(question) && isOpen(question)) ||
  (nextNodes.length > 0 &&
    nextNodes.every((node) => pendingWrites[updateKey(node)] !== undefined || waits(questions, node)) &&
    nextNodes.some((node) => waits(questions, node)))

/** What the keys of pending writes begin with that hold results of `once`. */
export const onceKeyPrefix = "once:"

/** Whether the store has, or may have, results of the step. */
export const hasStoredWrites = <S>(position: Position<S>): boolean =>
  (position._tag === "Unsaved" && position.endsStep) ||
  Object.keys(position.pendingWrites).some((key) =>
    // A result of `once` that could not be stored for certain may be there.
    !position.unstored.has(key) || (position._tag === "Saved" && key.startsWith(onceKeyPrefix))
  )

/** Saves what a step that stays where it is has done, without another version. */
export const saveProgress = Effect.fnUntraced(function*<S>(
  { view }: Thread<S>,
  position: SavedPosition<S>,
  asked: ReadonlyArray<Question>
): Effect.fn.Return<void, StepsError> {
  const { head, pendingWrites, unstored } = position
  if (unstored.size > 0) yield* view.savePendingWrites(head, Struct.pick(pendingWrites, Array.from(unstored)))
  unstored.clear()
  if (asked.length > 0) yield* view.ask(head, asked.map(toStored))
})

/** Saves a position as the next version, with its questions. */
export const savePosition = Effect.fnUntraced(function*<S>(
  { settings, threadId, view }: Thread<S>,
  position: Position<S>
): Effect.fn.Return<SavedPosition<S>, StepsError> {
  const { head, nextNodes, state, stepId } = position
  const pendingWrites = Struct.pick(position.pendingWrites, Array.from(position.unstored))
  const metadata: Metadata = {
    ...position.metadata,
    stepId,
    ...(position._tag === "Saved" ? { cause: "interrupt", completedNodes: [] } : {})
  }
  const content = {
    state,
    nextNodes,
    pendingInterrupts: position.questions.filter(isOpen).map(toStored),
    metadata: withMetadata(settings, head, metadata)
  }
  const saved = yield* head === undefined
    ? Effect.catchTag(
      view.create({ threadId, ...content, step: { pendingWrites } }),
      "ThreadExists",
      (exists) =>
        Effect.fail(
          new VersionConflict({ threadId, namespace: view.namespace, expected: 0, actual: exists.version })
        )
    )
    : view.put({
      parent: head,
      ...content,
      step: {
        pendingWrites,
        change: position._tag === "Saved" ? "Continues" : position.endsStep ? "Ends" : "Begins"
      }
    })
  return { ...position, _tag: "Saved", head: saved, metadata, unstored: new Set() }
})

/**
 * Saves a position that a run has reached. If the results or the questions of its step are too large, it is saved without
 * them, and fails: otherwise the steps before would be lost too.
 */
export const saveReached = <S>(
  thread: Thread<S>,
  position: Position<S>
): Effect.Effect<SavedPosition<S>, StepsError> => {
  const without = <E>(error: E) =>
    Effect.andThen(
      savePosition(thread, { ...position, pendingWrites: {}, unstored: new Set(), questions: [] }),
      Effect.fail(error)
    )
  const saved = savePosition(thread, position)
  return position._tag === "Saved" ? saved : Effect.catchTags(saved, {
    StateTooLarge: (error) => error.tasks === undefined ? Effect.fail(error) : without(error),
    InvalidInput: (error) => error.field === "pendingInterrupts" ? without(error) : Effect.fail(error)
  })
}
