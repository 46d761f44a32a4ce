import type { JsonPatchOperation } from "effect/JsonPatch"
import * as JsonPointer from "effect/JsonPointer"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Json from "./json.ts"

/**
 * States as changes of the state before.
 *
 * A delta is an RFC 6902 patch of `add`, `remove` and `replace`, which many tools can read. One comparison of the two
 * states makes it; parts that are equal are not written, checked or copied again.
 */

export interface Delta {
  /** The patch as it is stored. */
  readonly text: string
  readonly bytes: number
  readonly escaped: boolean
  /** By how much the new state is larger, as `Json.encodeJson` counts. */
  readonly growth: Growth
}

type Growth = Pick<Json.Encoded, "bytes" | "memory">

/**
 * The patch that turns one state into another. `undefined` if it would be too long: then the whole state is stored. It is
 * fast where the states share their parts.
 */
export const diff = (before: Schema.Json, after: Schema.Json): Delta | undefined => {
  const state: DiffState = { path: [], texts: [], bytes: 2, escaped: false, growth: { bytes: 0, memory: 0 } }
  if (!compare(before, after, state)) return undefined
  const { bytes, escaped, growth, texts } = state
  return { text: `[${texts.join(",")}]`, bytes: bytes + commas(texts.length), escaped, growth }
}

/** The most operations of a delta. Beyond that, storing the whole state is better. */
const maxOperations = 1000

/** How far to search for the start of a list whose first elements were removed, or that got new ones in front. */
const maxShift = 64

interface DiffState {
  /** Where the comparison is. */
  readonly path: Array<string | number>
  /** The operations. */
  readonly texts: Array<string>
  bytes: number
  escaped: boolean
  readonly growth: { bytes: number; memory: number }
}

const grow = ({ growth }: DiffState, { bytes, memory }: Growth, sign: 1 | -1): void => {
  growth.bytes += sign * bytes
  growth.memory += sign * memory
}

/** Adds the operations that lead from one to the other. False if there would be too many. */
const compare = (before: Schema.Json, after: Schema.Json, state: DiffState): boolean => {
  if (before === after) return true
  if (Array.isArray(before) && Array.isArray(after)) return compareArrays(before, after, state)
  if (isObject(before) && isObject(after)) return compareObjects(before, after, state)
  if (Json.equals(before, after)) return true
  grow(state, Json.encodeJson(before), -1)
  return operate(state, "replace", after)
}

const at = (state: DiffState, token: string | number, go: () => boolean): boolean => {
  state.path.push(token)
  const more = go()
  state.path.pop()
  return more
}

const add = (after: Schema.Json, token: string | number, state: DiffState): boolean =>
  at(state, token, () => operate(state, "add", after))

const remove = (before: Schema.Json, token: string | number, state: DiffState): boolean => {
  grow(state, Json.encodeJson(before), -1)
  return at(state, token, () => operate(state, "remove"))
}

const operate = (state: DiffState, op: JsonPatchOperation["op"], value?: Schema.Json): boolean => {
  if (state.texts.length === maxOperations) return false
  const path = state.path.map((token) => `/${JsonPointer.escapeToken(String(token))}`).join("")
  const pointer = Json.encodeJson(path)
  let text = `{"op":"${op}","path":${pointer.text}`
  state.bytes += pointer.bytes + op.length + 17
  state.escaped ||= pointer.escaped
  if (value !== undefined) {
    const encoded = Json.encodeJson(value)
    text += `,"value":${encoded.text}`
    state.bytes += encoded.bytes + 9
    state.escaped ||= encoded.escaped
    grow(state, encoded, 1)
  }
  state.texts.push(`${text}}`)
  return true
}

