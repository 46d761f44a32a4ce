import { type Checkpoint, Checkpointer, type CheckpointStore } from "@effect-checkpoint/core"
import { assert, type Vitest } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** What all groups of laws share: how they are registered, and helpers that state what a law expects. */

/** Makes everything that is stored older. */
export class Aging extends Context.Service<Aging, {
  readonly age: (duration: Duration.Input) => Effect.Effect<void>
}>()("@effect-checkpoint/testing/Aging") {}

export type It = Vitest.MethodsNonLive<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore | Aging>

/** How properties are tested. */
export interface Properties {
  readonly arbitrary: { readonly runs: number; readonly seed: string | number }
  /** How many sequences are compared with a model. */
  readonly sequences: number
}

/** Options of `describe`: a database may be slow. */
export const patient = { timeout: 60_000 }

/** A group of laws. */
export type Group = (it: It, properties: Properties) => void

export type JsonView = Checkpointer.View<Schema.Json>

/** A name that was not used before. */
export const fresh: Effect.Effect<string> = Effect.sync(() => `law ${uuidV4Unsafe()}`)

/** Text of a number of bytes that a database can hardly compress. */
export const randomText = (bytes: number): string =>
  Array.from({ length: Math.ceil(bytes / 32) }, () => uuidV4Unsafe().replaceAll("-", "")).join("").slice(0, bytes)

/** A view of plain JSON in a new namespace, and a thread id. The threads of the namespace are deleted after the law. */
export const freshThread: Effect.Effect<readonly [JsonView, string], never, Checkpointer.Checkpointer | Scope.Scope> =
  Effect.gen(function*() {
    const view = yield* jsonView(yield* fresh)
    yield* Effect.addFinalizer(() =>
      Effect.ignore(Stream.runForEach(view.threads(), (thread) => view.deleteThread(thread.threadId)))
    )
    return [view, yield* fresh] as const
  })

/** The service and a new thread id. The thread is deleted after the law. */
export const plainThread: Effect.Effect<
  readonly [Checkpointer.Checkpointer["Service"], string],
  never,
  Checkpointer.Checkpointer | Scope.Scope
> = Effect.gen(function*() {
  const checkpointer = yield* Checkpointer.Checkpointer
  const threadId = yield* fresh
  yield* Effect.addFinalizer(() => Effect.ignore(checkpointer.deleteThread(threadId)))
  return [checkpointer, threadId] as const
})

export const jsonView = (namespace: string): Effect.Effect<JsonView, never, Checkpointer.Checkpointer> =>
  Checkpointer.Checkpointer.use((checkpointer) => Effect.orDie(checkpointer.view({ state: Schema.Json, namespace })))

/** A view of another service over the same store, as another process has it. */
export const anotherService = (namespace: string) =>
  Effect.gen(function*() {
    const service = yield* Effect.orDie(Checkpointer.make())
    return yield* Effect.provideService(jsonView(namespace), Checkpointer.Checkpointer, service)
  })

export const age = (duration: Duration.Input): Effect.Effect<void, never, Aging> =>
  Aging.use((aging) => aging.age(duration))

/** Hides the warnings about failures that laws cause. */
export const quiet: Layer.Layer<never> = Layer.succeed(References.MinimumLogLevel, "Error")

/** Lets effects be run as by another program: in fibers that are not part of the code that waits for them. */
export const elsewhere = Effect.map(
  Effect.context<never>(),
  (context) => <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.flatMap(Effect.sync(() => Effect.runForkWith(context)(effect)), Fiber.join)
)

/** Uses the real clock, on which retries wait whatever clock the store uses. */
export const onLiveClock = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Clock.Clock, Clock.Clock.defaultValue())

/** Saves states one after the other. */
export const putAll = <S, E, R>(
  view: {
    readonly append: (input: { readonly threadId: string; readonly state: S }) => Effect.Effect<
      Checkpoint.Checkpoint<S>,
      E,
      R
    >
  },
  threadId: string,
  states: ReadonlyArray<S>
): Effect.Effect<Array<Checkpoint.Checkpoint<S>>, E, R> =>
  Effect.forEach(states, (state) => view.append({ threadId, state }))

/** Later than everything that is stored. */
export const farFuture: DateTime.Utc = DateTime.makeUnsafe("9999-12-31T23:59:59.999Z")

/** The numbers from `first` to `last`, in either direction. */
export const range = (first: number, last: number): Array<number> =>
  Array.from({ length: Math.abs(last - first) + 1 }, (_, i) => first < last ? first + i : first - i)

