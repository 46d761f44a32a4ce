import { SchemaIncompatible, SchemaMissing, StoreError, Unknown } from "@effect-checkpoint/core/CheckpointError"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { toStoreError } from "./errors.ts"
import type { Session } from "./session.ts"
import type { Tables } from "./tables.ts"

/** The newest migration below. Databases beyond it belong to a newer version of the library. */
export const newest = 1

const migrations = (sql: PgClient, tables: Tables) =>
  Migrator.fromRecord({
    "0001_create_tables": Effect.gen(function*() {
      // One row a thread and namespace. Narrow, with room to be updated in place: nothing that every put changes is
      // indexed (active_at moves once a minute), so that updates stay heap-only.
      yield* sql`
        CREATE TABLE ${tables.threads} (
          thread_id        text COLLATE "C" NOT NULL,
          namespace        text COLLATE "C" NOT NULL,
          version          bigint           NOT NULL,
          pruned_through   bigint           NOT NULL DEFAULT 0,
          checkpoint_id    text COLLATE "C" NOT NULL,
          previous_id      text COLLATE "C",
          write_id         uuid             NOT NULL,
          keyframe_version bigint           NOT NULL,
          unfinished       boolean          NOT NULL,
          interrupted      boolean          NOT NULL,
          active_at        timestamptz      NOT NULL,
          updated_at       timestamptz      NOT NULL,
          created_at       timestamptz      NOT NULL,
          PRIMARY KEY (thread_id, namespace)
        ) WITH (fillfactor = 70)`
      // Of one namespace or of all. No other index but the key begins with what a single row is looked up by: while a
      // table has no statistics, the planner would take the wrong one as well.
      yield* sql`
        CREATE INDEX checkpoint_threads_by_activity ON ${tables.threads} (active_at, namespace)`
      yield* sql`
        CREATE INDEX checkpoint_threads_open ON ${tables.threads} (active_at) WHERE unfinished OR interrupted`

      // What a row says never changes, except for its tags and for whether its interrupt was resolved. How its state is
      // stored may: a compaction makes keyframes of deltas, and the rest of their chains begins there. One that was
      // removed, and whose row is still needed by others, loses its id when that is used again.
      yield* sql`
        CREATE TABLE ${tables.checkpoints} (
          thread_id         text COLLATE "C" NOT NULL,
          namespace         text COLLATE "C" NOT NULL,
          version           bigint           NOT NULL,
          keyframe_version  bigint           NOT NULL,
          parent_version    bigint,
          created_at        timestamptz      NOT NULL,
          payload_bytes     integer          NOT NULL,
          state_bytes       integer          NOT NULL,
          schema_version    integer          NOT NULL DEFAULT 1,
          format            smallint         NOT NULL,
          resolved          boolean          NOT NULL DEFAULT FALSE,
          pinned            boolean          NOT NULL GENERATED ALWAYS AS (
                              tags <> '[]' OR (pending_interrupts <> '[]' AND NOT resolved)
                            ) STORED,
          checkpoint_id     text COLLATE "C",
          parent_id         text COLLATE "C",
          parent_thread_id  text COLLATE "C",
          next_nodes        jsonb            NOT NULL,
          pending_interrupts jsonb          NOT NULL DEFAULT '[]',
          metadata          jsonb            NOT NULL,
          tags              jsonb            NOT NULL DEFAULT '[]',
          payload           jsonb            NOT NULL,
          PRIMARY KEY (thread_id, namespace, version)
        )`
      yield* sql`
        CREATE UNIQUE INDEX checkpoints_by_id ON ${tables.checkpoints} (checkpoint_id, thread_id, namespace)`
      // What retention leaves alone, and what tags are looked up in.
      yield* sql`
        CREATE INDEX checkpoints_pinned ON ${tables.checkpoints} (thread_id, namespace, version) WHERE pinned`

      // What has been done of the step that begins at a version.
      yield* sql`
        CREATE TABLE ${tables.pendingWrites} (
          thread_id  text COLLATE "C" NOT NULL,
          namespace  text COLLATE "C" NOT NULL,
          version    bigint           NOT NULL,
          task       text COLLATE "C" NOT NULL,
          value      jsonb            NOT NULL,
          PRIMARY KEY (thread_id, namespace, version, task)
        )`

      // Who prunes. A lease and not a lock of the session, so that it works through a pooler.
      yield* sql`
        CREATE TABLE ${tables.leases} (
          name       text        PRIMARY KEY,
          holder     text        NOT NULL,
          expires_at timestamptz NOT NULL
        )`

      // For people with SQL: a delta is an RFC 6902 patch.
      yield* sql`
        CREATE FUNCTION ${tables.patch} (state jsonb, patch jsonb) RETURNS jsonb
          LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
          AS ${sql.literal(dollarQuoted(patchBody))}`
      yield* sql`
        CREATE FUNCTION ${tables.state} (of_thread text, of_namespace text, of_version bigint) RETURNS jsonb
          LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog
          AS ${sql.literal(dollarQuoted(stateBody(tables.quoted)))}`
      yield* sql`
        CREATE VIEW ${tables.states} AS
          SELECT c.thread_id, c.namespace, c.version, c.checkpoint_id, c.parent_id,
                 CASE WHEN c.format IN (1, 2) THEN c.payload
                      ELSE ${tables.state}(c.thread_id, c.namespace, c.version) END AS state,
                 c.next_nodes, c.pending_interrupts, c.metadata, c.tags, c.created_at
            FROM ${tables.checkpoints} c
            JOIN ${tables.threads} t ON t.thread_id = c.thread_id AND t.namespace = c.namespace
           WHERE c.version > t.pruned_through OR c.pinned`
    })
  })

