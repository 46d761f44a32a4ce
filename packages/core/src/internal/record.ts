import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { CheckpointInfo, ThreadInfo } from "../Checkpoint.ts"
import { StateDecodeError } from "../CheckpointError.ts"
import { Format, type StoredInfo, type StoredRecord, type StoredThread } from "../CheckpointStore.ts"
import * as Json from "./json.ts"

/** From what a store gives to what people see, except for the state's schema. */

const Parts = Schema.Struct({
  nextNodes: Schema.Array(Schema.String),
  pendingInterrupt: Schema.NullOr(Schema.Struct({ interruptId: Schema.String, request: Schema.Json })),
  metadata: Schema.Record(Schema.String, Schema.Json),
  tags: Schema.Array(Schema.String)
})

const decodeParts = Schema.decodeUnknownResult(Parts)

export const toInfo = (stored: StoredInfo): Result.Result<CheckpointInfo, StateDecodeError> => {
  const raw = Json.unescape({
    nextNodes: stored.nextNodes,
    pendingInterrupt: stored.pendingInterrupt,
    metadata: stored.metadata,
    tags: stored.tags
  })
  return Result.mapBoth(decodeParts(raw), {
    onFailure: (cause) =>
      new StateDecodeError({
        threadId: stored.threadId,
        namespace: stored.namespace,
        version: stored.version,
        kind: "Damaged",
        reason: `its row was changed by something else: ${cause.message}`,
        raw,
        cause
      }),
    onSuccess: (parts) => ({
      threadId: stored.threadId,
      namespace: stored.namespace,
      version: stored.version,
      checkpointId: stored.checkpointId,
      parent: Option.map(
        Option.fromUndefinedOr(stored.parent),
        (parent) => ({ ...parent, namespace: stored.namespace })
      ),
      nextNodes: parts.nextNodes,
      pendingInterrupt: Option.fromNullOr(parts.pendingInterrupt),
      metadata: parts.metadata,
      tags: parts.tags,
      createdAt: DateTime.makeUnsafe(stored.createdAt)
    })
  })
}

export const toThread = (stored: StoredThread): Result.Result<ThreadInfo, StateDecodeError> =>
  Result.map(toInfo(stored.head), (head) => ({
    threadId: stored.threadId,
    namespace: stored.namespace,
    createdAt: DateTime.makeUnsafe(stored.createdAt),
    head
  }))

/** A checkpoint whose state is JSON as it was put, not yet decoded by a schema. */
export interface RawCheckpoint {
  readonly info: CheckpointInfo
  readonly state: Schema.Json
}

/** Turns consecutive records, the first a keyframe, into checkpoints: the last `count` of them. */
export const fold = (
  records: ReadonlyArray<StoredRecord>,
  count: number
): Result.Result<ReadonlyArray<RawCheckpoint>, StateDecodeError> => {
  const checkpoints: Array<RawCheckpoint> = []
  for (const record of records.slice(-count)) {
    const info = toInfo(record)
    if (Result.isFailure(info)) return Result.fail(info.failure)
    const state = stateOf(record)
    if (Result.isFailure(state)) return Result.fail(state.failure)
    checkpoints.push({ info: info.success, state: state.success })
  }
  return Result.succeed(checkpoints)
}

const stateOf = (record: StoredRecord): Result.Result<Schema.Json, StateDecodeError> => {
  switch (record.format) {
    case Format.keyframe:
      return Result.succeed(record.state)
    case Format.keyframeEscaped:
      return Result.succeed(Json.unescape(record.state))
    default:
      return Result.fail(
        new StateDecodeError({
          threadId: record.threadId,
          namespace: record.namespace,
          version: record.version,
          kind: "Format",
          reason:
            `it is stored in format ${record.format}, which this version of the library does not know; upgrade it`,
          raw: record.state
        })
      )
  }
}
