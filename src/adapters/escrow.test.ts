// A stand-in for channels on a chain: deposits, vouchers and ends are entries of one table, which several sellers may share as
// processes share a chain and a database. Signatures are hashes over a secret. The real rail has tests of its own.
import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { test } from 'node:test'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import type { Offer, Terms } from '../core/offer.ts'
import type { Rail, Wallet } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import type { Problem } from '../core/problem.ts'
import type { Voucher } from '../core/voucher.ts'
import { meterOf } from './meter.ts'
import type { MppForm, SessionSaid, Words } from '../protocols/mpp/part.ts'

const RAIL = 'escrow'
const METHOD = 'evm'
export const NETWORK = 'eip155:31337'
export const ESCROW: string = `0x${'ec'.repeat(20)}`
const TOKEN = `0x${'70'.repeat(20)}`
export const PAYEE: string = `0x${'ee'.repeat(20)}`
const asset = { id: `${NETWORK}/erc20:${TOKEN}`, code: 'USDC', scale: 6, currency: 'USD' }

/** What lies in the escrow of one channel. */
export interface Lying {
  deposit: bigint
  readonly secret: string
  best: Voucher
  /** What its payee has collected, once it is closed. */
  collected?: bigint
}

/** What the world and the rails' own stores know. */
export interface Escrow {
  readonly channels: Map<string, Lying>
  /** Deposits that were made, by their name. */
  readonly moved: Map<string, bigint>
}

export function createEscrow(): Escrow {
  return { channels: new Map(), moved: new Map() }
}

interface Proof {
  readonly channel: string
  readonly secret: string
  readonly nonce: string
  readonly value: bigint
  readonly voucher?: Voucher
}

/** The path of a request. */
export function pathOf({ url = '' }: IncomingMessage): string {
  return new URL(url, 'http://a').pathname
}

/** Says words one by one, as many as the query wants, each taken first. */
export async function sayWords(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '', 'http://a')
  const meter = meterOf(request)
  const most = Number(url.searchParams.get('n') ?? 3)
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  for (let i = 0; i < most && (await meter.take('0.10 USD')); i++)
    response.write(`data: word ${i}\n\n`)
  response.end('data: [DONE]\n\n')
}

/** What a payer signs. */
export function sign(secret: string, channel: string, cumulative: bigint): Voucher {
  return { cumulative, signature: hash('sha256', `${secret}|${channel}|${cumulative}`) }
}

/** A payer's half of a channel. */
export interface Purse {
  readonly channel: string
  open(deposit: bigint, cumulative: bigint): JsonObject
  topUp(deposit: bigint): JsonObject
  voucher(cumulative: bigint): JsonObject
  close(cumulative: bigint): JsonObject
}

export function createPurse(): Purse {
  const secret = randomBytes(16).toString('hex')
  const channel = channelOf(secret)
  const say = (action: string, cumulative: bigint): JsonObject => ({
    ...{ action, channelId: `0x${channel}`, cumulativeAmount: cumulative.toString() },
    signature: sign(secret, channel, cumulative).signature,
  })
  const pay = (value: bigint): JsonObject => {
    return { type: 'transaction', secret, nonce: randomBytes(8).toString('hex'), value: `${value}` }
  }
  return {
    channel,
    open: (deposit, cumulative) => ({ ...say('open', cumulative), ...pay(deposit) }),
    topUp: (deposit) => ({ action: 'topUp', channelId: `0x${channel}`, ...pay(deposit) }),
    voucher: (cumulative) => say('voucher', cumulative),
    close: (cumulative) => say('close', cumulative),
  }
}

