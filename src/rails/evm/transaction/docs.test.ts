// The two programs of docs/transactions.md run as they stand there, each in a process of its own, against a real chain.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { freePort } from '../../../../test/ports.ts'
import { openStage, programsIn, readPage } from '../../../../test/programs.ts'
import type { Stage } from '../../../../test/programs.ts'
import { RECEIVER } from './terms.ts'

let chain: Chain
let stage: Stage
before(async () => {
  chain = await startChain()
  stage = await openStage()
})
after(async () => {
  await stage?.close()
  await chain?.stop()
})

test('the seller of the page sells to its buyer, and the money is there', async () => {
  const payee = privateKeyToAccount(generatePrivateKey()).address
  const key = generatePrivateKey()
  const { address } = privateKeyToAccount(key)
  await chain.mint(address, 50_000n)
  await chain.fundEther(address, 10n ** 18n)
  const port = await freePort()
  const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
  const [seller = '', buyer = ''] = programsIn(await readPage('transactions.md'))
  const shop = stage.start(await stage.write(seller), {
    SECRET: secret,
    RPC: chain.rpc,
    PAY_TO: payee,
    PORT: `${port}`,
  })
  const url = `http://127.0.0.1:${port}/weather`
  await shop.answers(url, ({ status }) => status === 402)
  const bought = stage.start(await stage.write(buyer), {
    PRIVATE_KEY: key,
    RPC: chain.rpc,
    URL: url,
  })
  assert.equal(await bought.end(), 0, bought.said())
  assert.match(bought.said(), /\{ sky: 'clear' \} 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee), 10_000n)
})

test('the page names the receiver that is meant', async () => {
  assert.ok((await readPage('transactions.md')).includes(RECEIVER))
})
