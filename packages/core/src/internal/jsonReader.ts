import type * as Schema from "effect/Schema"

/**
 * Reads JSON text that is known to be valid. Use this and not `JSON.parse` for text that may hold keys of any kind.
 *
 * V8's `JSON.parse` can give an object whose keys have escapes the keys of an object that was parsed earlier
 * (https://github.com/nodejs/node/issues/63785), which may belong to another tenant. Text that has such a key is
 * read here; everything else by the native parser.
 */
export const parse = (text: string): Schema.Json => hasEscapedKey(text) ? readValue(makeReader(text)) : JSON.parse(text)

/** A position in a text whose strings are found by their quotes and backslashes, each visited once. */
interface Reader {
  readonly text: string
  at: number
  /** The first backslash that has not been passed yet. */
  backslash: number
}

const makeReader = (text: string): Reader => ({ text, at: 0, backslash: find(text, "\\", 0) })

const find = (text: string, character: string, from: number): number => {
  const index = text.indexOf(character, from)
  return index === -1 ? text.length : index
}

const hasEscapedKey = (text: string): boolean => {
  const reader = makeReader(text)
  while (reader.backslash < text.length) {
    // It is within a string, whose end comes after what it escapes.
    reader.at = reader.backslash + 1
    skipString(reader)
    if (text[skipSpace(reader)] === ":") return true
  }
  return false
}

/** Passes a string, and tells whether it has an escape. */
const skipString = (reader: Reader): boolean => {
  const { text } = reader
  let end = find(text, "\"", reader.at + 1)
  const isEscaped = reader.backslash < end
  while (reader.backslash < end) {
    // A backslash and what follows it belong together.
    if (reader.backslash + 1 === end) end = find(text, "\"", end + 1)
    reader.backslash = find(text, "\\", reader.backslash + 2)
  }
  reader.at = end + 1
  return isEscaped
}

const skipSpace = (reader: Reader): number => {
  while (spaces.has(reader.text[reader.at]!)) reader.at++
  return reader.at
}

const spaces = new Set([" ", "\n", "\t", "\r"])

const endsLiteral = new Set([",", "]", "}", ...spaces])

const readValue = (reader: Reader): Schema.Json => {
  const { text } = reader
  const start = skipSpace(reader)
  switch (text[start]) {
    case "{":
      return readObject(reader)
    case "[":
      return readArray(reader)
    case "\"":
      return readString(reader)
    default: {
      while (reader.at < text.length && !endsLiteral.has(text[reader.at]!)) reader.at++
      return JSON.parse(text.slice(start, reader.at))
    }
  }
}

const readObject = (reader: Reader): Schema.JsonObject => {
  const object: Record<string, Schema.Json> = {}
  while (hasNext(reader, "}")) {
    const key = readString(reader)
    reader.at = skipSpace(reader) + 1
    setOwn(object, key, readValue(reader))
  }
  return object
}

const readArray = (reader: Reader): ReadonlyArray<Schema.Json> => {
  const array: Array<Schema.Json> = []
  while (hasNext(reader, "]")) array.push(readValue(reader))
  return array
}

/** Passes an opening bracket or a comma, and the closing bracket where nothing comes before it. */
const hasNext = (reader: Reader, close: "]" | "}"): boolean => {
  const { text } = reader
  if (text[skipSpace(reader)] !== close) reader.at++
  if (text[skipSpace(reader)] !== close) return true
  reader.at++
  return false
}

const readString = (reader: Reader): string => {
  const start = reader.at
  // The native parser is right about a string that is not a key.
  return skipString(reader)
    ? JSON.parse(reader.text.slice(start, reader.at))
    : reader.text.slice(start + 1, reader.at - 1)
}

/** Assigns an own property, also where a setter of the prototype has that name, as for `__proto__`. */
export const setOwn = (object: Record<string, Schema.Json>, key: string, value: Schema.Json): void => {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}
