import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"

/** What the server does for a statement, by one of its plans. */
export interface Explained {
  readonly plan: "custom" | "generic"
  readonly text: string
  readonly cost: number
  /** Rows that scans of tables and indexes have visited, filtered ones included. */
  readonly read: number
  /** Pages, which also show what a scan of an index skips by itself. */
  readonly pages: number
  /** Rows that were returned or changed. */
  readonly results: number
  /** As people read it. */
  readonly picture: string
}

interface Node {
  readonly "Node Type": string
  readonly "Relation Name"?: string
  readonly "Index Name"?: string
  readonly "Total Cost": number
  readonly "Actual Rows": number
  readonly "Actual Loops": number
  readonly "Rows Removed by Filter"?: number
  readonly "Rows Removed by Index Recheck"?: number
  readonly "Shared Hit Blocks": number
  readonly "Shared Read Blocks": number
  readonly "Parent Relationship"?: string
  readonly Plans?: ReadonlyArray<Node>
}

/**
 * A client that explains each statement that is prepared with values, before it runs, on the same connection and in a
 * transaction that is rolled back.
 */
export const explaining = (sql: PgClient.PgClient, into: Array<Explained>): PgClient.PgClient =>
  new Proxy(sql, {
    get: (target, key) =>
      key === "reserve"
        ? Effect.map(target.reserve, (connection) => explainingConnection(connection, into))
        : key === "withoutTransforms"
        ? () => explaining(target.withoutTransforms() as PgClient.PgClient, into)
        : Reflect.get(target, key)
  })

const explainingConnection = (connection: Connection, into: Array<Explained>): Connection => {
  let inTransaction = false
  const control = (text: string) => {
    if (text.startsWith("BEGIN")) inTransaction = true
    if (text === "COMMIT" || text === "ROLLBACK") inTransaction = false
  }
  const send = (text: string) => connection.executeUnprepared(text, [], undefined)
  const explain = (text: string, parameters: ReadonlyArray<unknown>) =>
    Effect.gen(function*() {
      yield* send(`PREPARE explained AS ${text}`)
      for (const plan of ["custom", "generic"] as const) {
        yield* send(inTransaction ? "SAVEPOINT explained" : "BEGIN")
        yield* send(`SET LOCAL plan_cache_mode = force_${plan}_plan`)
        const values = parameters.length === 0 ? "" : `(${parameters.map(quoted).join(", ")})`
        const [row] = yield* send(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained${values}`)
        into.push(toExplained(plan, text, row["QUERY PLAN"][0].Plan))
        yield* send(inTransaction ? "ROLLBACK TO SAVEPOINT explained" : "ROLLBACK")
      }
      yield* send("DEALLOCATE explained")
      // Half of it would leave the connection in a transaction.
    }).pipe(Effect.uninterruptible)
  const explained = <A>(
    run: (text: string, parameters: ReadonlyArray<unknown>) => Effect.Effect<A, SqlError>
  ) =>
  (text: string, parameters: ReadonlyArray<unknown>) =>
    Effect.andThen(
      parameters.length === 0 ? Effect.sync(() => control(text)) : explain(text, parameters),
      run(text, parameters)
    )
  return {
    execute: (text, parameters, transform) =>
      explained((text, parameters) => connection.execute(text, parameters, transform))(text, parameters),
    executeRaw: explained((text, parameters) => connection.executeRaw(text, parameters)),
    executeValues: explained((text, parameters) => connection.executeValues(text, parameters)),
    executeValuesUnprepared: explained((text, parameters) => connection.executeValuesUnprepared(text, parameters)),
    executeUnprepared: (text, parameters, transform) =>
      explained((text, parameters) => connection.executeUnprepared(text, parameters, transform))(text, parameters),
    executeStream: (...parameters) => connection.executeStream(...parameters)
  }
}

const quoted = (value: unknown): string =>
  Array.isArray(value) ? `ARRAY[${value.map(quoted).join(", ")}]::text[]` : `'${String(value).replaceAll("'", "''")}'`

const toExplained = (plan: Explained["plan"], text: string, root: Node): Explained => {
  const nodes = flatten(root)
  const sum = (of: (node: Node) => number) => Math.round(nodes.reduce((total, node) => total + of(node), 0))
  return {
    plan,
    text,
    cost: root["Total Cost"],
    read: sum((node) => isScan(node) ? node["Actual Loops"] * visited(node) : 0),
    pages: root["Shared Hit Blocks"] + root["Shared Read Blocks"],
    results: root["Actual Rows"] + sum((node) =>
      node["Node Type"] === "ModifyTable"
        ? (node.Plans ?? []).filter((child) => child["Parent Relationship"] === "Outer")
          .reduce((total, child) => total + child["Actual Rows"] * child["Actual Loops"], 0)
        : 0
    ),
    picture: picture(root, 0)
  }
}

const flatten = (node: Node): ReadonlyArray<Node> => [node, ...(node.Plans ?? []).flatMap(flatten)]

/** A bitmap is counted when it is made and when its rows are read. Work tables, results of CTEs and values are not data. */
const isScan = (node: Node): boolean =>
  /^(Seq|Index|Index Only|Bitmap Index|Bitmap Heap|Tid) Scan$/.test(node["Node Type"])

const visited = (node: Node): number =>
  node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0)

const picture = (node: Node, depth: number): string => {
  const name = [node["Node Type"], node["Index Name"] ?? node["Relation Name"]].filter((part) => part !== undefined)
  const numbers = `cost ${node["Total Cost"]}, rows ${visited(node)} x ${node["Actual Loops"]}`
  return [
    `${"  ".repeat(depth)}${name.join(" ")} (${numbers})`,
    ...(node.Plans ?? []).map((child) => picture(child, depth + 1))
  ].join("\n")
}
