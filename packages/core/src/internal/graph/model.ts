import type * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import type {
  CheckpointNotFound,
  GraphMismatch,
  InterruptAlreadyResolved,
  InvalidInput,
  InvalidResponse,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  StepLimitExceeded,
  StoreError,
  ThreadUnfinished,
  UnstableRequest,
  VersionConflict,
  WriteConflict
} from "../../CheckpointError.ts"
import type { CopyError, ReadError } from "../../View.ts"
import type { Metadata } from "./metadata.ts"
import type { Ask, InterruptKind, Question } from "./question.ts"

/** The public types that the implementation of graphs uses too. `StateGraph` exports them. */

/**
 * A schema that requires no services. All schemas of a graph are of this kind.
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
 * Any class that `Interrupt` made.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnyInterrupt extends Context.Key<unknown, Ask<never, unknown>> {
  readonly request: Plain
  readonly response: Plain
}

/**
 * The answer to a pause of `interruptBefore` or `interruptAfter`.
 *
 * @category interrupts
 * @since 0.1.0
 */
export type Continue = "continue"

/**
 * An interrupt that a thread waits for: a question that a node asked, or a pause.
 *
 * @category models
 * @since 0.1.0
 */
export interface PendingInterrupt {
  readonly threadId: string
  readonly interruptId: string
  /** The id of the class that `Interrupt` made, or `"Pause"` for a pause of `interruptBefore` or `interruptAfter`. */
  readonly kind: string
  /** The node that asked, or at which the run paused. */
  readonly node: string
  /** The request as JSON. That of a pause is `{ "pause": "before" | "after", "node": ... }`. */
  readonly request: Schema.Json
}

/**
 * A question that a thread waits for, with when it was asked.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenInterrupt extends PendingInterrupt {
  readonly askedAt: DateTime.Utc
  /** The newest version of the thread. */
  readonly version: number
}

/**
 * Selects questions that threads wait for. All conditions that are given must hold.
 *
 * @category models
 * @since 0.2.0
 */
export interface InterruptFilter {
  /** The id of the class that `Interrupt` made, or `"Pause"`. */
  readonly kind?: string | undefined
}

/**
 * Responses to questions, by interrupt id.
 *
 * @category models
 * @since 0.2.0
 */
export interface Answers<Answer> {
  readonly [interruptId: string]: Answer
}

/**
 * The nodes that run after a node: a fixed list, or a function of the state after the step. An empty list ends the run.
 *
 * **Details**
 *
 * `to` lists the nodes that `when` can return, and `mayEnd` says that it can return none. `toMermaid` draws them.
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
 * The second argument of a node: which node runs, where, and how to report on it.
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
   * An idempotency key for what the node does elsewhere, such as a payment or a mail. It is the same each time the node
   * runs for this step, also after a crash or an interrupt. It differs at the next visit of the node, in a branch, in a
   * fork and in another thread.
   */
  readonly idempotencyKey: string
  /** Emits an `Emitted` event to the consumer of `stream`. It is not saved. */
  readonly emit: (data: unknown) => Effect.Effect<void>
  /**
   * Runs an effect once for the step, and returns its result each time the node runs for this step.
   *
   * **When to use**
   *
   * Use it for what is expensive, or differs each time, in a node that may run again: a call of a model before a question,
   * the time, an id. For an effect elsewhere that must not happen twice, such as a payment, pass `idempotencyKey` too: if
   * the process dies after the effect and before its result is stored, the effect runs again.
   *
   * **Details**
   *
   * The result is encoded with the schema and stored at once, under the node and the key. After a crash, an error or a
   * question, the effect does not run again. If it fails or is interrupted, nothing is stored. If the position of the run
   * is not saved yet, as with durability `"exit"`, the result is stored when the position is.
   *
   * A key of the node names one result: a second call with it returns that of the first one, and waits for it if need be.
   * The next visit of the node begins without results. Copies of an unfinished step have them too. `resume` with `next`
   * drops them.
   *
   * A key has at most 200 bytes of UTF-8. The results of a step share the limit of its pending writes, `maxStateBytes`.
   *
   * **Gotchas**
   *
   * The first call returns the value of the effect, later ones what the schema decodes. If the node catches a
   * `StoreError`, a further call stores the result and does not run the effect again.
   *
   * The effect must not call `once` with its own key. That fails with `InvalidInput`.
   *
   * @since 0.2.0
   */
  readonly once: <S extends Plain, E, R>(
    key: string,
    schema: S,
    effect: Effect.Effect<NoInfer<S["Type"]>, E, R>
  ) => Effect.Effect<S["Type"], E | OnceError, R>
  readonly [internal]: OuterTask
}

