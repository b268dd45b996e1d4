import { hash as digest } from 'node:crypto'
import { systemClock } from '../../../core/clock.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import { resolveChain } from '../networks.ts'
import type { InvoiceState, LightningNode, NodeInfo, PaymentState } from '../node.ts'
import { refused } from './http.ts'
import { GRACE_MS, createPay, failed, reach } from './pay.ts'
import {
  maybeHex32,
  misread,
  readHex32,
  readNetwork,
  readObject,
  readText,
  readWhole,
  settledAtS,
  toNumber,
} from './read.ts'

/** How long a wallet may take for what needs nobody else: there and back by way of a relay. */
export const NWC_TIMEOUT_MS = 15_000

/** What a wallet is reached with by Nostr Wallet Connect. */
export interface NwcSettings {
  /** The connection's address, `nostr+walletconnect://…`. There is a secret in it. */
  readonly uri: string
  /** The network, for a wallet that does not answer `get_info`; by name or CAIP-2 id. */
  readonly network?: string
  /** Whether it pays: refunds, and a buyer's wallet. True if absent; the wallet must allow `pay_invoice`. */
  readonly pay?: boolean
  /** Whether it holds payments. False if absent; the wallet must allow the three methods for it. */
  readonly hold?: boolean
  /** For one answer; {@link NWC_TIMEOUT_MS} if absent. A payment has its own. */
  readonly timeoutMs?: number
  readonly clock?: Clock
  /** Who speaks to the wallet; the package `@getalby/sdk` if absent. */
  readonly connect?: (uri: string) => Promise<NwcClient>
}

/** What we use of a client for NIP-47. Amounts are millisatoshis, times are seconds. */
export interface NwcClient {
  getWalletServiceInfo(): Promise<unknown>
  getInfo(): Promise<unknown>
  makeInvoice(request: NwcInvoice): Promise<unknown>
  makeHoldInvoice(request: NwcInvoice & { payment_hash: string }): Promise<unknown>
  settleHoldInvoice(request: { preimage: string }): Promise<unknown>
  cancelHoldInvoice(request: { payment_hash: string }): Promise<unknown>
  lookupInvoice(request: { payment_hash: string }): Promise<unknown>
  payInvoice(request: { invoice: string }): Promise<unknown>
  close(): void
}

/** What an invoice is asked for. */
export interface NwcInvoice {
  readonly amount: number
  readonly description: string
  readonly expiry: number
}

const NAME = 'nwc'

/** Codes of NIP-47 that say that nothing was done. All others, and silence, say nothing. */
const denials: ReadonlySet<string> = new Set([
  'PAYMENT_FAILED',
  'INSUFFICIENT_BALANCE',
  'QUOTA_EXCEEDED',
  'RATE_LIMITED',
])
/** Codes that no second try will change. */
const rights: ReadonlySet<string> = new Set(['UNAUTHORIZED', 'RESTRICTED', 'NOT_IMPLEMENTED'])

