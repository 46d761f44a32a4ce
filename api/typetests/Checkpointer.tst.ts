import { type Checkpoint, Checkpointer, type CheckpointError, type CheckpointStore } from "@effect-checkpoint/core"
import { Context, type DateTime, Effect, type Layer, type Option, Schema, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

/** Its two sides differ: what is stored has a string where a program has a time. */
const Mail = Schema.Struct({ subject: Schema.String, receivedAt: Schema.DateTimeUtcFromString })
interface Mail {
  readonly subject: string
  readonly receivedAt: DateTime.Utc
}

class Mails extends Checkpointer.Service<Mails>()("app/Mails", { state: Mail }) {}

declare const mails: Mails["Service"]
declare const state: Mail
declare const parent: Checkpoint.Checkpoint<Mail>

describe("append, create and put", () => {
  it("an append cannot conflict", () => {
    expect(mails.append({ threadId: "1", state })).type.toBe<
      Effect.Effect<Checkpoint.Checkpoint<Mail>, Checkpointer.WriteError>
    >()
    expect<Extract<Checkpointer.WriteError, CheckpointError.VersionConflict>>().type.toBe<never>()
  })

  it("a put can conflict, and cannot find that a thread exists", () => {
    type Conflicting = Effect.Effect<
      Checkpoint.Checkpoint<Mail>,
      Checkpointer.WriteError | CheckpointError.VersionConflict
    >
    expect(mails.put({ parent, state })).type.toBe<Conflicting>()
    expect(mails.put({ threadId: "1", expectedVersion: 3, state })).type.toBe<Conflicting>()
  })

  it("a create can find that the thread exists, and cannot conflict", () => {
    expect(mails.create({ threadId: "1", state })).type.toBe<
      Effect.Effect<Checkpoint.Checkpoint<Mail>, Checkpointer.WriteError | CheckpointError.ThreadExists>
    >()
  })

  it("only a put can end or continue the step of the version that it follows", () => {
    mails.put({ parent, state, step: { change: "Ends" } })
    mails.put({ threadId: "1", expectedVersion: 3, state, step: { change: "Continues" } })
    // @ts-expect-error 'change' does not exist
    mails.append({ threadId: "1", state, step: { change: "Ends" } })
    // @ts-expect-error 'change' does not exist
    mails.create({ threadId: "1", state, step: { change: "Continues" } })
  })

  it("what was read can be saved again", () => {
    const { metadata, nextNodes, pendingInterrupts } = parent
    mails.append({ threadId: "1", state, metadata, nextNodes, pendingInterrupts })
  })

  it("takes every error that it lists, and no other, to be handled", () => {
    const caught = mails.append({ threadId: "1", state }).pipe(
      Effect.catchTags({
        InvalidInput: () => Effect.void,
        StateEncodeError: () => Effect.void,
        StateTooLarge: () => Effect.void,
        CheckpointIdTaken: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
  })

  it("names its thread once: by id or by parent", () => {
    // @ts-expect-error Property 'threadId' is missing
    mails.append({ state })
    // @ts-expect-error Types of property 'parent' are incompatible
    mails.put({ threadId: "1", parent, state })
    // @ts-expect-error Types of property 'expectedVersion' are incompatible
    mails.put({ parent, expectedVersion: 1, state })
  })

  it("refuses another state", () => {
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    mails.append({ threadId: "1", state: { ...state, subject: 1 } })
  })

  it("refuses the encoded state", () => {
    // @ts-expect-error Type 'string' is not assignable to type 'Utc'
    mails.append({ threadId: "1", state: { subject: "Hello", receivedAt: "2026-01-01T00:00:00Z" } })
  })
})

describe("ask, answer and step", () => {
  it("a question is asked of the step of a checkpoint, which may have ended", () => {
    expect(mails.ask(parent, [{ interruptId: "1", request: "Send it?", metadata: { kind: "send" } }])).type.toBe<
      Effect.Effect<
        void,
        | CheckpointError.InvalidInput
        | CheckpointError.CheckpointNotFound
        | CheckpointError.VersionConflict
        | CheckpointError.StoreError
      >
    >()
    // @ts-expect-error Property 'request' is missing
    mails.ask(parent, [{ interruptId: "1" }])
  })

  it("an answer names its question, returns what is still open, and cannot conflict", () => {
    expect(mails.answer("1", { "1": "yes" }, { answerId: "call" })).type.toBe<
      Effect.Effect<
        ReadonlyArray<Checkpoint.Question>,
        | CheckpointError.InvalidInput
        | CheckpointError.StateTooLarge
        | CheckpointError.CheckpointNotFound
        | CheckpointError.InterruptAlreadyResolved
        | CheckpointError.StoreError
      >
    >()
    // @ts-expect-error Type 'Date' is not assignable to type 'Json'
    mails.answer("1", { "1": new Date(0) })
  })

  it("the questions of a step have their answers, or none", () => {
    expect(mails.step(parent)).type.toBe<
      Effect.Effect<
        Checkpointer.StepState,
        CheckpointError.InvalidInput | CheckpointError.CheckpointNotFound | CheckpointError.StoreError
      >
    >()
    expect<Checkpoint.Question["answer"]>().type.toBe<Checkpoint.Answer | undefined>()
  })

  it("open questions are listed in a view, and by the service in any namespace", () => {
    expect(mails.openQuestions({ metadata: { kind: "send" } })).type.toBe<
      Stream.Stream<Checkpoint.OpenQuestion, Checkpointer.ReadError>
    >()
    // @ts-expect-error 'namespace' does not exist in type 'QuestionFilter'
    mails.openQuestions({ namespace: "app/Mails" })
    expect<Checkpointer.Checkpointer["Service"]["openQuestions"]>().type.toBeCallableWith({ namespace: "app/Mails" })
  })
})

describe("update", () => {
  it("has the error and the services of the caller's effect, and its own errors", () => {
    class Clerk
      extends Context.Service<Clerk, { readonly read: (mail: Mail) => Effect.Effect<Mail, "tired"> }>()("Clerk")
    {}
    const updated = mails.updateEffect("1", (mail) => Effect.flatMap(Clerk, (clerk) => clerk.read(mail)))
    expect(updated).type.toBe<
      Effect.Effect<
        Checkpoint.Checkpoint<Mail>,
        | Checkpointer.CopyError
        | CheckpointError.VersionConflict
        | "tired",
        Clerk
      >
    >()
  })

  it("refuses to change the state into another", () => {
    // @ts-expect-error Property 'receivedAt' is missing
    mails.update("1", ({ subject }) => ({ subject }))
  })
})

describe("get", () => {
  it("gives a state as programs have it, or none, and neither conflicts nor misses", () => {
    expect(mails.get("1")).type.toBe<
      Effect.Effect<
        Option.Option<Checkpoint.Checkpoint<Mail>>,
        CheckpointError.InvalidInput | CheckpointError.StateDecodeError | CheckpointError.StoreError
      >
    >()
    expect(mails.history("1")).type.toBe<Stream.Stream<Checkpoint.Checkpoint<Mail>, Checkpointer.ReadError>>()
  })
})

describe("Selector", () => {
  it("is a version, an id, a tag, a time or a checkpoint that was read", () => {
    expect<Checkpointer.Selector>().type.toBeAssignableFrom<{ at: DateTime.Utc }>()
    expect<Checkpointer.Selector>().type.toBeAssignableFrom<Checkpoint.CheckpointInfo>()
    expect<Checkpointer.Selector>().type.toBeAssignableFrom<{ version: number }>()
    expect<Checkpointer.Selector>().type.toBeAssignableFrom<{ checkpointId: string }>()
    expect<Checkpointer.Selector>().type.toBeAssignableFrom<{ tag: string }>()
  })

  it("is exactly one of them, but for a version that must also have an id", () => {
    // @ts-expect-error Argument of type '{}' is not assignable to parameter of type 'Selector | undefined'
    mails.get("1", {})
    // @ts-expect-error Type 'string' is not assignable to type 'undefined'
    mails.get("1", { version: 1, tag: "approved" })
    mails.get("1", { version: 1, checkpointId: "a" })
    // @ts-expect-error Type 'string' is not assignable to type 'undefined'
    mails.get("1", { checkpointId: "a", tag: "approved" })
  })

  it("must be there for restore", () => {
    // @ts-expect-error Expected 2-3 arguments, but got 1.
    mails.restore("1")
  })
})

describe("Service", () => {
  class Encrypt extends Context.Service<Encrypt, { readonly key: string }>()("Encrypt") {}
  class Decrypt extends Context.Service<Decrypt, { readonly key: string }>()("Decrypt") {}
  const Secret = Schema.String as Schema.Codec<string, string, Decrypt, Encrypt>

  it("is a view of the schema's type", () => {
    expect<Mails["Service"]>().type.toBe<Checkpointer.View<Mail>>()
  })

  it("has a layer that needs the service", () => {
    expect(Mails.layer).type.toBe<Layer.Layer<Mails, CheckpointError.InvalidInput, Checkpointer.Checkpointer>>()
  })

  it("has a layer that needs what both sides of the schema need, and no operation does", () => {
    class Secrets
      extends Checkpointer.Service<Secrets>()("app/Secrets", { state: Schema.Struct({ secret: Secret }) })
    {}
    expect(Secrets.layer).type.toBe<
      Layer.Layer<Secrets, CheckpointError.InvalidInput, Checkpointer.Checkpointer | Encrypt | Decrypt>
    >()
    expect<Effect.Services<ReturnType<Secrets["Service"]["update"]>>>().type.toBe<never>()
  })

  it("needs a schema", () => {
    // @ts-expect-error Property 'state' is missing
    Checkpointer.Service<Mails>()("app/Mails", {})
  })
})

describe("Checkpointer", () => {
  it("holds JSON", () => {
    const checkpointer = {} as Checkpointer.Checkpointer["Service"]
    expect(checkpointer.append).type.toBeCallableWith({ threadId: "1", state: { any: ["JSON", 1, null] } })
    // @ts-expect-error Type 'Date' is not assignable to type 'Json'.
    checkpointer.append({ threadId: "1", state: new Date(0) })
  })

  it("is built over any store", () => {
    type OverStore = Layer.Layer<
      Checkpointer.Checkpointer,
      CheckpointError.InvalidInput,
      CheckpointStore.CheckpointStore
    >
    expect(Checkpointer.layer).type.toBe<OverStore>()
    expect(Checkpointer.layerWith({ maxStateBytes: 1000 })).type.toBe<OverStore>()
  })

  it("needs nothing in memory and cannot fail to build", () => {
    expect(Checkpointer.layerMemory).type.toBe<
      Layer.Layer<Checkpointer.Checkpointer | CheckpointStore.CheckpointStore>
    >()
  })
})
