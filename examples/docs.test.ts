import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/*
 * The code in the READMEs, in docs/, and in the AGENTS.md and JSDoc of the packages: every `ts` block compiles, and those
 * that are marked `import.meta.vitest` run. There, `expression // => value` is an assertion.
 */

const root = join(import.meta.dirname, "..")
const generated = join(import.meta.dirname, ".generated")

interface Block {
  readonly name: string
  readonly runs: boolean
  readonly code: string
}

const blocksOf = (file: string): ReadonlyArray<Block> => {
  const text = readFileSync(join(root, file), "utf8")
  const plain = file.endsWith(".md") ? text : text.replaceAll(/^ *\* ?/gm, "")
  return Array.from(plain.matchAll(/^```ts( import\.meta\.vitest)?\n(.*?)^```$/gms), ([, runs, code], i) => ({
    name: `${file.replaceAll(/[^a-zA-Z0-9]+/g, "-")}-${i + 1}`,
    runs: runs !== undefined,
    code: code!
  }))
}

const blocks = globSync(["README.md", "docs/*.md", "packages/*/*.md", "packages/*/src/**/*.ts"], { cwd: root })
  .toSorted()
  .flatMap(blocksOf)

const asserted = (code: string): string =>
  code.replaceAll(
    /^(.*?) *\/\/ => (.*)$/gm,
    (_, expression, value) => `documented.deepStrictEqual(${expression}, ${value})`
  )

rmSync(generated, { recursive: true, force: true })
mkdirSync(generated)
for (const { code, name } of blocks) {
  writeFileSync(
    join(generated, `${name}.ts`),
    `import { assert as documented } from "vitest"\n${asserted(code)}\nvoid documented\nexport {}\n`
  )
}
writeFileSync(
  join(generated, "tsconfig.json"),
  JSON.stringify({
    extends: "../../tsconfig.base.json",
    include: ["*.ts"],
    compilerOptions: { noEmit: true, composite: false, incremental: false, noUnusedLocals: false, types: ["node"] }
  })
)

describe("documented code", () => {
  it("is there to be tested", () => {
    assert.isAbove(blocks.filter((block) => block.runs).length, 3)
  })

  it("compiles", () => {
    const tsc = join(root, "node_modules/typescript/bin/tsc")
    try {
      execFileSync(process.execPath, [tsc, "-p", generated, "--pretty", "false"], { encoding: "utf8" })
    } catch (error) {
      assert.fail((error as { readonly stdout: string }).stdout)
    }
  })

  for (const { name, runs } of blocks) {
    if (runs) {
      it(`runs: ${name}`, () => import(join(generated, `${name}.ts`)))
    }
  }
})
