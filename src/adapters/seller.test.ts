import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import { readPrice } from '../core/money.ts'
import type { Ask, Ledger, Rail, Settlement } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { OpenSeller } from './seller.ts'
import { createSeller } from './seller.ts'

const asset = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
const terms = { rail: 'test', network: 'net', intent: 'charge', payee: 'me', timeoutMs: 60_000 }
const LATER_MS = 200_000

test('a seller is open while what a crash left is still being looked at, and closes it then', async () => {
  const shop = createShop()
  const dead = await shop.open(0)
  const entry = await dead.gate.admit(await paid(dead))
  assert.ok(entry.kind === 'pass')
  await entry.finish(true)
  await dead.close()
  // A look at the chain that ends when it is told to: what came after the start must not depend on it.
  const look = Promise.withResolvers<Settlement>()
  shop.find = () => look.promise
  const seller = await shop.open(LATER_MS)
  assert.equal((await seller.gate.admit(await paid(seller, 'other'))).kind, 'pass')
  assert.equal((await shop.ledger.find('lost'))?.state, 'pending')
  look.resolve(settled)
  for (let i = 0; i < 50; i++) await turn()
  assert.equal((await shop.ledger.find('lost'))?.state, 'posted')
  await seller.close()
})

test('books that fail once while a seller starts are told, and keep nobody from selling', async () => {
  const shop = createShop()
  let failures = 1
  const ledger: Ledger = {
    ...shop.ledger,
    async pending() {
      if (failures-- > 0) throw new PaymentError('store-unavailable', 'Full.')
      return shop.ledger.pending()
    },
  }
  const seller = await shop.open(0, ledger)
  assert.equal((await seller.gate.admit(await paid(seller, 'other'))).kind, 'pass')
  await seller.close()
  assert.deepEqual(
    shop.events.flatMap((event) => (event.type === 'fault' ? [event.where] : [])),
    ['recover'],
  )
})

const settled: Settlement = { state: 'settled', reference: 'tx', payer: 'you', settledAt: 0 }

function createShop() {
  const events: Event[] = []
  const ledger = memory({})
  const shop = {
    events,
    ledger,
    find: (): Promise<Settlement> => Promise.resolve(settled),
    open: (aheadMs: number, books: Ledger = ledger): Promise<OpenSeller> =>
      createSeller({
        secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
        rails: [rail],
        protocols: [],
        ledger: books,
        clock: { ...systemClock, now: () => Date.now() + aheadMs },
        observe: (event) => void events.push(event),
      }),
  }
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount }) => [{ ...terms, intent: 'charge', details: {}, amount: { asset, amount } }],
    identify: (_, key) => ({ key, payer: 'you' }),
    verify: async (_, key) => ({ ok: true, key, payer: 'you' }),
    async settle(_, _proof, _key, log) {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'unknown', detail: '…' }
    },
    find: () => shop.find(),
  }
  return shop
}

/** A request with a payment for an offer of that seller. */
async function paid({ gate }: OpenSeller, proof = 'lost'): Promise<Ask> {
  const url = 'http://api.test/a'
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '', url }
  const price = readPrice('0.000005 USD')
  const ask: Ask = {
    resource: where,
    sale: { prices: [price], settle: 'before-response', account: 'sales/GET /a' },
    request: 'r',
  }
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  return { ...ask, credential: { offer, proof } }
}
