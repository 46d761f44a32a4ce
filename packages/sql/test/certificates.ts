/**
 * Certificates that are made for a test, by the `openssl` program if it is installed.
 */
import { Effect } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export const isInstalled: boolean = spawnSync("openssl", ["version"]).status === 0

/** The paths of files in PEM. */
export interface Certificates {
  readonly authority: string
  readonly otherAuthority: string
  readonly server: Pair
  readonly client: Pair
}

interface Pair {
  readonly cert: string
  readonly key: string
}

/** For a server at `host`, and for a client with the name of a role, both signed by `authority`. */
export const make = (host: string, role: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "checkpoint-certificates-"))
      const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" })
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
      const authority = (name: string) => {
        openssl(
          "req",
          "-x509",
          ...key,
          "-days",
          "2",
          "-subj",
          `/CN=${name}`,
          "-keyout",
          `${name}.key`,
          "-out",
          `${name}.crt`
        )
        return join(folder, `${name}.crt`)
      }
      const signed = (name: string, subject: string, extension: string): Pair => {
        writeFileSync(join(folder, `${name}.ext`), extension)
        openssl("req", ...key, "-subj", `/CN=${subject}`, "-keyout", `${name}.key`, "-out", `${name}.csr`)
        const by = ["-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial"]
        openssl(
          "x509",
          "-req",
          "-in",
          `${name}.csr`,
          ...by,
          "-days",
          "2",
          "-extfile",
          `${name}.ext`,
          "-out",
          `${name}.crt`
        )
        return { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) }
      }
      return {
        folder,
        authority: authority("authority"),
        otherAuthority: authority("other"),
        server: signed("server", host, `subjectAltName=DNS:${host}`),
        client: signed("client", role, "extendedKeyUsage=clientAuth")
      }
    }),
    ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )

export const contents = (path: string): string => readFileSync(path, "utf8")
