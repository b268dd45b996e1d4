import type { Chance, Clock } from '../core/ports.ts'
import { isObject } from '../core/json.ts'
import { readBody } from './challenge.ts'
import { BACKOFF_MS_MAX, BACKOFF_MS_MIN, SENDS_MAX } from './limits.ts'

/** Answers after which the same payment may be sent again: in flight, too many, or nobody knows what became of it. */
const statuses = [409, 429, 502, 503, 504]
/** What a 503 says in its body where nobody can pay just now. */
const unpayable: readonly unknown[] = ['rail-unavailable', 'price-unavailable']

/** Whether the seller may say something else when the same payment comes again. */
export function isPassing(response: Response): boolean {
  return statuses.includes(response.status)
}

/** Whether the seller says that no payment can be made just now, and so that the same request may be sent again. */
export async function isUnpayable(response: Response, clock: Clock): Promise<boolean> {
  if (response.status !== 503) return false
  const body = await readBody(response, clock)
  return isObject(body) && unpayable.includes(body['code'])
}

/** What is waited for, in a sentence. */
export function waitingFor(response: Response | undefined): string {
  if (!response) return 'The seller did not answer, or the connection broke.'
  const { status } = response
  if (status === 409) return 'The seller is working on this payment (409).'
  if (status === 429) return 'The seller has been asked too often (429).'
  return `The seller cannot answer just now (${status}).`
}

/** How long to wait before the next send; undefined if there is none before `untilAt`. */
export function waitMs(
  sends: number,
  response: Response | undefined,
  untilAt: number,
  clock: Clock,
  chance: Chance,
): number | undefined {
  if (sends >= SENDS_MAX) return undefined
  return pauseMs(sends, response, untilAt, clock, chance)
}

/** The same without a limit on the number of sends. */
export function pauseMs(
  sends: number,
  response: Response | undefined,
  untilAt: number,
  clock: Clock,
  chance: Chance,
): number | undefined {
  const now = clock.now()
  const wait = Math.max(readRetryAfter(response, now) ?? 0, backoff(sends, chance))
  return now + wait < untilAt ? wait : undefined
}

/** Doubles with each send; half of it is chance, so that many payers do not come back as one. */
function backoff(sends: number, chance: Chance): number {
  const most = Math.min(BACKOFF_MS_MIN * 2 ** (sends - 1), BACKOFF_MS_MAX)
  const [byte = 0] = chance(1)
  return Math.round(most * (0.5 + byte / 512))
}

/** `Retry-After` as seconds or as a date (RFC 9110, 10.2.3). */
function readRetryAfter(response: Response | undefined, now: number): number | undefined {
  const said = response?.headers.get('retry-after')
  if (said === null || said === undefined) return undefined
  if (/^\d{1,9}$/.test(said)) return Number(said) * 1000
  const at = Date.parse(said)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}
