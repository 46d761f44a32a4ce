import * as Predicate from "effect/Predicate"
import type { InvalidInput } from "../../CheckpointError.ts"
import type { Plain } from "./model.ts"
import { isStruct, type Struct } from "./update.ts"

/** How the updates of a step become its state: as a whole with `reduce`, or field by field. */

export interface Reducing<in out S, in out U> {
  readonly reduce: (state: S, update: U) => S
  /**
   * What an update replaces, so that no other update of its step may replace it: the names of fields, or `undefined` for
   * the whole state.
   */
  readonly replaced: (update: U) => ReadonlyArray<string | undefined>
}

/** An option of `make` that is wrong, and why. */
export type Problem = Pick<InvalidInput, "field" | "problem">

/** The reducers of fields, by their names. */
export interface FieldReducers {
  readonly [field: string]: ((current: unknown, update: unknown) => unknown) | undefined
}

export type Conflicts = "fail" | "last"

interface Options<S, U> {
  readonly state: Plain
  readonly update?: Plain | undefined
  readonly reduce?: ((state: S, update: U) => S) | undefined
  readonly reducers?: FieldReducers | undefined
  readonly conflicts?: Conflicts | undefined
}

/** `merge` replaces fields of a state, or the whole state if it is not a struct. */
export const makeReducing = <S, U>(
  { conflicts = "fail", reduce, reducers = {}, state: schema }: Options<S, U>,
  merge: (state: S, update: unknown) => S
): Reducing<S, U> => {
  if (reduce !== undefined) return { reduce, replaced: () => [] }
  const byField = new Map(Object.entries(reducers).filter(([, reducer]) => reducer !== undefined))
  const replaced = isStruct(schema) ? replacedFields(schema, byField) : () => [undefined]
  return {
    reduce: byField.size === 0 ? merge : (state, update) => merge(state, reduceFields(byField, state, update)),
    replaced: conflicts === "last" ? () => [] : replaced
  }
}

const replacedFields = ({ fields }: Struct, reducers: ReadonlyMap<string, unknown>) => (update: unknown) =>
  Object.keys(Object(update)).filter((field) => Object.hasOwn(fields, field) && !reducers.has(field))

/** The new values of the fields that an update has. */
const reduceFields = (
  reducers: ReadonlyMap<string, FieldReducers[string]>,
  state: unknown,
  update: unknown
): object => {
  const current = Object(state)
  return Object.fromEntries(
    Object.entries(Object(update)).map(([field, value]) => {
      const reducer = reducers.get(field)
      const before = Object.hasOwn(current, field) ? current[field] : undefined
      return [field, reducer === undefined ? value : reducer(before, value)]
    })
  )
}

/** What is wrong with these options in unchecked code. */
export const reducingProblem = <S, U>(
  { conflicts, reduce, reducers, state, update }: Options<S, U>
): Problem | undefined => {
  if (conflicts !== undefined && conflicts !== "fail" && conflicts !== "last") {
    return { field: "conflicts", problem: `expected "fail" or "last", got ${String(conflicts)}` }
  }
  if (reducers === undefined) return undefined
  const wrong = (problem: string): Problem => ({ field: "reducers", problem })
  if (reduce !== undefined || update !== undefined) {
    return wrong("reduce replaces them all; pass either reduce or reducers")
  }
  if (!isStruct(state)) return wrong("the state is not a struct; pass reduce instead")
  const unknown = Object.keys(reducers).find((field) => !Object.hasOwn(state.fields, field))
  if (unknown !== undefined) return wrong(`the state has no field "${unknown}"`)
  const invalid = Object.entries(reducers).find(([, reducer]) =>
    reducer !== undefined && !Predicate.isFunction(reducer)
  )
  return invalid === undefined ? undefined : wrong(`that of "${invalid[0]}" is not a function`)
}
