/**
 * The interface that a backend implements.
 *
 * A store saves encoded checkpoints and finds them again. Schemas, checks of input, retries, spans and metrics are above
 * it, in `Checkpointer`, and are the same for every store. `@effect-checkpoint/testing` has the laws that every store
 * must obey.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { StoreError } from "./CheckpointError.ts"
import { Format } from "./internal/format.ts"

export { Format }

/**
 * The largest JSON text of each part of a checkpoint besides its state, in bytes: its next nodes, pending interrupts,
 * metadata and tags. 1 MiB.
 *
 * @category constants
 * @since 0.2.0
 */
export const maxPartBytes: number = 1024 * 1024

/**
 * Identifies a thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadKey {
  readonly threadId: string
  readonly namespace: string
}

/**
 * Identifies a version of a thread, even if another one gets the same number later.
 *
 * @category models
 * @since 0.1.0
 */
export interface VersionId {
  readonly version: number
  readonly checkpointId: string
}

/**
 * What must be true of a thread for a put to be applied.
 *
 * - `Any`: nothing
 * - `NoThread`: the thread does not exist
 * - `At`: this is the newest version. With a `checkpointId` it must also have that id, and with a `writeId` it must
 *   come from that very write. An id that a caller chose may return with different content, after a deletion or a
 *   rollback; a write id does not.
 *
 * @category models
 * @since 0.2.0
 */
export type HeadCondition =
  | { readonly _tag: "Any" }
  | { readonly _tag: "NoThread" }
  | {
    readonly _tag: "At"
    readonly version: number
    readonly checkpointId: string | undefined
    readonly writeId: string | undefined
  }

/**
 * A state as it is stored: whole, or as what changed since the version before.
 *
 * @category models
 * @since 0.2.0
 */
export interface Payload {
  /** One of {@link Format}. */
  readonly format: number
  /** JSON text that every store can hold. */
  readonly text: string
  /** The UTF-8 bytes of `text`. */
  readonly bytes: number
}

/**
 * A checkpoint that a store is to save. Its JSON parts are text that every store can hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewCheckpoint extends ThreadKey {
  readonly checkpointId: string
  /** A UUID that identifies this write. It is the same in all attempts, and callers cannot choose it. */
  readonly writeId: string
  /** `undefined`: the version before it, if there is one. */
  readonly parent: ParentRef | undefined
  readonly payload: Payload
  /** The bytes of the whole state, whatever the format of the payload. */
  readonly stateBytes: number
  /** A JSON array of strings. */
  readonly nextNodes: string
  /**
   * A JSON array of objects with `interruptId` and `request`, some of which have `metadata`. Those that the step does not
   * have are asked.
   */
  readonly pendingInterrupts: string
  /** A JSON array of questions that were asked before these, and that are answered: with `response`, too. */
  readonly answered: string
  /** A JSON object. */
  readonly metadata: string
  /**
   * A JSON object with results of tasks of the step, by the name of the task. They take precedence over those that the
   * step has.
   */
  readonly pendingWrites: string
  /** Where it stands in the steps of its thread. */
  readonly step: StepChange
}

/**
 * How a version stands to the step of the version before it. The results of tasks belong to the step, however many
 * versions it has, and only those of the newest step can be read.
 *
 * - `Begins`: a step begins here
 * - `Ends`: a step begins here, and the step before may have results, which are deleted
 * - `Continues`: it belongs to the step of the version before it
 *
 * @category models
 * @since 0.2.0
 */
export type StepChange = "Begins" | "Ends" | "Continues"

/**
 * The checkpoint that another one was made from, in the same namespace.
 *
 * @category models
 * @since 0.1.0
 */
export interface ParentRef {
  readonly threadId: string
  readonly version: number
  readonly checkpointId: string
}

/**
 * A stored checkpoint without its state. Its JSON parts are text, because `Checkpointer` parses them.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredInfo extends ThreadKey {
  readonly version: number
  readonly checkpointId: string
  readonly parent: ParentRef | undefined
  /** A JSON array of strings. */
  readonly nextNodes: string
  /** A JSON array of objects with `interruptId` and `request`, some of which have `metadata`. */
  readonly pendingInterrupts: string
  /** A JSON object. */
  readonly metadata: string
  /** A JSON array of strings. */
  readonly tags: string
  /** Milliseconds since the epoch, by the store's clock. */
  readonly createdAt: number
}

/**
 * A stored checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredCheckpoint extends StoredInfo {
  readonly payload: Payload
  readonly stateBytes: number
  /** Whether it can be read; otherwise later versions need its payload. */
  readonly visible: boolean
  /** The id of the write that it comes from, if it is the newest version. */
  readonly writeId: string | undefined
}

/**
 * What became of something that was to be saved for a step.
 *
 * @category models
 * @since 0.2.0
 */
export type StepOutcome =
  | { readonly _tag: "Saved" }
  /** There is no such version. */
  | { readonly _tag: "NotFound" }
  /** The newest version is this one, which belongs to a later step. */
  | { readonly _tag: "StepEnded"; readonly version: number }

