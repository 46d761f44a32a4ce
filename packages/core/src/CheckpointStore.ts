/**
 * The small interface that a backend implements.
 *
 * A store puts encoded records away and finds them again. Schemas, retries,
 * spans, metrics and the checking of input are above it, in `Checkpointer`, so
 * that two stores cannot differ in them. `@effect-checkpoint/testing` has the
 * laws that every store must keep.
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
 * Names a thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadKey {
  readonly threadId: string
  readonly namespace: string
}

/**
 * Names a version of a thread, and not another one that took its number later.
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
 * - `Any`: nothing; the new version follows whatever is the newest
 * - `NoThread`: the thread does not exist
 * - `At`: this is the newest version. With a `checkpointId` it must also have that id, and with a `writeId` it must
 *   come from that very write: ids that callers choose may come back with other content, after a deletion or a
 *   rollback.
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
 * A checkpoint on its way into a store. JSON parts are text, already in a form
 * that every store can hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewCheckpoint extends ThreadKey {
  readonly checkpointId: string
  /** A UUID drawn for this write, the same in all its attempts, and never chosen by a caller. */
  readonly writeId: string
  /** `undefined`: the version before it, if there is one. */
  readonly parent: ParentRef | undefined
  readonly payload: Payload
  /** The bytes of the whole state, whatever the format of the payload. */
  readonly stateBytes: number
  /** A JSON array of strings. */
  readonly nextNodes: string
  /** A JSON array of objects with `interruptId` and `request`. */
  readonly pendingInterrupts: string
  /** A JSON object. */
  readonly metadata: string
  /** A JSON object of tasks and their results: the work already done of the step that begins here. */
  readonly pendingWrites: string
  /** Whether this resolves the interrupts of the version before it, which retention may then remove. */
  readonly resolvesInterrupts: boolean
  /** Whether the pending writes of the version before it are copied; its own take precedence. */
  readonly keepsPendingWrites: boolean
}

/**
 * What a checkpoint was made from, in the same namespace.
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
 * A stored checkpoint without its state. JSON parts are text, since parsing them is not the store's to get right.
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
  /** A JSON array of objects with `interruptId` and `request`. */
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
 * What a task of the step that begins at a version has already done.
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
 * A thread with its newest checkpoint, without the state.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredThread extends ThreadKey {
  readonly createdAt: number
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
 * Names the newest version of a thread, and the write that it comes from.
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
 * Which versions to read: the newest that fits. `Before` leaves out its own version.
 *
 * @category models
 * @since 0.1.0
 */
export type Selector =
  | { readonly _tag: "Latest" }
  | { readonly _tag: "Version"; readonly version: number }
  | { readonly _tag: "Id"; readonly checkpointId: string }
  /** A JSON array of the tag, as `setTags` is given it. */
  | { readonly _tag: "Tag"; readonly tags: string }
  | { readonly _tag: "Time"; readonly epochMillis: number }
  | { readonly _tag: "Before"; readonly version: number }

/**
 * Where a page of threads ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadCursor extends ThreadKey {
  /** The last activity of the thread that the last page ended with. */
  readonly updatedAt: number
}

/**
 * Which threads to list; all that is given must hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadQuery {
  readonly namespace: string | undefined
  /** A JSON object that the head's metadata must contain, as Postgres' `@>` means it. */
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
  /** Whether the bytes of what is removed must go at once. */
  readonly compact: boolean
  readonly dryRun: boolean
}

/**
 * What a prune removed of a thread, or would remove.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrunedThread extends ThreadKey {
  /** How many of its versions went. */
  readonly versions: number
  /** The bytes of stored JSON that went with them. */
  readonly bytes: number
  /** Whether the whole thread went. */
  readonly deleted: boolean
}

/**
 * What a backend implements.
 *
 * **Details**
 *
 * Every operation is atomic. A version that was pruned is not found by any of
 * them from that moment.
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
   * The newest `count` versions that the selector fits, oldest first, and before
   * and between them what is needed to fold them: the first one is a keyframe.
   */
  readonly read: (
    key: ThreadKey,
    selector: Selector,
    count: number
  ) => Effect.Effect<ReadonlyArray<StoredCheckpoint>, StoreError>
  /** Versions below `before`, newest first, without reading a state. */
  readonly list: (
    key: ThreadKey,
    options: { readonly before: number | undefined; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<StoredInfo>, StoreError>
  /** Threads, newest activity first, then by namespace and id, without reading a state. */
  readonly threads: (query: ThreadQuery) => Effect.Effect<ReadonlyArray<StoredThread>, StoreError>
  /** Replaces the tags (a JSON array of strings) of one version. `None`: there is no such version. */
  readonly setTags: (
    key: ThreadKey,
    version: number,
    tags: string
  ) => Effect.Effect<Option.Option<StoredInfo>, StoreError>
  /**
   * Keeps what tasks of the step that begins at a version have done; a task that has something keeps it. False: there is
   * no such version.
   */
  readonly savePendingWrites: (
    key: ThreadKey,
    version: VersionId,
    pendingWrites: string
  ) => Effect.Effect<boolean, StoreError>
  /** What was kept with a version or saved since, by task. `None`: there is no such version. */
  readonly readPendingWrites: (
    key: ThreadKey,
    version: VersionId
  ) => Effect.Effect<Option.Option<ReadonlyArray<PendingWrite>>, StoreError>
  /** Removes a thread and says how many versions it had. Not idempotent: never retried blindly. */
  readonly deleteThread: (key: ThreadKey) => Effect.Effect<number, StoreError>
  /** Applies a policy in bounded batches, one element each. Only one runs at a time against one database. */
  readonly prune: (query: PruneQuery) => Stream.Stream<ReadonlyArray<PrunedThread>, StoreError>
  /** Succeeds when the backend answers and its tables are of the version that is needed. */
  readonly health: Effect.Effect<void, StoreError>
  /** Whether the calling fiber is inside a transaction of its own, so that nothing may be retried or queued. */
  readonly inTransaction: Effect.Effect<boolean>
}>()("@effect-checkpoint/core/CheckpointStore") {}
