// A person pays with a wallet in a real browser, on a real chain. The wallet is a throw-away key behind EIP-1193.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { crc32, deflateSync } from 'node:zlib'
import type { Page } from 'playwright-core'
import type { PrivateKeyAccount } from 'viem/accounts'
import { toll } from '../../src/adapters/node.ts'
import type { Routes } from '../../src/adapters/routes.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { page as createPage } from '../../src/page/index.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Keys } from '../interop/peers.ts'
import { createBuyer, createClient, createSender } from '../interop/peers.ts'
import { barriers, beside, openPlace, openStage, PHONE, skip, SECRET, until } from './stage.ts'
import type { Place, Stage } from './stage.ts'

const PRICE = 10_000n
/** What a seller's catalogue may hold, who has it from strangers. */
const HOSTILE = `</script><script>window.hurt=1</script><img src=x onerror="window.hurt=2">"'\`<!--\u2028\${window.hurt=3}%said%<!--main-->`
const ARTICLE =
  '<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Paid</title><h1 id="got">The article</h1>'

describe('a person pays by wallet', { skip }, () => {
  let stage: Stage
  let chain: Chain
  let directory: string
  let ledger: Ledger
  let seller: OpenSeller
  let place: Place
  let payee: Keys
  let runs = 0
  let was = 0n

  beforeEach(async () => {
    runs = 0
    was = await chain.balanceOf(payee.address)
  })
  before(async () => {
    stage = await openStage()
    chain = await startChain()
    directory = await mkdtemp(join(tmpdir(), 'tolsey-wallet-'))
    ledger = await sqlite({ file: join(directory, 'books.db') })
    payee = await createSender(chain)
    const sender = await createSender(chain)
    place = await openPlace()
    const rail = evm({
      ...{ network: chain.network, rpc: chain.rpc, payTo: payee.address },
      signer: sender.privateKey,
    })
    seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [x402([rail])], ledger, origin: place.url },
      page: createPage({
        ...{ file: stage.file, name: 'The Daily' },
        ...{ light: { accent: '#8a1c1c' }, dark: { accent: '#ffb4a8', onAccent: '#3a0905' } },
      }),
    })
    const routes: Routes = {
      'GET /article': { price: '0.01 USD', description: 'One article about the weather' },
      'GET /answer': {
        description: 'An answer of a model',
        price: () => ({
          price: '0.01 USD',
          breakdown: [
            { what: 'reading', quantity: '1200', unit: 'tokens', amount: '0.004 USD' },
            {
              what: '<img src=x onerror="window.hurt=1">',
              quantity: '300',
              unit: 'tokens',
              amount: '0.006 USD',
            },
          ],
        }),
      },
      'GET /early': { price: '0.01 USD', settle: 'before-work' },
      'GET /hostile': { price: '0.01 USD', description: HOSTILE },
    }
    place.serve(
      toll(seller, routes, ({ url }, response) => {
        runs++
        const isBroken = url === '/early' && runs === 1
        response.statusCode = isBroken ? 500 : 200
        response.setHeader('content-type', 'text/html; charset=utf-8')
        response.end(isBroken ? 'broken' : ARTICLE)
      }),
    )
  })
  after(async () => {
    const report = ledger && (await verifyBooks(ledger))
    await stage?.close()
    await place?.close()
    await seller?.close()
    await ledger?.close()
    await chain?.stop()
    await rm(directory, { recursive: true, force: true })
    assert.deepEqual(report?.problems, [])
  })

  test('pays, sees the receipt and then the article, and a reload does not pay again', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page, said } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    const answer = await page.goto(`${place.url}/article`)
    assert.equal(answer?.status(), 402)
    const pay = page.getByRole('button', { name: /Pay 0\.01 USDC/ })
    await pay.waitFor()
    await stage.shoot(page, 'wallet-offer')
    // The seller's own colour.
    const colour = "getComputedStyle(document.querySelector('section button')).backgroundColor"
    assert.equal(await page.evaluate(colour), 'rgb(138, 28, 28)')
    assert.deepEqual(await barriers(page, 'offer'), [])
    await pay.click()
    await page.getByRole('heading', { name: 'Paid' }).waitFor()
    await stage.shoot(page, 'wallet-receipt')
    assert.deepEqual(await barriers(page, 'receipt'), [])
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    await page.reload()
    await page.locator('#got').waitFor()
    assert.equal(runs, 1)
    assert.equal(await earned(), PRICE)
    assert.deepEqual(beside(said), [])
  })

  const earned = async (): Promise<bigint> => (await chain.balanceOf(payee.address)) - was

  async function buy(page: Page): Promise<void> {
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
  }

  test('is told when there is no wallet, when it has not enough, and when the person says no; then pays', async () => {
    const buyer = await createBuyer(chain, 1n)
    const bare = await stage.visit()
    await bare.page.goto(`${place.url}/article`)
    await bare.page.getByText('No wallet was found in this browser.').waitFor()
    await bare.context.close()
    const { page, said } = await stage.visit()
    const asked: string[] = []
    let isWilling = true
    const account = {
      ...buyer.account,
      signTypedData: (async (data: never) => {
        if (!isWilling) throw new Error('no')
        return await buyer.account.signTypedData(data)
      }) as PrivateKeyAccount['signTypedData'],
    }
    await lendWallet(page, account, chain, (method) => asked.push(method), '0x1')
    await page.goto(`${place.url}/article`)
    const pay = page.getByRole('button', { name: /Pay 0\.01 USDC/ })
    await pay.click()
    await page.getByRole('alert').getByText('This account has 0.000001 USDC').waitFor()
    assert.ok(asked.includes('wallet_switchEthereumChain'))
    await chain.mint(buyer.address, PRICE)
    isWilling = false
    await pay.click()
    await page.getByRole('alert').getByText('You declined in the wallet.').waitFor()
    assert.deepEqual(await barriers(page, 'declined'), [])
    await stage.shoot(page, 'declined')
    assert.equal(await earned(), 0n)
    isWilling = true
    await buy(page)
    assert.equal(await earned(), PRICE)
    assert.equal(runs, 1)
    assert.deepEqual(beside(said), [])
  })

  test('an answer that was lost on the way is fetched by a reload with the payment that was signed, not by another', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page, context } = await stage.visit()
    let signed = 0
    await lendWallet(page, buyer.account, chain, (method) => {
      if (method === 'eth_signTypedData_v4') signed++
    })
    await page.route('**/article', async (route) => {
      if (route.request().headers()['payment-signature'] === undefined)
        return await route.continue()
      // It was taken and settled, and nobody hears of it.
      await route.fetch()
      await route.abort()
    })
    await page.goto(`${place.url}/article`)
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    await page.getByText('The seller cannot be reached.').waitFor()
    await page.unroute('**/article')
    await context.clearCookies()
    await page.reload()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    assert.equal(signed, 1)
    assert.equal(await earned(), PRICE)
  })

  test('a proxy between that gives up is no answer: the same payment is sent again, and no other is signed', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    let signed = 0
    await lendWallet(page, buyer.account, chain, (method) => {
      if (method === 'eth_signTypedData_v4') signed++
    })
    const given = [502, 503, 504]
    await page.route('**/article', async (route) => {
      const isPaying = route.request().headers()['payment-signature'] !== undefined
      const status = isPaying ? given.shift() : undefined
      if (status === undefined) return await route.continue()
      // It was taken and settled behind the proxy.
      await route.fetch()
      await route.fulfill({ status, contentType: 'text/html', body: '<h1>Gateway</h1>' })
    })
    await page.clock.install()
    await page.goto(`${place.url}/article`)
    await page.clock.runFor(1_000)
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    const open = page.getByRole('button', { name: 'Show what you bought' })
    const wrong = page.getByText('the payment was not used')
    await page.getByText('The seller cannot be reached.').or(wrong).waitFor()
    assert.equal(await wrong.count(), 0)
    while (!(await open.isVisible())) await page.clock.runFor(5_000)
    assert.deepEqual(given, [])
    assert.equal(signed, 1)
    assert.equal(await earned(), PRICE)
  })

  test('work that failed after it was paid is tried again with that payment, not with another', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    await page.goto(`${place.url}/early`)
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    await page.getByRole('alert').getByText('The seller could not do the work (500)').waitFor()
    await page.getByRole('button', { name: /Pay 0\.01 USDC|Try again/ }).click()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    assert.equal(runs, 2)
    assert.equal(await earned(), PRICE)
  })

  test('an address that begins with two slashes is paid where it is', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    // As a shop that sells whatever stands below its root would answer.
    await page.route(`${place.url}//elsewhere.test/article`, async (route) => {
      await route.fulfill({ response: await route.fetch({ url: `${place.url}/article` }) })
    })
    await page.goto(`${place.url}//elsewhere.test/article`)
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    const open = page.getByRole('button', { name: 'Show what you bought' })
    await open.or(page.getByText('The seller cannot be reached.')).waitFor()
    assert.equal(await open.count(), 1)
    assert.equal(await earned(), PRICE)
  })

  test('while nobody answers, nothing new can be paid, and the same payment may be tried again', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    let signed = 0
    await lendWallet(page, buyer.account, chain, (method) => {
      if (method === 'eth_signTypedData_v4') signed++
    })
    await page.clock.install()
    await page.goto(`${place.url}/article`)
    await page.clock.runFor(1_000)
    await page.route('**/article', (route) => route.abort())
    await page.getByRole('button', { name: /Pay 0\.01 USDC/ }).click()
    const again = page.getByRole('button', { name: 'Try again' })
    while (!(await again.isVisible())) await page.clock.runFor(5_000)
    await page.getByRole('alert').getByText('There is no answer yet.').waitFor()
    await stage.shoot(page, 'stuck')
    assert.deepEqual(await barriers(page, 'stuck'), [])
    assert.equal(await page.getByRole('button', { name: /^Pay/ }).count(), 0)
    await page.unroute('**/article')
    await again.click()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    assert.equal(signed, 1)
    assert.equal(await earned(), PRICE)
  })

  test('who follows a link from another site to what he has paid for sees it, and does not pay again', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    await page.goto(`${place.url}/article`)
    await buy(page)
    const elsewhere = place.url.replace('localhost', '127.0.0.1')
    await page.route(`${elsewhere}/link`, (route) =>
      route.fulfill({
        contentType: 'text/html',
        body: `<a id="link" href="${place.url}/article">there</a>`,
      }),
    )
    await page.goto(`${elsewhere}/link`)
    await page.locator('#link').click()
    await page.locator('#got').waitFor()
    assert.equal(runs, 1)
    assert.equal(await earned(), PRICE)
  })

  test('a page at another origin, a frame and a picture draw nothing from the cookie', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page, context } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    await page.goto(`${place.url}/article`)
    await buy(page)
    const cookies = await context.cookies(`${place.url}/article`)
    const cookie = cookies.find(({ name }) => name.startsWith('tolsey-paid-'))
    assert.ok(cookie?.httpOnly)
    assert.equal(cookie.sameSite, 'Strict')
    assert.equal(cookie.path, '/article')
    const field = `${cookie.name}=${cookie.value}`
    const ask = async (change: Readonly<Record<string, string>> = {}): Promise<number> => {
      const headers = { accept: 'text/html', cookie: field, ...change }
      return await statusOf(`${place.url}/article`, headers)
    }
    assert.equal(await ask({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }), 402)
    assert.equal(await ask({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'navigate' }), 402)
    assert.equal(await ask({ 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }), 402)
    assert.equal(await ask({ 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }), 402)
    assert.equal(await ask({ 'sec-purpose': 'prefetch' }), 402)
    assert.equal(await ask({ accept: '*/*' }), 402)
    const honest = { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }
    assert.equal(await ask({ ...honest, 'sec-fetch-dest': 'document' }), 200)
    // The page of one address opens no other.
    const headers = { accept: 'text/html', cookie: field }
    assert.equal(await statusOf(`${place.url}/answer`, headers), 402)
    assert.equal(await statusOf(`${place.url}/article?more`, headers), 402)
    assert.equal(runs, 1)
  })

  test('pays by a payment app that the browser fetches when it is wanted (Payment Request)', async (t) => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const app = await openPlace()
    // The address of the app stands in the page, so that this shop is one of its own.
    const shop = await openPlace()
    const rail = evm({
      ...{ network: chain.network, rpc: chain.rpc, payTo: payee.address },
      signer: (await createSender(chain)).privateKey,
    })
    const own = memory()
    const selling = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [x402([rail])], ledger: own },
      origin: shop.url,
      page: createPage({ file: stage.file, apps: { evm: `${app.url}/pay` } }),
    })
    t.after(async () => {
      await selling.close()
      await Promise.all([shop.close(), app.close()])
    })
    shop.serve(
      toll(selling, { 'GET /article': '0.01 USD' }, (_, response) => {
        runs++
        response.setHeader('content-type', 'text/html; charset=utf-8').end(ARTICLE)
      }),
    )
    app.serve(paymentApp(app.url, buyer.account))
    const { page, said } = await stage.visit()
    await page.goto(`${shop.url}/article`)
    const pay = page.getByRole('button', { name: /^Pay with localhost/ })
    await pay.waitFor()
    await stage.shoot(page, 'app')
    await pay.click()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    assert.equal(runs, 1)
    assert.equal(await earned(), PRICE)
    assert.deepEqual(beside(said), [])
    // Where nobody answers at that address there is no button.
    app.serve((_, response) => void response.writeHead(404).end())
    const fresh = await stage.visit()
    await fresh.page.goto(`${shop.url}/article?again`)
    await fresh.page.getByText('No wallet was found').waitFor()
    assert.equal(await fresh.page.getByRole('button', { name: /^Pay with/ }).count(), 0)
  })

  test('a hostile description does nothing, in every place where it is shown', async () => {
    for (const path of ['hostile', 'answer']) {
      const { page, said, context } = await stage.visit({ colorScheme: 'dark', viewport: PHONE })
      await page.goto(`${place.url}/${path}`)
      await page.getByText('window.hurt=1').first().waitFor()
      await page.getByText('No wallet was found').waitFor()
      await stage.shoot(page, path)
      assert.deepEqual(await barriers(page, path), [])
      assert.equal(await page.evaluate('window.hurt'), undefined)
      assert.equal(await page.locator('main img').count(), 0)
      assert.deepEqual(beside(said), [])
      await context.close()
    }
  })

  test('speaks the reader’s language, and another when it is chosen, and keeps to it', async () => {
    const { page, said } = await stage.visit({ locale: 'zh-CN' })
    await page.goto(`${place.url}/answer`)
    await page.getByRole('heading', { name: '需要付款' }).waitFor()
    assert.equal(await page.evaluate('document.documentElement.lang'), 'zh')
    await stage.shoot(page, 'chinese')
    await page.getByRole('combobox').selectOption('es')
    await page.getByRole('heading', { name: 'Se requiere un pago' }).waitFor()
    assert.deepEqual(await barriers(page, 'spanish'), [])
    await stage.shoot(page, 'spanish')
    await page.reload()
    await until(page, "document.documentElement.lang === 'es'")
    assert.deepEqual(beside(said), [])
  })

  test('can be used by the keyboard alone', async () => {
    const buyer = await createBuyer(chain, 5n * PRICE)
    const { page } = await stage.visit()
    await lendWallet(page, buyer.account, chain)
    await page.goto(`${place.url}/article`)
    await page.getByRole('button', { name: /Pay/ }).waitFor()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Paid' }).waitFor()
    await page.keyboard.press('Enter')
    await page.locator('#got').waitFor()
    assert.equal(await earned(), PRICE)
  })

  test('is one file below 60 kB compressed, asks for nothing, and its policy lets nothing else run', async () => {
    const { page } = await stage.visit()
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    const answer = await page.goto(`${place.url}/answer`)
    await page.getByText('No wallet was found').waitFor()
    assert.deepEqual(asked, [`${place.url}/answer`])
    const body = await answer?.body()
    const length = Number(answer?.headers()['content-length'])
    assert.equal(answer?.headers()['content-encoding'], 'gzip')
    assert.ok(body && body.length < 100_000 && length > 1_000 && length < 60_000, String(length))
    const policy = answer?.headers()['content-security-policy'] ?? ''
    assert.match(
      policy,
      /default-src 'none'; script-src 'sha256-[^ ]+'; style-src( 'sha256-[^ ]+'){2};/,
    )
    assert.match(policy, /frame-ancestors 'none'/)
    assert.doesNotMatch(policy, /unsafe/)
  })
})

