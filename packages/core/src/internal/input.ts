import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Interrupt } from "../Checkpoint.ts"
import { InvalidInput, StateTooLarge } from "../CheckpointError.ts"
import { maxPartBytes, type StepChange, type ThreadKey } from "../CheckpointStore.ts"
import * as Json from "./json.ts"

/** The checks of arguments, before anything is read or written. They are the same for all stores. */

/** The longest id, in bytes of UTF-8. */
const maxIdBytes = 1024

/**
 * The limit of thread id, namespace and checkpoint id together, or task. A row of a Postgres btree index holds 2,704 bytes.
 */
const maxKeyBytes = 2560

const maxTags = 64
const maxPage = 10_000
const maxDuration = 2e14

const fail = (field: string, reason: string): Effect.Effect<never, InvalidInput> =>
  Effect.fail(new InvalidInput({ field, problem: reason }))

const idProblem = (value: unknown): string | undefined => {
  if (typeof value !== "string") return `expected a string, got ${value === null ? "null" : typeof value}`
  if (value.includes("\u0000")) return "it holds U+0000, which Postgres cannot store"
  if (!value.isWellFormed()) return "it holds a lone surrogate, which is not text"
  const bytes = Json.utf8Bytes(value)
  return bytes > maxIdBytes ? `it is ${bytes} bytes of UTF-8, at most ${maxIdBytes} are allowed` : undefined
}

export const id = (field: string, value: unknown): Effect.Effect<string, InvalidInput> => {
  const problem = value === "" ? "it is empty" : idProblem(value)
  return problem === undefined ? Effect.succeed(value as string) : fail(field, problem)
}

export const namespace = (value: unknown): Effect.Effect<void, InvalidInput> => {
  const problem = idProblem(value)
  return problem === undefined ? Effect.void : fail("namespace", problem)
}

export const checkpointId = (key: ThreadKey, value: string): Effect.Effect<void, InvalidInput> =>
  Effect.andThen(id("checkpointId", value), together("checkpointId", key, "checkpoint id", value))

export const task = (key: ThreadKey, value: string): Effect.Effect<void, InvalidInput> =>
  idWithin("pendingWrites", key, "task", value)

/** An id that is stored within JSON, in which U+001A takes four bytes more. */
const idWithin = (field: string, key: ThreadKey, name: string, value: string): Effect.Effect<void, InvalidInput> =>
  Effect.flatMap(id(field, value), () => together(field, key, name, value.replaceAll("\u001a", "\u001a0000")))

const together = (
  field: string,
  { namespace, threadId }: ThreadKey,
  name: string,
  value: string
): Effect.Effect<void, InvalidInput> =>
  Effect.suspend(() => {
    const bytes = Json.utf8Bytes(threadId) + Json.utf8Bytes(namespace) + Json.utf8Bytes(value)
    return bytes <= maxKeyBytes ? Effect.void : fail(
      field,
      `thread id, namespace and ${name} are ${bytes} bytes of UTF-8 together, at most ${maxKeyBytes} are allowed`
    )
  })

export const wholeNumber = (field: string, value: unknown, least: 0 | 1 = 1): Effect.Effect<void, InvalidInput> =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= least
    ? Effect.void
    : fail(field, `expected a whole number from ${least} to ${Number.MAX_SAFE_INTEGER}, got ${String(value)}`)

export const expectedVersion = (value: unknown): Effect.Effect<void, InvalidInput> =>
  value === 0
    ? fail("expectedVersion", "versions begin at 1; use create for a thread that must not exist")
    : wholeNumber("expectedVersion", value)

export const limit = (value: unknown): Effect.Effect<void, InvalidInput> =>
  typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= maxPage
    ? Effect.void
    : fail("limit", `expected a whole number from 1 to ${maxPage}, got ${String(value)}`)

/** The results of tasks. The caller limits the size. */
export const pendingWrites = (
  key: ThreadKey,
  values: Schema.JsonObject
): Effect.Effect<Json.Encoded, InvalidInput> =>
  Effect.suspend(() => {
    const copied = Json.copy(values)
    if (Result.isFailure(copied)) return fail("pendingWrites", copied.failure)
    const writes = copied.success
    if (typeof writes !== "object" || writes === null || Array.isArray(writes)) {
      return fail("pendingWrites", "expected an object of tasks and JSON values")
    }
    return Effect.as(
      Effect.forEach(Object.keys(writes), (name) => task(key, name), { discard: true }),
      Json.encodeJson(writes)
    )
  })

/** Responses by interrupt id. Each may be as large as a state. */
export const answers = (
  { namespace, threadId }: ThreadKey,
  limit: number,
  values: Schema.JsonObject
): Effect.Effect<string, InvalidInput | StateTooLarge> =>
  Effect.gen(function*() {
    const copied = Json.copy(values)
    if (Result.isFailure(copied)) return yield* fail("answers", copied.failure)
    const answers = copied.success
    if (typeof answers !== "object" || answers === null || Array.isArray(answers)) {
      return yield* fail("answers", "expected an object of responses by interrupt id")
    }
    for (const [interruptId, response] of Object.entries(answers)) {
      yield* id("answers", interruptId)
      const { bytes } = Json.encodeJson(response)
      if (bytes > limit) {
        return yield* new StateTooLarge({ threadId, namespace, bytes, limit, interruptId })
      }
    }
    return Json.encodeJson(answers).text
  })

