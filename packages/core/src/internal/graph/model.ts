import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type {
  GraphMismatch,
  InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse,
  StepLimitExceeded,
  ThreadUnfinished,
  VersionConflict
} from "../../CheckpointError.ts"
import type { CopyError } from "../../View.ts"
import type { Answer, Ask, InterruptKind, Question } from "./question.ts"

/** What people see of a graph, and its implementation uses too. `StateGraph` exports it. */

/**
 * A schema that needs no services, as the schemas of a graph are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Plain extends Schema.Constraint {
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/** A schema of a type. */
export interface SchemaOf<A> extends Plain {
  readonly Type: A
}

/**
 * Any kind of question.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnyInterrupt extends Context.Key<unknown, Ask<never, unknown>> {
  readonly request: Plain
  readonly response: Plain
}

/**
 * What answers a pause that `interruptBefore` or `interruptAfter` has made.
 *
 * @category interrupts
 * @since 0.1.0
 */
export type Continue = "continue"

/**
 * A question that a thread waits for.
 *
 * @category models
 * @since 0.1.0
 */
export interface PendingInterrupt {
  readonly threadId: string
  readonly interruptId: string
  /** The id of its `Interrupt`, or `"Pause"` for one that `interruptBefore` or `interruptAfter` made. */
  readonly kind: string
  readonly node: string
  /** As JSON. That of a pause is `{ "pause": "before" | "after", "node": ... }`. */
  readonly request: Schema.Json
}

/**
 * What runs after a node: always the same nodes, or what the state after the step
 * says. An empty list ends the run. With `to` and `when` a graph that is drawn shows
 * which ones it may be, and with `mayEnd` that it may be none.
 *
 * @category models
 * @since 0.1.0
 */
export type Edge<S, Node extends string> =
  | ReadonlyArray<Node>
  | ((state: S) => ReadonlyArray<Node>)
  | {
    readonly to: ReadonlyArray<Node>
    readonly when: (state: S) => ReadonlyArray<Node>
    readonly mayEnd?: boolean | undefined
  }

/**
 * What a node is told beside the state.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodeContext {
  readonly graph: string
  readonly node: string
  readonly threadId: string
  readonly namespace: string
  /** The number of the step in its thread, from 1. */
  readonly step: number
  /**
   * The same each time this node is run for this step, after a crash or an interrupt
   * too, and never otherwise: not at the next visit, in a branch or in another thread. For
   * whatever must happen once outside: a payment, a mail.
   */
  readonly idempotencyKey: string
  /** Tells those who run the graph with `stream`. It is not saved. */
  readonly emit: (data: unknown) => Effect.Effect<void>
  readonly [internal]: OuterTask
}

/**
 * What to do when a step leads to more than one node.
 *
 * - `StopAtNonLinear`: end the run as `Stopped`, with the nodes that it could go on with
 * - `PickFirst`, `PickLast`: go on with that one, the others are not run
 * - `Parallel`: run all of them at the same time, as one step
 *
 * @category models
 * @since 0.1.0
 */
export type Strategy = "StopAtNonLinear" | "PickFirst" | "PickLast" | "Parallel"

/**
 * How a graph is run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings<Node extends string> {
  /** `StopAtNonLinear` by default. */
  readonly strategy?: Strategy | undefined
  /** After so many steps of this call the run fails with `StepLimitExceeded`. 100 by default. */
  readonly maxSteps?: number | undefined
  /** How many nodes of a step run at the same time; all of them by default. */
  readonly concurrency?: number | undefined
  /**
   * When to save: after each `step`, which is the default, or only when the run ends,
   * is interrupted or fails. With `"exit"` a killed process loses its run: what it did is
   * done again, under other idempotency keys.
   */
  readonly durability?: "step" | "exit" | undefined
  /** Pauses before these nodes, until somebody answers `"continue"`. Between two steps a run pauses once. */
  readonly interruptBefore?: ReadonlyArray<Node> | undefined
  /** Pauses after these nodes, until somebody answers `"continue"`. */
  readonly interruptAfter?: ReadonlyArray<Node> | undefined
  /** For the metadata of the checkpoints; the key `graph` is the graph's own. That of the thread so far by default. */
  readonly metadata?: Schema.JsonObject | undefined
}

