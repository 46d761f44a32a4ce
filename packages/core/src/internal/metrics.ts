import * as Metric from "effect/Metric"

/** What operators watch. The names are part of the public contract; `docs/` lists them. */

export const puts = Metric.counter("checkpoint_puts", {
  description: "Checkpoints saved",
  incremental: true
})

export const conflicts = Metric.counter("checkpoint_conflicts", {
  description: "Puts and updates that found the head moved by somebody else",
  incremental: true
})

const retriesTotal = Metric.counter("checkpoint_retries", {
  description: "Store operations tried again, by what was known of the attempt before",
  incremental: true
})

export const retries = {
  NotApplied: Metric.withAttributes(retriesTotal, { outcome: "NotApplied" }),
  Unknown: Metric.withAttributes(retriesTotal, { outcome: "Unknown" })
}

export const bytesWritten = Metric.counter("checkpoint_bytes_written", {
  description: "Bytes of state as JSON in UTF-8 that were sent to the store",
  incremental: true
})

export const readDuration = Metric.timer("checkpoint_read_duration", {
  description: "How long reading a checkpoint took, retries included"
})

export const pruned = Metric.counter("checkpoint_pruned", {
  description: "Checkpoints removed by retention",
  incremental: true
})

export const graphSteps = Metric.counter("checkpoint_graph_steps", {
  description: "Steps of graphs that were run",
  incremental: true
})
