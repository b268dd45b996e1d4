// A buyer’s wallet that pays first, against a real shop over HTTP messages: by the gateway profile and by MPP.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { LocalAccount } from 'viem'
import receiver from '../../../../contracts/TolseyReceiver.json' with { type: 'json' }
import { toll } from '../../../adapters/fetch.ts'
import { createSeller } from '../../../adapters/seller.ts'
import type { Ledger, Protocol } from '../../../core/ports.ts'
import { memory } from '../../../ledger/memory.ts'
import { createPayer, paymentOf } from '../../../payer/payer.ts'
import { bearer } from '../../../protocols/bearer/index.ts'
import { mpp } from '../../../protocols/mpp/index.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import type { World } from './fixture.test.ts'
import { NETWORK, PRICE, account, openWorld, said, textOf } from './fixture.test.ts'
import { transactions } from './rail.ts'
import type { TransactionRail } from './rail.ts'
import type { TransactionWallet, TransactionWalletSettings } from './wallet.ts'
import { transactionWallet } from './wallet.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const URL_A = 'https://shop.example/a'
const PRICE_WEI = 10n ** 15n

let chain: Chain
let w: World
const seller = account()
const closing: (() => unknown)[] = []
before(async () => {
  chain = await startChain({ slotsInAnEpoch: 2 })
  const { deployer, salt } = receiver.deployment
  await chain.send({ to: deployer, data: `${salt}${receiver.bytecode.slice(2)}` })
  w = await openWorld(() => ({ payTo: seller.address, coin: { code: 'ETH' } }), chain, seller)
})
after(async () => {
  for (const close of closing.toReversed()) await close()
  await w?.stop()
  await chain?.stop()
})

async function openRail(ledger: Ledger): Promise<TransactionRail> {
  const settings = { network: NETWORK, rpc: chain.rpc, payTo: seller.address, ledger }
  const rail = transactions({ ...settings, coin: { code: 'ETH' } })
  await rail.open()
  closing.push(() => rail.close())
  return rail
}

/** A shop that speaks one protocol, as a function of requests. */
async function openShop(
  speak: (rail: TransactionRail) => Protocol,
): Promise<(input: string | URL | Request, init?: RequestInit) => Promise<Response>> {
  const ledger = memory()
  const rail = await openRail(ledger)
  const shop = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [speak(rail)],
    ledger,
    origin: 'https://shop.example',
  })
  closing.push(() => shop.close())
  const routes = { 'GET /a': '0.01 USD', 'GET /coin': '0.001 ETH' }
  const handler = toll(shop, routes, () => Response.json({ sky: 'clear' }))
  return (input, init) => handler(new Request(input, init))
}

function walletOf(
  key: LocalAccount,
  ledger: Ledger,
  more: Partial<TransactionWalletSettings> = {},
): TransactionWallet {
  const made = transactionWallet({
    key,
    ledger,
    rpc: { [NETWORK]: chain.rpc },
    coins: { [NETWORK]: { code: 'ETH' } },
    ...more,
  })
  closing.push(() => made.close())
  return made
}

function profile(part: TransactionRail | TransactionWallet): Protocol {
  return bearer({ parts: [part] })
}

const speaking: Readonly<Record<string, (part: TransactionRail | TransactionWallet) => Protocol>> =
  {
    'the gateway profile': profile,
    MPP: (part) => mpp({ parts: [part] }),
  }

describe('a buyer pays by a transaction of his own', () => {
  for (const [name, speak] of Object.entries(speaking))
    test(`over ${name}, and is served once for each`, async () => {
      const shop = await openShop(speak)
      const from = await w.payer()
      const ledger = memory()
      const wallet = walletOf(from, ledger)
      const payer = createPayer({
        wallets: [wallet],
        protocols: [speak(wallet)],
        ledger,
        policy: { perRequest: '0.05 USD', total: '1 USD' },
        fetch: shop,
      })
      const hashes = new Set<string>()
      for (let i = 0; i < 2; i++) {
        const response = await payer.fetch(URL_A)
        assert.deepEqual(await response.json(), { sky: 'clear' })
        const payment = paymentOf(response)
        assert.equal(payment?.state, 'posted')
        hashes.add(JSON.stringify(payment?.evidence))
      }
      assert.equal(hashes.size, 2)
      assert.equal(await chain.balanceOf(from.address), 10n ** 9n - 2n * PRICE)
    })

  test('in the chain’s own coin, through the receiver', async () => {
    const shop = await openShop(profile)
    const from = await w.payer(0n)
    const ledger = memory()
    const wallet = walletOf(from, ledger)
    const payer = createPayer({
      wallets: [wallet],
      protocols: [profile(wallet)],
      ledger,
      policy: { perRequest: '0.01 ETH', total: '1 ETH' },
      fetch: shop,
    })
    const had = BigInt(String(await chain.request('eth_getBalance', [seller.address, 'latest'])))
    const response = await payer.fetch('https://shop.example/coin')
    assert.deepEqual(await response.json(), { sky: 'clear' })
    const has = BigInt(String(await chain.request('eth_getBalance', [seller.address, 'latest'])))
    assert.equal(has - had, PRICE_WEI)
  })
})

