// An open purchase of the same request, and who may take it over: nobody pays anew beside one that may be paid.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Held, Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Counting, Leaping, Serve } from './fakes.test.ts'
import {
  asking,
  closeSellers,
  counting,
  leaping,
  proofIn,
  receiptFor,
  selling,
  toy,
} from './fakes.test.ts'
import { ADOPTION_MS_MAX, ADOPTION_PAUSE_MS, LEASE_MS } from './limits.ts'
import type { Owner } from './owner.ts'
import { ownerUntil } from './owner.ts'
import type { PayerParts } from './payer.ts'
import { createPayer, paymentOf } from './payer.ts'
import { writeAdopted } from './record.ts'

after(closeSellers)

const policy = { perRequest: '0.05 USD', total: '1 USD' }
const VALID_MS = 300_000

const served: Serve = ({ req }, res) => void res.writeHead(200, receiptFor(req)).end('served')
const broken: Serve = (_, res) => void res.destroy()
const refused: Serve = (_, res) => void res.writeHead(402, asking({ amount: '10000' })).end('no')

/** Books with one open purchase that was sent and not answered; `serve` is how its seller takes paid requests after that. */
async function unanswered(rest: Pick<Partial<Counting>, 'outcome'> = {}) {
  const clock = leaping()
  const ledger = memory({ clock })
  const wallet = counting(clock, rest)
  let serve = broken
  const seller = await selling((seen, res) =>
    seen.req.headers['toy-payment'] ? serve(seen, res) : refused(seen, res),
  )
  const paying = (parts: Partial<PayerParts> = {}) =>
    createPayer({ wallets: [wallet], protocols: [toy], ledger, policy, clock, ...parts })
  await assert.rejects(paying().fetch(seller.url), { code: 'payment-unknown' })
  const [held] = await ledger.pending()
  assert.ok(held)
  clock.slept.length = 0
  return {
    clock,
    ledger,
    wallet,
    seller,
    paying,
    key: held.key,
    serves: (how: Serve) => void (serve = how),
    nonces: () => seller.proofs().flatMap(({ nonce }) => nonce),
  }
}

/** Takes the purchase over as a process of that kind would. */
async function adopt(ledger: Ledger, clock: Leaping, key: string, owner: Partial<Owner>) {
  const { steps } = (await ledger.find(key)) as Held
  const other = { ...ownerUntil(clock.now() + LEASE_MS), run: 'another', ...owner }
  await ledger.step(key, writeAdopted(other, steps.length))
}

/** The first process always is. */
const here = { pid: 1 }
const elsewhere = { host: 'another.example' }

