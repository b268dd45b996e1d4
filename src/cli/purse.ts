import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isSameAsset, openChain } from '../config/chain.ts'
import type { Budget, Settings } from '../config/load.ts'
import type { Key, LightningAccess } from '../config/parts.ts'
import {
  addressOf,
  endpointsOf,
  hexOf,
  networkId,
  openBooks,
  openLightning,
  openWallets,
  payingProtocols,
  readKeystoreKey,
} from '../config/parts.ts'
import { Secret } from '../config/secret.ts'
import type { Observe } from '../core/event.ts'
import { isObject, readJson } from '../core/json.ts'
import { readPrice, writePrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Payer, PayerParts, ReadToken } from '../payer/payer.ts'
import { createPayer } from '../payer/payer.ts'
import type { Policy } from '../payer/policy.ts'
import { sayMoney } from '../payer/policy.ts'
import { keepSession } from '../protocols/mpp/index.ts'
import { saidIn } from '../tokens/macaroon/said.ts'
import { Failure, misuse } from './command.ts'
import type { Purse } from './explain.ts'
import { findSandbox } from './record.ts'
import type { Terminal } from './terminal.ts'
import { isLoopback } from './request.ts'

/** Longest keystore file that is read, in characters. */
const KEYSTORE_CHARS_MAX = 16_384

/** A key with what belongs to it. */
export interface Holding {
  readonly key: Key
  /** Where it comes from, for people. */
  readonly source: string
}

/**
 * What a payment draws on: a key and a Lightning node if there are any, the books it is written into, and the chains that can be
 * looked at.
 */
interface Means {
  readonly holding: Holding | undefined
  readonly lightning?: LightningAccess
  /** Whether it is the throw-away money of a sandbox. */
  readonly isPlay: boolean
  readonly directory: string
  readonly rpc: ReadonlyMap<string, readonly string[]>
}

/** Where the keystore is, whether or not there is one. */
export function keystoreFile(settings: Settings): string {
  return settings.keystore ?? join(settings.home, 'wallet.json')
}

/** The books of a payer in a directory. */
export function booksFile(directory: string): string {
  return join(directory, 'payer.sqlite')
}

/** The key that the settings name: the environment's before the keystore. */
export async function findHolding(
  settings: Settings,
  terminal?: Terminal,
): Promise<Holding | undefined> {
  return (await fromEnvironment(settings)) ?? fromKeystore(settings, terminal)
}

async function fromEnvironment({ privateKey }: Settings): Promise<Holding | undefined> {
  if (!privateKey) return undefined
  const reveal = (): Promise<string> => Promise.resolve(hexOf(privateKey))
  const address = await addressOf(privateKey)
  return { key: { address, reveal }, source: 'TOLSEY_PRIVATE_KEY' }
}

/** A keystore tells its address to everybody and its key to whoever has the password. */
async function fromKeystore(settings: Settings, terminal?: Terminal): Promise<Holding | undefined> {
  const file = keystoreFile(settings)
  const json = await readFile(file, 'utf8').catch(() => undefined)
  if (json === undefined && settings.keystore === undefined) return undefined
  if (json === undefined) throw new Failure(`The keystore ${file} cannot be read.`)
  const said = readJson(json, KEYSTORE_CHARS_MAX)
  const text = isObject(said) && typeof said['address'] === 'string' ? said['address'] : ''
  const address = text.startsWith('0x') ? text : `0x${text}`
  if (!/^0x[0-9a-fA-F]{40}$/.test(address))
    throw new Failure(`The file ${file} is not a keystore with an address.`)
  return {
    key: { address, reveal: () => openKeystore(file, json, settings, terminal) },
    source: file,
  }
}

/** A wrong password is no signature: said so, the reservation of a purchase is given back. */
async function openKeystore(
  file: string,
  json: string,
  settings: Settings,
  terminal: Terminal | undefined,
): Promise<string> {
  const password = await readPassword(settings, terminal, `Password of ${file}:`)
  try {
    return await readKeystoreKey(json, password)
  } catch (error) {
    throw new PaymentError('declined', error instanceof Error ? error.message : '', {
      cause: error,
    })
  }
}

