import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { patient } from "../laws/suite.ts"
import { chain, fanOut } from "./graphs.ts"
import {
  Ask,
  counting,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  refuses,
  reply,
  setting,
  stepsOf,
  storeError,
  withFaults,
  words,
  writesNothing
} from "./suite.ts"

const join = (state: ReadonlyArray<string>): string => `(${state.join(" ")})`

/** Graphs as nodes of other graphs. */
export const nesting: Group = (it) => {
  describe("a nested graph", patient, () => {
    /** An inner graph of three nodes, of which the second runs `before` first. */
    const innerOf = <E, R>({ says }: Effect.Success<typeof setting>, before: Effect.Effect<unknown, E, R>) =>
      StateGraph.make({
        ...words,
        name: "inner",
        begin: (input: ReadonlyArray<string>, saved) => saved === undefined ? input : ["saved"],
        start: "x",
        nodes: { x: says("x"), y: says("y", before), z: says("z") },
        edges: { x: ["y"], y: ["z"], z: [] }
      })

    const outerOf = <E, R>(
      { namespace, says }: Effect.Success<typeof setting>,
      inner: ReturnType<typeof innerOf<E, R>>
    ) =>
      StateGraph.make({
        ...words,
        name: "outer",
        namespace,
        interrupts: [Ask],
        start: "a",
        nodes: {
          a: says("a"),
          inner: StateGraph.subgraph(inner, {
            input: (outer: ReadonlyArray<string>) => [`from ${outer.length}`],
            output: join
          }),
          b: says("b")
        },
        edges: { a: ["inner"], inner: ["b"], b: (state) => state.length < 6 ? ["a"] : [] }
      })

    const within = (namespace: string) =>
      Effect.flatMap(
        Checkpointer.Checkpointer,
        (checkpointer) => Effect.orDie(checkpointer.view({ state: Schema.Array(Schema.String), namespace }))
      )

    it.effect("a nested graph has its own namespace in the thread, and runs from its start at each visit", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, ran, threadId } = here
        const outer = outerOf(here, innerOf(here, Effect.void))
        const result = yield* StateGraph.run(outer, { threadId, input: [] })
        assert.deepStrictEqual(result.state, ["a", "(from 1 x y z)", "b", "a", "(from 4 x y z)", "b"])
        assert.deepStrictEqual(ran, ["a", "x", "y", "z", "b", "a", "x", "y", "z", "b"])
        const inside = yield* stepsOf(yield* within(`${namespace}/inner`), threadId)
        assert.deepStrictEqual(
          inside.map(({ cause, state, step }) => [cause, step, (state as ReadonlyArray<string>).length]),
          [
            ["input", 0, 1],
            ["step", 1, 2],
            ["step", 2, 3],
            ["step", 3, 4],
            ["input", 3, 1],
            ["step", 4, 2],
            ["step", 5, 3],
            ["step", 6, 4]
          ]
        )
        assert.deepStrictEqual((yield* historyOf(outer, threadId)).length, 7)
      }))

    it.effect("a nested graph continues at its step that failed, and is not repeated if the outer save failed", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          const here = yield* setting
          const { ran, threadId } = here
          const outer = outerOf(here, innerOf(here, failing("y")))
          yield* fails(StateGraph.run(outer, { threadId, input: [], durability }), "Boom")
          assert.deepStrictEqual(ran.splice(0), ["a", "x", "y"])
          if (durability === "step") {
            const dying = withFaults({ put: ({ namespace }) => namespace === here.namespace ? storeError : undefined })
            yield* fails(dying(StateGraph.resume(outer, { threadId })), "StoreError")
            assert.deepStrictEqual(ran.splice(0), ["y", "z"])
            yield* elsewhere(StateGraph.resume(outer, { threadId, durability }))
            assert.deepStrictEqual(ran, ["b", "a", "x", "y", "z", "b"])
          } else {
            yield* elsewhere(StateGraph.resume(outer, { threadId, durability }))
            assert.deepStrictEqual(ran, ["y", "z", "b", "a", "x", "y", "z", "b"])
          }
        }
      }))

    /** An inner graph whose first node leads to two others. */
    const forking = ({ says }: Effect.Success<typeof setting>, settings: StateGraph.Settings<"x" | "y" | "z"> = {}) =>
      StateGraph.make({
        ...words,
        ...settings,
        name: "inner",
        interrupts: [Ask],
        start: "x",
        nodes: { x: says("x"), y: says("y"), z: says("z") },
        edges: { x: ["y", "z"], y: [], z: [] }
      })

    it.effect("a nested graph has its own settings or those of subgraph, and the durability and metadata of the run", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const inner = forking(here, { strategy: "PickFirst" })
        const outer = chain({ ...here, name: "outer" }, {
          as: StateGraph.subgraph(inner, { input: () => [], output: join }),
          otherwise: StateGraph.subgraph(inner, { input: () => [], output: join, strategy: "PickLast" })
        }, { durability: "exit" })
        const options = { threadId, strategy: "StopAtNonLinear", metadata: { tenant: 1 } } as const
        const run = StateGraph.run(outer, { ...options, input: [] })
        assert.deepStrictEqual(yield* counting(run), { puts: 3, writes: 0 })
        const ended = yield* StateGraph.resume(outer, { threadId })
        assert.deepStrictEqual(ended.state, ["(x y)", "(x z)"])
        const view = yield* within(`${namespace}/as`)
        const [inside] = yield* view.listVersions(threadId)
        assert.strictEqual(inside?.metadata["tenant"], 1)
        // The outer graph pauses, and the nested one does not.
        const paused = yield* StateGraph.run(outer, { ...options, input: [], interruptBefore: ["otherwise"] })
        assert.strictEqual(paused._tag === "Interrupted" ? paused.interrupts[0]!.node : paused._tag, "otherwise")
        const went = yield* reply(outer, { ...options, response: "continue", interruptAfter: ["as"] })
        assert.deepStrictEqual(went.state, ["(x y)", "(x z)"])
      }))

    it.effect("an interrupt of a nested graph is raised by the outer graph, and takes exactly one answer", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          const here = yield* setting
          const { ran, threadId } = here
          const inner = innerOf(here, StateGraph.interrupt(Ask, "inside?"))
          const outer = outerOf(here, inner)
          let result = yield* StateGraph.run(outer, { threadId, input: [], durability })
          for (let visit = 0; visit < 2; visit++) {
            assert.strictEqual(result._tag, "Interrupted")
            if (result._tag !== "Interrupted") return
            assert.deepStrictEqual([result.interrupts[0]!.kind, result.interrupts[0]!.node], ["Ask", "inner"])
            const waits = yield* elsewhere(StateGraph.resume(outer, { threadId, durability }))
            assert.deepStrictEqual(
              waits._tag === "Interrupted" ? waits.interrupts[0]! : undefined,
              result.interrupts[0]!
            )
            assert.deepStrictEqual(ran.splice(0), visit === 0 ? ["a", "x", "y"] : ["y", "z", "b", "a", "x", "y"])
            const { interruptId } = result.interrupts[0]!
            const all = yield* Effect.forEach([1, 2, 3, 4], (i) =>
              Effect.result(
                elsewhere(reply(outer, { threadId, durability, response: `yes ${i}`, interruptId }))
              ), {
              concurrency: "unbounded"
            })
            const [won, ...more] = all.flatMap((one) => one._tag === "Success" ? [one.success] : [])
            assert.deepStrictEqual(more, [])
            result = won!
          }
          assert.strictEqual(result._tag, "Completed")
          assert.deepStrictEqual(ran, ["y", "z", "b"])
          assert.strictEqual(result.state.length, 6)
        }
      }))

    it.effect("a nested graph whose interrupt was answered completes, even if the process dies at any save", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const outer = outerOf(here, innerOf(here, StateGraph.interrupt(Ask, "inside?")))
        // What is saved: the outer answer, the inner answer, y, z, the outer step, b and so on.
        for (let broken = 2; broken <= 8; broken++) {
          const threadId = `law ${broken}`
          yield* StateGraph.run(outer, { threadId, input: ["1", "2", "3"] })
          let saves = 0
          const save = () => ++saves === broken ? storeError : undefined
          const dying = withFaults({ put: save, saveQuestions: save })
          const first = yield* Effect.result(dying(reply(outer, { threadId, response: "yes" })))
          const result = first._tag === "Success"
            ? first.success
            : yield* elsewhere(StateGraph.resume(outer, { threadId }))
          assert.strictEqual(first._tag, broken <= 6 ? "Failure" : "Success")
          assert.strictEqual(result._tag, "Completed")
          assert.deepStrictEqual(result.state, ["1", "2", "3", "a", "(from 4 x y z)", "b"])
        }
      }))

    it.effect("a graph nested two levels deep can fail, ask and be branched", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const once = failing("deep")
        const deepest = chain({ name: "deepest" }, {
          go: says("go"),
          ask: () => Effect.tap(StateGraph.interrupt(Ask, "deep?"), () => once),
          again: () => StateGraph.interrupt(Ask, "deeper?")
        })
        const middle = chain({ name: "middle" }, {
          m: says("m"),
          "deep/est": StateGraph.subgraph(deepest, { input: (state: ReadonlyArray<string>) => state, output: join })
        })
        const outer = chain({ name: "outer", namespace }, {
          o: says("o"),
          middle: StateGraph.subgraph(middle, { input: (state: ReadonlyArray<string>) => state, output: join })
        })
        const first = yield* StateGraph.run(outer, { threadId, input: [] })
        assert.strictEqual(first._tag === "Interrupted" ? first.interrupts[0]!.request : first._tag, "deep?")
        yield* fails(reply(outer, { threadId, response: "1" }), "Boom")
        const second = yield* elsewhere(StateGraph.resume(outer, { threadId }))
        assert.strictEqual(second._tag === "Interrupted" ? second.interrupts[0]!.request : second._tag, "deeper?")
        // A copy that is made now returns to the second question in both nested graphs.
        const view = yield* StateGraph.view(outer)
        const fork = yield* view.fork(threadId, second.checkpoint, { threadId: `${threadId} fork` })
        const result = yield* elsewhere(reply(outer, { threadId, response: "2" }))
        assert.deepStrictEqual(result.state, ["o", "(o m (o m go 1 2))"])
        const forked = yield* elsewhere(reply(outer, { threadId: fork.threadId, response: "3" }))
        assert.deepStrictEqual(forked.state, ["o", "(o m (o m go 1 3))"])
        assert.deepStrictEqual(ran, ["o", "m", "go"])
        assert.strictEqual((yield* stepsOf(yield* within(`${namespace}/middle/deep%2Fest`), threadId)).length, 6)

        // A branch from the first question asks the second one again.
        const asksAgain = yield* reply(outer, {
          threadId,
          version: first.checkpoint.version,
          response: "4"
        })
        assert.strictEqual(
          asksAgain._tag === "Interrupted" ? asksAgain.interrupts[0]!.request : asksAgain._tag,
          "deeper?"
        )
        const last = yield* reply(outer, { threadId, response: "5" })
        assert.deepStrictEqual(last.state, ["o", "(o m (o m go 4 5))"])
        assert.deepStrictEqual(ran, ["o", "m", "go"])
      }))

    it.effect("a nested graph runs from its start in a branch from a version before it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const outer = outerOf(here, innerOf(here, StateGraph.interrupt(Ask, "inside?")))
        yield* StateGraph.run(outer, { threadId, input: ["1", "2", "3"] })
        yield* reply(outer, { threadId, response: "yes" })
        ran.length = 0
        const branch = yield* StateGraph.resume(outer, { threadId, version: 2 })
        assert.strictEqual(branch._tag, "Interrupted")
        assert.deepStrictEqual(ran, ["x", "y"])
        assert.strictEqual((yield* reply(outer, { threadId, response: "again" }))._tag, "Completed")
      }))

    it.effect("a nested graph runs again in a restored or forked version before it whose state was updated", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const research = StateGraph.make({
          name: "research",
          state: Schema.Struct({ topic: Schema.String, found: Schema.String }),
          start: "search",
          nodes: { search: ({ topic }) => Effect.succeed({ found: `all about ${topic}` }) },
          edges: { search: [] }
        })
        const report = StateGraph.make({
          name: "report",
          namespace,
          state: Schema.Struct({ topic: Schema.String, text: Schema.String }),
          start: "research",
          nodes: {
            research: StateGraph.subgraph(research, {
              input: ({ topic }) => ({ topic, found: "" }),
              output: ({ found }) => ({ text: found })
            })
          },
          edges: { research: [] }
        })
        const view = yield* StateGraph.view(report)
        yield* StateGraph.run(report, { threadId, input: { topic: "cats", text: "" } })
        yield* view.fork(threadId, { version: 1 }, { threadId: `${threadId} fork` })
        yield* view.restore(threadId, { version: 1 })
        for (const id of [threadId, `${threadId} fork`]) {
          yield* view.update(id, (state) => ({ ...state, topic: "dogs" }))
          const ended = yield* StateGraph.resume(report, { threadId: id })
          assert.deepStrictEqual([ended._tag, ended.state.text], ["Completed", "all about dogs"])
        }
      }))

    it.effect("a copy of a version at which a nested graph waited returns to its question, even if the process dies in between", () =>
      Effect.gen(function*() {
        for (const way of ["restore", "fork"] as const) {
          for (let broken = 2; broken <= 4; broken++) {
            const here = yield* setting
            const { ran } = here
            const outer = chain({ ...here, name: "outer" }, {
              inner: StateGraph.subgraph(innerOf(here, StateGraph.interrupt(Ask, "inside?")), {
                input: () => [],
                output: join
              })
            })
            const view = yield* StateGraph.view(outer)
            const { checkpoint } = yield* StateGraph.run(outer, { threadId: here.threadId, input: [] })
            yield* reply(outer, { threadId: here.threadId, response: "yes" })
            const { threadId } = way === "fork"
              ? yield* view.fork(here.threadId, checkpoint, { threadId: `${here.threadId} fork` })
              : yield* view.restore(here.threadId, checkpoint)
            ran.length = 0
            // The puts: the outer answer, the copy of the nested version, the nested answer.
            let puts = 0
            const dying = withFaults({ put: () => ++puts === broken ? storeError : undefined })
            yield* fails(dying(reply(outer, { threadId, response: "no" })), "StoreError")
            const ended = yield* elsewhere(StateGraph.resume(outer, { threadId }))
            assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["(x y z)"]])
            assert.notInclude(ran, "x")
            // The nested versions of the fork are in the way of the first one now, which is in the other thread.
            yield* view.restore(threadId, { version: way === "fork" ? 1 : checkpoint.version })
            const again = yield* elsewhere(reply(outer, { threadId, response: "again" }))
            assert.deepStrictEqual([again._tag, again.state], ["Completed", ["(x y z)"]])
            assert.notInclude(ran, "x")
          }
        }
      }))

    it.effect("a nested question that its outer graph branched away from is not kept by a prune", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const outer = outerOf(here, innerOf(here, StateGraph.interrupt(Ask, "inside?")))
        yield* StateGraph.run(outer, { threadId, input: ["1", "2", "3"] })
        yield* StateGraph.resume(outer, { threadId, version: 2 })
        assert.strictEqual((yield* reply(outer, { threadId, response: "yes" }))._tag, "Completed")
        yield* Checkpointer.Checkpointer.use(({ prune }) => prune({ namespace: `${namespace}/inner`, maxVersions: 1 }))
        const inside = yield* within(`${namespace}/inner`)
        assert.strictEqual((yield* inside.listVersions(threadId)).length, 1)
      }))

    it.effect("interrupts of a nested graph and of its node each get their own answer", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const inner = innerOf(here, Effect.andThen(StateGraph.interrupt(Ask, "2?"), StateGraph.interrupt(Ask, "3?")))
        const node = StateGraph.subgraph(inner, { input: () => [], output: join })
        const outer = chain({ ...here, name: "outer" }, {
          node: (state, context) =>
            Effect.gen(function*() {
              const first = yield* StateGraph.interrupt(Ask, "1?")
              yield* node(state, context)
              return `${first} ${yield* StateGraph.interrupt(Ask, "4?")}`
            })
        })
        const requests: Array<unknown> = []
        let result = yield* StateGraph.run(outer, { threadId, input: [] })
        while (result._tag === "Interrupted") {
          requests.push(result.interrupts[0]!.request)
          result = yield* reply(outer, { threadId, response: `to ${String(result.interrupts[0]!.request)}` })
        }
        assert.deepStrictEqual(requests, ["1?", "2?", "3?", "4?"])
        assert.deepStrictEqual(result.state, ["to 1? to 4?"])
      }))

    it.effect("nested graphs of parallel nodes ask and continue independently", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const asks = StateGraph.subgraph(innerOf(here, StateGraph.interrupt(Ask, "inside?")), {
          input: () => [],
          output: join
        })
        const outer = fanOut({ ...here, name: "outer" }, { one: asks, two: asks })
        const options = { threadId, concurrency: 1 } as const
        const nodes: Array<string> = []
        let last = 0
        let result = yield* StateGraph.run(outer, { ...options, input: [] })
        while (result._tag === "Interrupted") {
          nodes.push(result.interrupts[0]!.node)
          last = result.checkpoint.version
          result = yield* elsewhere(reply(outer, { ...options, response: "yes" }))
        }
        assert.deepStrictEqual(nodes, ["one", "two"])
        assert.deepStrictEqual(result.state, ["go", "(x y z)", "(x y z)"])
        // The branch returns to the questions of both graphs.
        const branch = yield* reply(outer, { ...options, version: last, response: "otherwise" })
        assert.strictEqual(branch._tag === "Interrupted" ? branch.interrupts[0]!.node : branch._tag, "two")
        const ended = yield* reply(outer, { ...options, response: "yes" })
        assert.deepStrictEqual(ended.state, ["go", "(x y z)", "(x y z)"])
        assert.strictEqual(ran.filter((node) => node === "x").length, 2)
      }))

    it.effect("a nested graph that does not fit its thread fails with GraphMismatch, and does not begin again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, ran, threadId } = here
        const smaller = chain({ name: "inner" }, { x: here.says("x") })
        const other = chain({ name: "other" }, { x: here.says("x") })
        yield* fails(StateGraph.run(outerOf(here, innerOf(here, failing("y"))), { threadId, input: [] }), "Boom")
        ran.length = 0
        for (const [inner, reason] of [[smaller, "node \"y\""], [other, "graph \"inner\""]] as const) {
          const outer = chain({ ...here, name: "outer" }, {
            inner: StateGraph.subgraph(inner, { input: () => [], output: join })
          })
          assert.include((yield* fails(StateGraph.resume(outer, { threadId }), "GraphMismatch")).message, reason)
        }
        yield* Effect.flatMap(within(`${namespace}/inner`), (view) => view.append({ threadId, state: ["by hand"] }))
        const error = yield* fails(
          StateGraph.resume(outerOf(here, innerOf(here, Effect.void)), { threadId }),
          "GraphMismatch"
        )
        assert.include(error.message, "no graph saved it")
        assert.deepStrictEqual(ran, [])
      }))

    it.effect("a nested graph and a graph whose name has the node after a slash do not share threads", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const name = `billing ${here.namespace}`
        const inner = StateGraph.subgraph(innerOf(here, failing("y")), { input: () => [], output: join })
        const outer = chain({ name }, { refund: inner })
        const other = chain({ name: `${name}/refund` }, { other: says("other") })
        assert.deepStrictEqual((yield* StateGraph.run(other, { threadId, input: [] })).state, ["other"])
        yield* fails(StateGraph.run(outer, { threadId, input: [] }), "Boom")
        assert.deepStrictEqual((yield* StateGraph.run(other, { threadId, input: [] })).state, ["other"])
        assert.deepStrictEqual((yield* StateGraph.resume(outer, { threadId })).state, ["(x y z)"])
        assert.deepStrictEqual(ran, ["other", "x", "y", "other", "y", "z"])
      }))

    it.effect("a nested graph and a graph that has its namespace fail with GraphMismatch on a thread of the other", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, ran, threadId } = here
        const inner = chain({ name: "inner" }, { x: here.says("x") })
        const outer = chain({ ...here, name: "outer" }, {
          refund: StateGraph.subgraph(inner, { input: () => [], output: join })
        })
        const same = chain({ name: "inner", namespace: `${namespace}/refund` }, { x: here.says("x") })
        yield* StateGraph.run(outer, { threadId, input: [] })
        yield* StateGraph.run(same, { threadId: `${threadId} 2`, input: [] })
        ran.length = 0
        const top: ReadonlyArray<
          Effect.Effect<unknown, StateGraph.RunError | StateGraph.ResumeError, Checkpointer.Checkpointer>
        > = [
          StateGraph.run(same, { threadId, input: [] }),
          StateGraph.resume(same, { threadId }),
          StateGraph.resume(same, { threadId, next: ["x"] })
        ]
        for (const each of top) {
          const error = yield* writesNothing(same, threadId)(fails(each, "GraphMismatch"))
          assert.include(error.message, "in a node of another graph")
        }
        const nested = StateGraph.run(outer, { threadId: `${threadId} 2`, input: [] })
        const error = yield* writesNothing(same, `${threadId} 2`)(fails(nested, "GraphMismatch"))
        assert.include(error.message, "another namespace")
        assert.deepStrictEqual(ran, [])
      }))

    it.effect("a nested graph that does not fit a branch of the outer one fails before anything is written", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const asks = chain({ name: "inner" }, { x: () => StateGraph.interrupt(Ask, "inside?") })
        const other = chain({ name: "inner" }, { z: () => StateGraph.interrupt(Ask, "inside?") })
        const outerOfGraph = (inner: typeof asks | typeof other) =>
          chain({ ...here, name: "outer" }, {
            inner: StateGraph.subgraph(inner as typeof asks, { input: () => [], output: join })
          })
        const { checkpoint: { version } } = yield* StateGraph.run(outerOfGraph(asks), { threadId, input: [] })
        yield* reply(outerOfGraph(asks), { threadId, response: "yes" })
        const inside = yield* within(`${namespace}/inner`)
        const before = yield* inside.listVersions(threadId)
        const branch = reply(outerOfGraph(other), { threadId, version, response: "no" })
        assert.include((yield* fails(branch, "GraphMismatch")).message, "node \"x\"")
        assert.deepStrictEqual(yield* inside.listVersions(threadId), before)
      }))

    it.effect("a fork of a fork continues a nested graph at the question that was answered last", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const inner = chain({ name: "inner", namespace: `${here.namespace} inner` }, {
          first: () => StateGraph.interrupt(Ask, "first?"),
          pay: here.says("pay"),
          second: () => StateGraph.interrupt(Ask, "second?"),
          third: () => StateGraph.interrupt(Ask, "third?")
        })
        const outer = chain(here, {
          inner: StateGraph.subgraph(inner, {
            input: (): ReadonlyArray<string> => [],
            output: (words: ReadonlyArray<string>) => words.join(" ")
          })
        })
        const view = yield* StateGraph.view(outer)
        yield* StateGraph.run(outer, { threadId, input: [] })
        let from = threadId
        for (const [i, response] of ["one", "two", "three"].entries()) {
          const to = `${threadId} ${i}`
          yield* view.fork(from, Option.getOrThrow(yield* view.get(from)), { threadId: to })
          yield* reply(outer, { threadId: to, response })
          from = to
        }
        const ended = Option.getOrThrow(yield* view.get(from))
        assert.deepStrictEqual(ended.state, ["one pay two three"])
        assert.deepStrictEqual(ran, ["pay"])
      }))

    it.effect("a nested graph that its node retries continues at the step that failed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const inner = StateGraph.subgraph(innerOf(here, failing("y", 2)), { input: () => [], output: join })
        const outer = chain({ ...here, name: "outer" }, {
          node: (state, context) => Effect.retry(inner(state, context), { times: 2 })
        })
        assert.deepStrictEqual((yield* StateGraph.run(outer, { threadId, input: [] })).state, ["(x y z)"])
        assert.deepStrictEqual(ran, ["x", "y", "y", "y", "z"])
      }))

    it.effect("a nested graph whose strategy stops pauses instead, and continues with all of its branches", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const nested = StateGraph.subgraph(forking(here), {
          input: () => [],
          output: join,
          strategy: "StopAtNonLinear"
        })
        const outer = chain({ ...here, name: "outer" }, { node: nested, end: here.says("end", failing("end")) })
        const paused = yield* StateGraph.run(outer, { threadId, input: [] })
        const again = yield* writesNothing(outer, threadId)(elsewhere(StateGraph.resume(outer, { threadId })))
        for (const result of [paused, again]) {
          assert.strictEqual(result._tag, "Interrupted")
          if (result._tag !== "Interrupted") return
          const { kind, node, request } = result.interrupts[0]!
          assert.deepStrictEqual([kind, node, request], ["Pause", "node", { pause: "after", node: "x" }])
        }
        assert.deepStrictEqual(ran, ["x"])
        yield* fails(elsewhere(reply(outer, { threadId, response: "continue" })), "Boom")
        const ended = yield* elsewhere(StateGraph.resume(outer, { threadId }))
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["(x y z)", "end"]])
        assert.deepStrictEqual(ran, ["x", "y", "z", "end", "end"])
      }))

    it.effect("a nested graph pauses where it says, and not where the outer call says", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const inner = forking(here, { interruptBefore: ["z"], interruptAfter: ["z"] })
        const outer = chain({ ...here, name: "outer" }, {
          x: StateGraph.subgraph(inner, { input: () => [], output: join })
        })
        const requests: Array<unknown> = []
        let result = yield* StateGraph.run(outer, { threadId, input: [], interruptBefore: ["x"] })
        while (result._tag === "Interrupted") {
          requests.push(result.interrupts[0]!.request)
          result = yield* elsewhere(reply(outer, { threadId, response: "continue" }))
        }
        assert.deepStrictEqual(requests, [
          { pause: "before", node: "x" },
          { pause: "before", node: "z" },
          { pause: "after", node: "z" }
        ])
        assert.deepStrictEqual(ran, ["x", "y", "z"])
        assert.deepStrictEqual(result.state, ["(x y z)"])
      }))

    it.effect("a nested graph counts its own steps, across resumes, and a higher maxSteps of resume raises its limit", () =>
      Effect.gen(function*() {
        for (const ofOuter of [undefined, 9]) {
          const here = yield* setting
          const { namespace, ran, threadId } = here
          const limited = StateGraph.subgraph(innerOf(here, failing("y")), {
            input: () => [],
            output: join,
            maxSteps: 2
          })
          const outer = chain({ ...here, name: "outer" }, { node: limited, again: limited }, { maxSteps: ofOuter })
          yield* fails(StateGraph.run(outer, { threadId, input: [] }), "Boom")
          for (const maxSteps of [undefined, 2]) {
            const error = yield* fails(elsewhere(StateGraph.resume(outer, { threadId, maxSteps })), "StepLimitExceeded")
            assert.deepStrictEqual([error.namespace, error.maxSteps, error.nextNodes], [`${namespace}/node`, 2, ["z"]])
          }
          // It does not depend on the limit of the outer graph, and holds for later visits, after a crash too.
          let puts = 0
          const dying = withFaults({
            put: ({ namespace: at }) => at === namespace && ++puts > 1 ? storeError : undefined
          })
          yield* fails(dying(StateGraph.resume(outer, { threadId, maxSteps: 9 })), "StoreError")
          assert.deepStrictEqual(ran, ["x", "y", "y", "z", "x", "y", "z"])
          const ended = yield* elsewhere(StateGraph.resume(outer, { threadId }))
          assert.deepStrictEqual(ended.state, ["(x y z)", "(x y z)"])
          assert.deepStrictEqual(ran, ["x", "y", "y", "z", "x", "y", "z"])
        }
      }))

    it.effect("a nested graph can have its own step limit, and a second one in the same node is refused", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const inner = innerOf(here, Effect.void)
        const limited = StateGraph.subgraph(inner, { input: () => [], output: join, maxSteps: 2 })
        const plain = StateGraph.subgraph(inner, { input: () => [], output: join })
        const graphOf = (node: typeof plain) => chain({ ...here, name: "outer" }, { node })
        const error = yield* fails(StateGraph.run(graphOf(limited), { threadId, input: [] }), "StepLimitExceeded")
        assert.deepStrictEqual([error.namespace, error.nextNodes], [`${namespace}/node`, ["z"]])
        const raised = yield* StateGraph.resume(graphOf(limited), { threadId, maxSteps: 3 })
        assert.deepStrictEqual(raised.state, ["(x y z)"])
        const twice = graphOf((state, context) => Effect.andThen(plain(state, context), plain(state, context)))
        yield* refuses(StateGraph.run(twice, { threadId: `${threadId} 2`, input: [] }), "nodes")
      }))
  })
}