/**
 * What became of pending writes that were to be saved.
 *
 * @category models
 * @since 0.2.0
 */
export type PendingWritesOutcome =
  | StepOutcome
  /** Those of the step would be so many bytes. */
  | { readonly _tag: "TooLarge"; readonly bytes: number }

/**
 * What became of answers.
 *
 * @category models
 * @since 0.2.0
 */
export type AnswerOutcome =
  /** These questions of the step are still open. */
  | { readonly _tag: "Saved"; readonly version: number; readonly open: ReadonlyArray<StoredQuestion> }
  /** There is no such thread. */
  | { readonly _tag: "NotFound" }
  /** The newest step has no such question, or it has another answer. */
  | { readonly _tag: "Resolved"; readonly version: number; readonly interruptId: string }

/**
 * The result of a task of a step.
 *
 * @category models
 * @since 0.1.0
 */
export interface PendingWrite {
  readonly task: string
  /** JSON text. */
  readonly value: string
}

/**
 * A question of a step. Its JSON parts are text.
 *
 * @category models
 * @since 0.2.0
 */
export interface StoredQuestion {
  readonly interruptId: string
  readonly request: string
  /** A JSON object. */
  readonly metadata: string
  /** Milliseconds since the epoch, by the store's clock. */
  readonly askedAt: number
  readonly answer: { readonly response: string; readonly answeredAt: number } | undefined
}

/**
 * What belongs to a step.
 *
 * @category models
 * @since 0.2.0
 */
export interface StoredStep {
  /** Whether the newest version belongs to a later step. */
  readonly ended: boolean
  readonly pendingWrites: ReadonlyArray<PendingWrite>
  /** In the order in which they were asked. */
  readonly questions: ReadonlyArray<StoredQuestion>
}

/**
 * A question that a thread waits for.
 *
 * @category models
 * @since 0.2.0
 */
export interface OpenQuestion extends StoredQuestion, ThreadKey {
  /** The newest version of the thread. */
  readonly version: number
}

/**
 * Selects questions that threads wait for. All conditions that are given must hold.
 *
 * @category models
 * @since 0.2.0
 */
export interface QuestionQuery {
  readonly namespace: string | undefined
  /** A JSON object that the metadata of the question must contain, as Postgres' `@>` defines it. */
  readonly metadata: string | undefined
  /** The last question of the page before. */
  readonly after: Pick<OpenQuestion, "askedAt" | "namespace" | "threadId" | "interruptId"> | undefined
  readonly limit: number
}

/**
 * A thread with its newest checkpoint, without the state.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredThread extends ThreadKey {
  readonly createdAt: number
  /**
   * When it became active: the time of its newest version, or of an earlier one that was saved less than a minute before
   * that. A save within a minute of it leaves it as it is. Therefore an index by it need not change with each save.
   */
  readonly activeAt: number
  readonly head: StoredInfo
}

/**
 * A version that was saved.
 *
 * @category models
 * @since 0.2.0
 */
export interface SavedVersion {
  readonly version: number
  readonly parent: ParentRef | undefined
  /** Milliseconds since the epoch, by the store's clock. */
  readonly createdAt: number
}

/**
 * Why a put was not applied.
 *
 * @category models
 * @since 0.2.0
 */
export interface Refusal {
  /** The newest version. `undefined`: the thread does not exist. */
  readonly head: HeadId | undefined
  /** Whether the thread has a checkpoint with the id. */
  readonly idTaken: boolean
}

/**
 * Identifies the newest version of a thread, and the write that it comes from.
 *
 * @category models
 * @since 0.2.0
 */
export interface HeadId extends VersionId {
  readonly writeId: string
}

/**
 * Whether the newest version of a thread, `undefined` if there is none, meets a condition.
 *
 * @category models
 * @since 0.2.0
 */
export const meets = (condition: HeadCondition, head: HeadId | undefined): boolean => {
  switch (condition._tag) {
    case "Any":
      return true
    case "NoThread":
      return head === undefined
    case "At":
      return condition.version === head?.version &&
        (condition.checkpointId ?? head.checkpointId) === head.checkpointId &&
        (condition.writeId ?? head.writeId) === head.writeId
  }
}

/**
 * Selects versions of a thread, the newest first. `Before` excludes its own version.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  | { readonly _tag: "Latest" }
  | { readonly _tag: "Version"; readonly version: number }
  | { readonly _tag: "Id"; readonly checkpointId: string }
  /** A JSON array that contains only the tag. */
  | { readonly _tag: "Tag"; readonly tags: string }
  | { readonly _tag: "Time"; readonly epochMillis: number }
  | { readonly _tag: "Before"; readonly version: number }

/**
 * The end of a page of threads.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadCursor extends ThreadKey {
  /** That of the last thread of the page. */
  readonly activeAt: number
}

/**
 * Selects threads. All conditions that are given must hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadQuery {
  readonly namespace: string | undefined
  /** A JSON object that the metadata of the newest version must contain, as Postgres' `@>` defines it. */
  readonly metadata: string | undefined
  readonly interrupted: boolean | undefined
  readonly unfinished: boolean | undefined
  readonly after: ThreadCursor | undefined
  readonly limit: number
}

