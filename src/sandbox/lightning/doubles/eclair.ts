import type { JsonObject } from '../../../core/json.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { LdkNode, Made, Sent } from '../ldk.ts'
import { basicOf } from './phoenixd.ts'
import type { Call, Double, Reply } from './server.ts'
import { PAY_MS_MAX, secondsOf, serve } from './server.ts'

/** How long an invoice lives where nothing is said, in seconds. */
const EXPIRY_S = 3_600
/** What a payment costs at most where nothing is said: the larger of three hundredths and 21 satoshis. */
const FEE_PERCENT = '3'
const FEE_FLAT_SAT = '21'

/** A node that speaks as Eclair does: every call is a form that is posted. */
export function startEclair(node: LdkNode, password: string): Promise<Double> {
  return serve({
    routes: {
      'POST /getinfo': () =>
        ok({ version: '0.11.0', nodeId: node.publicKey, alias: 'double', network: 'regtest' }),
      'POST /createinvoice': async ({ form }) => {
        const msat = BigInt(form.get('amountMsat') ?? 0)
        const memo = form.get('description') ?? ''
        const expiresInS = Number(form.get('expireIn')) || EXPIRY_S
        const { invoice, hash } = await node.createInvoice({ msat, memo, expiresInS })
        return ok({
          serialized: invoice,
          paymentHash: hash,
          amount: Number(msat),
          expiry: expiresInS,
        })
      },
      'POST /getreceivedinfo': ({ form }) => {
        const made = node.made(form.get('paymentHash') ?? '')
        return made ? ok(receivedOf(made)) : missing
      },
      'POST /payinvoice': (call) => pay(node, call),
      'POST /getsentinfo': ({ form }) => {
        const sent = node.sent(form.get('paymentHash') ?? '')
        return { status: 200, json: sent ? [sentOf(sent)] : [] }
      },
    },
    refuse: (call) =>
      call.header('authorization') === basicOf(password)
        ? undefined
        : { status: 401, text: 'The supplied authentication is invalid' },
    missing,
  })
}

const missing: Reply = { status: 404, json: { error: 'Not found' } }

async function pay(node: LdkNode, { form, signal }: Call): Promise<Reply> {
  const text = form.get('invoice') ?? ''
  const invoice = readInvoice(text)
  if (typeof invoice === 'string') return { status: 400, json: { error: 'Invalid invoice' } }
  const { msat = 0n, hash } = invoice
  const flat = BigInt(form.get('maxFeeFlatSat') ?? FEE_FLAT_SAT) * 1000n
  const part =
    (msat * BigInt(Math.round(Number(form.get('maxFeePct') ?? FEE_PERCENT) * 100))) / 10_000n
  const feeMaxMsat = flat > part ? flat : part
  const waits = form.get('blocking') === 'true'
  const timeoutMs = waits ? PAY_MS_MAX : 0
  const state = await node.pay({ invoice: text, feeMaxMsat, timeoutMs }, signal)
  if (!waits) return { status: 200, json: hash }
  if (state.state !== 'succeeded')
    return ok({ type: 'payment-failed', id: hash, paymentHash: hash, failures: [] })
  return ok({
    type: 'payment-sent',
    id: hash,
    paymentHash: hash,
    paymentPreimage: state.preimage,
    recipientAmount: Number(msat),
    parts: [{ id: hash, amount: Number(msat), feesPaid: Number(state.feeMsat) }],
  })
}

function receivedOf({
  state,
  invoice,
  hash,
  receivedMsat,
  madeAt,
  settledAt = 0,
}: Made): JsonObject {
  const paid = { type: 'received', amount: Number(receivedMsat), receivedAt: timeOf(settledAt) }
  const status =
    state === 'settled' ? paid : { type: state === 'cancelled' ? 'expired' : 'pending' }
  const paymentRequest = { serialized: invoice, paymentHash: hash }
  return { paymentRequest, paymentType: 'Standard', createdAt: timeOf(madeAt), status }
}

function sentOf({ state, hash, msat, madeAt, endedAt = 0 }: Sent): JsonObject {
  const completedAt = timeOf(endedAt)
  const status: JsonObject =
    state.state === 'succeeded'
      ? {
          type: 'sent',
          paymentPreimage: state.preimage,
          feesPaid: Number(state.feeMsat),
          completedAt,
        }
      : state.state === 'failed'
        ? { type: 'failed', failures: [], completedAt }
        : { type: 'pending' }
  const amount = Number(msat)
  const times = { createdAt: timeOf(madeAt), status }
  return { id: hash, parentId: hash, paymentHash: hash, amount, recipientAmount: amount, ...times }
}

function timeOf(ms: number): JsonObject {
  return { iso: new Date(ms).toISOString(), unix: secondsOf(ms) }
}

function ok(json: JsonObject): Reply {
  return { status: 200, json }
}
