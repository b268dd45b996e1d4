// The reference client and server of MPP, npm mppx, unmodified, against our gate and our payer: on a real chain with Circle's
// USDC code, and over Lightning with real channels. What the reference is known to leave out is tried against ours.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { fetchWithMpp } from '@getalby/lightning-tools/402/mpp'
import { decodePaymentRequiredHeader, encodePaymentSignatureHeader } from '@x402/core/http'
import { Challenge, Credential, Receipt } from 'mppx'
import { discovery } from '../../src/adapters/discovery.ts'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createPayer, paymentOf } from '../../src/payer/payer.ts'
import { l402 } from '../../src/protocols/l402/index.ts'
import { advertise, mpp } from '../../src/protocols/mpp/index.ts'
import { x402 } from '../../src/protocols/x402/index.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet } from '../../src/rails/evm/wallet.ts'
import { lightning, lightningWallet } from '../../src/rails/lightning/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { freePort } from '../ports.ts'
import { createMacaroons, hashIn } from '../../src/tokens/macaroon/index.ts'
import { askedIn, payInvoice } from './l402-shop.ts'
import {
  challengesOf,
  clientOf,
  credentialFor,
  evmMethod,
  lightningMethod,
  startServer,
} from './mpp-peers.ts'
import type { Keys, Peer } from './peers.ts'
import { createBuyer, createSender, listen } from './peers.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PRICE = 10_000n
const PRICE_MSAT = 5_000n
const both = { price: ['0.01 USD', '5 SAT'], description: 'The weather' }
const routes = {
  'GET /paid': both,
  'GET /paid/:id': '0.01 USD',
  'POST /bound': '0.01 USD',
  'GET /fail': '0.01 USD',
  'GET /throw': '0.01 USD',
  'GET /stream': '0.01 USD',
  'GET /slow': '0.01 USD',
} as const

let chain: Chain
let net: LightningNetwork
let directory: string
let payee: Keys
let ledger: Ledger
let seller: OpenSeller
let beside: OpenSeller
let shop: Peer
let besideShop: Peer
/** Speaks all protocols; its node is the other's too, so that it is closed with that. */
let all: OpenSeller
let allShop: Peer
let runs = 0

/** Stock adapters; the work fails, throws, streams or answers as its path says. */
function open(seller: OpenSeller): Promise<Peer> {
  const server = createServer(
    toll(seller, routes, (request, response) => {
      runs++
      if (request.url === '/throw') throw new Error('the work has thrown')
      if (request.url === '/fail') response.statusCode = 500
      if (request.url === '/stream') response.write('one ')
      const said = request.headers['authorization'] ?? ''
      const wait = request.url === '/slow' ? 150 : 0
      setTimeout(() => response.end(JSON.stringify({ ok: true, said })), wait)
    }),
  )
  return listen(server.listen(0, '127.0.0.1'))
}

before(async () => {
  ;[chain, net] = await Promise.all([startChain(), startLightning()])
  directory = await mkdtemp(join(tmpdir(), 'mpp-'))
  payee = await createSender(chain)
  const sender = await createSender(chain)
  ledger = await sqlite({ file: join(directory, 'books.db') })
  const settings = { network: chain.network, rpc: chain.rpc, payTo: payee.address }
  const usdc = evm({ ...settings, signer: sender.privateKey })
  const sats = lightning({ node: net.seller, network: 'regtest' })
  const offers = advertise([usdc, sats])
  const rails = [usdc, sats]
  seller = await createSeller({
    secret: SECRET,
    rails,
    protocols: [mpp({ parts: rails })],
    ledger,
    services: [discovery({ title: 'Weather', routes: { 'GET /paid': both }, offers })],
  })
  const second = evm({ ...settings, signer: (await createSender(chain)).privateKey })
  beside = await createSeller({
    secret: SECRET,
    rails: [second],
    protocols: [mpp({ parts: [second], header: 'Payment-Authorization' })],
    ledger,
  })
  shop = await open(seller)
  besideShop = await open(beside)
})

after(async () => {
  await shop?.close()
  await besideShop?.close()
  await allShop?.close()
  await seller?.close()
  await beside?.close()
  await all?.close()
  await ledger?.close()
  await chain?.stop()
  await net?.close()
  await rm(directory, { recursive: true, force: true })
})

