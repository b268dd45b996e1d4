import type { Hex } from './hex.ts'
import type { Token } from './networks.ts'
import type { Proof } from './proof.ts'

/** What a payer signs, in the shape that all wallets take (EIP-712). */
export interface TypedData {
  readonly domain: {
    readonly name: string
    readonly version: string
    readonly chainId: number
    readonly verifyingContract: Hex
  }
  readonly types: Readonly<Record<string, readonly TypedField[]>>
  readonly primaryType: string
  readonly message: Readonly<Record<string, string | bigint>>
}

/** One member of a struct. */
export interface TypedField {
  readonly name: string
  readonly type: string
}

/** `TransferWithAuthorization` of EIP-3009. */
export const TRANSFER_FIELDS: readonly TypedField[] = [
  { name: 'from', type: 'address' },
  { name: 'to', type: 'address' },
  { name: 'value', type: 'uint256' },
  { name: 'validAfter', type: 'uint256' },
  { name: 'validBefore', type: 'uint256' },
  { name: 'nonce', type: 'bytes32' },
]

/** The struct `EIP712Domain` with the members that our domains have. */
export const DOMAIN_FIELDS: readonly TypedField[] = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
]

/** The authorization as typed data of the token's domain. */
export function typedData(
  token: Token,
  chainId: number,
  authorization: Omit<Proof, 'signature'>,
): TypedData {
  const { name, version, address } = token
  const { from, to, value, validAfter, validBefore, nonce } = authorization
  return {
    domain: { name, version, chainId, verifyingContract: address },
    types: { TransferWithAuthorization: TRANSFER_FIELDS },
    primaryType: 'TransferWithAuthorization',
    message: { from, to, value, validAfter, validBefore, nonce },
  }
}
