// What was paid for and has not come: cut answers, payments that came late, reservations of the dead.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { after, describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import type { Wallet } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Leaping, Seen, Serve, ToyProof } from './fakes.test.ts'
import {
  asking,
  closeSellers,
  counting,
  honest,
  leaping,
  proofIn,
  receiptFor,
  selling,
  toy,
} from './fakes.test.ts'
import { BODY_HOLD_BYTES_MAX, FETCH_MS_MAX, LEASE_MS, RECEIVING_MS_MAX } from './limits.ts'
import type { PayerParts } from './payer.ts'
import { createPayer, paymentOf } from './payer.ts'

after(closeSellers)

const policy = { perRequest: '0.05 USD', total: '1 USD' }
const cent = { amount: '10000' }

function paying(rest: Partial<PayerParts> = {}, clock: Leaping = leaping()) {
  const wallet = counting(clock)
  const ledger = memory({ clock })
  const events: Event[] = []
  const observe = (event: Event): void => void events.push(event)
  const parts = { wallets: [wallet], protocols: [toy], ledger, policy, clock, observe, ...rest }
  return { payer: createPayer(parts), wallet, ledger: parts.ledger, clock, events }
}

/** Asks for a cent, and leaves paid requests to `serve`, which is told how many came before. */
function taking(serve: (seen: Seen, res: ServerResponse, before: number) => void): Serve {
  let paid = 0
  return (seen, res) => {
    if (seen.req.headers['toy-payment']) return serve(seen, res, paid++)
    return void res.writeHead(402, asking(cent)).end()
  }
}

/** The head and the beginning of a body arrive, and no more. */
function cut({ req }: Seen, res: ServerResponse, text = 'half'): void {
  const head = { ...receiptFor(req), 'content-length': '1000000' }
  res.writeHead(200, head).write(text, () => res.destroy())
}

const stepsOf = async (ledger: PayerParts['ledger'], key: string | undefined) =>
  (await ledger.find(key ?? ''))?.steps.map(({ type }) => type)
const spentOf = async (payer: ReturnType<typeof createPayer>) =>
  (await payer.spent()).find(({ limit }) => limit === 'total')

