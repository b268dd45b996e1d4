import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { JsonObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import { plainInvoice } from './fixture.test.ts'
import { createForms, hashOf } from './forms.ts'
import type { Details } from './forms.ts'
import { chains } from './networks.ts'

const { mpp, l402 } = createForms()
const NOW = 1_800_000_000_000
const hash = 'ab'.repeat(32)
const preimage = 'cd'.repeat(32)
const regtest = chains['bcrt'] ?? ''

/** Terms as the rail issues them. */
function issued(msat: bigint, timeoutMs = 61_234): Terms<Details> {
  const read = l402.readDetails({ invoice: plainInvoice(hash, msat, NOW), hash })
  assert(typeof read === 'object')
  return { ...read, timeoutMs }
}

const words = mpp.writeDetails(issued(5_000n))
const request = words.request as JsonObject & { readonly methodDetails: JsonObject }

describe('terms', () => {
  test('are said as the draft says them, with a member of ours', () => {
    assert.deepEqual(words, {
      method: 'lightning',
      intent: 'charge',
      request: {
        amount: '5',
        currency: 'sat',
        methodDetails: {
          invoice: plainInvoice(hash, 5_000n, NOW),
          paymentHash: hash,
          network: 'regtest',
          timeoutMs: 61_234,
        },
      },
    })
  })

  test('survive writing and reading', () => {
    const sats = fc.bigInt({ min: 1n, max: 21_000_000n })
    fc.assert(
      fc.property(sats, fc.nat(), (sat, timeoutMs) => {
        const made = issued(sat * 1_000n, timeoutMs)
        const said = JSON.parse(JSON.stringify(mpp.writeDetails(made)))
        assert.deepEqual(mpp.readDetails(said), made)
      }),
      { numRuns: 20 },
    )
  })

  test('that MPP has no words for are not said: held payments and parts of a satoshi', () => {
    const held = issued(5_000n)
    assert.equal(mpp.writeDetails({ ...held, details: { hash, salt: 'x' } }).request, undefined)
    assert.equal(mpp.writeDetails(issued(5_001n)).request, undefined)
    assert.equal(mpp.writeDetails(issued(999n)).request, undefined)
  })

  test('before there is an invoice tell only what it would cost', () => {
    const { invoice: _, ...unissued } = issued(5_000n)
    assert.deepEqual(mpp.writeDetails(unissued).request, { amount: '5', currency: 'sat' })
  })

  test('are the invoice’s, and what stands beside it must agree', () => {
    const changed = (more: object): unknown =>
      mpp.readDetails({ ...words, request: { ...request, ...more } })
    const detailed = (more: object): unknown =>
      changed({ methodDetails: { ...request.methodDetails, ...more } })
    const good = mpp.readDetails(words)
    assert(typeof good === 'object' && good.network === regtest)
    assert.equal(good.amount.amount, 5_000n)
    // Others say no time, no network and no hash, and count in the words of the drafts.
    for (const fine of [
      detailed({ timeoutMs: undefined }),
      detailed({ network: undefined }),
      detailed({ paymentHash: undefined }),
      detailed({ paymentHash: hash.toUpperCase() }),
      changed({ currency: 'BTC', description: 'x' }),
    ])
      assert.equal(typeof fine, 'object')
    for (const bad of [
      mpp.readDetails({ ...words, method: 'evm' }),
      mpp.readDetails({ ...words, intent: 'session' }),
      mpp.readDetails({ method: 'lightning', intent: 'charge' }),
      changed({ amount: '6' }),
      changed({ amount: 5 }),
      changed({ methodDetails: undefined }),
      detailed({ invoice: 'lnbcrt1' }),
      detailed({ invoice: plainInvoice(hash, 6_000n, NOW) }),
      detailed({ invoice: plainInvoice(hash, 5_001n, NOW) }),
      detailed({ invoice: plainInvoice(hash, undefined, NOW) }),
      detailed({ paymentHash: 'ac'.repeat(32) }),
      detailed({ network: 'mainnet' }),
    ])
      assert.equal(typeof bad, 'string', JSON.stringify(bad))
  })
})

describe('a proof', () => {
  const shown = { id: 'a', realm: 'b' }

  test('is a preimage, in any case', () => {
    const payload = { preimage: preimage.toUpperCase() }
    assert.deepEqual(mpp.readProof({ ...shown, payload }), { preimage })
    for (const bad of [{}, { preimage: 'cd' }, { preimage: 5 }, { preimage: `${preimage}0` }])
      assert.equal(typeof mpp.readProof({ ...shown, payload: bad }), 'string')
    for (const odd of [undefined, null, 'x', [], shown])
      assert.equal(typeof mpp.readProof(odd), 'string')
  })

  test('in a payer’s books has its fee, which no seller is told', () => {
    const proof = { preimage, feeMsat: 7n }
    const written = mpp.writeProof(proof)
    assert.deepEqual(written['payload'], { preimage })
    assert.deepEqual(mpp.readProof(written), proof)
    assert.deepEqual(mpp.readProof({}), {})
  })
})

describe('a session', () => {
  const spend = {
    balance: { currency: 'USD', amount: 100n, scale: 2 },
    unit: { currency: 'USD', amount: 1n, scale: 3 },
  }
  const { sessions } = mpp
  assert(sessions)
  const secret = '07'.repeat(32)
  const id = hashOf(secret)
  const read = l402.readDetails({ invoice: plainInvoice(id, 50_000n, NOW), hash: id })
  assert(typeof read === 'object')
  const terms: Terms<Details> = { ...read, timeoutMs: 61_234 }
  const said = sessions.write(terms, spend)
  const requested = said.request ?? {}

  test('is offered for what a unit costs of its deposit, in whole satoshis', () => {
    assert.deepEqual([said.method, said.intent], ['lightning', 'session'])
    const { amount, depositAmount, paymentHash } = requested
    assert.deepEqual([amount, depositAmount, paymentHash], ['1', '50', id])
    const dear = { ...spend, unit: { currency: 'USD', amount: 3n, scale: 1 } }
    assert.equal(sessions.write(terms, dear).request?.['amount'], '15')
  })

  test('is not offered for what is held, or in parts of a satoshi', () => {
    for (const odd of [
      { ...terms, details: { ...terms.details, salt: 'x' } },
      { ...terms, amount: { ...terms.amount, amount: 50_001n } },
    ])
      assert.equal(sessions.write(odd, spend).request, undefined)
    assert.equal(createForms([regtest], null).mpp.sessions, undefined)
  })

  test('asks for the terms that were quoted', () => {
    assert.deepEqual(mpp.readDetails(said), terms)
    for (const more of [
      { depositAmount: '51' },
      { depositInvoice: undefined },
      { depositInvoice: plainInvoice(id, 50_001n, NOW) },
      { paymentHash: 'ab'.repeat(32) },
    ]) {
      const other = { ...said, request: { ...requested, ...more } as JsonObject }
      assert.equal(typeof mpp.readDetails(other), 'string', JSON.stringify(more))
    }
  })

  const open = { action: 'open', preimage: secret, returnInvoice: 'me@wallet.example' }

  test('is opened, used, topped up and closed by whoever knows the preimage', () => {
    const rest = { rail: 'lightning', unitSat: 1n }
    const proof = { preimage: secret }
    assert.deepEqual(sessions.read(open, requested, terms), {
      session: { act: 'open', id, ...rest, returnTo: 'me@wallet.example' },
      proof,
    })
    const topUp = { action: 'topUp', sessionId: 'cd'.repeat(32), topUpPreimage: secret }
    assert.deepEqual(sessions.read(topUp, requested, terms), {
      session: { act: 'top-up', id: 'cd'.repeat(32), ...rest },
      proof,
    })
    for (const [action, act] of [
      ['bearer', 'use'],
      ['close', 'close'],
    ])
      assert.deepEqual(
        sessions.read({ action: action ?? '', sessionId: id, ...proof }, requested),
        {
          session: { act, id, ...rest },
        },
      )
  })

  test('is nothing without its preimage, or with a destination that cannot take what is left', () => {
    const fixed = plainInvoice(hash, 5_000n, NOW)
    const wrong: readonly JsonObject[] = [
      {},
      { ...open, action: 'Open' },
      { ...open, preimage },
      { ...open, preimage: '07' },
      { ...open, returnInvoice: '' },
      { ...open, returnInvoice: fixed },
      { ...open, returnInvoice: 'a'.repeat(3_000) },
      { action: 'bearer', sessionId: id, preimage },
      { action: 'bearer', sessionId: hash, preimage: secret },
      { action: 'bearer', sessionId: [id], preimage: secret },
      { action: 'close', preimage: secret },
      { action: 'topUp', sessionId: id, topUpPreimage: preimage },
    ]
    for (const payload of wrong)
      assert.equal(
        typeof sessions.read(payload, requested, terms),
        'string',
        JSON.stringify(payload),
      )
    // What pays must answer a challenge.
    assert.equal(typeof sessions.read(open, requested), 'string')
    const blank = { ...open, returnInvoice: plainInvoice(hash, undefined, NOW) }
    assert.equal(typeof sessions.read(blank, requested, terms), 'object')
    const strict = createForms([regtest], { amountless: false }).mpp.sessions
    assert.equal(typeof strict?.read(blank, requested, terms), 'string')
    assert.equal(typeof strict?.read(open, requested, terms), 'object')
  })
})
