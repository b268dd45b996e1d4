import assert from 'node:assert/strict'
import test from 'node:test'
import { createMac } from '../../core/mac.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { createOffers } from '../../core/offers.ts'
import type { Offers } from '../../core/offers.ts'
import type { Fields, Message, Method, Received } from '../../core/ports.ts'
import { problem } from '../../core/problem.ts'
import type { Challenge } from '../../core/challenge.ts'
import type { Resource } from '../../core/resource.ts'
import { exact } from '../../rails/evm/exact.ts'
import { createForms } from '../../rails/evm/forms.ts'
import type { Details } from '../../rails/evm/forms.ts'
import { networks } from '../../rails/evm/networks.ts'
import { readProof } from '../../rails/evm/proof.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import type { Part } from './part.ts'
import vectors from './vectors/vectors.json' with { type: 'json' }

// What the tests of this folder stand on: the vectors, and the real EVM method that is said in them.

export { vectors }

interface Exchange {
  readonly paymentRequired: object
  readonly payload: object
  readonly paymentSignatureHeader: string
}

/** The seven exchanges of the vectors, the one that is taken here first. */
export const exchanges: Readonly<Record<string, Exchange>> = {
  exactEip3009: vectors.exactEip3009,
  exactPermit2: vectors.exactPermit2,
  uptoPermit2: vectors.uptoPermit2,
  batchDeposit: vectors.batchDeposit,
  batchVoucher: vectors.batchVoucher,
  authCapture: vectors.authCapture,
  authCaptureBound: vectors.authCaptureBound,
}

/** A payer's part: every network that is known by name. */
export const wallet: Part = { forms: createForms({ networks }) }

export const method: Method<Details, Proof> = exact({
  network: 'eip155:84532',
  payTo: vectors.payTo,
})

export const offers: Offers = createOffers(
  createMac(['q3J8mVt0cZr5yKx1wN7pLd2sGh9fBa4e'], 'offers'),
)

export const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.example.com',
  path: '/paid',
  query: '',
  url: 'https://api.example.com/paid',
}

export const EXPIRES_AT = 1_800_000_300_000

/** An offer of ours on the vectors' terms: 1000 units of USDC on Base Sepolia. */
export function offerFor(price = '0.001 USD', where: Resource = resource): Offer {
  const [terms] = method.quote(readPrice(price))
  assert(terms)
  return offers.bind(terms, where, EXPIRES_AT)
}

export function challengeWith(offer: Offer, rest: Partial<Challenge> = {}): Challenge {
  return {
    resource: offer.resource,
    offers: [offer],
    problem: problem('payment-required', 'Pay.'),
    ...rest,
  }
}

/** The proof of the vectors, which pays exactly that. */
export const proof: Proof = readVectorProof()

function readVectorProof(): Proof {
  const read = readProof(vectors.exactEip3009.payload.payload)
  assert(typeof read !== 'string')
  return read
}

export function fieldsOf(pairs: Readonly<Record<string, string>> | Message['fields']): Fields {
  const list = Array.isArray(pairs) ? (pairs as Message['fields']) : Object.entries(pairs)
  return new Headers(list.map(([name, value]): [string, string] => [name, value]))
}

export function received(message: Message, status = 402): Received {
  const body: unknown = message.body && JSON.parse(JSON.stringify(message.body))
  return { status, fields: fieldsOf(message.fields), ...(body !== undefined && { body }) }
}

export function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64')
}

export function decode(value: string | null | undefined): Record<string, unknown> {
  assert(value)
  return JSON.parse(Buffer.from(value, 'base64').toString()) as Record<string, unknown>
}

test('the vectors hold seven exchanges, each header being its payload', () => {
  assert.equal(Object.keys(exchanges).length, 7)
  for (const { payload, paymentSignatureHeader } of Object.values(exchanges))
    assert.deepEqual(decode(paymentSignatureHeader), payload)
})
