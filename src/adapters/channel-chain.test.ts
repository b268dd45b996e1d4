// The whole line on a real chain: a seller behind node:http, the rail and the wallet of channels, and a payer that keeps one.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { createChannelPayer } from '../payer/channel.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { channel, channelWallet } from '../rails/evm/channel/index.ts'
import type { ChannelRail } from '../rails/evm/channel/index.ts'
import type { Chain } from '../sandbox/chain.ts'
import { startChain } from '../sandbox/chain.ts'
import { serve } from './fixture.test.ts'
import { meterOf } from './meter.ts'
import { toll } from './node.ts'
import { createSeller } from './seller.ts'
import type { OpenSeller } from './seller.ts'
import { SECRET } from './shop.test.ts'

const DOLLARS = 1_000_000n
const ledger = memory()
const payeeKey = generatePrivateKey()
const payee = privateKeyToAccount(payeeKey).address
const buyer = privateKeyToAccount(generatePrivateKey())
let chain: Chain
let rail: ChannelRail
let seller: OpenSeller
let shop: Awaited<ReturnType<typeof serve>>

before(async () => {
  chain = await startChain()
  await chain.fundEther(payee, 10n ** 19n)
  await chain.mint(buyer.address, 10n * DOLLARS)
  const { network, rpc } = chain
  const token = { address: chain.usdc as `0x${string}`, code: 'USDC', scale: 6, currency: 'USD' }
  const assets = [{ ...token, name: 'USDC', version: '2' }]
  rail = channel({ network, rpc, assets, payTo: payee, signer: payeeKey, ledger })
  seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger,
    plans: { purse: { price: '1 USD', balance: '1 USD', refund: true } },
  })
  await seller.gate.open?.()
  const routes = {
    'GET /words': { plan: 'purse', meter: { unit: '0.10 USD' } },
    'GET /page': { price: '0.25 USD', takes: ['purse'] },
  } as const
  shop = await serve(
    toll(seller, routes, async (request, response) => {
      const url = new URL(request.url ?? '', 'http://a')
      if (url.pathname === '/page') {
        response.end('page')
        return
      }
      const meter = meterOf(request)
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      const most = Number(url.searchParams.get('n'))
      for (let i = 0; i < most && (await meter.take('0.10 USD')); i++)
        response.write(`data: word ${i}\n\n`)
      response.end('data: [DONE]\n\n')
    }),
  )
})

after(async () => {
  await shop?.close()
  await seller?.close()
  await rail?.close()
  await chain?.stop()
})

test('a channel is opened, used within a stream and for a page, topped up and closed, and the money lies where the books say', async () => {
  const { network, rpc } = chain
  const token = { address: chain.usdc as `0x${string}`, code: 'USDC', scale: 6, currency: 'USD' }
  const assets = [{ ...token, name: 'USDC', version: '2' }]
  const wallet = channelWallet({ network, assets, account: buyer, rpc })
  const payer = createChannelPayer({
    wallet,
    protocol: mpp({ parts: [wallet] }),
    ledger: memory(),
    policy: { perRequest: '1 USD', total: '5 USD' },
    most: '2 USD',
  })
  const stream = await payer.fetch(`${shop.origin}/words?n=4`)
  assert.match(await stream.text(), /word 3\n\ndata: \[DONE\]/)
  const page = await payer.fetch(`${shop.origin}/page`)
  assert.equal(await page.text(), 'page')
  assert.equal(await chain.balanceOf(buyer.address), 9n * DOLLARS)
  const more = await payer.fetch(`${shop.origin}/words?n=5`)
  assert.match(await more.text(), /word 4\n\ndata: \[DONE\]/)
  assert.equal(await chain.balanceOf(buyer.address), 8n * DOLLARS)
  const done = await payer.close(shop.origin)
  assert.equal(done?.spent, 1_150_000n)
  assert.match(done?.reference ?? '', /^0x[0-9a-f]{64}$/)
  assert.equal(await chain.balanceOf(payee), 1_150_000n)
  assert.equal(await chain.balanceOf(buyer.address), 10n * DOLLARS - 1_150_000n)
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
  const [left] = await ledger.balances(`tokens/${done?.channel}`)
  assert.equal(left?.posted ?? 0n, 0n)
  wallet.close()
})
