/**
 * Durable programs as graphs: nodes are effects, edges are data, and every step is a checkpoint.
 *
 * A graph has a state, nodes that return updates of the state, and edges that name the nodes to run next. The state is
 * saved after each step. Therefore you can resume a run after a crash, a node can ask a person and wait for days (human
 * in the loop), and you can continue from any earlier step (time travel).
 *
 * **Example** (Ask a person)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
 * import { Effect, Schema, Stream } from "effect"
 *
 * class Approval extends StateGraph.Interrupt<Approval>()("Approval", {
 *   request: Schema.Struct({ amount: Schema.Finite }),
 *   response: Schema.Struct({ approved: Schema.Boolean })
 * }) {}
 *
 * const refund = StateGraph.make({
 *   name: "refund",
 *   state: Schema.Struct({ amount: Schema.Finite, approved: Schema.Boolean, paid: Schema.Boolean }),
 *   interrupts: [Approval],
 *   start: "triage",
 *   nodes: {
 *     triage: (state) => Effect.succeed({ approved: state.amount <= 100 }),
 *     approve: (state) => StateGraph.interrupt(Approval, { amount: state.amount }),
 *     pay: () => Effect.succeed({ paid: true })
 *   },
 *   edges: {
 *     triage: (state) => state.approved ? ["pay"] : ["approve"],
 *     approve: (state) => state.approved ? ["pay"] : [],
 *     pay: []
 *   }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const input = { amount: 250, approved: false, paid: false }
 *   yield* StateGraph.run(refund, { threadId: "mail-42", input })
 *   // Days later, in another process:
 *   const [question] = yield* Stream.runCollect(StateGraph.interrupts(refund))
 *   const answers = { [question!.interruptId]: { approved: true } }
 *   const ended = yield* StateGraph.resume(refund, { threadId: "mail-42", answers })
 *   return [question!.kind, ended._tag, ended.state.paid]
 * })
 *
 * const result = await Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory))
 * result // => ["Approval", "Completed", true]
 * ```
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { dual, identity } from "effect/Function"
import type * as Option from "effect/Option"
import { type Pipeable, Prototype } from "effect/Pipeable"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type { CheckpointInfo } from "./Checkpoint.ts"
import type { Checkpointer } from "./Checkpointer.ts"
import type { InvalidInput, InvalidResponse } from "./CheckpointError.ts"
import * as Answering from "./internal/graph/answer.ts"
import * as Definition from "./internal/graph/definition.ts"
import * as Mermaid from "./internal/graph/mermaid.ts"
import { graphMetadata, type Metadata } from "./internal/graph/metadata.ts"
import {
  type AnswerError,
  type AnswerOptions,
  type AnyInterrupt,
  type Continue,
  type Edge,
  internal,
  type InterruptFilter,
  type NodeContext,
  type OpenInterrupt,
  type PendingInterrupt,
  type Plain,
  type ResumeError,
  type ResumeOptions,
  type RunError,
  type RunEvent,
  type RunOptions,
  type RunResult,
  type Settings
} from "./internal/graph/model.ts"
import * as Nested from "./internal/graph/nested.ts"
import * as PendingInterrupts from "./internal/graph/pendingInterrupt.ts"
import type { Ask } from "./internal/graph/question.ts"
import * as Resume from "./internal/graph/resume.ts"
import * as Run from "./internal/graph/run.ts"
import * as Thread from "./internal/graph/thread.ts"
import * as ThreadStatus from "./internal/graph/threadStatus.ts"
import type { Status } from "./internal/graph/threadStatus.ts"
import type { ReadError, ThreadFilter, View } from "./View.ts"

export type { Failure } from "./internal/graph/failure.ts"
export { Metadata } from "./internal/graph/metadata.ts"
export type { Status } from "./internal/graph/threadStatus.ts"

export type {
  AnswerError,
  AnswerOptions,
  Answers,
  AnyInterrupt,
  Continue,
  Edge,
  InterruptFilter,
  NodeContext,
  OnceError,
  OpenInterrupt,
  PendingInterrupt,
  Plain,
  ResumeError,
  ResumeOptions,
  RunError,
  RunEvent,
  RunOptions,
  RunResult,
  Settings,
  Strategy
} from "./internal/graph/model.ts"

// -----------------------------------------------------------------------------
// interrupts
// -----------------------------------------------------------------------------

/**
 * The class that `Interrupt` makes: a kind of question that nodes ask.
 *
 * @category models
 * @since 0.1.0
 */
