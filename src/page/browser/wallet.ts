import type { Words } from '../words.ts'
import { fill } from '../words.ts'
import type { Payment } from './pay.ts'
import type { Offer, Said } from './said.ts'
import { valuesOf } from './said.ts'
import { networkName } from './text.ts'

/** A wallet in the browser (EIP-1193). */
export interface Provider {
  request(call: { readonly method: string; readonly params?: readonly unknown[] }): Promise<unknown>
}

/** A wallet with its name (EIP-6963). */
export interface Wallet {
  readonly name: string
  readonly provider: Provider
}

/** What is to be paid on a chain, as the challenge says it. */
export interface Entry {
  readonly accepted: Accepted
  readonly resource: unknown
  readonly extensions: unknown
  readonly offer: Offer
}

interface Accepted {
  readonly scheme: string
  readonly network: string
  readonly amount: string
  readonly asset: string
  readonly payTo: string
  readonly maxTimeoutSeconds: number
  readonly extra: {
    readonly name?: string
    readonly version?: string
    readonly assetTransferMethod?: string
    readonly offerId?: string
  }
}

/** How long wallets have to announce themselves. */
const ANNOUNCE_MS = 60
/** How far before now an authorization begins: blocks are behind clocks. */
const EARLY_S = 600

/** Why a wallet did not pay, as a sentence for people. */
export class Unpaid extends Error {}

/** All wallets of this browser: those that announce themselves, or else the one that stands in the window. */
export function findWallets(): Promise<readonly Wallet[]> {
  const found = new Map<string, Wallet>()
  const hear = (event: Event): void => {
    const { info, provider } = (
      event as CustomEvent<{
        readonly info: { readonly uuid: string; readonly name: string }
        readonly provider: Provider
      }>
    ).detail
    found.set(info.uuid, { name: info.name.slice(0, 40), provider })
  }
  addEventListener('eip6963:announceProvider', hear)
  dispatchEvent(new Event('eip6963:requestProvider'))
  return new Promise((done) =>
    setTimeout(() => {
      const { ethereum } = globalThis as { readonly ethereum?: Provider }
      const list = [...found.values()]
      done(list.length > 0 || !ethereum ? list : [{ name: '', provider: ethereum }])
    }, ANNOUNCE_MS),
  )
}

/** What a wallet can sign for: exact amounts by EIP-3009, on chains. */
export function entriesOf(said: Said): readonly Entry[] {
  const [field] = valuesOf(said, 'PAYMENT-REQUIRED')
  if (field === undefined) return []
  const { accepts, resource, extensions } = JSON.parse(fromBase64(field)) as {
    readonly accepts: readonly Accepted[]
    readonly resource: unknown
    readonly extensions: unknown
  }
  return accepts.flatMap((accepted) => {
    const { scheme, network, extra } = accepted
    const offer = said.offers?.find(({ id }) => id === extra.offerId)
    const method = extra.assetTransferMethod ?? 'eip3009'
    const fits = scheme === 'exact' && network.startsWith('eip155:') && method === 'eip3009'
    const named = extra.name !== undefined && extra.version !== undefined
    return fits && named && offer ? [{ accepted, resource, extensions, offer }] : []
  })
}

/** Has the wallet sign, once. The payment moves nothing until the seller sends it. */
export async function sign(
  { provider }: Wallet,
  entry: Entry,
  say: Words,
  tell: (sentence: string) => void,
): Promise<Payment> {
  const { accepted } = entry
  tell(say.connect)
  const accounts = (await ask(provider, say, 'eth_requestAccounts')) as readonly string[]
  const [from] = accounts
  if (from === undefined) throw new Unpaid(say.walletNone)
  const chainId = Number(accepted.network.slice('eip155:'.length))
  await moveTo(provider, chainId, accepted, say, tell)
  await checkFunds(provider, from, entry, say)
  const now = Math.floor(Date.now() / 1000)
  const authorization = {
    from,
    to: accepted.payTo,
    value: accepted.amount,
    validAfter: String(now - EARLY_S),
    validBefore: String(now + accepted.maxTimeoutSeconds),
    nonce: toHex(crypto.getRandomValues(new Uint8Array(32))),
  }
  tell(say.sign)
  const data = JSON.stringify(typedData(accepted, chainId, authorization))
  const signature = await ask(provider, say, 'eth_signTypedData_v4', [from, data])
  const payload = {
    x402Version: 2,
    ...(entry.resource !== undefined && { resource: entry.resource }),
    accepted,
    payload: { signature, authorization },
    ...(entry.extensions !== undefined && { extensions: entry.extensions }),
  }
  return { name: 'PAYMENT-SIGNATURE', value: toBase64(JSON.stringify(payload)) }
}