/** The password from the environment, a file, or the terminal. @throws {PaymentError} when there is none. */
export async function readPassword(
  settings: Settings,
  terminal: Terminal | undefined,
  question: string,
): Promise<Secret> {
  if (settings.password) return settings.password
  if (settings.passwordFile !== undefined) {
    const text = await readFile(settings.passwordFile, 'utf8').catch((cause: unknown) => {
      throw new PaymentError('declined', 'The file of TOLSEY_PASSWORD_FILE cannot be read.', {
        cause,
      })
    })
    return new Secret(text.replace(/\r?\n$/, ''))
  }
  const typed = await terminal?.secret(question)
  if (typed !== undefined) return new Secret(typed)
  throw new PaymentError(
    'declined',
    'The keystore needs its password: set TOLSEY_PASSWORD or TOLSEY_PASSWORD_FILE, or run this on a terminal.',
  )
}

async function findMeans(
  url: URL,
  settings: Settings,
  cwd: string,
  terminal?: Terminal,
): Promise<Means> {
  const sandbox = await findSandbox(url, settings, cwd)
  const own = await fromEnvironment(settings)
  // Play money has books of its own, so that it uses up no real budget, and a real key never pays out of them.
  if (!sandbox || (own && !isSame(own.key.address, sandbox.buyer.address))) {
    const holding = own ?? (await fromKeystore(settings, terminal))
    const lightning = await ownNode(settings)
    const rest = { isPlay: false, directory: settings.home, rpc: endpointsOf(settings) }
    return { holding, ...rest, ...(lightning && { lightning }) }
  }
  const { directory, buyer, lightning } = sandbox
  const reveal = (): Promise<string> => Promise.resolve(buyer.privateKey)
  const holding = { key: { address: buyer.address, reveal }, source: 'the sandbox' }
  const rpc = new Map([[networkId('base-sepolia'), [sandbox.rpc]]])
  return { holding, directory, rpc, isPlay: true, ...(lightning && { lightning }) }
}

/** One wallet for each rail that there are means for, and the end of their connections. */
async function walletsOf({
  holding,
  lightning,
  rpc,
}: Means): Promise<{ readonly wallets: readonly Wallet[]; readonly close: () => Promise<void> }> {
  const onChain = holding ? await openWallets(holding.key, rpc) : []
  const node = lightning && (await openLightning(lightning).catch(unusable))
  return {
    wallets: [...onChain, ...(node ? [node.wallet] : [])],
    close: async () => node?.close(),
  }
}

function unusable(error: unknown): never {
  if (error instanceof RangeError) throw misuse(error.message)
  throw error
}

/** The user's own node, if one is named. */
async function ownNode({ lnd, nwc }: Settings): Promise<LightningAccess | undefined> {
  if (!lnd) return nwc && { nwc }
  const macaroon = await readFile(lnd.macaroonFile).catch(() => undefined)
  const ca =
    lnd.caFile === undefined ? '' : await readFile(lnd.caFile, 'utf8').catch(() => undefined)
  if (!macaroon || ca === undefined)
    throw new Failure('The file of TOLSEY_LND_MACAROON or TOLSEY_LND_CA cannot be read.')
  const hex = new Secret(macaroon.toString('hex'))
  return { url: lnd.url, macaroon: hex, ...(ca !== '' && { ca }) }
}

/** Hex addresses are written in upper and lower case. */
function isSame(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase()
}

/** Why nothing can be paid, and what to do about it. */
function noWallet(url: URL): string {
  const here = isLoopback(url)
    ? ' For a sandbox, run this in the directory where it was started, or set TOLSEY_STATE.'
    : ''
  return `There is no wallet: make one with "tolsey wallet new", or set TOLSEY_PRIVATE_KEY.${here}`
}

/** Whoever would pay for that URL, for an explanation; nothing is signed and no password is asked for. */
export async function findPurse(url: URL, settings: Settings, cwd: string): Promise<Purse> {
  const means = await findMeans(url, settings, cwd)
  const { holding, rpc } = means
  // Nothing is connected as long as nobody pays.
  const { wallets } = await walletsOf(means)
  if (wallets.length === 0) return { refuses: () => Promise.resolve(noWallet(url)) }
  const address = holding?.key.address
  return {
    ...(address !== undefined && { address }),
    async refuses(offer, protocol) {
      const able = wallets.filter(({ rail, forms }) => rail === offer.rail && forms[protocol])
      if (able.length === 0) return `There is no wallet for ${offer.rail}.`
      const reasons = able.map((wallet) => wallet.refuses(offer))
      if (!reasons.includes(undefined)) return reasons[0]
      return address === undefined ? undefined : lacks(address, offer, rpc)
    },
  }
}

