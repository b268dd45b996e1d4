import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { trace } from '@opentelemetry/api'
import type { Event } from '../core/event.ts'
import { PaymentError } from '../core/problem.ts'
import { ask, createShop, priced, serve } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { LABEL_CHARS_MAX, SERIES_MAX } from './exposition.ts'
import { readMetrics as read } from './fixture.test.ts'
import { logs } from './logs.ts'
import type { LogsSettings } from './logs.ts'
import { metrics } from './metrics.ts'
import { observers } from './observers.ts'
import { redact, TEXT_CHARS_MAX } from './redact.ts'
import { SPANS_MAX, traces } from './traces.ts'
import type { Attributes } from './traces.ts'

const at = 1_800_000_000_000
const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
const amount = { asset: coin, amount: 12_345n }
const way = { rail: 'test', network: 'net', account: 'sales/GET /a' }
const held: Event = { type: 'held', at, request: 'r', key: 'k', payer: 'buyer', amount, ...way }
const settled: Event = { type: 'settled', at: at + 80, key: 'k', reference: 'tx', amount }

/** Whoever pays has asked for an offer before. */
const offered = ['challenged'] as const

/** What a whole request tells, and one that is refused. */
async function told(): Promise<readonly Event[]> {
  const shop = createShop(memory())
  const to = ask(priced('0.01 USD'))
  assert.equal(await serve(shop.gate, to), 'payment-required')
  assert.equal(
    await serve(shop.gate, { ...to, credential: await shop.pay('bad', to) }),
    'proof-invalid',
  )
  assert.equal(await serve(shop.gate, { ...to, credential: await shop.pay('p', to) }), 'serve')
  return shop.events
}

describe('several subscribers', () => {
  test('are one, and what one throws the others do not hear of', () => {
    const heard: string[] = []
    const all = observers(
      (event) => heard.push(`first ${event.type}`),
      () => assert.fail('broken'),
      (event) => heard.push(`last ${event.type}`),
    )
    all(held)
    assert.deepEqual(heard, ['first held', 'last held'])
  })
})

function written(
  events: readonly Event[],
  rest: Partial<LogsSettings> = {},
): readonly Record<string, string>[] {
  const lines: string[] = []
  const observe = logs({ write: (line) => lines.push(line), level: 'debug', ...rest })
  for (const event of events) observe(event)
  assert.ok(lines.every((line) => /^[^\n]*\n$/.test(line)))
  return lines.map((line) => JSON.parse(line))
}

describe('logs', () => {
  test('tell a request by one line an event, with its id, the same as in the problem', async () => {
    const lines = written(await told())
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['challenged', ...offered, 'refused', ...offered, 'held', 'settled', 'delivered'],
    )
    const [first, , second, , third] = lines
    assert.match(first?.['request'] ?? '', /^r\d+$/)
    assert.deepEqual([second?.['code'], second?.['level']], ['proof-invalid', 'info'])
    assert.deepEqual(
      [third?.['amount'], third?.['payer'], third?.['key']],
      ['0.01 COIN', 'buyer', 'p'],
    )
    assert.match(first?.['time'] ?? '', /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  })

  test('are as many as the level wants', () => {
    const fault: Event = { type: 'fault', at, where: 'x', error: new Error('e') }
    const unknown: Event = { type: 'unknown', at, key: 'k' }
    const all = [held, settled, unknown, fault]
    for (const [level, count] of [
      ['debug', 4],
      ['info', 3],
      ['warn', 2],
      ['error', 1],
    ] as const)
      assert.equal(written(all, { level }).length, count)
  })

  test('hold no secret, wherever it was put, and keep what is needed to understand', () => {
    const key = `0x${'ab'.repeat(32)}`
    const address = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
    const secrets = [
      key,
      key.slice(2),
      'https://mainnet.node.example/v3/0123456789abcdef',
      'wss://user:hunter2@node.example/',
      'Bearer hunter2.hunter2.hunter2',
      'L402 AgEDbG5k:hunter2',
      'authorization: hunter2',
      'api-key=hunter2',
      '"preimage":"hunter2"',
      'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      `lnbc20u1${'qpzry9x8'.repeat(20)}`,
      `eyJhbGciOiJFZERTQSJ9.${'aB3_'.repeat(15)}.${'xY-9'.repeat(15)}`,
    ]
    const parts = [...secrets, 'hunter2', 'node.example', 'aB3_aB3_', '0123456789abcdef']
    for (const secret of secrets) {
      const cause = new Error(`fetch failed: ${secret} (ECONNREFUSED)`)
      const error = new PaymentError('rail-unavailable', `The chain at ${secret} is gone`, {
        cause,
      })
      const [line] = written([
        { type: 'fault', at, request: 'r', where: `rails/evm ${secret}`, error },
      ])
      const text = JSON.stringify(line)
      for (const part of parts) assert.ok(!text.includes(part), `${secret}: ${text}`)
      assert.match(text, /rail-unavailable.*The chain at .*fetch failed.*ECONNREFUSED/)
    }
    assert.equal(
      redact(`payer ${address} on eip155:8453, row 17`),
      `payer ${address} on eip155:8453, row 17`,
    )
    assert.ok(redact('x '.repeat(TEXT_CHARS_MAX)).length <= TEXT_CHARS_MAX)
  })

  test('name an address without its query and its user, and break no line', () => {
    const url = 'https://user:hunter2@shop.example/a?token=hunter2#hunter2'
    const detail = 'One.\n{"event":"settled"}'
    const [line] = written([{ type: 'refused', at, url, code: 'proof-invalid', detail }])
    assert.equal(line?.['url'], 'https://shop.example/a')
    assert.equal(line?.['detail'], detail)
  })

  test('do not tell members that nobody has looked at', () => {
    const event = { ...held, proof: 'hunter2', token: 'hunter2' }
    assert.doesNotMatch(JSON.stringify(written([event])), /hunter2/)
    assert.match(
      JSON.stringify(written([{ type: 'fault', at, where: 'x', error: { a: 1 } }])),
      /object/,
    )
  })
})

