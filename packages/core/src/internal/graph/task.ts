import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import { InvalidInput, SchemaMismatch, StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import type * as Codec from "../codec.ts"
import { internal, type NodeContext, type OuterTask } from "./model.ts"
import {
  interruptServices,
  type Question,
  suspend,
  type Suspension,
  type SuspensionError,
  type TaskLocation
} from "./question.ts"
import type { RunContext } from "./runContext.ts"

/** A task is one run of a node in a step. A pending write holds its update. */

/** What a task needs of its run. */
export type TaskRun<S, U, E, R> = Pick<RunContext<S, U, E, R>, "graph" | "settings" | "emit" | "threadId" | "view">

/** The step that a task belongs to. */
export interface Step<S> {
  readonly id: string
  /** Its number in the thread, from 1. */
  readonly number: number
  /** The state before the step. */
  readonly state: S
  /** The version at which the step begins, or 0 if none is saved. */
  readonly version: number
  readonly questions: ReadonlyArray<Question>
  /** Runs effects of a node once. */
  readonly once: (node: string) => NodeContext["once"]
}

/** How a task ended, if it did not fail. */
export type TaskOutcome<U> = Returned<U> | Asked

export interface Returned<U> {
  readonly _tag: "Returned"
  readonly node: string
  readonly update: U | undefined
}

export interface Asked {
  readonly _tag: "Asked"
  readonly node: string
  readonly questions: ReadonlyArray<Question>
}

const taskId = <S>(step: Step<S>, node: string): string => `${step.id}/${node}`

/** Runs a node until it returns, fails, or asks a question that has no answer yet. */
export const runTask = <S, U, E, R>(
  run: TaskRun<S, U, E, R>,
  step: Step<S>,
  node: string
): Effect.Effect<TaskOutcome<U>, E | SuspensionError, R> =>
  Effect.suspend(() => {
    const { emit, graph, threadId, view: { namespace } } = run
    const suspension: Suspension = Deferred.makeUnsafe()
    let ended: Exit.Exit<unknown, E | StateEncodeError> | undefined
    const location: TaskLocation = {
      graph: graph.name,
      threadId,
      namespace,
      version: step.version,
      stepId: step.id,
      node
    }
    const context = nodeContext(run, step, node, suspension)
    const returned = Effect.withFiber<U | void, E, R>((fiber) =>
      Effect.provideContext(
        Effect.suspend(() => graph.nodes.get(node)!(step.state, context)),
        interruptServices(graph.interrupts, location, step.questions, suspension, fiber)
      )
    ).pipe(
      Effect.flatMap((update) => returnedOf(run, step, node, update as U | undefined)),
      Effect.onExit((exit) => Effect.sync(() => ended = exit))
    )
    const asked = Effect.map(
      Deferred.await(suspension),
      (questions): TaskOutcome<U> => ({ _tag: "Asked", node, questions })
    )
    return Effect.andThen(
      emit({ _tag: "NodeStarted", node, step: step.number }),
      Effect.raceFirst(returned, asked)
    ).pipe(
      // The race drops the exit of a node that asks. Its finalizers may have failed.
      Effect.tap(({ _tag }) => _tag === "Asked" && ended !== undefined ? withoutInterrupts(ended) : Effect.void),
      Effect.withSpan("StateGraph.node", { attributes: { "graph.name": graph.name, "graph.node": node } }),
      Effect.annotateLogs({ threadId, namespace, graph: graph.name, node })
    )
  })

const returnedOf = <S, U, E, R>(
  { graph, threadId, view: { namespace } }: TaskRun<S, U, E, R>,
  { state }: Step<S>,
  node: string,
  update: U | undefined
): Effect.Effect<TaskOutcome<U>, StateEncodeError> => {
  const field = update === undefined ? undefined : graph.unknownField(update, state)
  return field === undefined
    ? Effect.succeed({ _tag: "Returned", node, update })
    : Effect.fail(
      new StateEncodeError({
        threadId,
        namespace,
        problem: `the update of node "${node}" has the field "${field}", which its schema does not have`
      })
    )
}

/** Fails with what went wrong in a node besides its interruption. */
const withoutInterrupts = <E>(exit: Exit.Exit<unknown, E>): Effect.Effect<void, E> => {
  const reasons = Exit.isSuccess(exit) ? [] : exit.cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
  return reasons.length === 0 ? Effect.void : Effect.failCause(Cause.fromReasons(reasons))
}

const nodeContext = <S, U, E, R>(
  run: TaskRun<S, U, E, R>,
  step: Step<S>,
  node: string,
  suspension: Suspension
): NodeContext => ({
  graph: run.graph.name,
  node,
  threadId: run.threadId,
  namespace: run.view.namespace,
  step: step.number,
  idempotencyKey: taskId(step, node),
  emit: (data) => Effect.asVoid(run.emit({ _tag: "Emitted", node, step: step.number, data })),
  once: step.once(node),
  [internal]: outerTask(run, step, node, suspension)
})

const outerTask = <S, U, E, R>(
  { emit, graph, settings }: TaskRun<S, U, E, R>,
  step: Step<S>,
  node: string,
  suspension: Suspension
): OuterTask => ({
  id: taskId(step, node),
  settings,
  interrupts: graph.interrupts,
  graph: graph.name,
  questions: step.questions.filter(({ about }) => about.node === node && about.nested !== undefined),
  suspend: (questions) => suspend(suspension, Effect.succeed(questions)),
  emitNested: (event) => Effect.asVoid(emit({ _tag: "Nested", node, event })),
  runOnlyGraph: onlyGraph(node)
})

const onlyGraph = (node: string): OuterTask["runOnlyGraph"] => {
  let hasRun = false
  return <A, E, R>(graph: Effect.Effect<A, E, R>) =>
    Effect.suspend((): Effect.Effect<A, E | InvalidInput, R> => {
      if (hasRun) {
        const reason = `node "${node}" runs more than one graph; give each graph its own node`
        return Effect.fail(new InvalidInput({ field: "nodes", problem: reason }))
      }
      hasRun = true
      return Effect.onError(graph, () => Effect.sync(() => hasRun = false))
    })
}

/** Encodes what a task returned as a pending write. */
export const encodeUpdate = <U>(
  codec: Codec.Codec<U>,
  { namespace, threadId }: Pick<TaskLocation, "threadId" | "namespace">,
  { node, update }: Returned<U>
): Effect.Effect<Schema.Json, StateEncodeError> =>
  update === undefined ? Effect.succeed({}) : Effect.mapBoth(codec.encode(update), {
    onFailure: (cause) =>
      new StateEncodeError({
        threadId,
        namespace,
        problem: `the update of node "${node}" does not match its schema: ${cause.message}`,
        cause
      }),
    onSuccess: (value) => ({ value })
  })

/** Decodes the pending write of a task that returned when its step ran before. */
export const decodeUpdate = <U>(
  codec: Codec.Codec<U>,
  { namespace, node, threadId, version }: Omit<TaskLocation, "graph" | "stepId">,
  write: Schema.Json
): Effect.Effect<Returned<U>, StateDecodeError> =>
  Predicate.hasProperty(write, "value")
    ? Effect.mapBoth(codec.decode(write.value as Schema.Json), {
      onFailure: (cause) =>
        new StateDecodeError({
          threadId,
          namespace,
          version,
          reason: new SchemaMismatch({
            message: `the saved update of node "${node}" no longer matches its schema: ${cause.message}`,
            cause
          }),
          raw: write
        }),
      onSuccess: (update) => ({ _tag: "Returned", node, update })
    })
    : Effect.succeed({ _tag: "Returned", node, update: undefined })
