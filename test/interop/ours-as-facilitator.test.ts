// The peers' servers, unmodified, settle through our facilitator on a real chain; then everybody who wishes it ill.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wrapFetchWithPayment } from '@x402/fetch'
import { createCallers, everybody } from '../../src/adapters/facilitator.ts'
import type { Callers } from '../../src/adapters/facilitator.ts'
import { startFacilitator as startOurs } from '../../src/config/facilitator.ts'
import type { RunningFacilitator } from '../../src/config/facilitator.ts'
import type { Clock, Ledger } from '../../src/core/ports.ts'
import { systemClock } from '../../src/core/clock.ts'
import { TAKEOVER_MS } from '../../src/facilitator/facilitator.ts'
import { memory } from '../../src/ledger/memory.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { ending, spawnTolsey } from '../tolsey.ts'
import type { Keys } from './peers.ts'
import {
  createBuyer,
  createClient,
  createSender,
  listen,
  startExpressSeller,
  startHonoSeller,
} from './peers.ts'

const MARKER = 'rpc-secret-4711'
const KEY = 'k'.repeat(40)

let chain: Chain
let payee: Keys
let ours: RunningFacilitator
let directory: string
let ledger: Ledger
before(async () => {
  chain = await startChain()
  payee = await createSender(chain)
  directory = await mkdtemp(join(tmpdir(), 'facilitator-'))
  ledger = await sqlite({ file: join(directory, 'ours.sqlite') })
  ours = await start({ ledger })
})
after(async () => {
  await ours?.stop()
  await ledger?.close()
  await chain?.stop()
  await rm(directory, { recursive: true })
})

interface Choice {
  readonly ledger?: Ledger
  readonly callers?: Callers
  readonly rpc?: string
  readonly clock?: Clock
  readonly signer?: string
  readonly drainMs?: number
}

async function start(choice: Choice = {}): Promise<RunningFacilitator> {
  const { rpc = chain.rpc, signer = (await createSender(chain)).privateKey, clock } = choice
  return await startOurs({
    chains: [{ network: 'base-sepolia', rpc, signer }],
    ledger: choice.ledger ?? memory(),
    callers: choice.callers ?? everybody(),
    host: '127.0.0.1',
    port: 0,
    drainMs: choice.drainMs ?? 2_000,
    ...(clock && { clock }),
  })
}

interface Body {
  readonly x402Version: number
  readonly paymentPayload: {
    readonly payload: { readonly signature: string; readonly authorization: object }
  }
  readonly paymentRequirements: Readonly<Record<string, unknown>>
}

