import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isBound } from './credential.ts'
import { checkSecret, createMac } from './mac.ts'
import type { Offer } from './offer.ts'
import { RATE_CHARS_MAX, createOffers, nonceOf, rateOf } from './offers.ts'
import { RATE_SOURCE_CHARS_MAX } from './ports.ts'
import type { Resource } from './resource.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'
const resource: Resource = {
  realm: 'shop',
  method: 'GET',
  authority: 'api.test',
  path: '/a',
  query: 'n=1',
  url: 'http://api.test/a?n=1',
}
const terms = {
  rail: 'r',
  network: 'n',
  intent: 'charge',
  payee: 'seller',
  timeoutMs: 60_000,
  details: { a: 'x', b: 'y' },
  amount: { asset: { id: 'test:coin', code: 'COIN', scale: 6 }, amount: 5n },
}
const offers = createOffers(createMac([old], 'offers'))
const offer: Offer = offers.bind(terms, resource, 10_000)

describe('an offer', () => {
  test('stands for the request that it was made for until it expires', () => {
    assert.equal(offers.check(offer, resource, 9_999), undefined)
    assert.equal(offers.check(offer, resource, 10_000)?.code, 'offer-expired')
    // The order of members means nothing after a trip over the wire.
    assert.equal(offers.check({ ...offer, details: { b: 'y', a: 'x' } }, resource, 0), undefined)
  })

  const requests: Record<string, Partial<Resource>> = {
    realm: { realm: 'other' },
    method: { method: 'POST' },
    authority: { authority: 'evil.test' },
    path: { path: '/b' },
    query: { query: 'n=9999' },
    digest: { digest: 'sha-256=:AAAA:' },
    'path and query joined otherwise': { path: '/a?n=1', query: '' },
  }
  for (const [name, other] of Object.entries(requests))
    test(`is foreign at a request with another ${name}`, () => {
      assert.equal(offers.check(offer, { ...resource, ...other }, 0)?.code, 'offer-foreign')
    })

  const changes: Record<string, Partial<Offer>> = {
    amount: { amount: { ...terms.amount, amount: 4n } },
    asset: { amount: { amount: 5n, asset: { ...terms.amount.asset, id: 'test:other' } } },
    payee: { payee: 'thief' },
    network: { network: 'm' },
    rail: { rail: 's' },
    intent: { intent: 'upto' },
    timeoutMs: { timeoutMs: 1 },
    details: { details: { a: 'x', b: 'z' } },
    expiresAt: { expiresAt: 99_000 },
  }
  for (const [name, change] of Object.entries(changes))
    test(`with another ${name} is not ours`, () => {
      assert.equal(offers.check({ ...offer, ...change }, resource, 0)?.code, 'offer-foreign')
    })

  test('of every wrong id is foreign: empty, short, long, flipped, not ASCII', () => {
    const flipped = (offer.id.startsWith('A') ? 'B' : 'A') + offer.id.slice(1)
    for (const id of [
      '',
      'x',
      flipped,
      `${offer.id}A`,
      offer.id.slice(1),
      'ÿ'.repeat(32),
      '\u0100'.repeat(32),
    ])
      assert.equal(offers.check({ ...offer, id }, resource, 0)?.code, 'offer-foreign', id)
  })
})

