import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Ask, Leaping } from './fakes.test.ts'
import {
  closeSellers,
  asking,
  counting,
  honest,
  leaping,
  proofIn,
  receiptFor,
  selling,
  toy,
} from './fakes.test.ts'
import type { PayerParts } from './payer.ts'
import { createPayer, paymentOf } from './payer.ts'

after(closeSellers)

const policy = { perRequest: '0.05 USD', total: '1 USD' }
const cent: Ask = { amount: '10000' }

/** A payer over fakes; `rest` replaces its parts. */
function paying(rest: Partial<PayerParts> = {}, clock: Leaping = leaping()) {
  const wallet = counting(clock)
  const ledger = memory({ clock })
  const events: Event[] = []
  const parts = {
    wallets: [wallet],
    protocols: [toy],
    ledger,
    policy,
    clock,
    observe: (event: Event) => void events.push(event),
    ...rest,
  }
  return { payer: createPayer(parts), wallet, ledger, clock, events, parts }
}

const open = async (ledger: PayerParts['ledger']) =>
  (await ledger.pending()).filter(({ key }) => key.startsWith('purchase/'))

describe('a drop-in for fetch', () => {
  test('answers that are not 402 come back as they are, and nothing is signed', async () => {
    const seller = await selling((_, res) => res.writeHead(418).end('tea'))
    const { payer, wallet } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(response.status, 418)
    assert.equal(await response.text(), 'tea')
    assert.equal(paymentOf(response), undefined)
    assert.equal(wallet.signed.length, 0)
  })

  test('a 402 that is no payment challenge comes back whole', async () => {
    const body = JSON.stringify({ error: 'Your plan has ended.' })
    const seller = await selling((_, res) =>
      res.writeHead(402, { 'content-type': 'application/json' }).end(body),
    )
    const { payer, wallet } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(response.status, 402)
    assert.equal(await response.text(), body)
    assert.equal(wallet.signed.length, 0)
  })

  test('a 402 is paid once, the books say so, and the response is the plain response', async () => {
    const seller = await selling(honest(cent))
    const { payer, wallet, ledger, events } = paying()
    const response = await payer.fetch(`${seller.url}/a?b=c#d`)
    assert.equal(await response.text(), 'served GET ')
    assert.equal(response.url, `${seller.url}/a?b=c`)
    assert.equal(wallet.signed.length, 1)
    const payment = paymentOf(response)
    assert.equal(payment?.state, 'posted')
    assert.equal(payment.receipt?.reference, 'tx-1')
    assert.equal(payment.verified, false)
    assert.deepEqual(await payer.spent(), [
      { limit: 'perDay', scope: '2026-11-20', posted: '0.01 USD', held: '0 USD' },
      { limit: 'perHost', scope: seller.host, posted: '0.01 USD', held: '0 USD' },
      { limit: 'total', posted: '0.01 USD', held: '0 USD', most: '1 USD' },
    ])
    assert.equal((await ledger.find(payment.key))?.state, 'posted')
    assert.deepEqual(
      events.map(({ type }) => type),
      ['reserved', 'paid'],
    )
  })

  test('offers in a JSON body are read too', async () => {
    const seller = await selling(({ req }, res) => {
      if (req.headers['toy-payment']) return void res.writeHead(200, receiptFor(req)).end('served')
      const type = { 'content-type': 'application/problem+json; charset=utf-8' }
      return void res.writeHead(402, type).end(JSON.stringify({ toy: [cent] }))
    })
    const response = await paying().payer.fetch(seller.url)
    assert.equal(await response.text(), 'served')
  })

  test('an aborted call rejects with its reason, before and while it waits', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      return controller.abort(reason)
    })
    const { payer, wallet, ledger } = paying()
    await assert.rejects(payer.fetch(seller.url, { signal: controller.signal }), reason)
    assert.equal(wallet.signed.length, 1)
    assert.equal((await open(ledger)).length, 1, 'what was signed stays reserved')
    await assert.rejects(payer.fetch(seller.url, { signal: controller.signal }), reason)
    assert.equal(seller.seen.length, 2, 'an aborted call sends nothing')
  })
})

