// What was bought once and pays for more: shown again to whoever sold it, to nobody else, and dropped when it is taken no more.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { systemChance } from '../core/chance.ts'
import { memory } from '../ledger/memory.ts'
import type { Ask } from './fakes.test.ts'
import {
  asking,
  closeSellers,
  counting,
  honest,
  leaping,
  receiptFor,
  selling,
  toy,
} from './fakes.test.ts'
import type { Good } from './l402-fakes.test.ts'
import { openShop, stage } from './l402-fakes.test.ts'
import { TOKENS_PER_ORIGIN_MAX } from './limits.ts'
import { createPayer, paymentOf } from './payer.ts'
import { createTokens } from './tokens.ts'

after(closeSellers)

const weather: Good = { conditions: ['services=weather:0'] }

describe('a token of L402', () => {
  test('pays again at once where it was good, and elsewhere when its service is asked for', async () => {
    const { node, paying, buyer } = stage()
    const goods = { '/a': weather, '/b': weather, '/c': { conditions: ['services=news:0'] } }
    const shop = await openShop(node, goods)
    const payer = paying()
    assert.equal((await payer.fetch(`${shop.url}/a`)).status, 200)
    assert.equal(shop.seen.length, 2)
    const again = await payer.fetch(`${shop.url}/a?day=2`, { method: 'POST', body: 'x' })
    assert.equal(await again.text(), 'served POST /a?day=2')
    assert.equal(paymentOf(again), undefined)
    assert.equal(shop.seen.length, 3)
    assert.equal((await payer.fetch(`${shop.url}/b`)).status, 200)
    assert.equal(shop.seen.length, 5)
    assert.equal((await payer.fetch(`${shop.url}/b`)).status, 200)
    assert.equal(shop.seen.length, 6)
    assert.equal(buyer.sent(), 1)
    assert.equal((await payer.fetch(`${shop.url}/c`)).status, 200)
    assert.equal(buyer.sent(), 2)
  })

  test('without a service pays again on its own path only', async () => {
    const { node, paying, buyer } = stage()
    const goods = { '/a': { conditions: ['path=/*'] }, '/b': { conditions: ['path=/*'] } }
    const shop = await openShop(node, goods)
    const payer = paying()
    for (const path of ['/a', '/a', '/b', '/b']) await payer.fetch(shop.url + path)
    assert.equal(buyer.sent(), 2)
    assert.equal(shop.seen.length, 6)
  })

  test('that was sold with one request is not shown for another', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': {} })
    const payer = paying()
    for (let i = 0; i < 3; i++) assert.equal((await payer.fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 3)
    assert.equal(new Set(shop.shown()).size, 4, 'three tokens, each shown once')
    assert.equal(shop.seen.length, 6)
  })

  test('of which nothing can be told is shown again, and when it was for one request, there no more', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': {} })
    const payer = paying({ readToken: () => ({}) })
    for (let i = 0; i < 3; i++) assert.equal((await payer.fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 3)
  })

  test('is not shown again where nobody can say that it is one', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying({ readToken: () => undefined })
    for (let i = 0; i < 2; i++) assert.equal((await payer.fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 2)
    assert.equal(shop.seen.length, 4)
  })

  test('is in the books: a process that starts later shows it, until its time is over', async () => {
    const { node, paying, clock, buyer } = stage()
    const untilS = Math.floor(clock.now() / 1000) + 3_600
    const conditions = ['services=weather:0', `expires=${untilS}`]
    const shop = await openShop(node, { '/': { conditions } })
    await paying().fetch(shop.url)
    const later = paying()
    await later.fetch(shop.url)
    assert.equal(shop.seen.length, 3)
    assert.equal(buyer.sent(), 1)
    clock.leap(3_600_000)
    await later.fetch(shop.url)
    assert.deepEqual(shop.shown().slice(3).map(Boolean), [false, true])
    assert.equal(buyer.sent(), 2)
  })

  test('that is taken no more is dropped for all, and the call pays anew, once', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying()
    await payer.fetch(shop.url)
    const [, token = ''] = /^L402 ([^:]+)/.exec(shop.shown()[1] ?? '') ?? []
    shop.revoked.add(token)
    assert.equal((await payer.fetch(shop.url)).status, 200)
    assert.equal(buyer.sent(), 2)
    assert.equal(shop.seen.length, 4, 'its 402 is the one that is paid')
    await paying().fetch(shop.url)
    assert.ok(!shop.shown().at(-1)?.includes(token))
    assert.equal(buyer.sent(), 2)
  })

  test('that is taken no more does not open the purse beyond the budget', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying({ policy: { perRequest: '10 SAT', total: '11 SAT' } })
    await payer.fetch(shop.url)
    assert.equal((await payer.fetch(shop.url)).status, 200)
    const [, token = ''] = /^L402 ([^:]+)/.exec(shop.shown()[1] ?? '') ?? []
    shop.revoked.add(token)
    await assert.rejects(payer.fetch(shop.url), { code: 'budget-exceeded' })
    assert.equal(buyer.sent(), 1)
  })

  test('is dropped after a 401, and the request is made without it', async () => {
    const { node, paying } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying()
    await payer.fetch(shop.url)
    shop.takes = (_, res) => void res.writeHead(401).end()
    const seen = shop.seen.length
    const response = await payer.fetch(shop.url)
    assert.equal(response.status, 401)
    assert.deepEqual(shop.shown().slice(seen).map(Boolean), [true, false, true])
  })

  test('serves many calls at once', async () => {
    const { node, paying, buyer } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying()
    await payer.fetch(shop.url)
    const calls = Array.from({ length: 10 }, () => payer.fetch(shop.url))
    for (const response of await Promise.all(calls)) assert.equal(response.status, 200)
    assert.equal(buyer.sent(), 1)
    assert.equal(shop.seen.length, 12)
  })

  test('goes to the origin that sold it and to no other, redirects included', async () => {
    const { node, paying, buyer } = stage()
    const thief = await selling((_, res) => void res.end('mine'))
    const shop = await openShop(node, { '/': weather })
    const other = await openShop(node, { '/': weather })
    const payer = paying()
    await payer.fetch(shop.url)
    await payer.fetch(other.url)
    assert.equal(buyer.sent(), 2)
    assert.deepEqual(other.shown().map(Boolean), [false, true])
    assert.notEqual(other.shown()[1], shop.shown()[1])
    for (const status of [302, 307]) {
      shop.takes = (_, res) => void res.writeHead(status, { location: `${thief.url}/` }).end()
      assert.equal(await (await payer.fetch(shop.url)).text(), 'mine')
    }
    assert.ok(thief.seen.every(({ req }) => req.headers.authorization === undefined))
    shop.takes = (_, res) => void res.writeHead(302, { location: `${other.url}/` }).end()
    const seen = other.seen.length
    await assert.rejects(payer.fetch(shop.url), { code: 'offers-unacceptable' })
    assert.deepEqual(other.shown().slice(seen), [''], 'one that was led there shows nothing')
    shop.takes = (_, res) => void res.end('served')
    assert.equal(await (await payer.fetch(shop.url)).text(), 'served')
    assert.equal(buyer.sent(), 2)
  })

  test('never stands in for an Authorization of the caller', async () => {
    const { node, paying } = stage()
    const shop = await openShop(node, { '/': weather })
    const payer = paying()
    await payer.fetch(shop.url)
    const init = { headers: { authorization: 'Bearer mine' } }
    await assert.rejects(payer.fetch(shop.url, init), { code: 'offers-unacceptable' })
    assert.equal(shop.shown().at(-1), 'Bearer mine')
  })

  test('is not kept when its request was not served', async () => {
    const { node, paying } = stage()
    const shop = await openShop(node, { '/': weather })
    shop.takes = (_, res) => void res.writeHead(500).end()
    await paying().fetch(shop.url)
    const seen = shop.seen.length
    shop.takes = (_, res) => void res.end('served')
    assert.equal((await paying().fetch(shop.url)).status, 200)
    assert.deepEqual(shop.shown().slice(seen).map(Boolean), [false, true])
  })
})

