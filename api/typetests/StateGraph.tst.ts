import { type Checkpoint, type Checkpointer, type CheckpointError, StateGraph } from "@effect-checkpoint/core"
import { Context, Effect, type Option, Schema, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

class Approval extends StateGraph.Interrupt<Approval>()("Approval", {
  request: Schema.Struct({ amount: Schema.Finite }),
  response: Schema.Struct({ approved: Schema.Boolean, at: Schema.DateTimeUtcFromString })
}) {}

class Payments
  extends Context.Service<Payments, { readonly pay: (amount: number) => Effect.Effect<void, "refused"> }>()(
    "Payments"
  )
{}

const state = Schema.Struct({ amount: Schema.Finite, paidAt: Schema.OptionFromNullOr(Schema.DateTimeUtc) })
type State = typeof state.Type

const nodes = {
  triage: (state: State) => Effect.succeed({ amount: state.amount + 1 }),
  pay: (state: State) => Effect.flatMap(Payments, (payments) => payments.pay(state.amount))
}

const edges = { triage: ["pay"], pay: [] } as const

const refund = StateGraph.make({
  name: "refund",
  state,
  interrupts: [Approval],
  start: "triage",
  nodes: { ...nodes, approve: ({ amount }: State) => Effect.asVoid(StateGraph.interrupt(Approval, { amount })) },
  edges: { triage: ["approve"], approve: (state) => state.amount > 0 ? ["pay"] : [], pay: [] }
})

describe("make", () => {
  it("knows its nodes", () => {
    expect<typeof refund.nodes[number]>().type.toBe<"triage" | "approve" | "pay">()
  })

  it("starts with a node that it has", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "nowhere", nodes, edges })
  })

  it("leads to nodes that it has: fixed edges", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: ["nowhere"], pay: [] } })
  })

  it("leads to nodes that it has: edges by the state", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: () => ["nowhere"], pay: [] } })
  })

  it("leads to nodes that it has: edges that say where they may lead", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "triage",
      nodes,
      // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
      edges: { triage: { to: ["nowhere"], when: () => [] }, pay: [] }
    })
    StateGraph.make({
      name: "g",
      state,
      start: "triage",
      nodes,
      // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
      edges: { triage: { to: ["pay"], when: () => ["nowhere"] }, pay: [] }
    })
  })

  it("has an edge for each node, and no other", () => {
    // @ts-expect-error Property 'pay' is missing
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: [] } })
    // @ts-expect-error 'nowhere' does not exist in type
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { ...edges, nowhere: [] } })
  })

  it("gives nodes and edges the state and the context", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      nodes: {
        a: (state, context) => {
          expect(state).type.toBe<State>()
          expect(context).type.toBe<StateGraph.NodeContext>()
          return Effect.succeed({ amount: 1 })
        }
      },
      edges: {
        a: (state) => {
          expect(state).type.toBe<State>()
          return []
        }
      }
    })
  })

  it("refuses what is not an update", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      // @ts-expect-error Type 'string' is not assignable to type 'number'
      nodes: { a: () => Effect.succeed({ amount: "1" }) },
      edges: { a: [] }
    })
  })

  it("refuses a node that is not an effect", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      // @ts-expect-error Type '{ amount: number; }' is missing the following properties from type 'Effect<void | {
      nodes: { a: () => ({ amount: 1 }) },
      edges: { a: [] }
    })
  })

  it("reduces updates of a type of its own", () => {
    const list = Schema.Array(Schema.String)
    StateGraph.make({
      name: "g",
      state: list,
      update: Schema.String,
      reduce: (state, update) => {
        expect(state).type.toBe<ReadonlyArray<string>>()
        expect(update).type.toBe<string>()
        return [...state, update]
      },
      start: "a",
      nodes: { a: () => Effect.succeed("one") },
      edges: { a: [] }
    })
    StateGraph.make({
      name: "g",
      state: list,
      update: Schema.String,
      reduce: (state, update) => [...state, update],
      start: "a",
      // @ts-expect-error Type 'number' is not assignable to type 'string | void'
      nodes: { a: () => Effect.succeed(1) },
      edges: { a: [] }
    })
    StateGraph.make({
      name: "g",
      state: list,
      update: Schema.String,
      // @ts-expect-error Type 'string' is not assignable to type 'readonly string[]'
      reduce: (_, update) => update,
      start: "a",
      nodes: { a: () => Effect.succeed("one") },
      edges: { a: [] }
    })
  })

  it("has to be told how, where updates have a type of their own", () => {
    // @ts-expect-error Property 'reduce' is missing
    StateGraph.make({
      name: "g",
      state,
      update: Schema.String,
      start: "a",
      nodes: { a: () => Effect.succeed("one") },
      edges: { a: [] }
    })
  })

  it("without them takes the whole state, where that is not a struct", () => {
    const list = Schema.Array(Schema.String)
    const graph = StateGraph.make({
      name: "g",
      state: list,
      start: "a",
      nodes: { a: (state) => Effect.succeed([...state, "one"]) },
      edges: { a: [] }
    })
    expect(graph).type.toBeAssignableTo<{ readonly start: "a" }>()
    // @ts-expect-error Type 'string' is not assignable to type 'void | readonly string[]'
    StateGraph.make({ name: "g", state: list, start: "a", nodes: { a: () => Effect.succeed("one") }, edges: { a: [] } })
  })

  it("refuses states that need services to be read or written", () => {
    class Key extends Context.Service<Key, string>()("Key") {}
    const secret = Schema.String as Schema.Codec<string, string, Key, Key>
    // @ts-expect-error Type 'Key' is not assignable to type 'never'
    StateGraph.make({ name: "g", state: secret, start: "a", nodes: { a: () => Effect.void }, edges: { a: [] } })
  })
})

