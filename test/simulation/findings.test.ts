// What the simulator has found, each as small as it could be made.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMac } from '../../src/core/mac.ts'
import { readPrice } from '../../src/core/money.ts'
import type { Credential } from '../../src/core/credential.ts'
import { createOffers } from '../../src/core/offers.ts'
import type { Ask, Gate, Ledger, Pass, Rail, SettlePoint } from '../../src/core/ports.ts'
import { problem } from '../../src/core/problem.ts'
import { DELIVER_MS, OFFER_VALID_MS, WORK_MS, createGate } from '../../src/gate/gate.ts'
import { memory } from '../../src/ledger/memory.ts'
import { asking, counting, leaping, toy } from '../../src/payer/fakes.test.ts'
import { createPayer } from '../../src/payer/payer.ts'

const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
const START_AT = 1_800_000_000_000

function createShop(settlePoint: SettlePoint) {
  let now = START_AT
  let empty = false
  let spentHidden = false
  let wait = Promise.resolve()
  let outcome: 'settled' | 'unknown' = 'settled'
  const clock = { now: () => now, sleep: () => new Promise<void>(() => undefined) }
  const moved = new Set<string>()
  const settled = (key: string) =>
    ({ state: 'settled', reference: `tx ${key}`, payer: 'buyer', settledAt: now }) as const
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: () => Promise.resolve(),
    close: () => Promise.resolve(),
    quote: ({ amount }) => [
      {
        rail: 'test',
        network: 'net',
        intent: 'charge',
        payee: 'seller',
        timeoutMs: 60_000,
        details: {},
        amount: { asset: coin, amount },
      },
    ],
    identify: (_, key) => ({ key, payer: 'buyer' }),
    async verify(_, key) {
      if (moved.has(key) && !spentHidden)
        return { ok: false, key, payer: 'buyer', problem: problem('payment-spent', 'Spent.') }
      if (empty)
        return { ok: false, key, payer: 'buyer', problem: problem('funds-insufficient', 'Empty.') }
      return { ok: true, key, payer: 'buyer' }
    },
    async settle(_, key, __, log) {
      await log.write({ type: 'prepared', data: {} })
      if (outcome === 'unknown') return { state: 'unknown', detail: 'In no block yet.' }
      moved.add(key)
      await wait
      return settled(key)
    },
    find: async (_, key) => (moved.has(key) ? settled(key) : { state: 'unknown', detail: '…' }),
  }
  const ledger: Ledger = memory({ clock })
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const make = (books: Ledger): Gate => createGate({ rails: [rail], ledger: books, offers, clock })
  /** The other replica's answers may be on their way for long. */
  let slow = Promise.resolve()
  const far: Ledger = {
    ...ledger,
    async pending() {
      const list = await ledger.pending()
      await slow
      return list
    },
    async transfer(given) {
      const claim = await ledger.transfer(given)
      await slow
      return claim
    },
  }
  const ask = (credential?: Credential): Ask => ({
    resource: {
      realm: 'shop',
      method: 'GET',
      authority: 'api.test',
      path: '/a',
      query: '',
      url: 'http://api.test/a',
    },
    sale: { prices: [readPrice('0.000005 USD')], settle: settlePoint, account: 'sales/a' },
    request: 'r',
    ...(credential && { credential }),
  })
  const gate = make(ledger)
  const said = gate.challenge(ask())
  assert('kind' in said, 'nobody must be asked')
  const [offer] = said.challenge?.offers ?? []
  assert(offer)
  return {
    gate,
    other: make(far),
    slow: (until: Promise<void>) => void (slow = until),
    hide: () => void (spentHidden = true),
    paid: ask({ offer, proof: 'nonce' }),
    later: (ms: number) => void (now += ms),
    drain: () => void (empty = true),
    hold: (until: Promise<void>) => void (wait = until),
    lose: () => void (outcome = 'unknown'),
    mine: () => void moved.add('nonce'),
  }
}

type Entry = Awaited<ReturnType<Gate['admit']>> | Awaited<ReturnType<Pass['finish']>>

const codeOf = (entry: Entry): string =>
  entry.kind === 'refused' ? entry.problem.code : entry.kind