describe('the wallet', () => {
  test('pays an offer once, however often it is asked, and from whichever process', async () => {
    const from = await w.payer()
    const ledger = memory()
    const offer = await w.offer()
    const wallet = walletOf(from, ledger)
    const [one, two] = await Promise.all([wallet.pay(offer, 0), wallet.pay(offer, 0)])
    const three = await walletOf(from, ledger).pay(offer, 0)
    assert.deepEqual([two, three], [one, one])
    assert.equal(await chain.balanceOf(from.address), 10n ** 9n - PRICE)
    assert.equal(await wallet.outcome?.(offer, one), 'paid')
    assert.equal(said(await w.show(offer, one)), 'served')
  })

  test('that dies with its payment handed over finds it, and pays under the same number', async () => {
    const from = await w.payer()
    const ledger = memory()
    const offer = await w.offer()
    const sent: string[] = []
    let broken = true
    const fetch: typeof globalThis.fetch = async (input, init) => {
      const body = textOf(init?.body)
      const isSending = body.includes('eth_sendRawTransaction')
      if (isSending) sent.push(body)
      // The node has it, or not: whoever sent it never learns.
      if (isSending && broken && sent.length > 1) await globalThis.fetch(input, init)
      if (broken && sent.length > 0) throw new TypeError('cut')
      return globalThis.fetch(input, init)
    }
    const first = walletOf(from, ledger, { fetch, waitMs: 200 })
    await assert.rejects(first.pay(offer, 0), { code: 'payment-unknown' })
    first.close()
    broken = false
    const proof = await walletOf(from, ledger, { fetch }).pay(offer, 0)
    assert.equal(await chain.balanceOf(from.address), 10n ** 9n - PRICE)
    assert.equal(said(await w.show(offer, proof)), 'served')
    const count = await chain.request('eth_getTransactionCount', [from.address, 'latest'])
    assert.equal(count, '0x1')
  })

  test('says when nothing was paid: for want of money, and for offers that are over', async () => {
    const poor = await w.payer(PRICE - 1n)
    const offer = await w.offer()
    const wallet = walletOf(poor, memory())
    await assert.rejects(wallet.pay(offer, 0), {
      code: 'settlement-failed',
      message: /Nothing was paid/,
    })
    await assert.rejects(wallet.pay({ ...offer, expiresAt: Date.now() + 1_000 }, 0), {
      code: 'offer-expired',
    })
    assert.equal(await chain.balanceOf(poor.address), PRICE - 1n)
    assert.equal(await wallet.outcome?.({ ...offer, expiresAt: 0 }, { transaction: '0x' }), 'dead')
    assert.equal(await wallet.outcome?.(offer, { transaction: '0x' }), 'open')
  })

  test('refuses what it does not know, and what pays nobody', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const wallet = walletOf(from, memory())
    assert.equal(wallet.refuses(offer), undefined)
    const wrong = [
      { rail: 'evm' },
      { intent: 'session' },
      { network: 'eip155:1' },
      { details: { token: from.address } },
      { details: { receiver: from.address } },
      { payee: from.address },
      { payee: `0x${'0'.repeat(40)}` },
      { payee: w.token },
      { id: '' },
      { amount: { ...offer.amount, amount: 0n } },
      { amount: { ...offer.amount, asset: { ...offer.amount.asset, scale: 18 } } },
    ]
    for (const change of wrong)
      assert.equal(
        typeof wallet.refuses({ ...offer, ...change }),
        'string',
        JSON.stringify(Object.keys(change)),
      )
  })

  test('gives a payment up as dead only when its number went elsewhere for good', async () => {
    const from = await w.payer()
    const ledger = memory()
    const offer = await w.offer()
    const wallet = walletOf(from, ledger, { waitMs: 100 })
    const id = await chain.request('evm_snapshot')
    const proof = await wallet.pay(offer, 0)
    assert.equal(await wallet.outcome?.(offer, proof), 'paid')
    await chain.request('evm_revert', [id])
    assert.equal(await wallet.outcome?.(offer, proof), 'open')
    await w.pay(from, 1n, { to: from.address })
    assert.equal(await wallet.outcome?.(offer, proof), 'open')
    await chain.mine(6)
    assert.equal(await wallet.outcome?.(offer, proof), 'dead')
    await assert.rejects(wallet.pay(offer, 0), { code: 'settlement-failed' })
    assert.equal(await chain.balanceOf(from.address), 10n ** 9n)
  })
})