export interface InterruptClass<
  Self,
  Id extends string,
  Request extends Plain,
  Response extends Plain
> extends Context.ServiceClass<Self, Id, Ask<Request["Type"], Response["Type"]>> {
  readonly request: Request
  readonly response: Response
}

/**
 * Declares a kind of question with the schemas of its request and its response.
 *
 * **Details**
 *
 * A node that asks the question requires the class as a service. The graph provides it if `interrupts` lists it. If it
 * does not, `run` requires a service that nothing provides, and the program does not compile.
 *
 * **Gotchas**
 *
 * The id is stored with each thread that waits for an answer. Do not change it while threads wait. The id `"Pause"` is
 * reserved for pauses. It does not compile, and a graph with it, or with two interrupts of one id, fails with
 * `InvalidInput`.
 *
 * @category interrupts
 * @since 0.1.0
 */
export const Interrupt = <Self>() =>
<const Id extends string, Request extends Plain, Response extends Plain>(
  id: Id & (Id extends "Pause" ? never : unknown),
  options: {
    /** The schema of the question. */
    readonly request: Request
    /** The schema of the answer. If it refuses one, `resume` fails with `InvalidResponse`, and the thread still waits. */
    readonly response: Response
  }
): InterruptClass<Self, Id, Request, Response> =>
  Object.assign(Context.Service<Self, Ask<Request["Type"], Response["Type"]>>()(id), options)

/**
 * Asks a question in a node, and succeeds with the answer.
 *
 * **When to use**
 *
 * Use to put a human in the loop: the run ends here, and `resume` continues it when there is an answer, days later and
 * in another process if need be.
 *
 * **Details**
 *
 * The first time, the question has no answer. The fiber of the node is interrupted here, and its finalizers run. The
 * other nodes of the step still run until they return or ask. Then the questions of all of them are saved, one of each
 * node, and the run ends as `Interrupted`. They can be answered in any order, each by itself or several at once.
 *
 * `answer`, or `resume` with `answers`, saves answers before anything runs. After that, `resume` runs these parts again:
 *
 * - Each node of the step whose question has an answer runs again **from its beginning**. Each `interrupt` that has an
 *   answer returns it at once, and the node continues after it.
 * - Nodes that wait for another answer do not run, and nodes that returned do not run again. Their results were saved.
 * - Earlier steps do not run again.
 *
 * **Gotchas**
 *
 * The code of a node before `interrupt` therefore runs at least twice. Do that work within `NodeContext.once`, which keeps
 * its result.
 *
 * An answer belongs to its question: to the kind, the encoded request, and the number of the question if the node asks
 * the same several times. If the node asks something else when it runs again, for example because the state was edited,
 * the thread waits for an answer to the new question. Make the request from the state, or within
 * `NodeContext.once`. If it differs each time the node runs, because it comes from a model or contains the time, its
 * answers are never used. When a fourth answer in a row goes unused, the run fails with `UnstableRequest`.
 *
 * `interrupt` within `Effect.retry` asks the same question again at each attempt, and each gets an answer of its own. To
 * retry what follows an answer, ask outside of the retry.
 *
 * A node cannot catch the interruption, nor delay it with `Effect.uninterruptible`.
 *
 * @category interrupts
 * @since 0.1.0
 */
export const interrupt = <
  Self,
  Id extends string,
  Request extends Plain,
  Response extends Plain
>(
  kind: InterruptClass<Self, Id, Request, Response>,
  request: Request["Type"]
): Effect.Effect<Response["Type"], never, Self> => kind.use(({ ask }) => ask(request))

// -----------------------------------------------------------------------------
// graphs
// -----------------------------------------------------------------------------

/**
 * A graph. `S` is its state, `Input` the input of `run`, `U` the updates that nodes return, `Node` the names of the
 * nodes, `Answer` the responses that `resume` takes, `E` and `R` the errors and services of the nodes, and `Asks` the
 * interrupts that it declares.
 *
 * @category models
 * @since 0.1.0
 */
