import type { LocalAccount } from 'viem'
import { keyAccount } from './account.ts'
import type { Hex } from './hex.ts'
import { isAddress } from './hex.ts'
import { readKeystore } from './keystore.ts'
import type { TypedData } from './typed-data.ts'
import { DOMAIN_FIELDS } from './typed-data.ts'

/** Who can sign a payment: a key, a wallet, a device. */
export interface Signer {
  readonly address: Hex
  /** The key is in this process: nobody else learns of a signature before it is returned. */
  readonly local?: true
  /** The signature over EIP-712 typed data. Rejects when the owner does not want to. */
  signTypedData(typedData: TypedData): Promise<Hex>
}

/** A wallet that speaks EIP-1193. */
export interface Provider {
  request(request: {
    readonly method: string
    readonly params: readonly unknown[]
  }): Promise<unknown>
}

/** The account of a private key, for payers and for the seller's sending key alike. */
export function accountOf(signer: string | LocalAccount): LocalAccount {
  if (typeof signer !== 'string') return signer
  // The text must not stand in the error: it may be a key with a slip of the pen in it.
  if (!/^0x[0-9a-fA-F]{64}$/.test(signer))
    throw new RangeError('The private key is not 32 bytes in hex with 0x in front.')
  return keyAccount(signer as Hex)
}

/** Signs with a private key, `0x` and 64 digits. @throws {RangeError} if it is not one. */
export function fromPrivateKey(privateKey: string): Signer {
  return { ...fromAccount(accountOf(privateKey)), local: true }
}

/**
 * Signs with the key in a V3 keystore file.
 * @throws {RangeError} when the file is not one, asks for too much work, or the password is wrong.
 */
export async function fromKeystore(json: string, password: string): Promise<Signer> {
  return fromPrivateKey(await readKeystore(json, password))
}

/** Signs with an account of viem, smart accounts among them. */
export function fromAccount(account: Pick<LocalAccount, 'address' | 'signTypedData'>): Signer {
  return {
    address: account.address,
    signTypedData: ({ domain, types, primaryType, message }) =>
      account.signTypedData({ domain, types, primaryType, message }),
  }
}

/** Signs with a browser's wallet, WalletConnect, or a remote signer (EIP-1193, `eth_signTypedData_v4`). */
export function fromProvider(provider: Provider, address: string): Signer {
  if (!isAddress(address)) throw new RangeError(`"${address}" is not an address.`)
  return {
    address,
    async signTypedData(typedData) {
      const domain = DOMAIN_FIELDS.filter(({ name }) => name in typedData.domain)
      const types = { EIP712Domain: domain, ...typedData.types }
      const text = JSON.stringify({ ...typedData, types }, (_key, value: unknown) =>
        typeof value === 'bigint' ? value.toString() : value,
      )
      const params = [address, text]
      const signature = await provider.request({ method: 'eth_signTypedData_v4', params })
      if (typeof signature !== 'string' || !/^0x(?:[0-9a-fA-F]{2})+$/.test(signature))
        throw new TypeError('The wallet answered something that is not a signature.')
      return signature as Hex
    },
  }
}
