import { type Checkpoint, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { patient } from "../laws/suite.ts"
import { chain, fanOut, takingTurns } from "./graphs.ts"
import {
  answersOf,
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
  words,
  writesNothing
} from "./suite.ts"

type Settings = StateGraph.Settings<"go" | "a" | "b">

/** How the settings of a graph, of a run and of a call decide together. */
export const configuring: Group = (it) => {
  describe("settings", patient, () => {
    /** Three nodes, of which the first asks and leads to the others. */
    const graphOf = ({ namespace, says }: Effect.Success<typeof setting>, settings: Settings = {}) =>
      StateGraph.make({
        ...words,
        ...settings,
        name: "law",
        namespace,
        interrupts: [Ask],
        start: "go",
        nodes: { go: says("go", StateGraph.interrupt(Ask, "well?")), a: says("a"), b: says("b") },
        edges: { go: ["a", "b"], a: [], b: [] }
      })

    const settingsOf = (checkpoint: Checkpoint.CheckpointInfo) =>
      Option.getOrThrow(StateGraph.metadata(checkpoint)).settings

    it.effect("the call decides before the call that began the run, which decides before the graph and the default", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [Settings, Settings, Settings, ReadonlyArray<string>]> = [
          [{}, {}, {}, ["a", "b"]],
          [{ strategy: "PickFirst" }, {}, {}, ["a"]],
          [{ strategy: "PickFirst" }, { strategy: "PickLast" }, {}, ["b"]],
          [{ strategy: "PickFirst" }, { strategy: "PickLast" }, { strategy: "Parallel" }, ["a", "b"]],
          [{ strategy: "PickFirst" }, { strategy: undefined }, { strategy: undefined }, ["a"]],
          [{}, { strategy: "PickLast" }, { concurrency: 1 }, ["b"]],
          [{ strategy: "PickLast" }, {}, { strategy: "PickFirst" }, ["a"]]
        ]
        for (const way of ["run", "stream"] as const) {
          for (const [ofGraph, ofRun, ofResume, ran] of cases) {
            const here = yield* setting
            const { threadId } = here
            const graph = graphOf(here, ofGraph)
            const begin = { ...ofRun, threadId, input: [] }
            const answered = Effect.map(
              answersOf(graph, threadId, "yes"),
              (answers) => ({ ...ofResume, threadId, answers })
            )
            if (way === "run") {
              yield* StateGraph.run(graph, begin)
              yield* elsewhere(StateGraph.resume(graph, yield* answered))
            } else {
              yield* Stream.runDrain(StateGraph.stream(graph, begin))
              yield* elsewhere(Stream.runDrain(StateGraph.stream(graph, yield* answered)))
            }
            assert.deepStrictEqual(here.ran, ["go", "go", ...ran])
          }
        }
      }))

    it.effect("a run that is interrupted and then answered by another process keeps the strategy it was begun with", () =>
      Effect.gen(function*() {
        for (const strategy of ["PickFirst", "PickLast", "Parallel"] as const) {
          const { namespace, ran, says, threadId } = yield* setting
          const isIn = yield* Deferred.make<void>()
          let hangs = true
          const graph = StateGraph.make({
            ...words,
            name: "law",
            namespace,
            strategy: strategy === "Parallel" ? "StopAtNonLinear" : "Parallel",
            interrupts: [Ask],
            start: "slow",
            nodes: {
              slow: says(
                "slow",
                Effect.suspend(() =>
                  hangs ? Effect.andThen(Deferred.succeed(isIn, undefined), Effect.never) : Effect.void
                )
              ),
              ask: says("ask", StateGraph.interrupt(Ask, "well?")),
              a: says("a"),
              b: says("b")
            },
            edges: { slow: ["ask"], ask: ["a", "b"], a: [], b: [] }
          })
          const fiber = yield* Effect.forkChild(StateGraph.run(graph, { threadId, input: [], strategy }))
          yield* Deferred.await(isIn)
          yield* Fiber.interrupt(fiber)
          hangs = false
          yield* elsewhere(StateGraph.resume(graph, { threadId }))
          const ended = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
          const picked = { PickFirst: ["a"], PickLast: ["b"], Parallel: ["a", "b"] }[strategy]
          assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["slow", "ask", ...picked]])
          assert.deepStrictEqual(ran, ["slow", "slow", "ask", "ask", ...picked])
        }
      }))

    it.effect("the settings of a resume hold for the rest of the run, and the next run has those of its graph again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = chain(here, { a: says("a"), b: says("b"), c: says("c") }, { interruptBefore: ["b"] })
        const paused = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.strictEqual(paused._tag === "Interrupted" ? paused.interrupts[0]!.node : paused._tag, "b")
        const again = yield* reply(graph, { threadId, response: "continue", interruptBefore: ["c"] })
        assert.strictEqual(again._tag === "Interrupted" ? again.interrupts[0]!.node : again._tag, "c")
        // A branch begins with the settings of its version.
        const branch = yield* elsewhere(StateGraph.resume(graph, { threadId, version: again.checkpoint.version }))
        assert.deepStrictEqual(settingsOf(branch.checkpoint), { interruptBefore: ["c"] })
        yield* elsewhere(StateGraph.resume(graph, { threadId, next: ["b"] }))
        const ended = yield* elsewhere(reply(graph, { threadId, response: "continue" }))
        assert.strictEqual(ended._tag, "Completed")
        const next = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.strictEqual(next._tag === "Interrupted" ? next.interrupts[0]!.node : next._tag, "b")
        assert.deepStrictEqual(ran, ["a", "b", "b", "c", "a"])
      }))

    it.effect("the versions of a run store what its calls set otherwise than the graph, and nothing if nothing differs", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [Settings, Settings, StateGraph.Metadata["settings"]]> = [
          [{}, {}, undefined],
          [{}, { strategy: "Parallel", concurrency: "unbounded", durability: "step", interruptBefore: [] }, undefined],
          [{ concurrency: 2, interruptAfter: ["b"] }, { concurrency: 2, interruptAfter: ["b"] }, undefined],
          [{ concurrency: 2 }, { concurrency: "unbounded" }, { concurrency: "unbounded" }],
          [{ interruptAfter: ["b"] }, { interruptAfter: [], maxSteps: 7 }, { interruptAfter: [], maxSteps: 7 }],
          [{ strategy: "PickFirst" }, { strategy: "PickLast", durability: "exit" }, {
            strategy: "PickLast",
            durability: "exit"
          }]
        ]
        for (const [ofGraph, ofRun, stored] of cases) {
          const here = yield* setting
          const { threadId } = here
          const graph = graphOf(here, ofGraph)
          yield* StateGraph.run(graph, { ...ofRun, threadId, input: [] })
          yield* elsewhere(reply(graph, { threadId, response: "yes" }))
          const versions = yield* Effect.flatMap(StateGraph.view(graph), (view) => view.listVersions(threadId))
          assert.isAtLeast(versions.length, 2)
          for (const version of versions) assert.deepStrictEqual(settingsOf(version), stored)
        }
      }))

    it.effect("a graph pauses where it says, in every run, unless a call says otherwise", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = takingTurns(here, 4, { interruptBefore: ["b"] })
        const nodes: Array<unknown> = []
        let result = yield* StateGraph.run(graph, { threadId, input: [] })
        while (result._tag === "Interrupted") {
          nodes.push([result.interrupts[0]!.kind, result.interrupts[0]!.node])
          result = yield* elsewhere(reply(graph, { threadId, response: "continue" }))
        }
        assert.deepStrictEqual(nodes, [["Pause", "b"], ["Pause", "b"]])
        assert.deepStrictEqual(ran, ["a", "b", "a", "b"])
        const other = yield* StateGraph.run(graph, { threadId: `${threadId} 2`, input: [], interruptBefore: [] })
        assert.strictEqual(other._tag, "Completed")
      }))

    it.effect("a graph saves as rarely, and runs as many nodes at the same time, as it says", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        let now = 0
        let most = 0
        const node = () =>
          Effect.gen(function*() {
            most = Math.max(most, ++now)
            yield* Effect.yieldNow
            now--
          })
        const graph = fanOut(here, { a: node, b: node, c: node }, { durability: "exit", concurrency: 2 })
        assert.deepStrictEqual(yield* counting(StateGraph.run(graph, { threadId, input: [] })), { puts: 1, writes: 0 })
        assert.strictEqual(most, 2)
        const unbounded = StateGraph.run(graph, { threadId, input: [], durability: "step", concurrency: "unbounded" })
        assert.deepStrictEqual(yield* counting(unbounded), { puts: 3, writes: 2 })
        assert.strictEqual(most, 3)
      }))

    it.effect("a stored pause at a node that the graph no longer has does not keep the run from continuing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const before = chain(here, { a: says("a", failing("a")), gone: says("gone") })
        const now = chain(here, { a: says("a"), b: says("b") })
        yield* fails(StateGraph.run(before, { threadId, input: [], interruptBefore: ["gone"] }), "Boom")
        const ended = yield* elsewhere(StateGraph.resume(now, { threadId }))
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["a", "b"]])
      }))

    it.effect("invalid settings of a call or of a graph are refused before anything is written", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        for (
          const [field, settings] of [
            ["maxSteps", { maxSteps: 0 }],
            ["concurrency", { concurrency: 0.5 }],
            ["concurrency", { concurrency: "all" as "unbounded" }],
            ["strategy", { strategy: "Any" as "Parallel" }],
            ["durability", { durability: "never" as "exit" }],
            ["interruptBefore", { interruptBefore: ["nowhere" as "go"] }],
            ["interruptAfter", { interruptAfter: ["nowhere" as "go"] }]
          ] as const
        ) {
          const graph = chain(here, { go: says("go") })
          yield* refuses(StateGraph.run(graph, { threadId, input: [], ...settings }), field)
          yield* refuses(StateGraph.resume(graph, { threadId, ...settings }), field)
          const wrong = chain(here, { go: says("go") }, settings)
          yield* refuses(StateGraph.run(wrong, { threadId, input: [] }), field)
          yield* refuses(StateGraph.resume(wrong, { threadId }), field)
        }
        yield* fails(StateGraph.resume(chain(here, { go: says("go") }), { threadId }), "CheckpointNotFound")
        assert.deepStrictEqual(ran, [])
      }))
  })

  describe("maxSteps", patient, () => {
    it.effect("maxSteps fails the run after its steps are saved, and resume with a higher one continues it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        for (const durability of ["step", "exit"] as const) {
          const graph = takingTurns(here, 6, { durability, maxSteps: 3 })
          const id = `${threadId} ${durability}`
          const error = yield* fails(StateGraph.run(graph, { threadId: id, input: [] }), "StepLimitExceeded")
          assert.deepStrictEqual([error.maxSteps, error.nextNodes], [3, ["b"]])
          assert.include(error.message, "pass a higher maxSteps to resume")
          assert.deepStrictEqual((yield* historyOf(graph, id)).at(-1), {
            version: error.version,
            state: ["a", "b", "a"],
            next: ["b"],
            cause: "step",
            step: 3,
            completedNodes: ["a"],
            waits: false
          })
          for (const maxSteps of [undefined, 2, 3]) {
            const again = fails(elsewhere(StateGraph.resume(graph, { threadId: id, maxSteps })), "StepLimitExceeded")
            assert.deepStrictEqual((yield* writesNothing(graph, id)(again)).maxSteps, maxSteps ?? 3)
          }
          // A run may complete with its last step.
          const ended = yield* elsewhere(StateGraph.resume(graph, { threadId: id, maxSteps: 6 }))
          assert.strictEqual(ended._tag, "Completed")
          assert.deepStrictEqual(ran.splice(0), ["a", "b", "a", "b", "a", "b"])
        }
      }))

    it.effect("maxSteps counts the steps of one run, across failures, answers and branches", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const graph = chain(here, {
          a: says("a"),
          b: says("b", failing("b")),
          ask: says("ask", StateGraph.interrupt(Ask, "well?")),
          c: says("c")
        }, { maxSteps: 3 })
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        yield* StateGraph.resume(graph, { threadId })
        yield* fails(reply(graph, { threadId, response: "yes" }), "StepLimitExceeded")
        const counts = yield* Effect.map(
          Effect.flatMap(StateGraph.view(graph), (view) => view.listVersions(threadId)),
          (versions) => versions.toReversed().map((version) => Option.getOrThrow(StateGraph.metadata(version)).runSteps)
        )
        assert.deepStrictEqual(counts, [0, 1, 2, 2, 3])
        const branch = StateGraph.resume(graph, { threadId, version: 3 })
        assert.strictEqual((yield* branch)._tag, "Interrupted")
        yield* fails(reply(graph, { threadId, response: "yes" }), "StepLimitExceeded")
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId, maxSteps: 4 }))._tag, "Completed")
        // The next run counts from 0, although its thread has completed more steps.
        yield* StateGraph.run(graph, { threadId, input: [] })
        const limited = yield* fails(reply(graph, { threadId, response: "yes" }), "StepLimitExceeded")
        assert.deepStrictEqual(limited.nextNodes, ["c"])
      }))

    it.effect("a higher maxSteps of resume still holds after the next answer", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const ask = (question: string) => says(question, StateGraph.interrupt(Ask, question))
        const graph = chain(here, { a: says("a"), b: says("b"), ask: ask("ask"), c: says("c"), d: says("d") }, {
          maxSteps: 1
        })
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "StepLimitExceeded")
        yield* elsewhere(StateGraph.resume(graph, { threadId, maxSteps: 5 }))
        const ended = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["a", "b", "ask", "c", "d"]])
      }))
  })

  describe("a stopped run", patient, () => {
    /** Stops at two branches. They lead to another choice, if the branch `a` runs. */
    const forks = <E = never, R = never>(
      { namespace, says }: Effect.Success<typeof setting>,
      settings: StateGraph.Settings<never> = { strategy: "StopAtNonLinear" },
      b: Effect.Effect<unknown, E, R> = Effect.void as Effect.Effect<void, E, R>
    ) =>
      StateGraph.make({
        ...words,
        ...settings,
        name: "law",
        namespace,
        interrupts: [Ask],
        start: "go",
        nodes: { go: says("go"), a: says("a"), b: says("b", b), x: says("x"), y: says("y") },
        edges: { go: ["a", "b"], a: ["x", "y"], b: [], x: [], y: [] }
      })

    it.effect("a stopped run is found as unfinished, is marked in its metadata, and refuses another run", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = forks(here)
        const view = yield* StateGraph.view(graph)
        const stopped = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual(stopped._tag === "Stopped" ? stopped.branches : stopped._tag, ["a", "b"])
        yield* fails(
          StateGraph.run(forks(here, {}, failing("b")), { threadId: `${threadId} failed`, input: [] }),
          "Boom"
        )
        yield* StateGraph.run(forks(here, {}), { threadId: `${threadId} completed`, input: [] })
        const found = yield* Stream.runCollect(view.threads({ unfinished: true, interrupted: false }))
        const stoppedBy = Object.fromEntries(
          found.map((
            { head }
          ) => [head.threadId, [head.nextNodes, Option.getOrThrow(StateGraph.metadata(head)).stopped]])
        )
        assert.deepStrictEqual(stoppedBy, {
          [threadId]: [["a", "b"], true],
          [`${threadId} failed`]: [["a", "b"], undefined]
        })
        const refused = yield* writesNothing(graph, threadId)(
          fails(StateGraph.run(graph, { threadId, input: ["again"] }), "ThreadUnfinished")
        )
        assert.deepStrictEqual([refused.stopped, refused.nextNodes, refused.interruptIds], [true, ["a", "b"], []])
        assert.include(refused.message, "stopped at the branches \"a\", \"b\"")
        const failed = yield* fails(
          StateGraph.run(graph, { threadId: `${threadId} failed`, input: ["again"] }),
          "ThreadUnfinished"
        )
        assert.isFalse(failed.stopped)
        yield* StateGraph.resume(graph, { threadId, next: [] })
        assert.strictEqual((yield* StateGraph.run(graph, { threadId, input: [] }))._tag, "Stopped")
      }))

    it.effect("resume runs the branches of a stopped run as one step, and continues with the strategy of its graph", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const stops = forks(here)
        yield* StateGraph.run(stops, { threadId, input: [] })
        const again = yield* elsewhere(StateGraph.resume(stops, { threadId }))
        assert.deepStrictEqual(again._tag === "Stopped" ? again.branches : again._tag, ["x", "y"])
        assert.deepStrictEqual(ran.splice(0), ["go", "a", "b"])
        const ended = yield* elsewhere(StateGraph.resume(stops, { threadId, strategy: "PickLast" }))
        assert.deepStrictEqual(ended.state, ["go", "a", "b", "x", "y"])
        assert.deepStrictEqual(
          (yield* historyOf(stops, threadId)).map(({ cause, completedNodes, step }) => [cause, step, completedNodes]),
          [
            ["input", 0, []],
            ["step", 1, ["go"]],
            ["edit", 1, []],
            ["step", 2, ["a", "b"]],
            ["edit", 2, []],
            ["step", 3, ["x", "y"]]
          ]
        )
        ran.length = 0
        // What stopped the run is the strategy of its first call, which does not hold any longer.
        const id = `${threadId} 2`
        const picks = forks(here, { strategy: "PickLast" })
        yield* StateGraph.run(picks, { threadId: id, input: [], strategy: "StopAtNonLinear" })
        const picked = yield* elsewhere(StateGraph.resume(picks, { threadId: id, update: "edited" }))
        assert.deepStrictEqual(picked.state, ["go", "edited", "a", "b", "y"])
      }))

    it.effect("a stopped run that resume continues is no longer stopped when it fails, and keeps the strategy of resume", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = forks(here, { strategy: "StopAtNonLinear" }, failing("b"))
        yield* StateGraph.run(graph, { threadId, input: [] })
        yield* fails(StateGraph.resume(graph, { threadId, strategy: "PickFirst", concurrency: 1 }), "Boom")
        const view = yield* StateGraph.view(graph)
        const head = Option.getOrThrow(yield* view.get(threadId))
        assert.isUndefined(Option.getOrThrow(StateGraph.metadata(head)).stopped)
        const ended = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["go", "a", "b", "x"]])
        assert.deepStrictEqual(ran, ["go", "a", "b", "b", "x"])
      }))

    it.effect("a copy of a stopped run is stopped too, and an edit of its state keeps it stopped", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = forks(here)
        const view = yield* StateGraph.view(graph)
        const stopped = yield* StateGraph.run(graph, { threadId, input: [] })
        const fork = yield* view.fork(threadId, stopped.checkpoint, { threadId: `${threadId} fork` })
        yield* StateGraph.resume(graph, { threadId, next: [] })
        const restored = yield* view.restore(threadId, { version: stopped.checkpoint.version })
        const edited = yield* view.update(threadId, (state) => [...state, "edited"])
        for (const copy of [fork, restored, edited]) {
          assert.isTrue(Option.getOrThrow(StateGraph.metadata(copy)).stopped)
        }
        for (const id of [threadId, fork.threadId]) {
          const ended = yield* elsewhere(StateGraph.resume(graph, { threadId: id, strategy: "Parallel" }))
          assert.strictEqual(ended._tag, "Completed")
        }
        const { version } = stopped.checkpoint
        const branch = yield* elsewhere(StateGraph.resume(graph, { threadId, version, strategy: "PickLast" }))
        assert.deepStrictEqual([branch._tag, branch.state], ["Completed", ["go", "a", "b", "y"]])
      }))

    it.effect("the step limit of a run counts its steps before and after it stopped", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = forks(here, { strategy: "StopAtNonLinear", maxSteps: 2 })
        yield* StateGraph.run(graph, { threadId, input: [] })
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Stopped")
        const error = yield* fails(StateGraph.resume(graph, { threadId }), "StepLimitExceeded")
        assert.deepStrictEqual([error.maxSteps, error.nextNodes], [2, ["x", "y"]])
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId, maxSteps: 3 }))._tag, "Completed")
        assert.deepStrictEqual(ran, ["go", "a", "b", "x", "y"])
      }))
  })
}
