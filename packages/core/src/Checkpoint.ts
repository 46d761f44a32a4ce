/**
 * Threads, and the immutable versions of their state.
 *
 * A **thread** is one line of work, such as a conversation, an import or an approval. Its state is saved as
 * **checkpoints**, numbered 1, 2, 3 and so on. The same thread id may be used in several **namespaces**, which are
 * independent of each other.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"

/**
 * Identifies one checkpoint. Every {@link Checkpoint} and {@link CheckpointInfo} is a reference to itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckpointRef {
  readonly threadId: string
  /** That of the view that saved it; `""` for the plain service. */
  readonly namespace: string
  /** 1 for the first checkpoint of a thread, and one more for each after it. */
  readonly version: number
  /** Unique within the thread and namespace. A UUIDv7, unless the writer chose it. */
  readonly checkpointId: string
}

/**
 * A question to a person, or to another program, that a thread waits for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interrupt {
  readonly interruptId: string
  /** The question, as JSON. */
  readonly request: Schema.Json
  /** What else is known of it. `StateGraph` stores its kind and the node that asked. */
  readonly metadata?: Schema.JsonObject | undefined
}

/**
 * A question of a step, and its answer. All versions of the step share them.
 *
 * @category models
 * @since 0.2.0
 */
export interface Question extends Interrupt {
  readonly metadata: Schema.JsonObject
  /** When the store saved it. */
  readonly askedAt: DateTime.Utc
  /** `undefined` while the thread waits for it. */
  readonly answer: Answer | undefined
}

/**
 * A question that a thread waits for.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenQuestion extends Question {
  readonly threadId: string
  readonly namespace: string
  /** The newest version of the thread. */
  readonly version: number
}

/**
 * The answer to a question.
 *
 * @category models
 * @since 0.2.0
 */
export interface Answer {
  readonly response: Schema.Json
  /** When the store saved it. */
  readonly answeredAt: DateTime.Utc
}

/**
 * A checkpoint without its state. Lists return these without reading any state.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckpointInfo extends CheckpointRef {
  /**
   * The checkpoint that this one was made from: the version before it, the restored version after `restore`, or the
   * source in the other thread after `fork`. It may have been removed since. `undefined` for the first of a thread.
   */
  readonly parent: CheckpointRef | undefined
  /** The nodes to run next, in order. A thread whose newest checkpoint has some is unfinished. */
  readonly nextNodes: ReadonlyArray<string>
  /**
   * The questions that the thread waited for when this version was saved. Those that were asked or answered since, without
   * another version, are found with `step`.
   */
  readonly pendingInterrupts: ReadonlyArray<Interrupt>
  readonly metadata: Schema.JsonObject
  /** The tags given with `setTags`. Retention never removes a tagged checkpoint. */
  readonly tags: ReadonlyArray<string>
  /**
   * When the store saved it, to the millisecond, by the clock of the store (for Postgres, that of the server). Never
   * earlier than the version before it.
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
 * A thread, as `threads` returns it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadInfo {
  readonly threadId: string
  readonly namespace: string
  /** When the first checkpoint was saved. */
  readonly createdAt: DateTime.Utc
  /** The newest checkpoint. Its `createdAt` is the time of the last activity. */
  readonly head: CheckpointInfo
}