/** By a client that sends what it is given, and nothing of its own. */
async function statusOf(url: string, headers: Readonly<Record<string, string>>): Promise<number> {
  const asking = request(url.replace('localhost', '127.0.0.1'), {
    headers: { ...headers, host: new URL(url).host },
  })
  asking.end()
  const [answer] = (await once(asking, 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode ?? 0
}

/** A payment app as a wallet would serve it: a worker that asks its own server to sign, whose key is thrown away. */
function paymentApp(url: string, account: PrivateKeyAccount): RequestListener {
  const client = createClient(account)
  const files: Readonly<Record<string, readonly [type: string, body: string | Buffer]>> = {
    '/pay': ['application/json', '{}'],
    '/pay/methods.json': [
      'application/manifest+json',
      JSON.stringify({ default_applications: [`${url}/pay/app.json`] }),
    ],
    '/pay/app.json': [
      'application/manifest+json',
      JSON.stringify({
        name: 'A payment app',
        icons: [{ src: '/pay/icon.png', sizes: '192x192', type: 'image/png' }],
        serviceworker: { src: '/pay/worker.js', scope: '/pay/', use_cache: false },
      }),
    ],
    '/pay/worker.js': [
      'text/javascript',
      `addEventListener('install', () => skipWaiting())
      addEventListener('canmakepayment', (event) => event.respondWith(true))
      addEventListener('paymentrequest', (event) => event.respondWith(pay(event.methodData[0])))
      async function pay({ supportedMethods, data }) {
        const answer = await fetch('/pay/sign', { method: 'POST', body: JSON.stringify(data) })
        return { methodName: supportedMethods, details: await answer.json() }
      }`,
    ],
    '/pay/icon.png': ['image/png', icon()],
  }
  return (request, response) => {
    const path = request.url ?? ''
    const [type, body] = files[path] ?? []
    if (path === '/pay/sign') void sign(request, response)
    else if (type === undefined) response.writeHead(404).end()
    else give(request, response, type, body)
  }

  function give(
    request: IncomingMessage,
    response: ServerResponse,
    type: string,
    body: string | Buffer | undefined,
  ): void {
    const path = request.url
    response.writeHead(200, {
      'content-type': type,
      ...(path === '/pay' && { link: '</pay/methods.json>; rel="payment-method-manifest"' }),
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }

  async function sign(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { fields } = JSON.parse(Buffer.concat(chunks).toString()) as {
      readonly fields: readonly (readonly [string, string])[]
    }
    const [, required = ''] = fields.find(([name]) => name === 'PAYMENT-REQUIRED') ?? []
    const said = JSON.parse(Buffer.from(required, 'base64').toString()) as never
    const payload = await client.createPaymentPayload(said)
    const value = Buffer.from(JSON.stringify(payload)).toString('base64')
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ field: 'PAYMENT-SIGNATURE', value }))
  }
}

/** A grey square. What cannot be decoded makes the browser take the app for none. */
function icon(): Buffer {
  const side = 192
  const chunk = (type: string, data: Buffer): Buffer => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    const named = Buffer.concat([Buffer.from(type), data])
    const sum = Buffer.alloc(4)
    sum.writeUInt32BE(crc32(named))
    return Buffer.concat([length, named, sum])
  }
  const head = Buffer.alloc(13)
  head.writeUInt32BE(side, 0)
  head.writeUInt32BE(side, 4)
  // Eight bits, grey.
  head[8] = 8
  const rows = Buffer.alloc(side * (side + 1), 0x80)
  for (let y = 0; y < side; y++) rows[y * (side + 1)] = 0
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10])
  return Buffer.concat([
    signature,
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** A wallet in the window, whose key never gets there. */
async function lendWallet(
  page: Page,
  account: PrivateKeyAccount,
  chain: Chain,
  onAsk: (method: string) => void = () => undefined,
  chainId = `0x${chain.chainId.toString(16)}`,
): Promise<void> {
  await page.exposeFunction('lent', async (method: string, params: readonly unknown[]) => {
    onAsk(method)
    switch (method) {
      case 'eth_requestAccounts':
        return [account.address]
      case 'eth_chainId':
        return chainId
      case 'wallet_switchEthereumChain':
        chainId = (params[0] as { chainId: string }).chainId
        return null
      case 'eth_signTypedData_v4':
        try {
          return await account.signTypedData(JSON.parse(String(params[1])) as never)
        } catch {
          return { declined: true }
        }
      default:
        return await chain.request(method, params)
    }
  })
  await page.addInitScript(
    `window.ethereum = {
      async request({ method, params = [] }) {
        const said = await window.lent(method, params)
        if (said?.declined) throw Object.assign(new Error('User rejected the request.'), { code: 4001 })
        return said
      },
    }`,
  )
}
