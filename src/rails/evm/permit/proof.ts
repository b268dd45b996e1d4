import * as v from 'valibot'
import type { JsonObject } from '../../../core/json.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, lower } from '../hex.ts'
import { word } from '../abi.ts'
import { AddressSchema, SIGNATURE_BYTES_MAX, Uint256Schema } from '../proof.ts'
import { SPLITS_MAX } from './terms.ts'

/** What the payload is called in MPP. */
export const PERMIT = 'permit2'
/** Longest reference of a seller that is read back, in characters. */
const EXTERNAL_CHARS_MAX = 256

/** A signed permit of Permit2 with a witness. Hex in lower case, the deadline in seconds as the chain counts them. */
export interface Proof {
  readonly signature: Hex
  /** Who pays: the account that has signed. */
  readonly from: Hex
  /** In 32 bytes: which word of the owner's nonces, and in the last byte which of its bits. */
  readonly nonce: Hex
  /** The last second in which it is good. */
  readonly deadline: bigint
  readonly permitted: readonly { readonly token: Hex; readonly amount: bigint }[]
  /** First to the payee, then to those who share. The signature says nothing of them: the witness names what does. */
  readonly transfers: readonly { readonly to: Hex; readonly amount: bigint }[]
  readonly witness: { readonly challengeHash: Hex; readonly externalId?: string }
  /** On which chain it pays, where that was said. */
  readonly chainId?: number
}

const HexSchema = v.pipe(v.string(), v.regex(/^0x(?:[0-9a-fA-F]{2})+$/))
const ListMax = SPLITS_MAX + 1

const PayloadSchema = v.looseObject({
  type: v.literal(PERMIT),
  permit: v.looseObject({
    permitted: v.pipe(
      v.array(v.looseObject({ token: AddressSchema, amount: Uint256Schema })),
      v.minLength(1),
      v.maxLength(ListMax),
    ),
    nonce: Uint256Schema,
    deadline: Uint256Schema,
  }),
  transferDetails: v.pipe(
    v.array(v.looseObject({ to: AddressSchema, requestedAmount: Uint256Schema })),
    v.minLength(1),
    v.maxLength(ListMax),
  ),
  witness: v.looseObject({
    challengeHash: v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{64}$/)),
    externalId: v.optional(v.pipe(v.string(), v.maxLength(EXTERNAL_CHARS_MAX))),
  }),
  signature: v.pipe(HexSchema, v.maxLength(2 + 2 * SIGNATURE_BYTES_MAX)),
})

/** A DID of the method `pkh` (CAIP-10). */
const SOURCE = /^did:pkh:eip155:([1-9]\d{0,15}):(0x[0-9a-fA-F]{40})$/

/** Who a credential says that it is from. */
export interface Source {
  readonly chainId: number
  readonly account: Hex
}

/** Undefined if it is no account on a chain of this kind. */
export function readSource(source: unknown): Source | undefined {
  const [, chain, account] = (typeof source === 'string' && SOURCE.exec(source)) || []
  if (account === undefined) return undefined
  return { chainId: Number(chain), account: lower(account as Hex) }
}

/** What of a proof the payload says: all but who pays. */
export type Unowned = Omit<Proof, 'from'>

/** Reads the payload, or says in a sentence what is wrong with it. */
export function readPayload(said: unknown): Unowned | string {
  const read = v.safeParse(PayloadSchema, said, { abortEarly: true })
  if (!read.success) return sentence(read.issues[0])
  const { permit, transferDetails, witness, signature } = read.output
  const nonce = BigInt(permit.nonce)
  const deadline = BigInt(permit.deadline)
  const permitted = permit.permitted.map(({ token, amount }) => ({
    token: lower(token as Hex),
    amount: BigInt(amount),
  }))
  const transfers = transferDetails.map(({ to, requestedAmount }) => ({
    to: lower(to as Hex),
    amount: BigInt(requestedAmount),
  }))
  const numbers = [nonce, deadline, ...[...permitted, ...transfers].map(({ amount }) => amount)]
  if (numbers.some((one) => one > UINT256_MAX)) return 'A number is larger than a uint256.'
  const { externalId } = witness
  return {
    ...{ permitted, transfers, deadline, nonce: `0x${word(nonce)}` },
    witness: {
      challengeHash: lower(witness.challengeHash as Hex),
      ...(externalId !== undefined && { externalId }),
    },
    signature: counted(lower(signature as Hex)),
  }
}

/** Some devices count from 0 what Permit2 wants counted from 27. */
function counted(signature: Hex): Hex {
  if (signature.length !== 132 || !/0[01]$/.test(signature)) return signature
  return `${signature.slice(0, -2) as Hex}${signature.endsWith('0') ? '1b' : '1c'}`
}

/** The payload as it goes over the wire. */
export function writePayload(proof: Proof): JsonObject {
  const { nonce, deadline, permitted, transfers, witness, signature } = proof
  return {
    type: PERMIT,
    permit: {
      permitted: permitted.map(({ token, amount }) => ({ token, amount: `${amount}` })),
      nonce: `${BigInt(nonce)}`,
      deadline: `${deadline}`,
    },
    transferDetails: transfers.map(({ to, amount }) => ({ to, requestedAmount: `${amount}` })),
    witness: { ...witness },
    signature,
  }
}

function sentence(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue)
  if (path === 'type') return 'Only permits of Permit2 are taken here. Send the type "permit2".'
  return path === null
    ? 'The payload is no permit of Permit2 with its signature.'
    : `"${path}" of the payload is missing or not of its form.`
}
