// The page behind every kind of door, without a browser; and the example of docs/page.md, as a user would run it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { toll } from '../../src/adapters/fetch.ts'
import { TRAY_MS } from '../../src/adapters/page.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Protocol } from '../../src/core/ports.ts'
import { createHandClock, createKeyRail } from '../../src/gate/fixture.test.ts'
import { memory } from '../../src/ledger/memory.ts'
import { page } from '../../src/page/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { createSender } from '../interop/peers.ts'
import type { Doors } from '../interop/l402-shop.ts'
import { openDoors } from '../interop/l402-shop.ts'
import { freePort } from '../ports.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const BROWSER = 'text/html,application/xhtml+xml,*/*;q=0.8'
const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

const protocol: Protocol = {
  name: 'fake',
  fields: { request: ['Fake-Payment'], response: ['Fake-Offers'] },
  writeChallenge: ({ offers }) => ({ fields: offers.map(({ id }) => ['Fake-Offers', id]) }),
  readCredential(fields) {
    const proof = fields.get('Fake-Payment')
    return typeof proof === 'string'
      ? { offer: { rail: 'test', network: 'net' }, proof }
      : undefined
  },
  writeReceipt: () => ({ fields: [] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readReceipt: () => undefined,
}

describe('the page', () => {
  let directory: string
  let seller: OpenSeller
  let doors: Doors

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tolsey-doors-'))
    const root = at('src/page/browser')
    const configFile = join(root, 'vite.config.ts')
    await build({ root, configFile, logLevel: 'error', build: { outDir: directory } })
    const { rail } = createKeyRail(systemClock)
    seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [protocol], ledger: memory() },
      page: page({ file: join(directory, 'index.html') }),
    })
    doors = await openDoors(seller, { 'GET /a': '0.01 USD', 'GET /fail': '0.01 USD' })
  })
  after(async () => {
    await doors?.close()
    await seller?.close()
    await rm(directory, { recursive: true, force: true })
  })

  for (const name of ['node:http', 'fetch', 'Express', 'Fastify', 'Hono'])
    test(`behind ${name} is shown, takes a payment, and gives what was bought once to a cookie`, async () => {
      const url = `${doors.url(name)}/a`
      const person = await fetch(url, { headers: { accept: BROWSER } })
      assert.equal(person.status, 402)
      assert.match(await person.text(), /<h1>Payment required<\/h1>[\s\S]*0\.01 COIN/)
      const was = doors.runs()
      const paying = {
        ...{ accept: 'application/json', 'tolsey-page': '1' },
        'fake-payment': `at ${name}`,
      }
      const receipt = await fetch(url, { headers: paying })
      assert.equal(receipt.headers.get('tolsey-page'), 'receipt')
      const [line = ''] = receipt.headers.getSetCookie()
      assert.doesNotMatch(line, /Secure/)
      const [cookie = ''] = line.split(';')
      // undici says itself that it is no navigation.
      assert.equal((await fetch(url, { headers: { accept: BROWSER, cookie } })).status, 402)
      for (let i = 0; i < 2; i++) assert.equal(await navigate(url, cookie), '{"path":"/a"}')
      assert.equal(doors.runs() - was, 1)
      const failed = await fetch(`${doors.url(name)}/fail`, { headers: paying })
      assert.equal(failed.status, 402)
    })
})

test('an answer that is kept is there for reloads, from every process and after a while, for one run and one payment', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-kept-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const root = at('src/page/browser')
  const configFile = join(root, 'vite.config.ts')
  await build({ root, configFile, logLevel: 'error', build: { outDir: directory } })
  const clock = createHandClock()
  const ledger = memory({ clock })
  const stored = new Map<string, Uint8Array>()
  let runs = 0
  const open = async () => {
    const { rail, moved } = createKeyRail(clock, { seen: () => 'the money', prepaid: true })
    const seller = await createSeller({
      ...{ secret: SECRET, rails: [rail], protocols: [protocol], ledger, clock },
      page: page({ file: join(directory, 'index.html') }),
      vault: {
        put: async (key, sealed) => void stored.set(key, sealed),
        get: async (key) => stored.get(key),
      },
    })
    t.after(() => seller.close())
    const handle = toll(seller, { 'GET /a': { price: '0.01 USD', keep: true } }, () => {
      runs++
      return new Response('worth keeping', { headers: { 'content-type': 'text/html' } })
    })
    const ask = (headers: Readonly<Record<string, string>>): Promise<Response> =>
      handle(new Request('https://shop.test/a', { headers: { accept: BROWSER, ...headers } }))
    return { ask, moved }
  }
  const [one, two] = [await open(), await open()]
  const html = await (await one.ask({})).text()
  const ticket = /"ticket":"([\w-]+)"/.exec(html)?.[1]
  assert.ok(ticket !== undefined)
  const receipt = await one.ask({ 'tolsey-page': '1', 'tolsey-ticket': ticket })
  assert.equal(receipt.headers.get('tolsey-page'), 'receipt')
  const [cookie = ''] = receipt.headers.getSetCookie()[0]?.split(';') ?? []
  clock.pass(TRAY_MS)
  for (const { ask } of [one, two, one])
    assert.equal(await (await ask({ cookie })).text(), 'worth keeping')
  assert.equal(runs, 1)
  assert.deepEqual([...one.moved, ...two.moved], [['the money', 1]])
})

/** As a browser goes there. */
async function navigate(url: string, cookie: string): Promise<string> {
  const { request } = await import('node:http')
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const asking = request(url, { headers: { accept: BROWSER, cookie } }, (answer) => {
    let body = ''
    answer.setEncoding('utf8')
    answer.on('data', (chunk: string) => (body += chunk))
    answer.on('end', () => resolve(body))
  })
  asking.on('error', reject).end()
  return await promise
}

