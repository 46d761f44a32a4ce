import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import { stepIdOf, withMetadata } from "./metadata.ts"
import { ownMetadata } from "./mismatch.ts"
import type { ResumeOptions, StepsError } from "./model.ts"
import { type Question, toStored } from "./question.ts"
import { emitSaved, type RunContext } from "./runContext.ts"

/** What `resume` saves as a version before the run continues: a branch, an update, other next nodes. */

/** Copies an earlier version as the newest one. */
export const saveBranch = Effect.fnUntraced(function*<S, U, E, R>(
  { emit, graph, settings, threadId, view }: RunContext<S, U, E, R>,
  target: Checkpoint<S>
): Effect.fn.Return<Checkpoint<S>, StepsError> {
  const metadata = yield* ownMetadata(graph, target)
  const restored = yield* view.restore(threadId, { version: target.version }, {
    metadata: withMetadata(settings, target, { ...metadata, cause: "branch", completedNodes: [] })
  })
  return yield* emitSaved(emit, restored)
})

/** What the caller of `resume` changes. */
export type Changes<U> = Pick<ResumeOptions<U, string, never>, "update" | "next">

/** Saves changes as the next version of a thread. Without `next` it belongs to the same step, with its open questions. */
export const saveChanges = Effect.fnUntraced(function*<S, U, E, R>(
  { emit, graph, runId, settings, view }: RunContext<S, U, E, R>,
  head: Checkpoint<S>,
  open: ReadonlyArray<Question>,
  { next, update }: Changes<U>
): Effect.fn.Return<Checkpoint<S>, StepsError> {
  if (next === undefined && update === undefined) return head
  const { stopped, ...metadata } = yield* ownMetadata(graph, head)
  const saved = yield* view.put({
    parent: head,
    state: update === undefined ? head.state : graph.reduce(head.state, update),
    nextNodes: next === undefined ? head.nextNodes : Array.from(new Set(next)),
    pendingInterrupts: next === undefined ? open.map(toStored) : [],
    metadata: withMetadata(settings, head, {
      ...metadata,
      cause: "edit",
      completedNodes: [],
      stepId: next === undefined ? stepIdOf(head, metadata) : `${runId}/${metadata.step}`,
      ...(stopped === undefined || next !== undefined ? {} : { stopped })
    }),
    step: { change: next === undefined ? "Continues" : "Ends" }
  })
  return yield* emitSaved(emit, saved)
})
