import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Rail } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { readInvoice } from './bolt11.ts'
import type { Details, Proof } from './forms.ts'
import type { FakeNode } from './fixture.test.ts'
import { createClock, createLog, createNode, offerOf } from './fixture.test.ts'
import { LOCKS_MAX, LOCK_WAIT_MS } from './lock.ts'
import { resolveChain } from './networks.ts'
import { MEMO_CHARS_MAX, lightning } from './rail.ts'
import { lightningWallet } from './wallet.ts'

const secret = 'a-key-of-32-bytes-and-some-more-of-them'
const older = 'the-key-before-that-was-as-long-as-this'

interface Stage {
  readonly clock: ReturnType<typeof createClock>
  readonly seller: FakeNode
  readonly buyer: FakeNode
  readonly rail: Rail<Details, Proof>
  readonly offer: (rail?: Rail<Details, Proof>) => Promise<Offer<Details>>
  readonly again: (secrets?: string | readonly string[]) => Rail<Details, Proof>
}

async function stage(hold = false): Promise<Stage> {
  const clock = createClock()
  const table = new Map()
  const seller = createNode(table, clock)
  const buyer = createNode(table, clock)
  const again = (secrets: string | readonly string[] = secret): Rail<Details, Proof> =>
    lightning({
      node: seller,
      network: 'regtest',
      clock,
      ...((hold || secrets !== secret) && { hold: { secret: secrets } }),
    })
  const rail = again()
  await rail.open()
  const offer = async (by = rail): Promise<Offer<Details>> => {
    const [terms] = by.quote(readPrice('21 SAT'))
    assert(terms)
    return offerOf((await by.issue?.(terms, 'tea', clock.now() + 300_000)) ?? terms)
  }
  return { clock, seller, buyer, rail, offer, again }
}

/** What the seller reads back from its own token. */
function sealed(offer: Offer<Details>): Offer<Details> {
  const { invoice, ...rest } = offer
  assert(invoice !== undefined)
  return rest
}

async function pay({ buyer, clock }: Stage, offer: Offer<Details>): Promise<Proof> {
  return lightningWallet({ node: buyer, clock }).pay(offer, 60_000)
}

describe('a plain payment', () => {
  test('is quoted to the millisatoshi, and issued as an invoice of exactly that', async () => {
    const { rail, offer } = await stage()
    const msats = ['1 MSAT', '0.001 SAT', '0.00000000001 BTC'].map(
      (price) => rail.quote(readPrice(price))[0]?.amount.amount,
    )
    assert.deepEqual(msats, [1n, 1n, 1n])
    for (const price of ['0 SAT', '0.0001 SAT', '1 USD', '21000001 BTC'])
      assert.deepEqual(rail.quote(readPrice(price)), [], price)
    const made = await offer()
    const invoice = readInvoice(made.invoice ?? '')
    assert(typeof invoice !== 'string')
    assert.equal(invoice.msat, 21_000n)
    assert.equal(invoice.hash, made.details.hash)
    assert.equal(invoice.expiresAt, 1_800_000_360_000)
  })

  test('is taken once it is paid, and not before', async () => {
    const s = await stage()
    const offer = await s.offer()
    const early = await s.rail.verify(offer, { preimage: '00'.repeat(32) })
    assert(!early.ok && early.problem.code === 'proof-invalid')
    const none = await s.rail.verify(offer, {})
    assert(!none.ok && none.problem.reason === 'preimage-wrong')
    const proof = await pay(s, offer)
    const good = await s.rail.verify(sealed(offer), proof)
    assert(good.ok)
    const log = createLog()
    const settled = await s.rail.settle(sealed(offer), proof, good.key, log)
    assert(settled.state === 'settled')
    assert.equal(settled.reference, offer.details.hash)
    assert.deepEqual(await s.rail.settle(sealed(offer), proof, good.key, log), settled)
    assert.equal((await s.rail.find(sealed(offer), good.key, log))?.state, 'settled')
  })

  test('with its preimage and a node that is behind is to be sent again', async () => {
    const s = await stage()
    const offer = await s.offer()
    const proof = await pay(s, offer)
    const entry = s.seller.table.get(offer.details.hash)
    assert(entry)
    for (const state of ['open', 'held'] as const) {
      entry.state = state
      const early = await s.rail.verify(offer, proof)
      assert(!early.ok && early.problem.code === 'payment-in-flight', state)
    }
    entry.state = 'settled'
    assert((await s.rail.verify(offer, proof)).ok)
  })

  test('leaves no trace as long as it is not made, and is found after the end of its offer', async () => {
    const s = await stage()
    const offer = await s.offer()
    assert.equal(await s.rail.find(offer, 'k', createLog()), undefined)
    await pay(s, offer)
    s.clock.turn(10_000_000)
    assert.equal((await s.rail.find(offer, 'k', createLog()))?.state, 'settled')
  })

  test('is unknown when the node does not answer, and never an error', async () => {
    const s = await stage()
    const offer = await s.offer()
    const proof = await pay(s, offer)
    s.seller.trouble = { invoice: 'before' }
    await assert.rejects(s.rail.verify(offer, proof), PaymentError)
    assert.equal((await s.rail.settle(offer, proof, 'k', createLog())).state, 'unknown')
    s.seller.trouble = {}
    assert.equal((await s.rail.settle(offer, proof, 'k', createLog())).state, 'settled')
  })

  test('is nothing that could be given back by release', async () => {
    const s = await stage()
    const offer = await s.offer()
    await s.rail.release?.(offer, {}, 'k')
    assert.equal(s.seller.table.get(offer.details.hash)?.state, 'open')
  })
})

