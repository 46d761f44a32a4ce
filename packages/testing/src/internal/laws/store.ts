import { CheckpointStore } from "@effect-checkpoint/core"
import { assert, describe } from "@effect/vitest"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { freshThread, type Group, type It, patient, range } from "./suite.ts"

/*
 * Laws of `CheckpointStore` when it is called directly. The other laws reach it through `Checkpointer`, which sends a
 * put again and therefore hides how the store refused it.
 */

const any: CheckpointStore.HeadCondition = { _tag: "Any" }
const noThread: CheckpointStore.HeadCondition = { _tag: "NoThread" }

const at = ({ checkpointId, version, writeId }: {
  readonly version: number
  readonly checkpointId?: string
  readonly writeId?: string
}): CheckpointStore.HeadCondition => ({ _tag: "At", version, checkpointId, writeId })

/** The store, and the key of a thread that does not exist yet and is deleted after the law. */
const freshKey = Effect.gen(function*() {
  const store = yield* CheckpointStore.CheckpointStore
  const [view, threadId] = yield* freshThread
  return { store, key: { threadId, namespace: view.namespace } }
})

/** A checkpoint of a new write, whose state is its id. */
const checkpoint = (
  key: CheckpointStore.ThreadKey,
  checkpointId: string,
  options?: Partial<CheckpointStore.NewCheckpoint>
): CheckpointStore.NewCheckpoint => {
  const text = JSON.stringify(checkpointId)
  return {
    ...key,
    checkpointId,
    writeId: uuidV4Unsafe(),
    parent: undefined,
    payload: { format: CheckpointStore.Format.keyframe, text, bytes: text.length },
    stateBytes: text.length,
    nextNodes: "[]",
    pendingInterrupts: "[]",
    answered: "[]",
    metadata: "{}",
    pendingWrites: "{}",
    step: "Begins",
    ...options
  }
}

/** The same state as a change of the version before. */
const change = (checkpointId: string): Pick<CheckpointStore.NewCheckpoint, "payload"> => {
  const text = JSON.stringify([{ op: "replace", path: "", value: checkpointId }])
  return { payload: { format: CheckpointStore.Format.delta, text, bytes: text.length } }
}

/** A thread with versions "one", "two" and "three", the last of which has an interrupt and a pending write. */
const three = Effect.gen(function*() {
  const { key, store } = yield* freshKey
  const last = checkpoint(key, "three", {
    pendingInterrupts: `[{"interruptId":"i","request":null}]`,
    pendingWrites: `{"a":1}`
  })
  for (const each of [checkpoint(key, "one"), checkpoint(key, "two"), last]) {
    assert.isTrue(Option.isSome(yield* store.put(each, any)))
  }
  return { store, key, head: { version: 3, checkpointId: "three", writeId: last.writeId } }
})

/** Everything that can be read of a thread. */
const contentOf = Effect.fnUntraced(function*(
  store: CheckpointStore.CheckpointStore["Service"],
  key: CheckpointStore.ThreadKey
) {
  const infos = yield* store.list(key, { before: undefined, limit: 100 })
  return {
    infos,
    records: yield* store.read(key, { _tag: "Latest" }, 100),
    steps: yield* Effect.forEach(infos, (info) => store.readStep(key, info)),
    open: yield* store.questions({ namespace: key.namespace, metadata: undefined, after: undefined, limit: 100 })
  }
})

/** Checks that a put is not applied and changes nothing. */
const refusesPut = Effect.fnUntraced(function*(
  store: CheckpointStore.CheckpointStore["Service"],
  checkpoint: CheckpointStore.NewCheckpoint,
  condition: CheckpointStore.HeadCondition
) {
  const before = yield* contentOf(store, checkpoint)
  assert.deepStrictEqual(yield* store.put(checkpoint, condition), Option.none())
  assert.deepStrictEqual(yield* contentOf(store, checkpoint), before)
})

const refusalOf = Effect.fnUntraced(function*(
  store: CheckpointStore.CheckpointStore["Service"],
  key: CheckpointStore.ThreadKey,
  checkpointId: string
) {
  const { head, idTaken } = yield* store.explainRefusal(key, checkpointId)
  return {
    head: head && { version: head.version, checkpointId: head.checkpointId, writeId: head.writeId },
    idTaken
  }
})

