import { hash as digest } from 'node:crypto'
import { isIP } from 'node:net'
import { bech32 } from '@scure/base'
import type { JsonObject } from '../../core/json.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { Invoice } from './bolt11.ts'
import { INVOICE_CHARS_MAX, readInvoice } from './bolt11.ts'
import type { Resolve } from '../../net/addresses.ts'
import { isLoopback, isPublic, systemResolve } from '../../net/addresses.ts'
import { chains } from './networks.ts'

/** How long a service may take for each of its two answers. */
export const LNURL_TIMEOUT_MS = 10_000
/** Longest answer of a service, in bytes. */
export const LNURL_BYTES_MAX = 65_536
/** Longest address or link that is read, in characters. */
export const LNURL_CHARS_MAX = 2_048

/** What asking a service for an invoice needs. */
export interface LnurlParts {
  /** CAIP-2. On regtest this machine may be asked, and without TLS. */
  readonly network: string
  readonly fetch?: typeof globalThis.fetch
  readonly resolve?: Resolve
}

/** An invoice and what it says; a sentence why there is none. */
export type Fetched = { readonly text: string; readonly invoice: Invoice } | string

/** Whether the text is a Lightning address or an LNURL. */
export function isLnurl(text: string): boolean {
  return /^[^@\s]+@[^@\s]+$/.test(text) || /^lnurl1/i.test(text)
}

/** Asks the service behind a Lightning address (LUD-16) or an LNURL (LUD-01) for an invoice of exactly that amount (LUD-06). */
export async function fetchInvoice(
  text: string,
  msat: bigint,
  parts: LnurlParts,
): Promise<Fetched> {
  const start = urlOf(text, parts.network)
  if (!start) return 'The Lightning address cannot be read.'
  const service = await ask(start, parts)
  if (typeof service === 'string') return service
  const back = readService(service, msat)
  if (typeof back === 'string') return back
  const said = await ask(back, parts)
  if (typeof said === 'string') return said
  return readAnswer(said, service, msat, parts.network)
}

/** Where the service is asked first. */
function urlOf(text: string, network: string): URL | undefined {
  if (text.length > LNURL_CHARS_MAX) return undefined
  const [, user, domain] = /^([a-z0-9._+-]+)@([a-z0-9.:-]+)$/i.exec(text) ?? []
  if (user !== undefined && domain !== undefined) {
    const [host = ''] = domain.split(':')
    const scheme = network === chains['bcrt'] && isLoopback(host) ? 'http' : 'https'
    return parseUrl(`${scheme}://${domain}/.well-known/lnurlp/${user.toLowerCase()}`)
  }
  const read = bech32.decodeUnsafe(text, LNURL_CHARS_MAX)
  const bytes = read?.prefix === 'lnurl' ? bech32.fromWordsUnsafe(read.words) : undefined
  return bytes ? parseUrl(Buffer.from(bytes).toString('utf8')) : undefined
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}

/** Where to ask for the invoice, the amount in it. */
function readService(said: JsonObject, msat: bigint): URL | string {
  const { tag, callback, minSendable, maxSendable } = said
  if (tag !== 'payRequest' || typeof callback !== 'string' || callback.length > LNURL_CHARS_MAX)
    return 'The Lightning address takes no payments.'
  if (!isAmount(minSendable) || !isAmount(maxSendable)) return 'The service cannot be understood.'
  if (msat < BigInt(minSendable) || msat > BigInt(maxSendable))
    return `The Lightning address takes ${minSendable} to ${maxSendable} millisatoshis.`
  const url = parseUrl(callback)
  url?.searchParams.set('amount', msat.toString())
  return url ?? 'The service cannot be understood.'
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function readAnswer(
  { pr }: JsonObject,
  { metadata }: JsonObject,
  msat: bigint,
  network: string,
): Fetched {
  if (typeof pr !== 'string' || pr.length > INVOICE_CHARS_MAX) return 'The service gave no invoice.'
  const invoice = readInvoice(pr)
  if (typeof invoice === 'string') return invoice
  if (invoice.network !== network) return 'The invoice of the service is for another network.'
  if (invoice.msat !== msat) return 'The invoice of the service is for another amount.'
  // Some services describe in clear what LUD-06 wants hashed.
  const { descriptionHash } = invoice
  const described = typeof metadata === 'string' ? digest('sha256', metadata, 'hex') : undefined
  if (descriptionHash !== undefined && descriptionHash !== described)
    return 'The invoice of the service is for something else.'
  return { text: pr, invoice }
}

/** One answer of a service. Strangers choose the address, so that only the internet is asked, and nobody sends us elsewhere. */
async function ask(
  url: URL,
  { network, fetch, resolve }: LnurlParts,
): Promise<JsonObject | string> {
  if (!(await mayAsk(url, network, resolve ?? systemResolve)))
    return 'The Lightning address leads to where nobody is asked.'
  try {
    const response = await (fetch ?? globalThis.fetch)(url, {
      redirect: 'error',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(LNURL_TIMEOUT_MS),
    })
    const said = readJson(await readText(response), LNURL_BYTES_MAX)
    if (isObject(said) && said['status'] !== 'ERROR') return said
  } catch {
    // Which of the two it was is nothing for a payer.
  }
  return 'The service of the Lightning address does not answer.'
}

async function mayAsk(url: URL, network: string, resolve: Resolve): Promise<boolean> {
  const { protocol, hostname, username, password } = url
  if (network === chains['bcrt'] && isLoopback(hostname)) return /^https?:$/.test(protocol)
  if (protocol !== 'https:' || username !== '' || password !== '') return false
  if (isIP(hostname.replaceAll(/[[\]]/g, '')) !== 0) return false
  if (isLoopback(hostname) || hostname.endsWith('.onion')) return false
  const addresses = await resolve(hostname).catch(() => [])
  return addresses.length > 0 && addresses.every(isPublic)
}

async function readText({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body ?? []) {
    bytes += part.length
    if (bytes > LNURL_BYTES_MAX) throw new RangeError('The answer is too long.')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
