import type { Json, JsonObject } from '../../../core/json.ts'
import type { PaymentState } from '../../../rails/lightning/node.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { LdkNode, Made, Sent } from '../ldk.ts'
import type { Call, Double, Reply } from './server.ts'
import { PAY_MS_MAX, secondsOf, serve, textOf, wholeOf } from './server.ts'

/** How long an invoice lives where nothing is said, in seconds. */
const EXPIRY_S = 86_400

/** Codes of gRPC, and the statuses that its gateway makes of them. */
const codes = { unknown: [2, 500], missing: [5, 404], exists: [6, 409] } as const

/** A node that speaks as LND does over REST (`lnrpc`, `invoicesrpc`, `routerrpc`). The macaroon is any hex. */
export function startLnd(node: LdkNode, macaroon: string): Promise<Double> {
  return serve({
    routes: {
      'GET /v1/getinfo': () => ok(infoOf(node)),
      'GET /v1/invoices': () => ok({ invoices: [], first_index_offset: '0' }),
      'POST /v1/invoices': async ({ json }) => {
        const { invoice, hash } = await node.createInvoice(requestOf(json))
        return ok({ r_hash: base64(hash), payment_request: invoice, add_index: '1' })
      },
      'GET /v1/invoice/*': ({ tail }) => {
        const made = node.made(tail)
        return made ? ok(invoiceOf(made)) : error('missing', 'unable to locate invoice')
      },
      'POST /v2/invoices/hodl': async ({ json }) => {
        const hash = hex(textOf(json, 'hash'))
        if (node.made(hash)) return error('unknown', 'invoice with payment hash already exists')
        const { invoice } = await node.createInvoice({ ...requestOf(json), hash })
        return ok({ payment_request: invoice, add_index: '1' })
      },
      'POST /v2/invoices/settle': ({ json }) =>
        attempt(() => node.settle(hex(textOf(json, 'preimage')))),
      'POST /v2/invoices/cancel': ({ json }) =>
        attempt(() => node.cancel(hex(textOf(json, 'payment_hash')))),
      'POST /v2/router/send': (call) => send(node, call),
      'GET /v2/router/track/*': (call) => {
        const sent = node.sent(hex(call.tail))
        if (!sent) return streamed('missing', "payment isn't initiated")
        return {
          status: 200,
          lines: track(node, sent, call.query.get('no_inflight_updates') === 'true', call),
        }
      },
    },
    refuse: (call) =>
      call.header('grpc-metadata-macaroon') === macaroon
        ? undefined
        : error('unknown', 'verification failed: signature mismatch after caveat verification'),
    missing: error('missing', 'Not Found'),
  })
}

function send(node: LdkNode, call: Call): Reply {
  const { json } = call
  const payable = textOf(json, 'payment_request')
  const invoice = readInvoice(payable)
  if (typeof invoice === 'string') return streamed('unknown', 'invalid payment request')
  const before = node.sent(invoice.hash)?.state.state
  if (before === 'succeeded') return streamed('exists', 'invoice is already paid')
  if (before === 'inFlight') return streamed('exists', 'payment is in transition')
  // A limit that is not set means that no fee is paid at all.
  const feeMaxMsat = wholeOf(json, 'fee_limit_msat')
  // It is written down at once, and goes on when whoever asked goes away.
  const msat = json['amt_msat'] === undefined ? {} : { msat: wholeOf(json, 'amt_msat') }
  node.pay({ invoice: payable, ...msat, feeMaxMsat, timeoutMs: 0 }).catch(() => undefined)
  const sent = node.sent(invoice.hash)
  if (!sent) return streamed('unknown', 'the payment could not be sent')
  return { status: 200, lines: track(node, sent, json['no_inflight_updates'] === true, call) }
}

/** The payment as it is, and as it ends. While it is on its way, the stream stays open. */
async function* track(node: LdkNode, sent: Sent, quiet: boolean, call: Call): AsyncGenerator<Json> {
  if (sent.state.state === 'inFlight' && !quiet) yield { result: paymentOf(sent) }
  await node.outcome(sent.hash, PAY_MS_MAX, call.signal)
  const ended = node.sent(sent.hash)
  if (ended && ended.state.state !== 'inFlight') yield { result: paymentOf(ended) }
}

