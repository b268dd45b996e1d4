// Our payer over real Lightning channels: at our own gate, at an L402 server that is not ours, killed between paying and showing,
// with a fee that is too low, and from wallets behind Nostr Wallet Connect. Run with the argument `buy`, this file is a buyer in a
// process of its own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { createPayer, paymentOf } from '../../src/payer/payer.ts'
import { l402 } from '../../src/protocols/l402/index.ts'
import { createLnd, createNwc } from '../../src/rails/lightning/adapters/index.ts'
import type { LightningNode } from '../../src/rails/lightning/index.ts'
import { lightning, lightningWallet } from '../../src/rails/lightning/index.ts'
import { startLnd } from '../../src/sandbox/lightning/doubles/lnd.ts'
import { startNwc } from '../../src/sandbox/lightning/doubles/nwc.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { createMacaroons, hashIn, saidIn } from '../../src/tokens/macaroon/index.ts'
import type { Peer } from './peers.ts'
import { listen } from './peers.ts'

const [, self = '', role, file = '', nodeUrl = '', url = '', hang = ''] = process.argv
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const MACAROON = 'abcd12'
const PRICE_MSAT = 5_000n
const ROUTE_MSAT = 1_000n
const TOTAL = 'spent/total/BTC'
/** Digits in which budgets are kept, less those of a millisatoshi. */
const MSAT = 10n ** 7n

if (role === 'buy') await buy()
else tests()

/** A payer with a thousand satoshis. */
function paying(node: LightningNode, ledger: Ledger, rest: object = {}): Payer {
  const wallet = lightningWallet({ node })
  return createPayer({
    wallets: [wallet],
    protocols: [l402({ parts: [wallet], hashIn })],
    ledger,
    policy: { perRequest: '100 SAT', total: '1000 SAT' },
    readToken: saidIn,
    ...rest,
  })
}

async function buy(): Promise<void> {
  const ledger = await sqlite({ file })
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const isPaid = new Headers(init?.headers).has('authorization')
    if (isPaid && hang === 'showing') await told('showing')
    return globalThis.fetch(input, init)
  }
  const node = createLnd({ url: nodeUrl, macaroon: MACAROON })
  const response = await paying(node, ledger, { fetch }).fetch(url)
  const body = await response.text()
  const { state, evidence } = paymentOf(response) ?? {}
  await ledger.close()
  await node.close()
  process.stdout.write(JSON.stringify({ status: response.status, body, state, ...evidence }))
}

/** Says where it is, and waits to be killed. */
async function told(place: string): Promise<void> {
  process.stdout.write(`${place}\n`)
  await new Promise(() => setInterval(() => undefined, 1_000))
}

/** What we use of npm's `macaroon`. */
interface NpmMacaroon {
  addFirstPartyCaveat(id: string): void
  exportBinary(): Uint8Array
  verify(rootKey: Uint8Array, check: (caveat: string) => string | null): void
}

