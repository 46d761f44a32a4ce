import { Checkpointer } from "@effect-checkpoint/core"
import { Effect, Schema } from "effect"
import * as Delta from "../../packages/core/src/internal/delta.ts"
import { append, Conversation, Mails, messageBytes, sizeOf } from "../Mails.ts"
import { type Effort, interleaved, medians, timed } from "../Measure.ts"
import { bytes, type Measurement, millis, times } from "../Report.ts"

const efforts = { full: { bytes: 1_500_000, rounds: 50 }, quick: { bytes: 1_500_000, rounds: 10 } }

class Conversations extends Checkpointer.Service<Conversations>()("bench/Conversations", { state: Conversation }) {}

const encodeEffect = Schema.encodeEffect(Schema.toCodecJson(Conversation))

const encode = (state: Conversation) => Effect.orDie(encodeEffect(state))

export const run = Effect.fnUntraced(
  function*(effort: Effort) {
    const { bytes: stateBytes, rounds } = efforts[effort]
    const mails = yield* Mails
    const conversations = yield* Conversations
    const before = mails.ofBytes(stateBytes, 0)
    let state = before
    let json = yield* encode(state)
    let newest = yield* conversations.append({ threadId: "grows", state })

    let round = 0
    const results = yield* interleaved(rounds, {
      encode: Effect.suspend(() => {
        state = append(state, mails.message(round++, messageBytes))
        return timed(Effect.suspend(() => encode(state)))
      }),
      comparison: Effect.gen(function*() {
        const next = yield* encode(state)
        const taken = yield* timed(Effect.sync(() => Delta.diff(json, next)))
        json = next
        return taken
      }),
      put: timed(Effect.suspend(() =>
        Effect.map(conversations.put({ parent: newest, state }), (saved) => {
          newest = saved
        })
      ))
    })
    // Measured apart, because the others would collect its garbage.
    const { stringify } = yield* interleaved(rounds, { stringify: timed(Effect.sync(() => JSON.stringify(state))) })
    const taken = medians({ ...results, stringify }, (result) => result)
    const parts = taken.encode + taken.comparison
    return {
      id: "6",
      title: "CPU time",
      about:
        `Puts into the store in memory, each of a state with one more message of ${messageBytes} B, beginning with ` +
        `${
          bytes(sizeOf(before))
        }; and the parts of such a put by themselves. The two states share no objects, because ` +
        "encoding with the schema creates new ones.",
      tables: [{
        title: "Time, median",
        columns: [
          "put / (encode + comparison)",
          "put",
          "schema's encode",
          "comparison",
          "JSON.stringify of the state (not needed)"
        ],
        rows: [[
          times(taken.put / parts),
          millis(taken.put),
          millis(taken.encode),
          millis(taken.comparison),
          millis(taken.stringify)
        ]]
      }],
      targets: [{
        name: "put of one more message on 1.5 MB, against encoding and one comparison",
        measured: taken.put / parts,
        wanted: { atMost: 1.25 }
      }],
      charts: {}
    } satisfies Measurement
  },
  Effect.orDie,
  Effect.provide(Conversations.layer),
  Effect.provide(Checkpointer.layerMemory)
)