type Changed = "parent" | "tags" | "createdAt"

type Plain<A> = Omit<A, Changed> & {
  readonly parent: Checkpoint.CheckpointRef | null
  readonly tags: ReadonlyArray<string>
  readonly createdAt: number
}

/** A checkpoint as plain data, for `deepStrictEqual`. The order of tags does not matter. */
export const plain = <A extends Checkpoint.CheckpointInfo>(checkpoint: A): Plain<A> => ({
  ...checkpoint,
  parent: checkpoint.parent ?? null,
  tags: checkpoint.tags.toSorted(),
  createdAt: DateTime.toEpochMillis(checkpoint.createdAt)
})

/** As `plain` without the time, which changes when everything is made older. */
export const timeless = <A extends Checkpoint.CheckpointInfo>(checkpoint: A): Omit<Plain<A>, "createdAt"> => {
  const { createdAt: _, ...rest } = plain(checkpoint)
  return rest
}

export const refOf = (
  { checkpointId, namespace, threadId, version }: Checkpoint.CheckpointRef
): Checkpoint.CheckpointRef => ({ threadId, namespace, version, checkpointId })

/**
 * JSON as it reads back, in which -0 is 0. It is copied by its structure, since `JSON.parse` does not always return the
 * right keys (https://github.com/nodejs/node/issues/63785).
 */
export const asRead = <A extends Schema.Json>(json: A): A => copy(json) as A

const copy = (json: Schema.Json): Schema.Json => {
  if (Array.isArray(json)) return json.map(copy)
  if (typeof json === "object" && json !== null) {
    // `fromEntries` defines own properties, including `__proto__`.
    return Object.fromEntries(Object.entries(json as Schema.JsonObject).map(([key, value]) => [key, copy(value)]))
  }
  return json === 0 ? 0 : json
}

interface Lists {
  readonly listVersions: Checkpointer.View<never>["listVersions"]
}

/** Everything that a listing of versions shows, newest first. */
export const listing = (view: Lists, threadId: string) =>
  Effect.map(view.listVersions(threadId, { limit: 10_000 }), (infos) => infos.map(plain))

export const versionsOf = (view: Lists, threadId: string) =>
  Effect.map(view.listVersions(threadId, { limit: 10_000 }), (infos) => infos.map((info) => info.version))

export const historyOf = <S>(view: Pick<Checkpointer.View<S>, "history">, threadId: string) =>
  Stream.runCollect(view.history(threadId))

export const stateAt = <S>(view: Pick<Checkpointer.View<S>, "get">, threadId: string, version: number) =>
  Effect.map(view.get(threadId, { version }), (found) => {
    assert.isTrue(Option.isSome(found), `version ${version} of "${threadId}" is missing`)
    return Option.getOrThrow(found).state
  })

/** The error with the tag that the effect fails with. Any other result breaks the law. */
export const fails = <A, E extends { readonly _tag: string }, R, const Tag extends E["_tag"]>(
  effect: Effect.Effect<A, E, R>,
  tag: Tag
): Effect.Effect<Extract<E, { readonly _tag: Tag }>, never, R> =>
  Effect.match(effect, {
    onFailure: (error) => {
      assert.strictEqual(error._tag, tag, String(error))
      return error as Extract<E, { readonly _tag: Tag }>
    },
    onSuccess: () => assert.fail(`expected ${tag}, but it succeeded`)
  })

/** Checks that the effect is refused because of one argument, and returns the problem. */
export const refuses = <
  A,
  E extends { readonly _tag: string; readonly field?: string | undefined; readonly problem?: unknown },
  R
>(
  effect: Effect.Effect<A, E, R>,
  field: string
): Effect.Effect<string, never, R> =>
  Effect.match(effect, {
    onFailure: (error) => {
      assert.strictEqual(error._tag, "InvalidInput", String(error))
      assert.strictEqual(error.field, field, String(error))
      assert.isNotEmpty(error.problem)
      return String(error.problem)
    },
    onSuccess: () => assert.fail(`expected ${field} to be refused, but it was accepted`)
  })

/** Checks that the effect leaves a thread as it is. */
export const writesNothing =
  (view: Lists, threadId: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function*() {
      const before = yield* Effect.orDie(listing(view, threadId))
      const result = yield* effect
      assert.deepStrictEqual(yield* Effect.orDie(listing(view, threadId)), before)
      return result
    })