/** What a put may also write, and must not write if it is refused. */
const extras = {
  step: "Ends",
  pendingWrites: `{"b":2}`,
  pendingInterrupts: `[{"interruptId":"j","request":null}]`,
  answered: `[{"interruptId":"k","request":null,"response":null}]`
} as const

const unmet: ReadonlyArray<
  { readonly name: string; readonly condition: (head: CheckpointStore.HeadId) => CheckpointStore.HeadCondition }
> = [
  { name: "that there is no thread", condition: () => noThread },
  { name: "an earlier version", condition: () => at({ version: 2 }) },
  { name: "a later version", condition: () => at({ version: 4 }) },
  { name: "an earlier version with its id", condition: () => at({ version: 2, checkpointId: "two" }) },
  { name: "the version with another id", condition: () => at({ version: 3, checkpointId: "two" }) },
  { name: "the version of another write", condition: () => at({ version: 3, writeId: uuidV4Unsafe() }) },
  {
    name: "the version with its id, of another write",
    condition: (head) => at({ ...head, writeId: uuidV4Unsafe() })
  }
]

const met: typeof unmet = [
  { name: "nothing", condition: () => any },
  { name: "the version", condition: () => at({ version: 3 }) },
  { name: "the version with its id", condition: () => at({ version: 3, checkpointId: "three" }) },
  { name: "the version of its write", condition: ({ writeId }) => at({ version: 3, writeId }) },
  { name: "the version with its id, of its write", condition: (head) => at(head) }
]

const put = (it: It): void => {
  it.effect.each(met)(
    "CheckpointStore.put is applied if the newest version meets the condition: $name",
    ({ condition }) =>
      Effect.gen(function*() {
        const { head, key, store } = yield* three
        const saved = Option.getOrThrow(yield* store.put(checkpoint(key, "four"), condition(head)))
        assert.strictEqual(saved.version, 4)
        assert.deepStrictEqual(saved.parent, { threadId: key.threadId, version: 3, checkpointId: "three" })
        const [info] = yield* store.list(key, { before: undefined, limit: 1 })
        assert.deepStrictEqual([info!.version, info!.checkpointId, info!.createdAt], [4, "four", saved.createdAt])
      })
  )

  it.effect.each(unmet)(
    "CheckpointStore.put is None and writes nothing if the newest version does not meet the condition: $name",
    ({ condition }) =>
      Effect.gen(function*() {
        const { head, key, store } = yield* three
        yield* refusesPut(store, checkpoint(key, "four", extras), condition(head))
        yield* refusesPut(store, checkpoint(key, "four", { ...extras, ...change("four") }), condition(head))
        const saved = Option.getOrThrow(yield* store.put(checkpoint(key, "four"), at(head)))
        assert.strictEqual(saved.version, 4)
      })
  )

  it.effect("CheckpointStore.put after a version of a thread that does not exist is None, and writes nothing", () =>
    Effect.gen(function*() {
      const { key, store } = yield* freshKey
      for (const condition of [at({ version: 1 }), at({ version: 1, checkpointId: "one" })]) {
        yield* refusesPut(store, checkpoint(key, "one", extras), condition)
      }
      const saved = Option.getOrThrow(yield* store.put(checkpoint(key, "one"), noThread))
      assert.deepStrictEqual([saved.version, saved.parent], [1, undefined])
    }))

  it.effect("CheckpointStore.put with an id that the thread has is None and writes nothing, whatever the condition", () =>
    Effect.gen(function*() {
      const { head, key, store } = yield* three
      for (const taken of ["one", "two", "three"]) {
        for (const condition of [any, noThread, at(head), at({ version: 3 })]) {
          yield* refusesPut(store, checkpoint(key, taken, extras), condition)
        }
      }
      const elsewhere = { ...key, threadId: `${key.threadId} other` }
      assert.isTrue(Option.isSome(yield* store.put(checkpoint(elsewhere, "one"), noThread)))
    }))

  it.effect("of 16 concurrent calls of CheckpointStore.put with one condition, one is applied and the others are None", () =>
    Effect.gen(function*() {
      const { head, key, store } = yield* three
      const results = yield* Effect.forEach(
        range(1, 16),
        (i) => store.put(checkpoint(key, `four ${i}`), at(head)),
        { concurrency: 16 }
      )
      assert.deepStrictEqual(results.filter(Option.isSome).map(({ value }) => value.version), [4])
      const infos = yield* store.list(key, { before: undefined, limit: 100 })
      assert.deepStrictEqual(infos.map((info) => info.version), [4, 3, 2, 1])
    }))
}

