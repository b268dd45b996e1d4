// Every back end's adapter against its double: real payments over two hops, with the adapter once as the seller and once as the
// payer.
import assert from 'node:assert/strict'
import { hash as digest, randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import {
  createCln,
  createEclair,
  createLnbits,
  createLnd,
  createLnurl,
  createNwc,
  createPhoenixd,
} from '../../../rails/lightning/adapters/index.ts'
import type { Clock } from '../../../core/ports.ts'
import { systemClock } from '../../../core/clock.ts'
import { chains } from '../../../rails/lightning/networks.ts'
import type { LightningNode, PaymentState } from '../../../rails/lightning/node.ts'
import type { LdkNode } from '../ldk.ts'
import { startLightning } from '../network.ts'
import { startCln } from './cln.ts'
import { startEclair } from './eclair.ts'
import { startLnbits } from './lnbits.ts'
import { startLnd } from './lnd.ts'
import type { NwcDouble } from './nwc.ts'
import { startLnurl } from './lnurl.ts'
import { startNwc } from './nwc.ts'
import { startPhoenixd } from './phoenixd.ts'
import type { Double } from './server.ts'

const network = await startLightning()
const { buyer, router, seller } = network
after(() => network.close())

const SECRET = 'abcd12'
const WRONG = 'abcd13'
/** Adapters give a payment seconds of grace, which these tests would spend. Their time goes faster, so that all their limits are long. */
const SPEED = 20
const startedAt = Date.now()
const clock: Clock = {
  now: () => startedAt + SPEED * (Date.now() - startedAt),
  sleep: (ms, signal) => systemClock.sleep(ms / SPEED, signal),
}
const TIMEOUT_MS = 15_000
const timeoutMs = SPEED * TIMEOUT_MS
/** As long as an answer that never comes is waited for, and a payment that is stuck. */
const LOST_MS = SPEED * 1_000
const SHORT_MS = SPEED * 50

interface BackEnd {
  readonly name: string
  readonly start: (node: LdkNode) => Promise<Double>
  readonly connect: (double: Double, secret: string) => LightningNode
  /** Where it pays. */
  readonly payPath: string
}

const backEnds: readonly BackEnd[] = [
  {
    name: 'lnd',
    start: (node) => startLnd(node, SECRET),
    connect: ({ url }, macaroon) => createLnd({ url, macaroon, clock, timeoutMs }),
    payPath: '/v2/router/send',
  },
  {
    name: 'cln with xpay',
    start: (node) => startCln(node, SECRET),
    connect: ({ url }, rune) => createCln({ url, rune, hold: true, clock, timeoutMs }),
    payPath: '/v1/xpay',
  },
  {
    name: 'cln with pay',
    start: (node) => startCln(node, SECRET),
    connect: ({ url }, rune) => createCln({ url, rune, payWith: 'pay', clock, timeoutMs }),
    payPath: '/v1/pay',
  },
  {
    name: 'phoenixd',
    start: (node) => startPhoenixd(node, SECRET),
    connect: ({ url }, password) => createPhoenixd({ url, password, clock, timeoutMs }),
    payPath: '/payinvoice',
  },
  {
    name: 'lnbits',
    start: (node) => startLnbits(node, SECRET),
    connect: ({ url }, key) => createLnbits({ url, key, network: 'regtest', clock, timeoutMs }),
    payPath: '/api/v1/payments',
  },
  {
    name: 'eclair',
    start: (node) => startEclair(node, SECRET),
    connect: ({ url }, password) => createEclair({ url, password, clock, timeoutMs }),
    payPath: '/payinvoice',
  },
]

async function soon(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const untilAt = Date.now() + TIMEOUT_MS; !(await holds());) {
    assert.ok(Date.now() < untilAt, 'it came in time')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function wanted(msat: bigint): { msat: bigint; memo: string; expiresInS: number } {
  return { msat, memo: 'weather', expiresInS: 600 }
}

/** What every back end must be able to do; `of` gives the adapter and its double, once they are there. */
function suite(
  payPath: string,
  of: () => { sells: LightningNode; pays: LightningNode; double: Double },
): void {
  const pay = (invoice: string, withinMs = timeoutMs): Promise<PaymentState> => {
    const paying = of().pays.pay?.({ invoice, feeMaxMsat: 5_000n, timeoutMs: withinMs })
    assert.ok(paying, 'it pays')
    return paying
  }
  const payment = (hash: string): Promise<PaymentState | undefined> =>
    of().pays.payment?.(hash) ?? Promise.resolve(undefined)

  test('tells where it is', async () => {
    const { network, publicKey } = await of().sells.open()
    assert.equal(network, chains['bcrt'])
    assert.ok(publicKey === '' || publicKey === seller.publicKey)
  })

  test('sells: an invoice is open, is paid, and is settled', async () => {
    const { sells } = of()
    const { invoice, hash } = await sells.createInvoice(wanted(21_000n))
    assert.deepEqual(await sells.invoice(hash), { state: 'open', receivedMsat: 0n })
    const paid = await buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS })
    assert.equal(paid.state, 'succeeded')
    const state = await sells.invoice(hash)
    assert.deepEqual([state?.state, state?.receivedMsat], ['settled', 21_000n])
  })

  test('does not know what was never made, or sent', async () => {
    const hash = randomBytes(32).toString('hex')
    assert.equal(await of().sells.invoice(hash), undefined)
    assert.equal(await payment(hash), undefined)
  })

  test('sells to the millisatoshi where it says so', async () => {
    const { sells } = of()
    if (!sells.can.msat) return
    const { invoice, hash } = await sells.createInvoice(wanted(21_001n))
    await buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS })
    assert.equal((await sells.invoice(hash))?.receivedMsat, 21_001n)
  })

  test('pays, and knows what it paid', async () => {
    const { invoice, hash } = await seller.createInvoice(wanted(34_000n))
    const before = buyer.balanceMsat()
    const paid = await pay(invoice)
    assert.ok(paid.state === 'succeeded', JSON.stringify(paid.state))
    assert.equal(digest('sha256', Buffer.from(paid.preimage, 'hex'), 'hex'), hash)
    assert.equal(paid.feeMsat, 1_000n)
    assert.deepEqual(await payment(hash), paid)
    assert.deepEqual(await pay(invoice), paid)
    await soon(() => buyer.balanceMsat() === before - 35_000n)
  })

  test('keeps to a limit of the fee where it says so', async () => {
    const { pays } = of()
    if (!pays.can.feeLimit) return
    const { invoice, hash } = await seller.createInvoice(wanted(34_000n))
    const low = await pays.pay?.({ invoice, feeMaxMsat: 999n, timeoutMs })
    assert.equal(low?.state, 'failed')
    assert.equal((await seller.invoice(hash))?.state, 'open')
    assert.equal((await pay(invoice)).state, 'succeeded')
  })

  test('an answer that is lost is looked up, and the payment is made once', async () => {
    const { double } = of()
    const { invoice, hash } = await seller.createInvoice(wanted(13_000n))
    const before = buyer.balanceMsat()
    double.faults.lose.push(payPath)
    assert.equal((await pay(invoice, LOST_MS)).state, 'succeeded')
    assert.equal(double.faults.lose.length, 0)
    assert.equal((await payment(hash))?.state, 'succeeded')
    await soon(() => buyer.balanceMsat() === before - 14_000n)
  })

  test('a payment that is stuck is in flight, and pays once when it moves again', async () => {
    const { invoice, hash } = await seller.createInvoice(wanted(13_000n))
    const before = buyer.balanceMsat()
    router.stick(true)
    try {
      assert.deepEqual(await pay(invoice, SHORT_MS), { state: 'inFlight' })
      assert.deepEqual(await payment(hash), { state: 'inFlight' })
    } finally {
      router.stick(false)
    }
    assert.equal((await pay(invoice)).state, 'succeeded')
    await soon(() => buyer.balanceMsat() === before - 14_000n)
  })

  test('a payment that finds no way fails, and moves nothing', async () => {
    const { invoice, hash } = await seller.createInvoice(wanted(13_000n))
    await seller.cancel(hash)
    const before = buyer.balanceMsat()
    assert.equal((await pay(invoice)).state, 'failed')
    await soon(() => buyer.balanceMsat() === before)
  })

  test('holds where it says so: what is held is settled, or given back', async () => {
    const { sells } = of()
    if (!sells.can.hold) return
    for (const end of ['settled', 'cancelled'] as const) {
      const preimage = randomBytes(32)
      const hash = digest('sha256', preimage, 'hex')
      const { invoice } = await sells.createInvoice({ ...wanted(8_000n), hash })
      const paying = buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS })
      await soon(async () => (await sells.invoice(hash))?.state === 'held')
      assert.equal((await sells.invoice(hash))?.receivedMsat, 8_000n)
      if (end === 'settled') await sells.settle?.(preimage.toString('hex'))
      else await sells.cancel?.(hash)
      assert.equal((await paying).state, end === 'settled' ? 'succeeded' : 'failed')
      assert.equal((await sells.invoice(hash))?.state, end)
    }
  })

  test('fetches an invoice from a BOLT12 offer where it says so, and pays it', async () => {
    const { pays } = of()
    if (!pays.can.offers) return
    const invoice = await pays.fetchInvoice?.(seller.createOffer(), 6_000n)
    assert.ok(invoice !== undefined)
    assert.equal((await pay(invoice)).state, 'succeeded')
  })
}

