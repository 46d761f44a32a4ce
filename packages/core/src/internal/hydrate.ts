import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { CheckpointInfo, Question, ThreadInfo } from "../Checkpoint.ts"
import { Damaged, StateDecodeError, type StateDecodeErrorReason, UnknownFormat } from "../CheckpointError.ts"
import type { StoredCheckpoint, StoredInfo, StoredQuestion, StoredThread } from "../CheckpointStore.ts"
import * as Delta from "./delta.ts"
import type { Chain } from "./delta.ts"
import { Format } from "./format.ts"
import * as Json from "./json.ts"

/** Turns what a store returns into checkpoints, up to the decoding of the state by its schema. */

/** The times that JavaScript can represent. Postgres also has infinite ones. */
const Time = Schema.Number.check(Schema.isBetween({ minimum: -8.64e15, maximum: 8.64e15 }))

const Parts = Schema.Struct({
  checkpointId: Schema.String,
  createdAt: Time,
  nextNodes: Schema.Array(Schema.String),
  pendingInterrupts: Schema.Array(
    Schema.Struct({
      interruptId: Schema.String,
      request: Schema.Json,
      metadata: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json))
    })
  ),
  metadata: Schema.Record(Schema.String, Schema.Json),
  tags: Schema.Array(Schema.String)
})

const decodeParts = Schema.decodeUnknownResult(Parts)

const decodeTime = Schema.decodeUnknownResult(Time)

const changed = (
  { namespace, threadId, version }: StoredInfo,
  raw: unknown,
  cause: Schema.SchemaError
): StateDecodeError =>
  new StateDecodeError({
    threadId,
    namespace,
    version,
    reason: new Damaged({ message: `something other than this library changed its row: ${cause.message}`, cause }),
    raw
  })

export const toInfo = (stored: StoredInfo): Result.Result<CheckpointInfo, StateDecodeError> => {
  const { checkpointId, createdAt, metadata, nextNodes, pendingInterrupts, tags } = stored
  const raw = {
    nextNodes: Json.decode(nextNodes),
    pendingInterrupts: Json.decode(pendingInterrupts),
    metadata: Json.decode(metadata),
    tags: Json.decode(tags),
    checkpointId,
    createdAt
  }
  return Result.mapBoth(decodeParts(raw), {
    onFailure: (cause) => changed(stored, raw, cause),
    onSuccess: (parts) => ({
      threadId: stored.threadId,
      namespace: stored.namespace,
      version: stored.version,
      checkpointId: parts.checkpointId,
      parent: stored.parent && { ...stored.parent, namespace: stored.namespace },
      nextNodes: parts.nextNodes,
      pendingInterrupts: parts.pendingInterrupts,
      metadata: parts.metadata,
      tags: parts.tags,
      createdAt: DateTime.makeUnsafe(parts.createdAt)
    })
  })
}

/** A question of a step. A time that something else has written may be none that a date can be. */
export const toQuestion = ({ answer, askedAt, interruptId, metadata, request }: StoredQuestion): Question => ({
  interruptId: Json.unescape(interruptId) as string,
  request: Json.decode(request),
  metadata: Json.decode(metadata) as Schema.JsonObject,
  askedAt: toTime(askedAt),
  answer: answer && { response: Json.decode(answer.response), answeredAt: toTime(answer.answeredAt) }
})

const toTime = (epochMillis: number): DateTime.Utc =>
  DateTime.makeUnsafe(Math.min(Math.max(epochMillis, -8.64e15), 8.64e15))

export const toThread = (stored: StoredThread): Result.Result<ThreadInfo, StateDecodeError> =>
  Result.flatMap(toInfo(stored.head), (head) =>
    Result.mapBoth(decodeTime(stored.createdAt), {
      onFailure: (cause) => changed(stored.head, stored.createdAt, cause),
      onSuccess: (createdAt) => ({
        threadId: stored.threadId,
        namespace: stored.namespace,
        createdAt: DateTime.makeUnsafe(createdAt),
        head
      })
    }))

/** A checkpoint whose state is JSON, not yet decoded by a schema. */
export interface JsonCheckpoint {
  readonly info: CheckpointInfo
  /** The state as JSON. */
  readonly json: Schema.Json
  /** The size of the state, as `Json.encode` counts it. */
  readonly stateBytes: number
  /** The chain that it ends. */
  readonly chain: Chain
  /** The id of the write that it comes from, if it was the newest version. */
  readonly writeId: string | undefined
}

/**
 * Folds consecutive versions, the first a keyframe, into checkpoints: all that can be read, or only the last one. Equal
 * parts of their states are shared.
 */
export const fold = (
  versions: ReadonlyArray<StoredCheckpoint>,
  which: "all" | "last"
): Result.Result<ReadonlyArray<JsonCheckpoint>, StateDecodeError> => {
  const checkpoints: Array<JsonCheckpoint> = []
  let json: Schema.Json = null
  let chain: Chain | undefined
  let copies = Delta.noCopies()
  for (let i = 0; i < versions.length; i++) {
    const stored = versions[i]!
    const { bytes, format, text } = stored.payload
    const payload = isEscaped(format) ? Json.decode(text) : Json.parse(text)
    switch (format) {
      case Format.keyframe:
      case Format.keyframeEscaped: {
        json = payload
        chain = { keyframeVersion: stored.version, keyframeBytes: bytes, deltaBytes: 0 }
        break
      }
      case Format.delta:
      case Format.deltaEscaped: {
        if (chain === undefined || stored.version - 1 !== versions[i - 1]?.version) {
          return damaged(stored, "versions that its payload is a change of are missing")
        }
        const applied = Delta.apply(payload, json, copies)
        if (Result.isFailure(applied)) return damaged(stored, applied.failure)
        json = applied.success
        chain = { ...chain, deltaBytes: chain.deltaBytes + bytes }
        break
      }
      default:
        return unreadable(
          stored,
          new UnknownFormat({
            message: `it is stored in format ${format}, which this version of the library does not know; ` +
              "upgrade the library"
          })
        )
    }
    if (i < versions.length - 1 && (which === "last" || !stored.visible)) continue
    const info = toInfo(stored)
    if (Result.isFailure(info)) return Result.fail(info.failure)
    Delta.orderKeys(copies)
    checkpoints.push({ info: info.success, json, stateBytes: stored.stateBytes, chain, writeId: stored.writeId })
    // What has been handed out is not changed any more.
    copies = Delta.noCopies()
  }
  return Result.succeed(checkpoints)
}

/** What was read as the newest version has the mark of one: its row may have been deleted by something else. */
export const hasNewest = (versions: ReadonlyArray<StoredCheckpoint>): Result.Result<void, StateDecodeError> => {
  const last = versions[versions.length - 1]
  return last !== undefined && last.writeId === undefined
    ? damaged(last, "it is the newest row of the thread, but not the version that was saved last")
    : Result.void
}

const isEscaped = (format: number): boolean => format === Format.keyframeEscaped || format === Format.deltaEscaped

export const damaged = (stored: StoredCheckpoint, message: string): Result.Result<never, StateDecodeError> =>
  unreadable(stored, new Damaged({ message }))

const unreadable = (
  stored: StoredCheckpoint,
  reason: StateDecodeErrorReason
): Result.Result<never, StateDecodeError> =>
  Result.fail(
    new StateDecodeError({
      threadId: stored.threadId,
      namespace: stored.namespace,
      version: stored.version,
      reason,
      raw: Json.parse(stored.payload.text)
    })
  )
