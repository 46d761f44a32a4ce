import { Checkpointer, CheckpointStore, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { patient } from "../laws/suite.ts"
import { chain, fanOut } from "./graphs.ts"
import { Ask, elsewhere, fails, type Group, historyOf, reply, setting, words } from "./suite.ts"

const open = <S, N extends string>(
  result: StateGraph.RunResult<S, N>
): ReadonlyArray<StateGraph.PendingInterrupt> => result._tag === "Interrupted" ? result.interrupts : []

const asks = (name: string) => () => Effect.map(StateGraph.interrupt(Ask, `${name}?`), (answer) => `${name} ${answer}`)

/** Runs an effect as in another process, and something else before it reads a step for the nth time. */
const racing = <A, E, R, B, E2>(
  nth: number,
  between: Effect.Effect<B, E2, Checkpointer.Checkpointer>,
  effect: Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const checkpointer = yield* Checkpointer.Checkpointer
    const others = Effect.orDie(Effect.provideService(between, Checkpointer.Checkpointer, checkpointer))
    let reads = 0
    const raced = CheckpointStore.CheckpointStore.of({
      ...store,
      readStep: (key, version) =>
        Effect.suspend(() => Effect.andThen(++reads === nth ? others : Effect.void, store.readStep(key, version)))
    })
    return yield* Effect.provideService(elsewhere(effect), CheckpointStore.CheckpointStore, raced)
  })