for (const { name, start, connect, payPath } of backEnds)
  describe(name, () => {
    const doubles: Double[] = []
    const nodes: LightningNode[] = []
    before(async () => {
      doubles.push(await start(seller), await start(buyer))
      nodes.push(...doubles.map((double) => connect(double, SECRET)))
    })
    after(async () => {
      await Promise.all([...nodes, ...doubles].map((one) => one.close()))
    })
    suite(payPath, () => {
      const [sells, pays, double] = [nodes[0], nodes[1], doubles[1]]
      assert.ok(sells && pays && double)
      return { sells, pays, double }
    })

    test('is misconfigured with another credential', async () => {
      const [double] = doubles
      assert.ok(double)
      const stranger = connect(double, WRONG)
      await assert.rejects(stranger.open(), { code: 'misconfigured' })
      await stranger.close()
    })
  })

describe('nwc', () => {
  const doubles: NwcDouble[] = []
  const nodes: LightningNode[] = []
  before(async () => {
    doubles.push(await startNwc(seller), await startNwc(buyer))
    nodes.push(...doubles.map(({ uri }) => createNwc({ uri, hold: true, clock, timeoutMs })))
  })
  after(async () => {
    await Promise.all([...nodes, ...doubles].map((one) => one.close()))
  })
  suite('pay_invoice', () => {
    const [sells, pays, double] = [nodes[0], nodes[1], doubles[1]]
    assert.ok(sells && pays && double)
    return { sells, pays, double }
  })

  test('an answer that comes late changes nothing', async () => {
    const [, pays] = nodes
    const { invoice, hash } = await seller.createInvoice(wanted(13_000n))
    doubles[1]?.faults.lose.push('pay_invoice')
    const paid = await pays?.pay?.({ invoice, feeMaxMsat: 5_000n, timeoutMs: LOST_MS })
    assert.equal(paid?.state, 'succeeded')
    for (const double of doubles) double.deliver()
    // Its answer comes over the same line, after the late one.
    assert.deepEqual(await pays?.payment?.(hash), paid)
  })

  test('is misconfigured with another secret', async () => {
    const [double] = doubles
    const uri = double?.uri.replace(/.$/, (last) => (last === '0' ? '1' : '0')) ?? ''
    const stranger = createNwc({ uri, clock, timeoutMs })
    await assert.rejects(stranger.open(), { code: 'misconfigured' })
    await stranger.close()
  })
})

