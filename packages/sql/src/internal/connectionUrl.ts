import { InvalidInput } from "@effect-checkpoint/core/CheckpointError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

/** The parameters of a URL by the names that libpq gives them. Those of the query win. */
export const parse = Effect.fnUntraced(function*(
  field: string,
  redacted: Redacted.Redacted
): Effect.fn.Return<ReadonlyMap<string, string>, InvalidInput> {
  const text = Redacted.value(redacted)
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0]
  if (scheme !== undefined && !/^postgres(?:ql)?:\/\/$/.test(scheme)) {
    return yield* new InvalidInput({ field, problem: `expected it to begin with postgresql://, got ${scheme}` })
  }
  const parts = grammar.exec(text)
  // With an @ in the name of a parameter, what was taken for the host is the user, and the rest is a password with a ?.
  if (parts === null || /(?:^|&)[^=&]*@/.test(parts[6] ?? "")) {
    return yield* new InvalidInput({
      field,
      problem:
        "it is not a URL of Postgres; expected postgresql://user:password@host:5432/database, in which special " +
        "characters of the password are percent-encoded, such as %2F for a slash"
    })
  }
  const [, user = "", password = "", host = "", port = "", dbname = "", query = ""] = parts
  const pairs = query.split("&").map((pair) => {
    const end = pair.indexOf("=")
    return end < 0 ? [pair, ""] as const : [pair.slice(0, end), pair.slice(end + 1)] as const
  })
  const encoded = Object.entries({ user, password, host: host.replace(/^\[(.*)\]$/, "$1"), port, dbname })
  const parameters = new Map<string, string>()
  for (const [name, value] of [...encoded, ...pairs]) {
    if (value !== "") parameters.set(name, yield* decode(field, name, value))
  }
  return parameters
})

/**
 * Other than `new URL`, this allows an empty host behind a password, which is how sockets are written. An `@` in the name
 * of the database would come from a password with a slash.
 */
const grammar = new RegExp(
  [
    /^[^:]+:\/\//,
    /(?:([^:/?#]*)(?::([^/?#]*))?@)?/,
    /(\[[^\]/?#]*\]|[^:@/?#[\]]*|[^@/?#]*,[^@/?#]*?)(?::(\d*))?/,
    /(?:\/([^?#@]*))?/,
    /(?:\?([^#]*))?$/
  ].map(({ source }) => source).join("")
)

const decode = (field: string, name: string, value: string): Effect.Effect<string, InvalidInput> =>
  Effect.try({
    try: () => decodeURIComponent(value),
    // The error of `decodeURIComponent` says nothing, and the value may be a password.
    catch: () =>
      new InvalidInput({ field, problem: `its ${name} has a % that begins no percent-encoding; write %25 for a %` })
  })
