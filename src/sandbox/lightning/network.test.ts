import assert from 'node:assert/strict'
import { hash as digest, randomBytes } from 'node:crypto'
import { execFile } from 'node:child_process'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { readInvoice } from '../../rails/lightning/bolt11.ts'
import { chains } from '../../rails/lightning/networks.ts'
import type { PaymentState } from '../../rails/lightning/node.ts'
import { createFaults, faulty } from './faults.ts'
import { FEE_BASE_MSAT } from './ldk.ts'
import { startLightning } from './network.ts'

const network = await startLightning()
const { buyer, router, seller } = network
after(() => network.close())

const TIMEOUT_MS = 10_000
const FEE_MSAT = BigInt(FEE_BASE_MSAT)

async function invoiceFor(msat: bigint, hash?: string): Promise<{ invoice: string; hash: string }> {
  return seller.createInvoice({
    msat,
    memo: 'weather',
    expiresInS: 600,
    ...(hash !== undefined && { hash }),
  })
}

async function pay(
  invoice: string,
  feeMaxMsat = 5_000n,
  timeoutMs = TIMEOUT_MS,
): Promise<PaymentState> {
  return buyer.pay({ invoice, feeMaxMsat, timeoutMs })
}

/** Waits until it holds: what nodes tell each other takes a moment. */
async function soon(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const untilAt = Date.now() + TIMEOUT_MS; !(await holds());) {
    assert.ok(Date.now() < untilAt, 'it came in time')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function newPreimage(): { preimage: string; hash: string } {
  const bytes = randomBytes(32)
  return { preimage: bytes.toString('hex'), hash: digest('sha256', bytes, 'hex') }
}

test('a node tells who and where it is', async () => {
  assert.deepEqual(await seller.open(), { network: chains['bcrt'], publicKey: seller.publicKey })
  assert.match(seller.publicKey, /^0[23][0-9a-f]{64}$/)
})

test('a payment goes over two hops, to the millisatoshi, and proves itself', async () => {
  const before = { buyer: buyer.balanceMsat(), seller: seller.balanceMsat() }
  const { invoice, hash } = await invoiceFor(123_457n)
  const read = readInvoice(invoice)
  assert.ok(typeof read !== 'string', 'it is read')
  assert.deepEqual([read.hash, read.msat, read.payee], [hash, 123_457n, seller.publicKey])
  assert.deepEqual(await seller.invoice(hash), { state: 'open', receivedMsat: 0n })

  const paid = await pay(invoice)
  assert.ok(paid.state === 'succeeded', JSON.stringify(paid.state))
  assert.equal(digest('sha256', Buffer.from(paid.preimage, 'hex'), 'hex'), hash)
  assert.equal(paid.feeMsat, FEE_MSAT)
  assert.deepEqual(await buyer.payment(hash), paid)
  const state = await seller.invoice(hash)
  assert.deepEqual([state?.state, state?.receivedMsat], ['settled', 123_457n])
  await soon(() => buyer.balanceMsat() === before.buyer - 123_457n - FEE_MSAT)
  await soon(() => seller.balanceMsat() === before.seller + 123_457n)
})

test('the seller pays the buyer back over the same way', async () => {
  const { invoice, hash } = await buyer.createInvoice({ msat: 9_000n, memo: '', expiresInS: 60 })
  const paid = await seller.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS })
  assert.equal(paid.state, 'succeeded')
  assert.equal((await buyer.invoice(hash))?.state, 'settled')
})

test('a limit of the fee that is a millisatoshi too low moves nothing, and the right one pays', async () => {
  const before = buyer.balanceMsat()
  const { invoice, hash } = await invoiceFor(50_000n)
  assert.equal((await pay(invoice, FEE_MSAT - 1n)).state, 'failed')
  assert.equal((await buyer.payment(hash))?.state, 'failed')
  assert.equal((await seller.invoice(hash))?.state, 'open')
  assert.equal(buyer.balanceMsat(), before)
  assert.equal((await pay(invoice, FEE_MSAT)).state, 'succeeded')
})