/** The schema's name may hold a tag too. */
const dollarQuoted = (body: string): string => {
  let tag = "function"
  while (body.includes(`$${tag}$`)) tag += "_"
  return `$${tag}$${body}$${tag}$`
}

// A state is copied by every change, so those that follow each other at the end of one array, or in one object, are
// gathered and made at once.
const patchBody = `
DECLARE
  step       jsonb;
  op         text;
  path       text[];
  key        text;
  at         text[];
  kind       text;
  gathered   jsonb;
  next_index integer;
BEGIN
  FOR step IN SELECT value FROM jsonb_array_elements(patch || '[{}]') LOOP
    op := step ->> 'op';
    -- An empty string has no parts for string_to_array, but it is a key.
    path := CASE step ->> 'path' WHEN '' THEN '{}' WHEN '/' THEN ARRAY[''] ELSE (
      SELECT array_agg(replace(replace(token, '~1', '/'), '~0', '~') ORDER BY position)
        FROM unnest(string_to_array(substr(step ->> 'path', 2), '/')) WITH ORDINALITY AS tokens (token, position)
    ) END;
    key := path[cardinality(path)];
    path := path[1:cardinality(path) - 1];
    IF gathered IS NOT NULL THEN
      IF path = at AND op IN ('add', 'replace') AND next_index IS NULL AND key IS NOT NULL THEN
        gathered := gathered || jsonb_build_object(key, step -> 'value');
        CONTINUE;
      ELSIF path = at AND op = 'add' AND key = next_index::text THEN
        gathered := gathered || jsonb_build_array(step -> 'value');
        next_index := next_index + 1;
        CONTINUE;
      END IF;
      IF at = '{}' THEN
        state := state || gathered;
      ELSE
        state := jsonb_set(state, at, (state #> at) || gathered, FALSE);
      END IF;
      gathered := NULL;
    END IF;
    IF op IS NULL THEN
      RETURN state;
    ELSIF key IS NULL THEN
      state := step -> 'value';
      at := NULL;
    ELSIF op = 'remove' THEN
      state := state #- (path || key);
    ELSE
      IF path IS DISTINCT FROM at THEN
        at := path;
        kind := jsonb_typeof(state #> path);
      END IF;
      IF kind = 'object' THEN
        gathered := jsonb_build_object(key, step -> 'value');
        next_index := NULL;
      ELSIF op = 'replace' THEN
        state := jsonb_set(state, path || key, step -> 'value', FALSE);
      ELSIF key = jsonb_array_length(state #> path)::text THEN
        gathered := jsonb_build_array(step -> 'value');
        next_index := key::integer + 1;
      ELSE
        state := jsonb_insert(state, path || key, step -> 'value');
      END IF;
    END IF;
  END LOOP;
END
`

