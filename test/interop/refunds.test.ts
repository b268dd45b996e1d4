// Money that goes back over a real chain and over real Lightning channels, by the gate that took it: whole and in parts, ordered
// many times, and told to the smallest unit by the chain, the channels and the books.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createMac } from '../../src/core/mac.ts'
import { readPrice } from '../../src/core/money.ts'
import { createOffers } from '../../src/core/offers.ts'
import type { Ask, Gate, Ledger, Rail, Sale, Shop as ServiceShop } from '../../src/core/ports.ts'
import { createGate } from '../../src/gate/gate.ts'
import { memory } from '../../src/ledger/memory.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { EvmRail } from '../../src/rails/evm/rail.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { wallet } from '../../src/rails/evm/wallet.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { createWithdraw, lightning, lightningWallet } from '../../src/rails/lightning/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import type { Keys } from './peers.ts'
import { createBuyer, createSender } from './peers.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const SALES = 'sales/GET /a'

interface Shop {
  readonly gate: Gate
  readonly ledger: Ledger
  earned(): Promise<bigint>
}

function open(rail: Rail, ledger: Ledger = memory()): Shop {
  const offers = createOffers(createMac([SECRET], 'offers'))
  return {
    gate: createGate({ rails: [rail], ledger, offers }),
    ledger,
    earned: async () => (await ledger.balances(SALES))[0]?.posted ?? 0n,
  }
}

function askFor(price: string, change: Partial<Sale> = {}): Ask {
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
  return {
    resource: { ...where, url: 'http://api.test/a' },
    sale: {
      prices: [readPrice(price)],
      settle: 'before-response',
      workMs: 5_000,
      account: SALES,
      ...change,
    },
    request: 'r',
  }
}

/** Sells once, and gives the key of the sale. */
async function sell(
  { gate }: Shop,
  purse: { pay(offer: never, validForMs: number): Promise<unknown> },
  ask: Ask,
  success = true,
): Promise<string> {
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  const proof = await purse.pay(offer as never, 60_000)
  const entry = await gate.admit({ ...ask, credential: { offer, proof } })
  assert.ok(entry.kind === 'pass', entry.kind === 'refused' ? entry.problem.detail : entry.kind)
  assert.equal((await entry.finish(success)).kind, 'serve')
  entry.delivered()
  return entry.key
}

describe('a sale on a real chain', () => {
  let chain: Chain
  let seller: Keys
  let rail: EvmRail
  let buyer: Keys
  let purse: ReturnType<typeof wallet>
  before(async () => {
    chain = await startChain()
    seller = await createSender(chain)
    const { privateKey: signer } = await createSender(chain)
    const { network, rpc } = chain
    rail = evm({ network, rpc, payTo: seller.address, signer, refundSigner: seller.privateKey })
    await rail.open()
    buyer = await createBuyer(chain, 1_000_000n)
    purse = wallet({ signer: fromPrivateKey(buyer.privateKey) })
  })
  after(async () => {
    await rail?.close()
    await chain?.stop()
  })

  test('is given back in parts and whole, once for each order, and the gas is booked', async () => {
    const shop = open(rail)
    const had = await chain.balanceOf(buyer.address)
    const key = await sell(shop, purse, askFor('0.01 USD'))
    assert.equal(await chain.balanceOf(buyer.address), had - 10_000n)
    const gas = await chain.request('eth_getBalance', [seller.address, 'latest'])
    const part = { key, idempotencyKey: 'part', amount: readPrice('0.004 USD') }
    const another = open(rail, shop.ledger)
    await Promise.all([shop.gate, shop.gate, another.gate].map((gate) => gate.refund(part)))
    assert.equal((await shop.gate.refund(part)).kind, 'refunded')
    assert.equal(await chain.balanceOf(buyer.address), had - 6_000n)
    const rest = await shop.gate.refund({ key, idempotencyKey: 'rest' })
    assert.ok(rest.kind === 'refunded')
    assert.match(rest.reference, /^0x[0-9a-f]{64}$/)
    assert.equal((await shop.gate.refund({ key, idempotencyKey: 'more' })).kind, 'denied')
    assert.equal(await chain.balanceOf(buyer.address), had)
    assert.equal(await shop.earned(), 0n)
    const left = await chain.request('eth_getBalance', [seller.address, 'latest'])
    const [cost] = await shop.ledger.balances(`costs/evm/${chain.network}`)
    assert.ok(typeof gas === 'string' && typeof left === 'string')
    assert.equal(cost?.posted, BigInt(gas) - BigInt(left))
    const sale = await shop.ledger.find(key)
    const spent = sale?.steps.find(({ type }) => type === 'settled')?.data['cost']
    assert.ok(typeof spent === 'string' && BigInt(spent) > 0n)
    assert.deepEqual((await verifyBooks(shop.ledger)).problems, [])
  })

  test('whose paid work fails goes back by itself', async () => {
    const shop = open(rail)
    const had = await chain.balanceOf(buyer.address)
    const ask = askFor('0.01 USD', { settle: 'before-work', refund: 'automatic' })
    await sell(shop, purse, ask, false)
    await shop.gate.close()
    assert.equal(await chain.balanceOf(buyer.address), had)
    assert.equal(await shop.earned(), 0n)
  })

  test('to what is no address moves nothing, and can be ordered again', async () => {
    const shop = open(rail)
    const key = await sell(shop, purse, askFor('0.01 USD'))
    const had = await chain.balanceOf(buyer.address)
    const wrong = await shop.gate.refund({ key, idempotencyKey: 'one', to: 'my wallet' })
    assert.equal(wrong.kind === 'denied' && wrong.code, 'failed')
    assert.equal(await chain.balanceOf(buyer.address), had)
    assert.equal((await shop.gate.refund({ key, idempotencyKey: 'one' })).kind, 'refunded')
    assert.equal(await chain.balanceOf(buyer.address), had + 10_000n)
  })
})