export interface StateGraph<
  in out S,
  in out Input,
  in out U,
  out Node extends string,
  in out Answer,
  out E,
  out R,
  out Asks
> extends Pipeable {
  readonly [TypeId]: {
    readonly _Answer: Types.Invariant<Answer>
    readonly _E: Types.Covariant<E>
    readonly _R: Types.Covariant<R>
    readonly _Asks: Types.Covariant<Asks>
  }
  readonly name: string
  readonly namespace: string
  readonly start: Node
  readonly nodes: ReadonlyArray<Node>
  readonly [internal]: Definition.Definition<S, Input, U, E, R>
}

const TypeId = "~@effect-checkpoint/core/StateGraph"

const variance = {
  _Answer: identity,
  _E: identity,
  _R: identity,
  _Asks: identity
}

/**
 * Any graph. Use it to constrain a type parameter.
 *
 * @category utility types
 * @since 0.2.0
 */
export interface Any extends Pipeable {
  readonly [TypeId]: {
    readonly _E: Types.Covariant<unknown>
    readonly _R: Types.Covariant<unknown>
    readonly _Asks: Types.Covariant<unknown>
  }
  readonly name: string
  readonly namespace: string
  readonly start: string
  readonly nodes: ReadonlyArray<string>
}

/**
 * The state of a graph.
 *
 * @category utility types
 * @since 0.2.0
 */
export type State<G extends Any> = G extends
  StateGraph<infer S, infer _Input, infer _U, infer _Node, infer _Answer, infer _E, infer _R, infer _Asks> ? S : never

/**
 * The input that `run` takes.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Input<G extends Any> = G extends
  StateGraph<infer _S, infer Input, infer _U, infer _Node, infer _Answer, infer _E, infer _R, infer _Asks> ? Input
  : never

/**
 * The updates that the nodes of a graph return, and that `resume` takes.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Update<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer U, infer _Node, infer _Answer, infer _E, infer _R, infer _Asks> ? U : never

/**
 * The names of the nodes of a graph.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Node<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer _U, infer Node, infer _Answer, infer _E, infer _R, infer _Asks> ? Node
  : never

/**
 * The responses to the interrupts of a graph, and `"continue"`, which answers a pause.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Answer<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer _U, infer _Node, infer Answer, infer _E, infer _R, infer _Asks> ? Answer
  : never

/**
 * The errors of the nodes of a graph. Running it can fail with `RunError` too.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Error<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer _U, infer _Node, infer _Answer, infer E, infer _R, infer _Asks> ? E : never

/**
 * The services that the nodes of a graph require. Running it requires `Checkpointer` too.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Services<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer _U, infer _Node, infer _Answer, infer _E, infer R, infer _Asks> ? R : never

/**
 * The interrupts that a graph declares. A node that runs the graph with `subgraph` requires them.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Interrupts<G extends Any> = G extends
  StateGraph<infer _S, infer _Input, infer _U, infer _Node, infer _Answer, infer _E, infer _R, infer Asks> ? Asks
  : never

/**
 * The events that `stream` emits for a graph.
 *
 * @category utility types
 * @since 0.2.0
 */
export type Event<G extends Any> = RunEvent<State<G>, Update<G>, Node<G>>

/**
 * How a graph applies updates to its state: with one reducer for whole updates, or field by field. With an `update`
 * schema, `reduce` is required.
 *
 * @category models
 * @since 0.1.0
 */
export type Reduce<S extends Plain, U, Update> = Update extends Plain ? Reducer<S["Type"], U>
  : Reducer<S["Type"], U> | FieldReducers<S>

/**
 * How a graph applies an update to its state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reducer<S, U> {
  /**
   * Returns the state after an update, instead of `reducers`. It decides what becomes of two updates of one step. If it
   * or an edge throws, the run dies with a defect before the step is saved, and `resume` runs the step again.
   */
  readonly reduce: (state: S, update: U) => S
  readonly reducers?: undefined
  readonly conflicts?: undefined
}

/**
 * How a graph applies the fields of an update to those of its state.
 *
 * @category models
 * @since 0.2.0
 */
