import type { JsonObject } from '../../../core/json.ts'
import { readInvoice } from '../../../rails/lightning/bolt11.ts'
import type { LdkNode } from '../ldk.ts'
import type { Call, Double, Reply } from './server.ts'
import { PAY_MS_MAX, serve, textOf, wholeOf } from './server.ts'

/** How long an invoice lives where nothing is said, in seconds. */
const EXPIRY_S = 3_600
/** What it keeps back for the fee of a payment: a hundredth, and at least two satoshis. */
const FEE_PARTS = 100n
const FEE_MSAT_LEAST = 2_000n
/** Its status for payments that did not succeed. */
const PAYMENT_ERROR = 520

/** A wallet that speaks as LNbits does (version 1), with one key that may do everything. */
export function startLnbits(node: LdkNode, key: string): Promise<Double> {
  const knows = (call: Call): boolean => call.header('x-api-key') === key
  return serve({
    routes: {
      'GET /api/v1/wallet': () => ok(200, { name: 'double', balance: Number(node.balanceMsat()) }),
      'POST /api/v1/payments': (call) =>
        call.json['out'] === true ? pay(node, call) : create(node, call),
      'GET /api/v1/payments/*': (call) => {
        const row = rowOf(node, call.tail)
        if (!row) return ok(404, { detail: 'Payment does not exist.' })
        const paid = row['status'] === 'success'
        const shown = { paid, preimage: paid ? (row['preimage'] ?? null) : null }
        // Whoever knows the hash is told so much, and gets the preimage.
        return ok(
          200,
          knows(call) ? { ...shown, status: row['status'] ?? '', details: row } : shown,
        )
      },
    },
    refuse: (call) =>
      knows(call) || call.tail.length === 64
        ? undefined
        : ok(401, { detail: 'Missing or invalid API key.' }),
    missing: ok(404, { detail: 'Not Found' }),
  })
}

async function create(node: LdkNode, { json }: Call): Promise<Reply> {
  const msat = wholeOf(json, 'amount') * 1000n
  const memo = textOf(json, 'memo')
  const expiresInS = Number(wholeOf(json, 'expiry')) || EXPIRY_S
  const { hash } = await node.createInvoice({ msat, memo, expiresInS })
  return ok(201, rowOf(node, hash) ?? {})
}

async function pay(node: LdkNode, { json, signal }: Call): Promise<Reply> {
  const invoice = textOf(json, 'bolt11')
  const read = readInvoice(invoice)
  if (typeof read === 'string') return ok(400, { detail: 'Bolt11 decoding error.' })
  if (node.sent(read.hash)?.state.state === 'succeeded') return failed('Payment already paid.')
  const part = (read.msat ?? 0n) / FEE_PARTS
  const feeMaxMsat = part > FEE_MSAT_LEAST ? part : FEE_MSAT_LEAST
  const state = await node.pay({ invoice, feeMaxMsat, timeoutMs: PAY_MS_MAX }, signal)
  if (state.state === 'failed') return failed(`Payment failed: ${state.reason}`)
  return ok(201, rowOf(node, read.hash) ?? {})
}

function failed(detail: string): Reply {
  return ok(PAYMENT_ERROR, { detail, status: 'failed' })
}

/** A row of the wallet's books: millisatoshis, with a minus for what went out. */
function rowOf(node: LdkNode, hash: string): JsonObject | undefined {
  const made = node.made(hash)
  if (made) {
    const { invoice, msat, memo, state, preimage = null, madeAt } = made
    const status = { open: 'pending', held: 'pending', settled: 'success', cancelled: 'failed' }[
      state
    ]
    const rest = { bolt11: invoice, payment_request: invoice, memo, status, preimage, fee: 0 }
    return {
      checking_id: hash,
      payment_hash: hash,
      amount: Number(msat),
      ...rest,
      ...timed(madeAt),
    }
  }
  const sent = node.sent(hash)
  if (!sent) return undefined
  const { invoice, msat, state, madeAt } = sent
  const paid = state.state === 'succeeded'
  const status = { succeeded: 'success', failed: 'failed', inFlight: 'pending' }[state.state]
  const rest = { bolt11: invoice, payment_request: invoice, status }
  const preimage = paid ? state.preimage : null
  const fee = paid ? -Number(state.feeMsat) : 0
  return {
    checking_id: hash,
    payment_hash: hash,
    amount: -Number(msat),
    ...rest,
    preimage,
    fee,
    ...timed(madeAt),
  }
}

function timed(madeAt: number): JsonObject {
  return { time: new Date(madeAt).toISOString() }
}

function ok(status: number, json: JsonObject): Reply {
  return { status, json }
}