describe("run", () => {
  const input: State = {} as State

  it("has the errors and the services of its nodes, and its own", () => {
    expect(StateGraph.run(refund, { threadId: "1", input })).type.toBe<
      Effect.Effect<
        StateGraph.RunResult<State, "triage" | "approve" | "pay">,
        "refused" | StateGraph.RunError | CheckpointError.ThreadUnfinished,
        Payments | Checkpointer.Checkpointer
      >
    >()
  })

  it("has every error that it lists, and no other, to be handled", () => {
    const caught = StateGraph.run(refund, { threadId: "1", input }).pipe(
      Effect.catchIf((error) => error === "refused", () => Effect.void),
      Effect.catchTags({
        InvalidInput: () => Effect.void,
        StateEncodeError: () => Effect.void,
        StateDecodeError: () => Effect.void,
        StateTooLarge: () => Effect.void,
        CheckpointIdTaken: () => Effect.void,
        CheckpointNotFound: () => Effect.void,
        VersionConflict: () => Effect.void,
        GraphMismatch: () => Effect.void,
        StepLimitExceeded: () => Effect.void,
        ThreadUnfinished: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
  })

  it("does not run without its services", () => {
    const provided = Effect.provideService(StateGraph.run(refund, { threadId: "1", input }), Payments, {
      pay: () => Effect.void
    })
    expect<Effect.Services<typeof provided>>().type.toBe<Checkpointer.Checkpointer>()
  })

  it("does not run with a question that the graph does not name", () => {
    const silent = StateGraph.make({
      name: "g",
      state,
      start: "approve",
      nodes: { approve: ({ amount }) => Effect.asVoid(StateGraph.interrupt(Approval, { amount })) },
      edges: { approve: [] }
    })
    const program = StateGraph.run(silent, { threadId: "1", input })
    expect<Effect.Services<typeof program>>().type.toBe<Approval | Checkpointer.Checkpointer>()
  })

  it("takes the names of its nodes", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    StateGraph.run(refund, { threadId: "1", input, interruptBefore: ["nowhere"] })
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    StateGraph.run(refund, { threadId: "1", input, interruptAfter: ["nowhere"] })
  })

  it("begins with a state, or with what begin takes", () => {
    // @ts-expect-error Property 'paidAt' is missing
    StateGraph.run(refund, { threadId: "1", input: { amount: 1 } })
    const chat = StateGraph.make({
      name: "chat",
      state: Schema.Array(Schema.String),
      start: "reply",
      begin: (message: string, saved) => {
        expect(saved).type.toBe<ReadonlyArray<string> | undefined>()
        return [...saved ?? [], message]
      },
      nodes: { reply: () => Effect.void },
      edges: { reply: [] }
    })
    expect(StateGraph.run).type.toBeCallableWith(chat, { threadId: "1", input: "hello" })
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    StateGraph.run(chat, { threadId: "1", input: 1 })
  })

  it("tells how it ended", () => {
    const result = {} as StateGraph.RunResult<State, "triage" | "pay">
    expect(result.state).type.toBe<State>()
    expect(result.checkpoint).type.toBe<Checkpoint.Checkpoint<State>>()
    if (result._tag === "Stopped") expect(result.branches).type.toBe<ReadonlyArray<"triage" | "pay">>()
    if (result._tag === "Interrupted") expect(result.interrupt).type.toBe<StateGraph.PendingInterrupt>()
  })
})

describe("resume", () => {
  it("has the errors and the services of its nodes, and its own", () => {
    expect(StateGraph.resume(refund, { threadId: "1" })).type.toBe<
      Effect.Effect<
        StateGraph.RunResult<State, "triage" | "approve" | "pay">,
        | "refused"
        | StateGraph.RunError
        | CheckpointError.InterruptAlreadyResolved
        | CheckpointError.InvalidResponse,
        Payments | Checkpointer.Checkpointer
      >
    >()
  })

  it("takes what answers one of its interrupts, or continue", () => {
    expect(StateGraph.resume).type.toBeCallableWith(refund, { threadId: "1", response: "continue" as const })
    // @ts-expect-error Type '"go"' is not assignable to type
    StateGraph.resume(refund, { threadId: "1", response: "go" })
    // @ts-expect-error Type 'string' is not assignable to type 'Utc |
    StateGraph.resume(refund, { threadId: "1", response: { approved: true, at: "2026-01-01T00:00:00Z" } })
    const silent = StateGraph.make({ name: "g", state, start: "triage", nodes, edges })
    expect(StateGraph.resume(silent, { threadId: "1", response: "continue" })).type.toBeAssignableTo<
      Effect.Effect<StateGraph.RunResult<State, "triage" | "pay">, unknown, unknown>
    >()
    // @ts-expect-error Type '"go"' is not assignable to type '"continue"'
    StateGraph.resume(silent, { threadId: "1", response: "go" })
  })

  it("takes an update and the names of its nodes", () => {
    expect(StateGraph.resume).type.toBeCallableWith(refund, {
      threadId: "1",
      update: { amount: 2 },
      next: ["pay" as const]
    })
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    StateGraph.resume(refund, { threadId: "1", update: { amount: "2" } })
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    StateGraph.resume(refund, { threadId: "1", next: ["nowhere"] })
  })
})

describe("stream", () => {
  it("is of events, with all errors of run and resume", () => {
    const stream = StateGraph.stream(refund, { threadId: "1", input: {} as State })
    expect<Stream.Success<typeof stream>>().type.toBe<
      StateGraph.RunEvent<
        State,
        { readonly amount?: number; readonly paidAt?: State["paidAt"] },
        "triage" | "approve" | "pay"
      >
    >()
    expect<Stream.Error<typeof stream>>().type.toBe<
      | "refused"
      | StateGraph.RunError
      | CheckpointError.ThreadUnfinished
      | CheckpointError.InterruptAlreadyResolved
      | CheckpointError.InvalidResponse
    >()
    expect<Stream.Services<typeof stream>>().type.toBe<Payments | Checkpointer.Checkpointer>()
  })
})

describe("subgraph", () => {
  it("requires what its nodes do, and the questions that it asks", () => {
    const node = StateGraph.subgraph(refund, {
      input: (outer: { readonly total: number }) => ({ ...({} as State), amount: outer.total }),
      output: ({ amount }, outer) => ({ total: outer.total - amount })
    })
    const outer = StateGraph.make({
      name: "outer",
      state: Schema.Struct({ total: Schema.Finite }),
      interrupts: [Approval],
      start: "refund",
      nodes: { refund: node },
      edges: { refund: [] }
    })
    const program = StateGraph.run(outer, { threadId: "1", input: { total: 1 } })
    expect<Effect.Services<typeof program>>().type.toBe<Payments | Checkpointer.Checkpointer>()
    expect<Effect.Error<typeof program>>().type.toBe<
      "refused" | StateGraph.RunError | CheckpointError.ThreadUnfinished | CheckpointError.InterruptAlreadyResolved
    >()
    const unaware = StateGraph.make({
      name: "outer",
      state: Schema.Struct({ total: Schema.Finite }),
      start: "refund",
      nodes: { refund: node },
      edges: { refund: [] }
    })
    const asking = StateGraph.run(unaware, { threadId: "1", input: { total: 1 } })
    expect<Effect.Services<typeof asking>>().type.toBe<Approval | Payments | Checkpointer.Checkpointer>()
  })
})

describe("metadata", () => {
  it("is read from a checkpoint, or from its info", () => {
    expect(StateGraph.metadata).type.toBeCallableWith({} as Checkpoint.Checkpoint<State>)
    expect(StateGraph.metadata({} as Checkpoint.CheckpointInfo)).type.toBe<Option.Option<StateGraph.Metadata>>()
    expect<StateGraph.Metadata["cause"]>().type.toBe<"input" | "step" | "interrupt" | "answer" | "branch" | "edit">()
    expect<StateGraph.Metadata["stepId"]>().type.toBe<string | undefined>()
  })
})

describe("interrupt", () => {
  it("asks by its schemas", () => {
    expect(StateGraph.interrupt(Approval, { amount: 1 })).type.toBe<
      Effect.Effect<typeof Approval.response.Type, never, Approval>
    >()
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    StateGraph.interrupt(Approval, { amount: "1" })
  })
})
