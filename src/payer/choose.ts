import type { Offer } from '../core/offer.ts'
import type { Form, Protocol, Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Found } from './challenge.ts'
import { quote } from './challenge.ts'
import { OFFERS_MAX, REASONS_MAX } from './limits.ts'
import type { Cost, Place, Rules } from './policy.ts'
import { sayMoney } from './policy.ts'

/** An offer that may be paid, and with what. */
export interface Choice {
  readonly protocol: Protocol
  readonly wallet: Wallet
  readonly form: Form
  readonly offer: Offer
  /** With the most that paying may cost. */
  readonly cost: Cost
}

/** What stands between an offer and its payment. */
export interface Chooser {
  readonly wallets: readonly Wallet[]
  readonly rules: Rules
  readonly now: number
  readonly place: Place
  /** Whether a protocol may write its fields: not over those that the caller has set. */
  readonly mayWrite?: (protocol: Protocol) => boolean
}

/**
 * The cheapest offer that the policy allows and a wallet can pay, and after it the cheapest in each other currency: to be
 * tried when the budget of those before is used up. Prices in different currencies are not compared: the order of the
 * policy decides between them, as the order of the wallets does between equal prices, and then that of the protocols. Nothing
 * that a seller arranges has a say.
 * @throws {PaymentError} `offers-unacceptable`, with the reason of each.
 */
export function choose(found: readonly Found[], chooser: Chooser): readonly Choice[] {
  const offers = found.flatMap(({ protocol, challenge }) =>
    challenge.offers.map((offer) => ({ protocol, offer })),
  )
  const looked = offers.slice(0, OFFERS_MAX).map((one) => weigh(one.protocol, one.offer, chooser))
  const choices = looked.filter((one) => typeof one !== 'string')
  const protocols = found.map(({ protocol }) => protocol)
  const sorted = choices.toSorted((a, b) => compare(a, b, chooser, protocols))
  if (sorted.length > 0) return firstOfEachUnit(sorted)
  const unreadable = found.flatMap(({ challenge }) => challenge.unreadable ?? [])
  const reasons = [
    ...looked.filter((one) => typeof one === 'string'),
    ...unreadable.slice(0, OFFERS_MAX).map(({ why }) => quote(why)),
  ]
  throw new PaymentError('offers-unacceptable', sentence(reasons, offers.length))
}

/** What costs more of the same currency cannot be paid when less of it cannot. */
function firstOfEachUnit(sorted: readonly Choice[]): readonly Choice[] {
  const units = sorted.map(({ cost }) => cost.unit)
  return sorted.filter(({ cost }, i) => units.indexOf(cost.unit) === i)
}

function weigh(protocol: Protocol, offer: Offer, chooser: Chooser): Choice | string {
  const { rules, now, place } = chooser
  const cost = rules.cost(offer)
  if (typeof cost === 'string') return because(offer, cost)
  const why = rules.refuses(offer, cost, place)
  if (why !== undefined) return because(offer, why)
  if (offer.expiresAt <= now) return because(offer, 'It has expired.')
  if (chooser.mayWrite && !chooser.mayWrite(protocol)) return because(offer, taken(protocol))
  const [wallet, refusal] = walletFor(protocol, offer, chooser.wallets)
  const form = wallet?.forms[protocol.name]
  if (!wallet || !form) return because(offer, refusal)
  const whole = wholeCost(offer, wallet, chooser)
  return typeof whole === 'string'
    ? because(offer, whole)
    : { protocol, wallet, form, offer, cost: whole }
}

/** The cost with the fee that the wallet may have to pay; a sentence if that is too much. */
function wholeCost(offer: Offer, wallet: Wallet, { rules, place }: Chooser): Cost | string {
  const cost = rules.cost(offer, wallet.feeMax?.(offer) ?? 0n)
  if (typeof cost === 'string') return cost
  return rules.refuses(offer, cost, place) ?? cost
}

function taken({ name, fields }: Protocol): string {
  return `The request has a field ${fields.request.join(' or ')} of its own, in which ${name} would have to write.`
}

function walletFor(
  protocol: Protocol,
  offer: Offer,
  wallets: readonly Wallet[],
): readonly [Wallet | undefined, string] {
  let refusal = `There is no wallet for ${offer.rail} over ${protocol.name}.`
  for (const wallet of wallets) {
    if (wallet.rail !== offer.rail || !wallet.forms[protocol.name]) continue
    const why = wallet.refuses(offer)
    if (why === undefined) return [wallet, '']
    refusal = why
  }
  return [undefined, refusal]
}

function compare(
  a: Choice,
  b: Choice,
  { rules, wallets }: Chooser,
  protocols: readonly Protocol[],
): number {
  const units = rules.units.indexOf(a.cost.unit) - rules.units.indexOf(b.cost.unit)
  if (units !== 0) return units
  if (a.cost.amount !== b.cost.amount) return a.cost.amount < b.cost.amount ? -1 : 1
  return (
    wallets.indexOf(a.wallet) - wallets.indexOf(b.wallet) ||
    protocols.indexOf(a.protocol) - protocols.indexOf(b.protocol) ||
    order(nameOf(a), nameOf(b))
  )
}

function order(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function nameOf({ offer }: Choice): string {
  const { network, amount, payee, timeoutMs } = offer
  return JSON.stringify([network, amount.asset.id, payee, timeoutMs])
}

function because(offer: Offer, why: string): string {
  return quote(`${sayMoney(offer.amount)} on ${offer.network}: ${why}`)
}

function sentence(reasons: readonly string[], offers: number): string {
  const told = [...new Set(reasons)].slice(0, REASONS_MAX)
  if (told.length === 0)
    return 'The seller asks for a payment and makes no offer. Nothing was paid.'
  const rest = offers > OFFERS_MAX ? ` Only the first ${OFFERS_MAX} were looked at.` : ''
  return `None of the offers can be paid. ${told.join(' ')}${rest}`
}
