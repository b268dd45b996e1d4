// What is left on tokens goes back, over a rail whose refunds end as they are told to, and books that fail once.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { readPrice } from '../core/money.ts'
import type { Bought, Gate, Log, Rail } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import type { RestOrder, RestOutcome } from '../core/refund.ts'
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
import { restsOf } from './account.ts'
import { DELIVER_MS, LOOK_FIRST_MS, REFUND_TURN_MS, SETTLE_MS, WORK_MS } from './limits.ts'

const purse = plan('purse', { balance: readPrice('2 USD') })
const tries = plan('tries', { uses: 3 })
const read = priced('0.50 USD')

function world(change: Partial<Rail<unknown, string>> = {}) {
  const clock = createHandClock()
  const books = memory({ clock })
  const sent: { readonly key: string; readonly to: string; readonly amount: bigint }[] = []
  const state: { mood: 'settled' | 'failed' | 'refused' | 'unknown' } = { mood: 'settled' }
  /** Of the next ones, in the place of that. */
  const moods: (typeof state.mood)[] = []
  const refund: NonNullable<Rail['refund']> = async (_offer, to, { amount }, key, log: Log) => {
    // What has settled stays so, whoever asks.
    const isDone = sent.some((one) => one.key === key)
    const mood = isDone ? 'settled' : (moods.shift() ?? state.mood)
    const no = problem('settlement-failed', 'No way.')
    if (mood === 'refused') return { state: 'failed', problem: no }
    const before = await log.read()
    if (before.length === 0) await log.write({ type: 'refund', data: { to } })
    if (mood === 'unknown') return { state: 'unknown', detail: '…' }
    if (mood === 'failed') return { state: 'failed', problem: no }
    if (!sent.some((one) => one.key === key)) sent.push({ key, to, amount })
    return { state: 'settled', reference: `back-${key}`, payer: 'buyer', settledAt: clock.now() }
  }
  const shop = createShop(books, clock, { refund, ...change })
  return {
    ...shop,
    ...{ books, sent, state, moods },
    draw: async ({ grant }: Bought, over: Gate = shop.gate) =>
      await serve(over, ask(read, { grant })),
    left: async ({ account: { id } }: Bought) =>
      (await shop.gate.accounts.left(id)).balance?.amount ?? 0n,
    sum: () => sent.reduce((total, { amount }) => total + amount, 0n),
    sound: async () => assert.deepEqual((await verifyBooks(books)).problems, []),
  }
}

/** A cent in the unit of balances, and of the coin that is paid in. */
const CENT = 10n ** 16n
const UNITS = 10n ** 4n
type Parts = Readonly<Record<string, string>>

const order = ({ account: { id } }: Bought, rest: Partial<RestOrder> = {}): RestOrder => ({
  account: id,
  ...rest,
})
const said = (outcome: RestOutcome): string =>
  outcome.kind === 'denied' ? outcome.code : outcome.kind

