// A browser, and the page built for it as `npm run build` builds it. It tests nothing itself.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { build } from 'vite'
import { systemClock } from '../../src/core/clock.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const hasBrowser = existsSync(executablePath)
/** Why nothing can be tried, if so. */
export const skip: false | string = hasBrowser
  ? false
  : `SKIPPED: there is no Chromium at ${executablePath}.`
if (skip) process.stderr.write(`${skip} Nothing of the page for people was tried.\n`)

export const WAIT_MS = 20_000
export const LOOK_MS = 25
export const PHONE = { width: 360, height: 740 }
export const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

/** A person before the page. */
export interface Visitor {
  readonly page: Page
  readonly context: BrowserContext
  /** What the console said, and what was asked for elsewhere. */
  readonly said: string[]
}

export interface Stage {
  /** The built page. */
  readonly file: string
  /** Comes with a browser of his own. Waits for nothing longer than {@link WAIT_MS}. */
  visit(options?: BrowserContextOptions): Promise<Visitor>
  shoot(page: Page, name: string): Promise<void>
  close(): Promise<void>
}

/** Builds the page and starts the browser. */
export async function openStage(): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-page-'))
  const root = fileURLToPath(new URL('../../src/page/browser', import.meta.url))
  const outDir = join(directory, 'built')
  const configFile = join(root, 'vite.config.ts')
  await build({ root, configFile, logLevel: 'error', build: { outDir } })
  const browser: Browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  return {
    file: join(outDir, 'index.html'),
    async visit(options = {}) {
      const viewport = { width: 1000, height: 900 }
      const context = await browser.newContext({ viewport, locale: 'en-GB', ...options })
      context.setDefaultTimeout(WAIT_MS)
      const page = await context.newPage()
      const said: string[] = []
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') said.push(message.text())
      })
      page.on('pageerror', (error) => said.push(error.message))
      return { page, context, said }
    },
    async shoot(page, name) {
      await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true })
    },
    async close() {
      await browser.close()
      if (process.env['KEEP_SHOTS'] === undefined)
        await rm(directory, { recursive: true, force: true })
      else process.stderr.write(`The pictures are in ${directory}.\n`)
    },
  }
}

/** A server on a free port of loopback. */
export interface Place {
  readonly url: string
  readonly port: number
  serve(listener: RequestListener): void
  close(): Promise<void>
}

/** Listens before it is known what it serves, so that its address can stand in what is served. */
export async function openPlace(): Promise<Place> {
  let serving: RequestListener = (_, response) => void response.writeHead(503).end()
  const server = createServer((request, response) =>
    // Browsers ask for it beside whatever they show.
    request.url === '/favicon.ico'
      ? void response.writeHead(204).end()
      : serving(request, response),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    // A name, so that the browser takes it for secure as it takes https.
    url: `http://localhost:${port}`,
    port,
    serve: (listener) => void (serving = listener),
    async close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** The browser itself notes each answer of 402, and those of a payment that is not there yet. */
export function beside(said: readonly string[]): readonly string[] {
  return said.filter((line) => !/status of (?:402|409|410)/.test(line))
}

/** The page's policy lets nobody evaluate text in it, so that it is asked from outside, again and again. */
export async function until(page: Page, expression: string): Promise<void> {
  for (let i = 0; i < WAIT_MS / LOOK_MS; i++) {
    if (await page.evaluate<boolean>(expression)) return
    await systemClock.sleep(LOOK_MS)
  }
  assert.fail(`It never came: ${expression}`)
}

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string }[]
}

/** What axe finds that keeps somebody out. */
export async function barriers(page: Page, name: string): Promise<readonly string[]> {
  await page.evaluate(axe.source)
  const found = await page.evaluate<readonly Violation[]>(
    'axe.run(document, { iframes: false }).then(({ violations }) => violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html }) => ({ html })) })))',
  )
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${name}: ${id} ${nodes[0]?.html ?? ''}`)
}
