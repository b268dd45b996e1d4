// Sales by permits in the books of a gate, beside those of the rail `evm` at the same account: what was shared, given back or
// undone is explained to the last unit by what lies there.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { inspect } from 'node:util'
import { encodeFunctionData, erc20Abi } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { makeReport, readEntries } from '../../../books/index.ts'
import { systemClock } from '../../../core/clock.ts'
import type { Event } from '../../../core/event.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import { createOffers } from '../../../core/offers.ts'
import type { Ask, Clock, Gate, Ledger, Rail } from '../../../core/ports.ts'
import { createGate } from '../../../gate/gate.ts'
import { sqlite } from '../../../ledger/sqlite.ts'
import { verifyBooks } from '../../../ledger/verify.ts'
import { createReconciler } from '../../../reconcile/reconciler.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import { evm } from '../rail.ts'
import { fromPrivateKey } from '../signer.ts'
import { wallet } from '../wallet.ts'
import type { PermitRail } from './rail.ts'
import { permit } from './rail.ts'
import type { Details } from './terms.ts'
import { PERMIT2_SAID, RAIL } from './terms.ts'
import { permitWallet } from './wallet.ts'

const PRICE = 10_000n
/** More than the chain keeps open. */
const DEEP_BLOCKS = 100
const VALID_MS = 60_000

