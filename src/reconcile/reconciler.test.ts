// The reconciler over a network that the test holds in its hand: what lies there, what is final, what can be asked.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { Event } from '../core/event.ts'
import type { Asset } from '../core/money.ts'
import type { Balance, Clock, Ledger, Leg, Rail, Transfer } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createCluster, missing } from '../../test/postgres.ts'
import { memory } from '../ledger/memory.ts'
import { postgres } from '../ledger/postgres.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { SURE_AFTER_MS } from './flows.ts'
import type { Comparison, Reconciler } from './reconciler.ts'
import { ROUND_LEASE_MS, createReconciler } from './reconciler.ts'

const coin: Asset = { id: 'test:coin', code: 'COIN', scale: 2 }
const START = Date.UTC(2026, 0, 1)
const OUTSIDE = 'world/test/net/Seller'
const SUSPENSE = 'suspense/test/net/Seller'
const MISSING = 'world/missing/test/net/Seller'

interface Net {
  amount: bigint
  height: number
  /** Settlements that are not part of that state yet. */
  readonly late: Set<string>
  down: boolean
}

interface Bench {
  readonly ledger: Ledger
  readonly net: Net
  readonly events: Event[]
  readonly reconciler: Reconciler
  another(ledger?: Ledger): Reconciler
  pass(ms: number): void
  /** Holds it; posts it too, and moves the money, unless told otherwise. */
  sell(key: string, amount: bigint, how?: 'held' | 'booked' | 'moved'): Promise<void>
  pay(key: string, legs: readonly Leg[], amount: bigint, asset?: string): Promise<void>
  post(key: string): Promise<void>
  round(): Promise<Comparison>
  balance(account: string): Promise<bigint>
}

interface Options {
  readonly clock?: Timer
  readonly ledger?: Ledger
  readonly patienceMs?: number
}

interface Timer extends Clock {
  pass(ms: number): void
}

/** Time that passes when somebody sleeps. */
function timer(): Timer {
  let now = START
  const pass = (ms: number): void => void (now += ms)
  return { now: () => now, pass, sleep: async (ms) => pass(ms) }
}

function bench({
  clock = timer(),
  ledger = memory({ clock }),
  patienceMs = 0,
}: Options = {}): Bench {
  const net: Net = { amount: 0n, height: 1, late: new Set(), down: false }
  const events: Event[] = []
  const rail: Pick<Rail, 'name' | 'network' | 'holdings'> = {
    name: 'test',
    network: 'net',
    async holdings() {
      if (net.down) throw new PaymentError('rail-unavailable', 'Nobody is there.')
      return {
        height: net.height,
        list: [
          { account: 'Seller', asset: coin, amount: net.amount, use: 'payee', costs: 'gas:net' },
          { account: 'Sender', asset: coin, amount: 7n, use: 'sender' },
        ],
        includes: async (references) => new Set(references.filter((one) => !net.late.has(one))),
      }
    },
  }
  const make = (books: Ledger): Reconciler =>
    createReconciler({
      ledger: books,
      rails: [rail, { name: 'blind', network: 'net' }],
      everyMs: 1_000,
      patienceMs,
      clock,
      observe: (event) => events.push(event),
    })
  const reconciler = make(ledger)
  const bench: Bench = {
    ledger,
    net,
    events,
    reconciler,
    another: (books = ledger) => make(books),
    pass: (ms) => clock.pass(ms),
    async pay(key, legs, amount, asset = coin.id) {
      await ledger.transfer({
        ...{ key, purpose: 'p', asset, amount, legs },
        leaseUntilAt: clock.now() + 60_000,
        note: { kind: 'sale' },
      })
    },
    async post(key) {
      const data = { reference: `ref-${key}`, settledAt: clock.now() }
      await ledger.post(key, undefined, { type: 'settled', data })
    },
    async sell(key, amount, how = 'moved') {
      await bench.pay(key, [{ debit: OUTSIDE, credit: 'sales/GET /a' }], amount)
      if (how !== 'held') await bench.post(key)
      if (how === 'moved') net.amount += amount
    },
    async round() {
      clock.pass(2_000)
      net.height++
      const [first, ...others] = await reconciler.round()
      assert.ok(first)
      assert.deepEqual(others, [], 'a rail that cannot look is passed over')
      return first
    },
    async balance(account) {
      const all: readonly Balance[] = await ledger.balances(account)
      return all[0]?.posted ?? 0n
    },
  }
  return bench
}

