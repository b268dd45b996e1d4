// Attacks on a gate over the real chain, each beside the nearest honest request, which must pass.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import type { Credential } from '../../src/core/credential.ts'
import type { Offer } from '../../src/core/offer.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { toll } from '../../src/adapters/node.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet as createWallet } from '../../src/rails/evm/wallet.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Keys, Peer } from './peers.ts'
import { createBuyer, createSender, listen } from './peers.ts'

const PRICE = 10_000n
let chain: Chain
let directory: string
let payee: Keys
let buyer: Keys
let ledger: Ledger
let seller: OpenSeller
let server: Peer
let runs: string[] = []

before(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'attacks-'))
  payee = await createSender(chain)
  const sender = await createSender(chain)
  ledger = await sqlite({ file: join(directory, 'books.db') })
  const rail = evm({
    network: chain.network,
    rpc: chain.rpc,
    payTo: payee.address,
    signer: sender.privateKey,
  })
  seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
  })
  const routes = {
    'GET /a': '0.01 USD',
    'GET /b': '0.01 USD',
    'POST /a': '0.01 USD',
    'DELETE /a': '0.01 USD',
  }
  server = await listen(
    createServer(
      toll(seller, routes, (req, res) => {
        runs.push(`${req.method} ${req.url}`)
        req.resume().on('end', () => res.end('sold'))
      }),
    ).listen(0, '127.0.0.1'),
  )
})
beforeEach(async () => {
  runs = []
  buyer = await createBuyer(chain, 5n * PRICE)
})
after(async () => {
  const report = ledger && (await verifyBooks(ledger))
  await server?.close()
  await seller?.close()
  await ledger?.close()
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
  assert.deepEqual(report?.problems, [])
})

/** Asks without paying, signs one offer, and gives the header that pays it. */
async function sign(path: string, init: RequestInit = {}): Promise<Record<string, string>> {
  const wallet = createWallet({ signer: fromPrivateKey(buyer.privateKey) })
  const protocol = x402([wallet], { versions: [2] })
  const response = await fetch(server.url + path, init)
  assert.equal(response.status, 402)
  const url = new URL(server.url + path)
  const resource = {
    realm: '',
    method: init.method ?? 'GET',
    authority: url.host,
    path: url.pathname,
    query: url.search.slice(1),
    url: url.href,
  }
  const challenge = protocol.readChallenge(
    { status: 402, fields: response.headers, body: await response.json() },
    resource,
  )
  const offer = challenge?.offers[0] ?? assert.fail('no offer')
  const credential: Credential = {
    offer,
    proof: await wallet.pay(offer as Offer<Details>, 300_000),
  }
  return Object.fromEntries(protocol.writeCredential(credential).fields)
}

const call = async (
  path: string,
  headers: Record<string, string>,
  init: RequestInit = {},
): Promise<{ status: number; code?: string }> => {
  const response = await fetch(server.url + path, { ...init, headers })
  const text = await response.text()
  return response.status === 200
    ? { status: 200 }
    : { status: response.status, code: (JSON.parse(text) as { code: string }).code }
}

const charged = async (): Promise<bigint> => 5n * PRICE - (await chain.balanceOf(buyer.address))