describe('a token that is handed out beside an answer', () => {
  const cent: Ask = { amount: '10000' }

  /** A seller whose answers bring a token that is good below `/long`. */
  async function longSeller() {
    const spent = { out: false }
    const seller = await selling((seen, res) => {
      const { req } = seen
      const { authorization } = req.headers
      if (authorization === 'Bearer long.1' && req.url?.startsWith('/long') && !spent.out)
        return void res.end('by token')
      if (!req.headers['toy-payment']) return void res.writeHead(402, asking(cent)).end()
      return void res.writeHead(200, { ...receiptFor(req), 'tolsey-token': 'long.1' }).end('paid')
    })
    return { seller, spent }
  }

  function paying() {
    const clock = leaping()
    const wallet = counting(clock)
    const policy = { perRequest: '0.05 USD', total: '1 USD' }
    const ledger = memory({ clock })
    const parts = { wallets: [wallet], protocols: [toy], ledger, policy, clock }
    return { payer: createPayer(parts), wallet }
  }

  test('is shown as a bearer’s, also on paths where nothing was bought yet', async () => {
    const { seller, spent } = await longSeller()
    const { payer, wallet } = paying()
    const get = async (path: string): Promise<string> =>
      (await payer.fetch(seller.url + path)).text()
    assert.equal(await get('/long/a'), 'paid')
    assert.equal(await get('/long/a'), 'by token')
    assert.equal(await get('/long/b'), 'by token')
    assert.equal(wallet.signed.length, 1)
    assert.equal(await get('/elsewhere'), 'paid')
    assert.equal(await get('/long/b'), 'by token', 'what is not good elsewhere is still good here')
    assert.equal(wallet.signed.length, 2)
    spent.out = true
    assert.equal(await get('/long/b'), 'paid')
    assert.equal(wallet.signed.length, 3)
  })

  test('is not there where a payment is for one request', async () => {
    const seller = await selling(honest(cent))
    const { payer, wallet } = paying()
    for (let i = 0; i < 2; i++) await (await payer.fetch(seller.url)).text()
    assert.equal(wallet.signed.length, 2)
    assert.ok(seller.seen.every(({ req }) => req.headers.authorization === undefined))
  })
})

