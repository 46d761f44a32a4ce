import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoint } from "../../Checkpoint.ts"
import { type InvalidInput, VersionConflict } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { Append, CompareAndSet, PutError, View } from "../../View.ts"
import type * as Codec from "../codec.ts"
import type * as HeadCache from "../headCache.ts"
import * as Input from "../input.ts"
import type { InTurn } from "../threadQueue.ts"
import * as Content from "./content.ts"
import { headFor, type Ids, type Save, withState } from "./save.ts"
import * as Snapshot from "./snapshot.ts"
import * as Thread from "./thread.ts"

export const make = <S>(
  { codec, headCache, inTurn, maxStateBytes, namespace, random, save }: {
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: InTurn
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
    readonly namespace: string
    readonly codec: Codec.Codec<S>
    readonly save: Save
  }
): View<S>["put"] => {
  const about = Thread.annotate(namespace)
  return Effect.fn("Checkpointer.put")(function*(
    input: Append<S> | CompareAndSet<S>
  ): Effect.fn.Return<Checkpoint<S>, PutError | VersionConflict> {
    const [threadId, condition] = yield* targetOf(headCache, namespace, input)
    const key = { threadId, namespace }
    const ids = yield* newIds(random, key, input.checkpointId)
    const json = yield* Snapshot.encode(codec, key, input.state)
    const head = input.parent === undefined ? undefined : headCache.of(input.parent)
    const state = yield* Effect.fromResult(
      Snapshot.take(key, json, headFor(headCache, key, condition, head), maxStateBytes)
    )
    const content = yield* Content.encode(key, maxStateBytes, state, {
      nextNodes: input.nextNodes ?? [],
      pendingInterrupt: Option.fromNullishOr(input.pendingInterrupt),
      metadata: input.metadata ?? {}
    }, input)
    const saved = yield* inTurn(key, save({ threadId, ...ids, condition, content, head })).pipe(
      Effect.catchTag("HeadMismatch", ({ version }) =>
        Effect.fail(
          new VersionConflict({
            ...key,
            expected: condition._tag === "At" ? condition.version : 0,
            actual: version
          })
        ))
    )
    return withState(headCache, saved, input.state)
  }, (effect, input) => about(effect, input.parent === undefined ? input.threadId : input.parent.threadId)) as View<
    S
  >["put"]
}

export const newIds = Effect.fnUntraced(function*(
  random: SecureRandom.SecureRandom["Service"],
  key: CheckpointStore.ThreadKey,
  given: string | undefined
): Effect.fn.Return<Ids, InvalidInput> {
  if (given !== undefined) yield* Input.checkpointId(key, given)
  const writeId = yield* random.uuidV7()
  return { checkpointId: given ?? writeId, writeId }
})

const targetOf = Effect.fnUntraced(function*(
  headCache: HeadCache.HeadCache,
  namespace: string,
  input: Append<unknown> | CompareAndSet<unknown>
): Effect.fn.Return<readonly [threadId: string, condition: CheckpointStore.HeadCondition], InvalidInput> {
  if (input.parent !== undefined) {
    const { checkpointId, threadId, version } = input.parent
    yield* Thread.checkId(threadId)
    yield* Thread.checkNamespace(namespace, "parent", input.parent)
    yield* Input.wholeNumber("parent.version", version)
    yield* Input.checkpointId({ threadId, namespace }, checkpointId)
    return [threadId, { _tag: "At", version, checkpointId, writeId: headCache.of(input.parent)?.writeId }]
  }
  yield* Thread.checkId(input.threadId)
  if (input.expectedVersion === undefined) return [input.threadId, { _tag: "Any" }]
  yield* Input.wholeNumber("expectedVersion", input.expectedVersion, 0)
  const version = input.expectedVersion
  return [
    input.threadId,
    version === 0 ? { _tag: "NoThread" } : { _tag: "At", version, checkpointId: undefined, writeId: undefined }
  ]
})