describe('an open purchase that another process has taken over', () => {
  test('which is at work on this machine, is left to it: the call buys its own, at once', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, here)
    serves(served)
    assert.equal((await paying().fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    assert.deepEqual(clock.slept, [])
    assert.equal((await ledger.find(key))?.state, 'pending')
  })

  test('which is gone and whose number is ours now, is taken over at once', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, { bornAt: 1 })
    serves(served)
    assert.equal((await paying().fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 1)
    assert.deepEqual(clock.slept, [])
    assert.equal((await ledger.find(key))?.state, 'posted')
  })

  test('on another machine, is waited for: when its lease ends it is taken over', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, elsewhere)
    clock.leap(LEASE_MS - 10_000)
    serves(served)
    assert.equal((await paying().fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 1)
    assert.equal(clock.slept.length, 10_000 / ADOPTION_PAUSE_MS)
    assert.equal((await ledger.find(key))?.state, 'posted')
  })

  test('on another machine, and done there meanwhile: the call buys its own', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, elsewhere)
    serves(served)
    const sleep: Leaping['sleep'] = async (ms) => {
      await clock.sleep(ms)
      await ledger.post(key, undefined, { type: 'received', data: {} })
    }
    assert.equal((await paying({ clock: { ...clock, sleep } }).fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    assert.deepEqual(clock.slept, [ADOPTION_PAUSE_MS])
  })

  test('on another machine, and given up there meanwhile: the call sends it again', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, elsewhere)
    serves(served)
    const sleep: Leaping['sleep'] = async (ms) => {
      await clock.sleep(ms)
      await ledger.step(key, { type: 'released', data: { refused: false } })
    }
    assert.equal((await paying({ clock: { ...clock, sleep } }).fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 1)
  })

  test('on another machine, for too long: nothing is paid, and the error says what to do', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    await adopt(ledger, clock, key, elsewhere)
    serves(served)
    await assert.rejects(paying().fetch(seller.url), (error: PaymentError) => {
      assert.deepEqual([error.code, error.retryable], ['payment-in-flight', true])
      assert.match(error.message, /nothing was paid\. Make the same request again in a minute/)
      return true
    })
    assert.equal(clock.slept.length, ADOPTION_MS_MAX / ADOPTION_PAUSE_MS)
    assert.equal(wallet.signed.length, 1)
    assert.equal((await paying().fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 1, 'the lease is over')
  })

  test('on another machine: an abort ends the wait', async () => {
    const { clock, ledger, wallet, seller, paying, key } = await unanswered()
    await adopt(ledger, clock, key, elsewhere)
    const controller = new AbortController()
    const reason = new Error('enough')
    const sleep: Leaping['sleep'] = async () => controller.abort(reason)
    const call = paying({ clock: { ...clock, sleep } }).fetch(seller.url, controller)
    await assert.rejects(call, reason)
    assert.equal(wallet.signed.length, 1)
  })

  test('what comes up elsewhere while a call waits is not waited for', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered()
    const second = paying()
    await adopt(ledger, clock, key, here)
    await assert.rejects(second.fetch(seller.url), { code: 'payment-unknown' })
    const other = (await ledger.pending()).find((held) => held.key !== key)?.key ?? ''
    await adopt(ledger, clock, key, elsewhere)
    clock.slept.length = 0
    serves(served)
    let slept = 0
    const sleep: Leaping['sleep'] = async (ms) => {
      await clock.sleep(ms)
      if (slept++ > 0) return
      await ledger.post(key, undefined, { type: 'received', data: {} })
      await adopt(ledger, clock, other, elsewhere)
    }
    // At the first look the other purchase is somebody's who is here.
    await adopt(ledger, clock, other, here)
    assert.equal((await paying({ clock: { ...clock, sleep } }).fetch(seller.url)).status, 200)
    assert.deepEqual([slept, wallet.signed.length], [1, 3])
  })
})

