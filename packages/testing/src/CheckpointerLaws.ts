/**
 * The laws that every implementation of `Checkpointer` must keep, as a suite of tests.
 *
 * A backend is an implementation of `CheckpointStore`. When the suite passes on it, `Checkpointer` over it behaves as it
 * does over Postgres and in memory: what was saved reads back, whatever it is; versions have no gaps; of writers that race
 * one wins and the others are told; retention removes what its policy says and nothing else.
 *
 * **Example** (A backend's test)
 *
 * ```ts
 * import { Checkpointer } from "@effect-checkpoint/core"
 * import { CheckpointerLaws } from "@effect-checkpoint/testing"
 * import { Layer } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * CheckpointerLaws.laws({
 *   name: "Checkpointer.layerMemory",
 *   layer: Checkpointer.layerMemory.pipe(Layer.provideMerge(TestClock.layer())),
 *   age: TestClock.adjust
 * })
 * ```
 *
 * @since 0.1.0
 */
import type { Checkpointer, CheckpointStore } from "@effect-checkpoint/core"
import { layer } from "@effect/vitest"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { branching } from "./internal/laws/branching.ts"
import { changes } from "./internal/laws/changes.ts"
import { concurrency } from "./internal/laws/concurrency.ts"
import { fuzz } from "./internal/laws/fuzz.ts"
import { input } from "./internal/laws/input.ts"
import { model } from "./internal/laws/model.ts"
import { reading } from "./internal/laws/reading.ts"
import { retention } from "./internal/laws/retention.ts"
import { states } from "./internal/laws/states.ts"
import { steps } from "./internal/laws/steps.ts"
import { store } from "./internal/laws/store.ts"
import { Aging } from "./internal/laws/suite.ts"
import { threads } from "./internal/laws/threads.ts"
import { writing } from "./internal/laws/writing.ts"

/**
 * What the suite has to know of an implementation.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R, E> {
  /** Names the block of tests. */
  readonly name: string

  /**
   * Gives the service and its store. It is built once for the whole suite. The laws use thread ids and namespaces of their
   * own and expect nothing of what else is stored, but prune it and make it older: give them a database of their own.
   *
   * It is built and used with the real clock. A store that goes by `Clock` has `TestClock.layer()` merged into its layer.
   */
  readonly layer: Layer.Layer<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore | R, E>

  /**
   * Makes everything that is stored older by this much: `TestClock.adjust` for a store that goes by `Clock`, an `UPDATE` of
   * all times for a database.
   */
  readonly age: (duration: Duration.Input) => Effect.Effect<void, never, R>

  /** How many cases each property is tried with. 100 by default. */
  readonly runs?: number | undefined

  /** How many random sequences of operations are compared with a model. As many as `runs` by default. */
  readonly sequences?: number | undefined

  /** What the cases are made from. The same each time by default, so that a suite that passed passes again. */
  readonly seed?: string | number | undefined
}

/**
 * Registers the laws with vitest. Call it in a test file, at its top or within a `describe`.
 *
 * **Details**
 *
 * The tests run one after the other and wait for nothing but the store.
 *
 * @category testing
 * @since 0.1.0
 */
export const laws = <R, E>(options: Options<R, E>): void => {
  const runs = options.runs ?? 100
  const properties = {
    arbitrary: { runs, seed: options.seed ?? "effect-checkpoint" },
    sequences: options.sequences ?? runs
  }
  const aging = Layer.effect(
    Aging,
    Effect.contextWith((context: Context.Context<R>) =>
      Effect.succeed(Aging.of({ age: (duration) => Effect.provideContext(options.age(duration), context) }))
    )
  )
  const provided = Layer.provideMerge(aging, options.layer)
  layer(provided, { concurrent: false, excludeTestServices: true, timeout: "2 minutes" })(options.name, (it) => {
    for (
      const group of [
        states,
        changes,
        writing,
        concurrency,
        reading,
        branching,
        steps,
        threads,
        retention,
        input,
        store,
        fuzz,
        model
      ]
    ) {
      group(it, properties)
    }
  })
}
