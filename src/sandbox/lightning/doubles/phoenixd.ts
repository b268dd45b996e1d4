import type { JsonObject } from '../../../core/json.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { LdkNode, Made, Sent } from '../ldk.ts'
import type { Call, Double, Reply } from './server.ts'
import { PAY_MS_MAX, serve } from './server.ts'

/** How long an invoice lives where nothing is said, in seconds. */
const EXPIRY_S = 3_600
/** What it takes for a payment: four thousandths, and four satoshis. Nobody can set a limit. */
const FEE_PARTS = 250n
const FEE_BASE_MSAT = 4_000n

/** A node that speaks as phoenixd does: forms in, JSON out, whole satoshis, no hold, no limit of the fee. */
export function startPhoenixd(node: LdkNode, password: string): Promise<Double> {
  return serve({
    routes: {
      'GET /getinfo': () =>
        ok({ nodeId: node.publicKey, channels: [], chain: 'regtest', version: '0.5.1' }),
      'POST /createinvoice': ({ form }) => create(node, form),
      'GET /payments/incoming/*': ({ tail }) => {
        const made = node.made(tail)
        return made ? ok(incomingOf(made)) : missing
      },
      'POST /payinvoice': (call) => pay(node, call),
      'GET /payments/outgoingbyhash/*': ({ tail }) => {
        const sent = node.sent(tail)
        return sent ? ok(outgoingOf(sent)) : missing
      },
    },
    refuse: (call) =>
      call.header('authorization') === basicOf(password)
        ? undefined
        : { status: 401, text: 'Invalid authentication (use basic auth with the http password)' },
    missing,
  })
}

const missing: Reply = { status: 404, text: 'Not found' }

async function create(node: LdkNode, form: URLSearchParams): Promise<Reply> {
  const amount = form.get('amountSat') ?? ''
  if (!/^\d{1,15}$/.test(amount)) return { status: 400, text: 'amountSat is not a number' }
  const made = await node.createInvoice({
    msat: BigInt(amount) * 1000n,
    memo: form.get('description') ?? '',
    expiresInS: Number(form.get('expirySeconds')) || EXPIRY_S,
  })
  return ok({ amountSat: Number(amount), paymentHash: made.hash, serialized: made.invoice })
}

/** A payment that failed is answered with 200 as well. */
async function pay(node: LdkNode, { form, signal }: Call): Promise<Reply> {
  const text = form.get('invoice') ?? ''
  const invoice = readInvoice(text)
  if (typeof invoice === 'string') return { status: 400, text: 'invoice is invalid' }
  const { msat = 0n, hash } = invoice
  if (node.sent(hash)?.state.state === 'succeeded')
    return ok({ reason: 'this invoice has already been paid' })
  const feeMaxMsat = msat / FEE_PARTS + FEE_BASE_MSAT
  const state = await node.pay({ invoice: text, feeMaxMsat, timeoutMs: PAY_MS_MAX }, signal)
  if (state.state !== 'succeeded')
    return ok({ paymentHash: hash, reason: state.state === 'failed' ? state.reason : 'pending' })
  return ok({
    recipientAmountSat: Number(msat / 1000n),
    routingFeeSat: Number(state.feeMsat / 1000n),
    paymentHash: hash,
    paymentPreimage: state.preimage,
  })
}

/** The preimage is there before anything is paid. */
function incomingOf(made: Made): JsonObject {
  const { state, hash, invoice, memo, msat, receivedMsat, madeAt, expiresAt, settledAt } = made
  return {
    type: 'incoming_payment',
    subType: 'lightning',
    paymentHash: hash,
    preimage: made.preimage ?? '',
    description: memo,
    invoice,
    isPaid: state === 'settled',
    isExpired: state === 'cancelled',
    requestedSat: Number(msat / 1000n),
    receivedSat: Number(receivedMsat / 1000n),
    fees: 0,
    createdAt: madeAt,
    expiresAt,
    completedAt: settledAt ?? null,
  }
}

function outgoingOf({ state, hash, invoice, msat, madeAt, endedAt }: Sent): JsonObject {
  const paid = state.state === 'succeeded'
  return {
    type: 'outgoing_payment',
    subType: 'lightning',
    paymentHash: hash,
    invoice,
    isPaid: paid,
    sent: paid ? Number((msat + state.feeMsat) / 1000n) : 0,
    fees: paid ? Number(state.feeMsat) : 0,
    ...(paid && { preimage: state.preimage }),
    createdAt: madeAt,
    completedAt: endedAt ?? null,
  }
}

function ok(json: JsonObject): Reply {
  return { status: 200, json }
}

/** Basic credentials without a user's name (RFC 7617). */
export function basicOf(password: string): string {
  return `Basic ${Buffer.from(`:${password}`).toString('base64')}`
}
