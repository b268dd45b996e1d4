import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Offer } from '../../core/offer.ts'
import type { Chance, Clock, Wallet } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Details } from './forms.ts'
import { CHARGE, RAIL, createForms } from './forms.ts'
import type { Hex } from './hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress, lower } from './hex.ts'
import { loadNonces, nonceOf } from './mpp-nonce.ts'
import type { Network } from './networks.ts'
import { networks as known, tokenAt } from './networks.ts'
import type { Proof } from './proof.ts'
import { SIGNATURE_BYTES_MAX } from './proof.ts'
import type { RpcSettings } from './rpc.ts'
import { createRpc } from './rpc.ts'
import type { Signer } from './signer.ts'
import type { Reader } from './token.ts'
import { createReader } from './token.ts'
import { typedData } from './typed-data.ts'

/** Longest that an authorization lives, whatever is asked: a seller must not hold one for years. */
export const VALID_MS_MAX = 3_600_000

/** How far the chain's clock must be past the end of an authorization before it is called dead. */
const DEAD_AFTER_S = 30n

/** What a wallet is made of. */
export interface WalletSettings {
  readonly signer: Signer
  /** The chains and tokens that it pays with; those of the table if absent. */
  readonly networks?: readonly Network[]
  /** JSON-RPC addresses by network, to look what became of a payment. */
  readonly rpc?: Readonly<Record<string, string | readonly string[]>>
  readonly clock?: Clock
  readonly chance?: Chance
  readonly fetch?: typeof globalThis.fetch
}

/** Pays by signing EIP-3009 authorizations. It needs no connection, and no gas. */
export function wallet(settings: WalletSettings): Wallet<Details, Proof> {
  const { signer, networks = known, clock = systemClock, chance = systemChance } = settings
  const reader = createReaders(settings)
  const outcome = async (offer: Offer<Details>, proof: Proof): Promise<'paid' | 'dead' | 'open'> =>
    look(await reader(offer), offer, proof)
  return {
    rail: RAIL,
    ...(signer.local && { local: true }),
    forms: createForms({ networks }),
    refuses: (offer) => refuses(offer, networks, signer),
    async pay(offer, validForMs, signal) {
      const sentence = refuses(offer, networks, signer)
      if (sentence !== undefined) throw new PaymentError('offers-unacceptable', sentence)
      signal?.throwIfAborted()
      const bounded = Math.min(validForMs, VALID_MS_MAX)
      return sign(offer, networks, signer, {
        validBefore: BigInt(Math.floor((clock.now() + bounded) / 1000)),
        nonce: (await named(offer)) ?? `0x${Buffer.from(chance(32)).toString('hex')}`,
      })
    },
    expiresAt: ({ validBefore }) =>
      Number(
        validBefore < BigInt(Number.MAX_SAFE_INTEGER) / 1000n
          ? validBefore * 1000n
          : Number.MAX_SAFE_INTEGER,
      ),
    payer: ({ from }) => from,
    ...(settings.rpc && { outcome }),
  }
}

/** The nonce of a payment that is named after its challenge. */
async function named({ details: { challenge } }: Offer<Details>): Promise<Hex | undefined> {
  if (challenge === undefined) return undefined
  await loadNonces()
  const nonce = nonceOf(challenge)
  if (nonce === undefined)
    throw new PaymentError('offers-unacceptable', 'This machine cannot make the nonces of MPP.')
  return nonce
}

function refuses(
  offer: Offer<Details>,
  networks: readonly Network[],
  signer: Signer,
): string | undefined {
  const { details, payee, amount } = offer
  if (offer.rail !== RAIL) return `This wallet pays on the rail "${RAIL}" only.`
  if (offer.intent !== CHARGE) return `The intent "${offer.intent}" is not known.`
  const network = networks.find(({ id }) => id === offer.network)
  if (!network) return `The network ${offer.network} is not known.`
  const token = tokenAt(network, details.asset)
  if (!token) return `The token ${details.asset} on ${network.id} is not known.`
  if (
    amount.asset.id !== `${network.id}/erc20:${token.address}` ||
    amount.asset.scale !== token.scale
  )
    return 'The amount is counted in another asset than the token.'
  if (details.name !== token.name || details.version !== token.version)
    return `The signing domain is not that of ${token.code} on ${network.id}.`
  if (!isAddress(payee) || lower(payee) === ZERO_ADDRESS) return 'The payee is nobody.'
  if (lower(payee) === lower(signer.address)) return 'The payee is this wallet itself.'
  if (lower(payee) === lower(token.address)) return 'The payee is the token itself.'
  if (amount.amount <= 0n || amount.amount > UINT256_MAX) return 'There is nothing to pay.'
  return undefined
}

async function sign(
  offer: Offer<Details>,
  networks: readonly Network[],
  signer: Signer,
  fresh: { readonly validBefore: bigint; readonly nonce: Hex },
): Promise<Proof> {
  const network = networks.find(({ id }) => id === offer.network)
  const token = network && tokenAt(network, offer.details.asset)
  if (!network || !token) throw new PaymentError('offers-unacceptable', 'The token is not known.')
  const authorization = {
    from: lower(signer.address),
    to: lower(offer.payee as Hex),
    value: offer.amount.amount,
    // From the beginning: the chain's clock may be behind ours.
    validAfter: 0n,
    ...fresh,
  }
  const said = await signer.signTypedData(typedData(token, network.chainId, authorization))
  if (said.length > 2 + 2 * SIGNATURE_BYTES_MAX)
    throw new PaymentError('declined', 'The signature is longer than sellers take.')
  return { signature: lower(said), ...authorization }
}

/** One reader for each network that has an address. */
function createReaders({ rpc = {}, networks = known, clock, fetch }: WalletSettings) {
  const readers = new Map<string, Promise<Reader>>()
  const make = async (offer: Offer<Details>): Promise<Reader> => {
    const chainId = networks.find(({ id }) => id === offer.network)?.chainId
    const urls = rpc[offer.network]
    if (chainId === undefined || urls === undefined)
      throw new PaymentError('rail-unavailable', `There is no RPC address for ${offer.network}.`)
    const parts: RpcSettings = {
      urls: typeof urls === 'string' ? [urls] : urls,
      chainId,
      ...(clock && { clock }),
      ...(fetch && { fetch }),
    }
    const reader = createReader(createRpc(parts))
    await reader.open()
    return reader
  }
  return (offer: Offer<Details>): Promise<Reader> => {
    const found = readers.get(offer.network) ?? make(offer)
    readers.set(offer.network, found)
    found.catch(() => readers.delete(offer.network))
    return found
  }
}

async function look(
  reader: Reader,
  offer: Offer<Details>,
  proof: Proof,
): Promise<'paid' | 'dead' | 'open'> {
  const { from, nonce } = proof
  const payee = lower(offer.payee as Hex)
  const spend = { token: lower(offer.details.asset), from, nonce, payee, amount: proof.value }
  const { used, time } = await reader.state(spend)
  if (!used) return time >= proof.validBefore + DEAD_AFTER_S ? 'dead' : 'open'
  const { kind } = await reader.trace(spend)
  if (kind === 'unseen') return 'open'
  return kind === 'paid' ? 'paid' : 'dead'
}
