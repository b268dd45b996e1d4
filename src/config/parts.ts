import { systemChance } from '../core/chance.ts'
import type { Asset } from '../core/money.ts'
import type { Chance, Ledger, Protocol, Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { l402 } from '../protocols/l402/http.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { x402 } from '../protocols/x402/http.ts'
import { createForms } from '../rails/evm/forms.ts'
import { createForm as createPermitForm } from '../rails/evm/permit/forms.ts'
import type { Hex } from '../rails/evm/hex.ts'
import { isAddress } from '../rails/evm/hex.ts'
import { assetOf as assetOn, networks, resolveNetwork } from '../rails/evm/networks.ts'
import type { Signer } from '../rails/evm/signer.ts'
import { createForms as createLightningForms } from '../rails/lightning/forms.ts'
import { chains, resolveChain } from '../rails/lightning/networks.ts'
import type { LightningNode } from '../rails/lightning/node.ts'
import { hashIn } from '../tokens/macaroon/mint.ts'
import { Secret } from './secret.ts'
import { SettingError } from './load.ts'
import type { Settings } from './load.ts'

/** Who can sign. The address is known before the key is: a keystore asks for its password only when it has to sign. */
export interface Key {
  readonly address: string
  /** Gives the private key, in hex. */
  reveal(): Promise<string>
}

/** The name of a network for people, `Base Sepolia`; undefined for one that is not known. */
export function networkName(id: string): string | undefined {
  return bitcoins[id] ?? chainName(id)
}

/** Names of the networks of Lightning. */
const LIGHTNING: Readonly<Record<string, true>> = {
  bitcoin: true,
  testnet: true,
  signet: true,
  regtest: true,
}

/** The networks of Lightning for people. */
const bitcoins: Readonly<Record<string, string>> = {
  [chains['bc'] ?? '']: 'Bitcoin',
  [chains['tb'] ?? '']: 'Bitcoin Testnet',
  [chains['tbs'] ?? '']: 'Bitcoin Signet',
  [chains['bcrt'] ?? '']: 'Bitcoin Regtest',
}

function chainName(id: string): string | undefined {
  const name = networks.find((network) => network.id === id)?.legacyName
  return name?.replaceAll(/(?:^|-)([a-z])/g, (part, first: string) =>
    part.replace(first, first.toUpperCase()).replace('-', ' '),
  )
}

/**
 * The CAIP-2 id of a network that is named in a setting.
 * @throws {SettingError} when it is not known.
 */
export function networkId(name: string): string {
  try {
    return name in LIGHTNING || name.startsWith('bip122:')
      ? resolveChain(name)
      : resolveNetwork({ network: name }).id
  } catch {
    const known = [
      ...networks.flatMap(({ id, legacyName }) => [legacyName ?? id, id]),
      ...Object.keys(LIGHTNING),
    ]
    throw new SettingError(`The network "${name}" is not known. Known are ${known.join(', ')}.`)
  }
}

/** A known asset by its CAIP-19 id. */
export function assetOf(id: string): Asset | undefined {
  const known = networks.flatMap((network) =>
    network.tokens.map((token) => assetOn(network, token)),
  )
  return known.find((asset) => asset.id.toLowerCase() === id.toLowerCase())
}

/** Every protocol that a payer reads, without a wallet. */
export function payingProtocols(): readonly Protocol[] {
  const [evm, lightning] = [{ forms: createForms({ networks }) }, { forms: createLightningForms() }]
  const permits = { forms: { mpp: createPermitForm({ networks }) } }
  const parts = [evm, permits, lightning]
  return [x402([evm]), l402({ parts: [lightning], hashIn }), mpp({ parts })]
}

/** The endpoints of each known network, by its id. Names and ids in the settings may be mixed. */
export function endpointsOf(settings: Settings): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>()
  for (const [name, urls] of Object.entries(settings.rpc)) {
    const id = networkId(name)
    found.set(id, [...(found.get(id) ?? []), ...urls])
  }
  return found
}

/** Whether books are named that lie in a database, and not in a file. */
export function isShared(books: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(books)
}

/**
 * Books in a file, or in a PostgreSQL database, there in that schema.
 * @throws {PaymentError} when they cannot be opened.
 */
export async function openBooks(books: string, schema?: string): Promise<Ledger> {
  if (!isShared(books)) return await sqlite({ file: books })
  // On demand: it needs a library that not everybody has.
  const { postgres } = await import('../ledger/postgres.ts')
  return await postgres({ url: books, ...(schema !== undefined && { schema }) })
}

