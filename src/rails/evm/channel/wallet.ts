import type { LocalAccount } from 'viem'
import { systemChance } from '../../../core/chance.ts'
import { systemClock } from '../../../core/clock.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Chance, Clock, Log, Step, Wallet } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Voucher } from '../../../core/voucher.ts'
import { FEE_MAX, createFees } from '../fees.ts'
import { createFlights } from '../flights.ts'
import type { Hex } from '../hex.ts'
import { ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import { BUMP_AFTER_MS, createLane } from '../lane.ts'
import type { NetworkSettings, Token } from '../networks.ts'
import { resolveNetwork, tokenAt } from '../networks.ts'
import { counted } from '../numbers.ts'
import { createRpc, readNumber } from '../rpc.ts'
import { accountOf } from '../signer.ts'
import type { Mined } from '../token.ts'
import { createReader } from '../token.ts'
import type { TypedData } from '../typed-data.ts'
import { TRANSFER_FIELDS, typedData } from '../typed-data.ts'
import { VALID_MS_MAX } from '../wallet.ts'
import type { State } from './escrow.ts'
import { createEscrow, endIn, gas, ownCalls } from './escrow.ts'
import type { ChannelForm } from './forms.ts'
import { createForm } from './forms.ts'
import type { Authorized, Proof, Sent } from './proof.ts'
import type { Harmless } from './sending.ts'
import { createSend } from './sending.ts'
import type { Details } from './terms.ts'
import { ESCROW, RAIL, SESSION } from './terms.ts'
import type { Channels, Place } from './voucher.ts'
import { EVM_SCHEME, UINT128_MAX, createChannels, voucherData } from './voucher.ts'

/** How long a transaction of ours waits for its block. */
const OWN_WAIT_MS = 60_000
/** Gas of an approval. */
const APPROVE_GAS = 80_000

/** What the wallet is made of. */
export interface ChannelWalletSettings extends NetworkSettings {
  /** A private key, or an account of viem: it deposits and signs vouchers. */
  readonly account: string | LocalAccount
  /** The contract that is trusted with deposits; where `TolseyChannel` is, if absent. */
  readonly escrow?: string
  /** JSON-RPC addresses. Only what its owner does himself on the chain needs one. */
  readonly rpc?: string | readonly string[]
  readonly clock?: Clock
  readonly chance?: Chance
  readonly fetch?: typeof globalThis.fetch
}

/** Pays into channels, whose names are 64 hex digits. Opening one costs no gas, and no connection is needed for it. */
export interface ChannelWallet extends Wallet<Details, Proof> {
  readonly forms: { readonly mpp: ChannelForm }
  readonly channels: {
    /** The id of the channel that a deposit is for. */
    idOf(proof: Proof): string
    /** All that the payee may have of the channel until now. Who has it can collect it: never sign more than is owed. */
    sign(offer: Offer<Details>, channel: string, cumulative: bigint): Promise<Voucher>
    /** A deposit into a channel that stands, into which `deposited` was deposited before. */
    topUp(offer: Offer<Details>, channel: string, deposited: bigint): Promise<Authorized>
  }
  /** The payload by which a voucher is shown (`voucher`), or by which the channel is to be closed with it (`close`). */
  show(action: 'voucher' | 'close', channel: string, voucher: Voucher): JsonObject
  /** Opens a channel by transactions of its own, at its own cost. */
  open(offer: Offer<Details>): Promise<Sent>
  /** How a channel stands on the chain; undefined if there is none. */
  state(channel: string): Promise<State | undefined>
  /** Asks the chain for the end. The payee has a quarter of an hour from now to collect. The hash. */
  requestClose(channel: string): Promise<string>
  /** Takes back what was not collected, when that is over. What came back, in the token's smallest unit. */
  withdraw(channel: string): Promise<bigint>
  close(): void
}

/**
 * Makes the wallet. It trusts one contract with deposits, and pays no seller who names another.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function channelWallet(settings: ChannelWalletSettings): ChannelWallet {
  const { clock = systemClock, chance = systemChance, escrow: at = ESCROW } = settings
  const network = resolveNetwork(settings)
  const account = accountOf(settings.account)
  const payer = lower(account.address)
  if (!isAddress(at)) throw new RangeError(`"escrow" is "${at}", which is not an address.`)
  const place: Place = { chainId: network.chainId, escrow: lower(at) }
  let loading: Promise<Channels> | undefined
  const load = (): Promise<Channels> => (loading ??= createChannels())
  const own = settings.rpc === undefined ? undefined : createOwn(settings, settings.rpc)

  function refuses({ rail, network: on, intent, details, payee, amount }: Offer<Details>) {
    if (rail !== RAIL || intent !== SESSION) return `This wallet pays on the rail "${RAIL}" only.`
    if (on !== network.id) return `This wallet pays on ${network.id}.`
    const token = tokenAt(network, details.token)
    if (!token) return `The token ${details.token} on ${network.id} is not known.`
    if (amount.asset.id !== `${network.id}/erc20:${token.address}`)
      return 'The amount is counted in another asset than the token.'
    if (lower(details.escrow) !== place.escrow)
      return `The contract ${details.escrow} is not trusted with deposits by this wallet.`
    if (!isAddress(payee) || lower(payee) === ZERO_ADDRESS) return 'The payee is nobody.'
    if (lower(payee) === payer) return 'The payee is this wallet itself.'
    if (amount.amount <= 0n || amount.amount > UINT128_MAX) return 'There is nothing to deposit.'
    return undefined
  }

  function tokenOf(offer: Offer<Details>): Token {
    const sentence = refuses(offer)
    if (sentence !== undefined) throw new PaymentError('offers-unacceptable', sentence)
    const token = tokenAt(network, offer.details.token)
    if (!token) throw new PaymentError('offers-unacceptable', 'The token is not known.')
    return token
  }

  const signed = async ({ domain, types, primaryType, message }: TypedData): Promise<Hex> =>
    lower(await account.signTypedData({ domain, types, primaryType, message }))

  async function authorize(
    offer: Offer<Details>,
    nonce: Hex,
    validForMs: number,
  ): Promise<Authorized['authorization']> {
    const endsAt = clock.now() + Math.min(validForMs, VALID_MS_MAX)
    const authorization = {
      from: payer,
      to: place.escrow,
      value: offer.amount.amount,
      // From the beginning: the chain's clock may be behind ours.
      validAfter: 0n,
      validBefore: BigInt(Math.floor(endsAt / 1000)),
      nonce,
    }
    // Only the contract can submit it: a transfer by anybody would bring the money there without a channel.
    const data = typedData(tokenOf(offer), network.chainId, authorization)
    const types = { [RECEIVE]: TRANSFER_FIELDS }
    return { ...authorization, signature: await signed({ ...data, types, primaryType: RECEIVE }) }
  }

  async function sign(channel: Hex, cumulative: bigint): Promise<Voucher> {
    const signature = await signed(voucherData(EVM_SCHEME, place, channel, cumulative))
    return { cumulative, signature }
  }

  async function opening(
    offer: Offer<Details>,
  ): Promise<Pick<Required<Proof>, 'channel' | 'opening'>> {
    const { token } = offer.details
    const salt: Hex = `0x${Buffer.from(chance(32)).toString('hex')}`
    const who = { payer, payee: lower(offer.payee as Hex), token: lower(token) }
    const descriptor = { ...who, salt, authorizedSigner: ZERO_ADDRESS }
    const channel = (await load()).idOf(descriptor, place)
    const voucher = await sign(channel, 0n)
    return { channel, opening: { salt, authorizedSigner: ZERO_ADDRESS, voucher } }
  }

  function needOwn(): Own {
    if (own) return own
    throw new PaymentError('rail-unavailable', 'There is no "rpc" to reach the chain by.')
  }

  return {
    rail: RAIL,
    local: true,
    forms: { mpp: createForm({ networks: [network] }) },
    refuses,
    async pay(offer, validForMs, signal) {
      tokenOf(offer)
      signal?.throwIfAborted()
      const { channel, opening: made } = await opening(offer)
      const nonce = (await load()).nonceOf(channel, 0n)
      const authorization = await authorize(offer, nonce, validForMs)
      return { channel, opening: made, authorization }
    },
    expiresAt: (proof) =>
      'hash' in proof ? Number.MAX_SAFE_INTEGER : Number(proof.authorization.validBefore) * 1000,
    payer: () => payer,
    channels: {
      idOf: ({ channel }) => channel.slice(2),
      async sign(offer, channel, cumulative) {
        tokenOf(offer)
        return await sign(`0x${channel}`, cumulative)
      },
      async topUp(offer, id, deposited) {
        const channel: Hex = `0x${id}`
        const nonce = (await load()).nonceOf(channel, deposited)
        return { channel, authorization: await authorize(offer, nonce, offer.timeoutMs) }
      },
    },
    show: (action, channel, { cumulative, signature }) => ({
      action,
      channelId: `0x${channel}`,
      cumulativeAmount: cumulative.toString(),
      signature,
    }),
    async open(offer) {
      const chain = needOwn()
      const token = lower(tokenOf(offer).address)
      const deposit = offer.amount.amount
      const made = await opening(offer)
      const { salt, authorizedSigner } = made.opening
      await chain.send(token, ownCalls.approve(place.escrow, deposit), APPROVE_GAS)
      const to = { payee: lower(offer.payee as Hex), token, deposit, salt, authorizedSigner }
      const { hash } = await chain.send(place.escrow, ownCalls.open(to), gas.open)
      return { ...made, hash, payer }
    },
    state: (channel) => needOwn().state(`0x${channel}`),
    async requestClose(channel) {
      const { hash } = await needOwn().send(
        place.escrow,
        ownCalls.requestClose(`0x${channel}`),
        gas.settle,
      )
      return hash
    },
    async withdraw(channel) {
      const call = ownCalls.withdraw(`0x${channel}`)
      const mined = await needOwn().send(place.escrow, call, gas.close)
      return endIn(mined, place.escrow, `0x${channel}`)?.refunded ?? 0n
    },
    close: () => own?.close(),
  }

  /** What it does on the chain itself. */
  function createOwn({ fetch }: ChannelWalletSettings, urls: string | readonly string[]): Own {
    const rpc = createRpc({
      ...{ urls: typeof urls === 'string' ? [urls] : urls, chainId: network.chainId, clock },
      ...(fetch && { fetch }),
    })
    const stopping = new AbortController()
    const { signal } = stopping
    const reader = createReader(rpc)
    const flights = createFlights({ reader, clock, signal, confirmations: 1, quorum: 1 })
    const count = async (tag: 'latest' | 'pending'): Promise<number> =>
      Number(await rpc.read('eth_getTransactionCount', [payer, tag], readNumber))
    const lane = createLane({
      ...{ account, chainId: network.chainId, rpc, flights, clock },
      fees: createFees(rpc, clock, FEE_MAX),
      numbers: counted(count),
      bumpAfterMs: BUMP_AFTER_MS,
      landed: () => undefined,
      idle: () => undefined,
    })
    const sending = createSend({ lane, reader, flights, waitMs: OWN_WAIT_MS })
    const escrow = createEscrow({ address: place.escrow, network: network.id, rpc, reader })
    let opening: Promise<void> | undefined
    const open = (): Promise<void> =>
      (opening ??= rpc
        .open()
        .then(() => reader.open())
        .then(() => escrow.open()))
    return {
      async state(channel) {
        await open()
        return await escrow.state(channel)
      },
      async send(to, data, most) {
        await open()
        const call: Harmless = { to, data, gas: most, kind: 'payment' }
        const landed = await sending(call, createLog())
        if (landed && 'hash' in landed && landed.ok) return landed
        const isSure = landed !== undefined
        throw new PaymentError(
          isSure ? 'settlement-failed' : 'payment-unknown',
          isSure ? 'The chain refused the transaction.' : 'The transaction is in no block yet.',
          { retryable: !isSure },
        )
      },
      close() {
        stopping.abort('closed')
        rpc.close()
      },
    }
  }
}

interface Own {
  state(channel: Hex): Promise<State | undefined>
  send(to: Hex, data: Hex, gas: number): Promise<Mined>
  close(): void
}

const RECEIVE = 'ReceiveWithAuthorization'

/** In memory: what it did twice would do no harm. */
function createLog(): Log {
  const steps: Step[] = []
  return { read: async () => steps, write: async (step) => void steps.push(step) }
}
