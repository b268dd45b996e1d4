import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fiat } from './fiat.ts'
import { createMac } from './mac.ts'
import type { Offer } from './offer.ts'
import { writeOffer } from './offer.ts'
import { createOffers } from './offers.ts'
import { readSaidOffer } from './said-offer.ts'

const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
const terms = {
  rail: 'card',
  network: 'card:test',
  intent: 'charge',
  amount: { asset: fiat('USD'), amount: 150n },
  payee: 'me',
  timeoutMs: 0,
  details: { types: ['card'] },
}
const resource = {
  realm: 'r',
  method: 'GET',
  authority: 'a',
  path: '/p',
  query: '',
  url: 'http://a/p',
}
const offer: Offer = offers.bind(terms, { ...resource, digest: 'd' }, 300_000, 'nonce')

describe('an offer that a page hands back', () => {
  test('is the one that was made', () => {
    const said = readSaidOffer(JSON.parse(JSON.stringify(writeOffer(offer)))) ?? assert.fail('read')
    assert.equal(offers.check(said, said.resource, 0), undefined)
    assert.deepEqual({ ...said, resource: offer.resource }, offer)
  })

  test('is none of ours when anything of it was changed', () => {
    const changes: readonly ((said: Record<string, unknown>) => void)[] = [
      (said) => (said['amount'] = { asset: { id: 'iso4217:USD' }, amount: '149' }),
      (said) => (said['amount'] = { asset: { id: 'iso4217:EUR' }, amount: '150' }),
      (said) => (said['payee'] = 'somebody'),
      (said) => (said['details'] = {}),
      (said) => (said['expiresAt'] = 400_000),
      (said) => (said['resource'] = { ...resource, digest: 'd', path: '/other' }),
      (said) => (said['resource'] = { ...resource }),
    ]
    for (const change of changes) {
      const said = structuredClone(writeOffer(offer)) as Record<string, unknown>
      change(said)
      const read = readSaidOffer(said) ?? assert.fail(String(change))
      assert.equal(offers.check(read, read.resource, 0)?.code, 'offer-foreign', String(change))
    }
  })

  test('is nothing where it is no offer', () => {
    const whole = writeOffer(offer)
    const garbage: readonly unknown[] = [
      undefined,
      null,
      [],
      'offer',
      {},
      { ...whole, id: 1 },
      { ...whole, id: 'x'.repeat(3_000) },
      { ...whole, expiresAt: -1 },
      { ...whole, timeoutMs: 0.5 },
      { ...whole, details: null },
      { ...whole, resource: { ...resource, query: undefined } },
      { ...whole, resource: { ...resource, digest: 1 } },
      { ...whole, amount: { asset: { id: 'eip155:1' }, amount: '150' } },
      { ...whole, amount: { asset: { id: 'iso4217:USD' }, amount: 150 } },
      { ...whole, amount: { asset: { id: 'iso4217:USD' }, amount: '-1' } },
      { ...whole, amount: { asset: { id: 'iso4217:USD' }, amount: '9'.repeat(100) } },
    ]
    for (const said of garbage) assert.equal(readSaidOffer(said), undefined, JSON.stringify(said))
    assert.ok(readSaidOffer(whole))
  })
})
