import * as v from 'valibot'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { UINT256_MAX } from './hex.ts'
import { loadNonces, nonceOf } from './mpp-nonce.ts'
import { tokenAt } from './networks.ts'
import { AddressSchema, Uint256Schema, readProof, writeProof } from './proof.ts'
import type { Proof } from './proof.ts'
import { CHARGE, RAIL, TIMEOUT_SECONDS_MAX, termsOf } from './terms.ts'
import type { Details, FormParts, Reason } from './terms.ts'

/** What the method is called in MPP. */
export const METHOD = 'evm'
/** The kind of credential that this rail takes: a signed EIP-3009 authorization. */
export const AUTHORIZATION = 'authorization'

/** Terms on an EVM chain as MPP says them (draft-evm-charge-00). */
export interface MppWords {
  readonly id?: string
  readonly realm?: string
  readonly method: string
  readonly intent: string
  readonly request?: JsonObject
}

/** What MPP shows of a payment. */
interface Shown {
  readonly id?: unknown
  readonly realm?: unknown
  readonly payload?: unknown
  readonly source?: unknown
}

/** Where Permit2 is on all chains that have it: the draft wants it named, though nothing here is paid by it. */
const PERMIT2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3'

/** The form of this rail in MPP, which reads proofs once something is loaded. */
export interface MppForm extends Form<Details, Proof, MppWords> {
  ready(): Promise<void>
}

/** How long a payment for a seller who does not say should stay payable. */
const TIMEOUT_SECONDS = 300

const RequestSchema = v.looseObject({
  amount: Uint256Schema,
  currency: AddressSchema,
  recipient: AddressSchema,
  methodDetails: v.looseObject({
    chainId: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    credentialTypes: v.optional(v.array(v.string())),
    splits: v.optional(v.array(v.unknown())),
    // Ours: the terms are read back from what the payer echoes.
    maxTimeoutSeconds: v.optional(
      v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(TIMEOUT_SECONDS_MAX)),
    ),
  }),
})

/** This rail said in MPP. A payer has no address to be paid at: what it signs is named after the challenge. */
export function createMppForm(
  parts: FormParts,
  reasons: Readonly<Record<Reason, string>>,
): MppForm {
  return {
    ready: loadNonces,
    rail: RAIL,
    networks: parts.networks.map(({ id }) => id),
    writeDetails: (terms) => writeWords(terms, parts),
    readDetails: (said) => readWords(said, parts),
    writeProof: (proof) => ({ payload: writePayload(proof) }),
    readProof: (said) => readShown(said),
    reasons,
  }
}

function writeWords(terms: Terms<Details>, { networks }: FormParts): MppWords {
  const chainId = networks.find(({ id }) => id === terms.network)?.chainId
  const { asset, amount } = terms.amount
  const request = {
    amount: amount.toString(),
    currency: terms.details.asset,
    recipient: terms.payee,
    methodDetails: {
      chainId: chainId ?? 0,
      credentialTypes: [AUTHORIZATION],
      permit2Address: PERMIT2,
      decimals: asset.scale,
      maxTimeoutSeconds: terms.timeoutMs / 1000,
    },
  }
  return { method: METHOD, intent: CHARGE, ...(chainId !== undefined && { request }) }
}

function readWords(said: MppWords, { networks, payTo }: FormParts): Terms<Details> | string {
  if (said.method !== METHOD || said.intent !== CHARGE)
    return `Only ${METHOD}/${CHARGE} is known on this rail.`
  const read = v.safeParse(RequestSchema, said.request, { abortEarly: true })
  if (!read.success)
    return `${v.getDotPath(read.issues[0]) ?? 'The request'} is missing or unusable.`
  const { amount, currency, recipient, methodDetails } = read.output
  // Where no kinds are named, transactions are wanted.
  const { chainId, credentialTypes = [], splits = [] } = methodDetails
  if (!credentialTypes.includes(AUTHORIZATION))
    return 'Only signed authorizations (EIP-3009) are known here, and they are not wanted.'
  if (splits.length > 0) return 'An authorization cannot be split among several payees.'
  const network = networks.find((one) => one.chainId === chainId)
  if (!network) return `The chain ${chainId} is not known.`
  const token = tokenAt(network, currency)
  if (!token) return `The token ${currency} on ${network.id} is not known.`
  if (BigInt(amount) > UINT256_MAX) return 'The amount is larger than a uint256.'
  const timeoutMs = (methodDetails.maxTimeoutSeconds ?? TIMEOUT_SECONDS) * 1000
  // An echo in another case names the same account.
  const payee = payTo?.toLowerCase() === recipient.toLowerCase() ? payTo : recipient
  const terms = termsOf(network, token, { amount: BigInt(amount), payee, timeoutMs })
  if (payTo !== undefined) return terms
  return { ...terms, details: { ...terms.details, challenge: challengeOf(said) } }
}

/** What the nonce of its answer is the hash of. */
function challengeOf({ id, realm }: MppWords): string {
  return `${id ?? ''}${realm ?? ''}`
}

function writePayload(proof: Proof): JsonObject {
  const { signature, authorization } = writeProof(proof)
  return { type: AUTHORIZATION, ...authorization, signature }
}

function readShown(said: unknown): Proof | string {
  if (!isObject(said) || !isObject(said['payload'])) return 'There is no payload.'
  const { id, realm, source } = said as Shown
  const { type, signature, ...authorization } = said['payload']
  if (type !== AUTHORIZATION)
    return 'Only signed authorizations (EIP-3009) are taken here. Send a payload of the type "authorization".'
  const proof = readProof({ signature: signature ?? '', authorization })
  if (typeof proof === 'string') return proof
  if (typeof source === 'string' && !isSource(source, proof))
    return 'The payment names another payer than the account that has signed it.'
  // What a payer reads back is its own.
  if (typeof id !== 'string' || typeof realm !== 'string') return proof
  const nonce = nonceOf(id + realm)
  if (nonce === undefined) return 'Payments cannot be checked here just now. Send it again later.'
  return proof.nonce === nonce
    ? proof
    : 'The nonce of the authorization is not the Keccak-256 of the id and the realm of its challenge.'
}

/** A DID of the method `pkh` (CAIP-10). */
function isSource(source: string, { from }: Proof): boolean {
  return /^did:pkh:eip155:\d{1,16}:(0x[0-9a-f]{40})$/i.exec(source)?.[1]?.toLowerCase() === from
}
