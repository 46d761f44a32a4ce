import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { VersionConflict } from "../../CheckpointError.ts"
import type { View } from "../../View.ts"
import type * as Codec from "../codec.ts"
import type * as HeadCache from "../headCache.ts"
import type { InTurn } from "../threadQueue.ts"
import * as Content from "./content.ts"
import { newIds } from "./put.ts"
import { headOf, type Reader } from "./read.ts"
import { type Ids, type Save, withState } from "./save.ts"
import * as Snapshot from "./snapshot.ts"
import * as Thread from "./thread.ts"

/** Conflicts with other processes that `update` puts up with. */
const maxConflicts = 20

export const make = <S>(
  { codec, headCache, inTurn, maxStateBytes, namespace, random, reader, save }: {
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: InTurn
    readonly random: SecureRandom.SecureRandom["Service"]
    readonly maxStateBytes: number
    readonly namespace: string
    readonly codec: Codec.Codec<S>
    readonly reader: Pick<Reader<S>, "required" | "decode">
    readonly save: Save
  }
): Pick<View<S>, "update" | "updateEffect"> => {
  const about = Thread.annotate(namespace)

  /** One attempt: the head, changed by `f`, put upon the head that was read. */
  const attempt = Effect.fnUntraced(function*<E, R>(
    threadId: string,
    ids: Ids,
    f: (state: S) => Effect.Effect<S, E, R>
  ) {
    const key = { threadId, namespace }
    const raw = yield* reader.required(threadId, { _tag: "Latest" })
    const state = yield* Effect.flatMap(reader.decode(raw), (head) => f(head.state))
    const json = yield* Snapshot.encode(codec, key, state)
    const head = headOf(raw)
    const snapshot = yield* Effect.fromResult(Snapshot.take(key, json, head, maxStateBytes))
    // What is under way goes on with the newest version: an interrupt does not keep the one before.
    const resolvesInterrupt = Option.isSome(raw.info.pendingInterrupt)
    const keepsWrites = resolvesInterrupt || raw.info.nextNodes.length > 0
    const content = yield* Content.encode(key, maxStateBytes, snapshot, raw.info, { resolvesInterrupt, keepsWrites })
    const { checkpointId, version } = raw.info
    const condition = { _tag: "At", version, checkpointId, writeId: raw.writeId } as const
    return Effect.map(
      save({ threadId, ...ids, condition, content, head }),
      (saved) => withState(headCache, saved, state)
    ).pipe(
      Effect.catchTag(
        "HeadMismatch",
        ({ version: actual }) => Effect.fail(new VersionConflict({ ...key, expected: version, actual }))
      )
    )
  })

  return {
    update: Effect.fn("Checkpointer.update")(function*(threadId, f) {
      yield* Thread.checkId(threadId)
      const ids = yield* newIds(random, { threadId, namespace }, undefined)
      return yield* inTurn(
        { threadId, namespace },
        attempt(threadId, ids, (state) => Effect.sync(() => f(state))).pipe(
          Effect.flatten,
          Effect.retry({ schedule: conflictSchedule, while: isConflict })
        )
      )
    }, about),
    updateEffect: Effect.fn("Checkpointer.updateEffect")(function*<E, R>(
      threadId: string,
      f: (state: S) => Effect.Effect<S, E, R>
    ) {
      yield* Thread.checkId(threadId)
      const ids = yield* newIds(random, { threadId, namespace }, undefined)
      return yield* attempt(threadId, ids, (state) => Effect.mapError(f(state), (error) => new Foreign(error)))
        .pipe(
          Effect.flatMap((write) => inTurn({ threadId, namespace }, write)),
          Effect.retry({ schedule: conflictSchedule, while: isConflict }),
          Effect.mapError((error) => error instanceof Foreign ? error.error as E : error)
        )
    }, about)
  }
}

const conflictSchedule = Schedule.exponential("2 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.upTo({ times: maxConflicts })
)

const isConflict = (error: unknown): boolean => error instanceof VersionConflict

/** Keeps an error of the caller's own apart from ours, whatever it looks like. */
class Foreign {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}