test('what is held can be settled', async () => {
  const { preimage, hash } = newPreimage()
  const { invoice } = await invoiceFor(20_000n, hash)
  const paying = pay(invoice)
  await soon(async () => (await seller.invoice(hash))?.state === 'held')
  assert.equal((await seller.invoice(hash))?.receivedMsat, 20_000n)
  assert.deepEqual(await buyer.payment(hash), { state: 'inFlight' })
  await seller.settle(preimage)
  assert.deepEqual(await paying, { state: 'succeeded', preimage, feeMsat: FEE_MSAT })
  assert.equal((await seller.invoice(hash))?.state, 'settled')
  await seller.settle(preimage)
  await assert.rejects(seller.cancel(hash))
})

test('what is held can be given back, whole', async () => {
  const { preimage, hash } = newPreimage()
  const { invoice } = await invoiceFor(20_000n, hash)
  const before = buyer.balanceMsat()
  const paying = pay(invoice)
  await soon(async () => (await seller.invoice(hash))?.state === 'held')
  assert.ok(buyer.balanceMsat() < before)
  await seller.cancel(hash)
  assert.equal((await paying).state, 'failed')
  await soon(() => buyer.balanceMsat() === before)
  assert.deepEqual(await seller.invoice(hash), { state: 'cancelled', receivedMsat: 0n })
  await seller.cancel(hash)
  await assert.rejects(seller.settle(preimage))
})

test('an invoice that is closed, or too old, takes nothing', async () => {
  const closed = await invoiceFor(20_000n)
  await seller.cancel(closed.hash)
  assert.equal((await pay(closed.invoice)).state, 'failed')
  const old = await seller.createInvoice({ msat: 20_000n, memo: '', expiresInS: 0 })
  assert.equal((await pay(old.invoice)).state, 'failed')
  assert.equal((await seller.invoice(old.hash))?.state, 'cancelled')
})

test('a lost answer, asked again, is paid once', async () => {
  const faults = createFaults()
  const line = faulty(buyer, faults)
  const { invoice, hash } = await invoiceFor(30_000n)
  const before = buyer.balanceMsat()
  faults.lose.push('pay')
  const request = { invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS }
  await assert.rejects(line.pay(request), { code: 'rail-unavailable' })
  const again = await line.pay(request)
  assert.equal(again.state, 'succeeded')
  assert.deepEqual(await line.payment(hash), again)
  await soon(() => buyer.balanceMsat() <= before - 30_000n - FEE_MSAT)
  await line.pay(request)
  assert.equal(buyer.balanceMsat(), before - 30_000n - FEE_MSAT)
})

test('the same invoice at once, twenty times, is paid once', async () => {
  const { invoice, hash } = await invoiceFor(10_000n)
  const before = seller.balanceMsat()
  const all = await Promise.all(Array.from({ length: 20 }, () => pay(invoice)))
  const [first] = all
  assert.equal(first?.state, 'succeeded')
  for (const one of all) assert.deepEqual(one, first)
  assert.equal((await seller.invoice(hash))?.receivedMsat, 10_000n)
  await soon(() => seller.balanceMsat() === before + 10_000n)
})

test('a payment that is stuck on its way is in flight until it moves again', async () => {
  for (const node of [router, seller]) {
    const { invoice, hash } = await invoiceFor(10_000n)
    node.stick(true)
    assert.deepEqual(await pay(invoice, 5_000n, 100), { state: 'inFlight' }, node.name)
    assert.deepEqual(await buyer.payment(hash), { state: 'inFlight' })
    node.stick(false)
    assert.equal((await pay(invoice)).state, 'succeeded', node.name)
  }
})

