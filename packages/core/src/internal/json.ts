import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { parse, setOwn } from "./jsonReader.ts"

export { parse, setOwn }

/**
 * Nesting that every store can hold: below what the recursion of JSON.parse,
 * JSON.stringify and Postgres' parser (`max_stack_depth`) allows.
 */
export const maxDepth = 1000

export interface Encoded {
  readonly text: string
  /**
   * The UTF-8 bytes of the text with every number written out in full, as
   * Postgres prints it: `1e300` is 301 digits there.
   */
  readonly bytes: number
  /** Whether strings were escaped. */
  readonly escaped: boolean
}

/**
 * JSON text that any store can hold, or what prevents it, and where.
 *
 * What `jsonb` refuses in strings and keys (U+0000 and lone surrogates) is
 * written as {@link escapeChar} and four hex digits, and so is the escape
 * character itself. What JSON cannot hold at all is a failure: `JSON.stringify`
 * would change it silently. `depth` is how deep the value is in a whole.
 */
export const encode = (value: unknown, depth = 0): Result.Result<Encoded, string> => {
  const state: CheckState = { path: [], escape: false, extraBytes: 0, maxDepth: maxDepth - depth }
  const problem = check(value, state)
  if (problem !== undefined) {
    return Result.fail(`${problem} at ${formatPath(state.path)}`)
  }
  const text = JSON.stringify(state.escape ? mapStrings(value as Schema.Json, escapeString) : value)
  return Result.succeed({ text, bytes: utf8Bytes(text) + state.extraBytes, escaped: state.escape })
}

/** {@link encode} of what is known to be JSON. */
export const encodeUnsafe = (value: Schema.Json): Encoded => Result.getOrThrow(encode(value))

/** The length in UTF-8, without building it. */
export const utf8Bytes = (text: string): number => {
  if (!beyondAscii.test(text)) return text.length
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    // A surrogate pair is two units and four bytes.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}

const beyondAscii = /[\u0080-\uffff]/

/** Reads what {@link encode} has written. */
export const decode = (text: string): Schema.Json => unescape(parse(text))

/** Undoes the escaping of {@link encode}. Untouched parts are not copied. */
export const unescape = (value: Schema.Json): Schema.Json => mapStrings(value, unescapeString)

/** A control character that JSON text never holds as itself and that real text hardly ever holds. */
const escapeChar = "\u001a"

// eslint-disable-next-line no-control-regex
const needsEscape = /[\u0000\u001a\ud800-\udfff]/

// eslint-disable-next-line no-control-regex
const toEscape = /[\u0000\u001a]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

// eslint-disable-next-line no-control-regex
const escapes = /\u001a([0-9a-f]{4})/g

const mustEscape = (text: string): boolean =>
  needsEscape.test(text) && (!text.isWellFormed() || text.includes("\u0000") || text.includes(escapeChar))

const escapeString = (text: string): string =>
  mustEscape(text)
    ? text.replace(toEscape, (unit) => escapeChar + unit.charCodeAt(0).toString(16).padStart(4, "0"))
    : text

const unescapeString = (text: string): string =>
  text.includes(escapeChar)
    ? text.replace(escapes, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : text

interface CheckState {
  readonly path: Array<string | number>
  escape: boolean
  extraBytes: number
  readonly maxDepth: number
}

/** The first thing that JSON cannot hold, with its path left in `state`. */
const check = (value: unknown, state: CheckState): string | undefined => {
  switch (typeof value) {
    case "string": {
      if (!state.escape && mustEscape(value)) state.escape = true
      return undefined
    }
    case "number": {
      if (!Number.isFinite(value)) return `${value} is not a JSON number`
      const size = Math.abs(value)
      if (size >= 1e21 || (size < 1e-6 && size > 0)) state.extraBytes += Math.ceil(Math.abs(Math.log10(size)))
      return undefined
    }
    case "boolean":
      return undefined
    case "object": {
      if (value === null) return undefined
      if (state.path.length >= state.maxDepth) return `more than ${maxDepth} levels of nesting`
      return Array.isArray(value) ? checkArray(value, state) : checkObject(value, state)
    }
    default:
      return `${typeof value === "undefined" ? "undefined" : `a ${typeof value}`} is not JSON`
  }
}

const checkArray = (value: ReadonlyArray<unknown>, state: CheckState): string | undefined => {
  for (let i = 0; i < value.length; i++) {
    state.path.push(i)
    const problem = check(value[i], state)
    if (problem !== undefined) return problem
    state.path.pop()
  }
  return undefined
}

const checkObject = (value: object, state: CheckState): string | undefined => {
  if (!isPlain(value)) {
    return `an instance of ${value.constructor?.name ?? "a class"} is not JSON`
  }
  for (const key of Object.keys(value)) {
    state.path.push(key)
    if (!state.escape && mustEscape(key)) state.escape = true
    const problem = check((value as Record<string, unknown>)[key], state)
    if (problem !== undefined) return problem
    state.path.pop()
  }
  return undefined
}

/** Whether it is a plain object, not an instance of a class. */
export const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // A plain object of another realm has another Object.prototype, which is also the last of its chain.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const formatPath = (path: ReadonlyArray<string | number>): string => {
  const shown = path.length > 16 ? [...path.slice(0, 16), "..."] : path
  return `$${shown.map((key) => typeof key === "number" ? `[${key}]` : `[${JSON.stringify(key)}]`).join("")}`
}

const mapStrings = (value: Schema.Json, f: (text: string) => string): Schema.Json => {
  if (typeof value === "string") return f(value)
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) {
    let copy: Array<Schema.Json> | undefined
    for (let i = 0; i < value.length; i++) {
      const before: Schema.Json = value[i]
      const after = mapStrings(before, f)
      if (after !== before) {
        copy ??= value.slice()
        copy[i] = after
      }
    }
    return copy ?? value
  }
  const object = value as Schema.JsonObject
  const entries: Array<[string, Schema.Json]> = []
  let isChanged = false
  for (const key of Object.keys(object)) {
    const before = object[key]!
    const name = f(key)
    const after = mapStrings(before, f)
    if (name !== key || after !== before) isChanged = true
    entries.push([name, after])
  }
  // `fromEntries` defines own properties, so a key such as `__proto__` stays a key.
  return isChanged ? Object.fromEntries(entries) : value
}

/** A deep copy of JSON. */
export const clone = (value: Schema.Json): Schema.Json => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(clone)
  const copy: Record<string, Schema.Json> = {}
  for (const key of Object.keys(value)) setOwn(copy, key, clone((value as Schema.JsonObject)[key]!))
  return copy
}

/** Equality of JSON values: key order does not matter, -0 equals 0. */
export const equals = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => equals(item, b[i]))
  }
  if (Array.isArray(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) =>
    Object.hasOwn(b, key) &&
    equals((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key])
  )
}

/** Containment as Postgres' `jsonb @>` defines it, for two objects. */
export const contains = (a: Schema.Json, b: Schema.Json): boolean => {
  if (Array.isArray(b)) {
    return Array.isArray(a) && b.every((item: Schema.Json) => a.some((other: Schema.Json) => contains(other, item)))
  }
  if (typeof b === "object" && b !== null) {
    return typeof a === "object" && a !== null && !Array.isArray(a) &&
      Object.entries(b).every(([key, value]) =>
        Object.hasOwn(a, key) && contains((a as Schema.JsonObject)[key]!, value)
      )
  }
  return a === b
}
