import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { StateEncodeError, StateTooLarge } from "../../CheckpointError.ts"
import { Format, type NewCheckpoint, type ThreadKey } from "../../CheckpointStore.ts"
import type * as Codec from "../codec.ts"
import * as Delta from "../delta.ts"
import type * as HeadCache from "../headCache.ts"
import * as Json from "../json.ts"

/** A state on its way into a store: copied when it is given, and stored whole or as a change. */

/** A state as JSON that is ours, whatever becomes of what it was made from. */
export interface Snapshot {
  readonly json: Schema.Json
  /** What changed since a head that was at hand. */
  readonly change: { readonly head: HeadCache.Head; readonly delta: Delta.Delta } | undefined
  /** The whole, where it had to be written out. */
  readonly whole: Json.Encoded | undefined
}

/** How a state is stored, and what the next one can be compared with once it is. */
export interface StoredState {
  readonly form: "keyframe" | "delta"
  readonly stored: Pick<NewCheckpoint, "payload" | "stateBytes">
  /** About how many bytes of memory the state takes. */
  readonly memory: number
  readonly chain: (version: number) => Delta.Chain
}

/** A state that was read, which is ours already. */
export const ofRead = (json: Schema.Json): Snapshot => ({ json, change: undefined, whole: undefined })

export const encode = <S>(
  codec: Codec.Codec<S>,
  { namespace, threadId }: ThreadKey,
  state: S
): Effect.Effect<Schema.Json, StateEncodeError> =>
  Effect.mapError(
    codec.encode(state),
    (cause) => new StateEncodeError({ threadId, namespace, problem: cause.message, cause })
  )

/**
 * The state as it is now. What the caller holds may be changed while this waits for its turn or for the store, so it
 * is not looked at again.
 */
export const take = (
  { namespace, threadId }: ThreadKey,
  value: unknown,
  head: HeadCache.Head | undefined,
  maxStateBytes: number
): Result.Result<Snapshot, StateEncodeError | StateTooLarge> => {
  const copied = Json.copy(value, head?.json)
  if (Result.isFailure(copied)) {
    return Result.fail(new StateEncodeError({ threadId, namespace, problem: copied.failure }))
  }
  const json = copied.success
  const delta = head === undefined ? undefined : Delta.diff(head.json, json)
  const [snapshot, bytes]: readonly [Snapshot, number] = head === undefined || delta === undefined
    ? written(json)
    : [{ json, change: { head, delta }, whole: undefined }, head.bytes + delta.growth.bytes]
  return bytes > maxStateBytes
    ? Result.fail(new StateTooLarge({ threadId, namespace, bytes, limit: maxStateBytes }))
    : Result.succeed(snapshot)
}

const written = (json: Schema.Json): readonly [Snapshot, number] => {
  const whole = Json.encodeJson(json)
  return [{ json, change: undefined, whole }, whole.bytes]
}

/** What changed since `head`, where that is worth storing. */
export const toDelta = (state: Snapshot, head: HeadCache.Head): StoredState | undefined => {
  const delta = state.change?.head === head ? state.change.delta : Delta.diff(head.json, state.json)
  if (delta === undefined) return undefined
  const { bytes, escaped, growth, text } = delta
  const stateBytes = head.bytes + growth.bytes
  if (!Delta.continues(head.chain, head.version, bytes, stateBytes)) return undefined
  return {
    form: "delta",
    stored: { payload: { format: escaped ? Format.deltaEscaped : Format.delta, text, bytes }, stateBytes },
    memory: head.memory + growth.memory,
    chain: () => ({ ...head.chain, deltaBytes: head.chain.deltaBytes + bytes })
  }
}

export const toKeyframe = (state: Snapshot): StoredState => {
  const { bytes, escaped, memory, text } = state.whole ?? Json.encodeJson(state.json)
  return {
    form: "keyframe",
    stored: {
      payload: { format: escaped ? Format.keyframeEscaped : Format.keyframe, text, bytes },
      stateBytes: bytes
    },
    memory,
    chain: (keyframeVersion) => ({ keyframeVersion, keyframeBytes: bytes, deltaBytes: 0 })
  }
}
