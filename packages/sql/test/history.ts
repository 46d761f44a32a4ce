/**
 * Checks that the results of puts agree with what is stored.
 */
import { type Checkpointer, CheckpointError } from "@effect-checkpoint/core"
import { Effect, Schedule, Schema, Stream } from "effect"

/** A put and its result. The marker is in its state and in that of no other put. */
export class Attempt extends Schema.Class<Attempt>("test/Attempt")({
  threadId: Schema.String,
  checkpointId: Schema.String,
  marker: Schema.String,
  /**
   * The parent of the put: id and marker of the checkpoint that the writer had read, or `null` if the thread must not
   * exist. Absent for an append.
   */
  parent: Schema.optionalKey(Schema.NullOr(Schema.Struct({ checkpointId: Schema.String, marker: Schema.String }))),
  /** The version that was acknowledged, or the outcome of the failure. A conflict is `NotApplied`. */
  outcome: Schema.Union([Schema.Int, Schema.Literals(["NotApplied", "Unknown"])])
}) {}

/** A version as it is stored. */
export interface Stored {
  readonly threadId: string
  readonly version: number
  readonly checkpointId: string
  readonly parentId: string | undefined
  readonly marker: string
}

/** Everything in which the two disagree. */
export const violations = (
  attempts: ReadonlyArray<Attempt>,
  stored: ReadonlyArray<Stored>
): ReadonlyArray<string> => {
  const found: Array<string> = []
  const name = (threadId: string, checkpointId: string): string => `${threadId}/${checkpointId}`
  const asked = new Map(attempts.map((attempt) => [name(attempt.threadId, attempt.checkpointId), attempt]))

  // Each thread is one chain from version 1, and each of its versions comes from a put.
  const threads = Map.groupBy(stored, ({ threadId }) => threadId)
  const versions = new Map<string, Stored>()
  for (const rows of threads.values()) {
    const chain = rows.toSorted((one, other) => one.version - other.version)
    for (const [index, row] of chain.entries()) {
      const id = name(row.threadId, row.checkpointId)
      if (row.version !== index + 1) found.push(`${id} is version ${row.version} where ${index + 1} belongs`)
      const before = chain[index - 1]
      if (row.parentId !== before?.checkpointId) {
        found.push(`${id} has the parent ${row.parentId}, the version before it is ${before?.checkpointId}`)
      }
      if (versions.has(id)) found.push(`${id} is stored twice`)
      versions.set(id, row)
      const attempt = asked.get(id)
      if (attempt === undefined) found.push(`${id} is stored, but no put saved it`)
      else if (attempt.marker !== row.marker) found.push(`${id} holds ${row.marker}, but was put as ${attempt.marker}`)
      // The parent that a put names is the version before, with the state that the writer read.
      else if (attempt.parent !== undefined) {
        if (attempt.parent?.checkpointId !== before?.checkpointId) {
          found.push(`${id} was put after ${attempt.parent?.checkpointId}, but is stored after ${before?.checkpointId}`)
        } else if (attempt.parent?.marker !== before?.marker) {
          found.push(`${id} was made from ${attempt.parent?.marker}, but its parent holds ${before?.marker}`)
        }
      }
    }
  }

  for (const [id, { outcome }] of asked) {
    const row = versions.get(id)
    if (outcome === "NotApplied") {
      if (row !== undefined) found.push(`${id} was not applied, but is stored as version ${row.version}`)
    } else if (outcome !== "Unknown" && row?.version !== outcome) {
      found.push(`${id} was acknowledged as version ${outcome}, but is stored as ${row?.version}`)
    }
  }
  return found
}

const Marked = Schema.Struct({ marker: Schema.String })

/** Reads all versions of some threads through the service. */
export const read = (checkpointer: Checkpointer.Checkpointer["Service"], threadIds: Iterable<string>) =>
  Effect.map(
    Effect.forEach(threadIds, (threadId) =>
      Stream.runCollect(Stream.mapEffect(checkpointer.history(threadId), ({ checkpointId, parent, state, version }) =>
        Effect.map(
          Schema.decodeUnknownEffect(Marked)(state),
          ({ marker }): Stored => ({
            threadId,
            version,
            checkpointId,
            parentId: parent?.checkpointId,
            marker
          })
        ))), { concurrency: 4 }),
    (threads) =>
      threads.flat()
  )

/** A schedule with few attempts, so that some puts fail. */
export const impatient: Schedule.Schedule<unknown, CheckpointError.StoreError> = Schedule.exponential("20 millis").pipe(
  Schedule.upTo({ times: 3 }),
  Schedule.setInputType<CheckpointError.StoreError>()
)

type Refused = CheckpointError.StoreError | CheckpointError.VersionConflict | CheckpointError.ThreadExists

/** The outcome of a put. */
export const outcomeOf = <E, R>(
  put: Effect.Effect<{ readonly version: number }, E, R>
): Effect.Effect<Attempt["outcome"], Exclude<E, Refused>, R> =>
  put.pipe(
    Effect.map(({ version }): Attempt["outcome"] => version),
    Effect.catch((error) =>
      error instanceof CheckpointError.StoreError
        ? Effect.succeed(error.outcome)
        : error instanceof CheckpointError.VersionConflict || error instanceof CheckpointError.ThreadExists
        ? Effect.succeed("NotApplied" as const)
        : Effect.fail(error as Exclude<E, Refused>)
    )
  )