const compareObjects = (before: Schema.JsonObject, after: Schema.JsonObject, state: DiffState): boolean => {
  const keysBefore = Object.keys(before)
  const keysAfter = Object.keys(after)
  state.growth.bytes += commas(keysAfter.length) - commas(keysBefore.length)
  for (const key of keysBefore) {
    if (Object.hasOwn(after, key)) continue
    grow(state, sizeOfKey(key), -1)
    if (!remove(before[key]!, key, state)) return false
  }
  for (const key of keysAfter) {
    if (Object.hasOwn(before, key)) {
      if (!at(state, key, () => compare(before[key]!, after[key]!, state))) return false
    } else {
      grow(state, sizeOfKey(key), 1)
      if (!add(after[key]!, key, state)) return false
    }
  }
  return true
}

/**
 * Lists grow or lose elements at either end, or change in the middle: what is equal
 * at both ends is left out, and the rest is compared in place.
 */
const compareArrays = (
  before: ReadonlyArray<Schema.Json>,
  after: ReadonlyArray<Schema.Json>,
  state: DiffState
): boolean => {
  const { equals } = Json
  state.growth.bytes += commas(after.length) - commas(before.length)
  state.growth.memory += Json.elementMemory * (after.length - before.length)
  let start = 0
  while (start < before.length && start < after.length && equals(before[start], after[start])) start++
  let end = 0
  while (
    end < before.length - start && end < after.length - start &&
    equals(before[before.length - 1 - end], after[after.length - 1 - end])
  ) end++

  const endBefore = before.length - end
  const endAfter = after.length - end
  const dropped = start < endAfter ? shift((i) => equals(before[i], after[start]), start, endBefore) : 0
  const prepended = dropped === 0 && start < endBefore
    ? shift((i) => equals(before[start], after[i]), start, endAfter)
    : 0
  for (let i = 0; i < dropped; i++) {
    if (!remove(before[start + i]!, start, state)) return false
  }
  for (let i = 0; i < prepended; i++) {
    if (!add(after[start + i]!, start + i, state)) return false
  }
  // What is left, by its place in `after`.
  const first = start + prepended
  const last = endBefore - dropped + prepended
  const old = (i: number): Schema.Json => before[i + dropped - prepended]!
  for (let i = first; i < Math.min(last, endAfter); i++) {
    if (!at(state, i, () => compare(old(i), after[i]!, state))) return false
  }
  // From the back, because each removal shifts the indexes after it.
  for (let i = last - 1; i >= Math.max(first, endAfter); i--) {
    if (!remove(old(i), i, state)) return false
  }
  for (let i = Math.max(first, last); i < endAfter; i++) {
    if (!add(after[i]!, i, state)) return false
  }
  return true
}

/** The distance from `start` to the element that the rest of the other list begins with; 0 if it is not found. */
const shift = (isIt: (index: number) => boolean, start: number, end: number): number => {
  for (let i = start + 1; i < Math.min(end, start + 1 + maxShift); i++) {
    if (isIt(i)) return i - start
  }
  return 0
}

const isObject = (value: Schema.Json): value is Schema.JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const commas = (count: number): number => Math.max(0, count - 1)

/** With its colon. */
const sizeOfKey = (key: string): Growth => {
  const { bytes, memory } = Json.encodeJson(key)
  return { bytes: bytes + 1, memory: memory + Json.keyMemory }
}

/** What was copied to apply patches, and may be changed in place. */
export interface Copies {
  readonly all: WeakSet<object>
  /** Those with a new key, which is still behind the others. */
  readonly unordered: Set<Record<string, Schema.Json>>
}

export const noCopies = (): Copies => ({ all: new WeakSet(), unordered: new Set() })

/** Brings the keys of what was copied into the order of the stores. */
export const orderKeys = ({ unordered }: Copies): void => unordered.forEach(Json.orderKeys)

/**
 * Applies a patch without changing what it is applied to: the containers on the
 * way are copied once for all patches that are given the same `copies`, and
 * everything else is shared. Fails on a patch that does not fit.
 */
