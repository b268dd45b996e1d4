import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { InvoiceState, LightningNode, PaymentState } from '../node.ts'
import type { Answer, HttpSettings, Question } from './http.ts'
import { createHttp } from './http.ts'
import { GRACE_MS, createPay, failed } from './pay.ts'
import {
  checkSecretText,
  demand,
  maybeHex32,
  misread,
  readHex32,
  readList,
  readNetwork,
  readObject,
  readText,
  readWhole,
} from './read.ts'

/** What Eclair is reached with. */
export interface EclairSettings extends HttpSettings {
  /** `eclair.api.password`. */
  readonly password: string
  /** Whether it pays: refunds, and a buyer's wallet. True if absent. */
  readonly pay?: boolean
}

const NAME = 'eclair'

/**
 * Eclair (0.8 and later): no hold invoices in its core. Its limit of the routing fee is whole satoshis.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createEclair(settings: EclairSettings): LightningNode {
  const password = checkSecretText(NAME, 'password', settings.password)
  const basic = Buffer.from(`:${password}`).toString('base64')
  const http = createHttp(NAME, settings, { authorization: `Basic ${basic}` })
  const { clock = systemClock, pay = true } = settings

  async function call(
    path: string,
    form: Readonly<Record<string, string>>,
    rest: Pick<Question, 'timeoutMs' | 'signal'> = {},
  ): Promise<Answer> {
    return http.ask({ method: 'POST', path, form, ...rest })
  }

  async function look(hash: string): Promise<PaymentState | undefined> {
    const answer = await call('/getsentinfo', { paymentHash: hash })
    if (!answer.ok) throw misread('an error')
    return readParts(readList(answer.said, 'getsentinfo'))
  }

  return {
    name: NAME,
    can: { hold: false, msat: true, feeLimit: true, pay, lookup: true, offers: false },
    async open() {
      const info = demand(await call('/getinfo', {}))
      const network = readNetwork(readText(info, 'network'))
      return { network, publicKey: readText(info, 'nodeId') }
    },
    async createInvoice({ msat, memo, expiresInS }) {
      const form = { description: memo, amountMsat: `${msat}`, expireIn: `${expiresInS}` }
      const made = demand(await call('/createinvoice', form))
      return { invoice: readText(made, 'serialized'), hash: readHex32(made, 'paymentHash') }
    },
    async invoice(hash) {
      const answer = await call('/getreceivedinfo', { paymentHash: hash })
      return answer.status === 404 ? undefined : readReceived(demand(answer))
    },
    ...(pay &&
      createPay({
        clock,
        look,
        async send({ invoice, feeMaxMsat, timeoutMs }, _hash, signal) {
          const form = {
            invoice,
            // The larger of the two counts.
            maxFeeFlatSat: `${feeMaxMsat / 1000n}`,
            maxFeePct: '0',
            blocking: 'true',
          }
          const late = timeoutMs + GRACE_MS
          return readSent(await call('/payinvoice', form, { timeoutMs: late, signal }))
        },
      })),
    close: async () => http.close(),
  }
}

/** What a payment cost stands in its parts, so that a good end is left to the books to tell. */
function readSent({ status, ok, said }: Answer): PaymentState {
  const { type, error } = isObject(said) ? said : {}
  // Nothing is sent of what the node does not take in, as an invoice that has expired.
  if (type === 'payment-failed' || status === 400) return failed(error)
  if (!ok) throw misread('an error')
  return { state: 'inFlight' }
}

/** Every part of every attempt with this payment hash. While one is pending, what it costs is not known. */
function readParts(parts: readonly JsonObject[]): PaymentState | undefined {
  if (parts.length === 0) return undefined
  const states = parts.map(({ status }) => readObject(status, 'status'))
  const sent = states.filter(({ type }) => type === 'sent')
  const [first] = sent
  if (states.some(({ type }) => type !== 'sent' && type !== 'failed')) return { state: 'inFlight' }
  if (!first) return failed(undefined)
  const feeMsat = sent.reduce((sum, part) => sum + readWhole(part, 'feesPaid'), 0n)
  return { state: 'succeeded', preimage: maybeHex32(first, 'paymentPreimage'), feeMsat }
}

const states: Readonly<Record<string, InvoiceState['state']>> = {
  pending: 'open',
  received: 'settled',
  expired: 'cancelled',
}

function readReceived(said: JsonObject): InvoiceState {
  const status = readObject(said['status'], 'status')
  const state = states[readText(status, 'type')]
  if (!state) throw misread('status')
  const receivedMsat = state === 'settled' ? readWhole(status, 'amount') : 0n
  return { state, receivedMsat, ...timeOf(status['receivedAt']) }
}

/** Milliseconds in old versions, an object with seconds in new ones. */
function timeOf(said: Json | undefined): { readonly settledAt?: number } {
  const settledAt = isObject(said) ? Number(said['unix']) * 1000 : Number(said)
  return Number.isSafeInteger(settledAt) && settledAt > 0 ? { settledAt } : {}
}
