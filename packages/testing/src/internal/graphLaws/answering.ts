import { StateGraph } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { patient, range } from "../laws/suite.ts"
import { approval, chain, fanOut } from "./graphs.ts"
import {
  Ask,
  counting,
  elsewhere,
  fails,
  type Group,
  historyOf,
  reply,
  setting,
  storeError,
  withFaults,
  words,
  writesNothing
} from "./suite.ts"

/** A graph whose step asks as many questions as it has names. Each node records when it runs. */
const askingAll = ({ ran, ...here }: Effect.Success<typeof setting>, names: ReadonlyArray<string>) => {
  const asks = (name: string) =>
    Effect.andThen(Effect.sync(() => ran.push(name)), StateGraph.interrupt(Ask, `${name}?`)).pipe(
      Effect.map((answer) => `${name} ${answer}`)
    )
  return fanOut(here, Object.fromEntries(names.map((name) => [name, () => asks(name)])))
}

const open = <S, N extends string>(
  result: StateGraph.RunResult<S, N>
): ReadonlyArray<StateGraph.PendingInterrupt> => result._tag === "Interrupted" ? result.interrupts : []

const requests = (interrupts: ReadonlyArray<StateGraph.PendingInterrupt>) => interrupts.map(({ request }) => request)

const parallel = { strategy: "Parallel" } as const

