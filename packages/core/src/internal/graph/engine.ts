import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { Checkpointer, type PutError, type ReadError, type Selector, type View } from "../../Checkpointer.ts"
import {
  CheckpointNotFound,
  InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse,
  StateDecodeError,
  StateEncodeError,
  StepLimitExceeded,
  ThreadUnfinished,
  type VersionConflict
} from "../../CheckpointError.ts"
import type {
  Event,
  NodeContext,
  PendingInterrupt,
  ResumeOptions,
  RunOptions,
  RunResult,
  Settings,
  Strategy
} from "../../StateGraph.ts"
import * as Input from "../input.ts"
import * as Metrics from "../metrics.ts"
import { type Asked, type Definition, type Inner, inner, type Kind, kindNamed, pause } from "./definition.ts"

/*
 * How graphs are run. A thread's newest checkpoint says all there is to know: the
 * state, what is to run next, and in the metadata under `graph` what is in `Meta`.
 * Beside it are the pending writes of the step that begins there: what its nodes have
 * returned, and what was answered.
 */

const Meta = Schema.Struct({
  name: Schema.String,
  /** How many steps the thread has done. */
  step: Schema.Int,
  source: Schema.Literals(["input", "step", "interrupt", "answer", "branch", "edit"]),
  /** Whose updates are new in the state. */
  writers: Schema.Array(Schema.String),
  /** The checkpoint with which the step begins that this one belongs to; itself, where there is none. */
  base: Schema.optionalKey(Schema.String),
  /** What is asked, and the how manieth question of which node it is. */
  asked: Schema.optionalKey(Schema.Struct({ kind: Schema.String, node: Schema.String, index: Schema.Int })),
  /** What the strategy did not go on with. */
  branches: Schema.optionalKey(Schema.Array(Schema.String)),
  /** The step of the graph around it that this run belongs to. */
  invocation: Schema.optionalKey(Schema.String)
})

type Meta = typeof Meta.Type

const decodeMeta = Schema.decodeUnknownOption(Meta)

/** Where a run is. */
interface Position<S> {
  /** The newest version; nothing has been saved of a thread that has none. */
  readonly head: Checkpoint<S> | undefined
  /** Whether that has what is here. */
  readonly isSaved: boolean
  readonly state: S
  readonly next: ReadonlyArray<string>
  readonly meta: Meta
  readonly base: string
  /** The pending writes of the step. */
  readonly done: Schema.JsonObject
}

type Emit<S, U> = (event: Event<S, U, string>) => Effect.Effect<unknown>

/** What a node came to. */
type Outcome<U> =
  | { readonly _tag: "Returned"; readonly node: string; readonly update: U | undefined }
  | { readonly _tag: "Asked"; readonly node: string; readonly asked: Asked }

const updateKey = (node: string): string => `update:${node}`
const answerKey = (node: string, index: number): string => `answer:${node}:${index}`
/** Says that the pause at this place is over. */
const pausedKey = "paused"

const Answer = Schema.Struct({ interruptId: Schema.String, kind: Schema.String, response: Schema.Json })
const decodeAnswer = Schema.decodeUnknownOption(Answer)

export const viewOf = <S, Input, U>(
  graph: Definition<S, Input, U>,
  namespace = graph.namespace
): Effect.Effect<View<S>, InvalidInput, Checkpointer> =>
  Checkpointer.use((checkpointer) => checkpointer.view({ state: graph.state, namespace })) as Effect.Effect<
    View<S>,
    InvalidInput,
    Checkpointer
  >

// -----------------------------------------------------------------------------
// entrances
// -----------------------------------------------------------------------------

export const run = Effect.fn("StateGraph.run")(function*<S, Input, U>(
  graph: Definition<S, Input, U>,
  options: RunOptions<Input, string>,
  emit: Emit<S, U>
): Effect.fn.Return<RunResult<S, string>, unknown, unknown> {
  yield* annotate(graph, options.threadId)
  const machine = make(graph, yield* viewOf(graph), options, emit)
  yield* checkSettings(graph, options)
  const found = yield* machine.view.get(options.threadId)
  if (Option.isSome(found) && isUnfinished(found.value)) return yield* unfinished(found.value)
  return yield* machine.begin(Option.getOrUndefined(found), options.input, undefined)
})

