import { concat, encodeFunctionData, keccak256, parseAbi, stringToBytes } from 'viem'
import { assert } from '../../../core/assert.ts'
import type { Call, CallAnswer } from '../abi.ts'
import { encode, padded, uint, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import type { TypedField } from '../typed-data.ts'
import type { NonceKind } from '../token.ts'
import { unreadable } from '../token.ts'
import type { Proof } from './proof.ts'
import { PERMIT2 } from './terms.ts'

/** The bits of one word of nonces: the low ones of a nonce say which. */
export const WORD_BITS = 256n

const selectors = { nonceBitmap: '0x4fe02b44', allowance: '0xdd62ed3e' } as const

const structs = [
  'struct TokenPermissions { address token; uint256 amount; }',
  'struct Permit { TokenPermissions permitted; uint256 nonce; uint256 deadline; }',
  'struct Permits { TokenPermissions[] permitted; uint256 nonce; uint256 deadline; }',
  'struct Details { address to; uint256 requestedAmount; }',
] as const
/** Both have one name at the real contract, whatever drafts call the second. */
const single = parseAbi([
  ...structs,
  'function permitWitnessTransferFrom(Permit permit, Details details, address owner, bytes32 witness, string witnessType, bytes signature)',
])
const batch = parseAbi([
  ...structs,
  'function permitWitnessTransferFrom(Permits permit, Details[] details, address owner, bytes32 witness, string witnessType, bytes signature)',
])

/**
 * The ways in which the witness is known to be written. The first is that of draft-evm-charge-01 and of implementations in use,
 * and what we sign; the second that of draft-evm-charge-00, the third its letters, with a space that EIP-712 does not have:
 * Permit2 hashes whatever text it is given, so that each is good for who has signed exactly it.
 */
export const WITNESSES: readonly string[] = [
  'PaymentWitness(bytes32 challengeHash)',
  'PaymentWitness(bytes32 challengeHash,string externalId)',
  'PaymentWitness(bytes32 challengeHash, string externalId)',
]

const TOKEN_PERMISSIONS = 'TokenPermissions(address token,uint256 amount)'

/** What is signed, but the name of the struct and of its list. */
const REST = 'address spender,uint256 nonce,uint256 deadline,'

/** The members of the structs that a payer signs (EIP-712). */
export const WITNESS_FIELDS: readonly TypedField[] = [{ name: 'challengeHash', type: 'bytes32' }]
export const PERMISSION_FIELDS: readonly TypedField[] = [
  { name: 'token', type: 'address' },
  { name: 'amount', type: 'uint256' },
]
/** `PermitWitnessTransferFrom`, or with several transfers `PermitBatchWitnessTransferFrom`. */
export function permitFields(isBatch: boolean): readonly TypedField[] {
  return [
    { name: 'permitted', type: isBatch ? 'TokenPermissions[]' : 'TokenPermissions' },
    { name: 'spender', type: 'address' },
    { name: 'nonce', type: 'uint256' },
    { name: 'deadline', type: 'uint256' },
    { name: 'witness', type: 'PaymentWitness' },
  ]
}

/** What the hash of a challenge is made of: its id and its realm (draft-evm-charge-00). */
export function challengeHash(challenge: string): Hex {
  return keccak256(stringToBytes(challenge))
}

/** What says on which chain a signature for Permit2 is good (EIP-712). Its domain has no version. */
export function separatorOf(chainId: number): Hex {
  const type = hashed('EIP712Domain(string name,uint256 chainId,address verifyingContract)')
  return keccak256(words(type, hashed('Permit2'), word(chainId), padded(PERMIT2)))
}

/** The digest that the payer signs for that spender, with the witness written in that way. */
export function digestOf(proof: Proof, spender: Hex, separator: Hex, witness: string): Hex {
  const isBatch = proof.permitted.length > 1
  const name = isBatch
    ? 'PermitBatchWitnessTransferFrom(TokenPermissions[] permitted,'
    : 'PermitWitnessTransferFrom(TokenPermissions permitted,'
  const type = hashed(name + REST + typeText(witness))
  const permissions = proof.permitted.map(({ token, amount }) =>
    keccak256(words(hashed(TOKEN_PERMISSIONS), padded(token), word(amount))),
  )
  const [single = '0x'] = permissions
  const permitted = isBatch ? keccak256(concat(permissions)) : single
  const struct = keccak256(
    words(
      ...[type, permitted, padded(spender), word(BigInt(proof.nonce)), word(proof.deadline)],
      witnessHash(proof, witness),
    ),
  )
  return keccak256(concat(['0x1901', separator, struct]))
}

/** The call that moves the money, for the spender alone to make: Permit2 takes whoever calls it for him. */
export function transferCall(proof: Proof, witness: string): Hex {
  const { from, nonce, deadline, permitted, transfers, signature } = proof
  const details = transfers.map(({ to, amount }) => ({ to, requestedAmount: amount }))
  const ends = { nonce: BigInt(nonce), deadline }
  const rest = [from, witnessHash(proof, witness), typeText(witness), signature] as const
  const [permission] = permitted
  const [detail] = details
  assert(permission && detail, 'a permit is for one transfer at least')
  return permitted.length === 1
    ? encodeFunctionData({
        abi: single,
        args: [{ permitted: permission, ...ends }, detail, ...rest],
      })
    : encodeFunctionData({ abi: batch, args: [{ permitted, ...ends }, details, ...rest] })
}

/** `nonceBitmap(owner, word)`. */
export const permitNonces: NonceKind = {
  call({ from, nonce }) {
    const place = word(BigInt(nonce) / WORD_BITS)
    return {
      target: PERMIT2,
      data: encode(selectors.nonceBitmap, padded(from), place),
      allowFailure: true,
    }
  },
  isUsed(answer, { nonce }) {
    const bits = answer?.ok === true ? uint(answer.data) : undefined
    if (bits === undefined) throw unreadable()
    return ((bits >> (BigInt(nonce) % WORD_BITS)) & 1n) === 1n
  },
}

/** How much Permit2 may move of the owner's token: `allowance(owner, Permit2)` of ERC-20. */
export function allowanceCall(token: Hex, owner: Hex): Call {
  const data = encode(selectors.allowance, padded(owner), padded(PERMIT2))
  return { target: token, data, allowFailure: true }
}

/** A number that was answered; undefined where there is none. */
export function amountIn(answer: CallAnswer | undefined): bigint | undefined {
  return answer?.ok ? uint(answer.data) : undefined
}

function typeText(witness: string): string {
  return `PaymentWitness witness)${witness}${TOKEN_PERMISSIONS}`
}

function witnessHash({ witness }: Proof, type: string): Hex {
  const named = type === WITNESSES[0] ? [] : [hashed(witness.externalId ?? '')]
  return keccak256(words(hashed(type), witness.challengeHash, ...named))
}

function hashed(text: string): Hex {
  return keccak256(stringToBytes(text))
}

function words(...all: readonly string[]): Hex {
  return `0x${all.map((one) => one.replace(/^0x/, '')).join('')}`
}