export interface FieldReducers<S extends Plain> {
  /**
   * The reducers of fields, such as `{ messages: StateGraph.append }`. A reducer gets the field of the state and that of
   * the update, and returns the new one. A field without a reducer is replaced. The state must be a struct.
   *
   * **Gotchas**
   *
   * A reducer gets every field of an update. A node that returns `{ ...state, done: true }` therefore appends all messages
   * again: return only the fields that change. The input of a run is not an update, see `begin`.
   */
  readonly reducers?: Definition.FieldReducersOf<S> | undefined
  /**
   * What to do if two nodes of one step write the same field, and it has no reducer: `"fail"` with `WriteConflict`, which
   * is the default, or let the `"last"` one win, in the order in which the edges name the nodes. If the state is not a
   * struct, two updates always conflict.
   */
  readonly conflicts?: "fail" | "last" | undefined
  readonly reduce?: undefined
}

/**
 * A reducer of a field that adds the items of an update to those of the state. A missing field has no items.
 *
 * **Example** (Let parallel nodes add to one list)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
 * import { Effect, Schema } from "effect"
 *
 * const research = StateGraph.make({
 *   name: "research",
 *   state: Schema.Struct({ topic: Schema.String, found: Schema.Array(Schema.String) }),
 *   reducers: { found: StateGraph.append },
 *   start: "plan",
 *   nodes: {
 *     plan: () => Effect.void,
 *     books: ({ topic }) => Effect.succeed({ found: [`a book about ${topic}`] }),
 *     web: ({ topic }) => Effect.succeed({ found: [`a page about ${topic}`] })
 *   },
 *   edges: { plan: ["books", "web"], books: [], web: [] }
 * })
 *
 * const program = StateGraph.run(research, {
 *   threadId: "1",
 *   input: { topic: "tea", found: [] },
 *   strategy: "Parallel"
 * })
 *
 * const { state } = await Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory))
 * state.found // => ["a book about tea", "a page about tea"]
 * ```
 *
 * @category reducers
 * @since 0.2.0
 */
export const append = <A>(
  current: ReadonlyArray<A> | undefined,
  update: ReadonlyArray<A> | undefined
): Array<A> => [...current ?? [], ...update ?? []]

/**
 * A reducer of a field that adds the keys of an update to those of the state, and replaces those that both have.
 *
 * @category reducers
 * @since 0.2.0
 */
export const merge = <A extends object>(current: A | undefined, update: A | undefined): A =>
  ({ ...current, ...update }) as A

/**
 * Makes a graph.
 *
 * **Details**
 *
 * A node takes the state and returns an update, or nothing. By default an update is some fields of the state, which
 * replace the old ones; fields with `reducers` are combined. If the state is not a struct, an update is a whole new state.
 * With `update` and `reduce` you choose the type of updates yourself.
 *
 * If several nodes run in one step, each gets the state from before the step. Their updates are reduced in the order in
 * which the edges name the nodes. If two of them write the same field, and it has no reducer, the run fails with
 * `WriteConflict`, unless `conflicts` says otherwise.
 *
 * The settings, such as `strategy` and `maxSteps`, are those of all runs. A call can set others for its run.
 *
 * **Gotchas**
 *
 * Nodes run at-least-once: after a crash, the nodes of the unfinished step run again. Use `NodeContext.once` for what
 * should not run again, and `NodeContext.idempotencyKey` for effects elsewhere that must not happen twice.
 *
 * @see {@link run} to run it, and {@link resume} to continue a run
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  S extends Plain,
  const Nodes extends {
    readonly [name: string]: (
      state: S["Type"],
      context: NodeContext
    ) => Effect.Effect<Definition.UpdateOf<S, Update> | void, unknown, unknown>
  },
  Update extends Plain | undefined = undefined,
  Input = S["Type"],
  const Interrupts extends ReadonlyArray<AnyInterrupt> = readonly []
>(
  options:
    & {
      /** The name of the graph, which is stored in each checkpoint. Do not change it while there are threads. */
      readonly name: string
      /** The schema of the state. */
      readonly state: S
      /** The kinds of questions that the nodes ask. */
      readonly interrupts?: Interrupts | undefined
      /** The node that runs first. */
      readonly start: NoInfer<keyof Nodes & string>
      readonly nodes: Nodes & Definition.KnownFields<NoInfer<Nodes>, S, NoInfer<Update>>
      /** The nodes that run after each node. */
      readonly edges: { readonly [K in keyof NoInfer<Nodes>]: Edge<S["Type"], NoInfer<keyof Nodes & string>> }
      /** The schema of updates, if they are not fields of the state. It requires `reduce`. */
      readonly update?: Update
      /**
       * Returns the state that a run begins with, from its input and the saved state. The saved state is `undefined` on a
       * new thread. By default the fields of the input replace those of the saved state, those with reducers too. To
       * append to a saved list, return `append(saved?.list, items)`.
       */
      readonly begin?: ((input: Input, saved: S["Type"] | undefined) => S["Type"]) | undefined
      /**
       * What is stored of the text of a failure, for example without what is secret. By default it is stored as it is.
       * See `status`.
       */
      readonly redact?: ((text: string) => string) | undefined
      /** The namespace of its threads. By default the name of the graph with `%25` for `%` and `%2F` for `/`. */
      readonly namespace?: string | undefined
    }
    & Settings<NoInfer<keyof Nodes & string>>
    & Reduce<S, Definition.UpdateOf<S, NoInfer<Update>>, NoInfer<Update>>
): StateGraph<
  S["Type"],
  Input,
  Definition.UpdateOf<S, Update>,
  keyof Nodes & string,
  Interrupts[number]["response"]["Type"] | Continue,
  Effect.Error<ReturnType<Nodes[keyof Nodes]>>,
  Exclude<Effect.Services<ReturnType<Nodes[keyof Nodes]>>, Definition.SelfOf<Interrupts[number]>>,
  Definition.SelfOf<Interrupts[number]>
