import { Contention, PruneRunning, StoreError } from "@effect-checkpoint/core/CheckpointError"
import { Format } from "@effect-checkpoint/core/CheckpointStore"
import type {
  CheckpointStore,
  HeadCondition,
  NewCheckpoint,
  ParentRef,
  PendingWrite,
  PrunedThread,
  PruneQuery,
  Refusal,
  SavedVersion,
  Selector,
  StoredCheckpoint,
  StoredInfo,
  StoredThread,
  ThreadKey,
  ThreadQuery,
  VersionId
} from "@effect-checkpoint/core/CheckpointStore"
import * as Keyframe from "@effect-checkpoint/core/Keyframe"
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Arr from "effect/Array"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as Migrations from "./migrations.ts"
import type { Session } from "./session.ts"
import type { Tables } from "./tables.ts"

/*
 * All statements but those of the migrations. Values are bound as text and cast
 * in the statement, so that each statement is prepared once, whatever it is given. JSON is read as text, because the
 * driver's parser is `JSON.parse`, which is not always right (see `Json.parse` of core).
 *
 * Operands and arguments are cast to types that `pg_catalog` has the operator or
 * function for, also where Postgres would convert them by itself (`numeric * integer`).
 * Without an exact match it searches the whole path, where another role may have
 * defined one, and that role's code would run with the rights of the application.
 */

interface InfoRow {
  readonly thread_id: string
  readonly namespace: string
  readonly version: number
  readonly checkpoint_id: string
  readonly parent_thread_id: string | null
  readonly parent_version: number | null
  readonly parent_id: string | null
  readonly next_nodes: string
  readonly pending_interrupts: string
  readonly metadata: string
  readonly tags: string
  readonly created_at: number
}

interface RecordRow extends InfoRow {
  readonly format: number
  readonly state: string
  readonly bytes: number
  readonly state_bytes: number
  readonly visible: boolean
  /** That of the head, on its row. */
  readonly revision: string | null
}

interface DueRow {
  readonly thread_id: string
  readonly namespace: string
  /** Whether the thread goes whole. */
  readonly whole: boolean
  /** The version that the floor rises to, and by how much. */
  readonly floor: number
  readonly raise: number
  /** Whether more is due than one transaction may remove. */
  readonly more: boolean
  /** Whether something stays only because a version that is kept is not a keyframe. */
  readonly entangled: boolean
  readonly versions: number
  readonly bytes: number
}

/** Threads that a prune plans at a time, without a lock. */
const plannedThreads = 1000

/** Threads that a prune locks in one transaction: few, so that hardly any put meets one of them. */
const pruneThreads = 20

/** Versions of one thread that a prune removes in one transaction. */
const pruneVersions = 1000

/** How often a thread is compacted again because something came between. */
const maxCompactions = 3

/** How long a prune may be silent before another may take over. */
const leaseTime = "interval '1 minute'"

/** Milliseconds since 1970, computed as numeric: Postgres before 14 extracts a double, and multiplying that is not exact. */
const toMillis = (column: string): string => `(extract(epoch FROM ${column})::numeric * 1000::numeric)::float8`

