import type * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import type { CheckpointInfo, Interrupt, Question } from "../../Checkpoint.ts"
import type { StepState } from "../../View.ts"
import { isFailureKey } from "./failure.ts"
import { graphMetadata } from "./metadata.ts"

/** What a copy of a version, made by a restore or a fork, shares with the version, and what it does not. */

/** The parts of a copy that say what happens next. */
export interface Copied extends Pick<CheckpointInfo, "metadata" | "pendingInterrupts"> {
  readonly pendingWrites: Schema.JsonObject
  readonly answered: ReadonlyArray<Interrupt & { readonly response: Schema.Json }>
}

/**
 * A copy takes along what a step that is under way has done so far. It begins a step that has ended again, and asks what
 * was asked at that version. Otherwise a copy of a version before an approval would be approved.
 */
export const copied = (info: CheckpointInfo, { ended, pendingWrites, questions }: StepState): Copied => ({
  metadata: info.metadata,
  pendingInterrupts: ended ?
    info.pendingInterrupts :
    questions.flatMap((question) => question.answer === undefined ? [asInterrupt(question)] : []),
  pendingWrites,
  answered: ended ?
    [] :
    questions.flatMap((question) =>
      question.answer === undefined ? [] : [{ ...asInterrupt(question), response: question.answer.response }]
    )
})

/** As it was asked, which may have been without metadata. */
const asInterrupt = ({ interruptId, metadata, request }: Question): Interrupt =>
  Object.keys(metadata).length === 0 ? { interruptId, request } : { interruptId, request, metadata }

/**
 * A copy of a version of a graph begins a step of its own, and its interrupts have ids of their own. Otherwise two nodes
 * would have the same idempotency key, and a late answer to the one would be taken for an answer to the other.
 */
export const asOwnStep = (copy: Copied, stepId: string): Copied => {
  if (graphMetadata(copy)._tag === "None") return copy
  const own = <A extends Interrupt>(from: number) => (interrupt: A, i: number): A => ({
    ...interrupt,
    interruptId: `${stepId}/${from + i}`
  })
  return {
    ...copy,
    // A copy has not failed.
    pendingWrites: Struct.omit(copy.pendingWrites, Object.keys(copy.pendingWrites).filter(isFailureKey)),
    metadata: { ...copy.metadata, graph: { ...copy.metadata["graph"] as Schema.JsonObject, stepId } },
    pendingInterrupts: copy.pendingInterrupts.map(own(0)),
    answered: copy.answered.map(own(copy.pendingInterrupts.length))
  }
}