/**
 * A retention policy with its durations in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface PruneQuery {
  readonly namespace: string | undefined
  readonly maxVersions: number | undefined
  readonly maxAge: number | undefined
  readonly idleThreads: number | undefined
  /** Whether to free the bytes of removed versions at once. */
  readonly compact: boolean
  readonly dryRun: boolean
}

/**
 * The versions of a thread that a prune removed, or would remove.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrunedThread extends ThreadKey {
  /** The number of versions. */
  readonly versions: number
  /**
   * The bytes of stored JSON that went, before any compression by the database: those that puts had saved, whatever a
   * compaction has made of them since.
   */
  readonly bytes: number
  /** Whether the whole thread was removed. */
  readonly deleted: boolean
}

/**
 * The operations of a backend.
 *
 * **Details**
 *
 * Every operation is atomic. Once a version has been pruned, no operation finds it.
 *
 * @category services
 * @since 0.1.0
 */
export class CheckpointStore extends Context.Service<CheckpointStore, {
  /**
   * Saves a checkpoint as the thread's newest version. `None`: it was not applied, because the condition does not hold
   * or the thread has a checkpoint with this id.
   */
  readonly put: (
    checkpoint: NewCheckpoint,
    condition: HeadCondition
  ) => Effect.Effect<Option.Option<SavedVersion>, StoreError>
  /**
   * Finds out why a put with this checkpoint id was not applied. If the id belongs to a version that was removed, but
   * whose payload later versions need, that version gives it up, and the same put may succeed.
   */
  readonly explainRefusal: (key: ThreadKey, checkpointId: string) => Effect.Effect<Refusal, StoreError>
  /**
   * Reads the newest `count` versions that match the selector, oldest first, together with the versions that are needed
   * to fold them. The first one is a keyframe.
   */
  readonly read: (
    key: ThreadKey,
    selector: Selector,
    count: number
  ) => Effect.Effect<ReadonlyArray<StoredCheckpoint>, StoreError>
  /** Lists versions below `before`, newest first, without their states. */
  readonly list: (
    key: ThreadKey,
    options: { readonly before: number | undefined; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<StoredInfo>, StoreError>
  /** Lists threads by when they became active, the latest first, then by namespace and id. */
  readonly threads: (query: ThreadQuery) => Effect.Effect<ReadonlyArray<StoredThread>, StoreError>
  /** Replaces the tags of a version by a JSON array of strings. `None` if there is no such version. */
  readonly setTags: (
    key: ThreadKey,
    version: number,
    tags: string
  ) => Effect.Effect<Option.Option<StoredInfo>, StoreError>
  /**
   * Saves results of tasks of the step that a version belongs to, given as a JSON object. A task that has a result keeps
   * it. Saves none of them if the step has ended, or if all its results would be larger than `maxBytes`, as about what
   * they are as text.
   */
  readonly savePendingWrites: (
    key: ThreadKey,
    version: VersionId,
    pendingWrites: string,
    maxBytes: number
  ) => Effect.Effect<PendingWritesOutcome, StoreError>
  /**
   * Reads what belongs to the step of a version. A step that has ended has no pending writes. `None` if there is no such
   * version.
   */
  readonly readStep: (key: ThreadKey, version: VersionId) => Effect.Effect<Option.Option<StoredStep>, StoreError>
  /**
   * Asks questions of the step that a version belongs to, given as a JSON array like `pendingInterrupts`. A question that
   * the step has stays as it is. The thread is not idle then.
   */
  readonly ask: (key: ThreadKey, version: VersionId, questions: string) => Effect.Effect<StepOutcome, StoreError>
  /**
   * Saves answers to questions of the newest step, given as a JSON object of responses by interrupt id: all of them or
   * none. An answer that is there already with the same answer id is not saved again. The thread is not idle then.
   */
  readonly answer: (key: ThreadKey, answers: string, answerId: string) => Effect.Effect<AnswerOutcome, StoreError>
  /** Lists questions that threads wait for, the oldest first, then by namespace, thread id and interrupt id. */
  readonly questions: (query: QuestionQuery) => Effect.Effect<ReadonlyArray<OpenQuestion>, StoreError>
  /** Deletes a thread and returns the number of its versions. It is not idempotent and must not be retried blindly. */
  readonly deleteThread: (key: ThreadKey) => Effect.Effect<number, StoreError>
  /**
   * Applies a policy in bounded batches, one per element. Only one with the same policy runs at a time against a database;
   * others with different policies may.
   */
  readonly prune: (query: PruneQuery) => Stream.Stream<ReadonlyArray<PrunedThread>, StoreError>
  /** Succeeds if the backend answers and has the tables of the required version. */
  readonly health: Effect.Effect<void, StoreError>
  /** Whether the calling fiber is inside a transaction of the caller, in which nothing may be retried or queued. */
  readonly inTransaction: Effect.Effect<boolean>
}>()("@effect-checkpoint/core/CheckpointStore") {}
