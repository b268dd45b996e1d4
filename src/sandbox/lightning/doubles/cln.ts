import type { Json, JsonObject } from '../../../core/json.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { PaymentState } from '../../../rails/lightning/node.ts'
import type { LdkNode, Made, Sent } from '../ldk.ts'
import { loadLdk } from '../wasm.ts'
import { readTarget } from '../target.ts'
import type { Double, Reply, Route } from './server.ts'
import { PAY_MS_MAX, secondsOf, serve, textOf, wholeOf } from './server.ts'

/** How long an invoice lives where nothing is said, in seconds: a week, and an hour for one that is held. */
const EXPIRY_S = 604_800
const HOLD_EXPIRY_S = 3_600
/** What a payment costs at most where nothing is said: a hundredth, and five satoshis for small ones. */
const FEE_MSAT_LEAST = 5_000n
const FEE_PARTS = 100n
/** Error codes of `pay` and of `fetchinvoice`. */
const ROUTE_NOT_FOUND = 205
const OFFER_UNANSWERED = 1003
const PARAMETERS = -32602

/** A node that speaks as Core Lightning does through clnrest, with the plugin `hold`: every call is a POST, every success 201. */
export async function startCln(node: LdkNode, rune: string): Promise<Double> {
  const ldk = await loadLdk()
  /** Labels are taken once. */
  const labels = new Map<string, string>()
  const held = new Set<string>()

  const methods: Readonly<
    Record<string, (json: JsonObject, signal: AbortSignal) => Promise<Reply> | Reply>
  > = {
    getinfo: () =>
      done({ id: node.publicKey, alias: 'double', network: 'regtest', version: 'v25.02' }),
    async invoice(json) {
      const label = textOf(json, 'label')
      if (label === '' || labels.has(label)) return wrong(900, 'Duplicate label')
      const made = await node.createInvoice({
        msat: wholeOf(json, 'amount_msat'),
        memo: textOf(json, 'description'),
        expiresInS: Number(wholeOf(json, 'expiry')) || EXPIRY_S,
      })
      labels.set(label, made.hash)
      const expiresAt = node.made(made.hash)?.expiresAt ?? 0
      return done({
        bolt11: made.invoice,
        payment_hash: made.hash,
        expires_at: secondsOf(expiresAt),
      })
    },
    listinvoices(json) {
      const hash = textOf(json, 'payment_hash')
      const made = held.has(hash) ? undefined : node.made(hash)
      return done({ invoices: made ? [invoiceOf(made)] : [] })
    },
    async holdinvoice(json) {
      const hash = textOf(json, 'payment_hash')
      if (node.made(hash)) return wrong(-1, 'invoice with that payment hash exists already')
      const msat = wholeOf(json, 'amount')
      const made = await node.createInvoice({ msat, memo: '', expiresInS: HOLD_EXPIRY_S, hash })
      held.add(hash)
      return done({ bolt11: made.invoice })
    },
    listholdinvoices(json) {
      const hash = textOf(json, 'payment_hash')
      const made = held.has(hash) ? node.made(hash) : undefined
      return done({ holdinvoices: made ? [heldOf(made)] : [] })
    },
    settleholdinvoice: (json) => attempt(() => node.settle(textOf(json, 'preimage'))),
    cancelholdinvoice: (json) => attempt(() => node.cancel(textOf(json, 'payment_hash'))),
    xpay: (json, signal) => pay(textOf(json, 'invstring'), json, signal),
    pay: (json, signal) => pay(textOf(json, 'bolt11'), json, signal),
    listpays(json) {
      const sent = node.sent(textOf(json, 'payment_hash'))
      return done({ pays: sent ? [payOf(sent)] : [] })
    },
    async fetchinvoice(json) {
      try {
        const msat = wholeOf(json, 'amount_msat')
        const invoice = await node.fetchInvoice(textOf(json, 'offer'), msat)
        return done({ invoice, changes: {} })
      } catch {
        return wrong(OFFER_UNANSWERED, 'Timeout waiting for response')
      }
    },
    decode(json) {
      const text = textOf(json, 'string')
      const target = readTarget(ldk, text)
      if (typeof target === 'string') return done({ valid: false })
      const hash = Buffer.from(target.hash).toString('hex')
      const amount = Number(target.msat)
      if (text.startsWith('lni1'))
        return done({
          type: 'bolt12 invoice',
          valid: true,
          invoice_payment_hash: hash,
          invoice_amount_msat: amount,
        })
      return done({ type: 'bolt11 invoice', valid: true, payment_hash: hash, amount_msat: amount })
    },
  }

  async function pay(invoice: string, json: JsonObject, signal: AbortSignal): Promise<Reply> {
    const open = json['amount_msat'] === undefined ? {} : { msat: wholeOf(json, 'amount_msat') }
    const target = readTarget(ldk, invoice, open.msat)
    if (typeof target === 'string') return wrong(PARAMETERS, 'Invalid invoice')
    const usual = target.msat / FEE_PARTS
    const feeMaxMsat =
      json['maxfee'] === undefined
        ? usual > FEE_MSAT_LEAST
          ? usual
          : FEE_MSAT_LEAST
        : wholeOf(json, 'maxfee')
    // `retry_for` ends the tries, not the wait: a payment that is stuck is waited for.
    const state = await node.pay({ invoice, ...open, feeMaxMsat, timeoutMs: PAY_MS_MAX }, signal)
    if (state.state === 'succeeded') return done(paidOf(target.msat, state))
    return wrong(ROUTE_NOT_FOUND, state.state === 'failed' ? state.reason : 'Pending')
  }

  const routes = Object.entries(methods).map(([name, act]): readonly [string, Route] => [
    `POST /v1/${name}`,
    ({ json, signal }) => act(json, signal),
  ])
  return serve({
    routes: Object.fromEntries(routes),
    refuse: (call) =>
      call.header('rune') === rune
        ? undefined
        : { status: 401, json: { code: 1501, message: 'Not authorized: Not derived from master' } },
    missing: { status: 404, json: { code: -32601, message: 'Unknown command' } },
  })
}

