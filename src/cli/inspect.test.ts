// Asks real servers on loopback.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { command } from '../../test/tolsey.ts'
import { plainInvoice } from '../rails/lightning/fixture.test.ts'
import type { Report } from './explain.ts'

interface Canned {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

const vectors = JSON.parse(
  await readFile(new URL('../protocols/x402/vectors/vectors.json', import.meta.url), 'utf8'),
) as { serverUnpaid: { headers: Record<string, string> } }

const invoice = plainInvoice('ab'.repeat(32), 10_000n, Date.now())
const fresh = { 'cache-control': 'no-store' }
const payTo = '0xe8B1ff302A740fD2C6e76B620d45508dAEc2DDFf'
const terms = {
  scheme: 'exact',
  network: 'eip155:84532',
  amount: '1000',
  asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  payTo,
  maxTimeoutSeconds: 300,
  extra: { name: 'USDC', version: '2' },
}
const { amount, ...rest } = terms
const legacy = {
  ...rest,
  network: 'base-sepolia',
  maxAmountRequired: amount,
  resource: '/v1',
  description: 'paid',
  mimeType: 'application/json',
}
const json = (value: unknown): string => JSON.stringify(value)
const base64 = (value: unknown): string => Buffer.from(json(value)).toString('base64')

function v2(change: object, url = ''): Canned {
  const challenge = { x402Version: 2, resource: { url }, accepts: [{ ...terms, ...change }] }
  return {
    status: 402,
    headers: { 'payment-required': base64(challenge), 'cache-control': 'no-store' },
    body: '{}',
  }
}

function v1(change: object): Canned {
  return {
    status: 402,
    headers: { 'content-type': 'application/json' },
    body: json({ x402Version: 1, error: 'pay', accepts: [{ ...legacy, ...change }] }),
  }
}

let server: Server
let origin = ''
let directory = ''
const canned = new Map<string, Canned>()
const asked: IncomingMessage[] = []

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tolsey-inspect-'))
  server = createServer((request, response) => {
    asked.push(request)
    const { status, headers, body } = canned.get(request.url ?? '') ?? { status: 404 }
    response.writeHead(status, headers).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  canned.set('/v2', v2({}, `${origin}/v2`))
  canned.set('/v1', v1({}))
  canned.set('/long', v2({ maxTimeoutSeconds: 86_400 * 365 }, `${origin}/long`))
  canned.set('/stranger', v2({ asset: payTo }, `${origin}/stranger`))
  canned.set('/copied', v2({}, 'https://elsewhere.example/copied'))
  canned.set('/two', {
    ...v1({ maxAmountRequired: '999' }),
    headers: { ...v2({}).headers, 'content-type': 'application/json' },
  })
  canned.set('/escape', v2({ network: 'eip155:\u001B[2J', payTo: '\u001B]0;x\u0007' }))
  canned.set('/garbage', { status: 402, headers: { 'payment-required': '!!!' }, body: '<<<' })
  canned.set('/l402', {
    status: 402,
    headers: { 'www-authenticate': `L402 macaroon="AGIAJEemVQ==", invoice="${invoice}"`, ...fresh },
  })
  canned.set('/forged', {
    status: 402,
    headers: { 'www-authenticate': 'L402 macaroon="AGIAJEemVQ==", invoice="lnbc100n1pabc"' },
  })
  canned.set('/mpp', {
    status: 402,
    headers: { 'www-authenticate': 'Payment id="1", method="tempo", intent="charge"' },
  })
  canned.set('/bill', {
    status: 402,
    headers: { 'content-type': 'text/html' },
    body: '<html><title>This deployment is\u001B[2J temporarily paused</title></html>',
  })
  canned.set('/quota', {
    status: 402,
    headers: { 'content-type': 'application/json' },
    body: json({ error: { message: 'Your plan has no credits left.' } }),
  })
  canned.set('/free', { status: 200, body: 'hello' })
  canned.set('/login', { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } })
  canned.set('/moved', { status: 307, headers: { location: 'https://b.example/' } })
})
after(async () => {
  server.closeAllConnections()
  server.close()
  await rm(directory, { recursive: true, force: true })
})

async function inspect(path: string, ...argv: string[]): Promise<Report> {
  const { code, stdout, stderr } = await command(['inspect', origin + path, ...argv], {
    cwd: directory,
  })
  assert.equal(code, 0, stderr)
  assert.equal(stdout.trimEnd().split('\n').length, 1)
  return JSON.parse(stdout) as Report
}

async function text(path: string): Promise<string> {
  const { code, stdout, stderr } = await command(['inspect', origin + path, '--text'], {
    cwd: directory,
  })
  assert.equal(code, 0, stderr)
  return stdout
}

