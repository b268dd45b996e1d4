// Wallets that move money: what is to be paid is written down first, the money moves once, and what it has cost is counted.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Ledger } from '../core/ports.ts'
import type { LightningNode } from '../rails/lightning/index.ts'
import { lightningWallet } from '../rails/lightning/index.ts'
import { asking, closeSellers, counting } from './fakes.test.ts'
import { holdPreimage, openShop, stage } from './l402-fakes.test.ts'
import { FETCH_MS_MAX, LEASE_MS, PAID_SENDS_MAX } from './limits.ts'
import { createPayer, paymentOf } from './payer.ts'
import { l402 } from '../protocols/l402/index.ts'
import { hashIn, saidIn } from '../tokens/macaroon/index.ts'
import { toy } from './fakes.test.ts'

after(closeSellers)

const policy = { perRequest: '100 SAT', total: '1000 SAT' }

describe('a payment over Lightning', () => {
  test('is made once, shown with its preimage, and booked with its fee', async () => {
    const { node, buyer, paying, total, open, events } = stage()
    const shop = await openShop(node, { '/': {} })
    const response = await paying().fetch(shop.url)
    assert.equal(await response.text(), 'served GET /')
    const payment = paymentOf(response)
    assert.deepEqual([payment?.state, payment?.verified, payment?.why], ['posted', true, undefined])
    assert.equal(payment?.fee?.amount, 7n)
    const preimage = payment?.evidence?.['preimage']
    assert.ok(typeof preimage === 'string')
    assert.match(shop.shown()[1] ?? '', new RegExp(`^L402 \\S+:${preimage}$`))
    assert.deepEqual(await total(), { posted: '5.007 SAT', held: '0 SAT' })
    assert.equal(buyer.sent(), 1)
    assert.equal(await open(), 0)
    assert.deepEqual(
      events.map(({ type }) => type),
      ['reserved', 'paid'],
    )
  })

  test('costs what its route may cost, in every limit', async () => {
    const { node, paying, buyer, total } = stage()
    const shop = await openShop(node, { '/': {} })
    const tight = paying({ policy: { perRequest: '9 SAT', total: '1 BTC' } })
    await assert.rejects(tight.fetch(shop.url), {
      code: 'offers-unacceptable',
      message: /It costs 10 SAT with up to 5 SAT of fees, and perRequest allows 9 SAT\./,
    })
    const once = paying({ policy: { perRequest: '10000 MSAT', total: '15 SAT' } })
    assert.equal((await once.fetch(shop.url)).status, 200)
    await assert.rejects(once.fetch(shop.url), {
      code: 'budget-exceeded',
      message: /Paying 10 SAT with up to 5 SAT of fees would go over total, which is 15 SAT\./,
    })
    assert.equal(buyer.sent(), 1)
    assert.deepEqual(await total(), { posted: '5.007 SAT', held: '0 SAT' })
  })

  test('is asked for with its fee', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': {} })
    let asked: object = {}
    const confirm = async (_: unknown, question: object): Promise<boolean> => {
      asked = question
      return false
    }
    await assert.rejects(paying({ confirm }).fetch(shop.url), { code: 'declined' })
    assert.deepEqual(asked, { url: `${shop.url}/`, method: 'GET', cost: '10 SAT', feeMax: '5 SAT' })
    assert.equal(buyer.sent(), 0)
  })

  test('of another hash than the token’s is not made', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': { forged: true }, '/honest': {} })
    await assert.rejects(paying().fetch(shop.url), {
      code: 'offers-unacceptable',
      message: /another payment than it asks for/,
    })
    assert.equal(buyer.sent(), 0)
    assert.equal((await paying().fetch(`${shop.url}/honest`)).status, 200)
  })

  test('that finds no way costs nothing, and another offer is paid instead', async () => {
    const { node, paying, buyer, clock, total, open } = stage()
    const shop = await openShop(node, { '/': {} })
    buyer.noRoute = true
    await assert.rejects(paying().fetch(shop.url), { code: 'settlement-failed' })
    assert.deepEqual([await total(), await open()], [{ posted: '0 SAT', held: '0 SAT' }, 0])

    shop.extra = asking({ amount: '10000' })
    const cents = counting(clock)
    const both = ['100 SAT', '1 USD']
    const wallet = lightningWallet({ node: buyer, clock })
    const payer = paying({
      wallets: [wallet, cents],
      policy: { perRequest: both, total: ['1000 SAT', '9 USD'] },
    })
    await payer.fetch(shop.url)
    assert.equal(cents.signed.length, 1)
    assert.equal(buyer.sent(), 0)
  })

  test('whose outcome is not known stays reserved, and the next equal call finds it', async () => {
    for (const pay of ['before', 'after'] as const) {
      const { node, paying, buyer, total, open } = stage()
      const shop = await openShop(node, { '/': {} })
      const real = { ...buyer }
      let looks = 0
      // It answers the look before the payment, and then no more.
      buyer.payment = async (hash) => {
        if (looks++ > 0) throw new Error('gone')
        return real.payment?.(hash)
      }
      buyer.trouble = { pay }
      await assert.rejects(paying().fetch(shop.url), { code: 'payment-unknown' })
      assert.deepEqual([await total(), await open()], [{ posted: '0 SAT', held: '10 SAT' }, 1])
      buyer.trouble = {}
      buyer.payment = (hash) => real.payment?.(hash) ?? Promise.resolve(undefined)
      const response = await paying().fetch(shop.url)
      assert.equal(response.status, 200)
      assert.equal(buyer.sent(), 1)
      assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '0 SAT' }, 0])
    }
  })

  test('that was on its way and fails is given back, and the next call pays anew', async () => {
    const { node, paying, buyer, total, open } = stage()
    const shop = await openShop(node, { '/': {} })
    buyer.trouble = { pay: 'before', payment: 'before' }
    await assert.rejects(paying().fetch(shop.url))
    buyer.trouble = {}
    buyer.noRoute = true
    await assert.rejects(paying().fetch(shop.url), { code: 'settlement-failed' })
    assert.deepEqual([await total(), await open()], [{ posted: '0 SAT', held: '0 SAT' }, 0])
    buyer.noRoute = false
    assert.equal((await paying().fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 1)
  })

  test('of a node that was never reached is given back when its invoice is over, without paying', async () => {
    const { node, paying, buyer, clock, total, open } = stage()
    const shop = await openShop(node, { '/': {} })
    buyer.trouble = { pay: 'before', payment: 'before' }
    await assert.rejects(paying().fetch(shop.url))
    buyer.trouble = {}
    await paying().recover()
    assert.equal(await open(), 1)
    clock.leap(700_000)
    await paying().recover()
    assert.deepEqual([await total(), await open()], [{ posted: '0 SAT', held: '0 SAT' }, 0])
    assert.equal(buyer.sent(), 0)
  })

  test('that may have been begun and is too late now stays reserved until its node must know, and the call pays anew', async () => {
    const { node, paying, buyer, clock, total, open } = stage()
    const shop = await openShop(node, { '/': {} })
    buyer.trouble = { pay: 'before', payment: 'before' }
    await assert.rejects(paying().fetch(shop.url))
    buyer.trouble = {}
    clock.leap(598_000)
    assert.equal((await paying().fetch(shop.url)).status, 200)
    assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '10 SAT' }, 1])
    clock.leap(100_000)
    await paying().recover()
    assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '0 SAT' }, 0])
    assert.equal(buyer.sent(), 1)
  })

  test('that was made and never shown is booked in the end, and can be shown for a day', async () => {
    for (const comes of [true, false]) {
      const { node, paying, buyer, clock, total, events } = stage()
      const shop = await openShop(node, { '/': {} })
      buyer.trouble = { pay: 'after' }
      const real = { ...buyer }
      let lost = true
      buyer.payment = async (hash) => {
        if (lost && buyer.sent() > 0) throw new Error('gone')
        return real.payment?.(hash)
      }
      await assert.rejects(paying().fetch(shop.url), { code: 'payment-unknown' })
      lost = false
      buyer.trouble = {}
      await paying().recover()
      clock.leap(700_000)
      await paying().recover()
      assert.deepEqual(await total(), { posted: '5.007 SAT', held: '0 SAT' })
      clock.leap(comes ? FETCH_MS_MAX / 2 : FETCH_MS_MAX + 700_000)
      await paying().recover()
      assert.equal(events.filter(({ type }) => type === 'lost').length, comes ? 0 : 1)
      assert.equal((await paying().fetch(shop.url)).status, 200)
      assert.equal(buyer.sent(), comes ? 1 : 2)
    }
  })

  test('that the seller does not honour is told, shown once more by the next call, and then lost', async () => {
    const { node, paying, buyer, total } = stage()
    const shop = await openShop(node, { '/': { conditions: ['services=a:0'] } })
    shop.takes = (_, res) => void res.writeHead(402).end()
    const first = await paying().fetch(shop.url)
    assert.equal(first.status, 402)
    assert.equal(paymentOf(first)?.state, 'posted')
    assert.match(paymentOf(first)?.why ?? '', /The payment was made, and the seller did not serve/)
    assert.equal(shop.shown().filter((one) => one !== '').length, PAID_SENDS_MAX)
    const second = await paying().fetch(shop.url)
    assert.match(paymentOf(second)?.why ?? '', /The next equal request pays anew/)
    assert.equal(buyer.sent(), 1)
    assert.deepEqual(await total(), { posted: '5.007 SAT', held: '0 SAT' })
    shop.takes = (_, res) => void res.end('at last')
    assert.equal((await paying().fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 2)
  })

  test('of which the seller hears late is shown again by the same call', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': { conditions: ['services=a:0'] } })
    let heard = 0
    shop.takes = (_, res) => void (heard++ === 0 ? res.writeHead(402).end() : res.end('served'))
    const response = await paying().fetch(shop.url)
    assert.equal(await response.text(), 'served')
    assert.equal(buyer.sent(), 1)
  })

  test('is not made for a request with an Authorization of its own, which is never written over', async () => {
    const { node, paying, buyer, clock } = stage()
    const shop = await openShop(node, { '/': {} })
    const init = { headers: { authorization: 'Bearer mine' } }
    await assert.rejects(paying().fetch(shop.url, init), {
      code: 'offers-unacceptable',
      message: /a field Authorization of its own/,
    })
    assert.deepEqual(shop.shown(), ['Bearer mine'])
    shop.extra = asking({ amount: '10000' })
    const cents = counting(clock)
    const wallet = lightningWallet({ node: buyer, clock })
    await paying({
      wallets: [wallet, cents],
      policy: { perRequest: ['100 SAT', '1 USD'], total: ['1000 SAT', '9 USD'] },
    }).fetch(shop.url, init)
    assert.equal(cents.signed.length, 1)
    assert.ok(shop.shown().every((one) => one === 'Bearer mine'))
    assert.equal(buyer.sent(), 0)
  })
})