/** What the reference checks. */
interface Validated {
  readonly discovery: { readonly checks: readonly Check[] }
  readonly endpoints: readonly {
    readonly challenge: readonly Check[]
    readonly errorHandling: readonly Check[]
  }[]
  readonly summary: { readonly failed: number }
}
interface Check {
  readonly label: string
  readonly severity: string
}

/** Runs the command line of the reference, with a home of its own. */
async function said(...words: readonly string[]): Promise<{ code: number | null; out: string }> {
  const file = fileURLToPath(new URL('bin.js', import.meta.resolve('mppx')))
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory, CI: '1' }
  const child = spawn(process.execPath, [file, ...words], { env, cwd: directory })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.resume()
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out }
}

/** Exactly so much reaches the seller on the chain, and the work runs so often. */
async function moves(amount: bigint, works: number, act: () => Promise<void>): Promise<void> {
  const was = { chain: await chain.balanceOf(payee.address), runs }
  await act()
  assert.equal((await chain.balanceOf(payee.address)) - was.chain, amount)
  assert.equal(runs - was.runs, works)
}

/** A payment for one request, as the reference client makes it. */
async function paymentFor(path: string, init: RequestInit = {}, at = shop): Promise<string> {
  const buyer = await createBuyer(chain, 5n * PRICE)
  const [challenge] = await challengesOf(at.url + path, init)
  assert.ok(challenge)
  return credentialFor(challenge, evmMethod(buyer, chain))
}

function show(path: string, authorization: string, init: RequestInit = {}): Promise<Response> {
  return fetch(shop.url + path, { ...init, headers: { authorization } })
}

describe('our gate', () => {
  test('is paid by npm mppx on a chain, and says so in a receipt', () =>
    moves(PRICE, 1, async () => {
      const buyer = await createBuyer(chain, 5n * PRICE)
      const answer = await clientOf(evmMethod(buyer, chain))(`${shop.url}/paid`)
      assert.equal(answer.status, 200)
      assert.equal(await chain.balanceOf(buyer.address), 4n * PRICE)
      const receipt = Receipt.fromResponse(answer) as Receipt.Receipt & { challengeId?: string }
      assert.equal(receipt.method, 'evm')
      assert.match(receipt.reference, /^0x[0-9a-f]{64}$/)
      assert.match(receipt.challengeId ?? '', /^[\w-]+\.[\w-]{32}$/)
      assert.match(answer.headers.get('cache-control') ?? '', /private/)
    }))

  test('is paid by npm mppx over Lightning, its receipt without the preimage', async () => {
    const was = net.seller.balanceMsat()
    const answer = await clientOf(lightningMethod(net))(`${shop.url}/paid`)
    assert.equal(answer.status, 200)
    assert.equal(net.seller.balanceMsat() - was, PRICE_MSAT)
    const { method, reference } = Receipt.fromResponse(answer)
    assert.equal(method, 'lightning')
    assert.equal((await net.seller.invoice(reference))?.state, 'settled')
  })

  test('is paid by Alby over Lightning, which takes the last challenge and echoes no more than it must', async () => {
    const was = net.seller.balanceMsat()
    const wallet = {
      payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
        preimage: await payInvoice(net, invoice),
      }),
    }
    const answer = await fetchWithMpp(`${shop.url}/paid`, {}, { wallet })
    assert.equal(answer.status, 200, await answer.text())
    assert.equal(net.seller.balanceMsat() - was, PRICE_MSAT)
  })

  test('offers what the client says it pays by, and nothing else', async () => {
    const methods = async (accept?: string): Promise<readonly string[]> => {
      const headers = accept === undefined ? {} : { 'Accept-Payment': accept }
      return (await challengesOf(`${shop.url}/paid`, { headers })).map(({ method }) => method)
    }
    assert.deepEqual(await methods(), ['evm', 'lightning'])
    assert.deepEqual(await methods('lightning/charge'), ['lightning'])
    assert.deepEqual(await methods('evm/charge;q=0.3, lightning/charge'), ['lightning', 'evm'])
    assert.deepEqual(await methods('stripe/charge'), ['evm', 'lightning'])
    const asked = await Promise.all([1, 2, 3].map(() => challengesOf(`${shop.url}/paid`)))
    const ids = asked.flat().map(({ id }) => id)
    assert.equal(new Set(ids).size, 6, 'each challenge is one of its kind')
  })

  test('passes `mppx validate`', async () => {
    const { code, out } = await said('validate', shop.url, '--outputJson')
    assert.equal(code, 0, out)
    const found = JSON.parse(out) as Validated
    const [endpoint, ...others] = found.endpoints
    assert.equal(others.length, 0)
    const checks = [
      ...found.discovery.checks,
      ...(endpoint?.challenge ?? []),
      ...(endpoint?.errorHandling ?? []),
    ]
    assert.deepEqual(
      checks.filter(({ severity }) => severity !== 'pass'),
      [],
    )
    assert.ok(checks.length >= 15, `${checks.length} checks`)
    assert.equal(found.summary.failed, 0)
  })

  test('beside an application with its own Authorization is paid in Payment-Authorization', () =>
    moves(PRICE, 1, async () => {
      const buyer = await createBuyer(chain, 5n * PRICE)
      const headers = { authorization: 'Bearer theirs' }
      const answer = await clientOf(evmMethod(buyer, chain))(`${besideShop.url}/paid/1`, {
        headers,
      })
      assert.equal(answer.status, 200)
      assert.equal(((await answer.json()) as { said: string }).said, 'Bearer theirs')
    }))
})

