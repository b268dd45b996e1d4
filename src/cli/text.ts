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

/** The known word that a mistyped one was most likely meant to be, if there is one near enough. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, steps: distance(word.toLowerCase(), candidate) }))
    .toSorted((a, b) => a.steps - b.steps)
  const [best] = ranked
  return best && best.steps <= Math.max(1, Math.floor(best.candidate.length / 3))
    ? best.candidate
    : known.find((candidate) => word.length > 1 && candidate.startsWith(word))
}

/** Steps from one word to the other: put in, take out, replace one, or swap two neighbours. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(
        (above[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (above[j - 1] ?? 0) + Number(!same),
      )
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (before[j - 2] ?? 0) + 1)
      row.push(least)
    }
    before = above
    above = row
  }
  return above[b.length] ?? 0
}
