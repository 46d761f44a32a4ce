import type { Checkpointer, CheckpointError, CheckpointStore } from "@effect-checkpoint/core"
import { Retention } from "@effect-checkpoint/core"
import { type EmbeddedPostgres, PgCheckpointer } from "@effect-checkpoint/sql"
import type { PgClient } from "@effect/sql-pg"
import { type Config, Effect, Layer } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { describe, expect, it } from "tstyche"

type Services = Checkpointer.Checkpointer | CheckpointStore.CheckpointStore

describe("PgCheckpointer", () => {
  it("gives the service and its client from configuration, and lists what can be wrong with that", () => {
    expect(PgCheckpointer.layerConfig()).type.toBe<
      Layer.Layer<
        Services | PgClient.PgClient | SqlClient,
        Config.ConfigError | CheckpointError.InvalidInput | CheckpointError.StoreError | SqlError
      >
    >()
  })

  it("gives the service over a client", () => {
    type OverClient = Layer.Layer<
      Services,
      CheckpointError.InvalidInput | CheckpointError.StoreError,
      PgClient.PgClient
    >
    expect(PgCheckpointer.layer()).type.toBe<OverClient>()
    expect(PgCheckpointer.layerStorage()).type.toBe<OverClient>()
  })

  it("gives the service and its client embedded", () => {
    expect(PgCheckpointer.layerEmbedded({ dataDir: "data" })).type.toBe<
      Layer.Layer<
        Services | PgClient.PgClient | SqlClient,
        | CheckpointError.InvalidInput
        | CheckpointError.StoreError
        | SqlError
        | EmbeddedPostgres.EmbeddedPostgresError
      >
    >()
  })

  it("has all that retention needs", () => {
    const pruning = Retention.layer({ maxVersions: 1 }).pipe(Layer.provide(PgCheckpointer.layerConfig()))
    expect<Layer.Services<typeof pruning>>().type.toBe<never>()
  })

  it("is no program without a client", () => {
    // @ts-expect-error Type 'PgClient' is not assignable to type 'never'.
    Effect.runPromise(Layer.launch(PgCheckpointer.layer()))
  })

  it("takes the client's url from the environment only", () => {
    // @ts-expect-error 'url' does not exist in type
    PgCheckpointer.layerConfig({ client: { url: "postgres://localhost" } })
  })
})
