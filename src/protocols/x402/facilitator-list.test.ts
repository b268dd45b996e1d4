// Several facilitators behind one rail: stand-ins on loopback, each with answers and a count of its own.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import test, { suite } from 'node:test'
import type { Clock, Log, Rail, Settlement, Step } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Offer } from '../../core/offer.ts'
import type { Details } from '../../rails/evm/forms.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import { REST_MS } from './facilitator-place.ts'
import { facilitated } from './facilitator.ts'
import type { FacilitatedOptions } from './facilitator.ts'
import { method, offerFor, proof, vectors } from './fixture.test.ts'

type Options = Partial<FacilitatedOptions<Details, Proof>>
type Answer = (res: ServerResponse) => void

const NETWORK = 'eip155:84532'
const offer = offerFor() as Offer<Details>
const { key, payer } = method.identify(offer, proof)
const paid = { success: true, transaction: '0xab', network: NETWORK, payer: vectors.payer }
const refused = { success: false, transaction: '', network: NETWORK }

const json =
  (value: unknown, status = 200): Answer =>
  (res) => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  }
const kinds = json({ kinds: [{ x402Version: 2, scheme: 'exact', network: NETWORK }] })

/** A port on which nobody listens: a connection is refused before a byte is sent. */
const ABSENT = 'absent'

interface Stage {
  readonly rail: Rail<Details, Proof>
  /** Requests by the place in the list, as `path`. */
  readonly asked: readonly string[][]
  readonly log: Log & { readonly steps: Step[] }
  pass(ms: number): void
}

async function stage(
  answers: readonly (Answer | typeof ABSENT)[],
  work: (stage: Stage) => Promise<void>,
  options: Options = {},
): Promise<void> {
  let now = 1000
  const clock: Clock = {
    now: () => now,
    // Time-outs never come; short waits are over at once.
    sleep: (ms, signal) =>
      ms < 60_000
        ? new Promise(setImmediate)
        : new Promise((done) => signal?.addEventListener('abort', () => done())),
  }
  const asked: string[][] = answers.map(() => [])
  const servers = await Promise.all(
    answers.map(async (answer, i) => {
      const server = createServer((req, res) => {
        void text(req).then(() => {
          asked[i]?.push(req.url ?? '')
          if (answer !== ABSENT) answer(res)
        })
      })
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
      const { port } = server.address() as AddressInfo
      if (answer === ABSENT) await new Promise((done) => server.close(done))
      return { server, url: `http://127.0.0.1:${port}` }
    }),
  )
  const steps: Step[] = []
  const log = {
    steps,
    read: () => Promise.resolve([...steps]),
    write: (step: Step) => Promise.resolve(void steps.push(step)),
  }
  try {
    const rail = facilitated(method, { url: servers.map(({ url }) => url), clock, ...options })
    await work({ rail, asked, log, pass: (ms) => (now += ms) })
  } finally {
    for (const { server } of servers) {
      server.closeAllConnections()
      server.close()
    }
  }
}