test('an abort ends the wait for an answer and for a signature that does not come', async () => {
  const seller = await selling(honest(cent))
  const clock = leaping()
  let reached = Promise.withResolvers<void>()
  const never = () => {
    reached.resolve()
    return new Promise<never>(() => undefined)
  }
  const wallet = counting(clock, { pay: never })
  for (const [parts, held] of [
    [{ confirm: never }, 0],
    [{ wallets: [wallet] }, 1],
  ] as const) {
    reached = Promise.withResolvers()
    const controller = new AbortController()
    const reason = new Error('enough')
    const { payer, ledger } = paying(parts, clock)
    const call = payer.fetch(seller.url, { signal: controller.signal })
    await reached.promise
    controller.abort(reason)
    await assert.rejects(call, reason)
    assert.equal((await open(ledger)).length, held)
  }
})

describe('the choice', () => {
  test('the cheapest offer is paid, wherever it stands', async () => {
    const seller = await selling(
      honest({ amount: '50000' }, { amount: '10000' }, { amount: '30000' }),
    )
    const { payer, wallet } = paying()
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed[0]?.offer.amount.amount, 10_000n)
  })

  test('between equal prices the order of the seller has no say', async () => {
    const asks = [
      { amount: '10000', network: 'toy:2' },
      { amount: '10000', network: 'toy:1' },
    ]
    const chosen = []
    for (const order of [asks, asks.toReversed()]) {
      const seller = await selling(honest(...order))
      const { payer, wallet } = paying()
      await payer.fetch(seller.url)
      chosen.push(wallet.signed[0]?.offer.network)
    }
    assert.deepEqual(chosen, ['toy:1', 'toy:1'])
  })

  test('an error names the reason of every offer, and nothing is signed', async () => {
    const seller = await selling(
      honest(
        { amount: '-5' },
        { amount: '0' },
        { amount: '50001' },
        { amount: '1', asset: 'PTS' },
        { amount: '2', network: 'toy:9' },
        { amount: '3', rail: 'other' },
        { amount: '4', intent: 'upto' },
        { amount: '5', timeoutMs: 0 },
      ),
    )
    const { payer, wallet } = paying()
    await assert.rejects(payer.fetch(seller.url), (error: PaymentError) => {
      assert.equal(error.code, 'offers-unacceptable')
      assert.match(error.message, /-0\.000005 USDC on toy:1: The amount is not more than zero\./)
      assert.match(error.message, /0 USDC on toy:1: The amount is not more than zero\./)
      assert.match(error.message, /It costs 0\.050001 USD, and perRequest allows 0\.05 USD\./)
      assert.match(error.message, /No limit of the policy covers PTS\./)
      assert.match(error.message, /toy:9: This network is not known\./)
      assert.match(error.message, /There is no wallet for other over toy\./)
      assert.match(error.message, /"upto"/)
      assert.match(error.message, /no time to be valid/)
      return true
    })
    assert.equal(wallet.signed.length, 0)
  })

  test('an asset without a currency is paid within limits in its own code', async () => {
    const seller = await selling(honest({ amount: '3', asset: 'PTS' }))
    const limits = { perRequest: ['0.05 USD', '3 PTS'], total: ['1 USD', '5 PTS'] }
    const { payer, wallet } = paying({ policy: limits })
    assert.equal((await payer.fetch(seller.url)).status, 200)
    await assert.rejects(payer.fetch(seller.url), { code: 'budget-exceeded' })
    assert.equal(wallet.signed.length, 1)
  })

  test('lists of networks, assets, payees and hosts are kept', async () => {
    const seller = await selling(honest(cent))
    const lists = [
      { networks: ['toy:2'] },
      { assets: ['EURC'] },
      { payees: ['somebody'] },
      { hosts: ['api.example'] },
    ]
    for (const list of lists) {
      const { payer, wallet } = paying({ policy: { ...policy, ...list } })
      await assert.rejects(payer.fetch(seller.url), { code: 'offers-unacceptable' })
      assert.equal(wallet.signed.length, 0)
    }
    const all = { networks: ['toy:1'], assets: ['USDC'], payees: ['Seller'], hosts: [seller.host] }
    const { payer } = paying({ policy: { ...policy, ...all } })
    assert.equal((await payer.fetch(seller.url)).status, 200)
  })

  test('a question is asked before signing, and no means no', async () => {
    const seller = await selling(honest(cent))
    const asked: unknown[] = []
    const { payer, wallet, ledger } = paying({
      async confirm(offer, question) {
        asked.push([offer.amount.amount, question])
        return asked.length > 1
      },
    })
    await assert.rejects(payer.fetch(`${seller.url}/x`), { code: 'declined' })
    assert.equal(wallet.signed.length, 0)
    assert.equal((await ledger.journal(0, 10)).length, 0)
    assert.deepEqual(asked, [
      [10_000n, { url: `${seller.url}/x`, method: 'GET', cost: '0.01 USD' }],
    ])
    assert.equal((await payer.fetch(`${seller.url}/x`)).status, 200)
  })

  test('no payment is valid for longer than the policy allows (CLI-13)', async () => {
    const seller = await selling(honest({ ...cent, timeoutMs: 31_536_000_000 }))
    const { payer, wallet } = paying()
    await payer.fetch(seller.url)
    const strict = paying({ policy: { ...policy, validityMaxMs: 30_000 } })
    await strict.payer.fetch(seller.url)
    assert.equal(wallet.signed[0]?.validForMs, 600_000)
    assert.equal(strict.wallet.signed[0]?.validForMs, 30_000)
  })
})

