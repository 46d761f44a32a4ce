import { Checkpointer } from "@effect-checkpoint/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { DateTime, Effect, Exit, FileSystem, Layer, Option, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { Corpus } from "./Corpus.ts"
import * as Mail from "./Mail.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Triage from "./Triage.ts"

const iso = (text: string): string | undefined =>
  Option.getOrUndefined(Option.map(Mail.parseDate(text), DateTime.formatIso))

describe("headers of mails", () => {
  it("fields are unfolded, the first of a name counts, and what is no field is passed over", () => {
    const { headers, subject } = Mail.parse(
      "From someone@example.org  Thu Aug 22 12:36:23 2002\r\nSubject: one\r\n\ttwo\r\n  three\r\nSUBJECT: other\r\n" +
        "no field\r\nX-Empty:\r\n\r\nSubject: in the body\r\n"
    )
    assert.strictEqual(subject, "one two three")
    assert.deepStrictEqual(Array.from(headers.keys()), ["subject", "x-empty"])
  })

  it("a mail without headers has no date, no sender and no subject", () => {
    const { date, from, subject } = Mail.parse("")
    assert.deepStrictEqual([date, from, subject], [Option.none(), { address: "", name: "" }, ""])
  })

  it("encoded words are decoded, across a cut character, and the blanks between two of them are dropped", () => {
    assert.strictEqual(Mail.decodeWords("Ville =?ISO-8859-1?Q?Skytt=E4?="), "Ville Skyttä")
    assert.strictEqual(Mail.decodeWords("=?utf-8?b?4oI=?= =?utf-8?B?rCE=?="), "€!")
    assert.strictEqual(Mail.decodeWords("=?us-ascii*en?q?a_b?= and =?us-ascii?q?c?="), "a b and c")
  })

  it("what is no encoded word, or is in an unknown character set, is left as it is", () => {
    for (const text of ["=?x-none?q?a?=", "=?utf-8?x?a?=", "2 =? 3", "=?utf-8?q?unfinished"]) {
      assert.strictEqual(Mail.decodeWords(text), text)
    }
  })

  it("the sender is found however it is written", () => {
    const senders = {
      "Name <A@Example.org>": { name: "Name", address: "a@example.org" },
      "\"Last, First \\\"F\\\"\" <a@b>": { name: "Last, First \"F\"", address: "a@b" },
      "\"<not@this>\" <a@b>": { name: "<not@this>", address: "a@b" },
      "a@b (A Name)": { name: "A Name", address: "a@b" },
      "a@b, c@d": { name: "a@b", address: "a@b" },
      "<a@b>": { name: "a@b", address: "a@b" },
      "=?utf-8?q?=3Cx=40y=3E?= <a@b>": { name: "<x@y>", address: "a@b" }
    }
    for (const [text, sender] of Object.entries(senders)) assert.deepStrictEqual(Mail.parseAddress(text), sender, text)
  })

  it("dates are moments, in whatever zone and with whatever ornament", () => {
    assert.strictEqual(iso("Thu, 22 Aug 2002 07:36:16 -0400 (EDT)"), "2002-08-22T11:36:16.000Z")
    assert.strictEqual(iso("Mon, 16 Sep 2002 03:27:38 (GMT)"), "2002-09-16T03:27:38.000Z")
    assert.strictEqual(iso("27 May 02 10:28:3 EDT"), "2002-05-27T14:28:03.000Z")
    assert.strictEqual(iso("Tue, 3 Sep 2002 23:43 -0930"), "2002-09-04T09:13:00.000Z")
    assert.strictEqual(iso("Sun, 19 Oct 80 10:55:16"), "1980-10-19T10:55:16.000Z")
  })

  it("what is no date is none", () => {
    for (const text of ["", "yesterday", "2002/09/14 Sat 02:29:32 CDT", "31 Feb 2002 10:00", "1 Foo 2002 10:00"]) {
      assert.deepStrictEqual(Mail.parseDate(text), Option.none(), text)
    }
  })
})

