import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Codec from "../codec.ts"
import type { Plain, SchemaOf } from "./model.ts"

/** The updates of graphs without an `update` schema of their own. */

export interface DefaultUpdate<S, U> {
  readonly codec: Codec.Codec<U>
  readonly merge: (state: S, update: unknown) => S
}

/**
 * An update of a struct is some of its fields. An update of any other state is a whole state. `UpdateOf` says the same
 * of the type `U`.
 */
export const defaultUpdate = <S, U>(state: SchemaOf<S>): DefaultUpdate<S, U> =>
  isStruct(state)
    ? { codec: fieldsCodec(state), merge: mergeFields(state) }
    : { codec: Codec.pure<Plain>(state) as Codec.Codec<U>, merge: (_, update) => update as S }

export type Struct = Plain & { readonly fields: Record<string, Plain> }

interface Fields {
  readonly [name: string]: unknown
}

interface Makes<S> {
  readonly make: (fields: S, options: Schema.MakeOptions) => S
}

export const isStruct = (schema: Plain): schema is Struct =>
  Predicate.hasProperty(schema, "fields") && Predicate.isObject(schema.fields)

/** Finds a field of an update that neither its schema nor the state has: it would not be saved. */
export const unknownField = (schema: Plain) => <S, U>(update: U, state: S): string | undefined =>
  isStruct(schema) && Predicate.isObject(update)
    ? Object.keys(update).find((name) => !Object.hasOwn(schema.fields, name) && !Object.hasOwn(Object(state), name))
    : undefined

/** Replaces fields of a state. An instance of a class stays one. */
const mergeFields = (struct: Struct) => <S>(state: S, update: unknown): S => {
  const merged = { ...state, ...update as object } as S
  return typeof struct === "function" ? (struct as Struct & Makes<S>).make(merged, { disableChecks: true }) : merged
}

/**
 * The codec of some fields of a struct. Each field is encoded in a struct of its own, because the schema of the whole
 * struct may add a missing field, such as one with a default.
 */
const fieldsCodec = <U>({ fields }: Struct): Codec.Codec<U> => {
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
