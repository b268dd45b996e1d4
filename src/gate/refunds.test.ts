// Money that goes back, over a rail whose refunds end as they are told to, and books that fail once.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { readPrice } from '../core/money.ts'
import type { Gate, Ledger, Log, Rail, Settlement } from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import type { RefundOrder, RefundOutcome } from '../core/refund.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import {
  ask,
  createHandClock,
  createShop,
  failing,
  passed,
  plan,
  planned,
  priced,
  serve,
} from './fixture.test.ts'
import type { Fault } from './fixture.test.ts'
import { DELIVER_MS, REFUND_TURN_MS, WORK_MS } from './limits.ts'

/** What the rail does next: sends it, says no, or leaves it open; `dead` writes ahead and never answers. */
type Mood = 'settled' | 'failed' | 'refused' | 'unknown' | 'down' | 'dead' | 'bug'

const sale = priced('0.01 USD')
/** In the smallest unit. */
const CHARGED = 10_000n

function world(change: Partial<Rail<unknown, string>> = {}) {
  const clock = createHandClock()
  const books = memory({ clock })
  /** What left, by the refund's key. */
  const sent = new Map<string, { readonly to: string; readonly amount: bigint }>()
  const state: { mood: Mood; reference?: string } = { mood: 'settled' }
  const outcome = (key: string): Settlement => ({
    state: 'settled',
    reference: state.reference ?? `back-${key}`,
    payer: 'buyer',
    settledAt: clock.now(),
    cost: 7n,
  })
  const refund: NonNullable<Rail['refund']> = async (_offer, to, { amount }, key, log: Log) => {
    const { mood } = state
    if (mood === 'refused')
      return { state: 'failed', problem: problem('settlement-failed', 'Name somebody.') }
    if (mood === 'down') throw new PaymentError('rail-unavailable', 'Away.')
    if (mood === 'bug') throw new TypeError('Not a destination.')
    if ((await log.read()).length === 0) await log.write({ type: 'refund', data: { to } })
    if (mood === 'dead') return new Promise<never>(() => undefined)
    if (mood === 'unknown') return { state: 'unknown', detail: '…' }
    if (mood === 'failed')
      return { state: 'failed', problem: problem('settlement-failed', 'No way.'), cost: 3n }
    sent.set(key, { to, amount })
    return outcome(key)
  }
  const shop = createShop(books, clock, { refund, ...change })
  return {
    ...shop,
    books,
    sent,
    state,
    /** Sells once; the key of the sale. */
    async sell(proof = 'n', over: Gate = shop.gate): Promise<string> {
      const to = ask(sale)
      const pass = passed(await over.admit({ ...to, credential: await shop.pay(proof, to) }))
      assert.equal((await pass.finish(true)).kind, 'serve')
      pass.delivered()
      return proof
    },
    async earned(): Promise<bigint> {
      const [balance] = await books.balances('sales/GET /a')
      return balance?.posted ?? 0n
    },
    sum: () => [...sent.values()].reduce((total, { amount }) => total + amount, 0n),
    async sound(): Promise<void> {
      assert.deepEqual((await verifyBooks(books)).problems, [])
    },
  }
}

const order = (change: Partial<RefundOrder> = {}): RefundOrder => ({
  key: 'n',
  idempotencyKey: 'one',
  ...change,
})
const part = (text: string, idempotencyKey: string): RefundOrder =>
  order({ amount: readPrice(text), idempotencyKey })
const said = (outcome: RefundOutcome): string =>
  outcome.kind === 'denied' ? outcome.code : outcome.kind

