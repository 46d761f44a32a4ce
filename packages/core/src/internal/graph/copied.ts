import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { CheckpointInfo } from "../../Checkpoint.ts"
import { graphMetadata, type Metadata } from "./metadata.ts"
import { firstAnswerKey } from "./question.ts"

/** What a copy of a version, made by a restore or a fork, shares with the version, and what it does not. */

type Parts = Pick<CheckpointInfo, "metadata" | "pendingInterrupts">

/**
 * A copy of a version of a graph begins a step of its own, and its interrupts have ids of their own. Otherwise two nodes
 * would have the same idempotency key, and a late answer to the one would be taken for an answer to the other. It may
 * take along what the step has done so far, or begin it again.
 */
export const asOwnStep = <A extends Parts & Pick<CheckpointInfo, "nextNodes">>(
  parts: A,
  stepId: string,
  pendingWrites: Schema.JsonObject
): A =>
  Option.match(graphMetadata(parts), {
    onNone: () => parts,
    onSome: ({ question }) => ({
      ...parts,
      metadata: {
        ...parts.metadata,
        graph: {
          ...parts.metadata["graph"] as Schema.JsonObject,
          stepId,
          ...question && { question: ownQuestion(question, pendingWrites) }
        }
      },
      pendingInterrupts: parts.pendingInterrupts.map(({ request }, i) => ({ interruptId: `${stepId}/${i}`, request }))
    })
  })

/** The question of a copy with these pending writes. */
export const ownQuestion = (
  question: NonNullable<Metadata["question"]>,
  pendingWrites: Schema.JsonObject
): NonNullable<Metadata["question"]> =>
  Object.keys(pendingWrites).length > 0 ? question : { ...question, writeKey: firstAnswerKey(question.writeKey) }
