import type * as Schema from "effect/Schema"
import type { ThreadKey } from "../CheckpointStore.ts"
import type { Chain } from "./delta.ts"

/** The state of a checkpoint that the next one can be compared with. */
export interface Head {
  readonly version: number
  readonly checkpointId: string
  /** Of the write that it comes from. No caller chooses it, so the head that has it is this one. */
  readonly writeId: string
  /** As JSON, which nobody else holds and nobody changes. */
  readonly json: Schema.Json
  readonly bytes: number
  readonly chain: Chain
}

/**
 * The newest checkpoints that this process has read or written, up to so many
 * bytes of JSON, those that were not used for long leaving first.
 *
 * A checkpoint that somebody holds also keeps its own, for as long as it is held.
 * Nothing relies on any of it being up to date: a delta is stored only while the
 * head is of the very write that it was made against.
 */
export interface HeadCache {
  readonly get: (key: ThreadKey) => Head | undefined
  /** What was just written. */
  readonly set: (key: ThreadKey, head: Head) => void
  /** What was just read, which may be older than what is there. */
  readonly offer: (key: ThreadKey, head: Head) => void
  readonly of: (checkpoint: object) => Head | undefined
  readonly attach: (checkpoint: object, head: Head) => void
}

export const make = (maxBytes: number): HeadCache => {
  // Two generations: when the young one has half of the bytes it becomes the old one, and what was in that is forgotten.
  let young = new Map<string, Head>()
  let old = new Map<string, Head>()
  let youngBytes = 0
  const attached = new WeakMap<object, Head>()

  const nameOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

  const put = (name: string, head: Head): void => {
    youngBytes += head.bytes - (young.get(name)?.bytes ?? 0)
    young.set(name, head)
    if (youngBytes * 2 <= maxBytes) return
    old = young
    young = new Map()
    youngBytes = 0
    // Too much by itself: what was there is stale, and this cannot stay.
    if (head.bytes * 2 > maxBytes) old.delete(name)
  }

  const find = (name: string): Head | undefined => young.get(name) ?? old.get(name)

  return {
    get: (key) => {
      const name = nameOf(key)
      const head = find(name)
      if (head !== undefined && !young.has(name)) put(name, head)
      return head
    },
    set: (key, head) => put(nameOf(key), head),
    offer: (key, head) => {
      const name = nameOf(key)
      const known = find(name)
      if (known === undefined || known.version < head.version) put(name, head)
    },
    of: (checkpoint) => attached.get(checkpoint),
    attach: (checkpoint, head) => {
      attached.set(checkpoint, head)
    }
  }
}
