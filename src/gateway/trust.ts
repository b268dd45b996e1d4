import { hash, timingSafeEqual } from 'node:crypto'
import { systemClock } from '../core/clock.ts'
import { checkSecret, SECRETS_MAX } from '../core/mac.ts'
import type { Clock } from '../core/ports.ts'

/** How old a signed request may be. Clocks of gateway and upstream may differ by as much. */
export const TRUST_AGE_MS = 60_000

/** What a gateway tells its upstream of a request. */
export interface Trusted {
  /** The request's id, which problems, events and the journal carry too. Another request has another. */
  readonly request: string
  /** Unix time in whole seconds. */
  readonly time: number
  /** The key of the payment in the books; absent where nothing was paid. */
  readonly key?: string | undefined
  /** Who paid, in the words of the rail. */
  readonly payer?: string | undefined
  /** The account of the token that paid. */
  readonly account?: string | undefined
  /** The plan of the token that paid. */
  readonly plan?: string | undefined
}

/** The fields that only the gateway may write begin so; whatever a payer sends under such a name is dropped. */
export const TRUST_PREFIX = 'tolsey-'

const SIGNATURE = 'tolsey-signature'
const BLOCK = 64

/** The fields in the order in which they are signed. */
const fields: readonly (readonly [field: string, member: keyof Trusted])[] = [
  ['tolsey-time', 'time'],
  ['tolsey-request', 'request'],
  ['tolsey-key', 'key'],
  ['tolsey-payer', 'payer'],
  ['tolsey-account', 'account'],
  ['tolsey-plan', 'plan'],
]

/** Writes the signed fields of a request: names and values in turn. `target` is path and query as they are sent. */
export type SignTrust = (method: string, target: string, said: Trusted) => readonly string[]

/**
 * Makes the signer of an upstream's fields. The signature is HMAC-SHA256 (RFC 2104) in hex under the secret's UTF-8 bytes,
 * over the lines `tolsey-trust-1`, method, target, and `name:value` for each field that is there, in the order time, request,
 * key, payer, account, plan, joined by line feeds.
 * @throws {RangeError} when the secret must not be used.
 */
export function createTrust(secret: string): SignTrust {
  const sign = hmac(checkSecret(secret))
  return (method, target, said) => {
    const lines: string[] = []
    const head: string[] = []
    for (const [field, member] of fields) {
      const value = said[member]
      if (value === undefined) continue
      const text = visible(String(value))
      lines.push(`${field}:${text}`)
      head.push(field, text)
    }
    head.push(SIGNATURE, `v1=${sign(textOf(method, target, lines))}`)
    return head
  }
}

/** A request as node:http tells it, before any router has touched its `url`. */
export interface TrustRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/**
 * For upstreams: makes the check whether a request came through the gateway. It gives what the gateway says of it, or
 * undefined for a request that was not signed by it, or too long ago; such a request must be refused. The first secret is the
 * one in use, others are those that are being rotated out.
 *
 * A signature can be shown again within {@link TRUST_AGE_MS} by whoever can read the wire between the two: use TLS there, or
 * remember the `request` ids that were seen.
 * @throws {RangeError} when a secret must not be used.
 */
export function createTrustCheck(
  secret: string | readonly string[],
  { clock = systemClock, ageMaxMs = TRUST_AGE_MS }: TrustCheckOptions = {},
): (request: TrustRequest) => Trusted | undefined {
  const secrets = typeof secret === 'string' ? [secret] : secret
  if (secrets.length === 0 || secrets.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets.`)
  const signs = secrets.map((one) => hmac(checkSecret(one)))
  return ({ method = '', url = '', headers }) => {
    const lines: string[] = []
    const said: Record<string, string> = {}
    for (const [field, member] of fields) {
      const value = headers[field]
      if (value === undefined) continue
      if (typeof value !== 'string' || value !== visible(value)) return undefined
      lines.push(`${field}:${value}`)
      said[member] = value
    }
    const shown = String(headers[SIGNATURE])
    const text = textOf(method, url, lines)
    let good = false
    for (const sign of signs) good = isEqual(`v1=${sign(text)}`, shown) || good
    const time = Number(said['time'])
    if (!good || !(Math.abs(clock.now() - time * 1000) <= ageMaxMs)) return undefined
    return { ...said, request: said['request'] ?? '', time }
  }
}

/** How strict a check is. */
export interface TrustCheckOptions {
  readonly clock?: Clock
  /** {@link TRUST_AGE_MS} if absent. */
  readonly ageMaxMs?: number
}

function textOf(method: string, target: string, lines: readonly string[]): string {
  return ['tolsey-trust-1', method, target, ...lines].join('\n')
}

/** Fields are bytes: what is no visible ASCII becomes a question mark. */
function visible(text: string): string {
  return /^[!-~]*$/.test(text) ? text : text.replaceAll(/[^!-~]/g, '?')
}

function isEqual(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)]
  return one.length === other.length && timingSafeEqual(one, other)
}

/** By one-shot hashes: a stream object for each step costs several times as much. */
function hmac(secret: string): (text: string) => string {
  const bytes = Buffer.from(secret)
  const key = bytes.length > BLOCK ? hash('sha256', bytes, 'buffer') : bytes
  const inner = Buffer.alloc(BLOCK, 0x36)
  const outer = Buffer.alloc(BLOCK + 32, 0x5c)
  for (const [i, byte] of key.entries()) {
    inner[i] = 0x36 ^ byte
    outer[i] = 0x5c ^ byte
  }
  return (text) => {
    const within = hash('sha256', Buffer.concat([inner, Buffer.from(text)]), 'buffer')
    outer.set(within, BLOCK)
    return hash('sha256', outer, 'hex')
  }
}
