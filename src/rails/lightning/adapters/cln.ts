import { hash as digest } from 'node:crypto'
import { systemChance, uuid } from '../../../core/chance.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Chance } from '../../../core/ports.ts'
import { readOfferInvoice } from '../bolt12.ts'
import type { InvoiceState, LightningNode, PaymentState } from '../node.ts'
import type { Answer, HttpSettings, Question } from './http.ts'
import { createHttp } from './http.ts'
import { GRACE_MS, createPay, failed, reach } from './pay.ts'
import {
  checkSecretText,
  demand,
  maybeHex32,
  misread,
  readHex32,
  readList,
  readNetwork,
  readText,
  readWhole,
  settledAtS,
  toNumber,
} from './read.ts'

/** What Core Lightning is reached with. */
export interface ClnSettings extends HttpSettings {
  /** The rune, limited to the methods that the README names. */
  readonly rune: string
  /** Whether it pays: refunds, and a buyer's wallet. True if absent. */
  readonly pay?: boolean
  /** The command that pays: `xpay` (24.11 and later, the default), or `pay`. */
  readonly payWith?: 'xpay' | 'pay'
  /** Whether the plugin `hold` (of Boltz) is installed. Its invoices have no memo and live for an hour. */
  readonly hold?: boolean
  readonly chance?: Chance
}

const NAME = 'cln'

/**
 * Core Lightning through clnrest (24.05 and later). Holds payments where the plugin `hold` is there; fetches invoices from BOLT12
 * offers.
 * @throws {RangeError} when the settings cannot be used.
 */
export function createCln(settings: ClnSettings): LightningNode {
  const http = createHttp(NAME, settings, { rune: checkSecretText(NAME, 'rune', settings.rune) })
  const { clock = systemClock, chance = systemChance, pay = true } = settings
  const { hold = false, payWith = 'xpay' } = settings

  /** Every call is a POST, and answers 201. */
  async function call(
    method: string,
    json: JsonObject,
    rest: Pick<Question, 'timeoutMs' | 'signal'> = {},
  ): Promise<Answer> {
    return http.ask({ method: 'POST', path: `/v1/${method}`, json, ...rest })
  }

  async function tell(method: string, json: JsonObject): Promise<JsonObject> {
    return demand(await call(method, json))
  }

  async function invoice(hash: string): Promise<InvoiceState | undefined> {
    const found = await tell('listinvoices', { payment_hash: hash })
    const [mine] = readList(found['invoices'], 'invoices')
    if (mine) return readInvoiceState(mine)
    return hold ? held(hash) : undefined
  }

  async function held(hash: string): Promise<InvoiceState | undefined> {
    const found = await tell('listholdinvoices', { payment_hash: hash })
    const [mine] = readList(found['holdinvoices'], 'holdinvoices')
    return mine && readHeld(mine)
  }

  async function look(hash: string): Promise<PaymentState | undefined> {
    const found = await tell('listpays', { payment_hash: hash })
    return readPays(readList(found['pays'], 'pays'))
  }

  return {
    name: NAME,
    can: { hold, msat: true, feeLimit: true, pay, lookup: true, offers: pay, amountless: pay },
    async open() {
      const info = await tell('getinfo', {})
      return { network: readNetwork(readText(info, 'network')), publicKey: readText(info, 'id') }
    },
    async createInvoice({ msat, memo, expiresInS, hash }) {
      if (hash !== undefined) {
        const made = await tell('holdinvoice', { payment_hash: hash, amount: toNumber(msat) })
        return { invoice: readText(made, 'bolt11'), hash }
      }
      const made = await tell('invoice', {
        amount_msat: toNumber(msat),
        label: `tolsey-${uuid(chance)}`,
        description: memo,
        expiry: expiresInS,
      })
      return { invoice: readText(made, 'bolt11'), hash: readHex32(made, 'payment_hash') }
    },
    invoice,
    ...(hold && {
      settle: (preimage: string) =>
        reach(
          NAME,
          'settled',
          async () => (await call('settleholdinvoice', { preimage })).ok,
          () => held(digest('sha256', Buffer.from(preimage, 'hex'), 'hex')),
        ),
      cancel: (hash: string) =>
        reach(
          NAME,
          'cancelled',
          async () => (await call('cancelholdinvoice', { payment_hash: hash })).ok,
          () => held(hash),
        ),
    }),
    ...(pay && {
      ...createPay({
        clock,
        look,
        async send({ invoice: payable, msat, feeMaxMsat, timeoutMs }, _hash, signal) {
          const json = {
            [payWith === 'xpay' ? 'invstring' : 'bolt11']: payable,
            ...(msat !== undefined && { amount_msat: toNumber(msat) }),
            maxfee: toNumber(feeMaxMsat),
            retry_for: Math.max(1, Math.ceil(timeoutMs / 1000)),
          }
          const late = timeoutMs + GRACE_MS
          const { ok, said } = await call(payWith, json, { timeoutMs: late, signal })
          const { code, message } = isObject(said) ? said : {}
          if (!ok && typeof code === 'number') return failed(message)
          return readPaid(demand({ ok, said }))
        },
      }),
      async fetchInvoice(offer: string, msat: bigint) {
        const amount = toNumber(msat)
        const fetched = await tell('fetchinvoice', { offer, amount_msat: amount })
        const text = readText(fetched, 'invoice')
        const invoice = readOfferInvoice(text)
        if (typeof invoice === 'string' || invoice.msat !== msat) throw misread('invoice')
        return text
      },
    }),
    close: async () => http.close(),
  }
}

