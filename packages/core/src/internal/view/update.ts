import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import { VersionConflict } from "../../CheckpointError.ts"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import type { View } from "../../View.ts"
import { copied } from "../graph/copied.ts"
import type * as HeadCache from "../headCache.ts"
import type { InTurn } from "../threadQueue.ts"
import type { Compose } from "./compose.ts"
import { headOf, type Reader } from "./read.ts"
import type { Retry } from "./retry.ts"
import { type Ids, type Save, withState } from "./save.ts"
import { latest } from "./selector.ts"
import { readStep } from "./step.ts"
import * as Thread from "./thread.ts"
import { type Saving, within } from "./underway.ts"

/** How many conflicts with other processes an update survives. */
const maxConflicts = 20

/**
 * The operations that read the newest state, change it and save it.
 *
 * The effect of an `updateEffect` holds no turn while it runs: other saves do not wait for it. Only after a conflict
 * does it wait for others that had one, which spares them all but one more run. Within such an effect nothing waits in
 * this way, because two that update each other's threads would wait forever.
 */
export const make = <S>(
  { compose, headCache, inTurn, makeIds, namespace, reader, retry, save, store, updateInTurn }: {
    readonly store: CheckpointStore["Service"]
    readonly retry: Retry
    readonly headCache: HeadCache.HeadCache
    readonly inTurn: Saving
    readonly updateInTurn: InTurn
    readonly makeIds: Effect.Effect<Ids>
    readonly namespace: string
    readonly compose: Compose<S>
    readonly reader: Pick<Reader<S>, "required" | "decode">
    readonly save: Save
  }
): Pick<View<S>, "update" | "updateEffect"> => {
  const annotate = Thread.annotate(namespace)

  /** Reads the newest version, and gives the effect that saves the changed state after it. */
  const attempt = Effect.fnUntraced(function*<E, R>(
    threadId: string,
    ids: Ids,
    f: (state: S) => Effect.Effect<S, E, R>
  ) {
    const key = { threadId, namespace }
    const raw = yield* reader.required(threadId, latest)
    const state = yield* Effect.flatMap(reader.decode(raw), (head) => f(head.state))
    const { checkpointId, metadata, nextNodes, version } = raw.info
    const pendingInterrupts = raw.info.pendingInterrupts.length === 0 ? [] : yield* openInterrupts(raw.info)
    const condition = { _tag: "At", version, checkpointId, writeId: raw.writeId } as const
    const content = { state, metadata, nextNodes, pendingInterrupts }
    const write = yield* compose(key, condition, content, { change: "Continues" }, headOf(raw))
    return save({ ...write, ...ids }).pipe(
      Effect.map((saved) => withState(headCache, saved, state)),
      Effect.catchTag(
        "HeadMismatch",
        ({ version: actual }) => Effect.fail(new VersionConflict({ ...key, expected: version, actual }))
      )
    )
  })

  /** What a version still waits for. */
  const openInterrupts = (info: CheckpointInfo) =>
    Effect.map(readStep({ store, retry }, info), (step) => copied(info, step).pendingInterrupts)

  return {
    update: Effect.fn("Checkpointer.update")(function*(threadId, f) {
      yield* Thread.checkId(threadId)
      const ids = yield* makeIds
      return yield* inTurn(
        { threadId, namespace },
        attempt(threadId, ids, (state) => Effect.sync(() => f(state))).pipe(
          Effect.flatten,
          Effect.retry({ schedule: conflictSchedule, while: isConflict })
        )
      )
    }, annotate),
    updateEffect: Effect.fn("Checkpointer.updateEffect")(function*<E, R>(
      threadId: string,
      f: (state: S) => Effect.Effect<S, E, R>
    ) {
      yield* Thread.checkId(threadId)
      const key = { threadId, namespace }
      const ids = yield* makeIds
      const once = attempt(
        threadId,
        ids,
        (state) => Effect.mapError(within({ ...key, store })(f(state)), (error) => new Foreign(error))
      ).pipe(
        Effect.flatMap((write) => inTurn(key, write))
      )
      const again = updateInTurn(key, Effect.retry(once, { schedule: conflictSchedule, while: isConflict }))
      return yield* Effect.catchIf(once, isConflict, () => again).pipe(
        Effect.mapError((error) => error instanceof Foreign ? error.error as E : error)
      )
    }, annotate)
  }
}

/** At first without a delay: what is in the way within this process takes no time. */
const conflictSchedule = Schedule.concat(
  Schedule.recurs(3),
  Schedule.exponential("2 millis", 1.5).pipe(Schedule.jittered, Schedule.upTo({ times: maxConflicts - 3 }))
)

const isConflict = (error: unknown): boolean => error instanceof VersionConflict

/** Keeps an error of the caller apart from ours, whatever it looks like. */
class Foreign {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}