> => {
  // The compiler only sees the constraints of the generic `Nodes` and `Update`. This is the one place that states what
  // it cannot see: a definition has the errors of all nodes, and their services without the interrupts of the graph,
  // which `runTask` provides. If there is an `update`, it is the schema of `UpdateOf`.
  const definition = Definition.make(
    options as Definition.Options<
      S["Type"],
      Input,
      Definition.UpdateOf<S, Update>,
      Effect.Error<ReturnType<Nodes[keyof Nodes]>>,
      Exclude<Effect.Services<ReturnType<Nodes[keyof Nodes]>>, Definition.SelfOf<Interrupts[number]>>
    >
  )
  return {
    ...Prototype,
    [TypeId]: variance,
    name: definition.name,
    namespace: definition.namespace,
    start: options.start,
    nodes: Object.keys(options.nodes),
    [internal]: definition
  }
}

/**
 * How a graph runs as a node of another one.
 *
 * @category models
 * @since 0.2.0
 */
export interface SubgraphOptions<S, Input, Node extends string, OuterS, OuterU>
  extends Pick<Settings<Node>, "strategy" | "maxSteps" | "concurrency">
{
  /** Returns the input of the nested graph. */
  readonly input: (state: OuterS) => Input
  /** Returns the update of the outer graph, from the last state of the nested graph and the state before the step. */
  readonly output: (state: S, outer: OuterS) => OuterU
}