describe('an answer that breaks off', () => {
  test('before anybody has seen any of it: the same payment fetches it in the same call', async () => {
    const seller = await selling(
      taking((seen, res, before) => (before === 0 ? cut(seen, res) : honest()(seen, res))),
    )
    const { payer, wallet, ledger, events } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(await response.text(), 'served GET ')
    const key = paymentOf(response)?.key
    assert.deepEqual(await stepsOf(ledger, key), ['signed', 'receipt', 'received'])
    assert.equal((await ledger.find(key ?? ''))?.state, 'posted')
    assert.equal(wallet.signed.length, 1)
    assert.deepEqual(
      seller.proofs().map(({ nonce }) => nonce),
      [1, 1],
    )
    assert.equal(events.filter(({ type }) => type === 'paid').length, 1)
  })

  test('again and again: it stays open, and the next equal call fetches it', async () => {
    let broken = true
    const seller = await selling(
      taking((seen, res) => (broken ? cut(seen, res) : honest()(seen, res))),
    )
    const { payer, wallet, clock, ledger } = paying()
    await assert.rejects(payer.fetch(seller.url), { code: 'payment-unknown', retryable: true })
    assert.equal(seller.proofs().length, 6)
    broken = false
    await payer.recover()
    assert.equal((await ledger.pending()).length, 1, 'a sweep leaves it to be fetched')
    assert.equal(await (await payer.fetch(seller.url)).text(), 'served GET ')
    assert.equal(wallet.signed.length, 1)
    assert.equal((await ledger.pending()).length, 0)
    clock.leap(1)
    await (await payer.fetch(seller.url)).text()
    assert.equal(wallet.signed.length, 2, 'what has come is bought anew')
  })

  test('in the middle: its reader is told, the money counts, and the next equal call fetches it', async () => {
    const parts = paying()
    const { payer, wallet, clock, ledger } = parts
    const more = Promise.withResolvers<void>()
    const seller = await selling(
      taking((seen, res, before) => {
        if (before > 0) return honest()(seen, res)
        res.writeHead(200, { ...receiptFor(seen.req), 'content-length': '1000000' }).write('half')
        clock.expire()
        return void more.promise.then(() => res.destroy())
      }),
    )
    const response = await payer.fetch(seller.url)
    const key = paymentOf(response)?.key
    assert.equal(paymentOf(response)?.state, 'posted')
    assert.deepEqual(await stepsOf(ledger, key), ['signed', 'receipt'])
    assert.equal((await spentOf(payer))?.held, '0.01 USD')
    clock.leap(200_000)
    await payer.recover()
    assert.equal((await ledger.find(key ?? ''))?.state, 'pending', 'it is being read')
    await (await payer.fetch(seller.url)).text()
    assert.equal(wallet.signed.length, 2, 'who calls meanwhile buys his own')
    more.resolve()
    await assert.rejects(response.text(), TypeError)
    assert.equal(await (await payer.fetch(seller.url)).text(), 'served GET ')
    assert.equal(wallet.signed.length, 2)
    assert.deepEqual(
      seller.proofs().map(({ nonce }) => nonce),
      [1, 2, 1],
    )
    // The second answer may have been whole at once, or on its way for a moment.
    const steps = (await stepsOf(ledger, key)) ?? []
    assert.deepEqual(steps.slice(0, 4), ['signed', 'receipt', 'released', 'adopted'])
    assert.equal(steps.at(-1), 'received')
    assert.equal((await ledger.pending()).length, 0)
  })

  for (const status of [410, 402])
    test(`and is not given again (${status}): the loss is told, and only a further call pays`, async () => {
      const seller = await selling(
        taking((seen, res, before) => {
          if (before === 0) return cut(seen, res)
          if (before > 1) return honest()(seen, res)
          return void res.writeHead(status, status === 402 ? asking(cent) : {}).end('gone')
        }),
      )
      const { payer, wallet, ledger, events } = paying()
      const response = await payer.fetch(seller.url)
      assert.equal(response.status, status)
      assert.equal(await response.text(), 'gone')
      assert.equal(paymentOf(response)?.state, 'posted')
      assert.match(paymentOf(response)?.why ?? '', /lost on the way/)
      assert.equal(wallet.signed.length, 1)
      assert.ok(events.some(({ type }) => type === 'lost'))
      assert.equal((await ledger.pending()).length, 0)
      assert.equal(await (await payer.fetch(seller.url)).text(), 'served GET ')
      assert.equal(wallet.signed.length, 2)
    })

  test('an abort breaks it off, and a cancel ends it', async () => {
    const { payer, wallet, clock, ledger } = paying()
    const seller = await selling(
      taking((seen, res) => {
        res.writeHead(200, receiptFor(seen.req)).write('half')
        clock.expire()
      }),
    )
    const controller = new AbortController()
    const aborted = await payer.fetch(seller.url, { signal: controller.signal })
    controller.abort()
    await assert.rejects(aborted.text(), { name: 'AbortError' })
    const again = await payer.fetch(seller.url)
    assert.equal(wallet.signed.length, 1)
    assert.equal(paymentOf(again)?.key, paymentOf(aborted)?.key)
    await again.body?.cancel()
    assert.equal((await ledger.pending()).length, 0)
    await (await payer.fetch(seller.url)).body?.cancel()
    assert.equal(wallet.signed.length, 2)
  })
})

