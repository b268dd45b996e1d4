// A real browser before a real seller. The dashboard is built for it into a directory of its own, as `npm run build` builds it.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { build } from 'vite'
import { systemClock } from '../../src/core/clock.ts'
import { openStage, TOKEN } from './stage.ts'
import type { Stage } from './stage.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const hasBrowser = existsSync(executablePath)
const skip = hasBrowser ? false : `SKIPPED: there is no Chromium at ${executablePath}.`
if (!hasBrowser) process.stderr.write(`${String(skip)} Nothing of the dashboard was tried.\n`)

const WAIT_MS = 15_000
const LOOK_MS = 25
const pages = ['', 'payments', 'attention', 'tokens', 'balances', 'health', 'export']
const PHONE = { width: 360, height: 740 }

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string }[]
}

describe('the dashboard in a browser', { skip }, () => {
  let stage: Stage
  let browser: Browser
  let context: BrowserContext
  let page: Page
  let directory: string
  const said: string[] = []

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tolsey-shots-'))
    const files = join(directory, 'built')
    const root = fileURLToPath(new URL('../../src/dashboard', import.meta.url))
    const configFile = join(root, 'vite.config.ts')
    await build({ root, configFile, logLevel: 'error', build: { outDir: files } })
    stage = await openStage({ files })
    await stage.pay('GET /weather', '0.01 USD', 'before')
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    context = await browser.newContext({ viewport: { width: 1200, height: 850 } })
    context.setDefaultTimeout(WAIT_MS)
    page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') said.push(message.text())
    })
    page.on('pageerror', (error) => said.push(error.message))
    page.on('request', (request) => {
      if (!request.url().startsWith(stage.url)) said.push(`asked ${request.url()}`)
    })
  })
  after(async () => {
    await browser?.close()
    await stage?.close()
    const kept = process.env['KEEP_SHOTS']
    if (kept === undefined) await rm(directory, { recursive: true, force: true })
    else process.stderr.write(`The pictures are in ${directory}.\n`)
  })

  /** The page's policy lets nobody evaluate text in it, so that it is asked from outside, again and again. */
  async function until(expression: string): Promise<void> {
    for (let i = 0; i < WAIT_MS / LOOK_MS; i++) {
      if (await page.evaluate<boolean>(expression)) return
      await systemClock.sleep(LOOK_MS)
    }
    assert.fail(`It never came: ${expression}`)
  }

  async function shoot(name: string): Promise<void> {
    await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true })
  }

  async function open(path: string): Promise<void> {
    await page.goto(`${stage.url}/#/${path}`)
    await page.locator('main h1').first().waitFor()
    await until("document.querySelectorAll('.loading').length === 0")
  }

  /** What axe finds that keeps somebody out. */
  async function barriers(name: string): Promise<readonly string[]> {
    // Not what fades in.
    await until('document.getAnimations().length === 0')
    await page.evaluate(axe.source)
    const found = await page.evaluate<readonly Violation[]>(
      'axe.run(document).then(({ violations }) => violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html }) => ({ html })) })))',
    )
    return found
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${name}: ${id} ${nodes[0]?.html ?? ''}`)
  }

  test('a wrong token is told, and the right one lets in, by the keyboard alone', async () => {
    await page.goto(stage.url)
    await page.getByLabel('Token of the dashboard').waitFor()
    await shoot('login')
    assert.deepEqual(await barriers('login'), [])
    assert.deepEqual(said, [])
    await page.getByLabel('Token of the dashboard').focus()
    await page.keyboard.type('not-the-token-of-the-operator')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('The token is not right.').waitFor()
    // The browser itself notes each answer of 401.
    assert.ok(said.splice(0).every((line) => /status of 401/.test(line)))
    await page.getByLabel('Token of the dashboard').fill(TOKEN)
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    await page.getByText('Live', { exact: true }).waitFor()
  })

  test('a payment arrives while one looks, and goes through its states', async () => {
    const rows = page.getByRole('region', { name: 'Latest payments' }).getByRole('row')
    await rows.filter({ hasText: 'GET /weather' }).first().waitFor()
    const before = await rows.count()
    const pass = await stage.begin('GET /live', '0.25 USD', 'live')
    const row = rows.filter({ hasText: 'GET /live' })
    await row.getByText('held').waitFor()
    assert.equal(await rows.count(), before + 1)
    await pass.finish(true)
    await row.getByText('settled').waitFor()
    pass.delivered()
    await row.getByText('delivered').waitFor()
    await page.getByText('0.26 USD', { exact: true }).waitFor()
    await shoot('overview')
  })

  test('its whole story is told, and it is given back in part and then whole, by the keyboard', async () => {
    await page.getByRole('row').filter({ hasText: 'GET /live' }).getByRole('link').click()
    await page.getByText('The money has moved', { exact: true }).waitFor()
    const link = page.getByRole('link', { name: /Look at explorer\.example/ })
    assert.match((await link.getAttribute('href')) ?? '', /^https:\/\/explorer\.example\/tx\/0x/)
    await shoot('story')
    await page.getByRole('button', { name: 'Refund' }).focus()
    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog', { name: 'Refund' })
    await dialog.getByLabel('A part').check()
    await dialog.getByLabel('Amount in COIN').fill('0.05')
    await dialog.getByLabel('Reason, for the books').fill('a trial')
    await shoot('refund')
    assert.deepEqual(await barriers('refund'), [])
    await page.keyboard.press('Enter')
    await dialog.getByText('0.05 COIN went back').waitFor()
    assert.deepEqual([...stage.returned.values()], [50_000n])
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    await page.getByRole('heading', { name: 'Refunds' }).waitFor()
    await page.getByRole('button', { name: 'Refund' }).click()
    await dialog.getByRole('button', { name: 'Give back 0.2 COIN' }).click()
    await dialog.getByText('0.2 COIN went back').waitFor()
    assert.deepEqual([...stage.returned.values()], [50_000n, 200_000n])
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.getByRole('button', { name: 'Refund' }).waitFor({ state: 'detached' })
    await shoot('refunded')
    await page.getByRole('link', { name: 'Overview' }).click()
    await page.getByText('0.01 USD', { exact: true }).first().waitFor()
  })

  test('payments are found by what they are, and pages are turned', async () => {
    for (let i = 0; i < 55; i++) await stage.pay('GET /many', '0.01 USD', `many-${i}`)
    await open('payments')
    const table = page.getByRole('region', { name: 'Payments' })
    await page.getByLabel('Route').fill('GET /many')
    await page.getByRole('button', { name: 'Show' }).click()
    await until("document.querySelectorAll('tbody tr').length === 50")
    assert.equal(await table.getByRole('row').filter({ hasText: 'GET /many' }).count(), 50)
    await page.getByRole('button', { name: 'Older' }).click()
    await until("document.querySelectorAll('tbody tr').length === 5")
    await page.getByLabel('Payer').fill('nobody')
    await page.getByRole('button', { name: 'Show' }).click()
    await page.getByText('No payment fits.').waitFor()
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByText('GET /many').first().waitFor()
    await shoot('payments')
  })

  test('what is open says what to do, and a token is revoked', async () => {
    await assert.rejects(() => stage.pay('GET /weather', '0.5 USD', 'lost'))
    await open('')
    await page.getByRole('link', { name: 'One item needs a look' }).click()
    await page.getByText('Do not refund it').waitFor()
    await shoot('attention')
    const id = await stage.buy('token')
    await open('tokens')
    await page.getByRole('button', { name: `Statement of ${id}` }).click()
    await page.getByRole('dialog').getByText('bought').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: `Revoke ${id}` }).click()
    await shoot('revoke')
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
    await page.getByText('revoked', { exact: true }).waitFor()
    await shoot('tokens')
  })

  test('the books are downloaded as a file that says what they say', async () => {
    await open('export')
    const download = page.waitForEvent('download')
    await page.getByRole('link', { name: 'Download' }).click()
    const file = join(directory, 'entries.csv')
    const got = await download
    assert.equal(got.suggestedFilename(), 'tolsey-entries.csv')
    await got.saveAs(file)
    const lines = (await readFile(file, 'utf8')).trim().split('\r\n')
    assert.match(lines[0] ?? '', /^sequence,time,kind,route,/)
    assert.equal(lines.filter((line) => line.includes(',refund,GET /live,')).length, 2)
    assert.equal(lines.filter((line) => line.includes(',sale,GET /many,')).length, 55)
  })

  test('nobody is kept out of any page, in light and in dark, and none is wider than a phone', async () => {
    const found: string[] = []
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const path of [...pages, 'payments/before']) {
        await open(path)
        found.push(...(await barriers(`${path} ${colorScheme}`)))
        if (path === '') await page.locator('.chart canvas').waitFor()
        await shoot(`${colorScheme}-${path.replace('/', '-') || 'overview'}`)
      }
    }
    const size = page.viewportSize()
    await page.setViewportSize(PHONE)
    for (const path of [...pages, 'payments/before']) {
      await open(path)
      const width = await page.evaluate<number>('document.documentElement.scrollWidth')
      if (width > PHONE.width) found.push(`${path} is ${width} wide on a phone`)
      await shoot(`phone-${path.replace('/', '-') || 'overview'}`)
    }
    if (size) await page.setViewportSize(size)
    await page.emulateMedia({ colorScheme: null })
    assert.deepEqual(found, [])
    assert.ok((await stat(join(directory, 'phone-overview.png'))).size > 5_000)
  })

  test('a gateway that does not answer is told, and found again', async () => {
    await open('balances')
    await context.setOffline(true)
    await page.getByRole('link', { name: 'Tokens' }).click()
    await page.getByText('The server cannot be reached.').waitFor()
    await context.setOffline(false)
    // The browser itself notes what it could not fetch.
    said.splice(0, said.length, ...said.filter((line) => !/ERR_INTERNET_DISCONNECTED/.test(line)))
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('button', { name: /^Statement of/ }).waitFor()
  })

  test('after the login has ended there is nothing to be seen', async () => {
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByLabel('Token of the dashboard').waitFor()
    await page.goto(`${stage.url}/#/balances`)
    await page.reload()
    await page.getByLabel('Token of the dashboard').waitFor()
    assert.equal(await page.getByText('sales/').count(), 0)
  })

  test('the console was quiet, and nothing was asked of anybody else', () => {
    assert.deepEqual(said, [])
  })
})
