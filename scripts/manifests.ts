/*
 * What all packages say about the project is set in the package.json of the workspace. This checks that theirs say the
 * same; with `--write` it copies it to them. Each of these fields stands on one line.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

const root = join(import.meta.dirname, "..")
const write = process.argv.includes("--write")

interface Manifest {
  readonly license: string
  readonly homepage: string
  readonly bugs: string
  readonly repository: { readonly type: string; readonly url: string }
  readonly keywords: ReadonlyArray<string>
}

const { bugs, homepage, keywords, license, repository }: Manifest = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
)

const onOneLine = (value: unknown): string =>
  JSON.stringify(value, undefined, 1).replaceAll(/\n */g, " ").replaceAll(/(?<=\[) | (?=\])/g, "")

const withShared = (text: string, directory: string): string => {
  const shared = { license, homepage, bugs, repository: { ...repository, directory }, keywords }
  const own = text.replaceAll(new RegExp(`^  "(?:${Object.keys(shared).join("|")})": .*\n`, "gm"), "")
  const description = /^ {2}"description": .*\n/m.exec(own)
  if (description === null) throw new Error(`${directory}/package.json has no description, which registries show`)
  const lines = Object.entries(shared).map(([field, value]) => `  "${field}": ${onOneLine(value)},\n`)
  return own.replace(description[0], () => description[0] + lines.join(""))
}

for (const file of globSync("packages/*/package.json", { cwd: root }).toSorted()) {
  const path = join(root, file)
  const text = readFileSync(path, "utf8")
  const expected = withShared(text, dirname(file))
  if (text === expected) continue
  if (write) {
    writeFileSync(path, expected)
  } else {
    console.error(`${file} differs from what package.json says about the project. Run "pnpm manifests --write".`)
    process.exitCode = 1
  }
}
