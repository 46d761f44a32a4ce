/**
 * Whole states made of versions that are stored as changes, for stores that rewrite what they hold.
 *
 * @since 0.2.0
 */
import * as Arr from "effect/Array"
import * as Result from "effect/Result"
import type { StateDecodeError } from "./CheckpointError.ts"
import { Format, type Payload, type StoredCheckpoint } from "./CheckpointStore.ts"
import * as Hydrate from "./internal/hydrate.ts"
import * as Json from "./internal/json.ts"

/**
 * Folds consecutive versions of one thread, the first a keyframe, into a payload that holds the state of the last one
 * whole.
 *
 * **When to use**
 *
 * Use in a store, before it removes versions that a remaining version is stored as a change of. `CheckpointStore.read`
 * returns versions in this form.
 *
 * **Details**
 *
 * Fails if one of the versions is damaged, or in a format that this version of the library does not know.
 *
 * @category compaction
 * @since 0.1.0
 */
export const make = (
  versions: Arr.NonEmptyReadonlyArray<StoredCheckpoint>
): Result.Result<Payload, StateDecodeError> =>
  Result.flatMap(Hydrate.fold(versions, "last"), (checkpoints) => {
    const encoded = Json.encode(checkpoints[0]!.json)
    // A row that was changed by something else may hold more than a state can.
    if (Result.isFailure(encoded)) return Hydrate.damaged(Arr.lastNonEmpty(versions), encoded.failure)
    const { bytes, escaped, text } = encoded.success
    return Result.succeed({ format: escaped ? Format.keyframeEscaped : Format.keyframe, text, bytes })
  })
