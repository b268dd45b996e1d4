import { hash } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { systemChance } from '../core/chance.ts'
import { isObject, readJson } from '../core/json.ts'
import { PaymentError } from '../core/problem.ts'
import type { Chance } from '../core/ports.ts'

/** The keys of one sandbox, made once by chance and worth nothing anywhere else. */
export interface Keys {
  /** Signs offers. */
  readonly secret: string
  /** Private keys, in hex. */
  readonly seller: string
  readonly settler: string
  readonly buyers: readonly string[]
}

/** How many buyers hold money. */
const BUYERS = 3

const CHARS_MAX = 10_000

/** The keys in the file; made and written, readable by nobody else, if there is none. */
export async function keepKeys(file: string, chance: Chance = systemChance): Promise<Keys> {
  const kept = await read(file)
  if (kept) return kept
  const part = `${file}.${process.pid}`
  await writeFile(part, `${JSON.stringify(make(chance), null, 2)}\n`, { mode: 0o600, flush: true })
  // A link never replaces: of two that start at once, one makes the keys and both use them.
  await link(part, file).catch(ifExists)
  await rm(part)
  const made = await read(file)
  if (made) return made
  throw unreadable(file)
}

async function read(file: string): Promise<Keys | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const said = readJson(text, CHARS_MAX)
  if (!isKeys(said)) throw unreadable(file)
  return said
}

function isKeys(said: unknown): said is Keys {
  if (!isObject(said) || typeof said['secret'] !== 'string') return false
  const { seller, settler, buyers } = said
  const keys = [seller, settler, ...(Array.isArray(buyers) ? (buyers as unknown[]) : [undefined])]
  return keys.length > 2 && keys.every((key) => typeof key === 'string' && isKey.test(key))
}

const isKey = /^0x[0-9a-f]{64}$/

function make(chance: Chance): Keys {
  // Of 2^128 draws one is no secp256k1 key; the top bit cleared, none.
  const key = (): string => {
    const bytes = Buffer.from(chance(32))
    bytes[0] = (bytes[0] ?? 0) & 0x7f
    return `0x${bytes.toString('hex')}`
  }
  return {
    secret: Buffer.from(chance(32)).toString('base64'),
    seller: key(),
    settler: key(),
    buyers: Array.from({ length: BUYERS }, key),
  }
}

/** The key that the sandbox's facilitator sends with: made of the secret, so that older files have it too. */
export function facilitatorKey(keys: Keys): string {
  return derived('facilitator', keys)
}

/** The key that uses permits of Permit2. */
export function spenderKey(keys: Keys): string {
  return derived('spender', keys)
}

/** Who gets a share of what is sold to be shared. */
export function partnerKey(keys: Keys): string {
  return derived('partner', keys)
}

function derived(name: string, { secret }: Keys): string {
  // As in `make`: the top bit cleared.
  const bytes = hash('sha256', `${name}/${secret}`, 'buffer')
  bytes[0] = (bytes[0] ?? 0) & 0x7f
  return `0x${bytes.toString('hex')}`
}

function unreadable(file: string): PaymentError {
  return new PaymentError(
    'misconfigured',
    `The keys in ${file} cannot be read. Delete the directory to begin a new sandbox.`,
  )
}

function ifExists(error: unknown): void {
  if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return
  throw error
}
