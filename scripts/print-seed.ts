/*
 * Prints the seed of the random tests after each test that fails, to repeat the run with.
 */
import { beforeEach } from "vitest"

beforeEach(({ onTestFailed }) => {
  onTestFailed(({ task }) => {
    console.error(`CHECKPOINT_TEST_SEED=${process.env["CHECKPOINT_TEST_SEED"]} when "${task.name}" failed`)
  })
})