let directory: string
let chain: Chain
let ledger: Ledger
let skippedMs = 0
const events: Event[] = []
const clock: Clock = { ...systemClock, now: () => Date.now() + skippedMs }
const sellerKey = generatePrivateKey()
const seller = privateKeyToAccount(sellerKey).address
const platform = privateKeyToAccount(generatePrivateKey()).address
const payerKey = generatePrivateKey()
const payer = privateKeyToAccount(payerKey)
const closing: (() => Promise<unknown>)[] = []

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'permit-books-'))
  chain = await startChain()
  for (const one of [seller, payer.address]) await chain.fundEther(one, 10n ** 20n)
  await chain.mint(payer.address, 10_000_000n)
  const args = [PERMIT2_SAID, 2n ** 255n] as const
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args })
  await chain.send({ from: payer.address, to: chain.usdc, data })
  ledger = await sqlite({ file: join(directory, 'books.db'), clock })
})
after(async () => {
  for (const close of closing.toReversed()) await close()
  await ledger?.close()
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

async function openRails(): Promise<{ readonly plain: Rail; readonly shared: PermitRail }> {
  const sender = privateKeyToAccount(generatePrivateKey())
  await chain.fundEther(sender.address, 10n ** 20n)
  const base = { network: chain.network, rpc: chain.rpc, payTo: seller, signer: sender }
  const settings = { ...base, ledger, clock, refundSigner: sellerKey }
  const plain = evm(settings) as unknown as Rail
  const splits = [{ recipient: platform, bps: 1_000, memo: 'platform' }]
  const shared = permit({ ...settings, splits })
  for (const one of [plain, shared]) {
    closing.push(() => one.close())
    await one.open()
  }
  return { plain, shared }
}

function askFor(path: string, rails?: readonly string[]): Ask {
  const where = { realm: 'shop', method: 'GET', authority: 'api.test', path, query: '' }
  return {
    resource: { ...where, url: `http://api.test${path}` },
    sale: {
      prices: [readPrice('0.01 USD')],
      ...{ settle: 'before-response', workMs: 5_000, account: `sales/GET ${path}` },
      ...(rails && { rails }),
    },
    request: path,
  }
}

/** As a buyer of MPP reads it. */
function seen(offer: Offer): Offer<Details> {
  return {
    ...(offer as Offer<Details>),
    details: { ...(offer.details as Details), challenge: `${offer.id}api.test` },
  }
}

async function bought(gate: Gate, path: string, rail: string): Promise<string> {
  const ask = askFor(path, [rail])
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  const signer = fromPrivateKey(payerKey)
  const proof =
    rail === RAIL
      ? await permitWallet({ signer, clock }).pay(seen(offer), VALID_MS)
      : await wallet({ signer, clock }).pay(offer as never, VALID_MS)
  const entry = await gate.admit({ ...ask, credential: { offer, proof } })
  assert.ok(entry.kind === 'pass', inspect(entry))
  assert.equal((await entry.finish(true)).kind, 'serve')
  entry.delivered()
  const elsewhere = await gate.admit({ ...askFor('/other'), credential: { offer, proof } })
  assert.ok(elsewhere.kind === 'refused')
  assert.equal(elsewhere.problem.code, 'offer-foreign')
  const again = await gate.admit({ ...ask, credential: { offer, proof } })
  assert.ok(again.kind === 'refused')
  assert.equal(again.problem.code, 'payment-delivered')
  return entry.key
}

const posted = async (account: string): Promise<bigint> =>
  (await ledger.balances(account)).find(({ asset }) => asset.includes('erc20'))?.posted ?? 0n

test('sales, shares, refunds and what comes undone are explained by what lies at the one account', async (t) => {
  const { plain, shared } = await openRails()
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const observe = (event: Event): void => void events.push(event)
  const gate = createGate({ rails: [plain, shared], ledger, offers, clock, observe })
  closing.push(() => gate.close())
  const costs = `costs/evm/${chain.network}`
  const outside = `world/evm/${chain.network}/${seller}`

  const rounds = async (blocks = DEEP_BLOCKS): Promise<unknown> => {
    await chain.mine(blocks)
    skippedMs += 5_000
    const rails = [plain, shared]
    const all = { ledger, rails, everyMs: 1_000, patienceMs: 0, clock, observe }
    const found = await createReconciler(all).round()
    assert.equal(found.length, 1)
    assert.equal(found[0]?.state, 'looked', inspect(found))
    return found[0].bookings
  }

  let sold = ''
  await t.test('the sale is whole, and what was passed on is its cost', async () => {
    await bought(gate, '/plain', 'evm')
    assert.deepEqual(await rounds(), [])
    sold = await bought(gate, '/shared', RAIL)
    assert.equal(await posted('sales/GET /shared'), PRICE)
    assert.equal(await posted(costs), 1_000n)
    assert.equal(await chain.balanceOf(platform), 1_000n)
    assert.equal(await posted(outside), -2n * PRICE)
    assert.equal(await chain.balanceOf(seller), 2n * PRICE - 1_000n)
    assert.deepEqual(await rounds(1), [], 'what is not final is no difference')
    assert.deepEqual(await rounds(), [])
  })

  await t.test('a report has it among the costs, in the token', async () => {
    const lines = await makeReport(readEntries(ledger), 'route')
    const own = lines.filter(({ group, code }) => group === 'GET /shared' && code === 'USDC')
    assert.equal(
      own.reduce((sum, { net }) => sum + net, 0n),
      PRICE,
    )
    assert.equal(
      own.reduce((sum, { costs: cost }) => sum + cost, 0n),
      1_000n,
    )
  })

  await t.test('a refund comes out of the same account', async () => {
    const order = { key: sold, amount: readPrice('0.004 USD'), idempotencyKey: 'one' }
    assert.equal((await gate.refund(order)).kind, 'refunded')
    assert.equal(await chain.balanceOf(seller), 2n * PRICE - 5_000n)
    assert.deepEqual(await rounds(), [])
  })

  await t.test('a sale that comes undone takes its shares back in the books', async () => {
    const had = await chain.balanceOf(seller)
    const snapshot = await chain.request('evm_snapshot')
    await bought(gate, '/undone', RAIL)
    assert.equal(await posted(costs), 2_000n)
    await chain.request('evm_revert', [snapshot])
    await chain.request('evm_setAutomine', [false])
    await gate.recover()
    await chain.request('anvil_dropAllTransactions')
    await chain.request('evm_setAutomine', [true])
    await chain.increaseTime(VALID_MS / 1_000 + 120)
    await chain.mine(DEEP_BLOCKS)
    skippedMs += 3_600_000
    await gate.recover()
    assert.equal(events.filter(({ type }) => type === 'undone').length, 1)
    assert.equal(await posted('sales/GET /undone'), 0n)
    assert.equal(await posted(costs), 1_000n)
    assert.equal(await chain.balanceOf(seller), had)
    assert.deepEqual(await rounds(), [])
  })

  await t.test('the books are whole', async () => {
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
    assert.deepEqual(
      events.filter(({ type }) => type === 'mismatch' || type === 'fault'),
      [],
    )
    assert.equal(await chain.balanceOf(seller), -(await posted(outside)) - (await posted(costs)))
  })
})

test('a gate that dies after the shares were booked and before the sale was follows with the sale, once', async () => {
  const { shared } = await openRails()
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const dying: Ledger = {
    ...ledger,
    async post(key, ...rest) {
      // The sale itself, and not what stands beside it.
      if (/permit2\/0x[0-9a-f]{40}\/0x[0-9a-f]{64}$/.test(key)) throw new Error('died')
      return await ledger.post(key, ...rest)
    },
  }
  const first = createGate({ rails: [shared], ledger: dying, offers, clock })
  const ask = askFor('/dying')
  const [offer] = (await first.challenge(ask)).challenge?.offers ?? []
  assert.ok(offer)
  const proof = await permitWallet({ signer: fromPrivateKey(payerKey), clock }).pay(
    seen(offer),
    VALID_MS,
  )
  const was = await posted(`costs/evm/${chain.network}`)
  const entry = await first.admit({ ...ask, credential: { offer, proof } })
  assert.ok(entry.kind === 'pass')
  await entry.finish(true).catch(() => undefined)
  await first.close().catch(() => undefined)
  assert.equal(await posted('sales/GET /dying'), 0n)
  const second = createGate({ rails: [shared], ledger, offers, clock })
  skippedMs += 3_600_000
  await second.recover()
  await second.recover()
  assert.equal(await posted('sales/GET /dying'), PRICE)
  assert.equal(await posted(`costs/evm/${chain.network}`), was + 1_000n)
  await second.close()
  assert.deepEqual((await verifyBooks(ledger)).problems, [])
})