/**
 * How to begin a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions<Input, Node extends string> extends Settings<Node> {
  readonly threadId: string
  readonly input: Input
}

/**
 * How to go on with a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResumeOptions<U, Node extends string, Answer> extends Settings<Node> {
  readonly threadId: string
  /** Answers what the thread waits for. */
  readonly response?: Answer | undefined
  /** What the response is to answer. Without it, whatever is asked when it arrives. */
  readonly interruptId?: string | undefined
  /** Goes on from this version, as a branch: a new version that is a copy of it. */
  readonly version?: number | undefined
  /** Goes on from this checkpoint, as a branch. */
  readonly checkpointId?: string | undefined
  /** Changes the state first. */
  readonly update?: U | undefined
  /**
   * Goes on with these nodes, in place of those that were to be run next: what is asked
   * there is left unanswered, and what the step has done is left. Several are one step,
   * whatever the strategy.
   */
  readonly next?: ReadonlyArray<Node> | undefined
}

/**
 * How a run ended. All of it is saved.
 *
 * - `Completed`: nothing is left to run
 * - `Interrupted`: it waits for an answer
 * - `Stopped`: the step led to several nodes, and the strategy is to stop there
 *
 * @category models
 * @since 0.1.0
 */
export type RunResult<S, Node extends string> =
  | { readonly _tag: "Completed"; readonly state: S; readonly checkpoint: Checkpoint<S> }
  | {
    readonly _tag: "Interrupted"
    readonly state: S
    readonly checkpoint: Checkpoint<S>
    readonly interrupt: PendingInterrupt
  }
  | {
    readonly _tag: "Stopped"
    readonly state: S
    readonly checkpoint: Checkpoint<S>
    readonly branches: ReadonlyArray<Node>
  }

/**
 * The errors that `run` can fail with, besides those of the nodes.
 *
 * @category errors
 * @since 0.1.0
 */
export type RunError = CopyError | VersionConflict | GraphMismatch | StepLimitExceeded | ThreadUnfinished

/**
 * The errors that `resume` can fail with, besides those of the nodes.
 *
 * @category errors
 * @since 0.2.0
 */
export type ResumeError = Exclude<RunError, ThreadUnfinished> | InterruptAlreadyResolved | InvalidResponse

/** The errors of running steps, which `run`, `resume` and a nested graph share. */
export type StepsError = Exclude<RunError, ThreadUnfinished>

/**
 * What happens in a run. What is told was saved before, where it is to be saved.
 *
 * @category models
 * @since 0.1.0
 */
export type RunEvent<S, U, Node extends string> =
  | { readonly _tag: "NodeStarted"; readonly node: Node; readonly step: number }
  | { readonly _tag: "NodeFinished"; readonly node: Node; readonly step: number; readonly update: U | undefined }
  | { readonly _tag: "Emitted"; readonly node: Node; readonly step: number; readonly data: unknown }
  /** Something happened in a graph that is a node of this one. */
  | { readonly _tag: "Nested"; readonly node: Node; readonly event: RunEvent<unknown, unknown, string> }
  | { readonly _tag: "CheckpointSaved"; readonly checkpoint: CheckpointInfo }
  | { readonly _tag: "InterruptRaised"; readonly interrupt: PendingInterrupt }
  /** The last one. */
  | { readonly _tag: "Ended"; readonly result: RunResult<S, Node> }

/** The key of the internal part of a graph, and of a node's context. */
export const internal = Symbol.for("@effect-checkpoint/core/StateGraph/internal")

/** What a nested graph needs from the task of the outer graph that runs it. */
export interface OuterTask {
  /** Identifies the task among all tasks of all threads. */
  readonly id: string
  readonly settings: Settings<string>
  /** The interrupts of the outer graph. The nested one may raise them too. */
  readonly interrupts: ReadonlyMap<string, InterruptKind>
  /** The answers to questions of the nested graph. */
  readonly answers: ReadonlyArray<Answer>
  /** Makes the outer graph wait for what the nested one waits for. */
  readonly suspend: (question: Question) => Effect.Effect<never>
  readonly emitNested: (event: RunEvent<unknown, unknown, string>) => Effect.Effect<void>
  /** Runs a nested graph if it is the only one of the node so far, not counting those that failed. */
  readonly runOnlyGraph: <A, E, R>(graph: Effect.Effect<A, E, R>) => Effect.Effect<A, E | InvalidInput, R>
}
