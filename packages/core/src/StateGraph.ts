/**
 * Programs as graphs: nodes are effects, edges are data, and every step is a
 * checkpoint.
 *
 * A graph has a state, nodes that return what they change of it, and edges that say
 * what runs next. After each step the state is saved, so a run that dies goes on
 * where it was, a node may ask a person and wait for days, and any earlier step can
 * be gone back to.
 *
 * **Example** (A graph that asks)
 *
 * ```ts import.meta.vitest
 * import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
 * import { Effect, Schema } from "effect"
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
 *   const asked = yield* StateGraph.run(refund, { threadId: "mail-42", input })
 *   // Days later, in another process:
 *   const ended = yield* StateGraph.resume(refund, { threadId: "mail-42", response: { approved: true } })
 *   return [asked._tag, ended._tag, ended.state.paid]
 * })
 *
 * const result = await Effect.runPromise(Effect.provide(program, Checkpointer.layerMemory))
 * result // => ["Interrupted", "Completed", true]
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual, identity } from "effect/Function"
import type * as Option from "effect/Option"
import { type Pipeable, Prototype } from "effect/Pipeable"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type { CheckpointInfo } from "./Checkpoint.ts"
import type { Checkpointer } from "./Checkpointer.ts"
import type { InvalidInput, InvalidResponse } from "./CheckpointError.ts"
import * as Definition from "./internal/graph/definition.ts"
import * as Mermaid from "./internal/graph/mermaid.ts"
import { graphMetadata, type Metadata } from "./internal/graph/metadata.ts"
import {
  type AnyInterrupt,
  type Continue,
  type Edge,
  internal,
  type NodeContext,
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
import type { ReadError, View } from "./View.ts"

export { Metadata } from "./internal/graph/metadata.ts"

export type {
  AnyInterrupt,
  Continue,
  Edge,
  NodeContext,
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
 * A kind of question that a graph asks, which makes a run wait for an answer: the
 * class that `Interrupt` makes.
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
 * Declares a kind of question: what is asked, and what an answer is.
 *
 * **Details**
 *
 * A node that asks requires it, and the graph that names it in `interrupts` provides
 * it. So a question that a graph does not know does not compile. Its id is stored
 * with the checkpoint that waits; keep it as it is while threads wait. `"Pause"` is that
 * of the pauses.
 *
 * @category interrupts
 * @since 0.1.0
 */
export const Interrupt = <Self>() =>
<const Id extends string, Request extends Plain, Response extends Plain>(
  id: Id,
  options: {
    /** What is asked. */
    readonly request: Request
    /** What answers it. A response that it refuses leaves the question open. */
    readonly response: Response
  }
): InterruptClass<Self, Id, Request, Response> =>
  Object.assign(Context.Service<Self, Ask<Request["Type"], Response["Type"]>>()(id), options)

/**
 * Asks, within a node, and succeeds with the answer.
 *
 * **Details**
 *
 * Where there is no answer yet, the node is interrupted here, the question is saved,
 * and the run ends as `Interrupted`. When it is answered the node runs again **from
 * its beginning**, and this time the answer is here. What a node does before it asks
 * is so done twice; do it in a node of its own, or make it idempotent with
 * `NodeContext.idempotencyKey`. A node may ask several times, one after the other and
 * in the same order each time.
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
 * A graph, ready to run: `S` is its state, `Input` what it begins with, `U` what its
 * nodes return, `Answer` what answers its interrupts, and `Asks` the interrupts that
 * it knows.
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
 * How updates change the state. A graph whose updates have a schema of their own has to
 * say so.
 *
 * @category models
 * @since 0.1.0
 */
export type Reduce<S, U, Update> = Update extends Plain ? Reducer<S, U>
  : { readonly [K in keyof Reducer<S, U>]?: Reducer<S, U>[K] | undefined }

/**
 * What becomes of a state and an update.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reducer<S, U> {
  /**
   * What becomes of a state and an update. By default the update's fields take the place
   * of the state's. An error that it or an edge throws is a defect, and the step is run
   * again by `resume`.
   */
  readonly reduce: (state: S, update: U) => S
}