/**
 * The errors that `NodeContext.once` can fail with, besides those of its effect: the key is not valid, the schema refuses
 * the result or a stored one, the results of the step are too large, or they cannot be stored.
 *
 * @category errors
 * @since 0.2.0
 */
export type OnceError =
  | InvalidInput
  | StateEncodeError
  | StateDecodeError
  | StateTooLarge
  | CheckpointNotFound
  | VersionConflict
  | StoreError

/**
 * What a run does when a step leads to more than one node.
 *
 * - `Parallel`: it runs all of them at the same time, as one step
 * - `PickFirst`, `PickLast`: it runs the first or the last of them, and never the others
 * - `StopAtNonLinear`: it ends as `Stopped` and returns the nodes as `branches`; `resume` runs them, or those that it
 *   names. A nested graph pauses instead.
 *
 * @category models
 * @since 0.1.0
 */
export type Strategy = "StopAtNonLinear" | "PickFirst" | "PickLast" | "Parallel"

/**
 * How a graph runs. `make` takes the settings of all runs, and `run`, `resume` and `stream` take others for one run.
 *
 * **Details**
 *
 * What you pass to a call holds until the run ends: the checkpoints of the run store what differs from the settings of
 * the graph, and `resume` reads it. For each setting, the first of these that has one decides:
 *
 * 1. the call
 * 2. the earlier calls of the run
 * 3. the graph
 * 4. the default
 *
 * After the run has stopped at branches, `resume` ignores the strategy of the earlier calls.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings<Node extends string> {
  /** What to do when a step leads to more than one node. `Parallel` by default. */
  readonly strategy?: Strategy | undefined
  /**
   * The largest number of steps of a run, from `run` until it ends, however often it is resumed. After them the run fails
   * with `StepLimitExceeded`, and `resume` with a higher `maxSteps` continues it. 100 by default.
   */
  readonly maxSteps?: number | undefined
  /** How many nodes of a step run at the same time. `"unbounded"` by default. */
  readonly concurrency?: number | "unbounded" | undefined
  /**
   * When to save: after each `step`, which is the default, or only when the call ends, because the run completed,
   * stopped, waits for an answer, failed or was interrupted. With `"exit"`, a process that is killed loses the steps of
   * the call, and the next call runs them again with other idempotency keys. What `resume` changes, such as an answer,
   * is saved first in both cases.
   */
  readonly durability?: "step" | "exit" | undefined
  /**
   * Pauses the run before these nodes until `resume` answers `"continue"`. Between two steps a run pauses once, also if
   * both `interruptAfter` and `interruptBefore` apply.
   */
  readonly interruptBefore?: ReadonlyArray<Node> | undefined
  /** Pauses the run after these nodes until `resume` answers `"continue"`. */
  readonly interruptAfter?: ReadonlyArray<Node> | undefined
}

/** The settings of a run, all decided. */
export interface RunSettings {
  readonly strategy: Strategy
  readonly maxSteps: number
  readonly concurrency: number | "unbounded"
  readonly durability: "step" | "exit"
  readonly interruptBefore: ReadonlyArray<string>
  readonly interruptAfter: ReadonlyArray<string>
  /** What the calls of the run set otherwise than the graph. Its checkpoints store it. */
  readonly overrides: NonNullable<Metadata["settings"]>
  /** The metadata that the caller gave. Without it, a version has that of the one before. */
  readonly metadata: Schema.JsonObject | undefined
}

/**
 * What `run` takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions<Input, Node extends string> extends Settings<Node> {
  readonly threadId: string
  /** What the run begins with. `begin` makes the first state of it. */
  readonly input: Input
  /**
   * Your metadata for the checkpoints of this call. The key `graph` is reserved. By default each checkpoint has the
   * metadata of the one before.
   */
  readonly metadata?: Schema.JsonObject | undefined
}

/**
 * What `resume` takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResumeOptions<U, Node extends string, Answer> extends Settings<Node> {
  readonly threadId: string
  /**
   * Responses to questions that the thread waits for, by interrupt id. All are saved or none, before anything runs. With
   * `version` or `checkpointId`, the ids are those of that version.
   */
  readonly answers?: Answers<Answer> | undefined
  /** Continues from this version as a branch: a copy of it becomes the newest version. */
  readonly version?: number | undefined
  /** Continues from the version with this checkpoint id as a branch. */
  readonly checkpointId?: string | undefined
  /** Changes the state first, with the reducer of the graph. */
  readonly update?: U | undefined
  /**
   * Runs these nodes next, as one step whatever the strategy, instead of those that the thread would run. Open questions
   * stay unanswered, and the results of their step are dropped. An empty list ends the run.
   */
  readonly next?: ReadonlyArray<Node> | undefined
  /**
   * Your metadata for the checkpoints of this call. The key `graph` is reserved. By default each checkpoint has the
   * metadata of the one before.
   */
  readonly metadata?: Schema.JsonObject | undefined
}

