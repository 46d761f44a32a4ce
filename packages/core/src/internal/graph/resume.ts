import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import {
  type GraphMismatch,
  type InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse
} from "../../CheckpointError.ts"
import { alreadyResolved, type Changes, saveBranch, saveChanges } from "./change.ts"
import { checkNodes, type Graph } from "./definition.ts"
import { runLoop } from "./loop.ts"
import { isStopped, type Metadata } from "./metadata.ts"
import { checkResumable, outermostMetadata, ownMetadata, requireKind, requirePendingInterrupt } from "./mismatch.ts"
import type { ResumeError, ResumeOptions, RunResult, StepsError } from "./model.ts"
import { savedPosition } from "./position.ts"
import { annotateSpan, type Emit, makeRunContext, type RunContext } from "./runContext.ts"
import { checkSettings, resolveSettings } from "./settings.ts"
import { interruptedResult } from "./status.ts"
import { readVersion, viewOf } from "./thread.ts"

/** Continues a run from the newest version of its thread, or from an earlier one as a branch. */
export const resume = Effect.fn("StateGraph.resume")(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  options: ResumeOptions<U, string, unknown>,
  emit: Emit<S, U>
): Effect.fn.Return<
  RunResult<S, string>,
  E | ResumeError,
  R | Checkpointer
> {
  const { checkpointId, next, response, threadId, update, version } = options
  yield* annotateSpan(graph, threadId)
  yield* checkSettings(graph, options)
  const view = yield* viewOf(graph)
  if (next !== undefined) {
    yield* checkNodes(graph, "next", next)
    if (response !== undefined) {
      yield* new InvalidInput({
        field: "response",
        problem: "next drops the pending interrupt; pass either next or a response"
      })
    }
  }
  // Everything is checked before anything is written.
  const selector = version !== undefined ? { version } : checkpointId !== undefined ? { checkpointId } : undefined
  const target = yield* readVersion({ threadId, view }, selector)
  const metadata = yield* outermostMetadata(graph, target)
  if (next === undefined) yield* checkResumable(graph, target, target.nextNodes)
  const field = update === undefined ? undefined : graph.unknownField(update, target.state)
  if (field !== undefined) {
    yield* new InvalidInput({ field: "update", problem: `it has the field "${field}", which its schema does not have` })
  }
  const answered = yield* encodeResponse(graph, target, options)
  const hasStopped = isStopped(target, metadata)
  const settings = resolveSettings(graph, options, earlierSettings(metadata, hasStopped))
  const run = yield* makeRunContext(graph, view, threadId, settings, emit)
  const head = selector === undefined ? target : yield* saveBranch(run, target)
  const answer = answered === undefined ? undefined : answerTo(head, answered)
  // To continue a run that stopped is a change of its own: if it crashes then, it is no longer one that stopped.
  return yield* changeAndContinue(run, head, {
    answer,
    next: next ?? (hasStopped ? head.nextNodes : undefined),
    update
  })
})

/** What the earlier calls of a run set. A strategy that stopped the run would stop it again. */
const earlierSettings = ({ settings = {} }: Metadata, hasStopped: boolean): NonNullable<Metadata["settings"]> =>
  hasStopped ? Struct.omit(settings, ["strategy"]) : settings

/**
 * Encodes the response, if there is one. `undefined` is one if the question accepts it, or if the options name the
 * question.
 */
const encodeResponse = <S, U, E, R>(
  graph: Graph<S, U, E, R>,
  target: Checkpoint<S>,
  options: Pick<ResumeOptions<U, string, unknown>, "interruptId" | "next" | "response">
): Effect.Effect<Schema.Json | undefined, InterruptAlreadyResolved | GraphMismatch | InvalidResponse> => {
  const { interruptId, next, response } = options
  const isGiven = response !== undefined || ("response" in options && next === undefined && interruptId !== undefined)
  if (isGiven) return encodeAnswer(graph, target, interruptId, response)
  return "response" in options && next === undefined && target.pendingInterrupts.length > 0
    ? Effect.catchTag(encodeAnswer(graph, target, undefined, undefined), "InvalidResponse", () => Effect.undefined)
    : Effect.undefined
}

/** Encodes a response to the question that a checkpoint waits for. */
const encodeAnswer = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  head: Checkpoint<S>,
  interruptId: string | undefined,
  response: unknown
): Effect.fn.Return<Schema.Json, InterruptAlreadyResolved | GraphMismatch | InvalidResponse> {
  const { namespace, threadId } = head
  const pending = head.pendingInterrupts.length === 0 ? undefined : yield* requirePendingInterrupt(graph, head)
  if (pending === undefined || (interruptId ?? pending.interruptId) !== pending.interruptId) {
    return yield* alreadyResolved(head, interruptId)
  }
  const kind = yield* requireKind(graph, head, pending)
  return yield* Effect.mapError(kind.response.encode(response), (cause) =>
    new InvalidResponse({
      threadId,
      namespace,
      interruptId: pending.interruptId,
      kind: kind.name,
      problem: cause.message,
      cause
    }))
})

/** A response as the answer to the question that a checkpoint waits for. Its copy has another id. */
const answerTo = (
  { pendingInterrupts: [pending] }: CheckpointInfo,
  response: Schema.Json
): NonNullable<Changes<unknown>["answer"]> => ({ interruptId: pending!.interruptId, response })

/** Saves changes to a checkpoint, and continues from there unless it still waits for an answer. */
export const changeAndContinue = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  from: Checkpoint<S>,
  changes: Changes<U>
): Effect.fn.Return<RunResult<S, string>, E | StepsError | InterruptAlreadyResolved, R> {
  const { graph, view } = run
  const head = yield* saveChanges(run, from, changes)
  if (head.pendingInterrupts.length > 0) return yield* interruptedResult(graph, head)
  const metadata = yield* ownMetadata(graph, head)
  const pendingWrites = head.nextNodes.length === 0 ? {} : yield* view.pendingWrites(head)
  return yield* runLoop(run, savedPosition(head, metadata, pendingWrites))
})
