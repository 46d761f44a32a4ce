/**
 * The results of a measurement, and their report.
 */
import type { Chart } from "./Chart.ts"

export interface Measurement {
  readonly id: string
  readonly title: string
  /** What was measured, in a few sentences. */
  readonly about: string
  readonly tables: ReadonlyArray<Table>
  readonly targets: ReadonlyArray<Target>
  readonly charts: Readonly<Record<string, Chart>>
}

/** Ratios come first, then the figures that they are computed from. */
export interface Table {
  readonly title: string
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
}

/** A ratio within the run, or a time if it has a unit. */
export interface Target {
  readonly name: string
  readonly measured: number
  readonly unit?: "ms" | undefined
  readonly wanted: { readonly atLeast: number } | { readonly atMost: number }
}

export const isMet = ({ measured, wanted }: Target): boolean =>
  "atLeast" in wanted ? measured >= wanted.atLeast : measured <= wanted.atMost

// -----------------------------------------------------------------------------
// numbers
// -----------------------------------------------------------------------------

const digits = (value: number): string =>
  value >= 100
    ? Math.round(value).toLocaleString("en-US")
    : value.toFixed(value >= 10 ? 1 : 2)

export const times = (ratio: number): string => `**${digits(ratio)}x**`
export const count = (value: number): string => Math.round(value).toLocaleString("en-US")
export const millis = (value: number): string => `${digits(value)} ms`
export const seconds = (value: number): string => `${digits(value / 1000)} s`
export const bytes = (value: number): string =>
  value < 1000 ? `${digits(value)} B` : value < 1e6 ? `${digits(value / 1e3)} KB` : `${digits(value / 1e6)} MB`

// -----------------------------------------------------------------------------
// text
// -----------------------------------------------------------------------------

export const contestants: string = [
  "- **ours**: this library",
  "- **snapshots**: this library, with every state stored whole",
  "- **floor**: one prepared INSERT of the same text into a table with a key, and one SELECT by the key",
  "- **peer**: LangGraph's Postgres saver with one ordinary channel, which it stores whole at each step. " +
  "`DeltaChannel`, its mode for stored updates, needs the whole graph and is not measured here"
].join("\n")

const tableOf = (table: Table): string => {
  const rows = [table.columns, ...table.rows]
  const widths = table.columns.map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)))
  const line = (row: ReadonlyArray<string>) =>
    `| ${row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join(" | ")} |`
  const rule = `|${widths.map((width, i) => i === 0 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`).join("|")}|`
  return [line(table.columns), rule, ...table.rows.map(line)].join("\n")
}

export const targetsOf = (measurements: ReadonlyArray<Measurement>): string =>
  tableOf({
    title: "",
    columns: ["Target", "measured", "wanted", ""],
    rows: measurements.flatMap(({ targets }) =>
      targets.map((target) => {
        const { measured, name, unit, wanted } = target
        return [
          name,
          unit === "ms" ? `**${millis(measured)}**` : times(measured),
          ("atLeast" in wanted ? `at least ${wanted.atLeast}` : `at most ${wanted.atMost}`) + (unit ? ` ${unit}` : "x"),
          isMet(target) ? "met" : "not met"
        ]
      })
    )
  })

export const sectionOf = ({ about, charts, id, tables, title }: Measurement): string =>
  [
    `## ${id}. ${title}`,
    about,
    ...tables.flatMap((table) => [`**${table.title}**`, tableOf(table)]),
    ...Object.entries(charts).map(([name, chart]) => `![${chart.title}](${name}.svg)`)
  ].join("\n\n")
