// The parts of a gate one by one, at each limit and one beyond it, over books that take their time: what a part has said
// stands in the books already.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Credential } from '../core/credential.ts'
import type { Event } from '../core/event.ts'
import type { Offer, Terms } from '../core/offer.ts'
import type { Offers } from '../core/offers.ts'
import { readPrice } from '../core/money.ts'
import type { Plan } from '../core/plan.ts'
import type { Ask, Ledger, Rail, Sale, Settlement } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { createClosing } from './closing.ts'
import { coin } from './fixture.test.ts'
import { readNote, writeNote } from './note.ts'
import { createQuoting } from './quoting.ts'
import { createRails } from './rails.ts'
import { createRefusals } from './refusals.ts'
import type { House, Settled, Work } from './sale.ts'
import { logOf, purposeOf, receiptOf, toReceipt } from './sale.ts'

const START = 1_800_000_000_000
const terms: Terms = {
  rail: 'test',
  network: 'net',
  intent: 'charge',
  payee: 'seller',
  timeoutMs: 60_000,
  details: {},
  amount: { asset: coin, amount: 5n },
}
const resource = {
  realm: 'shop',
  method: 'GET',
  authority: 'api.test',
  path: '/a',
  query: 'n=1',
  url: 'http://api.test/a?n=1',
}
const sale: Sale = {
  prices: [readPrice('0.000005 USD')],
  settle: 'before-response',
  account: 'sales/GET /a',
}
const offer: Offer = { ...terms, resource, expiresAt: START + 300_000, id: 'id' }
const settled: Settled = { state: 'settled', reference: 'tx', payer: 'buyer', settledAt: START }

describe('an offer', () => {
  const validMs = 300_000

  test('ends on a grid of five seconds, never early', () => {
    const endAt = (now: number): number | undefined => quote({ now })[0]?.expiresAt
    assert.equal(endAt(START), START + validMs)
    assert.equal(endAt(START + 1), START + validMs + 5_000)
    assert.equal(endAt(START + 5_000), START + validMs + 5_000)
    assert.equal(endAt(START - 1), START + validMs)
  })

  test('is a secret of twelve bytes exactly where a token is sold, or the answer is kept and can be', () => {
    const idOf = (keeps: boolean, change: Partial<Sale>): string | undefined =>
      quote({ keeps }, change)[0]?.id
    const secret = Buffer.alloc(12, 7).toString('base64url')
    const plan: Plan = { name: 'tries', prices: sale.prices, validForMs: 1, rights: {} }
    assert.equal(idOf(true, { keep: true }), secret)
    for (const keeps of [true, false])
      for (const keep of [true, false]) assert.equal(idOf(keeps, { keep, plan }), secret)
    for (const [keeps, keep] of [
      [true, false],
      [false, true],
      [false, false],
    ] as const)
      assert.equal(idOf(keeps, { keep }), '')
    assert.equal(idOf(true, {}), '')
  })

  test('may have been paid from its making to a minute after its end, clocks running apart', () => {
    const made = quoting({})
    const first = offer.expiresAt - validMs - 5_000 - 60_000
    const last = offer.expiresAt + 60_000
    assert.deepEqual(
      [first - 1, first, START, last, last + 1].map((at) => made.wasOpen(offer, at)),
      [false, true, true, true, false],
    )
  })

  test('is recent for an hour after its end', () => {
    const at = (now: number): boolean => quoting({ now }).isRecent(offer)
    assert.deepEqual([START, offer.expiresAt + 3_600_000, offer.expiresAt + 3_600_001].map(at), [
      true,
      true,
      false,
    ])
  })

  test('is made by every rail, or by those that the sale names', () => {
    const rails = [rail(), rail({ name: 'other' }), rail({ network: 'far' })]
    const made = (names?: readonly string[]): readonly string[] =>
      quote({ rails }, names ? { rails: names } : {}).map(
        ({ rail, network }) => `${rail} ${network}`,
      )
    assert.deepEqual(made(), ['test net', 'other net', 'test far'])
    assert.deepEqual(made(['other']), ['other net'])
    assert.deepEqual(made([]), [])
  })
})