describe('taking over', () => {
  test('is lost to whoever is first in the books, and his payment is not sent', async () => {
    const { clock, ledger, wallet, seller, paying, key, serves, nonces } = await unanswered()
    serves(served)
    const sent = nonces().length
    let first = true
    const slow: Ledger = {
      ...ledger,
      async step(name, step, claim) {
        if (first && step.type === 'adopted') await adopt(ledger, clock, key, here)
        first = false
        return ledger.step(name, step, claim)
      },
    }
    assert.equal((await paying({ ledger: slow }).fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    assert.deepEqual(nonces().slice(sent), [2])
    assert.deepEqual(
      (await ledger.find(key))?.steps.map(({ type }) => type),
      ['signed', 'released', 'adopted', 'adopted'],
    )
    // The first heir dies: now it is free for the next.
    clock.leap(LEASE_MS)
    assert.equal((await paying().fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    assert.equal((await ledger.find(key))?.state, 'posted')
  })

  test('of what is closed at that moment, finds nothing, and the call buys its own', async () => {
    const { ledger, wallet, seller, paying, key, serves } = await unanswered()
    serves(served)
    const closing: Ledger = {
      ...ledger,
      async step(name, step, claim) {
        if (name === key && step.type === 'adopted') await ledger.void(key, 'proof-expired')
        return ledger.step(name, step, claim)
      },
    }
    assert.equal((await paying({ ledger: closing }).fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
  })

  for (const [verb, when] of [
    ['step', 'before it is written'],
    ['step', 'after it was written'],
    ['find', 'after it was written'],
  ] as const)
    test(`with books that fail (${verb}) ${when}: nothing is paid, and the next call takes over`, async () => {
      const { ledger, wallet, seller, paying, key, serves } = await unanswered()
      serves(served)
      const gone = new PaymentError('store-unavailable', 'The disk is full.')
      const failing: Ledger = {
        ...ledger,
        async step(name, step, claim) {
          if (verb === 'find' || when === 'after it was written')
            await ledger.step(name, step, claim)
          if (verb === 'step') throw gone
        },
        find: (name) => (verb === 'find' ? Promise.reject(gone) : ledger.find(name)),
      }
      await assert.rejects(paying({ ledger: failing }).fetch(seller.url), gone)
      assert.equal(wallet.signed.length, 1)
      assert.equal((await paying().fetch(seller.url)).status, 200)
      assert.equal(wallet.signed.length, 1)
      assert.equal((await ledger.find(key))?.state, 'posted')
    })
})

describe('a payment that is over and of which the wallet cannot say yet whether it was taken', () => {
  const blind = {
    'the chain is not so far': async () => 'open' as const,
    'nobody can be asked': () => Promise.reject(new Error('no connection')),
  }
  for (const [why, outcome] of Object.entries(blind)) {
    test(`as ${why}: it is shown before another is made, and served`, async () => {
      const { clock, wallet, seller, paying, key, serves } = await unanswered({ outcome })
      clock.leap(VALID_MS)
      serves(served)
      const response = await paying().fetch(seller.url)
      assert.equal(await response.text(), 'served')
      assert.equal(paymentOf(response)?.key, key)
      assert.equal(wallet.signed.length, 1)
    })

    test(`as ${why}: when the seller will not take it, the same call buys, and it is not shown again`, async () => {
      const { clock, wallet, seller, paying, serves, nonces } = await unanswered({ outcome })
      clock.leap(VALID_MS)
      const sent = nonces().length
      serves((seen, res) => (proofIn(seen.req).nonce === 1 ? refused : served)(seen, res))
      assert.equal(await (await paying().fetch(seller.url)).text(), 'served')
      assert.equal(await (await paying().fetch(seller.url)).text(), 'served')
      assert.deepEqual(nonces().slice(sent), [1, 2, 3])
      assert.equal(wallet.signed.length, 3)
    })
  }

  test('is closed for good when it is served while a sweep learns that it was taken', async () => {
    let asked = 0
    const seen = Promise.withResolvers<'paid'>()
    const { clock, ledger, wallet, seller, paying, key, serves } = await unanswered({
      outcome: async () => (asked++ === 0 ? seen.promise : 'open'),
    })
    clock.leap(VALID_MS)
    serves(async (...exchange) => {
      seen.resolve('paid')
      while ((await ledger.find(key))?.state === 'pending') await new Promise(setImmediate)
      served(...exchange)
    })
    assert.equal(await (await paying().fetch(seller.url)).text(), 'served')
    assert.ok(asked >= 2)
    assert.equal(wallet.signed.length, 1)
    assert.equal((await ledger.find(key))?.steps.at(-1)?.type, 'received')
    assert.equal((await ledger.pending()).length, 0, 'no ticket is left')
  })

  test('is shown once a call, and when no answer comes nothing else is paid', async () => {
    const { clock, wallet, seller, paying, nonces } = await unanswered({
      outcome: async () => 'open',
    })
    clock.leap(VALID_MS)
    const sent = nonces().length
    await assert.rejects(paying().fetch(seller.url), { code: 'payment-unknown' })
    assert.deepEqual(nonces().slice(sent), [1])
    assert.equal(wallet.signed.length, 1)
  })
})
