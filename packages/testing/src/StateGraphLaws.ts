/**
 * The laws that a `StateGraph` keeps over every implementation of `Checkpointer`, as a suite of tests.
 *
 * **Example** (Over a store)
 *
 * ```ts
 * import { Checkpointer } from "@effect-checkpoint/core"
 * import { StateGraphLaws } from "@effect-checkpoint/testing"
 *
 * StateGraphLaws.laws({ name: "graphs in memory", layer: Checkpointer.layerMemory })
 * ```
 *
 * @since 0.1.0
 */
import type { Checkpointer, CheckpointStore } from "@effect-checkpoint/core"
import { layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import { answering } from "./internal/graphLaws/answering.ts"
import { asking } from "./internal/graphLaws/asking.ts"
import { branching } from "./internal/graphLaws/branching.ts"
import { configuring } from "./internal/graphLaws/configuring.ts"
import { nesting } from "./internal/graphLaws/nesting.ts"
import { once } from "./internal/graphLaws/once.ts"
import { parallel } from "./internal/graphLaws/parallel.ts"
import { racingRuns } from "./internal/graphLaws/racing.ts"
import { random } from "./internal/graphLaws/random.ts"
import { reducing } from "./internal/graphLaws/reducing.ts"
import { resuming } from "./internal/graphLaws/resuming.ts"
import { saving } from "./internal/graphLaws/saving.ts"
import { status } from "./internal/graphLaws/status.ts"
import { stepping } from "./internal/graphLaws/stepping.ts"
import { streaming } from "./internal/graphLaws/streaming.ts"
import { quiet } from "./internal/laws/suite.ts"

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
   * Gives the service and its store. It is built once for the whole suite, which uses thread ids and namespaces of its own
   * and prunes those only. It is built and used with the real clock, unless it has another one merged into it.
   */
  readonly layer: Layer.Layer<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore | R, E>

  /** How many random graphs are run. 100 by default. */
  readonly runs?: number | undefined

  /** The seed of the random graphs. By default a constant, so that every run tests the same ones. */
  readonly seed?: string | number | undefined
}

/**
 * Registers the laws with vitest. Call it in a test file, at its top or within a `describe`.
 *
 * @category testing
 * @since 0.1.0
 */
export const laws = <R, E>(options: Options<R, E>): void => {
  const runs = options.runs ?? 100
  const properties = { arbitrary: { runs, seed: options.seed ?? "effect-checkpoint" }, sequences: runs }
  layer(Layer.merge(options.layer, quiet), { concurrent: false, excludeTestServices: true, timeout: "2 minutes" })(
    options.name,
    (it) => {
      for (
        const group of [
          stepping,
          configuring,
          saving,
          resuming,
          parallel,
          reducing,
          once,
          asking,
          answering,
          racingRuns,
          branching,
          nesting,
          streaming,
          status,
          random
        ]
      ) {
        group(it, properties)
      }
    }
  )
}
