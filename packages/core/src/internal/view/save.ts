import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { CheckpointIdTaken, StoreError, Unknown, VersionConflict } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type * as HeadCache from "../headCache.ts"
import * as Metrics from "../metrics.ts"
import * as Content from "./content.ts"
import { type Reader, remember } from "./read.ts"
import { type Attempt, inDoubt, type Retry } from "./retry.ts"
import * as Snapshot from "./snapshot.ts"

/** How a write is known: by its checkpoint's id, and by what nobody chooses. */
export interface Ids {
  readonly checkpointId: string
  readonly revision: string
}

/** A version that is to be saved. */
export interface Write extends Ids {
  readonly threadId: string
  readonly expected: CheckpointStore.Expected
  readonly parent?: CheckpointStore.ParentRef | undefined
  readonly content: Content.Encoded
  /** The checkpoint that is taken for the newest, where its state is at hand. */
  readonly head: HeadCache.Head | undefined
}

/** A version that was saved, and the head that it is, where its state is at hand. */
export interface Saved {
  readonly info: CheckpointInfo
  readonly head: HeadCache.Head | undefined
}

export type Save = (
  write: Write
) => Effect.Effect<Saved, VersionConflict | CheckpointIdTaken | StoreError>

/** Saves a version: as a change where that is possible, whole otherwise, and once however often it is tried. */
export const make = (
  { headCache, namespace, reader, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly headCache: HeadCache.HeadCache
    readonly namespace: string
    readonly reader: Pick<Reader<unknown>, "raw">
  }
): Save => {
  const send = (
    { checkpointId, content, parent, revision, threadId }: Write,
    expected: CheckpointStore.Expected,
    state: Snapshot.StoredState,
    attempt: Attempt
  ): Effect.Effect<CheckpointStore.PutResult, StoreError> =>
    retry(
      attempt(
        store.put(
          { threadId, namespace, checkpointId, revision, parent, ...state.record, ...content.stored },
          expected
        )
      )
    )

  /** The version as it was saved. */
  const savedAs = Effect.fnUntraced(function*(
    { checkpointId, content, revision, threadId }: Write,
    state: Snapshot.StoredState,
    result: Extract<CheckpointStore.PutResult, { readonly _tag: "Saved" }>
  ): Effect.fn.Return<Saved, StoreError> {
    const createdAt = DateTime.make(result.createdAt)
    if (Option.isNone(createdAt)) return yield* timeless(threadId)
    yield* Metric.update(Metrics.puts, 1)
    yield* Metric.update(Metrics.bytesWritten, state.record.bytes)
    const info: CheckpointInfo = {
      threadId,
      namespace,
      version: result.version,
      checkpointId,
      parent: Option.map(Option.fromUndefinedOr(result.parent), (ref) => ({ ...ref, namespace })),
      nextNodes: content.nextNodes,
      pendingInterrupt: content.pendingInterrupt,
      metadata: content.metadata,
      tags: [],
      createdAt: createdAt.value
    }
    const head: HeadCache.Head = {
      version: result.version,
      checkpointId,
      revision,
      json: content.state.json,
      bytes: state.record.stateBytes,
      chain: state.chain(result.version)
    }
    headCache.set(info, head)
    return { info, head }
  })

  /** An earlier attempt of this put, or of one with the same id, was applied. What cannot be read is not the same. */
  const existing = Effect.fnUntraced(function*(
    { checkpointId, content, threadId }: Write
  ): Effect.fn.Return<Saved, CheckpointIdTaken | StoreError> {
    const raw = yield* reader.raw(threadId, { _tag: "Id", checkpointId }).pipe(
      Effect.catchTag("StateDecodeError", () => Effect.undefined),
      Effect.mapError((error) => new StoreError({ ...error, outcome: "Unknown" }))
    )
    return raw !== undefined && Content.isSame(content, raw)
      ? { info: remember(headCache, raw, raw.info), head: headCache.of(raw.info) }
      : yield* new CheckpointIdTaken({ threadId, namespace, checkpointId })
  })

  const saveBy = Effect.fnUntraced(function*(
    attempt: Attempt,
    input: Write
  ): Effect.fn.Return<Saved, VersionConflict | CheckpointIdTaken | StoreError> {
    const { content, expected, threadId } = input
    const head = headFor(headCache, { threadId, namespace }, expected, input.head)
    let state = head === undefined ? undefined : Snapshot.toDelta(content.state, head)
    let result: CheckpointStore.PutResult = { _tag: "Moved" }
    if (head !== undefined && state !== undefined) {
      // Who named no certain write is not told that the one we took for it was not the newest.
      const isCertain = expected._tag === "Version" && expected.revision !== undefined
      result = yield* send(
        input,
        isCertain ? expected : { _tag: "Hint", version: head.version, revision: head.revision },
        state,
        attempt
      )
    }
    if (result._tag === "Moved" || state === undefined) {
      state = Snapshot.toKeyframe(content.state)
      result = yield* send(input, expected, state, attempt)
    }
    switch (result._tag) {
      case "Saved":
        return yield* savedAs(input, state, result)
      case "Taken":
        return yield* existing(input)
      case "Conflict":
      case "Moved": {
        const actual = result._tag === "Conflict" ? result.actual : 0
        yield* Metric.update(Metrics.conflicts, 1)
        return yield* new VersionConflict({
          threadId,
          namespace,
          expected: expected._tag === "Any" ? actual : expected.version,
          actual
        })
      }
    }
  })

  return (write) => inDoubt((attempt) => saveBy(attempt, write))
}

/** The checkpoint that was saved, with the state that its caller gave. */
export const withState = <S>(headCache: HeadCache.HeadCache, { head, info }: Saved, state: S): Checkpoint<S> => {
  const checkpoint = { ...info, state }
  if (head !== undefined) headCache.attach(checkpoint, head)
  return checkpoint
}

/** What may turn out to be the newest version. */
export const headFor = (
  headCache: HeadCache.HeadCache,
  key: CheckpointStore.ThreadKey,
  expected: CheckpointStore.Expected,
  attached: HeadCache.Head | undefined
): HeadCache.Head | undefined => {
  const head = attached ?? headCache.get(key)
  return head !== undefined && mayFollow(head, expected) ? head : undefined
}

/** Whether what is put may turn out to follow this checkpoint. */
const mayFollow = (head: HeadCache.Head, expected: CheckpointStore.Expected): boolean =>
  expected._tag === "Any" || (
    expected.version === head.version && (
      expected._tag === "Hint" ||
      (expected.checkpointId ?? head.checkpointId) === head.checkpointId
    ) && (expected.revision ?? head.revision) === head.revision
  )

/** Expects a number only. */
export const atVersion = (version: number): CheckpointStore.Expected => ({
  _tag: "Version",
  version,
  checkpointId: undefined,
  revision: undefined
})

const timeless = (threadId: string): StoreError =>
  new StoreError({
    operation: "put",
    reason: new Unknown({ message: `something else changed the time of thread "${threadId}" to one that is invalid` }),
    outcome: "Unknown"
  })