test('whoever waits may stop waiting', async () => {
  const { invoice, hash } = await invoiceFor(10_000n)
  router.stick(true)
  const ends = new AbortController()
  const paying = buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS }, ends.signal)
  ends.abort()
  assert.deepEqual(await paying, { state: 'inFlight' })
  router.stick(false)
  await soon(async () => (await buyer.payment(hash))?.state === 'succeeded')
})

test('a way that is cut fails cleanly, and carries again when it is mended', async () => {
  const before = buyer.balanceMsat()
  const { invoice } = await invoiceFor(10_000n)
  await network.cut()
  assert.equal((await pay(invoice)).state, 'failed')
  await soon(() => buyer.balanceMsat() === before)
  await network.mend()
  const next = await invoiceFor(10_000n)
  await soon(async () => (await pay(next.invoice)).state === 'succeeded')
})

test('a router that becomes dear is too dear for the old limit', async () => {
  await network.charge(50_000)
  const { invoice } = await invoiceFor(10_000n)
  assert.equal((await pay(invoice, 49_999n)).state, 'failed')
  assert.equal((await pay(invoice, 50_000n)).state, 'succeeded')
  await network.charge(FEE_BASE_MSAT)
  const cheap = await invoiceFor(10_000n)
  assert.equal((await pay(cheap.invoice, FEE_MSAT)).state, 'succeeded')
})

test('more than the channel has is not sent', async () => {
  const { invoice } = await invoiceFor(buyer.balanceMsat() + 1n)
  assert.equal((await pay(invoice, 1_000_000n)).state, 'failed')
})

test('a BOLT12 offer gives an invoice for the amount, and that is paid within the limit', async () => {
  const invoice = await buyer.fetchInvoice(seller.createOffer(), 7_000n)
  assert.match(invoice, /^lni1/)
  const before = seller.balanceMsat()
  assert.equal((await pay(invoice, FEE_MSAT - 1n)).state, 'failed')
  const paid = await pay(invoice, FEE_MSAT)
  assert.ok(paid.state === 'succeeded')
  await soon(() => seller.balanceMsat() === before + 7_000n)
})

test('what is no invoice is refused, and so is one of another network', async () => {
  for (const text of ['', 'lni1qqq', 'lnbcrt1', 'x'.repeat(10_000)])
    assert.equal((await pay(text)).state, 'failed', text.slice(0, 10))
})

test('nothing was ever sent for a hash that nobody knows', async () => {
  const { hash } = newPreimage()
  assert.equal(await buyer.payment(hash), undefined)
  assert.equal(await seller.invoice(hash), undefined)
})

test('a hundred payments at once all arrive', async () => {
  const invoices = await Promise.all(Array.from({ length: 100 }, () => invoiceFor(1_000n)))
  const states = await Promise.all(invoices.map(({ invoice }) => pay(invoice, 5_000n, 60_000)))
  assert.deepEqual(new Set(states.map(({ state }) => state)), new Set(['succeeded']))
})

test('an idle network lets its process end', async () => {
  const file = new URL('network.ts', import.meta.url).href
  const script = `import { startLightning } from '${file}'; await startLightning(); console.log('idle')`
  const flags = ['--input-type=module', '-e', script]
  const { stdout } = await promisify(execFile)(process.execPath, flags, { timeout: 60_000 })
  assert.equal(stdout, 'idle\n')
})

test('who is closed answers nothing, and what is waited for is unknown', async () => {
  const other = await startLightning()
  const { invoice } = await other.seller.createInvoice({ msat: 1_000n, memo: '', expiresInS: 60 })
  other.router.stick(true)
  const request = { invoice, feeMaxMsat: 5_000n, timeoutMs: TIMEOUT_MS }
  const paying = other.buyer.pay(request)
  await other.close()
  assert.deepEqual(await paying, { state: 'inFlight' })
  const late = other.seller.createInvoice({ msat: 1_000n, memo: '', expiresInS: 60 })
  await assert.rejects(late, { code: 'rail-unavailable' })
  const next = await invoiceFor(1_000n)
  assert.equal((await pay(next.invoice)).state, 'succeeded')
})