const alarms = ({ events }: Bench): readonly bigint[] =>
  events.flatMap((event) => (event.type === 'mismatch' ? [event.amount.amount] : []))

/** Everything that books of ours may be: each case is lived by both. */
async function both(t: TestContext, live: (b: Bench) => Promise<void>): Promise<void> {
  await t.test('memory', async () => {
    const b = bench()
    await live(b)
    assert.deepEqual((await verifyBooks(b.ledger)).problems, [])
  })
  await t.test('SQLite', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'reconcile-'))
    const clock = timer()
    const ledger = await sqlite({ file: join(directory, 'books.db'), clock })
    try {
      await live(bench({ ledger, clock }))
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    } finally {
      await ledger.close()
      await rm(directory, { recursive: true, force: true })
    }
  })
}

describe('what lies there is what the books say', () => {
  test('money that lay there before is the opening balance, and no difference', (t) =>
    both(t, async (b) => {
      b.net.amount = 500n
      await b.sell('s1', 10n)
      const first = await b.round()
      assert.deepEqual(
        first.bookings.map(({ finding, amount }) => [finding, amount]),
        [['opening', 500n]],
      )
      assert.equal(await b.balance('world/opening/test/net/Seller'), 500n)
      assert.equal(await b.balance(OUTSIDE), -510n)
      await b.sell('s2', 5n)
      const second = await b.round()
      assert.equal(second.state, 'looked')
      assert.equal(second.positions[0]?.expected, 515n)
      assert.deepEqual(second.bookings, [])
      assert.deepEqual(alarms(b), [])
    }))

  test('money that had left before the first look is an opening below zero', (t) =>
    both(t, async (b) => {
      await b.sell('s1', 10n)
      b.net.amount = 4n
      await b.round()
      assert.equal(await b.balance('world/opening/test/net/Seller'), -6n)
      assert.deepEqual((await b.round()).bookings, [])
    }))

  test('refunds, sweeps and sales are explained', (t) =>
    both(t, async (b) => {
      await b.round()
      await b.sell('s1', 100n)
      await b.pay('refund', [{ debit: 'sales/GET /a', credit: OUTSIDE }], 30n)
      await b.post('refund')
      await b.pay('sweep', [{ debit: 'world/test/net/Cold', credit: OUTSIDE }], 50n)
      await b.post('sweep')
      b.net.amount -= 80n
      const found = await b.round()
      assert.equal(found.positions[0]?.expected, 20n)
      assert.deepEqual(alarms(b), [])
    }))

  test('costs that are paid from the same purse are explained', (t) =>
    both(t, async (b) => {
      await b.round()
      await b.sell('s1', 100n)
      const cost = { debit: 'world/gas', credit: 'costs/test/net' }
      await b.pay('cost', [cost], 3n, 'gas:net')
      await b.ledger.post('cost')
      b.net.amount -= 3n
      assert.equal((await b.round()).positions[0]?.expected, 97n)
      assert.deepEqual(alarms(b), [])
    }))

  test('a settlement that is not final yet is waited for, and counted once it is', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.late.add('ref-s1')
      await b.sell('s1', 10n, 'booked')
      await b.sell('s2', 3n)
      const early = await b.round()
      assert.equal(early.positions[0]?.expected, 3n)
      await b.round()
      b.net.late.clear()
      b.net.amount += 10n
      const late = await b.round()
      assert.equal(late.positions[0]?.expected, 13n)
      assert.deepEqual(alarms(b), [])
    }))

  test('a settlement that the network does not have after a day is missing', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.late.add('ref-s1')
      await b.sell('s1', 10n, 'booked')
      await b.round()
      assert.deepEqual(alarms(b), [])
      b.pass(SURE_AFTER_MS + 60_000)
      await b.round()
      assert.deepEqual(alarms(b), [-10n])
    }))

  test('a sale that came undone is nothing, together with its reversal', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.late.add('ref-s1')
      await b.sell('s1', 10n, 'booked')
      await b.pay('s1/undone', [{ debit: 'sales/GET /a', credit: OUTSIDE }], 10n)
      await b.ledger.void('s1/undone', 'again')
      await b.ledger.transfer({
        ...{ key: 's1/undone', purpose: 'undone', asset: coin.id, amount: 10n, leaseUntilAt: 0 },
        legs: [{ debit: 'sales/GET /a', credit: OUTSIDE }],
        note: { kind: 'reversal', of: 's1' },
      })
      await b.ledger.post('s1/undone')
      assert.deepEqual((await b.round()).bookings, [], 'booked back, not marked yet')
      await b.ledger.step('s1', { type: 'undone', data: {} })
      assert.deepEqual((await b.round()).bookings, [])
      await b.sell('s2', 1n)
      assert.equal((await b.round()).positions[0]?.expected, 1n)
      assert.deepEqual(alarms(b), [])
    }))
})

