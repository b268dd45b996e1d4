import { isObject, readJson } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Forms, Gateway, Words } from './part.ts'

/** Longest intent that is read, in characters. */
export const INTENT_CHARS_MAX = 4_096

/** By which an offer of ours is told from a processor's id. */
const PREFIX = 'offer_'

const GATEWAYS: Readonly<Record<Gateway, true>> = {
  stripe: true,
  blockchain: true,
  'stripe-crypto': true,
  paypal: true,
}

/** An offer as `X-Payment-Intent` brings it back: its id, its end in seconds, and the rail's own words. */
export function writeIntent({ id, expiresAt }: Offer, words: Words): string {
  const { gateway, wallet_required, details } = words
  const said = [id, expiresAt / 1000, gateway, wallet_required, details]
  return PREFIX + Buffer.from(JSON.stringify(said)).toString('base64url')
}

/** Whether the text says that it is an offer of ours. */
export function isIntent(text: string): boolean {
  return text.startsWith(PREFIX)
}

/**
 * The offer in an intent, all but what it is for; a sentence why there is none. Whether it is ours, its id will tell the gate.
 */
export function readIntent(
  text: string,
  forms: Forms,
): { readonly offer: Omit<Offer, 'resource'>; readonly form: Forms[number] } | string {
  const bytes = Buffer.from(text.slice(PREFIX.length), 'base64url')
  const said = readJson(bytes.toString(), INTENT_CHARS_MAX)
  if (!Array.isArray(said) || said.length !== 5) return 'It is not an offer of this service.'
  const [id, seconds, gateway, wallet, details] = said as readonly unknown[]
  if (typeof id !== 'string' || id === '' || !isSeconds(seconds) || !isGateway(gateway))
    return 'It is not an offer of this service.'
  if (typeof wallet !== 'boolean' || !isObject(details))
    return 'It is not an offer of this service.'
  const words: Words = { gateway, wallet_required: wallet, details }
  for (const form of forms) {
    const terms = form.readDetails(words)
    if (typeof terms !== 'string')
      return { offer: { ...terms, id, expiresAt: seconds * 1000 }, form }
  }
  return 'Nothing that is taken here is offered like this.'
}

/** Whether the word is one of a gateway alone; `hybrid` is none. */
export function isGateway(said: unknown): said is Gateway {
  return typeof said === 'string' && Object.hasOwn(GATEWAYS, said)
}

function isSeconds(said: unknown): said is number {
  return Number.isSafeInteger(said) && Number(said) >= 0 && Number(said) < 2 ** 42
}
