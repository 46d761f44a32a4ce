import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Struct from "effect/Struct"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import { type Metadata, stepIdOf, withMetadata } from "./metadata.ts"
import { checkResumable, ownMetadata } from "./mismatch.ts"
import type { ResumeOptions, StepsError } from "./model.ts"
import type { Answer } from "./question.ts"
import { emitSaved, type RunContext } from "./runContext.ts"
import { readVersion } from "./thread.ts"

/** What `resume` saves before the run continues: a branch, an answer, an update, other next nodes. */

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
export interface Changes<U> extends Pick<ResumeOptions<U, string, never>, "update" | "next"> {
  readonly answer?: Pick<Answer, "interruptId" | "response"> | undefined
}

/** How many times an answer is saved again after a conflict. */
const maxConflicts = 20

/**
 * Saves changes as the next version of a thread. After a conflict, for example with an edit of the state, an answer is
 * saved again if the thread still waits for it.
 */
export const saveChanges = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  from: Checkpoint<S>,
  changes: Changes<U>
): Effect.fn.Return<Checkpoint<S>, StepsError | InterruptAlreadyResolved> {
  const { answer, next, update } = changes
  if (answer === undefined && next === undefined && update === undefined) return from
  let head = from
  for (let conflicts = 0;; conflicts++) {
    const metadata = yield* ownMetadata(run.graph, head)
    const saved = yield* Effect.result(run.view.put(changedVersion(run, head, metadata, changes)))
    if (Result.isSuccess(saved)) return yield* emitSaved(run.emit, saved.success)
    if (answer === undefined || saved.failure._tag !== "VersionConflict" || conflicts === maxConflicts) {
      return yield* Effect.fail(saved.failure)
    }
    head = yield* readVersion(run)
    if (!head.pendingInterrupts.some(({ interruptId }) => interruptId === answer.interruptId)) {
      return yield* alreadyResolved(head, answer.interruptId)
    }
    yield* checkResumable(run.graph, head, head.nextNodes)
  }
})

/** The next version of a thread with the changes. Without `next` it belongs to the same step. */
const changedVersion = <S, U, E, R>(
  { graph, runId, settings }: Pick<RunContext<S, U, E, R>, "graph" | "runId" | "settings">,
  head: Checkpoint<S>,
  { question, stopped, ...metadata }: Metadata,
  { answer, next, update }: Changes<U>
) => {
  const isStillAsking = question !== undefined && answer === undefined && next === undefined
  return {
    parent: head,
    state: update === undefined ? head.state : graph.reduce(head.state, update),
    nextNodes: next === undefined ? head.nextNodes : Array.from(new Set(next)),
    pendingInterrupts: isStillAsking ? head.pendingInterrupts : [],
    metadata: withMetadata(settings, head, {
      ...metadata,
      cause: answer === undefined ? "edit" : "answer",
      completedNodes: [],
      stepId: next === undefined ? stepIdOf(head, metadata) : `${runId}/${metadata.step}`,
      ...(isStillAsking ? { question } : {}),
      ...(stopped === undefined || next !== undefined ? {} : { stopped })
    }),
    step: {
      pendingWrites: answer === undefined || question === undefined
        ? {}
        : { [question.writeKey]: storedAnswer(head, question, answer) },
      change: next === undefined ? "Continues" : "Ends"
    } as const
  }
}

/** An answer with its question, because the node may ask something else when it runs again. */
const storedAnswer = (
  { pendingInterrupts: [pending] }: CheckpointInfo,
  question: NonNullable<Metadata["question"]>,
  { interruptId, response }: Pick<Answer, "interruptId" | "response">
): Answer => ({ ...Struct.omit(question, ["writeKey"]), request: pending!.request, interruptId, response })

export const alreadyResolved = (
  { namespace, threadId, version }: CheckpointInfo,
  interruptId: string | undefined
): InterruptAlreadyResolved => new InterruptAlreadyResolved({ threadId, namespace, version, interruptId })
