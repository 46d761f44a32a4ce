import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import type { InvalidInput } from "../../CheckpointError.ts"
import type { AnyInterrupt, Edge, NodeContext, Plain, Settings } from "../../StateGraph.ts"
import * as Codec from "../codec.ts"

/** A graph as it is run, its types left to the module that people see. */
export interface Definition<S, Input, U> {
  readonly name: string
  readonly namespace: string
  readonly start: string
  readonly state: Plain
  readonly update: Codec.Codec<U>
  readonly nodes: ReadonlyMap<string, (state: S, context: NodeContext) => Effect.Effect<U | void, unknown, unknown>>
  readonly edges: ReadonlyMap<string, Edge<S, string>>
  readonly interrupts: ReadonlyMap<string, Kind>
  readonly reduce: (state: S, update: U) => S
  readonly begin: (input: Input, saved: S | undefined) => S
}

/** A kind of question. */
export interface Kind {
  /** What nodes ask through; a pause has none. */
  readonly service: Context.Key<unknown, Ask<unknown, unknown>> | undefined
  readonly name: string
  readonly request: Codec.Codec<unknown>
  readonly response: Codec.Codec<unknown>
}

export interface Ask<Request, Response> {
  readonly ask: (request: Request) => Effect.Effect<Response>
}

/** The key of what a graph, and a node's context, have for this library alone. */
export const inner = Symbol.for("@effect-checkpoint/core/StateGraph/inner")

/** What a graph within a node has to know of the one around it. */
export interface Inner {
  /** Names the step and the node, so that the graph knows whether it was begun for it. */
  readonly invocation: string
  /** What was answered of the questions of the graph within. */
  readonly answers: ReadonlyArray<Answer>
  /** Makes the graph around it wait for what the one within waits for. */
  readonly suspend: (question: Asked) => Effect.Effect<never>
  readonly nested: (event: unknown) => Effect.Effect<void>
  readonly settings: Settings<string>
  /** The kinds of questions that the graph around it knows, and the one within may ask too. */
  readonly interrupts: ReadonlyMap<string, Kind>
  /** Lets one graph within the node through, again if it failed. */
  readonly once: <A, E, R>(graph: Effect.Effect<A, E, R>) => Effect.Effect<A, E | InvalidInput, R>
}

/** A version of a graph within, which waits. */
export const Within = Schema.Struct({ version: Schema.Int, checkpointId: Schema.String })

/** A question of a node. */
export interface Asked {
  readonly kind: string
  readonly interruptId: string
  readonly request: Schema.Json
  /** The task under which the answer is kept. */
  readonly key: string
  /** Where a graph within asks. */
  readonly within?: typeof Within.Type | undefined
}

/** What was answered, as it is kept in the pending writes of the step. */
export const Answer = Schema.Struct({
  interruptId: Schema.String,
  kind: Schema.String,
  node: Schema.String,
  response: Schema.Json,
  within: Schema.optionalKey(Within)
})

export type Answer = typeof Answer.Type

export type UpdateOf<S extends Plain, Update> = Update extends Plain ? Update["Type"]
  : S extends { readonly fields: Schema.Struct.Fields } ? { readonly [K in keyof S["Type"]]?: S["Type"][K] }
  : S["Type"]

export type SelfOf<I> = I extends Context.Key<infer Self, infer _Shape> ? Self : never

/** The name of what `interruptBefore` and `interruptAfter` ask. */
export const pause = "Pause"

/** Of values that only its schema knows. */
const codec = <A>(schema: Plain): Codec.Codec<A> => Codec.pure(schema) as Codec.Codec<A>

const kindOf = (kind: AnyInterrupt): Kind => ({
  service: kind as never,
  name: kind.key,
  request: codec(kind.request),
  response: codec(kind.response)
})

const pauseKind: Kind = {
  service: undefined,
  name: pause,
  request: codec(Schema.Json),
  response: codec(Schema.Literal("continue"))
}

/** What `make` is given. */
export interface Options<S, Input, U> {
  readonly name: string
  readonly namespace?: string | undefined
  readonly state: Plain
  readonly interrupts?: ReadonlyArray<AnyInterrupt> | undefined
  readonly start: string
  readonly nodes: { readonly [name: string]: (state: S, context: NodeContext) => Effect.Effect<U | void> }
  readonly edges: { readonly [name: string]: Edge<S, string> }
  readonly update?: Plain | undefined
  readonly reduce?: ((state: S, update: U) => S) | undefined
  readonly begin?: ((input: Input, saved: S | undefined) => S) | undefined
}

export const make = <S, Input, U>(options: Options<S, Input, U>): Definition<S, Input, U> => {
  const { state } = options
  const merge = isStruct(state) ? mergeInto(state) : <A>(_: A, update: unknown): A => update as A
  return {
    name: options.name,
    namespace: options.namespace ?? options.name,
    start: options.start,
    state,
    update: options.update !== undefined ? codec(options.update) : isStruct(state) ? someOf<U>(state) : codec(state),
    nodes: new Map(Object.entries(options.nodes)),
    edges: new Map(Object.entries(options.edges)),
    interrupts: new Map([...(options.interrupts ?? []).map(kindOf), pauseKind].map((kind) => [kind.name, kind])),
    reduce: options.reduce ?? merge,
    begin: options.begin ?? ((input, saved) => saved === undefined ? input as never : merge(saved, input))
  }
}

type Struct = Plain & { readonly fields: Record<string, Plain> }

interface Makes<S> {
  readonly make: (fields: S, options: Schema.MakeOptions) => S
}

const isStruct = (schema: Plain): schema is Struct =>
  Predicate.hasProperty(schema, "fields") && Predicate.isObject(schema.fields)

/** Puts fields in place of others. A state of a class stays one. */
const mergeInto = (struct: Struct) => <S>(state: S, update: unknown): S => {
  const merged = { ...state, ...update as object } as S
  return typeof struct === "function" ? (struct as unknown as Makes<S>).make(merged, { disableChecks: true }) : merged
}

/**
 * Some of a struct's fields, each in a struct of its own: a field that is missing here is not there, whatever its schema
 * makes of that.
 */
const someOf = <U>({ fields }: Struct): Codec.Codec<U> => {
  const codecs = Record.map(fields, (field, name) => codec<object>(Schema.Struct({ [name]: field }) as never))
  const each = <A>(
    parts: object,
    f: (codec: Codec.Codec<object>, part: unknown, name: string) => Effect.Effect<A, Schema.SchemaError | RangeError>
  ) =>
    Effect.forEach(
      Object.entries(parts).filter(([name]) => Object.hasOwn(codecs, name)),
      ([name, part]) => Effect.map(f(codecs[name]!, part, name), (result) => [name, result] as const)
    )
  return {
    encode: (update) =>
      Effect.map(each(update as object, (codec, value, name) => codec.encode({ [name]: value })), Object.fromEntries),
    decode: (json) =>
      Effect.map(
        each(json as object, (codec, part) => codec.decode(part as Schema.Json)),
        (parts) => Object.assign({}, ...parts.map(([, part]) => part)) as U
      )
  }
}