/**
 * Makes a graph.
 *
 * **Details**
 *
 * A node gets the state and returns what it changes of it, or nothing. By default
 * these are some of the state's fields, which are put in place of the old ones (of a
 * state that is not a struct it is the whole new one); with `update` and `reduce` it is
 * what you like. In a step of several nodes, each gets the state from before the step,
 * and what they return is reduced in the order in which the edge names them.
 *
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
  options: {
    /** Names the graph in what is stored. Keep it as it is while threads are unfinished. */
    readonly name: string
    readonly state: S
    /** The kinds of questions that its nodes ask. */
    readonly interrupts?: Interrupts | undefined
    /** The node that a run begins with. */
    readonly start: NoInfer<keyof Nodes & string>
    readonly nodes: Nodes
    /** What runs after each node. */
    readonly edges: { readonly [K in keyof NoInfer<Nodes>]: Edge<S["Type"], NoInfer<keyof Nodes & string>> }
    /** What nodes return, where that is not some of the state's fields. It goes with `reduce`. */
    readonly update?: Update
    /**
     * The state that a run begins with, from its input and, on a thread that has ended
     * before, the state it has. By default the input's fields take the place of the
     * saved ones.
     */
    readonly begin?: ((input: Input, saved: S["Type"] | undefined) => S["Type"]) | undefined
    /** Where its threads are; the graph's name by default. */
    readonly namespace?: string | undefined
  } & Reduce<S["Type"], Definition.UpdateOf<S, NoInfer<Update>>, NoInfer<Update>>
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
  // Of the generic `Nodes` and `Update` the compiler sees only the constraints. This is the one place that states what
  // it cannot see: a definition has the errors of all nodes and their services, except for those of the graph's
  // interrupts, which `runTask` provides; and if there is an `update`, it is the schema of `UpdateOf`.
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
  readonly input: (state: OuterS) => Input
  readonly output: (state: S, outer: OuterS) => OuterU
}

/**
 * A graph as a node of another one.
 *
 * **Details**
 *
 * Its checkpoints are in the same thread, in the namespace of the outer graph, a
 * slash and the node's name, so that a crash inside goes on inside. Each time the outer
 * graph comes to the node, it begins anew with `input`; where its strategy stops it, it
 * has ended. What it asks, the outer graph asks: name its interrupts there. A branch
 * of the outer graph from where the inner one had asked goes back to that question
 * inside, if retention has kept it; another branch, or a fork, begins the inner one
 * anew. A node runs one graph; a second one in the same node is an `InvalidInput`.
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

/** The implementation knows nodes as strings. Those that it returns are nodes of the graph. */
const ofNodes = <S, Node extends string>(result: RunResult<S, string>) => result as RunResult<S, Node>

/**
 * Runs a graph until it ends, asks, or has used up its steps.
 *
 * **Details**
 *
 * On a new thread it begins with the input. On one that has ended it begins again,
 * with the state that is saved and the input. On one that is unfinished it fails with
 * `ThreadUnfinished`, and `resume` goes on.
 *
 * An error of a node fails the run; what was saved before is there, and `resume` runs
 * the step again, without those of its nodes that had finished. So it does after an
 * interruption, which waits for nodes that clean up, and for a save that is under way.
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
 * Goes on with a run: after a crash or an error, with an answer to what it waits for,
 * or from an earlier version as a branch.
 *
 * **Details**
 *
 * On a thread that has ended, it returns how. On one that waits, without a response,
 * it returns that it waits. Whatever is refused, a response or a node's name, is refused
 * before anything is written. An answer is saved before anything runs: of several that
 * come at the same time one is taken, the others fail with
 * `InterruptAlreadyResolved`, and a crash after it does not lose it.
 *
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
 * Runs a graph, or goes on with a run, as a stream of what happens. The last event is
 * the result.
 *
 * **Details**
 *
 * It is `run` where there is an `input` and `resume` otherwise. The run waits when 64
 * events have not been taken, and is interrupted with the stream; `resume` goes on.
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
  Stream.callback((queue) => {
    const emit = (event: RunEvent<S, U, string>) => Queue.offer(queue, event as RunEvent<S, U, Node>)
    const result: Effect.Effect<RunResult<S, string>, E | RunError | ResumeError, R | Checkpointer> = "input" in options
      ? Run.run(graph[internal], options, emit)
      : Resume.resume(graph[internal], options, emit)
    return Effect.andThen(
      Effect.flatMap(result, (result) => emit({ _tag: "Ended", result })),
      Queue.end(queue)
    )
  }, { bufferSize: 64, strategy: "suspend" }))

// -----------------------------------------------------------------------------
// looking
// -----------------------------------------------------------------------------

/**
 * The graph's threads as a view, for their history, versions, tags and deletion.
 *
 * @category operations
 * @since 0.1.0
 */
export const view = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>
): Effect.Effect<View<S>, InvalidInput, Checkpointer> => Thread.viewOf(graph[internal])

/**
 * What the graph's threads wait for, those that have moved last first.
 *
 * @category operations
 * @since 0.1.0
 */
export const interrupts = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>
): Stream.Stream<PendingInterrupt, ReadError, Checkpointer> => PendingInterrupts.list(graph[internal])

/**
 * Reads what a graph keeps in the metadata of a checkpoint. It is `None` if no graph has
 * written the checkpoint.
 *
 * **Example** (What the versions of a thread are)
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
 * The graph as a Mermaid flowchart. Edges that depend on the state are dotted; those
 * that do not say where they may lead, lead to a question mark.
 *
 * @category operations
 * @since 0.1.0
 */
export const toMermaid = <S, Input, U, Node extends string, Answer, E, R, Asks>(
  graph: StateGraph<S, Input, U, Node, Answer, E, R, Asks>
): string => Mermaid.toMermaid(graph[internal])
