// What was paid reaches its payer: by one request at a time, in the time of whoever has the turn, and from the vault for
// nobody but whom it was made for. The books here take their time, so that what is said too early is seen.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { readPrice } from '../core/money.ts'
import type { Event } from '../core/event.ts'
import type { Offer } from '../core/offer.ts'
import type { Held, Rail, Sale, Transfer, Vault } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Seal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import { createDelivery } from './delivery.ts'
import { coin, lateBooks } from './fixture.test.ts'
import { writeNote } from './note.ts'
import { createRails } from './rails.ts'
import { createRefusals } from './refusals.ts'
import type { Claimed, Entry, House } from './sale.ts'
import { purposeOf } from './sale.ts'

const START = 1_800_000_000_000
const WORK_MS = 60_000
const DELIVER_MS = 30_000
const resource = { realm: '', method: 'GET', authority: '', path: '/a', query: '', url: '' }
const sale: Sale = {
  prices: [readPrice('0.000005 USD')],
  settle: 'before-response',
  account: 'sales/a',
}
const offer: Offer = {
  rail: 'test',
  network: 'net',
  intent: 'charge',
  payee: 'seller',
  timeoutMs: 60_000,
  details: {},
  amount: { asset: coin, amount: 5n },
  resource,
  expiresAt: START + 300_000,
  id: 'nonce.mac',
}
const answer = Buffer.from('the answer')

describe('a sale that is posted', () => {
  test('is its maker’s to deliver until his time is over, and says when to come back', async () => {
    const w = await world({ deliverBy: START + 7_000 })
    const early = refused(await w.fetch())
    assert.deepEqual([early.code, early.retryAfterMs], ['payment-in-flight', 7_000])
    w.pass(6_999)
    assert.equal(refused(await w.fetch()).retryAfterMs, 1)
    w.pass(1)
    assert.equal((await w.fetch()).kind, 'pass')
  })

  test('is fetched by one at a time; the others are told to come back', async () => {
    const w = await world()
    const entries = await Promise.all([w.fetch(), w.fetch(), w.fetch()])
    assert.equal(entries.filter(({ kind }) => kind === 'pass').length, 1)
    const others = entries.filter((one) => one.kind === 'refused')
    assert.deepEqual(
      others.map(({ problem }) => [problem.code, problem.retryAfterMs]),
      [
        ['payment-in-flight', 2_000],
        ['payment-in-flight', 2_000],
      ],
    )
  })

  test('is served by whoever has the turn, and by nobody once the first byte has left', async () => {
    const w = await world()
    const pass = passOf(await w.fetch())
    assert.equal(pass.key, 'key')
    const outcome = await pass.finish(true)
    assert.ok(outcome.kind === 'serve')
    assert.equal(outcome.receipt?.reference, 'tx')
    pass.delivered()
    // Before the books know it, this process does.
    assert.equal(w.delivery.lifeOf(await w.held()), 'delivered')
    assert.equal(refused(await w.fetch()).code, 'payment-delivered')
    await w.settle()
    assert.deepEqual((await w.held()).steps.at(-1), { type: 'delivered', data: {} })
    assert.deepEqual(w.events.splice(0), [
      { type: 'delivered', at: START, request: 'r1', key: 'key' },
      { ...w.refusal, code: 'payment-delivered' },
    ])
    assert.equal(refused(await w.fetch()).receipt?.reference, 'tx')
  })

  test('stays owed when the work failed, or nobody was there: the turn is given back at once', async () => {
    const w = await world()
    const failed = passOf(await w.fetch())
    assert.equal((await failed.finish(false)).kind, 'serve')
    // What failed is not what was bought, whatever left.
    failed.delivered()
    await w.settle()
    assert.deepEqual(w.events, [])
    const lost = passOf(await w.fetch())
    lost.lost()
    await w.settle()
    const third = passOf(await w.fetch())
    assert.equal((await third.finish(true)).kind, 'serve')
  })

  test('gives a turn as a claim on nothing, and has it back before it says so', async () => {
    const w = await world()
    const pass = passOf(await w.fetch())
    const { purpose, asset, amount } = (await w.books.find('key/delivery')) ?? assert.fail()
    assert.deepEqual([purpose, asset, amount], ['delivery', 'delivery', 0n])
    await pass.finish(false)
    assert.equal((await w.books.find('key/delivery'))?.state, 'voided')
    const next = passOf(await w.fetch())
    w.down(new PaymentError('store-unavailable', 'Full.'))
    next.lost()
    await w.settle()
    assert.deepEqual(w.faults, ['lost'])
  })

  test('that was undone is nobody’s to fetch', async () => {
    const w = await world()
    await w.books.step('key', { type: 'undone', data: { reference: 'tx' } })
    assert.equal(refused(await w.fetch()).retryAfterMs, 2_000)
  })

  test('is nobody’s whose turn has run out, or has been had by another since', async () => {
    const w = await world()
    const slow = passOf(await w.fetch())
    w.pass(WORK_MS + DELIVER_MS - 1)
    assert.equal(refused(await w.fetch()).code, 'payment-in-flight')
    w.pass(1)
    const quick = passOf(await w.fetch())
    const late = await slow.finish(true)
    assert.equal(late.kind === 'refused' && late.problem.code, 'payment-in-flight')
    assert.equal((await quick.finish(true)).kind, 'serve')
    const given = passOf(await (await world()).fetch())
    given.lost()
    for (let i = 0; i < 9; i++) await turn()
    assert.equal((await given.finish(true)).kind, 'refused')
  })

  test('gives a turn of the length that the sale’s work has', async () => {
    const w = await world({ workMs: 5 })
    passOf(await w.fetch())
    w.pass(5 + DELIVER_MS - 1)
    assert.equal((await w.fetch()).kind, 'refused')
    w.pass(1)
    assert.equal((await w.fetch()).kind, 'pass')
  })

  test('may be delivered by its maker in his time, and after it only with the turn that nobody has', async () => {
    const w = await world()
    assert.equal(await w.delivery.mayDeliver(w.work, START + 1), true)
    assert.equal(await w.delivery.mayDeliver(w.work, START), true)
    assert.equal(await w.delivery.mayDeliver(w.work, START), false)
    const other = await world({ deliverBy: START + 9 })
    assert.equal(await other.delivery.mayDeliver(other.work, 0), true)
    const done = await world()
    await done.books.step('key', { type: 'delivered', data: {} })
    assert.equal(await done.delivery.mayDeliver(done.work, 0), false)
  })

  test('may be fetched at once when its maker gives it back', async () => {
    const w = await world({ deliverBy: START + 9_000 })
    await w.delivery.release(w.work)
    assert.deepEqual((await w.held()).steps.at(-1), { type: 'released', data: { deliverBy: 0 } })
    assert.equal((await w.fetch()).kind, 'pass')
  })
})

