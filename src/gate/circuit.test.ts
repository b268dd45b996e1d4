import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { createOffers } from '../core/offers.ts'
import type { Gate, Rail } from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { FAILURES_MAX, PAUSE_GROWTH, PAUSE_MAX_MS, PAUSE_MS } from './circuit.ts'
import { ask, createHandClock, createKeyRail, offerOf, priced, serve } from './fixture.test.ts'
import { createGate } from './gate.ts'

/** What of a rail does not answer just now. */
interface Broken {
  open?: boolean
  verify?: boolean
  issue?: boolean
  settle?: 'unknown' | 'failed' | undefined
}

const gone = (): PaymentError => new PaymentError('rail-unavailable', 'Gone.', { retryable: true })

/** A shop with two rails, the first of which breaks. */
function shop(change: Partial<Rail<unknown, string>> = {}, others: readonly string[] = ['other']) {
  const clock = createHandClock()
  const broken: Broken = {}
  const counts = { open: 0, issue: 0 }
  const events: Event[] = []
  const own = createKeyRail(clock).rail
  const { rail, moved } = createKeyRail(clock, {
    async open() {
      counts.open++
      if (broken.open) throw gone()
    },
    async verify(offer, proof, ms) {
      if (broken.verify || proof.startsWith('hostile')) throw gone()
      return await own.verify(offer, proof, ms)
    },
    async settle(offer, proof, key, log) {
      if (broken.settle === 'unknown') return { state: 'unknown', detail: 'No answer.' }
      if (broken.settle) return { state: 'failed', problem: problem('rail-unavailable', 'Nobody.') }
      return await own.settle(offer, proof, key, log)
    },
    ...(change.issue && {
      async issue(...asked) {
        counts.issue++
        if (broken.issue) throw gone()
        return (await change.issue?.(...asked)) ?? assert.fail()
      },
    }),
  })
  const rails = [rail, ...others.map((name) => createKeyRail(clock, { name }).rail)]
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const observe = (event: Event): void => void events.push(event)
  const gate = createGate({ rails, ledger: memory({ clock }), offers, clock, observe })
  return { gate, clock, broken, counts, moved, events }
}

const sale = priced('1 USD')

/** Names of the rails that are offered. */
async function offered(gate: Gate): Promise<readonly string[]> {
  const { challenge } = await gate.challenge(ask(sale))
  return (challenge?.offers ?? []).map(({ rail }) => rail)
}

/** What of a rail was told. */
function told(events: readonly Event[]): readonly string[] {
  return events.flatMap((event) => (event.type === 'rail' ? [event.state] : []))
}

/** What is asked behind is done. */
const turns = (): Promise<void> => new Promise((done) => setImmediate(done))

