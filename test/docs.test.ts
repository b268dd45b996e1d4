// The examples of the README are files; they run here, as a user would run them, against a real chain.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
let chain: Chain
let directory: string
const children: ChildProcess[] = []
before(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'docs-'))
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

function run(example: string, environment: Record<string, string>): ChildProcess {
  const env = { PATH: process.env['PATH'] ?? '', ...environment }
  const child = spawn(process.execPath, [join(root, 'examples', example)], {
    cwd: directory,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

test('the README shows the examples as they are', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  for (const name of ['seller.ts', 'buyer.ts']) {
    const example = await readFile(join(root, 'examples', name), 'utf8')
    assert.ok(readme.includes(example.trim()), `README.md does not show examples/${name} as it is.`)
  }
})

test('the seller of the README sells to its buyer, and the money is there', async () => {
  const payee = await createSender(chain)
  const sender = await createSender(chain)
  const buyer = await createBuyer(chain, 100_000n)
  const port = await freePort()
  run('seller.ts', {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    RPC: chain.rpc,
    PAY_TO: payee.address,
    SENDER_KEY: sender.privateKey,
    PORT: `${port}`,
  })
  const url = `http://127.0.0.1:${port}/weather`
  while (
    !(await fetch(url).then(
      ({ status }) => status === 402,
      () => false,
    ))
  )
    await new Promise((done) => setTimeout(done, 20))
  const child = run('buyer.ts', { PRIVATE_KEY: buyer.privateKey, URL: url })
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = await new Promise<[number | null]>((done) =>
    child.once('close', (exit) => done([exit])),
  )
  assert.equal(code, 0)
  assert.match(said, /\{ sky: 'clear' \} 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee.address), 10_000n)
})

test('every link in the documents leads to a file that is there', async () => {
  const pages = (await readdir(root, { recursive: true })).filter(
    (path) => path.endsWith('.md') && !/node_modules|^dist|^\.git\//.test(path),
  )
  assert.ok(pages.length >= 5)
  const broken: string[] = []
  for (const page of pages) {
    const text = (await readFile(join(root, page), 'utf8')).replaceAll(/```[\s\S]*?```/g, '')
    const links = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(
      (match) => match[1] ?? '',
    )
    for (const link of links)
      await readFile(join(root, dirname(page), link)).catch(
        (error: { code: string }) => error.code !== 'EISDIR' && broken.push(`${page}: ${link}`),
      )
  }
  assert.deepEqual(broken, [])
})