async function attempt(act: () => Promise<void>): Promise<Reply> {
  try {
    await act()
    return done({})
  } catch {
    return wrong(-1, 'invalid state of the invoice')
  }
}

function invoiceOf(made: Made): JsonObject {
  const {
    state,
    invoice,
    hash,
    msat,
    memo,
    expiresAt,
    receivedMsat,
    settledAt = 0,
    preimage,
  } = made
  const paid = state === 'settled'
  return {
    bolt11: invoice,
    payment_hash: hash,
    amount_msat: Number(msat),
    description: memo,
    expires_at: secondsOf(expiresAt),
    status: paid ? 'paid' : state === 'cancelled' ? 'expired' : 'unpaid',
    ...(paid && {
      amount_received_msat: Number(receivedMsat),
      paid_at: secondsOf(settledAt),
      payment_preimage: preimage ?? '',
    }),
  }
}

/** The plugin has words of its own. */
function heldOf({ state, hash, invoice, msat, receivedMsat, madeAt, settledAt }: Made): JsonObject {
  const part = state === 'settled' ? 'paid' : state === 'held' ? 'accepted' : undefined
  const htlcs: Json[] = part === undefined ? [] : [{ state: part, msat: Number(receivedMsat) }]
  return {
    payment_hash: hash,
    bolt11: invoice,
    amount_msat: Number(msat),
    state: { open: 'unpaid', held: 'accepted', settled: 'paid', cancelled: 'cancelled' }[state],
    created_at: new Date(madeAt).toISOString(),
    ...(settledAt !== undefined && { settled_at: new Date(settledAt).toISOString() }),
    htlcs,
  }
}

function paidOf(msat: bigint, state: PaymentState & { readonly state: 'succeeded' }): JsonObject {
  return {
    payment_preimage: state.preimage,
    amount_msat: Number(msat),
    amount_sent_msat: Number(msat + state.feeMsat),
    status: 'complete',
  }
}

function payOf({ hash, invoice, msat, madeAt, state }: Sent): JsonObject {
  const status = { succeeded: 'complete', failed: 'failed', inFlight: 'pending' }[state.state]
  const paid = state.state === 'succeeded' && {
    preimage: state.preimage,
    amount_msat: Number(msat),
    amount_sent_msat: Number(msat + state.feeMsat),
  }
  const text = typeof readInvoice(invoice) === 'string' ? { bolt12: invoice } : { bolt11: invoice }
  return { payment_hash: hash, created_at: secondsOf(madeAt), status, ...text, ...paid }
}

function done(json: JsonObject): Reply {
  return { status: 201, json }
}

function wrong(code: number, message: string): Reply {
  return { status: 500, json: { code, message } }
}
