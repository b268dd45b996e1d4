import type { Hex } from './hex.ts'
import { UINT256_MAX } from './hex.ts'
import type { Token } from './networks.ts'
import type { Proof } from './proof.ts'

/** What a payer signs, in the shape that all wallets take (EIP-712). */
export interface TypedData {
  readonly domain: {
    readonly name: string
    /** Absent where the contract's domain has none. */
    readonly version?: string
    readonly chainId: number
    readonly verifyingContract: Hex
  }
  readonly types: Readonly<Record<string, readonly TypedField[]>>
  readonly primaryType: string
  readonly message: Readonly<Record<string, TypedValue>>
}

/** What a member holds: a value, a struct, or a list of them. */
export type TypedValue =
  | string
  | bigint
  | { readonly [name: string]: TypedValue }
  | readonly TypedValue[]

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
    types: { [TRANSFER]: TRANSFER_FIELDS },
    primaryType: TRANSFER,
    message: { from, to, value, validAfter, validBefore, nonce },
  }
}

/** A hash function of 32 bytes. */
export type Keccak = (bytes: Uint8Array) => Uint8Array

/** Typed data that may be anybody's. */
interface AnyTypedData {
  readonly domain?: unknown
  readonly types?: unknown
  readonly primaryType?: unknown
  readonly message?: unknown
}

/**
 * The digest of an authorization that {@link typedData} wrote (EIP-712). Undefined for everything else: who asks for that
 * needs an encoder for all types.
 */
export function digestOf(said: AnyTypedData, keccak: Keccak): Uint8Array | undefined {
  const { types, primaryType, domain, message } = said
  const ours = isRecord(types) && types[TRANSFER] === TRANSFER_FIELDS && primaryType === TRANSFER
  if (!ours || !isRecord(domain) || !isRecord(message)) return undefined
  return digestBy({ domain, message }, TRANSFER, TRANSFER_FIELDS, keccak)
}

/**
 * The digest of one struct (EIP-712) whose members are addresses, numbers, words and texts. Undefined where a value is not of
 * its member's type.
 */
export function digestBy(
  { domain, message }: { readonly domain: object; readonly message: object },
  name: string,
  fields: readonly TypedField[],
  keccak: Keccak,
): Uint8Array | undefined {
  const separator = hashStruct('EIP712Domain', DOMAIN_FIELDS, { ...domain }, keccak)
  const struct = hashStruct(name, fields, { ...message }, keccak)
  return separator && struct && keccak(Buffer.concat([PREFIX, separator, struct]))
}

const TRANSFER = 'TransferWithAuthorization'
const PREFIX = Buffer.from('1901', 'hex')

type Values = Readonly<Record<string, unknown>>

function isRecord(value: unknown): value is Values {
  return typeof value === 'object' && value !== null
}

function hashStruct(
  name: string,
  fields: readonly TypedField[],
  values: Values,
  keccak: Keccak,
): Uint8Array | undefined {
  const type = `${name}(${fields.map((field) => `${field.type} ${field.name}`).join(',')})`
  const words = fields.map((field) => wordOf(field.type, values[field.name], keccak))
  const known = words.filter((word) => word !== undefined)
  const whole = known.length === fields.length && Object.keys(values).length === fields.length
  return whole ? keccak(Buffer.concat([keccak(Buffer.from(type)), ...known])) : undefined
}

/** One member's word, for the types that an authorization has; undefined for a value that is not of its type. */
function wordOf(type: string, value: unknown, keccak: Keccak): Uint8Array | undefined {
  if (type === 'uint256') return isUint(value) ? digits(value.toString(16)) : undefined
  if (typeof value !== 'string') return undefined
  if (type === 'string') return keccak(Buffer.from(value))
  const bytes = type === 'address' ? 20 : 32
  return isHexOf(value, bytes) ? digits(value.slice(2)) : undefined
}

function isUint(value: unknown): value is bigint | number {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0
  return typeof value === 'bigint' && value >= 0n && value <= UINT256_MAX
}

function isHexOf(value: string, bytes: number): boolean {
  return value.length === 2 + 2 * bytes && /^0x[0-9a-fA-F]+$/.test(value)
}

function digits(hex: string): Uint8Array {
  return Buffer.from(hex.padStart(64, '0'), 'hex')
}