export const make = (
  sql: PgClient,
  session: Session,
  tables: Tables,
  retry: Schedule.Schedule<unknown, StoreError>
): CheckpointStore["Service"] => {
  const { checkpoints, leases, threads, writes } = tables

  const thread = (alias: Fragment, key: ThreadKey): Fragment =>
    sql`${alias}.thread_id = ${key.threadId} AND ${alias}.namespace = ${key.namespace}`
  const c = sql.literal("c")
  const t = sql.literal("t")

  const visible = sql.literal("(c.version > t.floor OR c.pinned)")
  const millis = (column: string): Fragment => sql.literal(toMillis(column))
  const info = sql.literal(`
    c.thread_id, c.namespace, c.version::float8 AS version, c.checkpoint_id, c.parent_thread_id,
    c.parent_version::float8 AS parent_version, c.parent_id, c.next_nodes::text AS next_nodes,
    c.pending_interrupts::text AS pending_interrupts, c.metadata::text AS metadata, c.tags::text AS tags,
    ${toMillis("c.created_at")} AS created_at`)

  // ---------------------------------------------------------------------------
  // put
  // ---------------------------------------------------------------------------

  // $1 thread id, $2 namespace, $3 checkpoint id, $4 bytes, $5 bytes of the state, $6 format, $7 next nodes, $8 pending
  // interrupt, $9 metadata, $10 state, $11 thread id, $12 version and $13 id of the parent, where it is not the head, $14
  // revision; where a head is expected, $15 its version, $16 its id and $17 its revision; at the end, where there are
  // any, pending writes, whether the head's interrupt is resolved, and whether its writes are kept.

  const ofThisThread = (alias: string): string => `${alias}.thread_id = $1 AND ${alias}.namespace = $2`

  const notTaken = `NOT EXISTS (
            SELECT FROM ${tables.quoted}.checkpoints c WHERE ${ofThisThread("c")} AND c.checkpoint_id = $3
          )`

  /** The head row of a thread's first version. */
  const firstHead = `
          INSERT INTO ${tables.quoted}.checkpoint_threads AS t (
            thread_id, namespace, version, checkpoint_id, revision, keyframe_version, unfinished, interrupted,
            active_at, updated_at, created_at
          )
          SELECT $1::text, $2::text, 1, $3::text, $14::uuid, 1, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]',
                 date_trunc('minute'::text, now()), date_trunc('milliseconds'::text, now()),
                 date_trunc('milliseconds'::text, now())
           WHERE ${notTaken}`

  // All forms that move a head take what is new from EXCLUDED. The time is never earlier than that of the version
  // before, whatever the server's clock does.
  const moved = (chain: string): string => `
            version = t.version + 1,
            checkpoint_id = EXCLUDED.checkpoint_id,
            previous_id = t.checkpoint_id,
            revision = EXCLUDED.revision,${chain}
            unfinished = EXCLUDED.unfinished,
            interrupted = EXCLUDED.interrupted,
            active_at = GREATEST(t.active_at, EXCLUDED.active_at),
            updated_at = GREATEST(t.updated_at, EXCLUDED.updated_at)`

  const beginsChain = `
            keyframe_version = t.version + 1,`
  // The chain that the head is in, and not one that the writer believes it to be in: a compaction may have moved it.
  const continuesChain = ""

  const movedFrom = (chain: string): string => `
          UPDATE ${tables.quoted}.checkpoint_threads AS t SET ${moved(chain)}
            FROM (
              VALUES (
                $3::text, $14::uuid, jsonb_array_length($7::jsonb) > 0, $8::jsonb <> '[]',
                date_trunc('minute'::text, now()), date_trunc('milliseconds'::text, now())
              )
            ) AS EXCLUDED (checkpoint_id, revision, unfinished, interrupted, active_at, updated_at)
           WHERE ${ofThisThread("t")} AND t.version = $15::bigint AND $16::text IN ('', t.checkpoint_id)
             AND COALESCE(t.revision = NULLIF($17::text, '')::uuid, TRUE) AND ${notTaken}`

  /** With the checkpoint, what has been done of its step, and that its head is not waited for any more. */
  const besides = (first: number): string =>
    `, written AS (
          INSERT INTO ${tables.quoted}.checkpoint_writes (thread_id, namespace, version, task, value)
          SELECT $1, $2, head.version, w.key, w.value FROM head, jsonb_each($${first}::jsonb) w
          UNION ALL
          SELECT $1, $2, head.version, w.task, w.value
            FROM head, ${tables.quoted}.checkpoint_writes w
           WHERE $${first + 2}::boolean AND ${ofThisThread("w")} AND w.version = head.version - 1
             AND NOT $${first}::jsonb ? w.task
        ), resolved AS (
          UPDATE ${tables.quoted}.checkpoints c SET resolved = TRUE
            FROM head
           WHERE ${ofThisThread("c")} AND c.version = head.version - 1 AND c.pending_interrupts <> '[]'
             AND $${first + 1}::boolean
        )`

  /** Moves the head and inserts the checkpoint, in one statement. No row: the head was not what was expected. */
  const insert = (head: string, besides: string): string => `
        WITH head AS (${head}
          RETURNING t.version, t.previous_id, t.updated_at, t.keyframe_version
        )${besides}
        INSERT INTO ${tables.quoted}.checkpoints AS c (
          thread_id, namespace, version, keyframe_version, created_at, bytes, state_bytes, format, checkpoint_id,
          parent_thread_id, parent_version, parent_id, next_nodes, pending_interrupts, metadata, state
        )
        SELECT $1, $2, head.version, head.keyframe_version, head.updated_at, $4::integer, $5::integer, $6::smallint, $3,
               NULLIF($11::text, ''),
               CASE $13::text WHEN '' THEN NULLIF(head.version - 1, 0) ELSE $12::bigint END,
               COALESCE(NULLIF($13, ''), head.previous_id),
               $7, $8::jsonb, $9::jsonb, $10::jsonb
          FROM head
        RETURNING c.version::float8 AS version, c.parent_thread_id, c.parent_version::float8 AS parent_version,
                  c.parent_id, ${toMillis("c.created_at")} AS created_at`

  // One text for each form, so that each is prepared once.
  const puts = (besides: (first: number) => string) => ({
    append: insert(
      `${firstHead}
          ON CONFLICT (thread_id, namespace) DO UPDATE SET ${moved(beginsChain)}
           WHERE t.checkpoint_id <> EXCLUDED.checkpoint_id`,
      besides(15)
    ),
    create: insert(
      `${firstHead}
          ON CONFLICT (thread_id, namespace) DO NOTHING`,
      besides(15)
    ),
    keyframe: insert(movedFrom(beginsChain), besides(18)),
    delta: insert(movedFrom(continuesChain), besides(18))
  })
  const plainPuts = puts(() => "")
  const fullPuts = puts(besides)

  interface SavedRow {
    readonly version: number
    readonly parent_thread_id: string | null
    readonly parent_version: number | null
    readonly parent_id: string | null
    readonly created_at: number
  }

  const insertion = (record: NewCheckpoint, condition: HeadCondition) => {
    const { parent } = record
    const parameters = [
      record.threadId,
      record.namespace,
      record.checkpointId,
      String(record.payload.bytes),
      String(record.stateBytes),
      String(record.payload.format),
      record.nextNodes,
      record.pendingInterrupts,
      record.metadata,
      record.payload.text,
      parent === undefined || parent.threadId === record.threadId ? "" : parent.threadId,
      String(parent?.version ?? 0),
      parent?.checkpointId ?? "",
      record.writeId
    ]
    const isPlain = record.pendingWrites === "{}" && !record.resolvesInterrupts && !record.keepsPendingWrites
    const texts = isPlain ? plainPuts : fullPuts
    const besides = isPlain ? [] : [
      record.pendingWrites,
      String(record.resolvesInterrupts),
      String(record.keepsPendingWrites)
    ]
    switch (condition._tag) {
      case "Any":
        return sql.unsafe<SavedRow>(texts.append, [...parameters, ...besides])
      case "NoThread":
        return sql.unsafe<SavedRow>(texts.create, [...parameters, ...besides])
      case "At":
        return sql.unsafe<SavedRow>(
          isDelta(record) ? texts.delta : texts.keyframe,
          [
            ...parameters,
            String(condition.version),
            condition.checkpointId ?? "",
            condition.writeId ?? "",
            ...besides
          ]
        )
    }
  }

  /**
   * Why a put moved no head. A version that was removed and whose row is still needed by others gives its id away, so
   * that it is as if it had never been.
   */
  const explainRefusal = (key: ThreadKey, checkpointId: string): Effect.Effect<Refusal, StoreError> =>
    session.run(
      "put",
      sql<
        {
          readonly version: number | null
          readonly checkpoint_id: string
          readonly revision: string
          readonly taken: boolean
        }
      >`
      ${withHead(key)}, freed AS (
        UPDATE ${checkpoints} c SET checkpoint_id = NULL
         WHERE ${thread(c, key)} AND c.checkpoint_id = ${checkpointId} AND NOT ${isVisible}
        RETURNING c.version
      )
      SELECT head.version::float8 AS version, head.checkpoint_id, head.revision::text AS revision,
             EXISTS (
               SELECT FROM ${checkpoints} c
                WHERE ${thread(c, key)} AND c.checkpoint_id = ${checkpointId}
             ) AND NOT EXISTS (SELECT FROM freed) AS taken
        FROM (SELECT) AS one LEFT JOIN head ON TRUE`
    ).pipe(
      Effect.map(([row]) => ({
        head: row!.version === null
          ? undefined
          : { version: row!.version, checkpointId: row!.checkpoint_id, writeId: row!.revision },
        idTaken: row!.taken
      }))
    )

  const put = (
    record: NewCheckpoint,
    condition: HeadCondition
  ): Effect.Effect<Option.Option<SavedVersion>, StoreError> =>
    session.run(
      "put",
      // The same id put by two at the same time passes both checks; one of them meets the index.
      Effect.catchIf(insertion(record, condition), isIdViolation, (error) =>
        Effect.flatMap(session.inTransaction, (nested) =>
          nested ? Effect.fail(sameId(error)) : Effect.succeed([])))
    ).pipe(
      Effect.map(([saved]) =>
        Option.map(Option.fromUndefinedOr(saved), (saved) => ({
          version: saved.version,
          parent: toParent(record.threadId, saved),
          createdAt: saved.created_at
        }))
      )
    )

  // ---------------------------------------------------------------------------
  // read
  // ---------------------------------------------------------------------------

  const selected = (selector: Selector): Fragment => {
    switch (selector._tag) {
      case "Latest":
        return sql.literal("c.version <= (SELECT version FROM head)")
      case "Version":
        return sql`c.version = ${String(selector.version)}::bigint`
      case "Id":
        return sql`c.checkpoint_id = ${selector.checkpointId}`
      case "Tag":
        return sql`c.pinned AND c.tags @> ${selector.tags}::jsonb`
      case "Time": {
        // What lies outside of what both sides can express is before or after everything.
        const epochMillis = Math.min(Math.max(selector.epochMillis, 0), 8.64e15)
        return sql`c.created_at <= timestamptz 'epoch' + ${String(epochMillis)}::float8 * interval '1 millisecond'`
      }
      case "Before":
        return sql`c.version < ${String(selector.version)}::bigint`
    }
  }

  // The head row is looked up first and used as values. As a join, a table without statistics may be read from the
  // wrong end: all versions of a thread, to find which the head is.
  const withHead = (key: ThreadKey): Fragment =>
    sql`WITH head AS MATERIALIZED (
        SELECT t.version, t.checkpoint_id, t.floor, t.keyframe_version, t.revision FROM ${threads} t WHERE ${
      thread(t, key)
    }
      )`
  const isVisible = sql.literal("(c.version > (SELECT floor FROM head) OR c.pinned)")

  /** A chain, by the versions it goes from and to. */
  const chain = (key: ThreadKey, from: string, to: string): Fragment =>
    sql`SELECT ${info}, c.format, c.state::text AS state, c.bytes, c.state_bytes, ${isVisible} AS visible,
             (
               SELECT revision::text FROM head
                WHERE head.version = c.version AND head.checkpoint_id = c.checkpoint_id
             ) AS revision
        FROM ${checkpoints} c
       WHERE ${thread(c, key)} AND c.version BETWEEN ${sql.literal(`(${from}) AND (${to})`)}
       ORDER BY c.version`

  const read = (key: ThreadKey, selector: Selector, count: number) =>
    session.run(
      "read",
      selector._tag === "Latest" && count === 1
        ? sql<RecordRow>`
      ${withHead(key)}
      ${chain(key, "SELECT keyframe_version FROM head", "SELECT version FROM head")}`
        : sql<RecordRow>`
      ${withHead(key)}, target AS MATERIALIZED (
        SELECT c.version, c.keyframe_version
          FROM ${checkpoints} c
         WHERE ${thread(c, key)} AND ${isVisible} AND ${selected(selector)}
         ORDER BY c.version DESC
         LIMIT ${String(count)}::integer
      )
      ${chain(key, "SELECT min(keyframe_version) FROM target", "SELECT max(version) FROM target")}`
    ).pipe(Effect.map((rows) => rows.map(toRecord)))

  const list = (key: ThreadKey, options: { readonly before: number | undefined; readonly limit: number }) =>
    session.run(
      "list",
      sql<InfoRow>`
        ${withHead(key)}
        SELECT ${info}
          FROM ${checkpoints} c
         WHERE ${thread(c, key)} AND ${isVisible}
           AND ${
        options.before === undefined ? sql.literal("TRUE") : selected({ _tag: "Before", version: options.before })
      }
         ORDER BY c.version DESC
         LIMIT ${String(options.limit)}::integer`
    ).pipe(Effect.map((rows) => rows.map(toInfo)))

  // ---------------------------------------------------------------------------
  // threads
  // ---------------------------------------------------------------------------

  const listThreads = ({ after, interrupted, limit, metadata, namespace, unfinished }: ThreadQuery) => {
    const conditions: Array<Fragment> = []
    if (namespace !== undefined) conditions.push(sql`t.namespace = ${namespace}`)
    if (interrupted !== undefined) conditions.push(sql.literal(interrupted ? "t.interrupted" : "NOT t.interrupted"))
    if (unfinished !== undefined) conditions.push(sql.literal(unfinished ? "t.unfinished" : "NOT t.unfinished"))
    if (interrupted === true || unfinished === true) {
      // Implied by what is above, and what the planner must see to use the partial index.
      conditions.push(sql.literal("(t.unfinished OR t.interrupted)"))
    }
    if (metadata !== undefined) conditions.push(sql`c.metadata @> ${metadata}::jsonb`)
    if (after !== undefined) {
      const time = sql`(timestamptz 'epoch' + ${String(after.updatedAt)}::float8 * interval '1 millisecond')`
      conditions.push(sql`
        t.active_at <= date_trunc('minute'::text, ${time})
        AND (t.updated_at < ${time}
             OR (t.updated_at = ${time} AND (t.namespace, t.thread_id) > (${after.namespace}, ${after.threadId})))`)
    }
    return session.run(
      "threads",
      // Both times in the order: the index has the first, and within a minute the second sorts (before Postgres 13 all
      // is sorted). The limit is written out, so that a plan for any values knows how few rows are wanted.
      sql<InfoRow & { readonly thread_created_at: number }>`
        SELECT ${info}, ${millis("t.created_at")} AS thread_created_at
          FROM ${threads} t
          JOIN ${checkpoints} c ON c.thread_id = t.thread_id AND c.namespace = t.namespace AND c.version = t.version
         WHERE ${conditions.length === 0 ? sql.literal("TRUE") : sql.and(conditions)}
         ORDER BY t.active_at DESC, t.updated_at DESC, t.namespace, t.thread_id
         LIMIT ${sql.literal(String(limit))}`
    ).pipe(Effect.map((rows) =>
      rows.map((row): StoredThread => ({
        threadId: row.thread_id,
        namespace: row.namespace,
        createdAt: row.thread_created_at,
        head: toInfo(row)
      }))
    ))
  }

  // ---------------------------------------------------------------------------
  // tags and deletion
  // ---------------------------------------------------------------------------

  // The lock on the head keeps a prune from deciding about the version at the same time.
  const setTags = (key: ThreadKey, version: number, tags: string) =>
    session.run(
      "setTags",
      sql<InfoRow>`
        WITH target AS (
          SELECT c.version
            FROM ${threads} t
            JOIN ${checkpoints} c ON c.thread_id = t.thread_id AND c.namespace = t.namespace
           WHERE ${thread(t, key)} AND ${thread(c, key)} AND c.version = ${String(version)}::bigint AND ${visible}
             FOR SHARE OF t
        )
        UPDATE ${checkpoints} c SET tags = ${tags}::jsonb
          FROM target
         WHERE ${thread(c, key)} AND c.version = target.version
        RETURNING ${info}`
    ).pipe(Effect.map(([row]) => Option.map(Option.fromUndefinedOr(row), toInfo)))

  // The key of the head is locked, so that nobody removes the thread meanwhile; puts go on.
  const savePendingWrites = (key: ThreadKey, ref: VersionId, values: string) =>
    session.run(
      "saveWrites",
      sql<{ readonly present: boolean }>`
        WITH target AS (
          SELECT c.version
            FROM ${threads} t
            JOIN ${checkpoints} c ON c.thread_id = t.thread_id AND c.namespace = t.namespace
           WHERE ${thread(t, key)} AND ${thread(c, key)} AND ${named(ref)} AND ${visible}
             FOR KEY SHARE OF t
        ), written AS (
          INSERT INTO ${writes} (thread_id, namespace, version, task, value)
          SELECT ${key.threadId}, ${key.namespace}, target.version, w.key, w.value
            FROM target, jsonb_each(${values}::jsonb) w
          ON CONFLICT (thread_id, namespace, version, task) DO NOTHING
        )
        SELECT EXISTS (SELECT FROM target) AS present`
    ).pipe(Effect.map(([row]) => row!.present))

  const readPendingWrites = (key: ThreadKey, ref: VersionId) =>
    session.run(
      "readWrites",
      sql<{ readonly task: string | null; readonly value: string | null }>`
        ${withHead(key)}
        SELECT w.task, w.value::text AS value
          FROM ${checkpoints} c
          LEFT JOIN ${writes} w
            ON w.thread_id = c.thread_id AND w.namespace = c.namespace AND w.version = c.version
         WHERE ${thread(c, key)} AND ${named(ref)} AND ${isVisible}`
    ).pipe(Effect.map((rows) =>
      rows.length === 0
        ? Option.none()
        : Option.some(
          rows.flatMap(({ task, value }): ReadonlyArray<PendingWrite> =>
            task === null || value === null ? [] : [{ task, value }]
          )
        )
    ))

  const named = ({ checkpointId, version }: VersionId): Fragment =>
    sql`c.version = ${String(version)}::bigint AND c.checkpoint_id = ${checkpointId}`

  // Not one statement: the rows of a put that commits while it waits for the head would be invisible to it, and
  // outlive their thread.
  const deleteThread = (key: ThreadKey) =>
    session.transaction(
      "deleteThread",
      Effect.gen(function*() {
        const [locked] = yield* sql`SELECT FROM ${threads} t WHERE ${thread(t, key)} FOR UPDATE`
        if (locked === undefined) return 0
        const [row] = yield* sql<{ readonly versions: number }>`
          WITH t AS (
            DELETE FROM ${threads} t WHERE ${thread(t, key)} RETURNING t.floor
          ), w AS (
            DELETE FROM ${writes} w WHERE ${thread(sql.literal("w"), key)}
          ), c AS (
            DELETE FROM ${checkpoints} c WHERE ${thread(c, key)} RETURNING c.version, c.pinned
          )
          SELECT count(*)::float8 AS versions FROM c, t WHERE ${visible}`
        return row!.versions
      })
    )

  // ---------------------------------------------------------------------------
  // retention
  // ---------------------------------------------------------------------------

  /**
   * What is due of some threads: how far the floor rises, at most by `step`, and
   * whether they go whole. Versions above the floor have no gaps, so that the
   * newest n are found by arithmetic on the head row; those that are too old are
   * the first ones above it. `boundary` is the first row that the first version
   * that stays needs: itself, once it is compact.
   *
   * What is looked up for a thread is looked up once, and for it alone: OFFSET keeps
   * the planner from writing a subquery out wherever its result is used, LIMIT and
   * MATERIALIZED from gathering it for all threads.
   */
  const plan = (query: PruneQuery, which: Fragment, step: number, isCompact: boolean): Fragment => {
    const ago = (millis: number) => sql`now() - ${String(millis)}::float8 * interval '1 millisecond'`
    const steps = sql`${String(step)}::bigint`
    const byCount = query.maxVersions === undefined
      ? sql.literal("0")
      : sql`t.version - ${String(query.maxVersions)}::bigint`
    const byAge = query.maxAge === undefined ? sql.literal("0") : sql`COALESCE((
             SELECT c.version
               FROM ${checkpoints} c
              WHERE c.thread_id = t.thread_id AND c.namespace = t.namespace
                AND c.version > t.floor AND c.version <= t.floor + ${steps}
                AND c.created_at >= ${ago(query.maxAge)}
              ORDER BY c.version
              LIMIT 1
           ), t.floor + ${steps} + 2) - 1`
    const idle = query.idleThreads === undefined ? sql.literal("FALSE") : sql`t.updated_at < ${ago(query.idleThreads)}`
    const candidates = [
      ...(query.maxVersions === undefined ? [] : [sql`${byCount} > t.floor`]),
      ...(query.maxAge === undefined ? [] : [sql`t.version - 1 > t.floor AND t.created_at < ${ago(query.maxAge)}`]),
      ...(query.idleThreads === undefined ? [] : [idle]),
      // Something may be left of an earlier prune.
      ...(query.compact ? [sql.literal("t.floor > 0")] : [])
    ]
    return sql`
      SELECT bounded.*, CASE WHEN ${sql.literal(isCompact ? "NOT bounded.more" : "FALSE")} THEN bounded.floor + 1 ELSE (
               SELECT c.keyframe_version
                 FROM ${checkpoints} c
                WHERE ${ofThread("c", "bounded")} AND c.version = bounded.floor + 1
             ) END AS boundary
        FROM (
      SELECT wanted.thread_id, wanted.namespace, wanted.before,
             LEAST(wanted.floor, wanted.before + ${steps}) AS floor,
             wanted.floor > wanted.before + ${steps} AS more,
             wanted.floor <= wanted.before + ${steps} AND wanted.idle AND (
               SELECT c.version
                 FROM ${checkpoints} c
                WHERE ${ofThread("c", "wanted")} AND c.pinned
                ORDER BY c.version
                LIMIT 1
             ) IS NULL AS whole
        FROM (
          SELECT t.thread_id, t.namespace, t.floor AS before, ${idle} AS idle,
                 LEAST(
                   t.version - 1,
                   GREATEST(t.floor, ${byCount}, ${byAge}, CASE WHEN ${idle} THEN t.version - 1 ELSE 0 END)
                 ) AS floor
            FROM ${threads} t
           WHERE (${sql.or(candidates)}) AND ${which}
          OFFSET 0
        ) wanted
        ) bounded`
  }

  const ofThread = (alias: string, other = "d"): Fragment =>
    sql.literal(`${alias}.thread_id = ${other}.thread_id AND ${alias}.namespace = ${other}.namespace`)
  const end = sql.literal("9223372036854775807")

  /** The versions that can no longer be read. Ranges on the key, so that what stays is not visited. */
  const lost = sql`${ofThread("c")}
               AND c.version > d.before AND c.version <= CASE WHEN d.whole THEN ${end} ELSE d.floor END
               AND (d.whole OR NOT c.pinned)`

  /**
   * The rows that nothing needs any more: those before the boundary, but for what
   * pinned ones need, which is themselves only once they are compact.
   */
  const unneeded = (isCompact: boolean): Fragment =>
    sql`${ofThread("c")}
               AND c.version < CASE WHEN d.whole THEN ${end} ELSE d.boundary END
               AND (d.whole OR NOT c.pinned AND (${sql.literal(isCompact ? "NOT d.more" : "FALSE")} OR NOT EXISTS (
                 SELECT FROM (
                   SELECT c.version, c.keyframe_version
                     FROM ${checkpoints} c
                    WHERE ${ofThread("c")} AND c.version <= d.floor AND c.pinned
                 ) kept
                  WHERE kept.version > c.version AND kept.keyframe_version <= c.version
               )))`

  /** What is due of some threads, and with `dryRun` what would go. */
  const planned = (query: PruneQuery, which: Fragment) =>
    again(session.run(
      "prune",
      sql<DueRow>`
      WITH d AS MATERIALIZED (
        ${plan(query, which, query.dryRun ? Number.MAX_SAFE_INTEGER : pruneVersions, query.compact)}
      )
      SELECT d.thread_id, d.namespace, d.whole, d.floor::float8 AS floor, (d.floor - d.before)::float8 AS raise, d.more,
             FALSE AS entangled,
             ${
        query.dryRun
          ? sql`(SELECT count(*)::float8 FROM ${checkpoints} c WHERE ${lost}) AS versions,
             (SELECT COALESCE(sum(c.bytes), 0)::float8 FROM ${checkpoints} c WHERE ${unneeded(query.compact)}) AS bytes`
          : sql`0::float8 AS versions, 0::float8 AS bytes`
      }
        FROM d
       WHERE d.floor > d.before OR d.whole OR ${
        query.compact
          ? sql`EXISTS (SELECT FROM ${checkpoints} c WHERE ${unneeded(true)})`
          : sql.literal("FALSE")
      }
       ORDER BY d.thread_id, d.namespace`
    ))

  /**
   * Removes what is due of some threads, and raises their floors at most by `step`.
   * It decides again under the locks: what was planned may have been put upon or
   * tagged since, or be another thread of the same name.
   */
  const apply = (query: PruneQuery, due: ReadonlyArray<ThreadKey>, step: number, holder: string) =>
    again(session.transaction(
      "prune",
      Effect.gen(function*() {
        yield* renewLease(holder)
        const locked = yield* sql<Pick<DueRow, "thread_id" | "namespace">>`
          SELECT t.thread_id, t.namespace
            FROM ${threads} t
           WHERE ${among(due.map((key) => key.threadId), due.map((key) => key.namespace))}
           ORDER BY t.thread_id, t.namespace
             FOR UPDATE`
        if (locked.length === 0) return []
        const which = among(locked.map((row) => row.thread_id), locked.map((row) => row.namespace))
        return yield* sql<DueRow>`
          WITH d AS MATERIALIZED (
            ${plan(query, which, step, false)}
          ), removed AS (
            DELETE FROM ${checkpoints} c USING d WHERE ${unneeded(false)} RETURNING c.thread_id, c.namespace, c.bytes
          ), forgotten AS (
            DELETE FROM ${writes} w USING d
             WHERE ${ofThread("w")} AND (d.whole OR w.version <= d.floor AND NOT EXISTS (
               SELECT FROM ${checkpoints} c WHERE ${ofThread("c")} AND c.version = w.version AND c.pinned
             ))
          )${query.compact ? shortened : sql.literal("")}, raised AS (
            UPDATE ${threads} t SET floor = d.floor, keyframe_version = GREATEST(t.keyframe_version, d.boundary)
              FROM d
             WHERE ${ofThread("t")} AND NOT d.whole
          ), ended AS (
            DELETE FROM ${threads} t USING d WHERE ${ofThread("t")} AND d.whole
          )
          SELECT d.thread_id, d.namespace, d.whole, d.floor::float8 AS floor, (d.floor - d.before)::float8 AS raise, d.more,
                 ${
          query.compact
            ? sql`NOT d.whole AND EXISTS (
                   SELECT FROM ${checkpoints} c WHERE ${ofThread("c")} AND ${entangled(sql.literal("d.floor"))}
                 )`
            : sql.literal("FALSE")
        } AS entangled,
                 (SELECT count(*)::float8 FROM ${checkpoints} c WHERE ${lost}) AS versions,
                 (SELECT COALESCE(sum(r.bytes), 0)::float8 FROM removed r WHERE ${ofThread("r")}) AS bytes
            FROM d
           ORDER BY d.thread_id, d.namespace`
      })
    ))

  /** The rest of the chain of a version that has been made a keyframe begins there. */
  const shortened = sql`, shortened AS (
            UPDATE ${checkpoints} c SET keyframe_version = d.boundary
              FROM d
             WHERE ${ofThread("c")} AND NOT d.whole AND c.version > d.boundary AND c.version < COALESCE((
                     SELECT e.version
                       FROM ${checkpoints} e
                      WHERE ${ofThread("e")} AND e.version > d.boundary AND e.keyframe_version >= d.boundary
                      ORDER BY e.version
                      LIMIT 1
                   ), ${end})
          )`

  /** The deltas that stay, up to the first version above a floor: what they are stored upon has to stay with them. */
  const entangled = (floor: Fragment): Fragment =>
    sql`c.version <= ${floor} + 1 AND c.format IN (3, 4) AND (c.version = ${floor} + 1 OR c.pinned)`

  /**
   * Makes keyframes of the deltas that stay up to the first version above a floor,
   * one at a time and without a lock on the head: a row means the same before and
   * after, and what comes between is seen when the thread is pruned. False: a row
   * was not there any more.
   */
  const compact = Effect.fnUntraced(function*(key: ThreadKey, floor: number, holder: string) {
    let last = 0
    while (true) {
      yield* again(session.run("prune", renewLease(holder)))
      const rows = yield* again(session.run(
        "prune",
        // What was rewritten last is a keyframe, and nearer than the one that the chain began with.
        sql<RecordRow>`
      ${withHead(key)}, target AS MATERIALIZED (
        SELECT c.version, GREATEST(c.keyframe_version, ${String(last)}::bigint) AS keyframe_version
          FROM ${checkpoints} c
         WHERE ${thread(c, key)} AND c.version > ${String(last)}::bigint
           AND ${entangled(sql`${String(floor)}::bigint`)}
         ORDER BY c.version
         LIMIT 1
      )
      ${chain(key, "SELECT keyframe_version FROM target", "SELECT version FROM target")}`
      ))
      const records = rows.map(toRecord)
      if (!Arr.isReadonlyArrayNonEmpty(records)) return true
      const { checkpointId, createdAt, version } = Arr.lastNonEmpty(records)
      const keyframe = yield* Effect.fromResult(Keyframe.make(records))
      const rewritten = yield* again(session.run(
        "prune",
        // With its id and time: it may be a row of another thread, begun anew under the name.
        sql`
        UPDATE ${checkpoints} c
           SET state = ${keyframe.text}::jsonb, format = ${String(keyframe.format)}::smallint,
               bytes = ${String(keyframe.bytes)}::integer, keyframe_version = c.version
         WHERE ${thread(c, key)} AND c.version = ${String(version)}::bigint AND c.format IN (3, 4)
           AND c.checkpoint_id = ${checkpointId} AND ${millis("c.created_at")} = ${String(createdAt)}::float8
        RETURNING c.version`
      ))
      if (rewritten.length === 0) return false
      last = version
    }
  })

  /** All that is due of one thread, with its states folded before anything is locked. */
  const pruneCompact = Effect.fnUntraced(function*(query: PruneQuery, key: ThreadKey, holder: string) {
    const inTransaction = yield* session.inTransaction
    const pruned: Array<DueRow> = []
    let attempts = 0
    while (true) {
      const [row] = yield* planned(query, thread(t, key))
      if (row === undefined) return pruned
      if (!row.whole && !row.more && attempts < maxCompactions) {
        attempts++
        const isDone = yield* Effect.catch(compact(key, row.floor, holder), (error) => {
          // In a transaction of the caller's a statement that failed has failed all of it.
          if (error._tag === "StoreError" && (error.reason._tag !== "Timeout" || inTransaction)) {
            return Effect.fail(error)
          }
          attempts = maxCompactions
          return Effect.as(
            Effect.logWarning(
              `Retention cannot compact thread ${JSON.stringify(key.threadId)} of namespace ` +
                `${JSON.stringify(key.namespace)} and prunes it without: ${error.message}`
            ),
            true
          )
        })
        if (!isDone) continue
      }
      // No further than what was made a keyframe, wherever the head is by now.
      const done = yield* apply(query, [key], row.more ? pruneVersions : row.raise, holder)
      pruned.push(...done)
      if (!row.more && (attempts === maxCompactions || !done.some((row) => row.entangled))) return pruned
    }
  })

  /** All that is due of a few threads. */
  const pruneFew = Effect.fnUntraced(function*(query: PruneQuery, due: ReadonlyArray<ThreadKey>, holder: string) {
    const pruned: Array<DueRow> = []
    let left = due
    while (left.length > 0) {
      const done = yield* apply(query, left, pruneVersions, holder)
      pruned.push(...done)
      left = done.filter((row) => row.more).map(toKey)
    }
    return pruned
  })

  /** A page of what is due, and where to go on. Its threads are a range of the key, however many of them are due. */
  const page = Effect.fnUntraced(function*(query: PruneQuery, after: ThreadKey | undefined, holder: string) {
    const begin = after === undefined
      ? sql.literal("TRUE")
      : sql`(t.thread_id, t.namespace) > (${after.threadId}, ${after.namespace})`
    // Where nothing is due no transaction renews it.
    if (!query.dryRun) yield* again(session.run("prune", renewLease(holder)))
    const [last] = yield* again(session.run(
      "prune",
      sql<Pick<DueRow, "thread_id" | "namespace">>`
        SELECT t.thread_id, t.namespace
          FROM ${threads} t
         WHERE ${begin}
         ORDER BY t.thread_id, t.namespace
        OFFSET ${String(plannedThreads - 1)}::bigint
         LIMIT 1`
    ))
    const due = yield* planned(
      query,
      sql.and([
        begin,
        last === undefined
          ? sql.literal("TRUE")
          : sql`(t.thread_id, t.namespace) <= (${last.thread_id}, ${last.namespace})`,
        query.namespace === undefined ? sql.literal("TRUE") : sql`t.namespace = ${query.namespace}`
      ])
    )
    return [
      [due],
      Option.map(Option.fromUndefinedOr(last), (row): ThreadKey | undefined => toKey(row))
    ] as const
  })

  const among = (threadIds: ReadonlyArray<string>, namespaces: ReadonlyArray<string>): Fragment =>
    sql`(t.thread_id, t.namespace) IN (SELECT * FROM unnest(${threadIds}::text[], ${namespaces}::text[]))`

  /**
   * A part of a prune finds done what an attempt before it did, so it may be tried
   * again. What took too long is not, which would hold up the rest for as long again.
   */
  const again = <A>(part: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.flatMap(session.inTransaction, (inTransaction) =>
      inTransaction ? part : Effect.retry(part, {
        schedule: retry,
        while: (error) => error.isRetryable && error.reason._tag !== "PruneRunning" && error.reason._tag !== "Timeout"
      }))

  const takeLease = (holder: string) =>
    again(session.run(
      "prune",
      sql`
        INSERT INTO ${leases} AS l (name, holder, expires_at)
        VALUES ('prune', ${holder}, now() + ${sql.literal(leaseTime)})
        ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
        WHERE l.expires_at < now() OR l.holder = EXCLUDED.holder
        RETURNING name`
    )).pipe(Effect.flatMap(([row]) => row === undefined ? Effect.fail(pruneRunning()) : Effect.void))

  const renewLease = (holder: string) =>
    Effect.flatMap(
      sql`UPDATE ${leases} SET expires_at = now() + ${
        sql.literal(leaseTime)
      } WHERE name = 'prune' AND holder = ${holder} RETURNING name`,
      ([row]) => row === undefined ? Effect.fail(pruneRunning()) : Effect.void
    )

  // What is not released is over soon by itself.
  const releaseLease = (holder: string) =>
    Effect.ignore(session.run("prune", sql`DELETE FROM ${leases} WHERE name = 'prune' AND holder = ${holder}`))

  const prune = (query: PruneQuery): Stream.Stream<ReadonlyArray<PrunedThread>, StoreError> =>
    Stream.unwrap(Effect.gen(function*() {
      const holder = SecureRandom.uuidV4Unsafe()
      if (!query.dryRun) yield* Effect.acquireRelease(takeLease(holder), () => releaseLease(holder))
      const pages = Stream.paginate(undefined as ThreadKey | undefined, (after) => page(query, after, holder))
      if (query.dryRun) return Stream.map(pages, (due) => toPruned(query, due))
      return pages.pipe(
        Stream.flatMap((due) => Stream.fromIterable(Arr.chunksOf(due.map(toKey), query.compact ? 1 : pruneThreads))),
        Stream.mapEffect((keys) =>
          query.compact ? pruneCompact(query, keys[0], holder) : pruneFew(query, keys, holder)
        ),
        Stream.map((done) => toPruned(query, done))
      )
    }))

  return {
    put,
    explainRefusal,
    read,
    list,
    threads: listThreads,
    setTags,
    savePendingWrites,
    readPendingWrites,
    deleteThread,
    prune,
    health: session.run("health", Migrations.check(sql, tables)),
    inTransaction: session.inTransaction
  }
}

const pruneRunning = (): StoreError =>
  new StoreError({
    operation: "prune",
    reason: new PruneRunning({
      message: "another prune is running against this database; try again when it has finished, or a minute after " +
        "its process died"
    }),
    outcome: "NotApplied"
  })

/** In a transaction of the caller's, which is spoiled by it. */
const sameId = (cause: SqlError): StoreError =>
  new StoreError({
    operation: "put",
    reason: new Contention({
      message: "another transaction put the same checkpoint id at the same moment; run your transaction again",
      cause
    }),
    outcome: "NotApplied"
  })

const isIdViolation = (error: SqlError): boolean =>
  error.reason._tag === "UniqueViolation" && error.reason.constraint === "checkpoints_by_id"

const toKey = (row: Pick<DueRow, "thread_id" | "namespace">): ThreadKey => ({
  threadId: row.thread_id,
  namespace: row.namespace
})

/** What went of each thread, in however many parts. */
const toPruned = (query: PruneQuery, rows: ReadonlyArray<DueRow>): ReadonlyArray<PrunedThread> => {
  const pruned = new Map<string, PrunedThread>()
  for (const row of rows) {
    const name = `${row.namespace}\u0000${row.thread_id}`
    const before = pruned.get(name)
    const versions = (before?.versions ?? 0) + row.versions
    const bytes = (before?.bytes ?? 0) + row.bytes
    // Bytes that go without a version are what an earlier prune has left, which only a compaction is asked for.
    if (versions === 0 && !(query.compact && bytes > 0)) continue
    pruned.set(name, { ...toKey(row), versions, bytes, deleted: row.whole })
  }
  return Array.from(pruned.values())
}

const toParent = (
  threadId: string,
  row: Pick<InfoRow, "parent_thread_id" | "parent_version" | "parent_id">
): ParentRef | undefined =>
  row.parent_id === null || row.parent_version === null
    ? undefined
    : { threadId: row.parent_thread_id ?? threadId, version: row.parent_version, checkpointId: row.parent_id }

const toInfo = (row: InfoRow): StoredInfo => ({
  threadId: row.thread_id,
  namespace: row.namespace,
  version: row.version,
  checkpointId: row.checkpoint_id,
  parent: toParent(row.thread_id, row),
  nextNodes: row.next_nodes,
  pendingInterrupts: row.pending_interrupts,
  metadata: row.metadata,
  tags: row.tags,
  createdAt: row.created_at
})

const toRecord = (row: RecordRow): StoredCheckpoint => ({
  ...toInfo(row),
  payload: { format: row.format, text: row.state, bytes: row.bytes },
  stateBytes: row.state_bytes,
  visible: row.visible,
  writeId: row.revision ?? undefined
})

const isDelta = ({ payload: { format } }: NewCheckpoint): boolean =>
  format === Format.delta || format === Format.deltaEscaped