describe('an answer that nobody reads', () => {
  test('has come if it is short', async () => {
    const seller = await selling(honest(cent))
    const { payer, wallet, ledger } = paying()
    await payer.fetch(seller.url)
    assert.equal((await ledger.pending()).length, 0)
    await payer.fetch(seller.url)
    assert.equal(wallet.signed.length, 2)
  })

  test('is closed after its time if it is long, and is not asked for again', async () => {
    const body = 'x'.repeat(4 * BODY_HOLD_BYTES_MAX)
    const seller = await selling(
      taking(({ req }, res) => void res.writeHead(200, receiptFor(req)).end(body)),
    )
    const { payer, wallet, clock, ledger } = paying()
    const response = await payer.fetch(seller.url)
    const key = paymentOf(response)?.key ?? ''
    clock.leap(RECEIVING_MS_MAX - 1)
    await payer.recover()
    assert.equal((await ledger.find(key))?.state, 'pending')
    clock.leap(1)
    await payer.recover()
    assert.equal((await ledger.find(key))?.state, 'posted')
    assert.equal((await ledger.pending()).length, 0)
    assert.equal((await (await payer.fetch(seller.url)).text()).length, body.length)
    assert.equal(wallet.signed.length, 2)
    assert.equal((await response.text()).length, body.length, 'it can still be read')
  })
})

describe('the response', () => {
  test('keeps status, header, address and redirect, whether its body is whole or on its way; so do copies', async () => {
    for (const body of ['short', 'x'.repeat(2 * BODY_HOLD_BYTES_MAX)]) {
      const seller = await selling((seen, res) => {
        if (seen.req.url === '/' && seen.req.headers['toy-payment'])
          return void res.writeHead(307, { location: '/there' }).end()
        return taking(({ req }) => {
          const cookies = ['a=1', 'b=2']
          res
            .writeHead(203, 'Well', { ...receiptFor(req), 'set-cookie': cookies, 'x-a': 'b' })
            .end(body)
        })(seen, res)
      })
      const response = await paying().payer.fetch(seller.url)
      const copy = response.clone()
      const third = copy.clone()
      for (const one of [response, copy, third]) {
        assert.equal(one.status, 203)
        assert.equal(one.statusText, 'Well')
        assert.equal(one.url, `${seller.url}/there`)
        assert.equal(one.redirected, true)
        assert.equal(one.type, 'basic')
        assert.equal(one.headers.get('x-a'), 'b')
        assert.deepEqual(one.headers.getSetCookie(), ['a=1', 'b=2'])
        assert.ok(one instanceof Response)
      }
      const texts = await Promise.all([response, copy, third].map((one) => one.text()))
      assert.deepEqual(texts, [body, body, body])
    }
  })

  test('without a body is closed at its head', async () => {
    for (const [method, status] of [
      ['HEAD', 200],
      ['GET', 204],
    ] as const) {
      const seller = await selling(
        taking(({ req }, res) => void res.writeHead(status, receiptFor(req)).end()),
      )
      const { payer, ledger } = paying()
      const response = await payer.fetch(seller.url, { method })
      assert.equal(response.status, status)
      assert.equal(response.body, null)
      const key = paymentOf(response)?.key
      assert.equal((await ledger.find(key ?? ''))?.state, 'posted')
      assert.deepEqual(await stepsOf(ledger, key), ['signed', 'receipt'])
    }
  })
})

/** A payer whose first payment was sent and not answered; `outcome` is what its wallet sees then. */
async function unanswered(outcome: 'paid' | 'dead' | 'open', serve: Serve) {
  const clock = leaping()
  let broken = true
  const wallet = counting(clock, { outcome: async () => (broken ? 'open' : outcome) })
  const seller = await selling(
    taking((seen, res) => (broken ? void res.destroy() : serve(seen, res))),
  )
  const parts = paying({ wallets: [wallet] }, clock)
  await assert.rejects(parts.payer.fetch(seller.url), { code: 'payment-unknown' })
  assert.equal(wallet.signed.length, 1)
  broken = false
  return { ...parts, wallet, seller }
}

const HOUR_MS = 3_600_000