describe('a credential', () => {
  const accept = (
    said: NonNullable<Credential['offer']>,
    options: Parameters<typeof quoting>[0] = {},
    change: Partial<Sale> = {},
  ): readonly string[] | string => {
    const found = quoting(options).accept(ask({ sale: change }), { offer: said })
    return 'code' in found ? found.code : found.map(({ rail, network }) => `${rail} ${network}`)
  }

  test('that names its offer is taken for it, if the offer is ours', () => {
    assert.deepEqual(accept(offer), ['test net'])
    const check = () => problem('offer-expired', 'Late.')
    assert.equal(accept(offer, { check }), 'offer-expired')
  })

  test('without one is for all that its rail asks on its network, and for nothing else', () => {
    const rails = [rail(), rail({ network: 'far' }), rail({ name: 'other' })]
    assert.deepEqual(accept({ rail: 'test', network: 'net' }, { rails }), ['test net'])
    const twice = rail({ quote: () => [terms, terms] })
    assert.equal(accept({ rail: 'test', network: 'net' }, { rails: [twice] }).length, 2)
    const none = rail({ quote: () => [] })
    const empty = accept({ rail: 'test', network: 'net' }, { rails: [none] })
    assert.equal(empty, 'credential-unsupported')
  })

  test('of a rail or network that is not taken here is refused', () => {
    assert.equal(accept({ rail: 'other', network: 'net' }), 'credential-unsupported')
    assert.equal(accept({ rail: 'test', network: 'far' }), 'credential-unsupported')
    assert.equal(accept({ ...offer, rail: 'gone' }), 'credential-unsupported')
    assert.equal(accept(offer, {}, { rails: ['other'] }), 'credential-unsupported')
    assert.deepEqual(accept(offer, {}, { rails: ['other', 'test'] }), ['test net'])
  })
})

describe('rails', () => {
  test('are told apart by name and network', () => {
    const [a, b, c] = [rail(), rail({ network: 'far' }), rail({ name: 'other' })]
    const rails = createRails([a, b, c])
    const [first, second, third] = rails.all
    assert.deepEqual(
      rails.all.map(({ name, network }) => [name, network]),
      [a, b, c].map(({ name, network }) => [name, network]),
    )
    assert.equal(rails.of(offer), first)
    assert.equal(rails.find({ rail: 'test', network: 'far' }), second)
    assert.equal(rails.find({ rail: 'other', network: 'net' }), third)
    assert.equal(rails.find({ rail: 'other', network: 'far' }), undefined)
    assert.throws(
      () => createRails([a, b, rail()]),
      /^RangeError: There are two rails "test" on net/,
    )
    assert.throws(() => rails.of({ ...offer, rail: 'gone' }), {
      code: 'misconfigured',
      message: 'There is no rail "gone" on net.',
    })
  })
})

describe('a refusal', () => {
  test('of a request without payment is told as a challenge, of a bad payment as a refusal', async () => {
    const { refusals, events } = refusing()
    const request = ask({ sale: { description: 'Weather', mimeType: 'text/plain' } })
    const first = await refusals.challenge(request)
    const described = { description: 'Weather', mimeType: 'text/plain' }
    assert.deepEqual(first.challenge, {
      resource,
      offers: [offer],
      problem: first.problem,
      ...described,
    })
    assert.equal(first.problem.code, 'payment-required')
    const why = problem('proof-invalid', 'Bad.')
    assert.deepEqual(refusals.refuse(ask(), why), {
      kind: 'refused',
      problem: why,
      challenge: { resource, offers: [offer], problem: why },
    })
    const of = { at: START, request: 'r1', url: resource.url }
    assert.deepEqual(events, [
      { type: 'challenged', ...of, code: 'payment-required' },
      { type: 'refused', ...of, code: 'proof-invalid', detail: 'Bad.' },
    ])
  })

  test('makes offers exactly where a new payment may help, and is a fault of the set-up where none can be made', async () => {
    const { refusals } = refusing()
    for (const code of ['payment-in-flight', 'rail-unavailable', 'internal'] as const)
      assert.equal((await refusals.refuse(ask(), problem(code, 'No.'))).challenge, undefined, code)
    const { problem: why, challenge } = await refusing([]).refusals.challenge(ask())
    assert.deepEqual([why.code, challenge], ['misconfigured', undefined])
  })

  test('of a payment that is open says when to come back, and where to ask', () => {
    const { refusals, events } = refusing()
    const wait = (...ms: readonly number[]): number | undefined =>
      refusals.inFlight(work(), ...ms).problem.retryAfterMs
    assert.deepEqual([wait(), wait(7)], [2_000, 7])
    const { code, retryAfterMs, statusUrl } = refusals.unknown(work()).problem
    assert.deepEqual([code, retryAfterMs, statusUrl], ['payment-unknown', 2_000, 'status/key'])
    assert.deepEqual(events[2], { type: 'unknown', at: START, request: 'r1', key: 'key' })
    const mute: Ask = { resource, sale, request: 'r1' }
    assert.ok(!('statusUrl' in refusals.unknown({ ...work(), ask: mute }).problem))
  })

  test('for a fault gives nothing of it away, and tells it to whoever watches', async () => {
    const { refusals, faults } = refusing()
    const told: readonly (readonly [unknown, Code, RegExp])[] = [
      [new PaymentError('rail-unavailable', 'http://10.0.0.1'), 'rail-unavailable', /^The network/],
      [new PaymentError('store-unavailable', 'disk'), 'store-unavailable', /^The books/],
      [new PaymentError('misconfigured', 'key'), 'misconfigured', /^The service is not set up/],
      [new PaymentError('host-unknown', 'x'), 'host-unknown', /^Nothing was served/],
      [new PaymentError('declined', 'secret'), 'internal', /^Something went wrong here/],
      [new TypeError('secret'), 'internal', /^Something went wrong here/],
      [{ code: 'misconfigured' }, 'internal', /^Something went wrong here/],
    ]
    for (const [error, code, detail] of told) {
      const { problem, challenge } = await refusals.trouble(ask(), 'admit', error)
      assert.deepEqual([problem.code, problem.retryAfterMs], [code, 2_000])
      assert.match(problem.detail, detail)
      assert.equal(challenge, undefined)
    }
    assert.deepEqual(
      faults,
      told.map(([error]) => ['admit', error]),
    )
  })
})