/** What a stock server posts for a fresh payment of one cent's tenth. */
async function order(
  buyer: Keys,
  version: 1 | 2 = 2,
  payTo: string = payee.address,
): Promise<Body> {
  const end = Math.floor(Date.now() / 1000) + 300
  const authorization = {
    from: buyer.address,
    to: payTo as `0x${string}`,
    value: '1000',
    validAfter: '0',
    validBefore: String(end),
    nonce: `0x${randomBytes(32).toString('hex')}` as const,
  }
  const signature = await buyer.account.signTypedData({
    domain: {
      name: 'USDC',
      version: '2',
      chainId: chain.chainId,
      verifyingContract: chain.usdc as `0x${string}`,
    },
    types: {
      TransferWithAuthorization: [
        { name: 'from', type: 'address' },
        { name: 'to', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'validAfter', type: 'uint256' },
        { name: 'validBefore', type: 'uint256' },
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'TransferWithAuthorization',
    message: { ...authorization, value: 1000n, validAfter: 0n, validBefore: BigInt(end) },
  })
  const payload = { signature, authorization }
  const common = { scheme: 'exact', asset: chain.usdc, payTo, maxTimeoutSeconds: 300 }
  const extra = { name: 'USDC', version: '2' }
  if (version === 1) {
    const wanted = { ...common, network: 'base-sepolia', maxAmountRequired: '1000', extra }
    return {
      x402Version: 1,
      paymentPayload: {
        x402Version: 1,
        scheme: 'exact',
        network: 'base-sepolia',
        payload,
      } as Body['paymentPayload'],
      paymentRequirements: { ...wanted, resource: 'http://a.test/', description: '', mimeType: '' },
    }
  }
  const wanted = { ...common, network: chain.network, amount: '1000', extra }
  return {
    x402Version: 2,
    paymentPayload: { x402Version: 2, accepted: wanted, payload } as Body['paymentPayload'],
    paymentRequirements: wanted,
  }
}

interface Said {
  readonly status: number
  readonly text: string
  readonly headers: Headers
  readonly body: {
    readonly success?: boolean
    readonly isValid?: boolean
    readonly transaction?: string
    readonly payer?: string
    readonly network?: string
    readonly errorReason?: string
    readonly invalidReason?: string
    readonly error?: string
  }
}

async function post(
  url: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Said> {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const said = await response.text()
  return {
    status: response.status,
    text: said,
    headers: response.headers,
    body: JSON.parse(said) as Said['body'],
  }
}

async function earning(
  work: () => Promise<void>,
  account: string = payee.address,
): Promise<bigint> {
  const before = await chain.balanceOf(account)
  await work()
  return (await chain.balanceOf(account)) - before
}

async function sent(from: RunningFacilitator): Promise<number> {
  const [signer] = from.signers
  return Number(await chain.request('eth_getTransactionCount', [signer, 'latest']))
}

describe('the peers’ servers', () => {
  for (const [name, startSeller] of [
    ['express', startExpressSeller],
    ['hono', startHonoSeller],
  ] as const)
    test(`npm @x402/${name} is paid by npm @x402/fetch through us`, async () => {
      const seller = await startSeller(ours.url, payee.address)
      const buyer = await createBuyer(chain, 10_000n)
      try {
        let credential = ''
        const listening: typeof fetch = async (input, init) => {
          const request = new Request(input, init)
          credential = request.headers.get('PAYMENT-SIGNATURE') ?? credential
          return await fetch(request)
        }
        const gained = await earning(async () => {
          const pay = wrapFetchWithPayment(listening, createClient(buyer.account))
          const response = await pay(`${seller.url}/paid`)
          assert.deepEqual([response.status, await response.json()], [200, { from: name }])
          // The server has no memory of its own: that the payment was used, it hears from us.
          const again = await fetch(`${seller.url}/paid`, {
            headers: { 'PAYMENT-SIGNATURE': credential },
          })
          assert.equal(again.status, 402)
        })
        assert.equal(gained, 1_000n)
        assert.equal(await chain.balanceOf(buyer.address), 9_000n)
      } finally {
        await seller.close()
      }
    })
})

describe('settle', () => {
  test('is answered from the books for ever, in both versions', async () => {
    for (const version of [1, 2] as const) {
      const body = await order(await createBuyer(chain, 1_000n), version)
      const count = await sent(ours)
      const gained = await earning(async () => {
        assert.equal((await post(ours.url, '/verify', body)).body.isValid, true)
        const first = await post(ours.url, '/settle', body)
        assert.equal(first.body.success, true, first.text)
        assert.equal(first.body.network, version === 1 ? 'base-sepolia' : chain.network)
        assert.match(first.body.transaction ?? '', /^0x[0-9a-f]{64}$/)
        assert.equal((await post(ours.url, '/settle', body)).text, first.text)
        const verified = await post(ours.url, '/verify', body)
        assert.equal(verified.body.isValid, false)
      })
      assert.equal(gained, 1_000n)
      assert.equal(await sent(ours), count + 1)
    }
  })

  test('twenty times at once is one transaction and one answer', async () => {
    const body = await order(await createBuyer(chain, 5_000n))
    const count = await sent(ours)
    const gained = await earning(async () => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => post(ours.url, '/settle', body)),
      )
      assert.equal(new Set(answers.map((answer) => answer.text)).size, 1)
      assert.equal(answers[0]?.body.success, true)
    })
    assert.equal(gained, 1_000n)
    assert.equal(await sent(ours), count + 1)
  })

  test('of 160 payments, 16 at a time from one key, all succeed', async () => {
    const buyer = await createBuyer(chain, 160_000n)
    const bodies = await Promise.all(Array.from({ length: 160 }, () => order(buyer)))
    let settled = 0
    const gained = await earning(async () => {
      const worker = async (): Promise<void> => {
        for (let body = bodies.pop(); body; body = bodies.pop()) {
          const answer = await post(ours.url, '/settle', body)
          assert.equal(answer.body.success, true, answer.text)
          settled++
        }
      }
      await Promise.all(Array.from({ length: 16 }, worker))
    })
    assert.equal(settled, 160)
    assert.equal(gained, 160_000n)
    assert.equal(ours.signers.length, 1)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })
})

