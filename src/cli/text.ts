import type { JsonObject } from '../core/json.ts'

/** Longest piece of a stranger's text that is shown. */
export const SHOWN_CHARS_MAX = 300

/** Control, format and surrogate characters: with them a seller could rewrite the question that we ask. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]+/gu

/** A stranger's text made fit for a terminal: on one line, without control characters, bounded. */
export function clean(text: string, charsMax: number = SHOWN_CHARS_MAX): string {
  const seen = text
    .slice(0, charsMax * 4)
    .replace(unseen, ' ')
    .trim()
  return seen.length > charsMax ? `${seen.slice(0, charsMax - 1)}…` : seen
}

/** A member of what a server says, if it is a text or a number: made fit for a terminal. */
export function textIn(said: JsonObject, name: string): string {
  const value = said[name]
  return typeof value === 'string' || typeof value === 'number' ? clean(`${value}`) : ''
}

const units = [
  ['year', 31_536_000],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
] as const

/** A length of time for people, rounded down to its largest fitting unit: `5 minutes`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const [name, size] = units.find(([, size]) => seconds >= size) ?? (['second', 1] as const)
  return count(Math.floor(seconds / size), name)
}

/** A number with its noun: `1 offer`, `2 offers`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

/** Words in a row: `a`, `a and b`, `a, b and c`. */
export function list(words: readonly string[]): string {
  const last = words.at(-1)
  if (last === undefined) return ''
  return words.length === 1 ? last : `${words.slice(0, -1).join(', ')} and ${last}`
}

/** Rows as columns of the widths that they need. */
export function columns(rows: readonly (readonly string[])[], indent = '  '): string[] {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows.map(
    (row) =>
      indent +
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
  )
}

export { nearest } from '../config/nearest.ts'
