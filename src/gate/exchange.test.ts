// Prices in one currency that are paid in another: the arithmetic, which offers are made, how long a rate holds, and what the
// books keep of it.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Event } from '../core/event.ts'
import { isObject } from '../core/json.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import { createOffers, rateOf } from '../core/offers.ts'
import type { Gate, Rail, Rate, Rates, Refusal, Sale } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { exact } from '../rails/evm/exact.ts'
import { fixedRates } from '../rates/fixed.ts'
import { createExchange } from './exchange.ts'
import {
  START,
  ask,
  createHandClock,
  createKeyRail,
  offerOf,
  priced,
  serve,
} from './fixture.test.ts'
import { OFFER_VALID_MS, createGate } from './gate.ts'
import { OFFER_GRID_MS, PAIRS_MAX } from './limits.ts'

const bitcoin = { id: 'test:bitcoin', code: 'BTC', scale: 11 }
const cent = priced('0.01 USD')

describe('a price that is turned into another currency', () => {
  const natural = (bits: bigint): fc.Arbitrary<bigint> => fc.bigInt({ min: 1n, max: 1n << bits })
  const given = fc.record({
    amount: natural(80n),
    scale: fc.integer({ min: 0, max: 18 }),
    to: fc.integer({ min: 0, max: 18 }),
    numerator: natural(60n),
    denominator: natural(60n),
  })

  test('is never less than the price, and never as much as one smallest unit more', () => {
    fc.assert(
      fc.property(given, ({ amount, scale, to, numerator, denominator }) => {
        const { exchange } = exchangeOf({ numerator, denominator })
        const unit = { asset: 'a', currency: 'BTC', scale: to }
        const made = exchange.convert([{ currency: 'USD', amount, scale }], unit)?.price.amount
        assert.ok(made !== undefined)
        // In parts that make both sides whole numbers: price * rate against units.
        const exact = amount * numerator * 10n ** BigInt(to)
        const one = denominator * 10n ** BigInt(scale)
        assert.ok(made * one >= exact, 'it does not undercharge')
        assert.ok((made - 1n) * one < exact, 'it rounds up by less than a unit')
      }),
    )
  })

  test('says what one of the target is worth: exactly, or to the nearest of 22 digits', () => {
    fc.assert(
      fc.property(natural(40n), natural(40n), (numerator, denominator) => {
        const { exchange } = exchangeOf({ numerator, denominator })
        const unit = { asset: 'a', currency: 'BTC', scale: 8 }
        const said = exchange.convert([readPrice('1 USD')], unit)?.rate.price ?? ''
        assert.match(said, /^\d{1,24}$|^(?=.{3,24}$)\d+\.\d*[1-9]$/)
        const [whole = '', part = ''] = said.split('.')
        const digits = BigInt(whole + part)
        const difference = digits * numerator - denominator * 10n ** BigInt(part.length)
        const scale = 10n ** BigInt(23 - whole.length - part.length)
        assert.ok(2n * scale * (difference < 0n ? -difference : difference) <= numerator * 10n)
      }),
    )
    const says = (numerator: bigint, denominator: bigint): string | undefined =>
      exchangeOf({ numerator, denominator }).exchange.convert([readPrice('1 USD')], btc)?.rate.price
    assert.equal(says(10n, 654_321n), '65432.1')
    assert.equal(says(3n, 1n), '0.3333333333333333333333')
    assert.equal(says(1n, 10n ** 24n), undefined)
    assert.equal(says(10n ** 24n, 1n), undefined)
  })

  test('is turned by no rate that is unfit, whoever gives it', () => {
    const good = { numerator: 1n, denominator: 60_000n }
    assert.ok(exchangeOf(good).exchange.convert([readPrice('1 USD')], btc))
    for (const bad of [
      { numerator: 0n },
      { numerator: -1n },
      { denominator: 0n },
      { denominator: -60_000n },
      { untilAt: START },
      { untilAt: NaN },
      { at: NaN },
      { at: -1 },
      { source: '' },
      { source: 'a~b' },
      { source: 'a b' },
      { source: 'x'.repeat(17) },
    ]) {
      const { exchange } = exchangeOf({ ...good, ...bad })
      assert.equal(exchange.convert([readPrice('1 USD')], btc), undefined, Object.keys(bad)[0])
    }
  })

  test('takes memory for so many pairs and no more', () => {
    const said = { numerator: 1n, denominator: 2n }
    const { exchange, faults, clock } = exchangeOf(said)
    for (let i = 0; i < 3 * PAIRS_MAX; i++) assert.ok(exchange.convert([readPrice(`1 C${i}`)], btc))
    said.denominator = 3n
    clock.pass(OFFER_GRID_MS)
    // Both rates of what is remembered, and of what is not only that of now.
    assert.equal(exchange.recent([readPrice(`1 C${3 * PAIRS_MAX - 1}`)], btc).length, 2)
    assert.equal(exchange.recent([readPrice('1 C0')], btc).length, 1)
    assert.deepEqual(faults, [])
    const none = exchangeOf(undefined)
    for (let i = 0; i < 3 * PAIRS_MAX; i++) none.exchange.convert([readPrice(`1 C${i}`)], btc)
    assert.equal(none.faults.length, PAIRS_MAX)
  })
})