describe('a sale over Lightning', () => {
  /** Not a whole number of satoshis, so that nothing is rounded unseen. */
  const PRICE_MSAT = 5_123n
  const ROUTE_MSAT = 1_000n
  let net: LightningNetwork
  before(async () => {
    net = await startLightning()
  })
  after(() => net?.close())

  /** Waits until the buyer has so much. A little longer, it is still the same. */
  async function has(msat: bigint): Promise<void> {
    for (let i = 0; i < 2_000 && net.buyer.balanceMsat() !== msat; i++) await sleep(5)
    await sleep(50)
    assert.equal(net.buyer.balanceMsat(), msat)
  }
  const invoice = async (msat: bigint): Promise<string> =>
    (await net.buyer.createInvoice({ msat, memo: 'back', expiresInS: 600 })).invoice

  test('needs to be told whom to pay, and is given back once', async () => {
    const rail = lightning({ node: net.seller, network: 'regtest' })
    await rail.open()
    const shop = open(rail)
    const had = net.buyer.balanceMsat()
    const key = await sell(shop, lightningWallet({ node: net.buyer }), askFor('5.123 SAT'))
    await has(had - PRICE_MSAT - ROUTE_MSAT)
    const order = { key, idempotencyKey: 'one' }
    const nobody = await shop.gate.refund(order)
    assert.ok(nobody.kind === 'denied')
    assert.match(nobody.detail, /name an invoice/)
    const to = await invoice(PRICE_MSAT)
    const back = await shop.gate.refund({ ...order, to })
    assert.ok(
      back.kind === 'refunded',
      JSON.stringify(back, (_, v: unknown) => String(v)),
    )
    await has(had - ROUTE_MSAT)
    assert.equal((await shop.gate.refund({ ...order, to })).kind, 'refunded')
    const more = await shop.gate.refund({ key, idempotencyKey: 'two', to: await invoice(1n) })
    assert.equal(more.kind === 'denied' && more.code, 'amount-exceeded')
    await has(had - ROUTE_MSAT)
    assert.equal(await shop.earned(), 0n)
    const [cost] = await shop.ledger.balances(`costs/lightning/${rail.network}`)
    assert.equal(cost?.posted, ROUTE_MSAT)
    assert.deepEqual((await verifyBooks(shop.ledger)).problems, [])
  })

  test('that was given back has nothing left for a link, and what was pulled nothing for a refund', async () => {
    const rail = lightning({ node: net.seller, network: 'regtest' })
    await rail.open()
    const shop = open(rail)
    const purse = lightningWallet({ node: net.buyer })
    const keys = [
      await sell(shop, purse, askFor('4 SAT')),
      await sell(shop, purse, askFor('4 SAT')),
    ]
    const origin = 'https://api.test'
    const withdraw = createWithdraw({ rail, ledger: shop.ledger, secret: SECRET, origin })
    const pull = async (key: string, pr = ''): Promise<string> => {
      const rest = { account: SALES, msat: 4_000n, expiresAt: Date.now() + 60_000, memo: 'back' }
      const { searchParams } = new URL(withdraw.link({ key, ...rest }).url)
      if (pr !== '') searchParams.set('pr', pr)
      const asked = { method: 'GET', target: '', fields: new Headers(), text: async () => '' }
      const { resource } = askFor('4 SAT')
      const shown = { resource: { ...resource, query: searchParams.toString() } }
      const answer = await withdraw.service.answer(asked, shown as unknown as ServiceShop)
      return 'body' in answer ? answer.body : ''
    }
    const had = net.buyer.balanceMsat()
    const [refunded = '', pulled = ''] = keys
    const to = await invoice(4_000n)
    const back = await shop.gate.refund({ key: refunded, idempotencyKey: 'a', to })
    assert.equal(back.kind, 'refunded')
    assert.match(await pull(refunded), /"maxWithdrawable":0/)
    assert.match(await pull(refunded, await invoice(4_000n)), /ERROR/)
    await has(had + 4_000n)
    assert.match(await pull(pulled, await invoice(4_000n)), /OK/)
    const again = { key: pulled, idempotencyKey: 'a', to: await invoice(4_000n) }
    const outcome = await shop.gate.refund(again)
    assert.equal(outcome.kind === 'denied' && outcome.code, 'amount-exceeded')
    await has(had + 8_000n)
    assert.equal(await shop.earned(), 0n)
  })

  test('is not closed twice by one invoice', async () => {
    const rail = lightning({ node: net.seller, network: 'regtest' })
    await rail.open()
    const shop = open(rail)
    const key = await sell(shop, lightningWallet({ node: net.buyer }), askFor('6 SAT'))
    const had = net.buyer.balanceMsat()
    const half = { key, amount: readPrice('3 SAT'), to: await invoice(3_000n) }
    const first = await shop.gate.refund({ ...half, idempotencyKey: 'a' })
    assert.equal(first.kind, 'refunded', first.kind === 'denied' ? first.detail : '')
    assert.equal((await shop.gate.refund({ ...half, idempotencyKey: 'b' })).kind, 'denied')
    await has(had + 3_000n)
    assert.equal(await shop.earned(), 3_000n)
  })
})
