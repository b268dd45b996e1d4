import * as v from 'valibot'
import type { Session } from '../../../core/credential.ts'
import type { JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Price } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Form } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import type { Network } from '../networks.ts'
import { tokenAt } from '../networks.ts'
import { AddressSchema, Uint256Schema } from '../proof.ts'
import type { Proof } from './proof.ts'
import { readChannel, readDeposit, readVoucher, writeDeposit } from './proof.ts'
import type { Details } from './terms.ts'
import { RAIL, SESSION, TIMEOUT_MS, termsOf } from './terms.ts'
import { UINT128_MAX } from './voucher.ts'

/** What the method is called in MPP. */
export const METHOD = 'evm'

/** Longest time that terms may name, in seconds. */
const TIMEOUT_SECONDS_MAX = 2 ** 31 - 1

/** Terms as MPP says them (draft-evm-session-00). */
export interface Words {
  readonly method: string
  readonly intent: string
  /** Absent where MPP has no words for the terms: a deposit alone is no charge. */
  readonly request?: JsonObject
}

/** Why this rail refuses, in its own words; those of vouchers are the draft's. */
export type Reason =
  | 'invalid-signature'
  | 'signer-mismatch'
  | 'amount-exceeds-deposit'
  | 'delta-too-small'
  | 'channel-not-found'
  | 'channel-finalized'
  | 'close-requested'
  | 'deposit-used'
  | 'deposit-missing'
  | 'deposit-mismatch'
  | 'funds-insufficient'
  | 'simulation-failed'
  | 'transaction-failed'
  | 'too-late'

/** The draft has names for what is wrong with vouchers; a deposit that is refused is a payment that could not be checked. */
const reasons: Readonly<Record<Reason, string>> = {
  'invalid-signature': 'session/invalid-signature',
  'signer-mismatch': 'session/signer-mismatch',
  'amount-exceeds-deposit': 'session/amount-exceeds-deposit',
  'delta-too-small': 'session/delta-too-small',
  'channel-not-found': 'session/channel-not-found',
  'channel-finalized': 'session/channel-finalized',
  'close-requested': 'session/channel-finalized',
  'deposit-used': 'invalid-challenge',
  'deposit-missing': 'verification-failed',
  'deposit-mismatch': 'verification-failed',
  'funds-insufficient': 'payment-insufficient',
  'simulation-failed': 'verification-failed',
  'transaction-failed': 'settlement-failed',
  'too-late': 'payment-expired',
}

const RequestSchema = v.looseObject({
  amount: Uint256Schema,
  currency: AddressSchema,
  recipient: AddressSchema,
  suggestedDeposit: Uint256Schema,
  methodDetails: v.looseObject({
    chainId: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    escrowContract: AddressSchema,
    minVoucherDelta: v.optional(Uint256Schema),
    feePayer: v.optional(v.boolean()),
    splits: v.optional(v.array(v.unknown())),
    // Ours: the terms are read back from what the payer echoes.
    maxTimeoutSeconds: v.optional(
      v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(TIMEOUT_SECONDS_MAX)),
    ),
  }),
})

/** What the form is made for. */
export interface FormParts {
  readonly networks: readonly Network[]
  /** The seller's own addresses; a payer has none. */
  readonly own?: { readonly payee: Hex; readonly escrow: Hex }
}

/** As MPP wants it of a rail with sessions. */
export interface Sessions {
  readonly method: string
  write(terms: Terms<Details>, use: { readonly balance: Price; readonly unit: Price }): Words
  /** `source`: who says to have paid, as a DID. */
  read(
    payload: JsonObject,
    request: JsonObject,
    terms?: Terms<Details>,
    source?: string,
  ): { readonly session: Session; readonly proof?: Proof } | string
  open(proof: Proof, returnTo: string): JsonObject
  topUp(proof: Proof): JsonObject
  /** What is drawn is bounded by vouchers. */
  readonly channels: true
}

/** The form of this rail in MPP. */
export interface ChannelForm extends Form<Details, Proof, Words> {
  readonly sessions: Sessions
}

/** This rail said in MPP. */
export function createForm(parts: FormParts): ChannelForm {
  return {
    rail: RAIL,
    networks: parts.networks.map(({ id }) => id),
    writeDetails: () => ({ method: METHOD, intent: SESSION }),
    readDetails: (said) => readWords(said, parts),
    writeProof: (proof) => ({
      payload: writeDeposit(proof),
      ...('hash' in proof && {
        source: `did:pkh:eip155:${parts.networks[0]?.chainId ?? 0}:${proof.payer}`,
      }),
    }),
    readProof: (said) => {
      if (!isObject(said) || !isObject(said['payload'])) return 'There is no payload.'
      return readDeposit(said['payload'], said['source'])
    },
    reasons,
    sessions: {
      method: METHOD,
      write: (terms, use) => writeSession(terms, use, parts),
      read: (payload, _, terms, source) => readSession(payload, terms, source),
      open: (proof) => writeDeposit(proof),
      topUp: (proof) => writeDeposit(proof),
      channels: true,
    },
  }
}