describe('what a caller’s settlements cost', () => {
  test('is what the chain took for them, however many went together', async () => {
    const books = memory()
    const { privateKey, address } = await createSender(chain)
    const limits = { name: 'shop', keys: [KEY], gasPerDayWei: 10n ** 17n }
    const callers = createCallers([limits])
    const shop = await start({ ledger: books, callers, signer: privateKey })
    try {
      const key = { authorization: `Bearer ${KEY}` }
      const balance = async (): Promise<bigint> =>
        BigInt((await chain.request('eth_getBalance', [address, 'latest'])) as string)
      const before = await balance()
      const buyer = await createBuyer(chain, 9_000n)
      const settle = async (): Promise<void> => {
        const answer = await post(shop.url, '/settle', await order(buyer), key)
        assert.equal(answer.body.success, true, answer.text)
      }
      await settle()
      const alone = await gasIn(books)
      assert.equal(alone.posted, before - (await balance()))
      await Promise.all(Array.from({ length: 8 }, settle))
      const all = await gasIn(books)
      const spent = before - (await balance())
      // Shares are whole wei, rounded up.
      assert(all.posted >= spent && all.posted < spent + 9n, `${all.posted} of ${spent}`)
      assert.equal(all.pending, 0n)
      assert.deepEqual((await verifyBooks(books)).problems, [])
    } finally {
      await shop.stop()
    }
  })

  test('is refused when it might be too much, and others go on', async () => {
    const rich = 'r'.repeat(40)
    const callers = createCallers([
      { name: 'poor', keys: [KEY], gasPerDayWei: 1n },
      { name: 'rich', keys: [rich] },
    ])
    const shop = await start({ callers })
    try {
      const body = await order(await createBuyer(chain, 1_000n))
      const by = (key: string) => ({ authorization: `Bearer ${key}` })
      const count = await sent(shop)
      const answer = await post(shop.url, '/settle', body, by(KEY))
      assert.deepEqual([answer.status, answer.body.error], [429, 'limited'])
      assert.equal(await sent(shop), count)
      assert.equal((await post(shop.url, '/settle', body, by(rich))).body.success, true)
    } finally {
      await shop.stop()
    }
  })

  async function gasIn(books: Ledger): Promise<{ posted: bigint; pending: bigint }> {
    const line = (await books.balances()).find(({ account }) => account.startsWith('gas/shop/'))
    assert(line)
    return line
  }
})

test('two with keys of their own on the same books are one: so a sending key is changed without a pause', async () => {
  const file = join(directory, 'changed.sqlite')
  const books = [await sqlite({ file }), await sqlite({ file })] as const
  const both = [await start({ ledger: books[0] }), await start({ ledger: books[1] })] as const
  const [old, next] = both
  try {
    assert.notDeepEqual(old.signers, next.signers)
    const buyer = await createBuyer(chain, 9_000n)
    const bodies = await Promise.all(Array.from({ length: 8 }, () => order(buyer)))
    const last = await order(buyer)
    const gained = await earning(async () => {
      const answers = await Promise.all(
        bodies.map((body) => Promise.all(both.map(({ url }) => post(url, '/settle', body)))),
      )
      for (const [one, other] of answers) {
        assert.equal(one?.body.success, true, one?.text)
        assert.equal(one?.text, other?.text)
      }
      await old.stop()
      for (const [i, body] of bodies.entries())
        assert.equal((await post(next.url, '/settle', body)).text, answers[i]?.[0]?.text)
      assert.equal((await post(next.url, '/settle', last)).body.success, true)
    })
    assert.equal(gained, 9_000n)
  } finally {
    await Promise.all(both.map((one) => one.stop()))
    await Promise.all(books.map((one) => one.close()))
  }
})

