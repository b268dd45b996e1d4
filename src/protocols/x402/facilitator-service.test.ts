// The wire of a facilitator over one that says what each test tells it; real chains run in test/interop.
import assert from 'node:assert/strict'
import test, { suite } from 'node:test'
import type { Caller, Denial, Facilitated, Facilitator, Rail, Verdict } from '../../core/ports.ts'
import { PaymentError, problem, problems } from '../../core/problem.ts'
import type { Code } from '../../core/problem.ts'
import { facilitated } from './facilitator.ts'
import { BODY_BYTES_MAX, facilitatorHandler } from './facilitator-service.ts'
import type { ServiceOptions } from './facilitator-service.ts'
import { method, offerFor, proof, vectors } from './fixture.test.ts'
import {
  DiscoveryResources,
  DiscoverySearch,
  read,
  SettleResponse,
  SettleResponseV1,
  SupportedResponse,
  VerifyResponse,
} from './wire.ts'

const NETWORK = 'eip155:84532'
const { key, payer } = method.identify(offerFor() as never, proof)
const [requirements] = vectors.exactEip3009.paymentRequired.accepts
const request = {
  x402Version: 2,
  paymentPayload: vectors.exactEip3009.payload,
  paymentRequirements: requirements,
}
const request1 = {
  x402Version: 1,
  paymentPayload: {
    x402Version: 1,
    scheme: 'exact',
    network: 'base-sepolia',
    payload: vectors.exactEip3009.payload.payload,
  },
  paymentRequirements: {
    scheme: 'exact',
    network: 'base-sepolia',
    maxAmountRequired: requirements?.amount,
    resource: 'https://a.test/',
    asset: requirements?.asset,
    payTo: requirements?.payTo,
    maxTimeoutSeconds: 300,
    extra: requirements?.extra,
  },
}

interface Told {
  admit?: Caller | Denial
  verify?: Verdict | Denial
  settle?: Facilitated | Denial
  ready?: boolean
}