describe('a payment that was taken late', () => {
  for (const swept of [true, false])
    test(`is shown again after its end ${swept ? 'and a sweep' : 'before any sweep'}, and fetches what it bought`, async () => {
      const { payer, wallet, clock, seller, ledger, events } = await unanswered('paid', honest())
      clock.leap(HOUR_MS)
      if (swept) {
        await payer.recover()
        await payer.recover()
        assert.deepEqual((await spentOf(payer))?.posted, '0.01 USD')
      }
      const response = await payer.fetch(seller.url)
      assert.equal(await response.text(), 'served GET ')
      assert.equal(wallet.signed.length, 1)
      assert.equal((await ledger.pending()).length, 0)
      const { posted, held } = (await spentOf(payer)) ?? {}
      assert.deepEqual([posted, held], ['0.01 USD', '0 USD'])
      assert.ok(!events.some(({ type }) => type === 'lost'))
      await (await payer.fetch(seller.url)).text()
      assert.equal(wallet.signed.length, 2, 'what has come is bought anew')
    })

  test('two calls at once: one fetches it, the other buys its own', async () => {
    const { payer, wallet, clock, seller } = await unanswered('paid', honest())
    clock.leap(HOUR_MS)
    await payer.recover()
    const both = await Promise.all([payer.fetch(seller.url), payer.fetch(seller.url)])
    assert.equal(wallet.signed.length, 2)
    assert.equal(new Set(both.map((one) => paymentOf(one)?.key)).size, 2)
  })

  test('is lost when the seller will not serve it: told once, and a further call pays', async () => {
    const refusing: Serve = (seen, res) =>
      proofIn(seen.req).nonce === 1
        ? void res.writeHead(402, asking(cent)).end('no')
        : honest()(seen, res)
    const { payer, wallet, clock, seller, events, ledger } = await unanswered('paid', refusing)
    clock.leap(HOUR_MS)
    const response = await payer.fetch(seller.url)
    assert.equal(response.status, 402)
    assert.equal(paymentOf(response)?.state, 'posted')
    assert.equal(wallet.signed.length, 1)
    assert.equal(events.filter(({ type }) => type === 'lost').length, 1)
    assert.equal((await ledger.pending()).length, 0)
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
  })

  test('is kept for another try while the seller is busy', async () => {
    let busy = true
    const { payer, wallet, clock, seller } = await unanswered('paid', (seen, res) =>
      busy ? void res.writeHead(503).end() : honest()(seen, res),
    )
    clock.leap(HOUR_MS)
    assert.equal(paymentOf(await payer.fetch(seller.url))?.state, 'held')
    busy = false
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 1)
  })

  test('is not asked for for ever', async () => {
    const { payer, wallet, clock, seller, events, ledger } = await unanswered('paid', honest())
    clock.leap(HOUR_MS)
    await payer.recover()
    clock.leap(FETCH_MS_MAX)
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    await payer.recover()
    assert.equal((await ledger.pending()).length, 0)
    assert.equal(events.filter(({ type }) => type === 'lost').length, 1)
  })

  test('was not taken: then it is forgotten, and the next call buys', async () => {
    const { payer, wallet, clock, seller } = await unanswered('dead', honest())
    clock.leap(HOUR_MS)
    assert.equal((await payer.fetch(seller.url)).status, 200)
    assert.equal(wallet.signed.length, 2)
    const { posted, held } = (await spentOf(payer)) ?? {}
    assert.deepEqual([posted, held], ['0.01 USD', '0 USD'])
  })
})