describe('metrics', () => {
  test('count a request, and time it from its claim to its settlement', async () => {
    const { observe, write } = metrics()
    for (const event of await told()) observe(event)
    const samples = read(write().text)
    assert.equal(samples.get('tolsey_challenges_total{code="payment-required"}'), 3)
    assert.equal(samples.get('tolsey_refusals_total{code="proof-invalid"}'), 1)
    assert.equal(samples.get('tolsey_sales_amount_total{asset="test:coin",code="COIN"}'), 0.01)
    assert.equal(samples.get('tolsey_deliveries_total'), 1)
    // What alarms look at is there before it has ever happened.
    assert.equal(samples.get('tolsey_undone_total'), 0)
    assert.equal(samples.get('tolsey_unknowns_total'), 0)
  })

  test('name the way of a sale, and put its time into every bucket above it', () => {
    const { observe, write } = metrics()
    observe(held)
    observe(settled)
    // Claimed by a process that is gone.
    observe({ ...settled, key: 'other', rail: 'test', network: 'net' })
    const samples = read(write().text)
    const of = '{rail="test",network="net",route='
    assert.equal(samples.get(`tolsey_sales_total${of}"GET /a"}`), 1)
    assert.equal(samples.get(`tolsey_sales_total${of}"unknown"}`), 1)
    const time = (le: string): number | undefined =>
      samples.get(`tolsey_payment_seconds_bucket{rail="test",network="net",le="${le}"}`)
    assert.deepEqual(['0.05', '0.1', '300', '+Inf'].map(time), [0, 1, 1, 1])
    assert.equal(samples.get('tolsey_payment_seconds_sum{rail="test",network="net"}'), 0.08)
    assert.equal(samples.get('tolsey_payment_seconds_count{rail="test",network="net"}'), 1)
  })

  test('add amounts exactly, above what a floating number holds', () => {
    const { observe, write } = metrics()
    const wei = { id: 'wei', code: 'WEI', scale: 18 }
    for (let i = 0; i < 10; i++)
      observe({ ...settled, key: `${i}`, amount: { asset: wei, amount: 10n ** 24n + 1n } })
    assert.match(write().text, /^tolsey_sales_amount_total\{.*\} 10000000\.00000000000000001$/m)
  })

  test('have as many series as their limit, and labels that are short and quoted', () => {
    const { observe, write } = metrics()
    const nasty = 'a"b\\c\nd'
    observe({ type: 'fault', at, where: nasty, error: 0 })
    for (let i = 0; i < 3 * SERIES_MAX; i++)
      observe({ type: 'fault', at, where: `${i}${'x'.repeat(LABEL_CHARS_MAX)}`, error: 0 })
    const samples = [...read(write().text)].filter(([name]) => name.startsWith('tolsey_faults'))
    assert.equal(samples.length, SERIES_MAX + 1)
    assert.ok(samples.every(([name]) => name.length < LABEL_CHARS_MAX + 50))
    assert.equal(samples[0]?.[0], 'tolsey_faults_total{where="a\\"b\\\\c\\nd"}')
    assert.equal(
      samples.reduce((sum, [, value]) => sum + value, 0),
      3 * SERIES_MAX + 1,
    )
    const other = samples.find(([name]) => name === 'tolsey_faults_total{where="other"}')
    assert.equal(other?.[1], 2 * SERIES_MAX + 1)
  })

  test('are written in the format that is asked for', () => {
    const gauge = { help: 'H.', read: () => [{ labels: { sink: 'hook' }, value: 1.5 }] }
    const gauges = [
      { ...gauge, name: 'tolsey_own', type: 'gauge' },
      { ...gauge, name: 'tolsey_own_events_total', type: 'counter' },
    ] as const
    const { write } = metrics({ gauges })
    const plain = write()
    assert.equal(plain.contentType, 'text/plain; version=0.0.4; charset=utf-8')
    assert.match(plain.text, /^# TYPE tolsey_undone_total counter\ntolsey_undone_total 0$/m)
    assert.match(plain.text, /^# TYPE tolsey_own_events_total counter$/m)
    assert.doesNotMatch(plain.text, /EOF/)
    const open = write('application/openmetrics-text;version=1.0.0,text/plain;q=0.5')
    assert.match(open.contentType, /^application\/openmetrics-text/)
    assert.match(open.text, /^# TYPE tolsey_undone counter\ntolsey_undone_total 0$/m)
    assert.ok(open.text.endsWith('\n# EOF\n'))
    assert.equal(read(open.text.replace('# EOF\n', '')).get('tolsey_own{sink="hook"}'), 1.5)
  })
})

interface Spoken {
  readonly name: string
  readonly from: number | undefined
  attributes: Attributes
  status?: number
  until?: number
}

/** A tracer as that of OpenTelemetry, which keeps what it is told. */
function tracer() {
  const spans: Spoken[] = []
  return {
    spans,
    startSpan(
      name: string,
      { startTime, attributes = {} }: { startTime?: number; attributes?: Attributes } = {},
    ) {
      const span: Spoken = { name, from: startTime, attributes }
      spans.push(span)
      return {
        setAttributes: (more: Attributes) => (span.attributes = { ...span.attributes, ...more }),
        setStatus: ({ code }: { code: number }) => (span.status = code),
        end: (time?: number) => void (span.until = time ?? NaN),
      }
    },
  }
}

describe('traces', () => {
  test('have a span from the claim of a payment to its settlement', () => {
    const { spans, ...otel } = tracer()
    const observe = traces(otel)
    observe(held)
    assert.equal(spans[0]?.until, undefined)
    observe(settled)
    observe({ type: 'delivered', at, key: 'k' })
    const [span, ...more] = spans
    assert.deepEqual(more, [])
    assert.deepEqual([span?.name, span?.from, span?.until], ['tolsey.payment', at, at + 80])
    assert.equal(span?.attributes['tolsey.outcome'], 'settled')
    assert.equal(span?.attributes['tolsey.request'], 'r')
    assert.equal(span?.attributes['tolsey.amount'], '0.012345 COIN')
    assert.equal(span?.status, undefined)
  })

  test('have a moment for what has no span, are marked when it is wrong, and hold no secret', () => {
    const { spans, ...otel } = tracer()
    const observe = traces(otel)
    observe({ ...settled, key: 'of another process' })
    observe({ type: 'unknown', at, key: 'x' })
    const error = new Error('https://node.example/hunter2')
    observe({ type: 'fault', at, where: 'close', error })
    observe({ type: 'challenged', at, url: 'https://shop.example/', code: 'payment-required' })
    assert.deepEqual(
      spans.map(({ name, status, until }) => [name, status, until]),
      [
        ['tolsey.settled', undefined, at + 80],
        ['tolsey.unknown', 2, at],
        ['tolsey.fault', 2, at],
      ],
    )
    assert.doesNotMatch(JSON.stringify(spans), /hunter2/)
  })

  test('are as many as their limit: the oldest ends', () => {
    const { spans, ...otel } = tracer()
    const observe = traces(otel)
    for (let i = 0; i <= SPANS_MAX; i++) observe({ ...held, key: `k${i}` })
    assert.deepEqual(spans.filter(({ until }) => until !== undefined).length, 1)
    assert.equal(spans[0]?.until, at)
  })
})

test('a tracer of OpenTelemetry’s own interface is one of ours', () => {
  const observe = traces(trace.getTracer('tolsey'))
  observe({ type: 'fault', at: 0, where: 'here', error: new Error('broken') })
})
