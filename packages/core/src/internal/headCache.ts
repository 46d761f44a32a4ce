import type * as Schema from "effect/Schema"
import type { ThreadKey } from "../CheckpointStore.ts"
import type { Chain } from "./delta.ts"

/** The newest version of a thread, with which the next state can be compared. */
export interface Head {
  readonly version: number
  readonly checkpointId: string
  /** Identifies the write that it comes from. No caller chooses it, so a head with the same id is this one. */
  readonly writeId: string
  /** The state as JSON. It is never handed out and never changed. */
  readonly json: Schema.Json
  readonly bytes: number
  readonly chain: Chain
}

/**
 * The newest versions that this process has read or written, up to a number of bytes of JSON. The least recently used
 * are evicted first.
 *
 * A checkpoint object also keeps its own head alive. Nothing relies on the cache being up to date: a delta is applied
 * only if the newest version comes from the very write that the delta was made against.
 */
export interface HeadCache {
  readonly get: (key: ThreadKey) => Head | undefined
  /** Stores a version that was just written. */
  readonly set: (key: ThreadKey, head: Head) => void
  /** Stores a version that was just read, unless a newer one is known. */
  readonly offer: (key: ThreadKey, head: Head) => void
  /** The head that a checkpoint object stands for. */
  readonly of: (checkpoint: object) => Head | undefined
  readonly attach: (checkpoint: object, head: Head) => void
}

export const make = (maxBytes: number): HeadCache => {
  // Two generations: when the young one exceeds half of the bytes, it replaces the old one.
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
    // Too large by itself. The entry that it replaces is stale.
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