describe('what does not fit', () => {
  test('a stray transfer goes to suspense, once, with an alarm', (t) =>
    both(t, async (b) => {
      await b.sell('s1', 10n)
      await b.round()
      b.net.amount += 5n
      await b.round()
      await b.round()
      assert.equal(await b.balance(SUSPENSE), 5n)
      assert.deepEqual(alarms(b), [5n])
      await b.sell('s2', 1n)
      b.net.amount += 2n
      await b.round()
      assert.deepEqual(alarms(b), [5n, 2n])
      assert.equal(await b.balance(SUSPENSE), 7n)
    }))

  test('missing money stands below zero outside, with an alarm', (t) =>
    both(t, async (b) => {
      await b.sell('s1', 10n)
      await b.round()
      b.net.amount -= 4n
      await b.round()
      await b.round()
      assert.equal(await b.balance(MISSING), -4n)
      assert.equal(await b.balance(SUSPENSE), 0n)
      assert.deepEqual(alarms(b), [-4n])
    }))

  test('suspense is closed by a round that finds the explanation, which is told', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.amount += 5n
      await b.round()
      // The sale that it was for comes late, and is less than what came.
      await b.sell('s1', 3n, 'booked')
      const found = await b.round()
      assert.deepEqual(
        found.bookings.map(({ finding, amount }) => [finding, amount]),
        [['closed', -3n]],
      )
      assert.equal(await b.balance(SUSPENSE), 2n)
      assert.deepEqual(alarms(b), [5n, -3n])
    }))

  test('what was missing comes back, and more with it', (t) =>
    both(t, async (b) => {
      b.net.amount = 10n
      await b.round()
      b.net.amount -= 4n
      await b.round()
      b.net.amount += 6n
      await b.round()
      assert.equal(await b.balance(MISSING), 0n)
      assert.equal(await b.balance(SUSPENSE), 2n)
      assert.deepEqual(alarms(b), [-4n, 4n, 2n])
    }))

  test('suspense that was emptied by hand does not stop the round', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.amount += 5n
      await b.round()
      await b.sell('s1', 5n, 'booked')
      const { ledger } = b
      // Between the look and the booking.
      const emptied: Ledger = {
        ...ledger,
        async transfer(transfer) {
          if (transfer.key.endsWith('/3/0')) {
            await b.pay('by-hand', [{ debit: SUSPENSE, credit: 'sales/gifts' }], 5n)
            await ledger.post('by-hand')
          }
          return await ledger.transfer(transfer)
        },
      }
      b.pass(2_000)
      b.net.height++
      await b.another(emptied).round()
      assert.equal(await b.balance(SUSPENSE), 0n)
      assert.equal(await b.balance(MISSING), -5n)
      assert.deepEqual((await b.round()).bookings, [])
    }))

  test('a difference is booked once it has stood for the time of patience, and as far as it has', async () => {
    const b = bench({ patienceMs: 3_000 })
    await b.round()
    b.net.amount += 5n
    assert.deepEqual((await b.round()).bookings, [])
    b.net.amount += 2n
    assert.deepEqual((await b.round()).bookings, [])
    const third = await b.round()
    assert.deepEqual(
      third.bookings.map(({ amount }) => amount),
      [5n],
    )
    assert.equal(third.positions[0]?.doubt?.amount, 2n)
    await b.sell('s1', 2n, 'booked')
    await b.round()
    await b.round()
    assert.deepEqual(alarms(b), [5n], 'what was explained in time is never told')
  })
})

