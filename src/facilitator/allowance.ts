import { toMoney } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Caller, Denial, Leg } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** Most callers and addresses that are counted, each by itself, within a minute. */
export const COUNTS_MAX = 65_536

/** The caller may not, or not now. */
export function denial(code: Denial['code'], detail: string, retryAfterMs?: number): Denial {
  return { kind: 'denied', code, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

/** Counts requests by the minute. Who has no limit takes no room. */
export interface Rates {
  /** Undefined if the caller may ask once more, from that address. */
  count(caller: Caller, address: string | undefined, now: number): Denial | undefined
}

/** Makes the counts, all at zero. */
export function createRates(): Rates {
  const counts = new Map<string, number>()
  let minute = 0

  /** Whether there is one more in this minute. Once too many are counted, the others are counted together. */
  function take(who: string, most: number): boolean {
    const name = counts.has(who) || counts.size < COUNTS_MAX ? who : ''
    const requests = (counts.get(name) ?? 0) + 1
    counts.set(name, requests)
    return requests <= most
  }

  return {
    count({ name, requestsPerMinute, addressPerMinute }, address, now) {
      const current = Math.floor(now / MINUTE_MS)
      if (current !== minute) counts.clear()
      minute = current
      const waitMs = (minute + 1) * MINUTE_MS - now
      // The address first: who asks too often must not use up what others may.
      if (addressPerMinute !== undefined && !take(`${name} ${placeOf(address)}`, addressPerMinute))
        return denial(
          'limited',
          `An address may ask ${addressPerMinute} times in a minute.`,
          waitMs,
        )
      if (requestsPerMinute !== undefined && !take(name, requestsPerMinute))
        return denial(
          'limited',
          `This caller may ask ${requestsPerMinute} times in a minute.`,
          waitMs,
        )
      return undefined
    },
  }
}

/** Whoever has an address of IPv6 has all of its network, so that the first half is what counts. */
function placeOf(address = ''): string {
  if (!address.includes(':')) return address
  const [, v4] = /^::ffff:([\d.]+)$/i.exec(address) ?? []
  if (v4 !== undefined) return v4
  const [front = [], back = []] = address.split('::').map((half) => half.split(':'))
  const zeros = Math.max(0, 8 - front.length - back.length)
  return [...front, ...Array<string>(zeros).fill('0'), ...back].slice(0, 4).join(':')
}

/** Whether the caller may have this moved at all; undefined if so. */
export function forbids(caller: Caller, { payee, amount }: Offer): Denial | undefined {
  const { payees, assets, amountPerDay } = caller
  if (payees && !has(payees, payee))
    return denial('forbidden', 'This caller may not settle payments to this account.')
  const { id, code, currency } = amount.asset
  if (assets && !has(assets, id) && !has(assets, code))
    return denial('forbidden', 'This caller may not settle payments in this asset.')
  if (amountPerDay && amountPerDay.currency !== currency && amountPerDay.currency !== code)
    return denial('forbidden', `This caller may only settle amounts of ${amountPerDay.currency}.`)
  return undefined
}

/** The leg that reserves the amount of what the caller may have moved today: none if there is no limit. */
export function amountLegs({ name, amountPerDay }: Caller, offer: Offer, now: number): Leg[] {
  if (!amountPerDay) return []
  const ceiling = toMoney(amountPerDay, offer.amount.asset).amount
  return [{ debit: `${WORLD}quota`, credit: `quota/${name}/${dayOf(now)}`, ceiling }]
}

/** What a settlement takes of its caller's day beside the amount, until it is known what it took. */
export interface Due {
  readonly kind: 'sent' | 'gas'
  readonly asset: string
  /** The most that it can be. */
  readonly amount: bigint
  readonly leg: Leg
  /** What is said when there is not so much left. */
  readonly exhausted: string
}

/** One of the settlements that the caller may have sent today; undefined if there is no limit. */
export function countDue({ name, settlementsPerDay }: Caller, now: number): Due | undefined {
  if (settlementsPerDay === undefined) return undefined
  const credit = `sent/${name}/${dayOf(now)}`
  return {
    kind: 'sent',
    asset: 'settlement',
    amount: 1n,
    leg: { debit: `${WORLD}sent`, credit, ceiling: BigInt(settlementsPerDay) },
    exhausted: 'The settlements that this caller may have sent in a day are used up.',
  }
}

/** What sending may cost of what the caller may cost today; undefined if there is no limit. */
export function gasDue(
  { name, gasPerDayWei }: Caller,
  network: string,
  costMax: bigint,
  now: number,
): Due | undefined {
  if (gasPerDayWei === undefined) return undefined
  const credit = `gas/${name}/${dayOf(now)}`
  return {
    kind: 'gas',
    asset: `gas:${network}`,
    amount: costMax,
    leg: { debit: `${WORLD}gas`, credit, ceiling: gasPerDayWei },
    exhausted: 'The gas that this caller may have spent in a day is used up.',
  }
}

/** What is said once a day's allowance is used up. */
export function tomorrow(sentence: string, now: number): Denial {
  return denial('limited', sentence, DAY_MS - (now % DAY_MS))
}

function has(list: readonly string[], said: string): boolean {
  const wanted = said.toLowerCase()
  return list.some((one) => one.toLowerCase() === wanted)
}

function dayOf(now: number): string {
  return new Date(now).toISOString().slice(0, 10)
}
