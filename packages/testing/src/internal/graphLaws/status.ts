import type { Checkpointer } from "@effect-checkpoint/core"
import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { patient, range } from "../laws/suite.ts"
import { approval, chain, fanOut } from "./graphs.ts"
import {
  Ask,
  Boom,
  elsewhere,
  failing,
  fails,
  type Group,
  reply,
  setting,
  storeError,
  withFaults,
  words,
  writesNothing
} from "./suite.ts"

/** Where threads are, and why nodes failed. */
export const status: Group = (it) => {
  describe("a status", patient, () => {
    it.effect("a status tells where a thread is, from its first step to its end, and writes nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const once = failing("b")
        const graph = chain(here, {
          a: here.says("a"),
          ask: () => StateGraph.interrupt(Ask, "well?"),
          b: here.says("b", once)
        })
        const status = elsewhere(StateGraph.status(graph, threadId))
        assert.isTrue(Option.isNone(yield* status))
        const brief = Effect.map(
          writesNothing(graph, threadId)(status),
          Option.match({
            onNone: () => assert.fail(),
            onSome: ({ _tag, checkpoint, failures, interrupts, nodes, step }) => [
              _tag,
              checkpoint.version,
              step,
              nodes,
              interrupts.map(({ request }) => request),
              failures.map(({ attempt, message, node }) => `${node} ${attempt}: ${message}`)
            ]
          })
        )
        yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual(yield* brief, ["Waiting", 3, 1, ["ask"], ["well?"], []])
        const [question] = Option.getOrThrow(yield* status).interrupts
        yield* StateGraph.answer(graph, { threadId, answers: { [question!.interruptId]: "yes" } })
        assert.deepStrictEqual(yield* brief, ["Unfinished", 3, 1, ["ask"], [], []])
        yield* fails(StateGraph.resume(graph, { threadId }), "Boom")
        assert.deepStrictEqual(yield* brief, ["Failed", 4, 2, ["b"], [], ["b 1: Boom"]])
        yield* StateGraph.resume(graph, { threadId })
        assert.deepStrictEqual(yield* brief, ["Completed", 5, 3, [], [], []])
      }))

    it.effect("a status of a thread that the graph cannot continue is Mismatched, with the reason", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        yield* StateGraph.run(approval(here), { threadId, input: [] })
        const problemOf = <S, I, U, N extends string, A, E, R, Q>(
          graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>
        ) =>
          Effect.map(StateGraph.status(graph, threadId), (status) => {
            const found = Option.getOrThrow(status)
            return found._tag === "Mismatched" ? found.problem : found._tag
          })
        const { namespace } = here
        assert.include(
          yield* problemOf(chain({ name: "other", namespace }, { ask: here.says("ask") })),
          "graph \"law\""
        )
        assert.include(yield* problemOf(chain(here, { a: here.says("a") })), "node \"ask\"")
        const silent = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "ask",
          nodes: { ask: here.says("ask") },
          edges: { ask: [] }
        })
        assert.include(yield* problemOf(silent), "Ask")
        const view = yield* StateGraph.view(silent)
        yield* view.append({ threadId, state: [] })
        assert.include(yield* problemOf(silent), "no graph saved it")
      }))

    it.effect("a status does not read the state, which may not match its schema any more", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        yield* StateGraph.run(approval(here), { threadId, input: [] })
        const stricter = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Int,
          interrupts: [Ask],
          start: "a",
          nodes: { a: () => Effect.succeed(1), ask: () => Effect.succeed(1), b: () => Effect.succeed(1) },
          edges: { a: [], ask: [], b: [] }
        })
        assert.strictEqual(Option.getOrThrow(yield* StateGraph.status(stricter, threadId))._tag, "Waiting")
      }))

    it.effect("statuses lists the threads of a graph that a filter selects, each with where it is", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = chain(here, { ask: () => StateGraph.interrupt(Ask, "well?") })
        const ids = range(1, 5).map((i) => `${threadId} ${i}`)
        for (const id of ids) yield* StateGraph.run(graph, { threadId: id, input: [], metadata: { id } })
        yield* reply(graph, { threadId: ids[0]!, response: "yes" })
        const list = (filter?: Checkpointer.ThreadFilter) =>
          Effect.map(
            Stream.runCollect(StateGraph.statuses(graph, filter)),
            (all) => all.map(({ _tag, checkpoint }) => `${checkpoint.threadId}: ${_tag}`).toSorted()
          )
        assert.deepStrictEqual(yield* list(), [
          `${ids[0]}: Completed`,
          ...ids.slice(1).map((id) => `${id}: Waiting`)
        ])
        assert.strictEqual((yield* list({ interrupted: true })).length, 4)
        assert.deepStrictEqual(yield* list({ metadata: { id: ids[2]! } }), [`${ids[2]}: Waiting`])
      }))
  })

  describe("a failure", patient, () => {
    const failuresOf = <S, I, U, N extends string, A, E, R, Q>(
      graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
      threadId: string
    ) => Effect.map(StateGraph.status(graph, threadId), (status) => Option.getOrThrow(status).failures)

    it.effect("each failure of a node is recorded with its attempt, message and cause, until the step is completed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        let left = 3
        const graph = fanOut(here, {
          a: here.says("a"),
          b: () =>
            Effect.suspend(() => {
              left--
              return left === 2
                ? Effect.fail(new Error("the first"))
                : left === 1
                ? Effect.die(new TypeError("the second"))
                : Effect.succeed("b")
            })
        })
        const options = { threadId, strategy: "Parallel", concurrency: 1 } as const
        yield* Effect.exit(StateGraph.run(graph, { ...options, input: [] }))
        const died = yield* Effect.exit(elsewhere(StateGraph.resume(graph, options)))
        assert.isTrue(died._tag === "Failure" && Cause.hasDies(died.cause))
        const failures = yield* elsewhere(failuresOf(graph, threadId))
        assert.deepStrictEqual(
          failures.map(({ attempt, message, node }) => [node, attempt, message]),
          [["b", 1, "the first"], ["b", 2, "the second"]]
        )
        assert.include(failures[1]!.cause, "TypeError: the second")
        const ended = yield* StateGraph.resume(graph, options)
        assert.deepStrictEqual(ended.state, ["go", "a", "b"])
        assert.deepStrictEqual(yield* failuresOf(graph, threadId), [])
        assert.deepStrictEqual(here.ran, ["go", "a"])
      }))

    it.effect("the failure of a run that is interrupted at once is recorded, and an interruption is none", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const isSaving = yield* Deferred.make<void>()
        const graph = chain(here, { a: here.says("a", failing("a")), b: here.says("b") })
        const saving = withFaults({
          savedWrites: Effect.andThen(Deferred.succeed(isSaving, undefined), Effect.yieldNow)
        })
        const fiber = yield* Effect.forkChild(saving(StateGraph.run(graph, { threadId, input: [] })))
        yield* Deferred.await(isSaving)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* failuresOf(graph, threadId)).length, 1)

        const isIn = yield* Deferred.make<void>()
        const hangs = chain({ ...here, name: "hangs" }, {
          a: () => Effect.andThen(Deferred.succeed(isIn, undefined), Effect.never)
        })
        const other = `${threadId} other`
        const hanging = yield* Effect.forkChild(StateGraph.run(hangs, { threadId: other, input: [] }))
        yield* Deferred.await(isIn)
        yield* Fiber.interrupt(hanging)
        assert.deepStrictEqual(yield* failuresOf(hangs, other), [])
      }))

    it.effect("a failure that cannot be recorded does not hide the error of the node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = fanOut(here, { a: () => Effect.fail(new Boom({ node: "a" })), b: here.says("b") })
        const options = { threadId, strategy: "Parallel", concurrency: 1 } as const
        const dying = withFaults({ saveWrites: () => storeError })
        yield* fails(dying(StateGraph.run(graph, { ...options, input: [] })), "Boom")
        assert.deepStrictEqual(yield* failuresOf(graph, threadId), [])
        yield* fails(StateGraph.resume(graph, options), "Boom")
        assert.strictEqual((yield* failuresOf(graph, threadId)).length, 1)
      }))

    it.effect("a failure with durability exit is saved with the steps before it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = chain(here, { a: here.says("a"), b: here.says("b", failing("b")) })
        yield* fails(StateGraph.run(graph, { threadId, input: [], durability: "exit" }), "Boom")
        const status = Option.getOrThrow(yield* StateGraph.status(graph, threadId))
        assert.deepStrictEqual([status._tag, status.checkpoint.version, status.nodes], ["Failed", 1, ["b"]])
        assert.deepStrictEqual(status.failures.map(({ node }) => node), ["b"])
      }))

    it.effect("a failure is stored as redact returns it, at most 8 KiB long, and not copied with its thread", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "a",
          nodes: { a: () => Effect.fail(new Error(`the secret is 42 ${"\u{1f389}".repeat(5000)}`)) },
          edges: { a: [] },
          redact: (text) => text.replaceAll("42", "[redacted]")
        })
        yield* Effect.exit(StateGraph.run(graph, { threadId, input: [] }))
        const [failure] = yield* failuresOf(graph, threadId)
        for (const text of [failure!.message, failure!.cause]) {
          assert.include(text, "the secret is [redacted]")
          assert.notInclude(text, "42 ")
          assert.isAtMost(new TextEncoder().encode(text).length, 8192)
        }
        const view = yield* StateGraph.view(graph)
        const fork = yield* view.fork(threadId, { version: 1 }, { threadId: `${threadId} fork` })
        const status = Option.getOrThrow(yield* StateGraph.status(graph, fork.threadId))
        assert.deepStrictEqual([status._tag, status.failures], ["Unfinished", []])
      }))
  })
}
