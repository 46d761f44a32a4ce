/**
 * Prints the output of the program: plain lines, and a progress bar on a terminal.
 */
import { ByteSize, Clock, Console, DateTime, Effect, Terminal } from "effect"
import { TerminalCapabilities } from "effect/cli"

export const section = Effect.fnUntraced(function*(title: string) {
  const { canColor } = yield* TerminalCapabilities.TerminalCapabilities
  yield* Console.log(canColor ? `\n\u001b[1m${title}\u001b[0m` : `\n${title}`)
})

export const line = (text: string): Effect.Effect<void> => Console.log(`   ${text}`)

/** Prints a table. Text is aligned to the left, numbers to the right. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): Effect.Effect<void> =>
  Effect.forEach(rows, (row) =>
    line(
      row.map((cell, column) => {
        const width = Math.max(...rows.map((row) => row[column]?.length ?? 0))
        return /^\d/.test(rows.at(-1)?.[column] ?? "") ? cell.padStart(width) : cell.padEnd(width)
      }).join("   ").trimEnd()
    ), { discard: true })

const numbers = new Intl.NumberFormat("en-US")
export const number = (value: number): string => numbers.format(value)

export const megabytes = (bytes: number): string =>
  ByteSize.format(ByteSize.bytes(bytes), { unit: "MB", precision: 1, trailingZeros: true })

/** Shortens a text, and removes control characters: a mail may contain escape codes for the terminal. */
export const shorten = (text: string, length: number): string => {
  const shown = text.replace(/\p{C}/gu, "")
  return shown.length <= length ? shown : `${shown.slice(0, length - 3)}...`
}

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** The time of day in UTC, to the millisecond. */
export const time = (value: DateTime.Utc): string => DateTime.formatIso(value).slice(11, 23)

/** Shows progress: a bar on a terminal, otherwise a line for each quarter of the work. */
export const progress = Effect.fnUntraced(function*(options: { readonly done: number; readonly total: number }) {
  const { canAnimate } = yield* TerminalCapabilities.TerminalCapabilities
  const terminal = yield* Terminal.Terminal
  const started = yield* Clock.currentTimeMillis
  const { total } = options
  const every = canAnimate ? 1 : 25
  let done = options.done
  let shown = Math.floor(100 * done / total / every)
  let paused = 0

  const show = Effect.fnUntraced(function*(percent: number) {
    const elapsed = (yield* Clock.currentTimeMillis) - started
    const filled = Math.floor(percent / 4)
    const text = `   [${"#".repeat(filled)}${"-".repeat(25 - filled)}] ${String(percent).padStart(3)} %   ` +
      `${number(done)} of ${number(total)} mails, ${seconds(elapsed)}`
    yield* Effect.orDie(terminal.display(canAnimate ? `\r\u001b[K${text}` : `${text}\n`))
  })

  const advance = Effect.suspend(() => {
    done += 1
    const percent = Math.floor(100 * done / total)
    if (paused > 0 || Math.floor(percent / every) === shown) return Effect.void
    shown = Math.floor(percent / every)
    return show(percent)
  })

  /** Ends the line of the bar. */
  const end = Effect.suspend(() => canAnimate ? Console.log("") : Effect.void)

  /** Hides the bar while an effect uses the terminal. */
  const pause = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.acquireUseRelease(
      Effect.suspend(() => paused++ === 0 ? end : Effect.void),
      () => effect,
      () => Effect.sync(() => paused--)
    )

  return { advance, end, pause }
})
