import type { Price } from '../../core/money.ts'
import type { Method } from '../../core/ports.ts'
import { formsOf, sayTerms } from './part.ts'

/** One way to pay, as documents tell it before anybody asks. */
export interface Advertised {
  readonly method: string
  readonly intent: string
  /** In the smallest unit of the currency, as challenges count it. */
  readonly amount: string
  readonly currency?: string
}

/** What rails would ask for prices, in the words of challenges. No invoice is made, and no rate is asked for. */
export function advertise(
  rails: readonly Method[],
): (prices: readonly Price[]) => readonly Advertised[] {
  const forms = formsOf(rails)
  return (prices) =>
    rails
      .flatMap((rail) => prices.flatMap((price) => rail.quote(price)))
      .flatMap((terms) => {
        const { method, intent, request } = sayTerms(forms, terms) ?? {}
        const { amount, currency } = request ?? {}
        if (method === undefined || intent === undefined || typeof amount !== 'string') return []
        return [{ method, intent, amount, ...(typeof currency === 'string' && { currency }) }]
      })
}