function passOf(entry: Entry): Pass {
  assert(entry.kind === 'pass', codeOf(entry))
  return entry
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the gate', () => {
  test('asks its books before it calls a sent payment expired: 402 would make the payer pay twice', async () => {
    const shop = createShop('before-response')
    shop.lose()
    await passOf(await shop.gate.admit(shop.paid)).finish(true)
    shop.mine()
    shop.later(OFFER_VALID_MS + 10_000)
    assert.equal(codeOf(await shop.gate.admit(shop.paid)), 'pass')
  })

  test('asks its books before it calls a sent payment unfunded: the very payment may have emptied the account', async () => {
    const shop = createShop('before-response')
    shop.lose()
    await passOf(await shop.gate.admit(shop.paid)).finish(true)
    shop.drain()
    assert.equal(codeOf(await shop.gate.admit(shop.paid)), 'payment-unknown')
  })

  test('calls nothing delivered when the work has failed: the adapters tell of every first byte', async () => {
    const shop = createShop('before-work')
    const pass = passOf(await shop.gate.admit(shop.paid))
    await pass.finish(false)
    // The answer 500 of the handler leaves.
    pass.delivered()
    await turn()
    assert.equal(codeOf(await shop.gate.admit(shop.paid)), 'pass')
  })

  test('lets nobody else work on what was settled before the work while that may still go on', async () => {
    const shop = createShop('before-work')
    passOf(await shop.gate.admit(shop.paid))
    // The work may take a minute.
    shop.later(DELIVER_MS + 1_000)
    assert.equal(codeOf(await shop.other.admit(shop.paid)), 'payment-in-flight')
  })

  test('serves nothing when somebody else has closed the sale meanwhile and may have delivered it', async () => {
    const shop = createShop('before-response')
    const held = Promise.withResolvers<void>()
    shop.hold(held.promise)
    const slow = passOf(await shop.gate.admit(shop.paid)).finish(true)
    await turn()
    // Its block took longer than its lease, so another replica finds the money on the chain and posts.
    shop.later(200_000)
    await shop.other.recover()
    const quick = passOf(await shop.other.admit(shop.paid)).finish(true)
    held.resolve()
    const ends = [codeOf(await slow), codeOf(await quick)]
    assert.equal(ends.filter((end) => end === 'serve').length, 1, ends.join(', '))
  })
})

describe('the gate’s other replica', () => {
  test('looks again, once it has the turn, whether the goods were delivered meanwhile', async () => {
    const shop = createShop('before-work')
    const pass = passOf(await shop.gate.admit(shop.paid))
    const answer = Promise.withResolvers<void>()
    shop.slow(answer.promise)
    // Its node is a block behind, so that it asks the books by a claim.
    shop.hide()
    const again = shop.other.admit(shop.paid)
    await turn()
    await pass.finish(true)
    pass.delivered()
    await turn()
    shop.later(DELIVER_MS + WORK_MS + 1_000)
    answer.resolve()
    assert.equal(codeOf(await again), 'payment-delivered')
  })
})

describe('recovery', () => {
  test('gives up nothing that was written ahead after it had looked', async () => {
    const shop = createShop('before-response')
    const pass = passOf(await shop.gate.admit(shop.paid))
    // The other replica's clock is ahead, or its answers are slow: to it the lease is over.
    shop.later(200_000)
    const answer = Promise.withResolvers<void>()
    shop.slow(answer.promise)
    const recovered = shop.other.recover()
    await turn()
    const held = Promise.withResolvers<void>()
    shop.hold(held.promise)
    const finished = pass.finish(true)
    await turn()
    answer.resolve()
    await recovered
    held.resolve()
    assert.equal(codeOf(await finished), 'serve')
  })
})

describe('the payer', () => {
  test('sends a payment again that it sees on the chain and of which nothing has come', async () => {
    const clock = leaping()
    const wallet = counting(clock, { outcome: () => Promise.resolve('paid') })
    let down = true
    const payer = createPayer({
      wallets: [wallet],
      protocols: [toy],
      ledger: memory({ clock }),
      policy: { perRequest: '1 USD', total: '10 USD' },
      clock,
      async fetch(_, init) {
        const proof = new Headers(init?.headers).get('toy-payment')
        if (proof === null)
          return new Response('pay', { status: 402, headers: asking({ amount: '1' }) })
        if (down) throw new TypeError('fetch failed')
        return new Response('goods')
      },
    })
    await assert.rejects(payer.fetch('http://shop.test/a'), { code: 'payment-unknown' })
    down = false
    await payer.recover()
    const response = await payer.fetch('http://shop.test/a')
    assert.equal(await response.text(), 'goods')
    assert.equal(wallet.signed.length, 1)
  })
})