suite('settling through a list', () => {
  const passed: Readonly<Record<string, Answer | typeof ABSENT>> = {
    'is not there': ABSENT,
    'does not know us': json({ error: 'no' }, 401),
    'does not let us': (res) => res.writeHead(403).end('<html>'),
    'has no such path': (res) => res.writeHead(404).end(),
    'is ours and closing': json({ error: 'closing' }, 503),
    'is ours and has enough of us': json({ error: 'limited' }, 429),
  }
  for (const [name, first] of Object.entries(passed))
    test(`goes on to the next when the first ${name}`, () =>
      stage([first, json(paid)], async ({ rail, asked, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'settled')
        assert.deepEqual(asked[1], ['/settle'])
        assert.deepEqual(
          log.steps.map(({ type }) => type),
          ['prepared', 'turned-away', 'prepared', 'answered'],
        )
        const [one, , two] = log.steps
        assert.notEqual(one?.data['via'], two?.data['via'])
        assert.equal((await rail.find(offer, key, log))?.state, 'settled')
      }))

  const doubtful: Readonly<Record<string, Answer>> = {
    'breaks off': (res) => res.destroy(),
    'fails within': (res) => res.writeHead(500).end(),
    'stands behind something that is down': (res) => res.writeHead(502).end('<html>'),
    'is busy': (res) => res.writeHead(503).end(),
    'counts requests': (res) => res.writeHead(429).end(),
    'answers garbage': (res) => res.end('<html>'),
    'is still at it': json({ ...refused, errorReason: 'settlement_pending', transaction: '0xab' }),
    'fails in free text': json({ ...refused, errorReason: 'fetch failed' }),
    'says it in a door’s words': json({ ...refused, error: 'closing' }, 503),
  }
  for (const [name, first] of Object.entries(doubtful))
    test(`sends nothing to the next when the first ${name}`, () =>
      stage([first, json(paid)], async ({ rail, asked, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
        assert.deepEqual(asked, [['/settle'], []])
      }))

  test('takes a definite no for one', () =>
    stage(
      [json({ ...refused, errorReason: 'insufficient_funds' }), json(paid)],
      async ({ rail, asked, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'failed')
        assert.deepEqual(asked[1], [])
      },
    ))

  test('fails when nobody takes it, and nothing was taken', () =>
    stage([ABSENT, json({}, 401)], async ({ rail, log }) => {
      for (const found of [
        await rail.settle(offer, proof, key, log),
        await rail.find(offer, key, log),
      ]) {
        assert(found?.state === 'failed')
        assert.equal(found.problem.code, 'rail-unavailable')
      }
    }))

  test('after a crash asks the one that it was sent to last, and no other', () =>
    stage(
      [ABSENT, json(paid), json(paid)],
      async ({ rail, asked, log }) => {
        await rail.settle(offer, proof, key, log)
        log.steps.pop()
        assert.equal((await rail.find(offer, key, log))?.state, 'settled')
        assert.deepEqual(asked, [[], ['/settle', '/settle'], []])
      },
      { repeatable: true },
    ))

  test('sends nothing to the next before it is written that the first has not taken it', () =>
    stage([ABSENT, json(paid)], async ({ rail, asked, log }) => {
      const full: Log = {
        ...log,
        write: (step) =>
          step.type === 'turned-away' ? Promise.reject(new Error('disk full')) : log.write(step),
      }
      await assert.rejects(rail.settle(offer, proof, key, full))
      assert.deepEqual(asked[1], [])
    }))

  test('each has fields of its own', async () => {
    const seen: string[] = []
    const fetch: typeof globalThis.fetch = async (input, init) => {
      seen.push(`${input as string} ${new Headers(init?.headers).get('x-key')}`)
      return new Response(JSON.stringify({ isValid: false, invalidReason: 'unsupported_scheme' }))
    }
    const rail = facilitated(method, {
      url: ['https://a.test', { url: 'https://b.test', headers: () => ({ 'x-key': 'b' }) }],
      headers: () => ({ 'x-key': 'a' }),
      fetch,
    })
    const verdict = await rail.verify(offer, proof)
    assert(!verdict.ok && verdict.problem.code === 'credential-unsupported')
    assert.deepEqual(seen, ['https://a.test/verify a', 'https://b.test/verify b'])
  })
})

suite('verifying through a list', () => {
  for (const [name, first] of [
    ['is not there', ABSENT],
    ['fails', ((res) => res.writeHead(500).end()) as Answer],
    ['breaks off', ((res) => res.destroy()) as Answer],
    ['cannot do this', json({ isValid: false, invalidReason: 'unsupported_scheme' })],
  ] as const)
    test(`asks the next when the first ${name}`, () =>
      stage([first, json({ isValid: true })], async ({ rail }) => {
        assert.deepEqual(await rail.verify(offer, proof), { ok: true, key, payer })
      }))

  test('takes a no from whoever says it', () =>
    stage(
      [json({ isValid: false, invalidReason: 'insufficient_funds' }), json({ isValid: true })],
      async ({ rail, asked }) => {
        assert.equal((await rail.verify(offer, proof)).ok, false)
        assert.deepEqual(asked[1], [])
      },
    ))

  test('lets one that failed rest for a while', () => {
    let up = false
    const first: Answer = (res) => (up ? json({ isValid: true }) : json({}, 500))(res)
    return stage([first, json({ isValid: true })], async ({ rail, asked, ...clock }) => {
      await rail.verify(offer, proof)
      await rail.verify(offer, proof)
      up = true
      clock.pass(REST_MS)
      await rail.verify(offer, proof)
      assert.deepEqual(
        asked.map((paths) => paths.length),
        [2, 2],
      )
    })
  })

  test('fails when none can tell', () =>
    stage([ABSENT, json({}, 500)], ({ rail }) =>
      assert.rejects(rail.verify(offer, proof), PaymentError),
    ))
})

suite('the start', () => {
  test('needs one that can do it, and leaves out those that cannot', () =>
    stage([json({ kinds: [] }), ABSENT, kinds], async ({ rail, asked }) => {
      await rail.open()
      await assert.rejects(rail.verify(offer, proof), PaymentError)
      assert.deepEqual(asked, [['/supported'], [], ['/supported', '/verify']])
    }))

  test('fails without one', () =>
    stage([json({ kinds: [] }), ABSENT], ({ rail }) => assert.rejects(rail.open(), PaymentError)))

  test('takes no list that cannot be told apart', () => {
    assert.throws(() => facilitated(method, { url: [] }), RangeError)
    const url = ['https://a.test/one', 'https://a.test/two']
    assert.throws(() => facilitated(method, { url }), RangeError)
  })
})

suite('trust', () => {
  const seen: Settlement = { state: 'settled', reference: '0xcd', payer, settledAt: 5 }
  const answers = [json(paid)]

  test('in its word looks at nothing', () =>
    stage(answers, async ({ rail, log }) => {
      const found = await rail.settle(offer, proof, key, log)
      assert(found.state === 'settled')
      assert.equal(found.reference, '0xab')
    }))

  test('in the receipt waits until the chain shows it, and takes the chain’s word', () => {
    let looks = 0
    const find = (): Promise<Settlement | undefined> =>
      Promise.resolve(++looks < 3 ? undefined : seen)
    return stage(
      answers,
      async ({ rail, log }) => assert.deepEqual(await rail.settle(offer, proof, key, log), seen),
      { trust: 'receipt', find },
    )
  })

  test('in the receipt believes no success that the chain never shows', () =>
    stage(
      answers,
      async ({ rail, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
      },
      { trust: 'receipt', find: () => Promise.resolve(undefined) },
    ))

  test('in confirmations waits for as many, also after a crash', () => {
    let depth = 1
    return stage(
      answers,
      async ({ rail, log }) => {
        assert.equal((await rail.settle(offer, proof, key, log)).state, 'unknown')
        depth = 2
        assert.equal((await rail.find(offer, key, log))?.state, 'unknown')
        depth = 3
        assert.deepEqual(await rail.find(offer, key, log), seen)
      },
      {
        trust: { confirmations: 3 },
        find: () => Promise.resolve(seen),
        depth: () => Promise.resolve(depth),
      },
    )
  })

  test('must have something to look with', () => {
    const url = 'https://a.test'
    const find = (): Promise<undefined> => Promise.resolve(undefined)
    assert.throws(() => facilitated(method, { url, trust: 'receipt' }), RangeError)
    assert.throws(() => facilitated(method, { url, find, trust: { confirmations: 2 } }), RangeError)
  })
})
