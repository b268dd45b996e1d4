// What the tests of MPP share: a seller and a buyer on an EVM chain and on Lightning, and the vectors that npm mppx has written.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { inspect } from 'node:util'
import type { Challenge } from '../../core/challenge.ts'
import type { Credential } from '../../core/credential.ts'
import { createMac } from '../../core/mac.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { createOffers } from '../../core/offers.ts'
import type { Offers } from '../../core/offers.ts'
import type { Fields, Method, Read, Wallet } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import type { Resource } from '../../core/resource.ts'
import { exact } from '../../rails/evm/exact.ts'
import type { Details } from '../../rails/evm/forms.ts'
import { loadNonces } from '../../rails/evm/mpp-nonce.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import { fromPrivateKey } from '../../rails/evm/signer.ts'
import { wallet } from '../../rails/evm/wallet.ts'
import { plainInvoice } from '../../rails/lightning/fixture.test.ts'
import { createForms } from '../../rails/lightning/index.ts'
import { mpp } from './http.ts'
import type { Mpp, Part } from './part.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const NOW = 1_800_000_000_000
export const EXPIRES_AT: number = NOW + 60_000

/** One case of mppx. */
export interface Case {
  readonly hmacInput: string
  readonly wwwAuthenticate: string
  readonly authorization?: string
  readonly credential?: { readonly challenge: Readonly<Record<string, string>> } & Readonly<
    Record<string, unknown>
  >
  readonly paymentReceipt?: string
  readonly receipt?: Readonly<Record<string, string>>
}

function vectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8'))
}

export const recorded = vectors('static') as {
  readonly secretKey: string
  readonly payerPrivateKey: string
  readonly cases: Readonly<Record<string, Case>>
}
export const frames = vectors('transports') as Readonly<Record<string, never>>
export const situations = vectors('problems') as readonly {
  readonly label: string
  readonly body: { readonly type?: string }
}[]

/** The payee of the recorded EVM case. */
export const payTo = '0x742d35Cc6634c0532925a3b844bC9e7595F8fE00'
export const rail: Method<Details, Proof> = exact({ network: 'base-sepolia', payTo })
export const parts: readonly Part[] = [{ forms: createForms() }, rail]
export const purse: Wallet<Details, Proof> = wallet({
  signer: fromPrivateKey(recorded.payerPrivateKey),
})
export const seller: Mpp = mpp({ parts })
export const buyer: Mpp = mpp({ parts: [purse, { forms: createForms() }] })
export const offers: Offers = createOffers(createMac([SECRET], 'offers'))
await loadNonces()
await Promise.resolve()

export const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.example.com',
  path: '/a',
  query: '',
  url: 'https://api.example.com/a',
}

/** An offer of ours for a dollar cent on a chain. */
export function evmOffer(at: Resource = resource, nonce = 'abc', amount = '0.01 USD'): Offer {
  const [terms] = rail.quote(readPrice(amount))
  assert.ok(terms)
  return offers.bind(terms, at, EXPIRES_AT, nonce)
}

export const preimage: string = '07'.repeat(32)
export const paymentHash = '4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0'

/** An offer of ours for some satoshis. */
export function lightningOffer(msat = 5_000n, more: { readonly salt?: string } = {}): Offer {
  const form = createForms().l402
  const invoice = plainInvoice(paymentHash, msat, NOW)
  const terms = form.readDetails({ invoice, hash: paymentHash })
  assert.ok(typeof terms === 'object', inspect(terms))
  const issued = { ...terms, timeoutMs: 61_234, details: { ...terms.details, ...more } }
  return offers.bind(issued, resource, EXPIRES_AT, 'abc')
}

export function challengeOf(list: readonly Offer[]): Challenge {
  return { resource, offers: list, problem: problem('payment-required', 'Pay.') }
}

/** The lines that the seller asks with. */
export function asked(
  list: readonly Offer[],
  accept?: string,
  by: Mpp = seller,
): readonly string[] {
  const fields = fieldsOf(accept === undefined ? {} : { 'Accept-Payment': accept })
  return by.writeChallenge(challengeOf(list), fields).fields.map(([name, value]) => {
    assert.equal(name, 'WWW-Authenticate')
    return value
  })
}

export function fieldsOf(fields: Readonly<Record<string, string>>): Fields {
  return new Headers(fields)
}

/** What a buyer finds in a 402. */
export function found(lines: readonly string[], body?: unknown): Challenge | undefined {
  const fields = fieldsOf({ 'WWW-Authenticate': lines.join(', ') })
  return buyer.readChallenge({ status: 402, fields, body }, resource)
}

/** What the seller reads in one `Authorization`. */
export function shown(field: string, at: Resource = resource, by: Mpp = seller): Read {
  return atOnce(by.readCredential(fieldsOf({ Authorization: field }), at))
}

/** What is loaded reads at once. */
export function atOnce(read: Read | Promise<Read>): Read {
  assert.ok(!(read instanceof Promise))
  return read
}

export function credential(read: Read): Credential & { readonly offer: Offer } {
  assert.ok(read && 'offer' in read, inspect(read))
  return read as Credential & { readonly offer: Offer }
}

export function refusal(read: Read): Problem {
  assert.ok(read && 'code' in read, `it is refused: ${inspect(read)}`)
  return read
}

export function receiptOf(offer: Offer, more: Partial<Receipt> = {}): Receipt {
  const { network, payee, amount } = offer
  const said = { network, payee, amount, rail: offer.rail, payer: 'me', reference: '0xab' }
  return { ...said, settledAt: NOW, settled: true, ...more }
}

/** JSON in base64url. */
export function decoded(text: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>
}

/** A credential with other members. */
export function encoded(value: unknown): string {
  return `Payment ${Buffer.from(JSON.stringify(value)).toString('base64url')}`
}

test('the vectors are there', () => {
  assert.equal(Object.keys(recorded.cases).length, 6)
  assert.equal(situations.length, 14)
})