const explainRefusal = (it: It): void => {
  it.effect("CheckpointStore.explainRefusal names the newest version and its write", () =>
    Effect.gen(function*() {
      const { head, key, store } = yield* three
      assert.deepStrictEqual(yield* refusalOf(store, key, "unused"), { head, idTaken: false })
      const next = checkpoint(key, "four")
      yield* store.put(next, at(head))
      assert.deepStrictEqual(yield* refusalOf(store, key, "unused"), {
        head: { version: 4, checkpointId: "four", writeId: next.writeId },
        idTaken: false
      })
    }))

  it.effect("CheckpointStore.explainRefusal says that an id is taken by any version that can be read", () =>
    Effect.gen(function*() {
      const { head, key, store } = yield* three
      for (const checkpointId of ["one", "two", "three"]) {
        assert.deepStrictEqual(yield* refusalOf(store, key, checkpointId), { head, idTaken: true })
      }
      const elsewhere = { ...key, threadId: `${key.threadId} other` }
      assert.deepStrictEqual(yield* refusalOf(store, elsewhere, "one"), { head: undefined, idTaken: false })
    }))

  it.effect("CheckpointStore.explainRefusal of a thread that does not exist, or not anymore, names no version", () =>
    Effect.gen(function*() {
      const { key, store } = yield* three
      yield* store.deleteThread(key)
      assert.deepStrictEqual(yield* refusalOf(store, key, "one"), { head: undefined, idTaken: false })
    }))

  it.effect("CheckpointStore.explainRefusal releases the id of a version that was removed, and of no other", () =>
    Effect.gen(function*() {
      const { key, store } = yield* freshKey
      // Version 4 is stored as a change and needs the payloads of the others.
      yield* store.put(checkpoint(key, "one"), any)
      for (const [i, checkpointId] of ["two", "three", "four"].entries()) {
        const delta = checkpoint(key, checkpointId, change(checkpointId))
        assert.isTrue(Option.isSome(yield* store.put(delta, at({ version: i + 1 }))), checkpointId)
      }
      yield* store.setTags(key, 2, `["kept"]`)
      const policy = { maxVersions: 1, maxAge: undefined, idleThreads: undefined, compact: false, dryRun: false }
      yield* Stream.runDrain(store.prune({ ...policy, namespace: key.namespace }))
      for (const [i, checkpointId] of ["one", "three"].entries()) {
        const again = checkpoint(key, checkpointId)
        const first = yield* store.put(again, at({ version: 4 + i }))
        if (Option.isNone(first)) {
          assert.deepInclude(yield* refusalOf(store, key, checkpointId), { idTaken: false })
          assert.isTrue(Option.isSome(yield* store.put(again, at({ version: 4 + i }))), checkpointId)
        }
        assert.deepStrictEqual(yield* refusalOf(store, key, checkpointId), {
          head: { version: 5 + i, checkpointId, writeId: again.writeId },
          idTaken: true
        })
      }
      for (const checkpointId of ["two", "four"]) {
        assert.deepInclude(yield* refusalOf(store, key, checkpointId), { idTaken: true })
        yield* refusesPut(store, checkpoint(key, checkpointId), any)
      }
      const infos = yield* store.list(key, { before: undefined, limit: 100 })
      assert.deepStrictEqual(infos.map((info) => info.checkpointId), ["three", "one", "four", "two"])
      const chain = yield* store.read(key, { _tag: "Version", version: 4 }, 1)
      assert.deepStrictEqual(chain.map((record) => [record.version, record.visible]), [
        [1, false],
        [2, true],
        [3, false],
        [4, true]
      ])
    }))
}

export const store: Group = (it) => {
  describe("store", patient, () => {
    put(it)
    explainRefusal(it)
  })
}