describe('one payment', () => {
  test('buys one answer, however many copies of it come at once', () =>
    moves(PRICE, 1, async () => {
      const payment = await paymentFor('/slow')
      const answers = await Promise.all(Array.from({ length: 8 }, () => show('/slow', payment)))
      const statuses = answers.map(({ status }) => status)
      assert.equal(statuses.filter((status) => status === 200).length, 1, statuses.join())
      for (const { status, headers } of answers) {
        assert.ok([200, 409, 410].includes(status), `${status}`)
        assert.equal(headers.has('payment-receipt'), status === 200)
      }
      const late = await show('/slow', payment)
      assert.equal(late.status, 410)
      assert.equal(late.headers.has('payment-receipt'), false)
    }))

  test('over Lightning buys one answer too', async () => {
    const [challenge] = await challengesOf(`${shop.url}/paid`, {
      headers: { 'Accept-Payment': 'lightning/charge' },
    })
    assert.ok(challenge)
    const payment = await credentialFor(challenge, lightningMethod(net))
    const before = runs
    assert.equal((await show('/paid', payment)).status, 200)
    assert.equal((await show('/paid', payment)).status, 410)
    assert.equal(runs - before, 1)
  })

  test('made for one path buys nothing at another, nor with another query', () =>
    moves(PRICE, 1, async () => {
      const payment = await paymentFor('/paid/1')
      for (const other of ['/paid/2', '/paid/1?a=1', '/paid']) {
        const answer = await show(other, payment)
        assert.equal(answer.status, 402, other)
        assert.equal(((await answer.json()) as { code: string }).code, 'offer-foreign')
        assert.equal(answer.headers.has('payment-receipt'), false)
      }
      assert.equal((await show('/paid/1', payment)).status, 200)
    }))

  test('made for one body buys nothing with another', () =>
    moves(PRICE, 1, async () => {
      const first = { method: 'POST', body: '{"a":1}' }
      const [challenge] = await challengesOf(`${shop.url}/bound`, first)
      assert.match(challenge?.digest ?? '', /^sha-256=:[\w+/]+=*:$/)
      const payment = await paymentFor('/bound', first)
      const other = await show('/bound', payment, { method: 'POST', body: '{"a":2}' })
      assert.equal(other.status, 402)
      assert.equal((await show('/bound', payment, first)).status, 200)
    }))

  test('of which the work fails or throws is not taken, and has no receipt', () =>
    moves(0n, 2, async () => {
      for (const path of ['/fail', '/throw']) {
        const answer = await show(path, await paymentFor(path))
        assert.equal(answer.status, 500)
        assert.equal(answer.headers.has('payment-receipt'), false)
      }
    }))

  test('for a streamed answer has its receipt on the head', () =>
    moves(PRICE, 1, async () => {
      const answer = await show('/stream', await paymentFor('/stream'))
      assert.equal(answer.status, 200)
      assert.equal(Receipt.fromResponse(answer).status, 'success')
      assert.match(answer.headers.get('cache-control') ?? '', /private/)
      assert.match(await answer.text(), /^one /)
    }))

  test('that somebody changed is refused with a fresh challenge', () =>
    moves(0n, 0, async () => {
      const payment = await paymentFor('/paid/7')
      const said = JSON.parse(
        Buffer.from(payment.slice('Payment '.length), 'base64url').toString(),
      ) as { challenge: object; payload: object }
      const encoded = (value: unknown): string =>
        `Payment ${Buffer.from(JSON.stringify(value)).toString('base64url')}`
      for (const bad of [
        { ...said, challenge: { ...said.challenge, expires: '2099-01-01T00:00:00Z' } },
        { ...said, payload: { ...said.payload, value: '1' } },
        { ...said, payload: { ...said.payload, signature: `0x${'11'.repeat(65)}` } },
        { ...said, payload: { ...said.payload, nonce: `0x${'11'.repeat(32)}` } },
        { ...said, payload: {} },
        {},
      ]) {
        const answer = await show('/paid/7', encoded(bad))
        assert.equal(answer.status, 402, JSON.stringify(bad))
        assert.match(answer.headers.get('www-authenticate') ?? '', /^Payment /)
        assert.equal(answer.headers.has('payment-receipt'), false)
      }
    }))
})

