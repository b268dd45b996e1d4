// Who is let in, and what stands in the books by then: over a rail that says what it is told to, and books that write late.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Credential } from '../core/credential.ts'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { createOffers, nonceOf } from '../core/offers.ts'
import type { Ask, Gate, Rail, Sale, Settlement, Vault, Verdict } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import { PaymentError, problem } from '../core/problem.ts'
import type { Resource } from '../core/resource.ts'
import { createSeal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import { coin, lateBooks, termsOf } from './fixture.test.ts'
import type { GateParts } from './gate.ts'
import { createGate } from './gate.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const START = 1_800_000_000_000
const WORK_MS = 60_000
const SETTLE_MS = 45_000
const DELIVER_MS = 30_000

describe('an offer', () => {
  test('stands as long as the gate is told', () => {
    const w = world({ offerValidMs: 10_000 })
    assert.equal(w.offer().expiresAt, START + 10_000)
    assert.equal(world().offer().expiresAt, START + 300_000)
  })

  test('is made for one payer exactly where his answer can be kept', () => {
    const keep = { sale: { keep: true } }
    assert.equal(nonceOf(world().offer(keep)), undefined)
    const shelf = { vault: vault(new Map()), seal: createSeal([SECRET], 'vault', bytes) }
    assert.equal(world(shelf).gate.keeps, true)
    assert.equal(world().gate.keeps, false)
    assert.equal(nonceOf(world(shelf).offer(keep))?.length, 16)
    assert.equal(nonceOf(world(shelf).offer()), undefined)
  })

  test('is one of its kind wherever a protocol wants it so', () => {
    const w = world({ distinct: true })
    assert.notEqual(w.offer().id, w.offer().id)
    assert.equal(world().offer().id, world().offer().id)
  })
})

describe('a request is not let in', () => {
  test('with an offer that is not ours, though its payment is one of ours', async () => {
    const w = world()
    await w.sell('n')
    const credential = w.pay('n')
    const foreign = { ...credential, offer: { ...w.offer(), id: 'x'.repeat(32) } }
    assert.equal(await w.code(foreign), 'offer-foreign')
    assert.equal(w.calls.find, 0)
    assert.equal(await w.code(credential), 'payment-delivered')
  })

  test('without a payment, in time or late', async () => {
    const w = world()
    const empty: Credential = { offer: w.offer() }
    const entry = await w.gate.admit(w.ask(empty))
    assert.ok(entry.kind === 'refused')
    assert.match(entry.problem.detail, /the credential has none/)
    assert.equal(entry.problem.code, 'credential-unsupported')
    w.pass(400_000)
    assert.equal(await w.code(empty), 'offer-expired')
  })

  test('with a payment that does not hold, whatever its key, and nobody else is asked', async () => {
    const w = world()
    w.told.verify = { ok: false, key: 'n', problem: problem('funds-insufficient', 'Poor.') }
    assert.equal(await w.code(w.pay('n')), 'funds-insufficient')
    assert.equal(w.calls.find, 0)
    assert.deepEqual(await w.books.journal(0, 9), [])
  })

  test('late by more than an hour, though its money moved in time: that is not even looked for', async () => {
    const w = world()
    const credential = w.pay('n')
    w.told.find = w.settled(START)
    w.pass(300_000 + 3_600_001)
    assert.equal(await w.code(credential), 'offer-expired')
    assert.equal(w.calls.find, 0)
    const near = world()
    const recent = near.pay('n')
    near.told.find = near.settled(START)
    near.pass(300_000 + 3_600_000)
    assert.equal(await near.code(recent), 'pass')
  })

  test('with a spent payment while nobody knows what became of it: no new bill', async () => {
    const w = world()
    w.told.verify = { ok: false, key: 'n', problem: problem('payment-spent', 'Spent.') }
    w.told.find = { state: 'unknown', detail: '?' }
    assert.equal(await w.code(w.pay('n')), 'payment-unknown')
    w.told.find = undefined
    assert.equal(await w.code(w.pay('n')), 'payment-spent')
  })

  test('with a payment that another request was sold for, however it is verified', async () => {
    const w = world()
    await w.sell('n')
    const unbound: Credential = { offer: { rail: 'test', network: 'net' }, proof: 'n' }
    assert.equal(await w.code(unbound, { resource: { path: '/b' } }), 'payment-spent')
    w.told.verify = { ok: false, problem: problem('proof-expired', 'Old.') }
    assert.equal(await w.code(unbound, { resource: { path: '/b' } }), 'proof-expired')
    assert.equal(await w.code(unbound), 'payment-delivered')
  })

  test('by a fault, of which whoever watches is told where it was', async () => {
    const w = world()
    w.told.verify = new PaymentError('rail-unavailable', 'Down.')
    assert.equal(await w.code(w.pay('n')), 'rail-unavailable')
    const faults = (): readonly unknown[] =>
      w.events.filter(({ type }) => type === 'fault').map((one) => 'where' in one && one.where)
    assert.deepEqual(faults(), ['admit'])
    w.told.verify = undefined
    const pass = await w.enter(w.pay('n'))
    w.told.settle = new Error('A bug.')
    assert.equal((await pass.finish(true)).kind, 'refused')
    assert.deepEqual(faults(), ['admit', 'finish'])
  })
})

describe('a request is let in', () => {
  test('with a payment that failed work left good, and somebody else has sent meanwhile', async () => {
    const w = world()
    const credential = w.pay('n')
    await (await w.enter(credential)).finish(false)
    assert.equal((await w.books.find('n'))?.state, 'voided')
    w.told.verify = { ok: false, key: 'n', problem: problem('payment-spent', 'Spent.') }
    w.told.find = w.settled(START)
    assert.equal(await w.code(credential), 'pass')
    assert.equal(w.calls.settle, 0)
  })

  test('and the payment must hold for the time of the work, where money moves after it', async () => {
    const w = world()
    const payable = async (nonce: string, sale: Partial<Sale>): Promise<unknown> => {
      await w.code(w.pay(nonce, { sale }), { sale })
      return w.calls.payableForMs
    }
    assert.equal(await payable('a', {}), WORK_MS)
    assert.equal(await payable('b', { workMs: 7 }), 7)
    assert.equal(await payable('c', { settle: 'before-work' }), 0)
    assert.equal(await payable('d', { settle: 'deferred', workMs: 7 }), 0)
  })

  test('under a lease for the work and the settlement, and is told', async () => {
    const w = world()
    await w.enter(w.pay('a'))
    await w.enter(w.pay('b', { sale: { workMs: 7 } }), { sale: { workMs: 7 } })
    const pending = await w.books.pending()
    assert.deepEqual(
      pending.map(({ key, leaseUntilAt, legs }) => [key, leaseUntilAt, legs]),
      [
        ['a', START + WORK_MS + SETTLE_MS, w.legs],
        ['b', START + 7 + SETTLE_MS, w.legs],
      ],
    )
    const amount = { asset: coin, amount: 5n }
    const about = { account: 'sales/GET /a', rail: 'test', network: 'net' }
    const held = { type: 'held', at: START, request: 'r1', payer: 'buyer', amount, ...about }
    assert.deepEqual(
      w.events.filter(({ type }) => type === 'held'),
      [
        { ...held, key: 'a' },
        { ...held, key: 'b' },
      ],
    )
  })
})

describe('work that was paid before it began', () => {
  const first = { sale: { settle: 'before-work' } as const }

  test('is its maker’s to deliver for the time of the work and a first byte', async () => {
    for (const [workMs, time] of [
      [undefined, WORK_MS],
      [7, 7],
    ] as const) {
      const w = world()
      const change = { sale: { ...first.sale, ...(workMs !== undefined && { workMs }) } }
      await w.enter(w.pay('n', change), change)
      const [, step] = (await w.books.find('n'))?.steps ?? []
      assert.equal(step?.data['deliverBy'], START + time + DELIVER_MS)
      const found = world()
      found.told.verify = { ok: false, key: 'n', problem: problem('payment-spent', 'Spent.') }
      found.told.find = found.settled(START)
      await found.enter(found.pay('n', change), change)
      const [only] = (await found.books.find('n'))?.steps ?? []
      assert.equal(only?.data['deliverBy'], START + time + DELIVER_MS)
    }
  })

  test('is given back before it is said to have failed, and not when it succeeded', async () => {
    const w = world()
    const types = async (key: string): Promise<unknown> =>
      (await w.books.find(key))?.steps.map(({ type }) => type)
    const good = await w.enter(w.pay('good', first), first)
    assert.equal((await good.finish(true)).kind, 'serve')
    assert.deepEqual(await types('good'), ['prepared', 'settled'])
    const bad = await w.enter(w.pay('bad', first), first)
    await bad.finish(false)
    assert.deepEqual(await types('bad'), ['prepared', 'settled', 'released'])
  })

  test('is not delivered when its time is over and another has the turn', async () => {
    const w = world()
    const credential = w.pay('n', first)
    const slow = await w.enter(credential, first)
    w.pass(WORK_MS + DELIVER_MS)
    const other = await w.another().admit(w.ask(credential, first))
    assert.equal(other.kind, 'pass')
    const late = await slow.finish(true)
    assert.equal(late.kind === 'refused' && late.problem.code, 'payment-in-flight')
    const alone = world()
    const only = await alone.enter(alone.pay('n', first), first)
    alone.pass(WORK_MS + DELIVER_MS)
    assert.equal((await only.finish(true)).kind, 'serve')
  })
})

describe('work that ends', () => {
  test('ends once', async () => {
    const w = world()
    const pass = await w.enter(w.pay('n'))
    await pass.finish(true)
    await assert.rejects(pass.finish(true), { name: 'Bug', message: 'work ends once' })
    assert.equal(w.calls.settle, 1)
  })

  test('and was not sold has delivered nothing, whatever left, and gives nothing back', async () => {
    const w = world()
    const failed = await w.enter(w.pay('failed'))
    failed.lost()
    await failed.finish(false)
    failed.delivered()
    const unpaid = await w.enter(w.pay('unpaid'))
    w.told.settle = () => ({ state: 'failed', problem: problem('funds-insufficient', 'Poor.') })
    await unpaid.finish(true)
    // The claim is void before it is said to be.
    assert.equal((await w.books.find('unpaid'))?.state, 'voided')
    unpaid.delivered()
    unpaid.lost()
    await w.turns()
    assert.deepEqual(
      (await w.books.journal(0, 99)).map(({ key, type }) => `${key} ${type}`),
      ['failed made', 'failed voided', 'unpaid made', 'unpaid prepared', 'unpaid voided'],
    )
    assert.ok(w.events.every(({ type }) => type !== 'delivered' && type !== 'fault'))
  })

  test('and was sold is its maker’s to deliver for the time of a first byte', async () => {
    const w = world()
    await (await w.enter(w.pay('n'))).finish(true)
    const last = (await w.books.find('n'))?.steps.at(-1)
    assert.equal(last?.data['deliverBy'], START + DELIVER_MS)
  })

  test('and cannot be given back is told as a fault', async () => {
    const w = world()
    const pass = await w.enter(w.pay('n'))
    await pass.finish(true)
    await w.books.close()
    pass.lost()
    await w.turns()
    const last = w.events.at(-1)
    assert.ok(last?.type === 'fault')
    assert.equal(last.where, 'lost')
  })

  test('on credit is served, and a settlement that breaks after that is told as a fault', async () => {
    const w = world()
    const later = { sale: { settle: 'deferred' } as const }
    const pass = await w.enter(w.pay('n', later), later)
    w.told.settle = () => {
      throw new Error('A bug.')
    }
    assert.equal((await pass.finish(true)).kind, 'serve')
    await w.turns()
    const last = w.events.at(-1)
    assert.ok(last?.type === 'fault')
    assert.equal(last.where, 'deferred')
  })

  test('and was posted meanwhile by whoever thought it dead is served with the turn, and not without', async () => {
    const data = { reference: 'tx', payer: 'buyer', settledAt: START, deliverBy: 0 }
    for (const taken of [false, true]) {
      const w = world()
      const credential = w.pay('n')
      const pass = await w.enter(credential)
      w.told.settle = async () => {
        await w.books.post('n', undefined, { type: 'settled', data })
        if (taken) assert.equal((await w.another().admit(w.ask(credential))).kind, 'pass')
        return w.settled(START)
      }
      const outcome = await pass.finish(true)
      assert.equal(outcome.kind, taken ? 'refused' : 'serve')
      const other = await w.another().admit(w.ask(credential))
      assert.equal(other.kind === 'refused' && other.problem.code, 'payment-in-flight')
    }
  })
})

describe('recovery', () => {
  test('frees what nobody works on, closes what there is evidence for, and has done so when it ends', async () => {
    const w = world()
    const sold = w.settled(START)
    for (const key of ['sent', 'free']) await w.enter(w.pay(key))
    await w.books.step('sent', { type: 'prepared', data: {} })
    w.pass(WORK_MS + SETTLE_MS - 1)
    w.told.find = sold
    const heir = w.another()
    await heir.recover()
    assert.deepEqual(await w.states(), { free: 'pending', sent: 'pending' })
    w.pass(1)
    // Its maker is still at it, and says so.
    await w.gate.recover()
    assert.deepEqual([await w.states(), w.calls.find], [{ free: 'pending', sent: 'pending' }, 0])
    await heir.recover()
    assert.deepEqual(await w.states(), { free: 'voided', sent: 'posted' })
    assert.equal(w.calls.find, 1)
  })

  test('touches nothing in the same books that is not the gate’s', async () => {
    const w = world()
    const lend = { asset: 'usd', amount: 1n, leaseUntilAt: START - 1, note: {}, purpose: 'p' }
    for (const key of ['purchase/a', 'purchase/b'])
      await w.books.transfer({ key, legs: [{ debit: 'world/x', credit: 'spent' }], ...lend })
    await w.books.step('purchase/b', { type: 'signed', data: {} })
    await w.gate.recover()
    assert.deepEqual(await w.states(), { 'purchase/a': 'pending', 'purchase/b': 'pending' })
    assert.deepEqual(w.events, [])
    assert.equal(await w.gate.status('purchase/a'), undefined)
  })

  test('ends a turn at delivery that has run out, and goes on with what was being booked back', async () => {
    const w = world()
    await w.sell('n')
    const credential = w.pay('m')
    await (await w.enter(credential)).finish(true)
    w.pass(DELIVER_MS)
    assert.equal((await w.another().admit(w.ask(credential))).kind, 'pass')
    await w.books.transfer({
      key: 'n/undone',
      purpose: 'undone',
      asset: coin.id,
      amount: 5n,
      legs: [{ debit: 'sales/GET /a', credit: 'world/test/net/seller' }],
      leaseUntilAt: START,
      note: { kind: 'reversal', of: 'n' },
    })
    await w.another().recover()
    assert.equal((await w.states())['m/delivery'], 'pending')
    assert.equal((await w.states())['n/undone'], 'posted')
    assert.equal((await w.books.find('n'))?.steps.at(-1)?.type, 'undone')
    w.pass(WORK_MS + DELIVER_MS)
    await w.another().recover()
    assert.equal((await w.states())['m/delivery'], 'voided')
  })

  test('writes down what has left and could not be written', async () => {
    const w = world()
    const pass = await w.enter(w.pay('n'))
    await pass.finish(true)
    w.told.down = new PaymentError('store-unavailable', 'Full.')
    pass.delivered()
    await w.turns()
    delete w.told.down
    assert.equal((await w.books.find('n'))?.steps.at(-1)?.type, 'settled')
    await w.gate.recover()
    assert.equal((await w.books.find('n'))?.steps.at(-1)?.type, 'delivered')
  })
})

test('a maker whose claim was made anew and sold by another serves nothing', async () => {
  const w = world()
  const pass = await w.enter(w.pay('n'))
  w.told.settle = async () => {
    const { key, purpose, asset, amount, legs, leaseUntilAt, note } =
      (await w.books.find('n')) ?? assert.fail()
    await w.books.void('n', 'internal')
    await w.books.transfer({ key, purpose, asset, amount, legs, leaseUntilAt, note })
    const data = { reference: 'tx', payer: 'buyer', settledAt: START, deliverBy: START + 9_000 }
    await w.books.post('n', undefined, { type: 'settled', data })
    return w.settled(START)
  }
  const outcome = await pass.finish(true)
  assert.equal(outcome.kind === 'refused' && outcome.problem.code, 'payment-in-flight')
  assert.equal(await w.books.find('n/delivery'), undefined)
})

test('an answer of work that was paid before lies in the vault before it is served', async () => {
  const kept = new Map<string, Uint8Array>()
  const w = world({ vault: vault(kept), seal: createSeal([SECRET], 'vault', bytes) })
  const keep = { sale: { keep: true, settle: 'before-work' } as const }
  const pass = await w.enter(w.pay('n', keep), keep)
  assert.equal((await pass.finish(true, Buffer.from('answer'))).kind, 'serve')
  assert.equal(kept.size, 1)
})

test('an answer lies in the vault before the money moves', async () => {
  const kept = new Map<string, Uint8Array>()
  const w = world({ vault: vault(kept), seal: createSeal([SECRET], 'vault', bytes) })
  const keep = { sale: { keep: true } }
  const pass = await w.enter(w.pay('n', keep), keep)
  let lay = 0
  w.told.settle = () => {
    lay = kept.size
    return w.settled(START)
  }
  assert.equal((await pass.finish(true, Buffer.from('answer'))).kind, 'serve')
  assert.equal(lay, 1)
})

interface Change {
  readonly resource?: Partial<Resource>
  readonly sale?: Partial<Sale>
}

function world(parts: Partial<GateParts> = {}) {
  let now = START
  const clock = { now: () => now, sleep: () => new Promise<void>(() => undefined) }
  const books = memory({ clock })
  const events: Event[] = []
  const calls = { find: 0, settle: 0, payableForMs: undefined as number | undefined }
  const settled = (settledAt: number): Settlement => {
    return { state: 'settled', reference: 'tx', payer: 'buyer', settledAt }
  }
  const told: {
    verify?: Verdict | Error | undefined
    find?: Settlement | undefined
    down?: Error
    settle?: Error | (() => Settlement | Promise<Settlement>)
  } = {}
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount }) => [termsOf(amount)],
    identify: (_, nonce) => ({ key: nonce.slice(), payer: 'buyer' }),
    async verify(_, key, payableForMs) {
      calls.payableForMs = payableForMs
      if (told.verify instanceof Error) throw told.verify
      return told.verify ?? { ok: true, key, payer: 'buyer' }
    },
    async settle(_, _proof, _key, log) {
      calls.settle++
      if (told.settle instanceof Error) throw told.settle
      await log.write({ type: 'prepared', data: {} })
      return (await told.settle?.()) ?? settled(now)
    },
    async find() {
      calls.find++
      return told.find
    },
  }
  const another = (): Gate =>
    createGate({
      rails: [rail],
      ledger: lateBooks(books, () => told.down),
      offers: createOffers(createMac([SECRET], 'offers')),
      clock,
      observe: (event) => void events.push(event),
      ...parts,
    })
  const gate = another()
  const ask = (credential?: Ask['credential'], { resource, sale }: Change = {}): Ask => ({
    resource: {
      realm: 'shop',
      method: 'GET',
      authority: 'api.test',
      path: '/a',
      query: '',
      url: 'http://api.test/a',
      ...resource,
    },
    sale: {
      prices: [readPrice('0.000005 USD')],
      settle: 'before-response',
      account: 'sales/GET /a',
      ...sale,
    },
    request: 'r1',
    ...(credential && { credential }),
  })
  const offer = (change?: Change): Offer => {
    const said = gate.challenge(ask(undefined, change))
    assert.ok('kind' in said, 'nobody must be asked')
    return said.challenge?.offers[0] ?? assert.fail('no offer')
  }
  const pay = (nonce: string, change?: Change): Credential => ({
    offer: offer(change),
    proof: nonce,
  })
  const code = async (credential: Credential, change?: Change): Promise<Code | 'pass' | 'kept'> => {
    const entry = await gate.admit(ask(credential, change))
    return entry.kind === 'refused' ? entry.problem.code : entry.kind
  }
  const enter = async (credential: Credential, change?: Change) => {
    const entry = await gate.admit(ask(credential, change))
    return entry.kind === 'pass' ? entry : assert.fail(JSON.stringify(entry))
  }
  /** What was begun and nobody waits for is through. */
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) await turn()
  }
  return {
    gate,
    another,
    books,
    events,
    calls,
    told,
    settled,
    ask,
    offer,
    pay,
    code,
    enter,
    legs: [{ debit: 'world/test/net/seller', credit: 'sales/GET /a' }],
    pass: (ms: number) => (now += ms),
    /** Sells and delivers. */
    async sell(nonce: string) {
      const pass = await enter(pay(nonce))
      await pass.finish(true)
      pass.delivered()
      await turns()
    },
    turns,
    /** Where each key stands. */
    async states(): Promise<Readonly<Record<string, string | undefined>>> {
      const keys = new Set((await books.journal(0, 99)).map(({ key }) => key))
      const found = [...keys].map(async (key) => [key, (await books.find(key))?.state])
      return Object.fromEntries(await Promise.all(found))
    },
  }
}

function bytes(count: number): Uint8Array {
  return new Uint8Array(count).fill(7)
}

/** A vault that takes its time. */
function vault(kept: Map<string, Uint8Array>): Vault {
  return {
    async put(key, sealed) {
      for (let i = 0; i < 30; i++) await turn()
      kept.set(key, sealed)
    },
    get: async (key) => kept.get(key),
  }
}
