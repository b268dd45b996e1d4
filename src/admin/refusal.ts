import type { JsonObject } from '../core/json.ts'

/** Why the admin API refuses. */
export type AdminCode =
  | 'malformed'
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'method-not-allowed'
  | 'too-large'
  | 'media-type'
  | 'host-unknown'
  | 'limited'
  | 'internal'
  | 'unavailable'

/** The status and the title of each code. */
export const refusals: Readonly<Record<AdminCode, readonly [status: number, title: string]>> = {
  malformed: [400, 'The request cannot be read'],
  unauthorized: [401, 'You are not logged in'],
  forbidden: [403, 'This request may come from elsewhere'],
  'not-found': [404, 'There is nothing here'],
  'method-not-allowed': [405, 'This cannot be done here'],
  'too-large': [413, 'The request is too large'],
  'media-type': [415, 'The request must be JSON'],
  'host-unknown': [421, 'This host is not served here'],
  limited: [429, 'Too many attempts'],
  internal: [500, 'Something went wrong inside'],
  unavailable: [503, 'The books cannot be reached'],
}

/** A refusal of the admin API, thrown by whatever finds that it must be: one place answers it. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly code: AdminCode
  readonly retryAfterMs: number | undefined
  constructor(code: AdminCode, detail: string, retryAfterMs?: number) {
    super(detail)
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

/** The body of a refusal (RFC 9457). */
export function refusalJson({ code, message }: Refused): JsonObject {
  const [status, title] = refusals[code]
  return { type: `urn:tolsey:admin:${code}`, title, status, detail: message, code }
}
