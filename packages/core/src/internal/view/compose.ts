import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { InvalidInput, StateEncodeError, StateTooLarge } from "../../CheckpointError.ts"
import type { HeadCondition, ThreadKey } from "../../CheckpointStore.ts"
import type * as View from "../../View.ts"
import type * as Codec from "../codec.ts"
import type * as HeadCache from "../headCache.ts"
import * as Input from "../input.ts"
import * as Content from "./content.ts"
import { headFor, type Ids, type Write } from "./save.ts"
import * as Snapshot from "./snapshot.ts"

/** Checks and copies what a caller saves, before anything is waited for. */
export type Compose<S> = (
  key: ThreadKey,
  condition: HeadCondition,
  content: View.Content<S>,
  step?: View.Step | undefined,
  head?: HeadCache.Head | undefined
) => Effect.Effect<Write, InvalidInput | StateEncodeError | StateTooLarge>

export const make = <S>(
  { codec, headCache, maxStateBytes, random }: {
    readonly headCache: HeadCache.HeadCache
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
    readonly codec: Codec.Codec<S>
  }
): Compose<S> =>
  Effect.fnUntraced(function*(key, condition, content, step, head) {
    const ids = yield* newIds(random, key, content.checkpointId)
    const json = yield* Snapshot.encode(codec, key, content.state)
    const state = yield* Effect.fromResult(
      Snapshot.take(key, json, headFor(headCache, key, condition, head), maxStateBytes)
    )
    const { metadata = {}, nextNodes = [], pendingInterrupts = [] } = content
    const encoded = yield* Content.encode(key, maxStateBytes, state, { metadata, nextNodes, pendingInterrupts }, step)
    return { ...ids, threadId: key.threadId, condition, content: encoded, head }
  })

export const newIds = Effect.fnUntraced(function*(
  random: SecureRandom.SecureRandom["Service"],
  key: ThreadKey,
  given: string | undefined
): Effect.fn.Return<Ids, InvalidInput> {
  if (given !== undefined) yield* Input.checkpointId(key, given)
  const ids = yield* makeIds(random)
  return given === undefined ? ids : { ...ids, checkpointId: given }
})

export const makeIds = (random: SecureRandom.SecureRandom["Service"]): Effect.Effect<Ids> =>
  Effect.map(random.uuidV7(), (writeId) => ({ checkpointId: writeId, writeId }))
