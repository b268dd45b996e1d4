import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isSameAsset, openChain } from '../config/chain.ts'
import type { Budget, Settings } from '../config/load.ts'
import type { Key } from '../config/parts.ts'
import {
  addressOf,
  endpointsOf,
  hexOf,
  networkId,
  openBooks,
  openWallets,
  payingProtocols,
  readKeystoreKey,
} from '../config/parts.ts'
import { Secret } from '../config/secret.ts'
import type { Observe } from '../core/event.ts'
import { isObject, readJson } from '../core/json.ts'
import { writeMoney, writePrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Payer, PayerParts } from '../payer/payer.ts'
import { createPayer } from '../payer/payer.ts'
import type { Policy } from '../payer/policy.ts'
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

/** What a payment draws on: a key if there is one, the books it is written into, and the chains that can be looked at. */
interface Means {
  readonly holding: Holding | undefined
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
    return { holding, directory: settings.home, rpc: endpointsOf(settings) }
  }
  const { directory, buyer } = sandbox
  const reveal = (): Promise<string> => Promise.resolve(buyer.privateKey)
  const holding = { key: { address: buyer.address, reveal }, source: 'the sandbox' }
  return { holding, directory, rpc: new Map([[networkId('base-sepolia'), [sandbox.rpc]]]) }
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
  const { holding, rpc } = await findMeans(url, settings, cwd)
  if (!holding) return { refuses: () => Promise.resolve(noWallet(url)) }
  const { address } = holding.key
  const wallets = await openWallets(holding.key, rpc)
  return {
    address,
    async refuses(offer, protocol) {
      const able = wallets.filter(({ rail, forms }) => rail === offer.rail && forms[protocol])
      if (able.length === 0) return `There is no wallet for ${offer.rail}.`
      const reasons = able.map((wallet) => wallet.refuses(offer))
      return reasons.includes(undefined) ? lacks(address, offer, rpc) : reasons[0]
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
    return `${address} holds ${writeMoney(held)} there.`
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
  readonly policy: { readonly budget: Budget; readonly networks: readonly string[] }
  readonly rail?: string
  readonly confirm: NonNullable<PayerParts['confirm']>
  readonly observe: Observe
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
  const { url, settings, cwd, terminal, rail, confirm, observe } = opening
  const policy = readPolicy(opening)
  const { holding, directory, rpc } = await findMeans(url, settings, cwd, terminal)
  const wallets = holding ? ofRail(await openWallets(holding.key, rpc), rail) : []
  const ledger = holding ? await openBooks(booksFile(directory)) : memory()
  const protocols = payingProtocols()
  const checkReceipts = rpc.size > 0
  try {
    const parts = { wallets, protocols, ledger, policy: { ...policy, checkReceipts } }
    const payer = createPayer({ ...parts, confirm, observe })
    return {
      fetch: (input, init) => payer.fetch(input, init),
      checks: checkReceipts,
      close: () => ledger.close(),
      ...(!holding && { hint: noWallet(url) }),
    }
  } catch (error) {
    await ledger.close()
    if (error instanceof RangeError) throw misuse(error.message)
    throw error
  }
}

function ofRail(wallets: readonly Wallet[], rail: string | undefined): readonly Wallet[] {
  if (rail === undefined) return wallets
  const able = wallets.filter((wallet) => wallet.rail === rail)
  if (able.length > 0) return able
  const known = [...new Set(wallets.map((wallet) => wallet.rail))].join(', ')
  throw misuse(`There is no wallet for the rail "${rail}", only for ${known}.`)
}

function readPolicy({ policy: { budget, networks } }: Opening): Policy {
  const { request, day, total } = budget
  if (request.currency !== day.currency)
    throw misuse(
      `The limit for one request is in ${request.currency} and the one for a day in ${day.currency}. Set TOLSEY_MAX_DAY in ${request.currency}.`,
    )
  return {
    perRequest: writePrice(request),
    perDay: writePrice(day),
    ...(total && { total: writePrice(total) }),
    ...(networks.length > 0 && { networks: networks.map(networkId) }),
  }
}
