import { assert, describe, it } from "@effect/vitest"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { toStoreError } from "../src/internal/errors.ts"

/** A failure as the driver reports it, with the server's error as the cause. */
const failed = (code: string) =>
  toStoreError(
    "put",
    new SqlError({
      reason: new UnknownError({
        cause: Object.assign(new Error("the server's words"), { code }),
        message: "PgConnection: Query failed",
        operation: "execute"
      })
    })
  )

const expected: Record<string, readonly [string, boolean, "NotApplied" | "Unknown"]> = {
  // The session was ended by an administrator, a crash, a dropped database or a timeout.
  "57P01": ["Unavailable", true, "Unknown"],
  "57P02": ["Unavailable", true, "Unknown"],
  "57P04": ["Unavailable", true, "Unknown"],
  "57P05": ["Unavailable", true, "Unknown"],
  "25P03": ["Unavailable", true, "Unknown"],
  "25P04": ["Unavailable", true, "Unknown"],
  "08006": ["Unavailable", true, "Unknown"],
  "57014": ["Timeout", true, "Unknown"],
  "40003": ["Unavailable", true, "Unknown"],
  "57P03": ["Unavailable", true, "NotApplied"],
  "25006": ["Unavailable", true, "NotApplied"],
  "40001": ["Contention", true, "NotApplied"],
  "40P01": ["Contention", true, "NotApplied"],
  "55P03": ["Contention", true, "NotApplied"],
  "53300": ["Overloaded", true, "NotApplied"],
  "28P01": ["Authentication", false, "NotApplied"],
  "42501": ["Permission", false, "NotApplied"],
  "42P01": ["SchemaMissing", false, "NotApplied"],
  "26000": ["Rejected", false, "NotApplied"],
  "42P05": ["Rejected", false, "NotApplied"],
  "25P02": ["Rejected", false, "NotApplied"],
  "22P02": ["Rejected", false, "NotApplied"]
}

describe("errors of Postgres", () => {
  for (const [code, [reason, isRetryable, outcome]] of Object.entries(expected)) {
    it(`SQLSTATE ${code} is ${reason}, ${isRetryable ? "retryable" : "final"}, and its outcome is ${outcome}`, () => {
      const error = failed(code)
      assert.deepStrictEqual([error.operation, error.reason._tag, error.isRetryable, error.outcome], [
        "put",
        reason,
        isRetryable,
        outcome
      ])
      assert.include(error.message, `the server's words (SQLSTATE ${code})`)
    })
  }
  it("a prepared statement that a pooler lost or mixed up comes with the advice to prepare none", () => {
    for (const code of ["26000", "42P05"]) assert.include(failed(code).message, "DATABASE_PREPARE=false")
  })
})
