// The example of docs/tasks.md is a file; it runs here, as a user would run it, against a real chain.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { memory } from '../src/ledger/memory.ts'
import { createPayer } from '../src/payer/payer.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

test('the page on tasks shows its example as it is, and the example makes a film', async (t) => {
  const page = await readFile(join(root, 'docs', 'tasks.md'), 'utf8')
  const example = await readFile(join(root, 'examples', 'tasks.ts'), 'utf8')
  assert.ok(page.includes(example.trim()), 'docs/tasks.md does not show examples/tasks.ts.')
  const chain = await startChain()
  t.after(() => chain.stop())
  const [payee, sender] = [await createSender(chain), await createSender(chain)]
  const buyer = await createBuyer(chain, 1_000_000n)
  const cwd = await mkdtemp(join(tmpdir(), 'tasks-'))
  const port = await freePort()
  const env = {
    ...{ PATH: process.env['PATH'] ?? '', RPC: chain.rpc, PORT: `${port}` },
    ...{ SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA', PAY_TO: payee.address },
    SENDER_KEY: sender.privateKey,
  }
  const child = spawn(process.execPath, [join(root, 'examples', 'tasks.ts')], {
    ...{ cwd, env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  t.after(async () => {
    child.kill('SIGKILL')
    await rm(cwd, { recursive: true, force: true })
  })
  const url = `http://127.0.0.1:${port}/films`
  const isUp = (): Promise<boolean> =>
    fetch(url, { method: 'POST' }).then(
      ({ status }) => status === 402,
      () => false,
    )
  while (!(await isUp())) await new Promise((done) => setTimeout(done, 20))
  const purse = wallet({ signer: fromPrivateKey(buyer.privateKey) })
  const sent: string[] = []
  const payer = createPayer({
    wallets: [purse],
    protocols: [x402([purse])],
    ledger: memory(),
    policy: { perRequest: '1 USD', perDay: '1 USD' },
    fetch: async (input, init) => {
      const request = new Request(input, init)
      sent.push(request.headers.get('payment-signature') ?? '')
      return await fetch(request)
    },
  })
  const said = await payer.fetch(url, { method: 'POST' })
  assert.equal(said.status, 202)
  await said.text()
  const address = new URL(said.headers.get('location') ?? '', url)
  const state = async (): Promise<unknown> =>
    ((await (await fetch(address)).json()) as Record<string, unknown>)['state']
  while ((await state()) !== 'done') await new Promise((done) => setTimeout(done, 50))
  const proof = { 'payment-signature': sent.findLast((one) => one !== '') ?? '' }
  const film = await fetch(address, { headers: proof })
  assert.deepEqual([film.status, await film.text()], [200, 'a film of four scenes'])
  assert.equal(await chain.balanceOf(payee.address), 100_000n)
})