describe('the budget', () => {
  test('fifty calls at the cap are stopped by the sum (CLI-16)', async () => {
    const seller = await selling(honest({ amount: '50000' }))
    const { payer, wallet } = paying()
    let stopped = 0
    for (let i = 0; i < 50; i++)
      await payer.fetch(seller.url).catch((error: PaymentError) => {
        assert.equal(error.code, 'budget-exceeded')
        assert.match(error.message, /^Paying 0\.05 USD would go over total, which is 1 USD\./)
        stopped++
      })
    assert.equal(wallet.signed.length, 20)
    assert.equal(stopped, 30)
  })

  test('a hundred calls at once sign no more than the budget (CLI-17)', async () => {
    const seller = await selling(honest({ amount: '50000' }))
    const { payer, wallet } = paying()
    const calls = Array.from({ length: 100 }, () => payer.fetch(seller.url))
    const done = await Promise.allSettled(calls)
    assert.equal(wallet.signed.length, 20)
    assert.equal(done.filter(({ status }) => status === 'fulfilled').length, 20)
  })

  test('each limit stops and is named: a host, a day that ends, the total', async () => {
    const one = await selling(honest({ amount: '10000' }))
    const two = await selling(honest({ amount: '10000' }))
    const { payer, clock } = paying({
      policy: {
        perRequest: '0.01 USD',
        perHost: '0.01 USD',
        perDay: '0.02 USD',
        total: '0.03 USD',
      },
    })
    const stops = (url: string, limit: RegExp) =>
      assert.rejects(payer.fetch(url), (error: PaymentError) => limit.test(error.message))
    await payer.fetch(one.url)
    await stops(one.url, new RegExp(`over perHost, which is 0.01 USD for ${one.host}`))
    await payer.fetch(two.url)
    const three = await selling(honest({ amount: '10000' }))
    await stops(three.url, /over perDay, which is 0\.02 USD for 2026-11-20/)
    clock.leap(86_400_000)
    await payer.fetch(three.url)
    const four = await selling(honest({ amount: '10000' }))
    await stops(four.url, /over total, which is 0\.03 USD/)
  })

  test('a limit that is given later knows what was spent before', async () => {
    const seller = await selling(honest({ amount: '50000' }))
    const first = paying({ policy: { perRequest: '0.05 USD', perDay: '1 USD' } })
    await first.payer.fetch(seller.url)
    const limits = { perRequest: '0.05 USD', total: '0.05 USD' }
    const second = paying({ ledger: first.ledger, policy: limits })
    await assert.rejects(second.payer.fetch(seller.url), { code: 'budget-exceeded' })
    assert.equal(second.wallet.signed.length, 0)
  })

  test('a seller that says "not paid" again and again gets no more than the budget', async () => {
    const seller = await selling((_, res) =>
      res.writeHead(402, { ...asking({ amount: '50000' }), 'toy-error': '1' }).end(),
    )
    const { payer, wallet } = paying()
    for (let i = 0; i < 30; i++) await payer.fetch(seller.url).catch(() => undefined)
    assert.equal(wallet.signed.length, 20)
  })

  test('a wallet that says nothing moved frees the budget, any other failure holds it', async () => {
    const seller = await selling(honest(cent))
    const clock = leaping()
    const failures = [
      [new PaymentError('declined', 'No.'), 0],
      [new PaymentError('funds-insufficient', 'Empty.'), 0],
      [new PaymentError('payment-unknown', 'The signer is gone.'), 1],
      [new Error('socket hang up'), 1],
    ] as const
    for (const [failure, held] of failures) {
      const wallet = counting(clock, { pay: () => Promise.reject(failure) })
      const { payer, ledger } = paying({ wallets: [wallet] }, clock)
      await assert.rejects(payer.fetch(seller.url), failure)
      assert.equal((await open(ledger)).length, held)
    }
  })
})

