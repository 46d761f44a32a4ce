/** Creates the tables and indexes. The schema is given as it stands in a statement. */
export const tables = (schema: string): ReadonlyArray<string> => [
  // One row for each thread in a namespace. It is narrow and has room to be updated in place: no index has a column that
  // every put changes (`active_at` moves at most once a minute), and updates stay heap-only.
  `CREATE TABLE ${schema}.checkpoint_threads (
    thread_id        text COLLATE "C" NOT NULL,
    namespace        text COLLATE "C" NOT NULL,
    version          bigint           NOT NULL,
    pruned_through   bigint           NOT NULL DEFAULT 0,
    checkpoint_id    text COLLATE "C" NOT NULL,
    previous_id      text COLLATE "C",
    write_id         uuid             NOT NULL,
    keyframe_version bigint           NOT NULL,
    step_version     bigint           NOT NULL,
    unfinished       boolean          NOT NULL,
    interrupted      boolean          NOT NULL,
    active_at        timestamptz      NOT NULL,
    updated_at       timestamptz      NOT NULL,
    created_at       timestamptz      NOT NULL,
    PRIMARY KEY (thread_id, namespace)
  ) WITH (fillfactor = 70)`,

  // For the threads of one namespace, or of all. No index but the keys begins with the columns that a single row is
  // looked up by: while a table has no statistics, the planner would choose the wrong one.
  `CREATE INDEX checkpoint_threads_by_activity ON ${schema}.checkpoint_threads (active_at DESC, namespace, thread_id)`,
  `CREATE INDEX checkpoint_threads_open ON ${schema}.checkpoint_threads (active_at DESC, namespace, thread_id)
    WHERE unfinished OR interrupted`,

  // The meaning of a row never changes, except for its tags. How its state is stored may: a compaction makes keyframes of
  // deltas, and the rest of their chains begins there. A row that was pruned and that others still need loses its id when
  // that id is used again. The step that a version belongs to is named by the version that began it.
  `CREATE TABLE ${schema}.checkpoints (
    thread_id          text COLLATE "C" NOT NULL,
    namespace          text COLLATE "C" NOT NULL,
    version            bigint           NOT NULL,
    keyframe_version   bigint           NOT NULL,
    step_version       bigint           NOT NULL,
    parent_version     bigint,
    created_at         timestamptz      NOT NULL,
    payload_bytes      integer          NOT NULL,
    state_bytes        integer          NOT NULL,
    schema_version     integer          NOT NULL DEFAULT 1,
    format             smallint         NOT NULL,
    pinned             boolean          NOT NULL GENERATED ALWAYS AS (tags <> '[]') STORED,
    checkpoint_id      text COLLATE "C",
    parent_id          text COLLATE "C",
    parent_thread_id   text COLLATE "C",
    next_nodes         jsonb            NOT NULL,
    pending_interrupts jsonb            NOT NULL DEFAULT '[]',
    metadata           jsonb            NOT NULL,
    tags               jsonb            NOT NULL DEFAULT '[]',
    payload            jsonb            NOT NULL,
    PRIMARY KEY (thread_id, namespace, version)
  )`,
  `CREATE UNIQUE INDEX checkpoints_by_id ON ${schema}.checkpoints (checkpoint_id, thread_id, namespace)`,
  // The versions that retention keeps, among which tags are looked up.
  `CREATE INDEX checkpoints_pinned ON ${schema}.checkpoints (thread_id, namespace, version) WHERE pinned`,

  // The results of tasks of the newest step of a thread. What is left of earlier steps is not read any more. They are saved
  // without changing the head, therefore a transaction that deletes the thread from an older snapshot does not see them.
  // The foreign key does: it removes them, or fails if the snapshot may not show them.
  `CREATE TABLE ${schema}.checkpoint_pending_writes (
    thread_id    text COLLATE "C" NOT NULL,
    namespace    text COLLATE "C" NOT NULL,
    step_version bigint           NOT NULL,
    bytes        integer          NOT NULL,
    task         text COLLATE "C" NOT NULL,
    value        jsonb            NOT NULL,
    PRIMARY KEY (thread_id, namespace, step_version, task),
    FOREIGN KEY (thread_id, namespace) REFERENCES ${schema}.checkpoint_threads ON DELETE CASCADE
  )`,

  // What steps have asked, also those that have ended. Only the questions of the newest step can be answered. The order of the keys is that of the pending writes, and the foreign
  // key is there for the same reason.
  `CREATE TABLE ${schema}.checkpoint_questions (
    thread_id    text COLLATE "C" NOT NULL,
    namespace    text COLLATE "C" NOT NULL,
    step_version bigint           NOT NULL,
    asked_at     timestamptz      NOT NULL,
    answered_at  timestamptz,
    position     integer          NOT NULL,
    interrupt_id text COLLATE "C" NOT NULL,
    answer_id    text COLLATE "C",
    metadata     jsonb            NOT NULL,
    request      jsonb            NOT NULL,
    response     jsonb,
    PRIMARY KEY (thread_id, namespace, step_version, interrupt_id),
    FOREIGN KEY (thread_id, namespace) REFERENCES ${schema}.checkpoint_threads ON DELETE CASCADE
  )`,
  // For the questions that threads of one namespace, or of all, wait for.
  `CREATE INDEX checkpoint_questions_open
    ON ${schema}.checkpoint_questions (asked_at, namespace, thread_id, interrupt_id)
    WHERE answered_at IS NULL`,

  // Which process prunes. A lease works through a pooler, unlike a lock of the session.
  `CREATE TABLE ${schema}.checkpoint_leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
  )`
]
