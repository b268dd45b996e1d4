// What the tests of L402 share: a seller and a buyer on Lightning, and tokens as clients show them.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { inspect } from 'node:util'
import type { Challenge } from '../../core/challenge.ts'
import type { Credential } from '../../core/credential.ts'
import { createMac } from '../../core/mac.ts'
import type { Offer } from '../../core/offer.ts'
import { createOffers } from '../../core/offers.ts'
import type { Offers } from '../../core/offers.ts'
import type { Fields, Protocol, Read } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { createForms } from '../../rails/lightning/index.ts'
import { createMacaroons, hashIn } from '../../tokens/macaroon/index.ts'
import type { Macaroons } from '../../tokens/macaroon/index.ts'
import { l402 } from './http.ts'
import type { Part } from './part.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const NOW = 1_800_000_000_000
export const EXPIRES_AT: number = NOW + 60_000
const network = 'bip122:0f9188f13cb7b2c71f2a335e3a4fc328'

const vectors = JSON.parse(
  readFileSync(new URL('../../rails/lightning/vectors/bolt11.json', import.meta.url), 'utf8'),
) as { readonly valid: readonly { readonly name: string; readonly invoice: string }[] }

/** An invoice of BOLT 11's own, for 250,000 sat; nobody is known to have its preimage. */
export const coffee: string = vectors.valid.find(({ name }) => name.startsWith('coffee'))!.invoice
export const coffeeHash = '0001020304050607080900010203040506070809000102030405060708090102'
/** One that names no amount. */
export const donation: string = vectors.valid.find(({ name }) =>
  name.startsWith('a donation'),
)!.invoice

export const parts: readonly Part[] = [{ forms: createForms() }]
export const macaroons: Macaroons = createMacaroons({ secrets: [SECRET] })
export const foreigners: Macaroons = createMacaroons({
  secrets: ['Qm9zcm5pY2tlbHRlc3RzZWNyZXRrZXlub3c5'],
})
export const seller: Protocol = l402({ parts, mint: macaroons, hashIn })
export const buyer: Protocol = l402({ parts, hashIn })
export const offers: Offers = createOffers(createMac([SECRET], 'offers'))

export const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.test',
  path: '/a',
  query: '',
  url: 'https://api.test/a',
}

export const preimage: string = 'ab'.repeat(32)
export const otherPreimage: string = 'cd'.repeat(32)

/** How an offer differs from the usual one. */
export interface Unusual {
  readonly preimage?: string
  readonly hash?: string
  readonly salt?: string
  readonly msat?: bigint
  readonly rail?: string
}

export function offerFor(said: Unusual = {}): Offer {
  const found = hashOf(said.preimage ?? preimage)
  const terms = {
    rail: said.rail ?? 'lightning',
    network,
    intent: 'charge',
    amount: {
      asset: { id: `${network}/slip44:0`, code: 'BTC', scale: 11 },
      amount: said.msat ?? 5000n,
    },
    payee: '02'.repeat(33),
    timeoutMs: 60_000,
    details: { hash: said.hash ?? found, ...(said.salt !== undefined && { salt: said.salt }) },
    invoice: coffee,
  }
  return offers.bind(terms, resource, EXPIRES_AT)
}

export function challengeOf(list: readonly Offer[], plan?: Challenge['plan']): Challenge {
  const required = problem('payment-required', 'Pay.')
  return { resource, offers: list, problem: required, ...(plan && { plan }) }
}

/** The fields that the seller asks with. */
export function asked(said: Unusual = {}, plan?: Challenge['plan']): readonly string[] {
  const { fields } = seller.writeChallenge(challengeOf([offerFor(said)], plan))
  return fields.map(([name, value]) => {
    assert.equal(name, 'WWW-Authenticate')
    return value
  })
}

/** The token of the only challenge. */
export function tokenOf(said: Unusual = {}, plan?: Challenge['plan']): string {
  const [field = '', ...others] = asked(said, plan)
  assert.equal(others.length, 0)
  const token = /macaroon="([^"]+)"/.exec(field)?.[1]
  assert.ok(token)
  return token
}

export function fieldsOf(fields: Readonly<Record<string, string>>): Fields {
  return new Headers(fields)
}

/** What the seller reads in one `Authorization`. */
export function shown(field: string, at: Resource = resource): Read {
  const read = seller.readCredential(fieldsOf({ Authorization: field }), at)
  assert.ok(!(read instanceof Promise))
  return read
}

export function credential(read: Read): Credential & { readonly offer: Offer } {
  assert.ok(read && 'offer' in read, inspect(read))
  return read as Credential & { readonly offer: Offer }
}

export function refusal(read: Read): Problem {
  assert.ok(read && 'code' in read, 'it is refused')
  return read
}

export function hashOf(hex: string): string {
  return hash('sha256', Buffer.from(hex, 'hex'), 'hex')
}

test('the vectors are there', () => {
  assert.match(coffee, /^lnbc2500u1/)
  assert.match(donation, /^lnbc1/)
})
