import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { patient } from "../laws/suite.ts"
import { approval, chain, fanOut } from "./graphs.ts"
import { answersOf, elsewhere, type Group, historyOf, refuses, setting, words, writesNothing } from "./suite.ts"

const strategies = ["StopAtNonLinear", "PickFirst", "PickLast", "Parallel"] as const

/** How a step changes the state, and which nodes run next. */
export const stepping: Group = (it) => {
  describe("steps", patient, () => {
    it.effect("an edge is a list or a function of the state after the step, and an empty one ends the run", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "a",
          nodes: { a: says("a"), b: says("b"), c: says("c"), never: says("never") },
          edges: {
            a: ["b"],
            // The state already has the update of the step.
            b: (state) => state.filter((word) => word === "b").length < 3 ? ["a"] : ["c"],
            c: { to: ["never"], when: (state) => state.at(-1) === "c" ? [] : ["never"] },
            never: []
          }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: ["in"] })
        assert.strictEqual(result._tag, "Completed")
        assert.deepStrictEqual(result.state, ["in", "a", "b", "a", "b", "a", "b", "c"])
        assert.deepStrictEqual(ran, ["a", "b", "a", "b", "a", "b", "c"])
        assert.deepStrictEqual(result.checkpoint.nextNodes, [])
      }))

    it.effect("an update replaces fields of the state by default, and no update changes nothing", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({
            kept: Schema.Int,
            list: Schema.Array(Schema.Int),
            maybe: Schema.optional(Schema.String)
          }),
          start: "list",
          nodes: {
            list: ({ list }) => Effect.succeed({ list: [...list, 2] }),
            nothing: () => Effect.void,
            maybe: () => Effect.succeed({ maybe: "there" }),
            gone: () => Effect.succeed({ maybe: undefined })
          },
          edges: { list: ["nothing"], nothing: ["maybe"], maybe: ["gone"], gone: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: { kept: 7, list: [1] } })
        const states = (yield* historyOf(graph, threadId)).map(({ state }) => state)
        const list = [1, 2]
        assert.deepStrictEqual(JSON.parse(JSON.stringify(states)), [
          { kept: 7, list: [1] },
          { kept: 7, list },
          { kept: 7, list },
          { kept: 7, list, maybe: "there" },
          { kept: 7, list }
        ])
      }))

    it.effect("an update replaces the whole state if it is not a struct, also with null", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.NullOr(Schema.Record(Schema.String, Schema.Int)),
          start: "other",
          nodes: { other: () => Effect.succeed({ b: 2 }), none: () => Effect.succeed(null) },
          edges: { other: ["none"], none: [] }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: { a: 1 } })
        assert.isNull(result.state)
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).map(({ state }) => state), [
          { a: 1 },
          { b: 2 },
          null
        ])
      }))

    it.effect("an update keeps a state an instance of its class", () =>
      Effect.gen(function*() {
        class Count extends Schema.Class<Count>("Count")({ n: Schema.Int, name: Schema.String }) {
          get next(): number {
            return this.n + 1
          }
        }
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Count,
          start: "count",
          nodes: { count: (state) => Effect.succeed({ n: state.next }) },
          edges: { count: (state) => state.next > 3 ? [] : ["count"] }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: new Count({ n: 0, name: "law" }) })
        assert.instanceOf(result.state, Count)
        assert.strictEqual(result.state.n, 3)
        const again = yield* StateGraph.run(graph, { threadId, input: new Count({ n: 1, name: "again" }) })
        assert.instanceOf(again.state, Count)
        assert.strictEqual(again.state.name, "again")
      }))

    it.effect("updates of a parallel step are reduced in the order of the edge, whichever node returns first", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const done = { a: yield* Deferred.make<void>(), b: yield* Deferred.make<void>() }
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: {
            go: says("go"),
            a: (state) => Effect.as(Deferred.await(done.a), `a of ${state.length}`),
            b: (state) =>
              Effect.as(
                Effect.ensuring(Deferred.await(done.b), Deferred.succeed(done.a, undefined)),
                `b of ${state.length}`
              ),
            c: (state) => Effect.as(Deferred.succeed(done.b, undefined), `c of ${state.length}`),
            join: says("join")
          },
          edges: { go: ["c", "a", "b"], a: ["join"], b: ["join"], c: ["join"], join: [] }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: [] })
        // Each node had the state from before the step. The node that all of them lead to runs once.
        assert.deepStrictEqual(result.state, ["go", "c of 1", "a of 1", "b of 1", "join"])
        assert.deepStrictEqual(ran, ["go", "join"])
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).map(({ completedNodes }) => completedNodes), [
          [],
          ["go"],
          ["c", "a", "b"],
          ["join"]
        ])
      }))

    it.effect("the next nodes of a parallel step are in the order of its nodes and of their edges, each once", () =>
      Effect.gen(function*() {
        const { namespace, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: { go: says("go"), a: says("a"), b: says("b"), x: says("x"), y: says("y"), z: says("z") },
          edges: { go: ["b", "a"], a: ["z", "y"], b: ["x", "z"], x: [], y: [], z: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).map(({ next }) => next), [
          ["go"],
          ["b", "a"],
          ["x", "z", "y"],
          []
        ])
      }))

    for (const strategy of strategies) {
      it.effect(`strategy ${strategy} runs the nodes that it chooses, and never others`, () =>
        Effect.gen(function*() {
          const { namespace, ran, says, threadId } = yield* setting
          const graph = StateGraph.make({
            ...words,
            name: "law",
            namespace,
            start: "go",
            nodes: { go: says("go"), a: says("a"), b: says("b"), c: says("c") },
            edges: { go: () => ["b", "a", "c"], a: [], b: [], c: [] }
          })
          const picked = { StopAtNonLinear: [], PickFirst: ["b"], PickLast: ["c"], Parallel: ["b", "a", "c"] }[strategy]
          const result = yield* StateGraph.run(graph, { threadId, input: [], strategy })
          assert.deepStrictEqual(result.state, ["go", ...picked])
          const hasStopped = picked.length === 0
          assert.deepStrictEqual((yield* historyOf(graph, threadId))[1]?.next, hasStopped ? ["b", "a", "c"] : picked)
          assert.strictEqual(result._tag, hasStopped ? "Stopped" : "Completed")
          const again = yield* elsewhere(StateGraph.resume(graph, { threadId, strategy: "Parallel" }))
          assert.strictEqual(again._tag, "Completed")
          assert.deepStrictEqual(ran, ["go", ...(hasStopped ? ["b", "a", "c"] : picked)])
        }))
    }

    it.effect("resume of a stopped run continues with a node that it names, instead of the branches", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: { go: says("go"), a: says("a"), b: says("b"), end: says("end") },
          edges: { go: ["a", "b"], a: ["end"], b: ["end"], end: [] }
        })
        const stopped = yield* StateGraph.run(graph, { threadId, input: [], strategy: "StopAtNonLinear" })
        assert.deepStrictEqual(stopped._tag === "Stopped" ? stopped.branches : [], ["a", "b"])
        const refused = StateGraph.resume(graph, { threadId, next: ["nowhere" as "a"] })
        assert.include(yield* writesNothing(graph, threadId)(refuses(refused, "next")), "nowhere")
        const went = yield* StateGraph.resume(graph, { threadId, update: "edited", next: ["b"] })
        assert.strictEqual(went._tag, "Completed")
        assert.deepStrictEqual(went.state, ["go", "edited", "b", "end"])
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Completed")
        assert.deepStrictEqual(ran, ["go", "b", "end"])
      }))

    it.effect("resume runs the nodes that it names as one step, each once, and ends the run if it names none", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, { a: says("a"), b: says("b") })
        yield* StateGraph.run(graph, { threadId, input: [], strategy: "StopAtNonLinear" })
        yield* StateGraph.resume(graph, { threadId, next: ["b", "a", "b"] })
        assert.deepStrictEqual(ran, ["go", "b", "a"])
        const ended = yield* StateGraph.resume(graph, { threadId, next: [] })
        assert.strictEqual(ended._tag, "Completed")
        assert.deepStrictEqual(ended.state, ["go", "b", "a"])
      }))

    it.effect("an edge to an unknown node fails the run, even if the strategy would not choose that node", () =>
      Effect.gen(function*() {
        const { namespace, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: { go: says("go"), a: says("a") },
          edges: { go: () => ["a", "nowhere" as "a"], a: [] }
        })
        for (const strategy of strategies) {
          const reason = yield* refuses(
            StateGraph.run(graph, { threadId: `${threadId} ${strategy}`, input: [], strategy }),
            "edges of go"
          )
          assert.include(reason, "nowhere")
        }
      }))

    it.effect("run, resume, stream and subgraph do the same in a pipe, with the graph as their last argument", () =>
      Effect.gen(function*() {
        const resultOf = <S, E, R>(
          events: Stream.Stream<StateGraph.RunEvent<S, unknown, string>, E, R>
        ): Effect.Effect<StateGraph.RunResult<S, string>, E, R> =>
          Effect.map(Stream.runCollect(events), (all) => {
            const last = all.at(-1)
            return last?._tag === "Ended" ? last.result : assert.fail("no event has the result")
          })
        const first = yield* setting
        const one = chain(first, {
          nested: StateGraph.subgraph(approval(first), { input: () => ["in"], output: (state) => state.join(" ") })
        })
        const last = yield* setting
        const two = chain(last, {
          nested: approval(last).pipe(
            StateGraph.subgraph({ input: () => ["in"], output: (state) => state.join(" ") })
          )
        })
        const { threadId } = first
        const begin = { threadId, input: ["before"] }
        const ways = {
          data: [
            yield* StateGraph.run(one, begin),
            yield* StateGraph.resume(one, { threadId, answers: yield* answersOf(one, threadId, "yes") }),
            yield* resultOf(StateGraph.stream(one, begin)),
            yield* resultOf(StateGraph.stream(one, { threadId, answers: yield* answersOf(one, threadId, "yes") }))
          ],
          pipe: [
            yield* two.pipe(StateGraph.run(begin)),
            yield* two.pipe(StateGraph.resume({ threadId, answers: yield* answersOf(two, threadId, "yes") })),
            yield* resultOf(two.pipe(StateGraph.stream(begin))),
            yield* resultOf(
              two.pipe(StateGraph.stream({ threadId, answers: yield* answersOf(two, threadId, "yes") }))
            )
          ]
        }
        const ends = ways.data.map(({ _tag, checkpoint, state }) => [_tag, state, checkpoint.version])
        const finished = ["before", "in a ask b"]
        assert.deepStrictEqual(ends.map(([tag, state]) => [tag, state]), [
          ["Interrupted", ["before"]],
          ["Completed", finished],
          ["Interrupted", ["before"]],
          ["Completed", finished]
        ])
        assert.deepStrictEqual(ways.pipe.map(({ _tag, checkpoint, state }) => [_tag, state, checkpoint.version]), ends)
        assert.deepStrictEqual(last.ran, first.ran)
      }))

    it.effect("nodes can have any names", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const names = ["a:0", "a", "answer:a:0", "update:a", "a/0", "__proto__", "constructor", "10", "2", "", "ü🎉"]
        const nodes = Object.fromEntries(names.map((name) => [name, () => Effect.succeed(name)]))
        const edges = Object.fromEntries(names.map((name) => [name, []]))
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: { ...nodes, ["__proto__"]: nodes["__proto__"]!, go: () => Effect.succeed("go") },
          edges: { ...edges, ["__proto__"]: [], go: names as ReadonlyArray<"go"> }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual(result.state, ["go", ...names])
      }))
  })
}
