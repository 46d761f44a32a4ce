/**
 * Compares the library with the floor and its peer, on one real server. `node main.ts --help`.
 */
import { PostgresServer } from "@effect-checkpoint/testing"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, DateTime, Effect, FileSystem, Path, Schema } from "effect"
import { CliConfig, Command, Flag, GlobalFlag } from "effect/cli"
import { createRequire } from "node:module"
import { availableParallelism, cpus, totalmem } from "node:os"
import * as Chart from "./Chart.ts"
import { poolSize, settings } from "./Database.ts"
import { Mails } from "./Mails.ts"
import { type Effort, now } from "./Measure.ts"
import * as Cpu from "./measures/Cpu.ts"
import * as Graph from "./measures/Graph.ts"
import * as Growth from "./measures/Growth.ts"
import * as History from "./measures/History.ts"
import * as Prune from "./measures/Prune.ts"
import * as PutGet from "./measures/PutGet.ts"
import * as Scale from "./measures/Scale.ts"
import * as Report from "./Report.ts"

const measures = { "1": PutGet, "2": Growth, "3": History, "4": Prune, "5": Scale, "6": Cpu, "7": Graph }
type Id = keyof typeof measures
const ids = Object.keys(measures) as ReadonlyArray<Id>
const decodeIds = Schema.decodeUnknownOption(Schema.Array(Schema.Literals(ids)))

const quick = Flag.Boolean("quick").pipe(
  Flag.withDescription("Fewer and smaller measurements, in under two minutes; only prints the results"),
  Flag.withDefault(false)
)
const only = Flag.String("only").pipe(
  Flag.withDescription("Some of the measurements, such as 1,3; only prints the results"),
  Flag.withDefault(ids.join(",")),
  Flag.filterMap(
    (text) => decodeIds(text.split(",")),
    (text) => `Expected some of ${ids.join(",")}, got ${text}`
  )
)

const require = createRequire(import.meta.url)
const versionOf = (name: string): string => require(`${name}/package.json`).version

/** The machine that the figures are from, without its owner. */
const machine = Effect.gen(function*() {
  const server = yield* PostgresServer.PostgresServer
  return {
    date: DateTime.formatIsoDateUtc(yield* DateTime.now),
    cores: `${availableParallelism()} x ${cpus()[0]?.model.trim() ?? "unknown"}`,
    memory: Report.bytes(totalmem()),
    node: process.versions.node,
    postgres: `${server.version} (${server.kind}), ${
      Object.entries(settings).map(([name, value]) => `${name}=${value}`).join(" ")
    }`,
    clients: `effect ${versionOf("effect")}, @effect/sql-pg ${versionOf("@effect/sql-pg")}, pools of ${poolSize}`,
    peer: ["@langchain/langgraph-checkpoint-postgres", "@langchain/langgraph-checkpoint"]
      .map((name) => `${name} ${versionOf(name)}`).join(", ")
  }
})

const write = Effect.fnUntraced(function*(text: string, json: unknown, charts: Readonly<Record<string, Chart.Chart>>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = path.join(import.meta.dirname, "results")
  yield* fs.makeDirectory(folder, { recursive: true })
  yield* fs.writeFileString(path.join(folder, "README.md"), text)
  yield* fs.writeFileString(path.join(folder, "results.json"), `${JSON.stringify(json, undefined, 2)}\n`)
  for (const [name, chart] of Object.entries(charts)) {
    yield* fs.writeFileString(path.join(folder, `${name}.svg`), Chart.toSvg(chart))
  }
})

const bench = Effect.fnUntraced(function*(effort: Effort, chosen: ReadonlyArray<Id>) {
  const start = yield* now
  const head = yield* machine
  const found: Array<Report.Measurement> = []
  for (const id of chosen) {
    const started = yield* now
    const measurement = yield* measures[id].run(effort)
    yield* Effect.logInfo(`${id}. ${measurement.title}: ${Report.seconds((yield* now) - started)}`)
    found.push(measurement)
  }
  const text = [
    "# Benchmarks",
    "All figures are medians of one run, in which the contestants took turns. Compare the ratios; the times are those " +
    "of one machine. `npx -y pnpm@12 bench` measures on yours.",
    Report.contestants,
    Object.entries(head).map(([name, value]) => `- ${name}: ${value}`).join("\n"),
    "## Targets",
    Report.targetsOf(found),
    ...found.map(Report.sectionOf)
  ].join("\n\n") + "\n"
  yield* Console.log(text)
  if (effort === "full" && chosen.length === ids.length) {
    const charts = Object.assign({}, ...found.map(({ charts }) => charts))
    yield* write(text, { machine: head, measurements: found }, charts)
  }
  yield* Effect.logInfo(`in ${Report.seconds((yield* now) - start)}`)
})

Command.make("bench", { quick, only }, ({ only, quick }) =>
  bench(quick ? "quick" : "full", only).pipe(
    Effect.scoped,
    Effect.provide([Mails.layer, PostgresServer.layerWith({ settings })])
  )).pipe(
    Command.withDescription("Compares the library with the floor and its peer, on one real server."),
    Command.run({ version: "0.1.0" }),
    Effect.provide([NodeServices.layer, CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })]),
    NodeRuntime.runMain
  )
