// Rails that are asked for each offer, as for an invoice: when they are asked, when they are left out, and what of theirs is
// let go again.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createMac } from '../core/mac.ts'
import type { Terms } from '../core/offer.ts'
import { createOffers } from '../core/offers.ts'
import type { Event } from '../core/event.ts'
import type { Ask, Gate, Rail } from '../core/ports.ts'
import { PaymentError, problems } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import {
  ask,
  createHandClock,
  createKeyRail,
  offerOf,
  passed,
  plan,
  planned,
  priced,
  serve,
} from './fixture.test.ts'
import { OFFER_VALID_MS, SETTLE_MS, WORK_MS, createGate } from './gate.ts'
import { ISSUE_MS, ISSUES_PER_MINUTE_MAX, OFFER_GRID_MS, REDEEM_MS, RELEASE_MS } from './limits.ts'

const cent = priced('0.01 USD')

describe('a rail that makes its offers one by one', () => {
  test('is asked once for each challenge, and what it says is what is offered', async () => {
    const { gate, issued } = world()
    const first = await gate.challenge(ask(cent))
    const second = await gate.admit(ask(cent))
    assert.equal(issued.length, 2)
    const of = (entry: object): unknown[] =>
      'challenge' in entry ? [(entry as Challenged).challenge.offers[0]?.details] : []
    assert.deepEqual([...of(first), ...of(second)], [{ invoice: 1 }, { invoice: 2 }])
    assert.match(issued[0] ?? '', /^GET api\.test\/a /)
    const described = await gate.challenge(ask({ ...cent, description: 'Weather' }))
    assert.equal(described.challenge?.offers.length, 1)
    assert.match(issued[2] ?? '', /^Weather /)
  })

  test('is told the end of the offer, and is paid by that offer alone', async () => {
    const { gate, clock, issued, moved } = world()
    const to = ask(cent)
    const offer = await offerOf(gate, to)
    assert.equal(issued[0], `GET api.test/a ${offer.expiresAt}`)
    assert.equal(offer.expiresAt, clock.now() + OFFER_VALID_MS)
    const forged = { ...offer, details: { invoice: 7 } }
    assert.equal(await serve(gate, ask(cent, { offer: forged, proof: 'p' })), 'offer-foreign')
    const unbound = { rail: 'test', network: 'net' }
    assert.equal(
      await serve(gate, ask(cent, { offer: unbound, proof: 'p' })),
      'credential-unsupported',
    )
    assert.equal(moved.size, 0)
    assert.equal(await serve(gate, { ...to, credential: { offer, proof: 'p' } }), 'serve')
  })

  test('is asked nothing by a credential that is let in', async () => {
    const { gate, issued } = world()
    const to = ask(cent)
    const offer = await offerOf(gate, to)
    assert.equal(await serve(gate, { ...to, credential: { offer, proof: 'p' } }), 'serve')
    assert.equal(issued.length, 1)
  })

  test('is not asked by garbage, which is told what else it may pay', async () => {
    for (const beside of [false, true]) {
      const { gate, issued } = world({ beside })
      const offer = await offerOf(gate, ask(cent))
      const elsewhere = ask(cent, { offer, proof: 'p' }, { resource: { path: '/b' } })
      const garbage = [
        [ask(cent, { offer, proof: 'bad' }), 'proof-invalid'],
        [elsewhere, 'offer-foreign'],
        [ask(cent, { offer: { rail: 'none', network: 'net' } }), 'credential-unsupported'],
        [ask(cent, { offer }), 'credential-unsupported'],
      ] as const
      for (const [attempt, code] of garbage) {
        const entry = await gate.admit(attempt)
        assert.ok(entry.kind === 'refused' && entry.problem.code === code)
        const offered = entry.challenge?.offers.map(({ rail }) => rail)
        assert.deepEqual(offered, beside ? ['plain'] : undefined)
      }
      assert.equal(issued.length, 1)
      assert.equal((await gate.challenge(ask(cent))).challenge?.offers.length, beside ? 2 : 1)
      assert.equal(issued.length, 2)
    }
  })

  test('is asked anew by an honest payer whose offer has ended, and by a token that is used up', async () => {
    const { gate, clock, issued } = world()
    const offer = await offerOf(gate, ask(cent))
    clock.pass(OFFER_VALID_MS)
    const late = await gate.admit(ask(cent, { offer, proof: 'p' }))
    assert.ok(late.kind === 'refused' && late.problem.code === 'offer-expired')
    assert.deepEqual(late.challenge?.offers[0]?.details, { invoice: 2 })
    const one = plan('one', { uses: 1 })
    const to = ask(planned(one))
    const paid = { ...to, credential: { offer: await offerOf(gate, to), proof: 'q' } }
    const bought = await gate.sell(paid)
    assert.ok(bought.kind === 'bought')
    const request = () => gate.admit(ask(planned(one), { grant: bought.grant }))
    await passed(await request()).finish(true)
    const used = await request()
    assert.ok(used.kind === 'refused' && used.problem.code === 'token-exhausted')
    assert.deepEqual(used.challenge?.offers[0]?.details, { invoice: issued.length })
  })

  test('is asked so often in a minute and no more, whoever asks', async () => {
    const { gate, clock, issued } = world({ beside: true })
    const offered = async (): Promise<readonly string[]> =>
      (await gate.challenge(ask(cent))).challenge?.offers.map(({ rail }) => rail) ?? []
    for (let i = 1; i < ISSUES_PER_MINUTE_MAX; i++) await gate.challenge(ask(cent))
    assert.deepEqual(await offered(), ['test', 'plain'])
    for (let i = 0; i < 9; i++) assert.deepEqual(await offered(), ['plain'])
    assert.equal(issued.length, ISSUES_PER_MINUTE_MAX)
    clock.pass(59_999)
    assert.deepEqual(await offered(), ['plain'])
    clock.pass(1)
    assert.deepEqual(await offered(), ['test', 'plain'])
  })

  test('is left out while it hangs or fails, and what others offer stands', async () => {
    for (const issue of broken) {
      const { gate, clock, faults } = world({ beside: true, issue })
      const asked = gate.challenge(ask(cent))
      clock.pass(ISSUE_MS)
      const { challenge, problem } = await asked
      assert.equal(problem.code, 'payment-required')
      assert.deepEqual(
        challenge?.offers.map(({ rail }) => rail),
        ['plain'],
      )
      assert.equal(faults().length, 1)
      const [offer] = challenge?.offers ?? []
      assert.ok(offer)
      assert.equal(await serve(gate, ask(cent, { offer, proof: 'p' })), 'serve')
    }
  })

  test('that is the only one and cannot be asked is 503, and its fault stays here', async () => {
    for (const issue of broken) {
      const { gate, clock } = world({ issue })
      const asked = gate.admit(ask(cent))
      clock.pass(ISSUE_MS)
      const entry = await asked
      assert.ok(entry.kind === 'refused' && entry.challenge === undefined)
      assert.equal(entry.problem.code, 'rail-unavailable')
      assert.equal(problems[entry.problem.code].status, 503)
      assert.ok((entry.problem.retryAfterMs ?? 0) > 0)
      assert.ok(!entry.problem.detail.includes('10.0.0.1'))
    }
  })

  test('is waited for no longer than it may take, and taken until then', async () => {
    const made = Promise.withResolvers<Terms>()
    const { gate, clock } = world({ issue: () => made.promise })
    const asked = gate.challenge(ask(cent))
    clock.pass(ISSUE_MS - 1)
    made.resolve(terms)
    assert.equal((await asked).challenge?.offers.length, 1)
  })
})

