import type * as Schema from "effect/Schema"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import { graphMetadata } from "./metadata.ts"
import { hasAnswers } from "./question.ts"

/** What a copy of a version, made by a restore or a fork, shares with the version, and what it does not. */

type Parts = Pick<CheckpointInfo, "metadata" | "pendingInterrupts">

/**
 * A copy of a version of a graph begins a step of its own, and its interrupts have ids of their own. Otherwise two nodes
 * would have the same idempotency key, and a late answer to the one would be taken for an answer to the other.
 */
export const asOwnStep = <A extends Parts & Pick<CheckpointInfo, "nextNodes">>(parts: A, stepId: string): A =>
  graphMetadata(parts)._tag === "None" ? parts : {
    ...parts,
    metadata: { ...parts.metadata, graph: { ...parts.metadata["graph"] as Schema.JsonObject, stepId } },
    pendingInterrupts: parts.pendingInterrupts.map(({ request }, i) => ({ interruptId: `${stepId}/${i}`, request }))
  }

/**
 * The results and answers that a copy takes along. Those of the newest version are what its step has done so far, and
 * those of a version that waits are what it had done when it asked. An earlier version at which a step began has the
 * results of tasks that have finished since, and its copy begins the step from its start.
 */
export const carriedWrites = (
  pendingWrites: Schema.JsonObject,
  { isNewest, waits }: { readonly isNewest: boolean; readonly waits: boolean }
): Schema.JsonObject => isNewest || waits || hasAnswers(pendingWrites) ? pendingWrites : {}
