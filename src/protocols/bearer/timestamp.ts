/** How far the moment that a request names may lie before or behind ours, in milliseconds. */
export const TIMESTAMP_WINDOW_MS = 300_000

/** Longest timestamp that is read, in characters. */
const TIMESTAMP_CHARS_MAX = 40

const UNIX = /^\d{9,11}(?:\.\d{1,9})?$/
const ISO = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/

/** The moment in milliseconds since 1970, said as Unix seconds or in ISO 8601 with its zone; undefined for all else. */
export function readTimestamp(text: string): number | undefined {
  if (text.length > TIMESTAMP_CHARS_MAX) return undefined
  if (UNIX.test(text)) return Math.floor(Number(text) * 1000)
  const [, day = ''] = ISO.exec(text) ?? []
  // The machine's own reader takes the 30th of February for the 2nd of March.
  const start = new Date(day === '' ? Number.NaN : `${day}T00:00:00Z`)
  if (Number.isNaN(start.getTime()) || !start.toISOString().startsWith(day)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}

/** Whether a request that names the moment is of now. */
export function isFresh(at: number, now: number): boolean {
  return Math.abs(now - at) <= TIMESTAMP_WINDOW_MS
}
