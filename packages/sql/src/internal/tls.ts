import { InvalidInput } from "@effect-checkpoint/core/CheckpointError"
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { readFile } from "node:fs/promises"
import * as Tls from "node:tls"
import * as PreferTls from "./preferTls.ts"

/** A parameter of libpq. */
export interface Setting {
  /** Where it was set, such as `PGSSLMODE` or `DATABASE_URL`. */
  readonly field: string
  readonly value: string
}

/** Finds a parameter by the name that it has in a URL. */
export type Settings = (name: string) => Setting | undefined

/** How to encrypt, as libpq would with these parameters. */
export const fromSettings = Effect.fnUntraced(function*(
  setting: Settings,
  target: Pick<PreferTls.Target, "host" | "port" | "keepAlive">
): Effect.fn.Return<Pick<PgPoolConfig, "ssl" | "stream">, InvalidInput> {
  yield* refuseUnsupported(setting)
  const mode = yield* modeOf(setting)
  // As in libpq: what passes through a socket of this machine is not encrypted.
  if (mode === "disable" || target.host.startsWith("/")) return { ssl: false }
  const secureContext = yield* secureContextOf(setting)
  switch (mode) {
    case "prefer":
      return { ssl: false, stream: PreferTls.make({ ...target, secureContext }) }
    case "require":
      return { ssl: { secureContext, rejectUnauthorized: false } }
    case "verify-ca":
      return { ssl: { secureContext, rejectUnauthorized: true, checkServerIdentity: () => undefined } }
    case "verify-full":
      return { ssl: { secureContext, rejectUnauthorized: true } }
  }
})

type Mode = "disable" | "prefer" | "require" | "verify-ca" | "verify-full"

const modeOf = (setting: Settings): Effect.Effect<Mode, InvalidInput> => {
  const given = setting("sslmode")
  const root = setting("sslrootcert")
  const mode = given?.value ?? (root?.value === "system" ? "verify-full" : "prefer")
  const refuse = (problem: string) =>
    Effect.fail(new InvalidInput({ field: given?.field ?? root?.field ?? "sslmode", problem }))
  switch (mode) {
    case "disable":
    case "verify-full":
      return Effect.succeed(mode)
    case "prefer":
      return root === undefined
        ? Effect.succeed(mode)
        : refuse("sslrootcert needs sslmode=verify-full or verify-ca, since sslmode=prefer accepts every certificate")
    case "require":
    case "verify-ca":
      if (root?.value === "system") {
        return refuse(`sslrootcert=system needs sslmode=verify-full, since anyone can get a certificate; got ${mode}`)
      }
      if (root !== undefined) return Effect.succeed("verify-ca")
      return mode === "require"
        ? Effect.succeed(mode)
        : refuse("sslmode=verify-ca needs sslrootcert, the file with the certificates to trust")
    case "allow":
      return refuse("sslmode=allow is not supported; use prefer, or require if the server must encrypt")
    case "no-verify":
      return refuse("sslmode=no-verify is not a mode of Postgres; use require, which encrypts without verification")
  }
  return refuse(`there is no sslmode "${mode}"; use disable, prefer, require, verify-ca or verify-full`)
}

/** Without these parameters a connection would be less safe than asked for. The values are those that ask for nothing. */
const unsupported: Readonly<Record<string, ReadonlyArray<string>>> = {
  channel_binding: ["disable", "prefer"],
  gssencmode: ["disable", "prefer"],
  require_auth: [],
  requirepeer: [],
  sslcrl: [],
  sslcrldir: [],
  sslnegotiation: ["postgres"]
}

const refuseUnsupported = (setting: Settings): Effect.Effect<void, InvalidInput> =>
  Effect.forEach(Object.entries(unsupported), ([name, harmless]) => {
    const given = setting(name)
    return given === undefined || harmless.includes(given.value) ? Effect.void : Effect.fail(
      new InvalidInput({
        field: given.field,
        problem: `${name}=${given.value} is not supported; remove it. sslmode=verify-full makes sure of the server`
      })
    )
  }, { discard: true })

/** Keeps the keys out of the settings of the client, which programs print. */
const secureContextOf = Effect.fnUntraced(function*(setting: Settings) {
  const [root, cert, key] = [setting("sslrootcert"), setting("sslcert"), setting("sslkey")]
  const lonely = cert === undefined ? key : key === undefined ? cert : undefined
  if (lonely !== undefined) {
    return yield* new InvalidInput({ field: lonely.field, problem: "sslcert and sslkey are needed together" })
  }
  const options = {
    ca: root === undefined || root.value === "system" ? undefined : yield* certificates("sslrootcert", root),
    cert: cert === undefined ? undefined : yield* certificates("sslcert", cert),
    key: key === undefined ? undefined : yield* read("sslkey", key),
    passphrase: setting("sslpassword")?.value,
    minVersion: yield* minVersion(setting("ssl_min_protocol_version"))
  }
  return yield* Effect.try({
    try: () => Tls.createSecureContext(options),
    catch: (cause) =>
      new InvalidInput({
        field: key?.field ?? root?.field ?? "sslmode",
        problem: `TLS cannot be set up${because(cause)}; check that sslkey is the key of sslcert, and sslpassword`
      })
  })
})

const read = (name: string, { field, value }: Setting): Effect.Effect<string, InvalidInput> =>
  Effect.tryPromise({
    try: () => readFile(value, "utf8"),
    catch: (cause) => new InvalidInput({ field, problem: `the file of ${name} cannot be read${because(cause)}` })
  })

/** Node ignores what is not a certificate. */
const certificates = (name: string, setting: Setting): Effect.Effect<string, InvalidInput> =>
  Effect.filterOrFail(
    read(name, setting),
    (text) => text.includes("-----BEGIN CERTIFICATE-----"),
    () => new InvalidInput({ field: setting.field, problem: `the file of ${name} has no certificate in PEM` })
  )

const minVersion = Effect.fnUntraced(function*(
  setting: Setting | undefined
): Effect.fn.Return<Tls.SecureVersion | undefined, InvalidInput> {
  const version = (["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const).find((version) => version === setting?.value)
  if (setting === undefined || version !== undefined) return version
  return yield* new InvalidInput({
    field: setting.field,
    problem: `there is no ssl_min_protocol_version "${setting.value}"; use TLSv1.2 or TLSv1.3`
  })
})

const because = (cause: unknown): string => Predicate.isError(cause) ? `: ${cause.message}` : ""