describe('what is left of a token', () => {
  test('goes back to its payer at the price that it was bought for, once, and pays nothing more', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    assert.equal(await w.draw(bought), 'serve')
    const outcome = await w.gate.refundRest(order(bought))
    assert.equal(said(outcome), 'refunded')
    // Three quarters of two dollars that were sold for one.
    assert.deepEqual(
      w.sent.map(({ to, amount }) => [to, amount]),
      [['buyer', 750_000n]],
    )
    assert.equal(await w.draw(bought), 'token-invalid')
    assert.equal(await w.left(bought), 0n)
    assert.deepEqual(await w.gate.refundRest(order(bought)), outcome)
    assert.equal(w.sent.length, 1)
    const { entries } = await w.gate.accounts.statement(bought.account.id, '', 10)
    assert.deepEqual(
      entries.map(({ type, amount }) => `${type} ${amount}`),
      ['bought 2 USD', 'drawn 0.5 USD', 'given-back 1.5 USD'],
    )
    await w.sound()
  })

  test('is counted by requests where the plan is', async () => {
    const w = world()
    const bought = await w.buy('n', tries)
    assert.equal(await serve(w.gate, ask(priced('9 USD', { takes: ['tries'] }), bought)), 'serve')
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    // Rounded down: two thirds of a dollar.
    assert.equal(w.sum(), 666_666n)
  })

  test('of a token that is good for a time is nothing that is counted', async () => {
    const w = world()
    const bought = await w.buy('n', plan('hour'))
    assert.equal(said(await w.gate.refundRest(order(bought))), 'order-invalid')
    assert.equal(said(await w.gate.refundRest({ account: 'ab'.repeat(32) })), 'sale-unknown')
    assert.equal(w.sent.length, 0)
  })

  test('goes back by all payments that bought it, the last first, each never above what it was', async () => {
    const w = world()
    const bought = await w.buy('n1', purse)
    w.clock.pass(1)
    await w.buy('n2', purse, bought.account.id)
    assert.equal(await w.draw(bought), 'serve')
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.deepEqual(
      w.sent.map(({ key, amount }) => [key.slice(0, 2), amount]),
      [
        ['n2', 1_000_000n],
        ['n1', 750_000n],
      ],
    )
    // Nothing is left of the second payment for whoever refunds it by hand.
    const again = await w.gate.refund({ key: 'n2', idempotencyKey: 'by-hand' })
    assert.equal(again.kind === 'denied' && again.code, 'amount-exceeded')
    await w.sound()
  })

  test('goes back less a fee, a part of it or an amount', async () => {
    for (const [terms, amount] of [
      [{ feeBps: 200 }, 980_000n],
      [{ feeBps: 0, fee: readPrice('0.10 USD') }, 950_000n],
    ] as const) {
      const w = world()
      const bought = await w.buy('n', purse)
      assert.equal(said(await w.gate.refundRest(order(bought, { terms }))), 'refunded')
      assert.equal(w.sum(), amount)
      assert.equal(await w.left(bought), 0n)
      await w.sound()
    }
    const w = world()
    const bought = await w.buy('n', purse)
    const terms = { feeBps: 0, fee: readPrice('2 USD') }
    assert.equal(said(await w.gate.refundRest(order(bought, { terms }))), 'amount-exceeded')
    assert.equal(await w.draw(bought), 'serve')
  })

  test('is on the token again when it is known that nothing was sent', async () => {
    for (const mood of ['failed', 'refused'] as const) {
      const w = world()
      const bought = await w.buy('n', purse)
      w.state.mood = mood
      assert.equal(said(await w.gate.refundRest(order(bought))), 'failed')
      assert.equal(await w.draw(bought), 'serve', mood)
      w.state.mood = 'settled'
      assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
      assert.equal(w.sum(), 750_000n)
      await w.sound()
    }
  })

  test('that nobody knows to be sent is neither drawn nor sent again, until there is evidence', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    w.state.mood = 'unknown'
    assert.equal(said(await w.gate.refundRest(order(bought))), 'open')
    assert.equal(await w.left(bought), 0n)
    assert.notEqual(await w.draw(bought), 'serve')
    assert.equal(said(await w.gate.refundRest(order(bought))), 'open')
    w.state.mood = 'settled'
    w.clock.pass(REFUND_TURN_MS)
    await w.gate.recover()
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum(), 1_000_000n)
    await w.sound()
  })

  test('goes back once, however many ask for it while others draw', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    const other = w.open(w.books)
    const ends = await Promise.all([
      w.gate.refundRest(order(bought)),
      w.draw(bought),
      other.refundRest(order(bought)),
      w.draw(bought, other),
    ])
    const served = ends.filter((one) => one === 'serve').length
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum() + BigInt(served) * 250_000n, 1_000_000n)
    await w.sound()
  })

  test('that a failed request puts back goes back by the same order', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    const pass = passed(await w.gate.admit(ask(read, bought)))
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum(), 750_000n)
    await pass.finish(false)
    assert.equal(await w.draw(bought), 'token-invalid')
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum(), 1_000_000n)
    await w.sound()
  })

  test('is not sent in parts by a process whose time is over, when another has put it on the token again', async () => {
    for (const isLate of [false, true]) {
      let calls = 0
      const no = problem('settlement-failed', 'No way.')
      const w = world({
        async refund(_offer, _to, _amount, key) {
          calls++
          if (calls === 1 && isLate) {
            w.clock.pass(REFUND_TURN_MS)
            await w.open(w.books).recover()
          }
          if (calls < 4 || !isLate) return { state: 'failed', problem: no }
          w.sent.push({ key, to: 'late', amount: 1n })
          return { state: 'settled', reference: 'late', payer: 'buyer', settledAt: 1 }
        },
      })
      const bought = await w.buy('n1', purse)
      w.clock.pass(1)
      await w.buy('n2', purse, bought.account.id)
      assert.equal(said(await w.gate.refundRest(order(bought))), isLate ? 'open' : 'failed')
      assert.equal(await w.left(bought), 4n * 10n ** 18n)
      assert.equal(w.sent.length, 0)
      await w.sound()
    }
  })

  test('of a token that was revoked is for its operator alone', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    await w.gate.accounts.revoke(bought.account.id)
    const terms = { feeBps: 0 }
    assert.equal(said(await w.gate.refundRest(order(bought, { terms }))), 'order-invalid')
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum(), 1_000_000n)
  })

  test('survives books that fail at every write, and is sent once', async () => {
    const verbs = ['transfer', 'step', 'post', 'void'] as const
    let hits = 0
    for (const verb of verbs)
      for (const isDone of [false, true])
        for (let call = 1; call <= 6; call++) {
          const w = world()
          const bought = await w.buy('n', purse)
          assert.equal(await w.draw(bought), 'serve')
          const broken = failing(w.books, { verb, call, isDone })
          await w
            .open(broken.ledger)
            .refundRest(order(bought))
            .catch(() => undefined)
          if (!broken.hit()) break
          hits++
          w.clock.pass(REFUND_TURN_MS)
          const next = w.open(w.books)
          await next.recover()
          assert.equal(said(await next.refundRest(order(bought))), 'refunded', `${verb} ${call}`)
          assert.equal(w.sum(), 750_000n)
          assert.equal(w.sent.length, 1)
          assert.notEqual(await w.draw(bought, next), 'serve')
          await w.sound()
        }
    assert.ok(hits > 10)
  })
})

