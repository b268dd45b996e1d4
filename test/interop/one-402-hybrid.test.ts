// Card and chain side by side at one price, in the gateway profile, into one ledger. The chain is real and has Circle's USDC code; the
// card's processor is a stand-in behind the real SDK.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { toll } from '../../src/adapters/node.ts'
import type { OpenSeller } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { JsonObject } from '../../src/core/json.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { memory } from '../../src/ledger/memory.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { createPayer, paymentOf } from '../../src/payer/payer.ts'
import { bearer } from '../../src/protocols/bearer/index.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { sharedTokens, stripe } from '../../src/rails/stripe/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { StripeStandIn } from '../../src/sandbox/processors/index.ts'
import { startStripe } from '../../src/sandbox/processors/index.ts'
import { sdkOf } from '../processors-stage.ts'
import type { Payment } from './one-402-clients.ts'
import { byHand } from './one-402-clients.ts'
import type { Keys, Peer } from './peers.ts'
import { createBuyer, createSender, listen } from './peers.ts'

const CENTS = 50
const USDC = 500_000n

let chain: Chain
let standIn: StripeStandIn
let ledger: Ledger
let seller: OpenSeller
let shop: Peer
let payee: `0x${string}`
let keys: Keys
let runs = 0

before(async () => {
  ;[chain, standIn] = await Promise.all([startChain(), startStripe()])
  payee = (await createSender(chain)).address
  keys = await createBuyer(chain, 10n * USDC)
  ledger = memory()
  const { privateKey } = await createSender(chain)
  const { network, rpc } = chain
  const usdc = evm({ network, rpc, payTo: payee, signer: privateKey })
  const card = stripe({ client: sdkOf(standIn), mode: 'test', profile: 'profile_test' })
  seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [usdc, card],
    protocols: [bearer({ parts: [usdc, card] })],
    ledger,
  })
  const server = createServer(
    toll(seller, { 'GET /paid': '0.50 USD', 'GET /other': '0.50 USD' }, (_, response) => {
      runs++
      response.end('{"path":"/paid"}')
    }),
  )
  shop = await listen(server.listen(0, '127.0.0.1'))
})

after(async () => {
  await shop?.close()
  await seller?.close()
  await standIn?.close()
  await chain?.stop()
})

interface Moved {
  readonly cents: number
  readonly usdc: bigint
  readonly runs: number
}

/** Exactly so much is paid, and the books have the same. */
async function moves(wanted: Moved, act: () => Promise<void>): Promise<void> {
  const was = await look()
  await act()
  const is = await look()
  assert.equal(is.cents - was.cents, wanted.cents, 'cents')
  assert.equal(is.usdc - was.usdc, wanted.usdc, 'USDC')
  assert.equal(is.runs - was.runs, wanted.runs, 'runs')
  assert.equal(is.bookedCents - was.bookedCents, BigInt(wanted.cents), 'cents in the books')
  assert.equal(is.bookedUsdc - was.bookedUsdc, wanted.usdc, 'USDC in the books')
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
}

async function look() {
  const sales = (await ledger.balances()).filter(({ account }) => account.startsWith('sales/'))
  const booked = (isIt: (asset: string) => boolean): bigint =>
    sales.reduce((sum, { asset, posted }) => (isIt(asset) ? sum + posted : sum), 0n)
  const charged = [...standIn.state.charges.values()]
  return {
    cents: charged.reduce((sum, { amount }) => sum + amount, 0),
    usdc: await chain.balanceOf(payee),
    runs,
    bookedCents: booked((asset) => !asset.startsWith('eip155')),
    bookedUsdc: booked((asset) => asset.startsWith('eip155')),
  }
}

async function asked(
  path = '/paid',
): Promise<JsonObject & { readonly payments: readonly Payment[] }> {
  const answer = await fetch(shop.url + path)
  assert.equal(answer.status, 402)
  assert.match(
    answer.headers.get('www-authenticate') ?? '',
    /gateway="hybrid", amount="0.5", currency="USD"/,
  )
  return (await answer.json()) as JsonObject & { readonly payments: readonly Payment[] }
}