/** A sentence if the wallet holds too little; nothing if nobody can be asked. */
async function lacks(
  address: string,
  offer: Offer,
  rpc: ReadonlyMap<string, readonly string[]>,
): Promise<string | undefined> {
  const urls = rpc.get(offer.network)
  if (!urls) return undefined
  const chain = openChain(offer.network, urls)
  try {
    const held = (await chain.balances(address)).find(({ asset }) =>
      isSameAsset(asset, offer.amount.asset),
    )
    if (!held || held.amount >= offer.amount.amount) return undefined
    return `${address} holds ${sayMoney(held)} there.`
  } catch {
    return undefined
  } finally {
    chain.close()
  }
}

/** What a payer is opened for. */
export interface Opening {
  readonly url: URL
  readonly settings: Settings
  readonly cwd: string
  readonly terminal: Terminal
  readonly policy: {
    readonly budget: Budget
    readonly networks: readonly string[]
    /** Whether the limit was given for just this request: then nothing else may be spent. */
    readonly given: boolean
  }
  readonly rail?: string
  readonly confirm: NonNullable<PayerParts['confirm']>
  readonly observe: Observe
  readonly resultMs?: number
}

/** A payer with its books open. */
export interface OpenPayer extends Pick<Payer, 'fetch'> {
  /** Whether the chain is asked if a payment was made. */
  readonly checks: boolean
  /** What to do when no offer can be paid, if it is for want of a wallet. */
  readonly hint?: string
  close(): Promise<void>
}

/** Opens the payer for a URL: the sandbox's own for a sandbox of this machine, otherwise the user's. */
export async function openPayer(opening: Opening): Promise<OpenPayer> {
  const { url, settings, cwd, terminal, rail, confirm, observe, resultMs } = opening
  const means = await findMeans(url, settings, cwd, terminal)
  const { directory, rpc } = means
  const policy = readPolicy(opening, means)
  const { wallets: all, close } = await walletsOf(means)
  const wallets = all.length > 0 ? ofRail(all, rail) : []
  const ledger = all.length > 0 ? await openBooks(booksFile(directory)) : memory()
  const protocols = payingProtocols()
  const checkReceipts = rpc.size > 0
  try {
    const parts = { wallets, protocols, ledger, policy: { ...policy, checkReceipts } }
    const payer = createPayer({
      ...{ ...parts, confirm, observe, readToken },
      ...(resultMs !== undefined && { resultMs }),
    })
    return {
      fetch: (input, init) => payer.fetch(input, init),
      checks: checkReceipts,
      async close() {
        await close()
        await ledger.close()
      },
      ...(all.length === 0 && { hint: noWallet(url) }),
    }
  } catch (error) {
    await close()
    await ledger.close()
    if (error instanceof RangeError) throw misuse(error.message)
    throw error
  }
}

/** Of a token that is no macaroon nothing can be told: it is shown where it was bought. */
const readToken: ReadToken = (token) => keepSession(token) ?? saidIn(token) ?? {}

function ofRail(wallets: readonly Wallet[], rail: string | undefined): readonly Wallet[] {
  if (rail === undefined) return wallets
  const able = wallets.filter((wallet) => wallet.rail === rail)
  if (able.length > 0) return able
  const known = [...new Set(wallets.map((wallet) => wallet.rail))].join(', ')
  throw misuse(`There is no wallet for the rail "${rail}", only for ${known}.`)
}

/** What may be spent of a sandbox's bitcoin, where no limit says so. */
const PLAY = { request: readPrice('10000 SAT'), day: readPrice('100000 SAT') } as const

function readPolicy({ policy, rail }: Opening, { isPlay }: Means): Policy {
  const { budget, networks, given } = policy
  const { request, total } = budget
  const day = isPlay && isBitcoin(request) && !isBitcoin(budget.day) ? PLAY.day : budget.day
  if (request.currency !== day.currency && !(isBitcoin(request) && isBitcoin(day)))
    throw misuse(
      `The limit for one request is in ${request.currency} and the one for a day in ${day.currency}. Set TOLSEY_MAX_DAY in ${request.currency}.`,
    )
  // Only whoever asks for that rail: limits in dollars must not be passed by paying with something else.
  const both = isPlay && rail === 'lightning' && !given && !isBitcoin(request)
  return {
    perRequest: [request, ...(both ? [PLAY.request] : [])].map(writePrice),
    perDay: [day, ...(both ? [PLAY.day] : [])].map(writePrice),
    ...(total && { total: writePrice(total) }),
    ...(networks.length > 0 && { networks: networks.map(networkId) }),
  }
}

function isBitcoin({ currency }: Price): boolean {
  return ['BTC', 'SAT', 'MSAT'].includes(currency)
}