function readPaid(said: JsonObject): PaymentState {
  // `pay` answers a payment that is still on its way as well.
  const { status } = said
  if (status === 'pending') return { state: 'inFlight' }
  if (status === 'failed') return failed(undefined)
  const feeMsat = feeOf(said)
  return { state: 'succeeded', preimage: maybeHex32(said, 'payment_preimage'), feeMsat }
}

/** All attempts of one payment hash: the parts are summed up by the node. */
function readPays(pays: readonly JsonObject[]): PaymentState | undefined {
  const paid = pays.find(({ status }) => status === 'complete')
  if (paid)
    return { state: 'succeeded', preimage: maybeHex32(paid, 'preimage'), feeMsat: feeOf(paid) }
  if (pays.some(({ status }) => status !== 'failed')) return { state: 'inFlight' }
  return pays.length > 0 ? failed(undefined) : undefined
}

function feeOf(said: JsonObject): bigint {
  const sent = readWhole(said, 'amount_sent_msat')
  const arrived = said['amount_msat'] === undefined ? sent : readWhole(said, 'amount_msat')
  return sent > arrived ? sent - arrived : 0n
}

const states: Readonly<Record<string, InvoiceState['state']>> = {
  unpaid: 'open',
  accepted: 'held',
  paid: 'settled',
  // Core Lightning takes nothing for an expired invoice.
  expired: 'cancelled',
  cancelled: 'cancelled',
}

function stateOf(said: JsonObject): InvoiceState['state'] {
  const state = states[readText(said, said['state'] === undefined ? 'status' : 'state')]
  if (!state) throw misread('status')
  return state
}

function readInvoiceState(said: JsonObject): InvoiceState {
  return {
    state: stateOf(said),
    receivedMsat: readWhole(said, 'amount_received_msat'),
    ...settledAtS(readWhole(said, 'paid_at')),
  }
}

function readHeld(said: JsonObject): InvoiceState {
  const parts = readList(said['htlcs'], 'htlcs')
  const receivedMsat = parts
    .filter(({ state }) => state === 'paid' || state === 'accepted')
    .reduce((sum, part) => sum + readWhole(part, 'msat'), 0n)
  return { state: stateOf(said), receivedMsat, ...madeUtc(said['settled_at']) }
}

/** The plugin's times are UTC and do not say so. */
function madeUtc(said: Json | undefined): { readonly settledAt?: number } {
  const settledAt = typeof said === 'string' ? Date.parse(`${said.replace(/Z$/, '')}Z`) : Number.NaN
  return Number.isNaN(settledAt) ? {} : { settledAt }
}