const Memory = Mailbox.Mailboxes.layer.pipe(Layer.provide(Checkpointer.layerMemory))

layer(Corpus.layer)("the corpus", (it) => {
  it.effect("the mails of a folder come in order, from any one on", () =>
    Effect.gen(function*() {
      const { folders, mails } = yield* Corpus
      assert.deepStrictEqual(folders, [
        { name: "easy-ham-1", mails: 2500 },
        { name: "easy-ham-2", mails: 1400 },
        { name: "hard-ham-1", mails: 250 },
        { name: "spam-1", mails: 500 },
        { name: "spam-2", mails: 1396 }
      ])
      const some = yield* Stream.runCollect(Stream.take(mails("spam-1", 499), 3))
      assert.deepStrictEqual(some.map(({ id }) => id), ["00499", "00500"])
    }))

  it.effect("the headers of all 6,046 mails are understood, but for those of a few", () =>
    Effect.gen(function*() {
      const { folders, mails } = yield* Corpus
      const raw = yield* Stream.runCollect(Stream.flatMap(Stream.fromIterable(folders), ({ name }) => mails(name, 1)))
      const parsed = raw.map(({ text }) => Mail.parse(text))
      assert.strictEqual(parsed.length, 6046)
      // These have none, or a date in no order that is written down anywhere.
      assert.strictEqual(parsed.filter(({ from }) => from.address === "").length, 3)
      assert.strictEqual(parsed.filter(({ subject }) => subject === "").length, 19)
      assert.strictEqual(parsed.filter(({ date }) => Option.isNone(date)).length, 3)
      assert.isTrue(parsed.every(({ subject }) => !/=\?[\w-]+\?[bq]\?\S*\?=/i.test(subject)))
      assert.isTrue(parsed.some(({ from }) => from.name === "Ville Skyttä"))
      assert.isTrue(parsed.some(({ subject }) => subject === "URGENT BUSINESS ASSISTANCE."))
    }))
})

/** Reads on, but not beyond the work for the n-th mail. */
const resumeUntil = Effect.fnUntraced(function*(mail: number, crash: Effect.Effect<never, string>) {
  let worked = 0
  const heads = yield* Triage.heads({ unfinished: true })
  return yield* Triage.resume(heads, {
    beforeSave: () => Effect.suspend(() => ++worked < mail ? Effect.void : crash),
    afterSave: Effect.void
  })
})

const uninterrupted = (mails: number) =>
  Effect.gen(function*() {
    yield* Triage.begin(mails)
    return yield* Triage.resume(yield* Triage.heads({ unfinished: true }), Triage.noHooks)
  }).pipe(Effect.provide(Memory, { local: true }))

