import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { patient } from "../laws/suite.ts"
import { askTwice, fanOut } from "./graphs.ts"
import { Ask, fails, type Group, historyOf, setting, stepsOf, words, writesNothing } from "./suite.ts"

/** Time travel: branches from an earlier version. */
export const branching: Group = (it) => {
  describe("a branch", patient, () => {
    const graphOf = ({ namespace, says }: Effect.Success<typeof setting>) =>
      StateGraph.make({
        ...words,
        name: "law",
        namespace,
        interrupts: [Ask],
        start: "a",
        nodes: {
          a: says("a"),
          ask: () => StateGraph.interrupt(Ask, "well?"),
          yes: says("yes"),
          no: says("no")
        },
        edges: { a: ["ask"], ask: (state) => state.at(-1) === "y" ? ["yes"] : ["no"], yes: [], no: [] }
      })

    it.effect("a branch can give another answer, and the other versions do not change", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const asked = yield* StateGraph.run(graph, { threadId, input: [] })
        const main = yield* StateGraph.resume(graph, { threadId, response: "y" })
        const before = yield* historyOf(graph, threadId)
        const { checkpointId, version } = asked.checkpoint
        for (const selector of [{ version }, { checkpointId }]) {
          const branch = yield* StateGraph.resume(graph, { threadId, ...selector, response: "n" })
          assert.deepStrictEqual(branch.state, ["a", "n", "no"])
          const view = yield* StateGraph.view(graph)
          const copy = Option.getOrThrow(yield* view.get(threadId, { version: branch.checkpoint.version - 3 }))
          assert.strictEqual(copy.parent!.version, version)
        }
        assert.deepStrictEqual(main.state, ["a", "y", "yes"])
        const after = yield* historyOf(graph, threadId)
        assert.deepStrictEqual(after.slice(0, before.length), before)
        assert.deepStrictEqual(
          after.slice(before.length, before.length + 4).map(({ cause, step }) => [cause, step]),
          [
            ["branch", 1],
            ["answer", 1],
            ["step", 2],
            ["step", 3]
          ]
        )
        assert.deepStrictEqual(here.ran, ["a", "yes", "no", "no"])
      }))

    it.effect("an answer in one branch leaves the interrupt of another branch pending", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const asked = yield* StateGraph.run(graph, { threadId, input: [] })
        const again = yield* StateGraph.resume(graph, { threadId, version: 1 })
        assert.isTrue(asked._tag === "Interrupted" && again._tag === "Interrupted")
        if (asked._tag !== "Interrupted" || again._tag !== "Interrupted") return
        assert.notStrictEqual(again.interrupt.interruptId, asked.interrupt.interruptId)
        yield* StateGraph.resume(graph, { threadId, response: "n" })
        const ended = yield* StateGraph.resume(graph, {
          threadId,
          version: asked.checkpoint.version,
          interruptId: asked.interrupt.interruptId,
          response: "y"
        })
        assert.deepStrictEqual(ended.state, ["a", "y", "yes"])
      }))

    it.effect("a branch can continue with an update or with other nodes", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const other = yield* StateGraph.resume(graph, { threadId, version: 2, update: "y", next: ["yes"] })
        assert.deepStrictEqual(other.state, ["a", "y", "yes"])
        const waits = yield* StateGraph.resume(graph, { threadId, version: 3, update: "seen" })
        assert.deepStrictEqual([waits._tag, waits.state], ["Interrupted", ["a", "seen"]])
      }))

    it.effect("a branch is not saved if resume refuses its options", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const nothing = writesNothing(graph, threadId)
        const refused = StateGraph.resume(graph, { threadId, version: 3, response: 1 as unknown as "y", update: "x" })
        yield* nothing(fails(refused, "InvalidResponse"))
        const unasked = StateGraph.resume(graph, { threadId, version: 2, response: "y" })
        yield* nothing(fails(unasked, "InterruptAlreadyResolved"))
        const stale = StateGraph.resume(graph, { threadId, version: 3, response: "y", interruptId: "stale" })
        yield* nothing(fails(stale, "InterruptAlreadyResolved"))
        const nowhere = StateGraph.resume(graph, { threadId, version: 3, next: ["nowhere" as "a"] })
        yield* nothing(fails(nowhere, "InvalidInput"))
      }))

    it.effect("a branch from the middle of a step has the results and answers of that version", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, { a: says("a"), ask: () => askTwice })
        yield* StateGraph.run(graph, { threadId, input: [], strategy: "Parallel" })
        const second = yield* StateGraph.resume(graph, { threadId, response: "1" })
        yield* StateGraph.resume(graph, { threadId, response: "2" })
        const branch = yield* StateGraph.resume(graph, { threadId, version: second.checkpoint.version, response: "3" })
        assert.deepStrictEqual(branch.state, ["go", "a", "1 3"])
        const answered = yield* StateGraph.resume(graph, { threadId, version: second.checkpoint.version - 1 })
        assert.strictEqual(answered._tag === "Interrupted" ? answered.interrupt.request : answered._tag, "second?")
        assert.deepStrictEqual(ran, ["go", "a"])
      }))

    it.effect("a branch from the last version of a run is completed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const ended = yield* StateGraph.resume(graph, { threadId, response: "y" })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const branch = yield* StateGraph.resume(graph, { threadId, version: ended.checkpoint.version })
        assert.deepStrictEqual([branch._tag, branch.state], ["Completed", ended.state])
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Completed")
      }))

    it.effect("a fork of a thread that waits for an answer is answered independently", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const view = yield* StateGraph.view(graph)
        const { checkpoint } = yield* StateGraph.run(graph, { threadId, input: [] })
        yield* view.fork(checkpoint.threadId, checkpoint, { threadId: `${threadId} fork` })
        const fork = yield* StateGraph.resume(graph, { threadId: `${threadId} fork`, response: "n" })
        const main = yield* StateGraph.resume(graph, { threadId, response: "y" })
        assert.deepStrictEqual([fork.state, main.state], [["a", "n", "no"], ["a", "y", "yes"]])
        assert.strictEqual((yield* stepsOf(view, `${threadId} fork`)).length, 4)
      }))
  })
}