function tests(): void {
  const { newMacaroon, importMacaroon } = createRequire(import.meta.url)('macaroon') as {
    readonly newMacaroon: (parts: object) => NpmMacaroon
    readonly importMacaroon: (bytes: Uint8Array) => NpmMacaroon
  }
  let net: LightningNetwork
  const ends: (() => unknown)[] = []
  const children: ChildProcess[] = []

  before(async () => {
    net = await startLightning()
  })
  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    for (const end of ends.toReversed()) await end()
    await net?.close()
  })

  /** So much has left the buyer's node. */
  async function costs(msat: bigint, act: () => Promise<void>): Promise<void> {
    const was = net.buyer.balanceMsat()
    await act()
    assert.equal(was - net.buyer.balanceMsat(), msat)
  }

  /** What the books count against the total, in millisatoshis. */
  async function counted(ledger: Ledger): Promise<readonly [posted: bigint, pending: bigint]> {
    const [found] = await ledger.balances(TOTAL)
    return [(found?.posted ?? 0n) / MSAT, (found?.pending ?? 0n) / MSAT]
  }

  /** A shop of ours. */
  async function openGate(node: LightningNode, hold = false): Promise<string> {
    const rail = lightning({
      node,
      network: 'regtest',
      ...(hold && { hold: { secret: SECRET } }),
    })
    const seller: OpenSeller = await createSeller({
      secret: SECRET,
      rails: [rail],
      protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }), hashIn })],
      ledger: memory(),
      plans: { long: { price: '5 SAT' } },
    })
    const routes = { 'GET /one': '5 SAT', 'GET /fail': '5 SAT', 'GET /long/*': { plan: 'long' } }
    const server = createServer(
      toll(seller, routes, (request, response) => {
        response.writeHead(request.url === '/fail' ? 500 : 200).end(`served ${request.url}`)
      }),
    )
    const peer = await listen(server.listen(0, '127.0.0.1'))
    ends.push(
      () => seller.close(),
      () => peer.close(),
    )
    return peer.url
  }

  /** A stand-in for a server that is not ours: npm `macaroon`, the header and the order of aperture, tokens that last. */
  async function openForeign(): Promise<Peer & { readonly shown: string[] }> {
    const rootKey = randomBytes(32)
    const shown: string[] = []
    async function ask(response: ServerResponse, service: string): Promise<void> {
      const wanted = { msat: PRICE_MSAT, memo: service, expiresInS: 600 }
      const { invoice, hash } = await net.seller.createInvoice(wanted)
      const id = Buffer.concat([Buffer.alloc(2), Buffer.from(hash, 'hex'), randomBytes(32)])
      const made = newMacaroon({ identifier: id, rootKey, version: 2, location: 'lsat' })
      made.addFirstPartyCaveat(`services=${service}:0`)
      const token = Buffer.from(made.exportBinary()).toString('base64')
      const said = `macaroon="${token}", invoice="${invoice}"`
      response
        .writeHead(402, { 'www-authenticate': [`LSAT ${said}`, `L402 ${said}`] })
        .end('payment required')
    }
    function isGood(field: string, service: string): boolean {
      const [, token = '', preimage = ''] = /(?:LSAT|L402) (.*?):([a-f0-9]{64})/.exec(field) ?? []
      if (token === '') return false
      const bytes = Buffer.from(token, 'base64')
      const hash = createHash('sha256').update(Buffer.from(preimage, 'hex')).digest()
      try {
        importMacaroon(bytes).verify(rootKey, (caveat) =>
          caveat === `services=${service}:0` ? null : 'another service',
        )
        return bytes.includes(hash)
      } catch {
        return false
      }
    }
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      const field = request.headers.authorization ?? ''
      const service = request.url?.split('/')[1] ?? ''
      shown.push(field)
      if (isGood(field, service)) response.end(`served ${request.url}`)
      else void ask(response, service)
    }
    const peer = await listen(createServer(serve).listen(0, '127.0.0.1'))
    ends.push(() => peer.close())
    return { ...peer, shown }
  }

  describe('our payer', () => {
    test('pays our gate, and shows its preimage and its fee', async () => {
      const shop = await openGate(net.seller)
      const ledger = memory()
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        const response = await paying(net.buyer, ledger).fetch(`${shop}/one`)
        assert.equal(await response.text(), 'served /one')
        const payment = paymentOf(response)
        assert.deepEqual([payment?.state, payment?.verified], ['posted', true])
        assert.equal(payment?.fee?.amount, ROUTE_MSAT)
        const preimage = payment?.evidence?.['preimage']
        assert.ok(typeof preimage === 'string' && /^[0-9a-f]{64}$/.test(preimage))
      })
      assert.deepEqual(await counted(ledger), [PRICE_MSAT + ROUTE_MSAT, 0n])
    })

    test('buys each request anew at our gate, and a plan once', async () => {
      const shop = await openGate(net.seller)
      const payer = paying(net.buyer, memory())
      await costs(2n * (PRICE_MSAT + ROUTE_MSAT), async () => {
        for (let i = 0; i < 2; i++) assert.equal((await payer.fetch(`${shop}/one`)).status, 200)
      })
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        for (const path of ['/long/a', '/long/a', '/long/b'])
          assert.equal(await (await payer.fetch(shop + path)).text(), `served ${path}`)
      })
    })

    test('pays our gate by a payment that is locked until the work is done', async () => {
      const shop = await openGate(net.seller, true)
      const ledger = memory()
      const payer = paying(net.buyer, ledger)
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        const response = await payer.fetch(`${shop}/one`)
        assert.equal(await response.text(), 'served /one')
        while ((await net.buyer.payment(hashOf(response)))?.state !== 'succeeded') await sleep(10)
      })
    })

    test('gets a locked payment back from our gate when the work fails', async () => {
      const shop = await openGate(net.seller, true)
      const ledger = memory()
      const payer = paying(net.buyer, ledger)
      await costs(0n, async () => {
        const response = await payer.fetch(`${shop}/fail`)
        assert.equal(response.status, 500)
        while ((await net.buyer.payment(hashOf(response)))?.state !== 'failed') await sleep(10)
      })
      await payer.recover()
      assert.deepEqual(await counted(ledger), [0n, 0n])
    })

    test('pays an L402 server that is not ours, once for each service', async () => {
      const shop = await openForeign()
      const payer = paying(net.buyer, memory())
      await costs(2n * (PRICE_MSAT + ROUTE_MSAT), async () => {
        for (const path of ['/weather/a', '/weather/a', '/weather/b', '/news/a', '/weather/b'])
          assert.equal(await (await payer.fetch(shop.url + path)).text(), `served ${path}`)
      })
      assert.deepEqual(shop.shown.map(Boolean), [
        ...[false, true],
        true,
        ...[false, true],
        ...[false, true],
        true,
      ])
      assert.match(shop.shown[1] ?? '', /^L402 /)
    })

    test('charges nothing when two hops cost more than it may pay, and pays when they do not', async () => {
      const shop = await openForeign()
      const ledger = memory()
      const node = net.buyer
      const capped = (feeMaxMsat: bigint): Payer => {
        const wallet = lightningWallet({ node, feeMaxMsat: () => feeMaxMsat })
        return paying(node, ledger, {
          wallets: [wallet],
          protocols: [l402({ parts: [wallet], hashIn })],
        })
      }
      await costs(0n, () =>
        assert.rejects(capped(ROUTE_MSAT - 1n).fetch(`${shop.url}/weather`), {
          code: 'settlement-failed',
        }),
      )
      assert.deepEqual(await counted(ledger), [0n, 0n])
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        const response = await capped(ROUTE_MSAT).fetch(`${shop.url}/weather`)
        assert.equal(response.status, 200)
      })
      assert.deepEqual(await counted(ledger), [PRICE_MSAT + ROUTE_MSAT, 0n])
    })

    test('and our gate stand on wallets behind Nostr Wallet Connect', async () => {
      const [sells, pays] = [await startNwc(net.seller), await startNwc(net.buyer)]
      const [seller, buyer] = [createNwc({ uri: sells.uri }), createNwc({ uri: pays.uri })]
      for (const one of [sells, pays, seller, buyer]) ends.push(() => one.close())
      const shop = await openGate(seller)
      const ledger = memory()
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        const response = await paying(buyer, ledger).fetch(`${shop}/one`)
        assert.equal(await response.text(), 'served /one')
      })
      assert.deepEqual(await counted(ledger), [PRICE_MSAT + ROUTE_MSAT, 0n])
    })
  })

  describe('a payer in a process of its own', () => {
    function start(...args: readonly string[]): ChildProcess {
      const child = spawn(process.execPath, [self, 'buy', ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      children.push(child)
      return child
    }

    /** One that ends by itself has failed: nobody waits for what it was to do. */
    function alive(child: ChildProcess): void {
      assert.equal(child.exitCode, null, 'The payer has ended by itself.')
    }

    async function kill(child: ChildProcess): Promise<void> {
      alive(child)
      child.kill('SIGKILL')
      await once(child, 'exit')
    }

    async function books(): Promise<string> {
      const directory = await mkdtemp(join(tmpdir(), 'l402-payer-'))
      ends.push(() => rm(directory, { recursive: true, force: true }))
      return join(directory, 'payer.db')
    }

    async function served(child: ChildProcess): Promise<void> {
      assert.ok(child.stdout)
      const said = JSON.parse(await text(child.stdout)) as Record<string, unknown>
      assert.deepEqual([said['status'], said['body']], [200, 'served /one'])
      assert.equal(said['state'], 'posted')
      assert.match(String(said['preimage']), /^[0-9a-f]{64}$/)
    }

    test('that is killed between paying and showing goes on, and has paid once', async () => {
      const shop = `${await openGate(net.seller)}/one`
      const double = await startLnd(net.buyer, MACAROON)
      ends.push(() => double.close())
      const shared = await books()
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        const first = start(shared, double.url, shop, 'showing')
        assert.ok(first.stdout)
        await Promise.race([once(first.stdout, 'data'), once(first, 'exit')])
        await kill(first)
        await served(start(shared, double.url, shop))
      })
      const ledger = await sqlite({ file: shared })
      assert.deepEqual(await counted(ledger), [PRICE_MSAT + ROUTE_MSAT, 0n])
      await ledger.close()
    })

    test('that is killed while its payment is on its way finds it, and has paid once', async () => {
      const shop = `${await openGate(net.seller)}/one`
      const double = await startLnd(net.buyer, MACAROON)
      ends.push(() => double.close())
      const shared = await books()
      await costs(PRICE_MSAT + ROUTE_MSAT, async () => {
        net.router.stick(true)
        const first = start(shared, double.url, shop)
        while ((double.calls.get('POST /v2/router/send') ?? 0) === 0) {
          alive(first)
          await sleep(10)
        }
        await kill(first)
        net.router.stick(false)
        await served(start(shared, double.url, shop))
      })
      assert.equal(double.calls.get('POST /v2/router/send'), 1)
    })
  })

  function hashOf(response: Response): string {
    const { details } = paymentOf(response)?.offer ?? {}
    return (details as { readonly hash: string }).hash
  }
}
