import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { patient } from "../laws/suite.ts"
import { askTwice, fanOut } from "./graphs.ts"
import { Ask, failing, fails, type Group, historyOf, reply, setting, stepsOf, words, writesNothing } from "./suite.ts"

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
        const main = yield* reply(graph, { threadId, response: "y" })
        const before = yield* historyOf(graph, threadId)
        const { checkpointId, version } = asked.checkpoint
        for (const selector of [{ version }, { checkpointId }]) {
          const branch = yield* reply(graph, { threadId, ...selector, response: "n" })
          assert.deepStrictEqual(branch.state, ["a", "n", "no"])
          const view = yield* StateGraph.view(graph)
          const copy = Option.getOrThrow(yield* view.get(threadId, { version: branch.checkpoint.version - 2 }))
          assert.strictEqual(copy.parent!.version, version)
        }
        assert.deepStrictEqual(main.state, ["a", "y", "yes"])
        const after = yield* historyOf(graph, threadId)
        assert.deepStrictEqual(after.slice(0, before.length), before)
        assert.deepStrictEqual(
          after.slice(before.length, before.length + 3).map(({ cause, step }) => [cause, step]),
          [
            ["branch", 1],
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
        assert.notStrictEqual(again.interrupts[0]!.interruptId, asked.interrupts[0]!.interruptId)
        yield* reply(graph, { threadId, response: "n" })
        const ended = yield* reply(graph, {
          threadId,
          version: asked.checkpoint.version,
          interruptId: asked.interrupts[0]!.interruptId,
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
        const refused = reply(graph, { threadId, version: 3, response: 1 as unknown as "y", update: "x" })
        yield* nothing(fails(refused, "InvalidResponse"))
        const unasked = reply(graph, { threadId, version: 1, response: "y" })
        yield* nothing(fails(unasked, "InterruptAlreadyResolved"))
        const stale = reply(graph, { threadId, version: 3, response: "y", interruptId: "stale" })
        yield* nothing(fails(stale, "InterruptAlreadyResolved"))
        const nowhere = StateGraph.resume(graph, { threadId, version: 3, next: ["nowhere" as "a"] })
        yield* nothing(fails(nowhere, "InvalidInput"))
      }))

    it.effect("a branch from a version of a step that is under way has its results and answers, and one of a step that has ended begins it again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, { a: says("a"), ask: () => askTwice })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const { version } = (yield* reply(graph, { threadId, response: "1" })).checkpoint
        const branch = yield* reply(graph, { threadId, version, response: "2" })
        assert.deepStrictEqual(branch.state, ["go", "a", "1 2"])
        assert.deepStrictEqual(ran, ["go", "a"])
        const again = yield* reply(graph, { threadId, version, response: "3" })
        assert.strictEqual(again._tag === "Interrupted" ? again.interrupts[0]!.request : again._tag, "second?")
        assert.deepStrictEqual(ran, ["go", "a", "a"])
        const ended = yield* reply(graph, { threadId, response: "4" })
        assert.deepStrictEqual(ended.state, ["go", "a", "3 4"])
      }))

    it.effect("a branch from the last version of a run is completed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const ended = yield* reply(graph, { threadId, response: "y" })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const branch = yield* StateGraph.resume(graph, { threadId, version: ended.checkpoint.version })
        assert.deepStrictEqual([branch._tag, branch.state], ["Completed", ended.state])
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Completed")
      }))

    it.effect("a copy of an unfinished step has other idempotency keys and interrupt ids, also after updates of the copy", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const keys: Array<string> = []
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: {
            ask: (_, { idempotencyKey }) =>
              Effect.andThen(Effect.sync(() => keys.push(idempotencyKey)), StateGraph.interrupt(Ask, "well?"))
          },
          edges: { ask: [] }
        })
        const view = yield* StateGraph.view(graph)
        const original = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.strictEqual(original._tag, "Interrupted")
        const fork = (id: string, checkpointId?: string) =>
          Effect.as(view.fork(threadId, original.checkpoint, { threadId: id, checkpointId }), id)
        const interruptIds = new Set([original.checkpoint.pendingInterrupts[0]!.interruptId])
        const copies = [
          yield* fork(`${threadId} 1`),
          yield* fork(`${threadId} 2`, "same"),
          yield* fork(`${threadId} 3`, "same"),
          (yield* view.restore(threadId, { version: 1 })).threadId
        ]
        for (const id of copies) {
          for (const update of ["edited", "again"]) yield* view.update(id, (state) => [...state, update])
          const waits = yield* StateGraph.resume(graph, { threadId: id })
          assert.strictEqual(waits._tag, "Interrupted")
          interruptIds.add(waits.checkpoint.pendingInterrupts[0]!.interruptId)
          assert.strictEqual((yield* reply(graph, { threadId: id, response: "yes" }))._tag, "Completed")
        }
        assert.strictEqual(interruptIds.size, 5)
        assert.strictEqual(new Set(keys).size, 5)
        // The original ran before its question, and each copy after the answer.
        assert.strictEqual(keys.length, 5)
      }))

    it.effect("a copy that is saved again under its checkpoint id is the same copy", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const view = yield* StateGraph.view(graph)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const restore = view.restore(threadId, { version: 3 }, { checkpointId: "mine" })
        const restored = yield* restore
        assert.strictEqual((yield* restore).version, restored.version)
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "y" })).state, ["a", "y", "yes"])
      }))

    it.effect("a late answer to a question is refused by its copies, and an answer to a copy by the question", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const view = yield* StateGraph.view(graph)
        const original = yield* StateGraph.run(graph, { threadId, input: [] })
        const late = original.checkpoint.pendingInterrupts[0]!.interruptId
        const fork = yield* view.fork(threadId, original.checkpoint, { threadId: `${threadId} fork` })
        const answerTo = (threadId: string, interruptId: string) =>
          reply(graph, { threadId, interruptId, response: "y" })
        yield* fails(answerTo(fork.threadId, late), "InterruptAlreadyResolved")
        yield* fails(answerTo(threadId, fork.pendingInterrupts[0]!.interruptId), "InterruptAlreadyResolved")
        const restored = yield* view.restore(threadId, original.checkpoint)
        yield* fails(answerTo(threadId, late), "InterruptAlreadyResolved")
        // A branch with `resume` waits for an answer of its own too.
        const branch = yield* StateGraph.resume(graph, { threadId, version: original.checkpoint.version })
        for (const id of [late, restored.pendingInterrupts[0]!.interruptId]) {
          yield* writesNothing(graph, threadId)(fails(answerTo(threadId, id), "InterruptAlreadyResolved"))
        }
        const { interruptId } = branch.checkpoint.pendingInterrupts[0]!
        assert.deepStrictEqual((yield* answerTo(threadId, interruptId)).state, ["a", "y", "yes"])
      }))

    it.effect("a copy of a half-finished step does not run its finished nodes again, nor ask an answered question", () =>
      Effect.gen(function*() {
        for (const way of ["fork", "restore", "resume"] as const) {
          const here = yield* setting
          const { ran, says, threadId } = here
          const once = failing("ask")
          const graph = fanOut(here, { a: says("a"), ask: () => Effect.tap(askTwice, () => once) })
          const view = yield* StateGraph.view(graph)
          yield* StateGraph.run(graph, { threadId, input: [] })
          yield* reply(graph, { threadId, response: "1" })
          yield* fails(reply(graph, { threadId, response: "2" }), "Boom")
          const { version } = Option.getOrThrow(yield* view.get(threadId))
          const copy = way === "fork"
            ? yield* view.fork(threadId, { version }, { threadId: `${threadId} fork` })
            : way === "restore"
            ? yield* view.restore(threadId, { version })
            : { threadId }
          const branch = way === "resume" ? { version } : {}
          const ended = yield* StateGraph.resume(graph, { ...branch, threadId: copy.threadId })
          assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["go", "a", "1 2"]])
          assert.deepStrictEqual(ran, ["go", "a"])
        }
      }))

    it.effect("a copy of the beginning of a completed step runs all of its nodes, and asks its questions again", () =>
      Effect.gen(function*() {
        for (const way of ["fork", "restore", "resume"] as const) {
          const here = yield* setting
          const { ran, says, threadId } = here
          const graph = fanOut(here, { a: says("a"), b: says("b"), ask: () => StateGraph.interrupt(Ask, "well?") })
          const view = yield* StateGraph.view(graph)
          yield* StateGraph.run(graph, { threadId, input: [] })
          yield* reply(graph, { threadId, response: "yes" })
          ran.length = 0
          const copy = way === "fork"
            ? yield* view.fork(threadId, { version: 2 }, { threadId: `${threadId} fork` })
            : way === "restore"
            ? yield* view.restore(threadId, { version: 2 })
            : { threadId }
          const branch = way === "resume" ? { version: 2 } : {}
          const asks = yield* StateGraph.resume(graph, { ...branch, threadId: copy.threadId })
          assert.strictEqual(asks._tag, "Interrupted")
          assert.deepStrictEqual(ran.toSorted(), ["a", "b"])
        }
      }))

    it.effect("a fork of a thread that waits for an answer is answered independently", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = graphOf(here)
        const view = yield* StateGraph.view(graph)
        const { checkpoint } = yield* StateGraph.run(graph, { threadId, input: [] })
        yield* view.fork(checkpoint.threadId, checkpoint, { threadId: `${threadId} fork` })
        const fork = yield* reply(graph, { threadId: `${threadId} fork`, response: "n" })
        const main = yield* reply(graph, { threadId, response: "y" })
        assert.deepStrictEqual([fork.state, main.state], [["a", "n", "no"], ["a", "y", "yes"]])
        assert.strictEqual((yield* stepsOf(view, `${threadId} fork`)).length, 3)
      }))
  })
}
