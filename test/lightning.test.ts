// The examples of docs/lightning.md are files; they run here, as a user would run them, against doubles of each back end with
// real channels behind them: a buyer, a router and a seller of LDK in this process.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { hash as digest } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { fetchWithL402 } from '@getalby/lightning-tools/402/l402'
import { bech32 } from '@scure/base'
import { startCln } from '../src/sandbox/lightning/doubles/cln.ts'
import { startEclair } from '../src/sandbox/lightning/doubles/eclair.ts'
import { startLnbits } from '../src/sandbox/lightning/doubles/lnbits.ts'
import { startLnd } from '../src/sandbox/lightning/doubles/lnd.ts'
import { startLnurl } from '../src/sandbox/lightning/doubles/lnurl.ts'
import { startNwc } from '../src/sandbox/lightning/doubles/nwc.ts'
import { startPhoenixd } from '../src/sandbox/lightning/doubles/phoenixd.ts'
import type { Double } from '../src/sandbox/lightning/doubles/server.ts'
import { createSwitches } from '../src/sandbox/faults.ts'
import type { LdkNode } from '../src/sandbox/lightning/ldk.ts'
import type { LightningNetwork } from '../src/sandbox/lightning/network.ts'
import { startLightning } from '../src/sandbox/lightning/network.ts'
import { payInvoice } from './interop/l402-shop.ts'
import { freePort } from './ports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const KEY = 'abcd12'
const PRICE_MSAT = 5_000n

/** Sellers of one weather, by the back end that takes the money for them. */
const backEnds: Readonly<Record<string, (node: LdkNode) => Promise<Double>>> = {
  lnd: (node) => startLnd(node, KEY),
  cln: (node) => startCln(node, KEY),
  phoenixd: (node) => startPhoenixd(node, KEY),
  lnbits: (node) => startLnbits(node, KEY),
  eclair: (node) => startEclair(node, KEY),
  nwc: (node) => startNwc(node),
  address: (node) => startLnurl(node),
}

let net: LightningNetwork
let directory: string
/** The buyer's node, as it is reached from other processes. */
let purse: Double
const doubles = new Map<string, Double>()
const urls = new Map<string, string>()
const children: ChildProcess[] = []
const sellers = new Map<string, ChildProcess>()

before(async () => {
  net = await startLightning()
  directory = await mkdtemp(join(tmpdir(), 'lightning-'))
  purse = await startLnd(net.buyer, KEY)
  for (const [name, start] of Object.entries(backEnds)) doubles.set(name, await start(net.seller))
  await Promise.all([...Object.keys(backEnds), 'hold', 'plan', 'withdraw'].map(open))
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const double of doubles.values()) await double.close()
  await purse?.close()
  await net?.close()
  await rm(directory, { recursive: true, force: true })
})

/** Starts a seller and waits until it asks for money, or has nothing at all there. */
async function open(name: string): Promise<void> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const shop = { SECRET, PORT: `${port}`, ORIGIN: url }
  const child = await run(name, { ...(await accessOf(name)), ...shop })
  sellers.set(name, child)
  urls.set(name, url)
  for (;;) {
    assert.equal(child.exitCode, null, `examples/lightning-${name}.ts runs`)
    const found = await fetch(`${url}/weather`).then(
      ({ status }) => status,
      () => undefined,
    )
    if (found !== undefined) return
    await new Promise((done) => setTimeout(done, 20))
  }
}

/** How an example reaches its node. */
async function accessOf(name: string): Promise<Record<string, string>> {
  const double = doubles.get(name) ?? doubles.get('lnd')
  assert.ok(double)
  const { host } = new URL(double.url)
  return {
    NODE: name === 'address' ? `shop@${host}` : double.url,
    KEY: 'uri' in double ? String(double.uri) : KEY,
    NETWORK: 'regtest',
  }
}

