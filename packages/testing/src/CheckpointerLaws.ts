/**
 * The laws that every implementation of `CheckpointStore` must keep, as a suite of tests.
 *
 * If the suite passes, `Checkpointer` over the store behaves as it does over Postgres and in memory: every state reads
 * back as it was saved, versions have no gaps, concurrent writers never overwrite each other, and retention removes
 * exactly what its policy describes.
 *
 * **Example** (Testing a store)
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
import { questions } from "./internal/laws/questions.ts"
import { reading } from "./internal/laws/reading.ts"
import { retention } from "./internal/laws/retention.ts"
import { states } from "./internal/laws/states.ts"
import { steps } from "./internal/laws/steps.ts"
import { store } from "./internal/laws/store.ts"
import { Aging, quiet } from "./internal/laws/suite.ts"
import { threads } from "./internal/laws/threads.ts"
import { writing } from "./internal/laws/writing.ts"

const groups = {
  states,
  changes,
  writing,
  concurrency,
  reading,
  branching,
  steps,
  questions,
  threads,
  retention,
  input,
  store,
  fuzz,
  model
}

/**
 * What a part of the laws is about.
 *
 * @category models
 * @since 0.2.0
 */
export type Subject = keyof typeof groups

/**
 * What the suite needs to know about a store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R, E> {
  /** The name of the block of tests. */
  readonly name: string

  /**
   * Provides the service and its store. It is built once for the whole suite.
   *
   * The laws create threads and namespaces of their own and expect nothing of what else is stored, but they prune it
   * and make it older. Use a database that has no other purpose.
   *
   * The layer is built and used with the real clock. If your store uses `Clock`, merge `TestClock.layer()` into its
   * layer.
   */
  readonly layer: Layer.Layer<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore | R, E>

  /**
   * Makes everything that is stored older by a duration. For a store that uses `Clock` this is `TestClock.adjust`, for
   * a database an `UPDATE` of all times.
   */
  readonly age: (duration: Duration.Input) => Effect.Effect<void, never, R>

  /** How many cases each property is tested with. 100 by default. */
  readonly runs?: number | undefined

  /** How many random sequences of operations are compared with a model. The same as `runs` by default. */
  readonly sequences?: number | undefined

  /**
   * The parts of the laws to test, all by default. Use it where a store was tested with all of them and runs them again
   * in other surroundings.
   */
  readonly subjects?: ReadonlyArray<Subject> | undefined

  /** The seed of all random cases. By default a constant, so that every run tests the same cases. */
  readonly seed?: string | number | undefined
}

/**
 * Registers the laws with vitest. Call it in a test file, at the top level or in a `describe`.
 *
 * **Details**
 *
 * The tests run one after another and never sleep.
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
  const provided = aging.pipe(Layer.provideMerge(options.layer), Layer.provideMerge(quiet))
  layer(provided, { concurrent: false, excludeTestServices: true, timeout: "2 minutes" })(options.name, (it) => {
    for (const subject of options.subjects ?? Object.keys(groups) as Array<Subject>) {
      groups[subject](it, properties)
    }
  })
}
