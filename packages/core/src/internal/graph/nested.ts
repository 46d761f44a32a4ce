import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import * as Namespace from "../namespace.ts"
import { ownQuestion } from "./copied.ts"
import type { Definition } from "./definition.ts"
import { checkResumable, nestedMetadata, ownMetadata } from "./mismatch.ts"
import { internal, type NodeContext, type OuterTask, type RunResult, type Settings, type StepsError } from "./model.ts"
import { type Position, savePosition, unsavedPosition } from "./position.ts"
import { type Answer, nestedAnswerKey, type Question } from "./question.ts"
import { changeAndContinue } from "./resume.ts"
import { beginRun } from "./run.ts"
import { emitSaved, makeRunContext, type RunContext } from "./runContext.ts"
import { checkSettings, resolveNested } from "./settings.ts"
import { viewOf } from "./thread.ts"

/** Runs a graph in a task of another one until it ends. If it waits for an answer, the task waits too. */
export const runNested = Effect.fnUntraced(function*<S, Input, U, E, R>(
  definition: Definition<S, Input, U, E, R>,
  context: NodeContext,
  input: Input,
  options: Settings<string>
): Effect.fn.Return<S, E | StepsError | InterruptAlreadyResolved, R | Checkpointer> {
  const { namespace, node, threadId } = context
  const outer = context[internal]
  const graph = { ...definition, interrupts: new Map([...outer.interrupts, ...definition.interrupts]) }
  const view = yield* viewOf(graph, `${namespace}/${Namespace.segment(node)}`)
  yield* checkSettings(graph, options)
  const settings = resolveNested(graph, options, outer.settings)
  const run = yield* makeRunContext(graph, view, threadId, settings, outer.emitNested)
  const latest = Option.getOrUndefined(yield* view.get(threadId))
  const metadata = latest === undefined ? undefined : yield* nestedMetadata(graph, latest)
  const head = metadata?.outerTask === outer.id ? latest : yield* branchWithOuter(run, outer, latest)
  const result = head === undefined
    ? yield* beginRun(run, latest, metadata?.step ?? 0, graph.begin(input, undefined), outer.id)
    : yield* continueNested(run, outer, head)
  return result._tag === "Interrupted"
    ? yield* outer.suspend(outerQuestion(node, outer.answers.length, result))
    : result.state
}, (effect, _, context) => context[internal].runOnlyGraph(effect))

/**
 * Returns the nested graph to the question that the outer one has an answer to, if that is a copy of a version at which
 * the nested one waited, in this thread or in another.
 */
const branchWithOuter = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { answers, id }: OuterTask,
  latest: Checkpoint<S> | undefined
): Effect.fn.Return<Checkpoint<S> | undefined, StepsError> {
  const answered = yield* lastAnswered(run, answers)
  if (answered === undefined) return undefined
  const { answer, waiting } = answered
  yield* checkResumable(run.graph, waiting, waiting.nextNodes)
  const { question, ...metadata } = yield* ownMetadata(run.graph, waiting)
  const [pending] = waiting.pendingInterrupts
  const pendingWrites = yield* run.view.pendingWrites(waiting)
  const position: Position<S> = {
    ...unsavedPosition(run.runId, {
      head: latest,
      endsStep: true,
      state: waiting.state,
      nextNodes: waiting.nextNodes,
      metadata: { ...metadata, cause: "branch", completedNodes: [], outerTask: id }
    }),
    pendingWrites: { ...pendingWrites },
    unstored: new Set(Object.keys(pendingWrites))
  }
  // The interrupt has the id that the outer graph knows, so that the nested one finds the answer after a crash too.
  const saved = yield* savePosition(
    run,
    position,
    question && pending && {
      ...ownQuestion(question, pendingWrites),
      request: pending.request,
      interruptId: answer.interruptId
    }
  )
  return yield* emitSaved(run.emit, saved.head)
})

/** The newest version at which the nested graph waited for an answer that the outer one has, in whatever thread. */
const lastAnswered = Effect.fnUntraced(function*<S, U, E, R>(
  { view }: RunContext<S, U, E, R>,
  answers: OuterTask["answers"]
): Effect.fn.Return<{ readonly answer: Answer; readonly waiting: Checkpoint<S> } | undefined, StepsError> {
  for (const answer of answers.toReversed()) {
    if (answer.nested === undefined) continue
    const waiting = yield* view.get(answer.nested.threadId, { checkpointId: answer.nested.checkpointId })
    if (Option.isSome(waiting)) return { answer, waiting: waiting.value }
  }
  return undefined
})

/** Continues a nested run, with the answer that the outer graph received. */
const continueNested = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { answers }: OuterTask,
  head: Checkpoint<S>
): Effect.fn.Return<RunResult<S, string>, E | StepsError | InterruptAlreadyResolved, R> {
  yield* checkResumable(run.graph, head, head.nextNodes)
  const answer = answers.find((answer) =>
    head.pendingInterrupts.some(({ interruptId }) => interruptId === answer.interruptId)
  )
  return yield* changeAndContinue(run, head, { answer })
})

/** The question that the outer task asks for the nested graph. */
const outerQuestion = (
  node: string,
  answered: number,
  { checkpoint: { checkpointId, threadId, version }, interrupt: { interruptId, kind, request } }: Extract<
    RunResult<unknown, string>,
    { readonly _tag: "Interrupted" }
  >
): Question => ({
  interrupt: kind,
  node,
  request,
  interruptId,
  writeKey: nestedAnswerKey(node, answered),
  nested: { threadId, version, checkpointId }
})
