import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import test, { suite } from 'node:test'
import { x402Facilitator } from '@x402/core/facilitator'
import type { PaymentPayload, PaymentRequirements } from '@x402/core/types'
import type { Clock, Log, Rail, Settlement, Step } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Offer } from '../../core/offer.ts'
import type { Details } from '../../rails/evm/forms.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import { ANSWER_BYTES_MAX, DEAD_MARGIN_MS, facilitated } from './facilitator.ts'
import type { FacilitatedOptions } from './facilitator.ts'
import { method, offerFor, proof, vectors } from './fixture.test.ts'
import { FacilitatorRequest, read } from './wire.ts'

// The rail under test speaks to a stand-in on loopback whose answers each test chooses.

type Options = Partial<FacilitatedOptions<Details, Proof>>
type Answer = (res: ServerResponse, req: IncomingMessage, body: unknown) => void

interface Stand {
  readonly rail: Rail<Details, Proof>
  readonly asked: { readonly path: string; readonly body: unknown; readonly key: string }[]
  readonly log: Log & { readonly steps: Step[] }
}

const NETWORK = 'eip155:84532'
const offer = offerFor() as Offer<Details>
const { key, payer } = method.identify(offer, proof)
const paid = { success: true, transaction: '0xab', network: NETWORK, payer: vectors.payer }
const kind = { x402Version: 2, scheme: 'exact', network: NETWORK }

function clockAt(now: number): Clock {
  return {
    now: () => now,
    sleep: (_, signal) =>
      new Promise((resolve) => signal?.addEventListener('abort', () => resolve())),
  }
}

/** A clock on which every wait is over at once. */
const hasty: Clock = {
  now: () => 1000,
  sleep: () => new Promise((resolve) => setImmediate(resolve)),
}

function memoryLog(): Stand['log'] {
  const steps: Step[] = []
  return {
    steps,
    read: () => Promise.resolve([...steps]),
    write: (step) => Promise.resolve(void steps.push(step)),
  }
}

