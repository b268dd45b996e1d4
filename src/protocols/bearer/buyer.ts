import { readAuth } from '../../core/auth.ts'
import type { Challenge } from '../../core/challenge.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { isObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Received } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { INTENT_CHARS_MAX, isGateway } from './intent.ts'
import type { Forms, Words } from './part.ts'
import { costOf, readCost } from './price.ts'
import { REALM } from './seller.ts'

/** Most ways to pay that are looked at in one answer. */
const PAYMENTS_MAX = 16
/** Longest address that is read, in characters. */
const URL_CHARS_MAX = 2_048
/** Longest time that an offer may be told to stand, in seconds. */
const EXPIRES_SECONDS_MAX = 31_536_000

/** What a payer's offer carries so that its credential can name it. */
export interface Echo {
  /** Absent where the seller names none: then the payment's own id stands in its place. */
  readonly intent?: string
}

/** Reads what a seller asks for; undefined where nobody speaks the profile. */
export function readOffered(
  forms: Forms,
  { status, fields, body }: Received,
  resource: Resource,
  now: number,
): Challenge | undefined {
  const challenge = readAuth(fields.get('WWW-Authenticate') ?? '').find(
    ({ scheme, params }) => /^bearer$/i.test(scheme) && params.get('realm') === REALM,
  )
  const whole = isObject(body) && 'payment_url' in body && 'gateway' in body ? body : undefined
  if (!challenge && !whole) return undefined
  const said = { ...(challenge && Object.fromEntries(challenge.params)), ...whole }
  const read = paymentsIn(said).map((one) => readOne(forms, one, resource, now))
  const offers = read.filter((one) => typeof one === 'object')
  const reasons = read.filter((one) => typeof one === 'string')
  return {
    resource,
    offers,
    problem: whyOf(status, said),
    ...(reasons.length > 0 && { unreadable: reasons.map((why) => ({ why, said: 'Bearer' })) }),
  }
}

/** By the code of a problem, or by `reason`, which has the same words; of a stranger's sentences nothing is taken. */
function whyOf(status: number, { code, reason }: JsonObject): Problem {
  const known = [code, reason].map(wordOf).find((word) => word !== undefined)
  const found = known ?? (status === 403 ? 'proof-invalid' : 'payment-required')
  return problem(found, `${problems[found].title}.`)
}

function wordOf(said: Json | undefined): Code | undefined {
  const word = typeof said === 'string' ? said.replaceAll('_', '-') : ''
  return Object.hasOwn(problems, word) ? (word as Code) : undefined
}

/** Each way on its own where the seller lists them; else the one that head and body tell of. */
function paymentsIn(said: JsonObject): readonly JsonObject[] {
  const { payments } = said
  return Array.isArray(payments) ? payments.slice(0, PAYMENTS_MAX).filter(isObject) : [said]
}

function readOne(forms: Forms, said: JsonObject, resource: Resource, now: number): Offer | string {
  const words = readWords(said)
  if (typeof words === 'string') return words
  let why = `Nothing here pays through ${words.gateway}.`
  for (const form of forms) {
    const terms = form.readDetails(words)
    if (typeof terms === 'string') {
      why = terms
      continue
    }
    const cost = readCost(said['amount'], said['currency'])
    const { amount, currency } = costOf(terms.amount)
    // Where both say an amount of one currency, it is the same: else people would be told one price and pay another.
    if (!cost || (cost.currency === currency.toUpperCase() && cost.amount !== amount))
      return 'The price that is told is not the one that is asked for.'
    const expiresAt = endOf(said['expires_in'], now)
    return { ...terms, id: '', resource, expiresAt, echo: echoOf(said['payment_intent']) }
  }
  return why
}

function readWords(said: JsonObject): Words | string {
  const { gateway, payment_url: url, details, amount = '', currency = '' } = said
  if (!isGateway(gateway)) return 'The gateway is not one that is known here.'
  return {
    gateway,
    wallet_required: said['wallet_required'] === true || said['wallet_required'] === 'true',
    ...(typeof url === 'string' && url.length <= URL_CHARS_MAX && { payment_url: url }),
    // A seller without details says the price alone.
    details: isObject(details) ? details : { amount, currency },
  }
}

function echoOf(intent: unknown): Echo {
  const plain = typeof intent === 'string' && /^[!-~]+$/.test(intent)
  return plain && intent.length <= INTENT_CHARS_MAX ? { intent } : {}
}

/** Whole seconds; without an end the largest moment there is. */
function endOf(said: unknown, now: number): number {
  const seconds = typeof said === 'string' && /^\d{1,10}$/.test(said) ? Number(said) : said
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds < 0)
    return Number.MAX_SAFE_INTEGER
  return (Math.floor(now / 1000) + Math.floor(Math.min(seconds, EXPIRES_SECONDS_MAX))) * 1000
}
