import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { VersionConflict } from "../../CheckpointError.ts"
import { encodeFailure, failureKey, failuresOf, maxAttempts } from "./failure.ts"
import type { Position } from "./position.ts"
import type { RunContext } from "./runContext.ts"

/** The length of texts, in UTF-16 units: at most 8 KiB as UTF-8. */
const maxText = 2048

/** How long a failure may take to be saved. Then the run fails without a record of it. */
const patience = "5 seconds"

/**
 * Records why a task failed, before the run reports it. It does not hide the error if that cannot be saved. What an
 * unsaved position records is saved with it.
 */
export const recording = <S, U, E, R>(
  { graph, view }: Pick<RunContext<S, U, E, R>, "graph" | "view">,
  position: Position<S>,
  node: string
) =>
<A, E2, R2>(task: Effect.Effect<A, E2, R2>): Effect.Effect<A, E2, R2> =>
  Effect.onError(task, (cause) => {
    const attempt = failuresOf(position.pendingWrites).filter((failure) => failure.node === node).length + 1
    if (Cause.hasInterruptsOnly(cause) || attempt > maxAttempts || isConflict(cause)) return Effect.void
    return Effect.gen(function*() {
      const key = failureKey(node, attempt)
      const shown = (text: string) => graph.redact(text).slice(0, maxText)
      const failure = encodeFailure({
        node,
        attempt,
        message: shown(messageOf(cause)),
        cause: shown(Cause.pretty(cause)),
        failedAt: yield* DateTime.now
      })
      position.pendingWrites[key] = failure
      if (position._tag === "Unsaved") position.unstored.add(key)
      else yield* view.savePendingWrites(position.head, { [key]: failure })
    }).pipe(
      Effect.timeout(patience),
      Effect.catchCause((cause) =>
        Effect.logWarning(`the failure of node ${JSON.stringify(node)} was not recorded`, cause)
      )
    )
  })

/** Another process was faster: nothing is wrong with the node. */
const isConflict = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.every((reason) => Cause.isFailReason(reason) && reason.error instanceof VersionConflict)

const messageOf = (cause: Cause.Cause<unknown>): string =>
  Cause.prettyErrors(cause).map(({ message, name }) => message === "" ? name : message).join("; ")