describe('one spend', () => {
  before(async () => {
    const signer = (await createSender(chain)).privateKey
    const rails = [
      evm({ network: chain.network, rpc: chain.rpc, payTo: payee.address, signer }),
      lightning({ node: net.seller, network: 'regtest' }),
    ]
    const mint = createMacaroons({ secrets: [SECRET] })
    all = await createSeller({
      secret: SECRET,
      rails,
      protocols: [l402({ parts: rails, mint, hashIn }), mpp({ parts: rails }), x402(rails)],
      ledger,
    })
    allShop = await open(all)
  })

  test('over Lightning is taken through L402 or through MPP, and not twice', async () => {
    for (const first of ['l402', 'mpp']) {
      const url = `${allShop.url}/paid`
      const asked = await fetch(url)
      const { token, invoice } = askedIn(asked.headers.get('www-authenticate') ?? '')
      const challenge = Challenge.fromResponseList(asked).find(
        ({ method }) => method === 'lightning',
      )
      assert.ok(challenge)
      const details = challenge.request['methodDetails'] as { readonly invoice: string }
      assert.equal(details.invoice, invoice, 'one invoice for both')
      const preimage = await payInvoice(net, invoice)
      const shown: readonly [string, string][] = [
        ['l402', `L402 ${token}:${preimage}`],
        ['mpp', Credential.serialize({ challenge, payload: { preimage } })],
      ]
      const before = runs
      const ordered = shown.toSorted(([a], [b]) => Number(b === first) - Number(a === first))
      for (const [i, [, authorization]] of ordered.entries()) {
        const answer = await fetch(url, { headers: { authorization } })
        assert.equal(answer.status, i === 0 ? 200 : 410, first)
      }
      assert.equal(runs - before, 1)
    }
  })

  test('on a chain is taken through MPP, and not through x402 after that', () =>
    moves(PRICE, 1, async () => {
      const url = `${allShop.url}/paid/9`
      const asked = await fetch(url)
      const challenge = Challenge.fromResponseList(asked).find(({ method }) => method === 'evm')
      const required = decodePaymentRequiredHeader(asked.headers.get('payment-required') ?? '')
      assert.ok(challenge)
      const buyer = await createBuyer(chain, 5n * PRICE)
      const authorization = await credentialFor(challenge, evmMethod(buyer, chain))
      assert.equal((await fetch(url, { headers: { authorization } })).status, 200)
      const { payload } = Credential.deserialize<Record<string, string>>(authorization)
      const { signature, type: _, ...signed } = payload
      const again = encodePaymentSignatureHeader({
        x402Version: 2,
        accepted: required.accepts[0]!,
        payload: { signature, authorization: signed },
      })
      const answer = await fetch(url, { headers: { 'payment-signature': again } })
      assert.equal(answer.status, 410, await answer.text())
    }))
})