/**
 * Makes a graph a node of another graph.
 *
 * **Details**
 *
 * Each visit of the node runs the nested graph from its start, with `input`. Its checkpoints are in the same thread, in
 * the namespace of the outer graph followed by `/` and the name of the node. After a crash or an error the nested graph
 * continues at its own step.
 *
 * The outer graph asks the questions of the nested one, and must list them in `interrupts`.
 *
 * A nested graph runs with its own settings, unless you set others here. Of the run it has the `durability`, and the
 * `concurrency` if it has none itself. A `maxSteps` that you pass to `run` or `resume` raises that of nested graphs too.
 * Where its strategy would stop it, a nested graph pauses, and the response `"continue"` runs its branches as one step.
 *
 * If you branch, restore or fork the outer graph from a version at which the nested graph waited, the nested graph
 * returns to that question, if retention kept it. Any other copy runs the nested graph from its start.
 *
 * **Gotchas**
 *
 * A node runs one graph. If it runs a second one, it fails with `InvalidInput`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const subgraph: {
  <G extends Any, OuterS, OuterU>(
    options: SubgraphOptions<NoInfer<State<G>>, NoInfer<Input<G>>, NoInfer<Node<G>>, OuterS, OuterU>
  ): (graph: G) => (
    state: OuterS,
    context: NodeContext
  ) => Effect.Effect<
    OuterU,
    Error<G> | Exclude<ResumeError, InvalidResponse>,
    Services<G> | Interrupts<G> | Checkpointer
  >
  <S, Input, U, Node extends string, Answer, E, R, Asks, OuterS, OuterU>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    options: SubgraphOptions<NoInfer<S>, NoInfer<Input>, NoInfer<Node>, OuterS, OuterU>
  ): (
    state: OuterS,
    context: NodeContext
  ) => Effect.Effect<OuterU, E | Exclude<ResumeError, InvalidResponse>, R | Asks | Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks, OuterS, OuterU>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  options: SubgraphOptions<S, Input, Node, OuterS, OuterU>
) =>
(
  state: OuterS,
  context: NodeContext
): Effect.Effect<OuterU, E | Exclude<ResumeError, InvalidResponse>, R | Asks | Checkpointer> =>
  Effect.map(
    Nested.runNested(graph[internal], context, options.input(state), options),
    (inner) => options.output(inner, state)
  ))

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

/** The implementation has the names of nodes as strings. Those of a result are nodes of the graph. */
const ofNodes = <S, Node extends string>(result: RunResult<S, string>) => result as RunResult<S, Node>

/**
 * Runs a graph until no node is left, a node asks a question, its strategy stops it, or `maxSteps` are used up.
 *
 * **When to use**
 *
 * Use to begin. Use `resume` to continue after a crash or an error, or with an answer.
 *
 * **Details**
 *
 * On a new thread, the run begins with the input. On a thread whose last run ended, it begins again, with the saved
 * state and the input. On a thread whose run is unfinished, because it failed, waits for an answer or stopped at
 * branches, it fails with `ThreadUnfinished` and writes nothing.
 *
 * If a node fails, the run fails with its error. What was saved before stays saved, and `resume` runs the step again,
 * without those of its nodes that returned. It is the same after an interruption, which waits for the finalizers of the
 * nodes and for a save that is under way.
 *
 * If another process runs the same thread, the second one to save fails with `VersionConflict`. If the thread was not
 * saved by this graph, the run fails with `GraphMismatch`.
 *
 * **Gotchas**
 *
 * In a pipe the types of the options come from the graph. To use `run(options)` elsewhere, name the graph:
 * `StateGraph.run<typeof graph>(options)`.
 *
 * @category operations
 * @since 0.1.0
 */
export const run: {
  <G extends Any>(options: RunOptions<NoInfer<Input<G>>, NoInfer<Node<G>>>): (
    graph: G
  ) => Effect.Effect<RunResult<State<G>, Node<G>>, Error<G> | RunError, Services<G> | Checkpointer>
  <S, Input, U, Node extends string, Answer, E, R, Asks>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    options: RunOptions<NoInfer<Input>, NoInfer<Node>>
  ): Effect.Effect<RunResult<S, Node>, E | RunError, R | Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  options: RunOptions<Input, Node>
): Effect.Effect<RunResult<S, Node>, E | RunError, R | Checkpointer> =>
  Effect.map(Run.run(graph[internal], options, () => Effect.void), ofNodes<S, Node>))

/**
 * Continues a run: after a crash or an error, with the answer to a question, or as a branch from an earlier version.
 *
 * **Details**
 *
 * With `threadId` alone, `resume` continues at the step that was under way, with the answers that were saved. If
 * everything waits for answers, or if the run ended, it returns that result again and writes nothing.
 *
 * After the run has stopped, `resume` runs its branches as one step, and continues with the strategy of the call or of
 * the graph. Pass `next` to run others. An empty list ends the run.
 *
 * After a `StepLimitExceeded`, pass a higher `maxSteps`.
 *
 * With `answers`, `resume` saves them and then continues. If several answers to a question arrive at the same time, also
 * in different processes, one of them is saved, and the others fail with `InterruptAlreadyResolved`. A crash after that
 * does not lose the answer.
 *
 * With `version` or `checkpointId`, a copy of that version becomes the newest version, and `resume` continues from it.
 * All other versions stay as they are. The copy begins a step with other idempotency keys and another interrupt id. It
 * has the results and answers of the step if the version is the newest one or is in the middle of the step.
 *
 * Everything is checked before anything is written: a response that the schema refuses fails with `InvalidResponse`, an
 * unknown node with `InvalidInput`, and a thread that the graph cannot continue with `GraphMismatch`.
 *
 * The settings of the earlier calls of the run still hold. What you pass here replaces them, one by one.
 *
 * @see {@link interrupt} for the nodes that run again
 * @category operations
 * @since 0.1.0
 */