test('one that stops answers what it has taken, and sends others away', async () => {
  const slow = await startChain()
  const { privateKey, address } = await createSender(slow)
  const stopping = await start({ rpc: slow.rpc, signer: privateKey, drainMs: 30_000 })
  try {
    const [first, second] = await Promise.all(
      [1, 2].map(async () => await order(await createBuyer(slow, 1_000n))),
    )
    await slow.request('evm_setAutomine', [false])
    const settling = post(stopping.url, '/settle', first)
    const pending = async (): Promise<number> =>
      Number(await slow.request('eth_getTransactionCount', [address, 'pending']))
    while ((await pending()) === 0) await sleep(10)
    const stopped = stopping.stop()
    const late = await post(stopping.url, '/settle', second)
    assert.deepEqual([late.status, late.body.error], [503, 'closing'])
    assert.equal((await fetch(`${stopping.url}/health`)).status, 503)
    assert.equal((await fetch(`${stopping.url}/health/live`)).status, 200)
    await slow.request('evm_mine')
    const answer = await settling
    assert.equal(answer.body.success, true, answer.text)
    await stopped
    assert.equal(await slow.balanceOf(payee.address), 1_000n)
    await assert.rejects(fetch(`${stopping.url}/health`))
  } finally {
    await stopping.stop()
    await slow.stop()
  }
})

test('an open one limits each address, and refuses repeats if it is told to', async () => {
  const { privateKey } = await createSender(chain)
  const child = spawnTolsey(
    [
      ...['facilitator', '--network', 'base-sepolia', '--rpc', chain.rpc, '--port', '0'],
      ...['--open', '--repeats', 'refuse', '--per-minute', '3', '--gas-per-day', `${10n ** 17n}`],
    ],
    { cwd: directory, env: { TOLSEY_FACILITATOR_KEY: privateKey } },
  )
  const end = ending(child)
  try {
    const [line] = (await Promise.race([
      once(createInterface({ input: child.stdout }), 'line'),
      end.then(({ stderr }) => assert.fail(stderr)),
    ])) as [string]
    const { facilitator } = JSON.parse(line) as { facilitator: string }
    const body = await order(await createBuyer(chain, 1_000n))
    assert.equal((await post(facilitator, '/settle', body)).body.success, true)
    const again = await post(facilitator, '/settle', body)
    assert.equal(again.body.errorReason, 'duplicate_settlement')
    // Sooner or later there are four within one minute.
    let more = again
    while (more.status === 200) more = await post(facilitator, '/settle', body)
    assert.deepEqual([more.status, more.body.error], [429, 'limited'])
  } finally {
    child.kill('SIGTERM')
    await end
  }
})

test('killed after it has sent, it knows after its restart what became of it', async () => {
  const quiet = await startChain()
  const file = join(directory, 'killed.sqlite')
  const { privateKey, account } = await (async () => {
    const keys = await createSender(chain)
    await quiet.fundEther(keys.address, 10n ** 18n)
    return keys
  })()
  const child = spawnTolsey(
    [
      'facilitator',
      '--network',
      'base-sepolia',
      '--rpc',
      quiet.rpc,
      '--open',
      '--port',
      '0',
      '--ledger',
      file,
    ],
    { cwd: directory, env: { TOLSEY_FACILITATOR_KEY: privateKey } },
  )
  const end = ending(child)
  try {
    const [line] = (await Promise.race([
      once(createInterface({ input: child.stdout }), 'line'),
      end.then(({ stderr }) => assert.fail(stderr)),
    ])) as [string]
    const { facilitator, signers } = JSON.parse(line) as { facilitator: string; signers: string[] }
    assert.deepEqual(signers, [account.address])
    const buyer = await createSender(chain)
    await quiet.mint(buyer.address, 1_000n)
    await quiet.request('evm_setAutomine', [false])
    const body = await order(buyer)
    const settling = post(facilitator, '/settle', body).catch(() => undefined)
    const pending = async (): Promise<number> =>
      Number(await quiet.request('eth_getTransactionCount', [account.address, 'pending']))
    while ((await pending()) === 0) await sleep(10)
    child.kill('SIGKILL')
    await settling
    await end
    await quiet.request('evm_mine')
    assert.equal(await quiet.balanceOf(payee.address), 1_000n)
    const later: Clock = { ...systemClock, now: () => Date.now() + TAKEOVER_MS }
    const books = await sqlite({ file, clock: later })
    const next = await start({ ledger: books, rpc: quiet.rpc, signer: privateKey, clock: later })
    try {
      const answer = await post(next.url, '/settle', body)
      assert.equal(answer.body.success, true, answer.text)
      assert.match(answer.body.transaction ?? '', /^0x[0-9a-f]{64}$/)
      assert.equal((await post(next.url, '/settle', body)).text, answer.text)
      assert.equal(await pending(), 1)
      assert.equal(await quiet.balanceOf(payee.address), 1_000n)
      assert.deepEqual((await verifyBooks(books)).problems, [])
    } finally {
      await next.stop()
      await books.close()
    }
  } finally {
    child.kill('SIGKILL')
    await end
    await quiet.stop()
  }
})

