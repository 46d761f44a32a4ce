import * as Config from "effect/Config"
import * as Option from "effect/Option"
import type { Kind, StartedServer } from "./startedServer.ts"

/** The variables by which tests are told, and by which `vitestGlobalSetup` tells them. */
export const names = {
  forced: "CHECKPOINT_TEST_POSTGRES",
  image: "CHECKPOINT_TEST_POSTGRES_IMAGE",
  url: "CHECKPOINT_TEST_DATABASE_URL",
  // Set by `vitestGlobalSetup` alone: what it started, which the URL does not tell.
  kind: "CHECKPOINT_TEST_DATABASE_KIND"
} as const

export interface Environment {
  readonly forced: Kind | undefined
  readonly image: string
  readonly given: StartedServer | undefined
  /** Whether `vitestGlobalSetup` has told already which server the tests have. */
  readonly announced: boolean
}

const kinds: ReadonlyArray<Kind> = ["url", "container", "binaries"]

export const environment: Config.Config<Environment> = Config.all({
  forced: Config.option(Config.Literals(kinds, names.forced)),
  image: Config.String(names.image).pipe(Config.withDefault("postgres:18")),
  url: Config.option(Config.Redacted(names.url)),
  kind: Config.option(Config.Literals(kinds, names.kind))
}).pipe(
  Config.map(({ forced, image, kind, url }) => ({
    forced: Option.getOrUndefined(forced),
    image,
    given: Option.match(url, {
      onNone: () => undefined,
      onSome: (url) => ({ kind: Option.getOrElse(kind, () => "url" as const), origin: names.url, url })
    }),
    announced: Option.isSome(url) && Option.isSome(kind)
  }))
)
