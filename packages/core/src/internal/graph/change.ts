import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import { baseOf, type Meta, metadataOf, ownMeta } from "./meta.ts"
import type { ResumeOptions, RunError } from "./model.ts"
import type { Answer } from "./question.ts"
import { type Running, tellSaved } from "./running.ts"
import { read } from "./thread.ts"

/** What is saved before a run goes on: a copy of an earlier version, an answer, another state, other nodes. */

/** A copy of an earlier version as the newest one, from which a run goes on otherwise. */
export const branch = Effect.fnUntraced(function*<S, U, E, R>(
  { graph, metadata, tell, threadId, view }: Running<S, U, E, R>,
  target: Checkpoint<S>,
  invocation?: string | undefined
): Effect.fn.Return<Checkpoint<S>, RunError> {
  const { base: _, ...meta } = yield* ownMeta(graph, target)
  const restored = yield* view.restore(threadId, { version: target.version }, {
    metadata: metadataOf(metadata, target, {
      ...meta,
      source: "branch",
      writers: [],
      ...(invocation === undefined ? {} : { invocation })
    }),
    writes: yield* view.writes(target)
  })
  return yield* tellSaved(tell, restored)
})

/** What the caller has to say. */
export interface Changes<U> extends Pick<ResumeOptions<U, string, never>, "update" | "next"> {
  readonly answer?: Pick<Answer, "interruptId" | "response"> | undefined
}

/** How often a change is tried to be saved while the thread moves for other reasons. */
const maxConflicts = 20

/**
 * Saves what the caller has to say: an answer, if nobody was faster with it, another state, or other nodes to go on
 * with. An answer is tried again where the thread has moved and asks the same still, with a state that somebody has
 * corrected.
 */
export const change = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  from: Checkpoint<S>,
  changes: Changes<U>
): Effect.fn.Return<Checkpoint<S>, RunError | InterruptAlreadyResolved> {
  const { answer, next, update } = changes
  if (answer === undefined && next === undefined && update === undefined) return from
  const { graph, tell, view } = running
  let head = from
  for (let conflicts = 0;; conflicts++) {
    const meta = yield* ownMeta(graph, head)
    const saved = yield* Effect.result(view.put(changed(running, head, meta, changes)))
    if (Result.isSuccess(saved)) return yield* tellSaved(tell, saved.success)
    if (answer === undefined || saved.failure._tag !== "VersionConflict" || conflicts === maxConflicts) {
      return yield* Effect.fail(saved.failure)
    }
    head = yield* read(running, undefined)
    if (Option.getOrUndefined(head.pendingInterrupt)?.interruptId !== answer.interruptId) {
      return yield* alreadyResolved(head, answer.interruptId)
    }
  }
})

/** The version that follows upon a checkpoint by what the caller has to say. */
const changed = <S, U, E, R>(
  { graph, metadata, runId }: Pick<Running<S, U, E, R>, "graph" | "metadata" | "runId">,
  head: Checkpoint<S>,
  { asked, branches, ...meta }: Meta,
  { answer, next, update }: Changes<U>
) => {
  const isAsking = asked !== undefined && answer === undefined && next === undefined
  return {
    parent: head,
    state: update === undefined ? head.state : graph.reduce(head.state, update),
    nextNodes: next === undefined ? head.nextNodes : Array.from(new Set(next)),
    pendingInterrupt: isAsking ? Option.getOrUndefined(head.pendingInterrupt) : undefined,
    metadata: metadataOf(metadata, head, {
      ...meta,
      source: answer === undefined ? "edit" : "answer",
      writers: [],
      base: next === undefined ? baseOf(head, meta) : `${runId}/${meta.step}`,
      ...(isAsking ? { asked } : {}),
      ...(branches === undefined || next !== undefined ? {} : { branches })
    }),
    writes: answer === undefined || asked === undefined ? {} : { [asked.key]: answerOf(asked, answer) },
    keepsWrites: next === undefined,
    resolvesInterrupt: Option.isSome(head.pendingInterrupt)
  }
}

const answerOf = (
  { kind, node, within }: NonNullable<Meta["asked"]>,
  answer: Pick<Answer, "interruptId" | "response">
): Answer => ({ ...answer, kind, node, ...(within === undefined ? {} : { within }) })

export const alreadyResolved = (
  { namespace, threadId, version }: CheckpointInfo,
  interruptId: string | undefined
): InterruptAlreadyResolved => new InterruptAlreadyResolved({ threadId, namespace, version, interruptId })
