import type { Price } from '../../core/money.ts'
import { toMoney } from '../../core/money.ts'
import type { Method } from '../../core/ports.ts'
import type { Details } from './forms.ts'
import { RAIL, createForms, termsOf } from './forms.ts'
import type { Hex } from './hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress } from './hex.ts'
import type { Network, NetworkSettings, Token } from './networks.ts'
import { assetOf, resolveNetwork, tokenAt } from './networks.ts'
import type { Proof } from './proof.ts'

/** How long a payment stays payable unless the settings say otherwise; stock sellers say the same. */
export const TIMEOUT_MS = 300_000

/** What the pure half of the rail needs to know. */
export interface ExactSettings extends NetworkSettings {
  /** The account that earns. */
  readonly payTo: string
  /** How long a payment should stay payable, whole seconds. */
  readonly timeoutMs?: number
}

/**
 * The pure half of `exact` by EIP-3009: what it would ask, how that is said, and what names a spend.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function exact(settings: ExactSettings): Method<Details, Proof> {
  const network = resolveNetwork(settings)
  const { payTo, timeoutMs = TIMEOUT_MS } = settings
  checkPayee(payTo, network)
  if (!Number.isSafeInteger(timeoutMs / 1000) || timeoutMs <= 0)
    throw new RangeError(`"timeoutMs" is ${timeoutMs}. Give whole seconds, for instance 300000.`)
  return {
    name: RAIL,
    network: network.id,
    forms: createForms({ networks: [network], payTo }),
    quote: remembered((price) =>
      network.tokens.flatMap((token) => {
        const amount = amountOf(price, token)
        if (amount === undefined || amount <= 0n || amount > UINT256_MAX) return []
        return [termsOf(network, token, { amount, payee: payTo, timeoutMs })]
      }),
    ),
    units: network.tokens.map((token) => {
      const { id, code, scale, currency = code } = assetOf(network, token)
      return { asset: id, currency, scale }
    }),
    identify: (offer, proof) => ({
      key: keyOf(network, offer.details.asset, proof),
      payer: proof.from,
    }),
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

/** The natural key of a spend: a token lets each nonce of an account be used once (EIP-3009). */
export function keyOf(
  network: Network,
  asset: string,
  spend: { readonly from: string; readonly nonce: string },
): string {
  return `${network.id}/erc20:${asset.toLowerCase()}/${spend.from}/${spend.nonce}`
}

function checkPayee(payTo: string, network: Network): asserts payTo is Hex {
  if (!isAddress(payTo)) throw new RangeError(`"payTo" is "${payTo}", which is not an address.`)
  if (payTo === ZERO_ADDRESS) throw new RangeError('"payTo" is the zero address: nobody has it.')
  if (tokenAt(network, payTo))
    throw new RangeError('"payTo" is the token itself: what is sent there is lost.')
}

/** Undefined if the token does not stand for the currency, or the price is finer than its smallest unit. */
function amountOf(price: Price, token: Token): bigint | undefined {
  try {
    return toMoney(price, { id: '', ...token }).amount
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
