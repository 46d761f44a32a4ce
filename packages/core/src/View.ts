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
import type { Checkpoint, CheckpointInfo, CheckpointRef, Interrupt, ThreadInfo } from "./Checkpoint.ts"
import type {
  CheckpointIdTaken,
  CheckpointNotFound,
  InvalidInput,
  StateDecodeError,
  StateEncodeError,
  StateTooLarge,
  StoreError,
  VersionConflict
} from "./CheckpointError.ts"

/**
 * What a checkpoint is to hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Content<S> {
  readonly state: S
  /** What is to run next; none by default. */
  readonly nextNodes?: ReadonlyArray<string> | undefined
  readonly pendingInterrupt?: Interrupt | undefined
  /** Any JSON object of at most 1 MiB; `threads` can filter by it. */
  readonly metadata?: Schema.JsonObject | undefined
  /**
   * An id of your own makes the save idempotent across processes: putting the same
   * content under it again returns the checkpoint that is there. At most 1 KiB of
   * UTF-8. A UUIDv7 by default, chosen before the first attempt, so that retries
   * within one call save once in any case.
   */
  readonly checkpointId?: string | undefined
  /**
   * What tasks of the step that begins at this checkpoint have already done, by the
   * name of the task. See `saveWrites`.
   */
  readonly writes?: Schema.JsonObject | undefined
  /**
   * Whether this goes on from the pending interrupt of the newest version. That
   * version stays as it is, but retention may remove it from then on.
   */
  readonly resolvesInterrupt?: boolean | undefined
  /** Whether the writes of the newest version are kept with this one too: it is still the same step. */
  readonly keepsWrites?: boolean | undefined
}

/**
 * A put after whatever version is the newest, or as the first of a new thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface Append<S> extends Content<S> {
  readonly threadId: string
  readonly parent?: undefined
  readonly expectedVersion?: undefined
}

/**
 * A put that succeeds only while the named version is the newest: a checkpoint
 * that was read or put before, or a bare number such as a client sends back. With
 * `expectedVersion: 0` the thread must not exist.
 *
 * @category models
 * @since 0.1.0
 */
export type CompareAndSet<S> =
  & Content<S>
  & (
    | { readonly parent: CheckpointRef; readonly threadId?: undefined; readonly expectedVersion?: undefined }
    | { readonly threadId: string; readonly expectedVersion: number; readonly parent?: undefined }
  )

/**
 * Which version of a thread: by number, by id, or the newest that has a tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  | { readonly version: number; readonly checkpointId?: undefined; readonly tag?: undefined }
  | { readonly checkpointId: string; readonly version?: undefined; readonly tag?: undefined }
  | { readonly tag: string; readonly version?: undefined; readonly checkpointId?: undefined }

/**
 * Names a version: any checkpoint, its info, or just thread id and number.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionRef {
  readonly threadId: string
  readonly version: number
  readonly namespace?: string | undefined
}

/**
 * Which threads to list; all conditions given must hold, and they are about the
 * thread's newest checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadFilter {
  /** The metadata contains this object, as Postgres' `@>` means it. */
  readonly metadata?: Schema.JsonObject | undefined
  /** It has (or has not) a pending interrupt. */
  readonly interrupted?: boolean | undefined
  /** It has (or has not) next nodes. */
  readonly unfinished?: boolean | undefined
}

/**
 * What a put can fail with; a `CompareAndSet` also with `VersionConflict`.
 *
 * @category errors
 * @since 0.1.0
 */
export type PutError = InvalidInput | StateEncodeError | StateTooLarge | CheckpointIdTaken | StoreError

/**
 * What a read can fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type ReadError = InvalidInput | StateDecodeError | StoreError

/**
 * The threads of one namespace, their states being `S`.
 *
 * @category models
 * @since 0.1.0
 */
export interface View<S> {
  readonly namespace: string

  /**
   * Saves a state as the thread's next version.
   *
   * **Details**
   *
   * When it succeeds the store has said that it is saved. It is saved exactly
   * once, however often the store operation had to be retried. The state in the
   * returned checkpoint is the value that was given.
   *
   * With `threadId` alone it appends, whatever is the newest version. With
   * `parent` or `expectedVersion` it fails with `VersionConflict` if somebody was
   * faster, and nothing is written.
   *
   * Numbers are kept exactly, except that `-0` reads back as `0`. The nesting may
   * be 1,000 levels deep.
   */
  readonly put: {
    (input: Append<S>): Effect.Effect<Checkpoint<S>, PutError>
    (input: Append<S> | CompareAndSet<S>): Effect.Effect<Checkpoint<S>, PutError | VersionConflict>
  }

