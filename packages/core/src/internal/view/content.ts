import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Interrupt } from "../../Checkpoint.ts"
import { type InvalidInput, StateTooLarge } from "../../CheckpointError.ts"
import type { NewCheckpoint, ThreadKey } from "../../CheckpointStore.ts"
import type { Step } from "../../View.ts"
import type * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import type { Snapshot } from "./snapshot.ts"

/** A checkpoint's content: the parts as they are stored, and those that are shown as they were given. */
export interface Encoded {
  readonly state: Snapshot
  readonly stored: Pick<
    NewCheckpoint,
    "nextNodes" | "pendingInterrupts" | "answered" | "metadata" | "pendingWrites" | "step"
  >
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupts: ReadonlyArray<Interrupt>
  readonly metadata: Schema.JsonObject
}

export const encode = Effect.fnUntraced(function*(
  thread: ThreadKey,
  maxStateBytes: number,
  state: Snapshot,
  content: Pick<Encoded, "nextNodes" | "pendingInterrupts" | "metadata">,
  step?: Step | undefined
): Effect.fn.Return<Encoded, InvalidInput | StateTooLarge> {
  const { metadata, nextNodes, pendingInterrupts } = content
  const stored = {
    nextNodes: yield* Input.nodes(nextNodes),
    pendingInterrupts: yield* Input.interrupts(thread, pendingInterrupts),
    answered: step?.answered === undefined ? "[]" : yield* Input.answered(thread, step.answered, pendingInterrupts),
    metadata: yield* Input.jsonObject("metadata", metadata),
    pendingWrites: step?.pendingWrites === undefined
      ? "{}"
      : yield* encodePendingWrites(thread, maxStateBytes, step.pendingWrites),
    step: yield* Input.stepChange(step?.change)
  }
  return { state, stored, nextNodes, pendingInterrupts, metadata }
})

export const pendingWritesTooLarge = (
  { namespace, threadId }: ThreadKey,
  pendingWrites: Schema.JsonObject,
  bytes: number,
  limit: number
): StateTooLarge => new StateTooLarge({ threadId, namespace, bytes, limit, tasks: Object.keys(pendingWrites) })

export const encodePendingWrites = Effect.fnUntraced(function*(
  key: ThreadKey,
  maxStateBytes: number,
  pendingWrites: Schema.JsonObject
): Effect.fn.Return<string, InvalidInput | StateTooLarge> {
  const { bytes, text } = yield* Input.pendingWrites(key, pendingWrites)
  return bytes > maxStateBytes
    ? yield* pendingWritesTooLarge(key, pendingWrites, bytes, maxStateBytes)
    : text
})

/** Whether a saved checkpoint is what was to be saved. Tags do not count: they may change afterwards. */
export const isSame = ({ state, stored }: Encoded, { info, json }: Hydrate.JsonCheckpoint): boolean =>
  Json.equals(state.json, json) &&
  Json.equals(Json.decode(stored.nextNodes), info.nextNodes) &&
  Json.equals(Json.decode(stored.metadata), info.metadata) &&
  Json.equals(Json.decode(stored.pendingInterrupts), info.pendingInterrupts)
