import { availableParallelism } from "node:os"
import process from "node:process"
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    globalSetup: ["./packages/testing/src/vitestGlobalSetup.ts"],
    setupFiles: ["./scripts/print-seed.ts"],
    include: ["packages/*/test/**/*.test.ts", "examples/**/*.test.ts"],
    // Most tests wait for a server, so that two of them keep even two cores busy, where Vitest would take one.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 60_000,
    hookTimeout: 120_000,
    env: {
      // With 20, 20 times as many random sequences are compared with the model.
      CHECKPOINT_TEST_EFFORT: process.env["CHECKPOINT_TEST_EFFORT"] ?? "1",
      // Decides what the random tests do. It is the same in every run, unless you choose another.
      CHECKPOINT_TEST_SEED: process.env["CHECKPOINT_TEST_SEED"] ?? "1"
    }
  }
})
