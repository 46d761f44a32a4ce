import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Checkpoint } from "../../Checkpoint.ts"
import { Checkpointer, type ReadError, type View } from "../../Checkpointer.ts"
import {
  type InterruptAlreadyResolved,
  InvalidInput,
  type InvalidResponse,
  ThreadUnfinished
} from "../../CheckpointError.ts"
import * as Input from "../input.ts"
import type { Definition } from "./definition.ts"
import * as Machine from "./machine.ts"
import { anyMeta, ownMeta, pendingOf } from "./meta.ts"
import {
  inner,
  type NodeContext,
  type PendingInterrupt,
  type ResumeOptions,
  type RunError,
  type RunOptions,
  type RunResult,
  type Settings,
  type Strategy
} from "./model.ts"
import type { Tell } from "./node.ts"

/** The ways into a graph. */

export const viewOf = <S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  namespace = graph.namespace
): Effect.Effect<View<S>, InvalidInput, Checkpointer> =>
  Checkpointer.use((checkpointer) => checkpointer.view({ state: graph.state, namespace }))

const machineFor = Effect.fnUntraced(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  view: View<S>,
  settings: Settings<string> & { readonly threadId: string },
  tell: Tell<S, U>
) {
  yield* checkSettings(graph, settings)
  const { namespace } = view
  return Machine.make(view, { graph, threadId: settings.threadId, namespace, settings, tell })
})

export const run = Effect.fn("StateGraph.run")(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  options: RunOptions<Input, string>,
  tell: Tell<S, U>
): Effect.fn.Return<RunResult<S, string>, E | RunError | ThreadUnfinished, R | Checkpointer> {
  yield* annotate(graph, options.threadId)
  const view = yield* viewOf(graph)
  const machine = yield* machineFor(graph, view, options, tell)
  const head = Option.getOrUndefined(yield* view.get(options.threadId))
  const done = head === undefined ? 0 : (yield* ownMeta(graph, head)).step
  if (head !== undefined && isUnfinished(head)) {
    return yield* new ThreadUnfinished({
      threadId: head.threadId,
      namespace: head.namespace,
      version: head.version,
      nextNodes: head.nextNodes,
      interruptId: Option.getOrUndefined(head.pendingInterrupt)?.interruptId
    })
  }
  return yield* machine.begin(head, done, graph.begin(options.input, head?.state))
})

const isUnfinished = (head: Checkpoint<unknown>): boolean =>
  head.nextNodes.length > 0 || Option.isSome(head.pendingInterrupt)

export const resume = Effect.fn("StateGraph.resume")(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  options: ResumeOptions<U, string, unknown>,
  tell: Tell<S, U>
): Effect.fn.Return<
  RunResult<S, string>,
  E | RunError | InterruptAlreadyResolved | InvalidResponse,
  R | Checkpointer
> {
  const { checkpointId, next, response, threadId, update, version } = options
  yield* annotate(graph, threadId)
  const machine = yield* machineFor(graph, yield* viewOf(graph), options, tell)
  if (next !== undefined) {
    yield* Machine.checkNodes(graph, "next", next)
    if (response !== undefined) {
      yield* new InvalidInput({ field: "response", reason: "with next, what is asked is left unanswered" })
    }
  }
  const selector = version !== undefined ? { version } : checkpointId !== undefined ? { checkpointId } : undefined
  const target = yield* machine.read(selector)
  yield* machine.check(target, next ?? target.nextNodes)
  // Whatever is wrong is found before anything is written.
  const answer = response === undefined ? undefined : yield* machine.answerTo(target, options)
  const head = selector === undefined ? target : yield* machine.branch(target)
  return yield* machine.proceed(yield* machine.change(head, { answer, next, update }))
})

/** Runs a graph as a node of another, to its end. */
export const nested = Effect.fnUntraced(function*<S, Input, U, E, R>(
  definition: Definition<S, Input, U, E, R>,
  outer: NodeContext,
  input: Input,
  settings: Settings<string>
): Effect.fn.Return<S, E | RunError | InterruptAlreadyResolved, R | Checkpointer> {
  const around = outer[inner]
  const { threadId } = outer
  const graph = { ...definition, interrupts: new Map([...around.interrupts, ...definition.interrupts]) }
  const view = yield* viewOf(graph, `${outer.namespace}/${outer.node.replace(/[%/]/g, encodeURIComponent)}`)
  const options = { ...around.settings, ...settings, interruptBefore: [], interruptAfter: [], threadId }
  const machine = yield* machineFor(graph, view, options, around.nested)

  /** Where the outer graph is a branch from when this one was asking, that is gone back to here too. */
  const branched = Effect.gen(function*() {
    const [last] = around.answers.toSorted((a, b) => b.within!.version - a.within!.version)
    if (last === undefined) return undefined
    const asking = yield* view.get(threadId, { checkpointId: last.within!.checkpointId })
    return Option.isSome(asking) ? yield* machine.branch(asking.value, around.invocation) : undefined
  })

  const resumed = Effect.fnUntraced(function*(head: Checkpoint<S>) {
    yield* machine.check(head, head.nextNodes)
    const pending = Option.getOrUndefined(head.pendingInterrupt)
    const answer = around.answers.find(({ interruptId }) => interruptId === pending?.interruptId)
    return yield* machine.proceed(yield* machine.change(head, { answer }))
  })

  const latest = Option.getOrUndefined(yield* view.get(threadId))
  const meta = latest === undefined ? undefined : yield* anyMeta(latest)
  const head = meta?.invocation === around.invocation ? latest : yield* branched
  const result = head === undefined
    ? yield* machine.begin(latest, meta?.step ?? 0, graph.begin(input, undefined), around.invocation)
    : yield* resumed(head)
  if (result._tag !== "Interrupted") return result.state
  const { checkpoint: { checkpointId, version }, interrupt: { interruptId, kind, request } } = result
  return yield* around.suspend({
    kind,
    request,
    interruptId,
    key: `within:${interruptId}`,
    within: { version, checkpointId }
  })
}, (effect, _, outer) => outer[inner].once(effect))

export const interrupts = <S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    Stream.flatMap(
      view.threads({ interrupted: true }),
      ({ head }) => Option.match(pendingOf(graph, head), { onNone: () => Stream.empty, onSome: Stream.succeed })
    )))

const annotate = (graph: { readonly name: string; readonly namespace: string }, threadId: string) =>
  Effect.annotateCurrentSpan({
    "graph.name": graph.name,
    "checkpoint.thread_id": threadId,
    "checkpoint.namespace": graph.namespace
  })

const strategies: ReadonlyArray<Strategy> = ["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"]

const checkSettings = Effect.fnUntraced(function*<S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  settings: Settings<string>
): Effect.fn.Return<void, InvalidInput> {
  const { concurrency, interruptAfter = [], interruptBefore = [], maxSteps, strategy } = settings
  if (maxSteps !== undefined) yield* Input.wholeNumber("maxSteps", maxSteps)
  if (concurrency !== undefined) yield* Input.wholeNumber("concurrency", concurrency)
  if (strategy !== undefined && !strategies.includes(strategy)) {
    yield* new InvalidInput({ field: "strategy", reason: `expected one of ${strategies.join(", ")}, got ${strategy}` })
  }
  yield* Machine.checkNodes(graph, "interruptBefore", interruptBefore)
  yield* Machine.checkNodes(graph, "interruptAfter", interruptAfter)
})