describe('what was paid for a token, whatever happens while its rest goes back', () => {
  const cents = (most: number) => fc.integer({ min: 1, max: most })
  const money = (amount: number): string => `0.${String(amount).padStart(2, '0')} USD`
  const lives = fc.record({
    deposits: fc.array(fc.record({ price: cents(99), balance: cents(99) }), {
      minLength: 1,
      maxLength: 4,
    }),
    draws: fc.array(cents(60), { maxLength: 3 }),
    terms: fc.option(fc.record({ feeBps: fc.nat(10_000), fee: fc.nat(99) }), { nil: undefined }),
    /** How refunds end, one after the other; those behind them settle. */
    moods: fc.array(fc.constantFrom('settled', 'failed', 'refused', 'unknown'), { maxLength: 8 }),
    /** Books of the first process that fail once. */
    fault: fc.option(
      fc.record({
        verb: fc.constantFrom('transfer', 'step', 'post', 'void', 'find', 'balances'),
        call: fc.integer({ min: 1, max: 30 }),
        isDone: fc.boolean(),
      }),
      { nil: undefined },
    ),
    orders: fc.integer({ min: 1, max: 3 }),
  })

  test('is what was drawn, what is left, what the seller keeps, and what went back, to the last unit', async () => {
    const seen = new Set<string>()
    const property = fc.asyncProperty(lives, async (life) => {
      const { deposits, draws, terms, moods, fault, orders } = life
      const w = world()
      const sent = (): number => w.sent.length
      w.moods.push(...moods)
      const plans = deposits.map(({ price, balance }, i) =>
        plan('purse', {
          prices: [readPrice(money(price))],
          balance: readPrice(money(balance)),
          validForMs: 3_600_000 + i,
        }),
      )
      const [first = purse, ...others] = plans
      const bought = await w.buy('n0', first)
      for (const [i, one] of others.entries()) {
        w.clock.pass(1)
        await w.buy(`n${i + 1}`, one, bought.account.id)
      }
      let drawn = 0n
      for (const amount of draws)
        if ((await serve(w.gate, ask(priced(money(amount)), bought))) === 'serve')
          drawn += BigInt(amount)
      const kept = terms && { feeBps: terms.feeBps, fee: readPrice(money(terms.fee)) }
      const wish = order(bought, kept ? { terms: kept } : {})
      // Several at once, in processes of their own; the books of one fail.
      const broken = fault ? failing(w.books, fault).ledger : w.books
      const gates = [w.open(broken), w.gate, w.open(w.books)].slice(0, orders)
      for (const one of await Promise.allSettled(gates.map((gate) => gate.refundRest(wish))))
        seen.add(one.status === 'fulfilled' ? said(one.value) : 'fault')
      // What is open is gone on with until everything is known.
      for (let i = 0; i < 20 && (await w.books.pending()).length > 0; i++) {
        w.clock.pass(REFUND_TURN_MS)
        await w.open(w.books).recover()
      }
      assert.deepEqual(await w.books.pending(), [])
      w.moods.length = 0
      const before = sent()
      const last = await w.gate.refundRest(wish)
      seen.add(`last ${said(last)}`)
      if (last.kind === 'refunded' && sent() === before) seen.add('told')
      // The books, in the unit of the balance.
      const rests = await w.books.under(restsOf(bought.account.id), '', 100)
      const given = rests.reduce((sum, { posted }) => sum + posted, 0n)
      const put = deposits.reduce((sum, { balance }) => sum + BigInt(balance), 0n)
      const left = await w.left(bought)
      assert.equal(put * CENT, drawn * CENT + given + left)
      // What went back of each payment is worth its share, rounded down once for each time, and never more than was paid.
      let shares = 0n
      for (const [i, { price, balance }] of deposits.entries()) {
        const steps = rests.flatMap((rest) =>
          rest.steps.filter(({ type }) => type === 'given-back'),
        )
        const parts = steps.map(({ data }) =>
          BigInt(String((data['shares'] as Parts)[`n${i}`] ?? 0)),
        )
        const share = parts.reduce((sum, part) => sum + part, 0n)
        shares += share
        const back = w.sent
          .filter(({ key }) => key.startsWith(`n${i}/`))
          .reduce((sum, { amount }) => sum + amount, 0n)
        const worth = BigInt(price) * UNITS * share * BigInt(10_000 - (terms?.feeBps ?? 0))
        const whole = BigInt(balance) * CENT * 10_000n
        const times = BigInt(parts.filter((part) => part > 0n).length)
        assert.ok(back <= BigInt(price) * UNITS, 'no more than was paid')
        assert.ok(back * whole <= worth, 'no more than its share')
        assert.ok((back + times) * whole >= worth, 'no less than its share')
      }
      const fees = BigInt(terms?.fee ?? 0) * CENT
      const closed = rests.filter(({ posted }) => posted > 0n).length
      // What is worth less than the smallest unit of money is kept with the fee.
      const bps = BigInt(10_000 - (terms?.feeBps ?? 0)) || 1n
      const dustOf = (price: number, balance: number): bigint =>
        (BigInt(balance) * CENT * 10_000n) / (BigInt(price) * UNITS * bps) + 1n
      const dust = deposits.reduce((sum, one) => sum + dustOf(one.price, one.balance), 0n)
      assert.ok(given >= shares + fees * BigInt(closed))
      assert.ok(given <= shares + (fees + dust) * BigInt(closed))
      assert.ok(shares + left + drawn * CENT <= put * CENT)
      await w.sound()
    })
    await fc.assert(property, { numRuns: 200 })
    for (const one of ['refunded', 'open', 'amount-exceeded', 'failed', 'fault'])
      assert.ok(seen.has(one), one)
  })
})

