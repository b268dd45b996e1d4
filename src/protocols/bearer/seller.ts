import { quoted } from '../../core/auth.ts'
import type { Challenge } from '../../core/challenge.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Message } from '../../core/ports.ts'
import { writeIntent } from './intent.ts'
import type { Forms, Words } from './part.ts'
import type { Cost } from './price.ts'
import { costOf, isSame } from './price.ts'

/** The realm by which a challenge of the profile is told from an application's own `Bearer`. */
export const REALM = 'payment_gateway'

/** Longest address that is said on the head, in characters: a longer one stands in the body alone. */
export const PAYMENT_URL_CHARS_MAX = 256

interface Asked {
  readonly offer: Offer
  readonly words: Words
  readonly cost: Cost
}

/** Says the offers that have a form here. Head and top of the body tell the price of the first; all stand in `payments`. */
export function writeAsked(forms: Forms, challenge: Challenge, now: number): Message {
  const asked = challenge.offers.flatMap((offer): readonly Asked[] => {
    const form = forms.find(
      ({ rail, networks }) => rail === offer.rail && networks.includes(offer.network),
    )
    return form ? [{ offer, words: form.writeDetails(offer), cost: costOf(offer.amount) }] : []
  })
  const [first] = asked
  if (!first) return { fields: [] }
  const alike = asked.filter(({ cost }) => isSame(cost, first.cost))
  const said = {
    gateway: gatewayOf(alike),
    ...first.cost,
    payment_url: urlOf(alike, challenge),
    expires_in: Math.min(...alike.map(({ offer }) => secondsOf(offer, now))),
    wallet_required: alike.every(({ words }) => words.wallet_required),
  }
  return {
    fields: [['WWW-Authenticate', writeHead(said)]],
    body: { ...bodyOf(challenge, first.cost), ...said, payments: asked.map(paymentOf(now)) },
  }
}

function writeHead(said: Readonly<Record<string, string | number | boolean>>): string {
  const params = Object.entries<string | number | boolean>({ realm: REALM, ...said })
    .map(([name, value]) => [name, String(value)] as const)
    .filter(([name, value]) => name !== 'payment_url' || value.length <= PAYMENT_URL_CHARS_MAX)
  return `Bearer ${params.map(([name, value]) => `${name}=${quoted(value)}`).join(', ')}`
}

/** `status` and `reason` are members of a problem too, and say the same there. */
function bodyOf({ problem, breakdown, description }: Challenge, cost: Cost): JsonObject {
  const { amount, currency } = cost
  const whole = { what: description ?? 'request', quantity: '1', unit: 'request' }
  const lines = breakdown ?? [{ ...whole, amount: `${amount} ${currency}` }]
  return {
    status: 402,
    reason: problem.code.replaceAll('-', '_'),
    cost: { ...cost, breakdown: lines.map((line) => ({ ...line })) },
  }
}

function paymentOf(now: number): (one: Asked) => JsonObject {
  return ({ offer, words, cost }) => ({
    gateway: words.gateway,
    ...cost,
    payment_intent: writeIntent(offer, words),
    expires_in: secondsOf(offer, now),
    wallet_required: words.wallet_required,
    ...(words.payment_url !== undefined && { payment_url: words.payment_url }),
    details: words.details,
  })
}

function gatewayOf(alike: readonly Asked[]): string {
  const [gateway = '', ...others] = new Set(alike.map(({ words }) => words.gateway))
  return others.length > 0 ? 'hybrid' : gateway
}

/** Where a person pays: a processor's own page, or the address of what is sold, which shows one to browsers. */
function urlOf(alike: readonly Asked[], { resource }: Challenge): string {
  const named = alike.find(({ words }) => words.payment_url !== undefined)
  return named?.words.payment_url ?? resource.url
}

function secondsOf({ expiresAt }: Offer, now: number): number {
  return Math.max(0, Math.floor((expiresAt - now) / 1000))
}
