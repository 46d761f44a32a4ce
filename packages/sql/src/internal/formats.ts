import { Format } from "@effect-checkpoint/core/CheckpointStore"

const keyframeFormats: ReadonlyArray<number> = [Format.keyframe, Format.keyframeEscaped]

const deltaFormats: ReadonlyArray<number> = [Format.delta, Format.deltaEscaped]

/** The formats of whole states, as they stand in `IN (...)`. */
export const keyframes = keyframeFormats.join(", ")

/** The formats of changes, as they stand in `IN (...)`. */
export const deltas = deltaFormats.join(", ")

/** Whether a payload in this format is a change of the version before it. */
export const isDelta = (format: number): boolean => deltaFormats.includes(format)
