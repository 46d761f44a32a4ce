import * as Metric from "effect/Metric"

/** Metrics for operators. Their names are public; `docs/observability.md` lists them. */

export const puts = Metric.counter("checkpoint_puts", {
  description: "Checkpoints saved",
  incremental: true
})

export const conflicts = Metric.counter("checkpoint_conflicts", {
  description: "Saves that were refused because another writer was first",
  incremental: true
})

const retriesTotal = Metric.counter("checkpoint_retries", {
  description: "Retries of store operations, by the outcome of the failed attempt",
  incremental: true
})

export const retries = {
  NotApplied: Metric.withAttributes(retriesTotal, { outcome: "NotApplied" }),
  Unknown: Metric.withAttributes(retriesTotal, { outcome: "Unknown" })
}

export const bytesWritten = Metric.counter("checkpoint_bytes_written", {
  description: "Bytes of stored states and changes, as JSON in UTF-8",
  incremental: true
})

export const readDuration = Metric.timer("checkpoint_read_duration", {
  description: "Duration of reading a checkpoint, including retries"
})

export const pruned = Metric.counter("checkpoint_pruned", {
  description: "Checkpoints removed by retention",
  incremental: true
})

export const graphSteps = Metric.counter("checkpoint_graph_steps", {
  description: "Completed steps of graphs",
  incremental: true
})