describe('one payment', () => {
  test('used 20 times at once runs once and is charged once', async () => {
    const headers = await sign('/a')
    const results = await Promise.all(Array.from({ length: 20 }, () => call('/a', headers)))
    assert.equal(results.filter(({ status }) => status === 200).length, 1)
    for (const { status, code } of results.filter((r) => r.status !== 200))
      assert.ok(
        (status === 409 && code === 'payment-in-flight') ||
          (status === 410 && code === 'payment-delivered'),
        `${status} ${code}`,
      )
    assert.deepEqual([runs, await charged()], [['GET /a'], PRICE])
  })

  test('replayed later is answered with what became of it, and a new one is served', async () => {
    const headers = await sign('/a')
    assert.equal((await call('/a', headers)).status, 200)
    assert.deepEqual(await call('/a', headers), { status: 410, code: 'payment-delivered' })
    assert.deepEqual([runs.length, await charged()], [1, PRICE])
    assert.equal((await call('/a', await sign('/a'))).status, 200)
    assert.deepEqual([runs.length, await charged()], [2, 2n * PRICE])
  })

  const elsewhere: readonly (readonly [string, string, RequestInit])[] = [
    ['path', '/b', {}],
    ['query', '/a?size=9999', {}],
    ['method', '/a', { method: 'DELETE' }],
  ]
  for (const [what, path, init] of elsewhere)
    test(`made for one request is refused at another ${what}, and then pays for its own`, async () => {
      const headers = await sign('/a')
      assert.deepEqual(await call(path, headers, init), { status: 402, code: 'offer-foreign' })
      assert.deepEqual([runs, await charged()], [[], 0n])
      assert.equal((await call('/a', headers)).status, 200)
      assert.deepEqual([runs.length, await charged()], [1, PRICE])
    })

  test('made for one body is refused with another, and then pays for its own', async () => {
    const post = { method: 'POST', body: '{"n":1}' }
    const headers = await sign('/a', post)
    assert.deepEqual(await call('/a', headers, { method: 'POST', body: '{"n":10000}' }), {
      status: 402,
      code: 'offer-foreign',
    })
    assert.deepEqual([runs, await charged()], [[], 0n])
    assert.equal((await call('/a', headers, post)).status, 200)
    assert.deepEqual([runs.length, await charged()], [1, PRICE])
  })

  test('that somebody else submitted first is served, and not charged again', async () => {
    const headers = await sign('/a')
    const said = JSON.parse(
      Buffer.from(headers['PAYMENT-SIGNATURE'] ?? '', 'base64').toString(),
    ) as {
      payload: { signature: `0x${string}`; authorization: Record<string, string> }
    }
    const { encodeFunctionData, parseAbi } = await import('viem')
    const { from, to, value, validAfter, validBefore, nonce } = said.payload
      .authorization as Record<string, `0x${string}`>
    const data = encodeFunctionData({
      abi: parseAbi([
        'function transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)',
      ]),
      args: [
        from ?? '0x',
        to ?? '0x',
        BigInt(value ?? 0),
        BigInt(validAfter ?? 0),
        BigInt(validBefore ?? 0),
        nonce ?? '0x',
        said.payload.signature,
      ],
    })
    await chain.send({ to: chain.usdc, data })
    assert.equal(await charged(), PRICE)
    assert.equal((await call('/a', headers)).status, 200)
    assert.deepEqual([runs.length, await charged()], [1, PRICE])
    assert.equal((await call('/a', headers)).status, 410)
  })
})

describe('a hostile header', () => {
  const hostile: Record<string, string> = {
    'not base64': '!!!',
    'base64 of nothing JSON': Buffer.from('hello').toString('base64'),
    null: Buffer.from('null').toString('base64'),
    'a list': Buffer.from('[]').toString('base64'),
    'version 99': Buffer.from('{"x402Version":99}').toString('base64'),
    'accepted null': Buffer.from('{"x402Version":2,"accepted":null,"payload":{}}').toString(
      'base64',
    ),
    'a prototype': Buffer.from('{"x402Version":2,"__proto__":{"accepted":{}}}').toString('base64'),
    'nested 5,000 deep': Buffer.from('['.repeat(5000) + ']'.repeat(5000)).toString('base64'),
  }
  for (const [name, value] of Object.entries(hostile))
    test(`${name} is refused with a reason and crashes nothing`, async () => {
      const { status, code } = await call('/a', { 'PAYMENT-SIGNATURE': value })
      assert.deepEqual([status, code], [400, 'credential-malformed'])
    })

  test('of one megabyte is refused by the server, and the next honest request passes', async () => {
    const response = await fetch(`${server.url}/a`, {
      headers: { 'PAYMENT-SIGNATURE': 'A'.repeat(1_000_000) },
    }).catch((error: unknown) => error)
    assert.ok(!(response instanceof Response) || response.status === 431 || response.status === 400)
    assert.equal((await call('/a', await sign('/a'))).status, 200)
    assert.deepEqual([runs.length, await charged()], [1, PRICE])
  })
})
