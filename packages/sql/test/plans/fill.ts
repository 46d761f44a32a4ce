import { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"

/**
 * What the tables are filled with: more than a million threads of one version, of which 300,000 were saved within a
 * minute, and one thread of a million versions. A tenth of the threads wait, together for a million answers. Ids are random, as UUIDs are: rows are not in the order of the keys.
 */
export const long = {
  /** The first one in the order of a prune. */
  threadId: "!long",
  newest: 1_150_000,
  /** Below it, every fourth version is tagged, and the others were pruned. */
  prunedThrough: 200_000
} as const

/** The times, in minutes before now: of the crowd, and of the oldest thread. */
export const crowdAge = 60

const threads = 1_300_000
const crowd = 300_000

/** Fills the tables of a new database. */
export const fill = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`SET search_path = effect_checkpoint`
  yield* sql`SET maintenance_work_mem = '512MB'`
  yield* withoutIndexes(Effect.gen(function*() {
    yield* sql.unsafe(`
      INSERT INTO checkpoint_threads (
        thread_id, namespace, version, checkpoint_id, write_id, keyframe_version, step_version, unfinished,
        interrupted, active_at, updated_at, created_at
      )
      SELECT id, CASE i % 3 WHEN 0 THEN 'chats' ELSE '' END, 1, md5(id), gen_random_uuid(), 1, 1, i % 2 = 0, i % 10 = 0,
             at, at, at
        FROM (
          SELECT gen_random_uuid()::text AS id, i, date_trunc('milliseconds', date_trunc('minute', now()) - CASE
                   WHEN i <= ${crowd} THEN interval '${crowdAge} minutes' - i * interval '0.1 ms'
                   ELSE interval '${crowdAge} minutes' + i * interval '2 s' END) AS at
            FROM generate_series(1, ${threads}) i
        ) generated`)
    yield* sql.unsafe(`
      INSERT INTO checkpoints (
        thread_id, namespace, version, keyframe_version, step_version, created_at, payload_bytes, state_bytes, format, checkpoint_id,
        next_nodes, pending_interrupts, metadata, payload
      )
      SELECT thread_id, namespace, 1, 1, 1, updated_at, 20, 20, 1, checkpoint_id,
             CASE WHEN unfinished THEN '["x"]'::jsonb ELSE '[]' END,
             CASE WHEN interrupted THEN '[{"interruptId": "i", "request": 1}]'::jsonb ELSE '[]' END,
             '{"user": "a"}', '{"messages": ["one"]}'
        FROM checkpoint_threads`)
    yield* sql.unsafe(`
      INSERT INTO checkpoints (
        thread_id, namespace, version, keyframe_version, step_version, created_at, payload_bytes, state_bytes, format, checkpoint_id,
        next_nodes, metadata, tags, payload
      )
      SELECT '${long.threadId}', '', v, CASE WHEN v <= ${long.prunedThrough} THEN v ELSE v - (v - 1) % 8 END, v, now() - (${long.newest} - v) * interval '1 s', 100, 1000,
             CASE WHEN v <= ${long.prunedThrough} OR (v - 1) % 8 = 0 THEN 1 ELSE 3 END, gen_random_uuid()::text, '[]', '{"user": "a"}',
             CASE WHEN v <= ${long.prunedThrough} THEN '["kept"]'::jsonb ELSE '[]' END,
             CASE WHEN v <= ${long.prunedThrough} OR (v - 1) % 8 = 0 THEN '{"messages": []}'::jsonb ELSE '[]' END
        FROM generate_series(1, ${long.newest}) v
       WHERE v > ${long.prunedThrough} OR v % 4 = 1`)
    yield* sql.unsafe(`
      INSERT INTO checkpoint_threads (
        thread_id, namespace, version, pruned_through, checkpoint_id, write_id, keyframe_version, step_version,
        unfinished, interrupted, active_at, updated_at, created_at
      )
      SELECT thread_id, namespace, version, ${long.prunedThrough}, checkpoint_id, gen_random_uuid(), keyframe_version,
             step_version, FALSE, FALSE, created_at, created_at, created_at - interval '20 days'
        FROM checkpoints WHERE thread_id = '${long.threadId}' AND version = ${long.newest}`)
    yield* sql.unsafe(`
      INSERT INTO checkpoint_questions (
        thread_id, namespace, step_version, asked_at, position, interrupt_id, metadata, request
      )
      SELECT thread_id, namespace, 1, updated_at, n, 'i' || n, '{"kind": "approval"}', '1'
        FROM checkpoint_threads, generate_series(1, 8) n
       WHERE interrupted`)
  }))
  for (const table of ["checkpoint_threads", "checkpoints", "checkpoint_pending_writes", "checkpoint_questions"]) {
    yield* sql.unsafe(`ANALYZE ${table}`)
  }
  yield* sql`CHECKPOINT`
})

interface Definition {
  readonly relation: string
  readonly name: string
  readonly definition: string
  readonly kind: "f" | "p" | "i"
}

/** Indexes are made several times as fast when the rows are there. */
const withoutIndexes = Effect.fnUntraced(function*<A, E, R>(filling: Effect.Effect<A, E, R>) {
  const sql = yield* PgClient.PgClient
  const definitions = yield* sql<Definition>`
    SELECT conrelid::regclass::text AS relation, conname AS name, pg_get_constraintdef(oid) AS definition,
           contype::text AS kind
      FROM pg_constraint
     WHERE connamespace = 'effect_checkpoint'::regnamespace AND contype IN ('p', 'f')
       AND conrelid IN ('checkpoint_threads'::regclass, 'checkpoints'::regclass, 'checkpoint_pending_writes'::regclass,
                        'checkpoint_questions'::regclass)
    UNION ALL
    SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), 'i'
      FROM pg_index i
     WHERE i.indrelid IN ('checkpoint_threads'::regclass, 'checkpoints'::regclass, 'checkpoint_questions'::regclass)
       AND NOT i.indisprimary`
  const ofKind = (kind: Definition["kind"]) => definitions.filter((definition) => definition.kind === kind)
  for (const { name, relation } of [...ofKind("f"), ...ofKind("p")]) {
    yield* sql.unsafe(`ALTER TABLE ${relation} DROP CONSTRAINT ${name}`)
  }
  for (const { name } of ofKind("i")) yield* sql.unsafe(`DROP INDEX ${name}`)
  yield* filling
  for (const { definition } of ofKind("i")) yield* sql.unsafe(definition)
  for (const { definition, name, relation } of [...ofKind("p"), ...ofKind("f")]) {
    yield* sql.unsafe(`ALTER TABLE ${relation} ADD CONSTRAINT ${name} ${definition}`)
  }
})