/** Shows a shared payment token for an offer. */
async function byCard(token: string, payment: Payment, path = '/paid'): Promise<Response> {
  return await fetch(shop.url + path, {
    headers: {
      'X-Payment-Intent': payment.payment_intent,
      'X-Payment-Proof': token,
      'X-Payment-Timestamp': new Date().toISOString(),
    },
  })
}

async function cardPayment(path?: string): Promise<Payment> {
  const { payments } = await asked(path)
  const payment = payments.find(({ gateway }) => gateway === 'stripe')
  assert.ok(payment)
  return payment
}

function payerBy(cents: number, issued: string[]): Payer {
  const wallet = sharedTokens({
    networks: ['stripe:test'],
    issue: async () => {
      const token = standIn.state.grant(cents)
      issued.push(token)
      return token
    },
  })
  return createPayer({
    wallets: [wallet],
    protocols: [bearer({ parts: [wallet] })],
    ledger: memory(),
    policy: { perRequest: '1 USD', perDay: '5 USD' },
  })
}

describe('a shop that takes cards and a chain', () => {
  test('asks one price for both, and says how each is paid', async () => {
    const { gateway, amount, currency, wallet_required, payments } = await asked()
    assert.deepEqual([gateway, amount, currency, wallet_required], ['hybrid', '0.5', 'USD', false])
    assert.deepEqual(
      payments.map((one) => [one.gateway, one.amount, one.currency]),
      [
        ['blockchain', '0.5', 'USD'],
        ['stripe', '0.5', 'USD'],
      ],
    )
  })

  test('is paid by either, once, into the same books', async () => {
    await moves({ cents: 0, usdc: USDC, runs: 1 }, async () => {
      assert.equal((await byHand(keys)(`${shop.url}/paid`)).status, 200)
    })
    await moves({ cents: CENTS, usdc: 0n, runs: 1 }, async () => {
      const payment = await cardPayment()
      const token = standIn.state.grant(10 * CENTS)
      assert.equal((await byCard(token, payment)).status, 200)
      assert.equal((await byCard(token, payment)).status, 410)
    })
  })

  test('does not take a card’s payment for another request, nor one that is too small', async () => {
    const here = await cardPayment()
    const token = standIn.state.grant(CENTS)
    await moves({ cents: 0, usdc: 0n, runs: 0 }, async () => {
      const elsewhere = await byCard(token, here, '/other')
      assert.equal(elsewhere.status, 403)
      assert.equal(((await elsewhere.json()) as { code: string }).code, 'offer-foreign')
      assert.equal((await byCard(standIn.state.grant(CENTS - 1), here)).status, 403)
      assert.ok([402, 403].includes((await byCard('spt_nobody', here)).status))
    })
    await moves({ cents: CENTS, usdc: 0n, runs: 1 }, async () => {
      assert.equal((await byCard(token, here)).status, 200)
    })
  })

  test('is paid by our payer with a card that issues tokens', async () => {
    const issued: string[] = []
    const payer = payerBy(CENTS, issued)
    await moves({ cents: CENTS, usdc: 0n, runs: 1 }, async () => {
      const answer = await payer.fetch(`${shop.url}/paid`)
      assert.equal(answer.status, 200)
      const payment = paymentOf(answer)
      assert.deepEqual([payment?.protocol, payment?.offer.rail], ['bearer', 'stripe'])
    })
    assert.equal(issued.length, 1)
  })

  test('refuses our payer’s token that is too small, who then pays anew', async () => {
    const issued: string[] = []
    await moves({ cents: 0, usdc: 0n, runs: 0 }, async () => {
      const answer = await payerBy(CENTS - 1, issued).fetch(`${shop.url}/paid`)
      assert.equal(answer.status, 403)
      assert.equal(paymentOf(answer)?.problem?.code, 'amount-mismatch')
    })
  })
})
