import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import * as Namespace from "../namespace.ts"
import type { Definition } from "./definition.ts"
import { checkResumable, nestedMetadata, openQuestions, ownMetadata } from "./mismatch.ts"
import { internal, type NodeContext, type OuterTask, type RunResult, type Settings, type StepsError } from "./model.ts"
import { savePosition, unsavedPosition } from "./position.ts"
import { isOpen, ofStep, type Question } from "./question.ts"
import { changeAndContinue } from "./resume.ts"
import { beginRun } from "./run.ts"
import { emitSaved, makeRunContext, type RunContext } from "./runContext.ts"
import { checkSettings, resolveNested } from "./settings.ts"
import { readStep, viewOf } from "./thread.ts"

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
    ? yield* outer.suspend(yield* outerQuestions(run, outer, node, result.checkpoint))
    : result.state
}, (effect, _, context) => context[internal].runOnlyGraph(effect))

/**
 * Returns the nested graph to the questions that the outer one has an answer to, if these are copies of questions at
 * which the nested one waited, in this thread or in another.
 */
const branchWithOuter = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { id, questions }: OuterTask,
  latest: Checkpoint<S> | undefined
): Effect.fn.Return<Checkpoint<S> | undefined, StepsError> {
  const waiting = yield* lastAnswered(run, questions)
  if (waiting === undefined) return undefined
  const step = yield* run.view.step(waiting)
  // The questions have the ids that the outer graph knows, so that the nested one finds the answers after a crash too.
  const open = questions.flatMap(({ about: { nested }, interruptId, request }): ReadonlyArray<Question> =>
    nested?.checkpointId === waiting.checkpointId
      ? [{ interruptId, request, about: nested.about, response: undefined }]
      : []
  )
  yield* checkResumable(run.graph, waiting, waiting.nextNodes, open)
  const begun = unsavedPosition(run.runId, {
    head: latest,
    endsStep: true,
    state: waiting.state,
    nextNodes: waiting.nextNodes,
    metadata: { ...yield* ownMetadata(run.graph, waiting), cause: "branch", completedNodes: [], outerTask: id }
  })
  const saved = yield* savePosition(run, {
    ...begun,
    questions: open,
    pendingWrites: { ...step.pendingWrites },
    unstored: new Set(Object.keys(step.pendingWrites))
  })
  return yield* emitSaved(run.emit, saved.head)
})

/** The newest version at which the nested graph waited for an answer that the outer one has, in whatever thread. */
const lastAnswered = Effect.fnUntraced(function*<S, U, E, R>(
  { view }: RunContext<S, U, E, R>,
  questions: OuterTask["questions"]
): Effect.fn.Return<Checkpoint<S> | undefined, StepsError> {
  for (const { about: { nested }, response } of questions.toReversed()) {
    if (nested === undefined || response === undefined) continue
    const waiting = yield* view.get(nested.threadId, { checkpointId: nested.checkpointId })
    if (Option.isSome(waiting)) return waiting.value
  }
  return undefined
})

/** Continues a nested run, with the answers that the outer graph received. */
const continueNested = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  outer: OuterTask,
  head: Checkpoint<S>
): Effect.fn.Return<RunResult<S, string>, E | StepsError | InterruptAlreadyResolved, R> {
  const { graph, threadId, view } = run
  const step = yield* readStep(run, head)
  const open = yield* openQuestions(graph, head, step.questions)
  yield* checkResumable(graph, head, head.nextNodes, open)
  const answers = outer.questions.flatMap(({ interruptId, response }) =>
    response !== undefined && open.some((question) => question.interruptId === interruptId)
      ? [[interruptId, response] as const]
      : []
  )
  for (const [interruptId, response] of answers) {
    yield* view.answer(threadId, { [interruptId]: response }, { answerId: interruptId })
  }
  return yield* changeAndContinue(run, head, answers.length === 0 ? step : yield* readStep(run, head), {})
})

/** The questions that the outer task asks for the nested graph. */
const outerQuestions = Effect.fnUntraced(function*<S, U, E, R>(
  { view }: RunContext<S, U, E, R>,
  { graph, questions }: OuterTask,
  node: string,
  head: Checkpoint<S>
): Effect.fn.Return<ReadonlyArray<Question>, StepsError> {
  const { checkpointId, threadId, version } = head
  const open = ofStep((yield* view.step(head)).questions).filter(isOpen)
  return open.map(({ about, interruptId, request }) =>
    questions.find((question) => question.interruptId === interruptId) ?? {
      interruptId,
      request,
      about: { graph, kind: about.kind, node, nested: { threadId, version, checkpointId, interruptId, about } },
      response: undefined
    }
  )
})
