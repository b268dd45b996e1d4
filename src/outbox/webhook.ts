import type { Resolve } from '../net/addresses.ts'
import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/ports.ts'
import { BATCH_MEDIA_TYPE, EVENT_MEDIA_TYPE } from './cloud-event.ts'
import type { Told } from './feed.ts'
import { createPoster, PostFault } from './post.ts'
import type { Posted } from './post.ts'
import { createSigner } from './signature.ts'
import { wantsOf } from './sink.ts'
import type { Delivery, Sink, Trouble, Wants } from './sink.ts'

/** How long a receiver may take. */
export const WEBHOOK_MS = 15_000
/** The longest time that it may be given. */
export const WEBHOOK_MAX_MS = 30_000
/** Most events of one delivery. */
export const BATCH_MAX = 100

/** Statuses that speak of what was sent, and not of who receives. All others mean: not now. */
const REFUSALS: ReadonlySet<number> = new Set([400, 409, 413, 422])

/** What a webhook is made of. */
export interface WebhookSettings extends Wants {
  /** Where to: https, or http where private addresses are allowed. It may hold a secret, so it is never told on. */
  readonly url: string
  /** `whsec_…`, one for each receiver. With several, all sign. */
  readonly secrets: string | readonly string[]
  /** Most events of one delivery; 1 if absent. More than one come as a batch, in their order. */
  readonly eventsMax?: number
  /** How long a receiver may take, {@link WEBHOOK_MS} if absent. */
  readonly timeoutMs?: number
  /** Whether it may be on this machine or in a private network. */
  readonly isPrivateAllowed?: boolean
  /** Whose signature of the receiver's certificate is taken, in PEM, instead of the public authorities'. */
  readonly ca?: string
  readonly resolve?: Resolve
  readonly clock?: Clock
}

/**
 * A sink that posts events, signed as Standard Webhooks 1.0 says. One delivery is under way at a time, and the next begins
 * when it was taken: in the order of the journal over all.
 * @throws {RangeError} with what to do, when a setting is not right.
 */
export function webhook(settings: WebhookSettings): Sink {
  const { url: said, secrets, eventsMax = 1, timeoutMs = WEBHOOK_MS, ...rest } = settings
  const { isPrivateAllowed = false, clock = systemClock } = rest
  const url = readUrl(said, isPrivateAllowed)
  if (!Number.isInteger(eventsMax) || eventsMax < 1 || eventsMax > BATCH_MAX)
    throw new RangeError(`A delivery has between 1 and ${BATCH_MAX} events.`)
  if (!(timeoutMs > 0 && timeoutMs <= WEBHOOK_MAX_MS))
    throw new RangeError(`A receiver is given between 1 and ${WEBHOOK_MAX_MS} milliseconds.`)
  const signer = createSigner(secrets)
  const poster = createPoster({ ...rest, url, timeoutMs, isPrivateAllowed, clock })

  /** Why it was not taken; undefined when it was. */
  async function send(told: readonly Told[]): Promise<Trouble | undefined> {
    const events = told.map(({ event }) => event)
    const body = JSON.stringify(eventsMax === 1 ? events[0] : events)
    const id = events.length === 1 ? events[0]?.id : `${events[0]?.id}_${events.at(-1)?.id}`
    const timestamp = `${Math.floor(clock.now() / 1_000)}`
    const headers = {
      'content-type': eventsMax === 1 ? EVENT_MEDIA_TYPE : BATCH_MEDIA_TYPE,
      'content-length': `${Buffer.byteLength(body)}`,
      'webhook-id': `${id}`,
      'webhook-timestamp': timestamp,
      'webhook-signature': signer.sign(`${id}`, timestamp, body),
    }
    try {
      return troubleOf(await poster.post(headers, body), clock.now())
    } catch (error) {
      if (error instanceof PostFault) return { kind: 'down', why: error.message }
      throw error
    }
  }

  return {
    ...wantsOf(settings),
    async deliver(told, { deadlineAt, signal }): Promise<Delivery> {
      let taken = 0
      let most = eventsMax
      while (taken < told.length && clock.now() <= deadlineAt && !signal.aborted) {
        const some = told.slice(taken, taken + most)
        const trouble = await send(some)
        if (!trouble) taken += some.length
        // Which of them it refuses is found by sending them one by one.
        else if (trouble.kind === 'refused' && some.length > 1) most = 1
        else return { taken, trouble }
      }
      return { taken }
    },
    close() {
      poster.close()
      return Promise.resolve()
    },
  }
}

function readUrl(said: string, isPrivateAllowed: boolean): URL {
  const url = URL.parse(said)
  const isSecure = url?.protocol === 'https:'
  if (!url || (!isSecure && !(isPrivateAllowed && url.protocol === 'http:')))
    throw new RangeError('A webhook goes to an address that begins with https://.')
  if (url.username !== '' || url.password !== '')
    throw new RangeError('The address of a webhook has no user and no password.')
  return url
}

function troubleOf({ status, retryAfter }: Posted, now: number): Trouble | undefined {
  if (status >= 200 && status < 300) return undefined
  const why = `it answered ${status}`
  if (status === 410) return { kind: 'gone', why }
  if (REFUSALS.has(status)) return { kind: 'refused', why }
  const retryAfterMs = readRetryAfter(retryAfter, now)
  return { kind: 'down', why, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function readRetryAfter(said: string | undefined, now: number): number | undefined {
  if (said === undefined) return undefined
  if (/^\d{1,9}$/.test(said)) return Number(said) * 1_000
  const at = Date.parse(said)
  return Number.isNaN(at) ? undefined : Math.max(at - now, 0)
}