const stateBody = (schema: string) => `
DECLARE
  stored record;
  result jsonb;
BEGIN
  FOR stored IN
    SELECT c.format, c.payload
      FROM ${schema}.checkpoints c
     WHERE c.thread_id = of_thread AND c.namespace = of_namespace AND c.version <= of_version
       AND c.version >= (
         SELECT k.keyframe_version
           FROM ${schema}.checkpoints k
          WHERE k.thread_id = of_thread AND k.namespace = of_namespace AND k.version = of_version
       )
     ORDER BY c.version
  LOOP
    CASE
      WHEN stored.format IN (1, 2) THEN result := stored.payload;
      WHEN stored.format IN (3, 4) THEN result := ${schema}.checkpoint_patch(result, stored.payload);
    END CASE;
  END LOOP;
  RETURN result;
END
`

/** The newest migration that the database has; 0 when it has none of the tables. */
export const applied = (sql: PgClient, tables: Tables): Effect.Effect<number, SqlError> =>
  Effect.flatMap(
    sql<
      { readonly present: boolean }
    >`SELECT to_regclass(${`${tables.quoted}.checkpoint_migrations`}::text) IS NOT NULL AS present`,
    ([row]) =>
      row?.present !== true ? Effect.succeed(0) : Effect.map(
        sql<{ readonly newest: number | null }>`SELECT max(migration_id)::float8 AS newest FROM ${tables.migrations}`,
        ([row]) => row?.newest ?? 0
      )
  )

/** Fails unless the tables are those that this version of the library works with. */
export const check = (sql: PgClient, tables: Tables): Effect.Effect<void, SqlError | StoreError> =>
  Effect.flatMap(applied(sql, tables), (version) => {
    if (version === newest) return Effect.void
    return Effect.fail(
      version > newest ? tooNew(tables, version) : new StoreError({
        operation: "check",
        reason: new SchemaMissing({
          message: version === 0
            ? `schema "${tables.schema}" has no checkpoint tables; run the migrations, or check the schema's name`
            : `schema "${tables.schema}" is at migration ${version} of ${newest}; run the migrations`
        }),
        outcome: "NotApplied"
      })
    )
  })

/**
 * Brings the tables up to date. Any number of processes may do so at once: they
 * wait for each other, and all but the first find nothing left to do.
 */
export const run = Effect.fnUntraced(function*(
  sql: PgClient,
  session: Session,
  tables: Tables
): Effect.fn.Return<void, StoreError> {
  const version = yield* session.run("migrate", applied(sql, tables))
  if (version > newest) return yield* tooNew(tables, version)
  // A role that may create nothing can start on a database that is up to date.
  if (version === newest) return
  yield* session.transaction(
    "migrate",
    Effect.gen(function*() {
      // CREATE ... IF NOT EXISTS fails when two do it at the same time, so they take turns. The lock ends with the
      // transaction.
      const lock = `effect-checkpoint migrations of ${tables.schema}`
      yield* sql`SELECT pg_advisory_xact_lock(hashtext(${lock}::text)::bigint)`
      const [schema] = yield* sql`SELECT FROM pg_catalog.pg_namespace WHERE nspname = ${tables.schema}`
      if (schema === undefined) yield* sql`CREATE SCHEMA ${sql(tables.schema)}`
      yield* migrate({ loader: migrations(sql, tables), table: tables.migrationsTable }).pipe(
        Effect.provideService(SqlClient.SqlClient, sql),
        Effect.catchTag("MigrationError", (error) => Effect.fail(fromMigrationError(error)))
      )
    })
  )
})

/** Without the dump of the schema, which would ask for child processes and files. */
const migrate = Migrator.make({})

/** What the migrator says of a failed statement is in its cause. */
const fromMigrationError = (error: Migrator.MigrationError): StoreError =>
  isSqlError(error.cause) ? toStoreError("migrate", error.cause) : new StoreError({
    operation: "migrate",
    reason: new Unknown({ message: error.message, cause: error }),
    outcome: "NotApplied"
  })

const tooNew = (tables: Tables, version: number): StoreError =>
  new StoreError({
    operation: "check",
    reason: new SchemaIncompatible({
      message: `schema "${tables.schema}" is at migration ${version}, but this version of the library knows only ` +
        `migration ${newest}; upgrade the library`
    }),
    outcome: "NotApplied"
  })
