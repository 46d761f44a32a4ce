import type { Checkpointer, CheckpointError, CheckpointStore } from "@effect-checkpoint/core"
import { Retention } from "@effect-checkpoint/core"
import { type EmbeddedPostgres, PgCheckpointer } from "@effect-checkpoint/sql"
import type { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { describe, expect, it } from "tstyche"

type Services = Checkpointer.Checkpointer | CheckpointStore.CheckpointStore

describe("PgCheckpointer", () => {
  it("gives the service and its client from configuration, and lists what can be wrong with that", () => {
    type FromConfig = Layer.Layer<
      Services | PgClient.PgClient | SqlClient,
      Config.ConfigError | CheckpointError.InvalidInput | CheckpointError.StoreError | SqlError
    >
    expect(PgCheckpointer.layerEnv).type.toBe<FromConfig>()
    expect(PgCheckpointer.layerEnvWith({ schema: "orders", client: { maxConnections: 20 } })).type.toBe<FromConfig>()
    expect(PgCheckpointer.layerConfig({
      client: { url: Config.Redacted("ORDERS_DATABASE_URL"), maxConnections: Config.succeed(20) },
      schema: Config.String("ORDERS_SCHEMA"),
      statementTimeout: Config.succeed("5 seconds")
    })).type.toBe<FromConfig>()
    const whole = Config.succeed<PgCheckpointer.ConfigOptions>({ client: {} })
    expect(PgCheckpointer.layerConfig(whole)).type.toBe<FromConfig>()
  })

  it("gives a client from configuration", () => {
    expect(PgCheckpointer.layerClient({ url: Config.Redacted("ORDERS_DATABASE_URL") })).type.toBe<
      Layer.Layer<PgClient.PgClient | SqlClient, Config.ConfigError | CheckpointError.InvalidInput | SqlError>
    >()
  })

  it("gives the service over a client", () => {
    type OverClient = Layer.Layer<
      Services,
      CheckpointError.InvalidInput | CheckpointError.StoreError,
      PgClient.PgClient
    >
    expect(PgCheckpointer.layer).type.toBe<OverClient>()
    expect(PgCheckpointer.layerWith({ schema: "orders" })).type.toBe<OverClient>()
    expect(PgCheckpointer.layerStorage).type.toBe<OverClient>()
    expect(PgCheckpointer.layerStorageWith({ schema: "orders" })).type.toBe<OverClient>()
  })

  it("gives the service and its client embedded", () => {
    type Embedded = Layer.Layer<
      Services | PgClient.PgClient | SqlClient,
      | CheckpointError.InvalidInput
      | CheckpointError.StoreError
      | SqlError
      | EmbeddedPostgres.EmbeddedPostgresError
    >
    expect(PgCheckpointer.layerEmbedded).type.toBe<Embedded>()
    expect(PgCheckpointer.layerEmbeddedWith({ dataDir: "data" })).type.toBe<Embedded>()
  })

  it("has all that retention needs", () => {
    const pruning = Retention.layer({ maxVersions: 1 }).pipe(Layer.provide(PgCheckpointer.layerEnv))
    expect<Layer.Services<typeof pruning>>().type.toBe<never>()
  })

  it("is no program without a client", () => {
    // @ts-expect-error Type 'PgClient' is not assignable to type 'never'.
    Effect.runPromise(Layer.launch(PgCheckpointer.layer))
  })

  it("takes the client's url from the environment only", () => {
    // @ts-expect-error 'url' does not exist in type
    PgCheckpointer.layerEnvWith({ client: { url: "postgres://localhost" } })
  })
})