describe('a refund', () => {
  test('gives back the whole, books the sale back and what it has cost', async () => {
    const w = world()
    await w.sell()
    const outcome = await w.gate.refund(order({ reason: 'a broken answer' }))
    assert(outcome.kind === 'refunded')
    assert.deepEqual([outcome.amount.amount, outcome.to], [CHARGED, 'buyer'])
    assert.deepEqual([...w.sent.values()], [{ to: 'buyer', amount: CHARGED }])
    assert.equal(await w.earned(), 0n)
    const costs = await w.books.balances('costs/test/net')
    assert.deepEqual(
      costs.map(({ asset, posted }) => [asset, posted]),
      [['gas:net', 7n]],
    )
    assert.deepEqual(
      w.events.filter(({ type }) => type === 'refunded').map((e) => 'of' in e && e.of),
      ['n'],
    )
    await w.sound()
  })

  test('is carried out once for one order, however often and by however many it is sent', async () => {
    const w = world()
    await w.sell()
    const gates = [w.gate, w.gate, w.open(w.books), w.open(w.books)]
    const outcomes = await Promise.all(gates.map((gate) => gate.refund(order())))
    assert.ok(outcomes.every(({ kind }) => kind === 'refunded' || kind === 'open'))
    assert.equal((await w.gate.refund(order())).kind, 'refunded')
    assert.equal(w.sum(), CHARGED)
    assert.equal(w.sent.size, 1)
    await w.sound()
  })

  test('under a key that was used for another amount or destination is none', async () => {
    const w = world()
    await w.sell()
    await w.gate.refund(part('0.004 USD', 'one'))
    assert.equal(said(await w.gate.refund(part('0.005 USD', 'one'))), 'order-conflict')
    assert.equal(said(await w.gate.refund(order())), 'order-conflict')
    const elsewhere = { ...part('0.004 USD', 'one'), to: 'thief' }
    assert.equal(said(await w.gate.refund(elsewhere)), 'order-conflict')
    // Written in another way it is the same order.
    assert.equal(said(await w.gate.refund(part('0.0040 USD', 'one'))), 'refunded')
    assert.equal(w.sum(), 4_000n)
  })

  test('in parts never adds up to more than was charged', async () => {
    const w = world()
    await w.sell()
    const parts = await Promise.all(
      Array.from({ length: 9 }, (_, i) => w.gate.refund(part('0.003 USD', `p${i}`))),
    )
    assert.deepEqual(parts.map(said).toSorted(), [
      ...Array.from({ length: 6 }, () => 'amount-exceeded'),
      ...Array.from({ length: 3 }, () => 'refunded'),
    ])
    assert.equal(said(await w.gate.refund(part('0.002 USD', 'more'))), 'amount-exceeded')
    const rest = await w.gate.refund(order({ idempotencyKey: 'rest' }))
    assert(rest.kind === 'refunded')
    assert.equal(rest.amount.amount, 1_000n)
    assert.equal(said(await w.gate.refund(order({ idempotencyKey: 'again' }))), 'amount-exceeded')
    assert.equal(w.sum(), CHARGED)
    assert.equal(await w.earned(), 0n)
    await w.sound()
  })

  test('of an amount that cannot be is refused, and the nearest that can be is paid', async () => {
    const w = world()
    await w.sell()
    for (const [text, code] of [
      ['0.0000001 USD', 'amount-invalid'],
      ['0.01 EUR', 'amount-invalid'],
      ['0 USD', 'amount-invalid'],
      ['0.010001 USD', 'amount-exceeded'],
      ['0.000001 COIN', 'refunded'],
    ] as const)
      assert.equal(said(await w.gate.refund(part(text, text.replaceAll(' ', '')))), code, text)
    assert.equal(w.sum(), 1n)
  })

  test('of what was not sold, not paid or is still open is refused', async () => {
    const w = world()
    const to = ask(sale)
    const pass = passed(await w.gate.admit({ ...to, credential: await w.pay('n', to) }))
    assert.equal(said(await w.gate.refund(order())), 'sale-open')
    await pass.finish(false)
    assert.equal(said(await w.gate.refund(order())), 'sale-unpaid')
    assert.equal(said(await w.gate.refund(order({ key: 'nothing' }))), 'sale-unknown')
    await w.sell('m')
    assert.equal(said(await w.gate.refund(order({ key: 'm' }))), 'refunded')
    assert.equal(said(await w.gate.refund(order({ key: 'm/refund/one' }))), 'sale-unknown')
    for (const wrong of [
      order({ idempotencyKey: '' }),
      order({ idempotencyKey: 'a/cost' }),
      order({ idempotencyKey: 'x'.repeat(129) }),
      order({ reason: 'x'.repeat(2_000) }),
      order({ to: '' }),
    ])
      assert.equal(said(await w.gate.refund(wrong)), 'order-invalid')
  })

  test('on a rail that cannot pay is a clean refusal that says what to do', async () => {
    const w = world()
    const { refund: _, ...rest } = { refund: undefined }
    const poor = createShop(w.books, w.clock, rest)
    await w.sell()
    const outcome = await poor.gate.refund(order())
    assert.equal(said(outcome), 'rail-unable')
    assert.match(outcome.kind === 'denied' ? outcome.detail : '', /give it the key/)
    assert.equal(await w.books.find('n/refund/one'), undefined)
  })

  test('of what was taken out of its account is refused until it is there', async () => {
    const w = world()
    await w.sell()
    const move = async (key: string, debit: string, credit: string): Promise<void> => {
      const rest = { purpose: 'sweep', asset: 'test:coin', leaseUntilAt: 0, note: {} }
      await w.books.transfer({ key, amount: 1n, legs: [{ debit, credit }], ...rest })
      await w.books.post(key)
    }
    await move('out', 'sales/GET /a', 'world/cold')
    assert.equal(said(await w.gate.refund(order())), 'funds-short')
    await move('in', 'world/cold', 'sales/GET /a')
    assert.equal(said(await w.gate.refund(order())), 'refunded')
  })
})

