// The two programs on channels in docs/mpp.md run as they stand there, each in a process of its own, against a real chain.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { freePort } from '../../../../test/ports.ts'
import { openStage, programsIn, readPage } from '../../../../test/programs.ts'
import type { Stage } from '../../../../test/programs.ts'

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

test('the seller of the page sells words to its buyer, who closes the channel', async () => {
  const [sellerKey, buyerKey] = [generatePrivateKey(), generatePrivateKey()]
  const [payee, buyer] = [privateKeyToAccount(sellerKey), privateKeyToAccount(buyerKey)]
  await chain.mint(buyer.address, 5_000_000n)
  await chain.fundEther(payee.address, 10n ** 18n)
  const port = await freePort()
  const NETWORK = 'base-sepolia'
  const all = programsIn(await readPage('mpp.md')).filter((code) => code.includes('evm/channel'))
  assert.equal(all.length, 2)
  const [seller = '', payer = ''] = all
  const shop = stage.start(await stage.write(seller), {
    ...{ SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA', RPC: chain.rpc, NETWORK },
    ...{ PAY_TO: payee.address, KEY: sellerKey, PORT: `${port}` },
  })
  const url = `http://127.0.0.1:${port}/words`
  await shop.answers(url, ({ status }) => status === 402)
  const bought = stage.start(await stage.write(payer), { PRIVATE_KEY: buyerKey, NETWORK, URL: url })
  assert.equal(await bought.end(), 0, bought.said())
  assert.match(bought.said(), /data: word\n\ndata: \[DONE\]/)
  assert.match(bought.said(), /400n 0x[0-9a-f]{64}/)
  assert.equal(await chain.balanceOf(payee.address), 400n)
  assert.equal(await chain.balanceOf(buyer.address), 4_999_600n)
})
