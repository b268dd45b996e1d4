import { createKeccak } from 'hash-wasm'
import type { LocalAccount } from 'viem'
import { serializeTransaction } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import type { Hex } from './hex.ts'
import { loadCurve } from './secp256k1.ts'
import type { Keccak } from './typed-data.ts'
import { digestOf } from './typed-data.ts'

/** What signing needs, loaded once for all keys. */
interface Tools {
  readonly keccak: Keccak
  /** Signs a digest: r, s and v. */
  readonly sign: (digest: Uint8Array, key: Uint8Array) => Signed
}

interface Signed {
  readonly r: Hex
  readonly s: Hex
  readonly yParity: 0 | 1
}

let loading: Promise<Tools | undefined> | undefined

/**
 * The account of a private key. It signs what viem's own account signs, byte for byte, by libsecp256k1 in place of
 * JavaScript, which takes thirty times as long; where that cannot be loaded, viem's own does it.
 */
export function keyAccount(privateKey: Hex): LocalAccount {
  const slow = privateKeyToAccount(privateKey)
  const key = Buffer.from(privateKey.slice(2), 'hex')
  return {
    ...slow,
    async signTypedData(said) {
      const tools = await load()
      const digest = tools && digestOf(said, tools.keccak)
      return digest ? joined(tools.sign(digest, key)) : slow.signTypedData(said)
    },
    async signTransaction(transaction, options) {
      const tools = await load()
      const plain = transaction.type === 'eip1559' && options?.serializer === undefined
      if (!tools || !plain) return slow.signTransaction(transaction, options)
      const digest = tools.keccak(bytesOf(serializeTransaction(transaction)))
      return serializeTransaction(transaction, tools.sign(digest, key))
    },
  }
}

async function load(): Promise<Tools | undefined> {
  // A machine that cannot load it now cannot load it later.
  return await (loading ??= make().catch(() => undefined))
}

async function make(): Promise<Tools> {
  const [curve, hasher] = await Promise.all([loadCurve(), createKeccak(256)])
  return {
    keccak: (bytes) => hasher.init().update(bytes).digest('binary'),
    sign(digest, key) {
      const { signature, recid } = curve.sign(digest, key)
      const hex = Buffer.from(signature).toString('hex')
      return { r: `0x${hex.slice(0, 64)}`, s: `0x${hex.slice(64)}`, yParity: recid === 1 ? 1 : 0 }
    },
  }
}

function joined({ r, s, yParity }: Signed): Hex {
  return `${r}${s.slice(2)}${yParity === 1 ? '1c' : '1b'}`
}

function bytesOf(hex: Hex): Buffer {
  return Buffer.from(hex.slice(2), 'hex')
}
