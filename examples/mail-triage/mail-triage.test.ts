import { Checkpointer, StateGraph } from "@effect-checkpoint/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { DateTime, Effect, Exit, FileSystem, Option, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { Corpus } from "./Corpus.ts"
import * as Mail from "./Mail.ts"
import * as Mailbox from "./Mailbox.ts"
import * as Person from "./Person.ts"
import * as Score from "./Score.ts"
import * as Triage from "./Triage.ts"

const iso = (text: string): string | undefined =>
  Option.getOrUndefined(Option.map(Mail.parseDate(text), DateTime.formatIso))

describe("headers of mails", () => {
  it("header fields are unfolded, the first one of a name counts, and other lines are skipped", () => {
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

  it("encoded words are decoded, also if a character is split between two, and the spaces between them are removed", () => {
    assert.strictEqual(Mail.decodeWords("Ville =?ISO-8859-1?Q?Skytt=E4?="), "Ville Skyttä")
    assert.strictEqual(Mail.decodeWords("=?utf-8?b?4oI=?= =?utf-8?B?rCE=?="), "€!")
    assert.strictEqual(Mail.decodeWords("=?us-ascii*en?q?a_b?= and =?us-ascii?q?c?="), "a b and c")
  })

  it("text that is not an encoded word, or has an unknown character set, is not changed", () => {
    for (const text of ["=?x-none?q?a?=", "=?utf-8?x?a?=", "2 =? 3", "=?utf-8?q?unfinished"]) {
      assert.strictEqual(Mail.decodeWords(text), text)
    }
  })

  it("the sender is parsed from every form of address", () => {
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

  it("dates are parsed with their zones, and with missing seconds, two-digit years and comments", () => {
    assert.strictEqual(iso("Thu, 22 Aug 2002 07:36:16 -0400 (EDT)"), "2002-08-22T11:36:16.000Z")
    assert.strictEqual(iso("Mon, 16 Sep 2002 03:27:38 (GMT)"), "2002-09-16T03:27:38.000Z")
    assert.strictEqual(iso("27 May 02 10:28:3 EDT"), "2002-05-27T14:28:03.000Z")
    assert.strictEqual(iso("Tue, 3 Sep 2002 23:43 -0930"), "2002-09-04T09:13:00.000Z")
    assert.strictEqual(iso("Sun, 19 Oct 80 10:55:16"), "1980-10-19T10:55:16.000Z")
  })

  it("an invalid date is None", () => {
    for (const text of ["", "yesterday", "2002/09/14 Sat 02:29:32 CDT", "31 Feb 2002 10:00", "1 Foo 2002 10:00"]) {
      assert.deepStrictEqual(Mail.parseDate(text), Option.none(), text)
    }
  })
})

layer(Corpus.layer)("the corpus", (it) => {
  it.effect("the corpus has the mails of a folder by number, and fails for other numbers", () =>
    Effect.gen(function*() {
      const { folders, mail } = yield* Corpus
      assert.deepStrictEqual(folders(2000), [
        { name: "easy-ham-1", mails: 2000 },
        { name: "easy-ham-2", mails: 1400 },
        { name: "hard-ham-1", mails: 250 },
        { name: "spam-1", mails: 500 },
        { name: "spam-2", mails: 1396 }
      ])
      assert.strictEqual((yield* mail("spam-1", 500)).id, "00500")
      for (const number of [0, 501]) {
        assert.strictEqual((yield* Effect.flip(mail("spam-1", number)))._tag, "CorpusError")
      }
    }))

  it.effect("the headers of all 6,046 mails are parsed, except those of a few", () =>
    Effect.gen(function*() {
      const parsed = (yield* all).map(({ mail }) => mail)
      assert.strictEqual(parsed.length, 6046)
      // These mails have no such header, or a date in an order that no standard describes.
      assert.strictEqual(parsed.filter(({ from }) => from.address === "").length, 3)
      assert.strictEqual(parsed.filter(({ subject }) => subject === "").length, 19)
      assert.strictEqual(parsed.filter(({ date }) => Option.isNone(date)).length, 3)
      assert.isTrue(parsed.every(({ subject }) => !/=\?[\w-]+\?[bq]\?\S*\?=/i.test(subject)))
      assert.isTrue(parsed.some(({ from }) => from.name === "Ville Skyttä"))
      assert.isTrue(parsed.some(({ subject }) => subject === "URGENT BUSINESS ASSISTANCE."))
    }))

  it.effect("the score separates most of the spam from other mails, and few mails are doubtful", () =>
    Effect.gen(function*() {
      const mails = yield* all
      const share = (folder: RegExp, test: (points: number) => boolean) => {
        const those = mails.filter((mail) => folder.test(mail.folder))
        return those.filter(({ mail }) => test(Score.of(mail).points)).length / those.length
      }
      const isSpam = (points: number) => points >= Score.spam
      const isDoubtful = (points: number) => points === Score.doubtful
      assert.isBelow(share(/^easy-ham/, isSpam), 0.04)
      assert.isAbove(share(/^spam/, isSpam), 0.6)
      assert.isBelow(share(/^easy-ham/, isDoubtful), 0.01)
      assert.isBelow(share(/^spam/, isDoubtful), 0.2)
    }))
})

const all = Effect.gen(function*() {
  const { folders, mail } = yield* Corpus
  return yield* Effect.forEach(
    folders(10_000).flatMap(({ mails, name }) =>
      Array.from({ length: mails }, (_, index) => [name, index + 1] as const)
    ),
    ([folder, number]) => Effect.map(mail(folder, number), ({ text }) => ({ folder, mail: Mail.parse(text) }))
  )
})

const folder = { name: "hard-ham-1", mails: 40 }
const { name: threadId } = folder

const begun = { threadId, input: folder }

const uninterrupted = Triage.finish(begun, Person.holdsBack).pipe(
  Effect.provide(Checkpointer.layerMemory, { local: true })
)

/** Runs the graph until it asks, and returns its questions. */
const asked = Effect.andThen(Triage.work(begun), Stream.runCollect(StateGraph.interrupts(Triage.triage)))

layer(Corpus.layer)("a triage run", (it) => {
  const ways = { interruption: Effect.interrupt, defect: Effect.die("crash") }
  for (const [way, crash] of Object.entries(ways)) {
    for (const mail of [1, 2, 14, 15, 16, 39, 40]) {
      it.effect(`a triage run that ends at mail ${mail} of 40 by ${way} and is resumed ends like an uninterrupted one`, () =>
        Effect.gen(function*() {
          let filed = 0
          const crashes = Effect.suspend(() => ++filed < mail ? Effect.void : crash)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(Triage.finish(begun, Person.holdsBack, crashes))))
          const end = yield* Triage.finish({ threadId }, Person.holdsBack)
          const expected = yield* uninterrupted
          assert.deepStrictEqual(end.state, expected.state)
          assert.isTrue(Mailbox.equivalence(end.state, expected.state))
          assert.strictEqual(end.version, expected.version)
        }).pipe(Effect.provide(Checkpointer.layerMemory)))
    }
  }

  it.effect("a triage run that is resumed twice at the same time files each mail once, and one resume fails", () =>
    Effect.gen(function*() {
      const from = { threadId, answers: Triage.answersTo(yield* asked, "spam") }
      const exits = yield* Effect.all(
        [Effect.exit(Triage.finish(from, Person.holdsBack)), Effect.exit(Triage.finish(from, Person.holdsBack))],
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(exits.map(Exit.isSuccess).toSorted(), [false, true])
      const threads = yield* StateGraph.view(Triage.triage)
      const end = Option.getOrThrow(yield* threads.get(threadId))
      assert.strictEqual(new Set(end.state.messages.map(({ id }) => id)).size, 40)
      assert.deepStrictEqual(end.state, (yield* uninterrupted).state)
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("the questions of all folders are open at once, and folders that were answered together end like single ones", () =>
    Effect.gen(function*() {
      const folders = ["hard-ham-1", "spam-1", "spam-2"].map((name) => ({ name, mails: 30 }))
      yield* Effect.forEach(folders, (input) => Triage.work({ threadId: input.name, input }), { discard: true })
      const open = yield* Stream.runCollect(StateGraph.interrupts(Triage.triage))
      assert.deepStrictEqual(open.map(({ threadId }) => threadId).toSorted(), folders.map(({ name }) => name))
      const rounds: Array<number> = []
      const asked: Array<string> = []
      yield* Triage.finishAll(
        folders.map(({ name }) => name),
        (folder) => Effect.sync(() => (asked.push(folder), "spam" as const)),
        undefined,
        (asking) => Effect.ensuring(asking, Effect.sync(() => rounds.push(asked.length)))
      )
      assert.strictEqual(rounds[0], 3)
      const threads = yield* StateGraph.view(Triage.triage)
      for (const input of folders) {
        const { state } = Option.getOrThrow(yield* threads.get(input.name))
        const alone = yield* Triage.finish({ threadId: input.name, input }, Person.holdsBack).pipe(
          Effect.provide(Checkpointer.layerMemory, { local: true })
        )
        assert.deepStrictEqual(state, alone.state)
      }
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("a triage run asks once about a sender, and applies the answer to its later mails", () =>
    Effect.gen(function*() {
      const { state } = yield* uninterrupted
      const [asked, ...others] = state.messages.filter(({ by }) => by === "person")
      assert.deepStrictEqual(others, [])
      assert.strictEqual(asked?.from, "subscriptions@lockergnome.com")
      const later = state.messages.filter(({ by }) => by === "sender")
      assert.isAbove(later.length, 3)
      assert.isTrue(later.every(({ from, verdict }) => from.endsWith("lockergnome.com") && verdict === "spam"))
    }))

  it.effect("a branch of a triage run with another answer ends like a run with that answer", () =>
    Effect.gen(function*() {
      const questions = yield* asked
      const { version } = questions[0]!
      yield* Triage.finish({ threadId, answers: Triage.answersTo(questions, "spam") }, Person.holdsBack)
      const answers = Triage.answersTo(questions, "inbox")
      const branch = yield* Triage.finish({ threadId, version, answers }, Person.holdsBack)
      const other = yield* Triage.finish(begun, () => Effect.succeed("inbox" as const)).pipe(
        Effect.provide(Checkpointer.layerMemory, { local: true })
      )
      assert.deepStrictEqual(branch.state, other.state)
      assert.notDeepEqual(branch.state, (yield* uninterrupted).state)
    }).pipe(Effect.provide(Checkpointer.layerMemory)))

  it.effect("a triage run that files one mail differently is not equal", () =>
    Effect.gen(function*() {
      const { state } = yield* uninterrupted
      const [first, ...others] = state.messages
      assert.isTrue(Mailbox.equivalence(state, { ...state, messages: [{ ...first! }, ...others] }))
      assert.isFalse(Mailbox.equivalence(state, { ...state, messages: others }))
      assert.isFalse(Mailbox.equivalence(state, { ...state, messages: [{ ...first!, verdict: "spam" }, ...others] }))
      assert.isFalse(Mailbox.equivalence(state, { ...state, senders: {} }))
    }))
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

layer(NodeServices.layer, { excludeTestServices: true })("the demo", (it) => {
  it.effect("the graph of the demo is the one that docs/state-graph.md shows", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const page = yield* fs.readFileString(fileURLToPath(new URL("../../docs/state-graph.md", import.meta.url)))
      const [, picture] = page.match(/^```mermaid\n(.*?)\n```$/ms) ?? []
      assert.strictEqual(picture, StateGraph.toMermaid(Triage.triage))
    }))

  it.effect(
    "the demo kills a worker, resumes, finds equal states, goes back in time, and leaves no files behind",
    () =>
      Effect.gen(function*() {
        const { exitCode, output } = yield* demo("--mails", "40")
        assert.strictEqual(exitCode, 0, output)
        assert.match(output, /Process \d+ was killed \(SIGKILL\)/)
        assert.match(output, /spam-1 +version \d+ +6 of 40 mails +waits for a person/)
        assert.match(output, /easy-ham-1 +version \d+ +\d+ of 40 mails +(continues with|done)/)
        assert.include(output, "Without a terminal, as with --yes, doubtful mails are held back without asking.")
        assert.include(output, "Checked: all 5 states equal those of an uninterrupted run")
        assert.include(output, "The mail was held back. What if it had been let through?")
        assert.match(output, /after the prune +50 /)
        assert.notInclude(output, "\u001b")
        assert.isTrue(output.split("\n").every((line) => line.length <= 110), output)

        const folder = /Its files are in (\S+)/.exec(output)?.[1]
        assert.isFalse(yield* (yield* FileSystem.FileSystem).exists(folder!))
      }),
    90_000
  )

  it.effect("the demo reports an invalid option and fails", () =>
    Effect.gen(function*() {
      const { exitCode, output } = yield* demo("--mails", "0")
      assert.strictEqual(exitCode, 1)
      assert.match(output, /--mails.*between 1 and 1000/)
    }))
})
