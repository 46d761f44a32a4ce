import { Checkpointer } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { AnyText, AnyTextJson } from "./states.ts"
import {
  age,
  anotherService,
  asRead,
  fails,
  fresh,
  freshThread,
  type Group,
  type JsonView,
  jsonView,
  patient,
  plain,
  randomText,
  range,
  refuses,
  versionsOf,
  writesNothing
} from "./suite.ts"

const ask = (...ids: ReadonlyArray<string>) =>
  ids.map((interruptId) => ({ interruptId, request: `${interruptId}?`, metadata: { kind: interruptId } }))

/** What a step has asked, with the responses. */
const questionsOf = (view: Pick<JsonView, "step">, version: Parameters<JsonView["step"]>[0]) =>
  Effect.map(
    view.step(version),
    ({ questions }) => questions.map(({ answer, interruptId }) => [interruptId, answer?.response])
  )

const openOf = (view: Pick<JsonView, "openQuestions">) =>
  Effect.map(
    Stream.runCollect(view.openQuestions()),
    (questions) => questions.map(({ interruptId, threadId, version }) => [threadId, version, interruptId])
  )

const waiting = (view: JsonView) =>
  Effect.map(Stream.runCollect(view.threads({ interrupted: true })), (threads) => threads.map((t) => t.threadId))

const prune = (view: JsonView, policy: { readonly maxVersions?: number; readonly idleThreads?: "1 day" }) =>
  Checkpointer.Checkpointer.use((service) => service.prune({ ...policy, namespace: view.namespace }))

