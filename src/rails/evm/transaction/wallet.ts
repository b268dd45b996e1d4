import { hash } from 'node:crypto'
import type { LocalAccount } from 'viem'
import { systemClock } from '../../../core/clock.ts'
import { isObject } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Clock, Form, Ledger, Log, Settlement, Wallet } from '../../../core/ports.ts'
import { WORLD } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import type { Network } from '../networks.ts'
import { networks as known } from '../networks.ts'
import type { Plain } from '../plain.ts'
import { createQueues } from '../queue.ts'
import type { Rpc } from '../rpc.ts'
import { createRpc, readNumber } from '../rpc.ts'
import { newest } from '../settling.ts'
import { accountOf, fromAccount } from '../signer.ts'
import { written } from '../steps.ts'
import type { Mined, Reader } from '../token.ts'
import { createReader } from '../token.ts'
import type { Claims } from './claim.ts'
import { claimData, claimOf, createClaims } from './claim.ts'
import type { Forms, Place } from './forms.ts'
import { createForms } from './forms.ts'
import type { Proof } from './proof.ts'
import type { Sender } from './sender.ts'
import { createSender } from './sender.ts'
import type { Coin, Details } from './terms.ts'
import { CHARGE, RAIL, contractOf, payableBy, payablesOf } from './terms.ts'
import { transfersIn } from './transfers.ts'

/** How long a payment waits for its block before it is called unknown. */
export const PAY_WAIT_MS = 60_000
/** Least time that an offer must still stand: a payment must get into a block before its end. */
export const OFFER_LEFT_MS_MIN = 10_000
/** How long an order of which nothing was sent is kept for whoever gave it. */
const ORDER_MS = 3_600_000

/** What the wallet is made of. */
export interface TransactionWalletSettings {
  /** The key that sends, pays the gas, and signs: a private key, or an account of viem. */
  readonly key: string | LocalAccount
  /** The payer's books: what is sent stands there before it is sent, and its number (nonce) is claimed there. */
  readonly ledger: Ledger
  /** JSON-RPC addresses by network. Only these networks are paid on. */
  readonly rpc: Readonly<Record<string, string | readonly string[]>>
  /** The chains and tokens that it pays with; those of the table if absent. */
  readonly networks?: readonly Network[]
  /** The coins that it pays with too, by network. */
  readonly coins?: Readonly<Record<string, Coin>>
  /** Most wei per gas; 200 gwei if absent. */
  readonly feePerGasMax?: bigint
  readonly waitMs?: number
  readonly clock?: Clock
  readonly fetch?: typeof globalThis.fetch
}

/** The wallet. */
export interface TransactionWallet extends Wallet<Details, Proof> {
  readonly forms: Forms
  /** Ends watchers and connections. */
  close(): void
}

/** What paying on one network needs. */
interface Purse {
  readonly chainId: number
  readonly rpc: Rpc
  readonly reader: Reader
  readonly sender: Sender
  readonly claims: Claims
}

/**
 * Pays by a plain transfer of its own, with the offer's tag behind the calldata, and signs that it did. What is sent is written
 * ahead: asked again for the same offer, after a crash too, it looks first, and pays once. Gas is paid beside the amount, in the
 * chain's own coin.
 */
