import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as Json from "../src/internal/json.ts"

/** JSON with keys and strings of characters that JSON escapes. */
const Escaped = Arbitrary.map(
  Arbitrary.array(
    Arbitrary.all([
      Arbitrary.array(Arbitrary.schema(Schema.Literals(["\\", "\"", "\n", ":", "{", ",", "a", "\u001a", " "])), {
        maxLength: 6
      }),
      Arbitrary.schema(Schema.Json)
    ]),
    { maxLength: 6 }
  ),
  (entries): Schema.Json =>
    entries.reduceRight<Schema.Json>(
      (inner, [key, value]) => ({ [key.join("")]: inner, value: [value, key.join("")], [`${key.join("")}\\`]: {} }),
      []
    )
)

/** Objects of one shape. The native parser may replace their second key by that of another one. */
const shapes = ["!", "x", "longer"].flatMap((first) =>
  ["\\", "\n", "\"", "\u001a0000", "a\\b"].map((second) => ({ [first]: {}, [second]: 0 }))
)

describe("Json.parse", () => {
  it.prop("Json.parse reads any JSON text", [Arbitrary.schema(Schema.Json)], ([json]) => {
    assert.isTrue(Json.equals(Json.parse(JSON.stringify(json)), json))
    assert.isTrue(Json.equals(Json.parse(JSON.stringify(json, null, "\t")), json))
  }, { arbitrary: { runs: 500, seed: process.env["CHECKPOINT_TEST_SEED"] } })

  it.prop("Json.parse reads text with escaped keys and strings", [Escaped], ([json]) => {
    assert.isTrue(Json.equals(Json.parse(JSON.stringify(json)), json))
    assert.isTrue(Json.equals(Json.parse(JSON.stringify(json, null, 2)), json))
  }, { arbitrary: { runs: 500, seed: process.env["CHECKPOINT_TEST_SEED"] } })

  it("Json.parse gives an object its own keys, whatever was parsed before", () => {
    for (const poison of shapes) {
      JSON.parse(JSON.stringify(poison))
      for (const shape of shapes) {
        assert.deepStrictEqual(Object.keys(Json.parse(JSON.stringify(shape)) as object), Object.keys(shape))
      }
    }
  })

  it("Json.parse reads __proto__ as an ordinary key", () => {
    const read = Json.parse("{\"__proto__\":{\"a\":1},\"\\n\":[]}") as Schema.JsonObject
    assert.deepStrictEqual(Object.keys(read), ["__proto__", "\n"])
    assert.isTrue(Object.getPrototypeOf(read) === Object.prototype)
  })
})