describe('after the end of its offer', () => {
  const ended = async (prepaid: boolean, lateMs: number): Promise<string> => {
    const { gate, clock } = world({ prepaid })
    const to = ask(cent)
    const offer = await offerOf(gate, to)
    clock.pass(OFFER_VALID_MS + lateMs)
    return serve(gate, { ...to, credential: { offer, proof: 'p' } })
  }

  test('what is paid before it is shown is taken for a day, and not a moment longer', async () => {
    assert.ok(OFFER_VALID_MS % OFFER_GRID_MS === 0)
    assert.equal(await ended(true, -1), 'serve')
    assert.equal(await ended(true, 0), 'serve')
    assert.equal(await ended(true, REDEEM_MS - 1), 'serve')
    assert.equal(await ended(true, REDEEM_MS), 'offer-expired')
  })

  test('what is paid by showing it is not taken at all', async () => {
    assert.equal(await ended(false, -1), 'serve')
    assert.equal(await ended(false, 0), 'offer-expired')
  })

  test('a plan that was paid for in time is opened late, and drawn on later still', async () => {
    const { gate, clock, moved } = world({ prepaid: true })
    const many = plan('many', { uses: 5, validForMs: 10 * REDEEM_MS })
    const to = ask(planned(many))
    const credential = { offer: await offerOf(gate, to), proof: 'p' }
    clock.pass(OFFER_VALID_MS + REDEEM_MS - 1)
    assert.equal(await serve(gate, { ...to, credential }), 'serve')
    clock.pass(REDEEM_MS)
    assert.equal(await serve(gate, ask(planned(many), credential)), 'serve')
    assert.deepEqual([...moved], [['p', 1]])
  })
})

