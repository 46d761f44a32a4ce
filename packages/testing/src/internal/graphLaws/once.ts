import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
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
  refuses,
  reply,
  setting,
  storeError,
  withFaults,
  words
} from "./suite.ts"

type Context = StateGraph.NodeContext

/** An effect that counts its runs, and succeeds with their number. */
const counter = () => {
  const count = { runs: 0 }
  return { count, effect: Effect.sync(() => `run ${++count.runs}`) }
}

const pendingWritesOf = Effect.fnUntraced(function*<S, I, U, N extends string, A, E, R, Q>(
  graph: StateGraph.StateGraph<S, I, U, N, A, E, R, Q>,
  threadId: string
) {
  const view = yield* StateGraph.view(graph)
  const writes = yield* view.pendingWrites(Option.getOrThrow(yield* view.get(threadId)))
  // Besides the failures of the step.
  return Record.filter(writes, (_, key) => !key.startsWith("failure:"))
})

/** Effects that run once in a step. */
export const once: Group = (it) => {
  describe("once", patient, () => {
    it.effect("once does not run its effect again after an error, a defect, a question or its answer", () =>
      Effect.gen(function*() {
        for (const durability of ["step", "exit"] as const) {
          const here = yield* setting
          const { threadId } = here
          const { count, effect } = counter()
          const problems = [Effect.fail(new Boom({ node: "a" })), Effect.die("a")]
          const graph = chain(here, {
            first: here.says("first"),
            a: (_, context: Context) =>
              Effect.gen(function*() {
                const value = yield* context.once("k", Schema.String, effect)
                yield* problems.shift() ?? Effect.void
                return `${value}, ${yield* StateGraph.interrupt(Ask, `${value}?`)}`
              })
          })
          const options = { threadId, durability }
          yield* fails(StateGraph.run(graph, { ...options, input: [] }), "Boom")
          assert.deepStrictEqual(yield* pendingWritesOf(graph, threadId), { "once:a:k": { value: "run 1" } })
          assert.isTrue(Exit.hasDies(yield* Effect.exit(elsewhere(StateGraph.resume(graph, options)))))
          const asked = yield* elsewhere(StateGraph.resume(graph, options))
          assert.strictEqual(asked._tag === "Interrupted" && asked.interrupts[0]!.request, "run 1?")
          const ended = yield* elsewhere(reply(graph, { ...options, response: "yes" }))
          assert.deepStrictEqual(ended.state, ["first", "run 1, yes"])
          assert.strictEqual(count.runs, 1)
          assert.deepStrictEqual(yield* pendingWritesOf(graph, threadId), {})
        }
      }))

    it.effect("a result of once is stored before its node continues, also in a parallel step and a nested graph", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const counts = [counter(), counter()]
        let arrived = 0
        let all = yield* Deferred.make<void>()
        const arrive = Effect.suspend(() => ++arrived % 2 === 0 ? Deferred.succeed(all, undefined) : Effect.void)
        const node = (i: number) => (_: unknown, { once }: Context) =>
          once("k", Schema.String, counts[i]!.effect).pipe(Effect.andThen(arrive), Effect.andThen(Effect.never))
        const inner = chain({ name: "inner" }, { x: node(1) })
        const graph = fanOut(here, {
          a: node(0),
          nested: StateGraph.subgraph(inner, { input: () => [], output: (state) => state.join() })
        })
        const options = { threadId, strategy: "Parallel" } as const
        const killed = Effect.fnUntraced(function*<A, E, R>(process: Effect.Effect<A, E, R>) {
          all = yield* Deferred.make<void>()
          const fiber = yield* Effect.forkChild(elsewhere(process))
          yield* Effect.raceFirst(Deferred.await(all), Fiber.join(fiber))
          yield* Fiber.interrupt(fiber)
        })
        // Each process dies as soon as both nodes have their results.
        yield* killed(StateGraph.run(graph, { ...options, input: [] }))
        yield* killed(StateGraph.resume(graph, options))
        assert.deepStrictEqual([arrived, ...counts.map(({ count }) => count.runs)], [4, 1, 1])
      }))

    it.effect("a result of once is encoded with its schema, and decoded when the node runs again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const at = DateTime.makeUnsafe("2026-01-01T00:00:00Z")
        const Found = Schema.Struct({ at: Schema.DateTimeUtc, note: Schema.OptionFromOptionalKey(Schema.String) })
        const once = failing("a")
        const seen: Array<unknown> = []
        const graph = chain(here, {
          a: (_, context: Context) =>
            Effect.gen(function*() {
              seen.push(
                yield* context.once("found", Found, Effect.succeed({ at, note: Option.none() })),
                yield* context.once("void", Schema.Void, Effect.void),
                yield* context.once("null", Schema.NullOr(Schema.Int), Effect.succeed(null)),
                yield* context.once("nothing", Schema.UndefinedOr(Schema.Int), Effect.succeed(undefined))
              )
              yield* once
              return "a"
            })
        })
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        yield* elsewhere(StateGraph.resume(graph, { threadId }))
        const values = [{ at, note: Option.none() }, undefined, null, undefined]
        assert.deepStrictEqual(seen, [...values, ...values])
      }))

    it.effect("once stores nothing if its effect fails, dies or asks, and runs it again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const problems: Array<Effect.Effect<unknown, Boom, Ask>> = [
          Effect.fail(new Boom({ node: "a" })),
          Effect.die("a"),
          StateGraph.interrupt(Ask, "well?")
        ]
        let runs = 0
        const graph = chain(here, {
          a: (_, context: Context) =>
            context.once(
              "k",
              Schema.String,
              Effect.suspend(() => {
                runs++
                return Effect.as(problems.shift() ?? StateGraph.interrupt(Ask, "well?"), "done")
              })
            )
        })
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        assert.isTrue(Exit.hasDies(yield* Effect.exit(StateGraph.resume(graph, { threadId }))))
        assert.strictEqual((yield* StateGraph.resume(graph, { threadId }))._tag, "Interrupted")
        assert.deepStrictEqual(yield* pendingWritesOf(graph, threadId), {})
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "yes" })).state, ["done"])
        assert.strictEqual(runs, 4)
      }))

    it.effect("an interruption ends the effect of once, and waits while its result is being stored", () =>
      Effect.gen(function*() {
        for (const isStoring of [false, true]) {
          const here = yield* setting
          const { threadId } = here
          const isIn = yield* Deferred.make<void>()
          const mayGo = yield* Deferred.make<void>()
          const { count, effect } = counter()
          const arrive = Deferred.succeed(isIn, undefined)
          let isFirst = true
          const before = Effect.suspend(() =>
            isFirst && !isStoring ? Effect.andThen(arrive, Effect.never) : Effect.void
          )
          const graph = chain(here, {
            a: (_, context: Context) => context.once("k", Schema.String, Effect.andThen(before, effect))
          })
          const savingWrites = Effect.andThen(arrive, Deferred.await(mayGo))
          const run = withFaults({ savingWrites })(StateGraph.run(graph, { threadId, input: [] }))
          const fiber = yield* Effect.forkChild(run)
          yield* Deferred.await(isIn)
          fiber.interruptUnsafe()
          yield* Effect.yieldNow
          yield* Deferred.succeed(mayGo, undefined)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
          isFirst = false
          const ended = yield* elsewhere(StateGraph.resume(graph, { threadId }))
          assert.deepStrictEqual(ended.state, ["run 1"])
          assert.strictEqual(count.runs, 1)
        }
      }))

    it.effect("fibers of a node that call once with one key wait for the first, and run their own effect if it fails", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { effect } = counter()
        const isIn = yield* Deferred.make<void>()
        const slow = Effect.andThen(Deferred.await(isIn), effect)
        const graph = chain(here, {
          a: (_, { once }: Context) =>
            Effect.gen(function*() {
              const same = once("same", Schema.String, slow)
              const all = Effect.all([same, same, Deferred.succeed(isIn, undefined), same], {
                concurrency: "unbounded"
              })
              const [first, second, , third] = yield* all
              const other = once("other", Schema.String, Effect.andThen(Effect.yieldNow, Effect.fail("no")))
              const [failed, taken] = yield* Effect.all(
                [Effect.flip(other), once("other", Schema.String, effect)],
                { concurrency: "unbounded" }
              )
              const again = yield* once("other", Schema.String, Effect.die("not run"))
              return [first, second, third, failed, taken, again].join()
            })
        })
        const { state } = yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual(state, ["run 1,run 1,run 1,no,run 2,run 2"])
      }))

    it.effect("results of once of different nodes and keys never meet", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const both = (first: string, second: string) => (_: unknown, { once }: Context) =>
          Effect.gen(function*() {
            const one = yield* once(first, Schema.String, Effect.succeed(`${first} 1`))
            const two = yield* once(second, Schema.String, Effect.succeed(`${second} 2`))
            return `${one}, ${two}, ${yield* StateGraph.interrupt(Ask, "well?")}`
          })
        const keys = ["k".repeat(200), "\u001a", "__proto__"] as const
        const graph = fanOut(here, {
          a: both("b:c", "b%3Ac"),
          "a:b": both("c", "C"),
          "a%3Ab": both("c", keys[0]),
          b: both(keys[1], keys[2])
        })
        yield* StateGraph.run(graph, { threadId, input: [], strategy: "Parallel" })
        const stored = yield* pendingWritesOf(graph, threadId)
        assert.deepStrictEqual(
          Object.values(stored).map((write) => (write as { readonly value: string }).value).toSorted(),
          ["b:c 1", "b%3Ac 2", "c 1", "c 1", "C 2", `${keys[0]} 2`, `${keys[1]} 1`, `${keys[2]} 2`].toSorted()
        )
      }))

    it.effect("once refuses a key that is empty, too long or no text, and its own key within its effect", () =>
      Effect.gen(function*() {
        const here = yield* setting
        for (const durability of ["step", "exit"] as const) {
          for (const [i, key] of ["", "k".repeat(201), "é".repeat(101), "\u0000", "\ud800"].entries()) {
            const graph = chain(here, { a: (_, { once }: Context) => once(key, Schema.String, Effect.die("not run")) })
            yield* refuses(StateGraph.run(graph, { threadId: `${durability} ${i}`, input: [], durability }), "key")
          }
          const within = chain(here, {
            a: (_, { once }: Context) => once("k", Schema.String, once("k", Schema.String, Effect.succeed("k")))
          })
          const problem = yield* refuses(
            StateGraph.run(within, { threadId: `${durability} own`, input: [], durability }),
            "key"
          )
          assert.include(problem, "\"k\"")
          const other = chain(here, {
            a: (_, { once }: Context) => once("k", Schema.String, once("l", Schema.String, Effect.succeed("l")))
          })
          const { state } = yield* StateGraph.run(other, { threadId: `${durability} other`, input: [], durability })
          assert.deepStrictEqual(state, ["l"])
        }
      }))

    it.effect("once fails with StateEncodeError if its schema refuses the result, and stores nothing", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const schemas = [Schema.String, Schema.Unknown] as const
        for (const schema of schemas) {
          const graph = chain(here, {
            a: (_, { once }: Context) => Effect.asVoid(once("k", schema, Effect.succeed(1n as never)))
          })
          const thread = { threadId: `${threadId} ${schemas.indexOf(schema)}` }
          const error = yield* fails(StateGraph.run(graph, { ...thread, input: [] }), "StateEncodeError")
          for (const part of ["\"k\"", "\"a\""]) assert.include(error.message, part)
          assert.deepStrictEqual(yield* pendingWritesOf(graph, thread.threadId), {})
        }
      }))

    it.effect("once fails with StateDecodeError and does not run its effect if the stored result no longer matches", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { count, effect } = counter()
        const graphOf = (schema: Schema.Codec<unknown, unknown>, end: Effect.Effect<void, Boom>) =>
          chain(here, {
            a: (_, { once }: Context) => Effect.as(Effect.andThen(once("k", schema, effect), end), "a")
          })
        yield* fails(
          StateGraph.run(graphOf(Schema.String, failing("a")), { threadId, input: [] }),
          "Boom"
        )
        const changed = graphOf(Schema.Int, Effect.void)
        const error = yield* fails(elsewhere(StateGraph.resume(changed, { threadId })), "StateDecodeError")
        for (const part of ["\"k\"", "\"a\""]) assert.include(error.message, part)
        assert.deepStrictEqual([error.version, error.raw, error.reason._tag], [1, "run 1", "SchemaMismatch"])
        assert.strictEqual(count.runs, 1)
        // The way out.
        const again = graphOf(Schema.String, Effect.void)
        yield* StateGraph.resume(again, { threadId, next: ["a"] })
        assert.strictEqual(count.runs, 2)
      }))

    it.effect("once fails with StateTooLarge if the results of the step are too large, and the steps before stay saved", () =>
      Effect.gen(function*() {
        const limited = yield* Checkpointer.make({ maxStateBytes: 1000 })
        for (const durability of ["step", "exit"] as const) {
          const here = yield* setting
          const { threadId } = here
          const caught: Array<string> = []
          const graph = chain(here, {
            first: here.says("first"),
            a: (_, { once }: Context) =>
              Effect.gen(function*() {
                yield* once("small", Schema.String, Effect.succeed("s".repeat(400)))
                yield* Effect.catchTag(
                  once("large", Schema.String, Effect.succeed("l".repeat(700))),
                  "StateTooLarge",
                  ({ tasks }) => Effect.sync(() => caught.push(...tasks ?? []))
                )
                return yield* new Boom({ node: "a" })
              })
          })
          const run = Effect.exit(StateGraph.run(graph, { threadId, input: [], durability }))
          const exit = yield* Effect.provideService(run, Checkpointer.Checkpointer, limited)
          const errors = exit._tag === "Failure"
            ? exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag)
            : []
          const view = yield* StateGraph.view(graph)
          assert.deepStrictEqual(Option.getOrThrow(yield* view.get(threadId)).state, ["first"])
          const stored = Object.keys(yield* pendingWritesOf(graph, threadId))
          if (durability === "step") {
            assert.deepStrictEqual([errors, caught, stored], [["Boom"], ["once:a:large"], ["once:a:small"]])
          } else {
            // Whether they are too large is found out when the position is saved.
            assert.deepStrictEqual([errors, caught, stored], [["Boom", "StateTooLarge"], [], []])
          }
        }
      }))

    it.effect("a result of once whose save failed is stored by the next call, which does not run the effect again", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { count, effect } = counter()
        let isBroken = true
        const failure = failing("a")
        const graph = chain(here, {
          a: (_, { once }: Context) =>
            Effect.gen(function*() {
              const save = once("k", Schema.String, effect)
              const tag = yield* Effect.match(save, { onFailure: ({ _tag }) => _tag, onSuccess: () => "" })
              isBroken = false
              const value = yield* save
              yield* failure
              return `${tag} ${value}`
            })
        })
        const faulty = withFaults({ saveWrites: () => isBroken ? storeError : undefined })
        yield* fails(faulty(StateGraph.run(graph, { threadId, input: [] })), "Boom")
        assert.deepStrictEqual(yield* pendingWritesOf(graph, threadId), { "once:a:k": { value: "run 1" } })
        const { state } = yield* elsewhere(StateGraph.resume(graph, { threadId }))
        assert.deepStrictEqual([state, count.runs], [[" run 1"], 1])
      }))

    it.effect("a result of once whose save failed is saved with the question that the node asks then", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { count, effect } = counter()
        const graph = chain(here, {
          a: (_, { once }: Context) =>
            once("k", Schema.String, effect).pipe(
              Effect.catchTag("StoreError", () => Effect.void),
              Effect.andThen(StateGraph.interrupt(Ask, "well?"))
            )
        })
        yield* withFaults({ saveWrites: () => storeError })(StateGraph.run(graph, { threadId, input: [] }))
        const { state } = yield* elsewhere(reply(graph, { threadId, response: "yes" }))
        assert.deepStrictEqual([state, count.runs], [["yes"], 1])
      }))

    it.effect("results of once are deleted when the step ends, also one whose save was not certain", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const changes: Array<string> = []
        const graph = chain(here, {
          a: (_, { once }: Context) => once("k", Schema.String, Effect.succeed("a")),
          b: (_, { once }: Context) => Effect.as(Effect.exit(once("k", Schema.String, Effect.succeed("b"))), "b"),
          c: here.says("c")
        })
        let writes = 0
        const faulty = withFaults({
          put: ({ step }) => {
            changes.push(step)
            return undefined
          },
          saveWrites: () => ++writes === 2 ? storeError : undefined
        })
        yield* faulty(StateGraph.run(graph, { threadId, input: [] }))
        assert.deepStrictEqual(changes, ["Begins", "Ends", "Ends", "Begins"])
      }))

    it.effect("once runs its effect again at the next visit, in another run and after resume with next", () =>
      Effect.gen(function*() {
        const { namespace, threadId } = yield* setting
        const { effect } = counter()
        const failure = failing("a")
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          start: "a",
          nodes: {
            a: (_, { once }) => Effect.tap(once("k", Schema.String, effect), () => failure)
          },
          edges: { a: (state) => state.length < 2 ? ["a"] : [] }
        })
        yield* fails(StateGraph.run(graph, { threadId, input: [] }), "Boom")
        const first = yield* StateGraph.resume(graph, { threadId, next: ["a"] })
        assert.deepStrictEqual(first.state, ["run 2", "run 3"])
        assert.deepStrictEqual((yield* StateGraph.run(graph, { threadId, input: [] })).state, ["run 4", "run 5"])
      }))

    it.effect("a copy of an unfinished step has its results of once, and a copy of an earlier version has none", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { effect } = counter()
        const graph = chain(here, {
          a: (_, { once }: Context) =>
            Effect.gen(function*() {
              const value = yield* once("k", Schema.String, effect)
              return `${value} ${yield* StateGraph.interrupt(Ask, "well?")}`
            }),
          b: here.says("b")
        })
        const asked = yield* StateGraph.run(graph, { threadId, input: [] })
        const view = yield* StateGraph.view(graph)
        yield* view.fork(threadId, asked.checkpoint, { threadId: `${threadId} fork` })
        const forked = yield* reply(graph, { threadId: `${threadId} fork`, response: "fork" })
        assert.deepStrictEqual(forked.state, ["run 1 fork", "b"])
        const { version } = asked.checkpoint
        const branch = yield* reply(graph, { threadId, version, response: "branch" })
        assert.deepStrictEqual(branch.state, ["run 1 branch", "b"])
        yield* StateGraph.resume(graph, { threadId, version: 1 })
        const begun = yield* reply(graph, { threadId, response: "again" })
        assert.deepStrictEqual(begun.state, ["run 2 again", "b"])
      }))

    it.effect("durability exit saves results of once together with the position, and only if the step does not end", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { effect } = counter()
        const failure = failing("b")
        const graph = chain(here, {
          a: (_, { once }: Context) => once("k", Schema.String, effect),
          b: (_, { once }: Context) => Effect.tap(once("k", Schema.String, effect), () => failure)
        })
        const options = { threadId, durability: "exit" } as const
        const run = Effect.exit(StateGraph.run(graph, { ...options, input: [] }))
        assert.deepStrictEqual(yield* counting(run), { puts: 1, writes: 0 })
        assert.deepStrictEqual(yield* pendingWritesOf(graph, threadId), { "once:b:k": { value: "run 2" } })
        const { state } = yield* elsewhere(StateGraph.resume(graph, options))
        assert.deepStrictEqual(state, ["run 1", "run 2"])
      }))

    it.effect("a question whose request comes from once is the same each time, and gets its answer", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const { effect } = counter()
        const graph = chain(here, {
          a: (_, { once }: Context) =>
            Effect.flatMap(once("draft", Schema.String, effect), (draft) => StateGraph.interrupt(Ask, draft))
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual((yield* elsewhere(reply(graph, { threadId, response: "send" }))).state, [
          "send"
        ])
      }))
  })
}
