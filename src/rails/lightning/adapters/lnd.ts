import { hash as digest } from 'node:crypto'
import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import { resolveChain } from '../networks.ts'
import type { InvoiceState, LightningNode, NodeInfo, PaymentState } from '../node.ts'
import type { Answer, HttpSettings } from './http.ts'
import { createHttp, refused } from './http.ts'
import { GRACE_MS, createPay, failed, reach } from './pay.ts'
import {
  checkHex,
  demand as demandObject,
  maybeHex32,
  misread,
  readList,
  readNetwork,
  readObject,
  readText,
  readWhole,
  settledAtS,
} from './read.ts'

/** What LND is reached with. */
export interface LndSettings extends HttpSettings {
  /** The macaroon, in hex. `invoice.macaroon` is enough to sell; then give `network` and leave payouts out. */
  readonly macaroon: string
  /** The network, if the macaroon may not ask for it: `bitcoin`, `testnet`, `signet`, `regtest`, or a CAIP-2 id. */
  readonly network?: string
  /** Whether it pays: refunds, and a buyer's wallet. True if absent. */
  readonly pay?: boolean
  /** Whether invoices name private channels, which a node without public ones needs. */
  readonly private?: boolean
}

const NAME = 'lnd'
/** Of gRPC: the node does not know it. */
const NOT_FOUND = 5

/**
 * LND over its REST API (0.15 and later), with hold invoices.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createLnd(settings: LndSettings): LightningNode {
  const macaroon = checkHex(NAME, 'macaroon', settings.macaroon)
  const http = createHttp(NAME, settings, { 'grpc-metadata-macaroon': macaroon })
  const { clock = systemClock, pay = true } = settings
  const network = settings.network === undefined ? undefined : resolveChain(settings.network)
  const hints = settings.private === true ? { private: true } : {}

  async function post(path: string, json: JsonObject): Promise<Answer> {
    const answer = await http.ask({ method: 'POST', path, json })
    if (!answer.ok) turnAway(answer.said)
    return answer
  }

  async function open(): Promise<NodeInfo> {
    if (network !== undefined) {
      // An invoice macaroon may not ask who the node is, but may list invoices.
      demand(await http.ask({ method: 'GET', path: '/v1/invoices?num_max_invoices=1' }))
      return { network, publicKey: '' }
    }
    const info = demand(await http.ask({ method: 'GET', path: '/v1/getinfo' }))
    const [chain] = readList(info['chains'], 'chains')
    return {
      network: readNetwork(chain ? readText(chain, 'network') : ''),
      publicKey: readText(info, 'identity_pubkey'),
    }
  }

  async function invoice(hash: string): Promise<InvoiceState | undefined> {
    const answer = await http.ask({ method: 'GET', path: `/v1/invoice/${hash}` })
    return answer.ok || !unknown(answer.said) ? readInvoiceState(demand(answer)) : undefined
  }

  /** Whoever opened a channel pays its commitment, whose fee comes and goes: it is counted as still there. */
  async function balance(): Promise<bigint> {
    const [sums, listed] = await Promise.all(
      ['/v1/balance/channels', '/v1/channels'].map(async (path) =>
        demand(await http.ask({ method: 'GET', path })),
      ),
    )
    const parts = ['local_balance', 'unsettled_local_balance', 'pending_open_local_balance']
    const msats = parts.map((part) => readWhole(readObject(sums?.[part] ?? {}, part), 'msat'))
    const fees = readList(listed?.['channels'] ?? [], 'channels')
      .filter(({ initiator }) => initiator === true)
      .map((channel) => readWhole(channel, 'commit_fee') * 1000n)
    return [...msats, ...fees].reduce((sum, msat) => sum + msat, 0n)
  }

  async function look(hash: string): Promise<PaymentState | undefined> {
    // The path takes URL-safe base64 with its padding.
    const path = `/v2/router/track/${encodeURIComponent(toUrlBase64(hash))}`
    for await (const line of http.lines({ method: 'GET', path })) {
      const said = readObject(line, 'track')
      return unknown(said) ? undefined : readPayment(demandResult(said))
    }
    throw misread('track')
  }

  return {
    name: NAME,
    can: {
      hold: true,
      msat: true,
      feeLimit: true,
      pay,
      lookup: true,
      offers: false,
      amountless: pay,
    },
    open,
    async createInvoice({ msat, memo, expiresInS, hash }) {
      const wanted = { value_msat: `${msat}`, memo, expiry: `${expiresInS}`, ...hints }
      if (hash !== undefined) {
        const held = await post('/v2/invoices/hodl', { ...wanted, hash: toBase64(hash) })
        return { invoice: readText(demand(held), 'payment_request'), hash }
      }
      const made = demand(await post('/v1/invoices', wanted))
      return { invoice: readText(made, 'payment_request'), hash: fromBase64(made, 'r_hash') }
    },
    invoice,
    balance,
    settle: (preimage) =>
      reach(
        NAME,
        'settled',
        async () => (await post('/v2/invoices/settle', { preimage: toBase64(preimage) })).ok,
        () => invoice(digest('sha256', Buffer.from(preimage, 'hex'), 'hex')),
      ),
    cancel: (hash) =>
      reach(
        NAME,
        'cancelled',
        async () => (await post('/v2/invoices/cancel', { payment_hash: toBase64(hash) })).ok,
        () => invoice(hash),
      ),
    ...(pay &&
      createPay({
        clock,
        look,
        async send({ invoice: payable, msat, feeMaxMsat, timeoutMs }, _hash, signal) {
          const json = {
            payment_request: payable,
            ...(msat !== undefined && { amt_msat: `${msat}` }),
            // Absent or 0 means that only free routes are tried.
            fee_limit_msat: `${feeMaxMsat}`,
            timeout_seconds: Math.max(1, Math.ceil(timeoutMs / 1000)),
            no_inflight_updates: true,
          }
          const question = { method: 'POST', path: '/v2/router/send', json, signal } as const
          for await (const line of http.lines({ ...question, timeoutMs: timeoutMs + GRACE_MS })) {
            const state = readSent(readObject(line, 'send'))
            if (state.state !== 'inFlight') return state
          }
          throw misread('send')
        },
      })),
    close: async () => http.close(),
  }
}

