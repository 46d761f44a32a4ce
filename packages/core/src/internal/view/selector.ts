import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { InvalidInput } from "../../CheckpointError.ts"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import type { Selector } from "../../View.ts"
import * as Input from "../input.ts"

/** A selector that callers can give, and the newest. */
export type Named = Exclude<CheckpointStore.Selector, { readonly _tag: "Time" | "Before" }>

export const selectorOf = Effect.fnUntraced(function*(selector: Selector): Effect.fn.Return<Named, InvalidInput> {
  if (!Predicate.isObject(selector)) {
    return yield* new InvalidInput({
      field: "selector",
      problem: "expected an object with version, checkpointId or tag"
    })
  }
  if (selector.version !== undefined) {
    yield* Input.wholeNumber("version", selector.version)
    return { _tag: "Version", version: selector.version }
  }
  if (selector.checkpointId !== undefined) {
    return { _tag: "Id", checkpointId: yield* Input.id("checkpointId", selector.checkpointId) }
  }
  return { _tag: "Tag", tags: yield* Input.json("tag", [yield* Input.id("tag", selector.tag)]) }
})

export const describe = (selector: Named): string | undefined => {
  switch (selector._tag) {
    case "Latest":
      return undefined
    case "Version":
      return `version ${selector.version}`
    case "Id":
      return `the id "${selector.checkpointId}"`
    case "Tag":
      return `the tag ${selector.tags.slice(1, -1)}`
  }
}
