import { Buffer } from 'node:buffer'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { systemClock } from '../core/clock.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Json } from '../core/json.ts'
import type { Clock, Fields } from '../core/ports.ts'
import type { CloudEvent } from './cloud-event.ts'

/** Fewest and most bytes of a secret (Standard Webhooks 1.0, signature scheme). */
const [SECRET_BYTES_MIN, SECRET_BYTES_MAX] = [24, 64]
/** Most secrets at once: one to sign with and those that are being rotated out. */
export const SECRETS_MAX = 4
/** Most signatures of one delivery that are looked at. */
export const SIGNATURES_MAX = 16
/** How far the time of a delivery may be from ours. */
export const TOLERANCE_MS = 300_000
/** Longest body that is read, in characters. */
export const BODY_CHARS_MAX = 4_194_304
/** Most deliveries that are remembered. */
export const REPLAYS_MAX = 100_000

/** Signs deliveries, and knows its own. */
export interface Signer {
  /** What goes into `webhook-signature`: a signature under each secret, so that receivers may change theirs in their own time. */
  sign(id: string, timestamp: string, body: string): string
  /** Whether one of the signatures is by one of the secrets; takes the same time for every wrong one. */
  verify(id: string, timestamp: string, body: string, signatures: string): boolean
}

/**
 * Makes a signer as Standard Webhooks 1.0 wants it: HMAC-SHA256 over `id.timestamp.body`, secrets as `whsec_` and base64.
 * @throws {RangeError} when a secret is none. No secret is ever part of it.
 */
export function createSigner(secrets: string | readonly string[]): Signer {
  const keys = (typeof secrets === 'string' ? [secrets] : secrets).map(readSecret)
  if (keys.length === 0 || keys.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets. ${ADVICE}`)
  const macs = (id: string, timestamp: string, body: string): readonly Buffer[] =>
    keys.map((key) => createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest())
  return {
    sign: (id, timestamp, body) =>
      macs(id, timestamp, body)
        .map((mac) => `v1,${mac.toString('base64')}`)
        .join(' '),
    verify(id, timestamp, body, signatures) {
      const said = signatures.split(' ', SIGNATURES_MAX).map(readSignature)
      const ours = macs(id, timestamp, body)
      let good = false
      // All are compared: how long it takes tells nothing.
      for (const mac of ours)
        for (const one of said) good = (timingSafeEqual(mac, one.mac) && one.fits) || good
      return good
    },
  }
}

const ADVICE = 'Make one with: echo "whsec_$(openssl rand -base64 32)"'

function readSecret(secret: string): Buffer {
  const [, text = ''] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? []
  const key = Buffer.from(text, 'base64')
  if (key.length < SECRET_BYTES_MIN || key.length > SECRET_BYTES_MAX)
    throw new RangeError(
      `A webhook's secret is "whsec_" and base64 of ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes. ${ADVICE}`,
    )
  return key
}

function readSignature(text: string): { readonly fits: boolean; readonly mac: Buffer } {
  const [, base64 = ''] = /^v1,([A-Za-z0-9+/]{43}=)$/.exec(text) ?? []
  const mac = Buffer.alloc(MAC_BYTES)
  const fits = Buffer.from(base64, 'base64').copy(mac) === MAC_BYTES
  return { fits, mac }
}

const MAC_BYTES = 32

/** What a receiver has seen: deliveries by their ids, for as long as their time would still be taken. */
export interface Replays {
  has(id: string, now: number): boolean
  add(id: string, now: number): void
}

/**
 * Remembers deliveries in memory; the oldest goes when there is no room. Whoever does something that must not be done twice
 * keeps the ids of the events where he keeps what he did.
 */
export function createReplays(
  keepMs: number = 2 * TOLERANCE_MS,
  most: number = REPLAYS_MAX,
): Replays {
  const seen = new Map<string, number>()
  const drop = (now: number): void => {
    for (const [id, at] of seen) {
      if (now - at < keepMs && seen.size < most) return
      seen.delete(id)
    }
  }
  return {
    has: (id, now) => now - (seen.get(id) ?? -Infinity) < keepMs,
    add(id, now) {
      drop(now)
      seen.delete(id)
      seen.set(id, now)
    },
  }
}

/** What a receiver verifies by. */
export interface VerifySettings {
  /** `whsec_…`; any of them may have signed. */
  readonly secrets: string | readonly string[]
  /** How far the time of a delivery may be from ours, before and after; {@link TOLERANCE_MS} if absent. */
  readonly toleranceMs?: number
  /** What was seen before. Without it nothing counts as repeated. */
  readonly replays?: Replays
  readonly clock?: Pick<Clock, 'now'>
}

/**
 * What a delivery is. `isRepeated`: it was done before, and is to be answered with success and not done again. `done` is to
 * be called when it was done: what failed comes again.
 */
export type Verified =
  | {
      readonly ok: true
      readonly id: string
      readonly events: readonly CloudEvent[]
      readonly isRepeated: boolean
      done(): void
    }
  | { readonly ok: false; readonly why: string }

/**
 * Verifies a delivery by its fields and the body as it came, byte for byte.
 *
 * @example
 * const verified = verifyWebhook(request.headers, await request.text(), { secrets, replays })
 * if (!verified.ok) return new Response(verified.why, { status: 401 })
 * if (!verified.isRepeated) await book(verified.events)
 * verified.done()
 * return new Response(null, { status: 204 })
 *
 * @throws {RangeError} when a secret is none.
 */
export function verifyWebhook(fields: Fields, body: string, settings: VerifySettings): Verified {
  const { secrets, toleranceMs = TOLERANCE_MS, replays, clock = systemClock } = settings
  const signer = createSigner(secrets)
  const id = fields.get('webhook-id') ?? ''
  const timestamp = fields.get('webhook-timestamp') ?? ''
  const signatures = fields.get('webhook-signature') ?? ''
  if (!/^[\w-]{1,256}$/.test(id) || !/^\d{1,12}$/.test(timestamp))
    return refused('The delivery has no id or no time.')
  if (body.length > BODY_CHARS_MAX) return refused('The delivery is too long.')
  const now = clock.now()
  if (!signer.verify(id, timestamp, body, signatures))
    return refused('The signature does not hold.')
  if (Math.abs(now - Number(timestamp) * 1_000) > toleranceMs)
    return refused('The time of the delivery is too far from ours.')
  const events = readEvents(body)
  if (!events) return refused('The delivery holds no events.')
  return {
    ok: true,
    id,
    events,
    isRepeated: replays?.has(id, now) ?? false,
    done: () => replays?.add(id, clock.now()),
  }
}

function refused(why: string): Verified {
  return { ok: false, why }
}

function readEvents(body: string): readonly CloudEvent[] | undefined {
  const said = readJson(body, BODY_CHARS_MAX)
  const list: readonly (Json | undefined)[] = Array.isArray(said) ? said : [said]
  return list.every(isEvent) ? (list as unknown as readonly CloudEvent[]) : undefined
}

/** The attributes that CloudEvents 1.0 requires. Who signed it has made the rest. */
function isEvent(said: Json | undefined): boolean {
  if (!isObject(said) || said['specversion'] !== '1.0') return false
  return ['id', 'source', 'type'].every((name) => typeof said[name] === 'string' && said[name])
}
