import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Codec from "../codec.ts"

/** What nodes ask, and what is answered. */

/** A kind of question. */
export interface Kind {
  /** What nodes ask through; a pause has none. */
  readonly service: Context.Key<unknown, Ask<never, unknown>> | undefined
  readonly name: string
  readonly request: Codec.Codec<unknown>
  readonly response: Codec.Codec<unknown>
}

export interface Ask<Request, Response> {
  readonly ask: (request: Request) => Effect.Effect<Response>
}

/** The name of what `interruptBefore` and `interruptAfter` ask. */
export const pause = "Pause"

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
