import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import { type GraphMismatch, InvalidInput, VersionConflict } from "../../CheckpointError.ts"
import type { StepState } from "../../View.ts"
import * as Codec from "../codec.ts"
import * as Json from "../json.ts"
import * as Snapshot from "../view/snapshot.ts"
import { alreadyResolved, encodeAnswers } from "./answer.ts"
import { type Changes, saveBranch, saveChanges } from "./change.ts"
import { checkNodes, type Graph } from "./definition.ts"
import { runLoop } from "./loop.ts"
import { type Metadata, stepIdOf } from "./metadata.ts"
import { checkResumable, openQuestions, outermostMetadata, ownMetadata } from "./mismatch.ts"
import type { AnswerError, ResumeError, ResumeOptions, RunResult, StepsError } from "./model.ts"
import { savedPosition } from "./position.ts"
import { isOpen, ofStep, type Question } from "./question.ts"
import { annotateSpan, type Emit, makeRunContext, type RunContext } from "./runContext.ts"
import { checkSettings, resolveSettings } from "./settings.ts"
import { readStep, readVersion, viewOf } from "./thread.ts"

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
  const { answers = {}, checkpointId, next, threadId, update, version } = options
  yield* annotateSpan(graph, threadId)
  yield* checkSettings(graph, options)
  const view = yield* viewOf(graph)
  if (next !== undefined) {
    yield* checkNodes(graph, "next", next)
    if (Object.keys(answers ?? {}).length > 0) {
      yield* new InvalidInput({ field: "answers", problem: "next drops all questions; pass either next or answers" })
    }
  }
  // Everything is checked before anything is written.
  const selector = version !== undefined ? { version } : checkpointId !== undefined ? { checkpointId } : undefined
  const target = yield* readVersion({ threadId, view }, selector)
  const metadata = yield* outermostMetadata(graph, target)
  const step = yield* readStep({ view }, target)
  // A copy of a version whose step has ended asks what was asked there.
  const asked = step.ended ? target.pendingInterrupts : step.questions
  const open = next === undefined ? yield* openQuestions(graph, target, asked) : []
  if (next === undefined) yield* checkResumable(graph, target, target.nextNodes, open)
  const field = update === undefined ? undefined : graph.unknownField(update, target.state)
  if (field !== undefined) {
    yield* new InvalidInput({ field: "update", problem: `it has the field "${field}", which its schema does not have` })
  }
  if (update !== undefined) yield* Snapshot.encode(Codec.pure(graph.state), target, graph.reduce(target.state, update))
  const encoded = yield* encodeAnswers(graph, target, open, answers)
  // A pause where a run stopped is answered before that is continued.
  const hasStopped = metadata.stopped !== undefined && open.length === 0
  const settings = resolveSettings(graph, options, earlierSettings(metadata, hasStopped))
  const run = yield* makeRunContext(graph, view, threadId, settings, emit)
  const head = selector === undefined ? target : yield* saveBranch(run, target)
  const own = selector === undefined ? encoded : yield* answersOfCopy(run, head, open, encoded)
  const newest = yield* saveAnswers(run, head, own)
  if (update !== undefined) yield* checkSameStep(graph, head, newest)
  // To continue a run that stopped is a change of its own: if it crashes then, it is no longer one that stopped.
  const known = newest === target ? step : yield* readStep(run, newest)
  return yield* changeAndContinue(run, newest, known, {
    next: next ?? (hasStopped ? head.nextNodes : undefined),
    update
  })
})

/** What the earlier calls of a run set. A strategy that stopped the run would stop it again. */
const earlierSettings = ({ settings = {} }: Metadata, hasStopped: boolean): NonNullable<Metadata["settings"]> =>
  hasStopped ? Struct.omit(settings, ["strategy"]) : settings

/** Answers to questions of a version as those to the questions of its copy, which have other ids. */
const answersOfCopy = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  copy: Checkpoint<S>,
  questions: ReadonlyArray<Question>,
  answers: Schema.JsonObject
): Effect.fn.Return<Schema.JsonObject, AnswerError> {
  const unmatched = new Set(ofStep((yield* readStep(run, copy)).questions).filter(isOpen))
  const own: Record<string, Schema.Json> = {}
  for (const { about, interruptId, request } of questions) {
    const same = Array.from(unmatched).find((question) =>
      Json.equals([question.about, question.request], [about, request])
    )
    if (same !== undefined) unmatched.delete(same)
    if (!Object.hasOwn(answers, interruptId)) continue
    // It was answered while the copy was made.
    if (same === undefined) return yield* alreadyResolved(copy, interruptId)
    own[same.interruptId] = answers[interruptId]!
  }
  return own
})

/** An update belongs to the step that it was given for. */
const checkSameStep = Effect.fnUntraced(function*<S>(
  graph: { readonly name: string },
  head: Checkpoint<S>,
  newest: Checkpoint<S>
): Effect.fn.Return<void, GraphMismatch | VersionConflict> {
  const { namespace, threadId, version } = head
  const [before, now] = [yield* ownMetadata(graph, head), yield* ownMetadata(graph, newest)]
  if (stepIdOf(head, before) === stepIdOf(newest, now)) return
  yield* new VersionConflict({ threadId, namespace, expected: version, actual: newest.version })
})

/** Saves answers, which do not depend on the version. The state may have been edited since it was read. */
const saveAnswers = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  head: Checkpoint<S>,
  answers: Schema.JsonObject
): Effect.fn.Return<Checkpoint<S>, AnswerError> {
  if (Object.keys(answers).length === 0) return head
  yield* run.view.answer(run.threadId, answers)
  return yield* readVersion(run)
})

/** Saves changes to a checkpoint, and continues from there with what belongs to its step. */
export const changeAndContinue = Effect.fnUntraced(function*<S, U, E, R>(
  run: RunContext<S, U, E, R>,
  from: Checkpoint<S>,
  step: StepState,
  changes: Changes<U>
): Effect.fn.Return<RunResult<S, string>, E | StepsError, R> {
  const { graph } = run
  const head = yield* saveChanges(run, from, ofStep(step.questions).filter(isOpen), changes)
  const metadata = yield* ownMetadata(graph, head)
  return yield* runLoop(run, savedPosition(head, metadata, head === from ? step : yield* readStep(run, head)))
})