const asking: Group = (it) => {
  it.effect("a question is asked by a put or without a version, and all versions of the step have it", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("b", "a") })
      const [other] = ask("c")
      yield* view.ask(first, [{ interruptId: "c", request: { d: [1] } }])
      // A question that the step has stays as it is.
      yield* view.ask(first, [{ interruptId: "a", request: "another" }, ...ask("d"), other!])
      yield* view.ask(first, [])
      const second = yield* view.put({
        parent: first,
        state: 2,
        pendingInterrupts: [{ interruptId: "b", request: "another" }, ...ask("e")],
        step: { change: "Continues" }
      })
      for (const version of [first, second]) {
        const { ended, pendingWrites, questions } = yield* view.step(version)
        assert.isFalse(ended)
        assert.deepStrictEqual(pendingWrites, {})
        assert.deepStrictEqual(
          questions.map(({ answer, interruptId, metadata, request }) => ({ interruptId, request, metadata, answer })),
          [
            ...ask("b", "a").map((question) => ({ ...question, answer: undefined })),
            { interruptId: "c", request: { d: [1] }, metadata: {}, answer: undefined },
            ...ask("d", "e").map((question) => ({ ...question, answer: undefined }))
          ]
        )
        const times = questions.map(({ askedAt }) => DateTime.toEpochMillis(askedAt))
        assert.strictEqual(times[0], plain(first).createdAt)
        assert.strictEqual(times[4], plain(second).createdAt)
        assert.deepStrictEqual(times, times.toSorted((a, b) => a - b))
      }
      // What a version says it waited for does not change.
      const read = yield* view.get(threadId, { version: 1 })
      assert.deepStrictEqual(Option.getOrThrow(read).pendingInterrupts, ask("b", "a"))
      assert.deepStrictEqual(yield* versionsOf(view, threadId), [2, 1])
      assert.deepStrictEqual(yield* waiting(view), [threadId])
    }))

  it.effect("a question that is asked without a version makes a thread wait that did not", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const saved = yield* view.append({ threadId, state: 1, nextNodes: ["a"] })
      assert.deepStrictEqual(yield* waiting(view), [])
      yield* writesNothing(view, threadId)(view.ask(saved, ask("a")))
      assert.deepStrictEqual(yield* waiting(view), [threadId])
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 1, "a"]])
    }))

  it.effect("a step that has ended cannot be asked anything, and one of a thread that does not exist neither", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1 })
      const second = yield* view.put({ parent: first, state: 2 })
      const conflict = yield* fails(view.ask(first, ask("a")), "VersionConflict")
      assert.include(conflict, { expected: 1, actual: 2 })
      for (
        const target of [
          { ...second, version: 3 },
          { ...second, checkpointId: "other" },
          { ...second, threadId: `${threadId} other` }
        ]
      ) {
        yield* fails(view.ask(target, ask("a")), "CheckpointNotFound")
        yield* fails(view.step(target), "CheckpointNotFound")
      }
      const answered = { parent: second, state: 3, step: { answered: [{ interruptId: "a", request: 1, response: 2 }] } }
      yield* refuses(view.put({ ...answered, pendingInterrupts: ask("a") }), "step.answered")
      yield* refuses(view.ask({ ...second, namespace: "other" }, ask("a")), "target.namespace")
      yield* refuses(view.ask(second, ask("")), "interrupts[0].interruptId")
      yield* refuses(view.ask(second, ask("a", "a")), "interrupts[1].interruptId")
      yield* refuses(view.ask(second, [{ interruptId: "a", request: Number.NaN }]), "interrupts")
      assert.deepStrictEqual(yield* questionsOf(view, second), [])
      assert.deepStrictEqual(yield* waiting(view), [])
    }))

  it.effect("a thread id, namespace and interrupt id of 2,560 bytes together are accepted, and of 2,561 refused", () =>
    Effect.gen(function*() {
      const threadId = randomText(1024)
      const longest = randomText(1024)
      // U+001A is stored as five bytes.
      const escaped = `${randomText(1019)}\u001a`
      const largest = yield* jsonView(randomText(512))
      const saved = yield* largest.append({ threadId, state: 1, pendingInterrupts: ask(longest) })
      yield* largest.ask(saved, ask(escaped))
      yield* largest.answer(threadId, { [longest]: 1, [escaped]: 2 })
      assert.deepStrictEqual(yield* questionsOf(largest, saved), [[longest, 1], [escaped, 2]])
      const view = yield* jsonView(randomText(513))
      const other = yield* view.append({ threadId, state: 1 })
      for (const interruptId of [longest, escaped]) {
        for (
          const problem of [
            yield* refuses(view.ask(other, ask(interruptId)), "interrupts[0].interruptId"),
            yield* refuses(
              view.append({ threadId, state: 2, pendingInterrupts: ask(interruptId) }),
              "pendingInterrupts[0].interruptId"
            )
          ]
        ) {
          assert.include(problem, "2561")
          assert.include(problem, "2560")
        }
      }
      yield* Effect.forEach([largest, view], (each) => each.deleteThread(threadId))
    }))

  it.effect("1,000 questions of one step, asked at once by two services and by puts, are all there, once", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const second = yield* anotherService(view.namespace)
      const first = yield* view.append({ threadId, state: 0 })
      const names = (i: number) => range(50 * i, 50 * i + 49).map((n) => `question ${n}`)
      yield* Effect.forEach(range(0, 19), (i) => {
        const pendingInterrupts = ask(...names(i), "shared")
        const service = i % 2 === 0 ? view : second
        if (i % 5 !== 0) return Effect.orDie(service.ask(first, pendingInterrupts))
        const put = Effect.flatMap(
          service.get(threadId),
          (head) =>
            service.put({ parent: Option.getOrThrow(head), state: i, pendingInterrupts, step: { change: "Continues" } })
        )
        return Effect.orDie(Effect.asVoid(Effect.retry(put, { while: ({ _tag }) => _tag === "VersionConflict" })))
      }, { concurrency: "unbounded" })
      const { questions } = yield* view.step(first)
      const ids = questions.map(({ interruptId }) => interruptId)
      assert.sameMembers(ids, [...range(0, 19).flatMap(names), "shared"])
      assert.lengthOf(ids, 1001)
      // Those that were asked together follow each other.
      for (const i of range(0, 19)) {
        const from = ids.indexOf(`question ${50 * i}`)
        assert.deepStrictEqual(ids.slice(from, from + 50), names(i))
      }
    }))
}

