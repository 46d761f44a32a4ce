import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Checkpoint, CheckpointInfo } from "../../Checkpoint.ts"
import { CheckpointNotFound, SchemaMismatch, StateDecodeError, type StoreError } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import type * as Codec from "../codec.ts"
import type * as HeadCache from "../headCache.ts"
import * as Hydrate from "../hydrate.ts"
import * as Input from "../input.ts"
import * as Json from "../json.ts"
import type { ViewMetrics } from "../metrics.ts"
import type { Retry } from "./retry.ts"
import { latest, select, type Selected } from "./selector.ts"
import * as Thread from "./thread.ts"

/** How many versions `history` asks for at a time. */
const historyVersions = 16

/** What writing operations need of reading ones. */
export interface Reader<S> {
  /** A version before its state is decoded. */
  readonly raw: (
    threadId: string,
    selector: CheckpointStore.Selector
  ) => Effect.Effect<Hydrate.JsonCheckpoint | undefined, StateDecodeError | StoreError>
  readonly required: (
    threadId: string,
    selected: Selected
  ) => Effect.Effect<Hydrate.JsonCheckpoint, StateDecodeError | StoreError | CheckpointNotFound>
  readonly decode: (raw: Hydrate.JsonCheckpoint) => Effect.Effect<Checkpoint<S>, StateDecodeError>
}

export const makeReader = <S>(
  { codec, namespace, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly namespace: string
    readonly codec: Codec.Codec<S>
  }
): Reader<S> & { readonly versions: typeof versions; readonly selected: typeof selected } => {
  const versions = (
    threadId: string,
    selector: CheckpointStore.Selector,
    count: number
  ): Effect.Effect<ReadonlyArray<CheckpointStore.StoredCheckpoint>, StateDecodeError | StoreError> =>
    Effect.tap(
      retry(store.read({ threadId, namespace }, selector, count)),
      (versions) => selector._tag === "Latest" ? Effect.fromResult(Hydrate.hasNewest(versions)) : Effect.void
    )

  const raw: Reader<S>["raw"] = (threadId, selector) =>
    Effect.flatMap(
      versions(threadId, selector, 1),
      (versions) => Effect.map(Effect.fromResult(Hydrate.fold(versions, "last")), ([raw]) => raw)
    )

  const selected = (threadId: string, { selector, version }: Selected) =>
    Effect.map(
      raw(threadId, selector),
      (found) => version === undefined || found?.info.version === version ? found : undefined
    )

  return {
    versions,
    raw,
    selected,
    required: (threadId, which) =>
      Effect.flatMap(selected(threadId, which), (raw) =>
        raw === undefined
          ? Effect.fail(new CheckpointNotFound({ threadId, namespace, selector: which.description }))
          : Effect.succeed(raw)),
    decode: (raw) =>
      // A copy: the original is what the next state is compared with, and is shared by the versions of a history.
      Effect.mapBoth(codec.decode(Json.clone(raw.json)), {
        onFailure: (cause) =>
          new StateDecodeError({
            threadId: raw.info.threadId,
            namespace,
            version: raw.info.version,
            reason: new SchemaMismatch({ message: cause.message, cause }),
            raw: raw.json
          }),
        onSuccess: (state) => ({ ...raw.info, state })
      })
  }
}

/** The newest version of a thread, to compare the next one with. */
export const headOf = (raw: Hydrate.JsonCheckpoint): HeadCache.Head | undefined =>
  raw.writeId === undefined ? undefined : {
    version: raw.info.version,
    checkpointId: raw.info.checkpointId,
    writeId: raw.writeId,
    json: raw.json,
    bytes: raw.stateBytes,
    memory: Json.memoryOf(raw.json),
    chain: raw.chain
  }

/** Remembers the newest version, to compare the next one with. */
export const remember = <A extends CheckpointInfo>(
  headCache: HeadCache.HeadCache,
  raw: Hydrate.JsonCheckpoint,
  checkpoint: A
): A => {
  const head = headOf(raw)
  if (head !== undefined) {
    headCache.offer(checkpoint, head)
    headCache.attach(checkpoint, head)
  }
  return checkpoint
}

/** The operations that read. */
export const make = <S>(
  { headCache, metrics, namespace, reader, retry, store }: {
    readonly store: CheckpointStore.CheckpointStore["Service"]
    readonly retry: Retry
    readonly metrics: ViewMetrics
    readonly headCache: HeadCache.HeadCache
    readonly namespace: string
    readonly reader: ReturnType<typeof makeReader<S>>
  }
): Pick<View<S>, "get" | "getAtTime" | "listVersions" | "history"> => {
  const annotate = Thread.annotate(namespace)

  const present = (raw: Hydrate.JsonCheckpoint): Effect.Effect<Checkpoint<S>, StateDecodeError> =>
    Effect.map(reader.decode(raw), (checkpoint) => remember(headCache, raw, checkpoint))

  const one = (
    threadId: string,
    which: Selected
  ): Effect.Effect<Option.Option<Checkpoint<S>>, StateDecodeError | StoreError> =>
    Effect.flatMap(
      reader.selected(threadId, which),
      (raw) => raw === undefined ? Effect.succeedNone : Effect.asSome(present(raw))
    ).pipe(Effect.trackDuration(metrics.readDuration))

  /** At least the newest versions below one, and all that are stored in the chains of those. */
  const page = (threadId: string, before: number | undefined) =>
    reader.versions(
      threadId,
      before === undefined ? { _tag: "Latest" } : { _tag: "Before", version: before },
      historyVersions
    ).pipe(
      Effect.flatMap((versions) => Effect.fromResult(Hydrate.fold(versions, "all"))),
      Effect.map((raws) => [raws.toReversed(), Option.map(Arr.head(raws), ({ info }) => info.version)] as const)
    )

  return {
    get: Effect.fn("Checkpointer.get")(function*(threadId, selector) {
      yield* Thread.checkId(threadId)
      return yield* one(threadId, selector === undefined ? latest : yield* select({ threadId, namespace }, selector))
    }, annotate),
    getAtTime: Effect.fn("Checkpointer.getAtTime")(function*(threadId, time) {
      yield* Thread.checkId(threadId)
      return yield* one(threadId, yield* select({ threadId, namespace }, { at: time }))
    }, annotate),
    listVersions: Effect.fn("Checkpointer.listVersions")(function*(threadId, options) {
      const { before, limit = 100 } = options ?? {}
      yield* Thread.checkId(threadId)
      yield* Input.limit(limit)
      if (before !== undefined) yield* Input.wholeNumber("before", before)
      const stored = yield* retry(store.list({ threadId, namespace }, { before, limit }))
      return yield* Effect.fromResult(Result.all(stored.map(Hydrate.toInfo)))
    }, annotate),
    history: (threadId, options) =>
      Stream.unwrap(Effect.as(
        Effect.andThen(
          Thread.checkId(threadId),
          options?.before === undefined ? Effect.void : Input.wholeNumber("before", options.before)
        ),
        Stream.paginate(options?.before, (before) => page(threadId, before)).pipe(Stream.mapEffect(present))
      )).pipe(Stream.withSpan("Checkpointer.history", {
        attributes: { "checkpoint.thread_id": threadId, "checkpoint.namespace": namespace }
      }))
  }
}
