import type { Balance, Ledger, Leg } from '../core/ports.ts'
import type { Cost, Rules, Sum } from './policy.ts'
import { sayCost, sums, writeCost } from './policy.ts'

/** How far one limit is used up, amounts as price text. */
export interface Spent {
  readonly limit: Sum
  /** The host or the day that it counts; absent for `total`. */
  readonly scope?: string
  /** What is known to be paid. */
  readonly posted: string
  /** Signed and not yet known to be paid or dead; counts as spent until it is. */
  readonly held: string
  /** The limit itself, if the policy has one. */
  readonly most?: string
}

const BUDGET = 'world/budget'
const PREFIX = 'spent'
const words: Readonly<Record<Sum, string>> = { perHost: 'host', perDay: 'day', total: 'total' }

/** The calendar day in UTC, `2026-11-20`. */
function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

/**
 * One leg for each way of adding up, with the limit as its ceiling. A sum without a limit is kept too, so that a limit
 * which is given tomorrow, or by another process, knows what was spent before.
 */
export function legsOf(rules: Rules, { unit }: Cost, host: string, at: number): readonly Leg[] {
  return sums.map((sum) => {
    const ceiling = rules.limit(sum, unit)
    const credit = account(sum, scopeOf(sum, host, at), unit)
    return { debit: BUDGET, credit, ...(ceiling !== undefined && { ceiling }) }
  })
}

/** Says over which limit a payment would go. */
export function explain(rules: Rules, name: string, cost: Cost): string {
  const { sum, scope, unit } = readAccount(name) ?? { sum: 'total' as const, unit: cost.unit }
  const most = writeCost({ unit, amount: rules.limit(sum, unit) ?? 0n })
  const where = scope === undefined ? '' : ` for ${scope}`
  return `Paying ${sayCost(cost)} would go over ${sum}, which is ${most}${where}.`
}

/** The standing of what counts now: the total and today, also before anything was spent, and each host. */
export async function reportSpent(
  ledger: Ledger,
  rules: Rules,
  at: number,
): Promise<readonly Spent[]> {
  const balances = new Map((await ledger.balances()).map((one) => [one.account, one]))
  const limited = rules.units.flatMap((unit) =>
    sums
      .filter((sum) => sum !== 'perHost' && rules.limit(sum, unit) !== undefined)
      .map((sum) => account(sum, scopeOf(sum, '', at), unit)),
  )
  return [...new Set([...limited, ...balances.keys()])].toSorted().flatMap((name) => {
    const found = readAccount(name)
    if (!found || (found.sum === 'perDay' && found.scope !== dayOf(at))) return []
    return [spent(found, balances.get(name), rules)]
  })
}

function spent({ sum, scope, unit }: Account, balance: Balance | undefined, rules: Rules): Spent {
  const { posted = 0n, pending = 0n } = balance ?? {}
  const most = rules.limit(sum, unit)
  return {
    limit: sum,
    ...(scope !== undefined && { scope }),
    posted: writeCost({ unit, amount: posted }),
    held: writeCost({ unit, amount: pending }),
    ...(most !== undefined && { most: writeCost({ unit, amount: most }) }),
  }
}

interface Account {
  readonly sum: Sum
  readonly scope?: string
  readonly unit: string
}

function scopeOf(sum: Sum, host: string, at: number): string | undefined {
  if (sum === 'total') return undefined
  return sum === 'perDay' ? dayOf(at) : host
}

function account(sum: Sum, scope: string | undefined, unit: string): string {
  return [PREFIX, words[sum], ...(scope === undefined ? [] : [scope]), unit].join('/')
}

function readAccount(name: string): Account | undefined {
  const parts = name.split('/')
  const [prefix, word, scope] = parts
  const sum = sums.find((sum) => words[sum] === word)
  const unit = parts.at(-1)
  if (prefix !== PREFIX || !sum || unit === undefined) return undefined
  return parts.length === 4 && scope !== undefined ? { sum, scope, unit } : { sum, unit }
}
