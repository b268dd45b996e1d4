// The example of docs/tasks.md is a file; it runs here, as a user would run it, against a real chain.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memory } from '../src/ledger/memory.ts'
import { createPayer } from '../src/payer/payer.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import { startChain } from '../src/sandbox/chain.ts'
import { createBuyer, createSender } from './interop/peers.ts'
import { freePort } from './ports.ts'
import { assertShows, exampleAt, openStage, readPage } from './programs.ts'

test('the page on tasks shows its example as it is, and the example makes a film', async (t) => {
  await assertShows(await readPage('tasks.md'), 'tasks.ts')
  const chain = await startChain()
  t.after(() => chain.stop())
  const [payee, sender] = [await createSender(chain), await createSender(chain)]
  const buyer = await createBuyer(chain, 1_000_000n)
  const stage = await openStage()
  t.after(() => stage.close())
  const port = await freePort()
  const env = {
    ...{ RPC: chain.rpc, PORT: `${port}` },
    ...{ SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA', PAY_TO: payee.address },
    SENDER_KEY: sender.privateKey,
  }
  const studio = stage.start(exampleAt('tasks.ts'), env)
  const url = `http://127.0.0.1:${port}/films`
  await studio.answers(url)
  const purse = wallet({ signer: fromPrivateKey(buyer.privateKey) })
  const sent: string[] = []
  const parts = {
    wallets: [purse],
    protocols: [x402([purse])],
    policy: { perRequest: '1 USD', perDay: '1 USD' },
  }
  const payer = createPayer({
    ...{ ...parts, ledger: memory(), resultMs: 0 },
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
  const waiting = createPayer({ ...parts, ledger: memory() })
  const whole = await waiting.fetch(url, { method: 'POST' })
  assert.deepEqual([whole.status, await whole.text()], [200, 'a film of four scenes'])
  assert.equal(await chain.balanceOf(payee.address), 200_000n)
})
