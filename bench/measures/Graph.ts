import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { PgCheckpointer } from "@effect-checkpoint/sql"
import { PgClient } from "@effect/sql-pg"
import { type Context, Effect, Layer, Stream } from "effect"
import * as Database from "../Database.ts"
import { append, Conversation, Mails, type Message, messageBytes } from "../Mails.ts"
import { type Effort, interleaved, median, medians, range, timed } from "../Measure.ts"
import { bytes, type Measurement, millis, times } from "../Report.ts"

const efforts = { full: { sizes: [1, 100], rounds: 60 }, quick: { sizes: [1, 100], rounds: 20 } }

/** How many nodes the graph has, in a line. */
const steps = 20

type Run = Effect.Effect<unknown, unknown, Checkpointer.Checkpointer>

export const run = Effect.fnUntraced(function*(effort: Effort) {
  const { rounds, sizes } = efforts[effort]
  const mails = yield* Mails
  const { sql } = yield* Database.make("graph")
  const server = yield* Layer.build(
    PgCheckpointer.layer.pipe(Layer.provide(Layer.succeed(PgClient.PgClient, sql)))
  )
  const memory = yield* Layer.build(Checkpointer.layerMemory)
  let runs = 0

  const rows: Array<ReadonlyArray<string>> = []
  const overheads: Array<number> = []
  for (const size of sizes) {
    const input = mails.ofBytes(size * 1000, 0)
    const line = yield* lineOf(range(steps).map((step) => mails.message(step, messageBytes)))
    const perStep = (services: Context.Context<Checkpointer.Checkpointer>, run: (threadId: string) => Run) =>
      Effect.suspend(() => timed(run(`${size} KB, ${runs++}`))).pipe(
        Effect.map((millis) => millis / steps),
        Effect.provideContext(services),
        Effect.orDie
      )
    const graph = (threadId: string) => line.run(threadId, input)
    const puts = (threadId: string) => line.puts(threadId, input)
    const results = yield* interleaved(rounds, {
      graph: perStep(server, graph),
      puts: perStep(server, puts),
      graphInMemory: perStep(memory, graph),
      putsInMemory: perStep(memory, puts)
    })
    // Each round is compared with its neighbor, because the speed of the disk varies.
    const overhead = median(results.graph.map((graph, round) => graph - results.puts[round]!))
    const taken = medians(results, (result) => result)
    overheads.push(overhead)
    rows.push([
      bytes(size * 1000),
      times(taken.graph / taken.puts),
      millis(overhead),
      millis(taken.graph),
      millis(taken.puts),
      millis(taken.graphInMemory - taken.putsInMemory),
      millis(taken.graphInMemory),
      millis(taken.putsInMemory)
    ])
  }

  return {
    id: "7",
    title: "Steps of a graph",
    about:
      `A graph of ${steps} nodes in a line, each of which adds a message of ${messageBytes} B to the state, compared ` +
      "with the puts that it makes: the same states, next nodes and metadata, each put after the one before.",
    tables: [{
      title: "Time per step, median",
      columns: ["state", "graph / puts", "graph - puts", "graph", "puts", "in memory: graph - puts", "graph", "puts"],
      rows
    }],
    targets: overheads.map((measured, index) => ({
      name: `step of a graph with a state of ${bytes(sizes[index]! * 1000)}, beyond its put`,
      measured,
      unit: "ms",
      wanted: { atMost: 0.2 }
    })),
    charts: {}
  } satisfies Measurement
}, Effect.scoped)

/** A graph with a node for each message, and the same puts by hand. */
const lineOf = Effect.fnUntraced(function*(messages: ReadonlyArray<Message>) {
  const nameOf = (step: number) => `add-${step}`
  const graph = StateGraph.make({
    name: "line",
    state: Conversation,
    start: nameOf(0),
    nodes: Object.fromEntries(
      messages.map((message, step) => [nameOf(step), (state: Conversation) => Effect.succeed(append(state, message))])
    ),
    edges: Object.fromEntries(
      messages.map((_, step) => [nameOf(step), step + 1 < messages.length ? [nameOf(step + 1)] : []])
    )
  })
  const run = (threadId: string, input: Conversation) => StateGraph.run(graph, { threadId, input })

  const view = StateGraph.view(graph)
  const saved = yield* Effect.gen(function*() {
    yield* run("example", { messages: [], approved: false })
    return (yield* Stream.runCollect((yield* view).history("example"))).toReversed()
  }).pipe(Effect.provide(Checkpointer.layerMemory))
  const contents = saved.map(({ metadata, nextNodes }) => ({ metadata, nextNodes }))

  const puts = Effect.fnUntraced(function*(threadId: string, input: Conversation) {
    const threads = yield* view
    yield* threads.get(threadId)
    let state = input
    let parent = yield* threads.create({ threadId, state, ...contents[0]! })
    for (const [step, message] of messages.entries()) {
      state = append(state, message)
      parent = yield* threads.put({ parent, state, ...contents[step + 1]! })
    }
    return parent
  })
  return { run, puts }
})
