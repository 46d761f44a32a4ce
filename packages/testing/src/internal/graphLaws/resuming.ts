import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { patient } from "../laws/suite.ts"
import { chain, fanOut } from "./graphs.ts"
import {
  Ask,
  Boom,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  refuses,
  reply,
  setting,
  When,
  words,
  writesNothing
} from "./suite.ts"

/** How runs begin, and how they are resumed. */
export const resuming: Group = (it) => {
  describe("run", patient, () => {
    it.effect("run on an unfinished thread fails with ThreadUnfinished, and writes nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = chain(here, { a: says("a", failing("a")), ask: () => StateGraph.interrupt(Ask, "well?") })
        const again = writesNothing(graph, threadId)(
          fails(elsewhere(StateGraph.run(graph, { threadId, input: ["again"] })), "ThreadUnfinished")
        )
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        const failed = yield* again
        assert.deepStrictEqual([failed.version, failed.nextNodes, failed.interruptIds], [1, ["a"], []])
        const asked = yield* StateGraph.resume(graph, { threadId })
        const waiting = yield* again
        assert.isTrue(asked._tag === "Interrupted" && waiting.interruptIds[0] === asked.interrupts[0]!.interruptId)
        assert.deepStrictEqual(ran, ["a", "a"])
      }))

    it.effect("run on a thread whose run ended begins again, with the input and the saved state", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ messages: Schema.Array(Schema.String), turns: Schema.Int }),
          start: "reply",
          begin: (message: string, saved) => ({
            messages: [...saved?.messages ?? [], message],
            turns: saved?.turns ?? 0
          }),
          nodes: {
            reply: ({ messages, turns }) => Effect.succeed({ messages: [...messages, "reply"], turns: turns + 1 })
          },
          edges: { reply: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: "one" })
        const second = yield* elsewhere(StateGraph.run(graph, { threadId, input: "two" }))
        assert.deepStrictEqual(second.state, { messages: ["one", "reply", "two", "reply"], turns: 2 })
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).map(({ cause, step }) => [cause, step]), [
          ["input", 0],
          ["step", 1],
          ["input", 1],
          ["step", 2]
        ])
      }))

    it.effect("run replaces fields of the saved state with those of its input by default", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ a: Schema.Int, b: Schema.optionalKey(Schema.Int) }),
          start: "a",
          nodes: { a: ({ a }) => Effect.succeed({ a: a + 1 }) },
          edges: { a: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: { a: 1, b: 1 } })
        assert.deepStrictEqual((yield* StateGraph.run(graph, { threadId, input: { a: 5 } })).state, { a: 6, b: 1 })
      }))
  })

  describe("resume", patient, () => {
    it.effect("resume continues after an error or a defect of a node, at the saved step and with the saved state", () =>
      Effect.gen(function*() {
        for (const problem of [Effect.fail(new Boom({ node: "b" })), Effect.die(new Boom({ node: "b" }))]) {
          const here = yield* setting
          const { ran, says, threadId } = here
          let isBroken = true
          const fragile = Effect.suspend(() => isBroken ? problem : Effect.void)
          const graph = chain(here, { a: says("a"), b: says("b", fragile), c: says("c") })
          const exit = yield* Effect.exit(StateGraph.run(graph, { threadId, input: ["in"] }))
          assert.isTrue(exit._tag === "Failure" && String(exit.cause).includes("Boom"))
          isBroken = false
          const result = yield* elsewhere(StateGraph.resume(graph, { threadId }))
          assert.deepStrictEqual(result.state, ["in", "a", "b", "c"])
          assert.deepStrictEqual(ran, ["a", "b", "b", "c"])
        }
      }))

    it.effect("resume continues after a reducer, an edge or a node throws, or a state does not match its schema", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        let broken: string | undefined
        const throws = (where: string): void => {
          if (broken === where) throw new Error(where)
        }
        const graph = StateGraph.make({
          ...words,
          state: Schema.Array(Schema.String.check(Schema.isMaxLength(8))),
          name: "law",
          namespace,
          start: "a",
          nodes: {
            a: () => Effect.succeed("a"),
            b: () => {
              throws("node")
              return Effect.succeed(broken === "state" ? "far too long" : "b")
            }
          },
          reduce: (state, word) => {
            if (word === "b") throws("reduce")
            return [...state, word]
          },
          edges: {
            a: ["b"],
            b: () => {
              throws("edge")
              return []
            }
          }
        })
        for (const where of ["node", "reduce", "edge", "state"]) {
          for (const durability of ["step", "exit"] as const) {
            const id = `${threadId} ${where} ${durability}`
            broken = where
            const exit = yield* Effect.exit(StateGraph.run(graph, { threadId: id, input: [], durability }))
            const message = where === "state" ? "StateEncodeError" : where
            assert.isTrue(exit._tag === "Failure" && String(exit.cause).includes(message))
            broken = undefined
            if (where === "state" && durability === "exit") {
              // The only save of the run failed.
              yield* fails(StateGraph.resume(graph, { threadId: id }), "CheckpointNotFound")
            } else {
              assert.deepStrictEqual((yield* historyOf(graph, id)).at(-1)?.state, ["a"])
              assert.deepStrictEqual((yield* StateGraph.resume(graph, { threadId: id })).state, ["a", "b"])
            }
          }
        }
      }))

    it.effect("resume continues after an interruption, which waits for the finalizers of the node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const isIn = yield* Deferred.make<void>()
        let first = true
        const hangs = Effect.suspend(() => {
          if (!first) return Effect.void
          first = false
          return Effect.andThen(Deferred.succeed(isIn, undefined), Effect.never)
        })
        const cleaned = Effect.onInterrupt(hangs, () => Effect.sync(() => ran.push("cleaned")))
        const graph = chain(here, { a: says("a"), b: says("b", cleaned) })
        const fiber = yield* Effect.forkChild(StateGraph.run(graph, { threadId, input: [] }))
        yield* Deferred.await(isIn)
        yield* Fiber.interrupt(fiber)
        ran.push("interrupted")
        assert.deepStrictEqual((yield* StateGraph.resume(graph, { threadId })).state, ["a", "b"])
        assert.deepStrictEqual(ran, ["a", "b", "cleaned", "interrupted", "b"])
      }))

    it.effect("resume of a thread whose run ended returns its result, and writes and runs nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = chain(here, { a: here.says("a") })
        const ended = yield* StateGraph.run(graph, { threadId, input: [] })
        const again = yield* writesNothing(graph, threadId)(elsewhere(StateGraph.resume(graph, { threadId })))
        assert.deepStrictEqual([again._tag, again.state, again.checkpoint.checkpointId], [
          "Completed",
          ["a"],
          ended.checkpoint.checkpointId
        ])
        assert.deepStrictEqual(ran, ["a"])
      }))

    it.effect("resume of a missing thread or version fails with CheckpointNotFound, and runs nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = chain(here, { a: here.says("a") })
        yield* fails(StateGraph.resume(graph, { threadId }), "CheckpointNotFound")
        yield* StateGraph.run(graph, { threadId, input: [] })
        for (const selector of [{ version: 3 }, { checkpointId: "none" }]) {
          const gone = fails(StateGraph.resume(graph, { threadId, ...selector }), "CheckpointNotFound")
          assert.include((yield* writesNothing(graph, threadId)(gone)).selector, String(Object.values(selector)[0]))
        }
        assert.deepStrictEqual(ran, ["a"])
      }))
  })

  describe("GraphMismatch", patient, () => {
    it.effect("a checkpoint that the graph does not fit fails run and resume, and is never overwritten", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, ran, says } = here
        const nodes = { a: says("a"), b: says("b", failing("b", 99)) }
        const graph = chain(here, nodes)
        const checkpointer = yield* Checkpointer.Checkpointer
        const view = yield* StateGraph.view(graph)
        const json = yield* checkpointer.view({ state: Schema.Json, namespace })
        const broken: Record<string, (threadId: string) => Effect.Effect<unknown, unknown, Checkpointer.Checkpointer>> =
          {
            "no graph saved it": (threadId) => view.append({ threadId, state: ["a"] }),
            "has no valid \"graph\"": (threadId) =>
              view.append({ threadId, state: ["a"], metadata: { graph: { graph: "law" } } }),
            "no graph saved it, because its metadata": (threadId) =>
              view.append({ threadId, state: [], pendingInterrupts: [{ interruptId: "i", request: null }] }),
            "Expected array": (threadId) => json.append({ threadId, state: { not: "words" } }),
            "graph \"other\"": (threadId) =>
              StateGraph.run(chain({ ...here, name: "other" }, nodes), { threadId, input: [], maxSteps: 1 }),
            "node \"b\"": (threadId) => StateGraph.run(graph, { threadId, input: [], maxSteps: 1 })
          }
        const smaller = chain(here, { a: says("a") })
        for (const [reason, write] of Object.entries(broken)) {
          const threadId = `law ${reason}`
          yield* Effect.ignore(write(threadId))
          ran.length = 0
          const tag = reason === "Expected array" ? "StateDecodeError" : "GraphMismatch"
          const resumed = Effect.flip(StateGraph.resume(smaller, { threadId }))
          const begun = Effect.flip(StateGraph.run(smaller, { threadId, input: ["fresh"] }))
          const refused = yield* writesNothing(smaller, threadId)(resumed)
          assert.strictEqual(refused._tag, tag)
          assert.include(refused.message, reason)
          const error = yield* writesNothing(smaller, threadId)(begun)
          assert.strictEqual(error._tag, reason === "node \"b\"" ? "ThreadUnfinished" : tag)
          assert.deepStrictEqual(ran, [])
        }
      }))

    it.effect("GraphMismatch names the thread, its version, the graph and the way out", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, says } = here
        const graph = chain(here, { a: says("a") })
        const larger = chain(here, { a: says("a"), gone: says("gone") })
        const other = chain({ ...here, name: "other" }, { a: says("a") })
        const asking = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [When],
          start: "a",
          nodes: { a: () => Effect.as(StateGraph.interrupt(When, { after: DateTime.makeUnsafe(0) }), "a") },
          edges: { a: [] }
        })
        const view = yield* StateGraph.view(graph)
        const metadata = { graph: { graph: "law", step: 0, cause: "edit", completedNodes: [] } }
        const pendingInterrupts = [{ interruptId: "mine", request: null }]
        const mismatches = {
          "run the graph on another thread": (threadId: string) => view.append({ threadId, state: [] }),
          "use that graph": (threadId: string) => StateGraph.run(other, { threadId, input: [] }),
          "add the node": (threadId: string) =>
            Effect.flip(StateGraph.run(larger, { threadId, input: [], maxSteps: 1 })),
          "add it to interrupts": (threadId: string) => StateGraph.run(asking, { threadId, input: [] }),
          "drops the interrupt": (threadId: string) =>
            view.append({ threadId, state: [], nextNodes: ["a"], pendingInterrupts, metadata })
        }
        for (const [wayOut, write] of Object.entries(mismatches)) {
          const threadId = `law ${wayOut}`
          yield* write(threadId)
          const { version } = Option.getOrThrow(yield* view.get(threadId))
          const error = yield* fails(StateGraph.resume(graph, { threadId }), "GraphMismatch")
          assert.deepStrictEqual([error.threadId, error.namespace, error.version, error.graph], [
            threadId,
            namespace,
            version,
            "law"
          ])
          for (const part of [`"${threadId}"`, `"${namespace}"`, `version ${version}`, "graph \"law\"", wayOut]) {
            assert.include(error.message, part)
          }
        }
      }))

    it.effect("resume with another node continues a thread whose next node the graph no longer has", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const before = chain(here, { a: says("a"), gone: says("gone") })
        const now = chain(here, { a: says("a"), b: says("b") })
        yield* fails(StateGraph.run(before, { threadId, input: [], maxSteps: 1 }), "StepLimitExceeded")
        yield* fails(StateGraph.resume(now, { threadId }), "GraphMismatch")
        const ended = yield* StateGraph.resume(now, { threadId, next: ["b"], maxSteps: 2 })
        assert.deepStrictEqual(ended.state, ["a", "b"])
      }))

    it.effect("resume of a stopped run whose branches the graph no longer has fails, except with other nodes", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const before = fanOut(here, { a: says("a"), gone: says("gone") })
        const now = fanOut(here, { a: says("a"), b: says("b") })
        yield* StateGraph.run(before, { threadId, input: [], strategy: "StopAtNonLinear" })
        for (const update of [undefined, "edited"]) {
          const resumed = fails(StateGraph.resume(now, { threadId, update }), "GraphMismatch")
          assert.include((yield* writesNothing(now, threadId)(resumed)).message, "node \"gone\"")
        }
        assert.deepStrictEqual((yield* StateGraph.resume(now, { threadId, next: ["b"] })).state, ["go", "b"])
      }))

    it.effect("an answer to an interrupt that the graph does not declare, or did not raise, is refused", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const options = { ...words, name: "law", namespace, start: "a", edges: { a: [] } } as const
        const asking = StateGraph.make({
          ...options,
          interrupts: [Ask],
          nodes: { a: () => StateGraph.interrupt(Ask, "well?") }
        })
        yield* StateGraph.run(asking, { threadId, input: [] })
        const silent = StateGraph.make({ ...options, nodes: { a: () => Effect.succeed("a") } })
        const answered = fails(reply(silent, { threadId, response: "continue" }), "GraphMismatch")
        assert.include((yield* writesNothing(asking, threadId)(answered)).message, "Ask")
        yield* Effect.flatMap(StateGraph.view(asking), (view) =>
          view.append({
            threadId,
            state: [],
            nextNodes: ["a"],
            pendingInterrupts: [{ interruptId: "mine", request: null }],
            metadata: { graph: { graph: "law", step: 0, cause: "edit", completedNodes: [] } }
          }))
        assert.include(
          (yield* fails(reply(asking, { threadId, response: "yes" }), "GraphMismatch")).message,
          "no graph raised"
        )
      }))

    it.effect("resume fails if the graph does not declare the pending interrupt, except with other nodes", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const options = { ...words, name: "law", namespace, start: "a", edges: { a: [] } } as const
        const asking = StateGraph.make({
          ...options,
          interrupts: [Ask],
          nodes: { a: () => StateGraph.interrupt(Ask, "well?") }
        })
        yield* StateGraph.run(asking, { threadId, input: [] })
        const silent = StateGraph.make({ ...options, nodes: { a: says("a") } })
        for (const update of [undefined, "edited"]) {
          yield* writesNothing(asking, threadId)(
            fails(StateGraph.resume(silent, { threadId, update }), "GraphMismatch")
          )
        }
        assert.deepStrictEqual(ran, [])
        assert.deepStrictEqual((yield* StateGraph.resume(silent, { threadId, next: ["a"] })).state, ["a"])
      }))
  })

  describe("an update", patient, () => {
    it.effect("an update with a field that the state does not have fails the run, and writes nothing", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const State = Schema.Struct({ text: Schema.String, done: Schema.optionalKey(Schema.Boolean) })
        const typo: { readonly text: string } = { txet: "shout", text: "a" } as never
        let update = typo
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: State,
          start: "a",
          nodes: { a: () => Effect.suspend(() => Effect.succeed(update)) },
          edges: { a: [] }
        })
        const error = yield* fails(StateGraph.run(graph, { threadId, input: { text: "" } }), "StateEncodeError")
        for (const part of ["\"txet\"", "node \"a\""]) assert.include(error.message, part)
        const nothing = writesNothing(graph, threadId)
        yield* nothing(refuses(StateGraph.resume(graph, { threadId, update: typo }), "update"))
        // A name that every object inherits is no field either.
        update = { constructor: "c", text: "a" } as never
        assert.include(
          (yield* fails(StateGraph.resume(graph, { threadId }), "StateEncodeError")).message,
          "constructor"
        )
        update = { text: "b" }
        assert.deepStrictEqual((yield* StateGraph.resume(graph, { threadId })).state, { text: "b" })
      }))

    it.effect("an update may have fields that the state has, though its schema does not", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ count: Schema.Int }),
          start: "a",
          nodes: { a: (state) => Effect.succeed({ ...state, count: state.count + 1 }) },
          edges: { a: [] }
        })
        const input: { readonly count: number } = { count: 1, more: true } as never
        assert.strictEqual((yield* StateGraph.run(graph, { threadId, input })).state.count, 2)
        const { state } = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual(state, { count: 2 })
      }))

    it.effect("an update of its own schema with a field that the schema does not have fails the run", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const typo: { readonly word: string } = { word: "a", wrod: "b" } as never
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Array(Schema.String),
          update: Schema.Struct({ word: Schema.String }),
          reduce: (state, { word }) => [...state, word],
          start: "a",
          nodes: { a: () => Effect.succeed(typo) },
          edges: { a: [] }
        })
        const error = yield* fails(StateGraph.run(graph, { threadId, input: [] }), "StateEncodeError")
        assert.include(error.message, "\"wrod\"")
      }))
  })
}