describe('what the payer has locked is let go', () => {
  test('when the work fails, and not when it was served', async () => {
    const { gate, released, pay, moved } = world({ releases: true })
    await passed(await gate.admit(await pay('p'))).finish(false)
    assert.deepEqual(released, ['p proof p'])
    await passed(await gate.admit(await pay('q'))).finish(true)
    assert.deepEqual(released, ['p proof p'])
    assert.deepEqual([...moved], [['q', 1]])
  })

  test('after a crash, when the lease has run out, and not before', async () => {
    const { gate, open, clock, released, pay } = world({ releases: true })
    await open().admit(await pay('p'))
    clock.pass(WORK_MS + SETTLE_MS - 1)
    await gate.recover()
    assert.deepEqual(released, [])
    clock.pass(1)
    await gate.recover()
    assert.deepEqual(released, ['p proof undefined'])
    await gate.recover()
    assert.deepEqual(released, ['p proof undefined'])
  })

  test('never by recovery while its maker is at it here', async () => {
    const { gate, clock, released, pay } = world({ releases: true })
    const pass = passed(await gate.admit(await pay('p')))
    clock.pass(WORK_MS + SETTLE_MS)
    await gate.recover()
    assert.deepEqual(released, [])
    assert.equal((await pass.finish(true)).kind, 'serve')
  })

  test('never by a maker that has lost its claim', async () => {
    const { gate, open, clock, released, pay } = world({ releases: true })
    const paid = await pay('p')
    const slow = passed(await open().admit(paid))
    clock.pass(WORK_MS + SETTLE_MS)
    const next = passed(await gate.admit(paid))
    await slow.finish(false)
    assert.deepEqual(released, [])
    assert.equal((await next.finish(true)).kind, 'serve')
  })

  test('never once it was prepared', async () => {
    const settle: Rail<unknown, string>['settle'] = async (_, __, ___, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'unknown', detail: '…' }
    }
    const find: Rail['find'] = async () => ({ state: 'unknown', detail: '…' })
    const { gate, open, clock, released, pay } = world({ releases: true, rest: { settle, find } })
    const outcome = await passed(await open().admit(await pay('p'))).finish(true)
    assert.ok(outcome.kind === 'refused' && outcome.problem.code === 'payment-unknown')
    for (let i = 0; i < 3; i++) {
      clock.pass(WORK_MS + SETTLE_MS)
      await gate.recover()
    }
    assert.deepEqual(released, [])
    assert.equal((await gate.status('p'))?.state, 'unknown')
  })

  test('and where that fails it is told, and the answer leaves', async () => {
    const release = async (): Promise<never> => {
      throw new PaymentError('rail-unavailable', 'Down.')
    }
    const { gate, faults, pay } = world({ rest: { release } })
    const outcome = await passed(await gate.admit(await pay('p'))).finish(false)
    assert.deepEqual([outcome.kind, faults()], ['serve', ['release']])
  })

  test('and where that hangs the answer leaves all the same', async () => {
    const called = Promise.withResolvers<undefined>()
    const release = (): Promise<never> => {
      called.resolve(undefined)
      return new Promise(() => undefined)
    }
    const { gate, clock, pay } = world({ rest: { release } })
    const left = passed(await gate.admit(await pay('p'))).finish(false)
    await called.promise
    await Promise.resolve()
    clock.pass(RELEASE_MS)
    assert.equal((await left).kind, 'serve')
  })

  test('also of a plan whose payment was held while it was bought by a process that died', async () => {
    const hangs: Rail<unknown, string>['settle'] = () => new Promise(() => undefined)
    const { gate, open, clock, released } = world({ releases: true, rest: { settle: hangs } })
    const to = ask(planned(plan('many')))
    const offer = await offerOf(gate, to)
    void open().admit({ ...to, credential: { offer, proof: 'p' } })
    await new Promise(setImmediate)
    clock.pass(WORK_MS + SETTLE_MS)
    await gate.recover()
    assert.deepEqual(released, ['p proof undefined'])
  })
})

