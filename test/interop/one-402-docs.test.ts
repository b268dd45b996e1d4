// The examples of docs/bearer.md and docs/one-402.md run here as they stand, but that `tolsey` is the sources of this directory.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { startLnd } from '../../src/sandbox/lightning/doubles/lnd.ts'
import type { Double } from '../../src/sandbox/lightning/doubles/server.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { freePort } from '../ports.ts'
import { payInvoice } from './l402-shop.ts'
import { createClients } from './one-402-clients.ts'
import { createBuyer, createSender } from './peers.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const KEY = 'abcd12'

let chain: Chain
let net: LightningNetwork
let node: Double
let directory: string
const children: ChildProcess[] = []

before(async () => {
  ;[chain, net] = await Promise.all([startChain(), startLightning()])
  node = await startLnd(net.seller, KEY)
  directory = await mkdtemp(join(tmpdir(), 'one-402-docs-'))
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await node?.close()
  await net?.close()
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** The programs of a page. */
async function programsOf(page: string): Promise<readonly string[]> {
  const text = await readFile(join(root, 'docs', page), 'utf8')
  const blocks = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  return blocks.filter((block) => block.startsWith('import ')).map(fromSources)
}

/** `tolsey` and its entries, as package.json names them, are files of the sources. */
function fromSources(program: string): string {
  const doors = ['node', 'express', 'fastify', 'hono', 'fetch', 'next']
  return program.replaceAll(/from 'tolsey(?:\/([^']+))?'/g, (_, entry: string | undefined) => {
    const inner = doors.includes(entry ?? '') ? `adapters/${entry}.ts` : `${entry}/index.ts`
    return `from '${join(root, 'src', entry === undefined ? 'index.ts' : inner)}'`
  })
}

async function run(
  name: string,
  program: string | undefined,
  env: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  assert.ok(program !== undefined, `${name} stands on its page`)
  const file = join(directory, `${name}.ts`)
  await writeFile(file, program)
  const child = spawn(process.execPath, [file], {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

/** Starts a seller, and waits until it asks for money. */
async function open(name: string, program: string | undefined): Promise<string> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/weather`
  const { privateKey } = await createSender(chain)
  const child = await run(name, program, {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    RPC: chain.rpc,
    PAY_TO: (await createSender(chain)).address,
    SENDER_KEY: privateKey,
    PORT: `${port}`,
    ...{ NODE: node.url, KEY, NETWORK: 'regtest' },
  })
  for (;;) {
    assert.equal(child.exitCode, null, `${name} runs`)
    const status = await fetch(url).then(
      (answer) => answer.status,
      () => 0,
    )
    if (status === 402) return url
    await sleep(20)
  }
}

test('the seller of the gateway profile sells to its buyer', async () => {
  const [seller, buyer] = await programsOf('bearer.md')
  const url = await open('bearer-seller', seller)
  const { privateKey } = await createBuyer(chain, 100_000n)
  const child = await run('bearer-buyer', buyer, { PRIVATE_KEY: privateKey, URL: url })
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const code = await new Promise<number | null>((done) => child.once('close', done))
  assert.deepEqual([code, said.trim()], [0, "200 { sky: 'clear' }"])
})

test('the seller of everything sells to every client', async () => {
  const [seller] = await programsOf('one-402.md')
  const url = await open('one-402-seller', seller)
  const clients = await createClients({
    keys: await createBuyer(chain, 100_000n),
    legacyKeys: await createBuyer(chain, 100_000n),
    payInvoice: (invoice) => payInvoice(net, invoice),
  })
  for (const { name, get } of clients) {
    const { status, body } = await get(url)
    assert.deepEqual([status, body], [200, { sky: 'clear' }], name)
  }
})

test('the pages name the limits that there are', async () => {
  const { HEAD_BYTES_MAX } = await import('../../src/adapters/layout.ts')
  const { TIMESTAMP_WINDOW_MS } = await import('../../src/protocols/bearer/index.ts')
  const [profile, all] = await Promise.all(
    ['bearer.md', 'one-402.md'].map((page) => readFile(join(root, 'docs', page), 'utf8')),
  )
  assert.ok(all?.includes(`**${HEAD_BYTES_MAX.toLocaleString('en')} bytes**`))
  assert.equal(TIMESTAMP_WINDOW_MS, 5 * 60_000)
  assert.ok(profile?.includes('**five minutes**'))
})