describe('an offer that was made by a rate', () => {
  const rate = { currency: 'USD', price: '65432.1', source: 'median-of-3', at: 1_800_000_000_999 }
  const rated = offers.bind(terms, resource, 10_000, undefined, rate)
  const both = offers.bind(terms, resource, 10_000, 'n0nce', rate)

  test('tells it, beside its nonce if it has one, and stands like any other', () => {
    for (const one of [rated, both]) {
      assert.deepEqual(rateOf(one), { ...rate, at: 1_800_000_000_000 })
      assert.equal(offers.check(one, resource, 0), undefined)
    }
    assert.deepEqual([nonceOf(rated), nonceOf(both)], [undefined, 'n0nce'])
    assert.deepEqual([rateOf(offer), rateOf({ id: 'n0nce.x' })], [undefined, undefined])
  })

  test('is foreign by any other rate, and by none', () => {
    for (const id of [
      rated.id.replace('65432.1', '65432.2'),
      rated.id.replace('USD', 'EUR'),
      rated.id.replace('median-of-3', 'fixed'),
      rated.id.replace('1800000000', '1800000001'),
      rated.id.slice(rated.id.lastIndexOf('.') + 1),
      both.id.replace('n0nce', ''),
      both.id.replace('n0nce', 'n1nce'),
    ]) {
      assert.ok(id !== rated.id && id !== both.id)
      assert.equal(offers.check({ ...rated, id }, resource, 0)?.code, 'offer-foreign', id)
    }
  })

  test('has an id that fits into every protocol, whatever the rate is', () => {
    const longest = {
      currency: `A${'B'.repeat(15)}`,
      price: '9'.repeat(RATE_CHARS_MAX),
      source: 's'.repeat(RATE_SOURCE_CHARS_MAX),
      at: 99_999_999_999_000,
    }
    const { id } = offers.bind(terms, resource, 10_000, 'n'.repeat(16), longest)
    assert.ok(id.length <= 128, `${id.length}`)
    assert.match(id, /^[\w.~-]+$/)
  })
})

describe('an offer of its own kind', () => {
  const own = offers.bind(terms, resource, 10_000, 'n0nce')

  test('names its nonce, and stands like any other', () => {
    assert.equal(nonceOf(own), 'n0nce')
    assert.equal(nonceOf(offer), undefined)
    assert.equal(nonceOf({ id: '.x' }), '')
    assert.equal(own.id.length, 'n0nce.'.length + 32)
    assert.equal(offers.check(own, resource, 0), undefined)
  })

  test('is no other’s: neither with another nonce, nor without, nor with one where there was none', () => {
    const sign = own.id.slice('n0nce.'.length)
    for (const id of [`other.${sign}`, sign, `.${sign}`, `n0nce..${sign}`, `n0nce.${offer.id}`])
      assert.equal(offers.check({ ...own, id }, resource, 0)?.code, 'offer-foreign', id)
  })
})

test('an offer that was made before an upgrade is ours after it: ids of the same words stay the same', () => {
  assert.equal(offer.id, 'fsCsnAZ9B7CVAVecMDWM4NJ9VF8C8wNN')
})

test('a credential names its offer, or only a rail and a network', () => {
  assert.equal(isBound(offer), true)
  assert.equal(isBound({ rail: 'r', network: 'n' }), false)
})

describe('a secret', () => {
  test('is rotated: the old one is believed while it is listed, and not after', () => {
    const both = createOffers(createMac([young, old], 'offers'))
    assert.equal(both.check(offer, resource, 0), undefined)
    assert.equal(
      offers.check(both.bind(terms, resource, 10_000), resource, 0)?.code,
      'offer-foreign',
    )
    assert.equal(
      createOffers(createMac([young], 'offers')).check(offer, resource, 0)?.code,
      'offer-foreign',
    )
  })

  test('serves one purpose: what it signed for another is not believed', () => {
    assert.equal(
      createOffers(createMac([old], 'other')).check(offer, resource, 0)?.code,
      'offer-foreign',
    )
  })

  for (const [name, secret] of Object.entries({
    missing: '',
    short: 'tooshort',
    sample: 'your-secret-your-secret-your-secret-1',
    sequence: '0123456789abcdef0123456789abcdef',
    repeated: 'a'.repeat(64),
  }))
    test(`that is ${name} stops the start with advice`, () => {
      assert.throws(() => createMac([secret], 'offers'), /Make one with: openssl rand -base64 32/)
    })

  test('that is good passes', () => {
    assert.equal(checkSecret(old), old)
    assert.throws(() => createMac([], 'offers'), /between one and/)
  })
})