describe('inspect explains a payment challenge', () => {
  for (const [path, protocol] of [
    ['/v2', 'x402 v2'],
    ['/v1', 'x402 v1'],
  ] as const)
    test(`in ${protocol}`, async () => {
      const report = await inspect(path)
      assert.equal(report.kind, 'challenge')
      assert.deepEqual(
        report.protocols.map(({ protocol, spoken }) => [protocol, spoken]),
        [[protocol, 'x402']],
      )
      const [offer] = report.offers
      assert.equal(report.offers.length, 1)
      assert.equal(offer?.amount, '0.001 USDC')
      assert.equal(offer?.units, '1000')
      assert.equal(offer?.network, 'eip155:84532')
      assert.equal(offer?.networkName, 'Base Sepolia')
      assert.equal(offer?.payee, payTo)
      assert.equal(offer?.timeoutMs, 300_000)
      assert.equal(offer?.payable, false)
      assert.match(offer?.why ?? '', /no wallet.*tolsey wallet new/i)
    })

  test('as a stock seller of x402 writes it', async () => {
    canned.set('/stock', { status: 402, headers: vectors.serverUnpaid.headers, body: '{}' })
    const { kind, offers } = await inspect('/stock')
    assert.equal(kind, 'challenge')
    assert.ok(offers.length > 0)
  })

  test('in sentences', async () => {
    const said = await text('/v2')
    assert.match(said, /answers 402\.\nA payment challenge/)
    assert.match(said, /x402 v2 +in the header PAYMENT-REQUIRED +spoken by Tolsey\./)
    assert.match(said, /1\. 0\.001 USDC on Base Sepolia \(eip155:84532\)/)
    assert.match(said, /payable for 5 minutes/)
    assert.doesNotMatch(said, /Warnings/)
  })

  test('with the key that would pay', async () => {
    const env = { TOLSEY_PRIVATE_KEY: `0x${'11'.repeat(32)}` }
    const start = { cwd: directory, env }
    const { stdout } = await command(['inspect', `${origin}/v2`], start)
    assert.equal((JSON.parse(stdout) as Report).offers[0]?.payable, true)
    assert.doesNotMatch(stdout, /1111111111/)
  })

  test('of a protocol that is not spoken yet', async () => {
    const { kind, summary } = await inspect('/mpp')
    assert.equal(kind, 'challenge')
    assert.match(summary, /Payment \(MPP\), which Tolsey does not speak yet/)
  })

  test('of L402, with the invoice, which is read whole', async () => {
    const { kind, offers, protocols, warnings } = await inspect('/l402')
    assert.equal(kind, 'challenge')
    assert.equal(protocols[0]?.spoken, 'l402')
    assert.equal(protocols[0]?.note, 'A Lightning invoice over 10 sat.')
    const [offer] = offers
    assert.deepEqual(
      [offer?.amount, offer?.units, offer?.networkName],
      ['10 SAT', '10000', 'Bitcoin Regtest'],
    )
    assert.match(offer?.invoice ?? '', /^lnbcrt/)
    assert.equal(offer?.payable, false)
    assert.deepEqual(warnings, [])
  })

  test('of L402 whose invoice is no invoice', async () => {
    const { summary, unreadable } = await inspect('/forged')
    assert.match(summary, /none of its offers can be read/)
    assert.equal(unreadable.length, 1)
  })

  test('that nobody can read', async () => {
    const { kind, summary, offers } = await inspect('/garbage')
    assert.deepEqual([kind, offers], ['challenge', []])
    assert.match(summary, /none of its offers can be read/)
  })
})

describe('inspect warns', () => {
  test('of nothing where nothing is wrong', async () => {
    assert.deepEqual((await inspect('/v2')).warnings, [])
  })

  for (const [path, expected] of [
    ['/v1', /no-store/],
    ['/long', /stays payable for 1 year/],
    ['/copied', /another host, elsewhere\.example/],
    ['/two', /header and the body offer different terms/],
  ] as const)
    test(`at ${path}: ${expected.source}`, async () => {
      assert.match((await inspect(path)).warnings.join('\n'), expected)
    })

  test('of a token that is not known', async () => {
    const { offers, unreadable } = await inspect('/stranger')
    assert.equal(offers.length, 0)
    assert.equal(unreadable.length, 1)
  })
})

describe('inspect tells other answers apart', () => {
  for (const [path, kind, expected] of [
    [
      '/bill',
      'administrative',
      /Not a payment challenge.*"This deployment is \[2J temporarily paused"/,
    ],
    ['/quota', 'administrative', /Not a payment challenge.*"Your plan has no credits left\."/],
    ['/free', 'free', /without payment/],
    ['/login', 'other', /a login or a token, not a payment/],
    ['/moved', 'other', /sends on to https:\/\/b\.example\//],
    ['/nothing', 'other', /nothing at this address/],
  ] as const)
    test(`${path} is ${kind}`, async () => {
      const report = await inspect(path)
      assert.equal(report.kind, kind)
      assert.match(report.summary, expected)
      assert.deepEqual(report.offers, [])
    })

  test('no seller reaches the terminal with control characters', async () => {
    for (const path of ['/bill', '/escape'])
      // oxlint-disable-next-line no-control-regex
      assert.doesNotMatch(await text(path), /[\u0000-\u0009\u000B-\u001F\u007F-\u009F]/)
  })
})

test('inspect sends what it is told to, once, and no payment', async () => {
  asked.length = 0
  await inspect('/v2', '-X', 'put', '-H', 'X-One: 1', '-H', 'X-Two: 2', '-d', '{"a":1}')
  const [request] = asked
  assert.equal(asked.length, 1)
  assert.equal(request?.method, 'PUT')
  assert.equal(request?.headers['x-one'], '1')
  assert.equal(request?.headers['x-two'], '2')
  assert.equal(request?.headers['content-type'], 'application/json')
  assert.equal(request?.headers['payment-signature'], undefined)
})
