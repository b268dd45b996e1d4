import * as v from 'valibot'
import type { JsonObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { UINT256_MAX } from './hex.ts'
import { createMppForm } from './mpp.ts'
import type { MppForm } from './mpp.ts'
import type { Network } from './networks.ts'
import { tokenAt } from './networks.ts'
import type { Proof } from './proof.ts'
import { AddressSchema, Uint256Schema, readProof, writeProof } from './proof.ts'
import { RAIL, TIMEOUT_SECONDS_MAX, termsOf } from './terms.ts'
import type { Details, FormParts, Reason } from './terms.ts'

export { CHARGE, RAIL, termsOf } from './terms.ts'
export type { Details, FormParts, Reason } from './terms.ts'

/** Terms on an EVM chain as x402 says them; version 1 has its own name for the network. */
export interface Words {
  readonly scheme: string
  readonly network: string
  readonly legacyNetwork?: string
  readonly amount: string
  readonly asset: string
  readonly payTo: string
  readonly maxTimeoutSeconds: number
  readonly extra: JsonObject
}

const TEXT_MAX = 128
const TextSchema = v.pipe(v.string(), v.nonEmpty(), v.maxLength(TEXT_MAX))

interface WordsRead {
  scheme: string
  network: string
  amount: string
  asset: string
  payTo: string
  maxTimeoutSeconds: number
  extra: { name: string; version: string; assetTransferMethod?: string | null | undefined }
}

/** {@link Words} as a stranger may write them. Members that we do not know may stand beside. */
export const WordsSchema: v.GenericSchema<WordsRead> = v.looseObject({
  scheme: v.literal('exact'),
  network: TextSchema,
  amount: Uint256Schema,
  asset: AddressSchema,
  payTo: AddressSchema,
  maxTimeoutSeconds: v.pipe(
    v.number(),
    v.integer(),
    v.minValue(1),
    v.maxValue(TIMEOUT_SECONDS_MAX),
  ),
  extra: v.looseObject({
    name: TextSchema,
    version: TextSchema,
    assetTransferMethod: v.nullish(TextSchema),
  }),
})

/** The rail's reasons as x402 says them: the literals that stock clients and facilitators know. */
export const x402Reasons: Readonly<Record<Reason, string>> = {
  'signature-invalid': 'invalid_exact_evm_signature',
  'payee-mismatch': 'invalid_exact_evm_recipient_mismatch',
  'amount-mismatch': 'invalid_exact_evm_payload_authorization_value_mismatch',
  'too-early': 'invalid_exact_evm_payload_authorization_valid_after',
  'too-late': 'invalid_exact_evm_payload_authorization_valid_before',
  'nonce-used': 'invalid_exact_evm_nonce_already_used',
  'funds-insufficient': 'invalid_exact_evm_insufficient_balance',
  'simulation-failed': 'invalid_exact_evm_transaction_simulation_failed',
  'transaction-failed': 'invalid_exact_evm_transaction_failed',
  'transfer-missing': 'invalid_exact_evm_transfer_event_mismatch',
  'factory-refused': 'eip6492_factory_not_allowed',
  'deployment-failed': 'smart_wallet_deployment_failed',
  'token-absent': 'asset_not_deployed_contract',
  'token-unknown': 'invalid_payment_requirements',
  'network-mismatch': 'invalid_exact_evm_network_mismatch',
  pending: 'settlement_pending',
}

/** This rail said in each protocol. */
export type Forms = {
  readonly x402: Form<Details, Proof, Words>
  readonly mpp: MppForm
}

/** Makes the forms. */
export function createForms(parts: FormParts): Forms {
  const { networks } = parts
  return {
    mpp: createMppForm(parts, x402Reasons),
    x402: {
      rail: RAIL,
      networks: networks.map(({ id }) => id),
      writeDetails: (terms) => writeWords(terms, networks),
      readDetails: (said) => readWords(said, parts),
      writeProof,
      readProof,
      reasons: x402Reasons,
    },
  }
}

function writeWords(terms: Terms<Details>, networks: readonly Network[]): Words {
  const { asset, name, version } = terms.details
  const legacyNetwork = networks.find(({ id }) => id === terms.network)?.legacyName
  return {
    scheme: 'exact',
    network: terms.network,
    ...(legacyNetwork !== undefined && { legacyNetwork }),
    amount: terms.amount.amount.toString(),
    asset,
    payTo: terms.payee,
    maxTimeoutSeconds: terms.timeoutMs / 1000,
    extra: { name, version },
  }
}

function readWords(said: unknown, parts: FormParts): Terms<Details> | string {
  const { networks, payTo } = parts
  const read = v.safeParse(WordsSchema, said, { abortEarly: true })
  if (!read.success) return sentence(read.issues[0])
  const words = read.output
  const method = words.extra.assetTransferMethod ?? 'eip3009'
  if (method !== 'eip3009') return `The transfer method "${method}" is not known.`
  const network = networks.find(
    ({ id, legacyName }) => id === words.network || legacyName === words.network,
  )
  if (!network) return `The network "${words.network}" is not known.`
  const token = tokenAt(network, words.asset)
  if (!token) return `The token ${words.asset} on ${network.id} is not known.`
  if (words.extra.name !== token.name || words.extra.version !== token.version)
    return `The signing domain of ${token.code} on ${network.id} is "${token.name}" version "${token.version}", not the one that is named.`
  const amount = BigInt(words.amount)
  if (amount > UINT256_MAX) return 'The amount is larger than a uint256.'
  // An echo in another case names the same account.
  const payee = payTo?.toLowerCase() === words.payTo.toLowerCase() ? payTo : words.payTo
  return termsOf(network, token, { amount, payee, timeoutMs: words.maxTimeoutSeconds * 1000 })
}

function sentence(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue)
  if (path === 'scheme') return 'Only the scheme "exact" is known on this rail.'
  if (path?.startsWith('extra'))
    return `"${path}" is missing or unusable: EIP-3009 needs the token's signing domain.`
  return path === null ? 'The terms are not an object.' : `"${path}" is missing or unusable.`
}
