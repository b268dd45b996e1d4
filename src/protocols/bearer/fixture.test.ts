// What the tests of the gateway profile share: a chain and a card behind one shop, and who pays there.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import type { Challenge } from '../../core/challenge.ts'
import type { Credential } from '../../core/credential.ts'
import type { JsonObject } from '../../core/json.ts'
import { isObject } from '../../core/json.ts'
import { createMac } from '../../core/mac.ts'
import type { Money } from '../../core/money.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { createOffers } from '../../core/offers.ts'
import type { Offers } from '../../core/offers.ts'
import type { Clock, Fields, Form, Protocol, Read } from '../../core/ports.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'
import { exact } from '../../rails/evm/exact.ts'
import { createForms } from '../../rails/evm/forms.ts'
import { networks } from '../../rails/evm/networks.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import { readProof } from '../../rails/evm/proof.ts'
import vectors from '../x402/vectors/vectors.json' with { type: 'json' }
import { bearer } from './http.ts'
import type { Part, Said, Words } from './part.ts'

export const NOW = 1_800_000_000_000
export const EXPIRES_AT: number = NOW + 300_000
export const clock: Clock = { now: () => NOW, sleep: async () => undefined }

export const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.test',
  path: '/a',
  query: '',
  url: 'https://api.test/a',
}

export const offers: Offers = createOffers(
  createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'),
)

const method = exact({ network: 'eip155:84532', payTo: vectors.payTo })

/** A payment at the processor. */
export interface CardProof {
  readonly id: string
}

/** A card behind a processor whose payments are called `pi_…`. */
export const card: Form<JsonObject, CardProof, Words> = {
  rail: 'card',
  networks: ['card'],
  reasons: {},
  writeDetails: ({ amount, details }) => ({
    gateway: 'stripe',
    wallet_required: false,
    payment_url: 'https://pay.test/now',
    details: { ...details, cents: String(amount.amount) },
  }),
  readDetails: ({ gateway, details: { cents, ...details } }) =>
    gateway === 'stripe' && typeof cents === 'string' && /^\d+$/.test(cents)
      ? { ...cardTerms(dollars(BigInt(cents))), details }
      : 'This is no card.',
  writeProof: ({ id }) => ({ proof: id }),
  readProof(said) {
    assert.ok(isObject(said))
    const { intent, proof } = said as Said
    const found = [proof, intent].find((one) => one?.startsWith('pi_'))
    return found === undefined ? 'Show a pi_….' : { id: found }
  },
}

function dollars(cents: bigint): Money {
  return { asset: { id: 'iso4217:USD', code: 'USD', scale: 2, currency: 'USD' }, amount: cents }
}

function cardTerms(amount: Money): Omit<Offer<JsonObject>, 'id' | 'resource' | 'expiresAt'> {
  return {
    rail: 'card',
    network: 'card',
    intent: 'charge',
    amount,
    payee: 'acct_1',
    timeoutMs: 0,
    details: {},
  }
}

export const cardPart: Part<JsonObject, CardProof> = { forms: { bearer: card } }
export const chainPart: Part = { forms: { ...method.forms } }
export const parts: readonly Part[] = [chainPart, cardPart]

export const seller: Protocol = bearer({ parts, clock })
export const buyer: Protocol = bearer({
  parts: [{ forms: createForms({ networks }) }, cardPart],
  clock,
})

export function chainOffer(price = '0.001 USD', where: Resource = resource): Offer {
  const [terms] = method.quote(readPrice(price))
  assert.ok(terms)
  return offers.bind(terms, where, EXPIRES_AT)
}

export function cardOffer(cents: bigint): Offer {
  return offers.bind(cardTerms(dollars(cents)), resource, EXPIRES_AT)
}

/** A proof over 0.001 USD, of the vectors. */
export const proof: Proof = proofOf()

function proofOf(): Proof {
  const read = readProof(vectors.exactEip3009.payload.payload)
  assert.ok(typeof read !== 'string')
  return read
}

export function challengeOf(list: readonly Offer[], rest: Partial<Challenge> = {}): Challenge {
  return { resource, offers: list, problem: problem('payment-required', 'Pay.'), ...rest }
}

export function fieldsOf(fields: Iterable<readonly [string, string]>): Fields {
  return new Headers([...fields].map(([name, value]): [string, string] => [name, value]))
}

/** What the seller reads in these fields. */
export async function read(
  fields: Readonly<Record<string, string>>,
  protocol: Protocol = seller,
): Promise<Read> {
  return await protocol.readCredential(fieldsOf(Object.entries(fields)), resource)
}

export function credential(read: Read): Credential {
  assert.ok(read && !('code' in read), inspect(read))
  return read
}

export function refusal(read: Read): Problem {
  assert.ok(read && 'code' in read, inspect(read))
  return read
}

test('the offers of this shop are for one request', () => {
  assert.equal(offers.check(chainOffer(), resource, NOW), undefined)
  assert.equal(offers.check(chainOffer(), { ...resource, path: '/b' }, NOW)?.code, 'offer-foreign')
})
