/*
 * Shows that tests can fail. Each patch in `packages/testing/mutants` takes a fix away, and names the test that must
 * notice: `Reverts:`, `Test:` (its file) and `Name:` (its name, or a part of it) stand before the diff. This applies them
 * one after another to a copy of the checkout, and fails if one does not apply any more, or if its test passes.
 *
 *     pnpm mutants            all of them
 *     pnpm mutants queue      those with "queue" in their file name
 */
import { spawnSync, type SpawnSyncReturns } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

interface Mutant {
  readonly file: string
  readonly path: string
  readonly test: string
  readonly name: string
}

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly message: string
    readonly assertionResults: ReadonlyArray<{ readonly fullName: string; readonly status: string }>
  }>
}

const root = join(import.meta.dirname, "..")
const folder = join(root, "packages/testing/mutants")
const wanted = process.argv.slice(2)

const field = (file: string, header: string, name: string): string => {
  const value = new RegExp(`^${name}: (.+)$`, "m").exec(header)?.[1]
  if (value === undefined) throw new Error(`${file} has no line "${name}: ..." before its diff`)
  return value.trim()
}

const read = (file: string): Mutant => {
  const path = join(folder, file)
  const header = readFileSync(path, "utf8").split(/^diff --git /m)[0]!
  field(file, header, "Reverts")
  return { file, path, test: field(file, header, "Test"), name: field(file, header, "Name") }
}

const mutants = readdirSync(folder)
  .filter((file) => file.endsWith(".patch") && (wanted.length === 0 || wanted.some((part) => file.includes(part))))
  .toSorted()
  .map(read)
if (mutants.length === 0) throw new Error(`no mutant has ${wanted.join(" or ")} in its name`)

const copy = mkdtempSync(join(tmpdir(), "mutants-"))
process.on("exit", () => rmSync(copy, { recursive: true, force: true }))
process.on("SIGINT", () => process.exit(130))

const run = (command: string, args: ReadonlyArray<string>): SpawnSyncReturns<string> =>
  spawnSync(command, args, { cwd: copy, encoding: "utf8", maxBuffer: 2 ** 28, timeout: 900_000 })

const must = (command: string, ...args: ReadonlyArray<string>): void => {
  const { error, status, stderr, stdout } = run(command, args)
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${error?.message ?? stderr + stdout}`)
}

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

interface Outcome {
  /** The tests that ran, by name, and whether they failed. */
  readonly tests: ReadonlyArray<readonly [name: string, failed: boolean]>
  readonly text: string
}

/** Runs the tests of a file whose names have one of the texts. */
const outcomeOf = (file: string, names: ReadonlyArray<string>): Outcome => {
  const report = join(copy, "report.json")
  rmSync(report, { force: true })
  // A test that hangs without its fix is to fail soon.
  const settings = file.endsWith(".plans.ts") ? ["--config", "vitest.plans.config.ts"] : ["--testTimeout=60000"]
  const options = [...settings, "--reporter=json", `--outputFile=${report}`]
  const pattern = names.map(escaped).join("|")
  const { stderr, stdout } = run("pnpm", ["exec", "vitest", "run", file, "--testNamePattern", pattern, ...options])
  try {
    const { testResults }: Report = JSON.parse(readFileSync(report, "utf8"))
    const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
      .filter(({ status }) => status === "passed" || status === "failed")
      .map(({ fullName, status }) => [fullName, status === "failed"] as const)
    return { tests, text: testResults.map(({ message }) => message).join("\n") }
  } catch {
    return { tests: [], text: stdout + stderr }
  }
}

const failing = ({ tests }: Outcome, { name }: Mutant): ReadonlyArray<boolean> =>
  tests.filter(([fullName]) => fullName.includes(name)).map(([, failed]) => failed)

/** Why a mutant is not killed as it should be. */
const problem = (mutant: Mutant, before: Outcome): string | undefined => {
  const without = failing(before, mutant)
  if (without.length === 0) return `${mutant.test} has no test that runs and is named "${mutant.name}"\n${before.text}`
  if (without.includes(true)) return `its test fails without it\n${before.text}`
  const applied = run("git", ["apply", mutant.path])
  if (applied.status !== 0) return `it does not apply any more; renew it\n${applied.stderr}`
  const after = outcomeOf(mutant.test, [mutant.name])
  must("git", "apply", "--reverse", mutant.path)
  const withIt = failing(after, mutant)
  if (withIt.length === 0) return `no test runs with it\n${after.text}`
  return withIt.includes(true) ? undefined : "its test passes with it"
}

// What is committed and what is not, without what is ignored.
must("git", "clone", "--quiet", "--shared", root, ".")
const changes =
  spawnSync("git", ["diff", "--binary", "HEAD"], { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28 }).stdout
if (changes !== "") spawnSync("git", ["apply"], { cwd: copy, input: changes, stdio: ["pipe", "inherit", "inherit"] })
const untracked = spawnSync("git", ["ls-files", "--others", "--exclude-standard", "-z"], {
  cwd: root,
  encoding: "utf8"
})
for (const file of untracked.stdout.split("\0").filter((file) => file !== "")) {
  cpSync(join(root, file), join(copy, file), { recursive: true })
}
must("pnpm", "install", "--frozen-lockfile", "--prefer-offline")

let survivors = 0
for (const [file, ofFile] of Map.groupBy(mutants, ({ test }) => test)) {
  const before = outcomeOf(file, ofFile.map(({ name }) => name))
  for (const mutant of ofFile) {
    const why = problem(mutant, before)
    if (why !== undefined) survivors++
    console.log(why === undefined ? `killed    ${mutant.file}` : `SURVIVED  ${mutant.file}: ${why}`)
  }
}
console.log(`${mutants.length - survivors} of ${mutants.length} mutants are killed`)
if (survivors > 0) process.exitCode = 1
