import type { Money, Price } from '../../../core/money.ts'
import { readPrice, toMoney } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import { TIMEOUT_MS } from '../exact.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import type { Network, NetworkSettings, Token } from '../networks.ts'
import { assetOf, resolveNetwork, tokenAt } from '../networks.ts'

/** Where Permit2 is on the chains that have it: the same bytes everywhere. */
export const PERMIT2: Hex = '0x000000000022d473030f116ddee9f6b43ac78ba3'
/** The same with the checksum of EIP-55. */
export const PERMIT2_SAID = '0x000000000022D473030F116dDEE9F6B43aC78BA3'

/** The rail's name. Its books are those of the rail `evm`: the same money lies at the same account. */
export const RAIL = 'evm-permit2'
/** The name of that rail. */
export const BOOKED = 'evm'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'
/** Most who get a share of a payment beside its payee (draft-evm-charge-00). */
export const SPLITS_MAX = 10
/** Longest memo of a share, in characters (draft-evm-charge-00). */
export const MEMO_CHARS_MAX = 256
/** What a whole is in hundredths of a percent. */
const WHOLE_BPS = 10_000n

/** A share as terms say it. */
export interface Split {
  readonly recipient: Hex
  /** In the smallest unit of the token, as decimal text. */
  readonly amount: string
  readonly memo?: string
}

/** What the terms say beside the money. */
export interface Details {
  /** The token, with the checksum of EIP-55. */
  readonly asset: Hex
  /** Who alone may use the permit: a key of the seller's, and never a contract that anybody can call. */
  readonly spender: Hex
  /** Who gets a part of the amount; the payee has the rest. */
  readonly splits?: readonly Split[]
  /** Payer's side: the id of the challenge and its realm, which the witness names. */
  readonly challenge?: string
}

/** Who gets a part of every payment. Either a fixed amount, or hundredths of a percent, rounded down. */
export interface SplitRule {
  readonly recipient: string
  /** For instance `0.01 USD`, in the currency of the token. */
  readonly amount?: string
  readonly bps?: number
  readonly memo?: string
}

/** A token: any of ERC-20 that moves what it is asked to. Nothing is signed for the token itself. */
export interface PermitToken {
  readonly address: string
  readonly code: string
  readonly scale: number
  readonly currency?: string
}

/** Where payments are made, and to whom. */
export interface TermSettings extends Omit<NetworkSettings, 'assets'> {
  /** The tokens that are taken; USDC on the chains that are known if absent. */
  readonly assets?: readonly PermitToken[]
  /** The account that earns. */
  readonly payTo: string
  readonly splits?: readonly SplitRule[]
  /** How long a payment should stay payable, whole seconds. */
  readonly timeoutMs?: number
}

/** All that is fixed by the settings. */
export interface Shop {
  readonly network: Network
  readonly payee: Hex
  readonly spender: Hex
  readonly rules: readonly Rule[]
  readonly timeoutMs: number
}

interface Rule {
  readonly recipient: Hex
  readonly memo?: string
  /** Undefined where it cannot be said in this token. */
  of(whole: bigint, token: Token): bigint | undefined
}

/**
 * Reads the settings.
 * @throws {RangeError} with what to do, when they cannot be.
 */
export function shopOf(settings: TermSettings, spender: Hex): Shop {
  const { payTo, timeoutMs = TIMEOUT_MS, splits = [] } = settings
  const network = chainOf(settings)
  const payee = account(payTo, 'payTo', network)
  if (!Number.isSafeInteger(timeoutMs / 1000) || timeoutMs <= 0)
    throw new RangeError(`"timeoutMs" is ${timeoutMs}. Give whole seconds, for instance 300000.`)
  if (splits.length > SPLITS_MAX)
    throw new RangeError(`"splits" names ${splits.length}: at most ${SPLITS_MAX} can share.`)
  const rules = splits.map((one) => ruleOf(one, network))
  const sum = splits.reduce((all, { bps = 0 }) => all + bps, 0)
  if (sum >= Number(WHOLE_BPS)) throw new RangeError('"splits" leave nothing for "payTo".')
  return { network, payee, spender, rules, timeoutMs }
}

