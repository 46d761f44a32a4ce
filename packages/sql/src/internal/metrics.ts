import * as Metric from "effect/Metric"

/** Metrics for operators. Their names are public; `docs/observability.md` lists them. */

export const acquireDuration = Metric.timer("checkpoint_acquire_duration", {
  description: "How long statements waited for a connection of the pool"
})