const answering: Group = (it, properties) => {
  it.effect("answers are saved together, and what is still open is returned in the order in which it was asked", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("d", "c", "b", "a") })
      const open = yield* view.answer(threadId, { c: { yes: true }, b: null })
      assert.deepStrictEqual(
        open.map(({ answer, interruptId, metadata, request }) => ({ answer, interruptId, metadata, request })),
        ask("d", "a").map((question) => ({ ...question, answer: undefined }))
      )
      assert.deepStrictEqual(yield* waiting(view), [threadId])
      const { questions } = yield* view.step(saved)
      assert.deepStrictEqual(
        questions.map(({ answer, interruptId }) => [interruptId, answer?.response]),
        [["d", undefined], ["c", { yes: true }], ["b", null], ["a", undefined]]
      )
      const { answer, askedAt } = questions[1]!
      assert.isAtLeast(DateTime.toEpochMillis(answer!.answeredAt), DateTime.toEpochMillis(askedAt))
      assert.deepStrictEqual(questions[2]!.answer?.answeredAt, answer!.answeredAt)
      assert.deepStrictEqual(yield* view.answer(threadId, { a: 1, d: 2 }), [])
      assert.deepStrictEqual(yield* waiting(view), [])
      assert.deepStrictEqual(yield* openOf(view), [])
      assert.deepStrictEqual(yield* versionsOf(view, threadId), [1])
    }))

  it.effect("of answers one of which is refused, none is saved, and the error names the first question in the order of ids", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b", "c\u001a") })
      yield* view.answer(threadId, { "c\u001a": 1 })
      for (
        const [answers, interruptId] of [
          [{ a: 1, x: 2 }, "x"],
          [{ a: 1, "c\u001a": 1, z: 1 }, "c\u001a"],
          [{ b: 1, "\ufffd": 1, "\u{1f600}": 1, "z": 1 }, "z"],
          [{ b: 1, "\ufffd": 1, "\u{1f600}": 1 }, "\ufffd"]
        ] as const
      ) {
        const error = yield* fails(view.answer(threadId, answers as Schema.JsonObject), "InterruptAlreadyResolved")
        assert.include(error, { threadId, namespace: view.namespace, version: 1, interruptId })
      }
      assert.deepStrictEqual(yield* questionsOf(view, saved), [["a", undefined], ["b", undefined], ["c\u001a", 1]])
      assert.deepStrictEqual((yield* view.answer(threadId, {})).map(({ interruptId }) => interruptId), ["a", "b"])
      yield* fails(view.answer(`${threadId} other`, { a: 1 }), "CheckpointNotFound")
      yield* refuses(view.answer(threadId, [] as never), "answers")
      yield* refuses(view.answer(threadId, { a: Number.NaN }), "answers")
      yield* refuses(view.answer(threadId, { a: 1 }, { answerId: "" }), "answerId")
      const error = yield* fails(view.answer(threadId, { b: "x".repeat(8 * 1024 * 1024) }), "StateTooLarge")
      assert.include(error.message, `the answer to "b" is ${error.bytes} bytes`)
    }))

  it.effect("an answer is repeated with its id, and refused with another one", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      const answer = view.answer(threadId, { a: "first" }, { answerId: "mine" })
      const before = yield* answer
      yield* age("1 hour")
      const { questions: [answered] } = yield* view.step(saved)
      assert.deepStrictEqual((yield* answer).map((question) => question.interruptId), ["b"])
      assert.deepStrictEqual((yield* view.step(saved)).questions[0], answered)
      assert.lengthOf(before, 1)
      // The first response is kept.
      yield* view.answer(threadId, { a: "second", b: "second" }, { answerId: "mine" })
      assert.deepStrictEqual(yield* questionsOf(view, saved), [["a", "first"], ["b", "second"]])
      yield* fails(view.answer(threadId, { a: "first" }), "InterruptAlreadyResolved")
      yield* fails(view.answer(threadId, { a: "first" }, { answerId: "other" }), "InterruptAlreadyResolved")
    }))

  it.effect("of 16 answers at once from two services to one question, one is saved and the others are refused", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const second = yield* anotherService(view.namespace)
      const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      const results = yield* Effect.forEach(
        range(1, 16),
        (i) => Effect.result((i % 2 === 0 ? view : second).answer(threadId, { a: i })),
        { concurrency: "unbounded" }
      )
      const winner = results.findIndex(Result.isSuccess)
      assert.lengthOf(results.filter(Result.isSuccess), 1)
      for (const result of results.filter(Result.isFailure)) {
        assert.include(result.failure, { _tag: "InterruptAlreadyResolved", interruptId: "a", version: 1 })
      }
      assert.deepStrictEqual(yield* questionsOf(view, saved), [["a", winner + 1], ["b", undefined]])
    }))

  it.effect("of answers at once from two services to all questions of a step, exactly the last one finds none open", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const second = yield* anotherService(view.namespace)
      const ids = range(1, 16).map((i) => `question ${i}`)
      yield* view.append({ threadId, state: 1, pendingInterrupts: ask(...ids) })
      const open = yield* Effect.forEach(
        ids,
        (interruptId, i) => (i % 2 === 0 ? view : second).answer(threadId, { [interruptId]: i }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(open.map((left) => left.length).toSorted((a, b) => a - b), range(0, 15))
      assert.deepStrictEqual(yield* waiting(view), [])
    }))

  it.effect("questions of a step that has ended are kept with their answers, and cannot be answered", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      yield* view.answer(threadId, { a: 1 }, { answerId: "mine" })
      const second = yield* view.put({ parent: first, state: 2, pendingInterrupts: ask("a"), step: { change: "Ends" } })
      assert.deepStrictEqual(yield* questionsOf(view, first), [["a", 1], ["b", undefined]])
      assert.isTrue((yield* view.step(first)).ended)
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 2, "a"]])
      const error = yield* fails(view.answer(threadId, { b: 2 }, { answerId: "mine" }), "InterruptAlreadyResolved")
      assert.include(error, { version: 2, interruptId: "b" })
      // It is another question, which has the same id.
      yield* view.answer(threadId, { a: 2 }, { answerId: "mine" })
      assert.deepStrictEqual(yield* questionsOf(view, first), [["a", 1], ["b", undefined]])
      assert.deepStrictEqual(yield* questionsOf(view, second), [["a", 2]])
      yield* view.append({ threadId, state: 3 })
      assert.deepStrictEqual(yield* openOf(view), [])
      assert.deepStrictEqual(yield* waiting(view), [])
    }))

  it.effect("a step that continues still waits for its open questions, and an update does not ask again what was answered", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      yield* view.answer(threadId, { a: 1 })
      const second = yield* view.update(threadId, () => 2)
      assert.deepStrictEqual(second.pendingInterrupts, ask("b"))
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 2, "b"]])
      // Its own list of interrupts says nothing about those of the step.
      const third = yield* view.put({ threadId, expectedVersion: 2, state: 3, step: { change: "Continues" } })
      assert.deepStrictEqual(yield* waiting(view), [threadId])
      yield* view.answer(threadId, { b: 2 })
      assert.deepStrictEqual(yield* waiting(view), [])
      yield* view.ask(third, ask("a", "b"))
      yield* view.put({ parent: third, state: 4, pendingInterrupts: ask("a", "b"), step: { change: "Continues" } })
      const fifth = yield* view.updateEffect(threadId, () => Effect.succeed(5))
      assert.deepStrictEqual(fifth.pendingInterrupts, [])
      assert.deepStrictEqual(yield* waiting(view), [])
      assert.deepStrictEqual(yield* openOf(view), [])
      assert.deepStrictEqual(yield* questionsOf(view, first), [["a", 1], ["b", 2]])
      yield* view.put({ parent: fifth, state: 6, pendingInterrupts: ask("a", "c"), step: { change: "Continues" } })
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 6, "c"]])
      assert.deepStrictEqual(yield* waiting(view), [threadId])
    }))

  it.effect.prop(
    "any request, metadata and response of a question reads back",
    [AnyText, AnyTextJson, AnyTextJson, AnyTextJson],
    ([text, request, value, response]) =>
      Effect.gen(function*() {
        const [view, threadId] = yield* freshThread
        const interruptId = text.isWellFormed() && text !== "" && !text.includes("\u0000") ? text : "plain"
        const question = { interruptId, request, metadata: { value, [text]: text } }
        const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: [question] })
        const [found] = yield* Stream.runCollect(view.openQuestions({ metadata: question.metadata }))
        assert.strictEqual(found?.interruptId, interruptId)
        yield* view.answer(threadId, { [interruptId]: response }, { answerId: interruptId })
        const { questions: [stored] } = yield* view.step(saved)
        assert.deepStrictEqual(
          {
            interruptId: stored!.interruptId,
            request: stored!.request,
            metadata: stored!.metadata,
            response: stored!.answer?.response
          },
          asRead({ ...question, response })
        )
      }),
    properties
  )

  it.effect("responses that are together larger than maxStateBytes are saved by one answer and read back", () =>
    Effect.gen(function*() {
      const [{ namespace }, threadId] = yield* freshThread
      const limited = yield* Effect.orDie(Checkpointer.make({ maxStateBytes: 150_000 }))
      const view = yield* Effect.provideService(jsonView(namespace), Checkpointer.Checkpointer, limited)
      const ids = range(1, 10).map((i) => `question ${i}`)
      const saved = yield* view.append({ threadId, state: 1, pendingInterrupts: ask(...ids) })
      const answers = Object.fromEntries(ids.map((id) => [id, randomText(100_000)]))
      assert.deepStrictEqual(yield* view.answer(threadId, answers), [])
      assert.deepStrictEqual(yield* questionsOf(view, saved), ids.map((id) => [id, answers[id]]))
      const fork = yield* view.fork(threadId, saved, { threadId: `${threadId} fork` })
      assert.deepStrictEqual(yield* questionsOf(view, fork), ids.map((id) => [id, answers[id]]))
    }))
}