describe('a route with a price in dollars', () => {
  test('is payable in bitcoin by the rate, rounded up to what the rail counts in', async () => {
    const { gate } = world()
    const { amount, id } = await offerOf(gate, ask(cent))
    // 0.01 / 65,432.1 of 10^11 millisatoshis is 15283.012…
    assert.deepEqual(amount, { asset: bitcoin, amount: 15_284n })
    assert.deepEqual(rateOf({ id }), {
      currency: 'USD',
      price: '65432.1',
      source: 'desk',
      at: START,
    })
    const whole = await offerOf(world({ scale: 8 }).gate, ask(cent))
    assert.equal(whole.amount.amount, 16_000n)
  })

  test('is asked for as before where a rail takes dollars, rates or none: not a byte is another', async () => {
    const rails = (clock: ReturnType<typeof createHandClock>): Rail[] => [
      createKeyRail(clock, { name: 'plain' }).rail,
      createKeyRail(clock, {
        name: 'known',
        units: [{ asset: 'test:coin', currency: 'USD', scale: 6 }],
      }).rail,
    ]
    const [withRates, without] = [true, false].map((isRated) => world({ rails, isRated }).gate)
    assert.ok(withRates && without)
    for (const sale of [cent, priced('1 EUR')]) {
      const one: Refusal = await withRates.challenge(ask(sale))
      const other: Refusal = await without.challenge(ask(sale))
      assert.deepEqual(one.challenge?.offers, other.challenge?.offers)
    }
    assert.equal((await without.challenge(ask(cent))).challenge?.offers.length, 2)
  })

  test('is asked for in the seller’s own number where there is one, and no rate is', async () => {
    const { gate, asked } = world()
    const both = { ...cent, prices: [readPrice('0.01 USD'), readPrice('0.00000020 BTC')] }
    assert.equal((await offerOf(gate, ask(both))).amount.amount, 20_000n)
    assert.deepEqual(asked, [])
    // Finer than the asset: not payable, and no rate makes it so.
    const fine = { ...cent, prices: [readPrice('0.01 USD'), readPrice('0.000000000001 BTC')] }
    assert.equal((await gate.challenge(ask(fine))).challenge, undefined)
    assert.deepEqual(asked, [])
  })

  test('is asked for in each token that a rail knows, by the rate of its currency', async () => {
    const payTo = '0x00000000000000000000000000000000000000aa'
    const euros = {
      address: '0x00000000000000000000000000000000000000ee',
      code: 'EURC',
      scale: 6,
    } as const
    const assets = [{ ...euros, currency: 'EUR', name: 'EURC', version: '2' }]
    const rails = (clock: ReturnType<typeof createHandClock>): Rail[] => [
      { ...createKeyRail(clock).rail, ...(exact({ network: 'base', payTo }) as Rail) },
      {
        ...createKeyRail(clock).rail,
        ...(exact({ network: 'eip155:137', payTo, assets }) as Rail),
      },
    ]
    const { gate } = world({ rails, rates: fixedRates({ 'EUR/USD': '1.08' }) })
    const amounts = async (text: string): Promise<unknown> =>
      (await gate.challenge(ask(priced(text)))).challenge?.offers.map(({ amount, id }) => [
        amount.asset.code,
        amount.amount,
        rateOf({ id })?.price,
      ])
    assert.deepEqual(await amounts('0.01 EUR'), [
      ['USDC', 10_800n, '0.9259259259259259259259'],
      ['EURC', 10_000n, undefined],
    ])
    assert.deepEqual(await amounts('0.01 USD'), [
      ['USDC', 10_000n, undefined],
      ['EURC', 9_260n, '1.08'],
    ])
  })

  test('is asked for by the first of its prices that has a rate', async () => {
    const { gate } = world({ known: ['EUR'] })
    const sale = { ...cent, prices: [readPrice('0.01 USD'), readPrice('0.02 EUR')] }
    const offer = await offerOf(gate, ask(sale))
    assert.equal(rateOf(offer)?.currency, 'EUR')
    assert.equal(offer.amount.amount, 30_567n)
  })
})

