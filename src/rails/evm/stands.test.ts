// The second look at settled payments, on a chain of its own: blocks are taken back, and time runs ahead.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../core/clock.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Standing, Step } from '../../core/ports.ts'
import { createGate } from '../../gate/gate.ts'
import { createMac } from '../../core/mac.ts'
import { createOffers } from '../../core/offers.ts'
import type { Event } from '../../core/event.ts'
import { memory as books } from '../../ledger/memory.ts'
import type { Chain } from '../../sandbox/chain.ts'
import { startChain } from '../../sandbox/chain.ts'
import type { Details } from './forms.ts'
import type { Proof } from './proof.ts'
import type { EvmRail } from './rail.ts'
import { evm } from './rail.ts'
import { fromAccount } from './signer.ts'
import { wallet } from './wallet.ts'

const PRICE = 10_000n
/** More than the chain keeps open. */
const DEEP_BLOCKS = 100
const VALID_S = 300

let chain: Chain
let rail: EvmRail
let skippedMs = 0
const clock: Clock = {
  now: () => Date.now() + skippedMs,
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
}
const seller = account()
let trips = 0

before(async () => {
  chain = await startChain()
  const sending = account()
  await chain.fundEther(sending.address, 10n ** 20n)
  await chain.mint(seller.address, 1n)
  rail = evm({
    network: 'eip155:84532',
    rpc: chain.rpc,
    payTo: seller.address,
    signer: sending,
    settleTimeoutMs: 500,
    clock,
    fetch: (...asked) => {
      trips++
      return globalThis.fetch(...asked)
    },
  })
  await rail.open()
})

after(async () => {
  await rail?.close()
  await chain?.stop()
})

function account(): LocalAccount {
  return privateKeyToAccount(generatePrivateKey())
}

interface Paid {
  readonly proof: Proof
  /** Looks again. */
  readonly stands: () => Promise<Standing>
  readonly steps: readonly Step[]
  readonly reference: string
}

function offerNow(): Offer<Details> {
  const [terms] = rail.quote(readPrice('0.01 USD'))
  assert(terms)
  const url = 'https://shop.example/a'
  const where = { realm: 'shop', method: 'GET', authority: 'shop.example', path: '/a', query: '' }
  return { ...terms, id: 'x', resource: { ...where, url }, expiresAt: clock.now() + 300_000 }
}

async function payer(): Promise<LocalAccount> {
  const one = account()
  await chain.mint(one.address, 1_000_000n)
  return one
}

async function paid(): Promise<Paid> {
  const offer = offerNow()
  const signer = fromAccount(await payer())
  const proof = await wallet({ signer, clock }).pay(offer, VALID_S * 1000)
  const { key } = rail.identify(offer, proof)
  const steps: Step[] = []
  const log: Log = {
    read: async () => [...steps],
    write: async (step) => void steps.push(JSON.parse(JSON.stringify(step)) as Step),
  }
  const settlement = await rail.settle(offer, proof, key, log)
  assert(settlement.state === 'settled')
  const { reference } = settlement
  return {
    proof,
    steps,
    reference,
    stands: async () => (await rail.stands?.(offer, key, reference, log)) ?? assert.fail(),
  }
}

const receipt = (hash: string): Promise<unknown> =>
  chain.request('eth_getTransactionReceipt', [hash])

/** Takes back the last block, and lets the chain forget what was in it. */
async function takeBack(): Promise<void> {
  await chain.request('anvil_reorg', [1, []])
  await chain.request('anvil_dropAllTransactions')
}

/** No block takes anything while this runs. */
async function halted<T>(work: () => Promise<T>): Promise<T> {
  await chain.request('evm_setAutomine', [false])
  try {
    return await work()
  } finally {
    await chain.request('anvil_dropAllTransactions')
    await chain.request('evm_setAutomine', [true])
  }
}

