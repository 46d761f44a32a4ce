import { PgClient } from "@effect/sql-pg"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Database, pgLayer } from "./support.ts"

/** What the migrations make, read from the catalogue, in a form that all versions of Postgres agree on. */
const dump = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const tables = yield* sql<{ readonly name: string; readonly definition: string }>`
    SELECT c.relname AS name,
           string_agg(
             '  ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
               || CASE WHEN l.collname = 'C' THEN ' COLLATE "C"' ELSE '' END
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || CASE WHEN d.adbin IS NULL THEN ''
                       WHEN a.attgenerated = 's' THEN ' GENERATED ALWAYS AS ' || pg_get_expr(d.adbin, c.oid) || ' STORED'
                       ELSE ' DEFAULT ' || pg_get_expr(d.adbin, c.oid) END,
             E',\n' ORDER BY a.attnum
           ) || COALESCE((
             SELECT string_agg(E',\n  ' || pg_get_constraintdef(p.oid), '' ORDER BY p.contype DESC)
               FROM pg_constraint p
              WHERE p.conrelid = c.oid AND p.contype IN ('p', 'f')
           ), '') AS definition
      FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_collation l ON l.oid = a.attcollation
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relnamespace = 'effect_checkpoint'::regnamespace AND c.relkind = 'r'
     GROUP BY c.oid, c.relname
     ORDER BY c.relname COLLATE "C"`
  const indexes = yield* sql<{ readonly definition: string }>`
    SELECT pg_get_indexdef(i.indexrelid) AS definition
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
     WHERE c.relnamespace = 'effect_checkpoint'::regnamespace AND NOT i.indisprimary
       AND c.relname LIKE 'checkpoint%' AND i.indrelid <> 'effect_checkpoint.checkpoint_migrations'::regclass
     ORDER BY c.relname COLLATE "C"`
  const functions = yield* sql<{ readonly name: string; readonly result: string; readonly body: string }>`
    SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS name, pg_get_function_result(p.oid) AS result,
           p.prosrc AS body
      FROM pg_proc p
     WHERE p.pronamespace = 'effect_checkpoint'::regnamespace AND p.prokind = 'f'
     ORDER BY p.proname COLLATE "C"`
  const aggregates = yield* sql<{ readonly name: string; readonly sfunc: string; readonly stype: string }>`
    SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS name, a.aggtransfn::regproc::text AS sfunc,
           format_type(a.aggtranstype, NULL) AS stype
      FROM pg_aggregate a
      JOIN pg_proc p ON p.oid = a.aggfnoid
     WHERE p.pronamespace = 'effect_checkpoint'::regnamespace`
  const [view] = yield* sql<{ readonly columns: string }>`
    SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), E',\n  ' ORDER BY a.attnum) AS columns
      FROM pg_attribute a
     WHERE a.attrelid = 'effect_checkpoint.checkpoint_states'::regclass AND a.attnum > 0`
  return [
    ...tables.map(({ definition, name }) => `CREATE TABLE effect_checkpoint.${name} (\n${definition}\n);`),
    ...indexes.map(({ definition }) => `${definition};`),
    ...functions.map(({ body, name, result }) =>
      `CREATE FUNCTION effect_checkpoint.${name} RETURNS ${result} AS $$${body}$$ LANGUAGE plpgsql;`
    ),
    ...aggregates.map(({ name, sfunc, stype }) =>
      `CREATE AGGREGATE effect_checkpoint.${name} (SFUNC = ${sfunc}, STYPE = ${stype});`
    ),
    `-- CREATE VIEW effect_checkpoint.checkpoint_states\n--   ${view!.columns.replaceAll("\n", "\n--")}`
  ].join("\n\n") + "\n"
})

layer(Database.layer, { excludeTestServices: true })("the schema", (it) => {
  it.effect("is what docs/schema.sql shows", () =>
    Effect.gen(function*() {
      const schema = yield* dump
      yield* Effect.promise(() => expect(schema).toMatchFileSnapshot("../../../docs/schema.sql"))
    }).pipe(Effect.provide(pgLayer())))
})
