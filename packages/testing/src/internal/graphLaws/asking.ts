import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { patient, range } from "../laws/suite.ts"
import { approval, askTwice, chain, fanOut, takingTurns } from "./graphs.ts"
import {
  Ask,
  type Boom,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  refuses,
  reply,
  setting,
  storeError,
  When,
  withFaults,
  words,
  writesNothing
} from "./suite.ts"

const asked = <S, N extends string>(result: StateGraph.RunResult<S, N>): StateGraph.PendingInterrupt => {
  assert.strictEqual(result._tag, "Interrupted")
  return result._tag === "Interrupted" ? result.interrupts[0]! : assert.fail()
}

/** Questions, their answers, and pauses. */
export const asking: Group = (it) => {
  describe("an interrupt", patient, () => {
    it.effect("an interrupt is saved before the run returns, and another process can answer it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = approval(here)
        const question = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
        assert.deepStrictEqual({ ...question, interruptId: "" }, {
          threadId,
          interruptId: "",
          kind: "Ask",
          node: "ask",
          request: "well?"
        })
        const view = yield* elsewhere(StateGraph.view(graph))
        const stored = Option.getOrThrow(yield* view.get(threadId))
        assert.deepStrictEqual(stored.pendingInterrupts, [{
          interruptId: question.interruptId,
          request: "well?",
          metadata: { graph: graph.name, kind: "Ask", node: "ask" }
        }])
        const again = yield* writesNothing(graph, threadId)(elsewhere(StateGraph.resume(graph, { threadId })))
        assert.deepStrictEqual(asked(again), question)
        const ended = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        assert.strictEqual(ended._tag, "Completed")
        assert.deepStrictEqual(ended.state, ["a", "ask", "b"])
        // Only the node that asked runs again, from its beginning.
        assert.deepStrictEqual(ran, ["a", "ask", "ask", "b"])
      }))

    it.effect("an interrupt encodes its request and its response with their schemas", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const after = DateTime.makeUnsafe("2026-01-01T00:00:00Z")
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [When],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.map(StateGraph.interrupt(When, { after }), ({ at }) =>
                DateTime.formatIso(DateTime.add(at, { days: 1 })))
          },
          edges: { ask: [] }
        })
        const question = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
        assert.deepStrictEqual(question.request, { after: "2026-01-01T00:00:00.000Z" })
        const refused = yield* writesNothing(graph, threadId)(fails(
          reply(graph, { threadId, response: { at: "tomorrow" as unknown as DateTime.Utc } }),
          "InvalidResponse"
        ))
        assert.strictEqual(refused.interruptId, question.interruptId)
        assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, { threadId })), question)
        const ended = yield* elsewhere(reply(graph, { threadId, response: { at: after } }))
        assert.deepStrictEqual(ended.state, ["2026-01-02T00:00:00.000Z"])
      }))

    it.effect("answers that are together larger than maxStateBytes do not stop their run", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const questions = ["first?", "second?", "third?", "fourth?"]
        const graph = chain(here, {
          ask: () => Effect.as(Effect.forEach(questions, (question) => StateGraph.interrupt(Ask, question)), "done")
        })
        const limited = yield* Checkpointer.make({ maxStateBytes: 1000 })
        yield* Effect.gen(function*() {
          asked(yield* StateGraph.run(graph, { threadId, input: [] }))
          for (const question of questions.slice(1)) {
            const next = yield* reply(graph, { threadId, response: "y".repeat(400) })
            assert.strictEqual(asked(next).request, question)
          }
          // A copy takes all of them along.
          const view = yield* StateGraph.view(graph)
          const copy = { threadId: `${threadId} copy` }
          yield* view.fork(threadId, Option.getOrThrow(yield* view.get(threadId)), copy)
          for (const thread of [{ threadId }, copy]) {
            const ended = yield* reply(graph, { ...thread, response: "yes" })
            assert.deepStrictEqual(ended.state, ["done"])
          }
        }).pipe(Effect.provideService(Checkpointer.Checkpointer, limited))
      }))

    it.effect("an interrupt whose request does not match its schema fails the run, and the node cannot catch it", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = chain(here, {
          ask: () => Effect.catchCause(StateGraph.interrupt(Ask, 1 as unknown as string), () => Effect.succeed(""))
        })
        assert.include(
          (yield* fails(StateGraph.run(graph, { threadId, input: [] }), "StateEncodeError")).message,
          "Ask"
        )
      }))

    it.effect("an interrupt ends its node, even if the node catches, races, retries or is uninterruptible", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const ask = StateGraph.interrupt(Ask, "well?")
        const nodes: Record<string, () => Effect.Effect<unknown, never, Ask>> = {
          catches: () => Effect.catchCause(ask, () => Effect.succeed("caught")),
          exits: () => Effect.as(Effect.exit(ask), "caught"),
          protects: () => Effect.uninterruptible(ask),
          acquires: () => Effect.scoped(Effect.acquireRelease(ask, () => Effect.sync(() => ran.push("released")))),
          retries: () => Effect.orDie(Effect.retry(Effect.sandbox(ask), { times: 3 })),
          times: () => Effect.map(Effect.timeoutOption(ask, "1 day"), Option.getOrElse(() => "caught")),
          races: () => Effect.race(ask, Effect.never),
          forks: () => Effect.flatMap(Effect.forkChild(ask), Fiber.join),
          ensures: () => Effect.ensuring(ask, Effect.sync(() => ran.push("ensured"))),
          several: () => Effect.map(Effect.all([ask, ask], { concurrency: "unbounded" }), ([first]) => first)
        }
        for (const [name, node] of Object.entries(nodes)) {
          const graph = chain(here, { ask: () => Effect.map(node(), String) })
          const id = `${threadId} ${name}`
          let result = yield* StateGraph.run(graph, { threadId: id, input: [] })
          assert.strictEqual(asked(result).node, "ask")
          for (let i = 0; i < (name === "several" ? 2 : 1); i++) {
            result = yield* reply(graph, { threadId: id, response: `yes ${i}` })
          }
          assert.deepStrictEqual(result.state, [name === "exits" ? "caught" : "yes 0"])
        }
        assert.deepStrictEqual(ran, ["released", "ensured", "ensured"])
      }))

    it.effect("an interrupt takes exactly one of the answers that many processes give at the same time", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran } = here
        const graph = approval(here)
        for (const named of [true, false]) {
          const threadId = `law ${named}`
          const { interruptId } = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
          ran.length = 0
          const results = yield* Effect.forEach(range(1, 24), (i) =>
            Effect.result(elsewhere(
              reply(graph, { threadId, response: `answer ${i}`, ...(named ? { interruptId } : {}) })
            )), { concurrency: "unbounded" })
          const errors = results.filter((result) => result._tag === "Failure").map(({ failure }) => failure._tag)
          assert.deepStrictEqual(errors, Array.from({ length: 23 }, () => "InterruptAlreadyResolved" as const))
          assert.deepStrictEqual(ran, ["ask", "b"])
          const late = fails(reply(graph, { threadId, response: "late" }), "InterruptAlreadyResolved")
          yield* writesNothing(graph, threadId)(late)
        }
      }))

    it.effect("an answered interrupt is not raised again after the process dies before the next checkpoint", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = approval(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        let puts = 0
        const dying = withFaults({ put: () => ++puts === 1 ? storeError : undefined })
        yield* fails(dying(reply(graph, { threadId, response: "yes" })), "StoreError")
        yield* fails(reply(graph, { threadId, response: "no" }), "InterruptAlreadyResolved")
        const ended = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.strictEqual(ended._tag, "Completed")
        assert.deepStrictEqual(ran, ["a", "ask", "ask", "ask", "b"])
      }))

    it.effect("an answered interrupt is not raised again after the run fails or is interrupted", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const isIn = yield* Deferred.make<void>()
        const once = failing("ask")
        let hangs = true
        const graph = chain(here, {
          ask: () =>
            Effect.gen(function*() {
              const answer = yield* StateGraph.interrupt(Ask, "well?")
              yield* once
              if (hangs) yield* Effect.andThen(Deferred.succeed(isIn, undefined), Effect.never)
              return answer
            })
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        yield* fails(reply(graph, { threadId, response: "yes" }), "Boom")
        const fiber = yield* Effect.forkChild(StateGraph.resume(graph, { threadId }))
        yield* Deferred.await(isIn)
        yield* Fiber.interrupt(fiber)
        hangs = false
        assert.deepStrictEqual((yield* elsewhere(StateGraph.resume(graph, { threadId }))).state, ["yes"])
      }))

    it.effect("an answer that the schema of its interrupt no longer accepts fails the run, and cannot be caught", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const graph = approval(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        let puts = 0
        const dying = withFaults({ put: () => ++puts === 1 ? storeError : undefined })
        yield* fails(dying(reply(graph, { threadId, response: "yes" })), "StoreError")
        class Stricter
          extends StateGraph.Interrupt<Stricter>()("Ask", { request: Schema.String, response: Schema.Int })
        {}
        const stricter = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Stricter],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.catchCause(
                Effect.as(StateGraph.interrupt(Stricter, "well?"), "hidden"),
                () => Effect.succeed("hidden")
              ),
            b: () => Effect.void
          },
          edges: { ask: [], b: [] }
        })
        const error = yield* fails(StateGraph.resume(stricter, { threadId }), "StateDecodeError")
        assert.deepStrictEqual([error.reason._tag, error.raw], ["SchemaMismatch", "yes"])
        assert.include(error.message, "\"ask\"")
      }))

    it.effect("an answer to a question is not used for another request of the node, which waits for its own answer", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const paid: Array<number> = []
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ amount: Schema.Int }),
          interrupts: [Ask],
          start: "pay",
          nodes: {
            pay: ({ amount }) =>
              Effect.map(StateGraph.interrupt(Ask, `pay ${amount}?`), (answer) => {
                if (answer === "yes") paid.push(amount)
              })
          },
          edges: { pay: [] }
        })
        const view = yield* StateGraph.view(graph)
        const first = asked(yield* StateGraph.run(graph, { threadId, input: { amount: 250 } }))
        yield* view.update(threadId, () => ({ amount: 9999 }))
        const second = asked(yield* reply(graph, { threadId, response: "yes" }))
        assert.deepStrictEqual([second.request, paid], ["pay 9999?", []])
        assert.notStrictEqual(second.interruptId, first.interruptId)
        const late = reply(graph, { threadId, interruptId: first.interruptId, response: "yes" })
        yield* writesNothing(graph, threadId)(fails(late, "InterruptAlreadyResolved"))
        // An edit in the same call as the answer changes the question too.
        const third = asked(yield* reply(graph, { threadId, response: "yes", update: { amount: 300 } }))
        assert.deepStrictEqual([third.request, paid], ["pay 300?", []])
        const ended = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        assert.deepStrictEqual([ended._tag, paid], ["Completed", [300]])
      }))

    it.effect("an answer to an interrupt of one kind is not used for another kind with the same request", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        class Other
          extends StateGraph.Interrupt<Other>()("Other", { request: Schema.String, response: Schema.String })
        {}
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask, Other],
          start: "ask",
          nodes: {
            ask: (state) =>
              state.length === 0 ? StateGraph.interrupt(Ask, "well?") : StateGraph.interrupt(Other, "well?")
          },
          edges: { ask: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const other = asked(yield* reply(graph, { threadId, response: "1", update: "changed" }))
        assert.deepStrictEqual([other.kind, other.request], ["Other", "well?"])
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "2" })).state, ["changed", "2"])
      }))

    it.effect("an answer to one item of a list is not used for another item after the list has changed", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({ items: Schema.Array(Schema.String), log: Schema.Array(Schema.String) }),
          interrupts: [Ask],
          start: "buy",
          nodes: {
            buy: ({ items }) =>
              Effect.map(
                Effect.forEach(items, (item) =>
                  Effect.map(StateGraph.interrupt(Ask, item), (answer) => `${item}: ${answer}`)),
                (log) => ({ log })
              )
          },
          edges: { buy: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: { items: ["paper", "pens"], log: [] } })
        yield* reply(graph, { threadId, response: "yes to paper" })
        const result = yield* reply(graph, {
          threadId,
          response: "yes to pens",
          update: { items: ["safe", "pens", "paper", "paper"] }
        })
        assert.strictEqual(asked(result).request, "safe")
        const again = asked(yield* reply(graph, { threadId, response: "no to the safe" }))
        assert.strictEqual(again.request, "paper")
        const ended = yield* reply(graph, { threadId, response: "no more paper" })
        assert.deepStrictEqual(ended.state.log, [
          "safe: no to the safe",
          "pens: yes to pens",
          "paper: yes to paper",
          "paper: no more paper"
        ])
      }))

    it.effect("answers to questions that a node asks at the same time do not depend on the order in which it asks", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const questions = ["a?", "b?", "c?", "d?", "e?", "f?"]
        let runs = 0
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.suspend(() => {
                // Each run begins with a question that has no answer yet, and the answered ones come last.
                const first = runs++ % questions.length
                const order = [...questions.slice(first), ...questions.slice(0, first)]
                return Effect.map(
                  Effect.forEach(
                    order,
                    (question) => Effect.map(StateGraph.interrupt(Ask, question), (answer) => `${question} ${answer}`),
                    { concurrency: "unbounded" }
                  ),
                  (answers) => answers.toSorted().join()
                )
              })
          },
          edges: { ask: [] }
        })
        let result = yield* StateGraph.run(graph, { threadId, input: [] })
        const seen: Array<unknown> = []
        while (result._tag === "Interrupted") {
          const { request } = result.interrupts[0]!
          seen.push(request)
          result = yield* elsewhere(reply(graph, { threadId, response: `to ${String(request)}` }))
        }
        assert.deepStrictEqual(seen, questions)
        assert.deepStrictEqual(result.state, [questions.map((question) => `${question} to ${question}`).join()])
      }))

    it.effect("an answer fits a request whose keys have another order", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        class Json extends StateGraph.Interrupt<Json>()("Json", { request: Schema.Json, response: Schema.String }) {}
        let runs = 0
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Json],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.suspend(() => StateGraph.interrupt(Json, runs++ === 0 ? { a: 0, b: [1] } : { b: [1], a: -0 }))
          },
          edges: { ask: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "yes" })).state, ["yes"])
      }))

    it.effect("a node that asks something else each time it runs fails with UnstableRequest after three replacements", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        let runs = 0
        let isStable = false
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.gen(function*() {
                const name = yield* StateGraph.interrupt(Ask, "name?")
                const draft = StateGraph.interrupt(Ask, isStable ? "draft?" : `draft ${++runs}?`)
                return `${name} ${yield* Effect.catchCause(draft, () => Effect.succeed("caught"))}`
              })
          },
          edges: { ask: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        const requests: Array<unknown> = []
        let response = "Ada"
        for (let i = 0; i < 4; i++) {
          requests.push(asked(yield* elsewhere(reply(graph, { threadId, response }))).request)
          response = "send it"
        }
        assert.deepStrictEqual(requests, ["draft 1?", "draft 2?", "draft 3?", "draft 4?"])
        const error = yield* fails(reply(graph, { threadId, response }), "UnstableRequest")
        assert.deepStrictEqual([error.node, error.kind, error.answers], ["ask", "Ask", 4])
        for (const part of [`"${threadId}"`, "keep it in the state", "next: [\"ask\"]"]) {
          assert.include(error.message, part)
        }
        yield* fails(elsewhere(StateGraph.resume(graph, { threadId })), "UnstableRequest")
        isStable = true
        assert.strictEqual(asked(yield* StateGraph.resume(graph, { threadId, next: ["ask"] })).request, "name?")
        assert.strictEqual(asked(yield* reply(graph, { threadId, response: "Ada" })).request, "draft?")
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "yes" })).state, ["Ada yes"])
      }))

    it.effect("an answer that the node uses begins the count of replaced questions again", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: {
            ask: (state) =>
              Effect.forEach(state, (word) => StateGraph.interrupt(Ask, word)).pipe(Effect.map((all) => all.join()))
          },
          edges: { ask: [] }
        })
        yield* StateGraph.run(graph, { threadId, input: ["1"] })
        // Each answer is used, because the state only grows, and then the first word changes three times.
        const requests: Array<unknown> = []
        for (const update of ["2", "3", "4", "5", "6"]) {
          requests.push(asked(yield* reply(graph, { threadId, response: "yes", update })).request)
        }
        assert.deepStrictEqual(requests, ["2", "3", "4", "5", "6"])
        const view = yield* StateGraph.view(graph)
        for (const word of ["a", "b", "c"]) {
          yield* view.update(threadId, () => [word])
          assert.strictEqual(asked(yield* reply(graph, { threadId, response: "yes" })).request, word)
        }
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "yes" })).state, ["c", "yes"])
      }))

    it.effect("interrupts of one node are raised one at a time, and again at each visit of the node", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: {
            ask: (state) =>
              Effect.gen(function*() {
                const first = yield* StateGraph.interrupt(Ask, `first of ${state.length}`)
                const second = yield* StateGraph.interrupt(Ask, `second of ${state.length} after ${first}`)
                return `${first}${second}`
              })
          },
          edges: { ask: (state) => state.length < 3 ? ["ask"] : [] }
        })
        const questions: Array<StateGraph.PendingInterrupt> = []
        let result = yield* StateGraph.run(graph, { threadId, input: [] })
        for (let i = 0; result._tag === "Interrupted"; i++) {
          questions.push(result.interrupts[0]!)
          result = yield* elsewhere(reply(graph, { threadId, response: String(i) }))
        }
        assert.deepStrictEqual(result.state, ["01", "23", "45"])
        assert.deepStrictEqual(questions.map(({ request }) => request), [
          "first of 0",
          "second of 0 after 0",
          "first of 1",
          "second of 1 after 2",
          "first of 2",
          "second of 2 after 4"
        ])
        assert.strictEqual(new Set(questions.map(({ interruptId }) => interruptId)).size, 6)
      }))

    it.effect("questions of parallel nodes are open at once, each is answered by itself, and only nodes with an answer run again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const asks = (name: string) => () =>
          Effect.map(
            Effect.andThen(Effect.sync(() => ran.push(name)), StateGraph.interrupt(Ask, `${name}?`)),
            (answer) => `${name} ${answer}`
          )
        const graph = fanOut(here, { a: says("a"), b: asks("b"), c: says("c"), d: asks("d") })
        const waits = yield* StateGraph.run(graph, { threadId, input: [] })
        const open = waits._tag === "Interrupted" ? waits.interrupts : []
        assert.deepStrictEqual(open.map(({ node, request }) => [node, request]), [["b", "b?"], ["d", "d?"]])
        assert.deepStrictEqual(ran.splice(0).toSorted(), ["a", "b", "c", "d", "go"])
        const { interruptId } = open[1]!
        const left = yield* writesNothing(graph, threadId)(
          elsewhere(reply(graph, { threadId, interruptId, response: "no" }))
        )
        assert.deepStrictEqual(left._tag === "Interrupted" ? left.interrupts : left._tag, [open[0]!])
        assert.deepStrictEqual(ran.splice(0), ["d"])
        const ended = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        assert.deepStrictEqual(ended.state, ["go", "a", "b yes", "c", "d no"])
        assert.deepStrictEqual(ran, ["b"])
      }))

    it.effect("an interrupt whose response is void or undefined takes undefined as its answer", () =>
      Effect.gen(function*() {
        class Done extends StateGraph.Interrupt<Done>()("Done", { request: Schema.String, response: Schema.Void }) {}
        class Maybe extends StateGraph.Interrupt<Maybe>()("Maybe", {
          request: Schema.String,
          response: Schema.UndefinedOr(Schema.String)
        }) {}
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask, Done, Maybe],
          start: "ask",
          nodes: {
            ask: () =>
              Effect.gen(function*() {
                const done = yield* StateGraph.interrupt(Done, "done?")
                const maybe = yield* StateGraph.interrupt(Maybe, "maybe?")
                return `${done} ${maybe} ${yield* StateGraph.interrupt(Ask, "well?")}`
              })
          },
          edges: { ask: [] }
        })
        const first = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
        assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, { threadId, update: "edited" })), first)
        const second = asked(yield* reply(graph, { threadId, response: undefined }))
        assert.strictEqual(second.request, "maybe?")
        const { interruptId } = second
        const third = asked(yield* elsewhere(reply(graph, { threadId, interruptId, response: undefined })))
        assert.strictEqual(third.request, "well?")
        const nothing = writesNothing(graph, threadId)
        const named = reply(graph, { threadId, interruptId: third.interruptId, response: undefined })
        yield* nothing(fails(named, "InvalidResponse"))
        const late = reply(graph, { threadId, interruptId, response: undefined })
        yield* nothing(fails(late, "InterruptAlreadyResolved"))
        const ended = yield* reply(graph, { threadId, response: "yes" })
        assert.deepStrictEqual(ended.state, ["edited", "undefined undefined yes"])
      }))

    it.effect("an interrupt does not hide a defect in a finalizer of its node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        let isBroken = true
        const finalizer = Effect.suspend(() => isBroken ? Effect.die("the finalizer is broken") : Effect.void)
        const graph = chain(here, { ask: () => Effect.ensuring(StateGraph.interrupt(Ask, "well?"), finalizer) })
        const exit = yield* Effect.exit(StateGraph.run(graph, { threadId, input: [] }))
        assert.isTrue(exit._tag === "Failure" && String(exit.cause).includes("the finalizer is broken"))
        isBroken = false
        asked(yield* StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "yes" })).state, ["yes"])
      }))

    it.effect("an interrupt that a retry of its node asks again is another question, and one before the retry is asked once", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const requests = Effect.fnUntraced(function*(id: string, node: () => Effect.Effect<string, Boom, Ask>) {
          const graph = chain(here, { ask: node })
          let questions = 0
          let result = yield* StateGraph.run(graph, { threadId: id, input: [] })
          while (result._tag === "Interrupted") {
            result = yield* reply(graph, { threadId: id, response: `yes ${++questions}` })
          }
          return [questions, ...result.state]
        })
        const well = StateGraph.interrupt(Ask, "well?")
        const within = yield* requests(
          `${threadId} 1`,
          () =>
            Effect.retry(Effect.tap(well, (answer) => answer === "yes 1" ? failing("ask") : Effect.void), { times: 1 })
        )
        assert.deepStrictEqual(within, [2, "yes 2"])
        const before = yield* requests(
          `${threadId} 2`,
          () => Effect.flatMap(well, (answer) => Effect.retry(Effect.as(failing("ask"), answer), { times: 1 }))
        )
        assert.deepStrictEqual(before, [1, "yes 1"])
      }))

    it.effect("a graph with two interrupts of one id, or with the id of a pause, is refused", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const options = { ...words, name: "law", namespace, start: "a", edges: { a: [] } } as const
        class Again extends StateGraph.Interrupt<Again>()("Ask", { request: Schema.Int, response: Schema.Int }) {}
        class Pause extends StateGraph.Interrupt<Pause>()("Pause" as "Other", {
          request: Schema.String,
          response: Schema.String
        }) {}
        const twice = StateGraph.make({
          ...options,
          interrupts: [Ask, Again],
          nodes: { a: () => StateGraph.interrupt(Ask, "well?") }
        })
        const pause = StateGraph.make({
          ...options,
          interrupts: [Pause],
          nodes: { a: () => StateGraph.interrupt(Pause, "well?") }
        })
        const same = StateGraph.make({
          ...options,
          interrupts: [Ask, Ask],
          nodes: { a: () => StateGraph.interrupt(Ask, "well?") }
        })
        yield* refuses(StateGraph.run(twice, { threadId, input: [] }), "interrupts")
        yield* refuses(StateGraph.run(pause, { threadId, input: [] }), "interrupts")
        asked(yield* StateGraph.run(same, { threadId, input: [] }))
        yield* refuses(reply(twice, { threadId, response: "yes" }), "interrupts")
        assert.deepStrictEqual((yield* reply(same, { threadId, response: "yes" })).state, ["yes"])
      }))

    it.effect("an interrupt refuses an answer with the id of another interrupt", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace: here.namespace,
          interrupts: [Ask],
          start: "ask",
          nodes: { ask: () => StateGraph.interrupt(Ask, "well?") },
          edges: { ask: (state) => state.length < 2 ? ["ask"] : [] }
        })
        const first = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
        const second = asked(
          yield* reply(graph, { threadId, response: "one", interruptId: first.interruptId })
        )
        const stale = fails(
          reply(graph, { threadId, response: "late", interruptId: first.interruptId, update: "not this" }),
          "InterruptAlreadyResolved"
        )
        assert.strictEqual((yield* writesNothing(graph, threadId)(stale)).interruptId, first.interruptId)
        assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, { threadId })), second)
        const ended = yield* reply(graph, { threadId, response: "two" })
        assert.deepStrictEqual(ended.state, ["one", "two"])
        const finished = fails(reply(graph, { threadId, response: "three" }), "InterruptAlreadyResolved")
        yield* writesNothing(graph, threadId)(finished)
      }))

    it.effect("an edit of the state keeps the pending interrupt, earlier answers and results of parallel nodes", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, {
          a: says("a"),
          ask: (state) => Effect.map(askTwice, (answers) => `${answers} ${state.length}`)
        })
        const view = yield* StateGraph.view(graph)
        const first = asked(yield* StateGraph.run(graph, { threadId, input: [] }))
        yield* view.update(threadId, (state) => [...state, "edited"])
        assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, { threadId })), first)
        const second = asked(yield* reply(graph, { threadId, response: "1", update: "with the answer" }))
        assert.strictEqual(second.request, "second?")
        assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, { threadId, update: "between" })), second)
        const ended = yield* elsewhere(
          reply(graph, { threadId, response: "2", interruptId: second.interruptId })
        )
        assert.deepStrictEqual(ended.state, ["go", "edited", "with the answer", "between", "a", "1 2 4"])
        assert.deepStrictEqual(ran, ["go", "a"])
      }))

    it.effect("an answer and an edit at the same time are both saved", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = approval(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const view = yield* StateGraph.view(graph)
        let isFirst = true
        const beaten = Effect.gen(function*() {
          const store = yield* Checkpointer.Checkpointer
          return Checkpointer.Checkpointer.of({
            ...store,
            view: (options) =>
              Effect.map(store.view(options), (inside) => ({
                ...inside,
                answer: (id, answers, options) =>
                  Effect.suspend(() => {
                    if (!isFirst) return inside.answer(id, answers, options)
                    isFirst = false
                    return Effect.andThen(
                      Effect.orDie(view.update(threadId, (state) => [...state, "edited"])),
                      inside.answer(id, answers, options)
                    )
                  })
              }))
          })
        })
        const ended = yield* Effect.provideServiceEffect(
          reply(graph, { threadId, response: "yes" }),
          Checkpointer.Checkpointer,
          beaten
        )
        assert.deepStrictEqual(ended.state, ["a", "edited", "ask", "b"])
      }))

    it.effect("resume with other nodes drops the pending interrupt and the results of its step", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = approval(here)
        yield* StateGraph.run(graph, { threadId, input: [] })
        const both = reply(graph, { threadId, next: ["b"], response: "yes" })
        assert.strictEqual((yield* writesNothing(graph, threadId)(fails(both, "InvalidInput"))).field, "answers")
        const ended = yield* StateGraph.resume(graph, { threadId, next: ["b"] })
        assert.deepStrictEqual(ended.state, ["a", "b"])
        yield* fails(reply(graph, { threadId, response: "yes" }), "InterruptAlreadyResolved")
        assert.deepStrictEqual(ran, ["a", "ask", "b"])
      }))

    it.effect("a prune keeps a question while its thread waits for the answer, and removes it with its step", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { namespace, threadId } = here
        const graph = approval(here)
        const view = yield* StateGraph.view(graph)
        const checkpointer = yield* Checkpointer.Checkpointer
        const prune = checkpointer.prune({ namespace, maxVersions: 1 })
        for (const edit of [Effect.void, view.update(threadId, (state) => [...state, "edited"])]) {
          yield* StateGraph.run(graph, { threadId, input: [] })
          yield* edit
          yield* prune
          const ended = yield* reply(graph, { threadId, response: "yes" })
          assert.strictEqual(ended._tag, "Completed")
          yield* prune
          assert.deepStrictEqual(
            (yield* view.listVersions(threadId)).map(({ version }) => version),
            [ended.checkpoint.version]
          )
          assert.deepStrictEqual(yield* view.pendingWrites(ended.checkpoint), {})
        }
      }))

    it.effect("StateGraph.interrupts lists the pending interrupts of the threads of the graph, and no others", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = approval(here)
        const ids = range(1, 3).map((i) => `${threadId} ${i}`)
        yield* Effect.forEach(ids, (id) => StateGraph.run(graph, { threadId: id, input: [] }))
        yield* reply(graph, { threadId: ids[1]!, response: "yes" })
        const view = yield* StateGraph.view(graph)
        yield* view.append({ threadId: "by hand", state: [], pendingInterrupts: [{ interruptId: "1", request: null }] })
        const other = chain({ ...here, name: "other" }, { ask: () => StateGraph.interrupt(Ask, "other?") })
        yield* StateGraph.run(other, { threadId: "other", input: [] })
        const open = yield* Stream.runCollect(
          elsewhere(Effect.succeed(graph)).pipe(
            Effect.map(StateGraph.interrupts),
            Stream.unwrap
          )
        )
        assert.deepStrictEqual(open.map(({ node, threadId }) => [threadId, node]).toSorted(), [
          [ids[0], "ask"],
          [ids[2], "ask"]
        ])
        for (const { interruptId, threadId } of open) {
          yield* reply(graph, { threadId, interruptId, response: "yes" })
        }
        assert.deepStrictEqual(yield* Stream.runCollect(StateGraph.interrupts(graph)), [])
      }))
  })

  describe("a pause", patient, () => {
    it.effect("a pause before or after a node ends with the response continue, at each visit of the node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = takingTurns(here, 4)
        const expected = {
          interruptBefore: [["before", []], ["before", ["a", "b"]]],
          interruptAfter: [["after", ["a"]], ["after", ["a", "b", "a"]]]
        }
        for (const durability of ["step", "exit"] as const) {
          for (const when of ["interruptBefore", "interruptAfter"] as const) {
            const id = `${threadId} ${durability} ${when}`
            const options = { threadId: id, durability, [when]: ["a"] as const }
            let result = yield* StateGraph.run(graph, { ...options, input: [] })
            const seen: Array<unknown> = []
            const ids = new Set<string>()
            while (result._tag === "Interrupted") {
              const { interruptId, kind, node, request } = result.interrupts[0]!
              ids.add(interruptId)
              assert.deepStrictEqual([kind, node], ["Pause", "a"])
              seen.push([(request as { readonly pause: string }).pause, result.state])
              assert.deepStrictEqual(asked(yield* StateGraph.resume(graph, options)).interruptId, interruptId)
              const refused = reply(graph, { ...options, response: "go" })
              yield* writesNothing(graph, id)(fails(refused, "InvalidResponse"))
              result = yield* elsewhere(reply(graph, { ...options, response: "continue" }))
            }
            assert.deepStrictEqual(seen, expected[when])
            assert.strictEqual(ids.size, 2)
            assert.deepStrictEqual(ran.splice(0), ["a", "b", "a", "b"])
            assert.deepStrictEqual(result.state, ["a", "b", "a", "b"])
          }
        }
      }))

    it.effect("a run pauses once between two steps, before an interrupt of the next node", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = approval(here)
        const options = { threadId, interruptAfter: ["a", "b"], interruptBefore: ["ask"] } as const
        const kinds: Array<string> = []
        let result = yield* StateGraph.run(graph, { ...options, input: [] })
        while (result._tag === "Interrupted") {
          kinds.push(result.interrupts[0]!.kind)
          const response = result.interrupts[0]!.kind === "Pause" ? "continue" : "yes"
          result = yield* elsewhere(reply(graph, { ...options, response }))
        }
        assert.deepStrictEqual(kinds, ["Pause", "Ask", "Pause"])
        assert.deepStrictEqual(result.state, ["a", "ask", "b"])
        assert.deepStrictEqual(ran, ["a", "ask", "ask", "b"])
        assert.deepStrictEqual(
          (yield* historyOf(graph, threadId)).map(({ completedNodes, step }) => [step, completedNodes]),
          [
            [0, []],
            [1, ["a"]],
            [2, ["ask"]],
            [3, ["b"]]
          ]
        )
      }))

    it.effect("a pause after the last step of a stopped run keeps the branches", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const graph = fanOut(here, { a: says("a"), b: says("b") })
        const settings = { strategy: "StopAtNonLinear", interruptAfter: ["go"] } as const
        asked(yield* StateGraph.run(graph, { ...settings, threadId, input: [] }))
        asked(yield* elsewhere(StateGraph.resume(graph, { threadId })))
        const result = yield* elsewhere(reply(graph, { threadId, response: "continue" }))
        assert.deepStrictEqual(result._tag === "Stopped" ? result.branches : result._tag, ["a", "b"])
        const ended = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["go", "a", "b"]])
      }))
  })
}
