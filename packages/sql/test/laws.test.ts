import { PgCheckpointer } from "@effect-checkpoint/sql"
import { CheckpointerLaws, StateGraphLaws } from "@effect-checkpoint/testing"
import { Layer } from "effect"
import { age, Database, pgLayer } from "./support.ts"

CheckpointerLaws.laws({
  name: "on a Postgres server",
  layer: pgLayer().pipe(Layer.provide(Database.layer)),
  age: age()
})

CheckpointerLaws.laws({
  name: "on embedded Postgres",
  layer: PgCheckpointer.layerEmbedded(),
  age: age(),
  runs: 25
})

StateGraphLaws.laws({
  name: "graphs on a Postgres server",
  layer: pgLayer().pipe(Layer.provide(Database.layer)),
  runs: 25
})

StateGraphLaws.laws({
  name: "graphs on embedded Postgres",
  layer: PgCheckpointer.layerEmbedded(),
  runs: 10
})