describe('what has left and cannot be written down', () => {
  test('is remembered, told as a fault, and written as soon as it can be', async () => {
    const w = await world()
    w.down(new PaymentError('store-unavailable', 'Full.'))
    w.delivery.delivered(w.work)
    await w.settle()
    assert.deepEqual(w.faults.splice(0), ['delivered'])
    assert.equal(refused(await w.fetch()).code, 'payment-delivered')
    await w.delivery.flush()
    assert.deepEqual(w.faults.splice(0), ['delivered'])
    w.down(undefined)
    await w.delivery.flush()
    assert.equal((await w.held()).steps.at(-1)?.type, 'delivered')
    const rows = (await w.books.journal(0, 99)).length
    await w.delivery.flush()
    assert.equal((await w.books.journal(0, 99)).length, rows)
  })

  test('is remembered while its maker’s time runs, and for that claim alone', async () => {
    const w = await world({ deliverBy: START + 9_000 })
    w.down(new PaymentError('store-unavailable', 'Full.'))
    w.delivery.delivered(w.work)
    await w.settle()
    assert.equal(w.delivery.lifeOf(await w.held()), 'delivered')
    assert.equal(w.delivery.lifeOf({ ...(await w.held()), claim: 99 }), 'settled')
    const open: Held = { ...(await w.held()), state: 'voided' }
    assert.equal(w.delivery.lifeOf(open), 'voided')
  })

  test('is forgotten where the claim is no sale any more', async () => {
    const w = await world()
    w.down(new PaymentError('payment-in-flight', 'Voided.'))
    w.delivery.delivered(w.work)
    await w.settle()
    assert.deepEqual(w.faults, [])
    assert.equal(w.delivery.lifeOf(await w.held()), 'owed')
  })
})

