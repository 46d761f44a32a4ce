import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { InvalidInput } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { Selector } from "../../View.ts"
import * as Input from "../input.ts"

/** A selector as a store understands it, and what the selected version must be besides. */
export interface Selected {
  readonly selector: Exclude<CheckpointStore.Selector, { readonly _tag: "Before" }>
  /** The number that the version with the selected id must have. */
  readonly version: number | undefined
  /** The selector in words. `undefined` for the newest version. */
  readonly description: string | undefined
}

export const latest: Selected = { selector: { _tag: "Latest" }, version: undefined, description: undefined }

export const select = Effect.fnUntraced(function*(
  key: CheckpointStore.ThreadKey,
  selector: Selector
): Effect.fn.Return<Selected, InvalidInput> {
  if (!Predicate.isObject(selector)) return yield* unknownSelector
  yield* checkOwn(key, selector)
  const { at, checkpointId, tag, version } = selector
  if (version !== undefined) yield* Input.wholeNumber("version", version)
  if (checkpointId !== undefined) {
    yield* Input.id("checkpointId", checkpointId)
    const description = version === undefined
      ? `the id "${checkpointId}"`
      : `version ${version} and id "${checkpointId}"`
    return { selector: { _tag: "Id", checkpointId }, version, description }
  }
  if (version !== undefined) {
    return { selector: { _tag: "Version", version }, version: undefined, description: `version ${version}` }
  }
  if (tag !== undefined) {
    const tags = yield* Input.json("tag", [yield* Input.id("tag", tag)])
    return { selector: { _tag: "Tag", tags }, version: undefined, description: `the tag ${tags.slice(1, -1)}` }
  }
  if (at !== undefined && DateTime.isDateTime(at)) {
    return {
      selector: { _tag: "Time", epochMillis: DateTime.toEpochMillis(at) },
      version: undefined,
      description: `a time up to ${DateTime.formatIso(at)}`
    }
  }
  return yield* unknownSelector
})

/** A checkpoint of another thread or view is no selector here, though there may be a version with its number. */
const checkOwn = (
  key: CheckpointStore.ThreadKey,
  selector: Selector
): Effect.Effect<void, InvalidInput> => {
  const field = (["namespace", "threadId"] as const).find((name) => (selector[name] ?? key[name]) !== key[name])
  return field === undefined ? Effect.void : Effect.fail(
    new InvalidInput({ field: `selector.${field}`, problem: `it is "${selector[field]}", but "${key[field]}" is read` })
  )
}

const unknownSelector = new InvalidInput({
  field: "selector",
  problem: "expected an object with version, checkpointId, tag or at"
})
