import { type Checkpoint, type Checkpointer, type CheckpointError, StateGraph } from "@effect-checkpoint/core"
import { Context, type DateTime, Effect, Number, type Option, pipe, Schema, type Stream } from "effect"
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
  it("has the names of its nodes", () => {
    expect<typeof refund.nodes[number]>().type.toBe<"triage" | "approve" | "pay">()
  })

  it("starts at one of its nodes", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "nowhere", nodes, edges })
  })

  it("has fixed edges to its own nodes only", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: ["nowhere"], pay: [] } })
  })

  it("has edges that depend on the state to its own nodes only", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: () => ["nowhere"], pay: [] } })
  })

  it("has edges with `to` and `when` to its own nodes only", () => {
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

  it("has an edge for each node, and no others", () => {
    // @ts-expect-error Property 'pay' is missing
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { triage: [] } })
    // @ts-expect-error 'nowhere' does not exist in type
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges: { ...edges, nowhere: [] } })
  })

  it("passes the state to edges, and the state and the context to nodes", () => {
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

  it("refuses a node whose result is not an update", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      // @ts-expect-error Type 'string' is not assignable to type 'number'
      nodes: { a: () => Effect.succeed({ amount: "1" }) },
      edges: { a: [] }
    })
  })

  it("refuses a node whose update has a field that the state does not have", () => {
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      // @ts-expect-error Type '{ amuont: number; }' is not assignable to type 'void | {
      nodes: { a: () => Effect.succeed({ amuont: 1 }), b: () => Effect.succeed({ amount: 1 }) },
      edges: { a: [], b: [] }
    })
    StateGraph.make({
      name: "g",
      state,
      start: "a",
      nodes: {
        // @ts-expect-error Types of property 'amuont' are incompatible
        a: ({ amount }) =>
          Effect.gen(function*() {
            if (amount === 0) return
            return amount > 1 ? { amount: 1 } : { amount: 1, amuont: 1 }
          })
      },
      edges: { a: [] }
    })
  })

  it("refuses a node whose update has a field that the schema of updates does not have", () => {
    StateGraph.make({
      name: "g",
      state: Schema.Array(Schema.String),
      update: Schema.Struct({ word: Schema.String }),
      reduce: (state, { word }) => [...state, word],
      start: "a",
      // @ts-expect-error Types of property 'wrod' are incompatible
      nodes: { a: () => Effect.succeed({ word: "a", wrod: "b" }) },
      edges: { a: [] }
    })
  })

  it("takes nodes that return some fields, the whole state, an instance of its class, or nothing", () => {
    class Count extends Schema.Class<Count>("Count")({ count: Schema.Int, at: Schema.optional(Schema.String) }) {
      get next(): number {
        return this.count + 1
      }
    }
    const graph = StateGraph.make({
      name: "g",
      state: Count,
      start: "a",
      nodes: {
        a: (state) => Effect.succeed(state),
        b: (state) => Effect.succeed({ ...state }),
        c: () => Effect.succeed(new Count({ count: 1 })),
        d: () => Effect.succeed({}),
        e: () => Effect.void,
        f: () => Effect.succeed({ at: undefined }),
        g: () => Effect.fail("no")
      },
      edges: { a: [], b: [], c: [], d: [], e: [], f: [], g: [] }
    })
    expect<StateGraph.State<typeof graph>>().type.toBe<Count>()
    expect<StateGraph.Error<typeof graph>>().type.toBe<string>()
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

  it("infers the types of reduce from the schemas of the state and the update", () => {
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

  it("requires reduce if there is an update schema", () => {
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

  it("infers the types of the reducers of fields from the schema of the state", () => {
    const graph = StateGraph.make({
      name: "g",
      state: Schema.Struct({
        messages: Schema.Array(Schema.String),
        cost: Schema.Finite,
        tags: Schema.optionalKey(Schema.Array(Schema.String)),
        seen: Schema.optional(Schema.Array(Schema.String)),
        byId: Schema.Record(Schema.String, Schema.Int),
        done: Schema.Boolean
      }),
      reducers: {
        messages: StateGraph.append,
        cost: Number.sum,
        tags: (current, update) => {
          expect(current).type.toBe<ReadonlyArray<string> | undefined>()
          expect(update).type.toBe<ReadonlyArray<string>>()
          return update
        },
        seen: StateGraph.append,
        byId: StateGraph.merge,
        done: (current, update) => {
          expect(current).type.toBe<boolean>()
          expect(update).type.toBe<boolean>()
          return current || update
        }
      },
      conflicts: "fail",
      start: "a",
      nodes: { a: () => Effect.succeed({ messages: ["a"], cost: 1 }) },
      edges: { a: [] }
    })
    expect<Required<StateGraph.Update<typeof graph>>["messages"]>().type.toBe<ReadonlyArray<string>>()
  })

  it("has reducers of fields of its state only, with their types", () => {
    const options = { name: "g", state, start: "a", nodes: { a: () => Effect.void }, edges: { a: [] } } as const
    // @ts-expect-error 'amuont' does not exist in type
    StateGraph.make({ ...options, reducers: { amuont: Number.sum } })
    // @ts-expect-error Type 'number' is not assignable to type 'readonly unknown[]'
    StateGraph.make({ ...options, reducers: { amount: StateGraph.append } })
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    StateGraph.make({ ...options, reducers: { amount: (current, update) => `${current}${update}` } })
    // @ts-expect-error is not assignable to type 'undefined'
    StateGraph.make({ ...options, state: Schema.Int, reducers: { amount: Number.sum } })
    // @ts-expect-error Type '"first"' is not assignable to type '"fail" | "last" | undefined'
    StateGraph.make({ ...options, conflicts: "first" })
  })

  it("has either reduce or reducers", () => {
    const options = { name: "g", state, start: "a", nodes: { a: () => Effect.void }, edges: { a: [] } } as const
    const reduce = (state: State): State => state
    expect(StateGraph.make({ ...options, reduce })).type.toBeAssignableTo<StateGraph.Any>()
    // @ts-expect-error Types of property 'reducers' are incompatible
    StateGraph.make({ ...options, reduce, reducers: { amount: Number.sum } })
    // @ts-expect-error is not assignable to type
    StateGraph.make({ ...options, reduce, conflicts: "last" })
    StateGraph.make({
      ...options,
      update: Schema.String,
      nodes: { a: () => Effect.succeed("one") },
      // @ts-expect-error is not assignable to type 'undefined'
      reducers: { amount: Number.sum }
    })
  })

  it("refuses a node whose update has a field that the state does not have, also with reducers", () => {
    StateGraph.make({
      name: "g",
      state,
      reducers: { amount: Number.sum },
      start: "a",
      // @ts-expect-error Type '{ amuont: number; }' is not assignable to type 'void | {
      nodes: { a: () => Effect.succeed({ amuont: 1 }) },
      edges: { a: [] }
    })
  })

  it("refuses a node whose update is not what the reducer of its field takes", () => {
    const list = Schema.Struct({ messages: Schema.Array(Schema.String) })
    StateGraph.make({
      name: "g",
      state: list,
      reducers: { messages: StateGraph.append },
      start: "a",
      // @ts-expect-error Type 'string' is not assignable to type 'readonly string[]'
      nodes: { a: () => Effect.succeed({ messages: "one" }) },
      edges: { a: [] }
    })
  })

  it("takes a whole state as an update if the state is not a struct", () => {
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

  it("takes settings, which name its own nodes", () => {
    const settings = { strategy: "PickFirst", concurrency: "unbounded", maxSteps: 1, durability: "exit" } as const
    expect(
      StateGraph.make({ ...settings, name: "g", state, start: "triage", nodes, edges, interruptBefore: ["pay"] })
    ).type.toBe(StateGraph.make({ name: "g", state, start: "triage", nodes, edges }))
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges, interruptBefore: ["nowhere"] })
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage"'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges, interruptAfter: ["nowhere"] })
    // @ts-expect-error Type '"Any"' is not assignable to type 'Strategy | undefined'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges, strategy: "Any" })
    // @ts-expect-error Type '"all"' is not assignable to type 'number | "unbounded" | undefined'
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges, concurrency: "all" })
    // @ts-expect-error 'metadata' does not exist in type
    StateGraph.make({ name: "g", state, start: "triage", nodes, edges, metadata: {} })
  })

  it("refuses a state whose schema requires services", () => {
    class Key extends Context.Service<Key, string>()("Key") {}
    const secret = Schema.String as Schema.Codec<string, string, Key, Key>
    // @ts-expect-error Type 'Key' is not assignable to type 'never'
    StateGraph.make({ name: "g", state: secret, start: "a", nodes: { a: () => Effect.void }, edges: { a: [] } })
  })
})

describe("types of a graph", () => {
  type Refund = typeof refund
  type Names = "triage" | "approve" | "pay"

  it("are extracted from any graph", () => {
    expect<StateGraph.State<Refund>>().type.toBe<State>()
    expect<StateGraph.Input<Refund>>().type.toBe<State>()
    expect<StateGraph.Update<Refund>>().type.toBe<{ readonly amount?: number; readonly paidAt?: State["paidAt"] }>()
    expect<StateGraph.Node<Refund>>().type.toBe<Names>()
    expect<StateGraph.Answer<Refund>>().type.toBe<typeof Approval.response.Type | "continue">()
    expect<StateGraph.Error<Refund>>().type.toBe<"refused">()
    expect<StateGraph.Services<Refund>>().type.toBe<Payments>()
    expect<StateGraph.Interrupts<Refund>>().type.toBe<Approval>()
    expect<StateGraph.Event<Refund>>().type.toBe<
      StateGraph.RunEvent<State, { readonly amount?: number; readonly paidAt?: State["paidAt"] }, Names>
    >()
  })

  it("differ for a graph with begin, update and no interrupts", () => {
    const _chat = StateGraph.make({
      name: "chat",
      state: Schema.Array(Schema.String),
      update: Schema.String,
      reduce: (messages, message) => [...messages, message],
      begin: (message: { readonly text: string }) => [message.text],
      start: "reply",
      nodes: { reply: () => Effect.succeed("hello") },
      edges: { reply: [] }
    })
    type Chat = typeof _chat
    expect<StateGraph.State<Chat>>().type.toBe<ReadonlyArray<string>>()
    expect<StateGraph.Input<Chat>>().type.toBe<{ readonly text: string }>()
    expect<StateGraph.Update<Chat>>().type.toBe<string>()
    expect<StateGraph.Answer<Chat>>().type.toBe<"continue">()
    expect<StateGraph.Error<Chat>>().type.toBe<never>()
    expect<StateGraph.Services<Chat>>().type.toBe<never>()
    expect<StateGraph.Interrupts<Chat>>().type.toBe<never>()
  })

  it("constrain a type parameter", () => {
    const initial = <G extends StateGraph.Any>(_graph: G, input: StateGraph.Input<G>): StateGraph.Input<G> => input
    expect(initial(refund, {} as State)).type.toBe<State>()
    // @ts-expect-error Property 'paidAt' is missing
    initial(refund, { amount: 1 })
    expect<Refund>().type.toBeAssignableTo<StateGraph.Any>()
    // @ts-expect-error Type 'string' does not satisfy the constraint 'Any'.
    expect<StateGraph.State<string>>().type.toBe<never>()
    // @ts-expect-error Argument of type '{ name: string; }' is not assignable to parameter of type 'Any'.
    initial({ name: "no graph" }, undefined)
  })
})

describe("run", () => {
  const input: State = {} as State

  it("has the errors and the services of the nodes, and its own", () => {
    expect(StateGraph.run(refund, { threadId: "1", input })).type.toBe<
      Effect.Effect<
        StateGraph.RunResult<State, "triage" | "approve" | "pay">,
        "refused" | StateGraph.RunError,
        Payments | Checkpointer.Checkpointer
      >
    >()
  })

  it("lists every error that it can fail with", () => {
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
        UnstableRequest: () => Effect.void,
        WriteConflict: () => Effect.void,
        ThreadUnfinished: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
  })

  it("requires Checkpointer and the services of the nodes", () => {
    const provided = Effect.provideService(StateGraph.run(refund, { threadId: "1", input }), Payments, {
      pay: () => Effect.void
    })
    expect<Effect.Services<typeof provided>>().type.toBe<Checkpointer.Checkpointer>()
  })

  it("requires an interrupt that the graph does not declare", () => {
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

  it("takes names of the nodes of the graph", () => {
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    StateGraph.run(refund, { threadId: "1", input, interruptBefore: ["nowhere"] })
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    StateGraph.run(refund, { threadId: "1", input, interruptAfter: ["nowhere"] })
  })

  it("takes settings and metadata for its run", () => {
    const settings: StateGraph.Settings<"pay"> = {
      strategy: "Parallel",
      concurrency: "unbounded",
      interruptAfter: ["pay"]
    }
    expect(StateGraph.run).type.toBeCallableWith(refund, { ...settings, threadId: "1", input, metadata: { tenant: 1 } })
    expect(StateGraph.resume).type.toBeCallableWith(refund, { ...settings, threadId: "1", metadata: { tenant: 1 } })
  })

  it("takes a state as its input, or what begin takes", () => {
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

  it("takes its options first in a pipe, with the same types", () => {
    const program = refund.pipe(StateGraph.run({ threadId: "1", input, interruptBefore: ["pay"] }))
    expect(program).type.toBe(StateGraph.run(refund, { threadId: "1", input }))
    expect(refund.pipe(StateGraph.run({ threadId: "1", input }), Effect.map(({ state }) => state.amount))).type.toBe<
      Effect.Effect<number, "refused" | StateGraph.RunError, Payments | Checkpointer.Checkpointer>
    >()
    expect(pipe(refund, StateGraph.run({ threadId: "1", input }))).type.toBe(program)
    // @ts-expect-error Property 'paidAt' is missing
    refund.pipe(StateGraph.run({ threadId: "1", input: { amount: 1 } }))
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    refund.pipe(StateGraph.run({ threadId: "1", input, interruptBefore: ["nowhere"] }))
  })

  it("takes its options first outside of a pipe if the graph is named", () => {
    const runs = StateGraph.run<typeof refund>({ threadId: "1", input })
    expect(runs(refund)).type.toBe(StateGraph.run(refund, { threadId: "1", input }))
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    StateGraph.run<typeof refund>({ threadId: "1", input: { ...input, amount: "1" } })
  })

  it("returns how the run ended", () => {
    const result = {} as StateGraph.RunResult<State, "triage" | "pay">
    expect(result.state).type.toBe<State>()
    expect(result.checkpoint).type.toBe<Checkpoint.Checkpoint<State>>()
    if (result._tag === "Stopped") expect(result.branches).type.toBe<ReadonlyArray<"triage" | "pay">>()
    if (result._tag === "Interrupted") {
      expect(result.interrupts).type.toBe<ReadonlyArray<StateGraph.PendingInterrupt>>()
      // @ts-expect-error Property 'interrupt' does not exist on type
      void result.interrupt
    }
  })
})

describe("resume", () => {
  it("has the errors and the services of the nodes, and its own", () => {
    expect(StateGraph.resume(refund, { threadId: "1" })).type.toBe<
      Effect.Effect<
        StateGraph.RunResult<State, "triage" | "approve" | "pay">,
        "refused" | StateGraph.ResumeError,
        Payments | Checkpointer.Checkpointer
      >
    >()
  })

  it("lists every error that it can fail with", () => {
    const caught = StateGraph.resume(refund, { threadId: "1" }).pipe(
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
        UnstableRequest: () => Effect.void,
        WriteConflict: () => Effect.void,
        InterruptAlreadyResolved: () => Effect.void,
        InvalidResponse: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
    // @ts-expect-error 'ThreadUnfinished' does not exist in type
    Effect.catchTags(StateGraph.resume(refund, { threadId: "1" }), { ThreadUnfinished: () => Effect.void })
  })

  it("takes responses to the interrupts of the graph by their ids, or continue", () => {
    expect(StateGraph.resume).type.toBeCallableWith(refund, {
      threadId: "1",
      answers: { "1/approve/0": {} as typeof Approval.response.Type, "1/pay/before": "continue" as const }
    })
    expect(StateGraph.resume).type.toBeCallableWith(refund, { threadId: "1", answers: {} })
    // @ts-expect-error Type '"go"' is not assignable to type
    StateGraph.resume(refund, { threadId: "1", answers: { id: "go" } })
    // @ts-expect-error Type 'string' is not assignable to type 'Utc |
    StateGraph.resume(refund, { threadId: "1", answers: { id: { approved: true, at: "2026-01-01T00:00:00Z" } } })
    const silent = StateGraph.make({ name: "g", state, start: "triage", nodes, edges })
    expect(StateGraph.resume(silent, { threadId: "1", answers: { id: "continue" } })).type.toBeAssignableTo<
      Effect.Effect<StateGraph.RunResult<State, "triage" | "pay">, unknown, unknown>
    >()
    // @ts-expect-error Type '"go"' is not assignable to type '"continue"'
    StateGraph.resume(silent, { threadId: "1", answers: { id: "go" } })
  })

  it("refuses a response that does not name its question", () => {
    // @ts-expect-error 'response' does not exist in type
    StateGraph.resume(refund, { threadId: "1", response: "continue" })
    // @ts-expect-error Type 'string' is not assignable to type
    StateGraph.resume(refund, { threadId: "1", answers: "continue" })
  })

  it("takes an update and names of the nodes of the graph", () => {
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

  it("takes its options first in a pipe, with the same types", () => {
    expect(
      refund.pipe(
        StateGraph.resume({ threadId: "1", answers: { id: "continue" }, next: ["pay"], update: { amount: 1 } })
      )
    )
      .type.toBe(StateGraph.resume(refund, { threadId: "1" }))
    // @ts-expect-error Type '"go"' is not assignable to type
    refund.pipe(StateGraph.resume({ threadId: "1", answers: { id: "go" } }))
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    refund.pipe(StateGraph.resume({ threadId: "1", update: { amount: "2" } }))
    // @ts-expect-error Type '"nowhere"' is not assignable to type '"pay" | "triage" | "approve"'
    refund.pipe(StateGraph.resume({ threadId: "1", next: ["nowhere"] }))
  })
})

describe("answer", () => {
  const response = {} as typeof Approval.response.Type

  it("returns what is still open, needs no services of nodes, and has its own errors", () => {
    expect(StateGraph.answer(refund, { threadId: "1", answers: { id: response }, answerId: "call" })).type.toBe<
      Effect.Effect<ReadonlyArray<StateGraph.PendingInterrupt>, StateGraph.AnswerError, Checkpointer.Checkpointer>
    >()
  })

  it("lists every error that it can fail with", () => {
    const caught = StateGraph.answer(refund, { threadId: "1", answers: { id: response } }).pipe(
      Effect.catchTags({
        InvalidInput: () => Effect.void,
        StateDecodeError: () => Effect.void,
        StateTooLarge: () => Effect.void,
        CheckpointNotFound: () => Effect.void,
        GraphMismatch: () => Effect.void,
        InterruptAlreadyResolved: () => Effect.void,
        InvalidResponse: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
    // @ts-expect-error 'VersionConflict' does not exist in type
    Effect.catchTags(StateGraph.answer(refund, { threadId: "1", answers: {} }), { VersionConflict: () => Effect.void })
  })

  it("takes responses to the interrupts of the graph by their ids, or continue", () => {
    expect(StateGraph.answer).type.toBeCallableWith(refund, { threadId: "1", answers: { id: "continue" as const } })
    // @ts-expect-error Type '"go"' is not assignable to type
    StateGraph.answer(refund, { threadId: "1", answers: { id: "go" } })
    // @ts-expect-error Type 'string' is not assignable to type 'Utc |
    StateGraph.answer(refund, { threadId: "1", answers: { id: { approved: true, at: "2026-01-01T00:00:00Z" } } })
    // @ts-expect-error Property 'answers' is missing
    StateGraph.answer(refund, { threadId: "1" })
  })

  it("takes its options first in a pipe, with the same types", () => {
    const options = { threadId: "1", answers: { id: response } }
    expect(refund.pipe(StateGraph.answer(options))).type.toBe(StateGraph.answer(refund, options))
    // @ts-expect-error Type '"go"' is not assignable to type
    refund.pipe(StateGraph.answer({ threadId: "1", answers: { id: "go" } }))
  })
})

describe("interrupts", () => {
  it("streams open questions with when they were asked, and reads no states", () => {
    expect(StateGraph.interrupts(refund, { kind: "Approval" })).type.toBe<
      Stream.Stream<StateGraph.OpenInterrupt, Checkpointer.ReadError, Checkpointer.Checkpointer>
    >()
    expect(StateGraph.interrupts(refund)).type.toBe(StateGraph.interrupts(refund, {}))
    expect<StateGraph.OpenInterrupt>().type.toBeAssignableTo<StateGraph.PendingInterrupt>()
    expect<StateGraph.OpenInterrupt["askedAt"]>().type.toBe<DateTime.Utc>()
    expect<StateGraph.OpenInterrupt["version"]>().type.toBe<number>()
  })

  it("selects by the id of a kind", () => {
    // @ts-expect-error Type 'typeof Approval' is not assignable to type 'string'
    StateGraph.interrupts(refund, { kind: Approval })
  })
})

describe("stream", () => {
  it("takes its options first in a pipe, with the same types", () => {
    const input = {} as State
    const stream = StateGraph.stream(refund, { threadId: "1", input })
    expect(refund.pipe(StateGraph.stream({ threadId: "1", input }))).type.toBe(stream)
    expect(refund.pipe(StateGraph.stream({ threadId: "1", answers: { id: "continue" } }))).type.toBe(stream)
    // @ts-expect-error Type '"go"' is not assignable to type
    refund.pipe(StateGraph.stream({ threadId: "1", answers: { id: "go" } }))
    // @ts-expect-error Type 'number' is not assignable to type
    refund.pipe(StateGraph.stream({ threadId: "1", input: 1 }))
  })

  it("emits events, and has the errors of run and resume", () => {
    const stream = StateGraph.stream(refund, { threadId: "1", input: {} as State })
    expect<Stream.Success<typeof stream>>().type.toBe<
      StateGraph.RunEvent<
        State,
        { readonly amount?: number; readonly paidAt?: State["paidAt"] },
        "triage" | "approve" | "pay"
      >
    >()
    expect<Stream.Error<typeof stream>>().type.toBe<
      "refused" | StateGraph.RunError | StateGraph.ResumeError
    >()
    expect<Stream.Services<typeof stream>>().type.toBe<Payments | Checkpointer.Checkpointer>()
  })
})

describe("subgraph", () => {
  it("requires the services and the interrupts of the nested graph", () => {
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
      "refused" | StateGraph.RunError | CheckpointError.InterruptAlreadyResolved
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

  const outerState = Schema.Struct({ total: Schema.Finite })
  const search = StateGraph.make({
    name: "search",
    state: Schema.Struct({ query: Schema.String, found: Schema.String }),
    start: "search",
    nodes: { search: ({ query }) => Effect.succeed({ found: query }) },
    edges: { search: [] }
  })

  it("takes its options first in a pipe, with the same types", () => {
    const options = {
      input: (outer: { readonly total: number }) => ({ ...({} as State), amount: outer.total }),
      output: ({ amount }: State, outer: { readonly total: number }) => ({ total: outer.total - amount })
    }
    expect(refund.pipe(StateGraph.subgraph(options))).type.toBe(StateGraph.subgraph(refund, options))
    // @ts-expect-error Type '"Any"' is not assignable to type
    refund.pipe(StateGraph.subgraph({ ...options, strategy: "Any" }))
    // @ts-expect-error 'interruptBefore' does not exist in type
    refund.pipe(StateGraph.subgraph({ ...options, interruptBefore: ["pay"] }))
  })

  it("infers the states of both graphs as a node", () => {
    StateGraph.make({
      name: "outer",
      state: outerState,
      start: "search",
      nodes: {
        search: StateGraph.subgraph(search, {
          input: (outer) => {
            expect(outer).type.toBe<typeof outerState.Type>()
            return { query: String(outer.total), found: "" }
          },
          output: (inner, outer) => {
            expect(inner).type.toBe<StateGraph.State<typeof search>>()
            expect(outer).type.toBe<typeof outerState.Type>()
            return { total: inner.found.length }
          }
        })
      },
      edges: { search: [] }
    })
  })

  it("refuses an input that the nested graph does not take", () => {
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    StateGraph.subgraph(search, { input: () => ({ query: 1, found: "" }), output: () => ({}) })
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    search.pipe(StateGraph.subgraph({ input: () => ({ query: 1, found: "" }), output: () => ({}) }))
  })
})

describe("metadata", () => {
  it("reads a checkpoint with or without its state", () => {
    expect(StateGraph.metadata).type.toBeCallableWith({} as Checkpoint.Checkpoint<State>)
    expect(StateGraph.metadata({} as Checkpoint.CheckpointInfo)).type.toBe<Option.Option<StateGraph.Metadata>>()
    expect<StateGraph.Metadata["cause"]>().type.toBe<"input" | "step" | "interrupt" | "branch" | "edit">()
    expect<StateGraph.Metadata["stepId"]>().type.toBe<string | undefined>()
  })
})

describe("interrupt", () => {
  it("takes a request and returns a response of the schemas", () => {
    expect(StateGraph.interrupt(Approval, { amount: 1 })).type.toBe<
      Effect.Effect<typeof Approval.response.Type, never, Approval>
    >()
    // @ts-expect-error Type 'string' is not assignable to type 'number'
    StateGraph.interrupt(Approval, { amount: "1" })
  })

  it("cannot have the id of pauses", () => {
    // @ts-expect-error Argument of type '"Pause"' is not assignable to parameter of type 'never'
    StateGraph.Interrupt<Approval>()("Pause", { request: Schema.String, response: Schema.String })
  })
})

describe("once", () => {
  const { once } = {} as StateGraph.NodeContext
  const at = Effect.flatMap(Payments, () => Effect.fail("refused" as const))

  it("returns what its schema describes, and adds only its own errors", () => {
    const kept = once("at", Schema.DateTimeUtc, at)
    expect(kept).type.toBe<Effect.Effect<DateTime.Utc, "refused" | StateGraph.OnceError, Payments>>()
    const caught = kept.pipe(
      Effect.catchIf((error) => error === "refused", () => Effect.void),
      Effect.catchTags({
        InvalidInput: () => Effect.void,
        StateEncodeError: () => Effect.void,
        StateDecodeError: () => Effect.void,
        StateTooLarge: () => Effect.void,
        CheckpointNotFound: () => Effect.void,
        VersionConflict: () => Effect.void,
        StoreError: () => Effect.void
      })
    )
    expect<Effect.Error<typeof caught>>().type.toBe<never>()
    expect<StateGraph.OnceError>().type.toBeAssignableTo<StateGraph.RunError>()
  })

  it("refuses an effect of another type, and a schema that requires services", () => {
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    once("k", Schema.String, Effect.succeed(1))
    class Key extends Context.Service<Key, string>()("Key") {}
    // @ts-expect-error Type 'Key' is not assignable to type 'never'
    once("k", Schema.String as Schema.Codec<string, string, Key, Key>, Effect.succeed(""))
  })
})