async function run(
  name: string,
  environment: Readonly<Record<string, string>>,
  words: readonly string[] = [],
  home = name,
): Promise<ChildProcess> {
  const cwd = join(directory, home)
  await mkdir(cwd, { recursive: true })
  const file = join(root, 'examples', `lightning-${name}.ts`)
  const child = spawn(process.execPath, [file, ...words], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  children.push(child)
  return child
}

/** Runs an example to its end, and tells what it said. */
async function said(child: ChildProcess): Promise<{ code: number | null; out: string }> {
  let out = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const code = await new Promise<number | null>((done) => child.once('close', done))
  return { code, out }
}

function urlOf(name: string, path: string): string {
  return `${urls.get(name)}${path}`
}

/** Exactly so much reaches the seller's node. */
async function moves(msat: bigint, act: () => Promise<void>): Promise<void> {
  const was = net.seller.balanceMsat()
  await act()
  assert.equal(net.seller.balanceMsat() - was, msat)
}

const wallet = {
  payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
    preimage: await payInvoice(net, invoice),
  }),
}

async function textOf(name: string): Promise<string> {
  return readFile(join(root, 'examples', `lightning-${name}.ts`), 'utf8')
}

describe('docs/lightning.md', () => {
  const page = readFile(join(root, 'docs', 'lightning.md'), 'utf8')

  test('shows the examples as they are', async () => {
    for (const name of ['lnd', 'hold', 'buyer', 'refund'])
      assert.ok((await page).includes((await textOf(name)).trim()), name)
  })

  test('shows all lines in which the other examples differ from the first', async () => {
    const first = new Set((await textOf('lnd')).split('\n'))
    for (const name of [...Object.keys(backEnds), 'plan']) {
      const lines = (await textOf(name)).split('\n').filter((line) => !first.has(line))
      assert.ok(lines.length <= 3, `${name} differs in three lines at most`)
      for (const line of lines) assert.ok((await page).includes(line), `${name}: ${line}`)
    }
  })
})

test('docs/lightning.md names faults that the sandbox has', async () => {
  const page = await readFile(join(root, 'docs', 'lightning.md'), 'utf8')
  const [, table = ''] = /\| fault[^\n]*\n([\s\S]*?)\n\n/.exec(page) ?? []
  const names = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name = '']) => name)
  assert.ok(names.length >= 5)
  for (const name of names) assert.ok(name in createSwitches().now(), name)
})

for (const name of Object.keys(backEnds))
  test(`the example for ${name} sells to a client that is not ours, once`, () =>
    moves(PRICE_MSAT, async () => {
      const url = urlOf(name, '/weather')
      const answer = await fetchWithL402(url, {}, { wallet })
      assert.deepEqual([answer.status, await answer.json()], [200, { sky: 'clear' }])
      assert.ok(answer.payment)
      const { credentials } = answer.payment
      assert.equal((await fetchWithL402(url, {}, { wallet, credentials })).status, 410)
    }))

test('the example with a plan sells a token that pays three times', () =>
  moves(12_000n, async () => {
    const url = urlOf('plan', '/weather')
    const answer = await fetchWithL402(url, {}, { wallet })
    assert.equal(answer.status, 200)
    assert.ok(answer.payment)
    const { credentials } = answer.payment
    for (const status of [200, 200, 402])
      assert.equal((await fetchWithL402(url, {}, { wallet, credentials })).status, status)
  }))