/** Several questions of one step, and their answers. */
export const answering: Group = (it) => {
  describe("answers", patient, () => {
    it.effect("StateGraph.answer saves answers without a version and without running anything, and returns what is still open", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const graph = askingAll(here, ["a", "b", "c"])
        const questions = open(yield* StateGraph.run(graph, { ...parallel, threadId, input: [] }))
        assert.deepStrictEqual(requests(questions), ["a?", "b?", "c?"])
        ran.length = 0
        const [a, b, c] = questions.map(({ interruptId }) => interruptId)
        const nothing = writesNothing(graph, threadId)
        const left = yield* nothing(
          elsewhere(StateGraph.answer(graph, { threadId, answers: { [c!]: "3", [a!]: "1" } }))
        )
        assert.deepStrictEqual(left, [questions[1]!])
        assert.deepStrictEqual(ran, [])
        const waits = yield* nothing(elsewhere(StateGraph.resume(graph, { ...parallel, threadId })))
        assert.deepStrictEqual(open(waits), [questions[1]!])
        assert.deepStrictEqual(ran.splice(0).toSorted(), ["a", "c"])
        assert.deepStrictEqual(yield* StateGraph.answer(graph, { threadId, answers: { [b!]: "2" } }), [])
        const ended = yield* elsewhere(StateGraph.resume(graph, { ...parallel, threadId }))
        assert.deepStrictEqual(ended.state, ["go", "a 1", "b 2", "c 3"])
        assert.deepStrictEqual(ran, ["b"])
      }))

    it.effect("answers are saved all or none: one that is refused, late or unknown keeps the others from being saved", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = askingAll(here, ["a", "b"])
        const questions = open(yield* StateGraph.run(graph, { ...parallel, threadId, input: [] }))
        const [a, b] = questions.map(({ interruptId }) => interruptId)
        const answer = (answers: Readonly<Record<string, string>>) => StateGraph.answer(graph, { threadId, answers })
        const invalid = yield* fails(answer({ [a!]: "1", [b!]: 2 as unknown as string }), "InvalidResponse")
        assert.deepStrictEqual([invalid.interruptId, invalid.kind], [b, "Ask"])
        yield* fails(answer({ [a!]: "1", unknown: "2" }), "InterruptAlreadyResolved")
        yield* fails(StateGraph.answer(graph, { threadId, answers: null as never }), "InvalidInput")
        yield* fails(StateGraph.answer(graph, { threadId: `${threadId} none`, answers: {} }), "CheckpointNotFound")
        assert.deepStrictEqual(yield* answer({}), questions)
        yield* answer({ [b!]: "2" })
        const late = yield* fails(answer({ [a!]: "1", [b!]: "3" }), "InterruptAlreadyResolved")
        assert.strictEqual(late.interruptId, b)
        const resumed = StateGraph.resume(graph, { ...parallel, threadId, answers: { [a!]: "1", [b!]: "3" } })
        yield* fails(resumed, "InterruptAlreadyResolved")
        const ended = yield* StateGraph.resume(graph, { ...parallel, threadId, answers: { [a!]: "1" } })
        assert.deepStrictEqual(ended.state, ["go", "a 1", "b 2"])
      }))

    it.effect("an answer that is repeated with its answer id is saved once, and one with another id is refused", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = askingAll(here, ["a", "b"])
        const [a] = open(yield* StateGraph.run(graph, { ...parallel, threadId, input: [] }))
        const answer = (response: string, answerId: string) =>
          elsewhere(StateGraph.answer(graph, { threadId, answers: { [a!.interruptId]: response }, answerId }))
        const left = yield* answer("1", "click 1")
        assert.deepStrictEqual(requests(left), ["b?"])
        assert.deepStrictEqual(yield* answer("other", "click 1"), left)
        yield* fails(answer("1", "click 2"), "InterruptAlreadyResolved")
        const ended = yield* reply(graph, { ...parallel, threadId, response: "2" })
        assert.deepStrictEqual(ended.state, ["go", "a 1", "b 2"])
      }))

    it.effect("answers that arrive in any order, at the same time and from several processes, are each used once", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const names = range(1, 12).map((i) => `n${i}`)
        const graph = askingAll(here, names)
        const questions = open(yield* StateGraph.run(graph, { ...parallel, threadId, input: [] }))
        const answers = questions.toReversed().flatMap(({ interruptId, request }) =>
          [1, 2].map((i) =>
            Effect.result(elsewhere(
              StateGraph.answer(graph, { threadId, answers: { [interruptId]: `${i} to ${String(request)}` } })
            ))
          )
        )
        const results = yield* Effect.all(answers, { concurrency: "unbounded" })
        assert.strictEqual(results.filter(({ _tag }) => _tag === "Success").length, names.length)
        ran.length = 0
        const { state } = yield* elsewhere(StateGraph.resume(graph, { ...parallel, threadId }))
        assert.deepStrictEqual(ran.toSorted(), names.toSorted())
        state.slice(1).forEach((word, i) => assert.match(word, new RegExp(`^n${i + 1} [12] to n${i + 1}\\?$`)))
      }))

    it.effect("an answer that arrives while the run works on others is used by the same run", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        let answered: Effect.Effect<unknown, unknown, never> = Effect.void
        const graph = fanOut(here, {
          a: () => Effect.tap(StateGraph.interrupt(Ask, "a?"), () => Effect.orDie(answered)),
          b: () => StateGraph.interrupt(Ask, "b?")
        })
        const [a, b] = open(yield* StateGraph.run(graph, { ...parallel, threadId, input: [] }))
        const view = yield* StateGraph.view(graph)
        answered = view.answer(threadId, { [b!.interruptId]: "2" })
        const answers = { [a!.interruptId]: "1" }
        const ended = yield* StateGraph.resume(graph, { ...parallel, threadId, answers })
        assert.deepStrictEqual([ended._tag, ended.state], ["Completed", ["go", "1", "2"]])
      }))

    it.effect("a step that waits makes one version, however many questions and answers follow", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = chain(here, {
          ask: () =>
            Effect.map(Effect.forEach(range(1, 5), (i) => StateGraph.interrupt(Ask, `${i}?`)), (all) => all.join())
        })
        yield* StateGraph.run(graph, { threadId, input: [] })
        for (const i of range(1, 4)) {
          const waits = reply(graph, { threadId, response: String(i) })
          assert.deepStrictEqual(yield* counting(writesNothing(graph, threadId)(waits)), { puts: 0, writes: 0 })
        }
        assert.deepStrictEqual((yield* reply(graph, { threadId, response: "5" })).state, ["1,2,3,4,5"])
        assert.deepStrictEqual((yield* historyOf(graph, threadId)).map(({ cause }) => cause), [
          "input",
          "interrupt",
          "step"
        ])
      }))

    it.effect("a run that dies while it saves questions or results asks the same questions when it is resumed", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, says } = here
        const asks = (name: string) => () =>
          Effect.map(
            Effect.andThen(StateGraph.interrupt(Ask, `${name} 1?`), StateGraph.interrupt(Ask, `${name} 2?`)),
            (answer) => `${name} ${answer}`
          )
        const graph = fanOut(here, { a: asks("a"), b: asks("b"), c: says("c") })
        for (let broken = 1; broken <= 9; broken++) {
          const threadId = `law ${broken}`
          let saves = 0
          const save = () => ++saves === broken ? storeError : undefined
          const dying = withFaults({ put: save, saveWrites: save, saveQuestions: save })
          const once = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.exit(dying(effect))
          yield* once(StateGraph.run(graph, { ...parallel, threadId, input: [] }))
          if (broken === 1) yield* StateGraph.run(graph, { ...parallel, threadId, input: [] })
          const finish = Effect.gen(function*() {
            let result = yield* StateGraph.resume(graph, { ...parallel, threadId })
            while (result._tag === "Interrupted") {
              const answers = Object.fromEntries(result.interrupts.map(({ interruptId }) => [interruptId, "yes"]))
              result = yield* StateGraph.resume(graph, { ...parallel, threadId, answers })
            }
            return result
          })
          yield* once(finish)
          const ended = yield* elsewhere(finish)
          assert.deepStrictEqual(ended.state, ["go", "a yes", "b yes", "c"])
          const view = yield* StateGraph.view(graph)
          const versions = yield* view.listVersions(threadId)
          const asked = versions.filter(({ pendingInterrupts }) => pendingInterrupts.length > 0)
          const { questions } = yield* view.step(asked[0]!)
          assert.deepStrictEqual(
            questions.map(({ request }) => request).toSorted(),
            ["a 1?", "a 2?", "b 1?", "b 2?"]
          )
        }
        assert.include(ran, "c")
      }))

    it.effect("a nested graph asks several questions at once, and continues with each that has an answer", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { ran, threadId } = here
        const inner = askingAll({ ...here, namespace: `${here.namespace} inner` }, ["a", "b"])
        const outer = chain({ ...here, name: "outer" }, {
          inner: StateGraph.subgraph(inner, {
            input: (): ReadonlyArray<string> => [],
            output: (state: ReadonlyArray<string>) => state.join()
          }),
          last: () => StateGraph.interrupt(Ask, "last?")
        })
        const questions = open(yield* StateGraph.run(outer, { ...parallel, threadId, input: [] }))
        assert.deepStrictEqual(requests(questions), ["a?", "b?"])
        ran.length = 0
        const [a, b] = questions
        const left = yield* elsewhere(
          StateGraph.resume(outer, { ...parallel, threadId, answers: { [b!.interruptId]: "2" } })
        )
        assert.deepStrictEqual(open(left), [a!])
        assert.deepStrictEqual(ran.splice(0), ["b"])
        yield* elsewhere(StateGraph.answer(outer, { threadId, answers: { [a!.interruptId]: "1" } }))
        const next = yield* elsewhere(StateGraph.resume(outer, { ...parallel, threadId }))
        assert.deepStrictEqual([next.state, requests(open(next))], [["go,a 1,b 2"], ["last?"]])
        assert.deepStrictEqual(ran, ["a"])
      }))

    it.effect("a run on a thread whose questions are answered, but which was not resumed, is ThreadUnfinished", () =>
      Effect.gen(function*() {
        const here = yield* setting
        const { threadId } = here
        const graph = approval(here)
        const [question] = open(yield* StateGraph.run(graph, { threadId, input: [] }))
        const run = StateGraph.run(graph, { threadId, input: [] })
        assert.deepStrictEqual((yield* fails(run, "ThreadUnfinished")).interruptIds, [question!.interruptId])
        yield* StateGraph.answer(graph, { threadId, answers: { [question!.interruptId]: "yes" } })
        assert.deepStrictEqual((yield* fails(run, "ThreadUnfinished")).interruptIds, [])
      }))

    it.effect("StateGraph.interrupts lists open questions of one kind, the oldest first, with when they were asked", () =>
      Effect.gen(function*() {
        class Other
          extends StateGraph.Interrupt<Other>()("Other", { request: Schema.String, response: Schema.String })
        {}
        const { namespace, threadId } = yield* setting
        const graph = StateGraph.make({
          ...words,
          name: "law",
          namespace,
          interrupts: [Ask, Other],
          start: "go",
          nodes: {
            go: () => Effect.succeed("go"),
            one: () => StateGraph.interrupt(Ask, "one?"),
            two: () => StateGraph.interrupt(Other, "two?")
          },
          edges: { go: ["one", "two"], one: [], two: [] }
        })
        const ids = range(1, 60).map((i) => `${threadId} ${i}`)
        for (const id of ids) yield* StateGraph.run(graph, { ...parallel, threadId: id, input: [] })
        const listed = yield* Stream.runCollect(StateGraph.interrupts(graph))
        assert.strictEqual(listed.length, 120)
        const times = listed.map(({ askedAt }) => DateTime.toEpochMillis(askedAt))
        assert.deepStrictEqual(times, times.toSorted((a, b) => a - b))
        const others = yield* Stream.runCollect(StateGraph.interrupts(graph, { kind: "Other" }))
        assert.deepStrictEqual(
          new Set(others.map(({ kind, node, request, version }) => JSON.stringify([kind, node, request, version]))),
          new Set([JSON.stringify(["Other", "two", "two?", 3])])
        )
        assert.deepStrictEqual(others.map((other) => other.threadId).toSorted(), ids.toSorted())
        yield* Effect.forEach(
          others,
          ({ interruptId, threadId }) => StateGraph.answer(graph, { threadId, answers: { [interruptId]: "yes" } })
        )
        assert.deepStrictEqual(yield* Stream.runCollect(StateGraph.interrupts(graph, { kind: "Other" })), [])
        const view = yield* StateGraph.view(graph)
        assert.strictEqual((yield* Stream.runCollect(view.threads({ interrupted: true }))).length, 60)
        assert.strictEqual((yield* Stream.runCollect(view.threads({ interrupted: false }))).length, 0)
      }))
  })
}