describe('a rate', () => {
  test('holds for all offers of one end, and for its offers as long as they stand', async () => {
    const { gate, clock, set, moved } = world()
    const before = await offerOf(gate, ask(cent))
    set(70_000n)
    clock.pass(1)
    const [next] = (await gate.challenge(ask(cent))).challenge?.offers ?? []
    // The clock stood on the grid: a moment later is the next of it.
    assert.equal(next?.amount.amount, 14_286n)
    set(80_000n)
    for (const ms of [1, 2_000, OFFER_GRID_MS - 2_002]) {
      clock.pass(ms)
      assert.deepEqual(await offerOf(gate, ask(cent)), next)
    }
    clock.pass(1)
    assert.equal((await offerOf(gate, ask(cent))).amount.amount, 12_500n)
    clock.pass(OFFER_VALID_MS - OFFER_GRID_MS - 2)
    assert.equal(await serve(gate, ask(cent, { offer: before, proof: 'a' })), 'serve')
    clock.pass(1)
    assert.equal(await serve(gate, ask(cent, { offer: before, proof: 'b' })), 'offer-expired')
    assert.deepEqual([...moved.keys()], ['a'])
  })

  test('cannot be chosen by the payer: an offer with another amount or rate in it is foreign', async () => {
    const { gate, moved } = world()
    const offer = await offerOf(gate, ask(cent))
    const cheap = { ...offer, amount: { ...offer.amount, amount: 1n } }
    const other = { ...offer, id: offer.id.replace('65432.1', '99999.9') }
    assert.notEqual(other.id, offer.id)
    for (const forged of [cheap, other])
      assert.equal(await serve(gate, ask(cent, { offer: forged, proof: 'p' })), 'offer-foreign')
    assert.equal(moved.size, 0)
    assert.equal(await serve(gate, ask(cent, { offer, proof: 'p' })), 'serve')
  })

  test('finds an offer again for a payer who cannot name it, as long as that offer may stand', async () => {
    const seen: bigint[] = []
    const verify: Rail['verify'] = async (offer, proof) => {
      seen.push(offer.amount.amount)
      const key = String(proof)
      return offer.amount.amount === 15_284n
        ? { ok: true, key, payer: 'buyer' }
        : { ok: false, key, payer: 'buyer', problem: { code: 'amount-mismatch', detail: 'No.' } }
    }
    const { gate, clock, set } = world({ change: { verify } })
    const unbound = { rail: 'test', network: 'net' }
    await offerOf(gate, ask(cent))
    const pay = (proof: string): Promise<string> =>
      serve(gate, ask(cent, { offer: unbound, proof }))
    for (const price of [70_000n, 75_000n]) {
      set(price)
      clock.pass(OFFER_GRID_MS)
      await offerOf(gate, ask(cent))
    }
    assert.equal(await pay('a'), 'serve')
    assert.deepEqual(seen, [13_334n, 14_286n, 15_284n])
    clock.pass(OFFER_VALID_MS + OFFER_GRID_MS)
    set(75_000n)
    await offerOf(gate, ask(cent))
    assert.equal(await pay('b'), 'amount-mismatch')
  })

  test('that is too old is used for nothing; the rail is left out, and that is told once', async () => {
    const { gate, clock, set, events } = world({ beside: true })
    const rails = async (): Promise<readonly string[]> =>
      (await gate.challenge(ask(cent))).challenge?.offers.map(({ rail }) => rail) ?? []
    const faults = (): number => events.filter(({ type }) => type === 'fault').length
    clock.pass(1)
    assert.deepEqual(await rails(), ['test', 'dollars'])
    set(undefined)
    clock.pass(4_000)
    assert.deepEqual(await rails(), ['test', 'dollars'])
    clock.pass(1_000)
    for (let i = 0; i < 3; i++) assert.deepEqual(await rails(), ['dollars'])
    const told = events.flatMap((event) => (event.type === 'fault' ? [event] : []))
    assert.equal(told.length, 1)
    const [{ where, error } = assert.fail()] = told
    assert.ok(where === 'rates' && error instanceof PaymentError)
    assert.equal(error.code, 'price-unavailable')
    assert.match(error.message, /from USD to BTC/)
    set(65_000n)
    clock.pass(OFFER_GRID_MS)
    assert.deepEqual(await rails(), ['test', 'dollars'])
    assert.equal(faults(), 1)
    set(undefined)
    clock.pass(60_000)
    assert.deepEqual(await rails(), ['dollars'])
    assert.equal(faults(), 2)
  })

  test('that grows too old between two moments of the grid is not held on to', async () => {
    const { gate, clock, set } = world()
    clock.pass(57_000)
    assert.ok((await gate.challenge(ask(cent))).challenge)
    set(undefined)
    clock.pass(2_999)
    assert.ok((await gate.challenge(ask(cent))).challenge)
    clock.pass(1)
    assert.equal((await gate.challenge(ask(cent))).challenge, undefined)
  })

  test('that nobody knows leaves nothing to be paid where there is no other rail: come back later, and nothing is free', async () => {
    const { gate, set, clock } = world()
    set(undefined)
    const refusal = await gate.challenge(ask(cent))
    assert.equal(refusal.problem.code, 'rail-unavailable')
    assert.ok(refusal.problem.retryAfterMs)
    const entry = await gate.admit(
      ask(cent, { offer: { rail: 'test', network: 'net' }, proof: 'p' }),
    )
    assert.ok(entry.kind === 'refused')
    set(65_000n)
    clock.pass(1)
    assert.equal((await gate.challenge(ask(cent))).challenge?.offers.length, 1)
  })

  test('whose source throws is none, and a fault', async () => {
    const { gate, events } = world({ beside: true, throws: true })
    assert.equal((await gate.challenge(ask(cent))).challenge?.offers.length, 1)
    assert.ok(events.some((event) => event.type === 'fault' && event.where === 'rates'))
  })
})

