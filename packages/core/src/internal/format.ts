/**
 * How a payload holds a state. A reader fails on a number that it does not know.
 *
 * **Details**
 *
 * In an escaped payload, code units that Postgres' `jsonb` cannot hold are written as U+001A and four hex digits.
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
