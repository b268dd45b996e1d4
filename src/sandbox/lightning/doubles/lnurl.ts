import { hash as digest } from 'node:crypto'
import type { JsonObject } from '../../../core/json.ts'
import type { LdkNode } from '../ldk.ts'
import type { Call, Double, Reply } from './server.ts'
import { serve } from './server.ts'

/** Least and most that the address takes, in millisatoshis. */
const MSAT_MIN = 1_000
const MSAT_MAX = 1_000_000_000
const COMMENT_CHARS_MAX = 120
/** How long an invoice lives, in seconds. */
const EXPIRY_S = 600

/** A service behind Lightning addresses (LUD-06, LUD-12, LUD-16, and LUD-21 to verify): any user of its host is that node. */
export function startLnurl(node: LdkNode): Promise<Double> {
  return serve({
    routes: {
      'GET /.well-known/lnurlp/*': (call) => {
        const said = { tag: 'payRequest', minSendable: MSAT_MIN, maxSendable: MSAT_MAX }
        const callback = `${homeOf(call)}/callback/${call.tail}`
        const metadata = metadataOf(call)
        return ok({ ...said, callback, metadata, commentAllowed: COMMENT_CHARS_MAX })
      },
      'GET /callback/*': (call) => create(node, call),
      'GET /verify/*': ({ tail }) => {
        const made = node.made(tail)
        if (!made) return wrong('Not found')
        const settled = made.state === 'settled'
        const preimage = settled ? (made.preimage ?? null) : null
        return ok({ status: 'OK', settled, preimage, pr: made.invoice })
      },
    },
    refuse: () => undefined,
    missing: wrong('Not found'),
  })
}

async function create(node: LdkNode, call: Call): Promise<Reply> {
  const amount = Number(call.query.get('amount'))
  const taken = Number.isSafeInteger(amount) && amount >= MSAT_MIN && amount <= MSAT_MAX
  if (!taken) return wrong('The amount is out of range.')
  // The invoice says that it is for this very address, by the hash of what the address said of itself.
  const describes = digest('sha256', metadataOf(call), 'hex')
  const request = { msat: BigInt(amount), memo: '', expiresInS: EXPIRY_S, describes }
  const { invoice, hash } = await node.createInvoice(request)
  return ok({ pr: invoice, routes: [], verify: `${homeOf(call)}/verify/${hash}` })
}

function metadataOf(call: Call): string {
  const address = `${call.tail}@${call.header('host')}`
  return JSON.stringify([
    ['text/plain', `To ${address}`],
    ['text/identifier', address],
  ])
}

function homeOf(call: Call): string {
  return `http://${call.header('host')}`
}

function ok(json: JsonObject): Reply {
  return { status: 200, json }
}

/** Errors come with status 200. */
function wrong(reason: string): Reply {
  return ok({ status: 'ERROR', reason })
}