describe('the books of tokens', () => {
  const request = {
    url: new URL('https://api.example/a'),
    method: 'GET',
    headers: new Headers(),
    body: undefined,
    redirect: 'follow',
    signal: undefined,
    options: {},
  } as const

  test('hold a few of each origin, the latest', async () => {
    const clock = leaping()
    const ledger = memory({ clock })
    const observe = () => undefined
    const kept = { ledger, clock, chance: systemChance, observe, readToken: () => undefined }
    const tokens = createTokens(kept)
    for (let i = 0; i < TOKENS_PER_ORIGIN_MAX + 3; i++) {
      clock.leap(1)
      await tokens.keep(request, [], new Headers({ 'tolsey-token': `t${i}` }))
      await tokens.keep(request, [], new Headers({ 'tolsey-token': `t${i}` }))
    }
    assert.equal((await ledger.pending()).length, TOKENS_PER_ORIGIN_MAX)
    assert.equal((await tokens.at(request))?.authorization, `Bearer t${TOKENS_PER_ORIGIN_MAX + 2}`)
    const elsewhere = { ...request, url: new URL('https://api.example:444/a') }
    assert.equal(await tokens.at(elsewhere), undefined)
  })

  test('hold nothing that no field could carry, and fail no request when they cannot be read', async () => {
    const clock = leaping()
    const ledger = memory({ clock })
    const faults: unknown[] = []
    const observe = (event: unknown) => void faults.push(event)
    const kept = { ledger, clock, chance: systemChance, observe, readToken: () => undefined }
    const get = (text: string) => ({ get: () => text })
    const tokens = createTokens(kept)
    for (const text of ['', 'two words', 'x'.repeat(20_000), 'ä'])
      await tokens.keep(request, [], get(text))
    assert.equal((await ledger.pending()).length, 0)
    await tokens.keep(request, [], get('good'))
    assert.equal((await ledger.pending()).length, 1)
    await ledger.close()
    assert.equal(await createTokens(kept).at(request), undefined)
    assert.equal(faults.length, 1)
  })
})