/** Removes duplicates and keeps the order. */
export const tags = (values: ReadonlyArray<string>): Effect.Effect<string, InvalidInput> =>
  Effect.suspend(() => {
    if (!Array.isArray(values)) return fail("tags", "expected an array of strings")
    const unique = Array.from(new Set<string>(values))
    return unique.length > maxTags
      ? fail("tags", `there are ${unique.length}, at most ${maxTags} are allowed`)
      : Effect.andThen(
        Effect.forEach(unique, (value, i) => id(`tags[${i}]`, value), { discard: true }),
        json("tags", unique)
      )
  })

/** A small JSON part of a checkpoint, as text that every store can hold. `depth` is its level in a larger value. */
export const json = (field: string, value: Schema.Json, depth = 0): Effect.Effect<string, InvalidInput> =>
  Effect.suspend(() => {
    const encoded = Json.encode(value, depth)
    if (encoded._tag === "Failure") return fail(field, encoded.failure)
    return encoded.success.bytes > maxPartBytes
      ? fail(
        field,
        `it is ${encoded.success.bytes} bytes of JSON, at most ${maxPartBytes} are allowed; keep it in the state`
      )
      : Effect.succeed(encoded.success.text)
  })

export const jsonObject = (field: string, value: Schema.JsonObject): Effect.Effect<string, InvalidInput> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? json(field, value)
    : fail(field, "expected a JSON object")

export const nodes = (values: ReadonlyArray<string>): Effect.Effect<string, InvalidInput> =>
  Effect.suspend(() => {
    const nodes = Json.copy(values)
    return Result.isSuccess(nodes) && Array.isArray(nodes.success) && nodes.success.every(Predicate.isString)
      ? json("nextNodes", nodes.success)
      : fail("nextNodes", "expected an array of strings")
  })

export const interrupts = (
  key: ThreadKey,
  values: ReadonlyArray<Interrupt>,
  field = "pendingInterrupts"
): Effect.Effect<string, InvalidInput> =>
  Effect.suspend(() => {
    if (!Array.isArray(values)) return fail(field, "expected an array of interrupts")
    if (values.length === 0) return Effect.succeed("[]")
    // The list does not count as a level of nesting.
    return Effect.flatMap(interruptsOf(key, field, values), (interrupts) => json(field, interrupts, -1))
  })

/** Questions with their answers, each of which was stored before, and those that are open beside them. */
export const answered = (
  key: ThreadKey,
  values: ReadonlyArray<Interrupt & { readonly response: Schema.Json }>,
  open: ReadonlyArray<Interrupt>
): Effect.Effect<string, InvalidInput> =>
  Effect.gen(function*() {
    const interrupts = yield* interruptsOf(key, "step.answered", values)
    const both = interrupts.find(({ interruptId }) => open.some((other) => other.interruptId === interruptId))
    if (both !== undefined) yield* fail("step.answered", `"${both.interruptId}" is also a pending interrupt`)
    const copied = Json.copy(
      interrupts.map((interrupt, i) => ({ ...interrupt, response: values[i]!.response })),
      undefined,
      -1
    )
    return Result.isFailure(copied)
      ? yield* fail("step.answered", copied.failure)
      : Json.encodeJson(copied.success).text
  })

const interruptsOf = (key: ThreadKey, name: string, values: ReadonlyArray<Interrupt>) => {
  const seen = new Set<string>()
  return Effect.forEach(values, ({ interruptId, metadata, request }, i) => {
    const field = `${name}[${i}].interruptId`
    if (seen.has(interruptId)) return fail(field, `"${interruptId}" is the id of another interrupt`)
    seen.add(interruptId)
    return Effect.as(idWithin(field, key, "interrupt id", interruptId), {
      interruptId,
      request,
      ...metadata === undefined ? {} : { metadata }
    })
  })
}

const stepChanges: ReadonlyArray<StepChange> = ["Begins", "Ends", "Continues"]

export const stepChange = (change: StepChange = "Begins"): Effect.Effect<StepChange, InvalidInput> =>
  stepChanges.includes(change)
    ? Effect.succeed(change)
    : fail("step.change", `expected one of ${stepChanges.join(", ")}, got ${String(change)}`)

/** A duration in whole milliseconds. Times of Postgres begin in 4714 BC, which limits how long ago one can be. */
export const duration = (field: string, value: Duration.Input): Effect.Effect<number, InvalidInput> => {
  const millis = Option.map(Duration.fromInput(value), Duration.toMillis)
  return Option.isSome(millis) && millis.value >= 1 && millis.value <= maxDuration
    ? Effect.succeed(Math.floor(millis.value))
    : fail(
      field,
      `expected a duration from 1 millisecond to ${maxDuration} (about 6,300 years), got ${String(value)}`
    )
}
