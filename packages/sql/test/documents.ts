import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../../..")

/** The SQL in the documents. The word after `sql` is the role that it is written for. */
export const blocks = globSync(["*.md", "docs/*.md", "packages/*/*.md", "bench/**/*.md"], {
  cwd: root,
  exclude: ["**/node_modules/**"]
}).toSorted().flatMap((file) =>
  Array.from(
    readFileSync(join(root, file), "utf8").matchAll(/^```sql(?: (\w+))?\n(.*?)^```$/gms),
    ([, role, text], i) => ({ name: `block ${i + 1} of ${file}`, role, text: text! })
  )
)

/** The statements of a block, in order. A body in dollar quotes has semicolons of its own. */
export const statementsIn = (text: string): ReadonlyArray<string> =>
  (/\$\$/.test(text) ? [text] : text.split(/;$/m)).filter((statement) => statement.trim() !== "")