export const apply = (
  patch: Schema.Json,
  state: Schema.Json,
  copies: Copies
): Result.Result<Schema.Json, string> => {
  if (!Array.isArray(patch)) return Result.fail("a delta is not an array")
  let root = state
  for (
    const operation of patch as ReadonlyArray<Partial<JsonPatchOperation & { readonly value: Schema.Json }> | null>
  ) {
    const { op, path, value } = operation ?? {}
    if (
      typeof path !== "string" || (path !== "" && path[0] !== "/") ||
      (op !== "remove" && ((op !== "add" && op !== "replace") || value === undefined))
    ) return Result.fail("a delta has an operation that is not understood")
    if (path === "") {
      if (op === "remove") return Result.fail("a delta removes everything")
      root = value!
      continue
    }
    const tokens = path.split("/").slice(1).map(JsonPointer.unescapeToken)
    const last = tokens.pop()!
    root = own(root, copies)
    let parent = root
    for (const token of tokens) {
      const child = childOf(parent, token)
      if (child === undefined || typeof child !== "object" || child === null) {
        return Result.fail(`a delta has a path that leads nowhere: ${path}`)
      }
      const copy = own(child, copies)
      if (copy !== child) set(parent as MutableContainer, token, copy)
      parent = copy
    }
    if (!change(parent as MutableContainer, op, last, value, copies)) {
      return Result.fail(`a delta does not fit: ${op} ${path}`)
    }
  }
  return Result.succeed(root)
}

type MutableContainer = Array<Schema.Json> | Record<string, Schema.Json>

const own = (value: Schema.Json, { all }: Copies): Schema.Json => {
  if (typeof value !== "object" || value === null || all.has(value)) return value
  const copy = Array.isArray(value) ? value.slice() : { ...value as Schema.JsonObject }
  all.add(copy)
  return copy
}

const indexOf = (token: string): number => /^(?:0|[1-9]\d*)$/.test(token) ? Number(token) : -1

const childOf = (parent: Schema.Json, token: string): Schema.Json | undefined =>
  Array.isArray(parent)
    ? parent[indexOf(token)]
    : Object.hasOwn(parent as Schema.JsonObject, token)
    ? (parent as Schema.JsonObject)[token]
    : undefined

const set = (parent: MutableContainer, token: string, value: Schema.Json): void => {
  if (Array.isArray(parent)) parent[indexOf(token)] = value
  else Json.setOwn(parent, token, value)
}

const change = (
  parent: MutableContainer,
  op: JsonPatchOperation["op"],
  token: string,
  value: Schema.Json | undefined,
  { unordered }: Copies
): boolean => {
  if (typeof parent !== "object" || parent === null) return false
  if (Array.isArray(parent)) {
    const index = indexOf(token)
    const most = op === "add" ? parent.length : parent.length - 1
    if (index < 0 || index > most) return false
    if (op === "replace") parent[index] = value!
    else if (op === "remove") parent.splice(index, 1)
    else if (index === parent.length) parent.push(value!)
    else parent.splice(index, 0, value!)
    return true
  }
  const isNew = !Object.hasOwn(parent, token)
  if (isNew && op !== "add") return false
  if (isNew) unordered.add(parent)
  if (op === "remove") delete parent[token]
  else Json.setOwn(parent, token, value!)
  return true
}

/** The size of a chain of deltas, which decides when it ends. */
export interface Chain {
  readonly keyframeVersion: number
  readonly keyframeBytes: number
  readonly deltaBytes: number
}

/** The cost of reading one more row, in bytes of state that could be read instead. */
const rowBytes = 200

/** A chain may have this many bytes however small the state is, because reading it is cheap. */
const leastBytes = 4096

/**
 * Whether to store a delta of this many bytes after `version`, the last of the chain, and not the whole state. This
 * bounds the bytes that are read for a state to about twice its size, even if it has shrunk. A thread that grows by
 * one message at a time is stored whole each time it has tripled, so the total grows with the thread and not with its
 * square.
 */
export const continues = (chain: Chain, version: number, deltaBytes: number, stateBytes: number): boolean => {
  const rows = version + 1 - chain.keyframeVersion
  const most = Math.max(stateBytes, leastBytes)
  const deltas = chain.deltaBytes + deltaBytes + rowBytes * rows
  return deltaBytes * 2 <= stateBytes && deltas < most && chain.keyframeBytes + deltas < 2 * most
}
