/**
 * What is stored: threads, and the immutable versions of their state.
 *
 * A **thread** is one line of work (a conversation, an import, an approval). Its
 * state is saved as **checkpoints**, numbered 1, 2, 3 ... as they are written. A
 * thread id can be used in several **namespaces**, which never meet.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"

/**
 * Names one checkpoint. Every {@link Checkpoint} and {@link CheckpointInfo} is
 * one, so either can be passed wherever a reference is asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckpointRef {
  readonly threadId: string
  /** `""` unless the view that wrote it was given another. */
  readonly namespace: string
  /** 1 for the first checkpoint of a thread, one more for each after it. */
  readonly version: number
  /** Unique within the thread and namespace. A UUIDv7 unless the writer chose it. */
  readonly checkpointId: string
}

/**
 * A question to a person (or another program) that a thread waits for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interrupt {
  readonly interruptId: string
  /** What is asked, as JSON. */
  readonly request: Schema.Json
}

/**
 * Everything about a checkpoint but its state. Listings return this, and never
 * read a state to do so.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckpointInfo extends CheckpointRef {
  /**
   * The checkpoint this one was made from: the version before it, the restored
   * version after `restore`, the source in the other thread after `fork`. It may
   * have been removed since.
   */
  readonly parent: Option.Option<CheckpointRef>
  /** What is to run next, in order. A thread whose head has some is unfinished. */
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupt: Option.Option<Interrupt>
  readonly metadata: Schema.JsonObject
  /** Names given with `setTags`. A tagged checkpoint is never removed by retention. */
  readonly tags: ReadonlyArray<string>
  /**
   * When the store saved it, in milliseconds, by the store's clock (for Postgres
   * the server's). Never earlier than that of the version before it.
   */
  readonly createdAt: DateTime.Utc
}

/**
 * One immutable version of a thread's state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Checkpoint<out S> extends CheckpointInfo {
  readonly state: S
}

/**
 * A thread as `threads` lists it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadInfo {
  readonly threadId: string
  readonly namespace: string
  /** When the thread's first checkpoint was saved. */
  readonly createdAt: DateTime.Utc
  /** The newest checkpoint; its `createdAt` is the thread's last activity. */
  readonly head: CheckpointInfo
}
