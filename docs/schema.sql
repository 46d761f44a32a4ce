CREATE TABLE effect_checkpoint.checkpoint_leases (
  name text NOT NULL,
  holder text NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE effect_checkpoint.checkpoint_migrations (
  migration_id integer NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  name text NOT NULL,
  PRIMARY KEY (migration_id)
);

CREATE TABLE effect_checkpoint.checkpoint_pending_writes (
  thread_id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  step_version bigint NOT NULL,
  bytes integer NOT NULL,
  task text COLLATE "C" NOT NULL,
  value jsonb NOT NULL,
  PRIMARY KEY (thread_id, namespace, step_version, task),
  FOREIGN KEY (thread_id, namespace) REFERENCES effect_checkpoint.checkpoint_threads(thread_id, namespace) ON DELETE CASCADE
);

CREATE TABLE effect_checkpoint.checkpoint_questions (
  thread_id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  step_version bigint NOT NULL,
  asked_at timestamp with time zone NOT NULL,
  answered_at timestamp with time zone,
  position integer NOT NULL,
  interrupt_id text COLLATE "C" NOT NULL,
  answer_id text COLLATE "C",
  metadata jsonb NOT NULL,
  request jsonb NOT NULL,
  response jsonb,
  PRIMARY KEY (thread_id, namespace, step_version, interrupt_id),
  FOREIGN KEY (thread_id, namespace) REFERENCES effect_checkpoint.checkpoint_threads(thread_id, namespace) ON DELETE CASCADE
);

CREATE TABLE effect_checkpoint.checkpoint_threads (
  thread_id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  pruned_through bigint NOT NULL DEFAULT 0,
  checkpoint_id text COLLATE "C" NOT NULL,
  previous_id text COLLATE "C",
  write_id uuid NOT NULL,
  keyframe_version bigint NOT NULL,
  step_version bigint NOT NULL,
  unfinished boolean NOT NULL,
  interrupted boolean NOT NULL,
  active_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  created_at timestamp with time zone NOT NULL,
  PRIMARY KEY (thread_id, namespace)
);

CREATE TABLE effect_checkpoint.checkpoints (
  thread_id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  keyframe_version bigint NOT NULL,
  step_version bigint NOT NULL,
  parent_version bigint,
  created_at timestamp with time zone NOT NULL,
  payload_bytes integer NOT NULL,
  state_bytes integer NOT NULL,
  schema_version integer NOT NULL DEFAULT 1,
  format smallint NOT NULL,
  pinned boolean NOT NULL GENERATED ALWAYS AS (tags <> '[]'::jsonb) STORED,
  checkpoint_id text COLLATE "C",
  parent_id text COLLATE "C",
  parent_thread_id text COLLATE "C",
  next_nodes jsonb NOT NULL,
  pending_interrupts jsonb NOT NULL DEFAULT '[]'::jsonb,
  metadata jsonb NOT NULL,
  tags jsonb NOT NULL DEFAULT '[]'::jsonb,
  payload jsonb NOT NULL,
  PRIMARY KEY (thread_id, namespace, version)
);

CREATE INDEX checkpoint_questions_open ON effect_checkpoint.checkpoint_questions USING btree (asked_at, namespace, thread_id, interrupt_id) WHERE (answered_at IS NULL);

CREATE INDEX checkpoint_threads_by_activity ON effect_checkpoint.checkpoint_threads USING btree (active_at DESC, namespace, thread_id);

CREATE INDEX checkpoint_threads_open ON effect_checkpoint.checkpoint_threads USING btree (active_at DESC, namespace, thread_id) WHERE (unfinished OR interrupted);

CREATE UNIQUE INDEX checkpoints_by_id ON effect_checkpoint.checkpoints USING btree (checkpoint_id, thread_id, namespace);

CREATE INDEX checkpoints_pinned ON effect_checkpoint.checkpoints USING btree (thread_id, namespace, version) WHERE pinned;

CREATE FUNCTION effect_checkpoint.checkpoint_apply(state jsonb, format smallint, payload jsonb) RETURNS jsonb AS $$
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
    WHEN format IN (1, 2) THEN RETURN payload;
    WHEN format IN (3, 4) THEN NULL;
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
$$ LANGUAGE plpgsql;

CREATE AGGREGATE effect_checkpoint.checkpoint_fold(format smallint, payload jsonb) (SFUNC = effect_checkpoint.checkpoint_apply, STYPE = jsonb);

-- CREATE VIEW effect_checkpoint.checkpoint_states
--   thread_id text,
--  namespace text,
--  version bigint,
--  checkpoint_id text,
--  parent_id text,
--  state jsonb,
--  next_nodes jsonb,
--  pending_interrupts jsonb,
--  metadata jsonb,
--  tags jsonb,
--  created_at timestamp with time zone
