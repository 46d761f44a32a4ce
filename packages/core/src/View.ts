/**
 * What can be done with the threads of one namespace. `Checkpointer.Service` makes a view of a schema.
 *
 * @since 0.2.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type {
  Checkpoint,
  CheckpointInfo,
  CheckpointRef,
  Interrupt,
  OpenQuestion,
  Question,
  ThreadInfo
} from "./Checkpoint.ts"
import type {
  CheckpointIdTaken,
  CheckpointNotFound,
  InterruptAlreadyResolved,
  InvalidInput,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  StoreError,
  ThreadExists,
  VersionConflict
} from "./CheckpointError.ts"
import type { StepChange } from "./CheckpointStore.ts"

// -----------------------------------------------------------------------------
// writing
// -----------------------------------------------------------------------------

/**
 * The content of a new checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content<S> {
  readonly state: S
  /** The nodes to run next, in order. None by default. A thread whose newest checkpoint has some is unfinished. */
  readonly nextNodes?: ReadonlyArray<string> | undefined
  /** The questions that the thread waits for. None by default. Their ids must differ. */
  readonly pendingInterrupts?: ReadonlyArray<Interrupt> | undefined
  /** Any JSON object of at most 1 MiB. `threads` can filter by it. */
  readonly metadata?: Schema.JsonObject | undefined
  /**
   * An idempotency key of your own, of at most 1 KiB of UTF-8. Saving the same content again under the same id returns
   * the checkpoint that exists, also in another process. Without one, a UUIDv7 is chosen before the first attempt, and
   * retries within the call still save only once.
   */
  readonly checkpointId?: string | undefined
}

/**
 * A checkpoint that follows whatever version is the newest.
 *
 * @category models
 * @since 0.1.0
 */
export interface Append<S> extends Content<S> {
  readonly threadId: string
  /** What runners of graphs save beside it. */
  readonly step?: Pick<Step, "pendingWrites"> | undefined
}

/**
 * The first checkpoint of a new thread.
 *
 * @category models
 * @since 0.2.0
 */
export interface Create<S> extends Content<S> {
  readonly threadId: string
  /** What runners of graphs save beside it. */
  readonly step?: Pick<Step, "pendingWrites"> | undefined
}

/**
 * A checkpoint that follows one certain version: a checkpoint that was read or saved before, or a number such as a
 * client sends back.
 *
 * @category models
 * @since 0.2.0
 */
export type Put<S> =
  & Content<S>
  & {
    /** What runners of graphs save beside it. */
    readonly step?: Step | undefined
  }
  & (
    | { readonly parent: CheckpointRef; readonly threadId?: undefined; readonly expectedVersion?: undefined }
    | { readonly threadId: string; readonly expectedVersion: number; readonly parent?: undefined }
  )

/**
 * Options for runners of graphs, whose steps have several tasks.
 *
 * @category models
 * @since 0.2.0
 */
export interface Step {
  /** Results of tasks of the step that this checkpoint belongs to, by the name of the task. See `savePendingWrites`. */
  readonly pendingWrites?: Schema.JsonObject | undefined
  /**
   * How it stands to the step of the version before it: it `Begins` another step, which is the default, also `Ends` that
   * one and deletes its pending writes, or `Continues` it and shares them.
   */
  readonly change?: StepChange | undefined
  /** Questions that the step also has, and their answers: what a copy takes along of another step. */
  readonly answered?: ReadonlyArray<Interrupt & { readonly response: Schema.Json }> | undefined
}

// -----------------------------------------------------------------------------
// selecting
// -----------------------------------------------------------------------------

/**
 * Selects a version of a thread: by number, by id, the newest with a tag, or the one that was the newest at a time. A
 * checkpoint that was read selects itself.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  & {
    /** If given, must be the thread of the operation. */
    readonly threadId?: string | undefined
    /** If given, must be the namespace of the view. */
    readonly namespace?: string | undefined
  }
  & (
    | {
      readonly version: number
      /** If given, the version must also have this id. */
      readonly checkpointId?: string | undefined
      readonly tag?: undefined
      readonly at?: undefined
    }
    | {
      readonly checkpointId: string
      readonly version?: undefined
      readonly tag?: undefined
      readonly at?: undefined
    }
    | {
      readonly tag: string
      readonly version?: undefined
      readonly checkpointId?: undefined
      readonly at?: undefined
    }
    | {
      readonly at: DateTime.DateTime
      readonly version?: undefined
      readonly checkpointId?: undefined
      readonly tag?: undefined
    }
  )

/**
 * Selects threads by their newest checkpoint. All conditions that are given must hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadFilter {
  /** The metadata contains this object, as Postgres' `@>` defines it. */
  readonly metadata?: Schema.JsonObject | undefined
  /** Whether it has pending interrupts. */
  readonly interrupted?: boolean | undefined
  /** Whether it has next nodes. */
  readonly unfinished?: boolean | undefined
}