async function attempt(act: () => Promise<void>): Promise<Reply> {
  try {
    await act()
    return ok({})
  } catch {
    return error('unknown', 'invoice is in another state')
  }
}

function requestOf(json: JsonObject): { msat: bigint; memo: string; expiresInS: number } {
  return {
    msat: wholeOf(json, 'value_msat') || wholeOf(json, 'value') * 1000n,
    memo: textOf(json, 'memo'),
    expiresInS: Number(wholeOf(json, 'expiry')) || EXPIRY_S,
  }
}

function infoOf({ publicKey }: LdkNode): JsonObject {
  return {
    version: '0.18.4-beta',
    identity_pubkey: publicKey,
    alias: 'double',
    synced_to_chain: true,
    chains: [{ chain: 'bitcoin', network: 'regtest' }],
  }
}

/** What is 64 bits wide is text, what is bytes is base64. The preimage is there before anything is paid. */
function invoiceOf(made: Made): JsonObject {
  const { state, msat, receivedMsat, expiresAt, madeAt, settledAt = 0, preimage } = made
  const settled = state === 'settled'
  const held = settled || state === 'held'
  return {
    memo: made.memo,
    r_preimage: preimage === undefined ? null : base64(preimage),
    r_hash: base64(made.hash),
    value: `${msat / 1000n}`,
    value_msat: `${msat}`,
    settled,
    creation_date: `${secondsOf(madeAt)}`,
    settle_date: `${secondsOf(settledAt)}`,
    payment_request: made.invoice,
    expiry: `${secondsOf(expiresAt - madeAt)}`,
    amt_paid_sat: `${settled ? receivedMsat / 1000n : 0n}`,
    amt_paid_msat: `${settled ? receivedMsat : 0n}`,
    state: { open: 'OPEN', held: 'ACCEPTED', settled: 'SETTLED', cancelled: 'CANCELED' }[state],
    htlcs: held ? [{ state: settled ? 'SETTLED' : 'ACCEPTED', amt_msat: `${receivedMsat}` }] : [],
  }
}

/** Here, and only here, hash and preimage are hex; a preimage that is not known is zeros. */
function paymentOf({ hash, msat, madeAt, invoice, state }: Sent): JsonObject {
  const feeMsat = state.state === 'succeeded' ? state.feeMsat : 0n
  return {
    payment_hash: hash,
    payment_preimage: state.state === 'succeeded' ? state.preimage : '0'.repeat(64),
    payment_request: invoice,
    value_msat: `${msat}`,
    fee_sat: `${feeMsat / 1000n}`,
    fee_msat: `${feeMsat}`,
    creation_time_ns: `${BigInt(madeAt) * 1_000_000n}`,
    status: { succeeded: 'SUCCEEDED', failed: 'FAILED', inFlight: 'IN_FLIGHT' }[state.state],
    failure_reason: reasonOf(state),
  }
}

function reasonOf(state: PaymentState): string {
  if (state.state !== 'failed') return 'FAILURE_REASON_NONE'
  if (state.reason.includes('payee')) return 'FAILURE_REASON_INCORRECT_PAYMENT_DETAILS'
  return state.reason.includes('route') ? 'FAILURE_REASON_NO_ROUTE' : 'FAILURE_REASON_ERROR'
}

function ok(json: JsonObject): Reply {
  return { status: 200, json }
}

function error(kind: keyof typeof codes, message: string): Reply {
  const [code, status] = codes[kind]
  return { status, json: { code, message, details: [] } }
}

/** In streams, errors stand one deeper. */
function streamed(kind: keyof typeof codes, message: string): Reply {
  const { status, json } = error(kind, message)
  return { status, json: { error: json ?? null } }
}

function base64(value: string): string {
  return Buffer.from(value, 'hex').toString('base64')
}

/** Of either alphabet. */
function hex(value: string): string {
  return Buffer.from(value, 'base64').toString('hex')
}
