import type { Price } from '../../../core/money.ts'
import type { Method } from '../../../core/ports.ts'
import type { Forms } from './forms.ts'
import { createForms } from './forms.ts'
import type { Proof } from './proof.ts'
import type { Details, Shop } from './terms.ts'
import { RAIL, termsOf } from './terms.ts'

/** What a proof was found to be, once it was checked. */
export interface Known {
  readonly key: string
  readonly payer: string
}

/** The pure half of the rail. `known` tells what was found of a proof in this process. `submits`: it sends what was signed. */
export function methodOf(
  shop: Shop,
  known: (proof: Proof) => Known | undefined,
  submits: boolean,
): Method<Details, Proof> & { readonly forms: Forms } {
  return {
    name: RAIL,
    network: shop.network.id,
    prepaid: true,
    forms: createForms([shop], shop.payee, submits),
    quote: remembered((price) => termsOf(shop, price)),
    units: shop.payables.map(({ asset: { id, code, scale, currency = code } }) => ({
      asset: id,
      currency,
      scale,
    })),
    // A hash is anybody's to read, so that it names a spend only where its payer was seen.
    identify: (_, proof) =>
      known(proof) ?? {
        key: `${shop.network.id}/tx:${proof.transaction}/unproven`,
        payer: '',
      },
  }
}

/** Terms do not change, and a route hands in the same price each time. */
function remembered(quote: Method<Details, Proof>['quote']): Method<Details, Proof>['quote'] {
  const known = new WeakMap<Price, ReturnType<typeof quote>>()
  return (price) => {
    const terms = known.get(price) ?? quote(price)
    known.set(price, terms)
    return terms
  }
}
