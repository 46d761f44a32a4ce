/**
 * Durable, versioned, schema-checked state for Effect programs.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as Checkpoint from "./Checkpoint.ts"

/**
 * @since 0.1.0
 */
export * as Checkpointer from "./Checkpointer.ts"

/**
 * @since 0.1.0
 */
export * as CheckpointError from "./CheckpointError.ts"

/**
 * @since 0.1.0
 */
export * as CheckpointStore from "./CheckpointStore.ts"

/**
 * @since 0.2.0
 */
export * as Keyframe from "./Keyframe.ts"

/**
 * @since 0.2.0
 */
export * as MemoryStore from "./MemoryStore.ts"

/**
 * @since 0.1.0
 */
export * as Retention from "./Retention.ts"

/**
 * @since 0.1.0
 */
export * as StateGraph from "./StateGraph.ts"

/**
 * @since 0.2.0
 */
export type * as View from "./View.ts"
