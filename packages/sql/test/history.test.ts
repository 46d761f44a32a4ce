import { assert, it } from "@effect/vitest"
import { Attempt, type Stored, violations } from "./history.ts"

const attempts = [
  new Attempt({ threadId: "t", checkpointId: "a", marker: "A", parent: null, outcome: 1 }),
  new Attempt({
    threadId: "t",
    checkpointId: "b",
    marker: "B",
    parent: { checkpointId: "a", marker: "A" },
    outcome: 2
  }),
  new Attempt({
    threadId: "t",
    checkpointId: "loser",
    marker: "L",
    parent: { checkpointId: "a", marker: "A" },
    outcome: "NotApplied"
  }),
  // Applied, but the reply was lost.
  new Attempt({
    threadId: "t",
    checkpointId: "c",
    marker: "C",
    parent: { checkpointId: "b", marker: "B" },
    outcome: "Unknown"
  }),
  // Not applied.
  new Attempt({ threadId: "t", checkpointId: "lost", marker: "X", outcome: "Unknown" }),
  // The same id in another thread is another checkpoint.
  new Attempt({ threadId: "other", checkpointId: "a", marker: "other A", outcome: 1 })
]

const stored: ReadonlyArray<Stored> = [
  { threadId: "t", version: 1, checkpointId: "a", parentId: undefined, marker: "A" },
  { threadId: "t", version: 2, checkpointId: "b", parentId: "a", marker: "B" },
  { threadId: "t", version: 3, checkpointId: "c", parentId: "b", marker: "C" },
  { threadId: "other", version: 1, checkpointId: "a", parentId: undefined, marker: "other A" }
]

const changed = (checkpointId: string, change: Partial<Stored>) =>
  stored.map((row) => row.checkpointId === checkpointId && row.threadId === "t" ? { ...row, ...change } : row)

it("violations finds nothing in a good history, in whatever order it is given", () => {
  assert.deepStrictEqual(violations(attempts, stored), [])
  assert.deepStrictEqual(violations(attempts.toReversed(), stored.toReversed()), [])
})

const bad: Record<string, readonly [ReadonlyArray<Attempt>, ReadonlyArray<Stored>, RegExp]> = {
  "loses a put that was acknowledged": [attempts, stored.slice(0, 3), /other\/a was acknowledged as version 1/],
  "stores a put under another version than was acknowledged": [
    attempts.map((attempt) => attempt.checkpointId === "b" ? new Attempt({ ...attempt, outcome: 3 }) : attempt),
    stored,
    /t\/b was acknowledged as version 3, but is stored as 2/
  ],
  "stores one put twice": [
    attempts,
    [...stored, { threadId: "t", version: 4, checkpointId: "c", parentId: "c", marker: "C" }],
    /t\/c is stored twice/
  ],
  "stores two puts as one version": [
    attempts,
    [...stored, { threadId: "t", version: 3, checkpointId: "lost", parentId: "b", marker: "X" }],
    /t\/lost is version 3 where 4 belongs/
  ],
  "has a gap": [attempts, changed("c", { version: 4 }), /t\/c is version 4 where 3 belongs/],
  "does not begin with 1": [attempts, stored.filter(({ checkpointId }) => checkpointId !== "a"), /where 1 belongs/],
  "stores a put that was not applied": [
    attempts,
    [...stored, { threadId: "t", version: 4, checkpointId: "loser", parentId: "c", marker: "L" }],
    /t\/loser was not applied, but is stored/
  ],
  "stores a checkpoint that no put saved": [
    attempts,
    [...stored, { threadId: "t", version: 4, checkpointId: "new", parentId: "c", marker: "N" }],
    /t\/new is stored, but no put saved it/
  ],
  "stores another state": [attempts, changed("b", { marker: "other" }), /t\/b holds other, but was put as B/],
  "has a branch": [attempts, changed("c", { parentId: "a" }), /t\/c has the parent a/],
  "lets two puts with one parent succeed": [
    attempts.map((attempt) => attempt.checkpointId === "loser" ? new Attempt({ ...attempt, outcome: 4 }) : attempt),
    [...stored, { threadId: "t", version: 4, checkpointId: "loser", parentId: "c", marker: "L" }],
    /t\/loser was put after a, but is stored after c/
  ],
  "lets a put succeed that was made from another state": [
    attempts.map((attempt) =>
      attempt.checkpointId === "b"
        ? new Attempt({ ...attempt, parent: { checkpointId: "a", marker: "stale" } })
        : attempt
    ),
    stored,
    /t\/b was made from stale, but its parent holds A/
  ],
  "lets a put succeed that required a new thread": [
    attempts.map((attempt) => attempt.checkpointId === "b" ? new Attempt({ ...attempt, parent: null }) : attempt),
    stored,
    /t\/b was put after undefined, but is stored after a/
  ]
}

for (const [what, [attempts, stored, violation]] of Object.entries(bad)) {
  it(`violations finds a history that ${what}`, () => {
    assert.match(violations(attempts, stored).join("\n"), violation)
  })
}
