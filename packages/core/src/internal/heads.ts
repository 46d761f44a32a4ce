import type * as Schema from "effect/Schema"
import type { ThreadKey } from "../CheckpointStore.ts"
import type { Chain } from "./delta.ts"

/** The state of a checkpoint that the next one can be compared with. */
export interface Head {
  readonly version: number
  readonly checkpointId: string
  /** As JSON, which nobody else holds and nobody changes. */
  readonly json: Schema.Json
  readonly bytes: number
  readonly chain: Chain
}

/**
 * The newest checkpoints that this process has read or written, up to so many
 * bytes of JSON, the least recently used ones leaving first.
 *
 * A checkpoint that somebody holds also keeps its own, for as long as it is held.
 * Nothing relies on any of it being up to date: a delta is stored only while the
 * head is the very checkpoint that it was made against.
 */
export interface Heads {
  readonly get: (key: ThreadKey) => Head | undefined
  readonly of: (checkpoint: object) => Head | undefined
  /** What was just written. */
  readonly set: (key: ThreadKey, head: Head) => void
  /** What was just read, which may be older than what is there. */
  readonly offer: (key: ThreadKey, head: Head) => void
  readonly attach: (checkpoint: object, head: Head) => void
}

export const make = (maxBytes: number): Heads => {
  const recent = new Map<string, Head>()
  const attached = new WeakMap<object, Head>()
  let bytes = 0

  const nameOf = (key: ThreadKey): string => `${key.namespace}\u0000${key.threadId}`

  const remove = (name: string): Head | undefined => {
    const head = recent.get(name)
    if (head !== undefined) {
      recent.delete(name)
      bytes -= head.bytes
    }
    return head
  }

  const add = (name: string, head: Head): void => {
    recent.set(name, head)
    bytes += head.bytes
    for (const oldest of recent.keys()) {
      if (bytes <= maxBytes) break
      remove(oldest)
    }
  }

  const set = (key: ThreadKey, head: Head): void => {
    const name = nameOf(key)
    remove(name)
    add(name, head)
  }

  return {
    get: (key) => {
      const name = nameOf(key)
      const head = remove(name)
      if (head !== undefined) add(name, head)
      return head
    },
    of: (checkpoint) => attached.get(checkpoint),
    set,
    offer: (key, head) => {
      const known = recent.get(nameOf(key))
      if (known === undefined || known.version < head.version) set(key, head)
    },
    attach: (checkpoint, head) => {
      attached.set(checkpoint, head)
    }
  }
}