async function stand(
  answer: Answer,
  work: (stand: Stand) => Promise<void>,
  options: Options = {},
): Promise<void> {
  const asked: Stand['asked'] = []
  const server = createServer((req, res) => {
    void text(req).then((raw) => {
      const body: unknown = raw === '' ? undefined : JSON.parse(raw)
      asked.push({ path: `${req.method} ${req.url}`, body, key: String(req.headers['x-key']) })
      answer(res, req, body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  try {
    const rail = facilitated(method, {
      url: `http://127.0.0.1:${port}/x402/`,
      clock: clockAt(1000),
      ...options,
    })
    await work({ rail, asked, log: memoryLog() })
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

const json =
  (value: unknown, status = 200): Answer =>
  (res) => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  }

const isUnavailable = (error: unknown): boolean =>
  error instanceof PaymentError && error.code === 'rail-unavailable' && error.retryable

async function settled(answer: Answer, options: Options = {}): Promise<Settlement> {
  let found: Settlement | undefined
  await stand(
    answer,
    async ({ rail, log }) => {
      found = await rail.settle(offer, proof, key, log)
      assert.equal(log.steps[0]?.type, 'prepared')
    },
    options,
  )
  assert(found)
  return found
}

suite('the start', () => {
  test('asks for what will be needed, with the operator’s headers', () =>
    stand(
      json({ kinds: [kind] }),
      async ({ rail, asked }) => {
        await rail.open()
        assert.deepEqual(asked, [
          { path: 'GET /x402/supported', body: undefined, key: 'for supported' },
        ])
      },
      { headers: (operation) => ({ 'x-key': `for ${operation}` }) },
    ))

  for (const [name, answer] of [
    ['lists nothing', json({ kinds: [] })],
    ['lists another network', json({ kinds: [{ ...kind, network: 'eip155:1' }] })],
    ['lists another version', json({ kinds: [{ ...kind, x402Version: 1 }] })],
    ['answers garbage', json('<html>')],
  ] as const)
    test(`fails when the facilitator ${name}`, () =>
      stand(answer, ({ rail }) => assert.rejects(rail.open(), PaymentError)))
})

suite('verify', () => {
  test('asks in version 2 and believes a yes, but takes key and payer from the proof', () =>
    stand(json({ isValid: true, payer: '0xsomebody' }), async ({ rail, asked }) => {
      assert.deepEqual(await rail.verify(offer, proof), { ok: true, key, payer })
      const body = asked[0]?.body
      assert.equal(asked[0]?.path, 'POST /x402/verify')
      assert(read(FacilitatorRequest, body).ok)
      const [accepted] = vectors.exactEip3009.paymentRequired.accepts
      assert.deepEqual((body as FacilitatorRequest).paymentRequirements, accepted)
      assert.deepEqual((body as FacilitatorRequest).paymentPayload.accepted, accepted)
    }))

  for (const [reason, code] of [
    ['invalid_exact_evm_nonce_already_used', 'payment-spent'],
    ['invalid_exact_evm_insufficient_balance', 'funds-insufficient'],
    ['invalid_exact_evm_payload_authorization_valid_before', 'proof-expired'],
    ['invalid_exact_evm_recipient_mismatch', 'payee-mismatch'],
    ['invalid_exact_evm_signature', 'proof-invalid'],
    ['something new', 'proof-invalid'],
  ] as const)
    test(`tells ${reason} as ${code}`, async () => {
      for (const status of [200, 400])
        await stand(json({ isValid: false, invalidReason: reason }, status), async ({ rail }) => {
          const verdict = await rail.verify(offer, proof)
          assert(!verdict.ok)
          assert.equal(verdict.problem.code, code)
          assert.equal(verdict.key, key)
        })
    })

  for (const [name, answer] of [
    ['a server’s error', json({ isValid: true }, 500)],
    ['a yes that is not one', json({ isValid: 'yes' })],
    ['a yes with a client’s error', json({ isValid: true }, 403)],
    ['a page', ((res) => res.end('<html>')) as Answer],
    [
      'a facilitator that could not look',
      json({ isValid: false, invalidReason: 'unexpected_verify_error' }),
    ],
    [
      'a redirect',
      ((res) => res.writeHead(307, { location: 'https://example.com/' }).end()) as Answer,
    ],
    ['a broken connection', ((res) => res.destroy()) as Answer],
  ] as const)
    test(`throws on ${name}`, () =>
      stand(answer, ({ rail }) => assert.rejects(rail.verify(offer, proof), isUnavailable)))

  test('refuses a proof that ends before the work, without asking', () =>
    stand(
      json({ isValid: true }),
      async ({ rail, asked }) => {
        const verdict = await rail.verify(offer, proof, 2000)
        assert(!verdict.ok)
        assert.equal(verdict.problem.code, 'proof-expired')
        assert.equal(asked.length, 0)
        assert.equal((await rail.verify(offer, proof, 500)).ok, true)
      },
      { expiresAt: () => 1500 },
    ))

  test('looks itself at a nonce that is used: an observer may have paid us with it', async () => {
    const used = json({ isValid: false, invalidReason: 'invalid_exact_evm_nonce_already_used' })
    const found: Settlement = { state: 'settled', reference: '0xcd', payer, settledAt: 1 }
    await stand(
      used,
      async ({ rail }) =>
        assert.deepEqual(await rail.verify(offer, proof), { ok: true, key, payer }),
      { find: () => Promise.resolve(found) },
    )
    await stand(
      used,
      async ({ rail }) => assert.equal((await rail.verify(offer, proof)).ok, false),
      {
        find: () => Promise.resolve(undefined),
      },
    )
  })
})

suite('settle', () => {
  test('is settled by a whole answer that fits, and remembered', () =>
    stand(json(paid), async ({ rail, asked, log }) => {
      const found = await rail.settle(offer, proof, key, log)
      const outcome = { state: 'settled', reference: '0xab', payer, settledAt: 1000 }
      assert.deepEqual(found, outcome)
      assert.deepEqual(
        log.steps.map(({ type }) => type),
        ['prepared', 'answered'],
      )
      assert.deepEqual(await rail.find(offer, key, log), outcome)
      assert.deepEqual(await rail.settle(offer, proof, key, log), outcome)
      assert.equal(asked.length, 1)
    }))

  test('writes ahead, and sends nothing when that fails', () =>
    stand(json(paid), async ({ rail, asked, log }) => {
      const broken: Log = { ...log, write: () => Promise.reject(new Error('disk full')) }
      await assert.rejects(rail.settle(offer, proof, key, broken))
      assert.equal(asked.length, 0)
    }))

  test('keeps an outcome in hand though its record could not be written', () =>
    stand(json(paid), async ({ rail, log }) => {
      let writes = 0
      const failing: Log = {
        ...log,
        write: () => (writes++ === 0 ? Promise.resolve() : Promise.reject(new Error('full'))),
      }
      assert.equal((await rail.settle(offer, proof, key, failing)).state, 'settled')
    }))

  for (const [reason, code] of [
    ['invalid_exact_evm_insufficient_balance', 'funds-insufficient'],
    ['invalid_exact_evm_signature', 'proof-invalid'],
    ['insufficient_funds', 'funds-insufficient'],
  ] as const)
    test(`fails by ${reason}, which is found before anything is sent`, async () => {
      const said = { success: false, errorReason: reason, transaction: '', network: NETWORK }
      for (const status of [200, 400])
        await stand(json(said, status), async ({ rail, log }) => {
          const found = await rail.settle(offer, proof, key, log)
          assert(found.state === 'failed')
          assert.equal(found.problem.code, code)
          assert.deepEqual(await rail.find(offer, key, log), found)
        })
    })

  const failure = { success: false, transaction: '', network: NETWORK }
  const doubtful: Readonly<Record<string, Answer>> = {
    'success without a transaction (STL-04)': json({ ...paid, transaction: '' }),
    'success on another network (STL-04)': json({ ...paid, network: 'eip155:1' }),
    'success by the network’s old name': json({ ...paid, network: 'base-sepolia' }),
    'success of another amount': json({ ...paid, amount: '1' }),
    'success that is a word': json({ ...paid, success: 'true' }),
    'success with a client’s error': json(paid, 402),
    'success with a server’s error': json(paid, 500),
    'a pending settlement (STL-03)': json({
      ...failure,
      errorReason: 'settlement_pending',
      transaction: '0xab',
    }),
    'a refusal with a transaction': json({
      ...failure,
      errorReason: 'insufficient_funds',
      transaction: '0xab',
    }),
    'a transaction that failed': json({
      ...failure,
      errorReason: 'invalid_exact_evm_transaction_failed',
    }),
    'a nonce that is used': json({
      ...failure,
      errorReason: 'invalid_exact_evm_nonce_already_used',
    }),
    'an unexpected error': json({ ...failure, errorReason: 'unexpected_settle_error' }),
    'free text': json({ ...failure, errorReason: 'fetch failed' }),
    'no reason': json(failure),
    'a refusal with a server’s error': json({ ...failure, errorReason: 'insufficient_funds' }, 503),
    null: json(null),
    'a page (STL-26)': (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    'an answer that is too long (STL-26)': (res) =>
      res.end(`${' '.repeat(ANSWER_BYTES_MAX)}${JSON.stringify(paid)}`),
    'an answer without an end (STL-26)': (res) => {
      const more = (): void =>
        void (res.destroyed || (res.write('x'.repeat(65_536)), setImmediate(more)))
      more()
    },
    'too many requests': (res) => res.writeHead(429).end(),
    'a redirect': (res) => res.writeHead(308, { location: '/elsewhere' }).end(),
    'a broken connection (STL-01)': (res) => res.destroy(),
  }
  for (const [name, answer] of Object.entries(doubtful))
    test(`does not know after ${name}`, async () => {
      const found = await settled(answer)
      assert.equal(found.state, 'unknown')
    })

  test('does not know when the time is over (STL-02), also in the middle of an answer', async () => {
    const never: Answer = () => undefined
    const drip: Answer = (res) => void res.writeHead(200).write('{')
    for (const answer of [never, drip])
      assert.equal((await settled(answer, { clock: hasty })).state, 'unknown')
    const deaf = (): Promise<Response> => new Promise(() => undefined)
    assert.equal((await settled(never, { clock: hasty, fetch: deaf })).state, 'unknown')
  })

  test('tells nobody what the facilitator wrote', async () => {
    const secret = 'https://rpc.example/?key=abc'
    const found = await settled(json({ ...failure, errorReason: secret, errorMessage: secret }))
    assert(!JSON.stringify(found).includes('key=abc'))
  })

  test('looks itself where the answer leaves a doubt', async () => {
    const seen: Settlement = { state: 'settled', reference: '0xcd', payer, settledAt: 5 }
    const used = json({ ...failure, errorReason: 'invalid_exact_evm_nonce_already_used' })
    for (const answer of [used, json(null)])
      assert.deepEqual(await settled(answer, { find: () => Promise.resolve(seen) }), seen)
    const blind = (): Promise<never> => Promise.reject(new Error('rpc'))
    assert.equal((await settled(used, { find: blind })).state, 'unknown')
  })
})

suite('after a crash', () => {
  const lost: Answer = (res) => void res.destroy()

  test('there is no trace of what was not prepared', () =>
    stand(json(paid), async ({ rail, asked, log }) => {
      assert.equal(await rail.find(offer, key, log), undefined)
      assert.equal(asked.length, 0)
    }))

  test('nothing is sent twice, and the outcome stays unknown', () =>
    stand(lost, async ({ rail, asked, log }) => {
      await rail.settle(offer, proof, key, log)
      assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
      assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
      assert.equal(asked.length, 1)
    }))

  test('a facilitator that answers from its record is asked again, and only a yes counts', async () => {
    const answers = [
      lost,
      json({
        success: false,
        errorReason: 'insufficient_funds',
        transaction: '',
        network: NETWORK,
      }),
      json(paid),
    ]
    await stand(
      (res, req, body) => answers.shift()?.(res, req, body),
      async ({ rail, asked, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
        assert.equal((await rail.find(offer, key, log))?.state, 'settled')
        assert.deepEqual(asked[2]?.body, asked[0]?.body)
      },
      { repeatable: true },
    )
  })

  test('an own look tells, and after the proof’s end its silence is an answer', async () => {
    const end = 5000
    const look = { find: () => Promise.resolve(undefined), expiresAt: () => end }
    for (const [now, state] of [
      [end + DEAD_MARGIN_MS, 'unknown'],
      [end + DEAD_MARGIN_MS + 1, 'failed'],
    ] as const)
      await stand(
        lost,
        async ({ rail, log }) => {
          await rail.settle(offer, proof, key, log)
          assert.equal((await rail.find(offer, key, log))?.state, state)
        },
        { ...look, clock: clockAt(now) },
      )
  })

  test('without an own look the proof’s end proves nothing', () =>
    stand(
      lost,
      async ({ rail, log }) => {
        await rail.settle(offer, proof, key, log)
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
      },
      { expiresAt: () => 0, clock: clockAt(1e12) },
    ))
})

suite('npm @x402/core’s facilitator', () => {
  const calls: string[] = []
  const scheme = {
    scheme: 'exact',
    caipFamily: 'eip155:*',
    getExtra: () => undefined,
    getSigners: () => [vectors.facilitator],
    verify: ({ payload }: PaymentPayload, { amount }: PaymentRequirements) => {
      const { value } = (payload as typeof vectors.exactEip3009.payload.payload).authorization
      const isValid = value === amount
      calls.push('verify')
      return Promise.resolve(
        isValid
          ? { isValid, payer: vectors.payer }
          : { isValid, invalidReason: 'invalid_exact_evm_payload_authorization_value_mismatch' },
      )
    },
    settle: (_: PaymentPayload, { network }: PaymentRequirements) => {
      calls.push('settle')
      return Promise.resolve({ success: true, transaction: '0xab', network, payer: vectors.payer })
    },
  }
  const upstream = new x402Facilitator().register(NETWORK, scheme)
  const serve: Answer = (res, req, body) => {
    const { paymentPayload: p, paymentRequirements: r } = (body ?? {}) as {
      paymentPayload: PaymentPayload
      paymentRequirements: PaymentRequirements
    }
    const answer =
      req.url === '/x402/supported'
        ? Promise.resolve(upstream.getSupported())
        : req.url === '/x402/verify'
          ? upstream.verify(p, r)
          : upstream.settle(p, r)
    answer.then(
      (value) => json(value)(res, req, body),
      () => json({}, 500)(res, req, body),
    )
  }

  test('is asked, verifies and settles', () =>
    stand(serve, async ({ rail, log }) => {
      await rail.open()
      assert.equal((await rail.verify(offer, proof)).ok, true)
      const dear = offerFor('0.002 USD') as Offer<Details>
      const verdict = await rail.verify(dear, proof)
      assert(!verdict.ok)
      assert.equal(verdict.problem.code, 'amount-mismatch')
      assert.equal((await rail.settle(offer, proof, key, log)).state, 'settled')
      assert.deepEqual(calls, ['verify', 'verify', 'settle'])
    }))
})