/** Runs of one thread at the same time, and what one call leaves to the next. */
export const racingRuns: Group = (it) => {
  describe("runs at the same time", patient, () => {
    it.effect("a question that two runs ask differently is shown as it is stored, so that an answer fits what was seen", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const started = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        let isFirst = true
        const graph = StateGraph.make({
          name: "pay",
          namespace,
          state: Schema.Struct({ amount: Schema.Int, approved: Schema.String }),
          interrupts: [Ask],
          start: "pay",
          nodes: {
            pay: ({ amount }) =>
              Effect.gen(function*() {
                yield* StateGraph.interrupt(Ask, "start?")
                if (isFirst) {
                  isFirst = false
                  yield* Deferred.succeed(started, undefined)
                  yield* Deferred.await(go)
                }
                return { approved: `${yield* StateGraph.interrupt(Ask, `pay ${amount}?`)} for ${amount}` }
              })
          },
          edges: { pay: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: { amount: 100, approved: "" } })
        const slow = yield* Effect.forkChild(reply(graph, { threadId, response: "yes" }))
        yield* Deferred.await(started)
        const view = yield* StateGraph.view(graph)
        yield* view.update(threadId, (state) => ({ ...state, amount: 5000 }))
        const [stored] = open(yield* elsewhere(StateGraph.resume(graph, { threadId })))
        yield* Deferred.succeed(go, undefined)
        assert.deepStrictEqual(open(yield* Fiber.join(slow)), [stored!])
        const answers = { [stored!.interruptId]: `ok: ${String(stored!.request)}` }
        const ended = yield* StateGraph.resume(graph, { threadId, answers })
        assert.strictEqual(ended.state.approved, "ok: pay 5000? for 5000")
      }))

    it.effect("a run whose step another one ended meanwhile fails with VersionConflict, and does not return old questions", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = chain(here, { a: asks("a"), b: here.says("b") })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const late = racing(2, StateGraph.resume(graph, { threadId, next: [] }), StateGraph.resume(graph, { threadId }))
        const { actual, expected } = yield* fails(late, "VersionConflict")
        assert.isAbove(actual, expected)
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Completed")
      }))

    it.effect("an answer to a question of a version goes to that question of its branch, whatever others answer meanwhile", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const two = (name: string) => () =>
          Effect.map(
            Effect.all([StateGraph.interrupt(Ask, `${name} 1?`), StateGraph.interrupt(Ask, `${name} 2?`)]),
            (answers) => answers.join()
          )
        const graph = fanOut(here, { a: two("a"), b: two("b") })
        const result = yield* StateGraph.run(graph, { threadId, input: [] })
        const [a, b] = open(result)
        const { version } = result.checkpoint
        const others = StateGraph.resume(graph, { threadId, answers: { [a!.interruptId]: "for a 1" } })
        const branch = yield* racing(
          2,
          others,
          StateGraph.resume(graph, { threadId, version, answers: { [b!.interruptId]: "for b 1" } })
        )
        assert.deepStrictEqual(open(branch).map(({ request }) => request).toSorted(), ["a 2?", "b 2?"])
        const view = yield* StateGraph.view(graph)
        const { questions } = yield* view.step(branch.checkpoint)
        const answered = questions.flatMap(({ answer, request }) => answer ? [[request, answer.response]] : [])
        assert.deepStrictEqual(answered.toSorted(), [["a 1?", "for a 1"], ["b 1?", "for b 1"]])
      }))

    it.effect("a nested run that another process overtook is no failure of its node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const started = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        let isFirst = true
        const inner = chain({ name: "inner" }, {
          x: () =>
            Effect.gen(function*() {
              yield* StateGraph.interrupt(Ask, "x?")
              if (!isFirst) return "x"
              isFirst = false
              yield* Deferred.succeed(started, undefined)
              yield* Deferred.await(go)
              return "x"
            }),
          y: asks("y")
        })
        const outer = chain({ ...here, name: "outer" }, {
          n: StateGraph.subgraph(inner, {
            input: (): ReadonlyArray<string> => [],
            output: (state: ReadonlyArray<string>) => state.join()
          })
        })
        yield* StateGraph.run(outer, { threadId, input: [] })
        const slow = yield* Effect.forkChild(Effect.exit(reply(outer, { threadId, response: "yes" })))
        yield* Deferred.await(started)
        const waits = yield* elsewhere(StateGraph.resume(outer, { threadId }))
        assert.deepStrictEqual(open(waits).map(({ request }) => request), ["y?"])
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(slow)
        assert.deepStrictEqual(Option.getOrThrow(yield* StateGraph.status(outer, threadId)).failures, [])
      }))
  })

  describe("one call after another", patient, () => {
    it.effect("what resume sets holds for the rest of the run, also if the call ends with other questions of the step", () =>
      Effect.gen(function*() {
        const here = yield* setting
        for (
          const [settings, tag, state] of [
            [{ interruptBefore: ["c"] }, "Interrupted", ["go", "a A", "b B"]],
            [{ strategy: "PickFirst" }, "Completed", ["go", "a A", "b B", "c"]],
            [{ metadata: { user: 1 } }, "Completed", ["go", "a A", "b B", "c", "d"]]
          ] as const
        ) {
          const threadId = JSON.stringify(settings)
          const graph = StateGraph.make({
            ...words,
            name: "law",
            namespace: here.namespace,
            interrupts: [Ask],
            start: "go",
            nodes: { go: here.says("go"), a: asks("a"), b: asks("b"), c: here.says("c"), d: here.says("d") },
            edges: { go: ["a", "b"], a: ["c", "d"], b: [], c: [], d: [] }
          })
          const [a, b] = open(yield* StateGraph.run(graph, { threadId, input: [] }))
          yield* StateGraph.resume(graph, { ...settings, threadId, answers: { [a!.interruptId]: "A" } })
          const result = yield* StateGraph.resume(graph, { threadId, answers: { [b!.interruptId]: "B" } })
          assert.deepStrictEqual([result._tag, result.state], [tag, state])
          if ("metadata" in settings) assert.strictEqual(result.checkpoint.metadata["user"], 1)
        }
      }))

    it.effect("an open pause of a nested graph does not keep answered nodes beside it from running", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const inner = chain({ name: "inner" }, { x: here.says("x"), y: here.says("y") }, { interruptBefore: ["y"] })
        const graph = fanOut({ ...here, name: "outer" }, {
          n: StateGraph.subgraph(inner, {
            input: (): ReadonlyArray<string> => [],
            output: (state: ReadonlyArray<string>) => state.join()
          }),
          ask: asks("ask")
        })
        const questions = open(yield* StateGraph.run(graph, { threadId, input: [] }))
        const asked = questions.find(({ kind }) => kind === "Ask")!
        const pause = questions.find(({ kind }) => kind === "Pause")!
        const left = yield* StateGraph.resume(graph, { threadId, answers: { [asked.interruptId]: "yes" } })
        assert.deepStrictEqual(open(left), [pause])
        const view = yield* StateGraph.view(graph)
        assert.property(yield* view.pendingWrites(left.checkpoint), "update:ask")
        const ended = yield* StateGraph.resume(graph, { threadId, answers: { [pause.interruptId]: "continue" } })
        assert.deepStrictEqual(ended.state, ["go", "x,y", "ask yes"])
        assert.deepStrictEqual(ran, ["go", "x", "y"])
      }))

    it.effect("an update that the schema refuses is refused before a branch or an answer is saved", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ n: Schema.Int, text: Schema.String }),
          interrupts: [Ask],
          start: "a",
          nodes: { a: () => Effect.map(StateGraph.interrupt(Ask, "a?"), (text) => ({ text })) },
          edges: { a: [] }
        })
        const result = yield* StateGraph.run(graph, { threadId, input: { n: 0, text: "" } })
        const { version } = result.checkpoint
        const answers = { [open(result)[0]!.interruptId]: "yes" }
        yield* fails(StateGraph.resume(graph, { threadId, version, answers, update: { n: 1.5 } }), "StateEncodeError")
        yield* fails(StateGraph.resume(graph, { threadId, answers, update: { n: 1.5 } }), "StateEncodeError")
        assert.strictEqual((yield* historyOf(graph, threadId)).length, version)
        const ended = yield* StateGraph.resume(graph, { threadId, answers, update: { n: 2 } })
        assert.deepStrictEqual(ended.state, { n: 2, text: "yes" })
      }))

    it.effect("an answer does not need the kinds of questions that have answers, and refuses what is no object", () =>
      Effect.gen(function*() {
        class Other
          extends StateGraph.Interrupt<Other>()("Other", { request: Schema.String, response: Schema.String })
        {}
        const { namespace, threadId } = yield* setting
        const options = {
          ...words,
          name: "law",
          namespace,
          start: "go",
          edges: { go: ["a", "b"], a: [], b: [] }
        } as const
        const go = () => Effect.succeed("go")
        const before = StateGraph.make({
          ...options,
          interrupts: [Ask, Other],
          nodes: { go, a: asks("a"), b: () => StateGraph.interrupt(Other, "b?") }
        })
        const [a, b] = open(yield* StateGraph.run(before, { threadId, input: [] }))
        yield* StateGraph.answer(before, { threadId, answers: { [b!.interruptId]: "B" } })
        const after = StateGraph.make({ ...options, interrupts: [Ask], nodes: { go, a: asks("a"), b: go } })
        yield* fails(StateGraph.answer(after, { threadId, answers: null as never }), "InvalidInput")
        yield* fails(StateGraph.resume(after, { threadId, answers: null as never }), "InvalidInput")
        yield* fails(StateGraph.resume(after, { threadId, answers: null as never, next: [] }), "InvalidInput")
        assert.deepStrictEqual(yield* StateGraph.answer(after, { threadId, answers: { [a!.interruptId]: "A" } }), [])
      }))

    it.effect("questions that are too large together do not cost the steps before them", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const big = (text: string) => () => StateGraph.interrupt(Ask, text.repeat(600_000))
        const graph = fanOut(here, { a: big("a"), b: big("b") })
        for (const durability of ["exit", "step"] as const) {
          const id = `${threadId} ${durability}`
          const refused = yield* fails(StateGraph.run(graph, { threadId: id, input: [], durability }), "InvalidInput")
          assert.strictEqual(refused.field, "pendingInterrupts")
          const { nodes } = Option.getOrThrow(yield* StateGraph.status(graph, id))
          assert.deepStrictEqual(nodes, ["a", "b"])
        }
      }))
  })
}
