import { hash } from 'node:crypto'
import { systemClock } from '../../core/clock.ts'
import type { Price } from '../../core/money.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import { nonceOf } from '../../core/offers.ts'
import type { Log, Rail, Settlement, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { createCharging } from './charge.ts'
import type { AccountSettings } from './client.ts'
import { createClient, unreachable } from './client.ts'
import type { Details, Proof } from './forms.ts'
import { CHARGE, RAIL, createForm, isOrder } from './forms.ts'
import { moneyOf, readCurrencies } from './money.ts'
import { markOf, orderOf, readOrder } from './order.ts'
import { refusal } from './problems.ts'
import { createRefund } from './refund.ts'
import type { Vault } from './vault.ts'
import { createHandles, createVault } from './vault.ts'

/** What the rail is made of. */
export interface PayPalSettings extends AccountSettings {
  /** Currencies that are sold in, `USD` alone if absent. */
  readonly currencies?: readonly string[]
  /** Our merchant id: orders that pay anybody else are refused. */
  readonly merchant?: string
  /** Takes methods that were kept, by handles under this secret: at least 32 bytes. Without it none are taken. */
  readonly vaultSecret?: string
  /** Where a page begins the payment of an offer, told to programs too. */
  readonly beginPath?: string
  /** Where PayPal sends a person back to who approves without a script of its own. */
  readonly returnUrl?: string
}

/** The rail, with what keeps payment methods. */
export interface PayPalRail extends Rail<Details, Proof> {
  readonly vault?: Vault
}

/**
 * PayPal: orders that persons approve and we capture when the answer is ready, and payment methods that they keep with us.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function paypal(settings: PayPalSettings): PayPalRail {
  const { mode, merchant, returnUrl, beginPath, vaultSecret, clock = systemClock } = settings
  const sold = readCurrencies(settings.currencies ?? ['USD'])
  const network = `paypal:${mode}`
  const prefix = `paypal/${mode}/`
  const client = createClient(settings)
  const { call } = client
  const charging = createCharging({
    call,
    clock,
    network,
    ...(merchant !== undefined && { merchant }),
  })
  const handles = vaultSecret === undefined ? undefined : createHandles(vaultSecret)
  const payer = `${network}/anonymous`

  function quote(price: Price): readonly Terms<Details>[] {
    const amount = moneyOf(price, sold)
    if (!amount) return []
    const payee = merchant ?? mode
    return [{ rail: RAIL, network, intent: CHARGE, amount, payee, timeoutMs: 0, details: {} }]
  }

  function identify(offer: Offer<Details>, proof: Proof): { key: string; payer: string } {
    if (proof.kind === 'order') return { key: prefix + proof.order, payer }
    // Keys are told to others; handles and offers are not.
    const name = hash('sha256', `${proof.handle}/${offer.id}`, 'hex')
    return { key: `${prefix}vault_${name}`, payer }
  }

  async function verify(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    const { key } = identify(offer, proof)
    const why =
      proof.kind === 'order'
        ? await charging.refuses(offer, proof.order)
        : unfit(offer, proof.handle)
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  /** A kept method is charged for an offer that stands. */
  function unfit({ expiresAt }: Offer<Details>, handle: string): Problem | undefined {
    if (!handles?.read(handle)) return noHandle
    return clock.now() < expiresAt ? undefined : tooLate
  }

  async function settle(
    offer: Offer<Details>,
    proof: Proof,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    if (proof.kind === 'order') return charging.capture(offer, proof.order, key, log)
    const method = handles?.read(proof.handle)
    return method
      ? charging.charge(offer, method, key, log)
      : { state: 'failed', problem: noHandle }
  }

  async function find(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const id = key.slice(prefix.length)
    return isOrder(id) ? charging.findOrder(offer, id, log) : charging.findCharge(offer, log)
  }

  return {
    name: RAIL,
    network,
    forms: { bearer: createForm(network, beginPath) },
    // Persons have approved before they show it, and may take their time.
    prepaid: true,
    units: sold.map(({ asset, scale }) => ({ asset: asset.id, currency: asset.code, scale })),
    quote,
    identify,
    async open() {
      const answer = await call('GET', '/v2/checkout/orders/OPENINGLOOK')
      // That there is no such order says that the key is one.
      const isHeard = answer.kind === 'done' || (answer.kind === 'refused' && answer.status === 404)
      if (!isHeard) throw unreachable(answer)
    },
    verify,
    settle,
    find,
    refund: createRefund({ call, clock }),
    async begin(offer) {
      // Where two buyers may have equal offers, they must not have the same order.
      const request =
        nonceOf(offer) === undefined
          ? undefined
          : `tolsey-${hash('sha256', `begin ${offer.id}`, 'hex')}`
      const context = {
        user_action: 'PAY_NOW',
        shipping_preference: 'NO_SHIPPING',
        ...(returnUrl !== undefined && { return_url: returnUrl, cancel_url: returnUrl }),
      }
      const source = { paypal: { experience_context: context } }
      const body = orderOf(offer, markOf(offer), source, merchant)
      const answer = await call('POST', '/v2/checkout/orders', body, request)
      if (answer.kind !== 'done') throw unreachable(answer)
      const order = readOrder(answer.object)
      if (!order) throw new PaymentError('rail-unavailable', 'PayPal answers with something else.')
      const { id, approveUrl } = order
      return { order: id, ...(approveUrl !== undefined && { approve_url: approveUrl }) }
    },
    ...(handles && { vault: createVault({ call }, handles) }),
    async close() {
      client.close()
    },
  }
}

const noHandle = refusal(
  'proof-invalid',
  'vault-unknown',
  'There is no such payment method with this seller.',
)
const tooLate = problem(
  'offer-expired',
  'The offer that this payment accepts has expired. Nothing was taken; pay one of the offers given here.',
)