export function transactionWallet(settings: TransactionWalletSettings): TransactionWallet {
  const { ledger, clock = systemClock, networks = known, coins = {} } = settings
  const account = accountOf(settings.key)
  const payer = lower(account.address)
  const signer = fromAccount(account)
  const places = networks
    .filter(({ id }) => settings.rpc[id] !== undefined)
    .map((network): Place => ({ network, payables: payablesOf(network, coins[network.id]) }))
  const purses = new Map<string, Promise<Purse>>()
  const queues = createQueues()

  function purseFor({ network }: Offer<Details>): Promise<Purse> {
    const opened = purses.get(network) ?? openPurse(network)
    purses.set(network, opened)
    opened.catch(() => purses.delete(network))
    return opened
  }

  async function openPurse(id: string): Promise<Purse> {
    const place = places.find(({ network }) => network.id === id)
    const urls = settings.rpc[id]
    if (!place || urls === undefined)
      throw new PaymentError('offers-unacceptable', `The network ${id} is not known.`)
    const { network } = place
    const { fetch, feePerGasMax, waitMs = PAY_WAIT_MS } = settings
    const { chainId } = network
    const list = typeof urls === 'string' ? [urls] : urls
    const rpc = createRpc({ urls: list, chainId, clock, ...(fetch && { fetch }) })
    const reader = createReader(rpc)
    const fee = feePerGasMax === undefined ? {} : { feePerGasMax }
    const parts = { account, network, rpc, reader, clock, ledger, waitMs, ...fee }
    const sender = createSender(parts, 'payment')
    const [claims] = await Promise.all([createClaims(), reader.open()])
    await sender.open()
    return { chainId, rpc, reader, sender, claims }
  }

  function refuses(offer: Offer<Details>): string | undefined {
    const { rail, intent, network, payee, amount, details } = offer
    if (rail !== RAIL) return `This wallet pays on the rail "${RAIL}" only.`
    if (intent !== CHARGE) return `The intent "${intent}" is not known.`
    const place = places.find((one) => one.network.id === network)
    const payable = place && payableBy(place, details)
    if (!place || !payable) return `The network ${network}, or what is to be paid, is not known.`
    if (amount.asset.id !== payable.asset.id || amount.asset.scale !== payable.asset.scale)
      return 'The amount is counted in another asset than is to be paid.'
    if (!isAddress(payee) || lower(payee) === ZERO_ADDRESS) return 'The payee is nobody.'
    if (lower(payee) === payer) return 'The payee is this wallet itself.'
    if (lower(payee) === lower(contractOf(details))) return 'The payee is the contract itself.'
    if (amount.amount <= 0n || amount.amount > UINT256_MAX) return 'There is nothing to pay.'
    return nameOf(offer) === '' ? 'The seller does not say what the offer is called.' : undefined
  }

  async function pay(offer: Offer<Details>, signal?: AbortSignal): Promise<Proof> {
    const why = refuses(offer)
    if (why !== undefined) throw new PaymentError('offers-unacceptable', why)
    const purse = await purseFor(offer)
    const named = { ...offer, id: nameOf(offer) }
    const log = await logFor(named)
    const begun = (await written(log, 'payment')).length > 0
    if (!begun && offer.expiresAt - clock.now() < OFFER_LEFT_MS_MIN)
      throw new PaymentError('offer-expired', 'The offer has expired. Nothing was paid.')
    if (!begun) signal?.throwIfAborted()
    const settlement = await purse.sender.transfer(orderOf(named, purse.claims), log)
    return prove(named, purse, settlement)
  }

  async function prove(
    named: Offer<Details>,
    { reader, chainId }: Purse,
    settlement: Settlement,
  ): Promise<Proof> {
    if (settlement.state === 'failed')
      throw new PaymentError('settlement-failed', `${settlement.problem.detail} Nothing was paid.`)
    const transaction = settlement.state === 'settled' ? (settlement.reference as Hex) : undefined
    const mined = transaction && (await reader.mined(transaction))
    if (!transaction || !mined)
      throw new PaymentError('payment-unknown', 'The payment is on its way and may still arrive.', {
        retryable: true,
      })
    const signature = await signer.signTypedData(
      claimData(claimOf(named, transaction, payer), chainId),
    )
    const log = placeIn(mined, named)
    return { transaction, signature: lower(signature), payer, ...(log !== undefined && { log }) }
  }

  function placeIn(mined: Mined, { details, payee }: Offer<Details>): number | undefined {
    const found = transfersIn(mined, details, lower(payee as Hex))
    const at = found.find(({ from }) => from === payer)?.at
    return typeof at === 'number' ? at : undefined
  }

  /** What was written ahead for the offer, under a key that every process makes of it. */
  async function logFor(named: Offer<Details>): Promise<Log> {
    const key = keyOf(named)
    const made = await ledger.transfer({
      key,
      purpose: 'payment',
      asset: 'payment',
      amount: 0n,
      legs: [{ debit: `${WORLD}payments`, credit: `${WORLD}paid` }],
      leaseUntilAt: clock.now() + ORDER_MS,
      note: { kind: 'payment', payee: named.payee, url: named.resource.url },
    })
    const claim = made.outcome === 'made' ? made.claim : undefined
    return logOf(key, claim)
  }

  function logOf(key: string, claim?: number): Log {
    return {
      read: async () => (await ledger.find(key))?.steps ?? [],
      write: (step) => ledger.step(key, step, claim),
    }
  }

  /** What became of it by our own memory, and by the chain's. Nothing is sent here. */
  async function outcome(offer: Offer<Details>): Promise<'paid' | 'dead' | 'open'> {
    const before = await written(logOf(keyOf({ ...offer, id: nameOf(offer) })), 'payment')
    // Nobody begins to pay what has expired.
    if (before.length === 0) return clock.now() > offer.expiresAt ? 'dead' : 'open'
    const { rpc, reader } = await purseFor(offer)
    const used = await rpc
      .read('eth_getTransactionCount', [payer, 'finalized'], readNumber)
      .catch(() => 0n)
    const mined = await newest(reader, before)
    if (mined?.ok) return 'paid'
    return before.every(({ nonce }) => used > BigInt(nonce)) ? 'dead' : 'open'
  }

  return {
    rail: RAIL,
    moves: true,
    forms: remembering(createForms(places)),
    refuses,
    pay: (offer, _validForMs, signal) =>
      queues.run(keyOf({ ...offer, id: nameOf(offer) }), () => pay(offer, signal)),
    // What is on the chain proves the payment for ever.
    expiresAt: () => Number.MAX_SAFE_INTEGER,
    payer: () => payer,
    outcome,
    close() {
      for (const opened of purses.values())
        void opened.then(
          ({ sender, rpc }) => {
            sender.close()
            rpc.close()
          },
          () => undefined,
        )
    },
  }
}