describe('an invoice', () => {
  test('that the node makes wrong is not offered', async () => {
    const s = await stage(true)
    const make = s.seller.createInvoice.bind(s.seller)
    const bad: Record<string, FakeNode['createInvoice']> = {
      amount: (request) => make({ ...request, msat: request.msat + 1n }),
      'hash of its own': ({ msat, memo, expiresInS }) => make({ msat, memo, expiresInS }),
      garbage: async () => ({ invoice: 'lnbc1', hash: '00' }),
    }
    for (const [name, createInvoice] of Object.entries(bad)) {
      const node = { ...s.seller, createInvoice }
      const rail = lightning({ node, network: 'regtest', clock: s.clock, hold: { secret } })
      await assert.rejects(s.offer(rail), { code: 'rail-unavailable' }, name)
    }
    assert((await s.offer()).invoice)
  })

  test('has a memo that every node takes', async () => {
    const s = await stage()
    const [terms] = s.rail.quote(readPrice('1 SAT'))
    let memo = ''
    const node: FakeNode = {
      ...s.seller,
      createInvoice: async (request) => {
        memo = request.memo
        return s.seller.createInvoice(request)
      },
    }
    assert(terms)
    const rail = lightning({ node, network: 'regtest', clock: s.clock })
    await rail.issue?.(terms, `${'a'.repeat(MEMO_CHARS_MAX - 1)}😀`, s.clock.now() - 1e9)
    assert.equal(memo.length, MEMO_CHARS_MAX)
    assert(memo.isWellFormed())
  })
})

describe('a payment that is held', () => {
  async function held(): Promise<Stage & { readonly made: Offer<Details>; readonly proof: Proof }> {
    const s = await stage(true)
    const made = await s.offer()
    const proof = await pay(s, made)
    return { ...s, made: sealed(made), proof }
  }

  test('is locked while the work is done, and taken when it is', async () => {
    const s = await held()
    assert.equal(s.proof.preimage, undefined)
    const verdict = await s.rail.verify(s.made, s.proof)
    assert(verdict.ok)
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'held')
    const log = createLog()
    assert.equal((await s.rail.settle(s.made, s.proof, verdict.key, log)).state, 'settled')
    assert.deepEqual(
      log.steps.map(({ type }) => type),
      ['prepared'],
    )
    await assert.doesNotReject(async () => s.rail.release?.(s.made, s.proof, verdict.key))
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'settled')
  })

  test('is given back when the work fails, however often that is said', async () => {
    const s = await held()
    await s.rail.release?.(s.made, s.proof, 'k')
    await s.rail.release?.(s.made, s.proof, 'k')
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'cancelled')
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(s.buyer.sent(), 0)
    const after = await s.rail.verify(s.made, s.proof)
    assert(!after.ok && after.problem.reason === 'invoice-unpaid')
    assert.equal((await s.rail.find(s.made, 'k', createLog()))?.state, 'failed')
  })

  test('is waited for while the payer locks it, in one loop for all who ask', async () => {
    const s = await stage(true)
    const made = await s.offer()
    const asked = Promise.all([s.rail.verify(made, {}), s.rail.verify(made, {})])
    const proof = pay(s, made)
    assert.deepEqual(
      (await asked).map(({ ok }) => ok),
      [true, true],
    )
    await proof
  })

  test('that never comes is asked for again, after a bounded time and few looks', async () => {
    const s = await stage(true)
    const made = await s.offer()
    s.seller.calls.length = 0
    const beganAt = s.clock.now()
    const all = await Promise.all(Array.from({ length: 50 }, () => s.rail.verify(made, {})))
    for (const verdict of all) assert(!verdict.ok && verdict.problem.code === 'payment-in-flight')
    assert(s.clock.now() - beganAt <= LOCK_WAIT_MS + 1_000)
    assert(s.seller.calls.length < 60, `${s.seller.calls.length}`)
    const many = await Promise.all(Array.from({ length: LOCKS_MAX + 8 }, () => s.offer()))
    const verdicts = await Promise.all(many.map((offer) => s.rail.verify(offer, {})))
    assert(verdicts.every(({ ok }) => !ok))
  })

  test('is not taken when it cannot be written ahead', async () => {
    const s = await held()
    const log = createLog()
    log.full = true
    await assert.rejects(s.rail.settle(s.made, s.proof, 'k', log), { code: 'store-unavailable' })
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'held')
    // Until recovery has looked, it is not given back either.
    await assert.rejects(async () => s.rail.release?.(s.made, s.proof, 'k'), PaymentError)
    assert.equal(await s.rail.find(s.made, 'k', log), undefined)
    await s.rail.release?.(s.made, s.proof, 'k')
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'cancelled')
  })

  for (const when of ['before', 'after'] as const)
    test(`is taken once, when the node is lost ${when} it was asked to`, async () => {
      const s = await held()
      const log = createLog()
      s.seller.trouble = { settle: when, invoice: 'before' }
      assert.equal((await s.rail.settle(s.made, s.proof, 'k', log)).state, 'unknown')
      await assert.rejects(async () => s.rail.release?.(s.made, s.proof, 'k'), PaymentError)
      // A new process knows the log alone.
      s.seller.trouble = {}
      const next = s.again()
      assert.equal((await next.find(s.made, 'k', log))?.state, 'settled')
      assert.equal((await next.find(s.made, 'k', log))?.state, 'settled')
      assert.equal(s.buyer.sent(), 1)
    })

  test('is left alone by a restart, unless it was written ahead', async () => {
    const s = await held()
    assert.equal(await s.again().find(s.made, 'k', createLog()), undefined)
    assert.equal(s.seller.table.get(s.made.details.hash)?.state, 'held')
  })

  test('that the node gave back while it was being taken has failed', async () => {
    const s = await held()
    const log = createLog()
    await s.seller.cancel?.(s.made.details.hash)
    assert.equal((await s.rail.settle(s.made, s.proof, 'k', log)).state, 'failed')
    assert.equal((await s.rail.find(s.made, 'k', log))?.state, 'failed')
  })

  test('outlives a change of the secret, and ends with the secret', async () => {
    const s = await held()
    const rotated = s.again([older, secret])
    assert((await rotated.verify(s.made, s.proof)).ok)
    const lost = await s.again([older]).verify(s.made, s.proof)
    assert(!lost.ok && lost.problem.reason === 'invoice-unknown')
    assert.equal((await rotated.settle(s.made, s.proof, 'k', createLog())).state, 'settled')
  })
})

