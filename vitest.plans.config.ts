import { defineConfig } from "vitest/config"

/** Plans of statements on a large database, on a server of Debian: apart from the tests, because it takes minutes. */
export default defineConfig({
  test: {
    include: ["packages/sql/test/plans/*.plans.ts"],
    testTimeout: 120_000,
    hookTimeout: 300_000
  }
})
