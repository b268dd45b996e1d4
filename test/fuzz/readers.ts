// The readers of header fields of all protocols, each with honest messages. It tests nothing itself.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { systemChance } from '../../src/core/chance.ts'
import type { Credential } from '../../src/core/credential.ts'
import { isBound } from '../../src/core/credential.ts'
import type { Offer } from '../../src/core/offer.ts'
import type { Offers } from '../../src/core/offers.ts'
import type { Fields, Message, Mint, Protocol, Rail, Read } from '../../src/core/ports.ts'
import type { Receipt } from '../../src/core/receipt.ts'
import type { Resource } from '../../src/core/resource.ts'
import { createSeal } from '../../src/core/seal.ts'
import { createTickets } from '../../src/page/ticket.ts'
import * as bearers from '../../src/protocols/bearer/fixture.test.ts'
import { bearer } from '../../src/protocols/bearer/index.ts'
import * as l402s from '../../src/protocols/l402/fixture.test.ts'
import * as mpps from '../../src/protocols/mpp/fixture.test.ts'
import * as oauths from '../../src/protocols/oauth/fixture.test.ts'
import { oauth } from '../../src/protocols/oauth/index.ts'
import * as x402s from '../../src/protocols/x402/fixture.test.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { createJwts, newJwtKey } from '../../src/tokens/jwt/index.ts'
import { createMacaroonMint, createMacaroons } from '../../src/tokens/macaroon/index.ts'
import { createOpaques } from '../../src/tokens/opaque/index.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

/** Header fields by their names, as a request brings them. */
export type Sent = Readonly<Record<string, string>>

/** A credential that is good, and what it brings. */
export interface Honest {
  readonly name: string
  readonly fields: Sent
  readonly brings: Credential
}

/** One protocol's two sides, and what is honest there. */
export interface Reader {
  readonly name: string
  readonly seller: Protocol
  readonly buyer: Protocol
  readonly resource: Resource
  readonly offers: Offers
  readonly now: number
  readonly offer: Offer
  readonly asked: Message
  readonly receipt: Message
  readonly honest: readonly Honest[]
}

/** Fields as they come, whatever bytes are in them: a web `Headers` would refuse some that a server lets through. */
export function raw(sent: Sent): Fields {
  const byName = new Map(Object.entries(sent).map(([name, value]) => [name.toLowerCase(), value]))
  return { get: (name) => byName.get(name.toLowerCase()) ?? null }
}