describe('the books', () => {
  test('keep the rate of the offer that was paid, by whichever process', async () => {
    const { gate, ledger, open, set, clock } = world()
    const offer = await offerOf(gate, ask(cent))
    set(10n)
    clock.pass(OFFER_GRID_MS)
    assert.equal(await serve(open(), ask(cent, { offer, proof: 'p' })), 'serve')
    const held = (await ledger.find('p')) ?? assert.fail()
    assert.deepEqual(held.note['rate'], {
      currency: 'USD',
      price: '65432.1',
      source: 'desk',
      at: START,
    })
    const plain = world({ rails: (time) => [createKeyRail(time).rail] })
    const to = ask(cent)
    await serve(plain.gate, {
      ...to,
      credential: { offer: await offerOf(plain.gate, to), proof: 'q' },
    })
    assert.equal('rate' in ((await plain.ledger.find('q'))?.note ?? {}), false)
  })

  test('keep what the price was made of, if that is what was paid', async () => {
    const items = [{ what: 'pages', quantity: '2', unit: 'page', amount: '0.01 USD' }]
    const sale: Sale = { ...cent, breakdown: items }
    const { gate, ledger } = world()
    const to = ask(sale)
    const { challenge } = await gate.challenge(to)
    assert.deepEqual(challenge?.breakdown, items)
    const [offer] = challenge.offers
    assert.ok(offer)
    assert.equal(await serve(gate, { ...to, credential: { offer, proof: 'p' } }), 'serve')
    assert.deepEqual((await ledger.find('p'))?.note['breakdown'], items)
    // Priced anew since: the offer stands, and these lines are not what it was made of.
    const dearer = ask({ ...sale, prices: [readPrice('0.02 USD')] }, { offer, proof: 'q' })
    assert.equal(await serve(gate, dearer), 'serve')
    assert.equal((await ledger.find('q'))?.note['breakdown'], undefined)
  })

  test('a refund in dollars goes by the rate of its sale, and its parts are never more than the whole', async () => {
    const refund: Rail['refund'] = async (_, payer, amount, key) => ({
      state: 'settled',
      reference: `back-${key}-${amount.amount}`,
      payer,
      settledAt: START,
    })
    const { gate, set, clock, ledger } = world({ change: { refund } })
    const to = ask(cent)
    const offer = await offerOf(gate, to)
    assert.equal(await serve(gate, { ...to, credential: { offer, proof: 'p' } }), 'serve')
    set(1n)
    clock.pass(60_000)
    const back = async (name: string, text?: string): Promise<bigint | string> => {
      const amount = text === undefined ? {} : { amount: readPrice(text) }
      const told = await gate.refund({ key: 'p', idempotencyKey: name, ...amount })
      return told.kind === 'refunded' ? told.amount.amount : told.kind
    }
    assert.equal(await back('a', '0.005 USD'), 7_641n)
    assert.equal(await back('b', '0.006 USD'), 'denied')
    assert.equal(await back('c', '0.005 USD'), 7_641n)
    assert.equal(await back('d'), 2n)
    assert.equal(await back('e', '0.001 EUR'), 'denied')
    const note = (await ledger.find('p/refund/a'))?.note ?? {}
    assert.ok(isObject(note['rate']) && note['rate']['price'] === '65432.1')
  })
})