describe('whoever wishes it ill', () => {
  test('pays nothing to anybody else, with no other token and through no factory', async () => {
    const buyer = await createBuyer(chain, 10_000n)
    const count = await sent(ours)
    const honest = await order(buyer)
    const { paymentPayload: payload, paymentRequirements: wanted } = honest
    const change = (more: object): Body => {
      const accepted = { ...wanted, ...more }
      return {
        ...honest,
        paymentRequirements: accepted,
        paymentPayload: { ...payload, accepted } as Body['paymentPayload'],
      }
    }
    const wrapped = (signature: string): Body => ({
      ...honest,
      paymentPayload: { ...payload, payload: { ...payload.payload, signature } },
    })
    const token = await chain.deploy('0x600a600c600039600a6000f3602a60005260206000f3')
    // ERC-6492: (factory, calldata, signature) and the magic end.
    const word = (value: bigint | number): string => value.toString(16).padStart(64, '0')
    const factory = `0x${'00'.repeat(12)}${token.slice(2)}${word(96)}${word(128)}${word(0)}${word(0)}${'6492'.repeat(16)}`
    for (const [body, reason] of [
      [change({ payTo: token }), /recipient_mismatch/],
      [change({ amount: '999' }), /value_mismatch/],
      [change({ asset: token }), /invalid_payment_requirements/],
      [change({ network: 'eip155:1' }), /invalid_network/],
      [change({ scheme: 'upto' }), /unsupported_scheme/],
      [change({ extra: { name: 'Other', version: '2' } }), /invalid_payment_requirements/],
      [wrapped(factory), /6492|signature/],
      [wrapped(`0x${'11'.repeat(65)}`), /signature|simulation/],
      [wrapped('0x'), /invalid_payload/],
    ] as const) {
      const verified = await post(ours.url, '/verify', body)
      assert.equal(verified.body.isValid, false)
      assert.match(verified.body.invalidReason ?? '', reason)
      const settled = await post(ours.url, '/settle', body)
      assert.equal(settled.body.success, false)
      assert.match(settled.body.errorReason ?? '', reason)
      assert.equal(settled.body.transaction, '')
    }
    assert.equal(await sent(ours), count)
    assert.equal((await post(ours.url, '/settle', honest)).body.success, true)
  })

  test('is turned away without a key, for other accounts, and when it asks too often', async () => {
    const stranger = await createSender(chain)
    const file = await start({
      callers: createCallers([
        {
          name: 'shop',
          keys: [KEY],
          payees: [payee.address.toLowerCase()],
          assets: ['USDC'],
          requestsPerMinute: 4,
        },
      ]),
    })
    try {
      const buyer = await createBuyer(chain, 10_000n)
      const body = await order(buyer)
      const key = { authorization: `Bearer ${KEY}` }
      for (const headers of [
        {},
        { authorization: `Bearer ${'x'.repeat(40)}` },
        { 'x-api-key': 'no' },
      ]) {
        const answer = await post(file.url, '/settle', body, headers)
        assert.equal(answer.status, 401)
        assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
        assert(!('success' in answer.body))
      }
      assert.equal(
        (await post(file.url, '/settle', await order(buyer, 2, stranger.address), key)).status,
        403,
      )
      assert.equal((await post(file.url, '/settle', body, key)).body.success, true)
      assert.equal(
        (await post(file.url, '/verify', body, { 'x-api-key': KEY })).body.isValid,
        false,
      )
      await post(file.url, '/verify', body, key)
      const fifth = await post(file.url, '/verify', body, key)
      assert.equal(fifth.status, 429)
      assert(Number(fifth.headers.get('retry-after')) > 0)
      assert.equal(await chain.balanceOf(stranger.address), 0n)
      assert.equal((await fetch(`${file.url}/supported`)).status, 200)
    } finally {
      await file.stop()
    }
  })

  test('sends a flood and is cut off', async () => {
    const huge = await post(ours.url, '/settle', 'x'.repeat(100_000))
    assert.equal(huge.status, 413)
    const endless = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
    })
    const streamed = await fetch(`${ours.url}/settle`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: endless,
      duplex: 'half',
    }).then(
      ({ status }) => status,
      () => 'cut',
    )
    assert(streamed === 413 || streamed === 'cut', String(streamed))
    const deep = '['.repeat(40_000)
    for (const body of ['', 'null', '[]', '{"x402Version":2}', '{"x402Version":3}', deep])
      assert.equal((await post(ours.url, '/settle', body)).status, 400, body.slice(0, 40))
    assert.equal(
      (await post(ours.url, '/verify', await order(await createBuyer(chain, 1_000n)))).body.isValid,
      true,
    )
  })

  test('reads nothing of the endpoint, whatever the endpoint says', async () => {
    let broken = false
    const relay: RequestListener = (request, response) => {
      void text(request).then(async (body) => {
        if (broken) {
          const error = { code: -32000, message: `failed at http://rpc.example/?key=${MARKER}` }
          response.end(
            JSON.stringify({ jsonrpc: '2.0', id: (JSON.parse(body) as { id: number }).id, error }),
          )
          return
        }
        const answer = await fetch(chain.rpc, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        })
        response.setHeader('content-type', 'application/json')
        response.end(await answer.text())
      })
    }
    const rpc = await listen(createServer(relay).listen(0, '127.0.0.1'))
    const file = await start({ rpc: `${rpc.url}/v1?key=${MARKER}` })
    try {
      const body = await order(await createBuyer(chain, 1_000n))
      broken = true
      for (const path of ['/verify', '/settle']) {
        const answer = await post(file.url, path, body)
        assert(!answer.text.includes(MARKER) && !answer.text.includes('rpc.example'), answer.text)
        assert(answer.body.isValid === false || answer.body.success === false)
        assert.match(
          answer.body.invalidReason ?? answer.body.errorReason ?? '',
          /^unexpected_|settlement_pending/,
        )
      }
      broken = false
      assert.equal((await post(file.url, '/settle', body)).body.success, true)
    } finally {
      await file.stop()
      await rpc.close()
    }
  })
})

