import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Checkpoint } from "../../Checkpoint.ts"
import { baseOf, type Meta, metadataOf } from "./meta.ts"
import type { RunError } from "./model.ts"
import type { Question } from "./question.ts"
import type { Thread } from "./thread.ts"

/*
 * The thread's newest checkpoint says all there is to know of a run: the state, what is to be run next, and in the
 * metadata what is in `Meta`. Beside it are the pending writes of the step that begins there: what its nodes have
 * returned, and what was answered.
 */

/** Where a run is. */
export type Position<S> = Saved<S> | Unsaved<S>

interface At<S> {
  readonly state: S
  readonly next: ReadonlyArray<string>
  readonly meta: Meta
  readonly base: string
  /** The pending writes of the step, to which its nodes add. */
  readonly done: Record<string, Schema.Json>
}

/** A position that the newest version of the thread has. */
export interface Saved<S> extends At<S> {
  readonly _tag: "Saved"
  readonly head: Checkpoint<S>
}

/** A position after the newest version; nothing has been saved of a thread that has none. */
export interface Unsaved<S> extends At<S> {
  readonly _tag: "Unsaved"
  readonly head: Checkpoint<S> | undefined
}

/** A position that is not saved yet, and the name of the step that begins there. */
export const unsaved = <S>(
  runId: string,
  head: Checkpoint<S> | undefined,
  state: S,
  next: ReadonlyArray<string>,
  meta: Meta
): Unsaved<S> => ({ _tag: "Unsaved", head, state, next, meta, base: `${runId}/${meta.step}`, done: {} })

/** The position of a checkpoint, with the pending writes of the step that begins there. */
export const ofCheckpoint = <S>(head: Checkpoint<S>, meta: Meta, done: Schema.JsonObject): Saved<S> => ({
  _tag: "Saved",
  head,
  state: head.state,
  next: head.nextNodes,
  meta,
  base: baseOf(head, meta),
  done: { ...done }
})

/** Saves where a run is, after what it has seen as the newest, and what it is to wait for. */
export const save = Effect.fnUntraced(function*<S>(
  { metadata, threadId, view }: Thread<S>,
  position: Position<S>,
  question?: Question | undefined
): Effect.fn.Return<Saved<S>, RunError> {
  const { base, done, head, next, state } = position
  const meta: Meta = {
    ...position.meta,
    base,
    ...(position._tag === "Saved" ? { source: "interrupt", writers: [] } : {}),
    ...(question === undefined ? {} : { asked: askedOf(question) })
  }
  const saved = yield* view.put({
    ...(head === undefined ? { threadId, expectedVersion: 0 } : { parent: head }),
    state,
    nextNodes: next,
    pendingInterrupt: question && { interruptId: question.interruptId, request: question.request },
    metadata: metadataOf(metadata, head, meta),
    writes: done
  })
  return { ...position, _tag: "Saved", head: saved, meta }
})

const askedOf = ({ key, kind, node, within }: Question): NonNullable<Meta["asked"]> => ({
  kind,
  node,
  key,
  ...(within === undefined ? {} : { within })
})
