import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

/*
 * `docs/observability.md` lists every span, attribute, metric and log message. They are found in the sources by the calls
 * that make them, so a new one fails these tests until it is described.
 */

const root = join(import.meta.dirname, "..")
const sources = globSync("packages/*/src/**/*.ts", { cwd: root }).toSorted()
  .map((file) => readFileSync(join(root, file), "utf8"))
const document = readFileSync(join(root, "docs/observability.md"), "utf8")

const found = (pattern: RegExp): ReadonlyArray<string> =>
  Array.from(
    new Set(sources.flatMap((text) => Array.from(text.matchAll(pattern), ([, name]) => name!)))
  ).toSorted()

const spans = found(/(?:Effect\.fn|[wW]ithSpan)\([^"()]*"([\w.]+)"/g)
const attributes = found(/"((?:checkpoint|graph)\.\w+)"/g)
const metrics = found(/Metric\.\w+\(\s*"(\w+)"/g)
const messages = found(/Effect\.log(?:Debug|Info|Warning|Error|WithLevel\([^)]*\))\(\s*["`]([^"`$]+)/g)
const annotations = found(/annotateLogs\(\{([^}]*)\}/g)
  .flatMap((fields) => fields.split(",").map((field) => field.split(":")[0]!.trim()))

const documented = (pattern: RegExp): ReadonlyArray<string> =>
  Array.from(new Set(Array.from(document.matchAll(pattern), ([, name]) => name!))).toSorted()

const isDocumented = (name: string): boolean => document.includes(`\`${name}\``)

describe("docs/observability.md", () => {
  it("names exactly the spans of the code", () => {
    assert.isAbove(spans.length, 20)
    assert.deepStrictEqual(
      documented(/`((?:Checkpointer|Retention|StateGraph|PgCheckpointer)\.\w+)`/g),
      [
        ...spans.filter((name) => !/^(?:PostgresServer|TcpProxy)\./.test(name)),
        // Those that are not spans.
        "Retention.layer",
        "StateGraph.stream"
      ].toSorted()
    )
    assert.deepStrictEqual(spans.filter((name) => !isDocumented(name)), [])
  })

  it("names every attribute of a span", () => {
    assert.includeMembers([...attributes], ["checkpoint.thread_id", "graph.node"])
    assert.deepStrictEqual(attributes.filter((name) => !isDocumented(name)), [])
  })

  it("has a row for exactly the metrics of the code, with the type", () => {
    assert.isAbove(metrics.length, 5)
    const rows = documented(/^\| `(checkpoint_\w+` \| \w+) \|/gm)
    assert.deepStrictEqual(
      rows,
      metrics.map((name) =>
        `${name}\` | ${sources.some((text) => text.includes(`Metric.timer("${name}"`)) ? "histogram" : "counter"}`
      )
    )
  })

  it("has each attribute of a metric in the row of that metric", () => {
    const labelled = sources.flatMap((text) => {
      const names = new Map(
        Array.from(text.matchAll(/const (\w+) = Metric\.\w+\(\s*"(\w+)"/g), ([, variable, name]) => [variable, name])
      )
      return Array.from(text.matchAll(/withAttributes\((\w+), \{([^}]*)\}/g), ([, variable, fields]) => ({
        metric: names.get(variable),
        attributes: fields!.split(",").map((field) => field.split(":")[0]!.trim())
      }))
    })
    assert.isAbove(labelled.length, 5)
    for (const { attributes, metric } of labelled) {
      const row = document.split("\n").find((line) => line.startsWith(`| \`${metric}\``))
      for (const attribute of attributes) assert.include(row, `\`${attribute}\``, metric)
    }
  })

  it("has every log message, and every annotation", () => {
    assert.isAbove(messages.length, 6)
    assert.deepStrictEqual(messages.filter((text) => !document.includes(text.trim())), [])
    assert.includeMembers(annotations, ["threadId", "module"])
    assert.deepStrictEqual(annotations.filter((name) => !isDocumented(name)), [])
  })
})