describe('a payment whose outcome is not known', () => {
  test('the same one is sent again after 409, 503, 502, 504 and a broken connection', async () => {
    const script = [409, 503, 0, 502, 504, 200]
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      const status = script.shift()
      if (status === 0) return void res.destroy()
      if (status !== 200) return void res.writeHead(status ?? 500, { 'retry-after': '3' }).end()
      return void res.writeHead(200, receiptFor(req)).end('served')
    })
    const { payer, wallet, clock } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(await response.text(), 'served')
    assert.equal(wallet.signed.length, 1)
    assert.deepEqual(
      seller.proofs().map(({ nonce }) => nonce),
      [1, 1, 1, 1, 1, 1],
    )
    assert.ok(clock.slept.every((ms) => ms >= 250 && ms <= 8000))
    assert.equal(clock.slept.filter((ms) => ms >= 3000).length, 4, 'Retry-After is kept')
  })

  test('sends end: by number, and by a Retry-After that is too far away', async () => {
    let retry = '0'
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      return void res.writeHead(503, { 'retry-after': retry }).end('later')
    })
    const { payer, ledger } = paying()
    const response = await payer.fetch(`${seller.url}/1`)
    assert.equal(response.status, 503)
    assert.equal(await response.text(), 'later')
    assert.equal(paymentOf(response)?.state, 'held')
    assert.equal(seller.proofs().length, 6)
    retry = '3600'
    assert.equal((await payer.fetch(`${seller.url}/2`)).status, 503)
    assert.equal(seller.proofs().length, 7)
    assert.equal((await open(ledger)).length, 2)
  })

  test('a later call sends it again and signs nothing; calls at once are two purchases (CLI-15)', async () => {
    let broken = true
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      if (broken) return void res.destroy()
      return void res.writeHead(200, receiptFor(req)).end('served')
    })
    const { payer, wallet, ledger } = paying()
    const post = () => payer.fetch(seller.url, { method: 'POST', body: 'x' })
    await assert.rejects(post(), { code: 'payment-unknown', retryable: true })
    assert.equal(wallet.signed.length, 1)
    broken = false
    const other = await payer.fetch(seller.url, { method: 'POST', body: 'y' })
    assert.equal(other.status, 200)
    assert.equal(wallet.signed.length, 2, 'another body is another purchase')
    const both = await Promise.all([post(), post()])
    assert.deepEqual(
      both.map(({ status }) => status),
      [200, 200],
    )
    assert.equal(wallet.signed.length, 3, 'one of the two took the open purchase')
    assert.equal((await open(ledger)).length, 0)
    assert.equal(new Set(both.map((response) => paymentOf(response)?.key)).size, 2)
  })

  test('a payment that another payer of the same books left is sent again', async () => {
    let broken = true
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      if (broken) return void res.destroy()
      return void res.writeHead(200, receiptFor(req)).end('served')
    })
    const first = paying()
    await assert.rejects(first.payer.fetch(seller.url), { code: 'payment-unknown' })
    broken = false
    const second = paying({ ledger: first.ledger }, first.clock)
    assert.equal((await second.payer.fetch(seller.url)).status, 200)
    assert.equal(second.wallet.signed.length, 0)
    assert.equal((await open(first.ledger)).length, 0)
  })

  test('a sweep leaves alone what is being worked on', async () => {
    const arrived = Promise.withResolvers<void>()
    const served = Promise.withResolvers<void>()
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      arrived.resolve()
      return void served.promise.then(() => res.writeHead(200, receiptFor(req)).end())
    })
    const clock = leaping()
    const wallet = counting(clock, { outcome: async () => 'dead' })
    const { payer, ledger } = paying({ wallets: [wallet] }, clock)
    const call = payer.fetch(seller.url)
    await arrived.promise
    clock.leap(3_600_000)
    await payer.recover()
    assert.equal((await open(ledger)).length, 1)
    served.resolve()
    assert.equal(paymentOf(await call)?.state, 'posted')
    assert.equal((await open(ledger)).length, 0)
  })

  test('an expired payment is not sent again', async () => {
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      if (proofIn(req).nonce === 1) return void res.destroy()
      return void res.writeHead(200, receiptFor(req)).end('served')
    })
    const { payer, wallet, clock } = paying()
    await assert.rejects(payer.fetch(seller.url), { code: 'payment-unknown' })
    clock.leap(299_000)
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
  })
})

