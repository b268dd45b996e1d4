import { hash } from 'node:crypto'

/** Most tokens of a kind that are remembered as good. */
export const KNOWN_MAX = 4_096

/** Longest text that is remembered as it is, in characters; longer ones are by a digest, so that memory has a limit. */
export const KNOWN_CHARS_MAX = 1_024

/** What was found in tokens that hold, so that the second look at one costs no check. */
export interface Known<T> {
  get(token: string): T | undefined
  add(token: string, value: T): void
}

/**
 * Remembers what was checked; the oldest goes when there is no room. Whether its time is over must be asked at every look.
 *
 * The time of a look tells nothing of a token: a map compares letters only where hashes are equal, and their seed is drawn by
 * each process anew. Texts and digests lie apart, so that nobody can show a digest for its token.
 */
export function createKnown<T>(most: number = KNOWN_MAX): Known<T> {
  const short = new Map<string, T>()
  const long = new Map<string, T>()
  return {
    get: (token) =>
      token.length <= KNOWN_CHARS_MAX ? short.get(token) : long.get(digestOf(token)),
    add(token, value) {
      if (token.length <= KNOWN_CHARS_MAX) put(short, token, value, most)
      else put(long, digestOf(token), value, most)
    },
  }
}

function put<T>(values: Map<string, T>, key: string, value: T, most: number): void {
  const [oldest] = values.size < most ? [] : values.keys()
  if (oldest !== undefined) values.delete(oldest)
  values.set(key, value)
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64url')
}
