import * as Effect from "effect/Effect"
import type { Event, RunError } from "./model.ts"
import { decodeUpdate, encodeUpdate, type Outcome, type Returned, runNode, type Step, updateKey } from "./node.ts"
import type { Position } from "./position.ts"
import type { Running } from "./running.ts"

/** The nodes of a step, and what is kept of them. */

/** What the nodes of a step came to, in their order, and the events that are to be told after the next save. */
export interface Ran<S, U> {
  readonly outcomes: ReadonlyArray<Outcome<U>>
  readonly untold: ReadonlyArray<Event<S, U, string>>
}

/** Makes an effect interruptible within one that is not. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

type Running_<S, U, E, R> = Pick<Running<S, U, E, R>, "graph" | "settings" | "tell" | "threadId" | "view">

/** Runs the nodes of a step. Once all have returned or asked, an interruption comes too late for the step. */
export const runNodes = <S, U, E, R>(
  running: Running_<S, U, E, R>,
  position: Position<S>,
  restore: Restore
): Effect.Effect<Ran<S, U>, E | RunError, R> => {
  const { base, done, head, meta, next, state } = position
  const step: Step<S> = { base, number: meta.step + 1, state, version: head?.version ?? 0, done }
  return next.length === 1
    ? Effect.map(restore(runNode(running, step, next[0]!)), (outcome) => ({
      outcomes: [outcome],
      untold: outcome._tag === "Returned" ? [finished(step, outcome)] : []
    }))
    : runParallel(running, position, step, restore)
}

const finished = <S, U>({ number }: Step<S>, { node, update }: Returned<U>): Event<S, U, string> => ({
  _tag: "NodeFinished",
  node,
  step: number,
  update
})

/** Those that have returned in an earlier run of the step are not run again. */
const runParallel = Effect.fnUntraced(function*<S, U, E, R>(
  running: Running_<S, U, E, R>,
  position: Position<S>,
  step: Step<S>,
  restore: Restore
): Effect.fn.Return<Ran<S, U>, E | RunError, R> {
  const { graph, settings: { concurrency = "unbounded" }, tell, threadId, view } = running
  const { done, next } = position
  const place = { threadId, namespace: view.namespace, version: step.version }
  const outcomes = new Map<string, Outcome<U>>()
  const untold: Array<Event<S, U, string>> = []
  let left = next.filter((node) => done[updateKey(node)] === undefined).length

  // What a node has returned is kept at once: it is not run again, whatever becomes of the others.
  const keep = Effect.fnUntraced(function*(outcome: Returned<U>, restore: Restore) {
    const write = yield* encodeUpdate(graph.update, place, outcome)
    const key = updateKey(outcome.node)
    done[key] = write
    // The last one is saved with the step, and told of after it.
    if (left === 0 && position._tag === "Saved") {
      outcomes.set(outcome.node, outcome)
      untold.push(finished(step, outcome))
      return
    }
    if (position._tag === "Saved") yield* view.saveWrites(position.head, { [key]: write })
    outcomes.set(outcome.node, outcome)
    yield* restore(tell(finished(step, outcome)))
  })

  const run = (node: string) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(runNode(running, step, node)), (outcome) => {
        left--
        return outcome._tag === "Returned"
          ? keep(outcome, restore)
          : Effect.sync(() => void outcomes.set(node, outcome))
      })
    )

  const runOrRead = (node: string): Effect.Effect<void, E | RunError, R> => {
    const write = done[updateKey(node)]
    return write === undefined
      ? run(node)
      : Effect.map(decodeUpdate(graph.update, { ...place, node }, write), (outcome) => void outcomes.set(node, outcome))
  }

  yield* Effect.forEach(next, runOrRead, { concurrency, discard: true }).pipe(
    restore,
    Effect.catchCause((cause) => outcomes.size === next.length ? Effect.void : Effect.failCause(cause))
  )
  return { outcomes: next.map((node) => outcomes.get(node)!), untold }
})
