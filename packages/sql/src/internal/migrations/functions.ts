import * as Formats from "../formats.ts"

/**
 * Creates the aggregate with which the view puts states together. It names no table and no function of the schema:
 * it works with the rights of any caller, and after the schema was renamed. The schema is given as it stands in a statement.
 */
export const functions = (schema: string): ReadonlyArray<string> => [
  `CREATE FUNCTION ${schema}.checkpoint_apply (state jsonb, format smallint, payload jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
    AS ${dollarQuoted(applyPayload)}`,
  `CREATE AGGREGATE ${schema}.checkpoint_fold (format smallint, payload jsonb) (
    SFUNC = ${schema}.checkpoint_apply, STYPE = jsonb, PARALLEL = SAFE
  )`
]

/** The name of the schema may contain a tag, too. */
export const dollarQuoted = (body: string): string => {
  let tag = "function"
  while (body.includes(`$${tag}$`)) tag += "_"
  return `$${tag}$${body}$${tag}$`
}

// The state of a version, by that of the version before it: the payload is the state or an RFC 6902 patch. Each change copies the state, therefore changes that follow each other at the end of one
// array, or in one object, are gathered and made at once.
const applyPayload = `
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
  CASE
    WHEN format IN (${Formats.keyframes}) THEN RETURN payload;
    WHEN format IN (${Formats.deltas}) THEN NULL;
  END CASE;
  FOR step IN SELECT value FROM jsonb_array_elements(payload || '[{}]') LOOP
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
