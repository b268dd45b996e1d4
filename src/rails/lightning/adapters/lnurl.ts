import { hash as digest } from 'node:crypto'
import { bech32 } from '@scure/base'
import { systemClock } from '../../../core/clock.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import { readInvoice } from '../bolt11.ts'
import { isLoopback } from '../../../net/addresses.ts'
import { resolveChain } from '../networks.ts'
import type { InvoiceState, LightningNode } from '../node.ts'
import { createHttp } from './http.ts'
import { demand, maybeHex32, misread, readText, readWhole } from './read.ts'

/** How long what an address said of itself is believed. */
export const PAY_REQUEST_MS = 60_000
/** Most invoices whose verify address is kept in mind; the oldest goes. */
export const VERIFY_MAX = 10_000

/** Whose address sells. */
export interface LnurlSettings {
  /** A Lightning address (`user@host`), an LNURL (`lnurl1…`), or the address that is in it. */
  readonly address: string
  /**
   * The verify address (LUD-21) with `{hash}` for the payment hash, if every invoice has the same but for that. With it, the
   * service is asked whether an invoice was paid; without, the preimage alone is the evidence.
   */
  readonly verify?: string
  /** Which network: `bitcoin` if absent, or a name or CAIP-2 id. */
  readonly network?: string
  readonly timeoutMs?: number
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
}

const NAME = 'lnurl'

/** What an address said of itself (LUD-06). */
interface PayRequest {
  readonly callback: URL
  readonly msatMin: bigint
  readonly msatMax: bigint
  readonly metadata: string
  /** Longest comment, in characters. */
  readonly commentMax: number
  readonly until: number
}

/**
 * Sells with no node of one's own: invoices come from the service behind a Lightning address. It cannot pay. A service can say what
 * it wants: paid is only what has a preimage.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createLnurl(settings: LnurlSettings): LightningNode {
  const home = readAddress(settings.address)
  const network = resolveChain(settings.network ?? 'bitcoin')
  const { verify, clock = systemClock } = settings
  if (verify !== undefined && !verify.includes('{hash}'))
    throw new RangeError('The "verify" of lnurl has no {hash} in it.')
  const verifies = new Map<string, string>()
  let known: PayRequest | undefined

  async function get(url: URL): Promise<JsonObject> {
    const http = createHttp(NAME, { ...settings, url: url.origin }, {})
    return demand(await http.ask({ method: 'GET', path: `${url.pathname}${url.search}` }))
  }

  async function describe(): Promise<PayRequest> {
    if (known && clock.now() < known.until) return known
    known = readPayRequest(await get(home), home, clock.now() + PAY_REQUEST_MS)
    return known
  }

  function remember(hash: string, url: string): void {
    verifies.set(hash, url)
    const [oldest] = verifies.size > VERIFY_MAX ? verifies.keys() : []
    if (oldest !== undefined) verifies.delete(oldest)
  }

  function verifyOf(hash: string): string | undefined {
    return verifies.get(hash) ?? verify?.replaceAll('{hash}', hash)
  }

  return {
    name: NAME,
    can: {
      hold: false,
      msat: true,
      feeLimit: false,
      pay: false,
      lookup: verify !== undefined,
      offers: false,
    },
    async open() {
      await describe()
      return { network, publicKey: '' }
    },
    async createInvoice({ msat, memo }) {
      const request = await describe()
      if (msat < request.msatMin || msat > request.msatMax)
        throw new PaymentError('misconfigured', 'The address takes no such amount.')
      const url = new URL(request.callback)
      url.searchParams.set('amount', `${msat}`)
      const comment = memo.slice(0, request.commentMax)
      if (comment !== '') url.searchParams.set('comment', comment)
      const said = refuse(await get(url))
      const text = readText(said, 'pr')
      const hash = checkInvoice(text, network, msat, request.metadata)
      if (typeof said['verify'] === 'string') remember(hash, said['verify'])
      return { invoice: text, hash }
    },
    async invoice(hash) {
      const text = verifyOf(hash)
      const url = text === undefined ? undefined : permit(text, home)
      if (!url) return undefined
      const said = await get(url)
      return said['status'] === 'ERROR' ? undefined : readVerified(said, hash)
    },
    close: async () => verifies.clear(),
  }
}

/** @throws {RangeError} when it is none. */
function readAddress(text: string): URL {
  const plain = text.replace(/^lightning:/i, '')
  const [, user, host] = /^([a-z0-9._+-]+)@([^/?#@\s]+)$/i.exec(plain) ?? []
  const said =
    user !== undefined && host !== undefined
      ? `${isPlain(host) ? 'http' : 'https'}://${host}/.well-known/lnurlp/${user.toLowerCase()}`
      : decode(plain)
  const url = said !== undefined && URL.canParse(said) ? new URL(said) : undefined
  if (!url || url.username || (url.protocol !== 'https:' && !isPlain(url.host)))
    throw new RangeError('The "address" of lnurl is no Lightning address, LNURL or https address.')
  return url
}

function decode(text: string): string | undefined {
  if (!/^lnurl1/i.test(text)) return text
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bech32.decodeToBytes(text).bytes)
  } catch {
    return undefined
  }
}

/** Hosts that need no TLS: onion services have their own (LUD-01), and one's own machine is for trying things out. */
function isPlain(host: string): boolean {
  const name = host.replace(/:\d+$/, '').toLowerCase()
  return isLoopback(name) || name.endsWith('.onion')
}

/** An address that a service names is asked only if it is as well guarded as its own, so that nobody is led into our network. */
function permit(text: string, home: URL): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const guarded = url?.protocol === 'https:' || url?.origin === home.origin
  if (!url || !guarded || url.username) throw misread('an address')
  return url
}

function readPayRequest(said: JsonObject, home: URL, until: number): PayRequest {
  if (refuse(said)['tag'] !== 'payRequest') throw misread('tag')
  return {
    callback: permit(readText(said, 'callback'), home),
    msatMin: readWhole(said, 'minSendable'),
    msatMax: readWhole(said, 'maxSendable'),
    metadata: readText(said, 'metadata'),
    // Absent where comments are not taken (LUD-12).
    commentMax: Number(readWhole(said, 'commentAllowed')),
    until,
  }
}

/** Errors come with status 200. @throws {PaymentError} when it is one. */
function refuse(said: JsonObject): JsonObject {
  if (said['status'] === 'ERROR') throw misread('an error')
  return said
}

/** The hash of an invoice for exactly this (LUD-06). @throws {PaymentError} when it is for something else. */
function checkInvoice(text: string, network: string, msat: bigint, metadata: string): string {
  const invoice = readInvoice(text)
  const fits =
    typeof invoice !== 'string' &&
    invoice.network === network &&
    invoice.msat === msat &&
    (invoice.descriptionHash === undefined ||
      invoice.descriptionHash === digest('sha256', metadata))
  if (!fits) throw misread('pr')
  return invoice.hash
}

/** Settled is what has the preimage; what the service says beside it is its word. */
function readVerified(said: JsonObject, hash: string): InvoiceState {
  const invoice = readInvoice(readText(said, 'pr'))
  if (typeof invoice === 'string' || invoice.hash !== hash) throw misread('pr')
  const preimage = maybeHex32(said, 'preimage')
  const opens = digest('sha256', Buffer.from(preimage, 'hex')) === hash
  if (said['settled'] !== true || !opens) return { state: 'open', receivedMsat: 0n }
  return { state: 'settled', receivedMsat: invoice.msat ?? 0n }
}
