// The two programs of docs/transactions.md run as they stand there, each in a process of its own, against a real chain.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { freePort } from '../../../../test/ports.ts'
import { RECEIVER } from './terms.ts'

const root = join(import.meta.dirname, '../../../..')
/** Where a package's entries are in the sources. */
const entries: Readonly<Record<string, string>> = {
  tolsey: 'index.ts',
  'tolsey/node': 'adapters/node.ts',
  'tolsey/protocols/bearer': 'protocols/bearer/index.ts',
  'tolsey/protocols/mpp': 'protocols/mpp/index.ts',
  'tolsey/rails/evm/transaction': 'rails/evm/transaction/index.ts',
}

let chain: Chain
let directory: string
const children: ChildProcess[] = []
before(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'transactions-'))
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** A program of the page, with its imports pointed at the sources. */
async function program(number: number): Promise<string> {
  const page = await readFile(join(root, 'docs/transactions.md'), 'utf8')
  const [, text = ''] = [...page.matchAll(/```ts\n(.*?)```/gs)][number] ?? []
  const code = text.replaceAll(/from '(tolsey[^']*)'/g, (_, name: string) => {
    const file = entries[name]
    assert(file, `${name} is an entry`)
    return `from '${pathToFileURL(join(root, 'src', file)).href}'`
  })
  const file = join(directory, `${number}.ts`)
  await writeFile(file, code)
  return file
}

async function run(number: number, env: Readonly<Record<string, string>>): Promise<ChildProcess> {
  const child = spawn(process.execPath, [await program(number)], {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

test('the seller of the page sells to its buyer, and the money is there', async () => {
  const payee = privateKeyToAccount(generatePrivateKey()).address
  const key = generatePrivateKey()
  const { address } = privateKeyToAccount(key)
  await chain.mint(address, 50_000n)
  await chain.fundEther(address, 10n ** 18n)
  const port = await freePort()
  const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
  await run(0, { SECRET: secret, RPC: chain.rpc, PAY_TO: payee, PORT: `${port}` })
  const url = `http://127.0.0.1:${port}/weather`
  const isUp = (): Promise<boolean> =>
    fetch(url).then(
      ({ status }) => status === 402,
      () => false,
    )
  while (!(await isUp())) await new Promise((done) => setTimeout(done, 20))
  const buyer = await run(1, { PRIVATE_KEY: key, RPC: chain.rpc, URL: url })
  let told = ''
  buyer.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()))
  const code = await new Promise<number | null>((done) => buyer.once('close', done))
  assert.equal(code, 0)
  assert.match(told, /\{ sky: 'clear' \} 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee), 10_000n)
})

test('the page names the receiver that is meant', async () => {
  const page = await readFile(join(root, 'docs/transactions.md'), 'utf8')
  assert.ok(page.includes(RECEIVER))
})
