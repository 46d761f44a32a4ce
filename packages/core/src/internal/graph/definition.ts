import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import { InvalidInput } from "../../CheckpointError.ts"
import * as Codec from "../codec.ts"
import * as Namespace from "../namespace.ts"
import type { AnyInterrupt, Edge, NodeContext, Plain, SchemaOf, Settings } from "./model.ts"
import { type InterruptKind, pauseInterrupt } from "./question.ts"
import {
  type Conflicts,
  type FieldReducers,
  makeReducing,
  type Problem,
  type Reducing,
  reducingProblem
} from "./reducers.ts"
import { defaultUpdate, unknownField } from "./update.ts"

/**
 * What a run needs of a graph. `E` is the errors of the nodes, and `R` is their services without the interrupts of the
 * graph, which each task provides.
 */
export interface Graph<in out S, in out U, out E, out R> extends Reducing<S, U> {
  readonly name: string
  readonly namespace: string
  readonly start: string
  readonly state: SchemaOf<S>
  readonly update: Codec.Codec<U>
  readonly nodes: ReadonlyMap<string, Node<S, U, E, R>>
  readonly edges: ReadonlyMap<string, Edge<S, string>>
  /** The interrupts that the graph declares and that of pauses, by their ids. */
  readonly interrupts: ReadonlyMap<string, InterruptKind>
  /** A field of an update that neither its schema nor the state has. */
  readonly unknownField: (update: U, state: S) => string | undefined
  readonly settings: Settings<string>
  /** What is stored of the text of a failure. */
  readonly redact: (text: string) => string
  /** Why the graph cannot run. */
  readonly problem: Problem | undefined
}

/** A graph, and the state that a run of it begins with. */
export interface Definition<in out S, in out Input, in out U, out E, out R> extends Graph<S, U, E, R> {
  readonly begin: (input: Input, saved: S | undefined) => S
}

export type Node<S, U, E, R> = (state: S, context: NodeContext) => Effect.Effect<U | void, E, R>

/** What `make` takes. */
export interface Options<S, Input, U, E, R> extends Settings<string> {
  readonly name: string
  readonly namespace?: string | undefined
  readonly state: SchemaOf<S>
  readonly interrupts?: ReadonlyArray<AnyInterrupt> | undefined
  readonly start: string
  readonly nodes: { readonly [name: string]: Node<S, U, E, R> }
  readonly edges: { readonly [name: string]: Edge<S, string> }
  readonly update?: SchemaOf<U> | undefined
  readonly reduce?: ((state: S, update: U) => S) | undefined
  readonly reducers?: FieldReducers | undefined
  readonly conflicts?: Conflicts | undefined
  readonly begin?: ((input: Input, saved: S | undefined) => S) | undefined
  readonly redact?: ((text: string) => string) | undefined
}

export const make = <S, Input, U, E, R>(options: Options<S, Input, U, E, R>): Definition<S, Input, U, E, R> => {
  const { codec, merge } = defaultUpdate<S, U>(options.state)
  const kinds = [...(options.interrupts ?? []).map(interruptKind), pauseKind]
  return {
    name: options.name,
    namespace: options.namespace ?? Namespace.segment(options.name),
    start: options.start,
    state: options.state,
    update: options.update === undefined ? codec : Codec.pure(options.update),
    nodes: new Map(Object.entries(options.nodes)),
    edges: new Map(Object.entries(options.edges)),
    interrupts: new Map(kinds.map((kind) => [kind.name, kind])),
    ...makeReducing(options, merge),
    unknownField: unknownField(options.update ?? options.state),
    redact: options.redact ?? identity,
    settings: options,
    problem: interruptProblem(kinds) ?? reducingProblem(options),
    // The input is a state and not an update: no reducer appends it to the saved one.
    begin: options.begin ?? ((input, saved) => saved === undefined ? input as S & Input : merge(saved, input))
  }
}

const interruptKind = (interrupt: AnyInterrupt): InterruptKind => ({
  service: interrupt,
  name: interrupt.key,
  request: Codec.pure(interrupt.request),
  response: Codec.pure(interrupt.response)
})

const pauseKind: InterruptKind = {
  service: undefined,
  name: pauseInterrupt,
  request: Codec.pure<Plain>(Schema.Json),
  response: Codec.pure<Plain>(Schema.Literal("continue"))
}

/** Two interrupts with one id could not be told apart. */
const interruptProblem = (kinds: ReadonlyArray<InterruptKind>): Problem | undefined => {
  const repeated = kinds.find(({ name, service }) =>
    kinds.some((kind) => kind.name === name && kind.service !== service)
  )
  return repeated === undefined ? undefined : {
    field: "interrupts",
    problem: repeated.name === pauseInterrupt
      ? `the id "${pauseInterrupt}" is reserved for pauses`
      : `two interrupts have the id "${repeated.name}"`
  }
}

/** The type of updates: that of the `update` schema, by default some fields of a struct, otherwise the whole state. */
export type UpdateOf<S extends Plain, Update> = Update extends Plain ? Update["Type"]
  : S extends { readonly fields: Schema.Struct.Fields } ? { readonly [K in keyof S["Type"]]?: S["Type"][K] }
  : S["Type"]

/** Reducers of the fields of a struct. Any other state has none. */
export type FieldReducersOf<S extends Plain> = S extends { readonly fields: Schema.Struct.Fields } ? {
    readonly [K in keyof S["Type"]]?:
      | ((current: S["Type"][K], update: Required<S["Type"]>[K]) => Required<S["Type"]>[K])
      | undefined
  }
  : undefined

/**
 * Requires that nodes return no fields that their updates do not have. The compiler finds such fields in an object
 * literal, and not in what an effect succeeds with.
 */
export type KnownFields<Nodes, S extends Plain, Update> = Update extends Plain ? KnownFieldsOf<Nodes, Update>
  : KnownFieldsOf<Nodes, S>

type KnownFieldsOf<Nodes, U extends Plain> = U extends { readonly fields: Schema.Struct.Fields } ? {
    readonly [K in keyof Nodes]: [UnknownFields<Nodes[K], keyof U["Type"]>] extends [never] ? unknown
      : (...args: never) => Effect.Effect<
        { readonly [F in UnknownFields<Nodes[K], keyof U["Type"]>]?: never } | void,
        unknown,
        unknown
      >
  }
  : unknown

type UnknownFields<Node, Known> = Node extends (...args: never) => Effect.Effect<infer A, infer _E, infer _R>
  ? A extends object ? Exclude<keyof A, Known> : never
  : never

/** The service through which nodes require an interrupt. */
export type SelfOf<I> = I extends Context.Key<infer Self, infer _Shape> ? Self : never

/** Fails if the graph does not have one of the nodes. */
export const checkNodes = (
  graph: { readonly name: string; readonly nodes: ReadonlyMap<string, unknown> },
  field: string,
  nodes: ReadonlyArray<string>
): Effect.Effect<void, InvalidInput> => {
  const unknown = nodes.find((node) => !graph.nodes.has(node))
  return unknown === undefined ? Effect.void : Effect.fail(
    new InvalidInput({ field, problem: `graph "${graph.name}" has no node "${unknown}"` })
  )
}
