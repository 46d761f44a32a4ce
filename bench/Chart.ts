/**
 * Line and bar charts as SVG, both axes logarithmic. They follow the color scheme of their reader.
 */

export interface Chart {
  readonly title: string
  readonly x: { readonly label: string; readonly format: (value: number) => string }
  readonly y: { readonly format: (value: number) => string }
  readonly series: ReadonlyArray<{
    readonly name: string
    readonly points: ReadonlyArray<readonly [x: number, y: number]>
  }>
}

const width = 760
const height = 360
const plot = { left: 84, top: 52, right: 466, bottom: 310 }
const colours = ["#d9480f", "#868e96", "#1c7ed6", "#2b8a3e"]

const style = `
    text { font: 13px system-ui, sans-serif; fill: #24292f; }
    .title { font-size: 15px; font-weight: 600; }
    .grid { stroke: #8c959f; stroke-opacity: 0.25; }
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }`

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

export const toSvg = ({ series, title, x, y }: Chart): string => {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].toSorted((a, b) => a - b)
  const ys = series.flatMap(({ points }) => points.map(([, y]) => y))
  const low = Math.floor(Math.log10(Math.min(...ys)))
  const high = Math.ceil(Math.log10(Math.max(...ys)))
  const first = Math.log(xs[0]!)
  const span = Math.log(xs.at(-1)!) - first || 1
  const atX = (value: number) => plot.left + (Math.log(value) - first) / span * (plot.right - plot.left)
  const atY = (value: number) =>
    plot.bottom - (Math.log10(value) - low) / Math.max(1, high - low) * (plot.bottom - plot.top)

  const grid = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)).map((value) =>
    `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${atY(value)}" y2="${atY(value)}"/>` +
    `<text x="${plot.left - 8}" y="${atY(value) + 4}" text-anchor="end">${y.format(value)}</text>`
  )
  const labels = xs.map((value) =>
    `<text x="${atX(value)}" y="${plot.bottom + 20}" text-anchor="middle">${x.format(value)}</text>`
  )
  // Each name is at the end of its line, and names do not overlap.
  let free = Infinity
  const lines = series.map((one, i) => ({ ...one, colour: colours[i % colours.length]! }))
    .toSorted((a, b) => a.points.at(-1)![1] - b.points.at(-1)![1])
    .map(({ colour, name, points }) => {
      const places = points.map(([x, y]) => [atX(x).toFixed(1), atY(y).toFixed(1)] as const)
      const end = points.at(-1)![1]
      free = Math.min(atY(end), free - 17)
      return `<polyline fill="none" stroke="${colour}" stroke-width="2.5" points="${
        places.map((place) => place.join()).join(" ")
      }"/>` + places.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="3.5" fill="${colour}"/>`).join("") +
        `<text x="${plot.right + 12}" y="${free + 4}" style="fill: ${colour}">${escape(name)}: ${
          escape(y.format(end))
        }</text>`
    })

  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${
    escape(title)
  }">
  <style>${style}
  </style>
  <text class="title" x="16" y="26">${escape(title)}</text>
  ${[...grid, ...labels].join("\n  ")}
  <text x="${(plot.left + plot.right) / 2}" y="${height - 10}" text-anchor="middle">${escape(x.label)}</text>
  ${lines.join("\n  ")}
</svg>
`
}