const form: MppForm = {
  rail: RAIL,
  networks: [NETWORK],
  writeDetails: () => ({ method: METHOD, intent: 'session' }),
  readDetails: (said) => readWords(said),
  writeProof: (proof) => writePayload(proof as Proof),
  readProof: (said) => {
    const read = isObject(said) ? readPayload(said) : 'No proof.'
    return typeof read === 'string' ? read : (read.proof ?? 'No proof.')
  },
  reasons: {},
  sessions: {
    method: METHOD,
    channels: true,
    write({ amount, timeoutMs, payee }, { balance, unit }) {
      const parts = unit.amount * 10n ** BigInt(balance.scale)
      const whole = balance.amount * 10n ** BigInt(unit.scale)
      const request = {
        amount: ((amount.amount * parts + whole - 1n) / whole).toString(),
        suggestedDeposit: amount.amount.toString(),
        currency: TOKEN,
        recipient: payee,
        methodDetails: { chainId: 31337, escrowContract: ESCROW, feePayer: true, timeoutMs },
      }
      return { method: METHOD, intent: 'session', request }
    },
    read: readPayload,
    open: (proof) => writePayload(proof as Proof),
  },
}

function writePayload({ channel, secret, nonce, value, voucher }: Proof): JsonObject {
  return {
    ...{ action: voucher ? 'open' : 'topUp', channelId: `0x${channel}`, secret, nonce },
    value: value.toString(),
    ...(voucher && { cumulativeAmount: `${voucher.cumulative}`, signature: voucher.signature }),
  }
}

/** A payer's wallet. `signed` are the sums of its vouchers, in the order of their signing. */
export function createChannelWallet(
  secretOf: () => string = () => randomBytes(16).toString('hex'),
): Wallet<unknown, Proof> & { readonly signed: bigint[] } {
  const secrets = new Map<string, string>()
  const signed: bigint[] = []
  const pay = (secret: string, offer: Offer): Omit<Proof, 'voucher'> => {
    const channel = channelOf(secret)
    secrets.set(channel, secret)
    return { channel, secret, nonce: randomBytes(8).toString('hex'), value: offer.amount.amount }
  }
  return {
    signed,
    rail: RAIL,
    local: true,
    forms: { mpp: form as never },
    refuses: () => undefined,
    expiresAt: () => Date.now() + 60_000,
    async pay(offer) {
      const paid = pay(secretOf(), offer)
      return { ...paid, voucher: sign(paid.secret, paid.channel, 0n) }
    },
    channels: {
      idOf: ({ channel }) => channel,
      async sign(_, channel, cumulative) {
        signed.push(cumulative)
        return sign(secrets.get(channel) ?? secretOf(), channel, cumulative)
      },
      topUp: async (offer, channel) => pay(secrets.get(channel) ?? secretOf(), offer),
    },
  }
}

function channelOf(secret: string): string {
  return hash('sha256', `channel of ${secret}`)
}

function readWords({ method, intent, request }: Words): Terms | string {
  if (method !== METHOD || intent !== 'session') return 'Only channels are known here.'
  const details = request?.['methodDetails']
  const { timeoutMs, chainId } = isObject(details) ? details : {}
  if (chainId !== 31337) return 'The chain is not known.'
  return termsOf(sumIn(request?.['suggestedDeposit']) ?? 0n, Number(timeoutMs))
}

function termsOf(amount: bigint, timeoutMs: number): Terms {
  const money = { asset, amount }
  const rest = { payee: PAYEE, timeoutMs, details: { escrow: ESCROW } }
  return { rail: RAIL, network: NETWORK, intent: 'session', amount: money, ...rest }
}

function readPayload(payload: JsonObject): SessionSaid | string {
  const { action, channelId, cumulativeAmount, signature, secret, nonce, value } = payload
  if (typeof channelId !== 'string' || !/^0x[0-9a-f]{64}$/.test(channelId)) return 'No channel.'
  const id = channelId.slice(2)
  const cumulative = sumIn(cumulativeAmount)
  const voucher =
    cumulative !== undefined && typeof signature === 'string'
      ? { cumulative, signature }
      : undefined
  const paid = { channel: id, secret, nonce, value: sumIn(value) ?? 0n }
  const proof = { ...paid, ...(voucher && { voucher }) }
  if (action === 'topUp') return { session: { act: 'top-up', id, rail: RAIL }, proof }
  if (!voucher) return 'No voucher.'
  const act = { open: 'open', voucher: 'use', close: 'close' } as const
  if (action !== 'open' && action !== 'voucher' && action !== 'close') return 'Unknown action.'
  const session = { act: act[action], id, rail: RAIL, voucher }
  return action === 'open' ? { session, proof } : { session }
}