describe('an outcome that is not known', () => {
  test('stays so, holds the amount, and is closed by recovery', async () => {
    const w = world()
    await w.sell()
    w.state.mood = 'unknown'
    assert.equal(said(await w.gate.refund(order())), 'open')
    await w.gate.recover()
    assert.equal(said(await w.gate.refund(order())), 'open')
    assert.equal(said(await w.gate.refund(part('0.001 USD', 'two'))), 'amount-exceeded')
    w.state.mood = 'settled'
    await w.gate.recover()
    assert.equal(w.sum(), CHARGED)
    assert.deepEqual(await w.books.pending(), [])
    assert.equal(said(await w.gate.refund(order())), 'refunded')
    await w.sound()
  })

  test('is that of a rail that is away, too', async () => {
    const w = world()
    await w.sell()
    w.state.mood = 'down'
    assert.equal(said(await w.gate.refund(order())), 'open')
    w.state.mood = 'settled'
    await w.gate.recover()
    assert.equal(said(await w.gate.refund(order())), 'refunded')
    assert.equal(w.sum(), CHARGED)
  })

  test('of a process that died is looked at by another when its turn is over, and never by two', async () => {
    const w = world()
    await w.sell()
    w.state.mood = 'dead'
    void w.gate.refund(order())
    while (((await w.books.find('n/refund/one'))?.steps.length ?? 0) === 0) await turn()
    w.state.mood = 'settled'
    const next = w.open(w.books)
    await next.recover()
    assert.equal(said(await next.refund(order())), 'open')
    assert.equal(w.sum(), 0n)
    w.clock.pass(REFUND_TURN_MS)
    await next.recover()
    assert.equal(said(await next.refund(order())), 'refunded')
    assert.equal(w.sum(), CHARGED)
    await w.sound()
  })

  test('is what a maker leaves who comes too late to write ahead', async () => {
    const [begun, late] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let calls = 0
    const w = world({
      async refund(_offer, to, _amount, key, log) {
        if (++calls === 1) begun.resolve()
        if (calls === 1) await late.promise
        await log.write({ type: 'refund', data: { to } })
        return { state: 'settled', reference: `${key}-${calls}`, payer: to, settledAt: 1 }
      },
    })
    await w.sell()
    const first = w.gate.refund(order())
    await begun.promise
    w.clock.pass(REFUND_TURN_MS)
    const next = w.open(w.books)
    assert.equal(said(await next.refund(order())), 'refunded')
    late.resolve()
    const outcome = await first
    // It has written nothing, so that it has sent nothing.
    assert.equal(outcome.kind === 'refunded' && outcome.reference, 'n/refund/one-2')
    assert.equal((await w.books.find('n/refund/one'))?.steps.length, 2)
  })
})

