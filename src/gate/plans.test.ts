// Plans that are bought by a payment: with the request itself, alone, and through books that fail at each of their calls.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readPrice } from '../core/money.ts'
import type { Ask, Gate } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { Fault, Shop } from './fixture.test.ts'
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
import { DELIVER_MS, SETTLE_MS, WORK_MS } from './gate.ts'
import { boundTo } from './plans.ts'

const tries = plan('tries', { uses: 10 })
const dollar = plan('dollar', { balance: readPrice('1 USD') })
const hex = 'ab'.repeat(32)

describe('a plan that is bought with the first request', () => {
  test('opens one account, and pays for the request out of it', async () => {
    const { shop, ledger } = world()
    const to = ask(planned(tries))
    const pass = passed(await shop.gate.admit({ ...to, credential: await shop.pay('p', to) }))
    const outcome = await pass.finish(true)
    assert.ok(outcome.kind === 'serve' && outcome.bought && outcome.receipt)
    const { grant, account } = outcome.bought
    assert.equal(outcome.receipt.reference, 'tx-p')
    assert.match(grant.id, /^[0-9a-f]{64}$/)
    assert.equal(grant.rights.expiresAt, account.expiresAt)
    assert.deepEqual(grant.rights.services, [{ name: 'tries', tier: 0 }])
    assert.deepEqual(await shop.gate.accounts.left(grant.id), { uses: 9 })
    assert.equal(await serve(shop.gate, ask(planned(tries), { grant })), 'serve')
    assert.deepEqual(await shop.gate.accounts.left(grant.id), { uses: 8 })
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('is drawn on by the same proof again, and never charged again', async () => {
    const { shop } = world()
    const id = await opened(shop, 'p')
    for (let i = 0; i < 9; i++) {
      const to = ask(planned(tries))
      assert.equal(await serve(shop.gate, { ...to, credential: await shop.pay('p', to) }), 'serve')
      shop.clock.pass(WORK_MS)
    }
    const to = ask(planned(tries))
    const credential = await shop.pay('p', to)
    assert.equal(await serve(shop.gate, { ...to, credential }), 'token-exhausted')
    assert.deepEqual(await shop.gate.accounts.left(id), { uses: 0 })
    assert.deepEqual([...shop.moved], [['p', 1]])
  })

  test('is opened once by the same proof twenty times at once', async () => {
    const { shop, ledger } = world()
    const to = ask(planned(tries))
    const credential = await shop.pay('p', to)
    const said = await Promise.all(
      Array.from({ length: 20 }, () => serve(shop.gate, ask(planned(tries), credential))),
    )
    const served = said.filter((one) => one === 'serve').length
    assert.ok(served >= 1)
    assert.ok(said.every((one) => one === 'serve' || one === 'payment-in-flight'))
    assert.deepEqual([...shop.moved], [['p', 1]])
    const accounts = await ledger.under('account/', '', 10)
    assert.equal(accounts.length, 1)
    const id = accounts[0]?.key.slice('account/'.length) ?? assert.fail()
    assert.deepEqual(await shop.gate.accounts.left(id), { uses: 10 - served })
  })

  test('is handed out also when the work fails, which takes nothing out of it', async () => {
    const { shop } = world()
    const to = ask(planned(tries))
    const pass = passed(await shop.gate.admit({ ...to, credential: await shop.pay('p', to) }))
    const outcome = await pass.finish(false)
    assert.ok(outcome.kind === 'serve' && outcome.bought)
    assert.deepEqual(await shop.gate.accounts.left(outcome.bought.grant.id), { uses: 10 })
  })

  test('is drawn on under the limits of the token that came with the payment', async () => {
    const { shop } = world()
    const grant = { id: hex, rights: { uses: [{ scope: 's', most: 2 }] } }
    for (const code of ['serve', 'serve', 'token-exhausted']) {
      const to = ask(planned(tries))
      const credential = await shop.pay('p', to, grant)
      assert.equal(await serve(shop.gate, { ...to, credential }), code)
    }
    assert.deepEqual(await shop.gate.accounts.left(hex), { uses: 8 })
    assert.deepEqual([...shop.moved], [['p', 1]])
  })

  test('is not handed out to whoever brought its token', async () => {
    const { shop } = world()
    const to = ask(planned(tries))
    const credential = await shop.pay('p', to, { id: hex, rights: {} })
    const outcome = await passed(await shop.gate.admit({ ...to, credential })).finish(true)
    assert.ok(outcome.kind === 'serve' && outcome.receipt && !outcome.bought)
  })

  test('is not paid for by a token that forbids the request', async () => {
    const { shop } = world()
    for (const rights of [
      { paths: ['/b'] },
      { services: [{ name: 'dollar', tier: 0 }] },
      { expiresAt: shop.clock.now() },
    ]) {
      const to = ask(planned(tries))
      const credential = await shop.pay('p', to, { id: hex, rights })
      assert.match(
        await serve(shop.gate, { ...to, credential }),
        /^token-(insufficient|exhausted)$/,
      )
    }
    assert.equal(shop.moved.size, 0)
    const to = ask(planned(tries))
    const credential = await shop.pay('p', to, { id: hex, rights: { paths: ['/a'] } })
    assert.equal(await serve(shop.gate, { ...to, credential }), 'serve')
    assert.equal(shop.moved.size, 1)
  })

  test('is not paid for where all of its tokens forbid the request', async () => {
    const { shop } = world()
    const reading = plan('reading', { rights: { methods: ['GET'] } })
    const of = async (method: string): Promise<string> => {
      const to = ask(planned(reading), undefined, { resource: { method } })
      return serve(shop.gate, { ...to, credential: await shop.pay('p', to) })
    }
    assert.equal(await of('POST'), 'token-insufficient')
    assert.equal(shop.moved.size, 0)
    assert.equal(await of('GET'), 'serve')
  })

  test('is good at every route of the plan, whichever was asked for first', async () => {
    const { shop } = world()
    const [a, b] = [
      ask(planned(tries)),
      ask(planned(tries), undefined, { resource: { path: '/b' } }),
    ]
    const credential = await shop.pay('p', a)
    assert.equal(await serve(shop.gate, { ...b, credential }), 'serve')
    assert.equal(await serve(shop.gate, { ...a, credential }), 'serve')
    assert.equal(shop.moved.get('p'), 1)
  })
})

describe('a payment for one thing', () => {
  test('opens no other plan, whether it names its offer or not', async () => {
    const { shop, ledger } = world()
    const [one, other] = [ask(planned(tries)), ask(planned(dollar))]
    const credential = await shop.pay('p', one)
    assert.equal(await serve(shop.gate, { ...other, credential }), 'offer-foreign')
    assert.equal(shop.moved.size, 0)
    assert.equal(await serve(shop.gate, { ...one, credential }), 'serve')
    const unbound = { offer: { rail: 'test', network: 'net' }, proof: 'p' }
    assert.equal(await serve(shop.gate, { ...other, credential: unbound }), 'payment-spent')
    assert.equal(await serve(shop.gate, ask(priced('1 USD'), unbound)), 'payment-spent')
    assert.equal((await ledger.under('account/', '', 10)).length, 1)
    assert.deepEqual([...shop.moved], [['p', 1]])
    const again = ask(planned(tries))
    assert.equal(await serve(shop.gate, { ...again, credential: unbound }), 'payment-delivered')
    assert.equal(await serve(shop.gate, { ...again, credential }), 'serve')
  })

  test('a single request opens no plan, and a plan serves no single request of another price', async () => {
    const { shop, ledger } = world()
    const single = ask(priced('1 USD'))
    const credential = await shop.pay('p', single)
    assert.equal(await serve(shop.gate, ask(planned(tries), credential)), 'offer-foreign')
    assert.equal(await serve(shop.gate, { ...single, credential }), 'serve')
    assert.deepEqual(await ledger.under('account/', '', 10), [])
  })

  test('tops up no other account', async () => {
    const { shop } = world()
    const [a, b] = [await shop.buy('a', dollar), await shop.buy('b', dollar)]
    const into = (id: string): Ask => ask(planned(dollar), undefined, { into: id })
    const credential = await shop.pay('more', into(a.grant.id))
    const wrong = await shop.gate.sell({ ...into(b.grant.id), credential })
    assert.ok(wrong.kind === 'refused' && wrong.problem.code === 'offer-foreign')
    const fresh = await shop.gate.sell(ask(planned(dollar), credential))
    assert.ok(fresh.kind === 'refused' && fresh.problem.code === 'offer-foreign')
    assert.equal(shop.moved.has('more'), false)
    const right = await shop.gate.sell({ ...into(a.grant.id), credential })
    assert.ok(right.kind === 'bought' && right.grant.id === a.grant.id)
    assert.equal((await shop.gate.accounts.left(a.grant.id)).balance?.amount, 2n * 10n ** 18n)
    assert.equal((await shop.gate.accounts.left(b.grant.id)).balance?.amount, 10n ** 18n)
  })
})

describe('a plan that is sold alone', () => {
  test('is asked for, opened once, and told again to whoever brings the proof', async () => {
    const { shop } = world()
    const to = ask(planned(tries))
    const asked = await shop.gate.sell(to)
    assert.ok(asked.kind === 'refused' && asked.challenge?.plan?.name === 'tries')
    const first = await shop.buy('p', tries)
    shop.clock.pass(1_000)
    assert.deepEqual(await shop.buy('p', tries), first)
    assert.deepEqual(await shop.gate.accounts.left(first.grant.id), { uses: 10 })
    const bad = await shop.gate.sell({ ...to, credential: await shop.pay('bad', to) })
    assert.ok(bad.kind === 'refused' && bad.problem.code === 'proof-invalid')
    assert.deepEqual([...shop.moved], [['p', 1]])
  })

  test('goes under the id of the token that its payment came with', async () => {
    const { shop } = world()
    const to = ask(planned(tries))
    const credential = await shop.pay('p', to, { id: hex, rights: {} })
    const bought = await shop.gate.sell({ ...to, credential })
    assert.ok(bought.kind === 'bought' && bought.grant.id === hex)
  })

  test('and a second payment under the id of the first is a bug that adds nothing to it', async () => {
    const { shop } = world()
    const to = ask(planned(tries))
    const of = async (proof: string) =>
      shop.gate.sell({ ...to, credential: await shop.pay(proof, to, { id: hex, rights: {} }) })
    assert.equal((await of('p')).kind, 'bought')
    const second = await of('q')
    assert.ok(second.kind === 'refused' && second.problem.code === 'internal')
    assert.deepEqual(await shop.gate.accounts.left(hex), { uses: 10 })
    assert.equal((await of('p')).kind, 'bought')
  })

  test('is the same account whether bought with a request or shown alone afterwards', async () => {
    const { shop } = world()
    const id = await opened(shop, 'p')
    assert.equal((await shop.buy('p', tries)).grant.id, id)
  })
})

describe('books that fail once', () => {
  const deeds: Readonly<Record<string, (gate: Gate, pay: Pay) => Promise<string>>> = {
    'while a plan is bought with a request': async (gate, pay) => {
      const to = ask(planned(tries))
      return serve(gate, { ...to, credential: await pay('p', to) })
    },
    'while a plan is bought with a request by a token': async (gate, pay) => {
      const to = ask(planned(tries))
      const grant = { id: hex, rights: { uses: [{ scope: 's', most: 5 }] } }
      return serve(gate, { ...to, credential: await pay('p', to, grant) })
    },
    'while a plan is sold alone': async (gate, pay) => {
      const to = ask(planned(tries))
      const bought = await gate.sell({ ...to, credential: await pay('p', to) })
      return bought.kind === 'refused' ? bought.problem.code : 'serve'
    },
  }
  const verbs = ['transfer', 'post', 'step', 'find', 'void', 'expire', 'pending'] as const
  for (const [when, deed] of Object.entries(deeds))
    for (const prepaid of [false, true])
      test(`${when}${prepaid ? ', by what is paid before it is shown' : ''}: one account, charged once`, async () => {
        let faults = 0
        for (const verb of verbs)
          for (const isDone of [false, true])
            for (let call = 1; ; call++) {
              const fault = { verb, call, isDone }
              if (!(await lives(fault, prepaid, deed))) break
              faults++
            }
        assert.ok(faults >= 8, `${faults} faults`)
      })

  test('while a top-up is made: booked once, charged once', async () => {
    let faults = 0
    for (const verb of verbs)
      for (const isDone of [false, true])
        for (let call = 1; ; call++) {
          const { shop, ledger } = world()
          const { grant, account } = await shop.buy('p', tries)
          const broken = failing(ledger, { verb, call, isDone })
          const gate = shop.open(broken.ledger)
          const more = async (by: Gate): Promise<string> => {
            const to = ask(planned(tries), undefined, { into: grant.id })
            const bought = await by.sell({ ...to, credential: await shop.pay('more', to) })
            return bought.kind === 'refused' ? bought.problem.code : 'serve'
          }
          await attempts(() => more(gate), shop.clock, gate)
          const isHit = broken.hit()
          // Another process is shown the same.
          shop.clock.pass(WORK_MS + DELIVER_MS)
          assert.equal(await more(shop.gate), 'serve')
          assert.equal(shop.moved.get('more'), 1)
          assert.deepEqual(await shop.gate.accounts.left(grant.id), { uses: 20 })
          const ends = await shop.gate.accounts.find(grant.id)
          assert.ok(ends && ends.expiresAt > account.expiresAt - 1)
          assert.deepEqual((await verifyBooks(ledger)).problems, [])
          if (!isHit) break
          faults++
        }
    assert.ok(faults >= 8, `${faults} faults`)
  })

  test('a plan that could not be booked is booked by the next showing, without a wait', async () => {
    for (const prepaid of [false, true]) {
      const { shop, ledger } = world(prepaid)
      // The first transfer claims the payment, the second opens the account.
      const broken = failing(ledger, { verb: 'transfer', call: 2, isDone: false })
      const gate = shop.open(broken.ledger)
      const to = ask(planned(tries))
      const credential = await shop.pay('p', to)
      assert.equal(await serve(gate, { ...to, credential }), 'store-unavailable')
      assert.equal(await serve(gate, ask(planned(tries), credential)), 'serve')
      assert.deepEqual([...shop.moved], [['p', 1]])
    }
  })
})

test('a payment is bound to the plan and the account, not to the request', () => {
  const sale = planned(tries)
  const resource = { path: '/b', query: 'q=1', method: 'POST', digest: 'sha-256=:x:' }
  const one = boundTo(ask(sale, undefined, { resource }))
  assert.deepEqual(one, { ...boundTo(ask(sale)), url: one.url })
  assert.ok(!('digest' in one))
  const paths = [ask(sale), ask(sale, undefined, { into: hex }), ask(planned(dollar))]
  assert.equal(new Set(paths.map((each) => boundTo(each).path)).size, 3)
  const alone = ask(priced('1 USD'), undefined, { resource })
  assert.equal(boundTo(alone), alone.resource)
})

type Pay = Shop['pay']

function world(prepaid = false) {
  const clock = createHandClock()
  const ledger = memory({ clock })
  return { shop: createShop(ledger, clock, prepaid ? { prepaid } : {}), ledger }
}

/** Buys the plan with a request that is served; the id of its account. */
async function opened({ gate, pay }: Shop, proof: string): Promise<string> {
  const to = ask(planned(tries))
  const outcome = await passed(
    await gate.admit({ ...to, credential: await pay(proof, to) }),
  ).finish(true)
  return outcome.kind === 'serve' && outcome.bought
    ? outcome.bought.grant.id
    : assert.fail('not bought')
}

/** The same again and again, with time and recovery in between, until it is served. How often it was asked. */
async function attempts(
  request: () => Promise<string>,
  clock: ReturnType<typeof createHandClock>,
  gate: Gate,
): Promise<number> {
  const said: string[] = []
  for (let n = 1; n < 9; n++) {
    said.push(await request())
    if (said.at(-1) === 'serve') return n
    clock.pass(WORK_MS + SETTLE_MS + DELIVER_MS)
    await gate.recover()
  }
  return assert.fail(`a paid plan is never served: ${said.join(' ')}`)
}

/** One fault, and what the books hold in the end; false when the call in question was never made. */
async function lives(
  fault: Fault,
  prepaid: boolean,
  deed: (gate: Gate, pay: Pay) => Promise<string>,
): Promise<boolean> {
  const { shop, ledger } = world(prepaid)
  const broken = failing(ledger, fault)
  const gate = shop.open(broken.ledger)
  const { pay } = shop
  const asked = await attempts(() => deed(gate, pay), shop.clock, gate)
  const hit = broken.hit()
  // Another process, after all of it.
  shop.clock.pass(WORK_MS + DELIVER_MS)
  assert.equal(await deed(shop.gate, pay), 'serve', JSON.stringify(fault))
  shop.clock.pass(WORK_MS + SETTLE_MS)
  await shop.gate.recover()
  assert.deepEqual([...shop.moved], [['p', 1]], JSON.stringify(fault))
  const [account, ...others] = await ledger.under('account/', '', 10)
  assert.ok(account?.state === 'posted' && others.length === 0)
  const { uses = 0 } = await shop.gate.accounts.left(account.key.slice('account/'.length))
  const drawn = (await ledger.under('draw/', '', 100)).filter(({ state }) => state === 'posted')
  const paying = drawn.filter(({ legs }) => legs[0]?.credit === 'drawn/tries')
  assert.equal(uses, 10 - paying.length)
  assert.ok(paying.length <= asked + 1)
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
  const pending = await ledger.pending()
  assert.deepEqual(
    pending.map(({ key }) => key).filter((key) => !key.endsWith('/delivery')),
    [],
  )
  return hit
}