/**
 * Selects questions that threads wait for. All conditions that are given must hold.
 *
 * @category models
 * @since 0.2.0
 */
export interface QuestionFilter {
  /** The metadata of the question contains this object, as Postgres' `@>` defines it. */
  readonly metadata?: Schema.JsonObject | undefined
}

/**
 * What belongs to a step, and is shared by its versions.
 *
 * @category models
 * @since 0.2.0
 */
export interface StepState {
  /** Whether a later version has begun another step. */
  readonly ended: boolean
  /** Results of tasks, by the name of the task. Once the step has ended, there are none. */
  readonly pendingWrites: Schema.JsonObject
  /** All questions that the step has asked, in this order. */
  readonly questions: ReadonlyArray<Question>
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * The errors of every operation that saves a state.
 *
 * @category errors
 * @since 0.2.0
 */
export type WriteError = InvalidInput | StateEncodeError | StateTooLarge | CheckpointIdTaken | StoreError

/**
 * The errors of every operation that reads.
 *
 * @category errors
 * @since 0.1.0
 */
export type ReadError = InvalidInput | StateDecodeError | StoreError

/**
 * The errors of every operation that saves what it has read.
 *
 * @category errors
 * @since 0.2.0
 */
export type CopyError = WriteError | StateDecodeError | CheckpointNotFound

// -----------------------------------------------------------------------------
// view
// -----------------------------------------------------------------------------

/**
 * The threads of one namespace, with states of type `S`.
 *
 * @category models
 * @since 0.1.0
 */
export interface View<S> {
  readonly namespace: string

  /**
   * Saves a state as the next version of the thread, whatever the newest version is. Creates the thread if it does not
   * exist.
   *
   * **When to use**
   *
   * Use for logs and other states that do not depend on the version before. Otherwise use `update` or `put`: an append
   * overwrites the work of a concurrent writer.
   *
   * **Details**
   *
   * When it succeeds, the store has committed the version. It is saved exactly once, however often the operation was
   * retried. The state in the returned checkpoint is the value that was given.
   *
   * Numbers are kept exactly, except that `-0` reads back as `0`. Values may be nested 1,000 levels deep.
   */
  readonly append: (input: Append<S>) => Effect.Effect<Checkpoint<S>, WriteError>

  /** Saves a state as the first version of a new thread. Fails with `ThreadExists` if the thread exists. */
  readonly create: (input: Create<S>) => Effect.Effect<Checkpoint<S>, WriteError | ThreadExists>

  /**
   * Saves a state as the version after `parent`, or after `expectedVersion`. Fails with `VersionConflict`, and writes
   * nothing, if that is not the newest version.
   */
  readonly put: (input: Put<S>) => Effect.Effect<Checkpoint<S>, WriteError | VersionConflict>

  /**
   * Reads the newest state, applies `f` to it and saves the result, again if another writer was faster. Next nodes,
   * pending interrupts, pending writes and metadata stay as they are.
   *
   * **Details**
   *
   * Updates of a thread within one process wait for each other. A conflict with another process is retried up to 20
   * times before it is the error.
   */
  readonly update: (
    threadId: string,
    f: (state: S) => S
  ) => Effect.Effect<Checkpoint<S>, CopyError | VersionConflict>

  /**
   * Like `update` with an effect.
   *
   * **Details**
   *
   * The effect may run several times. Nothing waits for it: if another writer is faster, it runs again on the newer
   * state, and those that run again take turns.
   *
   * **Gotchas**
   *
   * The effect must not save the same thread. Such a save fails with `InvalidInput`.
   */
  readonly updateEffect: <E, R>(
    threadId: string,
    f: (state: S) => Effect.Effect<S, E, R>
  ) => Effect.Effect<Checkpoint<S>, CopyError | VersionConflict | E, R>

  /** Reads the newest checkpoint, or the one that is selected. */
  readonly get: (threadId: string, selector?: Selector | undefined) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /**
   * Reads the checkpoint that was the newest at a time, to the millisecond, among those that retention has kept. The
   * same as `get` with `{ at: time }`.
   */
  readonly getAtTime: (threadId: string, time: DateTime.DateTime) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /**
   * Lists versions without their states, newest first: 100 by default, at most 10,000. For the next page, pass the last
   * version of this one as `before`.
   */
  readonly listVersions: (threadId: string, options?: {
    readonly limit?: number | undefined
    readonly before?: number | undefined
  }) => Effect.Effect<ReadonlyArray<CheckpointInfo>, ReadError>

  /** Streams all checkpoints with their states, newest first. They are read in pages as they are pulled. */
  readonly history: (threadId: string, options?: {
    readonly before?: number | undefined
  }) => Stream.Stream<Checkpoint<S>, ReadError>

