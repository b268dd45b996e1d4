// A shop that is paid by transfers and by channels, to one account, on a real chain: what channels bring home is explained.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { serve } from '../adapters/fixture.test.ts'
import { meterOf } from '../adapters/meter.ts'
import { toll } from '../adapters/node.ts'
import { createSeller } from '../adapters/seller.ts'
import type { OpenSeller } from '../adapters/seller.ts'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import type { Clock } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { createChannelPayer } from '../payer/channel.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { channel, channelWallet } from '../rails/evm/channel/index.ts'
import type { ChannelRail } from '../rails/evm/channel/index.ts'
import { evm } from '../rails/evm/rail.ts'
import type { EvmRail } from '../rails/evm/rail.ts'
import type { Chain } from '../sandbox/chain.ts'
import { startChain } from '../sandbox/chain.ts'
import { createReconciler } from './reconciler.ts'

/** More than the chain keeps open. */
const DEEP_BLOCKS = 100
const key = generatePrivateKey()
const payee = privateKeyToAccount(key).address
const buyer = privateKeyToAccount(generatePrivateKey())
const events: Event[] = []
let skippedMs = 0
const clock: Clock = { ...systemClock, now: () => Date.now() + skippedMs }
const ledger = memory({ clock })
let chain: Chain
let rails: readonly [EvmRail, ChannelRail]
let seller: OpenSeller
let shop: Awaited<ReturnType<typeof serve>>

before(async () => {
  chain = await startChain()
  await chain.fundEther(payee, 10n ** 19n)
  await chain.mint(buyer.address, 10_000_000n)
  const { network, rpc } = chain
  rails = [
    evm({ network, rpc, payTo: payee, signer: key, ledger, clock }),
    channel({ network, rpc, payTo: payee, signer: key, ledger, clock }),
  ]
  const offered = mpp({ parts: [...rails] })
  seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [...rails],
    protocols: [offered],
    ledger,
    clock,
    plans: { purse: { price: '1 USD', balance: '1 USD', refund: true } },
  })
  await seller.gate.open?.()
  const routes = { 'GET /words': { plan: 'purse', meter: { unit: '0.10 USD' } } }
  shop = await serve(
    toll(seller, routes, async (request, response) => {
      const isPaid = await meterOf(request).take('0.10 USD')
      response.end(isPaid ? 'word' : '')
    }),
  )
})

after(async () => {
  await shop?.close()
  await seller?.close()
  for (const rail of rails ?? []) await rail.close()
  await chain?.stop()
})

async function round(): Promise<readonly unknown[]> {
  await chain.mine(DEEP_BLOCKS)
  skippedMs += 5_000
  const observe = (event: Event): void => void events.push(event)
  const reconciler = createReconciler({
    ...{ ledger, rails: [...rails], everyMs: 1_000, patienceMs: 0, clock, observe },
  })
  return (await reconciler.round()).flatMap(({ bookings }) => bookings)
}

async function standing(account: string): Promise<bigint> {
  return (await ledger.balances(account))[0]?.posted ?? 0n
}

test('a deposit is no money at the account, and what is collected comes there as the books say', async () => {
  const { network, rpc } = chain
  const where = `${network}/${payee}`
  assert.deepEqual(await round(), [])
  const wallet = channelWallet({ network, account: buyer, rpc })
  const payer = createChannelPayer({
    ...{ wallet, protocol: mpp({ parts: [wallet] }), ledger: memory(), most: '1 USD' },
    policy: { perRequest: '1 USD', total: '1 USD' },
  })
  const answer = await payer.fetch(`${shop.origin}/words`)
  assert.equal(await answer.text(), 'word')
  assert.equal(await standing(`world/channel/${where}`), -1_000_000n)
  assert.equal(await chain.balanceOf(payee), 0n)
  assert.deepEqual(await round(), [])
  const done = await payer.close(shop.origin)
  assert.equal(done?.spent, 100_000n)
  assert.equal(await chain.balanceOf(payee), 100_000n)
  assert.deepEqual(await round(), [])
  assert.deepEqual(
    events.filter(({ type }) => type === 'mismatch'),
    [],
  )
  // What lies outside is where the books have it, and nothing of it is in channels any more.
  assert.equal(await standing(`world/evm/${where}`), -100_000n)
  assert.equal(await standing(`world/channel/${where}`), 0n)
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
  // A stray transfer beside it is found all the same.
  await chain.mint(payee, 77n)
  assert.equal((await round()).length, 1)
  wallet.close()
})
