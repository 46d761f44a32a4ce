import { StateGraph } from "@effect-checkpoint/core"
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"

const state = Schema.Struct({ done: Schema.Boolean })
const nothing = () => Effect.void

it("toMermaid draws fixed edges solid, and those that depend on the state dotted", () => {
  const graph = StateGraph.make({
    name: "refund",
    state,
    start: "triage",
    nodes: { triage: nothing, approve: nothing, pay: nothing, mail: nothing, close: nothing },
    edges: {
      triage: { to: ["approve", "pay"], when: ({ done }) => done ? ["pay"] : ["approve"] },
      approve: ({ done }) => done ? ["pay"] : [],
      pay: ["mail", "close"],
      mail: { to: [], when: () => [] },
      close: []
    }
  })
  assert.strictEqual(
    StateGraph.toMermaid(graph),
    `flowchart TD
  start(("start"))
  n0["triage"]
  n1["approve"]
  n2["pay"]
  n3["mail"]
  n4["close"]
  stop(("end"))
  start --> n0
  n0 -.-> n1
  n0 -.-> n2
  n1 -.-> n1next{"?"}
  n2 --> n3
  n2 --> n4
  n3 --> stop
  n4 --> stop`
  )
})

it("toMermaid draws an edge to the end where a choice may end the run", () => {
  const graph = StateGraph.make({
    name: "loop",
    state,
    start: "work",
    nodes: { work: nothing },
    edges: { work: { to: ["work"], when: ({ done }) => done ? [] : ["work"], mayEnd: true } }
  })
  assert.strictEqual(
    StateGraph.toMermaid(graph),
    `flowchart TD
  start(("start"))
  n0["work"]
  stop(("end"))
  start --> n0
  n0 -.-> n0
  n0 -.-> stop`
  )
})

it("toMermaid shows names as text, whatever their characters", () => {
  const names = ["end", "start", "a\"]; click b \"x", "<b>&amp;#35;", "two\nlines", "__proto__", "`code` ü🎉", ""]
  const graph = StateGraph.make({
    name: "names",
    state,
    start: "end",
    nodes: Object.fromEntries(names.map((name) => [name, nothing])),
    edges: Object.fromEntries(names.map((name, i) => [name, names.slice(i + 1, i + 2)]))
  })
  assert.strictEqual(
    StateGraph.toMermaid(graph),
    `flowchart TD
  start(("start"))
  n0["end"]
  n1["start"]
  n2["a#34;]; click b #34;x"]
  n3["#60;b#62;#38;amp;#35;35;"]
  n4["two#10;lines"]
  n5["__proto__"]
  n6["#96;code#96; ü🎉"]
  n7[" "]
  stop(("end"))
  start --> n0
  n0 --> n1
  n1 --> n2
  n2 --> n3
  n3 --> n4
  n4 --> n5
  n5 --> n6
  n6 --> n7
  n7 --> stop`
  )
})