describe('the payment for a plan that is given back', () => {
  test('whole, revokes the token before the money leaves', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    assert.equal(await w.draw(bought), 'serve')
    w.state.mood = 'unknown'
    await w.gate.refund({ key: 'n', idempotencyKey: 'one' })
    assert.equal(await w.draw(bought), 'token-invalid')
    w.state.mood = 'failed'
    w.clock.pass(REFUND_TURN_MS)
    await w.gate.recover()
    // It has not gone back after all.
    w.clock.pass(1_000)
    assert.equal(await w.draw(bought), 'serve')
    w.state.mood = 'settled'
    const done = await w.gate.refund({ key: 'n', idempotencyKey: 'two' })
    assert.equal(done.kind, 'refunded')
    assert.equal(await w.draw(bought), 'token-invalid')
    assert.equal(w.sum(), 1_000_000n)
    await w.sound()
  })

  test('whole, before it is booked, buys no token', async () => {
    for (const at of ['transfer', 'post'] as const) {
      const w = world()
      // A seller who gives it back as soon as he hears of it; once before the account stands, and once beside it.
      let back: Promise<unknown> | undefined
      const eager = new Proxy(w.books, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name)
          if (name !== at || typeof value !== 'function') return value
          return async (...given: readonly unknown[]) => {
            const [what] = given
            const key = typeof what === 'string' ? what : (what as { readonly key: string }).key
            if (key.startsWith('account/'))
              await (back ??= w.gate.refund({ key: 'n', idempotencyKey: 'one' }))
            return (await Reflect.apply(value, target, given)) as unknown
          }
        },
      })
      const to = ask(planned(purse))
      const credential = await w.pay('n', to)
      const bought = await w.open(eager).sell({ ...to, credential })
      assert.ok(back)
      assert.equal(w.sum(), 1_000_000n)
      assert.equal(bought.kind === 'refused' && bought.problem.code, 'settlement-failed', at)
      const id = hash('sha256', 'n', 'hex')
      assert.equal(await serve(w.gate, ask(read, { grant: { id, rights: {} } })), 'token-invalid')
      await w.sound()
    }
  })

  test('whole, while it is booked, buys no token', async () => {
    const w = world()
    const to = ask(planned(purse))
    const credential = await w.pay('n', to)
    const broken = failing(w.books, { verb: 'transfer', call: 2, isDone: false })
    await w.open(broken.ledger).sell({ ...to, credential })
    assert.ok(broken.hit())
    w.clock.pass(WORK_MS + DELIVER_MS + SETTLE_MS)
    let kind: string | undefined
    const slow = new Proxy(w.books, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (name !== 'step' || typeof value !== 'function') return value
        return async (...given: readonly unknown[]) => {
          // The payer shows his payment once more, between the look at his account and the mark.
          if (given[0] === 'n') kind ??= (await w.gate.sell({ ...to, credential })).kind
          return (await Reflect.apply(value, target, given)) as unknown
        }
      },
    })
    assert.equal((await w.open(slow).refund({ key: 'n', idempotencyKey: 'one' })).kind, 'refunded')
    assert.equal(kind, 'bought')
    const id = hash('sha256', 'n', 'hex')
    const late = w.open(w.books)
    assert.equal(await serve(late, ask(read, { grant: { id, rights: {} } })), 'token-invalid')
    await w.sound()
  })

  test('in part, leaves the token as it is', async () => {
    const w = world()
    const bought = await w.buy('n', purse)
    const part = { key: 'n', idempotencyKey: 'one', amount: readPrice('0.40 USD') }
    assert.equal((await w.gate.refund(part)).kind, 'refunded')
    assert.equal(await w.draw(bought), 'serve')
    // Of the rest no more goes back than is left of the payment.
    assert.equal(said(await w.gate.refundRest(order(bought))), 'refunded')
    assert.equal(w.sum(), 1_000_000n)
    await w.sound()
  })
})

