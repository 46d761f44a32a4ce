import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Interrupt } from "../../Checkpoint.ts"
import { type InvalidInput, StateTooLarge } from "../../CheckpointError.ts"
import type { NewCheckpoint, ThreadKey } from "../../CheckpointStore.ts"
import type { Content } from "../../View.ts"
import type * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import type { Snapshot } from "./snapshot.ts"

/** A checkpoint's content: the parts as they are stored, and those that are shown as they were given. */
export interface Encoded {
  readonly state: Snapshot
  readonly stored: Pick<
    NewCheckpoint,
    "nextNodes" | "pendingInterrupt" | "metadata" | "pendingWrites" | "resolvesInterrupt" | "keepsPendingWrites"
  >
  readonly nextNodes: ReadonlyArray<string>
  readonly pendingInterrupt: Option.Option<Interrupt>
  readonly metadata: Schema.JsonObject
}

export const encode = Effect.fnUntraced(function*(
  thread: ThreadKey,
  maxStateBytes: number,
  state: Snapshot,
  content: Pick<Encoded, "nextNodes" | "pendingInterrupt" | "metadata">,
  step?: Pick<Content<unknown>, "writes" | "resolvesInterrupt" | "keepsWrites">
): Effect.fn.Return<Encoded, InvalidInput | StateTooLarge> {
  const { metadata, nextNodes, pendingInterrupt } = content
  const stored = {
    nextNodes: yield* Input.nodes(nextNodes),
    pendingInterrupt: yield* Input.interrupt(pendingInterrupt),
    metadata: yield* Input.jsonObject("metadata", metadata),
    pendingWrites: step?.writes === undefined ? "{}" : yield* encodeWrites(thread, maxStateBytes, step.writes),
    resolvesInterrupt: step?.resolvesInterrupt ?? false,
    keepsPendingWrites: step?.keepsWrites ?? false
  }
  return { state, stored, nextNodes, pendingInterrupt, metadata }
})

export const encodeWrites = Effect.fnUntraced(function*(
  { namespace, threadId }: ThreadKey,
  maxStateBytes: number,
  writes: Schema.JsonObject
): Effect.fn.Return<string, InvalidInput | StateTooLarge> {
  const { bytes, text } = yield* Input.writes(writes)
  return bytes > maxStateBytes
    ? yield* new StateTooLarge({ threadId, namespace, bytes, limit: maxStateBytes })
    : text
})

/** Whether a saved checkpoint is what was to be saved. Tags do not count: they may change afterwards. */
export const isSame = ({ state, stored }: Encoded, { info, json }: Hydrate.JsonCheckpoint): boolean =>
  Json.equals(state.json, json) &&
  Json.equals(Json.decode(stored.nextNodes), info.nextNodes) &&
  Json.equals(Json.decode(stored.metadata), info.metadata) &&
  Json.equals(Json.decode(stored.pendingInterrupt), Option.getOrNull(info.pendingInterrupt))