const btc = { asset: bitcoin.id, currency: 'BTC', scale: 11 }

function exchangeOf(said: Partial<Rate> | undefined): {
  readonly exchange: ReturnType<typeof createExchange>
  readonly clock: ReturnType<typeof createHandClock>
  readonly faults: unknown[]
} {
  const faults: unknown[] = []
  const rate = { numerator: 1n, denominator: 1n, source: 'desk', at: START, untilAt: Infinity }
  const rates: Rates = { rate: () => said && { ...rate, ...said } }
  const clock = createHandClock()
  const exchange = createExchange({
    rates,
    clock,
    validMs: OFFER_VALID_MS,
    fault: (_, error) => void faults.push(error),
  })
  return { exchange, faults, clock }
}

interface World {
  readonly gate: Gate
  readonly clock: ReturnType<typeof createHandClock>
  readonly ledger: ReturnType<typeof memory>
  readonly moved: ReadonlyMap<string, number>
  readonly events: Event[]
  readonly asked: string[]
  /** What a bitcoin is worth from now on; undefined: nobody knows any more. */
  readonly set: (price: bigint | undefined) => void
  /** Another process on the same books. */
  readonly open: () => Gate
}

/** A shop with a rail for bitcoin, rates that are good for a minute, and perhaps a rail for dollars beside it. */
function world({
  scale = 11,
  known = ['USD', 'EUR'],
  beside = false,
  throws = false,
  isRated = true,
  change = {},
  rails: made,
  rates: given,
}: {
  readonly scale?: number
  readonly known?: readonly string[]
  readonly beside?: boolean
  readonly throws?: boolean
  readonly isRated?: boolean
  readonly change?: Partial<Rail<unknown, string>>
  readonly rates?: Rates
  readonly rails?: (clock: ReturnType<typeof createHandClock>) => Rail[]
} = {}): World {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const events: Event[] = []
  const asked: string[] = []
  let price: { readonly tenth: bigint; readonly at: number } | undefined = {
    tenth: 654_321n,
    at: START,
  }
  const rates: Rates = {
    rate(from, to) {
      asked.push(`${from}/${to}`)
      if (throws) throw new Error('Broken.')
      if (!price || !known.includes(from) || to !== 'BTC') return undefined
      const { tenth: denominator, at } = price
      return { numerator: 10n, denominator, source: 'desk', at, untilAt: at + 60_000 }
    },
  }
  const { rail, moved } = createKeyRail(clock, {
    units: [{ asset: bitcoin.id, currency: 'BTC', scale }],
    quote: ({ currency, amount, scale: digits }: Price) =>
      currency === 'BTC' && digits <= 11
        ? [
            {
              rail: 'test',
              network: 'net',
              intent: 'charge',
              payee: 'seller',
              timeoutMs: 60_000,
              details: {},
              amount: { asset: bitcoin, amount: amount * 10n ** BigInt(11 - digits) },
            },
          ]
        : [],
    ...change,
  })
  const others = beside ? [createKeyRail(clock, { name: 'dollars' }).rail] : []
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const open = (): Gate =>
    createGate({
      rails: made?.(clock) ?? [rail, ...others],
      ledger,
      offers,
      clock,
      observe: (event) => void events.push(event),
      ...(isRated && { rates: given ?? rates }),
    })
  return {
    gate: open(),
    clock,
    ledger,
    moved,
    events,
    asked,
    set(worth) {
      price = worth === undefined ? undefined : { tenth: worth * 10n, at: clock.now() }
    },
    open,
  }
}
