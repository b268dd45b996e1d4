import * as v from 'valibot'
import { isObject } from '../../../core/json.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import type { Voucher } from '../../../core/voucher.ts'
import type { Hex } from '../hex.ts'
import { ZERO_ADDRESS, lower } from '../hex.ts'
import {
  AddressSchema,
  Uint256Schema,
  readProof as readAuthorization,
  writeProof,
} from '../proof.ts'
import type { Proof as Authorization } from '../proof.ts'
import { UINT128_MAX } from './voucher.ts'

/** What a new channel is made of beside the deposit, and its first voucher. */
export interface Opening {
  readonly salt: Hex
  /** The zero address for the payer himself. */
  readonly authorizedSigner: Hex
  readonly voucher: Voucher
}

/** A deposit: signed for us to submit, or made by its payer and named by its transaction. Hex in lower case. */
export type Proof = Authorized | Sent

/** A signed `ReceiveWithAuthorization` (EIP-3009) to the contract that keeps the channel. */
export interface Authorized {
  readonly channel: Hex
  /** Absent where a channel is topped up. */
  readonly opening?: Opening
  readonly authorization: Authorization
}

/** A deposit that is on the chain. */
export interface Sent {
  readonly channel: Hex
  readonly opening?: Opening
  readonly hash: Hex
  /** Who says to have paid; the chain tells whether it is so. */
  readonly payer: Hex
}

const HASH = /^0x[0-9a-fA-F]{64}$/
const SIGNATURE = /^0x[0-9a-fA-F]{130}$/
const HashSchema = v.pipe(v.string(), v.regex(HASH))
const SignatureSchema = v.pipe(v.string(), v.regex(SIGNATURE))

const OpeningSchema = v.looseObject({
  salt: HashSchema,
  cumulativeAmount: Uint256Schema,
  authorizedSigner: v.optional(AddressSchema),
})

/** A voucher as it stands on the wire, or a sentence what is wrong with it. */
export function readVoucher(sum: unknown, signature: unknown): Voucher | string {
  const cumulative = v.safeParse(Uint256Schema, sum)
  if (!cumulative.success || BigInt(cumulative.output) > UINT128_MAX)
    return '"cumulativeAmount" is no decimal text of a uint128.'
  if (!v.is(SignatureSchema, signature))
    return 'The signature of the voucher is not 65 bytes in hex with 0x in front.'
  return { cumulative: BigInt(cumulative.output), signature: lower(signature as Hex) }
}

/** The id of a channel, in lower case; undefined if it is none. */
export function readChannel(said: unknown): Hex | undefined {
  return v.is(HashSchema, said) ? lower(said as Hex) : undefined
}

/** A deposit out of the payload of `open` or `topUp`, or a sentence what is wrong with it. */
export function readDeposit(payload: JsonObject, source: unknown): Proof | string {
  const channel = readChannel(payload['channelId'])
  if (channel === undefined) return '"channelId" is not 32 bytes in hex with 0x in front.'
  const opening = payload['action'] === 'open' ? readOpening(payload) : undefined
  if (typeof opening === 'string') return opening
  const rest = { channel, ...(opening && { opening }) }
  if (payload['type'] === 'transaction') return readAuthorized(payload, rest)
  if (payload['type'] === 'hash') return readSent(payload, rest, source)
  return 'Send a payload of the type "transaction" or "hash".'
}

function readOpening(payload: JsonObject): Opening | string {
  const read = v.safeParse(OpeningSchema, payload, { abortEarly: true })
  if (!read.success) return `"${v.getDotPath(read.issues[0]) ?? 'payload'}" is missing or unusable.`
  const { salt, cumulativeAmount, authorizedSigner = ZERO_ADDRESS } = read.output
  // Beside a transaction of ours "signature" is that of the authorization.
  const name = payload['type'] === 'hash' ? 'signature' : 'voucherSignature'
  const voucher = readVoucher(cumulativeAmount, payload[name])
  if (typeof voucher === 'string') return voucher
  return {
    salt: lower(salt as Hex),
    authorizedSigner: lower(authorizedSigner as Hex),
    voucher,
  }
}

function readAuthorized(
  { authorization, signature, additionalDeposit }: JsonObject,
  rest: Pick<Proof, 'channel' | 'opening'>,
): Authorized | string {
  if (!isObject(authorization) || authorization['type'] !== 'eip-3009')
    return 'There is no authorization of the type "eip-3009".'
  if (!v.is(SignatureSchema, signature))
    return 'The signature of the authorization is not 65 bytes in hex with 0x in front.'
  const read = readAuthorization({ signature, authorization })
  if (typeof read === 'string') return read
  const isSame = rest.opening !== undefined || additionalDeposit === read.value.toString()
  return isSame
    ? { ...rest, authorization: read }
    : '"additionalDeposit" is another amount than the authorization is over.'
}

function readSent(
  { hash }: JsonObject,
  rest: Pick<Proof, 'channel' | 'opening'>,
  source: unknown,
): Sent | string {
  if (!v.is(HashSchema, hash)) return 'The hash of the transaction is not 32 bytes in hex.'
  const payer = readSource(source)
  if (payer === undefined) return '"source" names no account that has paid.'
  return { ...rest, hash: lower(hash as Hex), payer }
}

/** A DID of the method `pkh` (CAIP-10). */
function readSource(source: unknown): Hex | undefined {
  if (typeof source !== 'string') return undefined
  const [, address] = /^did:pkh:eip155:\d{1,16}:(0x[0-9a-fA-F]{40})$/.exec(source) ?? []
  return address === undefined ? undefined : lower(address as Hex)
}

/** The payload that {@link readDeposit} reads. */
export function writeDeposit(proof: Proof): JsonObject {
  const { channel, opening } = proof
  const isHash = 'hash' in proof
  return {
    action: opening ? 'open' : 'topUp',
    type: isHash ? 'hash' : 'transaction',
    channelId: channel,
    ...(opening && writeOpening(opening, isHash)),
    ...(isHash ? { hash: proof.hash } : writeAuthorized(proof)),
  }
}

function writeOpening({ salt, authorizedSigner, voucher }: Opening, isHash: boolean): JsonObject {
  return {
    salt,
    cumulativeAmount: voucher.cumulative.toString(),
    [isHash ? 'signature' : 'voucherSignature']: voucher.signature,
    ...(authorizedSigner !== ZERO_ADDRESS && { authorizedSigner }),
  }
}

function writeAuthorized({ authorization: signed, opening }: Authorized): JsonObject {
  const { signature, authorization } = writeProof(signed)
  const said: Record<string, Json> = {
    authorization: { type: 'eip-3009', ...authorization },
    signature,
  }
  return opening ? said : { ...said, additionalDeposit: signed.value.toString() }
}
