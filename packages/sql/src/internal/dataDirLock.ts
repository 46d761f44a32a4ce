/**
 * A lock file that names the process holding it, so that one left behind by a
 * process that was killed can be told from one that is held.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as NodeFs from "node:fs/promises"
import * as NodeProcess from "node:process"

/** Another process, or this one, has the lock. */
export class Held extends Data.TaggedError("Held")<{ readonly pid: number }> {}

/** The lock could not be read or written. */
export class LockFailed extends Data.TaggedError("LockFailed")<{ readonly cause: unknown }> {}

/** Holds the lock until the scope closes. */
export const acquire = (path: string): Effect.Effect<void, Held | LockFailed, Scope.Scope> =>
  Effect.acquireRelease(take(path), () => Effect.orDie(attempt(() => NodeFs.rm(path, { force: true }))))

/**
 * `started` tells a process from a later one with the same id, which in a
 * container is the usual case: both are number 1.
 */
const Owner = Schema.fromJsonString(Schema.Struct({
  pid: Schema.Int.check(Schema.isGreaterThan(0)),
  started: Schema.optional(Schema.String)
}))

type Holder = { readonly _tag: "Absent" } | { readonly _tag: "Dead" } | { readonly _tag: "Alive"; readonly pid: number }

const take = (path: string): Effect.Effect<void, Held | LockFailed> =>
  Effect.suspend(() => {
    // Linked into place, a lock is never seen without its content.
    const mine = `${path}.${randomUUID()}`
    return Effect.ensuring(
      Effect.andThen(writeOwner(mine), claim(path, mine)),
      Effect.ignore(attempt(() => NodeFs.rm(mine, { force: true })))
    )
  })

const claim = Effect.fnUntraced(function*(path: string, mine: string) {
  while (true) {
    if (yield* link(mine, path)) return
    const holder = yield* holderOf(path)
    if (holder._tag === "Alive") return yield* new Held({ pid: holder.pid })
    if (holder._tag === "Dead" && (yield* takeOver(path, mine))) return
  }
})

/**
 * Only one process at a time may replace a lock, and it looks again first:
 * another may have replaced it since, and its lock must not be taken away.
 */
const takeOver = (path: string, mine: string): Effect.Effect<boolean, Held | LockFailed> =>
  Effect.scoped(Effect.gen(function*() {
    yield* acquire(`${path}.takeover`)
    const holder = yield* holderOf(path)
    if (holder._tag !== "Dead") return false
    yield* attempt(() => NodeFs.rename(mine, path))
    return true
  }))

const writeOwner = Effect.fnUntraced(function*(path: string) {
  const process = yield* findProcess(NodeProcess.pid)
  const owner = yield* Effect.orDie(
    Schema.encodeEffect(Owner)({
      pid: NodeProcess.pid,
      ...Option.match(process, { onNone: () => ({}), onSome: ({ started }) => ({ started }) })
    })
  )
  yield* attempt(() => NodeFs.writeFile(path, owner, { mode: 0o600 }))
})

const link = (existing: string, path: string): Effect.Effect<boolean, LockFailed> =>
  attempt(() => NodeFs.link(existing, path)).pipe(
    Effect.as(true),
    Effect.catch((error) => isCode(error.cause, "EEXIST") ? Effect.succeed(false) : Effect.fail(error))
  )

const holderOf = Effect.fnUntraced(function*(path: string): Effect.fn.Return<Holder, LockFailed> {
  const text = yield* read(path)
  if (Option.isNone(text)) return { _tag: "Absent" }
  // One that says nothing was written before the power went.
  const owner = Schema.decodeUnknownOption(Owner)(text.value)
  if (Option.isNone(owner)) return { _tag: "Dead" }
  const { pid, started } = owner.value
  if (!(yield* isThere(pid))) return { _tag: "Dead" }
  const process = yield* findProcess(pid)
  const isOther = Option.exists(
    process,
    (process) => process.isZombie || (started !== undefined && process.started !== started)
  )
  return isOther ? { _tag: "Dead" } : { _tag: "Alive", pid }
})

/** Another user's process may not be signalled, but it is there. */
const isThere = (pid: number): Effect.Effect<boolean> =>
  Effect.match(Effect.try({ try: () => NodeProcess.kill(pid, 0), catch: (cause) => isCode(cause, "EPERM") }), {
    onSuccess: () => true,
    onFailure: (isForbidden) => isForbidden
  })

/** What Linux tells of a process; nothing elsewhere, or when it is hidden. */
const findProcess = Effect.fnUntraced(function*(pid: number) {
  const stat = yield* Effect.option(attempt(() => NodeFs.readFile(`/proc/${pid}/stat`, "utf8")))
  const boot = yield* Effect.option(attempt(() => NodeFs.readFile("/proc/sys/kernel/random/boot_id", "utf8")))
  return Option.zipWith(stat, boot, (stat, boot) => {
    // The second field is the program's name, in parentheses, and may hold any character.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return { isZombie: fields[0] === "Z" || fields[0] === "X", started: `${boot.trim()} ${fields[19]}` }
  })
})

const read = (path: string): Effect.Effect<Option.Option<string>, LockFailed> =>
  attempt(() => NodeFs.readFile(path, "utf8")).pipe(
    Effect.map(Option.some),
    Effect.catch((error) => isCode(error.cause, "ENOENT") ? Effect.succeed(Option.none()) : Effect.fail(error))
  )

const attempt = <A>(operation: () => Promise<A>): Effect.Effect<A, LockFailed> =>
  Effect.tryPromise({ try: operation, catch: (cause) => new LockFailed({ cause }) })

const isCode = (cause: unknown, code: string): boolean => Predicate.hasProperty(cause, "code") && cause.code === code
