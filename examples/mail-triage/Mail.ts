/**
 * Parses the headers of a mail: RFC 5322 fields with RFC 2047 encoded words. Real mails break both standards. Therefore
 * nothing here fails, and text that cannot be parsed is not changed.
 */
import { DateTime, Equal, Option, Result } from "effect"

export interface Mail {
  /** `None` if the date is missing or invalid. */
  readonly date: Option.Option<DateTime.Utc>
  readonly from: Address
  readonly subject: string
  /** By name in lower case, unfolded. The first one counts if a name is repeated. */
  readonly headers: ReadonlyMap<string, string>
}

export interface Address {
  /** The display name, or the address if there is none. */
  readonly name: string
  /** In lower case. Empty if the mail names no sender. */
  readonly address: string
}

export const parse = (text: string): Mail => {
  const headers = parseHeaders(text)
  return {
    date: parseDate(headers.get("date") ?? ""),
    from: parseAddress(headers.get("from") ?? ""),
    subject: tidy(decodeWords(headers.get("subject") ?? "")),
    headers
  }
}

// Lines that are not fields are skipped, such as the "From " line of an mbox file.
const parseHeaders = (text: string): ReadonlyMap<string, string> => {
  const [head = ""] = text.split(/\r?\n\r?\n/, 1)
  const headers = new Map<string, string>()
  for (const line of head.replace(/\r?\n(?=[ \t])/g, "").split(/\r?\n/)) {
    const [, name, value] = /^([!-9;-~]+)[ \t]*:(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined || headers.has(name.toLowerCase())) continue
    headers.set(name.toLowerCase(), value.trim())
  }
  return headers
}

/** Parses `Name <address>`, `address (Name)` or an address alone. The first one counts if there are several. */
export const parseAddress = (text: string): Address => {
  const [, phrase = "", bracketed] = /^((?:"(?:\\.|[^"\\])*"|[^"<])*)<([^<>]*)>/.exec(text) ?? []
  const [, bare = "", comment = ""] = /^\s*([^\s(,]*)\s*(?:\((.*)\))?/.exec(text) ?? []
  const address = tidy(bracketed ?? bare).toLowerCase()
  const name = bracketed === undefined ? comment : phrase.trim().replace(/^"(.*)"$/, "$1")
  return { address, name: tidy(decodeWords(name.replace(/\\(.)/g, "$1"))) || address }
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

/** The named zones of RFC 5322, in hours. It says that all others count as UTC. */
const zones: Record<string, number> = { est: -5, edt: -4, cst: -6, cdt: -5, mst: -7, mdt: -6, pst: -8, pdt: -7 }

const dateTime =
  /^(?:[a-z]{3,9}\s*,?\s*)?(\d{1,2})\s+([a-z]{3})[a-z]*\s+(\d{2,4})\s+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?(?:\s*([+-]\d{4})\b|\s+\(?([a-z]{1,5})\b)?/i

export const parseDate = (text: string): Option.Option<DateTime.Utc> => {
  const match = dateTime.exec(text.trim())
  if (match === null) return Option.none()
  const [, day, name = "", yearText = "", hour, minute, second = "0", offset = "+0000", zone = ""] = match
  const month = months.indexOf(name.toLowerCase()) + 1
  const year = Number(yearText) + (yearText.length === 4 ? 0 : yearText.length === 2 && yearText < "50" ? 2000 : 1900)
  const parts = { year, month, day: Number(day), hour: Number(hour), minute: Number(minute), second: Number(second) }
  const minutes = Number(offset.slice(0, 3)) * 60 + Number(offset[0] + offset.slice(3)) +
    (zones[zone.toLowerCase()] ?? 0) * 60
  return DateTime.make(parts).pipe(
    // `DateTime.make` turns February 31 into a day of March.
    Option.filter((date) => {
      const { day, hour, minute, month, second } = DateTime.toPartsUtc(date)
      return Equal.equals({ year, month, day, hour, minute, second }, parts)
    }),
    Option.map(DateTime.subtract({ minutes }))
  )
}

const word = String.raw`=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bq])\?([^?]*)\?=`
const words = new RegExp(word, "gi")
const runs = new RegExp(`${word}(?:\\s*${word})*`, "gi")

/**
 * Decodes RFC 2047 words. The bytes of adjacent words are joined first, because mailers split words in the middle of a
 * character.
 */
export const decodeWords = (text: string): string =>
  text.replace(runs, (run) => {
    const parts: Array<{ readonly charset: string; bytes: Buffer }> = []
    for (const [, label = "", encoding, content = ""] of run.matchAll(words)) {
      const charset = label.toLowerCase()
      const bytes = encoding === "b" || encoding === "B" ? Buffer.from(content, "base64") : quoted(content)
      const last = parts.at(-1)
      if (last?.charset === charset) last.bytes = Buffer.concat([last.bytes, bytes])
      else parts.push({ charset, bytes })
    }
    // Words in an unknown character set are not changed.
    return Result.try(() => parts.map(({ bytes, charset }) => new TextDecoder(charset).decode(bytes)).join("")).pipe(
      Result.getOrElse(() => run)
    )
  })

const quoted = (text: string): Buffer =>
  Buffer.from(
    text.replaceAll("_", " ").replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
    "latin1"
  )

const tidy = (text: string): string => text.replace(/\s+/g, " ").trim()