test('lnurl sells through an address, and only what has a preimage is paid', async () => {
  const double = await startLnurl(seller)
  const address = double.url.replace('http://', 'shop@')
  const verify = `${double.url}/verify/{hash}`
  const lnurl = createLnurl({ address, verify, network: 'regtest', clock, timeoutMs })
  assert.equal((await lnurl.open()).network, chains['bcrt'])
  const { invoice, hash } = await lnurl.createInvoice(wanted(21_000n))
  assert.equal((await lnurl.invoice(hash))?.state, 'open')
  assert.equal((await buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs })).state, 'succeeded')
  assert.deepEqual(await lnurl.invoice(hash), { state: 'settled', receivedMsat: 21_000n })
  await assert.rejects(lnurl.createInvoice(wanted(1n)), { code: 'misconfigured' })
  await lnurl.close()
  await double.close()
})

test('a double counts what it was asked, and forgets nothing when it is slow', async () => {
  const double = await startLnd(seller, SECRET)
  const lnd = createLnd({ url: double.url, macaroon: SECRET, timeoutMs: 100 })
  double.faults.delayMs = 300
  await assert.rejects(lnd.createInvoice(wanted(1_000n)), { code: 'rail-unavailable' })
  double.faults.delayMs = 0
  await lnd.createInvoice(wanted(1_000n))
  assert.equal(double.calls.get('POST /v1/invoices'), 2)
  await lnd.close()
  await double.close()
})
