import type { Call } from './abi.ts'
import { decodeBytes, uint } from './abi.ts'
import type { Hex } from './hex.ts'

/** What a signature of a wallet that does not exist yet carries: how to make the wallet, and the signature itself. */
export interface Wrapped {
  readonly factory: Hex
  readonly data: Hex
  readonly signature: Hex
}

/** The last 32 bytes of a wrapped signature (ERC-6492). */
const MAGIC = '6492'.repeat(16)

/** Undefined for a signature that is not wrapped; `garbled` for one that claims to be and is not. */
export function unwrap(said: Hex): Wrapped | 'garbled' | undefined {
  if (!said.endsWith(MAGIC)) return undefined
  const body: Hex = `0x${said.slice(2, -MAGIC.length)}`
  const factory = uint(body)
  const data = decodeBytes(body, 0, 32)
  const signature = decodeBytes(body, 0, 64)
  if (factory === undefined || factory >= 2n ** 160n || !data || !signature) return 'garbled'
  return { factory: `0x${factory.toString(16).padStart(40, '0')}`, data, signature }
}

/** The call that makes the wallet. It fails where somebody has made it already, and that is well. */
export function factoryCall({ factory, data }: Wrapped): Call {
  return { target: factory, data, allowFailure: true }
}