const copying: Group = (it) => {
  it.effect("a copy of a version of the newest step takes questions and answers along, and shares none of them", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      yield* view.answer(threadId, { a: { said: null } })
      yield* view.ask(first, ask("c"))
      const fork = yield* view.fork(threadId, first, { threadId: `${threadId} fork` })
      const restored = yield* view.restore(threadId, { version: 1 })
      for (const copy of [fork, restored]) {
        assert.deepStrictEqual(copy.pendingInterrupts, ask("b", "c"))
        assert.deepStrictEqual(
          (yield* questionsOf(view, copy)).toSorted(),
          [["a", { said: null }], ["b", undefined], ["c", undefined]]
        )
        const { questions } = yield* view.step(copy)
        assert.deepStrictEqual(
          questions.map(({ interruptId, metadata, request }) => ({ interruptId, metadata, request }))
            .toSorted((x, y) => x.interruptId < y.interruptId ? -1 : 1),
          ask("a", "b", "c").map(({ interruptId, metadata, request }) => ({ interruptId, metadata, request }))
        )
        // A question that was copied with its answer cannot be answered again.
        yield* fails(view.answer(copy.threadId, { a: 1 }), "InterruptAlreadyResolved")
      }
      yield* view.answer(fork.threadId, { b: 2 })
      yield* view.answer(threadId, { b: 3, c: 3 })
      assert.deepStrictEqual(yield* openOf(view), [[fork.threadId, 1, "c"]])
      assert.deepStrictEqual(yield* questionsOf(view, first), [["a", { said: null }], ["b", undefined], [
        "c",
        undefined
      ]])
    }))

  it.effect("a copy of a version whose step has ended asks again what was asked at that version, and is not approved", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a", "b") })
      yield* view.ask(first, ask("c"))
      yield* view.answer(threadId, { a: true, b: true })
      yield* view.put({ parent: first, state: 2 })
      const fork = yield* view.fork(threadId, first, { threadId: `${threadId} fork` })
      const restored = yield* view.restore(threadId, { version: 1 })
      for (const copy of [fork, restored]) {
        assert.deepStrictEqual(yield* questionsOf(view, copy), [["a", undefined], ["b", undefined]])
      }
      assert.sameMembers(yield* waiting(view), [threadId, fork.threadId])
    }))
}

