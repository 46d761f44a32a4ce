import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Testcontainers from "testcontainers"
import { notLoaded, type StartedServer, StartFailure, textOf, Unavailable } from "./startedServer.ts"
import { whenProcessDies } from "./undertaker.ts"

const postgresPort = 5432

/** Starts a container; it is removed when the scope closes. */
export const start = Effect.fnUntraced(function*(options: {
  readonly image: string
  readonly settings: Readonly<Record<string, string>>
}): Effect.fn.Return<StartedServer, Unavailable | StartFailure, Scope.Scope> {
  const testcontainers = yield* load
  const docker = yield* connect(testcontainers)
  const [, reaped] = yield* Effect.all([
    provideImage(testcontainers, docker, options.image),
    hasReaper(testcontainers, docker)
  ], { concurrency: 2 })

  const name = `checkpoint-postgres-${uuidV4Unsafe()}`
  if (!reaped) {
    yield* whenProcessDies("docker rm --force --volumes \"$1\"", name)
  }
  const password = uuidV4Unsafe()
  const container = yield* Effect.acquireRelease(
    Effect.tryPromise({
      // No `PostgreSqlContainer`: it has Docker run a health check four times a second for as long as it lives.
      try: () =>
        new testcontainers.GenericContainer(options.image)
          .withName(name)
          .withEnvironment({ POSTGRES_USER: "postgres", POSTGRES_PASSWORD: password, POSTGRES_DB: "postgres" })
          .withExposedPorts(postgresPort)
          .withCommand([
            "postgres",
            ...Object.entries(options.settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
          ])
          // The official image writes this line twice, first for a server that takes no connections from outside. What
          // is waited for here is that line or the end of the container; the caller tries to connect.
          .withWaitStrategy(testcontainers.Wait.forLogMessage("database system is ready to accept connections"))
          .withStartupTimeout(60_000)
          .withAutoCleanup(reaped)
          .start(),
      catch: (cause) =>
        new StartFailure({ message: `The container of ${options.image} did not start: ${textOf(cause)}`, cause })
    }),
    (container) => Effect.ignore(Effect.tryPromise(() => container.stop()))
  )
  return {
    kind: "container",
    origin: `container of ${options.image}`,
    url: Redacted.make(
      `postgres://postgres:${password}@${container.getHost()}:${container.getMappedPort(postgresPort)}/postgres`
    )
  }
})

const load = Effect.tryPromise({ try: () => import("testcontainers"), catch: notLoaded("testcontainers") })

const connect = (testcontainers: typeof Testcontainers) =>
  Effect.tryPromise({
    try: () => testcontainers.getContainerRuntimeClient(),
    catch: (cause) =>
      new Unavailable({ message: "Docker does not answer. Is it running, and may this user use it?", cause })
  }).pipe(
    Effect.timeoutOrElse({
      duration: "5 seconds",
      orElse: () => Effect.fail(new Unavailable({ message: "Docker did not answer within 5 seconds." }))
    })
  )

const provideImage = Effect.fnUntraced(function*(
  testcontainers: typeof Testcontainers,
  docker: Testcontainers.ContainerRuntimeClient,
  image: string
) {
  const name = testcontainers.ImageName.fromString(image)
  const exists = Effect.tryPromise({
    try: () => docker.image.exists(name),
    catch: (cause) => new Unavailable({ message: `Docker does not tell its images: ${textOf(cause)}`, cause })
  })
  if (yield* exists) {
    return
  }
  const missing = (why: string, cause?: unknown) =>
    new Unavailable({
      message:
        `The image ${image} is not on this machine and ${why}. Pull it by hand (docker pull ${image}), or name ` +
        "another one by CHECKPOINT_TEST_POSTGRES_IMAGE.",
      cause
    })
  yield* Effect.tryPromise({
    try: () => docker.image.pull(name),
    catch: (cause) => missing(`cannot be pulled: ${textOf(cause)}`, cause)
  }).pipe(
    Effect.timeoutOrElse({
      duration: "1 minute",
      orElse: () => Effect.fail(missing("could not be pulled within one minute"))
    })
  )
  // testcontainers overlooks what goes wrong in the middle of a pull.
  if (!(yield* exists)) {
    return yield* missing("could not be pulled")
  }
})

/**
 * Whether the reaper of testcontainers looks after our containers. It is a container itself: where its image cannot be
 * had, or `TESTCONTAINERS_RYUK_DISABLED` is set, the scope and `whenProcessDies` have to do.
 */
const hasReaper = (testcontainers: typeof Testcontainers, docker: Testcontainers.ContainerRuntimeClient) =>
  Effect.tryPromise(() => testcontainers.getReaper(docker)).pipe(
    Effect.timeout("20 seconds"),
    Effect.option,
    // The one that is disabled has no container.
    Effect.map(Option.exists((reaper) => reaper.containerId !== ""))
  )
