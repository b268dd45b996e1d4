import { toMoney } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Caller, Denial, Leg } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

/** The caller may not, or not now. */
export function denial(code: Denial['code'], detail: string, retryAfterMs?: number): Denial {
  return { kind: 'denied', code, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

/** Counts requests by the minute. A caller without a limit takes no room. */
export interface Rates {
  /** Undefined if the caller may ask once more. */
  count(caller: Caller, now: number): Denial | undefined
}

/** Makes the counts, all at zero. */
export function createRates(): Rates {
  const counts = new Map<string, { minute: number; requests: number }>()
  return {
    count({ name, requestsPerMinute: most }, now) {
      if (most === undefined) return undefined
      const minute = Math.floor(now / MINUTE_MS)
      const last = counts.get(name)
      const requests = last?.minute === minute ? last.requests + 1 : 1
      counts.set(name, { minute, requests })
      if (requests <= most) return undefined
      const sentence = `This caller may ask ${most} times in a minute.`
      return denial('limited', sentence, (minute + 1) * MINUTE_MS - now)
    },
  }
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

/** The leg that takes one of the settlements that the caller may have sent today; undefined if there is no limit. */
export function countLeg({ name, settlementsPerDay }: Caller, now: number): Leg | undefined {
  if (settlementsPerDay === undefined) return undefined
  const credit = `sent/${name}/${dayOf(now)}`
  return { debit: `${WORLD}sent`, credit, ceiling: BigInt(settlementsPerDay) }
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
