import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { copy } from "./jsonCopy.ts"
import { parse, setOwn } from "./jsonReader.ts"

export { copy, parse, setOwn }

/** JSON as text, and its sizes. */
export interface Encoded {
  readonly text: string
  /**
   * The UTF-8 bytes of the text with every number written out in full, as
   * Postgres prints it: `1e300` is 301 digits there.
   */
  readonly bytes: number
  /** About how many bytes of this process's memory the value takes. */
  readonly memory: number
  /** Whether strings were escaped. */
  readonly escaped: boolean
}

/** {@link encodeJson} of a value, or what prevents it from being JSON, and where. */
export const encode = (value: unknown, depth = 0): Result.Result<Encoded, string> =>
  Result.map(copy(value, undefined, depth), encodeJson)

/**
 * JSON text that any store can hold.
 *
 * What `jsonb` refuses in strings and keys (U+0000 and lone surrogates) is
 * written as {@link escapeChar} and four hex digits, and so is the escape
 * character itself.
 */
export const encodeJson = (value: Schema.Json): Encoded => {
  const sizes = sizesOf(value)
  const text = JSON.stringify(sizes.escape ? mapStrings(value, escapeString) : value)
  return { text, bytes: utf8Bytes(text) + sizes.extraBytes, memory: sizes.memory, escaped: sizes.escape }
}

/** About how many bytes of this process's memory JSON takes. */
export const memoryOf = (value: Schema.Json): number => sizesOf(value).memory

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

interface Sizes {
  escape: boolean
  /** How much longer numbers are in Postgres. */
  extraBytes: number
  memory: number
}

const sizesOf = (value: Schema.Json): Sizes => {
  const sizes: Sizes = { escape: false, extraBytes: 0, memory: 0 }
  measure(value, sizes)
  return sizes
}

/** What V8 needs for a value besides its parts. */
const objectMemory = 56
export const keyMemory = 40
const arrayMemory = 56
export const elementMemory = 8
const stringMemory = 24
const fractionMemory = 16

const measure = (value: Schema.Json, sizes: Sizes): void => {
  if (typeof value === "string") {
    measureString(value, sizes)
  } else if (typeof value === "number") {
    if (!Number.isInteger(value)) sizes.memory += fractionMemory
    const size = Math.abs(value)
    if (size >= 1e21 || (size < 1e-6 && size > 0)) sizes.extraBytes += Math.ceil(Math.abs(Math.log10(size)))
  } else if (typeof value !== "object" || value === null) {
    return
  } else if (Array.isArray(value)) {
    sizes.memory += arrayMemory + elementMemory * value.length
    for (const item of value as ReadonlyArray<Schema.Json>) measure(item, sizes)
  } else {
    const object = value as Schema.JsonObject
    sizes.memory += objectMemory
    for (const key of Object.keys(object)) {
      sizes.memory += keyMemory
      measureString(key, sizes)
      measure(object[key]!, sizes)
    }
  }
}

const measureString = (text: string, sizes: Sizes): void => {
  sizes.memory += stringMemory + text.length
  if (!beyondLatin1OrEscape.test(text)) return
  if (beyondLatin1.test(text)) sizes.memory += text.length
  if (!sizes.escape && mustEscape(text)) sizes.escape = true
}

// eslint-disable-next-line no-control-regex
const beyondLatin1OrEscape = /[\u0000\u001a\u0100-\uffff]/

const beyondLatin1 = /[\u0100-\uffff]/

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

/** The length of JSON text as Postgres prints it: with a space after each comma and colon, and numbers written out. */
export const storedBytes = (text: string): number => {
  const value = parse(text)
  return utf8Bytes(text) + sizesOf(value).extraBytes + separators(value)
}

const separators = (value: Schema.Json): number => {
  if (typeof value !== "object" || value === null) return 0
  const parts = Object.values(value) as ReadonlyArray<Schema.Json>
  const own = Math.max(0, parts.length - 1) + (Array.isArray(value) ? 0 : parts.length)
  return parts.reduce<number>((sum, part) => sum + separators(part), own)
}

// -----------------------------------------------------------------------------
// the order of keys
// -----------------------------------------------------------------------------

/** Text that {@link encode} has written, with keys in the order of `jsonb`. */
export const inOrder = (text: string): string => JSON.stringify(ordered(parse(text)))

const ordered = (value: Schema.Json): Schema.Json => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(ordered)
  const object = value as Schema.JsonObject
  const copy: Record<string, Schema.Json> = {}
  for (const key of Object.keys(object).toSorted(compareStored)) setOwn(copy, key, ordered(object[key]!))
  return copy
}

/** Brings the keys of an object into the order of `jsonb`. */
export const orderKeys = (object: Record<string, Schema.Json>): void => {
  const unordered = Object.entries(object)
  for (const [key] of unordered) delete object[key]
  for (const [key, value] of unordered.toSorted(([a], [b]) => compareStored(escapeString(a), escapeString(b)))) {
    setOwn(object, key, value)
  }
}

/** The order of `jsonb` for keys as they are stored: by the length in UTF-8, then by the bytes. */
const compareStored = (a: string, b: string): number => utf8Bytes(a) - utf8Bytes(b) || compareBytes(a, b)

/** Compares well-formed texts as UTF-8: by code points. */
export const compareBytes = (a: string, b: string): number => {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    // Surrogates stand for code points that are above all others.
    if (x !== y) return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1
  }
  return a.length - b.length
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff

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
