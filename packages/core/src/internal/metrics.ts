import * as Metric from "effect/Metric"
import type { StoreError } from "../CheckpointError.ts"

/** Metrics for operators. Their names are public; `docs/observability.md` lists them. */

const puts = Metric.counter("checkpoint_puts", {
  description: "Checkpoints saved, by how they are stored",
  incremental: true
})

const bytesWritten = Metric.counter("checkpoint_bytes_written", {
  description: "Bytes of stored states and changes, as JSON in UTF-8",
  incremental: true
})

const conflicts = Metric.counter("checkpoint_conflicts", {
  description: "Saves that were refused because another writer was first",
  incremental: true
})

const retries = Metric.counter("checkpoint_retries", {
  description: "Retries of store operations, by the outcome of the failed attempt",
  incremental: true
})

const failures = Metric.counter("checkpoint_failures", {
  description: "Store operations that failed for good, after their retries",
  incremental: true
})

const headCacheLookups = Metric.counter("checkpoint_head_cache_lookups", {
  description: "Saves that looked for the newest state in the cache, by whether it was there",
  incremental: true
})

const readDuration = Metric.timer("checkpoint_read_duration", {
  description: "Duration of reading a checkpoint, including retries"
})

const writeDuration = Metric.timer("checkpoint_write_duration", {
  description: "Duration of saving a checkpoint, including retries"
})

export const pruned = Metric.counter("checkpoint_pruned", {
  description: "Checkpoints removed by retention",
  incremental: true
})

export const graphSteps = Metric.counter("checkpoint_graph_steps", {
  description: "Completed steps of graphs",
  incremental: true
})

/** The metrics of the operations of a view. */
export interface ViewMetrics extends ReturnType<typeof withNamespace> {}

/** A program may make a view for each tenant. The namespaces beyond this number share their series. */
const maxNamespaces = 100

export const makeOf = (): (namespace: string) => ViewMetrics => {
  const known = new Map<string, ViewMetrics>()
  return (namespace) => {
    // What follows names nested graphs, and can hold keys of tasks.
    const first = namespace.split("/", 1)[0] ?? ""
    const name = known.has(first) || known.size < maxNamespaces ? first : "(other)"
    const metrics = known.get(name) ?? withNamespace(name)
    known.set(name, metrics)
    return metrics
  }
}

const withNamespace = (namespace: string) => ({
  puts: {
    keyframe: Metric.withAttributes(puts, { namespace, stored: "keyframe" }),
    delta: Metric.withAttributes(puts, { namespace, stored: "delta" })
  },
  bytesWritten: Metric.withAttributes(bytesWritten, { namespace }),
  conflicts: Metric.withAttributes(conflicts, { namespace }),
  retries: {
    NotApplied: Metric.withAttributes(retries, { namespace, outcome: "NotApplied" }),
    Unknown: Metric.withAttributes(retries, { namespace, outcome: "Unknown" })
  },
  failures: ({ operation, reason }: StoreError) =>
    Metric.withAttributes(failures, { namespace, operation, reason: reason._tag }),
  headCacheLookups: {
    hit: Metric.withAttributes(headCacheLookups, { namespace, result: "hit" }),
    miss: Metric.withAttributes(headCacheLookups, { namespace, result: "miss" })
  },
  readDuration: Metric.withAttributes(readDuration, { namespace }),
  writeDuration: Metric.withAttributes(writeDuration, { namespace })
})