describe('a rail that fails', () => {
  test('goes out of what is offered after so many failures in a row, and no earlier', async () => {
    const { gate, broken, events } = shop()
    const offer = await offerOf(gate, ask(sale))
    Object.assign(broken, { verify: true, open: true })
    for (let i = 1; i < FAILURES_MAX; i++) {
      assert.equal(await serve(gate, ask(sale, { offer, proof: `k${i}` })), 'rail-unavailable')
      assert.deepEqual(await offered(gate), ['test', 'other'])
    }
    // One that succeeds begins the count anew.
    broken.verify = false
    assert.equal(await serve(gate, ask(sale, { offer, proof: 'good' })), 'serve')
    broken.verify = true
    for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `l${i}` }))
    await turns()
    assert.deepEqual(await offered(gate), ['other'])
    assert.deepEqual(told(events), ['down'])
  })

  for (const outcome of ['unknown', 'failed'] as const)
    test(`goes out when settling is ${outcome}`, async () => {
      const { gate, broken } = shop()
      const offer = await offerOf(gate, ask(sale))
      broken.settle = outcome
      for (let i = 1; i <= FAILURES_MAX; i++)
        await serve(gate, ask(sale, { offer, proof: `k${i}` }))
      assert.deepEqual(await offered(gate), ['other'])
    })

  test('comes back by itself when it answers, after pauses that grow to their limit', async () => {
    const { gate, clock, broken, counts, events } = shop()
    const offer = await offerOf(gate, ask(sale))
    Object.assign(broken, { settle: 'unknown', open: true })
    for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `k${i}` }))
    let pauseMs = PAUSE_MS
    for (let i = 1; i <= 8; i++) {
      clock.pass(pauseMs - 1)
      assert.deepEqual(await offered(gate), ['other'])
      await turns()
      assert.equal(counts.open, i - 1)
      clock.pass(1)
      // Many ask at once, and one looks.
      await Promise.all(Array.from({ length: 10 }, () => offered(gate)))
      await turns()
      assert.equal(counts.open, i)
      pauseMs = Math.min(pauseMs * PAUSE_GROWTH, PAUSE_MAX_MS)
    }
    assert.equal(pauseMs, PAUSE_MAX_MS)
    Object.assign(broken, { settle: undefined, open: false })
    clock.pass(pauseMs)
    await offered(gate)
    await turns()
    assert.deepEqual(await offered(gate), ['test', 'other'])
    assert.deepEqual(told(events), ['down', 'up'])
  })

  test('is looked at by recovery too, where nobody asks', async () => {
    const { gate, clock, broken } = shop()
    const offer = await offerOf(gate, ask(sale))
    broken.settle = 'unknown'
    for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `k${i}` }))
    broken.settle = undefined
    clock.pass(PAUSE_MS)
    await gate.recover()
    assert.deepEqual(await offered(gate), ['test', 'other'])
  })

  test('is on trial when it is back: one more failure, and it is out for longer', async () => {
    const { gate, clock, broken, events } = shop()
    const offer = await offerOf(gate, ask(sale))
    broken.settle = 'unknown'
    for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `k${i}` }))
    clock.pass(PAUSE_MS)
    await gate.recover()
    await serve(gate, ask(sale, { offer, proof: 'trial' }))
    assert.deepEqual(told(events), ['down', 'up', 'down'])
    clock.pass(PAUSE_MS)
    await gate.recover()
    assert.deepEqual(await offered(gate), ['other'])
    clock.pass(PAUSE_MS * PAUSE_GROWTH)
    await gate.recover()
    assert.deepEqual(await offered(gate), ['test', 'other'])
  })

  test('still takes the payment that is under way, which brings it back', async () => {
    const { gate, broken, moved, events } = shop()
    const offer = await offerOf(gate, ask(sale))
    Object.assign(broken, { settle: 'failed', open: true })
    for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `k${i}` }))
    assert.deepEqual(await offered(gate), ['other'])
    Object.assign(broken, { settle: undefined })
    assert.equal(await serve(gate, ask(sale, { offer, proof: 'paid' })), 'serve')
    assert.equal(moved.has('paid') || told(events).at(-1) === 'up', true)
    assert.deepEqual(await offered(gate), ['test', 'other'])
  })

  test('is not taken down by proofs that were made to fail, while it answers itself', async () => {
    const { gate, counts, events } = shop()
    const offer = await offerOf(gate, ask(sale))
    for (let i = 1; i <= 3 * FAILURES_MAX; i++) {
      await serve(gate, ask(sale, { offer, proof: `hostile-${i}` }))
      await turns()
    }
    assert.equal(counts.open, 3)
    assert.deepEqual(told(events), [])
    assert.deepEqual(await offered(gate), ['test', 'other'])
    assert.equal(await serve(gate, ask(sale, { offer, proof: 'honest' })), 'serve')
  })

  test('that makes each offer is left out, and not asked again and again', async () => {
    const { gate, clock, broken, counts } = shop({ issue: async (terms) => terms })
    assert.deepEqual(await offered(gate), ['test', 'other'])
    broken.issue = true
    for (let i = 1; i <= FAILURES_MAX; i++) assert.deepEqual(await offered(gate), ['other'])
    const before = counts.issue
    for (let i = 1; i <= 10; i++) await offered(gate)
    assert.equal(counts.issue, before)
    broken.issue = false
    clock.pass(PAUSE_MS)
    await gate.recover()
    assert.deepEqual(await offered(gate), ['test', 'other'])
  })
})

test('where no rail is up the answer is 503 with a time to come back, and no empty 402', async () => {
  const { gate, broken } = shop({}, [])
  const offer = await offerOf(gate, ask(sale))
  Object.assign(broken, { settle: 'unknown', open: true })
  for (let i = 1; i <= FAILURES_MAX; i++) await serve(gate, ask(sale, { offer, proof: `k${i}` }))
  const said = await gate.challenge(ask(sale))
  assert.equal(said.challenge, undefined)
  assert.equal(said.problem.code, 'rail-unavailable')
  assert.ok((said.problem.retryAfterMs ?? 0) > 0)
})

describe('rails at the start', () => {
  test('one that is away is left out until it opens, and nothing is asked of it before', async () => {
    const { gate, clock, broken, events } = shop()
    broken.open = true
    await gate.open?.()
    assert.deepEqual(await offered(gate), ['other'])
    assert.ok(events.some((event) => event.type === 'fault' && event.where === 'open'))
    clock.pass(PAUSE_MS)
    broken.open = false
    await gate.recover()
    assert.deepEqual(await offered(gate), ['test', 'other'])
    const offer = await offerOf(gate, ask(sale))
    assert.equal(await serve(gate, ask(sale, { offer, proof: 'k' })), 'serve')
  })

  test('one that is away and alone stops it, as does one on another network', async () => {
    const alone = shop({}, [])
    alone.broken.open = true
    await assert.rejects(async () => await alone.gate.open?.(), { code: 'rail-unavailable' })
    const wrong = createKeyRail(createHandClock(), {
      name: 'wrong',
      open: async () => {
        throw new PaymentError('misconfigured', 'Another network.')
      },
    })
    const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
    const rails = [createKeyRail(createHandClock()).rail, wrong.rail]
    const gate = createGate({ rails, ledger: memory(), offers })
    await assert.rejects(async () => await gate.open?.(), { code: 'misconfigured' })
  })
})