describe('a reservation without a signature', () => {
  const dying = (rest: Partial<Wallet<unknown, ToyProof>>) => {
    const clock = leaping()
    const ledger = memory({ clock })
    // The process "dies" when the signed payment is to be written.
    const dead = { ...ledger, step: () => Promise.reject(new Error('The process is gone.')) }
    const wallets = [counting(clock, rest)]
    return { clock, wallets, ledger, first: paying({ wallets, ledger: dead }, clock) }
  }

  for (const [kind, rest, state] of [
    ['a local wallet is given back', { local: true }, 'voided'],
    ['any other wallet counts, for it may be signed', {}, 'pending'],
  ] as const)
    test(`of ${kind} when its lease is over`, async () => {
      const { clock, wallets, ledger, first } = dying(rest)
      const seller = await selling(honest(cent))
      await assert.rejects(first.payer.fetch(seller.url), /The process is gone/)
      const [held] = await ledger.pending()
      assert.ok(held)
      const second = paying({ wallets, ledger }, clock)
      clock.leap(LEASE_MS - 1)
      await second.payer.recover()
      assert.equal((await ledger.find(held.key))?.state, 'pending', 'its maker may be at work')
      clock.leap(1)
      await second.payer.recover()
      assert.equal((await ledger.find(held.key))?.state, state)
    })

  test('that was given back is not sent by its maker who comes late', async () => {
    const clock = leaping()
    const wallet = counting(clock, { local: true })
    const ledger = memory({ clock })
    const seller = await selling(honest(cent))
    const slow: typeof ledger = {
      ...ledger,
      async step(key, step, claim) {
        clock.leap(LEASE_MS)
        const [held] = await ledger.pending()
        assert.ok(held && (await ledger.expire(held.key, held.claim)))
        return ledger.step(key, step, claim)
      },
    }
    const { payer } = paying({ wallets: [wallet], ledger: slow }, clock)
    await assert.rejects(payer.fetch(seller.url), { code: 'payment-in-flight' })
    assert.equal(seller.proofs().length, 0)
    assert.equal(
      (await paying({ wallets: [wallet], ledger }, clock).payer.fetch(seller.url)).ok,
      true,
    )
  })

  test('a local wallet that fails has paid nothing, whatever it says', async () => {
    const clock = leaping()
    const failing = counting(clock, { local: true, pay: () => Promise.reject(new Error('Oh.')) })
    const seller = await selling(honest(cent))
    const { payer, ledger } = paying({ wallets: [failing] }, clock)
    await assert.rejects(payer.fetch(seller.url), /Oh\./)
    assert.equal((await ledger.pending()).length, 0)
  })
})

describe('a budget in one currency that is used up', () => {
  const limits = { perRequest: ['0.05 USD', '3 PTS'], total: ['0.01 USD', '5 PTS'] }
  const both = [cent, { amount: '3', asset: 'PTS' }]

  test('leaves the offers in another one, and when all are, each is named', async () => {
    const seller = await selling(honest(...both))
    const { payer, wallet, ledger } = paying({ policy: limits })
    for (const code of ['USDC', 'PTS']) {
      assert.equal((await payer.fetch(seller.url)).status, 200)
      assert.equal(wallet.signed.at(-1)?.offer.amount.asset.code, code)
    }
    await assert.rejects(payer.fetch(seller.url), (error: PaymentError) => {
      assert.equal(error.code, 'budget-exceeded')
      assert.match(error.message, /Paying 0\.01 USD would go over total, which is 0\.01 USD\./)
      assert.match(error.message, /Paying 3 PTS would go over total, which is 5 PTS\./)
      assert.match(error.message, /Nothing was signed\. Raise a limit/)
      return true
    })
    assert.equal(wallet.signed.length, 2)
    assert.equal((await ledger.pending()).length, 0)
  })

  test('each offer is asked about before it is signed, and a no is not followed by another', async () => {
    const seller = await selling(honest(...both))
    const asked: string[] = []
    const { payer, wallet } = paying({
      policy: limits,
      async confirm(_, { cost }) {
        asked.push(cost)
        return asked.length !== 3
      },
    })
    await payer.fetch(seller.url)
    await assert.rejects(payer.fetch(seller.url), { code: 'declined' })
    assert.deepEqual(asked, ['0.01 USD', '0.01 USD', '3 PTS'])
    assert.equal(wallet.signed.length, 1)
  })
})
