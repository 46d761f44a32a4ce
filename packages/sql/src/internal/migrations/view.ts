import * as Formats from "../formats.ts"

/** Creates the view for people who read states in SQL. The schema is given as it stands in a statement. */
export const view = (schema: string): ReadonlyArray<string> => [
  `CREATE VIEW ${schema}.checkpoint_states AS
    SELECT c.thread_id, c.namespace, c.version, c.checkpoint_id, c.parent_id,
           CASE WHEN c.format IN (${Formats.keyframes}) THEN c.payload
                ELSE ${schema}.checkpoint_state(c.thread_id, c.namespace, c.version) END AS state,
           c.next_nodes, c.pending_interrupts, c.metadata, c.tags, c.created_at
      FROM ${schema}.checkpoints c
      JOIN ${schema}.checkpoint_threads t ON t.thread_id = c.thread_id AND t.namespace = c.namespace
     WHERE c.version > t.pruned_through OR c.pinned`
]
