/**
 * How the `state` of a record is written. A reader that meets a number it does
 * not know fails; it never guesses.
 *
 * **Details**
 *
 * `escaped` says that strings in it hold what Postgres' `jsonb` cannot, written
 * as U+001A and four hex digits.
 *
 * @category models
 * @since 0.1.0
 */
export const Format = {
  /** The whole state. */
  keyframe: 1,
  keyframeEscaped: 2,
  /** An RFC 6902 patch of `add`, `remove` and `replace` against the version before. */
  delta: 3,
  deltaEscaped: 4
} as const