describe('a payment that is locked', () => {
  test('is shown without a preimage, and booked when the seller has taken it', async () => {
    const { node, paying, buyer, total, open } = stage()
    const shop = await openShop(node, { '/': { hold: true } })
    shop.takes = async (_, res) => {
      await shop.node.settle?.(holdPreimage)
      await new Promise((resolve) => setImmediate(resolve))
      res.end('served')
    }
    const response = await paying().fetch(shop.url)
    assert.equal(await response.text(), 'served')
    assert.match(shop.shown()[1] ?? '', /^L402 [^:]+:$/)
    const payment = paymentOf(response)
    assert.equal(payment?.evidence?.['preimage'], holdPreimage)
    assert.deepEqual([payment?.verified, payment?.fee?.amount], [true, 7n])
    assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '0 SAT' }, 0])
    assert.equal(buyer.sent(), 1)
  })

  test('is given back with its budget when the work fails', async () => {
    const { node, paying, total, open, buyer } = stage()
    const shop = await openShop(node, { '/': { hold: true } })
    shop.takes = async (_, res) => {
      for (const hash of node.table.keys()) await shop.node.cancel?.(hash)
      await new Promise((resolve) => setImmediate(resolve))
      res.writeHead(500).end()
    }
    const response = await paying().fetch(shop.url)
    assert.equal(response.status, 500)
    assert.equal(paymentOf(response)?.state, 'voided')
    assert.match(paymentOf(response)?.why ?? '', /gave the payment back\. Nothing was paid/)
    assert.deepEqual([await total(), await open()], [{ posted: '0 SAT', held: '0 SAT' }, 0])
    assert.equal(buyer.sent(), 0)
  })
})