export const resume: {
  <G extends Any>(options: ResumeOptions<NoInfer<Update<G>>, NoInfer<Node<G>>, NoInfer<Answer<G>>>): (
    graph: G
  ) => Effect.Effect<RunResult<State<G>, Node<G>>, Error<G> | ResumeError, Services<G> | Checkpointer>
  <S, Input, U, Node extends string, Answer, E, R, Asks>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    options: ResumeOptions<NoInfer<U>, NoInfer<Node>, NoInfer<Answer>>
  ): Effect.Effect<RunResult<S, Node>, E | ResumeError, R | Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  options: ResumeOptions<U, Node, Answer>
): Effect.Effect<RunResult<S, Node>, E | ResumeError, R | Checkpointer> =>
  Effect.map(Resume.resume(graph[internal], options, () => Effect.void), ofNodes<S, Node>))

/**
 * Saves answers to questions that a thread waits for, by interrupt id, and returns the questions that are still open. It
 * runs nothing: `resume` continues the run.
 *
 * **When to use**
 *
 * Use where an answer arrives, such as in a request handler, and resume elsewhere. A single process can do both with
 * `resume` and `answers`.
 *
 * **Details**
 *
 * All answers are saved or none. Everything is checked before: a response that the schema of its question refuses fails
 * with `InvalidResponse`, and a question that has an answer, or that the thread does not ask, with
 * `InterruptAlreadyResolved`. The same call with the same `answerId` may be repeated until
 * the step has ended.
 *
 * @category operations
 * @since 0.2.0
 */
export const answer: {
  <G extends Any>(options: AnswerOptions<NoInfer<Answer<G>>>): (
    graph: G
  ) => Effect.Effect<ReadonlyArray<PendingInterrupt>, AnswerError, Checkpointer>
  <S, Input, U, Node extends string, Answer, E, R, Asks>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    options: AnswerOptions<NoInfer<Answer>>
  ): Effect.Effect<ReadonlyArray<PendingInterrupt>, AnswerError, Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  options: AnswerOptions<Answer>
): Effect.Effect<ReadonlyArray<PendingInterrupt>, AnswerError, Checkpointer> =>
  Answering.answer(graph[internal], options))

/**
 * Runs a graph, or resumes a run, as a stream of events. The last event has the result.
 *
 * **Details**
 *
 * With an `input` it is `run`, otherwise `resume`. Up to 64 events are buffered, then the run waits for the consumer.
 * If the stream ends early, the run is interrupted, and `resume` continues it. What nodes emit from then on, for example
 * in a finalizer, is dropped.
 *
 * @category operations
 * @since 0.1.0
 */
export const stream: {
  <G extends Any>(
    options:
      | RunOptions<NoInfer<Input<G>>, NoInfer<Node<G>>>
      | ResumeOptions<NoInfer<Update<G>>, NoInfer<Node<G>>, NoInfer<Answer<G>>>
  ): (graph: G) => Stream.Stream<Event<G>, Error<G> | RunError | ResumeError, Services<G> | Checkpointer>
  <S, Input, U, Node extends string, Answer, E, R, Asks>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    options: RunOptions<NoInfer<Input>, NoInfer<Node>> | ResumeOptions<NoInfer<U>, NoInfer<Node>, NoInfer<Answer>>
  ): Stream.Stream<RunEvent<S, U, Node>, E | RunError | ResumeError, R | Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  options: RunOptions<Input, Node> | ResumeOptions<U, Node, Answer>
): Stream.Stream<RunEvent<S, U, Node>, E | RunError | ResumeError, R | Checkpointer> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* Queue.bounded<RunEvent<S, U, Node>, E | RunError | ResumeError | Cause.Done>(64)
    const emit = (event: RunEvent<S, U, string>) => Queue.offer(queue, event as RunEvent<S, U, Node>)
    const result: Effect.Effect<RunResult<S, string>, E | RunError | ResumeError, R | Checkpointer> = "input" in options
      ? Run.run(graph[internal], options, emit)
      : Resume.resume(graph[internal], options, emit)
    const ended = Effect.flatMap(result, (result) => emit({ _tag: "Ended", result }))
    const fiber = yield* Effect.forkScoped(Queue.into(ended, queue))
    // A node that emits uninterruptibly must not wait for a consumer that is gone, and the run must not go on.
    const stop = [Fiber.interrupt(fiber), Queue.shutdown(queue)]
    yield* Effect.addFinalizer(() => Effect.all(stop, { concurrency: "unbounded", discard: true }))
    return Stream.fromQueue(queue)
  })))

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