describe('docs/page.md', () => {
  let chain: Chain
  let directory: string
  before(async () => {
    chain = await startChain()
    directory = await mkdtemp(join(tmpdir(), 'tolsey-page-docs-'))
    // The sources look for the page where `npm run build` puts it.
    if (existsSync(at('dist/page/index.html'))) return
    const root = at('src/page/browser')
    await build({ root, configFile: join(root, 'vite.config.ts'), logLevel: 'error' })
  })
  after(async () => {
    await chain?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  test('shows the example as it is', async () => {
    const text = await readFile(at('docs/page.md'), 'utf8')
    assert.ok(text.includes((await readFile(at('examples/page.ts'), 'utf8')).trim()))
  })

  test('has an example that shows people a page and machines a challenge', async () => {
    const [payee, sender] = [await createSender(chain), await createSender(chain)]
    const port = await freePort()
    const env = {
      PATH: process.env['PATH'] ?? '',
      ...{ SECRET, RPC: chain.rpc, NETWORK: chain.network, PAY_TO: payee.address },
      ...{ SENDER_KEY: sender.privateKey, PORT: `${port}` },
    }
    const hook = new URL('../interop/sources.ts', import.meta.url).href
    const child = spawn(process.execPath, ['--import', hook, at('examples/page.ts')], {
      ...{ cwd: directory, env, stdio: ['ignore', 'ignore', 'inherit'] },
    })
    try {
      const url = `http://127.0.0.1:${port}/article`
      while ((await fetch(url).catch(() => undefined)) === undefined) {
        assert.equal(child.exitCode, null, 'examples/page.ts runs')
        await systemClock.sleep(20)
      }
      const person = await fetch(url, { headers: { accept: BROWSER } })
      assert.equal(person.status, 402)
      const text = await person.text()
      assert.match(text, /The Daily[\s\S]*Why it rains[\s\S]*0\.01 USDC/)
      assert.match(text, /--accent:#8a1c1c/)
      assert.equal((await fetch(url)).headers.get('content-type'), 'application/problem+json')
    } finally {
      child.kill('SIGKILL')
    }
  })
})
