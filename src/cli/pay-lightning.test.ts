// `tolsey pay` and `tolsey inspect` over real Lightning channels: a shop, and a buyer's node that is found as a sandbox's is.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { listen } from '../../test/interop/peers.ts'
import { command } from '../../test/tolsey.ts'
import type { End } from '../../test/tolsey.ts'
import { toll } from '../adapters/node.ts'
import { createSeller } from '../adapters/seller.ts'
import { memory } from '../ledger/memory.ts'
import { l402 } from '../protocols/l402/index.ts'
import { lightning } from '../rails/lightning/index.ts'
import { startLnd } from '../sandbox/lightning/doubles/lnd.ts'
import type { LightningNetwork } from '../sandbox/lightning/network.ts'
import { startLightning } from '../sandbox/lightning/network.ts'
import { createMacaroons } from '../tokens/macaroon/index.ts'
import type { Report } from './explain.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PRICE_MSAT = 5_000n
const ROUTE_MSAT = 1_000n

let net: LightningNetwork
let directory = ''
let shop = ''
let lnd = ''
const ends: (() => unknown)[] = []

before(async () => {
  net = await startLightning()
  directory = await mkdtemp(join(tmpdir(), 'tolsey-pay-lightning-'))
  const rail = lightning({ node: net.seller, network: 'regtest' })
  const mint = createMacaroons({ secrets: [SECRET] })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [l402({ parts: [rail], mint })],
    ledger: memory(),
    plans: { ten: { price: '5 SAT', uses: 10 } },
  })
  const routes = { 'GET /one': '5 SAT', 'GET /fail': '5 SAT', 'GET /ten': { plan: 'ten' } }
  const work = toll(seller, routes, (request, response) => {
    response.writeHead(request.url === '/fail' ? 500 : 200).end(`served ${request.url}`)
  })
  const peer = await listen(createServer(work).listen(0, '127.0.0.1'))
  shop = peer.url
  const node = await startLnd(net.buyer, 'abcd12')
  lnd = node.url
  ends.push(
    () => seller.close(),
    () => peer.close(),
    () => node.close(),
  )
  const state = join(directory, '.tolsey', 'sandbox')
  await mkdir(state, { recursive: true })
  const buyer = {
    address: '0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A',
    privateKey: `0x${'11'.repeat(32)}`,
  }
  const access = { url: node.url, macaroon: 'abcd12' }
  const record = { gateway: shop, rpc: 'http://127.0.0.1:9', buyer, lightning: access }
  await writeFile(join(state, 'running.json'), JSON.stringify(record), { mode: 0o600 })
})

after(async () => {
  for (const end of ends.toReversed()) await end()
  await net?.close()
  await rm(directory, { recursive: true, force: true })
})

function pay(path: string, ...argv: readonly string[]): Promise<End> {
  return command(['pay', shop + path, ...argv], { cwd: directory })
}

/** So much leaves the buyer's node. */
async function costs(msat: bigint, act: () => Promise<void>): Promise<void> {
  const was = net.buyer.balanceMsat()
  await act()
  assert.equal(was - net.buyer.balanceMsat(), msat)
}

