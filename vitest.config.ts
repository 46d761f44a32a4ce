import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    globalSetup: ["./packages/testing/src/vitestGlobalSetup.ts"],
    include: ["packages/*/test/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 120_000
  }
})
