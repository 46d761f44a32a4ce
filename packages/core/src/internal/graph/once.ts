import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { InvalidInput, SchemaMismatch, StateDecodeError, StateEncodeError } from "../../CheckpointError.ts"
import * as Codec from "../codec.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import type { NodeContext, OnceError, Plain } from "./model.ts"
import { onceKeyPrefix, type Position } from "./position.ts"
import type { Thread } from "./thread.ts"

/** Effects of tasks that run once in a step. Their results are pending writes of the step. */

/** The longest key, in bytes of UTF-8. */
const maxKeyBytes = 200

/** A result of a node in a step. */
interface Slot {
  readonly node: string
  readonly key: string
  /** The key of its pending write. */
  readonly task: string
  /** Lets fibers with the same key take turns. */
  readonly lock: Semaphore.Semaphore
}

/** The results that the current code computes. */
const Underway = Context.Reference<ReadonlyArray<Slot>>("@effect-checkpoint/core/internal/Once", {
  defaultValue: () => []
})

/** Makes `once` of the nodes of the step that begins at a position. */
export const makeOnce = <S>(
  thread: Pick<Thread<S>, "threadId" | "view">,
  position: Position<S>
): (node: string) => NodeContext["once"] => {
  const slots = new Map<string, Slot>()
  return (node) => (key, schema, effect) =>
    Effect.gen(function*() {
      const task = onceKey(node, key)
      yield* checkKey(thread, key, task)
      const slot = slots.get(task) ?? { node, key, task, lock: Semaphore.makeUnsafe(1) }
      slots.set(task, slot)
      const underway = yield* Underway
      if (underway.includes(slot)) return yield* withinItself(slot)
      const isolated = Effect.provideService(effect, Underway, [...underway, slot])
      return yield* slot.lock.withPermit(readOrRun(thread, position, slot, schema, isolated))
    }).pipe(
      Effect.withSpan("StateGraph.once", { attributes: { "graph.node": node, "graph.once": key } })
    )
}

/** The key of the pending write that holds a result. The key of the user comes last and needs no escape. */
const onceKey = (node: string, key: string): string =>
  `${onceKeyPrefix}${node.replace(/[%:]/g, encodeURIComponent)}:${key}`

const checkKey = <S>(
  { threadId, view: { namespace } }: Pick<Thread<S>, "threadId" | "view">,
  key: string,
  task: string
): Effect.Effect<void, InvalidInput> =>
  Effect.flatMap(Input.id("key", key), () => {
    const bytes = Json.utf8Bytes(key)
    return bytes > maxKeyBytes
      ? Effect.fail(
        new InvalidInput({ field: "key", problem: `it is ${bytes} bytes of UTF-8, at most ${maxKeyBytes} are allowed` })
      )
      : Input.task({ threadId, namespace }, task)
  })

const withinItself = ({ key, node }: Slot): InvalidInput =>
  new InvalidInput({
    field: "key",
    problem:
      `the effect of once "${key}" in node "${node}" calls once with the same key; give the inner one another key`
  })

/** Returns the stored result, or runs the effect and stores its result before the fiber can be interrupted. */
const readOrRun = <S, A extends Plain, E, R>(
  thread: Pick<Thread<S>, "threadId" | "view">,
  position: Position<S>,
  slot: Slot,
  schema: A,
  effect: Effect.Effect<A["Type"], E, R>
): Effect.Effect<A["Type"], E | OnceError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const codec = Codec.pure(schema)
      const stored = position.pendingWrites[slot.task]
      if (stored !== undefined) {
        if (position._tag === "Saved" && position.unstored.has(slot.task)) yield* store(thread, position, slot, stored)
        return yield* decodeResult(thread, position, slot, codec, stored)
      }
      const value = yield* restore(effect)
      yield* store(thread, position, slot, yield* encodeResult(thread, slot, codec, value))
      return value
    })
  )

/** Stores a result, or leaves it to the next save of the position: that of an unsaved one, or after an error. */
const store = <S>(
  { view }: Pick<Thread<S>, "view">,
  position: Position<S>,
  { task }: Slot,
  write: Schema.Json
): Effect.Effect<void, OnceError> => {
  const { pendingWrites, unstored } = position
  const remember = Effect.sync(() => {
    pendingWrites[task] = write
    unstored.add(task)
  })
  return position._tag === "Unsaved" ? remember : view.savePendingWrites(position.head, { [task]: write }).pipe(
    Effect.tapErrorTag("StoreError", () => remember),
    Effect.andThen(Effect.sync(() => {
      pendingWrites[task] = write
      unstored.delete(task)
    }))
  )
}

const encodeResult = <S, A>(
  { threadId, view: { namespace } }: Pick<Thread<S>, "threadId" | "view">,
  { key, node }: Slot,
  codec: Codec.Codec<A>,
  value: A
): Effect.Effect<Schema.JsonObject, StateEncodeError> => {
  const refused = (reason: string, cause?: unknown) =>
    new StateEncodeError({
      threadId,
      namespace,
      problem: `the result of once "${key}" in node "${node}" ${reason}`,
      ...(cause === undefined ? {} : { cause })
    })
  return Effect.flatMap(
    Effect.mapError(codec.encode(value), (cause) => refused(`does not match its schema: ${cause.message}`, cause)),
    (json) =>
      Result.match(Json.copy({ value: json }, undefined, 1), {
        onFailure: (problem) => Effect.fail(refused(`is not JSON: ${problem}`)),
        onSuccess: (copy) => Effect.succeed(copy as Schema.JsonObject)
      })
  )
}

const decodeResult = <S, A>(
  { threadId, view: { namespace } }: Pick<Thread<S>, "threadId" | "view">,
  { head }: Position<S>,
  { key, node }: Slot,
  codec: Codec.Codec<A>,
  write: Schema.Json
): Effect.Effect<A, StateDecodeError> => {
  const value = Predicate.hasProperty(write, "value") ? write.value as Schema.Json : null
  return Effect.mapError(codec.decode(value), (cause) =>
    new StateDecodeError({
      threadId,
      namespace,
      version: head?.version ?? 0,
      reason: new SchemaMismatch({
        message: `the stored result of once "${key}" in node "${node}" no longer matches its schema: ${cause.message}`,
        cause
      }),
      raw: value
    }))
}
