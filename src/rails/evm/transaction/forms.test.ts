// What is written is read back to the same terms and proofs, and nothing else is taken for them.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { anything, assert as holds, property, string } from 'fast-check'
import { readPrice } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { exact } from '../exact.ts'
import { createAssurance } from './assurance.ts'
import { createForms } from './forms.ts'
import type { MppWords } from './forms.ts'
import { isUnbound, readProof } from './proof.ts'
import type { Details } from './terms.ts'
import { shopOf, termsOf } from './terms.ts'

const payTo = '0x1111111111111111111111111111111111111111'
const shop = shopOf({ network: 'base', payTo, coin: { code: 'ETH' } })
const forms = createForms([shop], shop.payee)
const transaction: Hex = `0x${'ab'.repeat(32)}`

function quoted(price: string): Terms<Details> {
  const [terms] = termsOf(shop, readPrice(price))
  assert(terms)
  return terms
}

describe('terms', () => {
  test('say the same in the gateway profile, for tokens and for coin', () => {
    for (const terms of [quoted('0.01 USD'), quoted('0.5 ETH')]) {
      const said = forms.bearer.writeDetails(terms)
      assert.deepEqual(forms.bearer.readDetails(JSON.parse(JSON.stringify(said))), terms)
      const payer = createForms([shop]).bearer.readDetails(said)
      assert.deepEqual(payer, terms)
    }
  })

  test('say the same in MPP, which has no words for coin', () => {
    const terms = quoted('0.01 USD')
    const said = forms.mpp.writeDetails(terms)
    assert.deepEqual(forms.mpp.readDetails(JSON.parse(JSON.stringify(said)) as MppWords), terms)
    assert.equal(forms.mpp.writeDetails(quoted('0.5 ETH')).request, undefined)
  })

  test('of other rails are left to them', () => {
    const other = exact({ network: 'base', payTo })
    const [terms] = other.quote(readPrice('0.01 USD'))
    assert(terms)
    const words = other.forms['mpp']?.writeDetails(terms) as MppWords
    assert.equal(typeof forms.mpp.readDetails(words), 'string')
    const mine = forms.mpp.writeDetails(quoted('0.01 USD'))
    assert.equal(typeof other.forms['mpp']?.readDetails(mine), 'string')
    const details = other.forms['x402']?.writeDetails(terms)
    const said = { gateway: 'blockchain', wallet_required: true, details }
    assert.equal(typeof forms.bearer.readDetails(said as never), 'string')
  })

  test('that are not taken here are refused with a sentence', () => {
    const { details } = forms.bearer.writeDetails(quoted('0.01 USD'))
    const wrong = [
      { method: 'exact' },
      { network: 'eip155:1' },
      { token: payTo },
      { receiver: payTo },
      { units: '-1' },
      { units: `1${'0'.repeat(78)}` },
      { recipient: '0x1' },
      { timeout_seconds: 0 },
    ]
    for (const change of wrong) {
      const said = {
        gateway: 'blockchain',
        wallet_required: true,
        details: { ...details, ...change },
      } as const
      assert.equal(typeof forms.bearer.readDetails(said), 'string', JSON.stringify(change))
    }
    const words = forms.mpp.writeDetails(quoted('0.01 USD'))
    const methodDetails = { chainId: 8453, credentialTypes: ['hash'], splits: [{}] }
    const split = { ...words, request: { ...words.request, methodDetails } }
    assert.equal(typeof forms.mpp.readDetails(split), 'string')
  })
})

describe('proofs', () => {
  const signature: Hex = `0x${'cd'.repeat(65)}`
  const proofs = [
    { transaction },
    { transaction, log: 3 },
    { transaction, signature },
    { transaction, signature, log: 0 },
  ]

  test('say the same in both', () => {
    for (const proof of proofs) {
      const said = { ...forms.bearer.writeProof(proof), intent: 'offer_x' }
      assert.deepEqual(forms.bearer.readProof(said), { ...proof, offer: 'offer_x' })
      const shown = { ...forms.mpp.writeProof(proof), id: 'x', realm: 'shop' }
      assert.deepEqual(forms.mpp.readProof(shown), { ...proof, offer: 'x' })
    }
    const named = forms.mpp.writeProof({ transaction, payer: payTo })
    assert.equal(named['source'], `did:pkh:eip155:8453:${payTo}`)
    assert.deepEqual(forms.mpp.readProof(named), { transaction, payer: payTo })
  })

  test('that are garbled are refused with a sentence, whatever they are', () => {
    const wrong = ['', '0x', transaction.slice(2), `${transaction}0`, `${transaction};log=x`]
    wrong.push(
      `${transaction};log=1;log=2`,
      `${transaction};sign=0x`,
      `${transaction};signature=0x1`,
    )
    wrong.push(`${transaction};signature=0x${'ab'.repeat(9_000)}`, `${transaction};log=99999`)
    for (const proof of wrong)
      assert.equal(typeof forms.bearer.readProof({ proof }), 'string', proof.slice(0, 90))
    holds(
      property(anything(), (said) => {
        const read = [forms.bearer.readProof(said), forms.mpp.readProof(said)]
        return read.every((one) => typeof one === 'string')
      }),
    )
    holds(
      property(string(), (proof) => {
        const read = forms.bearer.readProof({ proof: transaction + proof })
        return typeof read === 'string' || read.transaction === transaction
      }),
    )
    assert.equal(typeof readProof({ transaction, log: -1 }), 'string')
    assert.equal(typeof forms.mpp.readProof({ payload: { type: 'proof' }, source: 'x' }), 'string')
  })

  test('name an offer by its id, or by the intent that wraps it, and nothing else', () => {
    const wrap = (id: unknown): string =>
      `offer_${Buffer.from(JSON.stringify([id, 1])).toString('base64url')}`
    assert.equal(isUnbound({ id: 'x' }, { transaction }), false)
    assert.equal(isUnbound({ id: 'x' }, { transaction, offer: 'x' }), false)
    assert.equal(isUnbound({ id: 'x' }, { transaction, offer: wrap('x') }), false)
    for (const offer of ['', 'y', wrap('y'), wrap(['x']), `offer_${'A'.repeat(9_000)}`, 'offer_x'])
      assert.equal(isUnbound({ id: 'x' }, { transaction, offer }), true)
  })
})

describe('assurance', () => {
  const rows = [
    { confirmations: 2 },
    { from: ['10 USD', '0.01 ETH'], confirmations: 5, quorum: 2 },
    { from: '1000 USD', tag: 'finalized' },
  ] as const
  const asked = createAssurance(rows, 2)
  const of = (price: string) => asked(quoted(price).amount)

  test('grows with the amount, and the strictest of each kind counts', () => {
    assert.deepEqual(of('9.99 USD'), { confirmations: 2n, quorum: 1 })
    assert.deepEqual(of('10 USD'), { confirmations: 5n, quorum: 2 })
    assert.deepEqual(of('1000 USD'), { confirmations: 5n, quorum: 2, tag: 'finalized' })
  })

  test('asks for more in an asset of which a row says nothing', () => {
    assert.deepEqual(of('0.001 ETH'), { confirmations: 2n, quorum: 1, tag: 'finalized' })
    assert.deepEqual(of('1 ETH'), { confirmations: 5n, quorum: 2, tag: 'finalized' })
  })

  test('cannot ask for what cannot be', () => {
    for (const row of [{ confirmations: 0 }, { quorum: 3 }, { confirmations: 1.5 }, { from: '1' }])
      assert.throws(() => createAssurance([row], 2), RangeError)
  })
})
