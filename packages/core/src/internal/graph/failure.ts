import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** What is known of tasks that failed. It is stored beside the step, and goes with it. */

/**
 * Why a node failed.
 *
 * @category models
 * @since 0.2.0
 */
export interface Failure {
  readonly node: string
  /** How many times the node has failed in this step, up to this time. */
  readonly attempt: number
  readonly message: string
  /** The whole cause as text, at most 8 KiB. */
  readonly cause: string
  /** By the clock of the process that ran it. */
  readonly failedAt: DateTime.Utc
}

const Failure: Schema.Codec<Failure, Schema.Json> = Schema.Struct({
  node: Schema.String,
  attempt: Schema.Int,
  message: Schema.String,
  cause: Schema.String,
  failedAt: Schema.DateTimeUtcFromString
})

const decodeFailure = Schema.decodeUnknownOption(Failure)

export const encodeFailure = Schema.encodeSync(Failure)

/** How many failures of a node are recorded in a step. Later ones are not. */
export const maxAttempts = 100

const prefix = "failure:"

export const failureKey = (node: string, attempt: number): string => `${prefix}${node}:${attempt}`

export const isFailureKey = (key: string): boolean => key.startsWith(prefix)

/** The failures of a step, in the order in which they happened. */
export const failuresOf = (pendingWrites: Schema.JsonObject): ReadonlyArray<Failure> =>
  Object.entries(pendingWrites)
    .flatMap(([key, write]) => isFailureKey(key) ? Option.toArray(decodeFailure(write)) : [])
    .toSorted((a, b) =>
      DateTime.toEpochMillis(a.failedAt) - DateTime.toEpochMillis(b.failedAt) || a.attempt - b.attempt
    )
