import * as Formats from "../formats.ts"
import { dollarQuoted } from "./functions.ts"

/** Creates the view for people who read states in SQL. The schema is given as it stands in a statement. */
export const view = (schema: string): ReadonlyArray<string> => [
  `CREATE VIEW ${schema}.checkpoint_states AS
    SELECT c.thread_id, c.namespace, c.version, c.checkpoint_id, c.parent_id,
           CASE WHEN c.format IN (${Formats.keyframes}) THEN c.payload ELSE (
             SELECT ${schema}.checkpoint_fold(k.format, k.payload ORDER BY k.version)
               FROM ${schema}.checkpoints k
              WHERE k.thread_id = c.thread_id AND k.namespace = c.namespace
                AND k.version BETWEEN c.keyframe_version AND c.version
           ) END AS state,
           c.next_nodes, c.pending_interrupts, c.metadata, c.tags, c.created_at
      FROM ${schema}.checkpoints c
      JOIN ${schema}.checkpoint_threads t ON t.thread_id = c.thread_id AND t.namespace = c.namespace
     WHERE c.version > t.pruned_through OR c.pinned`,
  `DO ${dollarQuoted(readAsCaller(schema))}`
]

// With the rights of its owner, which is all that a view has before Postgres 15, it would bypass row-level security.
const readAsCaller = (schema: string): string => `
BEGIN
  IF current_setting('server_version_num'::text)::integer >= 150000 THEN
    ALTER VIEW ${schema}.checkpoint_states SET (security_invoker = true);
  END IF;
END
`
