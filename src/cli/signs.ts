import { fromBase64 } from '../core/base64.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { clean } from './text.ts'

/** Largest piece of an answer that is looked into for a challenge. */
export const CHALLENGE_BYTES_MAX: number = 256 * 1024

/** Most challenges of one answer that are looked at. */
const CHALLENGES_MAX = 32

/** What shows that a protocol is spoken in an answer, whether or not we speak it. */
export interface Sign {
  /** Its name for people: `x402 v2`, `L402`. */
  readonly protocol: string
  /** Where it was seen: `header PAYMENT-REQUIRED`, `body`. */
  readonly where: string
  /** Our protocol that reads it, if there is one yet. */
  readonly spoken?: string
  /** What can be told of it all the same. */
  readonly note?: string
  /** The address that it says it is for. */
  readonly url?: string
}

/** An answer as far as it was read. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** The beginning of the body. */
  readonly text: string
  /** Whether there was more of it. */
  readonly cut: boolean
}

/** The body as JSON, if it is some within limits. */
export function jsonOf(answer: Answer): Json | undefined {
  return answer.cut ? undefined : readJson(answer.text, CHALLENGE_BYTES_MAX)
}

/** Every payment protocol that an answer shows signs of. */
export function readSigns(answer: Answer): readonly Sign[] {
  return [...x402Signs(answer), ...fieldSigns(answer.headers)]
}

function* x402Signs(answer: Answer): Generator<Sign> {
  const field = answer.headers.get('payment-required')
  if (field !== null) yield headerSign(field)
  const body = jsonOf(answer)
  const version = isObject(body) && Array.isArray(body['accepts']) ? body['x402Version'] : undefined
  if (isObject(body) && version === 1)
    yield {
      protocol: 'x402 v1',
      where: 'body',
      spoken: 'x402',
      ...urlIn(firstOf(body), 'resource'),
    }
  if (version === 2 && field === null)
    yield {
      protocol: 'x402 v2',
      where: 'body',
      spoken: 'x402',
      note: 'Version 2 belongs into the header PAYMENT-REQUIRED; in the body most buyers will not find it.',
    }
}

function headerSign(field: string): Sign {
  const sign = { protocol: 'x402 v2', where: 'header PAYMENT-REQUIRED', spoken: 'x402' }
  const text = field.length <= CHALLENGE_BYTES_MAX ? fromBase64(field.trim()) : undefined
  const value = text === undefined ? undefined : readJson(text, CHALLENGE_BYTES_MAX)
  if (isObject(value)) return { ...sign, ...urlIn(value['resource'], 'url') }
  return { ...sign, note: 'The header is not base64 of a JSON object, so no buyer can read it.' }
}

function firstOf({ accepts }: JsonObject): Json | undefined {
  return Array.isArray(accepts) ? (accepts[0] as Json) : undefined
}

function urlIn(value: Json | undefined, member: string): { readonly url?: string } {
  const url = isObject(value) ? value[member] : undefined
  return typeof url === 'string' && url !== '' ? { url: clean(url) } : {}
}

function* fieldSigns(headers: Headers): Generator<Sign> {
  for (const { name, parameters } of readChallenges(headers.get('www-authenticate') ?? '')) {
    const where = 'header WWW-Authenticate'
    if (name === 'l402' || name === 'lsat')
      yield {
        protocol: name.toUpperCase(),
        where,
        spoken: 'l402',
        ...noted(invoiceNote(parameters.get('invoice'))),
      }
    if (name === 'payment')
      yield { protocol: 'Payment (MPP)', where, ...noted(paymentNote(parameters)) }
    if (name === 'bearer' && parameters.get('realm') === 'payment_gateway')
      yield { protocol: 'Bearer payment_gateway', where }
  }
}

function noted(note: string | undefined): { readonly note?: string } {
  return note === undefined ? {} : { note }
}

/** Tenths of a satoshi would be finer than people count; the multipliers are those of BOLT 11. */
const picobitcoin: Readonly<Record<string, bigint>> = {
  '': 1_000_000_000_000n,
  m: 1_000_000_000n,
  u: 1_000_000n,
  n: 1_000n,
  p: 1n,
}

/** The amount in a Lightning invoice's first words (BOLT 11, human-readable part). */
function invoiceNote(invoice: string | undefined): string | undefined {
  const [, digits, unit = ''] =
    /^ln(?:bcrt|bc|tbs|tb)(\d{1,15})([munp]?)1/i.exec(invoice ?? '') ?? []
  if (digits === undefined) return undefined
  const pico = BigInt(digits) * (picobitcoin[unit.toLowerCase()] ?? 1n)
  const sat = pico / 10_000n
  return `A Lightning invoice over ${sat === 0n ? 'less than 1' : sat} sat.`
}

/** Method, intent and, where they can be read, amount and currency of a `Payment` challenge. */
function paymentNote(parameters: ReadonlyMap<string, string>): string | undefined {
  const method = parameters.get('method')
  if (method === undefined) return undefined
  const text = Buffer.from(parameters.get('request') ?? '', 'base64url').toString()
  const request = readJson(text, CHALLENGE_BYTES_MAX)
  const { amount, currency } = isObject(request) ? request : {}
  const price =
    typeof amount === 'string' && typeof currency === 'string' ? `, ${amount} of ${currency}` : ''
  return clean(`Method ${method}, intent ${parameters.get('intent') ?? 'unknown'}${price}.`)
}

/** One challenge of WWW-Authenticate: the scheme in lower case, and its parameters. */
export interface AuthChallenge {
  readonly name: string
  readonly parameters: ReadonlyMap<string, string>
}

const word = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const parameter = new RegExp(`(${word})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${word}))`, 'y')
const scheme = new RegExp(`(${word})(?:[ \\t]+([A-Za-z0-9._~+/-]+=*)(?=[ \\t]*(?:,|$)))?`, 'y')
const gap = /[ \t,]+/y

/** Reads the folded list of challenges (RFC 9110, 11.6.1); stops at the first thing that is none. */
export function readChallenges(field: string): readonly AuthChallenge[] {
  const found: { name: string; parameters: Map<string, string> }[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(field)
    if (match) at = pattern.lastIndex
    return match
  }
  if (field.length > CHALLENGE_BYTES_MAX) return found
  while (at < field.length && found.length <= CHALLENGES_MAX) {
    take(gap)
    const said = take(parameter)
    if (said) {
      const [, name = '', quoted, plain = ''] = said
      const { parameters } = found.at(-1) ?? { parameters: new Map<string, string>() }
      const key = name.toLowerCase()
      if (!parameters.has(key)) parameters.set(key, quoted?.replaceAll(/\\(.)/g, '$1') ?? plain)
      continue
    }
    const next = take(scheme)
    if (!next) break
    found.push({ name: (next[1] ?? '').toLowerCase(), parameters: new Map() })
  }
  return found
}