test('callers change at a signal, and a signal ends it gracefully', async () => {
  const callers = join(directory, 'callers.json')
  const write = (key: string): Promise<void> =>
    writeFile(callers, JSON.stringify({ callers: [{ name: 'shop', keys: [key] }] }), {
      mode: 0o600,
    })
  await write(KEY)
  const { privateKey } = await createSender(chain)
  const child = spawnTolsey(
    [
      'facilitator',
      '--network',
      'base-sepolia',
      '--rpc',
      chain.rpc,
      '--callers',
      'callers.json',
      '--port',
      '0',
    ],
    { cwd: directory, env: { TOLSEY_FACILITATOR_KEY: privateKey } },
  )
  const end = ending(child)
  try {
    const lines = createInterface({ input: child.stdout })
    const [line] = (await Promise.race([
      once(lines, 'line'),
      end.then(({ stderr }) => assert.fail(stderr)),
    ])) as [string]
    const { facilitator } = JSON.parse(line) as { facilitator: string }
    const body = await order(await createBuyer(chain, 1_000n))
    const ask = async (key: string): Promise<number> =>
      (await post(facilitator, '/verify', body, { authorization: `Bearer ${key}` })).status
    const other = 'n'.repeat(40)
    assert.deepEqual([await ask(KEY), await ask(other)], [200, 401])
    await write(other)
    child.kill('SIGHUP')
    while ((await ask(other)) !== 200) await sleep(10)
    assert.equal(await ask(KEY), 401)
    const settled = await post(facilitator, '/settle', body, { authorization: `Bearer ${other}` })
    assert.equal(settled.body.success, true, settled.text)
    child.kill('SIGTERM')
    const { code, stdout, stderr } = await end
    assert.equal(code, 0, stderr)
    const events = stdout
      .trim()
      .split('\n')
      .map((one) => JSON.parse(one) as { type?: string; reference?: string })
    assert.equal(
      events.findLast(({ type }) => type === 'settled')?.reference,
      settled.body.transaction,
    )
    assert(!stdout.includes(privateKey.slice(2)) && !stdout.includes(other))
  } finally {
    child.kill('SIGKILL')
    await end
  }
})
