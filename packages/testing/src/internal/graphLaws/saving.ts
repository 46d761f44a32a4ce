import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { patient } from "../laws/suite.ts"
import { chain, fanOut } from "./graphs.ts"
import {
  Ask,
  Boom,
  counting,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  reply,
  setting,
  storeError,
  withFaults,
  words
} from "./suite.ts"

/** What a run saves, and when. */
export const saving: Group = (it) => {
  describe("checkpoints", patient, () => {
    it.effect("each step is a checkpoint with its state, next nodes, number, completed nodes and interrupt", () =>
      Effect.gen(function*() {
        const { namespace, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "a",
          nodes: { a: says("a"), b: says("b"), ask: () => StateGraph.interrupt(Ask, "well?") },
          edges: { a: ["b", "ask"], b: [], ask: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: ["in"] })
        yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        const both = ["b", "ask"]
        assert.deepStrictEqual(yield* historyOf(graph, threadId), [
          { version: 1, state: ["in"], next: ["a"], cause: "input", step: 0, completedNodes: [], waits: false },
          { version: 2, state: ["in", "a"], next: both, cause: "step", step: 1, completedNodes: ["a"], waits: false },
          { version: 3, state: ["in", "a"], next: both, cause: "interrupt", step: 1, completedNodes: [], waits: true },
          {
            version: 4,
            state: ["in", "a", "b", "yes"],
            next: [],
            cause: "step",
            step: 2,
            completedNodes: both,
            waits: false
          }
        ])
      }))

    it.effect("StateGraph.metadata reads the versions that a graph saved, and is None for others", () =>
      Effect.gen(function*() {
        const { namespace, says, threadId } = yield* setting
        let innerTask = ""
        const inner = chain({ name: "inner" }, { x: says("x") })
        const nested = StateGraph.subgraph(inner, { input: () => [], output: (state) => state.join() })
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "inner",
          nodes: {
            inner: (state, context) => {
              innerTask = context.idempotencyKey
              return nested(state, context)
            },
            ask: () => StateGraph.interrupt(Ask, "well?"),
            b: says("b"),
            c: says("c")
          },
          edges: { inner: ["ask"], ask: ["b", "c"], b: [], c: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: [], strategy: "StopAtNonLinear" })
        yield* reply(graph, { threadId, response: "yes" })
        const view = yield* StateGraph.view(graph)
        const versions = (yield* view.listVersions(threadId)).toReversed()
        const all = versions.map((version) => Option.getOrThrow(StateGraph.metadata(version)))
        const [first, second, third] = new Set(all.map(({ stepId }) => stepId))
        const run = { graph: "law", completedNodes: [], settings: { strategy: "StopAtNonLinear" } } as const
        const expected: ReadonlyArray<StateGraph.Metadata> = [
          { ...run, step: 0, runSteps: 0, cause: "input", stepId: first! },
          { ...run, step: 1, runSteps: 1, cause: "step", completedNodes: ["inner"], stepId: second! },
          { ...run, step: 1, runSteps: 1, cause: "interrupt", stepId: second! },
          { ...run, step: 2, runSteps: 2, cause: "step", completedNodes: ["ask"], stepId: third!, stopped: true }
        ]
        assert.deepStrictEqual(all, expected)
        assert.strictEqual(innerTask, `${first}/inner`)
        assert.deepStrictEqual(versions.map(({ pendingInterrupts }) => pendingInterrupts), [[], [], [{
          interruptId: `${second}/ask/0`,
          request: "well?",
          metadata: { graph: "law", kind: "Ask", node: "ask" }
        }], []])

        const within = yield* Checkpointer.Checkpointer.use((checkpointer) =>
          checkpointer.view({ state: words.state, namespace: `${namespace}/inner` })
        )
        for (const version of yield* within.listVersions(threadId)) {
          const { graph, outerTask } = Option.getOrThrow(StateGraph.metadata(version))
          assert.deepStrictEqual([graph, outerTask], ["inner", innerTask])
        }

        for (const metadata of [{}, { graph: "law" }, { graph: { graph: "law" } }]) {
          const other = yield* view.append({ threadId: `${threadId} other`, state: [], metadata })
          assert.isTrue(Option.isNone(StateGraph.metadata(other)))
        }
      }))

    it.effect("a step costs one put, and a parallel step also one pending write for each node except the last", () =>
      Effect.gen(function*() {
        const { namespace, says, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "a",
          nodes: { a: says("a"), b: says("b"), c: says("c"), d: says("d"), e: says("e") },
          edges: { a: ["b"], b: ["c", "d", "e"], c: [], d: [], e: [] }
        })
        const step = yield* counting(StateGraph.run(graph, { threadId, input: [] }))
        assert.deepStrictEqual(step, { puts: 4, writes: 2 })
        const exit = yield* counting(
          StateGraph.run(graph, { threadId, input: [], durability: "exit" })
        )
        assert.deepStrictEqual(exit, { puts: 1, writes: 0 })
      }))

    it.effect("the metadata of the caller is kept from step to step, except for the key graph", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const graph = chain(here, { a: says("a"), b: says("b", failing("b")) })
        const metadata = { tenant: "t", graph: "mine" }
        yield* fails(StateGraph.run(graph, { threadId, input: [], metadata }), "Boom")
        const resumed = yield* StateGraph.resume(graph, { threadId })
        assert.strictEqual(resumed.checkpoint.metadata["tenant"], "t")
        const again = yield* StateGraph.run(graph, { threadId, input: [], metadata: { other: 1 } })
        assert.deepStrictEqual(Object.keys(again.checkpoint.metadata).toSorted(), ["graph", "other"])
        assert.strictEqual(Option.getOrThrow(StateGraph.metadata(again.checkpoint)).step, 4)
      }))

    it.effect("a save that fails ends the run, and resume continues from the save before", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says } = here
        const graph = chain(here, { a: says("a"), b: says("b"), c: says("c") })
        for (const broken of [1, 2, 3, 4]) {
          const threadId = `law ${broken}`
          let puts = 0
          const run = withFaults({ put: () => ++puts >= broken ? storeError : undefined })(
            StateGraph.run(graph, { threadId, input: [] })
          )
          yield* fails(run, "StoreError")
          // The save is tried once, and no node runs after it.
          assert.strictEqual(puts, broken)
          assert.deepStrictEqual(ran.splice(0), ["a", "b", "c"].slice(0, broken - 1))
          if (broken === 1) {
            yield* fails(StateGraph.resume(graph, { threadId }), "CheckpointNotFound")
          } else {
            const result = yield* StateGraph.resume(graph, { threadId })
            assert.deepStrictEqual(result.state, ["a", "b", "c"])
            assert.deepStrictEqual(ran.splice(0), ["a", "b", "c"].slice(broken - 2))
          }
        }
      }))

    it.effect("one of two concurrent runs of a thread fails with VersionConflict, and the other loses nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const isIn = yield* Deferred.make<void>()
        const mayGo = yield* Deferred.make<void>()
        const waits = Effect.andThen(Deferred.succeed(isIn, undefined), Deferred.await(mayGo))
        const of = (before: Effect.Effect<void>) => chain(here, { a: says("a", before), b: says("b") })
        const slow = yield* Effect.forkChild(StateGraph.run(of(waits), { threadId, input: [] }))
        yield* Deferred.await(isIn)
        const fast = yield* elsewhere(StateGraph.resume(of(Effect.void), { threadId }))
        yield* Deferred.succeed(mayGo, undefined)
        yield* fails(Fiber.join(slow), "VersionConflict")
        const latest = yield* StateGraph.resume(of(Effect.void), { threadId })
        assert.deepStrictEqual(latest.checkpoint.version, fast.checkpoint.version)
      }))
  })

  describe(`durability "exit"`, patient, () => {
    const graphOf = ({ namespace, says }: Effect.Success<typeof setting>, c: Effect.Effect<unknown, Boom>) =>
      StateGraph.make({
        ...words,
        name: "law",
        namespace,
        interrupts: [Ask],
        start: "a",
        nodes: {
          a: says("a"),
          b: says("b"),
          c: says("c", c),
          d: (_, { idempotencyKey }) => Effect.succeed(idempotencyKey),
          ask: () => StateGraph.interrupt(Ask, "well?")
        },
        edges: { a: ["b"], b: ["c"], c: ["d", "ask"], d: [], ask: [] }
      })
    const durability = "exit"

    it.effect("durability exit saves once, at an interrupt and at the end", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here, Effect.void)
        const run = StateGraph.run(graph, { threadId, input: [], durability })
        assert.deepStrictEqual(yield* counting(run), { puts: 1, writes: 0 })
        const asked = yield* StateGraph.resume(graph, { threadId })
        assert.strictEqual(asked._tag, "Interrupted")
        const resume = reply(graph, { threadId, response: "yes", durability })
        assert.deepStrictEqual(yield* counting(resume), { puts: 1, writes: 0 })
        assert.deepStrictEqual(here.ran, ["a", "b", "c"])
        const ended = yield* StateGraph.resume(graph, { threadId })
        assert.strictEqual(ended._tag, "Completed")
        assert.strictEqual(ended.state.length, 5)
        assert.deepStrictEqual(
          (yield* historyOf(graph, threadId)).map(({ completedNodes, step }) => [step, completedNodes]),
          [
            [3, ["c"]],
            [4, ["d", "ask"]]
          ]
        )
      }))

    it.effect("durability exit saves once at an error or a defect, and resume runs the failed step again", () =>
      Effect.gen(function*() {
        for (const problem of [Effect.fail(new Boom({ node: "c" })), Effect.die("a defect")]) {
          let isBroken = true
          const here = yield* setting
          const { threadId } = here
          const graph = graphOf(here, Effect.suspend(() => isBroken ? problem : Effect.void))
          const run = Effect.exit(StateGraph.run(graph, { threadId, input: ["in"], durability }))
          assert.deepStrictEqual(yield* counting(run), { puts: 1, writes: 0 })
          assert.deepStrictEqual(yield* historyOf(graph, threadId), [
            {
              version: 1,
              state: ["in", "a", "b"],
              next: ["c"],
              cause: "step",
              step: 2,
              completedNodes: ["b"],
              waits: false
            }
          ])
          isBroken = false
          yield* StateGraph.resume(graph, { threadId, durability, strategy: "PickFirst" })
          assert.deepStrictEqual(here.ran, ["a", "b", "c", "c"])
        }
      }))

    it.effect("durability exit saves at an interruption", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const isIn = yield* Deferred.make<void>()
        const graph = graphOf(here, Effect.andThen(Deferred.succeed(isIn, undefined), Effect.never))
        const fiber = yield* Effect.forkChild(StateGraph.run(graph, { threadId, input: [], durability }))
        yield* Deferred.await(isIn)
        yield* Fiber.interrupt(fiber)
        const [only] = yield* historyOf(graph, threadId)
        assert.deepStrictEqual(only?.state, ["a", "b"])
        assert.deepStrictEqual(ran, ["a", "b", "c"])
      }))

    it.effect("durability exit reports both errors if the save after an error fails, and tries that save once", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        let puts = 0
        const graph = graphOf(here, Effect.fail(new Boom({ node: "c" })))
        const exit = yield* Effect.exit(
          withFaults({ put: () => (puts++, storeError) })(StateGraph.run(graph, { threadId, input: [], durability }))
        )
        assert.strictEqual(puts, 1)
        assert.isTrue(exit._tag === "Failure")
        const errors = exit._tag === "Failure"
          ? exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag)
          : []
        assert.deepStrictEqual(errors, ["Boom", "StoreError"])
      }))

    it.effect("durability exit saves the results of parallel nodes that returned before another one failed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, { a: says("a"), b: says("b", failing("b")), c: says("c") })
        const options = { threadId, durability, concurrency: 1 } as const
        assert.deepStrictEqual(
          yield* counting(Effect.ignore(StateGraph.run(graph, { ...options, input: [] }))),
          { puts: 1, writes: 0 }
        )
        const ended = yield* elsewhere(StateGraph.resume(graph, options))
        assert.deepStrictEqual(ended.state, ["go", "a", "b", "c"])
        assert.deepStrictEqual(ran, ["go", "a", "b", "b", "c"])
      }))

    it.effect("durability exit keeps the idempotency key of a node when its step is saved", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const keys: Array<string> = []
        const graph = chain(here, {
          a: () => Effect.succeed("a"),
          b: (_, { idempotencyKey }) =>
            Effect.andThen(
              Effect.sync(() => keys.push(idempotencyKey)),
              Effect.gen(function*() {
                if (keys.length === 1) return yield* new Boom({ node: "b" })
                return yield* StateGraph.interrupt(Ask, "well?")
              })
            )
        })
        yield* fails(StateGraph.run(graph, { threadId, input: [], durability }), "Boom")
        yield* StateGraph.resume(graph, { threadId, durability })
        yield* reply(graph, { threadId, durability, response: "yes" })
        yield* StateGraph.run(graph, { threadId: `${threadId} 2`, input: [], durability })
        yield* Effect.flatMap(StateGraph.view(graph), (view) => view.deleteThread(threadId))
        yield* StateGraph.run(graph, { threadId, input: [], durability })
        assert.deepStrictEqual(new Set(keys.slice(0, 3)).size, 1)
        assert.deepStrictEqual(new Set(keys).size, 3)
      }))
  })

  describe("idempotency keys", patient, () => {
    it.effect("an idempotency key is the same during a visit of a node, and differs at the next visit", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const keys: Array<string> = []
        let broken = true
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "a",
          nodes: {
            a: (_, { idempotencyKey }) =>
              Effect.gen(function*() {
                keys.push(idempotencyKey)
                if (broken) return yield* new Boom({ node: "a" })
                return yield* StateGraph.interrupt(Ask, "well?")
              })
          },
          edges: { a: (state) => state.includes("end") ? [] : ["a"] }
        })
        const view = yield* StateGraph.view(graph)
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        yield* view.update(threadId, (state) => [...state, "edited"])
        yield* fails(elsewhere(StateGraph.resume(graph, { threadId })), "Boom")
        broken = false
        yield* StateGraph.resume(graph, { threadId, update: "edited again" })
        yield* view.update(threadId, (state) => [...state, "edited while it waits"])
        const firstVisit = keys.length
        assert.strictEqual(firstVisit, 3)
        yield* reply(graph, { threadId, response: "again" })
        // One key for the visit that was answered, and one for the next visit.
        assert.strictEqual(new Set(keys).size, 2)
        assert.strictEqual(new Set(keys.slice(0, firstVisit + 1)).size, 1)
      }))

    it.effect("idempotency keys differ in a branch, a restored version, a fork and a resume with next", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const keys: Array<string> = []
        const graph = chain(here, {
          a: (_, { idempotencyKey }) =>
            Effect.andThen(Effect.sync(() => keys.push(idempotencyKey)), new Boom({ node: "a" }))
        })
        const view = yield* StateGraph.view(graph)
        const fork = `${threadId} fork`
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        // Version 1 is the newest one the first time, and an earlier one the second time.
        yield* fails(StateGraph.resume(graph, { threadId, version: 1 }), "Boom")
        yield* fails(StateGraph.resume(graph, { threadId, version: 1 }), "Boom")
        yield* fails(StateGraph.resume(graph, { threadId, next: ["a"] }), "Boom")
        yield* view.restore(threadId, { version: 1 })
        yield* fails(StateGraph.resume(graph, { threadId }), "Boom")
        yield* view.fork(threadId, { version: 1 }, { threadId: fork })
        yield* fails(StateGraph.resume(graph, { threadId: fork }), "Boom")
        yield* view.deleteThread(fork)
        yield* fails(StateGraph.run(graph, { threadId: fork, input: [] }), "Boom")
        assert.strictEqual(new Set(keys).size, 7)
      }))
  })
}