/** A private key by chance. Of 2^255 draws none is outside secp256k1's order, as the top bit is cleared. */
export function newKey(chance: Chance = systemChance): Secret {
  const bytes = Buffer.from(chance(32))
  bytes[0] = (bytes[0] ?? 0) & 0x7f
  return new Secret(`0x${bytes.toString('hex')}`)
}

/** The address of a private key. @throws {RangeError} when it is not one. */
export async function addressOf(key: Secret): Promise<string> {
  const { fromPrivateKey } = await signing()
  return fromPrivateKey(hexOf(key)).address
}

/** A private key as it is written: with or without `0x`, and with what an editor leaves at the end of a file. */
export function hexOf(key: Secret): string {
  const text = key.reveal().trim()
  return /^[0-9a-fA-F]{64}$/.test(text) ? `0x${text}` : text
}

/** A V3 keystore of the key. */
export async function writeKeystore(key: Secret, password: Secret): Promise<string> {
  const { toKeystore } = await import('../rails/evm/keystore.ts')
  return toKeystore(hexOf(key) as Hex, password.reveal())
}

/** The private key in a V3 keystore. @throws {RangeError} when the file or the password is wrong. */
export async function readKeystoreKey(json: string, password: Secret): Promise<string> {
  const { readKeystore } = await import('../rails/evm/keystore.ts')
  return readKeystore(json, password.reveal())
}

/** One wallet for each rail. `rpc` lets it look whether a payment was made. */
export async function openWallets(
  key: Key,
  rpc: ReadonlyMap<string, readonly string[]>,
): Promise<readonly Wallet[]> {
  const { wallet } = await signing(() => import('../rails/evm/wallet.ts'))
  const { permitWallet } = await signing(() => import('../rails/evm/permit/wallet.ts'))
  const { fromPrivateKey } = await signing()
  const address = key.address
  if (!isAddress(address)) throw new RangeError(`"${address}" is not an address.`)
  let signer: Promise<Signer> | undefined
  const lazy: Signer = {
    address,
    local: true,
    async signTypedData(data) {
      signer ??= key.reveal().then((hex) => fromPrivateKey(hex))
      return (await signer).signTypedData(data)
    },
  }
  const looks = rpc.size > 0 && { rpc: Object.fromEntries(rpc) }
  // Behind the other: where a seller takes both, that one needs no approval.
  return [wallet({ signer: lazy, ...looks }), permitWallet({ signer: lazy, ...looks })]
}

/** How a Lightning wallet is reached: as LND over REST, or by Nostr Wallet Connect. */
export type LightningAccess =
  | {
      readonly url: string
      /** In hex. */
      readonly macaroon: Secret
      /** The certificate that the node signed itself, in PEM. */
      readonly ca?: string
    }
  | { readonly nwc: Secret }

/** A wallet, and the end of its connections. */
export interface OpenWallet {
  readonly wallet: Wallet
  close(): Promise<void>
}

/** A wallet that pays from that node. @throws {RangeError} when address or macaroon cannot be used. */
export async function openLightning(access: LightningAccess): Promise<OpenWallet> {
  const { lightningWallet } = await import('../rails/lightning/wallet.ts')
  const node = await nodeOf(access)
  return { wallet: lightningWallet({ node }), close: () => node.close() }
}

async function nodeOf(access: LightningAccess): Promise<LightningNode> {
  if ('nwc' in access) {
    const { createNwc } = await import('../rails/lightning/adapters/nwc.ts')
    return createNwc({ uri: access.nwc.reveal() })
  }
  const { createLnd } = await import('../rails/lightning/adapters/lnd.ts')
  return createLnd({ ...access, macaroon: access.macaroon.reveal() })
}

type Signing = typeof import('../rails/evm/signer.ts')

/** Signing needs a library that not everybody who installs the package wants. */
async function signing(): Promise<Signing>
async function signing<T>(load: () => Promise<T>): Promise<T>
async function signing(load: () => Promise<unknown> = () => import('../rails/evm/signer.ts')) {
  try {
    return await load()
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ERR_MODULE_NOT_FOUND'))
      throw cause
    throw new PaymentError(
      'misconfigured',
      'Paying on EVM chains needs the library viem. Install it beside Tolsey: npm install viem.',
      { cause },
    )
  }
}