const listing: Group = (it) => {
  it.effect("open questions of all threads are listed in pages, the oldest first, with filters", () =>
    Effect.gen(function*() {
      const checkpointer = yield* Checkpointer.Checkpointer
      const [view, threadId] = yield* freshThread
      const other = yield* jsonView(yield* fresh)
      const threadIds = range(0, 24).map((i) => `${threadId} ${i}`)
      const asked = (i: number) =>
        range(0, 9).map((n) => ({ interruptId: `q${n}`, request: n, metadata: { i, even: n % 2 === 0, deep: { n } } }))
      for (const [i, id] of threadIds.entries()) {
        yield* view.append({ threadId: id, state: i, pendingInterrupts: asked(i) })
      }
      yield* other.append({ threadId, state: 0, pendingInterrupts: ask("elsewhere") })
      yield* view.answer(threadIds[3]!, { q1: 1 })
      yield* view.append({ threadId: threadIds[4]!, state: 1 })
      const all = yield* Stream.runCollect(view.openQuestions())
      const expected = threadIds.flatMap((id, i) =>
        i === 4 ?
          [] :
          asked(i).flatMap(({ interruptId, metadata, request }) =>
            i === 3 && interruptId === "q1" ? [] : [{ threadId: id, interruptId, metadata, request, version: 1 }]
          )
      )
      assert.lengthOf(all, 239)
      assert.sameDeepMembers(
        all.map(({ interruptId, metadata, request, threadId, version }) => (
          { threadId, interruptId, metadata, request, version }
        )),
        expected
      )
      const order = all.map((question) =>
        [
          String(DateTime.toEpochMillis(question.askedAt)).padStart(20, "0"),
          question.threadId,
          question.interruptId
        ].join("\u0000")
      )
      assert.deepStrictEqual(order, order.toSorted())
      for (const question of all) assert.deepInclude(question, { namespace: view.namespace, answer: undefined })
      const matching = (metadata: Schema.JsonObject) =>
        Effect.map(Stream.runCollect(view.openQuestions({ metadata })), (found) => found.length)
      assert.strictEqual(yield* matching({ i: 3 }), 9)
      assert.strictEqual(yield* matching({ even: true }), 120)
      assert.strictEqual(yield* matching({ i: 7, deep: { n: 4 } }), 1)
      assert.strictEqual(yield* matching({ i: 4 }), 0)
      yield* refuses(Stream.runDrain(view.openQuestions({ metadata: [] as never })), "filter.metadata")
      const within = (namespace: string | undefined) =>
        checkpointer.openQuestions({ namespace, metadata: { kind: "elsewhere" } }).pipe(
          Stream.filter((question) => question.threadId === threadId),
          Stream.runCollect
        )
      assert.lengthOf(yield* within(view.namespace), 0)
      for (const namespace of [other.namespace, undefined]) assert.lengthOf(yield* within(namespace), 1)
      yield* other.deleteThread(threadId)
    }))
}

