import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Offer } from '../../core/offer.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Details } from './forms.ts'
import { createForms } from './forms.ts'
import type { FakeNode } from './fixture.test.ts'
import { createClock, createNode, hashHex, offerOf, plainInvoice } from './fixture.test.ts'
import { lightningWallet } from './wallet.ts'

const { l402 } = createForms()

interface Stage {
  readonly clock: ReturnType<typeof createClock>
  readonly seller: FakeNode
  readonly buyer: FakeNode
  readonly ask: (msat?: bigint) => Promise<Offer<Details>>
}

function stage(): Stage {
  const clock = createClock()
  const table = new Map()
  const seller = createNode(table, clock)
  const ask = async (msat = 5_000n): Promise<Offer<Details>> => {
    const made = await seller.createInvoice({ msat, memo: 'tea', expiresInS: 600 })
    return read(made.invoice)
  }
  return { clock, seller, buyer: createNode(table, clock), ask }
}

function read(invoice: string, hold = false): Offer<Details> {
  assert(l402)
  const terms = l402.readDetails({ invoice, hold })
  assert(typeof terms !== 'string')
  return offerOf(terms)
}

describe('a wallet', () => {
  test('pays what the invoice says, proves it, and tells its fee', async () => {
    const { buyer, clock, ask } = stage()
    const purse = lightningWallet({ node: buyer, clock })
    const offer = await ask()
    assert.equal(purse.refuses(offer), undefined)
    const proof = await purse.pay(offer, 1)
    assert.equal(hashHex(proof.preimage ?? ''), offer.details.hash)
    assert.equal(purse.fee?.(proof), 7n)
    assert.equal(await purse.outcome?.(offer, proof), 'paid')
    assert.equal(purse.feeMax?.(offer), 5_000n)
  })

  test('refuses every offer that is not what its invoice says', async () => {
    const { buyer, clock, ask } = stage()
    const purse = lightningWallet({ node: buyer, clock })
    const offer = await ask()
    const { invoice, ...bare } = offer
    assert(invoice !== undefined)
    const asset = { ...offer.amount.asset, id: 'eip155:1/slip44:60' }
    const wrong: Record<string, Offer<Details>> = {
      'no invoice': bare,
      garbage: { ...offer, invoice: 'lnbc1' },
      'cheaper beside it': { ...offer, amount: { ...offer.amount, amount: 1n } },
      'another asset': { ...offer, amount: { ...offer.amount, asset } },
      'another hash': { ...offer, details: { hash: '00'.repeat(32) } },
      'another network': { ...offer, network: 'bip122:000000000019d6689c085ae165831e93' },
      'another rail': { ...offer, rail: 'evm' },
      'another intent': { ...offer, intent: 'session' },
      'no amount': { ...offer, invoice: plainInvoice(offer.details.hash, undefined, clock.now()) },
    }
    for (const [name, bad] of Object.entries(wrong)) {
      assert.equal(typeof purse.refuses(bad), 'string', name)
      await assert.rejects(purse.pay(bad, 1), { code: 'offers-unacceptable' }, name)
    }
    assert.equal(buyer.sent(), 0)
    assert((await purse.pay(offer, 1)).preimage)
  })

  for (const verb of ['pay', 'payment'] as const)
    test(`whose node is lost around "${verb}" pays once, when it is called again`, async () => {
      for (const when of ['before', 'after'] as const) {
        const { buyer, clock, ask } = stage()
        const offer = await ask()
        buyer.trouble = { [verb]: when, payment: 'before' }
        await assert.rejects(lightningWallet({ node: buyer, clock }).pay(offer, 1), PaymentError)
        // The process has died: another wallet, the same node.
        buyer.trouble = {}
        const proof = await lightningWallet({ node: buyer, clock }).pay(offer, 1)
        assert.equal(hashHex(proof.preimage ?? ''), offer.details.hash)
        assert.equal(buyer.sent(), 1)
      }
    })

  test('whose answer is lost asks the node before it despairs', async () => {
    const { buyer, clock, ask } = stage()
    const offer = await ask()
    buyer.trouble = { pay: 'after' }
    const proof = await lightningWallet({ node: buyer, clock }).pay(offer, 1)
    assert.equal(hashHex(proof.preimage ?? ''), offer.details.hash)
    buyer.trouble = { pay: 'before' }
    const other = await ask()
    await assert.rejects(lightningWallet({ node: buyer, clock }).pay(other, 1), {
      code: 'payment-unknown',
      retryable: true,
    })
  })

  test('asked twice at once moves the money once', async () => {
    const { buyer, clock, ask } = stage()
    const offer = await ask()
    const purse = lightningWallet({ node: buyer, clock })
    await Promise.allSettled([purse.pay(offer, 1), purse.pay(offer, 1)])
    assert.equal(buyer.sent(), 1)
    assert((await purse.pay(offer, 1)).preimage)
  })

  test('says that nothing was paid only when the node does, and may then try again', async () => {
    const { buyer, clock, ask } = stage()
    const offer = await ask()
    const purse = lightningWallet({ node: buyer, clock })
    buyer.noRoute = true
    await assert.rejects(purse.pay(offer, 1), { code: 'settlement-failed' })
    assert.equal(await purse.outcome?.(offer, {}), 'dead')
    // An older failure says nothing of a try whose answer is lost.
    buyer.trouble = { pay: 'before' }
    await assert.rejects(purse.pay(offer, 1), { code: 'payment-unknown' })
    buyer.trouble = {}
    buyer.noRoute = false
    assert((await purse.pay(offer, 1)).preimage)
    assert.equal(buyer.sent(), 1)
  })

  test('does not begin to pay what is about to expire, and finds what it has paid for ever', async () => {
    const { buyer, clock, ask } = stage()
    const purse = lightningWallet({ node: buyer, clock })
    const paid = await ask()
    const late = await ask()
    const proof = await purse.pay(paid, 1)
    clock.turn(597_000)
    await assert.rejects(purse.pay(late, 1), { code: 'offer-expired' })
    assert.equal(await purse.outcome?.(late, {}), 'open')
    clock.turn(100_000)
    assert.equal(await purse.outcome?.(late, {}), 'dead')
    assert.deepEqual(await purse.pay(paid, 1), proof)
  })

  test('does not believe a preimage that is not that of the hash', async () => {
    const { buyer, clock, ask } = stage()
    const offer = await ask()
    const node: FakeNode = {
      ...buyer,
      pay: async () => ({ state: 'succeeded', preimage: '', feeMsat: 0n }),
    }
    const purse = lightningWallet({ node, clock })
    await assert.rejects(purse.pay(offer, 1), { code: 'payment-unknown', retryable: false })
  })

  test('goes on as soon as a payment is locked, and counts the fee that it may cost', async () => {
    const { buyer, seller, clock } = stage()
    const preimage = '0a'.repeat(32)
    const hash = hashHex(preimage)
    const made = await seller.createInvoice({ msat: 9_000n, memo: '', expiresInS: 600, hash })
    const offer = read(made.invoice, true)
    const purse = lightningWallet({ node: buyer, clock })
    const proof = await purse.pay(offer, 1)
    assert.deepEqual(proof, { feeMsat: 5_000n })
    assert.equal(await purse.outcome?.(offer, proof), 'open')
    assert.deepEqual(await purse.pay(offer, 1), proof)
    await seller.settle?.(preimage)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(await purse.outcome?.(offer, proof), 'paid')
    assert.equal((await purse.pay(offer, 1)).preimage, preimage)
    assert.equal(buyer.sent(), 1)
  })

  test('stays on its own network, and asks again after a fault which that is', async () => {
    const { buyer, clock, ask } = stage()
    const offer = await ask()
    let fault = true
    const node: FakeNode = {
      ...buyer,
      open: async () => {
        if (fault) throw new PaymentError('rail-unavailable', 'gone')
        return buyer.open()
      },
    }
    const purse = lightningWallet({ node, clock })
    await assert.rejects(purse.pay(offer, 1), { code: 'rail-unavailable' })
    fault = false
    assert((await purse.pay(offer, 1)).preimage)
    const other: FakeNode = {
      ...buyer,
      open: async () => ({ network: 'bip122:000000000019d6689c085ae165831e93', publicKey: '' }),
    }
    const foreign = lightningWallet({ node: other, clock }).pay(await ask(), 1)
    await assert.rejects(foreign, { code: 'offers-unacceptable' })
  })

  test('is not made of a node that cannot pay', () => {
    const node = createNode(new Map(), createClock(), { pay: false })
    assert.throws(() => lightningWallet({ node }), RangeError)
  })
})
