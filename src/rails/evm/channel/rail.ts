import type { LocalAccount } from 'viem'
import { systemClock } from '../../../core/clock.ts'
import { writePrice } from '../../../core/money.ts'
import type { Ledger, Rail } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Vouchers } from '../../../core/voucher.ts'
import { createBudget } from '../budget.ts'
import { FEE_MAX, createFees } from '../fees.ts'
import { createFinal } from '../final.ts'
import { createFlights } from '../flights.ts'
import { lower } from '../hex.ts'
import { BUMP_AFTER_MS, createLane } from '../lane.ts'
import { assetOf } from '../networks.ts'
import { leased } from '../numbers.ts'
import { checkCase, openToken } from '../opening.ts'
import { readNumber } from '../rpc.ts'
import { createVerifier } from '../signature.ts'
import { accountOf } from '../signer.ts'
import { createReader } from '../token.ts'
import { createBooks } from './books.ts'
import type { CollectRule, Collected } from './closing.ts'
import { createClosing } from './closing.ts'
import { createDeposits } from './deposit.ts'
import { createEscrow, gas } from './escrow.ts'
import type { ChannelForm } from './forms.ts'
import { createForm } from './forms.ts'
import type { Proof } from './proof.ts'
import { createSend } from './sending.ts'
import type { Details, TermSettings } from './terms.ts'
import { RAIL, quote, shopOf } from './terms.ts'
import type { Channels } from './voucher.ts'
import { createChannels } from './voucher.ts'
import { createVouchers } from './vouchers.ts'
import type { SendSettings } from '../settings.ts'
import { rpcOf } from '../settings.ts'

/** How long a deposit waits for its block. */
export const SETTLE_WAIT_MS = 30_000

/** What the rail is made of. */
export interface ChannelSettings extends TermSettings, SendSettings {
  /** The key of `payTo`: the contract lets nobody else collect. It pays the gas of deposits too. */
  readonly signer: string | LocalAccount
  /** The seller's books: channels and vouchers stand there, and the numbers (nonces) of the key. */
  readonly ledger: Ledger
  /** When what was promised is collected before a channel is closed. */
  readonly collect?: CollectRule
}

/** The rail. */
export interface ChannelRail extends Rail<Details, Proof> {
  readonly forms: { readonly mpp: ChannelForm }
  readonly vouchers: Vouchers
  /**
   * One look at all channels: collects what is due, and ends what was begun; to be called every minute. Two processes do not
   * disturb each other.
   * @throws {PaymentError} when chain or books cannot be asked.
   */
  collect(): Promise<readonly Collected[]>
}

/**
 * Payment channels: a payer deposits once and signs vouchers, each for all that he owes until then (draft-evm-session-00).
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function channel(settings: ChannelSettings): ChannelRail {
  const shop = shopOf(settings)
  const { network, place } = shop
  const { ledger, clock = systemClock, observe } = settings
  const { confirmations = 1, settleTimeoutMs: waitMs = SETTLE_WAIT_MS } = settings
  const account = accountOf(settings.signer)
  const sender = lower(account.address)
  if (sender !== lower(shop.payee))
    throw new RangeError('"signer" is not the key of "payTo": channels let nobody else collect.')
  const rpc = rpcOf(settings, network.chainId, clock)
  const stopping = new AbortController()
  const reader = createReader(rpc)
  const flights = createFlights({
    ...{ reader, clock, confirmations, quorum: 1 },
    signal: stopping.signal,
  })
  const fees = createFees(rpc, clock, settings.feePerGasMax ?? FEE_MAX)
  const count = async (tag: 'latest' | 'pending'): Promise<number> =>
    Number(await rpc.read('eth_getTransactionCount', [sender, tag], readNumber))
  const lane = createLane({
    ...{ account, chainId: network.chainId, rpc, fees, flights, clock },
    numbers: leased(ledger, `nonce/${network.id}/${sender}`, count, clock),
    bumpAfterMs: settings.bumpAfterMs ?? BUMP_AFTER_MS,
    landed: () => undefined,
    idle: () => undefined,
  })
  const escrow = createEscrow({ address: place.escrow, network: network.id, rpc, reader })
  const books = createBooks(ledger, clock, network.id)
  const final = createFinal({ rpc, reader, clock })
  const send = createSend({ lane, reader, flights, waitMs })
  const budget = createBudget(clock, undefined, () => undefined)
  let loaded: Channels | undefined
  const channels = (): Channels => {
    if (loaded) return loaded
    throw new PaymentError('rail-unavailable', 'The chain was not reached yet.', {
      retryable: true,
    })
  }
  const fault = (error: unknown): void =>
    observe?.({ type: 'fault', at: clock.now(), where: `rails/channel ${network.id}`, error })
  const shared = { shop, rpc, reader, escrow, books, clock, send, final }
  const { collect: rule = {} } = settings
  for (const price of [rule.from, rule.least])
    if (price && quote(shop, price).length === 0)
      throw new RangeError(`"collect": nothing here is paid in parts of ${writePrice(price)}.`)
  const deposits = createDeposits({ ...shared, budget, sender, confirmations, channels })
  const vouchers = createVouchers({ place, escrow, books, clock, channels })
  const ends = createClosing({ ...shared, ledger, rule, fault })

  return {
    name: RAIL,
    network: network.id,
    forms: {
      mpp: createForm({
        networks: [network],
        own: { payee: shop.payee, escrow: shop.escrow },
      }),
    },
    quote: (price) => quote(shop, price),
    units: network.tokens.map((token) => {
      const { id, code, scale, currency = code } = assetOf(network, token)
      return { asset: id, currency, scale }
    }),
    async open() {
      await rpc.open()
      await reader.open()
      loaded ??= await createChannels(settings.engine)
      await escrow.open()
      const verifier = await createVerifier(settings.engine)
      checkCase(shop.payee, verifier)
      for (const token of network.tokens) await openToken(token, network, { rpc, reader, verifier })
      await lane.open()
      if ((await lane.balance()) === 0n)
        fault(new PaymentError('misconfigured', `${sender} has nothing to pay gas with.`))
    },
    ...deposits,
    costMax: async (_, proof) =>
      'hash' in proof
        ? 0n
        : BigInt(proof.opening ? gas.open : gas.topUp) * (await fees.price()).fee,
    vouchers: { ...vouchers, close: (id, sum) => ends.close(id, sum) },
    refund: (offer, payer, amount, key) => ends.refund(offer, payer, amount, key),
    collect: () => ends.collect(),
    async close() {
      stopping.abort('closed')
      rpc.close()
    },
  }
}
