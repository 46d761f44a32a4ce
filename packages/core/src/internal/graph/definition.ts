import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Codec from "../codec.ts"
import type { AnyInterrupt, Edge, NodeContext, Plain } from "./model.ts"
import { type Kind, pause } from "./question.ts"

/**
 * A graph as it is run: `E` are the errors of its nodes, and `R` the services that they need beside the questions, which
 * the run provides.
 */
export interface Definition<in out S, in out Input, in out U, out E, out R> {
  readonly name: string
  readonly namespace: string
  readonly start: string
  readonly state: SchemaOf<S>
  readonly update: Codec.Codec<U>
  readonly nodes: ReadonlyMap<string, Node<S, U, E, R>>
  readonly edges: ReadonlyMap<string, Edge<S, string>>
  readonly interrupts: ReadonlyMap<string, Kind>
  readonly reduce: (state: S, update: U) => S
  readonly begin: (input: Input, saved: S | undefined) => S
}

export type Node<S, U, E, R> = (state: S, context: NodeContext) => Effect.Effect<U | void, E, R>

/** A schema of a type. */
export interface SchemaOf<A> extends Plain {
  readonly Type: A
}

export type UpdateOf<S extends Plain, Update> = Update extends Plain ? Update["Type"]
  : S extends { readonly fields: Schema.Struct.Fields } ? { readonly [K in keyof S["Type"]]?: S["Type"][K] }
  : S["Type"]

export type SelfOf<I> = I extends Context.Key<infer Self, infer _Shape> ? Self : never

const kindOf = (kind: AnyInterrupt): Kind => ({
  service: kind,
  name: kind.key,
  request: Codec.pure(kind.request),
  response: Codec.pure(kind.response)
})

const pauseKind: Kind = {
  service: undefined,
  name: pause,
  request: Codec.pure<Plain>(Schema.Json),
  response: Codec.pure<Plain>(Schema.Literal("continue"))
}

/** What `make` is given. */
export interface Options<S, Input, U, E, R> {
  readonly name: string
  readonly namespace?: string | undefined
  readonly state: SchemaOf<S>
  readonly interrupts?: ReadonlyArray<AnyInterrupt> | undefined
  readonly start: string
  readonly nodes: { readonly [name: string]: Node<S, U, E, R> }
  readonly edges: { readonly [name: string]: Edge<S, string> }
  readonly update?: SchemaOf<U> | undefined
  readonly reduce?: ((state: S, update: U) => S) | undefined
  readonly begin?: ((input: Input, saved: S | undefined) => S) | undefined
}

export const make = <S, Input, U, E, R>(options: Options<S, Input, U, E, R>): Definition<S, Input, U, E, R> => {
  const { state } = options
  const merge = isStruct(state) ? mergeInto(state) : <A>(_: A, update: unknown): A => update as A
  return {
    name: options.name,
    namespace: options.namespace ?? options.name,
    start: options.start,
    state,
    update: options.update !== undefined
      ? Codec.pure(options.update)
      : isStruct(state)
      ? someOf<U>(state)
      : wholeOf<U>(state),
    nodes: new Map(Object.entries(options.nodes)),
    edges: new Map(Object.entries(options.edges)),
    interrupts: new Map([...(options.interrupts ?? []).map(kindOf), pauseKind].map((kind) => [kind.name, kind])),
    reduce: options.reduce ?? merge,
    begin: options.begin ?? ((input, saved) => saved === undefined ? input as S & Input : merge(saved, input))
  }
}

type Struct = Plain & { readonly fields: Record<string, Plain> }

interface Fields {
  readonly [name: string]: unknown
}

interface Makes<S> {
  readonly make: (fields: S, options: Schema.MakeOptions) => S
}

const isStruct = (schema: Plain): schema is Struct =>
  Predicate.hasProperty(schema, "fields") && Predicate.isObject(schema.fields)

/** Puts fields in place of others. A state of a class stays one. */
const mergeInto = (struct: Struct) => <S>(state: S, update: unknown): S => {
  const merged = { ...state, ...update as object } as S
  return typeof struct === "function" ? (struct as Struct & Makes<S>).make(merged, { disableChecks: true }) : merged
}

/** Updates that are whole states. */
const wholeOf = <U>(state: Plain): Codec.Codec<U> => Codec.pure(state) as Codec.Codec<U>

/**
 * Some of a struct's fields, each in a struct of its own: a field that is missing here is not there, whatever its schema
 * makes of that.
 */
const someOf = <U>({ fields }: Struct): Codec.Codec<U> => {
  const codecs = Record.map(fields, (field, name): Codec.Codec<Fields> => Codec.pure(Schema.Struct({ [name]: field })))
  const each = <A>(
    parts: Fields,
    f: (codec: Codec.Codec<Fields>, part: unknown, name: string) => Effect.Effect<A, Schema.SchemaError | RangeError>
  ) =>
    Effect.forEach(
      Object.entries(parts).filter(([name]) => Object.hasOwn(codecs, name)),
      ([name, part]) => Effect.map(f(codecs[name]!, part, name), (result) => [name, result] as const)
    )
  return {
    encode: (update) =>
      Effect.map(each(update as Fields, (codec, value, name) => codec.encode({ [name]: value })), Object.fromEntries),
    decode: (json) =>
      Effect.map(
        each(json as Fields, (codec, part) => codec.decode(part as Schema.Json)),
        (parts) => Object.assign({}, ...parts.map(([, part]) => part)) as U
      )
  }
}
