/**
 * Whole states made of versions that are stored as changes, for stores that rewrite what they hold.
 *
 * @since 0.2.0
 */
import * as Arr from "effect/Array"
import * as Result from "effect/Result"
import type { StateDecodeError } from "./CheckpointError.ts"
import { Format, type StoredRecord } from "./CheckpointStore.ts"
import * as Hydrate from "./internal/hydrate.ts"
import * as Json from "./internal/json.ts"

/**
 * What a record is written with when it is made a keyframe.
 *
 * @category compaction
 * @since 0.1.0
 */
export interface Keyframe {
  readonly format: number
  /** The whole state as JSON text, in a form that every store can hold. */
  readonly state: string
  /** The UTF-8 bytes of `state`. */
  readonly bytes: number
}

/**
 * The last of some records of one thread as a keyframe, so that it needs none of
 * those before it. They are consecutive and the first is a keyframe, as
 * `CheckpointStore.read` gives them.
 *
 * **When to use**
 *
 * Use in a store that removes what versions which stay are stored upon.
 *
 * **Details**
 *
 * Fails when one of the records is damaged, or in a format that this version of
 * the library does not know.
 *
 * @category compaction
 * @since 0.1.0
 */
export const make = (
  records: Arr.NonEmptyReadonlyArray<StoredRecord>
): Result.Result<Keyframe, StateDecodeError> =>
  Result.flatMap(Hydrate.fold(records, "last"), (checkpoints) => {
    const encoded = Json.encode(checkpoints[0]!.state)
    // What somebody wrote into the row may be more than a state can be.
    if (Result.isFailure(encoded)) return Hydrate.damaged(Arr.lastNonEmpty(records), encoded.failure)
    const { bytes, escaped, text } = encoded.success
    return Result.succeed({ format: escaped ? Format.keyframeEscaped : Format.keyframe, state: text, bytes })
  })