/**
 * A wallet by Nostr Wallet Connect (NIP-47). The protocol has no limit of the routing fee: the wallet's own budget is the limit.
 * A wallet that gives no preimage cannot prove what it paid, and its payments stay unknown.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createNwc(settings: NwcSettings): LightningNode {
  const { uri, pay = true, hold = false, connect = load, clock = systemClock } = settings
  const { timeoutMs = NWC_TIMEOUT_MS } = settings
  if (!/^nostr\+?walletconnect:/.test(uri))
    throw new RangeError('The "uri" of nwc does not begin with nostr+walletconnect://.')
  const network = settings.network === undefined ? undefined : resolveChain(settings.network)
  const needed = [
    'make_invoice',
    'lookup_invoice',
    ...(pay ? ['pay_invoice'] : []),
    ...(hold ? ['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice'] : []),
  ]
  let client: Promise<NwcClient> | undefined

  async function wallet(): Promise<NwcClient> {
    client ??= connect(uri)
    client.catch(() => (client = undefined))
    return client
  }

  /** Undefined where the wallet does not know what is asked for. */
  async function ask(
    call: (client: NwcClient) => Promise<unknown>,
    withinMs: number = timeoutMs,
    signal?: AbortSignal,
  ): Promise<JsonObject | undefined> {
    try {
      return readObject(await inTime(call(await wallet()), withinMs, signal), 'answer')
    } catch (error) {
      if (error instanceof PaymentError) throw error
      const code = codeOf(error)
      if (code === 'NOT_FOUND') return undefined
      throw rights.has(code) ? refused(NAME) : silent()
    }
  }

  /** The client's own times are too long or too short for a payment. What it says later is looked up. */
  async function inTime<T>(answer: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> {
    const done = new AbortController()
    const ends = AbortSignal.any([done.signal, signal ?? []].flat())
    const late = clock.sleep(ms, ends).then(() => {
      throw silent()
    })
    late.catch(() => undefined)
    answer.catch(() => undefined)
    try {
      return await Promise.race([answer, late])
    } finally {
      done.abort()
    }
  }

  async function tell(call: (client: NwcClient) => Promise<unknown>): Promise<JsonObject> {
    const said = await ask(call)
    if (!said) throw misread('not found')
    return said
  }

  async function open(): Promise<NodeInfo> {
    const { capabilities } = await tell((to) => to.getWalletServiceInfo())
    const list: readonly unknown[] = Array.isArray(capabilities) ? capabilities : []
    const missing = needed.filter((method) => !list.includes(method))
    if (missing.length > 0)
      throw new PaymentError(
        'misconfigured',
        `The wallet does not allow ${missing.join(', ')}. Allow it, or turn "pay" or "hold" off.`,
      )
    if (network !== undefined) return { network, publicKey: '' }
    const info = await tell((to) => to.getInfo())
    const { pubkey } = info
    const publicKey = typeof pubkey === 'string' ? pubkey : ''
    return { network: readNetwork(readText(info, 'network')), publicKey }
  }

  async function find(hash: string, type: string): Promise<JsonObject | undefined> {
    const found = await ask((to) => to.lookupInvoice({ payment_hash: hash }))
    // One's own invoice that oneself has paid is there once, and may be of either kind.
    return found === undefined || (found['type'] ?? type) !== type ? undefined : found
  }

  async function invoice(hash: string): Promise<InvoiceState | undefined> {
    const found = await find(hash, 'incoming')
    return found && readInvoiceState(found)
  }

  /** Whether it did; the answer to both is empty. */
  async function tries(call: (client: NwcClient) => Promise<unknown>): Promise<boolean> {
    try {
      return (await ask(call)) !== undefined
    } catch (error) {
      if (error instanceof PaymentError && error.code === 'misconfigured') throw error
      return false
    }
  }

  return {
    name: NAME,
    can: { hold, msat: true, feeLimit: false, pay, lookup: true, offers: false },
    open,
    async createInvoice({ msat, memo, expiresInS, hash }) {
      const wanted = { amount: toNumber(msat), description: memo, expiry: expiresInS }
      const made = await tell((to) =>
        hash === undefined
          ? to.makeInvoice(wanted)
          : to.makeHoldInvoice({ ...wanted, payment_hash: hash }),
      )
      return { invoice: readText(made, 'invoice'), hash: hash ?? readHex32(made, 'payment_hash') }
    },
    invoice,
    ...(hold && {
      settle: (preimage: string) =>
        reach(
          NAME,
          'settled',
          () => tries((to) => to.settleHoldInvoice({ preimage })),
          () => invoice(digest('sha256', Buffer.from(preimage, 'hex'), 'hex')),
        ),
      cancel: (hash: string) =>
        reach(
          NAME,
          'cancelled',
          () => tries((to) => to.cancelHoldInvoice({ payment_hash: hash })),
          () => invoice(hash),
        ),
    }),
    ...(pay &&
      createPay({
        clock,
        async look(hash) {
          const found = await find(hash, 'outgoing')
          return found && readPayment(found)
        },
        async send({ invoice: payable, timeoutMs: payMs }, _hash, signal) {
          const to = await wallet()
          try {
            const paid = inTime(to.payInvoice({ invoice: payable }), payMs + GRACE_MS, signal)
            const said = readObject(await paid, 'answer')
            const preimage = maybeHex32(said, 'preimage')
            return { state: 'succeeded', preimage, feeMsat: readWhole(said, 'fees_paid') }
          } catch (error) {
            const code = codeOf(error)
            if (rights.has(code)) throw refused(NAME)
            if (denials.has(code)) return failed(code)
            throw error
          }
        },
      })),
    async close() {
      const to = await client?.catch(() => undefined)
      to?.close()
      client = undefined
    },
  }
}

/** The package is loaded when it is wanted: who sells by another back end need not have it. */
async function load(uri: string): Promise<NwcClient> {
  const sdk = await import('@getalby/sdk/nwc').catch(() => undefined)
  if (!sdk)
    throw new PaymentError('misconfigured', 'nwc needs the package "@getalby/sdk". Install it.')
  try {
    return new sdk.NWCClient({ nostrWalletConnectUrl: uri })
  } catch {
    throw new PaymentError('misconfigured', 'The "uri" of nwc cannot be read.')
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error) || error instanceof PaymentError || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

function silent(): PaymentError {
  return new PaymentError('rail-unavailable', `${NAME} does not answer.`, { retryable: true })
}

function readPayment(said: JsonObject): PaymentState {
  const { state } = said
  const preimage = maybeHex32(said, 'preimage')
  if (state === 'failed') return failed(undefined)
  if (state === 'settled' || (state === undefined && preimage !== ''))
    return { state: 'succeeded', preimage, feeMsat: readWhole(said, 'fees_paid') }
  return { state: 'inFlight' }
}

const states: Readonly<Record<string, InvoiceState['state']>> = {
  pending: 'open',
  accepted: 'held',
  settled: 'settled',
  expired: 'cancelled',
  failed: 'cancelled',
}

/** Wallets of before tell only when it was settled. */
function readInvoiceState(said: JsonObject): InvoiceState {
  const at = readWhole(said, 'settled_at')
  const word = said['state'] === undefined ? undefined : readText(said, 'state').toLowerCase()
  const state = word === undefined ? (at > 0n ? 'settled' : 'open') : states[word]
  if (!state) throw misread('state')
  const paid = state === 'settled' || state === 'held'
  return {
    state,
    receivedMsat: paid ? readWhole(said, 'amount') : 0n,
    ...(state === 'settled' && settledAtS(at)),
  }
}
