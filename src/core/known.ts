import { hash } from 'node:crypto'

/** Most tokens of a kind that are remembered as good. */
export const KNOWN_MAX = 4_096

/** What was found in tokens that hold, so that the second look at one costs a digest and no check. */
export interface Known<T> {
  get(token: string): T | undefined
  add(token: string, value: T): void
}

/**
 * Remembers by SHA-256, so that the time of a look tells nothing of a token. Only what was checked is added; the oldest goes
 * when there is no room. Whether its time is over must be asked at every look.
 */
export function createKnown<T>(most: number = KNOWN_MAX): Known<T> {
  const values = new Map<string, T>()
  return {
    get: (token) => values.get(digestOf(token)),
    add(token, value) {
      const [oldest] = values.size < most ? [] : values.keys()
      if (oldest !== undefined) values.delete(oldest)
      values.set(digestOf(token), value)
    },
  }
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64url')
}
