import * as Effect from "effect/Effect"
import { type InvalidInput, ThreadExists, VersionConflict } from "../../CheckpointError.ts"
import type { HeadCondition } from "../../CheckpointStore.ts"
import type { Put, View } from "../../View.ts"
import type * as HeadCache from "../headCache.ts"
import * as Input from "../input.ts"
import type { Compose } from "./compose.ts"
import { type Save, withState } from "./save.ts"
import * as Thread from "./thread.ts"
import type { Saving } from "./underway.ts"

/** The three ways to save a state: after any version, as the first, and after one that the caller names. */
export const make = <S>(
  { compose, headCache, inTurn, namespace, save }: {
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: Saving
    readonly namespace: string
    readonly compose: Compose<S>
    readonly save: Save
  }
): Pick<View<S>, "append" | "create" | "put"> => {
  const annotate = Thread.annotate(namespace)
  return {
    append: Effect.fn("Checkpointer.append")(function*(input) {
      const key = { threadId: yield* Thread.checkId(input.threadId), namespace }
      const write = yield* compose(key, { _tag: "Any" }, input, input.step)
      // There is no condition that the newest version could fail to meet.
      const saved = yield* Effect.catchTag(inTurn(key, save(write)), "HeadMismatch", Effect.die)
      return withState(headCache, saved, input.state)
    }, (effect, input) => annotate(effect, input.threadId)),

    create: Effect.fn("Checkpointer.create")(function*(input) {
      const key = { threadId: yield* Thread.checkId(input.threadId), namespace }
      const write = yield* compose(key, { _tag: "NoThread" }, input, input.step)
      const saved = yield* inTurn(key, save(write)).pipe(
        Effect.catchTag("HeadMismatch", ({ version }) => Effect.fail(new ThreadExists({ ...key, version })))
      )
      return withState(headCache, saved, input.state)
    }, (effect, input) => annotate(effect, input.threadId)),

    put: Effect.fn("Checkpointer.put")(function*(input) {
      const { condition, threadId } = yield* followed(headCache, namespace, input)
      const key = { threadId, namespace }
      const head = input.parent === undefined ? undefined : headCache.of(input.parent)
      const write = yield* compose(key, condition, input, input.step, head)
      const saved = yield* inTurn(key, save(write)).pipe(
        Effect.catchTag(
          "HeadMismatch",
          ({ version }) => Effect.fail(new VersionConflict({ ...key, expected: condition.version, actual: version }))
        )
      )
      return withState(headCache, saved, input.state)
    }, (effect, input) => annotate(effect, input.parent === undefined ? input.threadId : input.parent.threadId))
  }
}

/** The version that a put follows. */
const followed = Effect.fnUntraced(function*(
  headCache: HeadCache.HeadCache,
  namespace: string,
  input: Put<unknown>
): Effect.fn.Return<
  { readonly threadId: string; readonly condition: Extract<HeadCondition, { readonly _tag: "At" }> },
  InvalidInput
> {
  if (input.parent === undefined) {
    const threadId = yield* Thread.checkId(input.threadId)
    yield* Input.expectedVersion(input.expectedVersion)
    return {
      threadId,
      condition: { _tag: "At", version: input.expectedVersion, checkpointId: undefined, writeId: undefined }
    }
  }
  const { checkpointId, threadId, version } = input.parent
  yield* Thread.checkRef(namespace, "parent", input.parent)
  return { threadId, condition: { _tag: "At", version, checkpointId, writeId: headCache.of(input.parent)?.writeId } }
})