async function moveTo(
  provider: Provider,
  chainId: number,
  { network }: Accepted,
  say: Words,
  tell: (sentence: string) => void,
): Promise<void> {
  const current = Number(await ask(provider, say, 'eth_chainId'))
  if (current === chainId) return
  tell(say.change)
  const wanted = { chainId: `0x${chainId.toString(16)}` }
  try {
    await provider.request({ method: 'wallet_switchEthereumChain', params: [wanted] })
  } catch (error) {
    if (codeOf(error) === DECLINED) throw new Unpaid(say.walletRefused)
    throw new Unpaid(fill(say.walletNetwork, networkName(network)))
  }
}

/** Better told before than after; a wallet that will not look is not asked twice. */
async function checkFunds(
  provider: Provider,
  from: string,
  { accepted, offer }: Entry,
  say: Words,
): Promise<void> {
  const data = `0x70a08231${from.slice(2).toLowerCase().padStart(64, '0')}`
  const call = { method: 'eth_call', params: [{ to: accepted.asset, data }, 'latest'] }
  const said = await provider.request(call).catch(() => undefined)
  if (typeof said !== 'string' || !/^0x[0-9a-f]{64}$/i.test(said)) return
  const has = BigInt(said)
  if (has >= BigInt(accepted.amount)) return
  const [price = '', code = ''] = offer.amount.split(' ')
  const places = scaleOf(price, accepted.amount)
  throw new Unpaid(fill(say.walletFunds, `${decimal(has, places)} ${code}`, offer.amount))
}

/** How many digits stand behind the point of the smallest unit, found from one amount said twice. */
function scaleOf(price: string, units: string): number {
  const [whole = '', part = ''] = price.split('.')
  const digits = BigInt(whole + part)
  let scale = part.length
  for (let value = digits; value > 0n && value < BigInt(units); value *= 10n) scale++
  return scale
}

function decimal(value: bigint, scale: number): string {
  const digits = value.toString().padStart(scale + 1, '0')
  const part = scale === 0 ? '' : digits.slice(-scale).replace(/0+$/, '')
  return digits.slice(0, digits.length - scale) + (part === '' ? '' : `.${part}`)
}

async function ask(
  provider: Provider,
  say: Words,
  method: string,
  params: readonly unknown[] = [],
): Promise<unknown> {
  try {
    return await provider.request({ method, params })
  } catch (error) {
    if (codeOf(error) === DECLINED) throw new Unpaid(say.walletRefused)
    const { message = '' } = error as { readonly message?: string }
    throw new Unpaid(fill(say.walletFailed, message.slice(0, 200)))
  }
}

/** The person said no (EIP-1193). */
const DECLINED = 4001

function codeOf(error: unknown): unknown {
  return (error as { readonly code?: unknown } | null)?.code
}

function typedData(accepted: Accepted, chainId: number, message: object): object {
  const { asset, extra } = accepted
  const uint = ['value', 'validAfter', 'validBefore'].map((name) => ({ name, type: 'uint256' }))
  return {
    domain: { name: extra.name, version: extra.version, chainId, verifyingContract: asset },
    types: {
      EIP712Domain: [
        { name: 'name', type: 'string' },
        { name: 'version', type: 'string' },
        { name: 'chainId', type: 'uint256' },
        { name: 'verifyingContract', type: 'address' },
      ],
      TransferWithAuthorization: [
        { name: 'from', type: 'address' },
        { name: 'to', type: 'address' },
        ...uint,
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'TransferWithAuthorization',
    message,
  }
}

function toHex(bytes: Uint8Array): string {
  return `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

function toBase64(text: string): string {
  return btoa(String.fromCodePoint(...new TextEncoder().encode(text)))
}

function fromBase64(text: string): string {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.codePointAt(0) ?? 0)
  return new TextDecoder().decode(bytes)
}