/** The chain that the settings name, with its tokens. @throws {RangeError} with what to do, when there is none. */
export function chainOf({ network, assets }: Pick<TermSettings, 'network' | 'assets'>): Network {
  const tokens = assets?.map((one) => ({
    ...{ name: '', version: '', ...one },
    address: one.address as Hex,
  }))
  return resolveNetwork({ network, ...(tokens && { assets: tokens }) })
}

function ruleOf({ recipient, amount, bps, memo }: SplitRule, network: Network): Rule {
  const to = account(recipient, 'recipient', network)
  if (memo !== undefined && memo.length > MEMO_CHARS_MAX)
    throw new RangeError(`A memo in "splits" is longer than ${MEMO_CHARS_MAX} characters.`)
  if ((amount === undefined) === (bps === undefined))
    throw new RangeError(`Say of the share of ${recipient} either its "amount" or its "bps".`)
  const named = { recipient: to, ...(memo !== undefined && { memo }) }
  if (bps !== undefined) {
    if (!Number.isInteger(bps) || bps < 1)
      throw new RangeError('"bps" in "splits" is not a whole number of hundredths of a percent.')
    return { ...named, of: (whole) => (whole * BigInt(bps)) / WHOLE_BPS }
  }
  const price = readPrice(amount ?? '')
  return { ...named, of: (_, token) => amountOf(price, token) }
}

function account(address: string, name: string, network: Network): Hex {
  if (!isAddress(address) || lower(address) === ZERO_ADDRESS)
    throw new RangeError(`"${name}" is "${address}", which is nobody's address.`)
  if (tokenAt(network, address))
    throw new RangeError(`"${name}" is the token itself: what is sent there is lost.`)
  return address
}

/** The terms for a price, in each token that stands for its currency, and of which enough is left for the payee. */
export function quoteBy(shop: Shop, price: Price): readonly Terms<Details>[] {
  const { network, payee, timeoutMs, spender, rules } = shop
  return network.tokens.flatMap((token) => {
    const amount = amountOf(price, token)
    if (amount === undefined) return []
    const splits = sharesOf(rules, amount, token)
    if (!splits) return []
    const details = { asset: token.address, spender, ...(splits.length > 0 && { splits }) }
    return [termsOf({ network, token, amount, payee, timeoutMs }, details)]
  })
}

/** Undefined where they cannot be said in this token, or leave nothing. Shares of nothing are left out. */
function sharesOf(
  rules: readonly Rule[],
  whole: bigint,
  token: Token,
): readonly Split[] | undefined {
  const shares = rules.map((rule) => ({ ...rule, amount: rule.of(whole, token) }))
  if (shares.some(({ amount }) => amount === undefined)) return undefined
  const splits = shares
    .filter(({ amount = 0n }) => amount > 0n)
    .map(({ recipient, memo, amount = 0n }) => ({
      ...{ recipient, amount: amount.toString() },
      ...(memo !== undefined && { memo }),
    }))
  return sumOf(splits) < whole ? splits : undefined
}

/** What goes to others of the payment. */
export function sumOf(splits: readonly Split[]): bigint {
  return splits.reduce((sum, { amount }) => sum + BigInt(amount), 0n)
}

/** What moves, in order: to the payee what is left, then to those who share. Hex in lower case. */
export function transfersOf({
  payee,
  amount,
  details,
}: {
  readonly payee: string
  readonly amount: Money
  readonly details: Details
}): readonly { readonly to: Hex; readonly amount: bigint }[] {
  const { splits = [] } = details
  return [
    { to: lower(payee as Hex), amount: amount.amount - sumOf(splits) },
    ...splits.map((one) => ({ to: lower(one.recipient), amount: BigInt(one.amount) })),
  ]
}

/** The terms for an amount of that token. */
export function termsOf(
  of: Pick<Terms, 'payee' | 'timeoutMs'> & {
    readonly network: Network
    readonly token: Token
    readonly amount: bigint
  },
  details: Details,
): Terms<Details> {
  const { network, token, amount, payee, timeoutMs } = of
  return {
    ...{ rail: RAIL, network: network.id, intent: CHARGE, payee, timeoutMs, details },
    amount: { asset: assetOf(network, token), amount },
  }
}

/** Undefined if the token does not stand for the currency, or the price is finer than its smallest unit. */
function amountOf(price: Price, token: Token): bigint | undefined {
  try {
    const { amount } = toMoney(price, { id: '', ...token })
    return amount > 0n && amount <= UINT256_MAX ? amount : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
