import type { Price } from '../../../core/money.ts'
import type { Method } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import { assetOf } from '../networks.ts'
import { createForm } from './forms.ts'
import type { Proof } from './proof.ts'
import type { Details, Shop } from './terms.ts'
import { RAIL, quoteBy } from './terms.ts'

/** The pure half of the rail. `signerOf` tells who has signed, where a credential does not. */
export function methodOf(
  shop: Shop,
  signerOf: (proof: Omit<Proof, 'from'>) => Hex | undefined,
  keyOf: (proof: Proof) => string,
): Method<Details, Proof> {
  const { network, payee } = shop
  return {
    name: RAIL,
    network: network.id,
    forms: { mpp: createForm({ networks: [network], payTo: payee, signerOf }) },
    quote: remembered((price) => quoteBy(shop, price)),
    units: network.tokens.map((token) => {
      const { id, code, scale, currency = code } = assetOf(network, token)
      return { asset: id, currency, scale }
    }),
    identify: (_, proof) => ({ key: keyOf(proof), payer: proof.from }),
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