describe('the outcome', () => {
  const refusing = () =>
    selling((_, res) => res.writeHead(402, { ...asking(cent), 'toy-error': '1' }).end('no'))

  test('a second 402 is not paid again, comes back with its reason, and stays reserved', async () => {
    const seller = await refusing()
    const { payer, wallet, ledger } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(response.status, 402)
    assert.equal(await response.text(), 'no')
    assert.equal(wallet.signed.length, 1)
    assert.equal(paymentOf(response)?.state, 'held')
    assert.equal(paymentOf(response)?.problem?.code, 'settlement-failed')
    assert.equal((await open(ledger)).length, 1)
  })

  test('the wallet decides: dead frees the budget, paid spends it, open waits', async () => {
    const seller = await refusing()
    for (const [outcome, state] of [
      ['dead', 'voided'],
      ['paid', 'posted'],
      ['open', 'pending'],
    ] as const) {
      const clock = leaping()
      const wallet = counting(clock, { outcome: async () => outcome })
      const { payer, ledger } = paying({ wallets: [wallet] }, clock)
      const key = paymentOf(await payer.fetch(seller.url))?.key ?? ''
      clock.leap(3_600_000)
      await payer.recover()
      assert.equal((await ledger.find(key))?.state, state)
    }
  })

  test('without a wallet that can look, it counts as spent once its time is over', async () => {
    const seller = await refusing()
    const { payer, ledger, clock } = paying()
    const key = paymentOf(await payer.fetch(seller.url))?.key ?? ''
    await payer.recover()
    assert.equal((await ledger.find(key))?.state, 'pending')
    clock.leap(300_000)
    await payer.recover()
    assert.equal((await ledger.find(key))?.state, 'posted')
  })

  test('a wallet that cannot be asked leaves it open, and the others are still looked at', async () => {
    const seller = await refusing()
    const clock = leaping()
    let asked = 0
    const wallet = counting(clock, {
      async outcome() {
        if (asked++ === 0) throw new Error('no connection')
        return 'dead'
      },
    })
    const { payer, ledger, events } = paying({ wallets: [wallet] }, clock)
    await payer.fetch(`${seller.url}/1`)
    // The sweep beside the first purchase may have asked already.
    asked = 0
    await payer.fetch(`${seller.url}/2`)
    await payer.recover()
    assert.equal((await open(ledger)).length, 1)
    assert.ok(events.some((event) => event.type === 'fault' && event.where === 'payer/sweep'))
  })

  test('a full budget is swept before a purchase is refused', async () => {
    const seller = await selling(({ req }, res) => {
      if (req.url === '/no' || !req.headers['toy-payment'])
        return void res.writeHead(402, asking(cent)).end()
      return void res.writeHead(200, receiptFor(req)).end()
    })
    const clock = leaping()
    const wallet = counting(clock, {
      outcome: async (_, proof) => (clock.now() > proof.expiresAt ? 'dead' : 'open'),
    })
    const limits = { perRequest: '0.01 USD', total: '0.01 USD' }
    const { payer } = paying({ wallets: [wallet], policy: limits }, clock)
    await payer.fetch(`${seller.url}/no`)
    await assert.rejects(payer.fetch(`${seller.url}/yes`), { code: 'budget-exceeded' })
    clock.leap(301_000)
    assert.equal((await payer.fetch(`${seller.url}/yes`)).status, 200)
  })

  test('a good answer without a receipt is posted and not verified', async () => {
    const seller = await selling(({ req }, res) =>
      req.headers['toy-payment']
        ? res.writeHead(200).end('served')
        : res.writeHead(402, asking(cent)).end(),
    )
    const payment = paymentOf(await paying().payer.fetch(seller.url))
    assert.equal(payment?.state, 'posted')
    assert.equal(payment.verified, false)
    assert.equal(payment.why, 'The seller gave no receipt.')
  })

  test('a receipt is verified only if all of it fits and the wallet saw it paid (CLI-26)', async () => {
    const lies = [
      [{}, undefined],
      [{ ref: '' }, /names no transaction/],
      [{ amount: '9999' }, /another amount/],
      [{ payer: 'mallory' }, /another payer/],
      [{ payee: 'mallory' }, /another payee/],
      [{ network: 'toy:2' }, /another network/],
      [{ error: 'It failed.' }, /It failed\./],
    ] as const
    for (const [lie, why] of lies) {
      const seller = await selling(({ req }, res) =>
        req.headers['toy-payment']
          ? res.writeHead(200, receiptFor(req, lie)).end()
          : res.writeHead(402, asking(cent)).end(),
      )
      const clock = leaping()
      const wallet = counting(clock, { outcome: async () => 'paid' })
      const checked = { ...policy, checkReceipts: true }
      const { payer } = paying({ wallets: [wallet], policy: checked }, clock)
      const payment = paymentOf(await payer.fetch(seller.url))
      assert.equal(payment?.state, 'posted')
      assert.equal(payment.verified, why === undefined)
      if (why) assert.match(payment.why ?? '', why)
    }
  })

  test('a fitting receipt for money that did not move is not verified (CLI-26)', async () => {
    const seller = await selling(honest(cent))
    const clock = leaping()
    const wallet = counting(clock, { outcome: async () => 'open' })
    const checked = { ...policy, checkReceipts: true }
    const { payer } = paying({ wallets: [wallet], policy: checked }, clock)
    const payment = paymentOf(await payer.fetch(seller.url))
    assert.equal(payment?.verified, false)
    assert.match(payment.why ?? '', /does not see/)
  })

  test('books that fail after the sale do not lose the response', async () => {
    const seller = await selling(honest(cent))
    const ledger = memory()
    const broken = { ...ledger, post: () => Promise.reject(new Error('disk full')) }
    const { payer, events } = paying({ ledger: broken })
    assert.equal(await (await payer.fetch(seller.url)).text(), 'served GET ')
    assert.ok(events.some((event) => event.type === 'fault' && event.where === 'payer/post'))
    assert.equal((await open(ledger)).length, 1)
  })
})