describe('a refund that fails', () => {
  test('before anything was written ahead leaves its order free', async () => {
    const w = world()
    await w.sell()
    w.state.mood = 'refused'
    const outcome = await w.gate.refund(order())
    assert.deepEqual(outcome, { kind: 'denied', code: 'failed', detail: 'Name somebody.' })
    w.state.mood = 'bug'
    assert.equal(said(await w.gate.refund(order({ to: 'garbage' }))), 'failed')
    w.state.mood = 'settled'
    assert.equal(said(await w.gate.refund(order({ to: 'buyer@home' }))), 'refunded')
    assert.deepEqual([...w.sent.values()], [{ to: 'buyer@home', amount: CHARGED }])
    assert.equal(await w.earned(), 0n)
  })

  test('after that keeps its order for good, frees the amount and books what it has cost', async () => {
    const w = world()
    await w.sell()
    w.state.mood = 'failed'
    const failed = { kind: 'denied', code: 'failed', detail: 'No way.' }
    assert.deepEqual(await w.gate.refund(order()), failed)
    w.state.mood = 'settled'
    assert.deepEqual(await w.gate.refund(order()), failed)
    assert.equal(await w.earned(), CHARGED)
    assert.equal(said(await w.gate.refund(order({ idempotencyKey: 'two' }))), 'refunded')
    assert.equal(w.sum(), CHARGED)
    const [costs] = await w.books.balances('costs/test/net')
    assert.equal(costs?.posted, 10n)
    await w.sound()
  })

  test('is one whose evidence was another refund: one payment closes one', async () => {
    const w = world()
    await w.sell()
    w.state.reference = 'the same invoice'
    assert.equal(said(await w.gate.refund(part('0.004 USD', 'one'))), 'refunded')
    assert.equal(said(await w.gate.refund(part('0.004 USD', 'two'))), 'failed')
    assert.equal(await w.earned(), 6_000n)
    await w.sound()
  })
})

describe('what was given back', () => {
  const fetchAgain = async (w: ReturnType<typeof world>): Promise<string> => {
    const to = ask(sale)
    return serve(w.gate, { ...to, credential: await w.pay('n', to) })
  }
  const sellAndLose = async (w: ReturnType<typeof world>): Promise<void> => {
    const to = ask(sale)
    const pass = passed(await w.gate.admit({ ...to, credential: await w.pay('n', to) }))
    await pass.finish(true)
    pass.lost()
    w.clock.pass(DELIVER_MS)
  }

  test('whole buys nothing more, in part still what it bought', async () => {
    const one = world()
    await sellAndLose(one)
    await one.gate.refund(order())
    assert.equal(await fetchAgain(one), 'settlement-failed')
    assert.deepEqual(await one.gate.status('n'), { state: 'failed' })
    const other = world()
    await sellAndLose(other)
    await other.gate.refund(part('0.009 USD', 'one'))
    assert.equal(await fetchAgain(other), 'serve')
    assert.equal(one.moved.get('n'), 1)
  })

  test('buys nothing while it is on its way, and again what it bought when that fails', async () => {
    const w = world()
    await sellAndLose(w)
    w.state.mood = 'unknown'
    await w.gate.refund(order())
    assert.equal(await fetchAgain(w), 'settlement-failed')
    w.state.mood = 'failed'
    await w.gate.recover()
    assert.equal(await fetchAgain(w), 'serve')
    assert.equal(w.sum(), 0n)
  })
})

