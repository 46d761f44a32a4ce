import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Number from "effect/Number"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { patient } from "../laws/suite.ts"
import {
  type Boom,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  refuses,
  setting,
  storeError,
  withFaults,
  writesNothing
} from "./suite.ts"

const strategy = "Parallel"

const Notes = Schema.Struct({ notes: Schema.Array(Schema.String), cost: Schema.Finite, title: Schema.String })
const notes = { notes: [], cost: 0, title: "" }

type Reducers = StateGraph.FieldReducers<typeof Notes>["reducers"]

/** How updates become the next state. */
export const reducing: Group = (it) => {
  describe("updates", patient, () => {
    /** A graph whose first node leads to `a` and `b`, which both add a note and a cost. */
    const twoNotes = (
      { namespace, ran, says }: Effect.Success<typeof setting>,
      options: Pick<StateGraph.FieldReducers<typeof Notes>, "reducers" | "conflicts">,
      before: Effect.Effect<void, Boom> = Effect.void
    ) => {
      const note = (name: string) => () =>
        Effect.as(Effect.andThen(Effect.sync(() => ran.push(name)), before), { notes: [name], cost: 1 })
      return StateGraph.make({
        name: "law",
        namespace,
        state: Notes,
        ...options,
        start: "go",
        nodes: { go: () => Effect.asVoid(says("go")()), a: note("a"), b: note("b"), end: () => Effect.void },
        edges: { go: ["b", "a"], a: ["end"], b: ["end"], end: [] }
      })
    }
    const both: Reducers = { notes: StateGraph.append, cost: Number.sum }

    it.effect("a reducer of a field combines its value with that of each update, in the order of the edges", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Notes,
          reducers: both,
          start: "go",
          nodes: {
            go: () => Effect.succeed({ notes: ["go"], cost: 1, title: "first" }),
            a: () => Effect.succeed({ notes: ["a"], cost: 2, title: "second" }),
            b: () => Effect.as(failing("b", 0), { notes: ["b", "b"], cost: 4 }),
            c: () => once
          },
          edges: { go: ["b", "a", "c"], a: [], b: [], c: [] }
        })
        const once = failing("c")
        const options = { threadId, strategy } as const
        yield* fails(StateGraph.run(graph, { ...options, input: { notes: ["in"], cost: 8, title: "" } }), "Boom")
        const { state } = yield* elsewhere(StateGraph.resume(graph, options))
        assert.deepStrictEqual(state, { notes: ["in", "go", "b", "b", "a"], cost: 15, title: "second" })
      }))

    it.effect("reducers keep an instance of a class one, and work for missing fields and for any name of a field", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        class Log extends Schema.Class<Log>("Log")({
          ["__proto__"]: Schema.optionalKey(Schema.Array(Schema.Int)),
          byName: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
        }) {}
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Log,
          reducers: { ["__proto__"]: StateGraph.append, byName: StateGraph.merge },
          start: "go",
          nodes: {
            go: () => Effect.void,
            a: () => Effect.succeed({ ["__proto__"]: [1], byName: { a: 1, both: 1 } }),
            b: () => Effect.succeed({ ["__proto__"]: [2], byName: { b: 2, both: 2 } })
          },
          edges: { go: ["a", "b"], a: [], b: [] }
        })
        const { state } = yield* StateGraph.run(graph, { threadId, input: new Log({}), strategy })
        assert.instanceOf(state, Log)
        assert.deepStrictEqual(Object.entries(state).toSorted(), [
          ["__proto__", [1, 2]],
          ["byName", { a: 1, both: 2, b: 2 }]
        ])
      }))

    it.effect("two nodes of a step that write a field without a reducer fail with WriteConflict, and with one a resume completes the step without running them again", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          for (const concurrency of [undefined, 1]) {
            const here = yield* setting
            const { namespace, ran, threadId } = here
            const options = { threadId, strategy, durability, concurrency } as const
            const graph = twoNotes(here, { reducers: { cost: Number.sum } })
            const error = yield* fails(StateGraph.run(graph, { ...options, input: notes }), "WriteConflict")
            const versions = durability === "step" ? 2 : 1
            assert.deepStrictEqual(
              [error.threadId, error.namespace, error.version, error.field, error.nodes],
              [threadId, namespace, versions, "notes", ["b", "a"]]
            )
            for (const part of [`"${threadId}"`, "\"b\" and \"a\"", "\"notes\"", "reducer", "conflicts: \"last\""]) {
              assert.include(error.message, part)
            }
            const again = StateGraph.resume(graph, options)
            yield* writesNothing(graph, threadId)(fails(elsewhere(again), "WriteConflict"))
            assert.deepStrictEqual(
              (yield* historyOf(graph, threadId)).map(({ next, state }) => [next, state]).at(-1),
              [["b", "a"], notes]
            )
            assert.strictEqual((yield* historyOf(graph, threadId)).length, versions)
            const deployed = twoNotes(here, { reducers: both })
            const ended = yield* elsewhere(StateGraph.resume(deployed, options))
            assert.deepStrictEqual(ended.state, { notes: ["b", "a"], cost: 2, title: "" })
            assert.deepStrictEqual(ran.toSorted(), ["a", "b", "go"])
          }
        }
      }))

    it.effect("a stream emits that all nodes of a step have finished before it fails with WriteConflict", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          const here = yield* setting
          const finished: Array<string> = []
          const options = { threadId: here.threadId, strategy, durability, concurrency: 1 } as const
          const events = StateGraph.stream(twoNotes(here, {}), { ...options, input: notes })
          yield* fails(
            Stream.runForEach(
              events,
              (event) => Effect.sync(() => event._tag === "NodeFinished" ? finished.push(event.node) : 0)
            ),
            "WriteConflict"
          )
          assert.deepStrictEqual(finished, ["go", "b", "a"])
        }
      }))

    it.effect("a conflict whose last update cannot be stored reports both errors", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = twoNotes(here, {})
        let writes = 0
        const faulty = withFaults({ saveWrites: () => ++writes === 2 ? storeError : undefined })
        const options = { threadId, strategy, concurrency: 1 } as const
        const exit = yield* Effect.exit(faulty(StateGraph.run(graph, { ...options, input: notes })))
        const errors = exit._tag === "Failure"
          ? exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag)
          : []
        assert.deepStrictEqual(errors, ["WriteConflict", "StoreError"])
        yield* StateGraph.resume(twoNotes(here, { reducers: both }), options)
        assert.deepStrictEqual(ran, ["go", "b", "a", "a"])
      }))

    it.effect(`with conflicts "last" the update of the last node in the order of the edges wins`, () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = twoNotes(here, { conflicts: "last", reducers: { cost: Number.sum } })
        const { state } = yield* StateGraph.run(graph, { threadId, input: notes, strategy })
        assert.deepStrictEqual(state, { notes: ["a"], cost: 2, title: "" })
      }))

    it.effect("nodes of a step that write different fields, an empty update or nothing do not conflict", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Notes,
          start: "go",
          nodes: {
            go: () => Effect.void,
            a: () => Effect.succeed({ notes: ["a"] }),
            b: () => Effect.succeed({ title: "b" }),
            c: () => Effect.succeed({}),
            d: () => Effect.void
          },
          edges: { go: ["a", "b", "c", "d"], a: [], b: [], c: [], d: [] }
        })
        const { state } = yield* StateGraph.run(graph, { threadId, input: notes, strategy })
        assert.deepStrictEqual(state, { notes: ["a"], cost: 0, title: "b" })
      }))

    it.effect("two updates of a state that is not a struct conflict, unless the graph has reduce", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const shared = {
          name: "law",
          namespace,
          state: Schema.Int,
          start: "go",
          nodes: {
            go: () => Effect.void,
            a: (n: number) => Effect.succeed(n + 1),
            b: (n: number) => Effect.succeed(n + 2)
          },
          edges: { go: ["a", "b"], a: [], b: [] }
        } as const
        const options = { threadId, strategy } as const
        const run = StateGraph.run(StateGraph.make(shared), { ...options, input: 0 })
        const error = yield* fails(run, "WriteConflict")
        assert.deepStrictEqual([error.field, error.nodes], [undefined, ["a", "b"]])
        assert.include(error.message, "whole state")
        const summing = StateGraph.make({ ...shared, reduce: (state, update) => state + update })
        assert.strictEqual((yield* StateGraph.resume(summing, options)).state, 3)
        const last = StateGraph.make({ ...shared, conflicts: "last" })
        assert.strictEqual((yield* StateGraph.run(last, { ...options, input: 10 })).state, 12)
      }))

    it.effect("the input of a run replaces fields that have reducers, and begin can append it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const graph = twoNotes(here, { reducers: both })
        yield* StateGraph.run(graph, { threadId, input: { ...notes, notes: ["1"] }, strategy })
        const { state } = yield* StateGraph.run(graph, { threadId, input: { ...notes, notes: ["2"] }, strategy })
        assert.deepStrictEqual(state, { notes: ["2", "b", "a"], cost: 2, title: "" })
        const chat = StateGraph.make({
          name: "law",
          namespace,
          state: Notes,
          reducers: both,
          begin: (note: string, saved) => ({ ...notes, ...saved, notes: StateGraph.append(saved?.notes, [note]) }),
          start: "reply",
          nodes: { reply: (state) => Effect.succeed({ notes: [`re: ${state.notes.at(-1)}`] }) },
          edges: { reply: [] }
        })
        yield* StateGraph.run(chat, { threadId: `${threadId} chat`, input: "1" })
        const second = yield* StateGraph.run(chat, { threadId: `${threadId} chat`, input: "2" })
        assert.deepStrictEqual(second.state.notes, ["1", "re: 1", "2", "re: 2"])
      }))

    it.effect("an update of resume goes through the reducers", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = twoNotes(here, { reducers: both }, failing("both", 2))
        yield* fails(
          StateGraph.run(graph, { threadId, input: { ...notes, notes: ["in"] }, strategy }),
          "Boom"
        )
        const update = { notes: ["edit"], title: "edited" }
        const { state } = yield* StateGraph.resume(graph, { threadId, update, strategy, concurrency: 1 }).pipe(
          Effect.catchCause(() => StateGraph.resume(graph, { threadId, strategy }))
        )
        assert.deepStrictEqual(state, { notes: ["in", "edit", "b", "a"], cost: 2, title: "edited" })
      }))

    it.effect("a graph with reducers that do not fit its state is refused", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const wrong: ReadonlyArray<readonly [object, string, string]> = [
          [{ reducers: { nots: StateGraph.append } }, "reducers", "\"nots\""],
          [{ reducers: { notes: "append" } }, "reducers", "\"notes\""],
          [{ reducers: {}, reduce: () => notes }, "reducers", "either"],
          [{ reducers: {}, update: Schema.String }, "reducers", "either"],
          [{ reducers: {}, state: Schema.Int }, "reducers", "struct"],
          [{ conflicts: "first" }, "conflicts", "first"]
        ]
        for (const [options, field, part] of wrong) {
          const graph = twoNotes(here, options)
          assert.include(yield* refuses(StateGraph.run(graph, { threadId, input: notes }), field), part)
          assert.include(yield* refuses(StateGraph.resume(graph, { threadId }), field), part)
        }
      }))
  })
}