function stand(told: Told = {}, options: Partial<ServiceOptions> = {}) {
  const keys: (string | undefined)[] = []
  const addresses: (string | undefined)[] = []
  const asked: unknown[] = []
  const answer = <T>(said: T, ...what: unknown[]): Promise<T> => {
    asked.push(...what)
    return Promise.resolve(said)
  }
  const facilitator: Facilitator = {
    admit(key, address) {
      keys.push(key)
      addresses.push(address)
      return told.admit ?? { name: 'shop' }
    },
    verify: (_, offer) => answer(told.verify ?? { ok: true, key, payer }, offer),
    settle: (_, offer) => answer(told.settle ?? settled(offer), offer),
    ready: () => Promise.resolve(told.ready ?? true),
    recover: () => Promise.resolve(),
    drain: () => Promise.resolve(),
  }
  const handler = facilitatorHandler(facilitator, {
    rails: [method as unknown as Rail],
    ...options,
  })
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    handler(
      new Request(`http://f.test${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    )
  const get = (path: string) => handler(new Request(`http://f.test${path}`))
  return { handler, post, get, keys, addresses, asked }
}

function settled(offer: {
  rail: string
  network: string
  payee: string
  amount: object
}): Facilitated {
  const { rail, network, payee, amount } = offer
  const receipt = {
    rail,
    network,
    payee,
    amount: amount as never,
    payer,
    reference: '0xab',
    settledAt: 1,
    settled: true,
  }
  return { kind: 'settled', receipt }
}

suite('verify and settle', () => {
  test('are answered in the version and the network’s name that were used', async () => {
    const { post, asked } = stand()
    assert.deepEqual(await (await post('/verify', request)).json(), { isValid: true, payer })
    const two: unknown = await (await post('/settle', request)).json()
    assert(read(SettleResponse, two).ok)
    assert.deepEqual(two, {
      success: true,
      payer,
      transaction: '0xab',
      network: NETWORK,
      amount: '1000',
    })
    assert.deepEqual(await (await post('/verify', request1)).json(), { isValid: true, payer })
    const one: unknown = await (await post('/settle', request1)).json()
    assert(read(SettleResponseV1, one).ok)
    assert.deepEqual(one, { success: true, payer, transaction: '0xab', network: 'base-sepolia' })
    const [first, ...rest] = asked as { resource: object; amount: object }[]
    assert.equal(rest.length, 3)
    for (const offer of rest)
      assert.deepEqual({ ...offer, resource: {} }, { ...first, resource: {} })
  })

  test('say why not, in upstream’s words, with 200', async () => {
    const cases: readonly (readonly [Code, string | undefined, string])[] = [
      ['payment-spent', 'nonce-used', 'invalid_exact_evm_nonce_already_used'],
      ['payment-spent', undefined, 'duplicate_settlement'],
      ['funds-insufficient', 'funds-insufficient', 'invalid_exact_evm_insufficient_balance'],
      ['payment-in-flight', undefined, 'settlement_pending'],
    ]
    for (const [code, reason, word] of cases) {
      const why = problem(code, 'So it is.', reason === undefined ? {} : { reason })
      const { post } = stand({
        verify: { ok: false, problem: why, payer },
        settle: { kind: 'failed', problem: why, payer },
      })
      const verified = await post('/verify', request)
      assert.equal(verified.status, 200)
      const said = read(VerifyResponse, await verified.json())
      assert(said.ok)
      assert.equal(said.value.isValid, false)
      assert.equal(said.value.invalidReason, word)
      const answer = await post('/settle', request)
      const failed = read(SettleResponse, await answer.json())
      assert(failed.ok && !failed.value.success)
      assert.deepEqual(
        [answer.status, failed.value.errorReason, failed.value.transaction],
        [200, word, ''],
      )
    }
  })

  test('a pending one is named with its transaction', async () => {
    const { post } = stand({ settle: { kind: 'pending', payer, reference: '0xcd' } })
    const said = read(SettleResponse, await (await post('/settle', request)).json())
    assert(said.ok)
    const { success, errorReason, transaction } = said.value
    assert.deepEqual([success, errorReason, transaction], [false, 'settlement_pending', '0xcd'])
  })

  test('what cannot be told is 503, and no verdict', async () => {
    for (const code of Object.keys(problems).filter(
      (c) => c.endsWith('-unavailable') || c === 'internal',
    )) {
      const why = problem(code as Code, 'Later.')
      const { post } = stand({
        verify: { ok: false, problem: why },
        settle: { kind: 'failed', problem: why },
      })
      for (const path of ['/verify', '/settle']) {
        const answer = await post(path, request)
        assert.equal(answer.status, 503)
        assert(answer.headers.get('retry-after'))
        assert.match(await answer.text(), new RegExp(`unexpected_${path.slice(1)}_error`))
      }
    }
  })

  test('the terms are those of the requirements, not those that the payment claims to accept', async () => {
    const { post, asked } = stand()
    const accepted = { ...requirements, payTo: `0x${'11'.repeat(20)}`, amount: '1' }
    await post('/settle', { ...request, paymentPayload: { ...request.paymentPayload, accepted } })
    const [offer] = asked as { payee: string; amount: { amount: bigint } }[]
    assert.equal(offer?.payee.toLowerCase(), requirements?.payTo.toLowerCase())
    assert.equal(offer?.amount.amount, BigInt(requirements?.amount ?? 0))
  })

  const payment = request.paymentPayload
  const malformed: Readonly<Record<string, readonly [unknown, string, number]>> = {
    nothing: ['', 'invalid_payload', 400],
    null: [null, 'invalid_payload', 400],
    'a list': [[request], 'invalid_payload', 400],
    'another version': [{ ...request, x402Version: 3 }, 'invalid_x402_version', 400],
    'a version as text': [{ ...request, x402Version: '2' }, 'invalid_x402_version', 400],
    'no payment': [{ ...request, paymentPayload: undefined }, 'invalid_payload', 400],
    'no requirements': [{ ...request, paymentRequirements: {} }, 'invalid_payload', 400],
    'a prototype': ['{"x402Version":2,"__proto__":{}}', 'invalid_payload', 400],
    'an amount with a sign': [
      { ...request, paymentRequirements: { ...requirements, amount: '-1' } },
      'invalid_payload',
      400,
    ],
    'a payment without its proof': [
      { ...request, paymentPayload: { ...payment, payload: {} } },
      'invalid_payload',
      200,
    ],
    'a payment of something else': [
      { ...request, paymentPayload: { ...payment, accepted: { ...requirements, scheme: 'upto' } } },
      'invalid_payment_requirements',
      200,
    ],
  }
  for (const [name, [body, reason, status]] of Object.entries(malformed))
    test(`refuse ${name} and ask nobody`, async () => {
      const { post, asked } = stand()
      const verified = await post('/verify', body)
      const settling = await post('/settle', body)
      assert.deepEqual([verified.status, settling.status], [status, status])
      assert.equal(((await verified.json()) as VerifyResponse).invalidReason, reason)
      assert.equal(((await settling.json()) as SettleResponse).errorReason, reason)
      assert.equal(asked.length, 0)
    })
})

suite('the door', () => {
  test('knows a key by either header', async () => {
    const { post, keys } = stand()
    await post('/verify', request, { authorization: 'Bearer abc' })
    await post('/verify', request, { authorization: 'bearer  abc' })
    await post('/verify', request, { 'x-api-key': 'def' })
    await post('/verify', request, { authorization: 'Basic abc' })
    await post('/verify', request)
    assert.deepEqual(keys, ['abc', 'abc', 'def', undefined, undefined])
  })

  test('believes no header about where a request comes from', async () => {
    const { handler, addresses } = stand()
    const ask = (): Request =>
      new Request('http://f.test/verify', {
        method: 'POST',
        headers: { 'x-forwarded-for': '192.0.2.1', forwarded: 'for=192.0.2.1' },
        body: '{}',
      })
    await handler(ask())
    await handler(ask(), '192.0.2.2')
    assert.deepEqual(addresses, [undefined, '192.0.2.2'])
  })

  test('turns away before it reads a byte, and not in the words of a payment', async () => {
    const cases = [
      ['unauthorized', 401],
      ['forbidden', 403],
      ['limited', 429],
      ['closing', 503],
    ] as const
    for (const [code, status] of cases) {
      const denied: Denial = { kind: 'denied', code, detail: 'No.', retryAfterMs: 1500 }
      const body = new ReadableStream(
        { pull: () => assert.fail('nobody reads this') },
        { highWaterMark: 0 },
      )
      const { handler, post } = stand({ admit: denied })
      const unread = new Request('http://f.test/settle', { method: 'POST', body, duplex: 'half' })
      const answer = await handler(unread)
      assert.equal(answer.status, status)
      assert.equal(answer.headers.get('retry-after'), '2')
      assert(!read(SettleResponse, await answer.json()).ok)
      const late = stand({ settle: denied, verify: denied })
      for (const path of ['/settle', '/verify']) {
        assert.equal((await late.post(path, request)).status, status)
        assert.equal((await post(path, request)).status, status)
      }
    }
  })

  test('reads no more than it must', async () => {
    const { post, asked } = stand()
    const fill = (bytes: number): string => {
      const empty = JSON.stringify({ ...request, filler: '' })
      return JSON.stringify({ ...request, filler: 'x'.repeat(bytes - empty.length) })
    }
    assert.equal((await post('/verify', fill(BODY_BYTES_MAX))).status, 200)
    assert.equal((await post('/verify', fill(BODY_BYTES_MAX + 1))).status, 413)
    assert.equal((await post('/verify', request, { 'content-type': 'text/plain' })).status, 415)
    assert.equal(asked.length, 1)
  })

  test('has these paths and methods and no others', async () => {
    const { get, handler } = stand({}, { prefix: '/x402' })
    assert.equal((await get('/x402/supported')).status, 200)
    for (const path of [
      '/supported',
      '/x402',
      '/x402supported',
      '/x402/__proto__',
      '/x402/settle/',
    ])
      assert.equal((await get(path)).status, 404, path)
    assert.equal((await get('/x402/settle')).status, 405)
    const put = new Request('http://f.test/x402/supported', { method: 'PUT', body: '' })
    assert.equal((await handler(put)).headers.get('allow'), 'GET')
  })

  test('says whether it is alive and whether it is ready', async () => {
    for (const ready of [true, false]) {
      const { get } = stand({ ready })
      assert.equal((await get('/health/live')).status, 200)
      assert.equal((await get('/health/ready')).status, ready ? 200 : 503)
      assert.equal((await get('/health')).status, ready ? 200 : 503)
    }
  })
})

test('what is supported is what the rails can say, with who sends', async () => {
  const signers = { 'eip155:*': [vectors.facilitator] }
  const said = read(
    SupportedResponse,
    await (await stand({}, { signers }).get('/supported')).json(),
  )
  assert(said.ok)
  assert.deepEqual(said.value, {
    kinds: [
      { x402Version: 2, scheme: 'exact', network: NETWORK },
      { x402Version: 1, scheme: 'exact', network: 'base-sepolia' },
    ],
    extensions: [],
    signers,
  })
})

suite('the catalogue', () => {
  const item = (n: number, more: object = {}): object => ({
    resource: `https://a.test/${n}`,
    type: 'http',
    x402Version: 2,
    accepts: [requirements],
    lastUpdated: '2026-01-01T00:00:00Z',
    description: n % 2 ? 'Weather of places' : 'Reports',
    ...more,
  })
  const catalogue = [
    ...Array.from({ length: 30 }, (_, n) => item(n)),
    item(30, { type: 'mcp', extensions: { bazaar: {} }, accepts: [{ scheme: 'upto' }] }),
  ]
  const { get, post } = stand({}, { catalogue })
  const list = async (query: string) => {
    const said = read(DiscoveryResources, await (await get(`/discovery/resources?${query}`)).json())
    assert(said.ok)
    return said.value
  }

  test('is listed by the page', async () => {
    const first = await list('')
    assert.deepEqual(
      [first.items.length, first.pagination],
      [20, { limit: 20, offset: 0, total: 31 }],
    )
    assert.equal((await list('limit=5&offset=29')).items.length, 2)
    assert.equal((await list('limit=9999')).items.length, 31)
    assert.equal((await list('limit=-1&offset=x')).items.length, 20)
  })

  test('is filtered', async () => {
    assert.equal((await list('type=mcp')).pagination.total, 1)
    assert.equal((await list('extensions=bazaar')).pagination.total, 1)
    assert.equal((await list('extensions=__proto__')).pagination.total, 0)
    assert.equal((await list(`network=${NETWORK}&scheme=exact`)).pagination.total, 30)
    assert.equal((await list(`payTo=${requirements?.payTo.toLowerCase()}`)).pagination.total, 30)
    assert.equal((await list('payTo=0x00')).pagination.total, 0)
  })

  test('is searched, and followed to its end', async () => {
    let found = 0
    for (let cursor: string | null | undefined = '0'; typeof cursor === 'string';) {
      const path: string = `/discovery/search?query=WEATHER&limit=10&cursor=${cursor}`
      const body: unknown = await (await get(path)).json()
      const said = read(DiscoverySearch, body)
      assert(said.ok)
      found += said.value.resources.length
      cursor = said.value.pagination?.cursor
    }
    assert.equal(found, 15)
  })

  test('takes nothing that a payer sends', async () => {
    const extensions = { bazaar: { info: {}, schema: { pattern: '^(a+)+$' } } }
    const paymentPayload = { ...request.paymentPayload, extensions }
    assert.equal((await post('/settle', { ...request, paymentPayload })).status, 200)
    assert.equal((await list('')).pagination.total, 31)
  })

  test('must be readable at the start', () => {
    assert.throws(
      () => stand({}, { catalogue: [item(1), { resource: 1 }] }),
      /Item 1 of the catalogue/,
    )
  })
})

test('our own rail over our own wire: what is said here is understood there', async () => {
  const told: Told = {}
  const { handler } = stand(told)
  const offer = offerFor() as never
  const rail = facilitated(method, {
    url: 'http://f.test',
    repeatable: true,
    fetch: (input, init) => handler(new Request(input as string, init)),
  })
  const log = () => {
    const steps: { type: string; data: never }[] = []
    return {
      read: () => Promise.resolve(steps),
      write: async (step: never) => void steps.push(step),
    }
  }
  await rail.open()
  assert.equal((await rail.verify(offer, proof)).ok, true)
  assert.equal((await rail.settle(offer, proof, key, log())).state, 'settled')
  for (const [settle, state] of [
    [{ kind: 'pending', payer, reference: '0xcd' }, 'unknown'],
    [{ kind: 'failed', problem: problem('funds-insufficient', 'No.') }, 'failed'],
    [{ kind: 'failed', problem: problem('store-unavailable', 'No.') }, 'unknown'],
    [{ kind: 'denied', code: 'closing', detail: 'No.' }, 'failed'],
  ] as const) {
    told.settle = settle
    assert.equal((await rail.settle(offer, proof, key, log())).state, state)
  }
  told.verify = { ok: false, problem: problem('rail-unavailable', 'No.') }
  await assert.rejects(rail.verify(offer, proof), PaymentError)
})