describe('the example of a buyer', () => {
  const buy = async (url: string): Promise<string> => {
    const child = await run('buyer', { NODE: purse.url, KEY, URL: url })
    const { code, out } = await said(child)
    assert.equal(code, 0, out)
    return out
  }

  test('pays, and shows what proves it', () =>
    moves(PRICE_MSAT, async () => {
      const out = await buy(urlOf('lnd', '/weather'))
      const [, preimage = ''] =
        /^200 \{ sky: 'clear' \} posted 1000n ([0-9a-f]{64})$/m.exec(out) ?? []
      const hash = digest('sha256', Buffer.from(preimage, 'hex'))
      assert.equal((await net.seller.invoice(hash))?.state, 'settled', out)
    }))

  test('pays for an answer', () =>
    moves(PRICE_MSAT, async () => {
      assert.match(await buy(urlOf('hold', '/answer/six-times-seven')), /^200 \{ answer: 42 \}/)
    }))

  test('is not charged where there is none', () =>
    moves(0n, async () => {
      const had = net.buyer.balanceMsat()
      assert.match(await buy(urlOf('hold', '/answer/why')), /^404 \{\}/)
      // The lock is undone from hop to hop.
      while (net.buyer.balanceMsat() < had) await new Promise((done) => setTimeout(done, 5))
      assert.equal(net.buyer.balanceMsat(), had)
    }))
})

test('the example of a refund gives back within its fee, and once', async () => {
  const answer = await fetchWithL402(urlOf('lnd', '/weather'), {}, { wallet })
  const hash = digest('sha256', Buffer.from(answer.payment?.preimage ?? '', 'hex'))
  const refund = async (feeMaxMsat: number, msat = PRICE_MSAT) => {
    const { invoice } = await net.buyer.createInvoice({ msat, memo: '', expiresInS: 600 })
    const env = { ...(await accessOf('lnd')), FEE_MAX_MSAT: `${feeMaxMsat}` }
    return await said(await run('refund', env, [hash, invoice], 'lnd'))
  }
  await moves(0n, async () => {
    assert.match((await refund(500)).out, /^failed [\s\S]*no way within its fee/)
    assert.match((await refund(2_000, PRICE_MSAT + 1n)).out, /^failed [\s\S]*exactly 5000/)
  })
  const had = net.buyer.balanceMsat()
  const { code, out } = await refund(2_000)
  assert.deepEqual([code, out], [0, 'settled 1000n\n'])
  assert.equal(net.buyer.balanceMsat() - had, PRICE_MSAT)
  await moves(0n, async () => assert.match((await refund(2_000)).out, /It was given back/))
})

describe('the example of a withdrawal', () => {
  /** What the operator is told of a payment. */
  async function told(hash: string): Promise<string> {
    const shop = sellers.get('withdraw')
    assert.ok(shop?.stdin && shop.stdout)
    const said = once(shop.stdout, 'data')
    shop.stdin.write(`${hash}\n`)
    return String((await said)[0]).trim()
  }

  test('stands in the README of the rail', async () => {
    const page = await readFile(join(root, 'src/rails/lightning/README.md'), 'utf8')
    assert.ok(page.includes('examples/lightning-withdraw.ts'))
  })

  test('gives a sale back to the wallet that pulls it, once', async () => {
    assert.equal(await told('00'.repeat(32)), 'Nothing was sold for that payment.')
    const answer = await fetchWithL402(urlOf('withdraw', '/weather'), {}, { wallet })
    assert.equal(answer.status, 200)
    const link = await told(digest('sha256', Buffer.from(answer.payment?.preimage ?? '', 'hex')))
    const { words } = bech32.decode(link.toLowerCase() as `lnurl1${string}`, 2_048)
    const url = new URL(Buffer.from(bech32.fromWords(words)).toString())
    const pull = async () => {
      const request = { msat: PRICE_MSAT, memo: '', expiresInS: 600 }
      url.searchParams.set('pr', (await net.buyer.createInvoice(request)).invoice)
      return (await fetch(url)).json()
    }
    const had = net.buyer.balanceMsat()
    assert.deepEqual(await pull(), { status: 'OK' })
    assert.equal(net.buyer.balanceMsat() - had, PRICE_MSAT)
    assert.deepEqual(await pull(), { status: 'ERROR', reason: 'This link has been used.' })
    assert.equal(net.buyer.balanceMsat() - had, PRICE_MSAT)
  })
})
