import * as v from 'valibot'
import { isObject } from '../../../core/json.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Form } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { Network } from '../networks.ts'
import { assetOf, tokenAt } from '../networks.ts'
import { AddressSchema, Uint256Schema } from '../proof.ts'
import type { Challenge } from './memo.ts'
import type { Details } from './terms.ts'
import { CHARGE, RAIL, TIMEOUT_MS } from './terms.ts'
import type { Signed } from './transaction.ts'
import { readSigned } from './transaction.ts'

/** A payment: a transaction that the seller is to send (`pull`), or the hash of one that was sent (`push`). */
export type Proof = { readonly signed: Signed } | { readonly hash: Hex }

/** Why this rail refuses, in its own words. */
export type Reason =
  | 'transfer-missing'
  | 'memo-mismatch'
  | 'too-late'
  | 'too-long'
  | 'funds-insufficient'

const reasons: Readonly<Record<Reason, string>> = {
  'transfer-missing': 'verification-failed',
  'memo-mismatch': 'verification-failed',
  'too-late': 'payment-expired',
  'too-long': 'verification-failed',
  'funds-insufficient': 'payment-insufficient',
}

/** Terms on Tempo as MPP says them (draft-tempo-charge-00). */
export interface Words {
  readonly id?: string
  readonly realm?: string
  readonly method: string
  readonly intent: string
  readonly request?: JsonObject
}

const RequestSchema = v.looseObject({
  amount: Uint256Schema,
  currency: AddressSchema,
  recipient: AddressSchema,
  methodDetails: v.looseObject({
    chainId: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    splits: v.optional(v.array(v.unknown())),
    feePayer: v.optional(v.boolean()),
    supportedModes: v.optional(v.array(v.string())),
  }),
})

/** What the form is made for. */
export interface FormParts {
  readonly network: Network
  /** The seller's own address; a payer has none, and its terms remember the challenge. */
  readonly payTo?: Hex
  readonly timeoutMs?: number
}

/** What a wallet knows of the terms beside: what the memo is made of. */
export interface PayerDetails extends Details {
  readonly challenge?: Challenge
}

/** This rail said in MPP. */
export function createForm(parts: FormParts): Form<PayerDetails, Proof, Words> {
  return {
    rail: RAIL,
    networks: [parts.network.id],
    writeDetails: (terms) => writeWords(terms, parts),
    readDetails: (said) => readWords(said, parts),
    writeProof: (proof) => ({ payload: writePayload(proof) }),
    readProof,
    reasons,
  }
}

function writeWords({ amount, details, payee }: Terms<Details>, { network }: FormParts): Words {
  const methodDetails = { chainId: network.chainId, supportedModes: ['pull', 'push'] }
  const request = {
    amount: amount.amount.toString(),
    currency: details.token,
    recipient: payee,
    methodDetails,
  }
  return { method: RAIL, intent: CHARGE, request }
}

function readWords(
  said: Words,
  { network, payTo, timeoutMs = TIMEOUT_MS }: FormParts,
): Terms<PayerDetails> | string {
  if (said.method !== RAIL || said.intent !== CHARGE)
    return `Only ${RAIL}/${CHARGE} is known on this rail.`
  const read = v.safeParse(RequestSchema, said.request, { abortEarly: true })
  if (!read.success)
    return `${v.getDotPath(read.issues[0]) ?? 'The request'} is missing or unusable.`
  const { amount, currency, recipient, methodDetails } = read.output
  const { chainId, splits = [], feePayer = false, supportedModes = ['pull'] } = methodDetails
  if (chainId !== network.chainId) return `The chain ${chainId} is not known.`
  const token = tokenAt(network, currency)
  if (!token) return `The token ${currency} on ${network.id} is not known.`
  if (splits.length > 0) return 'Payments to several payees are not known on this rail.'
  if (payTo === undefined && (feePayer || !supportedModes.includes('pull')))
    return 'Only transactions that their sender pays for and the seller sends are made here.'
  // An echo in another case names the same account.
  const payee = payTo?.toLowerCase() === recipient.toLowerCase() ? payTo : recipient
  const { id, realm } = said
  const isPayer = payTo === undefined && id !== undefined && realm !== undefined
  return {
    ...{ rail: RAIL, network: network.id, intent: CHARGE, payee, timeoutMs },
    amount: { asset: assetOf(network, token), amount: BigInt(amount) },
    details: { token: token.address, ...(isPayer && { challenge: { id, realm } }) },
  }
}

function writePayload(proof: Proof): JsonObject {
  return 'signed' in proof
    ? { type: 'transaction', signature: proof.signed.raw }
    : { type: 'hash', hash: proof.hash }
}

function readProof(said: unknown): Proof | string {
  if (!isObject(said) || !isObject(said['payload'])) return 'There is no payload.'
  const { type, hash, signature } = said['payload']
  if (type === 'transaction') {
    const signed = readSigned(signature)
    return typeof signed === 'string' ? signed : { signed }
  }
  if (type !== 'hash') return 'Send a payload of the type "transaction" or "hash".'
  if (typeof hash !== 'string' || !/^0x[0-9a-fA-F]{64}$/.test(hash))
    return 'The hash of the transaction is not 32 bytes in hex with 0x in front.'
  return { hash: lower(hash as Hex) }
}
