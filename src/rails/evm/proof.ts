import * as v from 'valibot'
import type { Hex } from './hex.ts'
import { UINT256_MAX, lower } from './hex.ts'

/** A signed EIP-3009 authorization. Hex in lower case, times in seconds as the token counts them. */
export interface Proof {
  readonly signature: Hex
  readonly from: Hex
  readonly to: Hex
  readonly value: bigint
  readonly validAfter: bigint
  readonly validBefore: bigint
  readonly nonce: Hex
}

/** Longest signature. An EOA's has 65 bytes; wallets (ERC-1271, ERC-6492) need more. */
export const SIGNATURE_BYTES_MAX = 8192

/** Digits of the largest uint256. */
const UINT256_DIGITS = 78

/** An address, in any case. */
export const AddressSchema: v.GenericSchema<string> = v.pipe(
  v.string(),
  v.regex(/^0x[0-9a-fA-F]{40}$/),
)

/** A uint256 as decimal text without sign or leading zeros. */
export const Uint256Schema: v.GenericSchema<string> = v.pipe(
  v.string(),
  v.maxLength(UINT256_DIGITS),
  v.regex(/^(?:0|[1-9]\d*)$/),
)

interface Authorization {
  from: string
  to: string
  value: string
  validAfter: string
  validBefore: string
  nonce: string
}

interface Payload {
  signature: string
  authorization: Authorization
}

/** The payload of `exact` by EIP-3009 as it stands on the wire (x402). Members that we do not know may stand beside. */
export const PayloadSchema: v.GenericSchema<Payload> = v.looseObject({
  signature: v.pipe(
    v.string(),
    v.maxLength(2 + 2 * SIGNATURE_BYTES_MAX),
    v.regex(/^0x(?:[0-9a-fA-F]{2})+$/),
  ),
  authorization: v.looseObject({
    from: AddressSchema,
    to: AddressSchema,
    value: Uint256Schema,
    validAfter: Uint256Schema,
    validBefore: Uint256Schema,
    nonce: v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{64}$/)),
  }),
})

/** The proof, or a sentence what is wrong with it. */
export function readProof(said: unknown): Proof | string {
  if (typeof said === 'object' && said !== null && 'permit2Authorization' in said)
    return 'This payment is made through Permit2, which is not taken here. Sign an EIP-3009 authorization.'
  const read = v.safeParse(PayloadSchema, said, { abortEarly: true })
  if (!read.success) return sentence(read.issues[0])
  const { signature, authorization: a } = read.output
  const value = BigInt(a.value)
  const validAfter = BigInt(a.validAfter)
  const validBefore = BigInt(a.validBefore)
  if (value > UINT256_MAX || validAfter > UINT256_MAX || validBefore > UINT256_MAX)
    return 'A number in the authorization is larger than a uint256.'
  return {
    // The schema has just looked at every digit.
    signature: lower(signature as Hex),
    from: lower(a.from as Hex),
    to: lower(a.to as Hex),
    value,
    validAfter,
    validBefore,
    nonce: lower(a.nonce as Hex),
  }
}

/** The proof as {@link PayloadSchema} has it. */
export function writeProof(proof: Proof): {
  readonly signature: string
  readonly authorization: Readonly<Record<keyof Authorization, string>>
} {
  const { signature, from, to, value, validAfter, validBefore, nonce } = proof
  return {
    signature,
    authorization: {
      from,
      to,
      value: value.toString(),
      validAfter: validAfter.toString(),
      validBefore: validBefore.toString(),
      nonce,
    },
  }
}

function sentence(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue)
  return path === null
    ? 'The payload is not an EIP-3009 authorization with its signature.'
    : `"${path}" of the payload is missing or not of the form that EIP-3009 asks for.`
}