  /**
   * Saves an earlier version as the newest: its state, next nodes, pending interrupts and metadata. A thread that has
   * ended becomes unfinished again if that version was. The `parent` of the new version is the restored one, and
   * everything between stays readable.
   *
   * **Details**
   *
   * The pending writes of the restored version are copied too, if its step is that of the newest version. A version of a
   * graph gets another step id and other interrupt ids.
   */
  readonly restore: (threadId: string, selector: Selector, options?: {
    readonly checkpointId?: string | undefined
    /** Replaces the metadata of the version. */
    readonly metadata?: Schema.JsonObject | undefined
    /** Replaces the pending writes of the version. */
    readonly step?: Pick<Step, "pendingWrites"> | undefined
  }) => Effect.Effect<Checkpoint<S>, CopyError>

  /**
   * Creates a new thread from a version of another one: its state, next nodes, pending interrupts and metadata. From
   * then on the two are independent. Fails with `ThreadExists` if the new thread exists.
   *
   * **Details**
   *
   * Pending writes are copied as `restore` copies them. A version of a graph gets another step id and other interrupt
   * ids.
   */
  readonly fork: (threadId: string, selector: Selector, target: {
    readonly threadId: string
    readonly checkpointId?: string | undefined
  }) => Effect.Effect<Checkpoint<S>, CopyError | ThreadExists>

  /**
   * Replaces the tags of a version; an empty list removes them. At most 64, of at most 1 KiB of UTF-8 each. Retention
   * never removes a tagged version. Tags are the only part of a checkpoint that changes.
   */
  readonly setTags: (
    threadId: string,
    selector: Selector,
    tags: ReadonlyArray<string>
  ) => Effect.Effect<CheckpointInfo, ReadError | CheckpointNotFound>

  /**
   * Saves results of tasks of the step that a checkpoint belongs to, by the name of the task, which then need not run
   * again. A task that has a result keeps it. Fails with `VersionConflict` if the step has ended, because a later
   * checkpoint began another one, and with `StateTooLarge` if all results of the step would be over `maxStateBytes`
   * together.
   */
  readonly savePendingWrites: (
    target: CheckpointRef,
    pendingWrites: Schema.JsonObject
  ) => Effect.Effect<void, InvalidInput | StateTooLarge | CheckpointNotFound | VersionConflict | StoreError>

  /** Reads the pending writes of the step that a checkpoint belongs to, by the name of the task. Once the step has ended, there are none. */
  readonly pendingWrites: (
    target: CheckpointRef
  ) => Effect.Effect<Schema.JsonObject, InvalidInput | CheckpointNotFound | StoreError>

  /** Reads what belongs to the step of a checkpoint: its pending writes, and its questions with their answers. */
  readonly step: (
    target: CheckpointRef
  ) => Effect.Effect<StepState, InvalidInput | CheckpointNotFound | StoreError>

  /**
   * Asks questions of the step that a checkpoint belongs to, without another version. A question that the step has already
   * stays as it is. Fails with `VersionConflict` if the step has ended.
   *
   * To ask when a version is saved, pass `pendingInterrupts`.
   */
  readonly ask: (
    target: CheckpointRef,
    interrupts: ReadonlyArray<Interrupt>
  ) => Effect.Effect<void, InvalidInput | CheckpointNotFound | VersionConflict | StoreError>

  /**
   * Saves answers to questions that a thread waits for, by interrupt id, without another version. Returns the questions
   * that are still open.
   *
   * **Details**
   *
   * All answers are saved or none: if one of the questions has an answer, or is not one of the newest step, it fails with
   * `InterruptAlreadyResolved`. With an `answerId` of yours, the same call may be repeated until the step has ended.
   *
   * Whatever waits for the answer must be resumed. For a thread of a graph, use `StateGraph.answer`, which checks the
   * responses.
   */
  readonly answer: (
    threadId: string,
    answers: Schema.JsonObject,
    options?: { readonly answerId?: string | undefined }
  ) => Effect.Effect<
    ReadonlyArray<Question>,
    InvalidInput | StateTooLarge | CheckpointNotFound | InterruptAlreadyResolved | StoreError
  >

  /** Streams the questions that threads of this namespace wait for, the oldest first. */
  readonly openQuestions: (filter?: QuestionFilter) => Stream.Stream<OpenQuestion, ReadError>

  /**
   * Deletes a thread of this namespace with all its versions, tagged ones too, and returns their number. Writers that
   * hold a checkpoint of the thread cannot put after it anymore.
   */
  readonly deleteThread: (threadId: string) => Effect.Effect<number, InvalidInput | StoreError>

  /**
   * Streams threads, most recently saved first. Of more than 100 threads, those that were saved within a minute of each
   * other may be in another order. They are read in pages as they are pulled. A thread that is saved in the meantime may
   * be missing.
   */
  readonly threads: (filter?: ThreadFilter | undefined) => Stream.Stream<ThreadInfo, ReadError>
}
