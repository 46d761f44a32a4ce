import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { Checkpointer } from "../../Checkpointer.ts"
import type { InterruptAlreadyResolved } from "../../CheckpointError.ts"
import { branch, change } from "./change.ts"
import type { Definition } from "./definition.ts"
import { anyMeta } from "./meta.ts"
import { type Inner, inner, type NodeContext, type RunError, type RunResult, type Settings } from "./model.ts"
import type { Question } from "./question.ts"
import { check, proceed } from "./resume.ts"
import { begin } from "./run.ts"
import { make, type Running } from "./running.ts"
import { viewOf } from "./thread.ts"

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
  const options = { ...around.settings, ...settings, interruptBefore: [], interruptAfter: [] }
  const running = yield* make(graph, view, threadId, options, around.nested)
  const latest = Option.getOrUndefined(yield* view.get(threadId))
  const meta = latest === undefined ? undefined : yield* anyMeta(latest)
  const head = meta?.invocation === around.invocation ? latest : yield* branched(running, around)
  const result = head === undefined
    ? yield* begin(running, latest, meta?.step ?? 0, graph.begin(input, undefined), around.invocation)
    : yield* resumed(running, around, head)
  return result._tag === "Interrupted" ? yield* around.suspend(outside(outer.node, result)) : result.state
}, (effect, _, outer) => outer[inner].once(effect))

/** Where the outer graph is a branch from when this one was asking, that is gone back to here too. */
const branched = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  { answers, invocation }: Inner
): Effect.fn.Return<Checkpoint<S> | undefined, RunError> {
  const [last] = answers.flatMap(({ within }) => within === undefined ? [] : [within])
    .toSorted((a, b) => b.version - a.version)
  if (last === undefined) return undefined
  const asking = yield* running.view.get(running.threadId, { checkpointId: last.checkpointId })
  return Option.isSome(asking) ? yield* branch(running, asking.value, invocation) : undefined
})

/** Goes on inside, with what was answered outside. */
const resumed = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running<S, U, E, R>,
  { answers }: Inner,
  head: Checkpoint<S>
): Effect.fn.Return<RunResult<S, string>, E | RunError | InterruptAlreadyResolved, R> {
  yield* check(running.graph, head, head.nextNodes)
  const pending = Option.getOrUndefined(head.pendingInterrupt)
  const answer = answers.find(({ interruptId }) => interruptId === pending?.interruptId)
  return yield* proceed(running, yield* change(running, head, { answer }))
})

/** What the graph within asks, as the graph around it does. */
const outside = (
  node: string,
  { checkpoint: { checkpointId, version }, interrupt: { interruptId, kind, request } }: Extract<
    RunResult<unknown, string>,
    { readonly _tag: "Interrupted" }
  >
): Question => ({
  kind,
  node,
  request,
  interruptId,
  key: `within:${interruptId}`,
  within: { version, checkpointId }
})