describe('the payment for a plan that comes undone', () => {
  test('takes its token with it, by every process, and whoever shows it buys nothing', async () => {
    let isGone = false
    const gone = { state: 'gone', problem: problem('settlement-failed', 'Gone.') } as const
    const w = world({ stands: async () => (isGone ? gone : { state: 'open' }) })
    const bought = await w.buy('n', purse)
    const other = await w.buy('m', tries)
    assert.equal(await w.draw(bought), 'serve')
    isGone = true
    w.clock.pass(LOOK_FIRST_MS)
    // The process that looks dies before it has booked it back, and another goes on.
    const broken = failing(w.books, { verb: 'post', call: 1, isDone: false })
    await w.open(broken.ledger).recover()
    await w.gate.recover()
    assert.equal((await w.gate.accounts.find(other.account.id))?.revoked, true)
    w.clock.pass(1_000)
    assert.equal(await w.draw(bought), 'token-invalid')
    assert.equal(await w.draw(bought, w.open(w.books)), 'token-invalid')
    const to = ask(planned(purse))
    const again = await w.gate.sell({ ...to, credential: await w.pay('n', to) })
    assert.equal(again.kind, 'refused')
    await w.sound()
  })

  test('leaves the token as it is while it stands', async () => {
    const w = world({ stands: async () => ({ state: 'final' }) })
    const bought = await w.buy('n', purse)
    w.clock.pass(LOOK_FIRST_MS)
    await w.gate.recover()
    assert.equal(await w.draw(bought), 'serve')
  })
})
