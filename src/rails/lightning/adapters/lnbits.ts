import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import { resolveChain } from '../networks.ts'
import type { InvoiceState, LightningNode, PaymentState } from '../node.ts'
import type { Answer, HttpSettings, Question } from './http.ts'
import { createHttp, refused } from './http.ts'
import { GRACE_MS, createPay, failed } from './pay.ts'
import {
  checkSecretText,
  demand,
  maybeHex32,
  misread,
  readHex32,
  readObject,
  readText,
  readWhole,
  toNumber,
  toSat,
} from './read.ts'

/** What LNbits is reached with. */
export interface LnbitsSettings extends HttpSettings {
  /** The invoice key of the wallet to sell, its admin key to pay as well. */
  readonly key: string
  /** Which network its node is on, which it does not tell: `bitcoin` if absent, or a name or CAIP-2 id. */
  readonly network?: string
  /** Whether it pays, which takes the admin key. True if absent. */
  readonly pay?: boolean
}

const NAME = 'lnbits'
/** Bad payments have a status of their own, outside what HTTP knows. */
const PAYMENT_ERROR = 520

/**
 * LNbits (0.12 and later): whole satoshis, no limit of the routing fee. Its hold invoices are not used: its API does not tell
 * that a payment is locked.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createLnbits(settings: LnbitsSettings): LightningNode {
  const key = checkSecretText(NAME, 'key', settings.key)
  const http = createHttp(NAME, settings, { 'x-api-key': key })
  const { clock = systemClock, pay = true } = settings
  const network = resolveChain(settings.network ?? 'bitcoin')

  async function post(
    json: JsonObject,
    rest: Pick<Question, 'timeoutMs' | 'signal'> = {},
  ): Promise<Answer> {
    return http.ask({ method: 'POST', path: '/api/v1/payments', json, ...rest })
  }

  /** What its books say of a payment hash, whichever way the money went. */
  async function find(hash: string): Promise<Row | undefined> {
    const answer = await http.ask({ method: 'GET', path: `/api/v1/payments/${hash}` })
    if (answer.status === 404) return undefined
    const said = demand(answer)
    // Strangers are told whether it is paid, and the preimage. Only who owns the wallet is told the rest.
    if (said['details'] === undefined) throw refused(NAME)
    return readRow(readObject(said['details'], 'details'))
  }

  return {
    name: NAME,
    can: { hold: false, msat: false, feeLimit: false, pay, lookup: true, offers: false },
    async open() {
      demand(await http.ask({ method: 'GET', path: '/api/v1/wallet' }))
      return { network, publicKey: '' }
    },
    async createInvoice({ msat, memo, expiresInS }) {
      const amount = toNumber(toSat(msat))
      const made = demand(await post({ out: false, unit: 'sat', amount, memo, expiry: expiresInS }))
      const invoice = readText(made, made['bolt11'] === undefined ? 'payment_request' : 'bolt11')
      return { invoice, hash: readHex32(made, 'payment_hash') }
    },
    async invoice(hash) {
      const row = await find(hash)
      return row?.incoming ? stateOf(row) : undefined
    },
    balance: async () =>
      readWhole(demand(await http.ask({ method: 'GET', path: '/api/v1/wallet' })), 'balance'),
    ...(pay &&
      createPay({
        clock,
        async look(hash) {
          const row = await find(hash)
          return row && !row.incoming ? paymentOf(row) : undefined
        },
        async send({ invoice, timeoutMs }, _hash, signal) {
          const late = timeoutMs + GRACE_MS
          return readSent(await post({ out: true, bolt11: invoice }, { timeoutMs: late, signal }))
        },
      })),
    close: async () => http.close(),
  }
}

/** A row of the wallet's books. */
interface Row {
  readonly status: 'success' | 'pending' | 'failed'
  readonly incoming: boolean
  readonly msat: bigint
  readonly feeMsat: bigint
  /** Empty where there is none. */
  readonly preimage: string
}

function readRow(said: JsonObject): Row {
  const amount = readSigned(said['amount'])
  return {
    status: statusOf(said),
    incoming: amount >= 0n,
    msat: abs(amount),
    // Told as what it does to the balance.
    feeMsat: abs(readSigned(said['fee'] ?? 0)),
    preimage: maybeHex32(said, 'preimage'),
  }
}

/** Before version 1 there was only `pending`. */
function statusOf({ status, pending }: JsonObject): Row['status'] {
  if (status === 'success' || status === 'pending' || status === 'failed') return status
  if (status !== undefined || typeof pending !== 'boolean') throw misread('status')
  return pending ? 'pending' : 'success'
}

function readSigned(said: Json | undefined): bigint {
  if (typeof said !== 'number' || !Number.isSafeInteger(said)) throw misread('amount')
  return BigInt(said)
}

function abs(amount: bigint): bigint {
  return amount < 0n ? -amount : amount
}

function stateOf({ status, msat }: Row): InvoiceState {
  if (status === 'success') return { state: 'settled', receivedMsat: msat }
  return { state: status === 'failed' ? 'cancelled' : 'open', receivedMsat: 0n }
}

function paymentOf({ status, preimage, feeMsat }: Row): PaymentState {
  if (status === 'success') return { state: 'succeeded', preimage, feeMsat }
  return status === 'failed' ? failed(undefined) : { state: 'inFlight' }
}

/** The fee may come later than the answer, so that a good end is left to the books to tell. */
function readSent({ status, ok, said }: Answer): PaymentState {
  const { status: state, detail } = isObject(said) ? said : {}
  if (status === 400 || (status === PAYMENT_ERROR && state === 'failed')) return failed(detail)
  if (!ok) throw misread('an error')
  return { state: 'inFlight' }
}
