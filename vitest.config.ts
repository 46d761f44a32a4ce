import process from "node:process"
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    globalSetup: ["./packages/testing/src/vitestGlobalSetup.ts"],
    include: ["packages/*/test/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // With 20, 20 times as many random sequences are compared with the model, and they are others.
    env: { CHECKPOINT_TEST_EFFORT: process.env["CHECKPOINT_TEST_EFFORT"] ?? "1" }
  }
})