describe('paying over Lightning', () => {
  test('a node of one’s own pays, out of books of its own', () =>
    costs(PRICE_MSAT + ROUTE_MSAT, async () => {
      const macaroon = join(directory, 'admin.macaroon')
      await writeFile(macaroon, Buffer.from('abcd12', 'hex'))
      const env = {
        TOLSEY_STATE: join(directory, 'own'),
        TOLSEY_LND: lnd,
        TOLSEY_LND_MACAROON: macaroon,
        TOLSEY_MAX_DAY: '100 SAT',
      }
      const argv = ['pay', `${shop}/one`, '--yes']
      const within = await command([...argv, '--max', '10 SAT'], { cwd: directory, env })
      assert.deepEqual([within.code, within.stdout], [0, 'served /one'], within.stderr)
      // Nothing is spent of a currency that no limit names.
      const { TOLSEY_MAX_DAY: _, ...dollars } = env
      const beyond = await command(argv, { cwd: directory, env: dollars })
      assert.equal(beyond.code, 3, beyond.stderr)
      const lost = { ...env, TOLSEY_LND_MACAROON: join(directory, 'nowhere') }
      const unread = await command(argv, { cwd: directory, env: lost })
      assert.match(unread.stderr, /TOLSEY_LND_MACAROON or TOLSEY_LND_CA cannot be read/)
    }))

  test('shows the invoice, what the way has cost, and the preimage', () =>
    costs(PRICE_MSAT + ROUTE_MSAT, async () => {
      const { code, stdout, stderr } = await pay('/one', '--rail', 'lightning', '--yes')
      assert.deepEqual([code, stdout], [0, 'served /one'], stderr)
      assert.match(stderr, /GET \S+\/one costs 5 SAT, and up to 5 SAT for the way\n/)
      assert.match(stderr, /on Bitcoin Regtest \(bip122:/)
      assert.match(stderr, /Invoice lnbcrt50n1/)
      assert.match(stderr, /Paid 5 SAT, and 1 SAT for the way, to [0-9a-f]{66} on Bitcoin Regtest/)
      assert.match(stderr, /Preimage [0-9a-f]{64}\n/)
    }))

  test('says the same to a program', () =>
    costs(PRICE_MSAT + ROUTE_MSAT, async () => {
      const { stdout } = await pay('/one', '--max', '10 SAT', '--json')
      const { status, payment } = JSON.parse(stdout) as {
        readonly status: number
        readonly payment: Readonly<Record<string, unknown>>
      }
      assert.equal(status, 200)
      const { amount, units, fee, feeUnits, invoice, reference, verified, rail } = payment
      assert.deepEqual([amount, units, fee, feeUnits], ['5 SAT', '5000', '1 SAT', '1000'])
      assert.deepEqual([rail, verified], ['lightning', true])
      assert.ok(typeof invoice === 'string' && invoice.startsWith('lnbcrt'))
      assert.ok(typeof reference === 'string' && /^[0-9a-f]{64}$/.test(reference))
    }))

  test('is not done over a limit, fees counted, nor past a limit in another currency', () =>
    costs(0n, async () => {
      const small = await pay('/one', '--max', '9 SAT')
      assert.equal(small.code, 3)
      assert.match(
        small.stderr,
        /10 SAT with up to 5 SAT of fees, and your limit for one request \(--max\) allows 9 SAT/,
      )
      for (const argv of [['--yes'], ['--max', '1 USD', '--rail', 'lightning']])
        assert.match(
          (await pay('/one', ...argv)).stderr,
          /5 SAT on .*No limit of the policy covers BTC/,
        )
    }))

  test('buys a plan once', () =>
    costs(PRICE_MSAT + ROUTE_MSAT, async () => {
      for (let i = 0; i < 3; i++) {
        const { stdout, stderr } = await pay('/ten', '--rail', 'lightning', '-y')
        assert.equal(stdout, 'served /ten')
        assert.match(
          stderr,
          i === 0 ? /Paid 5 SAT/ : /^Served for a token that was bought before\.$/m,
        )
      }
    }))

  test('and not served, says that the money has moved, and shows it again', () =>
    costs(PRICE_MSAT + ROUTE_MSAT, async () => {
      for (let i = 0; i < 2; i++) {
        const { code, stderr } = await pay('/fail', '--rail', 'lightning', '-y')
        assert.equal(code, 4)
        assert.match(stderr, /Paid 5 SAT.*\n.*Preimage .*\n.*the seller did not serve for it/)
      }
    }))

  test('finds no way, and nothing was paid', async (t) => {
    await net.cut()
    t.after(() => net.mend())
    await costs(0n, async () => {
      const { code, stderr } = await pay('/one', '--rail', 'lightning', '-y', '--max', '11 SAT')
      assert.equal(code, 1)
      assert.match(stderr, /Nothing was paid/)
    })
  })
})

test('inspecting says that the node can pay, and by what', async () => {
  const { stdout } = await command(['inspect', `${shop}/one`], { cwd: directory })
  const { offers, protocols } = JSON.parse(stdout) as Report
  assert.deepEqual([offers[0]?.amount, offers[0]?.payable], ['5 SAT', true])
  assert.equal(protocols[0]?.spoken, 'l402')
})
