import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { setOwn } from "./jsonReader.ts"

/**
 * Nesting that every store can hold: below what the recursion of JSON.parse,
 * JSON.stringify and Postgres' parser (`max_stack_depth`) allows.
 */
export const maxDepth = 1000

/**
 * A copy of a value, or what prevents it from being JSON, and where. What JSON cannot hold is a failure: `JSON.stringify`
 * would change it silently. `depth` is how deep the value is in a whole.
 *
 * Each property is read once, therefore nothing that the value does when it is read, and nothing that becomes of it
 * later, changes the copy. What is equal to `before` at the same place is not copied again, but shared.
 */
export const copy = (
  value: unknown,
  before?: Schema.Json | undefined,
  depth = 0
): Result.Result<Schema.Json, string> => {
  const state: State = { path: [], depth: 0, problem: "", maxDepth: maxDepth - depth }
  const result = Result.try({
    try: () => copyValue(value, before, state),
    catch: (error) => `it cannot be read (${error instanceof Error ? error.message : String(error)})`
  })
  if (Result.isFailure(result)) return Result.fail(`${result.failure} at ${formatPath(state)}`)
  return result.success === undefined
    ? Result.fail(`${state.problem} at ${formatPath(state)}`)
    : Result.succeed(result.success)
}

interface State {
  /** Where the copy is, and stays when something is refused; as long as `depth`, and the rest is out of date. */
  readonly path: Array<string | number>
  /** How many containers are being copied. */
  depth: number
  problem: string
  readonly maxDepth: number
}

const refuse = (state: State, problem: string): undefined => {
  state.problem = problem
  return undefined
}

const copyValue = (value: unknown, before: Schema.Json | undefined, state: State): Schema.Json | undefined => {
  switch (typeof value) {
    case "string":
      // The one that is there already, because comparing a string with itself is fast.
      return value === before ? before : value
    case "number":
      // Not -0, which no store keeps.
      return Number.isFinite(value) ? value + 0 : refuse(state, `${value} is not a JSON number`)
    case "boolean":
      return value
    case "object":
      if (value === null) return value
      if (state.depth >= state.maxDepth) return refuse(state, `more than ${maxDepth} levels of nesting`)
      return Array.isArray(value)
        ? copyArray(value, Array.isArray(before) ? before : undefined, state)
        : copyObject(value, isObject(before) ? before : undefined, state)
    default:
      return refuse(state, `${typeof value === "undefined" ? "undefined" : `a ${typeof value}`} is not JSON`)
  }
}

const copyArray = (
  value: ReadonlyArray<unknown>,
  known: ReadonlyArray<Schema.Json> | undefined,
  state: State
): ReadonlyArray<Schema.Json> | undefined => {
  if (!isPlainArray(value)) return refuseInstance(state, value)
  const { length } = value
  const before = known ?? []
  let copied: Array<Schema.Json> | undefined = length === known?.length ? undefined : []
  const depth = state.depth++
  for (let i = 0; i < length; i++) {
    state.path[depth] = i
    const prior = before[i]
    const item = copyValue(value[i], prior, state)
    if (item === undefined) return undefined
    if (copied === undefined && item !== prior) copied = before.slice(0, i)
    if (copied !== undefined) copied.push(item)
  }
  state.depth = depth
  return copied ?? before
}

const copyObject = (
  value: object,
  known: Schema.JsonObject | undefined,
  state: State
): Schema.JsonObject | undefined => {
  if (!isPlain(value)) return refuseInstance(state, value)
  const symbols = Object.getOwnPropertySymbols(value)
  if (symbols.length > 0) {
    const symbol = symbols.find((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol))
    if (symbol !== undefined) return refuse(state, `the key ${String(symbol)} is not JSON`)
  }
  const keys = Object.keys(value)
  const before = known ?? {}
  const keysBefore = Object.keys(before)
  let copied: Record<string, Schema.Json> | undefined = known !== undefined && keys.length === keysBefore.length
    ? undefined
    : {}
  const depth = state.depth++
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!
    state.path[depth] = key
    const prior = key === keysBefore[i] || Object.hasOwn(before, key) ? before[key] : undefined
    const item = copyValue((value as Readonly<Record<string, unknown>>)[key], prior, state)
    if (item === undefined) return undefined
    if (copied === undefined && item !== prior) {
      copied = {}
      for (const equal of keys.slice(0, i)) setOwn(copied, equal, before[equal]!)
    }
    if (copied !== undefined) setOwn(copied, key, item)
  }
  state.depth = depth
  return copied ?? before
}

const refuseInstance = (state: State, value: object): undefined =>
  refuse(state, `an instance of ${value.constructor?.name ?? "a class"} is not JSON`)

const isObject = (value: Schema.Json | undefined): value is Schema.JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Whether it is a plain object, not an instance of a class. */
const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // A plain object of another realm has another Object.prototype, which is also the last of its chain.
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

const isPlainArray = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // That of an array of any realm is an array itself, and that of a class which extends it is not.
  return prototype === Array.prototype || Array.isArray(prototype)
}

const formatPath = ({ depth, path }: State): string => {
  const keys = path.slice(0, depth)
  const shown = keys.length > 16 ? [...keys.slice(0, 16), "..."] : keys
  return `$${shown.map((key) => typeof key === "number" ? `[${key}]` : `[${JSON.stringify(key)}]`).join("")}`
}