  /**
   * Reads the newest state, changes it and saves it, again if somebody else was
   * faster. Next nodes, pending interrupt, pending writes and metadata stay as they are.
   *
   * **Details**
   *
   * Updates of a thread within one process wait for each other. A conflict with
   * another process is retried up to 20 times; then it is the error.
   */
  readonly update: (
    threadId: string,
    f: (state: S) => S
  ) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict>

  /**
   * Like `update` with an effect, which may be run several times and may itself
   * use the thread.
   */
  readonly updateEffect: <E, R>(
    threadId: string,
    f: (state: S) => Effect.Effect<S, E, R>
  ) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict | E, R>

  /** Reads the newest checkpoint, or the one that is selected. */
  readonly get: (threadId: string, selector?: Selector | undefined) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /**
   * Reads the checkpoint that was the newest at that time, to the millisecond, of
   * those that retention has kept.
   */
  readonly getAtTime: (threadId: string, time: DateTime.DateTime) => Effect.Effect<
    Option.Option<Checkpoint<S>>,
    ReadError
  >

  /**
   * Lists versions, newest first, without reading a state: 100 by default, at most
   * 10,000. The next page is `before` the last version of this one.
   */
  readonly listVersions: (threadId: string, options?: {
    readonly limit?: number | undefined
    readonly before?: number | undefined
  }) => Effect.Effect<ReadonlyArray<CheckpointInfo>, ReadError>

  /** All checkpoints with their states, newest first, read in pages as they are pulled. */
  readonly history: (threadId: string, options?: {
    readonly before?: number | undefined
  }) => Stream.Stream<Checkpoint<S>, ReadError>

  /**
   * Saves an earlier version as the newest: its state, next nodes, pending interrupt
   * and metadata, so that a thread which has ended is unfinished again if that version
   * was. The new version's `parent` is the one restored; everything between stays
   * readable.
   */
  readonly restore: (threadId: string, selector: Selector, options?: {
    readonly checkpointId?: string | undefined
    /** In place of that of the version. */
    readonly metadata?: Schema.JsonObject | undefined
    readonly writes?: Schema.JsonObject | undefined
  }) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound>

  /**
   * Begins a new thread with the state, next nodes, pending interrupt and metadata
   * of a version of another. From then on the two are independent. Fails with
   * `VersionConflict` if the new thread exists.
   */
  readonly fork: (source: VersionRef, target: {
    readonly threadId: string
    readonly checkpointId?: string | undefined
  }) => Effect.Effect<Checkpoint<S>, PutError | StateDecodeError | CheckpointNotFound | VersionConflict>

  /**
   * Replaces the tags of a version; none removes them. At most 64 of at most 1 KiB
   * of UTF-8 each. Tags are the one thing about a checkpoint that changes.
   */
  readonly setTags: (
    target: VersionRef,
    tags: ReadonlyArray<string>
  ) => Effect.Effect<CheckpointInfo, ReadError | CheckpointNotFound>

  /**
   * Keeps what tasks of the step that begins at a checkpoint have done, so that they
   * need not be run again when the step is. A task that has a value keeps it. They
   * are removed with their checkpoint, and count against `maxStateBytes` together.
   */
  readonly saveWrites: (
    target: CheckpointRef,
    writes: Schema.JsonObject
  ) => Effect.Effect<void, InvalidInput | StateTooLarge | CheckpointNotFound | StoreError>

  /** What `saveWrites`, or the put itself, has kept with a checkpoint, by task. */
  readonly writes: (
    target: CheckpointRef
  ) => Effect.Effect<Schema.JsonObject, InvalidInput | CheckpointNotFound | StoreError>

  /**
   * Removes a thread with all its versions, tagged ones too, and says how many they
   * were. A checkpoint read before cannot be put upon afterwards.
   */
  readonly deleteThread: (threadId: string) => Effect.Effect<number, InvalidInput | StoreError>

  /**
   * Lists threads, newest activity first, read in pages as they are pulled. A
   * thread that moves while they are being read may be left out.
   */
  readonly threads: (filter?: ThreadFilter | undefined) => Stream.Stream<ThreadInfo, ReadError>
}
