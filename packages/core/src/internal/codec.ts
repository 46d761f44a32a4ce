import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Between values and their JSON. */
export interface Codec<A> {
  readonly encode: (value: A) => Effect.Effect<Schema.Json, Schema.SchemaError | RangeError>
  readonly decode: (json: Schema.Json) => Effect.Effect<A, Schema.SchemaError | RangeError>
}

/** Whether it really is JSON is checked on the way to its text, for every codec. */
export const plain: Codec<Schema.Json> = { encode: Effect.succeed, decode: Effect.succeed }

/** That of a schema, with the services that it needs. */
export const of = <S extends Schema.Constraint>(
  schema: S
): Effect.Effect<Codec<S["Type"]>, never, S["EncodingServices"] | S["DecodingServices"]> =>
  Effect.contextWith((services: Context.Context<S["EncodingServices"] | S["DecodingServices"]>) =>
    Effect.succeed(using(schema, services))
  )

/** That of a schema that needs none. */
export const pure = <
  S extends Schema.Constraint & { readonly DecodingServices: never; readonly EncodingServices: never }
>(
  schema: S
): Codec<S["Type"]> => using(schema, Context.empty())

const using = <S extends Schema.Constraint>(
  schema: S,
  services: Context.Context<S["EncodingServices"] | S["DecodingServices"]>
): Codec<S["Type"]> => {
  const codec = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownEffect(codec)
  const decode = Schema.decodeUnknownEffect(codec)
  return {
    encode: (value) => guarded(Effect.provideContext(encode(value), services)),
    decode: (json) => guarded(Effect.provideContext(decode(json), services))
  }
}

/** A value nested deeper than the stack is its owner's mistake, and not a reason to die. */
const guarded = <A>(effect: Effect.Effect<A, Schema.SchemaError>): Effect.Effect<A, Schema.SchemaError | RangeError> =>
  Effect.catchDefect(effect, (defect) => defect instanceof RangeError ? Effect.fail(defect) : Effect.die(defect))
