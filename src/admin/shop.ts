import type { JsonObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import type { Plan } from '../core/plan.ts'
import type { Gate, Ledger, Rail } from '../core/ports.ts'
import type { NameAsset } from '../books/quantity.ts'

/** The parts of a seller that the dashboard looks at, and by which it gives money back and revokes tokens. */
export interface AdminShop {
  readonly gate: Pick<Gate, 'refund' | 'refundRest' | 'accounts'>
  readonly ledger: Ledger
  readonly rails: readonly Rail[]
  readonly plans?: ReadonlyMap<string, Plan>
  /** What callers may ask how often, as it was configured: shown as it is. */
  readonly limits?: JsonObject
  /** Names assets that the books have by their ids only; those of the rails if absent. */
  readonly nameAsset?: NameAsset
  /** Whose books they are, as events say it: a URI or a reference, for instance the seller's origin. */
  readonly source?: string
  /** Looks whether a rail could take money now: undefined if it could, else a sentence why not. */
  readonly probe?: (rail: Rail) => Promise<string | undefined>
}

/** Decimals in which tokens count a currency. */
const TOKEN_SCALE = 18

/** Names assets: by the shop's word, by what its rails ask for, and by what tokens count in. */
export function namerOf({ nameAsset, rails, plans }: AdminShop): NameAsset {
  const asked = new Map<string, Asset>()
  const prices = [...(plans?.values() ?? [])].flatMap((plan) => plan.prices)
  const currencies = new Set(['USD', 'EUR', 'BTC', ...prices.map(({ currency }) => currency)])
  for (const rail of rails)
    for (const currency of currencies)
      for (const { amount } of quoted(rail, currency)) asked.set(amount.asset.id, amount.asset)
  return (id) => {
    const named = nameAsset?.(id) ?? asked.get(id)
    if (named) return named
    if (id === 'uses' || id === 'time') return { code: id, scale: 0 }
    return /^[A-Z][A-Z0-9]{1,15}$/.test(id) ? { code: id, scale: TOKEN_SCALE } : undefined
  }
}

function quoted(rail: Rail, currency: string): ReturnType<Rail['quote']> {
  try {
    return rail.quote({ currency, amount: 1n, scale: 0 })
  } catch {
    // Not every rail can say every price, and this one is for no sale.
    return []
  }
}
