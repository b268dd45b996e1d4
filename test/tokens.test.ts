// The examples of docs/tokens.md are files; they run here, as a user would run them, against a real chain.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Chain } from '../src/sandbox/chain.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { conditions } from '../src/core/conditions.ts'
import { newJwtKey } from '../src/tokens/jwt/index.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
let chain: Chain
let directory: string
const children: ChildProcess[] = []
before(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'tokens-'))
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

test('the page on tokens shows the examples as they are, and every condition', async () => {
  const page = await readFile(join(root, 'docs', 'tokens.md'), 'utf8')
  for (const name of ['tokens.ts', 'holder.ts']) {
    const example = await readFile(join(root, 'examples', name), 'utf8')
    assert.ok(page.includes(example.trim()), `docs/tokens.md does not show examples/${name}.`)
  }
  for (const { name } of conditions) assert.match(page, new RegExp(`^\\| \`${name}=`, 'm'))
})

test('the holder buys a token, uses it, hands on less, tops up, looks and revokes', async () => {
  const payee = await createSender(chain)
  const sender = await createSender(chain)
  const buyer = await createBuyer(chain, 1_000_000n)
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  run('tokens.ts', {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    JWT_KEY: JSON.stringify(await newJwtKey()),
    RPC: chain.rpc,
    PAY_TO: payee.address,
    SENDER_KEY: sender.privateKey,
    ORIGIN: origin,
    PORT: `${port}`,
  })
  const metadata = `${origin}/.well-known/oauth-authorization-server`
  while (
    !(await fetch(metadata).then(
      ({ ok }) => ok,
      () => false,
    ))
  )
    await new Promise((done) => setTimeout(done, 20))
  const child = run('holder.ts', { PRIVATE_KEY: buyer.privateKey, ORIGIN: origin })
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code] = await new Promise<[number | null]>((done) =>
    child.once('close', (exit) => done([exit])),
  )
  assert.equal(code, 0, said)
  const lines = said.trim().split('\n')
  const starts = [
    'weather 200 {"sky":"clear"}',
    'handed 200 {"sky":"clear"}',
    'handed again 402 ',
    'not for the handed 403 ',
    'left 200 ',
    'statement 200 ',
    'revoked 200 ',
    'over 401 ',
  ]
  assert.deepEqual(
    lines.map((line, i) => line.slice(0, starts[i]?.length)),
    starts,
  )
  assert.match(lines[4] ?? '', /"uses":198/)
  assert.equal(lines[5]?.match(/"type":"drawn"/g)?.length, 2)
  assert.equal(await chain.balanceOf(payee.address), 200_000n)
})
