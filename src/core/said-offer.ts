import type { Json, JsonObject } from './json.ts'
import { isObject } from './json.ts'
import { fiatOf } from './fiat.ts'
import type { Offer } from './offer.ts'
import type { Resource } from './resource.ts'

/** Longest text in an offer that a stranger hands back, in characters. */
const TEXT_CHARS_MAX = 2_048

/**
 * An offer as a page hands it back, which {@link writeOffer} wrote; undefined for anything else, and for
 * one that is not in the currency of a state. Whether it is ours, `Offers.check` tells: nothing of it holds before.
 */
export function readSaidOffer(said: unknown): Offer<JsonObject> | undefined {
  if (!isObject(said)) return undefined
  const { id, rail, network, intent, payee, timeoutMs, details, expiresAt } = said
  const resource = readResource(said['resource'])
  const amount = readAmount(said['amount'])
  if (!resource || !amount || !isObject(details) || !isTime(timeoutMs) || !isTime(expiresAt))
    return undefined
  if (!isText(id) || !isText(rail) || !isText(network) || !isText(intent) || !isText(payee))
    return undefined
  return { id, rail, network, intent, amount, payee, timeoutMs, details, resource, expiresAt }
}

function readResource(said: Json | undefined): Resource | undefined {
  if (!isObject(said)) return undefined
  const { realm, method, authority, path, query, digest } = said
  if (!isText(realm) || !isText(method) || !isText(authority) || !isText(path) || !isText(query))
    return undefined
  if (digest !== undefined && !isText(digest)) return undefined
  // Its address for people is not part of what was bound.
  const url = ''
  return { realm, method, authority, path, query, url, ...(digest !== undefined && { digest }) }
}

function readAmount(said: Json | undefined): Offer['amount'] | undefined {
  if (!isObject(said) || !isObject(said['asset'])) return undefined
  const { amount } = said
  const { id } = said['asset']
  const asset = typeof id === 'string' ? fiatOf(id) : undefined
  if (!asset || typeof amount !== 'string' || !/^[1-9]\d{0,77}$/.test(amount)) return undefined
  return { asset, amount: BigInt(amount) }
}

function isText(value: Json | undefined): value is string {
  return typeof value === 'string' && value.length <= TEXT_CHARS_MAX
}

function isTime(value: Json | undefined): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
