import { type CheckpointError, type CheckpointStore, Retention } from "@effect-checkpoint/core"
import { type Effect, type Layer, Schedule } from "effect"
import { describe, expect, it } from "tstyche"

describe("Retention", () => {
  it("prunes on a schedule for as long as its layer lives, and needs the store only", () => {
    expect(Retention.layer({ maxVersions: 100, schedule: Schedule.spaced("1 hour") })).type.toBe<
      Layer.Layer<never, CheckpointError.InvalidInput, CheckpointStore.CheckpointStore>
    >()
  })

  it("prunes once, and says what went", () => {
    expect(Retention.prune({ maxAge: "7 days" }, { dryRun: true })).type.toBe<
      Effect.Effect<
        Retention.PruneReport,
        CheckpointError.InvalidInput | CheckpointError.StoreError,
        CheckpointStore.CheckpointStore
      >
    >()
  })

  it("refuses what is no duration", () => {
    // @ts-expect-error Type '"a week"' is not assignable to type
    Retention.layer({ maxAge: "a week" })
  })

  it("refuses what is no policy", () => {
    // @ts-expect-error 'keepLast' does not exist in type
    Retention.layer({ keepLast: 100 })
  })
})