layer(Corpus.layer)("a run", (it) => {
  const ways = { failure: Effect.fail("crash"), interruption: Effect.interrupt, defect: Effect.die("crash") }
  for (const [way, crash] of Object.entries(ways)) {
    for (const mail of [1, 2, 37, 99, 100]) {
      it.effect(`that ends at mail ${mail} of 100 by ${way} and goes on ends as one that is left alone`, () =>
        Effect.gen(function*() {
          yield* Triage.begin(20)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(resumeUntil(mail, crash))))

          const heads = yield* Triage.heads({ unfinished: true })
          const left = heads.reduce((left, { state }) => left + state.total - state.messages.length, 0)
          assert.isAtLeast(left, 100 - mail + 1)
          yield* Triage.resume(heads, Triage.noHooks)

          const ends = yield* Triage.heads()
          const expected = yield* uninterrupted(20)
          assert.deepStrictEqual(ends.map(({ state }) => state), expected.map(({ state }) => state))
          assert.isTrue(ends.every(({ state }, index) => Mailbox.equivalence(state, expected[index]!.state)))
          assert.isTrue(ends.every(({ version }) => version === 21))
          assert.deepStrictEqual(yield* Triage.heads({ unfinished: true }), [])
        }).pipe(Effect.provide(Memory)))
    }
  }

  it.effect("that reads a folder which somebody else reads too fails, and counts nothing twice", () =>
    Effect.gen(function*() {
      yield* Triage.begin(5)
      const heads = yield* Triage.heads()
      yield* Triage.resume(heads, Triage.noHooks)
      const error = yield* Effect.flip(Triage.resume(heads, Triage.noHooks))
      assert.strictEqual(error._tag, "VersionConflict")
      assert.isTrue((yield* Triage.heads()).every(({ state, version }) => state.messages.length === 5 && version === 6))
    }).pipe(Effect.provide(Memory)))

  it.effect("that begins goes on with one that is unfinished, and replaces one that is finished", () =>
    Effect.gen(function*() {
      yield* Triage.begin(3)
      yield* Effect.exit(resumeUntil(8, Effect.fail("crash")))
      const before = yield* Triage.heads()
      yield* Triage.begin(4)
      assert.deepStrictEqual(yield* Triage.heads(), before)
      yield* Triage.resume(yield* Triage.heads({ unfinished: true }), Triage.noHooks)
      yield* Triage.begin(4)
      assert.isTrue((yield* Triage.heads()).every(({ state, version }) => state.total === 4 && version === 1))
    }).pipe(Effect.provide(Memory)))

  it.effect("that miscounts one mail is not taken for equal", () =>
    Effect.gen(function*() {
      const [end] = yield* uninterrupted(5)
      const { state } = end!
      assert.isTrue(Mailbox.equivalence(state, copyOf(state)))
      assert.isFalse(Mailbox.equivalence(state, { ...state, senders: { ...state.senders, "one@more": 1 } }))
      assert.isFalse(Mailbox.equivalence(state, { ...state, messages: state.messages.slice(1) }))
      assert.isFalse(Mailbox.equivalence(state, { ...state, counts: { ...state.counts, new: state.counts.new + 1 } }))
    }))
})

const copyOf = (state: Mailbox.Mailbox): Mailbox.Mailbox => ({
  ...state,
  senders: { ...state.senders },
  counts: { ...state.counts },
  messages: state.messages.map((message) => ({ ...message }))
})

const program = fileURLToPath(new URL("main.ts", import.meta.url))

/** Runs the program, without a database server. */
const demo = (...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.gen(function*() {
    const handle = yield* ChildProcess.make(process.execPath, [program, ...args], {
      env: { DATABASE_URL: undefined, FORCE_COLOR: undefined },
      extendEnv: true
    })
    const [output, exitCode] = yield* Effect.all(
      [Stream.mkString(Stream.decodeText(handle.all)), handle.exitCode],
      { concurrency: "unbounded" }
    )
    return { output, exitCode }
  }))

layer(NodeServices.layer, { excludeTestServices: true })("the demonstration", (it) => {
  it.effect("is killed, goes on, proves its end states equal and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { exitCode, output } = yield* demo("--mails", "12")
      assert.strictEqual(exitCode, 0, output)
      assert.include(output, "The process is gone (SIGKILL)")
      assert.match(output, /spam-1 +goes on at mail \d+ of 12, version \d+/)
      assert.include(output, "Proved: all 5 states equal those of an uninterrupted run")
      assert.include(output, "none was saved twice")
      assert.notInclude(output, "\u001b")
      assert.isTrue(output.split("\n").every((line) => line.length <= 100), output)

      const folder = /its files are in (\S+)/.exec(output)?.[1]
      assert.isFalse(yield* (yield* FileSystem.FileSystem).exists(folder!))
    }))

  it.effect("says what is wrong with a value, and fails", () =>
    Effect.gen(function*() {
      const { exitCode, output } = yield* demo("--mails", "0")
      assert.strictEqual(exitCode, 1)
      assert.match(output, /--mails.*between 1 and 1000/)
    }))
})