function sumIn(said: unknown): bigint | undefined {
  return typeof said === 'string' && /^\d{1,39}$/.test(said) ? BigInt(said) : undefined
}

/** The rail of one process. */
export function createChannelRail({ channels, moved }: Escrow): Rail<unknown, Proof> {
  const wrong = (why: string): Problem =>
    problem('proof-invalid', 'It does not hold.', { reason: why })
  const isSigned = ({ secret }: { readonly secret: string }, id: string, v: Voucher): boolean =>
    sign(secret, id, v.cumulative).signature === v.signature
  const closeIt = (lying: Lying, sum: bigint = lying.best.cumulative): void => {
    lying.collected ??= sum
  }
  const settled = (reference: string, payer: string) =>
    ({ state: 'settled', reference, payer, settledAt: Date.now() }) as const
  const keyOf = ({ nonce }: Proof): string => `escrow/${nonce}`
  return {
    name: RAIL,
    network: NETWORK,
    forms: { mpp: form as never },
    open: async () => undefined,
    close: async () => undefined,
    quote: ({ currency, amount, scale }) =>
      currency === 'USD' ? [termsOf(amount * 10n ** BigInt(6 - scale), 60_000)] : [],
    identify: (_, proof) => ({ key: keyOf(proof), payer: `payer of ${proof.channel}` }),
    async verify({ amount }, proof) {
      const named = { key: keyOf(proof), payer: `payer of ${proof.channel}` }
      if (moved.has(keyOf(proof)))
        return { ok: false, ...named, problem: problem('payment-spent', 'It was made before.') }
      if (proof.value !== amount.amount) return { ok: false, problem: wrong('amount-mismatch') }
      if (proof.voucher && !isSigned(proof, proof.channel, proof.voucher))
        return { ok: false, problem: wrong('invalid-signature') }
      return { ok: true, ...named }
    },
    async settle(_, proof, key, log) {
      await log.write({ type: 'prepared', data: {} })
      const { channel, secret, value, voucher } = proof
      const before = channels.get(channel)
      if (before) before.deposit += value
      else if (voucher) channels.set(channel, { deposit: value, secret, best: voucher })
      moved.set(key, value)
      return settled(`0x${hash('sha256', key)}`, `payer of ${channel}`)
    },
    find: async (_, key) => (moved.has(key) ? settled(`0x${hash('sha256', key)}`, 'x') : undefined),
    async refund(_offer, payer, amount, key) {
      const lying = channels.get(payer.slice('payer of '.length))
      assert(lying, 'what goes back was paid in')
      closeIt(lying)
      return settled(`0x${hash('sha256', `close ${key} ${amount.amount}`)}`, payer)
    },
    vouchers: {
      async accept(id, voucher) {
        const lying = channels.get(id)
        if (!lying) return problem('session-closed', 'Unknown.', { reason: 'channel-not-found' })
        if (!isSigned(lying, id, voucher)) return wrong('invalid-signature')
        if (lying.collected !== undefined)
          return problem('session-closed', 'Closed.', { reason: 'channel-finalized' })
        if (voucher.cumulative > lying.deposit) return wrong('amount-exceeds-deposit')
        if (voucher.cumulative > lying.best.cumulative) lying.best = voucher
        return { accepted: lying.best.cumulative, deposit: lying.deposit }
      },
      async allowance(id) {
        const lying = channels.get(id)
        return lying && { accepted: lying.best.cumulative, deposit: lying.deposit }
      },
      async close(id, sum) {
        const lying = channels.get(id)
        if (!lying) return undefined
        closeIt(lying, sum)
        return { reference: `0x${hash('sha256', `close ${id}`)}` }
      },
    },
  }
}

test('a stand-in for channels signs what it checks', () => {
  const { signature } = sign('a', 'b', 1n)
  assert.notEqual(signature, sign('a', 'b', 2n).signature)
})