export const resume = Effect.fn("StateGraph.resume")(function*<S, Input, U>(
  graph: Definition<S, Input, U>,
  options: ResumeOptions<U, string, unknown>,
  emit: Emit<S, U>
): Effect.fn.Return<RunResult<S, string>, unknown, unknown> {
  yield* annotate(graph, options.threadId)
  const machine = make(graph, yield* viewOf(graph), options, emit)
  yield* checkSettings(graph, options)
  if (options.next !== undefined) yield* checkNodes(graph, "next", options.next)
  let head = yield* machine.branch(options)
  head = yield* machine.edit(head, options)
  if (Option.isSome(head.pendingInterrupt)) {
    if (options.response === undefined) return yield* machine.waiting(head)
    head = yield* machine.answer(head, options.response, options.interruptId, machine.encodeResponse)
  } else if (options.response !== undefined) {
    return yield* alreadyResolved(head, options.interruptId)
  }
  return yield* machine.proceed(head)
})

/** Runs a graph as a node of another, to its end. */
export const nested = Effect.fnUntraced(function*<S, Input, U>(
  graph: Definition<S, Input, U>,
  outer: NodeContext,
  input: Input,
  settings: Settings<string>
): Effect.fn.Return<S, unknown, unknown> {
  const around = outer[inner]
  const { threadId } = outer
  const view = yield* viewOf(graph, `${outer.namespace}/${outer.node}`)
  const options = { ...around.settings, ...settings, interruptBefore: [], interruptAfter: [], threadId }
  yield* checkSettings(graph, options)
  const machine = make(graph, view, options, around.nested)
  const found = yield* view.get(threadId)
  const result = yield* Effect.suspend(() => {
    if (Option.isNone(found) || invocationOf(found.value) !== around.base) {
      return machine.begin(Option.getOrUndefined(found), input, around.base)
    }
    const head = found.value
    return Effect.flatMap(
      Option.match(head.pendingInterrupt, {
        onNone: () => Effect.succeed(head),
        onSome: ({ interruptId }) =>
          Option.match(around.answerTo(interruptId), {
            onNone: () => Effect.succeed(head),
            onSome: (response) => machine.answer(head, response, interruptId, () => Effect.succeed(response))
          })
      }),
      (head) => Option.isSome(head.pendingInterrupt) ? machine.waiting(head) : machine.proceed(head)
    )
  })
  if (result._tag !== "Interrupted") return result.state
  const { interruptId, kind, request } = result.interrupt
  return yield* around.suspend({ kind, request, interruptId })
})

