/*
 * The size of `Checkpointer` with its store in memory in somebody's bundle: minified and gzipped, without `effect`,
 * which their program has anyway. Fails over the budget; one that is raised wants a reason in its commit.
 */
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"

const budget = 19_000

const gzipped = async (external: Array<RegExp>): Promise<number> => {
  const bundle = await rolldown({
    input: join(import.meta.dirname, "../packages/core/src/Checkpointer.ts"),
    external,
    platform: "neutral"
  })
  const { output } = await bundle.generate({ minify: true, codeSplitting: false })
  return gzipSync(output[0].code, { level: 9 }).length
}

const own = await gzipped([/^effect(\/|$)/])
console.log(`Checkpointer: ${own} bytes of ${budget}, ${await gzipped([])} with what it uses of effect`)
if (own > budget) process.exitCode = 1