function orderOf({ details, payee, amount, ...named }: Offer<Details>, claims: Claims): Plain {
  const tag = claims.tag(named)
  const order = { to: lower(payee as Hex), amount: amount.amount, tag }
  return 'token' in details
    ? { ...order, token: lower(details.token) }
    : { ...order, receiver: lower(details.receiver) }
}

/** What the payer's books know the payment of an offer by: the same offer is paid once. */
function keyOf({ network, id, payee, amount, resource }: Offer<Details>): string {
  const said = [id, payee.toLowerCase(), amount.asset.id, `${amount.amount}`, resource.authority]
  return `evm-payment/${network}/${hash('sha256', JSON.stringify(said), 'hex')}`
}

/** The text by which the seller knows the offer again: an intent of the gateway profile, or its id. */
function nameOf({ id, echo }: Offer<Details>): string {
  const intent = isObject(echo) ? echo['intent'] : undefined
  return id === '' && typeof intent === 'string' ? intent : id
}

/** Of a payment without a proof yet there is our own memory, and that is found by the offer. */
function remembering(forms: Forms): Forms {
  return {
    bearer: { ...forms.bearer, readProof: orNothing(forms.bearer) },
    mpp: { ...forms.mpp, readProof: orNothing(forms.mpp) },
  }
}

function orNothing(form: Form<Details, Proof>): (said: unknown) => Proof | string {
  return (said) =>
    isObject(said) && Object.keys(said).length === 0 ? nothing : form.readProof(said)
}

const nothing: Proof = { transaction: `0x${'0'.repeat(64)}` }
