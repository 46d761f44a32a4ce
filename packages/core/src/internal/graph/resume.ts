import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import {
  type InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse,
  type StateDecodeError
} from "../../CheckpointError.ts"
import { alreadyResolved, branch, change } from "./change.ts"
import { checkNodes, type Graph } from "./definition.ts"
import { drive } from "./loop.ts"
import { damaged, ownMeta } from "./meta.ts"
import type { ResumeOptions, RunError, RunResult } from "./model.ts"
import { ofCheckpoint } from "./position.ts"
import type { Answer } from "./question.ts"
import { annotate, make, type Running, type Tell } from "./running.ts"
import { pendingIn, waiting } from "./status.ts"
import { read, viewOf } from "./thread.ts"

/** Goes on with a run, from the newest version of its thread or as a branch of an earlier one. */
export const resume = Effect.fn("StateGraph.resume")(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  options: ResumeOptions<U, string, unknown>,
  tell: Tell<S, U>
): Effect.fn.Return<
  RunResult<S, string>,
  E | RunError | InterruptAlreadyResolved | InvalidResponse,
  R | Checkpointer
> {
  const { checkpointId, next, response, threadId, update, version } = options
  yield* annotate(graph, threadId)
  const running = yield* make(graph, yield* viewOf(graph), threadId, options, tell)
  if (next !== undefined) {
    yield* checkNodes(graph, "next", next)
    if (response !== undefined) {
      yield* new InvalidInput({ field: "response", reason: "with next, what is asked is left unanswered" })
    }
  }
  const selector = version !== undefined ? { version } : checkpointId !== undefined ? { checkpointId } : undefined
  const target = yield* read(running, selector)
  yield* check(graph, target, next ?? target.nextNodes)
  // Whatever is wrong is found before anything is written.
  const answer = response === undefined ? undefined : yield* answerTo(graph, target, options.interruptId, response)
  const head = selector === undefined ? target : yield* branch(running, target)
  return yield* proceed(running, yield* change(running, head, { answer, next, update }))
})

/** Fails if the graph cannot go on from there. */
export const check = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  head: Checkpoint<S>,
  next: ReadonlyArray<string>
): Effect.fn.Return<void, StateDecodeError> {
  yield* ownMeta(graph, head)
  const unknown = next.find((node) => !graph.nodes.has(node))
  if (unknown !== undefined) {
    yield* damaged(head, `it goes on with node "${unknown}", which graph "${graph.name}" does not have`)
  }
})

/** What a response is to what a checkpoint asks. */
const answerTo = Effect.fnUntraced(function*<S, U, E, R>(
  graph: Graph<S, U, E, R>,
  head: Checkpoint<S>,
  interruptId: string | undefined,
  response: unknown
): Effect.fn.Return<
  Pick<Answer, "interruptId" | "response">,
  InterruptAlreadyResolved | StateDecodeError | InvalidResponse
> {
  const pending = Option.isNone(head.pendingInterrupt) ? undefined : yield* pendingIn(graph, head)
  if (pending === undefined || (interruptId ?? pending.interruptId) !== pending.interruptId) {
    return yield* alreadyResolved(head, interruptId)
  }
  const kind = graph.interrupts.get(pending.kind)
  if (kind === undefined) {
    return yield* damaged(head, `it asks "${pending.kind}", which graph "${graph.name}" does not know`)
  }
  const json = yield* Effect.mapError(kind.response.encode(response), (cause) =>
    new InvalidResponse({
      threadId: head.threadId,
      namespace: head.namespace,
      interruptId: pending.interruptId,
      kind: kind.name,
      reason: cause.message,
      cause
    }))
  return { interruptId: pending.interruptId, response: json }
})

/** Goes on from a checkpoint, or says what it waits for. */
export const proceed = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  head: Checkpoint<S>
): Effect.fn.Return<RunResult<S, string>, E | RunError, R> {
  const { graph, view } = running
  if (Option.isSome(head.pendingInterrupt)) return yield* waiting(graph, head)
  const meta = yield* ownMeta(graph, head)
  const done = head.nextNodes.length === 0 ? {} : yield* view.writes(head)
  return yield* drive(running, ofCheckpoint(head, meta, done))
})
