import type { Graph } from "./definition.ts"

/** Draws a graph as a Mermaid flowchart. */
export const toMermaid = <S, U, E, R>(graph: Graph<S, U, E, R>): string => {
  const ids = new Map(Array.from(graph.nodes.keys(), (name, i) => [name, `n${i}`]))
  const idOf = (name: string): string => ids.get(name)!
  const lines = ["flowchart TD", `  start(("start"))`]
  for (const [name, id] of ids) lines.push(`  ${id}["${label(name)}"]`)
  lines.push(`  stop(("end"))`, `  start --> ${idOf(graph.start)}`)
  for (const name of graph.nodes.keys()) {
    const edge = graph.edges.get(name) ?? []
    if (typeof edge === "function") {
      lines.push(`  ${idOf(name)} -.-> ${idOf(name)}next{"?"}`)
    } else if ("when" in edge) {
      for (const to of edge.to) lines.push(`  ${idOf(name)} -.-> ${idOf(to)}`)
      if (edge.to.length === 0) lines.push(`  ${idOf(name)} --> stop`)
      else if (edge.mayEnd === true) lines.push(`  ${idOf(name)} -.-> stop`)
    } else if (edge.length === 0) {
      lines.push(`  ${idOf(name)} --> stop`)
    } else {
      for (const to of edge) lines.push(`  ${idOf(name)} --> ${idOf(to)}`)
    }
  }
  return lines.join("\n")
}

/** Escapes the quoted text of a node. Mermaid decodes entities, reads backticks as Markdown, and refuses empty text. */
const label = (text: string): string =>
  text === "" ? " " : text.replace(/[&"<>#`\n\r]/g, (character) => `#${character.codePointAt(0)};`)
