import * as v from 'valibot'
import { isObject } from '../../../core/json.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Form } from '../../../core/ports.ts'
import { TIMEOUT_MS } from '../exact.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, lower } from '../hex.ts'
import { METHOD } from '../mpp.ts'
import type { MppWords } from '../mpp.ts'
import { tokenAt } from '../networks.ts'
import type { Network } from '../networks.ts'
import { AddressSchema, Uint256Schema } from '../proof.ts'
import { TIMEOUT_SECONDS_MAX } from '../terms.ts'
import { reasons } from './problems.ts'
import type { Proof } from './proof.ts'
import { PERMIT, readPayload, readSource, writePayload } from './proof.ts'
import type { Details, Split } from './terms.ts'
import {
  PERMIT2,
  PERMIT2_SAID,
  CHARGE,
  MEMO_CHARS_MAX,
  RAIL,
  SPLITS_MAX,
  sumOf,
  termsOf,
} from './terms.ts'

/** What the form is made for. */
export interface FormParts {
  readonly networks: readonly Network[]
  /** The seller's own account; a payer has none to be paid at, and its terms remember the challenge. */
  readonly payTo?: Hex
  /** Which account has signed, where the credential does not say; absent where nobody can tell. */
  readonly signerOf?: (proof: Omit<Proof, 'from'>) => Hex | undefined
}

/** The form of this rail in MPP. Clients in use answer other challenges of the method, so that it stands behind them. */
export interface MppForm extends Form<Details, Proof, MppWords> {
  readonly later: true
}

const RequestSchema = v.looseObject({
  amount: Uint256Schema,
  currency: AddressSchema,
  recipient: AddressSchema,
  // A reference of the seller's would have to stand in the witness.
  externalId: v.optional(v.literal('')),
  methodDetails: v.looseObject({
    chainId: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    credentialTypes: v.array(v.string()),
    permit2Address: v.optional(AddressSchema),
    spender: v.optional(AddressSchema),
    splits: v.optional(
      v.pipe(
        v.array(
          v.looseObject({
            recipient: AddressSchema,
            amount: Uint256Schema,
            memo: v.optional(v.pipe(v.string(), v.maxLength(MEMO_CHARS_MAX))),
          }),
        ),
        v.maxLength(SPLITS_MAX),
      ),
    ),
    // Ours: the terms are read back from what the payer echoes.
    maxTimeoutSeconds: v.optional(
      v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(TIMEOUT_SECONDS_MAX)),
    ),
  }),
})

/** This rail said in MPP (draft-evm-charge-00 and 01, credential type `permit2`). */
export function createForm(parts: FormParts): MppForm {
  return {
    rail: RAIL,
    networks: parts.networks.map(({ id }) => id),
    // The witness names the challenge.
    distinct: true,
    later: true,
    writeDetails: (terms) => writeWords(terms, parts),
    readDetails: (said) => readWords(said, parts),
    writeProof: (proof) => writeProof(proof, parts),
    readProof: (said) => readProof(said, parts),
    reasons,
  }
}

function writeWords(terms: Terms<Details>, { networks }: FormParts): MppWords {
  const { amount, payee, details, timeoutMs } = terms
  const network = networks.find(({ id }) => id === terms.network)
  const words = { method: METHOD, intent: CHARGE }
  if (!network) return words
  const request = {
    amount: amount.amount.toString(),
    currency: details.asset,
    recipient: payee,
    methodDetails: {
      chainId: network.chainId,
      credentialTypes: [PERMIT],
      decimals: amount.asset.scale,
      permit2Address: PERMIT2_SAID,
      spender: details.spender,
      ...(details.splits && { splits: details.splits.map((one) => ({ ...one })) }),
      ...(timeoutMs !== TIMEOUT_MS && { maxTimeoutSeconds: timeoutMs / 1000 }),
    },
  }
  return { ...words, request }
}

function readWords(said: MppWords, { networks, payTo }: FormParts): Terms<Details> | string {
  if (said.method !== METHOD || said.intent !== CHARGE)
    return `Only ${METHOD}/${CHARGE} is known on this rail.`
  const read = v.safeParse(RequestSchema, said.request, { abortEarly: true })
  if (!read.success)
    return `${v.getDotPath(read.issues[0]) ?? 'The request'} is missing or unusable.`
  const { amount, currency, recipient, methodDetails } = read.output
  const { chainId, credentialTypes, permit2Address = PERMIT2, spender } = methodDetails
  if (!credentialTypes.includes(PERMIT)) return 'Permits of Permit2 are not wanted.'
  if (lower(permit2Address as Hex) !== PERMIT2)
    return 'It names another contract than Permit2, to which nobody should sign.'
  if (spender === undefined || lower(spender as Hex) === ZERO_ADDRESS)
    return 'It does not say for which spender a permit is to be signed.'
  const network = networks.find((one) => one.chainId === chainId)
  if (!network) return `The chain ${chainId} is not known.`
  const token = tokenAt(network, currency)
  if (!token) return `The token ${currency} on ${network.id} is not known.`
  const splits = methodDetails.splits?.map(readSplit) ?? []
  const whole = BigInt(amount)
  if (whole > UINT256_MAX) return 'The amount is larger than a uint256.'
  if (sumOf(splits) >= whole) return 'The shares leave nothing for the payee.'
  if (splits.some((one) => BigInt(one.amount) === 0n)) return 'Somebody has a share of nothing.'
  const timeoutMs = (methodDetails.maxTimeoutSeconds ?? TIMEOUT_MS / 1000) * 1000
  // An echo in another case names the same account.
  const isOurs = payTo !== undefined && lower(payTo) === lower(recipient as Hex)
  const payee = isOurs ? payTo : recipient
  const isPayer = payTo === undefined && said.id !== undefined && said.realm !== undefined
  return termsOf(
    { network, token, amount: whole, payee, timeoutMs },
    {
      ...{ asset: token.address, spender: spender as Hex },
      ...(splits.length > 0 && { splits }),
      ...(isPayer && { challenge: `${said.id}${said.realm}` }),
    },
  )
}

function readSplit(said: {
  readonly recipient: string
  readonly amount: string
  readonly memo?: string | undefined
}): Split {
  const { recipient, amount, memo } = said
  return { recipient: recipient as Hex, amount, ...(memo !== undefined && { memo }) }
}

/** Sellers of this method want the payer named. */
function writeProof(proof: Proof, { networks }: FormParts): JsonObject {
  const chainId = proof.chainId ?? networks[0]?.chainId
  return { payload: writePayload(proof), source: `did:pkh:eip155:${chainId}:${proof.from}` }
}

function readProof(said: unknown, { networks, signerOf }: FormParts): Proof | string {
  if (!isObject(said)) return 'There is no payload.'
  const { source } = said
  const payload = readPayload(said['payload'])
  if (typeof payload === 'string') return payload
  if (source === undefined) {
    const signer = signerOf?.(payload)
    return signer
      ? { ...payload, from: signer }
      : 'The credential does not say who pays ("source").'
  }
  const named = readSource(source)
  if (!named) return 'The source is not an account of this kind of chain (did:pkh, CAIP-10).'
  if (!networks.some(({ chainId }) => chainId === named.chainId))
    return 'The source is an account on another chain than the one that is paid on.'
  return { ...payload, from: named.account, chainId: named.chainId }
}
