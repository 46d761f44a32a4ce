/**
 * Operators and functions that another role can create in `public` to be called by a service in the same database. They
 * take arguments for which the server has no exact match, and count their calls.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer } from "effect"
import { SecureRandom } from "effect/crypto"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { clientLayer } from "./support.ts"

const root = join(import.meta.dirname, "../../..")

/** All words before a parenthesis in our SQL, which include its functions, and those that Effect's migrator calls. */
const calledNames = (): ReadonlyArray<string> => {
  const files = globSync(["packages/sql/src/**/*.ts", "docs/*.md"], { cwd: root })
  const text = files.map((file) => readFileSync(join(root, file), "utf8")).join("\n")
  const names = Array.from(text.matchAll(/\b([a-z][a-z0-9_]*) ?\(/g), ([, name]) => name!)
  return Array.from(new Set([...names, "to_regclass", "extract", "timezone", "date_part"]))
}

const types = [
  "smallint, integer, bigint, real, double precision, numeric, oid, boolean, uuid",
  "text, character varying, character, name, json, jsonb, text[]",
  "date, timestamp, timestamptz, interval"
].join(", ").split(", ")

const operators = "= <> < <= > >= + - * / % || @> <@ && ? -> ->> #> #>> #- ~ ~~".split(" ")

// Calls are counted by a sequence, which is not rolled back.
const define = (names: ReadonlyArray<string>) => `
  DO $define$
  DECLARE
    types     text[] := ARRAY[${types.map((type) => `'${type}'`).join()}];
    operators text[] := ARRAY[${operators.map((name) => `'${name}'`).join()}];
    names     text[] := ARRAY[${names.map((name) => `'${name}'`).join()}];
    template  text   := 'CREATE FUNCTION public.%I (%s) RETURNS %s LANGUAGE plpgsql AS $body$
      BEGIN
        PERFORM pg_catalog.nextval(''public.calls'');
        RAISE EXCEPTION ''code of another role was called'';
      END $body$';
    each      record;
    implement text;
  BEGIN
    CREATE SEQUENCE public.calls;
    GRANT ALL ON SEQUENCE public.calls TO PUBLIC;

    FOR each IN
      SELECT operator, l, r, CASE WHEN found.result IS NULL OR found.pseudo THEN l ELSE found.result END AS result
        FROM unnest(operators) operator, unnest(types) l, unnest(types) r
        LEFT JOIN LATERAL (
          SELECT format_type(o.oprresult, NULL) AS result, t.typtype = 'p' AS pseudo
            FROM pg_operator o
            JOIN pg_type t ON t.oid = o.oprresult
           WHERE o.oprname = operator
           ORDER BY o.oprleft = l::regtype DESC, o.oprright = r::regtype DESC
           LIMIT 1
        ) found ON TRUE
    LOOP
      implement := 'operator returning ' || each.result;
      IF to_regprocedure(format('public.%I (%s, %s)', implement, each.l, each.r)) IS NULL THEN
        EXECUTE format(template, implement, each.l || ', ' || each.r, each.result);
      END IF;
      EXECUTE format(
        'CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, PROCEDURE = public.%I)',
        each.operator, each.l, each.r, implement
      );
    END LOOP;

    FOR each IN
      SELECT name, arguments, CASE WHEN found.result IS NULL OR found.pseudo THEN 'text' ELSE found.result END AS result
        FROM unnest(names) name
        JOIN LATERAL (
          SELECT '', 0 UNION ALL
          SELECT l, 1 FROM unnest(types) l UNION ALL
          SELECT l || ', ' || r, 2 FROM unnest(types) l, unnest(types) r
        ) possible (arguments, count)
          ON EXISTS (
            SELECT FROM pg_proc p
             WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = name AND p.pronargs = count
          )
        LEFT JOIN LATERAL (
          SELECT format_type(p.prorettype, NULL) AS result, t.typtype = 'p' AS pseudo
            FROM pg_proc p
            JOIN pg_type t ON t.oid = p.prorettype
           WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = name AND p.pronargs = count
           LIMIT 1
        ) found ON TRUE
    LOOP
      EXECUTE format(template, each.name, each.arguments, each.result);
    END LOOP;
  END $define$`

/** Creates them in the database, as a role that may only create objects in `public`. */
export const layer = Layer.effectDiscard(Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  // Roles belong to the server, which other test files share.
  const role = sql(`hostile_${SecureRandom.uuidV4Unsafe()}`)
  yield* Effect.acquireRelease(
    sql`CREATE ROLE ${role}`,
    () =>
      Effect.orDie(Effect.all([
        // Dropping that many objects would need more locks than the server has.
        sql`REASSIGN OWNED BY ${role} TO CURRENT_USER`,
        sql`DROP OWNED BY ${role}`,
        sql`DROP ROLE ${role}`
      ]))
  )
  yield* sql`GRANT USAGE, CREATE ON SCHEMA public TO ${role}`
  yield* sql.withTransaction(Effect.gen(function*() {
    yield* sql`SET LOCAL ROLE ${role}`
    yield* sql.unsafe(define(calledNames()))
  }))
})).pipe(Layer.provide(clientLayer()))

/** How often one of them was called. */
export const calls = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const [row] = yield* sql<{ readonly calls: number }>`
    SELECT CASE WHEN is_called THEN last_value::float8 ELSE 0::float8 END AS calls FROM public.calls`
  return row!.calls
})