export function fieldsOf({ fields }: Message): Sent {
  const all = new Map<string, string>()
  for (const [name, value] of fields) {
    const before = all.get(name)
    all.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  return Object.fromEntries(all)
}

export async function read(reader: Reader, sent: Sent): Promise<Read> {
  return await reader.seller.readCredential(raw(sent), reader.resource)
}

/** Whether the seller would take it for an offer of his, or for a token. */
export function isOurs({ offers, resource, now }: Reader, { offer, grant }: Credential): boolean {
  const isOffered = offer && isBound(offer) && offers.check(offer, resource, now) === undefined
  return isOffered === true || grant !== undefined
}

function receiptOf({ rail, network, payee, amount }: Offer): Receipt {
  const said = { rail, network, payee, amount, payer: 'me', reference: '0xab' }
  return { ...said, settledAt: 1_700_000_000_000, settled: true }
}

async function honestOf(
  seller: Protocol,
  resource: Resource,
  name: string,
  fields: Sent,
): Promise<Honest> {
  const brings = await seller.readCredential(raw(fields), resource)
  assert.ok(brings && !('code' in brings), `${name} is honest: ${inspect(brings)}`)
  return { name, fields, brings }
}

async function ofX402(): Promise<Reader> {
  const seller = x402([x402s.method])
  const buyer = x402([x402s.wallet])
  const offer = x402s.offerFor()
  const { resource, proof, offers } = x402s
  const v2 = fieldsOf(buyer.writeCredential({ offer, proof }))
  const { payload } = x402s.vectors.exactEip3009.payload
  const legacy = { x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload }
  const v1 = { 'X-PAYMENT': x402s.encode(legacy) }
  return {
    ...{ name: 'x402', seller, buyer, resource, offers, offer, now: 0 },
    asked: seller.writeChallenge(x402s.challengeWith(offer)),
    receipt: seller.writeReceipt(receiptOf(offer)),
    honest: [
      await honestOf(seller, resource, 'x402 v2', v2),
      await honestOf(seller, resource, 'x402 v1', v1),
    ],
  }
}

async function ofL402(): Promise<Reader> {
  const { seller, buyer, resource, offers, preimage } = l402s
  const offer = l402s.offerFor()
  const paid = { Authorization: `L402 ${l402s.tokenOf()}:${preimage}` }
  return {
    ...{ name: 'l402', seller, buyer, resource, offers, offer, now: l402s.NOW },
    // What is asked with must be the invoice's own.
    asked: seller.writeChallenge(l402s.challengeOf([l402s.offerFor({ hash: l402s.coffeeHash })])),
    receipt: seller.writeReceipt(receiptOf(offer)),
    honest: [await honestOf(seller, resource, 'L402', paid)],
  }
}

async function ofMpp(): Promise<Reader> {
  const { seller, buyer, resource, offers, purse, preimage } = mpps
  const onChain = mpps.evmOffer()
  const onLightning = mpps.lightningOffer()
  const asked = seller.writeChallenge(mpps.challengeOf([onChain, onLightning]))
  const read = mpps.found(asked.fields.map(([, value]) => value))?.offers ?? []
  const [one, two] = read
  assert.ok(one && two)
  const proof = await purse.pay(one as Parameters<typeof purse.pay>[0], 60_000)
  const shown = [
    ['MPP on a chain', buyer.writeCredential({ offer: one, proof })],
    ['MPP on Lightning', buyer.writeCredential({ offer: two, proof: { preimage } })],
  ] as const
  return {
    ...{ name: 'mpp', seller, buyer, resource, offers, offer: onChain, now: mpps.NOW },
    asked,
    receipt: seller.writeReceipt(receiptOf(onChain)),
    honest: await Promise.all(
      shown.map(([name, message]) => honestOf(seller, resource, name, fieldsOf(message))),
    ),
  }
}

async function ofBearer(mints: readonly Mint[]): Promise<Reader> {
  const { buyer, resource, offers, proof, parts, clock } = bearers
  const seller = bearer({ parts, mints, clock })
  const offer = bearers.chainOffer()
  const asked = seller.writeChallenge(bearers.challengeOf([offer, bearers.cardOffer(50n)]))
  const message = { status: 402, fields: raw(fieldsOf(asked)), body: plain(asked.body) }
  const [chain, card] = buyer.readChallenge(message, resource)?.offers ?? []
  assert.ok(chain && card)
  const shown = [
    ['a chain by the profile', fieldsOf(buyer.writeCredential({ offer: chain, proof }))],
    [
      'a card by the profile',
      fieldsOf(buyer.writeCredential({ offer: card, proof: { id: 'pi_1' } })),
    ],
    ...(await tokensOf(mints)).map(
      ([name, token]) =>
        [
          `${name} by the profile`,
          { 'X-Payment-Proof': token, 'X-Payment-Timestamp': `${bearers.NOW / 1000}` },
        ] as const,
    ),
  ] as const
  return {
    ...{ name: 'bearer', seller, buyer, resource, offers, offer, now: bearers.NOW },
    asked,
    receipt: seller.writeReceipt(receiptOf(offer)),
    honest: await Promise.all(
      shown.map(([name, fields]) => honestOf(seller, resource, name, fields)),
    ),
  }
}

const grant = { id: 'ab'.repeat(32), rights: {} }

async function tokensOf(mints: readonly Mint[]): Promise<readonly (readonly [string, string])[]> {
  return await Promise.all(
    mints.map(async (mint) => [`a token (${mint.name})`, await mint.mint(grant)] as const),
  )
}

async function ofOAuth(mints: readonly Mint[]): Promise<Reader> {
  const seller = oauth({ mints, clock: oauths.clock })
  const { resource } = oauths
  const prover = await oauths.createProver()
  const [mint] = mints
  assert.ok(mint)
  const keyed = await mint.mint({ ...grant, rights: { payerKeys: [`jkt:${prover.jkt}`] } })
  const tokens = await tokensOf(mints)
  const offer = x402s.offerFor()
  const proof = await prover.prove({ ath: oauths.athOf(keyed) })
  const again = await prover.prove({ ath: oauths.athOf(keyed) })
  const bound = { Authorization: `DPoP ${keyed}`, DPoP: proof }
  return {
    ...{ name: 'oauth', seller, buyer: oauth(), resource, offers: x402s.offers, offer, now: 0 },
    asked: seller.writeChallenge(x402s.challengeWith(offer)),
    receipt: seller.writeReceipt(receiptOf(offer)),
    honest: [
      ...(await Promise.all(
        tokens.map(([name, token]) =>
          honestOf(seller, resource, name, { Authorization: `Bearer ${token}` }),
        ),
      )),
      // A proof is taken once.
      { ...(await honestOf(seller, resource, 'DPoP', bound)), fields: { ...bound, DPoP: again } },
    ],
  }
}

/** What the page for people brings: an offer that was sealed for it. */
async function ofPage(): Promise<Reader> {
  const { resource, offers } = bearers
  const offer = bearers.chainOffer()
  const rail = { name: offer.rail, network: offer.network, seen: () => bearers.proof }
  const sealed = createSeal([SECRET], 'page', systemChance)
  const tickets = createTickets({
    rails: [rail as unknown as Rail],
    seal: (bytes) => sealed.seal('page', bytes),
    open: (bytes) => sealed.open('page', bytes),
  })
  const { protocol: seller } = tickets
  const fields = { 'Tolsey-Ticket': tickets.write(offer) ?? '' }
  return {
    ...{ name: 'page', seller, buyer: seller, resource, offers, offer, now: bearers.NOW },
    asked: seller.writeChallenge(bearers.challengeOf([offer])),
    receipt: seller.writeReceipt(receiptOf(offer)),
    honest: [await honestOf(seller, resource, 'a ticket of the page', fields)],
  }
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null)) as unknown
}

/** All of them. */
export async function createReaders(): Promise<readonly Reader[]> {
  const place = { issuer: 'https://api.test', audience: 'https://api.test' }
  const mints: readonly Mint[] = [
    createMacaroonMint(createMacaroons({ secrets: [SECRET] })),
    createJwts({ keys: [await newJwtKey()], ...place, clock: oauths.clock }),
    createOpaques({ secrets: [SECRET] }),
  ]
  return await Promise.all([ofX402(), ofL402(), ofMpp(), ofBearer(mints), ofOAuth(mints), ofPage()])
}
