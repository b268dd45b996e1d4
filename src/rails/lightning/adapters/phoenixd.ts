import { systemClock } from '../../../core/clock.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { InvoiceState, LightningNode, PaymentState } from '../node.ts'
import type { HttpSettings } from './http.ts'
import { createHttp } from './http.ts'
import { GRACE_MS, createPay, failed } from './pay.ts'
import {
  checkSecretText,
  demand,
  maybeHex32,
  misread,
  readHex32,
  readNetwork,
  readText,
  readWhole,
  toSat,
} from './read.ts'

/** What phoenixd is reached with. */
export interface PhoenixdSettings extends HttpSettings {
  /** `http-password`, or `http-password-limited-access`, which cannot pay. */
  readonly password: string
  /** Whether it pays: refunds, and a buyer's wallet. True if absent. */
  readonly pay?: boolean
}

const NAME = 'phoenixd'
/** Longest description, in characters. */
const DESCRIPTION_CHARS_MAX = 128

/**
 * phoenixd (0.5 and later): whole satoshis, no hold invoices, no limit of the routing fee (it takes 0.4 % and 4 sat).
 * @throws {RangeError} when the settings cannot be used.
 */
export function createPhoenixd(settings: PhoenixdSettings): LightningNode {
  const password = checkSecretText(NAME, 'password', settings.password)
  const basic = Buffer.from(`:${password}`).toString('base64')
  const http = createHttp(NAME, settings, { authorization: `Basic ${basic}` })
  const { clock = systemClock, pay = true } = settings

  /** Undefined where it is not known: the answer to that is no JSON. */
  async function find(path: string): Promise<JsonObject | undefined> {
    const answer = await http.ask({ method: 'GET', path })
    return answer.status === 404 ? undefined : demand(answer)
  }

  async function look(hash: string): Promise<PaymentState | undefined> {
    const found = await find(`/payments/outgoingbyhash/${hash}`)
    return found && readPayment(found)
  }

  return {
    name: NAME,
    can: { hold: false, msat: false, feeLimit: false, pay, lookup: true, offers: false },
    async open() {
      const info = demand(await http.ask({ method: 'GET', path: '/getinfo' }))
      const network = readNetwork(readText(info, 'chain'))
      return { network, publicKey: readText(info, 'nodeId') }
    },
    async createInvoice({ msat, memo, expiresInS }) {
      const form = {
        amountSat: `${toSat(msat)}`,
        description: memo.slice(0, DESCRIPTION_CHARS_MAX),
        expirySeconds: `${expiresInS}`,
      }
      const made = demand(await http.ask({ method: 'POST', path: '/createinvoice', form }))
      return { invoice: readText(made, 'serialized'), hash: readHex32(made, 'paymentHash') }
    },
    async invoice(hash) {
      const found = await find(`/payments/incoming/${hash}`)
      return found && readInvoiceState(found)
    },
    async balance() {
      const said = demand(await http.ask({ method: 'GET', path: '/getbalance' }))
      return readWhole(said, 'balanceSat') * 1000n
    },
    ...(pay &&
      createPay({
        clock,
        look,
        async send({ invoice, timeoutMs }, _hash, signal) {
          const question = { method: 'POST', path: '/payinvoice', form: { invoice } } as const
          const late = timeoutMs + GRACE_MS
          const answer = await http.ask({ ...question, timeoutMs: late, signal })
          // It has not taken the invoice in.
          if (answer.status === 400) return failed(undefined)
          const said = demand(answer)
          // A payment that failed is answered with status 200 as well.
          if (said['paymentPreimage'] === undefined) return failed(said['reason'])
          return {
            state: 'succeeded',
            preimage: maybeHex32(said, 'paymentPreimage'),
            feeMsat: readWhole(said, 'routingFeeSat') * 1000n,
          }
        },
      })),
    close: async () => http.close(),
  }
}

/** Versions differ in `isPaid`: some say it of a payment that is over and failed. Only the preimage tells. */
function readPayment(said: JsonObject): PaymentState {
  const preimage = maybeHex32(said, 'preimage')
  if (preimage !== '') return { state: 'succeeded', preimage, feeMsat: readWhole(said, 'fees') }
  const over = readWhole(said, 'completedAt') > 0n
  if (said['isPaid'] === true && !over) throw misread('isPaid')
  return over ? failed(undefined) : { state: 'inFlight' }
}

/** The preimage is there even while nothing is paid, and stays here. */
function readInvoiceState(said: JsonObject): InvoiceState {
  if (said['isPaid'] !== true) {
    const state = said['isExpired'] === true ? 'cancelled' : 'open'
    return { state, receivedMsat: 0n }
  }
  const settledAt = Number(readWhole(said, 'completedAt'))
  return {
    state: 'settled',
    receivedMsat: grossOf(said),
    ...(settledAt > 0 && { settledAt }),
  }
}

/**
 * What the payer sent. `receivedSat` is cut to satoshis after the fees of a channel that had to be opened, which are the
 * seller's; what was asked for is whole satoshis.
 */
function grossOf(said: JsonObject): bigint {
  const gross = readWhole(said, 'receivedSat') * 1000n + readWhole(said, 'fees')
  return ((gross + 999n) / 1000n) * 1000n
}