test('settings that the node cannot meet are refused', () => {
  const clock = createClock()
  const node = (can: Parameters<typeof createNode>[2]): FakeNode =>
    createNode(new Map(), clock, can)
  assert.throws(() => lightning({ node: node({ hold: false }), hold: { secret } }), RangeError)
  assert.throws(() => lightning({ node: node({ lookup: false }), hold: { secret } }), RangeError)
  assert.throws(() => lightning({ node: node({}), hold: { secret: 'short' } }), RangeError)
  assert.throws(() => lightning({ node: node({}), network: 'dogecoin' }), RangeError)
  assert(!('refund' in lightning({ node: node({ pay: false }) })))
  assert.deepEqual(lightning({ node: node({ msat: false }) }).quote(readPrice('1 MSAT')), [])
  assert('release' in lightning({ node: node({}), hold: { secret } }))
  assert('refund' in lightning({ node: node({}) }))
})

test('a node on another network is not opened', async () => {
  const rail = lightning({ node: createNode(new Map(), createClock()), network: 'bitcoin' })
  await assert.rejects(rail.open(), { code: 'misconfigured' })
})

test('without a look-up the preimage alone is the evidence', async () => {
  const clock = createClock()
  const table = new Map()
  const node = createNode(table, clock, { lookup: false })
  const rail = lightning({ node, network: 'regtest', clock })
  const [terms] = rail.quote(readPrice('1 SAT'))
  assert(terms)
  const offer = offerOf((await rail.issue?.(terms, '', clock.now() + 60_000)) ?? terms)
  const wrong = await rail.verify(offer, { preimage: '11'.repeat(32) })
  assert(!wrong.ok)
  const proof = await lightningWallet({ node: createNode(table, clock), clock }).pay(offer, 1)
  assert((await rail.verify(offer, proof)).ok)
  assert.equal((await rail.settle(offer, proof, 'k', createLog())).state, 'settled')
})

describe('what the node holds', () => {
  const network = 'regtest'

  test('is told where it is to be compared, under the payee of its invoices', async () => {
    const { clock, seller, offer } = await stage()
    const node = { ...seller, open: shy, balance: async () => 21_001n }
    const rail = lightning({ node, network, clock, compare: true })
    await rail.open()
    assert.deepEqual((await rail.holdings?.())?.list, [], 'who it is tells its first invoice')
    const { payee, amount } = await offer(rail)
    const found = await rail.holdings?.()
    assert.deepEqual(found?.list, [
      {
        account: payee,
        asset: amount.asset,
        amount: 21_001n,
        use: 'payee',
        costs: `gas:${rail.network}`,
      },
    ])
    assert.deepEqual(await found?.includes(['a']), new Set(['a']), 'what is settled is final')
  })

  test('is nobody’s business otherwise, and cannot be told by a node that does not know', async () => {
    const { seller, rail } = await stage()
    assert.ok(!('holdings' in rail))
    assert.throws(() => lightning({ node: seller, network, compare: true }), /Leave "compare" out/)
  })

  async function shy(): Promise<{ network: string; publicKey: string }> {
    return { network: resolveChain(network), publicKey: '' }
  }
})
