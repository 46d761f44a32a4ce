import { type Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { patient } from "../laws/suite.ts"
import { Ask, Boom, type Group, setting, storeError, withFaults, words } from "./suite.ts"

const names = ["n0", "n1", "n2", "n3", "n4"] as const
type Name = typeof names[number]

const between = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

const NodeKind = Schema.Literals(["plain", "keeps a result", "asks", "asks twice", "contains a graph"])
const Luck = Schema.Literals(["well", "well", "well", "fails", "dies", "is interrupted"])

/** A random plan: the edges and the kinds of nodes, how their first runs end, and when the store fails. */
const plans = Arbitrary.all({
  nodes: Arbitrary.array(
    Arbitrary.all({
      kind: Arbitrary.schema(NodeKind),
      /** Sets of next nodes, as bits. The length of the state chooses one. */
      edges: Arbitrary.array(between(0, 31), { minLength: 1, maxLength: 3 })
    }),
    { minLength: 5, maxLength: 5 }
  ),
  /** How the runs of nodes end, in order. All further ones succeed. */
  luck: Arbitrary.array(Arbitrary.schema(Luck), { maxLength: 12 }),
  /** After how many writes the store fails, for each attempt. */
  crashes: Arbitrary.array(between(0, 9), { maxLength: 8 }),
  strategy: Arbitrary.schema(Schema.Literals(["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"])),
  durability: Arbitrary.schema(Schema.Literals(["step", "exit"])),
  concurrency: between(1, 4)
})

type Plan = typeof plans extends Arbitrary.Arbitrary<infer A> ? A : never

/** The graph of a plan. Each node runs `fate` first. */
const graphOf = (plan: Plan, namespace: string, fate: Effect.Effect<void, Boom>) => {
  const ask = (question: string) => StateGraph.interrupt(Ask, question)
  const inner = StateGraph.make({
    ...words,
    name: "inner",
    interrupts: [Ask],
    start: "x",
    nodes: { x: () => Effect.as(fate, "x"), y: (state) => Effect.andThen(fate, ask(`y of ${state.length}`)) },
    edges: { x: ["y"], y: (state) => state.length < 4 ? ["x"] : [] }
  })
  const contained = StateGraph.subgraph(inner, {
    input: (state: ReadonlyArray<string>) => [String(state.length)],
    output: (state) => state.join(" ")
  })
  const nodeOf = (i: number) => {
    const kind = plan.nodes[i]!.kind
    return (state: ReadonlyArray<string>, context: StateGraph.NodeContext) =>
      Effect.gen(function*() {
        const name = `${i} at ${state.length}`
        if (kind === "keeps a result") yield* context.once("kept", Schema.String, Effect.as(fate, name))
        yield* fate
        if (kind === "contains a graph") return yield* contained(state, context)
        if (kind === "plain" || kind === "keeps a result") return name
        const answer = yield* ask(name)
        return kind === "asks" ? answer : yield* ask(`${name}, ${answer}`)
      })
  }
  const edgeOf = (i: number) => (state: ReadonlyArray<string>): ReadonlyArray<Name> => {
    const { edges } = plan.nodes[i]!
    const bits = edges[state.length % edges.length]!
    return state.length > 8 ? [] : names.filter((_, j) => (bits & (1 << j)) !== 0)
  }
  return StateGraph.make({
    ...words,
    name: "random",
    namespace,
    durability: plan.durability,
    interrupts: [Ask],
    start: "n0",
    nodes: { n0: nodeOf(0), n1: nodeOf(1), n2: nodeOf(2), n3: nodeOf(3), n4: nodeOf(4) },
    edges: { n0: edgeOf(0), n1: edgeOf(1), n2: edgeOf(2), n3: edgeOf(3), n4: edgeOf(4) }
  })
}

/** Runs and resumes a plan until it ends, and returns how. */
const runToEnd = Effect.fnUntraced(function*(plan: Plan, namespace: string, threadId: string) {
  let run = 0
  let hanging = yield* Deferred.make<void>()
  const fate = Effect.suspend((): Effect.Effect<void, Boom> => {
    switch (plan.luck[run++]) {
      case "fails":
        return Effect.fail(new Boom({ node: "any" }))
      case "dies":
        return Effect.die("bad luck")
      case "is interrupted":
        return Effect.andThen(Deferred.succeed(hanging, undefined), Effect.never)
      default:
        return Effect.void
    }
  })
  const graph = graphOf(plan, namespace, fate)
  const { concurrency, strategy } = plan
  let questions: ReadonlyArray<StateGraph.PendingInterrupt> = []
  let isThere = false
  for (let attempt = 0; attempt < 200; attempt++) {
    hanging = yield* Deferred.make<void>()
    const crash = plan.crashes[attempt] ?? Infinity
    let writes = 0
    const gone = () => ++writes > crash ? storeError : undefined
    // One answer, or all of them.
    const answered = attempt % 2 === 0 ? questions : questions.slice(-1)
    const answers = Object.fromEntries(
      answered.map(({ interruptId, request }) => [interruptId, `yes, ${String(request)}`])
    )
    const going = Effect.suspend((): Effect.Effect<
      StateGraph.RunResult<ReadonlyArray<string>, Name>,
      unknown,
      Checkpointer.Checkpointer
    > =>
      isThere
        ? StateGraph.resume(graph, { threadId, answers })
        : StateGraph.run(graph, { threadId, input: [], strategy, concurrency })
    )
    const fiber = yield* Effect.forkChild(withFaults({ put: gone, saveWrites: gone, saveQuestions: gone })(going))
    yield* Effect.raceFirst(Fiber.await(fiber), Effect.andThen(Deferred.await(hanging), Fiber.interrupt(fiber)))
    const exit = yield* Fiber.await(fiber)
    questions = []
    if (Exit.isSuccess(exit)) {
      const result = exit.value
      isThere = true
      if (result._tag === "Completed") return result.state
      if (result._tag === "Interrupted") questions = result.interrupts
    } else {
      isThere = (yield* Effect.flatMap(StateGraph.view(graph), (view) => view.listVersions(threadId))).length > 0
    }
  }
  return assert.fail("the run does not end")
})

/** Random graphs with random failures. */
export const random: Group = (it, properties) => {
  describe("any graph", patient, () => {
    it.effect.prop(
      "any graph whose nodes and saves fail, die or are interrupted at random ends like an undisturbed one",
      [plans],
      ([plan]) =>
        Effect.gen(function*() {
          const { namespace, threadId } = yield* setting
          const undisturbed = yield* runToEnd(
            { ...plan, luck: [], crashes: [], durability: "step" },
            namespace,
            threadId
          )
          const disturbed = yield* runToEnd(plan, namespace, `${threadId} disturbed`)
          assert.deepStrictEqual(disturbed, undisturbed)
        }),
      properties
    )
  })
}