describe('a sale that is closed', () => {
  test('stands in the books before it is said to be, and is told once', async () => {
    const w = await world({ ...settled })
    assert.equal(await w.closing.closed(w.held), true)
    const now = await w.books.find('key')
    assert.deepEqual([now?.state, now?.steps.at(-1)], ['posted', settledStep(0)])
    assert.deepEqual(receiptOf(now ?? assert.fail()), toReceipt(offer, settled))
    assert.equal(await w.closing.closed(w.held), true)
    const amount = offer.amount
    assert.deepEqual(w.events, [
      {
        ...{ type: 'settled', at: START, key: 'key', reference: 'tx', amount },
        ...{ rail: 'test', network: 'net' },
      },
    ])
    assert.deepEqual(w.posted, ['key'])
  })

  test('by its maker may be delivered by him until his time is over', async () => {
    const w = await world(undefined)
    assert.equal(await w.closing.post(w.held, offer, settled, 99), 'posted')
    assert.deepEqual((await w.books.find('key'))?.steps.at(-1), settledStep(99))
    assert.equal(await w.closing.post(w.held, offer, settled, 100), 'replayed')
    assert.equal(await w.closing.post({ key: 'key', claim: 9 }, offer, settled, 100), 'lost')
    assert.equal(w.events.length, 1)
  })

  test('as failed is void before it is said to be', async () => {
    const w = await world({ state: 'failed', problem: problem('funds-insufficient', 'Poor.') })
    assert.equal(await w.closing.closed(w.held), true)
    assert.equal((await w.books.find('key'))?.state, 'voided')
    assert.deepEqual(w.events, [
      { type: 'voided', at: START, key: 'key', code: 'funds-insufficient' },
    ])
    const [, row] = await w.books.journal(0, 9)
    assert.deepEqual(row?.data, { reason: 'funds-insufficient' })
  })

  test('is none while nothing is known, and none when the world cannot be asked', async () => {
    for (const found of [undefined, { state: 'unknown', detail: '?' } as const]) {
      const w = await world(found)
      assert.equal(await w.closing.closed(w.held), false)
      assert.equal((await w.books.find('key'))?.state, 'pending')
      assert.deepEqual(w.faults, [])
    }
    const w = await world(settled, new PaymentError('rail-unavailable', 'Down.'))
    assert.equal(await w.closing.closed(w.held), false)
    assert.equal((await w.books.find('key'))?.state, 'pending')
    assert.equal(w.faults.length, 1)
    assert.equal(w.faults[0]?.[0], 'close')
  })
})

test('the log of a claim is that claim’s alone', async () => {
  const w = await world(undefined)
  const log = logOf(w.house.ledger, w.held)
  assert.deepEqual(await log.read(), [])
  await log.write({ type: 'prepared', data: { n: 1 } })
  assert.deepEqual(await log.read(), [{ type: 'prepared', data: { n: 1 } }])
  await assert.rejects(
    logOf(w.house.ledger, { key: 'key', claim: 9 }).write({ type: 's', data: {} }),
    {
      code: 'payment-in-flight',
    },
  )
  assert.deepEqual(await logOf(w.house.ledger, { key: 'none', claim: 1 }).read(), [])
})

test('a sale is called one in the books, and what its payer’s protocol echoed is not kept', () => {
  const note = writeNote({ offer: { ...offer, echo: { raw: 1 } }, payer: 'buyer', request: 'r1' })
  assert.equal(note['kind'], 'sale')
  assert.deepEqual(readNote(note), { offer, payer: 'buyer', request: 'r1' })
})

