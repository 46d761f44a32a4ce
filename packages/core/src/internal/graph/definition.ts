import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
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
  /** Names the step, so that the graph knows whether it was begun for it. */
  readonly base: string
  /** The answer to an interrupt of the graph within, as JSON. */
  readonly answerTo: (interruptId: string) => Option.Option<Schema.Json>
  /** Makes the graph around it wait for what the one within waits for. */
  readonly suspend: (asked: Asked) => Effect.Effect<never>
  readonly nested: (event: unknown) => Effect.Effect<void>
  readonly settings: Settings<string>
}

/** A question, ready to be saved. */
export interface Asked {
  readonly kind: string
  readonly request: Schema.Json
  /** Where it has one already: it comes from a graph within. */
  readonly interruptId: string | undefined
}

export type UpdateOf<S extends Plain, Update> = Update extends Plain ? Update["Type"]
  : { readonly [K in keyof S["Type"]]?: S["Type"][K] }

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

export const make = <S, Input, U>(options: Options<S, Input, U>): Definition<S, Input, U> => ({
  name: options.name,
  namespace: options.namespace ?? options.name,
  start: options.start,
  state: options.state,
  update: codec(options.update ?? someOf(options.state)),
  nodes: new Map(Object.entries(options.nodes)),
  edges: new Map(Object.entries(options.edges)),
  interrupts: new Map([pauseKind, ...(options.interrupts ?? []).map(kindOf)].map((kind) => [kind.name, kind])),
  reduce: options.reduce ?? merge,
  begin: options.begin ?? ((input, saved) => saved === undefined ? input as never : merge(saved, input))
})

const merge = <S>(state: S, update: unknown): S =>
  Predicate.isObject(state) && Predicate.isObject(update) ? { ...state, ...update } : update as S

/**
 * Some of a struct's fields, as values of its type: the defaults that decoding gives to
 * fields that are missing have no place in an update. What is not a struct is only
 * itself.
 */
const someOf = (state: Plain): Plain =>
  isStruct(state)
    ? Schema.Struct(Record.map(state.fields, (field) => Schema.optionalKey(Schema.toType(field)))) as never
    : state

const isStruct = (schema: Plain): schema is Plain & { readonly fields: Record<string, Schema.Constraint> } =>
  Predicate.hasProperty(schema, "fields") && Predicate.isObject(schema.fields)

export const kindNamed = <S, Input, U>(
  definition: Definition<S, Input, U>,
  name: string | undefined
): Option.Option<Kind> => Option.fromUndefinedOr(name === undefined ? undefined : definition.interrupts.get(name))