type Issue = NonNullable<Rail<unknown, string>['issue']>
interface Challenged {
  readonly challenge: { readonly offers: readonly { readonly details: unknown }[] }
}

const terms: Terms =
  createKeyRail(createHandClock()).rail.quote(cent.prices[0] ?? assert.fail())[0] ?? assert.fail()
const hanging: Issue = () => new Promise(() => undefined)
const broken: readonly Issue[] = [
  hanging,
  async () => {
    throw new PaymentError('rail-unavailable', 'http://10.0.0.1')
  },
  () => {
    throw new TypeError('http://10.0.0.1')
  },
]

interface Options {
  /** Another rail that is never asked. */
  readonly beside?: boolean
  readonly prepaid?: boolean
  readonly releases?: boolean
  readonly issue?: Issue
  readonly rest?: Partial<Rail<unknown, string>>
}

function world({ beside, prepaid, releases, issue, rest }: Options = {}) {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const issued: string[] = []
  const released: string[] = []
  const numbered: Issue = async (given, memo, expiresAt) => {
    issued.push(`${memo} ${expiresAt}`)
    return { ...given, details: { invoice: issued.length } }
  }
  const { rail, moved } = createKeyRail(clock, {
    ...(prepaid && { prepaid }),
    ...(releases && {
      release: async (_, proof, key) => void released.push(`${key} proof ${proof}`),
    }),
    issue: issue ?? numbered,
    ...rest,
  })
  const plain = createKeyRail(clock, { name: 'plain' })
  const events: Event[] = []
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const open = (): Gate =>
    createGate({
      rails: beside ? [rail, plain.rail] : [rail],
      ledger,
      offers,
      clock,
      observe: (event) => void events.push(event),
    })
  const gate = open()
  return {
    gate,
    open,
    clock,
    moved,
    issued,
    released,
    pay: async (proof: string): Promise<Ask> => {
      const to = ask(cent)
      return { ...to, credential: { offer: await offerOf(gate, to), proof } }
    },
    faults: () => events.flatMap((event) => (event.type === 'fault' ? [event.where] : [])),
  }
}
