/*
 * The workspace imports the sources of the packages. Only pnpm replaces their exports by those of `publishConfig`, so
 * nothing can be imported from what another program packs.
 */
import { basename } from "node:path"
import process from "node:process"

// The user agent would name pnpm when npm runs in a script of pnpm.
const packer = basename(process.env["npm_execpath"] ?? "")
if (!packer.startsWith("pnpm")) {
  console.error(`Only pnpm puts the exports of "publishConfig" in place. Run "pnpm pack" or "pnpm publish" instead.`)
  process.exitCode = 1
}