describe('an automatic refund', () => {
  const automatic = priced('0.01 USD', { settle: 'before-work', refund: 'automatic' })
  const fail = async (w: ReturnType<typeof world>, what = automatic): Promise<string> => {
    const to = ask(what)
    const pass = passed(await w.gate.admit({ ...to, credential: await w.pay('n', to) }))
    const outcome = await pass.finish(false)
    pass.delivered()
    return outcome.kind
  }
  const again = async (w: ReturnType<typeof world>, what = automatic): Promise<string> => {
    const to = ask(what)
    return serve(w.gate, { ...to, credential: await w.pay('n', to) })
  }

  test('goes out when paid work fails, once, and the payment buys nothing more', async () => {
    const w = world()
    assert.equal(await fail(w), 'serve')
    assert.equal(await again(w), 'settlement-failed')
    await w.gate.close()
    assert.deepEqual([...w.sent.values()], [{ to: 'buyer', amount: CHARGED }])
    await w.gate.recover()
    assert.equal(said(await w.gate.refund(order())), 'amount-exceeded')
    assert.equal(await w.earned(), 0n)
  })

  test('is not there where nobody asked for it: the payment stays good', async () => {
    const w = world()
    const plain = priced('0.01 USD', { settle: 'before-work' })
    await fail(w, plain)
    assert.equal(w.sent.size, 0)
    assert.equal(await again(w, plain), 'serve')
  })

  test('that the rail cannot make leaves the payment good for another try', async () => {
    for (const mood of ['refused', 'failed'] as const) {
      const w = world()
      w.state.mood = mood
      await fail(w)
      await w.gate.close()
      assert.equal(await again(w), 'serve', mood)
      assert.equal(w.moved.get('n'), 1)
    }
  })

  test('of a token there is none: what could not be booked is booked when the proof comes again', async () => {
    const w = world()
    const basic = plan('basic', { uses: 2 })
    const to = ask(planned(basic, { refund: 'automatic' }))
    const paid = { ...to, credential: await w.pay('n', to) }
    // The payment is the first transfer, the account the second.
    const broken = failing(w.books, { verb: 'transfer', call: 2, isDone: true })
    const refused = await w.open(broken.ledger).sell(paid)
    assert.equal(refused.kind === 'refused' && refused.problem.code, 'store-unavailable')
    assert.ok(broken.hit())
    assert.equal((await w.gate.sell(paid)).kind, 'bought')
    assert.equal(w.sent.size, 0)
  })

  test('that was ordered and not sent is sent by whoever comes after the crash', async () => {
    const w = world()
    w.state.mood = 'down'
    await fail(w)
    await w.gate.close()
    w.state.mood = 'settled'
    await w.open(w.books).recover()
    assert.equal(w.sum(), CHARGED)
  })
})

test('books that fail once, at any call, neither lose a refund nor make it twice', async () => {
  const verbs: readonly (keyof Ledger)[] = ['transfer', 'post', 'step', 'void', 'find', 'balances']
  let hits = 0
  for (const verb of verbs)
    for (const isDone of [false, true])
      for (let call = 1; ; call++) {
        const w = world()
        await w.sell()
        const fault: Fault = { verb, call, isDone }
        const broken = failing(w.books, fault)
        const gate = w.open(broken.ledger)
        await gate.refund(order()).catch((error: unknown) => {
          assert(error instanceof PaymentError, `${verb} ${call}: ${String(error)}`)
        })
        if (!broken.hit()) break
        hits++
        w.clock.pass(REFUND_TURN_MS + WORK_MS)
        const next = w.open(w.books)
        await next.recover()
        assert.equal(said(await next.refund(order())), 'refunded', `${verb} ${call} ${isDone}`)
        assert.equal(w.sum(), CHARGED)
        assert.equal(await w.earned(), 0n)
        await w.sound()
      }
  assert.ok(hits > 20, `${hits}`)
})