/**
 * What `answer` takes.
 *
 * @category models
 * @since 0.2.0
 */
export interface AnswerOptions<Answer> {
  readonly threadId: string
  /** Responses to questions that the thread waits for, by interrupt id. All are saved or none. */
  readonly answers: Answers<Answer>
  /**
   * An id of this call. If the call is repeated with the same id before the step has ended, its answers are there already,
   * which is not an error.
   */
  readonly answerId?: string | undefined
}

/**
 * How a run ended. The state is that of the checkpoint, which is saved.
 *
 * - `Completed`: no node is left to run
 * - `Interrupted`: the thread waits for answers
 * - `Stopped`: the last step led to several nodes, and the strategy is `StopAtNonLinear`. The thread is unfinished.
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
    /** All questions that the thread waits for, in the order in which they were asked. */
    readonly interrupts: ReadonlyArray<PendingInterrupt>
  }
  | {
    readonly _tag: "Stopped"
    readonly state: S
    readonly checkpoint: Checkpoint<S>
    readonly branches: ReadonlyArray<Node>
  }

/**
 * The errors that `run` can fail with, besides those of the nodes. It is a `VersionConflict` if another process runs
 * the same thread.
 *
 * @category errors
 * @since 0.1.0
 */
export type RunError =
  | CopyError
  | VersionConflict
  | GraphMismatch
  | StepLimitExceeded
  | ThreadUnfinished
  | UnstableRequest
  | WriteConflict

/**
 * The errors that `resume` can fail with, besides those of the nodes.
 *
 * @category errors
 * @since 0.2.0
 */
export type ResumeError = Exclude<RunError, ThreadUnfinished> | InterruptAlreadyResolved | InvalidResponse

/**
 * The errors that `answer` can fail with.
 *
 * @category errors
 * @since 0.2.0
 */
export type AnswerError =
  | ReadError
  | CheckpointNotFound
  | StateTooLarge
  | GraphMismatch
  | InterruptAlreadyResolved
  | InvalidResponse

/** The errors of running steps, which `run`, `resume` and a nested graph share. */
export type StepsError = Exclude<RunError, ThreadUnfinished>

/**
 * What happens during a run.
 *
 * **Details**
 *
 * `CheckpointSaved`, `InterruptRaised` and `Ended` are emitted after their checkpoint is stored, and `NodeFinished`
 * after the result of the node is stored. Only with durability `"exit"` is `NodeFinished` emitted before.
 *
 * @category models
 * @since 0.1.0
 */
export type RunEvent<S, U, Node extends string> =
  | { readonly _tag: "NodeStarted"; readonly node: Node; readonly step: number }
  | { readonly _tag: "NodeFinished"; readonly node: Node; readonly step: number; readonly update: U | undefined }
  | { readonly _tag: "Emitted"; readonly node: Node; readonly step: number; readonly data: unknown }
  /** An event of the graph that runs in the node. */
  | { readonly _tag: "Nested"; readonly node: Node; readonly event: RunEvent<unknown, unknown, string> }
  | { readonly _tag: "CheckpointSaved"; readonly checkpoint: CheckpointInfo }
  | { readonly _tag: "InterruptRaised"; readonly interrupt: PendingInterrupt }
  /** The last event. */
  | { readonly _tag: "Ended"; readonly result: RunResult<S, Node> }

/** The key of the internal part of a graph and of the context of a node. */
export const internal = Symbol.for("@effect-checkpoint/core/StateGraph/internal")

/** What a nested graph needs from the task of the outer graph that runs it. */
export interface OuterTask {
  /** Identifies the task among all tasks of all threads. */
  readonly id: string
  readonly settings: RunSettings
  /** The interrupts of the outer graph. The nested one may raise them too. */
  readonly interrupts: ReadonlyMap<string, InterruptKind>
  /** The name of the outer graph. */
  readonly graph: string
  /** The questions that the task has asked for nested graphs. */
  readonly questions: ReadonlyArray<Question>
  /** Makes the outer graph wait for the questions that the nested one waits for. */
  readonly suspend: (questions: ReadonlyArray<Question>) => Effect.Effect<never>
  readonly emitNested: (event: RunEvent<unknown, unknown, string>) => Effect.Effect<void>
  /** Runs a nested graph. Fails if the node ran another one before, except one that failed. */
  readonly runOnlyGraph: <A, E, R>(graph: Effect.Effect<A, E, R>) => Effect.Effect<A, E | InvalidInput, R>
}
