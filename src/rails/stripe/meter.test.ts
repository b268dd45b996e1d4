// Usage of tokens, from the books through the outbox to a stand-in for Stripe's meters.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Stripe } from 'stripe'
import type { Sink, Told } from '../../outbox/index.ts'
import { createFeed } from '../../outbox/index.ts'
import { ask, createShop, narrowed, passed, plan, priced } from '../../gate/fixture.test.ts'
import { readPrice } from '../../core/money.ts'
import { memory } from '../../ledger/memory.ts'
import type { StripeStandIn } from '../../sandbox/processors/index.ts'
import { startStripe } from '../../sandbox/processors/index.ts'
import type { MeterSettings } from './index.ts'
import { stripeMeter } from './index.ts'

let standIn: StripeStandIn
before(async () => {
  standIn = await startStripe()
})
after(() => standIn.close())

const until = { deadlineAt: Infinity, signal: new AbortController().signal }

function meterOf(change: Partial<MeterSettings> = {}): Sink {
  const { secretKey, port } = standIn
  const where = { host: '127.0.0.1', port, protocol: 'http', telemetry: false } as const
  const client = new Stripe(secretKey, { ...where, maxNetworkRetries: 0 })
  const rest = {
    mode: 'test',
    eventName: 'calls',
    counts: 'USD',
    customerOf: () => 'cus_1',
  } as const
  return stripeMeter({ client, ...rest, ...change })
}

function told(id: string, account: string | undefined, units: string, scale = 0): Told {
  const amount = { code: 'USD', units, scale }
  const data = { ...(account !== undefined && { account }), amount }
  const event = { id, type: 'tolsey.draw.posted', data } as unknown as Told['event']
  return { sequence: 1, at: 1_800_000_000_000, event }
}

/** Draws by a token, as the books tell of them. */
async function draws(): Promise<readonly Told[]> {
  const ledger = memory()
  const shop = createShop(ledger)
  const bought = await shop.buy('paid', plan('calls', { balance: readPrice('1 USD') }))
  for (const price of ['0.25 USD', '0.125 USD']) {
    const sale = priced(price, { takes: ['calls'] })
    const pass = passed(await shop.gate.admit(ask(sale, { grant: narrowed(bought, {}) })))
    await pass.finish(true)
  }
  const feed = createFeed({ ledger, source: 'https://shop.test' })
  const { told: all } = await feed.read(0, 1_000)
  return all.filter(({ event }) => event.type === 'tolsey.draw.posted')
}

describe('a meter', () => {
  test('is told of each draw once, however often the outbox delivers it', async () => {
    const list = await draws()
    assert.equal(list.length, 2)
    const asked: string[] = []
    const sink = meterOf({ scale: 3, customerOf: (account) => (asked.push(account), 'cus_7') })
    assert.deepEqual(await sink.deliver(list, until), { taken: 2 })
    assert.deepEqual(await sink.deliver(list, until), { taken: 2 })
    const events = [...standIn.state.meterEvents.values()]
    assert.deepEqual(
      events.map(({ payload }) => ({ ...payload })),
      [
        { stripe_customer_id: 'cus_7', value: '250' },
        { stripe_customer_id: 'cus_7', value: '125' },
      ],
    )
    assert.deepEqual(
      events.map(({ identifier }) => identifier),
      list.map(({ event }) => event.id),
    )
    assert.equal(new Set(asked).size, 1)
  })

  test('is told again what was lost, and nothing after it before', async () => {
    const list = ['a', 'b', 'c'].map((id) => told(`lost-${id}`, 'x', '2'))
    const sink = meterOf()
    const from = standIn.state.meterEvents.size
    standIn.fail({ trouble: 'lost', path: '/v1/billing' }, { trouble: 'lost', path: '/v1/billing' })
    // The SDK asks once more for what was cut.
    for (let i = 0; i < 3; i++) await sink.deliver(list, until)
    assert.equal(standIn.state.meterEvents.size - from, 3)
    standIn.fail({ trouble: 'down', path: '/v1/billing' })
    const { taken, trouble } = await sink.deliver([told('down', 'x', '1')], until)
    assert.deepEqual([taken, trouble?.kind], [0, 'down'])
  })

  test('is not told of accounts that are nobody’s at Stripe, nor of nothing', async () => {
    const from = standIn.state.meterEvents.size
    const list = [told('n1', 'x', '5'), told('n2', undefined, '5')]
    assert.deepEqual(await meterOf({ customerOf: () => undefined }).deliver(list, until), {
      taken: 2,
    })
    const dust = told('n3', 'x', '999', 6)
    assert.deepEqual(await meterOf({ scale: 3 }).deliver([dust], until), { taken: 1 })
    const uses = meterOf({ counts: 'uses' })
    assert.deepEqual(await uses.deliver([told('n4', 'x', '5')], until), { taken: 1 })
    assert.equal(standIn.state.meterEvents.size, from)
  })

  test('says so when Stripe does not take it', async () => {
    const sink = meterOf({ customerOf: () => 'cus_1', eventName: '' })
    const { taken, trouble } = await sink.deliver([told('bad', 'x', '1')], until)
    assert.deepEqual([taken, trouble?.kind], [0, 'refused'])
  })
})
