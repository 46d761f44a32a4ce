import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { patient, range } from "../laws/suite.ts"
import { chain } from "./graphs.ts"
import {
  answersOf,
  Ask,
  failing,
  type Group,
  historyOf,
  reply,
  setting,
  storeError,
  withFaults,
  words
} from "./suite.ts"

/** Describes an event in a few words. */
const brief = (event: StateGraph.RunEvent<unknown, unknown, string>): string => {
  switch (event._tag) {
    case "NodeStarted":
      return `${event.step} ${event.node}`
    case "NodeFinished":
      return `${event.step} ${event.node} = ${String(event.update)}`
    case "Emitted":
      return `${event.step} ${event.node}: ${String(event.data)}`
    case "Nested":
      return `${event.node} / ${brief(event.event)}`
    case "CheckpointSaved":
      return `saved ${event.checkpoint.version}`
    case "InterruptRaised":
      return `asks ${String(event.interrupt.request)}`
    case "Ended":
      return event.result._tag
  }
}

/** Events of a run. */
export const streaming: Group = (it) => {
  describe("a stream", patient, () => {
    const graphOf = (
      { namespace, says }: Effect.Success<typeof setting>,
      b: Effect.Effect<unknown, unknown> = Effect.void
    ) => {
      const inner = chain({ name: "inner" }, { x: says("x") })
      return StateGraph.make({
        ...words,
        concurrency: 1,
        name: "law",
        namespace,
        interrupts: [Ask],
        start: "a",
        nodes: {
          a: (_, { emit }) => Effect.as(Effect.andThen(emit("token 1"), emit("token 2")), "a"),
          b: says("b", b),
          c: says("c"),
          ask: () => StateGraph.interrupt(Ask, "well?"),
          inner: StateGraph.subgraph(inner, { input: () => [], output: (state) => state.join() })
        },
        edges: { a: ["b", "c"], b: ["ask"], c: ["ask"], ask: ["inner"], inner: [] }
      })
    }

    it.effect("a stream of a run or a resume emits its events in order, and the result last", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const begun = yield* Stream.runCollect(StateGraph.stream(graph, { threadId, input: [] }))
        assert.deepStrictEqual(begun.map(brief), [
          "saved 1",
          "1 a",
          "1 a: token 1",
          "1 a: token 2",
          "1 a = a",
          "saved 2",
          "2 b",
          "2 b = b",
          "2 c",
          "2 c = c",
          "saved 3",
          "3 ask",
          "saved 4",
          "asks well?",
          "Interrupted"
        ])
        const waits = yield* Stream.runCollect(StateGraph.stream(graph, { threadId }))
        assert.deepStrictEqual(waits.map(brief), ["Interrupted"])
        const ended = yield* Stream.runCollect(
          StateGraph.stream(graph, { threadId, answers: yield* answersOf(graph, threadId, "yes") })
        )
        assert.deepStrictEqual(ended.map(brief), [
          "3 ask",
          "3 ask = yes",
          "saved 5",
          "4 inner",
          "inner / saved 1",
          "inner / 1 x",
          "inner / 1 x = x",
          "inner / saved 2",
          "4 inner = x",
          "saved 6",
          "Completed"
        ])
        const other = yield* setting
        const run = yield* StateGraph.run(graphOf(other), { threadId: other.threadId, input: [] })
        assert.strictEqual(run._tag, "Interrupted")
        yield* reply(graphOf(other), { threadId: other.threadId, response: "yes" })
        assert.deepStrictEqual(
          yield* historyOf(graph, threadId),
          yield* historyOf(graphOf(other), other.threadId)
        )
      }))

    it.effect("a stream emits an event only after its checkpoint is stored", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const graph = graphOf(here)
        for (let broken = 1; broken <= 4; broken++) {
          const threadId = `law ${broken}`
          let puts = 0
          const events: Array<string> = []
          const run = Stream.runForEach(
            StateGraph.stream(graph, { threadId, input: [] }),
            (event) => Effect.sync(() => events.push(brief(event)))
          )
          yield* Effect.exit(withFaults({ put: () => ++puts === broken ? storeError : undefined })(run))
          const view = yield* StateGraph.view(graph)
          const saved = Option.getOrUndefined(yield* view.get(threadId))
          assert.strictEqual(saved?.version ?? 0, broken - 1)
          // The result of b was saved as a pending write of the parallel step.
          const finished = events.filter((line) => line.includes(" = ")).map((line) => line.slice(-1))
          assert.deepStrictEqual(finished, [...saved?.state ?? [], ...(broken === 3 ? ["b"] : [])])
          assert.deepStrictEqual(events.filter((line) => line.startsWith("saved")).length, broken - 1)
        }
      }))

    it.effect("a stream that ends early interrupts the run, and resume continues it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const graph = graphOf(here)
        for (const taken of [1, 3, 5, 7, 9]) {
          const threadId = `law ${taken}`
          const stream = StateGraph.stream(graph, { threadId, input: [] })
          assert.strictEqual((yield* Stream.runCollect(Stream.take(stream, taken))).length, taken)
          const asked = yield* StateGraph.resume(graph, { threadId })
          assert.deepStrictEqual([asked._tag, asked.state], ["Interrupted", ["a", "b", "c"]])
        }
      }))

    it.effect("a stream that ends early ends, though a node emits in a finalizer more than fits into its buffer", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        let emitted = 0
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "a",
          nodes: {
            a: (_, { emit }) =>
              Effect.ensuring(
                Effect.succeed("a"),
                Effect.forEach(range(1, 300), (i) => Effect.tap(emit(i), () => Effect.sync(() => emitted++)))
              )
          },
          edges: { a: [] }
        })
        const stream = Stream.take(StateGraph.stream(graph, { threadId, input: [] }), 5)
        // A fiber that hangs must not keep the law from ending.
        const fiber = yield* Effect.forkDetach(Stream.runCollect(stream))
        let idle = 0
        while (fiber.pollUnsafe() === undefined && idle < 1000) {
          const before = emitted
          yield* Effect.yieldNow
          idle = emitted > 0 && emitted === before ? idle + 1 : 0
        }
        assert.strictEqual(emitted, 300)
        const events = fiber.pollUnsafe()
        assert.isTrue(events?._tag === "Success" && events.value.length === 5)
        assert.deepStrictEqual((yield* StateGraph.resume(graph, { threadId })).state, ["a"])
      }))

    it.effect("a stream with a slow consumer suspends the run, and a consumer that fails interrupts it", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          const { namespace, threadId } = yield* setting
          const steps = yield* Ref.make(0)
          const graph = StateGraph.make({
            ...words,
            name: "law",
            namespace,
            start: "a",
            nodes: {
              a: (_, { emit }) => Effect.as(Effect.andThen(emit("more"), Ref.update(steps, (n) => n + 1)), "a")
            },
            edges: { a: ["a"] }
          })
          const stream = StateGraph.stream(graph, { threadId, input: [], maxSteps: 100_000, durability })
          const first = Stream.runForEach(stream, () =>
            Effect.andThen(
              Effect.repeat(Effect.yieldNow, { until: () => Ref.getUnsafe(steps) > 14 }),
              Effect.fail("enough")
            ))
          assert.strictEqual(yield* Effect.flip(first), "enough")
          const done = yield* Ref.get(steps)
          assert.isBelow(done, 70)
          const last = (yield* historyOf(graph, threadId)).at(-1)!
          assert.isAtLeast(last.step, done - 1)
        }
      }))

    it.effect("a stream fails with the error of the run, after the events before it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here, failing("b"))
        const events: Array<string> = []
        const error = yield* Effect.flip(
          Stream.runForEach(
            StateGraph.stream(graph, { threadId, input: [], durability: "exit" }),
            (event) => Effect.sync(() => events.push(brief(event)))
          )
        )
        assert.include(String(error), "Boom")
        assert.deepStrictEqual(events, ["1 a", "1 a: token 1", "1 a: token 2", "1 a = a", "2 b", "saved 1"])
        const refused = yield* Effect.flip(Stream.runDrain(StateGraph.stream(graph, { threadId, input: [] })))
        assert.strictEqual((refused as { readonly _tag: string })._tag, "ThreadUnfinished")
      }))
  })
}
