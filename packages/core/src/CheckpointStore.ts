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
 * What a writer takes for the newest version: `Any` appends whatever it is;
 * `Version` appends only after it, 0 meaning that the thread does not exist. With
 * a `checkpointId` the head must also have that id, and with a `revision` it must
 * be of that very write: ids that callers choose may come back with other content,
 * after a deletion or a rollback. `Hint` is the same without the wish to know why
 * not: the writer has another record for that case.
 *
 * @category models
 * @since 0.1.0
 */
export type Expected =
  | { readonly _tag: "Any" }
  | {
    readonly _tag: "Version"
    readonly version: number
    readonly checkpointId: string | undefined
    readonly revision: string | undefined
  }
  | { readonly _tag: "Hint"; readonly version: number; readonly revision: string }

/**
 * A checkpoint on its way into a store. JSON parts are text, already in a form
 * that every store can hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewRecord extends ThreadKey {
  readonly checkpointId: string
  /** A UUID drawn for this write, the same in all its attempts, and never chosen by a caller. */
  readonly revision: string
  /** `undefined`: the head that it is put upon, if there is one. */
  readonly parent: ParentRef | undefined
  readonly format: number
  readonly state: string
  /** The UTF-8 bytes of `state`. */
  readonly bytes: number
  /** The bytes of the whole state, whatever the format. */
  readonly stateBytes: number
  /** A JSON array of strings. */
  readonly nextNodes: string
  /** A JSON object, or the text `null`. */
  readonly pendingInterrupt: string
  /** A JSON object. */
  readonly metadata: string
  /** A JSON object of tasks and their values: what has been done of the step that begins here. */
  readonly writes: string
  /** Whether the head that it is put upon is not waited for any more, so that retention may remove it. */
  readonly resolves: boolean
  /** Whether the writes of the head that it is put upon are copied; its own come first. */
  readonly keepsWrites: boolean
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
  /** A JSON object, or the text `null`. */
  readonly pendingInterrupt: string
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
export interface StoredRecord extends StoredInfo {
  readonly format: number
  /** JSON text. */
  readonly state: string
  readonly bytes: number
  readonly stateBytes: number
  /** Whether it can be read; otherwise it is here for those after it. */
  readonly visible: boolean
  /** Of the write that it comes from, where it is the newest version. */
  readonly revision: string | undefined
}

/**
 * What a task of the step that begins at a version has already done.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredWrite {
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
 * What became of a put.
 *
 * @category models
 * @since 0.1.0
 */
export type PutResult =
  | {
    readonly _tag: "Saved"
    readonly version: number
    readonly parent: ParentRef | undefined
    readonly createdAt: number
  }
  | { readonly _tag: "Conflict"; readonly actual: number }
  /** The thread has a checkpoint with this id. */
  | { readonly _tag: "Taken" }
  /** The head is not what the hint said, or the id is taken. */
  | { readonly _tag: "Moved" }

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
  /** Saves the record as the thread's newest version. Idempotent by checkpoint id. */
  readonly put: (record: NewRecord, expected: Expected) => Effect.Effect<PutResult, StoreError>
  /**
   * The newest `count` versions that the selector fits, oldest first, and before
   * and between them what is needed to fold them: the first one is a keyframe.
   */
  readonly read: (
    key: ThreadKey,
    selector: Selector,
    count: number
  ) => Effect.Effect<ReadonlyArray<StoredRecord>, StoreError>
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
  readonly saveWrites: (key: ThreadKey, version: VersionId, writes: string) => Effect.Effect<boolean, StoreError>
  /** What was kept with a version or saved since, by task. `None`: there is no such version. */
  readonly readWrites: (
    key: ThreadKey,
    version: VersionId
  ) => Effect.Effect<Option.Option<ReadonlyArray<StoredWrite>>, StoreError>
  /** Removes a thread and says how many versions it had. Not idempotent: never retried blindly. */
  readonly deleteThread: (key: ThreadKey) => Effect.Effect<number, StoreError>
  /** Applies a policy in bounded batches, one element each. Only one runs at a time against one database. */
  readonly prune: (query: PruneQuery) => Stream.Stream<ReadonlyArray<PrunedThread>, StoreError>
  /** Succeeds when the backend answers and its tables are of the version that is needed. */
  readonly health: Effect.Effect<void, StoreError>
  /** Whether the calling fiber is inside a transaction of its own, so that nothing may be retried or queued. */
  readonly inTransaction: Effect.Effect<boolean>
}>()("@effect-checkpoint/core/CheckpointStore") {}
