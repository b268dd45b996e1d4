import { Buffer } from 'node:buffer'
import { createKeccak } from 'hash-wasm'
import type { IHasher } from 'hash-wasm'
import type { Hex } from './hex.ts'

let hasher: IHasher | undefined
let loading: Promise<void> | undefined

/**
 * Loads what {@link nonceOf} needs: a few milliseconds, once. It never rejects: a machine that refuses WebAssembly takes and makes
 * no payments of MPP on EVM chains.
 */
export async function loadNonces(): Promise<void> {
  loading ??= createKeccak(256).then(
    (made) => {
      hasher = made
    },
    () => undefined,
  )
  await loading
}

/**
 * The nonce of an authorization that answers a challenge: Keccak-256 of its id and its realm (draft-evm-charge-00). Undefined until
 * {@link loadNonces} is done.
 */
export function nonceOf(challenge: string): Hex | undefined {
  const digest = hasher?.init().update(Buffer.from(challenge)).digest('hex')
  return digest === undefined ? undefined : `0x${digest}`
}
