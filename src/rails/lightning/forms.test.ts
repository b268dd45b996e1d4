import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Terms } from '../../core/offer.ts'
import type { Details } from './forms.ts'
import { createForms, hashOf } from './forms.ts'
import { plainInvoice } from './fixture.test.ts'
import { bitcoinOn, chains } from './networks.ts'

const { l402 } = createForms()
assert(l402)
const form = l402
const hash = 'ab'.repeat(32)

test('a seller reads its own terms back, whatever they are', () => {
  const hex = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((b) => Buffer.from(b).toString('hex'))
  const some = fc.record({
    network: fc.constantFrom(...Object.values(chains)),
    msat: fc.bigInt({ min: 1n, max: 2_100_000_000_000_000_000n }),
    hash: hex,
    payee: fc.oneof(fc.constant(''), hex),
    timeoutMs: fc.nat(),
    salt: fc.option(fc.uint8Array({ minLength: 16, maxLength: 16 })),
  })
  fc.assert(
    fc.property(some, ({ network, msat, payee, timeoutMs, salt, ...rest }) => {
      const terms: Terms<Details> = {
        rail: 'lightning',
        network,
        intent: 'charge',
        amount: { asset: bitcoinOn(network), amount: msat },
        payee,
        timeoutMs,
        details: {
          hash: rest.hash,
          ...(salt && { salt: Buffer.from(salt).toString('base64url') }),
        },
      }
      const said = form.writeDetails({ ...terms, invoice: 'lnbc1' })
      assert.match(said.terms ?? '', /^[\x21-\x2b\x2d-\x7e]+$/)
      assert.deepEqual(form.readDetails({ hash: rest.hash, terms: said.terms ?? '' }), terms)
    }),
    { numRuns: 100 },
  )
})

test('terms that are not ours are refused with a sentence', () => {
  const network = chains['bcrt'] ?? ''
  assert.equal(typeof form.readDetails({ hash, terms: `${network};5;;0;` }), 'object')
  for (const terms of ['', 'x;5;;0;', `${network};-5;;0;`, `${network};5;;;`, `${network};;;0;`])
    assert.equal(typeof form.readDetails({ hash, terms }), 'string', terms)
  assert.equal(typeof form.readDetails({ terms: `${network};5;;0;` }), 'string')
})

test('a payer reads the invoice and nothing beside it', () => {
  const invoice = plainInvoice(hash, 7_001n, 1_800_000_000_000)
  const terms = form.readDetails({ invoice, hash, terms: 'bip122:x;1;;0;' })
  assert(typeof terms !== 'string')
  assert.equal(terms.amount.amount, 7_001n)
  assert.equal(terms.details.hash, hash)
  assert.equal(terms.timeoutMs, 600_000)
  assert.equal(terms.details.salt, undefined)
  const held = form.readDetails({ invoice, hold: true })
  assert(typeof held !== 'string' && held.details.salt === '')
  const bad: Record<string, unknown> = {
    'another hash': form.readDetails({ invoice, hash: 'cd'.repeat(32) }),
    'no amount': form.readDetails({ invoice: plainInvoice(hash, undefined, 0) }),
    garbage: form.readDetails({ invoice: 'lnbc1' }),
  }
  for (const [name, why] of Object.entries(bad))
    assert(typeof why === 'string' && why.endsWith('.'), name)
})

test('proofs survive writing and reading, and others are refused', () => {
  const preimage = 'aB'.repeat(32)
  for (const proof of [{}, { feeMsat: 3n }, { preimage: preimage.toLowerCase(), feeMsat: 0n }])
    assert.deepEqual(form.readProof(form.writeProof(proof)), proof)
  assert.deepEqual(form.readProof({ preimage }), { preimage: preimage.toLowerCase() })
  for (const bad of [
    null,
    [],
    'x',
    { preimage: 'ab' },
    { preimage: 5 },
    { preimage: 'g'.repeat(64) },
  ])
    assert.equal(typeof form.readProof(bad), 'string')
  assert.deepEqual(form.readProof({ feeMsat: '-1' }), {})
  assert.equal(hashOf('00'.repeat(32)).length, 64)
})