/** The chain's clock and ours run ahead. */
async function pass(seconds: number): Promise<void> {
  skippedMs += seconds * 1000
  await chain.request('evm_increaseTime', [seconds])
  await chain.mine()
}

test('a settled payment is open while its block may come undone, and final once it may not', async () => {
  const one = await paid()
  assert.deepEqual(await one.stands(), { state: 'open' })
  await chain.mine(DEEP_BLOCKS)
  skippedMs += 10_000
  assert.deepEqual(await one.stands(), { state: 'final', reference: one.reference })
})

test('many that are looked at together share their questions', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => paid()))
  await chain.mine(DEEP_BLOCKS)
  skippedMs += 10_000
  trips = 0
  const found = await Promise.all(all.map(({ stands }) => stands()))
  assert.ok(found.every(({ state }) => state === 'final'))
  assert.equal(trips, 3)
})

test('one that vanished is sent again while it may be, and takes the money once', async () => {
  const had = await chain.balanceOf(seller.address)
  const one = await paid()
  assert.equal(await chain.balanceOf(seller.address), had + PRICE)
  await takeBack()
  assert.equal(await receipt(one.reference), null)
  assert.equal(await chain.balanceOf(seller.address), had)
  const found = await one.stands()
  assert(found.state === 'open')
  assert.notEqual(await receipt(found.reference ?? one.reference), null)
  assert.equal(await chain.balanceOf(seller.address), had + PRICE)
  // The nearest honest one.
  assert.equal((await (await paid()).stands()).state, 'open')
})

test('one that vanished and has expired is gone only when that is final', async () => {
  const one = await paid()
  await halted(async () => {
    await takeBack()
    assert.equal(await receipt(one.reference), null)
    const had = await chain.balanceOf(seller.address)
    // It was sent again, and no block takes it.
    assert.deepEqual(await one.stands(), { state: 'open' })
    await chain.request('anvil_dropAllTransactions')
    await pass(VALID_S + 60)
    assert.deepEqual(await one.stands(), { state: 'open' })
    await chain.mine(DEEP_BLOCKS)
    skippedMs += 10_000
    const gone = await one.stands()
    assert(gone.state === 'gone')
    assert.equal(gone.problem.code, 'settlement-failed')
    assert.equal(await chain.balanceOf(seller.address), had)
  })
})

test('a sale whose transfer is gone is booked back by the gate, and its proof buys nothing more', async () => {
  const events: Event[] = []
  const ledger = books({ clock })
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const observe = (event: Event): void => void events.push(event)
  const gate = createGate({ rails: [rail], ledger, offers, clock, observe })
  const { resource } = offerNow()
  const account = 'sales/a'
  const sale = { prices: [readPrice('0.01 USD')], settle: 'before-response', account } as const
  const ask = { resource, sale, request: 'r' }
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert(offer)
  const from = await payer()
  const proof = await wallet({ signer: fromAccount(from), clock }).pay(
    offer as Offer<Details>,
    VALID_S * 1000,
  )
  const entry = await gate.admit({ ...ask, credential: { offer, proof } })
  assert(entry.kind === 'pass')
  assert.equal((await entry.finish(true)).kind, 'serve')
  entry.delivered()
  const earned = async (): Promise<bigint> =>
    (await ledger.balances()).find((one) => one.account === account)?.posted ?? 0n
  assert.equal(await earned(), PRICE)
  await takeBack()
  await pass(VALID_S + 60)
  await gate.recover()
  assert.equal(await earned(), PRICE)
  await chain.mine(DEEP_BLOCKS)
  skippedMs += 3_600_000
  await gate.recover()
  assert.equal(await earned(), 0n)
  assert.equal(events.filter(({ type }) => type === 'undone').length, 1)
  const replay = await gate.admit({ ...ask, credential: { offer, proof } })
  assert(replay.kind === 'refused')
  assert.equal(replay.problem.code, 'settlement-failed')
})
