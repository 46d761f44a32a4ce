import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import * as Namespace from "../namespace.ts"
import { saveBranch } from "./change.ts"
import type { Definition } from "./definition.ts"
import { anyMetadata, checkResumable } from "./mismatch.ts"
import { internal, type NodeContext, type OuterTask, type RunResult, type Settings, type StepsError } from "./model.ts"
import type { Question } from "./question.ts"
import { changeAndContinue } from "./resume.ts"
import { beginRun } from "./run.ts"
import { makeRunContext, type RunContext } from "./runContext.ts"
import { viewOf } from "./thread.ts"

/** Runs a graph in a task of another one until it ends. If it waits for an answer, the task waits too. */
export const runNested = Effect.fnUntraced(function*<S, Input, U, E, R>(
  definition: Definition<S, Input, U, E, R>,
  context: NodeContext,
  input: Input,
  settings: Settings<string>
): Effect.fn.Return<S, E | StepsError | InterruptAlreadyResolved, R | Checkpointer> {
  const { namespace, node, threadId } = context
  const outer = context[internal]
  const graph = { ...definition, interrupts: new Map([...outer.interrupts, ...definition.interrupts]) }
  const view = yield* viewOf(graph, `${namespace}/${Namespace.segment(node)}`)
  const options = { ...outer.settings, ...settings, interruptBefore: [], interruptAfter: [] }
  const run = yield* makeRunContext(graph, view, threadId, options, outer.emitNested)
  const latest = Option.getOrUndefined(yield* view.get(threadId))
  const metadata = latest === undefined ? undefined : yield* anyMetadata(graph, latest)
  const head = metadata?.outerTask === outer.id ? latest : yield* branchWithOuter(run, outer)
  const result = head === undefined
    ? yield* beginRun(run, latest, metadata?.step ?? 0, graph.begin(input, undefined), outer.id)
    : yield* continueNested(run, outer, head)
  return result._tag === "Interrupted" ? yield* outer.suspend(outerQuestion(node, result)) : result.state
}, (effect, _, context) => context[internal].runOnlyGraph(effect))

/** Branches the nested graph as the outer one, if that is a branch from a version at which the nested one waited. */
const branchWithOuter = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  { answers, id }: OuterTask
): Effect.fn.Return<Checkpoint<S> | undefined, StepsError> {
  const [last] = answers.flatMap(({ nested }) => nested === undefined ? [] : [nested])
    .toSorted((a, b) => b.version - a.version)
  if (last === undefined) return undefined
  const waiting = yield* run.view.get(run.threadId, { checkpointId: last.checkpointId })
  if (Option.isNone(waiting)) return undefined
  yield* checkResumable(run.graph, waiting.value, waiting.value.nextNodes)
  return yield* saveBranch(run, waiting.value, id)
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
  { checkpoint: { checkpointId, version }, interrupt: { interruptId, kind, request } }: Extract<
    RunResult<unknown, string>,
    { readonly _tag: "Interrupted" }
  >
): Question => ({
  interrupt: kind,
  node,
  request,
  interruptId,
  writeKey: `nested:${interruptId}`,
  nested: { version, checkpointId }
})
