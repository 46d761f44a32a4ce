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
  /** About how many bytes of memory the state takes. */
  readonly memory: number
  readonly chain: Chain
}

/**
 * The newest versions that this process has read or written, up to a number of bytes of memory. The least recently used
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

/** What an entry takes besides its state and its name: two ids, the objects around them, and its place in the map. */
const entryMemory = 700

export const make = (maxMemory: number): HeadCache => {
  /** The least recently used first. */
  const heads = new Map<string, Head>()
  let memory = 0
  const attached = new WeakMap<object, Head>()

  const nameOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

  const sizeOf = (name: string, head: Head): number => entryMemory + 2 * name.length + head.memory

  const remove = (name: string): void => {
    const head = heads.get(name)
    if (head === undefined) return
    heads.delete(name)
    memory -= sizeOf(name, head)
  }

  const put = (name: string, head: Head): void => {
    // What it replaces is stale, even if it is too large to be kept.
    remove(name)
    const size = sizeOf(name, head)
    if (size > maxMemory) return
    heads.set(name, head)
    memory += size
    for (const oldest of heads.keys()) {
      if (memory <= maxMemory) return
      remove(oldest)
    }
  }

  return {
    get: (key) => {
      const name = nameOf(key)
      const head = heads.get(name)
      if (head !== undefined) {
        heads.delete(name)
        heads.set(name, head)
      }
      return head
    },
    set: (key, head) => put(nameOf(key), head),
    offer: (key, head) => {
      const name = nameOf(key)
      const known = heads.get(name)
      if (known === undefined || known.version < head.version) put(name, head)
    },
    of: (checkpoint) => attached.get(checkpoint),
    attach: (checkpoint, head) => {
      attached.set(checkpoint, head)
    }
  }
}
