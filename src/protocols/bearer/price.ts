import { decimal } from '../../core/money.ts'
import type { Money } from '../../core/money.ts'

/** A price as the profile says it: an exact decimal, as text, and its currency. */
export interface Cost {
  readonly amount: string
  readonly currency: string
}

/** The shortest decimal that is exactly the money, in the currency that it stands for. */
export function costOf({ asset, amount }: Money): Cost {
  return { amount: decimal(amount, asset.scale), currency: asset.currency ?? asset.code }
}

/** Whether both say the same price. */
export function isSame(a: Cost, b: Cost): boolean {
  return a.amount === b.amount && a.currency === b.currency
}

const DECIMAL = /^(\d{1,78})(?:\.(\d{1,78}))?$/

/**
 * A price as a stranger says it, the amount written as {@link costOf} writes it; undefined if it is none. A number is taken by
 * the shortest decimal that is that number: nothing is calculated with it.
 */
export function readCost(amount: unknown, currency: unknown): Cost | undefined {
  const text = typeof amount === 'number' ? String(amount) : amount
  if (typeof text !== 'string' || typeof currency !== 'string') return undefined
  const [, whole, part = ''] = DECIMAL.exec(text) ?? []
  if (whole === undefined || !/^[A-Za-z][A-Za-z0-9]{1,15}$/.test(currency)) return undefined
  const cut = part.replace(/0+$/, '')
  const exact = whole.replace(/^0+(?=\d)/, '') + (cut && `.${cut}`)
  return { amount: exact, currency: currency.toUpperCase() }
}