describe('our payer', () => {
  let server: Awaited<ReturnType<typeof startServer>>
  before(async () => {
    server = await startServer(chain, net, (await createSender(chain)).address)
  })
  after(async () => server?.close())

  test('pays an mppx server on a chain', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const purse = wallet({ signer: fromPrivateKey(buyer.privateKey) })
    const payer = createPayer({
      wallets: [purse],
      protocols: [mpp({ parts: [purse] })],
      ledger: memory(),
      policy: { perRequest: '0.05 USD', total: '1 USD' },
    })
    const answer = await payer.fetch(`${server.url}/evm`)
    assert.equal(answer.status, 200, await answer.text())
    assert.equal(await chain.balanceOf(buyer.address), 4n * PRICE)
    const payment = paymentOf(answer)
    assert.deepEqual([payment?.state, payment?.protocol], ['posted', 'mpp'])
    assert.match(payment?.receipt?.reference ?? '', /^0x[0-9a-f]{64}$/)
  })

  test('pays an mppx server over Lightning', async () => {
    const purse = lightningWallet({ node: net.buyer })
    const payer = createPayer({
      wallets: [purse],
      protocols: [mpp({ parts: [purse] })],
      ledger: memory(),
      policy: { perRequest: '100 SAT', total: '1000 SAT' },
    })
    const was = net.seller.balanceMsat()
    const answer = await payer.fetch(`${server.url}/lightning`)
    assert.equal(answer.status, 200, await answer.text())
    assert.equal(net.seller.balanceMsat() - was, PRICE_MSAT)
    const { feeMsat } = (paymentOf(answer)?.evidence ?? {}) as { feeMsat?: string }
    assert.ok(BigInt(feeMsat ?? '0') > 0n, 'the route took something')
    const sent = server.seen.at(-1) ?? ''
    assert.doesNotMatch(Buffer.from(sent.slice(8), 'base64url').toString(), /feeMsat/)
  })

  test('pays our own gate, and its receipt is for this challenge', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const purse = wallet({ signer: fromPrivateKey(buyer.privateKey) })
    const payer = createPayer({
      wallets: [purse],
      protocols: [mpp({ parts: [purse] })],
      ledger: memory(),
      policy: { perRequest: '0.05 USD', total: '1 USD' },
    })
    await moves(PRICE, 1, async () => {
      const answer = await payer.fetch(`${shop.url}/paid`)
      assert.equal(answer.status, 200, await answer.text())
      assert.equal(paymentOf(answer)?.state, 'posted')
      assert.equal(paymentOf(answer)?.problem, undefined)
    })
  })
})

describe('docs/mpp.md', () => {
  const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

  test('shows the example as it is', async () => {
    const page = await readFile(at('docs/mpp.md'), 'utf8')
    assert.ok(page.includes((await readFile(at('examples/mpp.ts'), 'utf8')).trim()))
  })

  test('has an example that sells to npm mppx', () =>
    moves(PRICE, 0, async () => {
      const port = await freePort()
      const hook = new URL('sources.ts', import.meta.url).href
      const sender = await createSender(chain)
      const env = {
        PATH: process.env['PATH'] ?? '',
        SECRET,
        RPC: chain.rpc,
        NETWORK: chain.network,
        PAY_TO: payee.address,
        SENDER_KEY: sender.privateKey,
        PORT: `${port}`,
      }
      const child = spawn(process.execPath, ['--import', hook, at('examples/mpp.ts')], {
        cwd: directory,
        env,
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      try {
        const url = `http://127.0.0.1:${port}/weather`
        while ((await fetch(url).catch(() => undefined)) === undefined) {
          assert.equal(child.exitCode, null, 'examples/mpp.ts runs')
          await sleep(20)
        }
        const buyer = await createBuyer(chain, 5n * PRICE)
        const answer = await clientOf(evmMethod(buyer, chain))(url)
        assert.deepEqual(await answer.json(), { sky: 'clear' })
        assert.match(await (await fetch(`http://127.0.0.1:${port}/llms.txt`)).text(), /0\.01 USD/)
      } finally {
        child.kill('SIGKILL')
      }
    }))
})
