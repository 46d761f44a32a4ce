import { Effect, Tracer } from "effect"

/** The statements that the SQL client of Effect sends are its client spans. */
export const statementsOf = (effect: Effect.Effect<void>): Effect.Effect<number> =>
  Effect.suspend(() => {
    let statements = 0
    const tracer = Tracer.make({
      span: (options) => {
        if (options.kind === "client") statements++
        return new Tracer.NativeSpan(options)
      }
    })
    return Effect.map(Effect.withTracer(effect, tracer), () => statements)
  })