describe('an answer that is kept', () => {
  test('lies in the vault before it is said to, for an hour, and comes back with its receipt', async () => {
    const w = await world()
    await w.delivery.keep(w.work, answer)
    assert.deepEqual([...w.kept.keys()], ['key/1'])
    assert.equal(w.kept.get('key/1')?.untilAt, START + 3_600_000)
    const entry = await w.fetch()
    assert.ok(entry.kind === 'kept')
    assert.deepEqual(Buffer.from(entry.answer), answer)
    assert.equal(entry.receipt?.reference, 'tx')
  })

  test('is kept for a sale that asks for it, where there is one, under an offer that is a secret', async () => {
    const w = await world()
    const { work } = w
    await w.delivery.keep(work, undefined)
    await w.delivery.keep({ ...work, ask: { ...work.ask, sale } }, answer)
    await w.delivery.keep({ ...work, offer: { ...offer, id: 'mac' } }, answer)
    assert.equal(w.kept.size, 0)
    const bare = await world({ shelf: false })
    await bare.delivery.keep(bare.work, answer)
    assert.equal((await bare.fetch()).kind, 'pass')
  })

  test('is for whoever names the very offer, and for nobody else', async () => {
    const w = await world()
    await w.delivery.keep(w.work, answer)
    const named = (id: string): Promise<Entry> => w.fetch({ offer: { ...offer, id } })
    for (const id of ['other.mac', 'mac', '']) assert.notEqual((await named(id)).kind, 'kept', id)
    assert.equal((await w.fetch()).kind, 'kept')
    const plain = await world({ id: 'mac' })
    plain.kept.set('key/1', { bytes: sealed('key/1', answer), untilAt: 0 })
    assert.equal((await plain.fetch({ offer: { ...offer, id: 'mac' } })).kind, 'pass')
  })

  test('that cannot be kept is told as a fault, and sold all the same', async () => {
    const w = await world()
    w.full()
    await w.delivery.keep(w.work, answer)
    assert.deepEqual(w.faults, ['keep'])
    assert.equal((await w.fetch()).kind, 'pass')
  })

  test('by whoever fetched it is there for the next', async () => {
    const w = await world()
    const pass = passOf(await w.fetch())
    await pass.finish(true, answer)
    assert.equal((await w.fetch()).kind, 'kept')
    const failed = await world()
    await passOf(await failed.fetch()).finish(false, answer)
    assert.equal(failed.kept.size, 0)
  })
})

interface Options {
  readonly deliverBy?: number
  readonly workMs?: number
  readonly shelf?: boolean
  readonly id?: string
}

/** One sale, posted and not delivered. */
async function world({ deliverBy = 0, workMs, shelf = true, id = offer.id }: Options = {}) {
  let now = START
  let broken: Error | undefined
  let full = false
  const clock = { now: () => now, sleep: () => new Promise<void>(() => undefined) }
  const books = memory({ clock })
  const events: Event[] = []
  const faults: string[] = []
  const kept = new Map<string, { bytes: Uint8Array; untilAt: number }>()
  const house: House = {
    ledger: lateBooks(books, () => broken),
    rails: createRails([]),
    clock,
    observe: (event) => void events.push(event),
    fault: (where) => void faults.push(where),
  }
  const vault: Vault = {
    async put(name, bytes, untilAt) {
      for (let i = 0; i < 3; i++) await turn()
      if (full) throw new PaymentError('store-unavailable', 'Full.')
      kept.set(name, { bytes, untilAt })
    },
    get: async (name) => kept.get(name)?.bytes,
  }
  const delivery = createDelivery(
    house,
    createRefusals(house, () => [offer]),
    shelf ? { vault, seal } : undefined,
  )
  const paid = { ...offer, id }
  await books.transfer(transfer(paid))
  const data = { reference: 'tx', payer: 'buyer', settledAt: START, deliverBy }
  await books.post('key', undefined, { type: 'settled', data })
  const keeping: Sale = { ...sale, keep: true, ...(workMs !== undefined && { workMs }) }
  const work: Claimed = {
    ask: { resource, sale: keeping, request: 'r1' },
    offer,
    proof: {},
    key: 'key',
    payer: 'buyer',
    rail: {} as Rail,
    claim: 1,
  }
  const held = async (): Promise<Held> => (await books.find('key')) ?? assert.fail()
  const detail = 'What this payment bought has been delivered. Pay again to have it again.'
  return {
    books,
    delivery,
    events,
    faults,
    kept,
    work,
    held,
    refusal: { type: 'refused', at: START, request: 'r1', url: '', detail } as const,
    pass: (ms: number) => (now += ms),
    down: (error: Error | undefined) => (broken = error),
    full: () => (full = true),
    fetch: async (rest: Partial<Claimed> = {}) =>
      delivery.fetch({ ...work, ...rest }, await held()),
    /** What was begun and nobody waits for is through. */
    settle: async () => {
      for (let i = 0; i < 9; i++) await turn()
    },
  }
}

/** Seals by writing the name before the bytes: enough to see that it is asked for the same name. */
const seal: Seal = {
  seal: sealed,
  open(name, bytes) {
    const text = Buffer.from(bytes).toString()
    return text.startsWith(name) ? Buffer.from(text.slice(name.length)) : undefined
  },
}

function sealed(name: string, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(name), bytes])
}

function transfer(paid: Offer): Transfer {
  return {
    key: 'key',
    purpose: purposeOf(resource),
    asset: coin.id,
    amount: 5n,
    legs: [{ debit: 'world/test/net/seller', credit: 'sales/a' }],
    leaseUntilAt: START,
    note: writeNote({ offer: paid, payer: 'buyer', request: 'r1' }),
  }
}

function passOf(entry: Entry): Extract<Entry, { kind: 'pass' }> {
  return entry.kind === 'pass' ? entry : assert.fail(JSON.stringify(entry))
}

function refused(entry: Entry): Extract<Entry, { kind: 'refused' }>['problem'] {
  return entry.kind === 'refused' ? entry.problem : assert.fail(entry.kind)
}