/** @throws {PaymentError} when it is no good answer. */
function demand(answer: Answer): JsonObject {
  if (!answer.ok) turnAway(answer.said)
  return demandObject(answer)
}

/** LND says with status 500 that a macaroon does not do. @throws {PaymentError} when it does. */
function turnAway(said: Json | undefined): void {
  const { message } = errorOf(said)
  if (/macaroon|permission denied|verification failed/i.test(message)) throw refused(NAME)
}

function unknown(said: Json | undefined): boolean {
  const { code, message } = errorOf(said)
  return (
    code === NOT_FOUND ||
    /unable to locate invoice|no invoices created|payment isn't initiated/i.test(message)
  )
}

/** An error stands in the answer itself, or, in a stream, under `error`. */
function errorOf(said: Json | undefined): { code: unknown; message: string } {
  const whole = isObject(said) ? said : {}
  const error = isObject(whole['error']) ? whole['error'] : whole
  const { code, message } = error
  return { code, message: typeof message === 'string' ? message : '' }
}

function demandResult(said: JsonObject): JsonObject {
  turnAway(said)
  return readObject(said['result'], 'result')
}

/** An error after the payment was handed over says that this attempt was refused; whether another is on its way, the books say. */
function readSent(said: JsonObject): PaymentState {
  if (isObject(said['result'])) return readPayment(said['result'])
  turnAway(said)
  return failed(errorOf(said).message)
}

function readPayment(said: JsonObject): PaymentState {
  const { status } = said
  if (status === 'FAILED') return failed(said['failure_reason'])
  if (status !== 'SUCCEEDED') return { state: 'inFlight' }
  // Hex, though every other field of bytes is base64.
  const preimage = maybeHex32(said, 'payment_preimage')
  return { state: 'succeeded', preimage, feeMsat: readWhole(said, 'fee_msat') }
}

const states: Readonly<Record<string, InvoiceState['state']>> = {
  OPEN: 'open',
  ACCEPTED: 'held',
  SETTLED: 'settled',
  CANCELED: 'cancelled',
}

function readInvoiceState(said: JsonObject): InvoiceState {
  // A field of an enumeration that has its first value may be left out.
  const state = states[said['state'] === undefined ? 'OPEN' : readText(said, 'state')]
  if (!state) throw misread('state')
  const paid = state === 'settled' || state === 'held' ? receivedOf(said) : 0n
  return { state, receivedMsat: paid, ...settledAtS(readWhole(said, 'settle_date')) }
}

/** What is locked is counted in its parts; `amt_paid_msat` has it for certain once it is settled. */
function receivedOf(said: JsonObject): bigint {
  const paid = readWhole(said, 'amt_paid_msat')
  const parts = said['htlcs'] === undefined ? [] : readList(said['htlcs'], 'htlcs')
  const locked = parts
    .filter(({ state }) => state === 'ACCEPTED' || state === 'SETTLED')
    .reduce((sum, part) => sum + readWhole(part, 'amt_msat'), 0n)
  return paid > locked ? paid : locked
}

function toBase64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64')
}

function toUrlBase64(hex: string): string {
  return toBase64(hex).replaceAll('+', '-').replaceAll('/', '_')
}

function fromBase64(from: JsonObject, key: string): string {
  const bytes = Buffer.from(readText(from, key), 'base64')
  if (bytes.length !== 32) throw misread(key)
  return bytes.toString('hex')
}