test('a locked payment that was given back while nobody looked is bought anew by the same call', async () => {
  const { node, paying, buyer, total, open } = stage()
  const shop = await openShop(node, { '/': { hold: true } })
  const broken: typeof fetch = async (input, init) => {
    if (new Headers(init?.headers).has('authorization')) throw new TypeError('no way')
    return fetch(input, init)
  }
  await assert.rejects(paying({ fetch: broken }).fetch(shop.url), { code: 'payment-unknown' })
  for (const hash of node.table.keys()) await shop.node.cancel?.(hash)
  let refusals = 0
  shop.takes = async (_, res) => {
    if (refusals++ === 0) return void res.writeHead(402).end()
    await shop.node.settle?.(holdPreimage)
    await new Promise((resolve) => setImmediate(resolve))
    return void res.end('served')
  }
  assert.equal((await paying().fetch(shop.url)).status, 200)
  assert.equal(buyer.sent(), 1)
  assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '0 SAT' }, 0])
})

describe('a payer that dies', () => {
  /** Everything stops at one place: what comes after it does not happen. */
  function mortal(ledger: Ledger, node: LightningNode, at: string) {
    let dead = false
    const pass = (place: string): void => {
      if (dead || place === at) {
        dead = true
        throw new Error(`died ${at}`)
      }
    }
    const books: Ledger = {
      ...ledger,
      async transfer(transfer) {
        pass('before reserved')
        const claim = await ledger.transfer(transfer)
        pass('after reserved')
        return claim
      },
      async step(key, step, claim) {
        pass(`before ${step.type}`)
        await ledger.step(key, step, claim)
        pass(`after ${step.type}`)
      },
      async post(...args) {
        pass('before post')
        const posted = await ledger.post(...args)
        pass('after post')
        return posted
      },
      async void(...args) {
        pass('before void')
        return ledger.void(...args)
      },
    }
    const line: LightningNode = {
      ...node,
      async pay(request, signal) {
        pass('before pay')
        const state = await node.pay?.(request, signal)
        assert.ok(state)
        pass('after pay')
        return state
      },
      async payment(hash) {
        pass('before look')
        return node.payment?.(hash)
      },
    }
    const send: typeof fetch = async (input, init) => {
      const paid = new Headers(init?.headers).has('authorization')
      pass(paid ? 'before showing' : 'before asking')
      const response = await fetch(input, init)
      pass(paid ? 'after showing' : 'after asking')
      return response
    }
    return { books, line, send, isDead: () => dead }
  }

  const places = [
    'before reserved',
    'after reserved',
    'before ordered',
    'after ordered',
    'before look',
    'before pay',
    'after pay',
    'before signed',
    'after signed',
    'before showing',
    'after showing',
    'before post',
    'after post',
  ]
  for (const at of places)
    test(`${at}: the next equal call is served, and the money has moved once`, async () => {
      const { node, paying, buyer, clock, ledger, total, open } = stage()
      const shop = await openShop(node, { '/': { conditions: ['services=a:0'] } })
      const { books, line, send, isDead } = mortal(ledger, buyer, at)
      const wallet = lightningWallet({ node: line, clock })
      const protocols = [l402({ parts: [wallet], hashIn }), toy]
      const readToken = saidIn
      const doomed = createPayer({
        readToken,
        wallets: [wallet],
        protocols,
        ledger: books,
        policy,
        clock,
        fetch: send,
      })
      await doomed.fetch(shop.url).catch(() => undefined)
      assert.ok(isDead(), 'it was there')
      const response = await paying().fetch(shop.url)
      assert.equal(response.status, 200)
      assert.equal(buyer.sent(), 1)
      clock.leap(Math.max(LEASE_MS, 700_000))
      await paying().recover()
      assert.deepEqual([await total(), await open()], [{ posted: '5.007 SAT', held: '0 SAT' }, 0])
    })
})
