// A person pays over Lightning: real channels of LDK in this process, and a seller whose node is reached as LND is.
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { decodeQR } from 'qr/decode.js'
import type { Page } from 'playwright-core'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { memory } from '../../src/ledger/memory.ts'
import { page as createPage } from '../../src/page/index.ts'
import { l402 } from '../../src/protocols/l402/http.ts'
import { createLnd } from '../../src/rails/lightning/adapters/index.ts'
import { lightning } from '../../src/rails/lightning/rail.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { startLnd } from '../../src/sandbox/lightning/doubles/lnd.ts'
import type { Double } from '../../src/sandbox/lightning/doubles/server.ts'
import { createMacaroons } from '../../src/tokens/macaroon/index.ts'
import { askedIn, payInvoice } from '../interop/l402-shop.ts'
import { barriers, beside, openPlace, openStage, PHONE, skip, SECRET } from './stage.ts'
import type { Place, Stage } from './stage.ts'

const PRICE_MSAT = 5_000n
const KEY = 'abcd12'

describe('a person pays over Lightning', { skip }, () => {
  let stage: Stage
  let net: LightningNetwork
  let double: Double
  const places: Place[] = []
  const sellers: OpenSeller[] = []
  let runs = 0
  let was = 0n

  before(async () => {
    stage = await openStage()
    net = await startLightning()
    double = await startLnd(net.seller, KEY)
  })
  beforeEach(() => {
    runs = 0
    was = net.seller.balanceMsat()
  })
  after(async () => {
    await stage?.close()
    await Promise.all(places.map((place) => place.close()))
    await Promise.all(sellers.map((seller) => seller.close()))
    await double?.close()
    await net?.close()
  })

  /** A shop of its own. */
  async function open(hold: boolean): Promise<Place> {
    const place = await openPlace()
    places.push(place)
    const node = createLnd({ url: double.url, macaroon: KEY })
    const rail = lightning({
      ...{ node, network: 'regtest' },
      ...(hold && { hold: { secret: SECRET } }),
    })
    const seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], ledger: memory(), origin: place.url },
      protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) })],
      page: createPage({ file: stage.file, name: 'Photos' }),
    })
    sellers.push(seller)
    const routes = { 'GET /photo': { price: '5 SAT', description: 'A photo' } }
    place.serve(
      toll(seller, routes, (_, response) => {
        runs++
        response.setHeader('content-type', 'image/svg+xml')
        response.end(
          '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect id="got" width="90" height="60" fill="teal"/></svg>',
        )
      }),
    )
    return place
  }

  /** What a phone sees. */
  async function scan(page: Page): Promise<string> {
    const qr = page.locator('.qr')
    await qr.waitFor()
    const rows = await page.evaluate<readonly (readonly number[])[]>(`(() => {
      const svg = document.querySelector('.qr svg')
      const side = svg.viewBox.baseVal.width
      const rows = Array.from({ length: side }, () => Array(side).fill(0))
      for (const [, x, y] of svg.querySelector('path').getAttribute('d').matchAll(/M(\\d+) (\\d+)h1/g)) rows[y][x] = 1
      return rows
    })()`)
    const scale = 4
    const side = rows.length * scale
    const data = new Uint8Array(side * side * 4).fill(255)
    rows.forEach((row, y) =>
      row.forEach((dark, x) => {
        for (let i = 0; i < (dark ? scale * scale : 0); i++) {
          const at = (y * scale + Math.floor(i / scale)) * side + x * scale + (i % scale)
          data.fill(0, at * 4, at * 4 + 3)
        }
      }),
    )
    return decodeQR({ width: side, height: side, data })
  }

  async function isShown(page: Page): Promise<void> {
    await page.getByRole('heading', { name: 'Paid' }).waitFor()
    await page.getByRole('button', { name: 'Show what you bought' }).click()
    await page.locator('#got').waitFor()
    await page.reload()
    await page.locator('#got').waitFor()
    assert.equal(runs, 1)
    assert.equal(net.seller.balanceMsat() - was, PRICE_MSAT)
  }

  for (const hold of [false, true])
    test(`scans the code with a phone${hold ? ', and the payment is held until the work is done' : ''}: the page notices`, async () => {
      const place = await open(hold)
      const { page, said, context } = await stage.visit({ viewport: PHONE, colorScheme: 'dark' })
      await page.goto(`${place.url}/photo`)
      const text = await scan(page)
      await stage.shoot(page, `lightning-${hold ? 'held' : 'phone'}`)
      assert.deepEqual(await barriers(page, 'lightning'), [])
      assert.match(text, /^LIGHTNING:LNBCRT/)
      const link = await page
        .getByRole('link', { name: 'Open in a Lightning wallet' })
        .getAttribute('href')
      assert.equal(link?.toLowerCase(), text.toLowerCase())
      await Promise.all([
        payInvoice(net, text.slice('lightning:'.length).toLowerCase()),
        isShown(page),
      ])
      assert.deepEqual(beside(said), [])
      await context.close()
    })

  test('pays with a wallet in the browser (WebLN), and the preimage is shown with its token', async () => {
    const place = await open(false)
    const { page, said, context } = await stage.visit()
    await page.exposeFunction('lent', (invoice: string) => payInvoice(net, invoice))
    await page.addInitScript(
      'window.webln = { enable: async () => {}, sendPayment: async (invoice) => ({ preimage: await window.lent(invoice) }) }',
    )
    const shown: string[] = []
    page.on('request', (request) => {
      const field = request.headers()['authorization']
      if (field !== undefined) shown.push(field)
    })
    await page.goto(`${place.url}/photo`)
    await page.getByRole('button', { name: 'Pay with the wallet in this browser' }).click()
    await isShown(page)
    assert.match(shown[0] ?? '', /^L402 [^:]+:[0-9a-f]{64}$/)
    assert.deepEqual(beside(said), [])
    await context.close()
  })

  test('pays with a wallet that takes its time, on the phone that reads: a page that was loaded anew notices', async () => {
    const place = await open(false)
    const { page, context } = await stage.visit({ viewport: PHONE })
    await page.goto(`${place.url}/photo`)
    const first = await scan(page)
    await page.reload()
    const second = await scan(page)
    assert.notEqual(first, second)
    await payInvoice(net, first.slice('lightning:'.length).toLowerCase())
    await isShown(page)
    await context.close()
  })

  test('has the price and a link to a wallet without JavaScript', async () => {
    const place = await open(false)
    const { page, context } = await stage.visit({ javaScriptEnabled: false })
    await page.goto(`${place.url}/photo`)
    await page.getByText('5 sat').waitFor()
    const link = page.getByRole('link', { name: 'Open in a Lightning wallet' })
    assert.match((await link.getAttribute('href')) ?? '', /^lightning:lnbcrt/)
    await stage.shoot(page, 'plain')
    await context.close()
  })

  test('a ticket of somebody else, or one that was changed, is worth nothing; the invoice of another page neither', async () => {
    const place = await open(false)
    const other = await open(false)
    interface Mine {
      readonly ticket: string
      readonly invoice: string
      readonly token: string
    }
    const ticketOf = async (url: string): Promise<Mine> => {
      const answer = await fetch(`${url}/photo`, { headers: { accept: 'text/html' } })
      const { token } = askedIn(answer.headers.get('www-authenticate') ?? '')
      const html = await answer.text()
      const data = JSON.parse(/id="said">([^<]*)</.exec(html)?.[1] ?? '{}') as {
        offers: readonly { ticket: string; invoice: string }[]
      }
      const [offer] = data.offers
      return offer ? { ...offer, token } : assert.fail(html)
    }
    const mine = await ticketOf(place.url)
    const another = await ticketOf(place.url)
    const foreign = await ticketOf(other.url)
    const ask = async (ticket: string): Promise<number> =>
      (await fetch(`${place.url}/photo`, { headers: { 'tolsey-ticket': ticket } })).status
    assert.equal(await ask(mine.ticket), 409)
    await payInvoice(net, mine.invoice)
    assert.equal(await ask(another.ticket), 409)
    // The token alone, which every client has been shown, does not do what the ticket does.
    const bare = await fetch(`${place.url}/photo`, {
      headers: { authorization: `L402 ${mine.token}:` },
    })
    assert.equal(bare.status, 402)
    assert.equal(((await bare.json()) as { code: string }).code, 'proof-invalid')
    assert.equal(await ask(`${mine.ticket.slice(0, -2)}AA`), 402)
    assert.equal(await ask(mine.ticket.slice(0, 40)), 402)
    // Sealed under the same secret, for another host.
    await payInvoice(net, foreign.invoice)
    assert.equal(await ask(foreign.ticket), 402)
    assert.equal(runs, 0)
    assert.equal(await ask(mine.ticket), 200)
    assert.equal(await ask(mine.ticket), 410)
    assert.equal(runs, 1)
  })
})
