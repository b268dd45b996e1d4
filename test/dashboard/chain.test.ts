// A real browser before a real seller on a real chain: money arrives, goes back and is found, and the page shows it.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import type { Browser, Page } from 'playwright-core'
import { build } from 'vite'
import { createSeller } from '../../src/adapters/seller.ts'

import { createAdmin, createHub } from '../../src/admin/index.ts'
import type { Admin } from '../../src/admin/index.ts'
import { systemClock } from '../../src/core/clock.ts'
import { readPrice } from '../../src/core/money.ts'
import type { Ask, Ledger, Pass } from '../../src/core/ports.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import type { EvmRail } from '../../src/rails/evm/rail.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet } from '../../src/rails/evm/wallet.ts'
import { createReconciler } from '../../src/reconcile/index.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { createBuyer, createSender } from '../interop/peers.ts'
import type { Keys } from '../interop/peers.ts'
import { TOKEN } from './stage.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const hasBrowser = existsSync(executablePath)
const skip = hasBrowser ? false : `SKIPPED: there is no Chromium at ${executablePath}.`
if (!hasBrowser) process.stderr.write(`${String(skip)} Nothing of the dashboard was tried.\n`)

const WAIT_MS = 30_000
const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

describe('the dashboard of a seller on a real chain', { skip }, () => {
  let chain: Chain
  let owner: Keys
  let buyer: Keys
  let rail: EvmRail
  let ledger: Ledger
  let seller: Awaited<ReturnType<typeof createSeller>>
  let admin: Admin
  let server: Server
  let browser: Browser
  let page: Page
  let directory: string
  let url: string
  const said: string[] = []

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tolsey-shots-'))
    const files = join(directory, 'built')
    const root = fileURLToPath(new URL('../../src/dashboard', import.meta.url))
    const configFile = join(root, 'vite.config.ts')
    await build({ root, configFile, logLevel: 'error', build: { outDir: files } })
    chain = await startChain({ slotsInAnEpoch: 1 })
    owner = await createSender(chain)
    const sender = await createSender(chain)
    buyer = await createBuyer(chain, 1_000_000n)
    const { network, rpc } = chain
    rail = evm({
      ...{ network, rpc, payTo: owner.address, signer: sender.privateKey },
      refundSigner: owner.privateKey,
    })
    await rail.open()
    ledger = await sqlite({ file: join(directory, 'books.db') })
    const hub = createHub()
    seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [], ledger, observe: hub.observe },
    })
    const { gate } = seller
    admin = createAdmin({
      ...{ token: TOKEN, hub, files, shop: () => ({ gate, ledger, rails: [rail] }) },
      explorers: { [network]: 'https://explorer.example/tx/{reference}' },
    })
    server = createServer(admin.handle).listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    const context = await browser.newContext({ viewport: { width: 1200, height: 850 } })
    context.setDefaultTimeout(WAIT_MS)
    page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') said.push(message.text())
    })
    page.on('pageerror', (error) => said.push(error.message))
  })
  after(async () => {
    await browser?.close()
    admin?.close()
    server?.closeAllConnections()
    server?.close()
    await seller?.close()
    await ledger?.close()
    await chain?.stop()
    const kept = process.env['KEEP_SHOTS']
    if (kept === undefined) await rm(directory, { recursive: true, force: true })
    else process.stderr.write(`The pictures are in ${directory}.\n`)
  })

  async function begin(): Promise<Pass> {
    const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
    const ask: Ask = {
      resource: { ...where, url: 'http://api.test/a' },
      sale: {
        prices: [readPrice('0.25 USD')],
        settle: 'before-response',
        account: 'sales/GET /weather',
        workMs: 5_000,
      },
      request: 'r',
    }
    const [offer] = (await seller.gate.challenge(ask)).challenge?.offers ?? []
    assert.ok(offer)
    const proof = await wallet({ signer: fromPrivateKey(buyer.privateKey) }).pay(
      offer as never,
      60_000,
    )
    const entry = await seller.gate.admit({ ...ask, credential: { offer, proof } })
    return entry.kind === 'pass' ? entry : assert.fail(entry.kind)
  }

  async function shoot(name: string): Promise<void> {
    await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true })
  }

  /** What axe finds that keeps somebody out, once nothing moves any more. */
  async function clean(name: string): Promise<void> {
    for (let i = 0; i < 100; i++) {
      if (await page.evaluate<boolean>('document.getAnimations().length === 0')) break
      await systemClock.sleep(25)
    }
    await page.evaluate(axe.source)
    const found = await page.evaluate<readonly string[]>(
      "axe.run(document).then(({ violations }) => violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id }) => id))",
    )
    assert.deepEqual(found, [], name)
    await shoot(name)
  }

  test('money arrives while the operator looks, goes back by his hand, and is there', async () => {
    await page.goto(url)
    await page.getByLabel('Token of the dashboard').fill(TOKEN)
    await page.keyboard.press('Enter')
    await page.getByText('Live', { exact: true }).waitFor()
    const pass = await begin()
    const row = page
      .getByRole('region', { name: 'Latest payments' })
      .getByRole('row')
      .filter({ hasText: 'GET /weather' })
    await row.getByText('held').waitFor()
    const had = await chain.balanceOf(buyer.address)
    assert.equal((await pass.finish(true)).kind, 'serve')
    pass.delivered()
    await row.getByText('delivered').waitFor()
    assert.equal(await chain.balanceOf(owner.address), 250_000n)
    assert.equal(await chain.balanceOf(buyer.address), had - 250_000n)
    await clean('chain-overview')

    await row.getByRole('link').click()
    await page.getByRole('button', { name: 'Refund' }).click()
    const dialog = page.getByRole('dialog', { name: 'Refund' })
    await dialog.getByLabel('A part').check()
    await dialog.getByLabel('Amount in USDC').fill('0.1')
    await dialog.getByRole('button', { name: 'Give back 0.1 USDC' }).click()
    await dialog.getByText('0.1 USDC went back').waitFor()
    assert.equal(await chain.balanceOf(buyer.address), had - 150_000n)
    assert.equal(await chain.balanceOf(owner.address), 150_000n)
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.getByRole('heading', { name: 'Refunds' }).waitFor()
    await clean('chain-story')
  })

  test('what nobody explains is found on the chain, and booked away by hand', async () => {
    const reconciler = createReconciler({ ledger, rails: [rail], everyMs: 0, patienceMs: 0 })
    await chain.mine(4)
    const [opening] = await reconciler.round()
    assert.deepEqual([opening?.state, opening?.bookings.length], ['looked', 0])
    await chain.mint(owner.address, 70_000n)
    await chain.mine(4)
    // What is final is asked for at intervals.
    for (let i = 0; (await reconciler.round())[0]?.bookings[0]?.amount !== 70_000n; i++) {
      assert.ok(i < 100, 'it is found')
      await systemClock.sleep(200)
    }
    await page.goto(`${url}/#/attention`)
    await page.getByRole('heading', { name: 'More than the books explain · 0.07 USDC' }).waitFor()
    await page.getByRole('button', { name: 'Book it away' }).click()
    const dialog = page.getByRole('dialog', { name: 'Book it away' })
    await dialog.getByLabel(/Account, behind/).fill('gifts')
    await dialog.getByLabel('Why, for the books').fill('a gift, by mail')
    await dialog.getByLabel('Who says so').fill('ann')
    await clean('chain-book')
    await page.keyboard.press('Enter')
    await dialog.getByText('0.07 USDC stands in income/gifts now.').waitFor()
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.getByText('Nothing needs a look.').waitFor()
    await chain.mine(4)
    const [after] = await reconciler.round()
    assert.deepEqual([after?.state, after?.bookings], ['looked', []])
  })

  test('the books that are downloaded agree with the chain', async () => {
    await page.goto(`${url}/#/export`)
    const download = page.waitForEvent('download')
    await page.getByRole('link', { name: 'Download' }).click()
    const file = join(directory, 'entries.csv')
    await (await download).saveAs(file)
    const [head = '', ...lines] = (await readFile(file, 'utf8')).trim().split('\r\n')
    const [kind, units] = ['kind', 'units'].map((name) => head.split(',').indexOf(name))
    assert.ok(kind !== undefined && units !== undefined)
    const rows = lines.map((line) => line.split(','))
    assert.deepEqual(
      rows.map((row) => row[kind]).filter((one) => one !== 'cost'),
      ['sale', 'refund', 'mismatch', 'income'],
    )
    const cash = rows.filter((row) => ['sale', 'refund', 'income'].includes(row[kind] ?? ''))
    const sum = cash.reduce((all, row) => all + BigInt(row[units] ?? ''), 0n)
    assert.equal(sum, await chain.balanceOf(owner.address))
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
    assert.deepEqual(said, [])
  })
})