/** A unit costs its share of the deposit, rounded up to the token's smallest unit: the balance counts in its own currency. */
function writeSession(
  { network: id, amount, payee, timeoutMs, details }: Terms<Details>,
  { balance, unit }: { readonly balance: Price; readonly unit: Price },
  { networks }: FormParts,
): Words {
  const chainId = networks.find((network) => network.id === id)?.chainId
  const words = { method: METHOD, intent: SESSION }
  if (chainId === undefined) return words
  const parts = unit.amount * 10n ** BigInt(balance.scale)
  const whole = balance.amount * 10n ** BigInt(unit.scale)
  return {
    ...words,
    request: {
      amount: ((amount.amount * parts + whole - 1n) / whole).toString(),
      currency: details.token,
      recipient: payee,
      suggestedDeposit: amount.amount.toString(),
      methodDetails: {
        chainId,
        escrowContract: details.escrow,
        feePayer: true,
        minVoucherDelta: details.minVoucherDelta,
        maxTimeoutSeconds: timeoutMs / 1000,
      },
    },
  }
}

function readWords(said: Words, { networks, own }: FormParts): Terms<Details> | string {
  if (said.method !== METHOD || said.intent !== SESSION)
    return `Only ${METHOD}/${SESSION} is known on this rail.`
  const read = v.safeParse(RequestSchema, said.request, { abortEarly: true })
  if (!read.success)
    return `${v.getDotPath(read.issues[0]) ?? 'The request'} is missing or unusable.`
  const { currency, recipient, suggestedDeposit, methodDetails } = read.output
  const { chainId, escrowContract, minVoucherDelta = '0', splits = [], ...rest } = methodDetails
  const network = networks.find((one) => one.chainId === chainId)
  if (!network) return `The chain ${chainId} is not known.`
  const token = tokenAt(network, currency)
  if (!token) return `The token ${currency} on ${network.id} is not known.`
  if (splits.length > 0) return 'Payments to several payees are not known on this rail.'
  const [amount, delta] = [BigInt(suggestedDeposit), BigInt(minVoucherDelta)]
  if (amount > UINT128_MAX || delta > UINT128_MAX) return 'The deposit is larger than a uint128.'
  const { maxTimeoutSeconds = TIMEOUT_MS / 1000 } = rest
  const where = {
    network,
    // An echo in another case names the same account.
    payee: sameAs(recipient, own?.payee),
    escrow: sameAs(escrowContract, own?.escrow),
    timeoutMs: maxTimeoutSeconds * 1000,
  }
  return termsOf(where, token, amount, delta)
}

function sameAs(said: string, own: Hex | undefined): Hex {
  // The schema has just looked at every digit.
  return own?.toLowerCase() === said.toLowerCase() ? own : (said as Hex)
}

function readSession(
  payload: JsonObject,
  terms: Terms<Details> | undefined,
  source: string | undefined,
): { readonly session: Session; readonly proof?: Proof } | string {
  const { action } = payload
  if (action === 'open' || action === 'topUp')
    return terms ? readPaid(payload, source) : 'The challenge asks for nothing that is known here.'
  if (action !== 'voucher' && action !== 'close') return 'The action is not known.'
  if (payload['deposit'] !== undefined)
    return 'A deposit beside a voucher is not taken here: send it as "open" or "topUp" before.'
  const channel = readChannel(payload['channelId'])
  if (channel === undefined) return '"channelId" is not 32 bytes in hex with 0x in front.'
  const voucher = readVoucher(payload['cumulativeAmount'], payload['signature'])
  if (typeof voucher === 'string') return voucher
  const act = action === 'close' ? 'close' : 'use'
  return { session: { act, id: channel.slice(2), rail: RAIL, voucher } }
}

function readPaid(
  payload: JsonObject,
  source: string | undefined,
): { readonly session: Session; readonly proof: Proof } | string {
  const proof = readDeposit(payload, source)
  if (typeof proof === 'string') return proof
  const { channel, opening } = proof
  const rest = { id: channel.slice(2), rail: RAIL }
  if (!opening) return { session: { act: 'top-up', ...rest }, proof }
  const returnTo = 'hash' in proof ? proof.payer : proof.authorization.from
  return { session: { act: 'open', ...rest, returnTo, voucher: opening.voucher }, proof }
}