describe('in doubt nothing', () => {
  test('a look that fails books nothing, is told, and is made again', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.amount += 5n
      b.net.down = true
      assert.equal((await b.round()).state, 'doubt')
      assert.ok(b.events.some(({ type }) => type === 'fault'))
      assert.equal(await b.balance(SUSPENSE), 0n)
      b.net.down = false
      assert.equal((await b.round()).state, 'looked')
      assert.equal(await b.balance(SUSPENSE), 5n)
    }))

  test('a network that is behind the last look is not believed', (t) =>
    both(t, async (b) => {
      await b.round()
      b.net.amount += 5n
      b.net.height -= 2
      assert.equal((await b.round()).state, 'doubt')
      assert.equal(await b.balance(SUSPENSE), 0n)
    }))

  test('a payment that is open explains as much as it could have moved, and no more', (t) =>
    both(t, async (b) => {
      await b.round()
      await b.sell('s1', 10n, 'held')
      b.net.amount += 10n
      assert.deepEqual((await b.round()).bookings, [])
      b.net.amount += 1n
      assert.deepEqual(
        (await b.round()).bookings.map(({ amount }) => amount),
        [1n],
      )
      await b.post('s1')
      assert.deepEqual((await b.round()).bookings, [])
      assert.deepEqual(alarms(b), [1n])
    }))

  test('the opening balance waits until nothing is on its way', (t) =>
    both(t, async (b) => {
      await b.sell('s1', 10n, 'held')
      b.net.amount = 30n
      const first = await b.round()
      assert.deepEqual([first.positions, first.bookings], [[], []])
      await b.post('s1')
      await b.round()
      assert.equal(await b.balance('world/opening/test/net/Seller'), 20n)
    }))
})

describe('many processes, and those that die', () => {
  test('one does the round; too early nobody does', async () => {
    const b = bench()
    b.net.amount = 5n
    const others = [b.another(), b.another(), b.another()]
    const states = (await Promise.all([b.reconciler, ...others].map((one) => one.round()))).flat()
    assert.equal(states.filter(({ state }) => state === 'looked').length, 1)
    const [after] = await b.another().round()
    assert.equal(after?.state, 'early')
    assert.equal(after?.positions[0]?.found, 5n)
    assert.equal(await b.balance(OUTSIDE), -5n)
  })

  test('whoever dies at any write is followed by one who books the same, once', async () => {
    let reached = 0
    for (let dies = 1; ; dies++) {
      const b = bench()
      await b.sell('s1', 10n)
      await b.round()
      b.net.amount += 5n
      b.pass(2_000)
      let writes = 0
      const dying = mortal(b.ledger, () => ++writes >= dies)
      await b.another(dying).round()
      if (writes < dies) break
      reached = dies
      b.pass(ROUND_LEASE_MS)
      await b.round()
      await b.round()
      assert.equal(await b.balance(SUSPENSE), 5n, `died at write ${dies}`)
      assert.ok(alarms(b).length <= 1, `died at write ${dies}`)
      assert.deepEqual((await verifyBooks(b.ledger)).problems, [])
    }
    assert.ok(reached >= 5, `${reached} writes`)
  })
})

test(
  'over PostgreSQL one of several processes does the round, and books once',
  { skip: missing },
  async () => {
    const cluster = await createCluster()
    const clock = timer()
    const books = await Promise.all(
      Array.from({ length: 3 }, () => postgres({ url: cluster.url, clock })),
    )
    try {
      const [ledger] = books
      assert.ok(ledger)
      const b = bench({ ledger, clock })
      const all = books.map((one) => b.another(one))
      await b.sell('s1', 10n)
      await b.round()
      b.net.amount += 5n
      clock.pass(2_000)
      b.net.height++
      const states = (await Promise.all(all.map((one) => one.round()))).flat()
      assert.ok(states.some(({ state }) => state === 'looked'))
      // Another may help to book what one has seen; nobody looks a second time.
      const rows = await ledger.journal(0, 1_000)
      assert.equal(rows.filter(({ type }) => type === 'looked').length, 2)
      assert.equal(await b.balance(SUSPENSE), 5n)
      assert.deepEqual(alarms(b), [5n])
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    } finally {
      await Promise.all(books.map((one) => one.close()))
      await cluster.stop()
    }
  },
)

/** Books of a process that dies at a write: half of the time after it was done. Nothing is written after that. */
function mortal(ledger: Ledger, isTime: () => boolean): Ledger {
  let dead = false
  const write =
    <A extends readonly unknown[], R>(verb: (...given: A) => Promise<R>, late: boolean) =>
    async (...given: A): Promise<R> => {
      if (dead) throw new Error('dead')
      dead = isTime()
      if (!dead) return await verb(...given)
      if (late) await verb(...given)
      throw new Error('dies')
    }
  return {
    ...ledger,
    transfer: write((transfer: Transfer) => ledger.transfer(transfer), true),
    step: write((...given: Parameters<Ledger['step']>) => ledger.step(...given), true),
    post: write((...given: Parameters<Ledger['post']>) => ledger.post(...given), false),
    void: write((...given: Parameters<Ledger['void']>) => ledger.void(...given), true),
  }
}