const removing: Group = (it) => {
  it.effect("questions live as long as a version of their step can be read: a prune removes no others, and keeps open ones", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1, pendingInterrupts: ask("a") })
      yield* view.update(threadId, () => 2)
      const third = yield* view.append({ threadId, state: 3, pendingInterrupts: ask("b") })
      const fourth = yield* view.put({ parent: third, state: 4, step: { change: "Continues" } })
      const fifth = yield* view.append({ threadId, state: 5, pendingInterrupts: ask("c") })
      const sixth = yield* view.put({ parent: fifth, state: 6, step: { change: "Continues" } })
      yield* view.setTags(threadId, { version: 2 }, ["kept"])
      yield* prune(view, { maxVersions: 3 })
      const second = Option.getOrThrow(yield* view.get(threadId, { version: 2 }))
      for (const gone of [first, third]) yield* fails(view.step(gone), "CheckpointNotFound")
      assert.deepStrictEqual(yield* questionsOf(view, second), [["a", undefined]])
      assert.deepStrictEqual(yield* questionsOf(view, fourth), [["b", undefined]])
      yield* prune(view, { maxVersions: 1 })
      for (const gone of [fourth, fifth]) yield* fails(view.step(gone), "CheckpointNotFound")
      assert.deepStrictEqual(yield* questionsOf(view, second), [["a", undefined]])
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 6, "c"]])
      yield* view.answer(threadId, { c: 1 })
      assert.deepStrictEqual(yield* questionsOf(view, sixth), [["c", 1]])
    }))

  it.effect("a thread that waits for an answer is not idle, nor is one that was asked or answered a moment ago", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const first = yield* view.append({ threadId, state: 1 })
      yield* age("2 days")
      yield* view.ask(first, ask("a"))
      yield* prune(view, { idleThreads: "1 day" })
      yield* age("2 days")
      yield* prune(view, { idleThreads: "1 day" })
      assert.deepStrictEqual(yield* openOf(view), [[threadId, 1, "a"]])
      yield* view.answer(threadId, { a: 1 })
      // The run that continues with the answer may take a while.
      yield* prune(view, { idleThreads: "1 day" })
      assert.deepStrictEqual(yield* questionsOf(view, first), [["a", 1]])
      yield* age("2 days")
      yield* prune(view, { idleThreads: "1 day" })
      assert.deepStrictEqual(yield* versionsOf(view, threadId), [])
    }))

  it.effect("deleteThread removes questions, and a thread of the same ids has none of them", () =>
    Effect.gen(function*() {
      const [view, threadId] = yield* freshThread
      const start = { threadId, checkpointId: "first", state: 1 }
      yield* view.create({ ...start, pendingInterrupts: ask("a", "b") })
      yield* view.answer(threadId, { a: 1 })
      yield* view.deleteThread(threadId)
      assert.deepStrictEqual(yield* openOf(view), [])
      yield* fails(view.answer(threadId, { b: 1 }), "CheckpointNotFound")
      const again = yield* view.create(start)
      assert.deepStrictEqual(yield* questionsOf(view, again), [])
      assert.deepStrictEqual(yield* waiting(view), [])
    }))
}

export const questions: Group = (it, properties) => {
  describe("questions", patient, () => {
    for (const group of [asking, answering, copying, listing, removing]) group(it, properties)
  })
}
