import { uuidV7Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type { PutError, Selector, View } from "../../Checkpointer.ts"
import {
  CheckpointNotFound,
  InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse,
  type StateDecodeError,
  StepLimitExceeded,
  type VersionConflict
} from "../../CheckpointError.ts"
import * as Metrics from "../metrics.ts"
import type { Definition } from "./definition.ts"
import { baseOf, damaged, type Meta, ownMeta, pendingOf } from "./meta.ts"
import type { Event, ResumeOptions, RunError, RunResult } from "./model.ts"
import * as Node from "./node.ts"
import { type Answer, type Asked, pause } from "./question.ts"

/*
 * All that one run does on one thread. The thread's newest checkpoint says all there is to know: the state, what is to
 * be run next, and in the metadata what is in `Meta`. Beside it are the pending writes of the step that begins there:
 * what its nodes have returned, and what was answered.
 */

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
  /** The pending writes of the step, to which its nodes add. */
  readonly done: Record<string, Schema.Json>
}

/** A question that a run is to wait for. */
interface Question extends Asked {
  readonly node: string
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** How often a change is tried to be saved while the thread moves for other reasons. */
const maxConflicts = 20

/** Fails if one of the nodes is not the graph's. */
export const checkNodes = <S, Input, U, E, R>(
  graph: Definition<S, Input, U, E, R>,
  field: string,
  nodes: ReadonlyArray<string>
): Effect.Effect<void, InvalidInput> => {
  const unknown = nodes.find((node) => !graph.nodes.has(node))
  return unknown === undefined ? Effect.void : Effect.fail(
    new InvalidInput({ field, reason: `graph "${graph.name}" has no node "${unknown}"` })
  )
}

export const make = <S, Input, U, E, R>(view: View<S>, running: Node.Running<S, Input, U, E, R>) => {
  const { graph, settings, tell, threadId } = running
  const { namespace } = view
  const { durability = "step", maxSteps = 100, strategy = "StopAtNonLinear" } = settings
  /** Names the steps that this run comes to, also while they are not saved. */
  const runId = uuidV7Unsafe()

  // ---- reading

  /** The newest version, or the one that is selected. */
  const read = Effect.fnUntraced(function*(selector: Selector | undefined) {
    const found = yield* view.get(threadId, selector)
    if (Option.isSome(found)) return found.value
    const name = selector === undefined
      ? "its latest version"
      : selector.version === undefined
      ? `id "${selector.checkpointId}"`
      : `version ${selector.version}`
    return yield* new CheckpointNotFound({ threadId, namespace, selector: name })
  })

  /** Fails if the graph cannot go on from there. */
  const check = Effect.fnUntraced(function*(
    head: Checkpoint<S>,
    next: ReadonlyArray<string>
  ): Effect.fn.Return<void, StateDecodeError> {
    yield* ownMeta(graph, head)
    const unknown = next.find((node) => !graph.nodes.has(node))
    if (unknown !== undefined) {
      yield* damaged(head, `it goes on with node "${unknown}", which graph "${graph.name}" does not have`)
    }
  })

  const pendingIn = (head: Checkpoint<S>) =>
    Effect.mapError(
      Effect.fromOption(pendingOf(graph, head)),
      () => damaged(head, "its pending interrupt was not raised by a graph")
    )

  const waiting = (head: Checkpoint<S>) =>
    Effect.map(pendingIn(head), (interrupt) => ({
      _tag: "Interrupted" as const,
      state: head.state,
      checkpoint: head,
      interrupt
    }))

  // ---- saving

  const metadataOf = (head: CheckpointInfo | undefined, meta: Meta): Schema.JsonObject => ({
    ...settings.metadata ?? head?.metadata,
    graph: meta
  })

  const tellSaved = <A extends Checkpoint<S>>(checkpoint: A): Effect.Effect<A> =>
    Effect.as(tell({ _tag: "CheckpointSaved", checkpoint }), checkpoint)

  /** Saves where a run is, after what it has seen as the newest. */
  const save = Effect.fnUntraced(function*(
    position: Position<S>,
    question?: Question | undefined
  ): Effect.fn.Return<Position<S> & { readonly head: Checkpoint<S> }, PutError | VersionConflict> {
    const { base, done, head, isSaved, next, state } = position
    const meta: Meta = {
      ...position.meta,
      base,
      ...(isSaved ? { source: "interrupt", writers: [] } : {}),
      ...(question === undefined ? {} : { asked: askedOf(question) })
    }
    const saved = yield* view.put({
      ...(head === undefined ? { threadId, expectedVersion: 0 } : { parent: head }),
      state,
      nextNodes: next,
      pendingInterrupt: question && { interruptId: question.interruptId, request: question.request },
      metadata: metadataOf(head, meta),
      writes: done
    })
    return { ...position, head: saved, isSaved: true, meta }
  })

  const askedOf = ({ key, kind, node, within }: Question): NonNullable<Meta["asked"]> => ({
    kind,
    node,
    key,
    ...(within === undefined ? {} : { within })
  })

  // ---- entering

  /** Begins anew, after what is there. */
  const begin = (
    head: Checkpoint<S> | undefined,
    done: number,
    state: S,
    invocation?: string | undefined
  ) =>
    drive(positionAt(head, state, [graph.start], {
      name: graph.name,
      step: done,
      source: "input",
      writers: [],
      ...(invocation === undefined ? {} : { invocation })
    }))

  /** A position that is not saved yet, and the name of the step that begins there. */
  const positionAt = (
    head: Checkpoint<S> | undefined,
    state: S,
    next: ReadonlyArray<string>,
    meta: Meta
  ): Position<S> => ({ head, isSaved: false, state, next, meta, base: `${runId}/${meta.step}`, done: {} })

  /** A copy of an earlier version as the newest one, from which a run goes on otherwise. */
  const branch = Effect.fnUntraced(function*(target: Checkpoint<S>, invocation?: string | undefined) {
    const { base: _, ...meta } = yield* ownMeta(graph, target)
    const restored = yield* view.restore(threadId, { version: target.version }, {
      metadata: metadataOf(target, {
        ...meta,
        source: "branch",
        writers: [],
        ...(invocation === undefined ? {} : { invocation })
      }),
      writes: yield* view.writes(target)
    })
    return yield* tellSaved(restored)
  })

  /** What a response is to what a checkpoint asks. */
  const answerTo = Effect.fnUntraced(function*(
    head: Checkpoint<S>,
    { interruptId, response }: Pick<ResumeOptions<U, string, unknown>, "interruptId" | "response">
  ) {
    const pending = Option.isNone(head.pendingInterrupt) ? undefined : yield* pendingIn(head)
    if (pending === undefined || (interruptId ?? pending.interruptId) !== pending.interruptId) {
      return yield* alreadyResolved(head, interruptId)
    }
    const kind = graph.interrupts.get(pending.kind)
    if (kind === undefined) {
      return yield* damaged(head, `it asks "${pending.kind}", which graph "${graph.name}" does not know`)
    }
    const json = yield* Effect.mapError(kind.response.encode(response), (cause) =>
      new InvalidResponse({
        threadId,
        namespace,
        interruptId: pending.interruptId,
        kind: kind.name,
        reason: cause.message,
        cause
      }))
    return { interruptId: pending.interruptId, response: json }
  })

  const alreadyResolved = ({ version }: CheckpointInfo, interruptId: string | undefined): InterruptAlreadyResolved =>
    new InterruptAlreadyResolved({ threadId, namespace, version, interruptId })

  /**
   * Saves what the caller has to say: an answer, if nobody was faster with it, another state, or other nodes to go on
   * with. An answer is tried again where the thread has moved and asks the same still, with a state that somebody has
   * corrected.
   */
  const change = Effect.fnUntraced(function*(
    from: Checkpoint<S>,
    { answer, next, update }: Pick<ResumeOptions<U, string, never>, "update" | "next"> & {
      readonly answer?: Pick<Answer, "interruptId" | "response"> | undefined
    }
  ) {
    if (answer === undefined && next === undefined && update === undefined) return from
    let head = from
    for (let conflicts = 0;; conflicts++) {
      const { asked, branches, ...meta } = yield* ownMeta(graph, head)
      const base = next === undefined ? baseOf(head, meta) : `${runId}/${meta.step}`
      const isAsking = asked !== undefined && answer === undefined && next === undefined
      const saved = yield* Effect.result(view.put({
        parent: head,
        state: update === undefined ? head.state : graph.reduce(head.state, update),
        nextNodes: next === undefined ? head.nextNodes : Array.from(new Set(next)),
        pendingInterrupt: isAsking ? Option.getOrUndefined(head.pendingInterrupt) : undefined,
        metadata: metadataOf(head, {
          ...meta,
          source: answer === undefined ? "edit" : "answer",
          writers: [],
          base,
          ...(isAsking ? { asked } : {}),
          ...(branches === undefined || next !== undefined ? {} : { branches })
        }),
        writes: answer === undefined || asked === undefined ? {} : {
          [asked.key]: {
            ...answer,
            kind: asked.kind,
            node: asked.node,
            ...(asked.within === undefined ? {} : { within: asked.within })
          }
        },
        keepsWrites: next === undefined,
        resolvesInterrupt: Option.isSome(head.pendingInterrupt)
      }))
      if (Result.isSuccess(saved)) return yield* tellSaved(saved.success)
      if (answer === undefined || saved.failure._tag !== "VersionConflict" || conflicts === maxConflicts) {
        return yield* Effect.fail(saved.failure)
      }
      head = yield* read(undefined)
      if (Option.getOrUndefined(head.pendingInterrupt)?.interruptId !== answer.interruptId) {
        return yield* alreadyResolved(head, answer.interruptId)
      }
    }
  })

  /** Goes on from a checkpoint, or says what it waits for. */
  const proceed = Effect.fnUntraced(function*(head: Checkpoint<S>) {
    if (Option.isSome(head.pendingInterrupt)) return yield* waiting(head)
    const meta = yield* ownMeta(graph, head)
    return yield* drive({
      head,
      isSaved: true,
      state: head.state,
      next: head.nextNodes,
      meta,
      base: baseOf(head, meta),
      done: head.nextNodes.length === 0 ? {} : { ...yield* view.writes(head) }
    })
  })

  // ---- running

  /** Interrupted is a run only while its nodes run and while somebody is told. */
  const drive = (from: Position<S>): Effect.Effect<RunResult<S, string>, E | RunError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        let position = from
        let question: Question | undefined
        let events: Array<Event<S, U, string>> = []

        const tellAll = Effect.suspend(() => Effect.forEach(events, tell, { discard: true }))

        /** What may fail: what was done before, and is not saved, is saved then. */
        const guarded = <A, E, R>(
          effect: Effect.Effect<A, E, R>
        ): Effect.Effect<A, E | PutError | VersionConflict, R> =>
          Effect.onExit(effect, (exit) =>
            Exit.isSuccess(exit) || position.isSaved
              ? Effect.void
              : Effect.flatMap(save(position), ({ head }) => Effect.asVoid(Effect.exit(restore(tellSaved(head))))))

        for (let steps = 0;; steps++) {
          const isLimited = steps === maxSteps
          if (question === undefined && !isLimited) question = pauseBefore(position)
          const isLast = question !== undefined || isLimited || position.next.length === 0
          if (question !== undefined || (!position.isSaved && (durability === "step" || isLast))) {
            const saved: Position<S> & { readonly head: Checkpoint<S> } = yield* save(position, question)
            position = saved
            events.push({ _tag: "CheckpointSaved", checkpoint: saved.head })
          }
          if (question !== undefined) {
            const raised = Option.toArray(pendingOf(graph, position.head!))
            events.push(...raised.map((interrupt) => ({ _tag: "InterruptRaised" as const, interrupt })))
          }
          yield* guarded(restore(tellAll))
          if (isLast) return yield* resultOf(position)
          events = []
          const outcomes = yield* guarded(runNodes(position, restore, events))
          const asking = outcomes.find((outcome) => outcome._tag === "Asked")
          if (asking !== undefined) {
            question = { ...asking.asked, node: asking.node }
          } else {
            const writers = outcomes as ReadonlyArray<Node.Returned<U>>
            position = yield* guarded(advance(position, writers))
            yield* Metric.update(Metrics.graphSteps, 1)
            question = pauseAfter(position)
          }
        }
      })
    )

  /** How a run ends that goes no further. */
  const resultOf = Effect.fnUntraced(function*(position: Position<S>) {
    const { meta: { branches }, next, state } = position
    const head = position.head!
    if (Option.isSome(head.pendingInterrupt)) return yield* waiting(head)
    if (next.length > 0) {
      return yield* new StepLimitExceeded({ threadId, namespace, maxSteps, version: head.version, nextNodes: next })
    }
    return branches === undefined
      ? { _tag: "Completed" as const, state, checkpoint: head }
      : { _tag: "Stopped" as const, state, checkpoint: head, branches }
  })

  const pauseOf = (when: "before" | "after", { base }: Position<S>, node: string): Question => ({
    kind: pause,
    node,
    interruptId: `${base}/${node}/${when}`,
    request: { pause: when, node },
    key: Node.pausedKey
  })

  const pauseBefore = (position: Position<S>): Question | undefined => {
    const node = position.done[Node.pausedKey] === undefined
      ? position.next.find((node) => settings.interruptBefore?.includes(node))
      : undefined
    return node === undefined ? undefined : pauseOf("before", position, node)
  }

  const pauseAfter = (position: Position<S>): Question | undefined => {
    const node = position.meta.writers.find((node) => settings.interruptAfter?.includes(node))
    return node === undefined ? undefined : pauseOf("after", position, node)
  }

  /** Runs the nodes of a step. Once all have returned or asked, an interruption comes too late for the step. */
  const runNodes = (
    position: Position<S>,
    restore: Restore,
    untold: Array<Event<S, U, string>>
  ): Effect.Effect<ReadonlyArray<Node.Outcome<U>>, E | RunError, R> => {
    const { base, done, head, isSaved, meta, next, state } = position
    const step: Node.Step<S> = { base, number: meta.step + 1, state, version: head?.version ?? 0 }
    const finished = ({ node, update }: Node.Returned<U>): Event<S, U, string> => ({
      _tag: "NodeFinished",
      node,
      step: step.number,
      update
    })
    if (next.length === 1) {
      return Effect.map(restore(Node.runNode(running, step, next[0]!, done)), (outcome) => {
        if (outcome._tag === "Returned") untold.push(finished(outcome))
        return [outcome]
      })
    }
    const outcomes = new Map<string, Node.Outcome<U>>()
    let left = next.filter((node) => done[Node.updateKey(node)] === undefined).length
    // What a node has returned is kept at once: it is not run again, whatever becomes of the others.
    const keep = Effect.fnUntraced(function*(outcome: Node.Outcome<U>, restore: Restore) {
      left--
      if (outcome._tag === "Asked") {
        outcomes.set(outcome.node, outcome)
        return
      }
      const write = yield* Node.encodeUpdate(running, outcome)
      const key = Node.updateKey(outcome.node)
      done[key] = write
      // The last one is saved with the step, and told of after it.
      const isKept = left > 0 || !isSaved
      if (isKept && isSaved) yield* view.saveWrites(head!, { [key]: write })
      outcomes.set(outcome.node, outcome)
      if (isKept) yield* restore(tell(finished(outcome)))
      else untold.push(finished(outcome))
    })
    const runOrRead = (node: string): Effect.Effect<unknown, E | RunError, R> => {
      const write = done[Node.updateKey(node)]
      return write === undefined
        ? Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(restore(Node.runNode(running, step, node, done)), (outcome) => keep(outcome, restore))
        )
        : Effect.map(Node.decodeUpdate(running, step, node, write), (outcome) => outcomes.set(node, outcome))
    }
    return Effect.forEach(next, runOrRead, { concurrency: settings.concurrency ?? "unbounded", discard: true }).pipe(
      restore,
      Effect.catchCause((cause) => outcomes.size === next.length ? Effect.void : Effect.failCause(cause)),
      Effect.map(() => next.map((node) => outcomes.get(node)!))
    )
  }

  /** The step as one change of the state, and what it leads to. */
  const advance = Effect.fnUntraced(function*(
    { head, meta: { invocation, step }, state: before }: Position<S>,
    outcomes: ReadonlyArray<Node.Returned<U>>
  ) {
    const state = outcomes.reduce(
      (state, { update }) => update === undefined ? state : graph.reduce(state, update),
      before
    )
    const writers = outcomes.map(({ node }) => node)
    const successors = Array.from(new Set(writers.flatMap((node) => successorsOf(node, state))))
    yield* checkNodes(graph, `edges of ${writers.join(", ")}`, successors)
    const next = pick(successors)
    return positionAt(head, state, next, {
      name: graph.name,
      step: step + 1,
      source: "step",
      writers,
      ...(invocation === undefined ? {} : { invocation }),
      ...(next.length === 0 && successors.length > 0 ? { branches: successors } : {})
    })
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

  return { begin, read, check, answerTo, branch, change, proceed }
}