export const interrupts = <S, Input, U>(
  graph: Definition<S, Input, U>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> =>
  Stream.unwrap(Effect.map(viewOf(graph), (view) =>
    Stream.flatMap(
      view.threads({ interrupted: true }),
      ({ head }) => Option.match(pendingOf(head), { onNone: () => Stream.empty, onSome: Stream.succeed })
    )))

const annotate = (graph: { readonly name: string; readonly namespace: string }, threadId: string) =>
  Effect.annotateCurrentSpan({
    "graph.name": graph.name,
    "checkpoint.thread_id": threadId,
    "checkpoint.namespace": graph.namespace
  })

// -----------------------------------------------------------------------------
// what is asked for
// -----------------------------------------------------------------------------

const checkNodes = <S, Input, U>(
  graph: Definition<S, Input, U>,
  field: string,
  nodes: ReadonlyArray<string>
): Effect.Effect<void, InvalidInput> => {
  const unknown = nodes.find((node) => !graph.nodes.has(node))
  return unknown === undefined ? Effect.void : Effect.fail(
    new InvalidInput({ field, reason: `graph "${graph.name}" has no node "${unknown}"` })
  )
}

const strategies: ReadonlyArray<Strategy> = ["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"]

const checkSettings = Effect.fnUntraced(function*<S, Input, U>(
  graph: Definition<S, Input, U>,
  settings: Settings<string>
): Effect.fn.Return<void, InvalidInput> {
  const { concurrency, interruptAfter = [], interruptBefore = [], maxSteps, strategy } = settings
  if (maxSteps !== undefined) yield* Input.wholeNumber("maxSteps", maxSteps)
  if (concurrency !== undefined) yield* Input.wholeNumber("concurrency", concurrency)
  if (strategy !== undefined && !strategies.includes(strategy)) {
    yield* new InvalidInput({ field: "strategy", reason: `expected one of ${strategies.join(", ")}, got ${strategy}` })
  }
  yield* checkNodes(graph, "interruptBefore", interruptBefore)
  yield* checkNodes(graph, "interruptAfter", interruptAfter)
})

// -----------------------------------------------------------------------------
// what a checkpoint tells
// -----------------------------------------------------------------------------

const isUnfinished = (head: CheckpointInfo): boolean =>
  head.nextNodes.length > 0 || Option.isSome(head.pendingInterrupt)

const metaOf = (checkpoint: CheckpointInfo): Option.Option<Meta> => decodeMeta(checkpoint.metadata["graph"])

const invocationOf = (checkpoint: CheckpointInfo): string | undefined =>
  Option.getOrUndefined(metaOf(checkpoint))?.invocation

const damaged = ({ metadata, namespace, threadId, version }: CheckpointInfo, reason: string): StateDecodeError =>
  new StateDecodeError({ threadId, namespace, version, kind: "Damaged", reason, raw: metadata })

const metaOrFail = (
  graph: { readonly name: string },
  checkpoint: CheckpointInfo
): Effect.Effect<Meta, StateDecodeError> =>
  Option.match(metaOf(checkpoint), {
    onNone: () => Effect.fail(damaged(checkpoint, `it was not written by a graph: its metadata has no "graph"`)),
    onSome: (meta) =>
      meta.name === graph.name
        ? Effect.succeed(meta)
        : Effect.fail(damaged(checkpoint, `it was written by graph "${meta.name}", and this is "${graph.name}"`))
  })

const pendingOf = (checkpoint: CheckpointInfo): Option.Option<PendingInterrupt> =>
  Option.flatMap(
    checkpoint.pendingInterrupt,
    ({ interruptId, request }) =>
      Option.flatMap(metaOf(checkpoint), ({ asked }) =>
        asked === undefined ? Option.none() : Option.some({
          threadId: checkpoint.threadId,
          interruptId,
          kind: asked.kind,
          node: asked.node,
          request
        }))
  )

const unfinished = ({ namespace, nextNodes, pendingInterrupt, threadId, version }: CheckpointInfo): ThreadUnfinished =>
  new ThreadUnfinished({
    threadId,
    namespace,
    version,
    nextNodes,
    interruptId: Option.getOrUndefined(pendingInterrupt)?.interruptId
  })

const alreadyResolved = (
  { namespace, threadId, version }: CheckpointInfo,
  interruptId: string | undefined
): InterruptAlreadyResolved => new InterruptAlreadyResolved({ threadId, namespace, version, interruptId })

/** How often an answer is tried to be saved while the thread moves for other reasons. */
const maxConflicts = 20

// -----------------------------------------------------------------------------
// the machine
// -----------------------------------------------------------------------------

/** All that is done on one thread by one run. */
const make = <S, Input, U>(
  graph: Definition<S, Input, U>,
  view: View<S>,
  settings: Settings<string> & { readonly threadId: string },
  emit: Emit<S, U>
) => {
  const { durability = "step", maxSteps = 100, strategy = "StopAtNonLinear", threadId } = settings
  const { namespace } = view

  // ---- saving

  const metadataOf = (head: CheckpointInfo | undefined, meta: Meta): Schema.JsonObject => ({
    ...settings.metadata ?? head?.metadata,
    graph: meta
  })

  const saved = (checkpoint: Checkpoint<S>): Effect.Effect<Checkpoint<S>> =>
    Effect.as(emit({ _tag: "CheckpointSaved", checkpoint }), checkpoint)

  /** Where a put goes: after what the run has seen as the newest. */
  const after = (head: Checkpoint<S> | undefined) =>
    head === undefined ? { threadId, expectedVersion: 0 } : { parent: head }

  const save = (position: Position<S>): Effect.Effect<Position<S>, PutError | VersionConflict> =>
    position.isSaved ? Effect.succeed(position) : Effect.map(
      Effect.flatMap(
        view.put({
          ...after(position.head),
          state: position.state,
          nextNodes: position.next,
          metadata: metadataOf(position.head, position.meta),
          writes: position.done
        }),
        saved
      ),
      (head): Position<S> => ({ ...position, head, isSaved: true, base: position.meta.base ?? head.checkpointId })
    )

  /** The next position of a run, saved unless that is to wait for the end. */
  const settle = (position: Omit<Position<S>, "isSaved" | "base" | "done">) => {
    // Until it is saved, a step is known by what was saved last, and how many steps ago.
    const base = `${position.head?.checkpointId ?? ""}+${position.meta.step}`
    const unsaved: Position<S> = { ...position, isSaved: false, base, done: {} }
    return durability === "step" ? save(unsaved) : Effect.succeed(unsaved)
  }

  // ---- entering

  const begin = Effect.fnUntraced(function*(
    head: Checkpoint<S> | undefined,
    input: Input,
    invocation: string | undefined
  ) {
    const step = head === undefined ? 0 : Option.getOrUndefined(metaOf(head))?.step ?? 0
    const position = yield* settle({
      head,
      // A graph within another one begins anew.
      state: graph.begin(input, invocation === undefined ? head?.state : undefined),
      next: [graph.start],
      meta: { ...metaFor(step, "input"), ...(invocation === undefined ? {} : { invocation }) }
    })
    return yield* drive(position)
  })

  const metaFor = (step: number, source: Meta["source"]): Meta => ({ name: graph.name, step, source, writers: [] })

  const readHead = Effect.fnUntraced(function*() {
    const head = yield* view.get(threadId)
    return Option.isSome(head)
      ? head.value
      : yield* new CheckpointNotFound({ threadId, namespace, selector: "its latest version" })
  })

  /** The newest version, which is a copy of an earlier one where that is to be gone on from. */
  const branch = Effect.fnUntraced(
    function*(options: Pick<ResumeOptions<U, string, never>, "version" | "checkpointId">) {
      const selector: Selector | undefined = options.version !== undefined
        ? { version: options.version }
        : options.checkpointId !== undefined
        ? { checkpointId: options.checkpointId }
        : undefined
      if (selector === undefined) return yield* readHead()
      const target = yield* view.get(threadId, selector)
      if (Option.isNone(target)) {
        const name = options.version === undefined ? `id "${options.checkpointId}"` : `version ${options.version}`
        return yield* new CheckpointNotFound({ threadId, namespace, selector: name })
      }
      const { base: _, ...meta } = yield* metaOrFail(graph, target.value)
      return yield* Effect.flatMap(
        view.restore(threadId, { version: target.value.version }, {
          metadata: metadataOf(target.value, { ...meta, source: "branch", writers: [] }),
          writes: yield* view.writes(target.value)
        }),
        saved
      )
    }
  )

  /** What the caller wants to be otherwise. */
  const edit = Effect.fnUntraced(function*(
    head: Checkpoint<S>,
    { next, update }: Pick<ResumeOptions<U, string, never>, "update" | "next">
  ) {
    if (next === undefined && update === undefined) return head
    const { branches: _, ...meta } = yield* metaOrFail(graph, head)
    const leaves = next !== undefined
    const { asked: __, base: ___, ...elsewhere } = meta
    return yield* Effect.flatMap(
      view.put({
        parent: head,
        state: update === undefined ? head.state : graph.reduce(head.state, update),
        nextNodes: next ?? head.nextNodes,
        pendingInterrupt: leaves ? undefined : Option.getOrUndefined(head.pendingInterrupt),
        metadata: metadataOf(head, { ...(leaves ? elsewhere : withBase(head, meta)), source: "edit", writers: [] }),
        resolvesInterrupt: Option.isSome(head.pendingInterrupt),
        keepsWrites: !leaves
      }),
      saved
    )
  })

  /** Keeps in mind where the step began, in a checkpoint that only adds to it. */
  const withBase = (head: CheckpointInfo, meta: Meta): Meta => ({
    ...meta,
    base: meta.base ?? head.checkpointId,
    writers: []
  })

  const waiting = Effect.fnUntraced(function*(head: Checkpoint<S>) {
    const interrupt = pendingOf(head)
    return Option.isSome(interrupt)
      ? { _tag: "Interrupted" as const, state: head.state, checkpoint: head, interrupt: interrupt.value }
      : yield* damaged(head, "its pending interrupt was not raised by a graph")
  })

  const encodeResponse = (kind: Kind, interruptId: string, response: unknown) =>
    Effect.mapError(
      kind.response.encode(response),
      (cause) =>
        new InvalidResponse({ threadId, namespace, interruptId, kind: kind.name, reason: cause.message, cause })
    )

  /** Takes the answer for the one that counts, if nobody was faster. */
  const answer = Effect.fnUntraced(function*(
    asking: Checkpoint<S>,
    response: unknown,
    interruptId: string | undefined,
    encode: (kind: Kind, interruptId: string, response: unknown) => Effect.Effect<Schema.Json, InvalidResponse>
  ) {
    let head = asking
    const asked = yield* waiting(asking)
    if (interruptId !== undefined && interruptId !== asked.interrupt.interruptId) {
      return yield* alreadyResolved(head, interruptId)
    }
    const kind = kindNamed(graph, asked.interrupt.kind)
    if (Option.isNone(kind)) {
      return yield* damaged(head, `it asks "${asked.interrupt.kind}", which graph "${graph.name}" does not know`)
    }
    const encoded = yield* encode(kind.value, asked.interrupt.interruptId, response)
    for (let conflicts = 0;; conflicts++) {
      const { asked: question, ...meta } = yield* metaOrFail(graph, head)
      const key = kind.value.name === pause ? pausedKey : answerKey(asked.interrupt.node, question?.index ?? 0)
      const claimed = yield* Effect.result(view.put({
        parent: head,
        state: head.state,
        nextNodes: head.nextNodes,
        metadata: metadataOf(head, { ...withBase(head, meta), source: "answer" }),
        writes: {
          [key]: { interruptId: asked.interrupt.interruptId, kind: kind.value.name, response: encoded }
        },
        keepsWrites: true,
        resolvesInterrupt: true
      }))
      if (claimed._tag === "Success") return yield* saved(claimed.success)
      if (claimed.failure._tag !== "VersionConflict" || conflicts === maxConflicts) {
        return yield* Effect.fail(claimed.failure)
      }
      // The thread has moved; perhaps it asks the same still, with a state that somebody has corrected.
      head = yield* readHead()
      if (Option.getOrUndefined(head.pendingInterrupt)?.interruptId !== asked.interrupt.interruptId) {
        return yield* alreadyResolved(head, asked.interrupt.interruptId)
      }
    }
  })

  /** Goes on from a checkpoint that waits for nobody. */
  const proceed = Effect.fnUntraced(function*(head: Checkpoint<S>) {
    const meta = yield* metaOrFail(graph, head)
    const unknown = head.nextNodes.find((node) => !graph.nodes.has(node))
    if (unknown !== undefined) {
      return yield* damaged(head, `it goes on with node "${unknown}", which graph "${graph.name}" does not have`)
    }
    return yield* drive({
      head,
      isSaved: true,
      state: head.state,
      next: head.nextNodes,
      meta,
      base: meta.base ?? head.checkpointId,
      done: head.nextNodes.length === 0 ? {} : yield* view.writes(head)
    })
  })

  // ---- running

  const drive = (from: Position<S>) => {
    let position = from
    // What nodes of the step have returned so far, for a failure that is to be saved.
    let progress: Schema.JsonObject = from.done

    const step = Effect.fnUntraced(
      function*(restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) {
        const done: Record<string, Schema.Json> = { ...position.done }
        progress = done
        const outcomes = yield* restore(runNodes(position, done))
        const asking = outcomes.find((outcome) => outcome._tag === "Asked")
        if (asking !== undefined) {
          const index = Object.keys(done).filter((key) => isAnswerOf(asking.node, key)).length
          return yield* ask(position, asking.node, index, asking.asked, done)
        }
        position = yield* advance(position, outcomes as ReadonlyArray<Extract<Outcome<U>, { _tag: "Returned" }>>)
        progress = position.done
        return Option.isSome(position.head?.pendingInterrupt ?? Option.none()) && position.isSaved
          ? yield* raised(position.head!)
          : undefined
      }
    )

    const loop = Effect.gen(function*() {
      for (let steps = 0;; steps++) {
        if (position.next.length === 0) {
          position = yield* save(position)
          return ended(position)
        }
        if (steps === maxSteps) {
          position = yield* save(position)
          return yield* new StepLimitExceeded({
            threadId,
            namespace,
            maxSteps,
            version: position.head!.version,
            nextNodes: position.next
          })
        }
        const paused = position.done[pausedKey] === undefined
          ? position.next.find((node) => settings.interruptBefore?.includes(node))
          : undefined
        if (paused !== undefined) {
          return yield* ask(position, paused, 0, pauseOf("before", paused), position.done)
        }
        // From the last node's end to the save nothing comes between but a crash.
        const result = yield* Effect.uninterruptibleMask(step)
        yield* Metric.update(Metrics.graphSteps, 1)
        if (result !== undefined) return result
      }
    })

    return Effect.onExit(
      loop,
      (exit) => Exit.isSuccess(exit) || position.isSaved ? Effect.void : save({ ...position, done: progress })
    )
  }

  const isAnswerOf = (node: string, key: string): boolean =>
    key.startsWith(answerKey(node, 0).slice(0, -1)) && /^\d+$/.test(key.slice(answerKey(node, 0).length - 1))

  const pauseOf = (when: "before" | "after", node: string): Asked => ({
    kind: pause,
    request: { pause: when, node },
    interruptId: undefined
  })

  const ended = ({ head, meta, state }: Position<S>): RunResult<S, string> =>
    meta.branches === undefined
      ? { _tag: "Completed", state, checkpoint: head! }
      : { _tag: "Stopped", state, checkpoint: head!, branches: meta.branches }

  const raised = Effect.fnUntraced(function*(head: Checkpoint<S>) {
    const result = yield* waiting(head)
    yield* emit({ _tag: "InterruptRaised", interrupt: result.interrupt })
    return result
  })

  /** The same for the same question, so that one which is saved twice is one. */
  const interruptIdOf = (base: string, node: string, index: number, when?: string): string =>
    `${base}/${node}/${when ?? index}`

  /** Saves a question, with all that the step has done. */
  const ask = Effect.fnUntraced(function*(
    position: Position<S>,
    node: string,
    index: number,
    asked: Asked,
    done: Schema.JsonObject
  ) {
    const { kind, request } = asked
    const interruptId = asked.interruptId ??
      interruptIdOf(position.base, node, index, kind === pause ? "before" : undefined)
    const { branches: _, ...meta } = position.isSaved && position.head !== undefined
      ? withBase(position.head, position.meta)
      : position.meta
    const head = yield* Effect.flatMap(
      view.put({
        ...after(position.head),
        state: position.state,
        nextNodes: position.next,
        pendingInterrupt: { interruptId, request },
        metadata: metadataOf(position.head, { ...meta, source: "interrupt", asked: { kind, node, index } }),
        writes: done
      }),
      saved
    )
    return yield* raised(head)
  })

  /** The step as one change of the state, and what it leads to. */
  const advance = Effect.fnUntraced(function*(
    position: Position<S>,
    outcomes: ReadonlyArray<Extract<Outcome<U>, { readonly _tag: "Returned" }>>
  ) {
    const state = outcomes.reduce(
      (state, { update }) => update === undefined ? state : graph.reduce(state, update),
      position.state
    )
    const writers = outcomes.map(({ node }) => node)
    const successors = Array.from(new Set(writers.flatMap((node) => successorsOf(node, state))))
    const next = pick(successors)
    yield* checkNodes(graph, `edges of ${writers.join(", ")}`, next)
    const after = writers.find((node) => settings.interruptAfter?.includes(node))
    const { invocation } = position.meta
    const meta: Meta = {
      ...metaFor(position.meta.step + 1, "step"),
      writers,
      ...(invocation === undefined ? {} : { invocation }),
      ...(next.length === 0 && successors.length > 0 ? { branches: successors } : {})
    }
    return after === undefined
      ? yield* settle({ head: position.head, state, next, meta })
      : yield* pauseAfter(position, after, state, next, meta)
  })

  /** Saves a step that is to be looked at before the run goes on. */
  const pauseAfter = Effect.fnUntraced(function*(
    position: Position<S>,
    node: string,
    state: S,
    next: ReadonlyArray<string>,
    meta: Meta
  ) {
    const { kind, request } = pauseOf("after", node)
    const asked = { ...meta, asked: { kind, node, index: 0 } }
    const head = yield* Effect.flatMap(
      view.put({
        ...after(position.head),
        state,
        nextNodes: next,
        pendingInterrupt: { interruptId: interruptIdOf(position.base, node, 0, "after"), request },
        metadata: metadataOf(position.head, asked)
      }),
      saved
    )
    return { head, isSaved: true, state, next, meta: asked, base: head.checkpointId, done: {} } satisfies Position<S>
  })

  const successorsOf = (node: string, state: S): ReadonlyArray<string> => {
    const edge = graph.edges.get(node) ?? []
    return typeof edge === "function" ? edge(state) : "when" in edge ? edge.when(state) : edge
  }

  const pick = (nodes: ReadonlyArray<string>): ReadonlyArray<string> => {
    if (nodes.length < 2) return nodes
    switch (strategy) {
      case "StopAtNonLinear":
        return []
      case "PickFirst":
        return nodes.slice(0, 1)
      case "PickLast":
        return nodes.slice(-1)
      case "Parallel":
        return nodes
    }
  }

  // ---- nodes

  const runNodes = (
    position: Position<S>,
    done: Record<string, Schema.Json>
  ): Effect.Effect<ReadonlyArray<Outcome<U>>, unknown, unknown> => {
    const [only, ...others] = position.next
    if (only !== undefined && others.length === 0) {
      return Effect.map(runNode(position, only, done), (outcome) => [outcome])
    }
    let running = position.next.filter((node) => done[updateKey(node)] === undefined).length
    // What a node has returned is kept at once: it is not run again, whatever becomes of the others.
    const keep = Effect.fnUntraced(function*(outcome: Outcome<U>) {
      running--
      if (outcome._tag === "Asked") return outcome
      const { node, update } = outcome
      const write = update === undefined ? {} : { value: yield* encodeUpdate(node, update) }
      done[updateKey(node)] = write
      // The last one is saved with the step.
      if (running > 0 && position.isSaved) yield* view.saveWrites(position.head!, { [updateKey(node)]: write })
      return outcome
    })
    return Effect.forEach(position.next, (node) => {
      const write = done[updateKey(node)]
      return write === undefined
        ? Effect.uninterruptibleMask((restore) => Effect.flatMap(restore(runNode(position, node, done)), keep))
        : Effect.map(decodeUpdate(position, node, write), (update): Outcome<U> => ({ _tag: "Returned", node, update }))
    }, { concurrency: settings.concurrency ?? "unbounded" })
  }

  const encodeUpdate = (node: string, update: U): Effect.Effect<Schema.Json, StateEncodeError> =>
    Effect.mapError(graph.update.encode(update), (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        reason: `what node "${node}" returned is not an update: ${cause.message}`,
        cause
      }))

  const decodeUpdate = (
    { head }: Position<S>,
    node: string,
    write: Schema.Json
  ): Effect.Effect<U | undefined, StateDecodeError> => {
    const { value } = write as { readonly value?: Schema.Json }
    return value === undefined ?
      Effect.undefined :
      Effect.mapError(graph.update.decode(value), (cause) =>
        new StateDecodeError({
          threadId,
          namespace,
          version: head?.version ?? 0,
          kind: "Schema",
          reason: `what node "${node}" had returned is not an update any more: ${cause.message}`,
          raw: value,
          cause
        }))
  }

  /** Runs a node until it returns, fails or asks what is not answered. */
  const runNode = (
    position: Position<S>,
    node: string,
    done: Schema.JsonObject
  ): Effect.Effect<Outcome<U>, unknown, unknown> =>
    Effect.gen(function*() {
      const step = position.meta.step + 1
      const suspended = Deferred.makeUnsafe<Asked, StateEncodeError | StateDecodeError>()
      const suspend = (asked: Asked) => Effect.andThen(Deferred.succeed(suspended, asked), Effect.never)
      let questions = 0

      const askFor = (kind: Kind) => (request: unknown): Effect.Effect<unknown> =>
        Effect.suspend(() => {
          const index = questions++
          const given = decodeAnswer(done[answerKey(node, index)])
          const result: Effect.Effect<unknown, StateEncodeError | StateDecodeError> = Option.isNone(given)
            ? Effect.flatMap(
              Effect.mapError(kind.request.encode(request), (cause) =>
                new StateEncodeError({
                  threadId,
                  namespace,
                  reason: `the request of ${kind.name} is refused: ${cause.message}`,
                  cause
                })),
              (request) => suspend({ kind: kind.name, request, interruptId: undefined })
            )
            : given.value.kind === kind.name
            ? Effect.mapError(kind.response.decode(given.value.response), (cause) => unreadable(given.value, cause))
            : Effect.fail(unreadable(given.value, undefined))
          // What goes wrong here is not the node's to handle.
          return Effect.catch(result, (error) => Effect.andThen(Deferred.fail(suspended, error), Effect.never))
        })

      const unreadable = (given: typeof Answer.Type, cause: Error | undefined): StateDecodeError =>
        new StateDecodeError({
          threadId,
          namespace,
          version: position.head?.version ?? 0,
          kind: "Schema",
          reason: `the answer to ${given.kind} in node "${node}" is not what it asks` +
            (cause === undefined ? "" : `: ${cause.message}`),
          raw: given.response,
          cause
        })

      const around: Inner = {
        base: `${position.base}/${node}`,
        answerTo: (interruptId) =>
          Option.map(
            Option.fromUndefinedOr(
              Object.values(done).flatMap((value) => Option.toArray(decodeAnswer(value)))
                .find((answer) => answer.interruptId === interruptId)
            ),
            ({ response }) => response
          ),
        suspend,
        nested: (event) =>
          Effect.asVoid(emit({ _tag: "Nested", node, event: event as Event<unknown, unknown, string> })),
        settings
      }
      const context: NodeContext = {
        graph: graph.name,
        node,
        threadId,
        namespace,
        step,
        idempotencyKey: `${position.base}/${node}`,
        emit: (data) => Effect.asVoid(emit({ _tag: "Emitted", node, step, data })),
        [inner]: around
      }
      const services = Array.from(graph.interrupts.values()).reduce(
        (context, kind) =>
          kind.service === undefined ? context : Context.add(context, kind.service, { ask: askFor(kind) }),
        Context.empty() as Context.Context<unknown>
      )

      yield* emit({ _tag: "NodeStarted", node, step })
      const returned = Effect.suspend(() => graph.nodes.get(node)!(position.state, context)).pipe(
        Effect.provideContext(services),
        Effect.map((update): Outcome<U> => ({ _tag: "Returned", node, update: update ?? undefined }))
      )
      const outcome = yield* Effect.raceFirst(
        returned,
        Effect.map(Deferred.await(suspended), (asked): Outcome<U> => ({ _tag: "Asked", node, asked }))
      )
      if (outcome._tag === "Returned") yield* emit({ _tag: "NodeFinished", node, step, update: outcome.update })
      return outcome
    }).pipe(
      Effect.withSpan("StateGraph.node", { attributes: { "graph.name": graph.name, "graph.node": node } }),
      Effect.annotateLogs({ graph: graph.name, node })
    )

  return { view, begin, branch, edit, waiting, answer, encodeResponse, proceed }
}
