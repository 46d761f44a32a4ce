import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { Layer } from "effect"
import { age, Database, pgLayer } from "./support.ts"

const effort = Number(process.env["CHECKPOINT_TEST_EFFORT"])
const seed = process.env["CHECKPOINT_TEST_SEED"]

CheckpointerLaws.laws({
  name: "on a Postgres server",
  layer: pgLayer().pipe(Layer.provide(Database.layer)),
  age: age(),
  sequences: 150 * effort,
  seed
})

CheckpointerLaws.laws({
  name: "on embedded Postgres",
  layer: PgCheckpointer.layerEmbedded,
  age: age(),
  runs: 25,
  sequences: 50 * effort,
  seed
})

StateGraphLaws.laws({
  name: "graphs on a Postgres server",
  layer: pgLayer().pipe(Layer.provide(Database.layer)),
  runs: 25,
  seed
})

StateGraphLaws.laws({
  name: "graphs on embedded Postgres",
  layer: PgCheckpointer.layerEmbedded,
  runs: 10,
  seed
})
