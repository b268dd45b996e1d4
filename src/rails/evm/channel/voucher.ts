import { createKeccak } from 'hash-wasm'
import type { Voucher } from '../../../core/voucher.ts'
import { assert } from '../../../core/assert.ts'
import { padded, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import type { Engine } from '../secp256k1.ts'
import { loadCurve } from '../secp256k1.ts'
import type { Keccak, TypedData, TypedField } from '../typed-data.ts'

/** Largest sum that a channel can hold. */
export const UINT128_MAX: bigint = 2n ** 128n - 1n

/** Half the order of secp256k1. A larger `s` is the twin of another signature (EIP-2). */
const S_MAX = '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'

/** How vouchers of one kind of channel are signed (EIP-712). */
export interface Scheme {
  readonly name: string
  readonly version: string
  /** The type of the sum. */
  readonly sum: 'uint128' | 'uint96'
}

/** Vouchers of draft-evm-session-00. */
export const EVM_SCHEME: Scheme = { name: 'EVM Payment Channel', version: '1', sum: 'uint128' }

/** Vouchers of the reserve that Tempo has built in (TIP-1034). */
export const TEMPO_SCHEME: Scheme = { name: 'TIP20 Channel Reserve', version: '1', sum: 'uint96' }

/** Which contract on which chain keeps the channels. */
export interface Place {
  readonly chainId: number
  readonly escrow: Hex
}

/** What the id of a channel is made of. Hex in lower case. */
export interface Descriptor {
  readonly payer: Hex
  readonly payee: Hex
  readonly token: Hex
  readonly salt: Hex
  /** Who signs vouchers; the zero address for the payer himself. */
  readonly authorizedSigner: Hex
}

/** What it is made of on Tempo. */
export interface TempoDescriptor extends Descriptor {
  readonly operator: Hex
  readonly expiringNonceHash: Hex
}

/** What is signed, as a wallet takes it. `channel` is 32 bytes. */
export function voucherData(
  scheme: Scheme,
  { chainId, escrow }: Place,
  channel: Hex,
  cumulative: bigint,
): TypedData {
  const { name, version } = scheme
  return {
    domain: { name, version, chainId, verifyingContract: escrow },
    types: { Voucher: fieldsOf(scheme) },
    primaryType: 'Voucher',
    message: { channelId: channel, cumulativeAmount: cumulative },
  }
}

function fieldsOf({ sum }: Scheme): readonly TypedField[] {
  return [
    { name: 'channelId', type: 'bytes32' },
    { name: 'cumulativeAmount', type: sum },
  ]
}

/** Ids, nonces and signatures of channels, without asking a chain. */
export interface Channels {
  readonly keccak: Keccak
  /** The id of a channel (draft-evm-session-00). */
  idOf(descriptor: Descriptor, place: Place): Hex
  /** The id of a channel on Tempo (draft-tempo-session-00). */
  tempoIdOf(descriptor: TempoDescriptor, place: Place): Hex
  /** The nonce by which a deposit is authorized in `TolseyChannel`: of the channel, and what was deposited before. */
  nonceOf(channel: Hex, before: bigint): Hex
  /** The account whose key has signed a voucher; undefined if it is no signature of 65 bytes with `s` in the lower half. */
  signerOf(scheme: Scheme, place: Place, channel: Hex, voucher: Voucher): Hex | undefined
}

/**
 * Loads what that needs, of the fastest engine that is there or of the one that is asked for.
 * @throws {Error} with what to do, when none can be loaded.
 */
export async function createChannels(engine?: Engine): Promise<Channels> {
  const [curve, hasher] = await Promise.all([loadCurve(engine), createKeccak(256)])
  const keccak: Keccak = (bytes) => hasher.init().update(bytes).digest('binary')
  const hashOf = (...words: readonly string[]): string => hex(keccak(bytesOf(words.join(''))))
  const hashOfText = (text: string): string => hex(keccak(Buffer.from(text)))
  const domain = hashOfText(
    'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)',
  )
  const end = ({ escrow, chainId }: Place): readonly string[] => [padded(escrow), word(chainId)]

  function digestOf(scheme: Scheme, place: Place, channel: Hex, cumulative: bigint): Uint8Array {
    const { name, version, sum } = scheme
    const type = hashOfText(`Voucher(bytes32 channelId,${sum} cumulativeAmount)`)
    const chain = [word(place.chainId), padded(place.escrow)]
    const separator = hashOf(domain, hashOfText(name), hashOfText(version), ...chain)
    return keccak(bytesOf(`1901${separator}${hashOf(type, channel.slice(2), word(cumulative))}`))
  }

  return {
    keccak,
    idOf({ payer, payee, token, salt, authorizedSigner }, place) {
      const words = [padded(payer), padded(payee), padded(token), salt.slice(2)]
      return `0x${hashOf(...words, padded(authorizedSigner), ...end(place))}`
    },
    tempoIdOf({ payer, payee, operator, token, salt, ...rest }, place) {
      const words = [padded(payer), padded(payee), padded(operator), padded(token), salt.slice(2)]
      const last = [padded(rest.authorizedSigner), rest.expiringNonceHash.slice(2)]
      return `0x${hashOf(...words, ...last, ...end(place))}`
    },
    nonceOf: (channel, before) => `0x${hashOf(channel.slice(2), word(before))}`,
    signerOf(scheme, place, channel, { cumulative, signature }) {
      const recovery = recoveryOf(signature)
      if (recovery === undefined || cumulative < 0n || cumulative > UINT128_MAX) return undefined
      const compact = bytesOf(signature.slice(2, 130))
      const digest = digestOf(scheme, place, channel, cumulative)
      const key = curve.recover(compact, recovery, digest)
      if (!key) return undefined
      assert(key.length === 65, 'a key is a point')
      return `0x${hex(keccak(key.subarray(1))).slice(24)}`
    },
  }
}

/** The recovery id of a signature in the only form that the contracts take. */
function recoveryOf(signature: string): 0 | 1 | undefined {
  if (!/^0x[0-9a-f]{130}$/.test(signature) || signature.slice(66, 130) > S_MAX) return undefined
  if (signature.endsWith('1b')) return 0
  return signature.endsWith('1c') ? 1 : undefined
}

function bytesOf(digits: string): Uint8Array {
  return Buffer.from(digits, 'hex')
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