/**
 * Returns the threads of a graph as a view, to read their history, fork, tag or delete them.
 *
 * @category operations
 * @since 0.1.0
 */
export const view = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>
): Effect.Effect<View<S>, InvalidInput, Checkpointer> => Thread.viewOf(graph[internal])

/**
 * Streams the questions that the threads of a graph wait for, the oldest first.
 *
 * @category operations
 * @since 0.1.0
 */
export const interrupts = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  filter?: InterruptFilter | undefined
): Stream.Stream<OpenInterrupt, ReadError, Checkpointer> => PendingInterrupts.list(graph[internal], filter)

/**
 * Tells where a thread is: what it waits for, why it failed, or whether `resume` can continue it. `None` if the thread does
 * not exist.
 *
 * **Details**
 *
 * Nothing runs, and the state is not read. When a node fails, the message and the cause of its error are stored beside the
 * step, up to 8 KiB, and are there until the step is completed. A copy of the thread does not have them. A failure that
 * cannot be stored within 5 seconds is only logged.
 *
 * @category operations
 * @since 0.2.0
 */
export const status: {
  (threadId: string): <G extends Any>(graph: G) => Effect.Effect<Option.Option<Status>, ReadError, Checkpointer>
  <S, Input, U, Node extends string, Answer, E, R, Asks>(
    graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
    threadId: string
  ): Effect.Effect<Option.Option<Status>, ReadError, Checkpointer>
} = dual(2, <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  threadId: string
): Effect.Effect<Option.Option<Status>, ReadError, Checkpointer> => ThreadStatus.one(graph[internal], threadId))

/**
 * Streams where the threads of a graph are, the one that was saved last first. See `status`.
 *
 * @category operations
 * @since 0.2.0
 */
export const statuses = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>,
  filter?: ThreadFilter | undefined
): Stream.Stream<Status, ReadError, Checkpointer> => ThreadStatus.list(graph[internal], filter)

/**
 * Reads what a graph stored in the metadata of a checkpoint. Returns `None` if no graph saved the checkpoint.
 *
 * **Example** (Read why a version was made)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
 * import { Effect, Option, Schema } from "effect"
 *
 * const graph = StateGraph.make({
 *   name: "count",
 *   state: Schema.Struct({ n: Schema.Int }),
 *   start: "add",
 *   nodes: { add: ({ n }) => Effect.succeed({ n: n + 1 }) },
 *   edges: { add: [] }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const { checkpoint } = yield* StateGraph.run(graph, { threadId: "1", input: { n: 0 } })
 *   const { cause, completedNodes, step } = Option.getOrThrow(StateGraph.metadata(checkpoint))
 *   return [cause, completedNodes, step]
 * })
 *
 * const result = await Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory))
 * result // => ["step", ["add"], 1]
 * ```
 *
 * @category operations
 * @since 0.2.0
 */
export const metadata = (checkpoint: CheckpointInfo): Option.Option<Metadata> => graphMetadata(checkpoint)

/**
 * Draws a graph as a Mermaid flowchart. Edges that depend on the state are dotted. If such an edge has no `to`, it
 * leads to a question mark.
 *
 * @category operations
 * @since 0.1.0
 */
export const toMermaid = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>
): string => Mermaid.toMermaid(graph[internal])
