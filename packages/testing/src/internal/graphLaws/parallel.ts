import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { patient } from "../laws/suite.ts"
import { fanOut } from "./graphs.ts"
import {
  Boom,
  elsewhere,
  failing,
  fails,
  type Group,
  historyOf,
  setting,
  storeError,
  withFaults,
  words
} from "./suite.ts"

/** Fan-out: several nodes in one step. */
export const parallel: Group = (it) => {
  describe("a parallel step", patient, () => {
    it.effect("a parallel step runs as many nodes at the same time as its concurrency allows", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        for (const concurrency of [undefined, 1, 2, 9, "unbounded"] as const) {
          const expected = typeof concurrency === "number" ? Math.min(concurrency, 5) : 5
          const all = yield* Deferred.make<void>()
          let now = 0
          let most = 0
          // Each node waits until the expected number of nodes is running.
          const node = () =>
            Effect.gen(function*() {
              most = Math.max(most, ++now)
              if (now === expected) yield* Deferred.succeed(all, undefined)
              yield* Deferred.await(all)
              yield* Effect.yieldNow
              now--
            })
          const graph = fanOut(here, { a: node, b: node, c: node, d: node, e: node })
          yield* StateGraph.run(graph, { threadId, input: [], concurrency })
          assert.strictEqual(most, expected)
        }
      }))

    it.effect("nodes of a parallel step that returned before another one failed or died do not run again", () =>
      Effect.gen(function*() {
        for (const problem of [Effect.fail(new Boom({ node: "b" })), Effect.die("b")]) {
          const here = yield* setting
          const { ran, says, threadId } = here
          const finished = yield* Deferred.make<void>()
          let isBroken = true
          const fragile = Effect.suspend(() =>
            isBroken ? Effect.andThen(Deferred.await(finished), problem) : Effect.void
          )
          const slow = Effect.suspend(() => isBroken ? Effect.never : Effect.void)
          const graph = fanOut(here, {
            a: says("a"),
            b: says("b", fragile),
            c: says("c", slow),
            d: () => Effect.as(Effect.sync(() => ran.push("d")), undefined)
          })
          let kept = 0
          const savedWrites = Effect.suspend(() => ++kept === 2 ? Deferred.succeed(finished, undefined) : Effect.void)
          const run = withFaults({ savedWrites })(StateGraph.run(graph, { threadId, input: [] }))
          assert.strictEqual((yield* Effect.exit(run))._tag, "Failure")
          isBroken = false
          const result = yield* elsewhere(StateGraph.resume(graph, { threadId }))
          assert.deepStrictEqual(result.state, ["go", "a", "b", "c"])
          assert.deepStrictEqual(ran, ["go", "a", "b", "c", "d", "b", "c"])
        }
      }))

    it.effect("resume with nodes of a parallel step drops their results and runs them again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const graph = fanOut(here, { a: says("a"), b: says("b", failing("b")) })
        yield* fails(StateGraph.run(graph, { threadId, input: [], concurrency: 1 }), "Boom")
        const result = yield* StateGraph.resume(graph, { threadId, next: ["a", "b"] })
        assert.deepStrictEqual(result.state, ["go", "a", "b"])
        assert.deepStrictEqual(ran, ["go", "a", "b", "a", "b"])
      }))

    it.effect("an interruption of a parallel step keeps the results of the nodes that returned", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says, threadId } = here
        const all = yield* Deferred.make<void>()
        let waiting = 0
        let isHanging = true
        const hangs = (name: string) =>
          Effect.suspend(() => {
            if (!isHanging) return Effect.void
            const arrive = Effect.suspend(() => ++waiting === 2 ? Deferred.succeed(all, undefined) : Effect.void)
            return Effect.onInterrupt(
              Effect.andThen(arrive, Effect.never),
              () => Effect.sync(() => ran.push(`${name} cleaned`))
            )
          })
        const graph = fanOut(here, { a: says("a"), b: says("b", hangs("b")), c: says("c", hangs("c")) })
        const fiber = yield* Effect.forkChild(StateGraph.run(graph, { threadId, input: [] }))
        yield* Deferred.await(all)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(ran.splice(0).toSorted(), ["a", "b", "b cleaned", "c", "c cleaned", "go"])
        isHanging = false
        const result = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual(result.state, ["go", "a", "b", "c"])
        assert.deepStrictEqual(ran.toSorted(), ["b", "c"])
      }))

    it.effect("an interruption does not undo a parallel step whose nodes have all returned", () =>
      Effect.gen(function*() {
        const { namespace, ran, says, threadId } = yield* setting
        const keeping = yield* Deferred.make<void>()
        const both = yield* Deferred.make<void>()
        const kept = yield* Deferred.make<void>()
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "go",
          nodes: {
            go: says("go"),
            a: says("a"),
            b: says("b", Effect.ensuring(Deferred.await(keeping), Deferred.succeed(both, undefined))),
            c: says("c")
          },
          edges: { go: ["a", "b"], a: ["c"], b: ["c"], c: [] }
        })
        const savedWrites = Effect.andThen(Deferred.succeed(keeping, undefined), Deferred.await(kept))
        const fiber = yield* Effect.forkChild(
          withFaults({ savedWrites })(StateGraph.run(graph, { threadId, input: [] }))
        )
        yield* Deferred.await(both)
        yield* Effect.yieldNow
        fiber.interruptUnsafe()
        yield* Deferred.succeed(kept, undefined)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).at(-1)?.state, ["go", "a", "b"])
        assert.deepStrictEqual((yield* StateGraph.resume(graph, { threadId })).state, ["go", "a", "b", "c"])
        assert.deepStrictEqual(ran, ["go", "a", "b", "c"])
      }))

    it.effect("an update of a parallel node that cannot be stored fails the run", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { says, threadId } = here
        const graph = fanOut(here, { a: says("a"), b: says("b"), c: () => Effect.succeed(1 as unknown as string) })
        const options = { threadId, concurrency: 1 } as const
        const refused = yield* fails(StateGraph.run(graph, { ...options, input: [] }), "StateEncodeError")
        assert.include(refused.message, "\"c\"")
        yield* fails(
          withFaults({ saveWrites: () => storeError })(
            StateGraph.run(graph, { ...options, threadId: `${threadId} 2`, input: [] })
          ),
          "StoreError"
        )
      }))

    it.effect("updates of parallel nodes are saved and read with any schema that the state can have", () =>
      Effect.gen(function*() {
        class Money {
          readonly cents: number
          constructor(cents: number) {
            this.cents = cents
          }
        }
        const Amount = Schema.Int.pipe(Schema.decodeTo(
          Schema.instanceOf(Money),
          SchemaTransformation.transform({ decode: (cents) => new Money(cents), encode: ({ cents }) => cents })
        ))
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          name: "law",
          namespace,
          state: Schema.Struct({
            paid: Amount,
            at: Schema.OptionFromOptionalKey(Schema.DateTimeUtc),
            note: Schema.optional(Schema.String),
            ["__proto__"]: Schema.optionalKey(Schema.Int),
            tries: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))
          }),
          start: "go",
          nodes: {
            go: () => Effect.void,
            paid: () => Effect.succeed({ paid: new Money(250) }),
            note: () => Effect.succeed({ note: undefined }),
            tries: ({ tries }) => Effect.succeed({ tries: tries + 1 }),
            nothing: () => Effect.succeed({}),
            fails: () => failed
          },
          edges: {
            go: ["paid", "note", "tries", "nothing", "fails"],
            paid: [],
            note: [],
            tries: [],
            nothing: [],
            fails: []
          }
        })
        const failed = failing("fails")
        const input = { paid: new Money(0), at: Option.none(), note: "note", tries: 6 }
        const options = { threadId, concurrency: 1 } as const
        yield* fails(StateGraph.run(graph, { ...options, input }), "Boom")
        const { state } = yield* elsewhere(StateGraph.resume(graph, options))
        assert.instanceOf(state.paid, Money)
        assert.deepStrictEqual([state.paid.cents, state.note, state.tries], [250, undefined, 7])
      }))
  })
}
