// Books, a gate, a rail and a real chain: everything that moves money in the honest way is explained, and nothing else is.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Clock, Gate, Ledger } from '../core/ports.ts'
import { createGate } from '../gate/gate.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { EvmRail } from '../rails/evm/rail.ts'
import { evm } from '../rails/evm/rail.ts'
import { fromPrivateKey } from '../rails/evm/signer.ts'
import { wallet } from '../rails/evm/wallet.ts'
import type { Chain } from '../sandbox/chain.ts'
import { startChain } from '../sandbox/chain.ts'
import type { Comparison } from './reconciler.ts'
import { createReconciler } from './reconciler.ts'

/** More than the chain keeps open. */
const DEEP_BLOCKS = 100
const PRICE = 10_000n

let directory: string
let chain: Chain
let ledger: Ledger
let rail: EvmRail
let gate: Gate
let skippedMs = 0
let sales = 0
const events: Event[] = []
const clock: Clock = { ...systemClock, now: () => Date.now() + skippedMs }
const key = generatePrivateKey()
const seller = privateKeyToAccount(key).address
const sender = privateKeyToAccount(generatePrivateKey())
const payer = generatePrivateKey()
const treasury = privateKeyToAccount(generatePrivateKey()).address.toLowerCase()

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reconcile-'))
  chain = await startChain()
  for (const one of [seller, sender.address]) await chain.fundEther(one, 10n ** 20n)
  await chain.mint(privateKeyToAccount(payer).address, 10_000_000n)
  await chain.mint(seller, 3_000_000n)
  ledger = await sqlite({ file: join(directory, 'books.db'), clock })
  rail = evm({
    network: chain.network,
    rpc: chain.rpc,
    payTo: seller,
    signer: sender,
    refundSigner: key,
    ledger,
    clock,
    sweep: { treasury, above: readPrice('2 USD'), keep: readPrice('1 USD') },
  })
  await rail.open()
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  gate = createGate({ rails: [rail], ledger, offers, clock })
})

after(async () => {
  await gate?.close()
  await rail?.close()
  await ledger?.close()
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

async function sell(): Promise<string> {
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
  const ask: Ask = {
    resource: { ...where, url: 'http://api.test/a' },
    sale: {
      prices: [readPrice('0.01 USD')],
      settle: 'before-response',
      workMs: 5_000,
      account: 'sales/GET /a',
    },
    request: `r${++sales}`,
  }
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  const proof = await wallet({ signer: fromPrivateKey(payer), clock }).pay(offer as never, 60_000)
  const entry = await gate.admit({ ...ask, credential: { offer, proof } })
  assert.ok(entry.kind === 'pass')
  await entry.finish(true)
  entry.delivered()
  return entry.key
}

async function round(blocks = DEEP_BLOCKS): Promise<Comparison> {
  await chain.mine(blocks)
  skippedMs += 5_000
  const reconciler = createReconciler({
    ledger,
    rails: [rail],
    everyMs: 1_000,
    patienceMs: 0,
    clock,
    observe: (event) => events.push(event),
  })
  const [first] = await reconciler.round()
  assert.ok(first)
  return first
}

const alarms = (): readonly bigint[] =>
  events.flatMap((event) => (event.type === 'mismatch' ? [event.amount.amount] : []))

async function standing(account: string): Promise<bigint> {
  return (await ledger.balances(account))[0]?.posted ?? 0n
}

test('sales, refunds, sweeps and fees are explained; a stray transfer and a theft are found', async (t) => {
  const where = () => `evm/${chain.network}/${seller}`
  let sold = ''

  await t.test('money that lay there before is the opening balance', async () => {
    sold = await sell()
    const first = await round()
    assert.deepEqual(
      first.bookings.map(({ finding, amount }) => [finding, amount]),
      [['opening', 3_000_000n]],
    )
    assert.equal(await standing(`world/${where()}`), -3_000_000n - PRICE)
  })

  await t.test('a settlement that is not final yet is no difference', async () => {
    await sell()
    await sell()
    const found = await round(1)
    assert.equal(found.state, 'looked')
    assert.deepEqual(found.bookings, [])
    assert.ok(found.positions[0] && found.positions[0].found < (await chain.balanceOf(seller)))
  })

  await t.test('refunds and sweeps are explained', async () => {
    const back = await gate.refund({
      key: sold,
      amount: readPrice('0.004 USD'),
      idempotencyKey: 'one',
    })
    assert.equal(back.kind, 'refunded')
    await round()
    const [swept] = await rail.sweep()
    assert.equal(swept?.state, 'swept')
    assert.deepEqual((await round(1)).bookings, [], 'the sweep is not final')
    const found = await round()
    assert.deepEqual(found.bookings, [])
    assert.equal(found.positions[0]?.expected, await chain.balanceOf(seller))
    assert.deepEqual(
      found.senders.map(({ account, asset }) => [account, asset.code]),
      [
        [sender.address.toLowerCase(), 'ETH'],
        [seller.toLowerCase(), 'ETH'],
      ],
    )
    assert.deepEqual(alarms(), [])
  })

  await t.test('a stray transfer is found once it is final', async () => {
    await chain.mint(seller, 77n)
    assert.deepEqual((await round(1)).bookings, [])
    assert.deepEqual(
      (await round()).bookings.map(({ finding, amount }) => [finding, amount]),
      [['surplus', 77n]],
    )
    assert.equal(await standing(`suspense/${where()}`), 77n)
    assert.deepEqual((await round()).bookings, [])
  })

  await t.test('what somebody else sent from the account is found', async () => {
    const thief = '00'.repeat(12) + '11'.repeat(20)
    const amount = 500_000n.toString(16).padStart(64, '0')
    await chain.send({ from: seller, to: chain.usdc, data: `0xa9059cbb${thief}${amount}` })
    await sell()
    const found = await round()
    assert.deepEqual(
      found.bookings.map(({ finding, amount: units }) => [finding, units]),
      [
        ['closed', -77n],
        ['missing', -499_923n],
      ],
    )
    assert.equal(await standing(`world/missing/${where()}`), -499_923n)
    assert.deepEqual((await round()).bookings, [])
  })

  await t.test('the books are whole, and tell what lies there', async () => {
    assert.deepEqual(alarms(), [77n, -77n, -499_923n])
    assert.equal(-(await standing(`world/${where()}`)), await chain.balanceOf(seller))
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })
})

test('where no block is final, or the chain cannot be asked, nothing is booked', async () => {
  await chain.mint(seller, 5n)
  const before = await ledger.balances()
  const dead = evm({
    network: chain.network,
    rpc: 'http://127.0.0.1:1',
    payTo: seller,
    signer: sender,
  })
  const blind = createReconciler({ ledger, rails: [dead], everyMs: 1, clock, patienceMs: 0 })
  skippedMs += 5_000
  assert.deepEqual(
    (await blind.round()).map(({ state }) => state),
    ['doubt'],
  )
  await dead.close()
  const young = await startChain()
  try {
    const fresh = evm({ network: young.network, rpc: young.rpc, payTo: seller, signer: sender })
    // At its first blocks a chain has none that is final but its beginning.
    const { height } = await (fresh.holdings?.() ?? assert.fail())
    assert.equal(height, 0)
    await fresh.close()
  } finally {
    await young.stop()
  }
  assert.deepEqual(await ledger.balances(), before)
})