test('a spend is for a realm, method, authority, path, query and digest, each in its place', () => {
  const purposes = [
    resource,
    { ...resource, realm: 'GET', method: 'shop' },
    { ...resource, path: 'n=1', query: '/a' },
    { ...resource, digest: 'd' },
    { ...resource, authority: 'b.test' },
  ].map(purposeOf)
  assert.equal(new Set(purposes).size, 5)
  // Books that were written before an upgrade hold this text.
  assert.equal(purposes[0], '["shop","GET","api.test","/a","n=1",""]')
  assert.equal(purposeOf({ ...resource, url: 'elsewhere' }), purposes[0])
})

function settledStep(deliverBy: number): object {
  const { reference, payer, settledAt } = settled
  return { type: 'settled', data: { reference, payer, settledAt, deliverBy } }
}

function rail(rest: Partial<Rail> = {}): Rail {
  const made: Rail = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: () => [{ ...terms, rail: made.name, network: made.network }],
    identify: () => ({ key: 'key', payer: 'buyer' }),
    verify: async () => ({ ok: true, key: 'key', payer: 'buyer' }),
    settle: async () => settled,
    find: async () => undefined,
    ...rest,
  }
  return made
}

function ask(change: { readonly sale?: Partial<Sale> } = {}): Ask {
  const statusUrl = (key: string): string => `status/${key}`
  return { resource, sale: { ...sale, ...change.sale }, request: 'r1', statusUrl }
}

function work(): Work {
  return { ask: ask(), offer, proof: {}, key: 'key', payer: 'buyer', rail: rail() }
}

function quoting({
  now = START,
  keeps = false,
  rails = [rail()],
  check = () => undefined,
}: {
  readonly now?: number
  readonly keeps?: boolean
  readonly rails?: readonly Rail[]
  readonly check?: Offers['check']
}): ReturnType<typeof createQuoting> {
  const offers: Offers = {
    bind: (made, of, expiresAt, nonce = '') => ({ ...made, resource: of, expiresAt, id: nonce }),
    check,
  }
  return createQuoting({
    rails: createRails(rails),
    offers,
    clock: { now: () => now, sleep: () => new Promise<void>(() => undefined) },
    validMs: 300_000,
    chance: (bytes) => new Uint8Array(bytes).fill(7),
    keeps,
    fault: (where, error) => assert.fail(`${where}: ${String(error)}`),
  })
}

/** What is quoted at once, since no rail must be asked. */
function quote(
  options: Parameters<typeof quoting>[0],
  change: Partial<Sale> = {},
): readonly Offer[] {
  const offers = quoting(options).quote(ask({ sale: change }))
  assert.ok(!(offers instanceof Promise))
  return offers
}

interface Watched {
  readonly events: Event[]
  readonly faults: [string, unknown][]
}

function refusing(
  offers: readonly Offer[] = [offer],
): Watched & { readonly refusals: ReturnType<typeof createRefusals> } {
  const { house, ...watched } = houseOf([])
  return { ...watched, refusals: createRefusals(house, () => offers) }
}

function houseOf(
  rails: readonly Rail[],
  ledger: Ledger = memory(),
): Watched & { readonly house: House } {
  const events: Event[] = []
  const faults: [string, unknown][] = []
  const house: House = {
    ledger,
    rails: createRails(rails),
    clock: { now: () => START, sleep: () => new Promise<void>(() => undefined) },
    observe: (event) => void events.push(event),
    fault: (where, error) => void faults.push([where, error]),
  }
  return { house, events, faults }
}

/** An open sale under `key`, and a rail that finds what it is told to. */
async function world(found: Settlement | undefined, down?: Error) {
  const books = memory({
    clock: { now: () => START, sleep: () => new Promise<void>(() => undefined) },
  })
  const finding = rail({
    async find() {
      if (down) throw down
      return found
    },
  })
  const { house, ...watched } = houseOf([finding], late(books))
  await books.transfer({
    key: 'key',
    purpose: purposeOf(resource),
    asset: coin.id,
    amount: 5n,
    legs: [{ debit: 'world/test/net/seller', credit: sale.account }],
    leaseUntilAt: START,
    note: writeNote({ offer, payer: 'buyer', request: 'r1' }),
  })
  const posted: string[] = []
  const closing = createClosing(house, (key) => void posted.push(key))
  const held = (await books.find('key')) ?? assert.fail('the sale is open')
  return { ...watched, house, books, closing, held, posted }
}

/** The same books, which write a few turns late. */
function late(books: Ledger): Ledger {
  const wait = async <T>(verb: () => Promise<T>): Promise<T> => {
    for (let i = 0; i < 3; i++) await turn()
    return await verb()
  }
  return {
    ...books,
    step: (...given) => wait(() => books.step(...given)),
    post: (...given) => wait(() => books.post(...given)),
    void: (...given) => wait(() => books.void(...given)),
  }
}
