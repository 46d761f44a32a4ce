import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Codec from "../codec.ts"
import type { Plain, SchemaOf } from "./model.ts"

/** How nodes change the state of a graph that does not say so itself. */

/** Updates as they are stored, and what becomes of a state and an update. */
export interface Update<S, U> {
  readonly codec: Codec.Codec<U>
  readonly merge: (state: S, update: unknown) => S
}

/** Some of a struct's fields take the place of those of the state, and any other state is replaced as a whole. */
export const ofState = <S, U>(state: SchemaOf<S>): Update<S, U> =>
  isStruct(state)
    ? { codec: someOf(state), merge: mergeInto(state) }
    : { codec: Codec.pure<Plain>(state) as Codec.Codec<U>, merge: (_, update) => update as S }

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
